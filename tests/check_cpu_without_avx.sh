#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_cpu_without_avx.sh QEMU GATEKERN: the program runs on a CPU without AVX, says that it chose the scalar
# tier, refuses the others, and gives the committed bits.
set -u
qemu=$1
program=$2
unset GATEKERN_ISA GATEKERN_MATH

fail() {
  echo "$*" >&2
  exit 1
}

"$qemu" -cpu Nehalem "$program" info --seconds 0.01 >info.without_avx 2>&1 || {
  cat info.without_avx
  fail "info failed"
}
cat info.without_avx
grep -q 'scalar: the CPU has no AVX' info.without_avx || fail "info does not say why the scalar tier runs"

if GATEKERN_ISA=avx2 "$qemu" -cpu Nehalem "$program" info >refused.without_avx 2>&1; then
  fail "GATEKERN_ISA=avx2 was accepted"
fi
grep -q 'usable here: scalar$' refused.without_avx || {
  cat refused.without_avx
  fail "the message does not list the usable tiers"
}

"$qemu" -cpu Nehalem "$program" verify
