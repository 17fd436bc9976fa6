#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_install.sh SOURCE BUILD CMAKE: what is installed is enough. The examples and a C++ program that uses both
# headers build against an installation, by pkg-config (shared and --static) and by find_package, and run; so does a
# program that calls nothing of libgatekern itself, and finds it behind libgatekern-train. Headers may be installed
# beside those of another version.
set -eu
source=$1 build=$2 cmake=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
prefix=$folder/prefix
"$cmake" --install "$build" --prefix "$prefix" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
pc=$(find "$prefix" -name gatekern.pc)
export PKG_CONFIG_PATH="${pc%/*}" LD_LIBRARY_PATH="${pc%/pkgconfig/*}"
export CCACHE_DISABLE=1
cd "$folder"

cat >both.cc <<'END'
#include "gatekern-train.h"
#include "gatekern.h"

int main() {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  gk_rnn *rnn = nullptr;
  desc.input_size = 3;
  desc.hidden_size = 4;
  if (gk_rnn_create(&desc, &rnn) != GK_OK)
    return 1;
  gk_rnn_destroy(rnn);
  return gk_gradient_norm(GK_ISA_AUTO, 1, 0, nullptr, nullptr, nullptr) == GK_OK; /* refused */
}
END

cat >train_only.c <<'END'
#include <gatekern-train.h>

int main(void) {
  return gk_dtype_bytes(GK_DTYPE_F32) != 4;
}
END
# Linkers of some distributions list only the libraries that are called; the program's own path does not reach those
# that a library needs.
only_called=-Wl,--as-needed,--enable-new-dtags
searched= # beside the paths in the files; a build for /usr has none in them
grep -q '^CMAKE_INSTALL_PREFIX:.*=/usr$' "$build/CMakeCache.txt" && searched=$LD_LIBRARY_PATH

# A program does not load an interface other than the one it was built with, which while MAJOR is 0 a MINOR may change.
version=$(pkg-config --modversion gatekern)
case $version in 0.*) interface=${version%.*} ;; *) interface=${version%%.*} ;; esac
objdump -p "$LD_LIBRARY_PATH/libgatekern.so" | grep -q "SONAME .*\.so\.$interface$" ||
  { echo "libgatekern.so of $version has another SONAME"; exit 1; }

for example in "$source"/examples/*.c; do
  name=$(basename "$example" .c)
  cc -std=c11 -Wall -Wextra -Werror -pedantic -O1 "$example" $(pkg-config --cflags --libs gatekern) -lm -o "$name"
done
./train_lstm >/dev/null
cc -O1 "$source/examples/train_lstm.c" $(pkg-config --cflags gatekern) "$LD_LIBRARY_PATH/libgatekern.a" \
  $(pkg-config --static --libs gatekern | sed 's/-lgatekern//') -o static
LD_LIBRARY_PATH= ./static >/dev/null
for standard in c++11 c++20; do
  c++ -std=$standard -Wall -Werror both.cc $(pkg-config --cflags --libs gatekern-train) -o both
  ./both
done
cc -std=c11 -Wall -Werror train_only.c $only_called "-Wl,-rpath,$LD_LIBRARY_PATH" \
  $(pkg-config --cflags --libs gatekern-train) -o train_only
LD_LIBRARY_PATH=$searched ./train_only

cat >CMakeLists.txt <<END
cmake_minimum_required(VERSION 3.20)
project(user C CXX)
find_package(gatekern REQUIRED)
add_executable(user-c $source/examples/train_lstm.c)
target_link_libraries(user-c gatekern::gatekern)
add_executable(user-cc both.cc)
target_link_libraries(user-cc gatekern::gatekern-train)
add_executable(user-train-only train_only.c)
target_link_options(user-train-only PRIVATE $only_called)
target_link_libraries(user-train-only gatekern::gatekern-train)
END
"$cmake" -S . -B user -DCMAKE_PREFIX_PATH="$prefix" >log 2>&1 && "$cmake" --build user >>log 2>&1 || { cat log; exit 1; }
user/user-c >/dev/null
user/user-cc
LD_LIBRARY_PATH=$searched user/user-train-only

# Another build folder, which borrows what has been built, paths to the first one and all.
"$cmake" -S "$source" -B other -DCMAKE_INSTALL_PREFIX="$folder/other-prefix" -DCMAKE_SKIP_RPATH=ON \
  -DCMAKE_INSTALL_INCLUDEDIR=include/gatekern-0.1 -DGATEKERN_BUILD_TESTS=OFF -DGATEKERN_BUILD_BENCH=OFF >log 2>&1 ||
  { cat log; exit 1; }
cp -P "$build/gatekern" "$build"/libgatekern* other
"$cmake" --install other >log 2>&1 && rm -r user &&
  "$cmake" -S . -B user -DCMAKE_PREFIX_PATH="$folder/other-prefix" >>log 2>&1 &&
  "$cmake" --build user --target user-c user-train-only >>log 2>&1 || { cat log; exit 1; }
echo "examples, C++, pkg-config, CMake: all build and run"
