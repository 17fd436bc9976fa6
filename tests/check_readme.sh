#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_readme.sh SOURCE EXAMPLE: README.md shows examples/train_lstm.c as it is (but for its first comment), and the
# program built from it, EXAMPLE, runs and learns; README.md has at most 150 lines and no place that waits for a table
# of measurements (a word that ends in _TABLE).
set -eu
source=$1
example=$2
shown=$(awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$source/README.md")
written=$(sed '1,/\*\//d' "$source/examples/train_lstm.c")
[ "$shown" = "$written" ] || { echo "the C example in README.md is not examples/train_lstm.c"; exit 1; }
[ "$(wc -l <"$source/README.md")" -le 150 ] || { echo "README.md is longer than 150 lines"; exit 1; }
if grep -nwE '[A-Za-z0-9_]*_TABLE' "$source/README.md"; then
  echo "README.md still has a place for a table"
  exit 1
fi
"$example" | awk '{ loss = $4; if (NR == 1) first = loss } END { exit !(NR == 4 && loss < first / 2) }' ||
  { echo "the example does not learn:"; "$example"; exit 1; }
