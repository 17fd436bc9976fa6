#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_exports.sh [HEADER LIBRARY]...: a shared library exports the functions that its header declares, no more and
# no fewer.
set -u
status=0
declared=$(mktemp) exported=$(mktemp)
trap 'rm -f "$declared" "$exported"' EXIT
while [ $# -ge 2 ]; do
  tr '\n' ' ' <"$1" | grep -oE 'GK_API [^;{]*' | grep -oE 'gk_[a-z0-9_]+ ?\(' | tr -d ' (' | sort -u >"$declared"
  nm -D --defined-only "$2" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u >"$exported"
  echo "$2: $(wc -l <"$exported") functions"
  if [ ! -s "$declared" ] || ! cmp -s "$declared" "$exported"; then
    echo "declared in $1 and not exported:" $(comm -23 "$declared" "$exported")
    echo "exported and not declared:" $(comm -13 "$declared" "$exported")
    status=1
  fi
  shift 2
done
exit $status
