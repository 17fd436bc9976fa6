#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_kernel_objects.sh FOLDER TIER...: for each TIER (a table's name without gk_kernels_), the objects
# listed in FOLDER/TIER_objects.txt define one global symbol, the table, run nothing when they are
# loaded, and define no symbol that a linker could merge with a baseline object's.
set -u
folder=$1
shift
status=0
for tier in "$@"; do
  objects=$(cat "$folder/${tier}_objects.txt")
  # shellcheck disable=SC2086 # a list
  symbols=$(nm --defined-only --extern-only $objects | awk 'NF == 3 { print $3 }')
  if [ "$symbols" != "gk_kernels_$tier" ]; then
    echo "$tier: its objects must define gk_kernels_$tier alone, and define:" $symbols
    status=1
  fi
  # shellcheck disable=SC2086
  if objdump -h $objects | grep -E '\.(init_array|preinit_array|ctors|gnu\.linkonce|text\.startup)'; then
    echo "$tier: a section above runs at load time or merges with other objects"
    status=1
  fi
done
echo "$# tiers"
exit $status
