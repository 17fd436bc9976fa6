#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_exports.sh [HEADER LIBRARY]...: a shared library exports the functions that its header declares, no more and
# no fewer; among them, of each enum whose values have names, those that list it. Every function that takes a pointer
# and returns a status has a line in null_arguments.def.
set -u
nameless=" gk_activation_place gk_option_type gk_pack_flags gk_status "
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
  for function in $(tr '\n' ' ' <"$1" | grep -oE 'GK_API gk_status gk_[a-z0-9_]+ ?\([^;]*\*' |
    grep -oE 'gk_[a-z0-9_]+ ?\(' | tr -d ' ('); do
    case $function in gk_fail) continue ;; esac
    if ! grep -q "^CALL($function," "$(dirname "$0")/null_arguments.def"; then
      echo "$function: not in null_arguments.def"
      status=1
    fi
  done
  for enum in $(sed -nE 's/^typedef enum (gk_[a-z_]+).*/\1/p' "$1"); do
    case $nameless in *" $enum "*) continue ;; esac
    for function in count name from_name; do
      if ! grep -qx "${enum%_kind}_$function" "$declared"; then
        echo "$1: enum $enum without ${enum%_kind}_$function"
        status=1
      fi
    done
  done
  shift 2
done
exit $status
