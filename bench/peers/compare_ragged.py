#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A training step over ragged lengths, uniform in 1 ... T, against PyTorch's packed sequences, in turn.

  compare_ragged.py [PROGRAM] [--rounds 3] [--seconds 0.5] [--cells lstm,gru,rnn] [--out FILE]

Ours is the step of PROGRAM, else of build/gatekern-bench-options (weights packed, forward, backward with every
gradient), which makes random data of its own; PyTorch's, in a process of its own, is forward and backward of a sequence
that was packed before. Before anything is timed the library and PyTorch get the same data of the same lengths, on which
PyTorch is then timed, and every output and gradient is compared. Exit status 1 if these differ, or below the least
ratio; 130 after Ctrl-C, which keeps what was compared."""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
import session
from bars import CELLS_OF, Row, Shape
from compare import LARGEST_DIFFERENCE, ask, check_whole, largest_difference, summary
from contestants import Failed, LibraryResults, NoAnswer, Worker, environment, make_data, pause, result_shapes

LEAST = 3.0
SIZES = [(256, 64, 100), (128, 50, 50)]  # H, N, T of gatekern-bench-options


def lengths_of(steps, batch):
    """Those of bench/option_costs.c."""
    return [1 + (n * 37 % batch * (steps - 1) + batch // 2) // (batch - 1) % steps for n in range(batch)]


def make_row(cell, hidden, batch, steps):
    shape = Shape(f"{cell} {hidden}/{batch}/{steps}", cell, hidden, hidden, batch, steps)
    return Row(shape, "step", ["packed"], lengths=lengths_of(steps, batch))


def compare_outputs(row, library, peer, folder):
    """The largest difference; Failed if it is too large."""
    data, shapes = make_data(row.shape, folder), result_shapes(row.shape, True)
    results = ask("gatekern", library.results, row, data)
    ask("gatekern", check_whole, results, shapes)
    difference, tensor = ask("packed", largest_difference, results, ask("packed", peer.results, row, folder), shapes)
    if not difference <= LARGEST_DIFFERENCE:
        raise Failed(f"PyTorch: {tensor} differs by {difference:.2g}")
    return difference


def measure_ours(program, shape, seconds, threads):
    """gatekern-bench-options says by its exit status, too, whether its own promises hold: figures do not hang on it."""
    command = [program, str(seconds), shape.cell, "lengths-uniform"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment("auto", threads))
    size = f"{shape.hidden}/{shape.batch}/{shape.time}"
    found = re.search(rf"{size} +lengths-uniform +([0-9.]+) ms", result.stdout)
    if result.returncode < 0 or not found:
        raise Failed(f"{' '.join(command)}: exit status {result.returncode}, no figure of {size}\n"
                     f"{result.stdout}{result.stderr}".rstrip())
    if f", {threads} threads" not in result.stdout.split("\n", 1)[0]:
        raise Failed(f"{' '.join(command)}: asked for {threads} threads: {result.stdout.splitlines()[0]}")
    return float(found.group(1)) / 1e3


def measure_row(row, library, peer, options, folder):
    """What --out writes of it. Medians and spread are those of the rounds' best steps, of both."""
    difference = compare_outputs(row, library, peer, folder)
    disturbance, rounds = machine.Disturbance(), {"gatekern": [], "packed": []}
    for _ in range(options.rounds):
        rounds["gatekern"].append(measure_ours(options.program, row.shape, options.seconds / 2, options.threads))
        pause()
        rounds["packed"].append(ask("packed", peer.measure, row, options.seconds, folder)["best"])
        disturbance.sample()
    ours, theirs = (summary([{"best": best} for best in bests]) for bests in rounds.values())
    medians = [statistics.median(bests) for bests in rounds.values()]
    return {"ragged": row.shape.name, "best": ours["best"], "median": medians[0], "spread": ours["spread"],
            "packed": theirs["best"], "packed_median": medians[1], "packed_spread": theirs["spread"],
            "ratio": theirs["best"] / ours["best"], "ratio_median": medians[1] / medians[0], "at_least": LEAST,
            "rounds": rounds, "difference": difference, **disturbance.report()}


def describe(line, version):
    parts = [f"{line['ragged']:17s} ours {1e3 * line['best']:8.2f} ms, PyTorch {version} packed "
             f"{1e3 * line['packed']:8.2f} ms: ratio {line['ratio']:.2f} (medians {line['ratio_median']:.2f}), at "
             f"least {LEAST}" + ("" if line["ratio"] >= LEAST else "  MISSED"),
             f"slowest round {100 * line['spread']:.0f} % and {100 * line['packed_spread']:.0f} % above the best",
             f"outputs within {line['difference']:.1g}"]
    return "; ".join(parts + machine.marks_of_disturbance(line))


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default=str(session.BUILD / "gatekern-bench-options"))
    parser.add_argument("--cells", default=",".join(CELLS_OF["packed"]))
    session.add_options(parser, rounds=3, seconds=0.5)
    options = parser.parse_args()
    try:
        session.check_numbers(options)
        session.check_files(options)
        options.cells = options.cells.split(",")
        unknown = [cell for cell in options.cells if cell not in CELLS_OF["packed"]]
        if unknown:
            raise ValueError(f"--cells: no {', '.join(unknown)}; there are {', '.join(CELLS_OF['packed'])}")
        session.write(options.out, "")
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    return options


def measure_rows(library, peer, options):
    """Is every ratio reached?"""
    fine = True
    for row in (make_row(cell, *sizes) for cell in options.cells for sizes in SIZES):
        try:
            with tempfile.TemporaryDirectory() as folder:
                line = measure_row(row, library, peer, options, Path(folder))
        except (Failed, NoAnswer) as failure:
            sys.exit(f"{row.shape.name}: {failure}")
        fine &= line["ratio"] >= LEAST
        session.write(options.out, json.dumps(line) + "\n")
        print(describe(line, peer.version), flush=True)
    return fine


def main():
    options = parse_options()
    machine.make_all_wait_alike()
    machine.warn_of_load()
    library = LibraryResults(options.library, options.threads)
    try:
        peer = Worker("pytorch", options.threads, options.patience, packed=True)
    except (NoAnswer, RuntimeError) as error:
        sys.exit(f"PyTorch does not start: {error}; tests/peers/requirements.txt lists what is needed")
    header = {"machine": machine.describe(), "threads": options.threads, "rounds": options.rounds,
              "seconds": options.seconds, "versions": {"gatekern": library.version, "packed": peer.version}}
    session.write(options.out, json.dumps({"header": header}) + "\n", "w")
    try:
        return 0 if measure_rows(library, peer, options) else 1
    finally:  # after Ctrl-C, too: it would answer nobody
        peer.close()


if __name__ == "__main__":
    session.run(main)
