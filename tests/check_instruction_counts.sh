#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_instruction_counts.sh COUNTER PROGRAM BOUNDS TIER...: instructions an element of every kernel of these tiers, as
# PROGRAM calls them, against the lines "BENCHMARK INSTRUCTIONS" of BOUNDS plus 3 %. COUNTER is valgrind, whose callgrind
# counts (it knows no AVX-512), or qemu-aarch64, which tells every instruction that it runs, or "step": the program steps
# through itself.
# A kernel without a line is a failure, and so is a line without a kernel. Less than a bound is none, but what a kernel
# saves for good belongs in BOUNDS: the lines to put there are printed.
set -eu
export LD_BIND_NOW=1 # or the first call of a function of SLEEF's would be counted with its search
counter=$1 program=$2 bounds=$3
shift 3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  status=$?
  cat "$folder/calls" "$folder/counts" >&2
  exit $status
}

# Each writes the instructions of every call in $folder/counts, a line each. A benchmark enters shim_keep_running twice,
# before the kernel and after it.
count_by_callgrind() {
  "$counter" --tool=callgrind --callgrind-out-file="$folder/out" --dump-before=shim_keep_running "$program" "$1" \
    >"$folder/calls" 2>"$folder/counts" || fail
  for number in $(seq "$(wc -l <"$folder/calls")"); do
    sed -n 's/^totals: //p' "$folder/out.$((2 * number))"
  done >"$folder/counts"
}

# Each instruction is a line that ends with the name of its function.
count_by_qemu() {
  "$counter" -singlestep -d nochain,exec "$program" "$1" 2>&1 >"$folder/calls" | awk '
    $NF == "shim_keep_running" && last != $NF { if (++entered % 2) count = 0; else print count }
    { count++; last = $NF }
  ' >"$folder/counts"
}

count_by_stepping() {
  "$program" "$1" step >"$folder/calls" 2>"$folder/counts" || fail
}

for tier in "$@"; do
  case $counter in
  *qemu*) count_by_qemu "$tier" ;;
  step) count_by_stepping "$tier" ;;
  *) count_by_callgrind "$tier" ;;
  esac
  paste -d ' ' "$folder/calls" "$folder/counts"
done >"$folder/counted"

awk -v tiers=" $* " '
  function tier_of(name, part) { return part[split(name, part, "/") - 1] }
  FNR == NR && /^#/ { next }
  FNR == NR {
    if (NF != 2 || $1 in line || !index(" scalar avx2 avx512 neon ", " " tier_of($1) " ")) {
      print FILENAME ", line " FNR ": FAILED: neither BENCHMARK INSTRUCTIONS nor the only line of its benchmark"
      failed = 1
    }
    line[$1] = 1
    if (index(tiers, " " tier_of($1) " ")) bound[$1] = $2
    next
  }
  {
    each = $3 / $2
    printf "%s %.4f\n", $1, each
    if (!($1 in bound)) { print "  FAILED: no bound"; failed = 1; next }
    if ($3 == 0) { print "  FAILED: nothing was counted"; failed = 1 }
    if (each > 1.03 * bound[$1]) { printf "  FAILED: bound %s + 3 %%\n", bound[$1]; failed = 1 }
    if (each < 0.97 * bound[$1]) printf "  better than its bound %s\n", bound[$1]
    delete bound[$1]
  }
  END { for (name in bound) { print name ": FAILED: not counted"; failed = 1 } exit failed }
' "$bounds" "$folder/counted"
