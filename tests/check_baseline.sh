#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check_baseline.sh [--must-fail] LIST: no object of LIST (a path a line) holds an instruction that an
# x86-64 CPU of the first generation lacks. tzcnt passes: such a CPU runs it as bsf, and compilers use it
# where both agree. xgetbv passes in dispatch/cpu.c, which asks for OSXSAVE first.
set -u
expect=0
if [ "$1" = --must-fail ]; then
  expect=1
  shift
fi

objects=$(grep -c '\.o$' "$1")
if [ "$objects" -eq 0 ]; then
  echo "$1 lists no object" >&2
  exit 2
fi

xargs -n 1 objdump -d --no-show-raw-insn <"$1" | awk '
  BEGIN {
    sse3 = "addsubp[sd]|h(add|sub)p[sd]|lddqu|mov(ddup|shdup|sldup)|monitor|mwait|fisttp.*"
    ssse3 = "pshufb|ph(add|sub)(w|d|sw)|pmaddubsw|pmulhrsw|psign[bwd]|palignr|pabs[bwd]"
    sse4 = "blendv?p[sd]|dpp[sd]|extractps|insertps|movntdqa|mpsadbw|packusdw|pblend(vb|w)|pcmpeqq|pextr[bdq]" \
           "|phminposuw|pinsr[bdq]|p(max|min)(sb|sd|uw|ud)|pmov[sz]x.*|pmuldq|pmulld|ptest|round[ps][sd]" \
           "|pcmp[ei]str[im]|pcmpgtq|crc32.*|popcnt.*"
    later = "lzcnt.*|andn|bextr|blsi|blsmsk|blsr|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|adcx|adox|movbe" \
            "|aes.*|pclmul.*|sha(1|256).*|gf2p8.*|rdrand.*|rdseed.*|rdtscp|rdpid|xsave.*|xrstor.*|xgetbv" \
            "|cmpxchg16b.*|sahf|lahf|prefetchw.*|(rd|wr)(fs|gs)base.*|clflushopt|clwb|movdir.*|tpause|umwait"
    above = "^(" sse3 "|" ssse3 "|" sse4 "|" later ")$"
  }
  /file format/ { object = $1 }
  /^[0-9a-f]+ </ { symbol = $2 }
  /^ *[0-9a-f]+:\t/ {
    instructions++
    split($0, field, "\t")
    words = split(field[2], word, " ")
    for (i = 1; i <= words && word[i] ~ /^(lock|rep[nz]*|repn?z|notrack|bnd|data16|cs|ds|es|fs|gs|rex.*)$/; i++);
    name = word[i]
    vex = name ~ /^v/ && name !~ /^ver[rw]$/ || name ~ /^k(mov|and|or|xor|xnor|not|shift|test|unpck|add)/
    if ((vex || name ~ above || field[2] ~ /%[yz]mm|%k[0-7]/) &&
        !(name == "xgetbv" && object ~ /dispatch\/cpu\.c/)) {
      if (found++ < 20)
        print object, symbol, field[2]
    }
  }
  END {
    print instructions + 0, "instructions,", found + 0, "above the baseline"
    if (!instructions)
      exit 2
    exit found > 0
  }'
status=$?
echo "$objects objects"
[ "$status" -eq "$expect" ]
