#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A training step over ragged lengths, uniform in 1 ... T, against PyTorch's packed sequences, in turn.

  compare_ragged.py [PROGRAM] [--rounds 3] [--seconds 0.5] [--cells lstm,gru,rnn] [--out FILE]

Ours is the step of PROGRAM, else of build/gatekern-bench-options (weights packed, forward, backward with the gradients
of inputs and weights); PyTorch's is forward and backward of a sequence that was packed before. Before anything is timed
both get the same data of the same lengths, and every output and gradient is compared. Exit status 1 if these differ, or
below the least ratio."""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import machine
from contestants import environment

try:
    import torch
except ImportError as error:
    sys.exit(f"{sys.argv[0]}: {error}; tests/peers/requirements.txt lists what is needed")

ROOT = Path(__file__).resolve().parents[2]
BUILD, TESTS = ROOT / "build", ROOT / "tests"
sys.path[:0] = [str(TESTS / "peers"), str(TESTS / "pytorch")]
import networks  # noqa: E402
from compare import LARGEST_DIFFERENCE  # noqa: E402
from gatekern_library import Library, Network  # noqa: E402

LEAST = 3.0
SHAPES = [(256, 64, 100), (128, 50, 50)]


def lengths_of(steps, batch):
    """Those of bench/option_costs.c."""
    return torch.tensor([1 + (n * 37 % batch * (steps - 1) + batch // 2) // (batch - 1) % steps for n in range(batch)])


def largest_difference(library, cell, hidden, batch, steps):
    case = networks.Case(cell, hidden, hidden, time=steps, batch=batch, lengths=lengths_of(steps, batch).tolist())
    data = case.inputs()
    ours, theirs = Network(library, case).run(data), networks.run(case, torch.float32, data)
    return max(networks.relative_error(ours[name], value) for name, value in theirs.items())


class Packed:
    def __init__(self, cell, hidden, batch, steps):
        self.module = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell](hidden, hidden)
        x = 2 * torch.rand(steps, batch, hidden) - 1
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths_of(steps, batch), enforce_sorted=False)
        self.leaf = packed.data.detach().requires_grad_()
        self.x = torch.nn.utils.rnn.PackedSequence(self.leaf, packed.batch_sizes, packed.sorted_indices,
                                                   packed.unsorted_indices)
        self.dy = 2 * torch.rand(packed.data.shape[0], hidden) - 1

    def run(self):
        for tensor in [*self.module.parameters(), self.leaf]:
            tensor.grad = None
        start = time.perf_counter()
        y, _ = self.module(self.x)
        y.data.backward(self.dy)
        return time.perf_counter() - start


def best_of_packed(contestant, seconds):
    contestant.run()
    end, best = time.perf_counter() + seconds, float("inf")
    while time.perf_counter() < end:
        best = min(best, contestant.run())
    return best


def ours(program, cell, shape, seconds, threads):
    """gatekern-bench-options says by its exit status, too, whether its own promises hold: figures do not hang on it."""
    command = [program, str(seconds), cell, "lengths-uniform"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment("auto", threads))
    size = "/".join(map(str, shape))
    found = re.search(rf"{size} +lengths-uniform +([0-9.]+) ms", result.stdout)
    if result.returncode < 0 or not found:
        sys.exit(f"{' '.join(command)}: exit status {result.returncode}, no figure of {size}\n"
                 f"{result.stdout}{result.stderr}".rstrip())
    if f", {threads} threads" not in result.stdout.split("\n", 1)[0]:
        sys.exit(f"{' '.join(command)}: asked for {threads} threads: {result.stdout.splitlines()[0]}")
    return float(found.group(1)) / 1e3


def write_line(options, line, mode="a"):
    if options.out:
        with open(options.out, mode) as file:
            file.write(json.dumps(line) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", nargs="?", default=str(BUILD / "gatekern-bench-options"))
    parser.add_argument("--library", default=os.environ.get("GATEKERN_LIBRARY", str(BUILD / "libgatekern.so")))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cells", default="lstm,gru,rnn")
    parser.add_argument("--out", help="JSON lines, which bench/report.py --peers reads")
    options = parser.parse_args()
    for path in (options.program, options.library):
        if not Path(path).is_file():
            parser.exit(2, f"{parser.prog}: no file {path}\n")
    machine.make_all_wait_alike()
    machine.warn_of_load()
    torch.set_num_threads(options.threads)
    library, missed = Library(options.library), 0
    versions = {"gatekern": library.c.gk_version().decode(), "packed": torch.__version__}
    write_line(options, {"header": {"machine": machine.describe(), "threads": options.threads, "rounds": options.rounds,
                                    "seconds": options.seconds, "versions": versions}}, "w")
    for cell in options.cells.split(","):
        for shape in SHAPES:
            difference = largest_difference(library, cell, *shape)
            if not difference <= LARGEST_DIFFERENCE:
                sys.exit(f"{cell} {shape}: outputs differ by {difference:.2g}")
            peer, best, disturbance = Packed(cell, *shape), [float("inf")] * 2, machine.Disturbance()
            for _ in range(options.rounds):
                best[0] = min(best[0], ours(options.program, cell, shape, options.seconds / 2, options.threads))
                time.sleep(0.05)  # after it no thread spins any more
                best[1] = min(best[1], best_of_packed(peer, options.seconds))
            ratio, disturbed = best[1] / best[0], disturbance.report()
            missed += ratio < LEAST
            write_line(options, {"ragged": f"{cell} {'/'.join(map(str, shape))}", "best": best[0], "packed": best[1],
                                 "ratio": ratio, "at_least": LEAST, "difference": difference, **disturbed})
            verdict = "" if ratio >= LEAST else "  MISSED"
            marks = "".join(f"; {mark}" for mark in machine.marks_of_disturbance(disturbed))
            print(f"{cell:5s} {'/'.join(map(str, shape)):12s} ours {1e3 * best[0]:8.2f} ms, "
                  f"PyTorch {torch.__version__} packed {1e3 * best[1]:8.2f} ms: ratio {ratio:.2f}, at least {LEAST}"
                  f"{verdict}; outputs within {difference:.1g}{marks}", flush=True)
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
