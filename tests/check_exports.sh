#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_exports.sh LIBRARY...: a shared library exports functions called gk_*, and nothing else.
set -u
status=0
for library in "$@"; do
  symbols=$(nm -D --defined-only "$library" | awk '{ sub(/@.*/, "", $3); print $3 }')
  wrong=$(printf '%s\n' "$symbols" | grep -v '^gk_')
  count=$(printf '%s\n' "$symbols" | grep -c '^gk_')
  echo "$library: $count symbols called gk_*"
  if [ -n "$wrong" ] || [ "$count" -eq 0 ]; then
    printf 'other symbols: %s\n' "$wrong"
    status=1
  fi
done
exit $status
