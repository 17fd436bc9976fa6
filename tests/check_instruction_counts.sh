#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_instruction_counts.sh COUNTER PROGRAM BOUNDS TIER...: instructions an element of every kernel of these tiers
# that PROGRAM calls, against the lines "TIER KERNEL INSTRUCTIONS" of BOUNDS plus 3 %. COUNTER is valgrind, whose
# callgrind counts (it knows no AVX-512), or qemu-aarch64, which tells every instruction that it runs.
# A kernel without a line is a failure, and so is a line without a kernel. What a kernel saves for good belongs in
# BOUNDS: the lines to put there are printed.
set -eu
counter=$1 program=$2 bounds=$3
shift 3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Writes the instructions of each call of measured_call in $folder/counts, a line each.
count_by_callgrind() {
  if ! "$counter" --tool=callgrind --callgrind-out-file="$folder/out" --collect-atstart=no \
    --toggle-collect=measured_call --dump-after=measured_call "$program" "$1" >"$folder/calls" 2>"$folder/log"; then
    cat "$folder/log"
    exit 1
  fi
  for number in $(seq "$(wc -l <"$folder/calls")"); do
    sed -n 's/^totals: //p' "$folder/out.$number"
  done >"$folder/counts"
}

# Each instruction is a line that ends with the name of its function; measured_call returns to measure.
count_by_qemu() {
  "$counter" -singlestep -d nochain,exec "$program" "$1" 2>&1 >"$folder/calls" | awk '
    !counting && $NF == "measured_call" { counting = 1; count = 0 }
    counting && $NF == "measure" { counting = 0; print count }
    counting { count++ }
  ' >"$folder/counts"
}

for tier in "$@"; do
  case $counter in
  *qemu*) count_by_qemu "$tier" ;;
  *) count_by_callgrind "$tier" ;;
  esac
  paste -d ' ' "$folder/calls" "$folder/counts" | sed "s/^/$tier /"
done >"$folder/counted"

awk -v tiers=" $* " '
  FNR == NR { if ($0 !~ /^#/ && NF == 3 && index(tiers, " " $1 " ")) bound[$1 " " $2] = $3; next }
  {
    name = $1 " " $2
    each = $4 / $3
    printf "%s %.4f\n", name, each
    if (!(name in bound)) { print "  FAILED: no bound"; failed = 1; next }
    if ($4 == 0) { print "  FAILED: nothing was counted"; failed = 1 }
    if (each > 1.03 * bound[name]) { printf "  FAILED: bound %s + 3 %%\n", bound[name]; failed = 1 }
    if (each < 0.97 * bound[name]) printf "  better than its bound %s\n", bound[name]
    delete bound[name]
  }
  END { for (name in bound) { print name ": FAILED: not counted"; failed = 1 } exit failed }
' "$bounds" "$folder/counted"
