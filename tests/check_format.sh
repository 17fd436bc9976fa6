#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_format.sh CLANG_FORMAT SOURCE_DIR: every C and C++ source is as .clang-format says. Prints the
# command that mends what is not.
set -u
cd "$2" || exit 2
files=$(find bench dispatch examples include kernels src tests -name '*.[ch]' -o -name '*.cc')
[ -n "$files" ] || exit 2
# shellcheck disable=SC2086 # a list; no name holds a space
wrong=$("$1" --dry-run $files 2>&1 | sed -n 's/^\([^: ]*\):[0-9].*/\1/p' | sort -u)
[ -z "$wrong" ] || {
  echo "$1 -i" $wrong
  exit 1
}
