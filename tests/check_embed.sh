#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_embed.sh SOURCE CMAKE COMPILER: a project in C that adds this one by add_subdirectory links the library by the
# names that it has when installed, and remains master of its house: targets' names, build type, what is tested and
# installed. It may ask for any warning, which sources and public headers pass; its fast-math is not the library's.
# Kernels, which take minutes, are not built.
set -eu
source=$1 cmake=$2 compiler=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset CMAKE_BUILD_TYPE CFLAGS LDFLAGS
export CCACHE_DISABLE=1 CMAKE_GENERATOR="Unix Makefiles"
cd "$folder"

fail() {
  cat log
  echo "$@"
  exit 1
}

cat >user.c <<'END'
#include <gatekern-train.h>
#include <gatekern.h>

int main(void) {
  return gk_dtype_bytes(GK_DTYPE_F32) != 4 || gk_isa_count() == 0;
}
END
cat >CMakeLists.txt <<END
cmake_minimum_required(VERSION 3.25)
project(parent C)
foreach(name project-flags baseline-flags test-flags test-support core-objects train-objects kernels-scalar-own)
  add_library(\${name} INTERFACE)
endforeach()
add_subdirectory($source child EXCLUDE_FROM_ALL)
add_executable(user user.c)
target_link_libraries(user PRIVATE gatekern::gatekern gatekern::gatekern-train)
# What only compiles does not wait for the libraries.
add_library(compiled OBJECT user.c)
set_target_properties(compiled PROPERTIES OPTIMIZE_DEPENDENCIES ON)
target_link_libraries(compiled PRIVATE gatekern::gatekern gatekern::gatekern-train)
END
"$cmake" -S . -B build -DCMAKE_C_COMPILER="$compiler" >log 2>&1 || fail "a project cannot embed this one"
grep -q '^CMAKE_BUILD_TYPE:[A-Z]*=$' build/CMakeCache.txt || fail "the embedded project sets its parent's build type"
grep -rq -- '-O3' build/child/CMakeFiles/gatekern-core-objects.dir || fail "the embedded project is not optimised"
for option in TESTS BENCH; do
  grep -q "^GATEKERN_BUILD_$option:BOOL=OFF$" build/CMakeCache.txt || fail "GATEKERN_BUILD_$option is on"
done
! grep -q 'file(INSTALL' build/child/cmake_install.cmake || fail "the embedded project installs itself"

# Linked as the library is, but of nothing.
"$cmake" -B build -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-ffast-math >log 2>&1 || fail "no fast-math"
echo 'int linked(void) { return 1; }' >linked.c
"$compiler" -fPIC -c linked.c -o linked.o
$(sed 's/ -o .*//' build/child/CMakeFiles/gatekern-shared.dir/link.txt) linked.o -o linked.so
! nm linked.so | grep -i fast_math || fail "a parent's fast-math is linked into the library"
"$cmake" -B build -DCMAKE_C_FLAGS="-Werror -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion" >log 2>&1 &&
  "$cmake" --build build --target compiled gatekern-core-objects gatekern-train-objects >log 2>&1 ||
  fail "a parent's warnings"
echo "embedded, compiled with a parent's warnings"
