#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_instruction_counts.sh VALGRIND PROGRAM BOUNDS: instructions an element of every kernel that PROGRAM calls,
# counted by callgrind (which knows no AVX-512), against the lines "TIER KERNEL INSTRUCTIONS" of BOUNDS plus 3 %.
# A kernel without a line is a failure, and so is a line without a kernel. What a kernel saves for good belongs in
# BOUNDS: the lines to put there are printed.
set -eu
valgrind=$1 program=$2 bounds=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for tier in $(sed -n 's/^\([a-z][a-z0-9]*\) .*/\1/p' "$bounds" | sort -u); do
  if ! "$valgrind" --tool=callgrind --callgrind-out-file="$folder/$tier" --collect-atstart=no \
    --toggle-collect=measured_call --dump-after=measured_call "$program" "$tier" >"$folder/$tier.calls" \
    2>"$folder/log"; then
    cat "$folder/log"
    exit 1
  fi
  number=0
  while read -r kernel elements; do
    number=$((number + 1))
    instructions=$(sed -n 's/^totals: //p' "$folder/$tier.$number")
    echo "$tier $kernel $instructions $elements"
  done <"$folder/$tier.calls"
done >"$folder/counted"

awk '
  FNR == NR { if ($0 !~ /^#/ && NF == 3) bound[$1 " " $2] = $3; next }
  {
    name = $1 " " $2
    each = $3 / $4
    printf "%s %.4f\n", name, each
    if (!(name in bound)) { print "  FAILED: no bound"; failed = 1; next }
    if ($3 == 0) { print "  FAILED: nothing was counted"; failed = 1 }
    if (each > 1.03 * bound[name]) { printf "  FAILED: bound %s + 3 %%\n", bound[name]; failed = 1 }
    if (each < 0.97 * bound[name]) printf "  better than its bound %s\n", bound[name]
    delete bound[name]
  }
  END { for (name in bound) { print name ": FAILED: not counted"; failed = 1 } exit failed }
' "$bounds" "$folder/counted"
