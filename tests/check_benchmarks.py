#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_benchmarks.py counts|plain-c BENCH ROOT: gatekern-bench, as briefly as it can be run.

counts: every kernel of bench/kernel_list.def has a benchmark, and each counts what the list promises; so do the
benchmarks of a small network in every pass, which count both. A filter that matches nothing is a failure.
plain-c: plain C of each instruction set that is here has the library's results, by its own check, of every cell, of two
layers and in all passes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

WHAT, BENCH, ROOT = sys.argv[1:]
PROMISES = {"BOTH": (True, True), "BYTES": (False, True), "FLOP": (True, False), "NEITHER": (False, False)}


def run(*arguments):
    return subprocess.run([BENCH, *arguments], check=True, capture_output=True, text=True).stdout


def measure(pattern):
    answer = json.loads(run(f"--benchmark_filter={pattern}", "--benchmark_min_time=0.000001",
                            "--benchmark_format=json") or "{}")
    lines = answer.get("benchmarks", [])
    assert lines, f"no benchmark matches {pattern}"
    for line in lines:
        assert "error_message" not in line, f"{line['name']}: {line['error_message']}"
    return lines


def check_counts(line, promise):
    name = line["name"]
    assert "FLOP/s" in line and "bytes/s" in line, f"{name} counts no FLOP or no bytes"
    counted = (line["FLOP/s"] > 0, line["bytes/s"] > 0)
    assert counted == PROMISES[promise], f"{name}: (FLOP, bytes) counted {counted}, promised {promise}"


def cell_of(network):
    """By the name that lists give it; "" where that begins with no cell's."""
    return max((cell for cell in CELLS if network.startswith(f"{cell}-")), key=len, default="")


def check_kernels():
    listed = dict(re.findall(r"^GK_KERNEL\((\w+), \w+, (\w+), \w+, \w+\)$",
                             (ROOT / "bench/kernel_list.def").read_text(), re.M))
    # kernel/KERNEL[/CELL]/TIER/SIZES/real_time; the last tier is the fastest.
    names = run("--benchmark_list_tests", "--benchmark_filter=^kernel/").split()
    tier = [name.split("/")[-3] for name in names if "-sleef/" not in name][-1]
    lines = measure(f"^kernel/.*/{tier}/")
    measured = {line["name"].split("/")[1] for line in lines}
    assert measured == set(listed), f"listed or measured alone: {measured ^ set(listed)}"
    for line in lines:
        check_counts(line, listed[line["name"].split("/")[1]])


def check_filter_of_the_environment():
    """It is Google Benchmark's, and no less than the option."""
    listed = subprocess.run([BENCH, "--benchmark_list_tests"], check=True, capture_output=True, text=True,
                            env={**os.environ, "BENCHMARK_FILTER": "^layer/real-time/"}).stdout.split()
    assert listed and all(name.startswith("layer/real-time/") for name in listed), listed[:3]


def check_no_match():
    answer = subprocess.run([BENCH, "--benchmark_filter=no such benchmark"], capture_output=True, text=True)
    assert answer.returncode == 1, f"a filter that matches nothing: exit status {answer.returncode}"


def intensity_of_gru_step(s):
    """FLOP a byte of one layer. Rows: x and y twice, their gradients once, five values kept for backward, and read."""
    weights = 3 * s.hidden * s.input * 3 + 3 * s.hidden * s.hidden * (2 * s.time + 1)
    return s.flop(True) / 4 / (weights + s.time * s.batch * (3 * (s.input + s.hidden) + 2 * 5 * s.hidden))


ROOT = Path(ROOT)
CELLS = set(re.findall(r'^GK_CELL\(.*"(.+)"\)$', (ROOT / "kernels/cells.def").read_text(), re.M))
if WHAT == "counts":
    check_kernels()
    check_no_match()
    check_filter_of_the_environment()
    sys.path[:0] = [str(ROOT / "bench")]
    from report import read_list
    noise = next(shape for shape in read_list("real-time") if shape.name == "noise-voice")
    for line in measure("^layer/real-time/noise-voice/"):
        check_counts(line, "BOTH")
        if line["name"].split("/")[4] == "step":  # plain C's, too
            error = line["FLOP/s"] / line["bytes/s"] / intensity_of_gru_step(noise) - 1
            assert abs(error) < 1e-6, f"{line['name']}: FLOP a byte are {error:g} off"
elif WHAT == "plain-c":
    names = run("--benchmark_list_tests", "--benchmark_filter=^layer/.*/plain-c-").splitlines()
    steps = "cells/(mgu|gru-simplified|gru-reset-before)-.*|char-rnn/(lstm|gru)-128x2-.*"
    all_passes = "char-rnn/rnn-128x2-.*|real-time/(noise-denoise|keyword)"
    for tier in sorted({name.split("/")[3] for name in names if "/plain-c-" in name}):  # none without AVX2
        lines = measure(f"^layer/(({steps})/{tier}/step|({all_passes})/{tier})/")
        measured = {cell_of(line["name"].split("/")[2]) for line in lines}
        assert measured >= CELLS, f"{tier} computes no {CELLS - measured}"
else:
    sys.exit(__doc__)
