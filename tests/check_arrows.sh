#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_arrows.sh SOURCE_DIR: no folder includes one before it in the order of src/README.md, and kernels,
# the last, includes nothing else of the project but the public header. Prints what does.
set -u
cd "$1" || exit 2
order=$(sed -n 's/^`\(cli → [^`]*\)`.*/\1/p' src/README.md | sed 's/[→,]/ /g')
set -- $order
[ "$#" -ge 10 ] || { echo "src/README.md states no order of the folders" && exit 2; }
wrong=
left=
for folder in "$@"; do
  case $folder in dispatch | kernels) path=$folder ;; *) path=src/$folder ;; esac
  [ -d "$path" ] || { echo "$path: no such folder, and src/README.md names it" && exit 1; }
  for barred in $left; do
    found=$(grep -rn "#include \"$barred/" "$path") && wrong="$wrong$found
"
  done
  left="$left $path"
done
wrong=$wrong$(grep -rn '#include "' kernels | grep -v '#include "\(kernels/\|include/gatekern.h"\)')
[ -z "$wrong" ] || { printf '%s' "$wrong" && exit 1; }
for path in src/*/; do
  case "$left " in *" ${path%/} "*) ;; *) echo "${path%/}: not in the order" && exit 1 ;; esac
done
