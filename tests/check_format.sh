#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_format.sh CLANG_FORMAT SOURCE_DIR: every C and C++ source is as .clang-format says.
set -u
cd "$2" || exit 2
status=0
files=$(find bench dispatch examples include kernels src tests -name '*.[ch]' -o -name '*.cc' | LC_ALL=C sort)
[ -n "$files" ] || exit 2
for file in $files; do
  "$1" "$file" | cmp -s - "$file" || {
    status=1
    echo "$1 -i $file"
  }
done
exit $status
