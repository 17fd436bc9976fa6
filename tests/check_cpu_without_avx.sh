#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_cpu_without_avx.sh QEMU GATEKERN: the program runs on a CPU without AVX, says that it chose the scalar
# tier, refuses the others, and gives the bits that this machine's best tier gives.
set -u
qemu=$1
program=$2
unset GATEKERN_ISA GATEKERN_MATH

fail() {
  echo "$*" >&2
  exit 1
}

emulated() {
  "$qemu" -cpu Nehalem "$program" "$@"
}

emulated info --seconds 0.01 >info.without_avx 2>&1 || {
  cat info.without_avx
  fail "info failed"
}
cat info.without_avx
grep -q 'scalar: the CPU has no AVX' info.without_avx || fail "info does not say why the scalar tier runs"
grep -q '^scalar fma *libm' info.without_avx || fail "info does not say that the scalar tier asks libm"

if GATEKERN_ISA=avx2 emulated info >refused.without_avx 2>&1; then
  fail "GATEKERN_ISA=avx2 was accepted"
fi
grep -q 'usable here: scalar$' refused.without_avx || {
  cat refused.without_avx
  fail "the message does not list the usable tiers"
}

# Of outputs and gradients.
checksum() {
  sed -n 's/.*"checksum": "\([0-9a-f]*\)".*/\1/p'
}

for cell in rnn gru gru-reset-before lstm; do
  set -- bench --cell $cell --input 21 --hidden 19 --batch 5 --time 6 --layers 2 --seconds 0.01 --json
  here=$("$program" "$@" | checksum)
  there=$(emulated "$@" | checksum)
  echo "$cell: checksum $here, without AVX $there"
  [ -n "$here" ] && [ "$here" = "$there" ] || fail "the checksums differ"
done

# All of verify takes a minute here.
if [ -n "${GATEKERN_TEST_FULL:-}" ]; then
  emulated verify
fi
