#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures this machine with Gatekern and writes DIR/report.html (self-contained), report.json, report.md and the
pictures as SVG. Needs Python's standard library only.

  bench/report.py DIR                              every instruction set, threads, small batches, promises: an
                                                   estimated 30 minutes on two cores
  bench/report.py DIR --peers step.jsonl ...       also what bench/peers/compare.py --out has written
  bench/report.py DIR --from DIR/report.json       draws again without measuring, with bench/reasons.txt as it is now
  bench/report.py DIR --from DIR/report.json --pictures docs      and those that README.md shows

What was measured beside a check that fails is written all the same; what was measured before it was stopped, into
DIR/unfinished."""

import argparse
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench/peers")]

import machine
import session
from bars import CHECKED_PASSES, Shape, read_list
from report_page import html, markdown
from report_peers import read_peers
from report_sections import CHECKS as MEANINGS, METHOD, sections_of
from report_shortfalls import shortfalls

BENCH = ROOT / "build/gatekern-bench"
SCALED = [("lstm", 512, 64, 25), ("gru", 512, 32, 50), ("lstm", 128, 50, 50), ("rnn", 512, 64, 50),
          ("lstm", 1024, 1, 50)]
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CHECKS = [check for check, _ in MEANINGS]
PLAIN_C = ["plain-c-avx2", "plain-c-avx512"]
PLAIN_C_FLOPS = 8e10  # a second, about: how many runs fit into the time of a measurement
STOPPED = "stopped by the user"
MISSED = 3  # exit status of gatekern bench --check where a promise is missed, and nothing else is wrong
PICTURES = ["tiers", "roofline", "threads", "batches", "peers-"]  # how their names begin
SHOWN = ["tiers", "roofline", "peers-step", "batches"]  # in README.md


def failure_of(command, how):
    return SystemExit(f"{' '.join(map(str, command))}: {how}")


def run(*command):
    try:
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    except OSError as error:
        raise failure_of(command, error.strerror) from error
    if result.returncode != 0:
        raise failure_of(command, f"exit status {result.returncode}: {result.stderr.strip()}")
    return result.stdout


def run_json(*command):
    answer = run(*command)
    try:
        return json.loads(answer)
    except ValueError as error:
        raise failure_of(command, f"its answer is no JSON: {error}") from error


def run_bench(options, shape, isa="auto", threads=None, seconds=None):
    command = [options.program, "bench", "--json", "--isa", isa, "--seconds", seconds or options.seconds]
    for name in ("cell", "input", "hidden", "batch", "time", "layers"):
        command += [f"--{name}", getattr(shape, name)]
    m = run_json(*command, *(["--threads", threads] if threads else []))
    if "bytes" not in m:
        raise failure_of(command, "its answer has no bytes: it is of an earlier version")
    return {"best": m["step_ms"] / 1e3, "median": m["step_ms_median"] / 1e3, "peak_gflops": m["peak_gflops"],
            "bytes": m["bytes"]}


def plain_c_name(list_name, shape, tier):
    """Of its benchmark, before what Google Benchmark adds."""
    return f"layer/{list_name}/{shape.name}/{tier}/step"


def names_of_networks(bench):
    """Of the networks that gatekern-bench has; plain C is among them on x86, of what the CPU runs."""
    names = run(bench, "--benchmark_list_tests", "--benchmark_filter=^layer/").split()
    return {name.removesuffix("/real_time") for name in names}


def run_plain_c(options, name, shape):
    """gatekern-bench reports means: of single runs, to be compared with our best."""
    runs = min(max(5, round(options.seconds * PLAIN_C_FLOPS / shape.flop(True))), 200)
    pattern = name.replace(".", r"\.")  # all else in names is literal; C++ takes none of what re.escape makes of "-"
    lines = run_json(options.bench, f"--benchmark_filter=^{pattern}/", "--benchmark_min_time=1e-9",
                     f"--benchmark_repetitions={runs}", "--benchmark_format=json")["benchmarks"]
    for line in lines:
        if "error_message" in line:
            raise failure_of([options.bench, name], line["error_message"])
    seconds = [line["real_time"] * 1e-9 for line in lines if line["run_type"] == "iteration"]
    return {"best": min(seconds), "median": statistics.median(seconds)}


def summarise(rounds, shape):
    best = min(r["best"] for r in rounds)
    gflops = shape.flop(True) / best * 1e-9
    peaks = [r["peak_gflops"] for r in rounds if "peak_gflops" in r]
    return {"best": best, "median": statistics.median(r["median"] for r in rounds), "gflops": gflops,
            "spread": max(r["best"] for r in rounds) / best - 1, "rounds": len(rounds),
            **({"percent_of_peak": 100 * gflops / max(peaks), "peak_gflops": max(peaks),
                "lowest_peak_gflops": min(peaks)} if peaks else {})}


class Runs:
    """Those of one tier and network, round by round, and what disturbed them: not what others met in between."""

    def __init__(self):
        self.rounds, self.disturbance = [], machine.Disturbance()
        self.disturbance.pause()

    def add(self, measure_it):
        self.disturbance.resume()
        self.rounds.append(measure_it())
        self.disturbance.pause()


def measure_round(options, tiers, number, list_name, shape, runs):
    for tier in tiers:
        if tier != "scalar" or number == 0:  # ten times slower than the others
            runs.setdefault(tier, Runs()).add(lambda: run_bench(options, shape, tier))
    for tier in PLAIN_C:
        name = plain_c_name(list_name, shape, tier)
        if name in options.plain_c:
            runs.setdefault(tier, Runs()).add(lambda: run_plain_c(options, name, shape))


def measure_tiers(options, tiers, report):
    """Round by round through all networks: a bad minute takes one round of a few, not all rounds of one network."""
    networks = [{"list": list_name, **vars(shape)} for list_name, shape in options.networks]
    runs_of = [{} for _ in networks]
    for number in range(options.rounds):
        for (list_name, shape), network, runs in zip(options.networks, networks, runs_of):
            measure_round(options, tiers, number, list_name, shape, runs)
            network["intensity"] = shape.flop(True) / runs[tiers[0]].rounds[0]["bytes"]
            network["runs"] = {tier: {**summarise(r.rounds, shape), **r.disturbance.report()}
                               for tier, r in runs.items()}
            report["tiers"] = [network for network in networks if "runs" in network]
            fastest = {tier: round(r["gflops"], 1) for tier, r in network["runs"].items()}
            print(f"round {number + 1} of {options.rounds}: {shape.name} {fastest}", flush=True)


def run_best(options, shape, peaks, **more):
    result = run_bench(options, shape, **more)
    peaks.append(result["peak_gflops"])
    return result["best"]


def disturbance_of(disturbance, peaks):
    return {**disturbance.report(), "lowest_peak_percent": 100 * min(peaks) / max(peaks)}


def measure_threads(options, most, report):
    """Curves, and what disturbed them; the peaks are those of all threads."""
    disturbance, peaks = machine.Disturbance(), []
    counts = sorted({1, most, *(2 ** i for i in range(1, 10) if 2 ** i < most)})
    for cell, hidden, batch, time in SCALED:
        shape = Shape("", cell, hidden, hidden, batch, time)
        name = f"{cell} {hidden}, N {batch}"
        rounds = [[run_best(options, shape, peaks if t == most else [], threads=t) for t in counts]
                  for _ in range(options.rounds)]
        report["threads"][name] = [[t, min(r[i] for r in rounds)] for i, t in enumerate(counts)]
        report["disturbances"]["threads"] = disturbance_of(disturbance, peaks)


def measure_batches(options, report):
    disturbance, peaks = machine.Disturbance(), []
    for cell, hidden in (("lstm", 512), ("gru", 512), ("rnn", 512), ("lstm", 1024)):
        shapes = [Shape("", cell, hidden, hidden, batch, 50) for batch in BATCHES]
        rounds = [[run_best(options, shape, peaks) for shape in shapes] for _ in range(options.rounds)]
        report["batches"][f"{cell} {hidden}"] = [[s.batch, s.flop(True) / min(r[i] for r in rounds) * 1e-9]
                                                 for i, s in enumerate(shapes)]
        report["disturbances"]["batches"] = disturbance_of(disturbance, peaks)


def peak_now(options):
    info = run_json(options.program, "info", "--json", "--seconds", 0.05)
    return max(t.get("peak_gflops", 0) for t in info["tiers"])


def run_check(options, check, shapes, passes, lines):
    """Adds those of gatekern bench --check, each with what disturbed it."""
    command = [options.program, "bench", "--json", "--check", check, *(["--shapes", shapes] if shapes else []),
               *(["--pass", passes] if passes else [])]
    before, disturbance = len(lines), machine.Disturbance()
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:  # each comes as its network is done
                lines.append({"list": shapes, **json.loads(line), **disturbance.report()})
                disturbance = machine.Disturbance()
        except ValueError:  # it died in the middle of a line
            process.wait()
        except BaseException:
            process.kill()
            raise
    if process.returncode not in (0, MISSED):
        raise failure_of(command, f"failed with exit status {process.returncode}; networks that were checked: "
                                  f"{len(lines) - before}")


def measure_checks(options, report):
    lines, peaks = report["checks"], [peak_now(options)]
    for check in options.checks:
        wanted = itertools.product(options.check_lists, CHECKED_PASSES[check]) if check in CHECKED_PASSES \
            else [(None, None)]
        for shapes, passes in wanted:
            before = len(lines)
            try:
                run_check(options, check, shapes, passes, lines)
            except SystemExit as failure:
                report["failed"].append(str(failure))
            peaks.append(peak_now(options))
            for line in lines[before:]:
                line["peaks_around"] = peaks[-2:]
            for line in lines:
                line["lowest_peak_percent"] = 100 * min(line["peaks_around"]) / max(peaks)
        print(check, "checked", flush=True)


def measure_limits(options):
    return run_json(options.program, "info", "--json", "--seconds", max(0.15, options.seconds / 2))


def keep_largest(info, again):
    """Measured once, a minute of others at work would stand in every bound that is computed from it."""
    for what, figure in (("bandwidth", "gigabytes_per_second"), ("tiers", "peak_gflops")):
        for one, other in zip(info[what], again[what]):
            if figure in one:
                one[figure] = max(one[figure], other[figure])


def measure(options):
    """What was measured before it was stopped is a report too, if it has a network."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine.make_all_wait_alike()
    report = {"system": machine.describe(), "tiers": [], "threads": {}, "batches": {}, "checks": [], "disturbances": {},
              "failed": [], "rounds": options.rounds, "seconds": options.seconds}
    try:
        machine.warn_of_load()
        disturbance = machine.Disturbance()
        info = report["machine"] = measure_limits(options)
        measure_tiers(options, [t["isa"] for t in info["tiers"] if t["usable"]], report)
        measure_threads(options, info["threads"], report)
        measure_batches(options, report)
        measure_checks(options, report)
        keep_largest(info, measure_limits(options))
    except (KeyboardInterrupt, SystemExit) as stop:
        if not report["tiers"]:
            raise SystemExit(f"nothing was measured: {str(stop) or STOPPED}") from stop
        report["failed"].append(str(stop) or STOPPED)
        options.folder /= "unfinished"
        options.pictures = None
    return {**report, "disturbance": disturbance.report()}


def find_bench(options):
    """The program that times plain C; "" if there is none, unless one was asked for."""
    if options.bench is None and not BENCH.exists():
        print(f"plain C is left out: there is no {BENCH}, which -DGATEKERN_BUILD_BENCH=ON builds", file=sys.stderr)
        return ""
    bench = BENCH if options.bench is None else options.bench
    if bench and not shutil.which(bench):
        raise ValueError(f"--bench: no program {bench}")
    return bench


def find_plain_c(options):
    """Names of its benchmarks; says which lists have none."""
    if not options.bench:
        return set()
    names = names_of_networks(options.bench)
    if not any("/plain-c-" in name for name in names):
        print(f"plain C is left out: {options.bench} has none for this CPU", file=sys.stderr)
        return set()
    without = [name for name in options.list if not any(one.startswith(f"layer/{name}/") for one in names)]
    if without:
        print(f"plain C is left out of {', '.join(without)}: it is timed on lists of bench/shapes that were there when "
              "gatekern-bench was built", file=sys.stderr)
    return names


def read_report(path):
    try:
        report = json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"{path}: is no report.json: {error}") from error
    if not isinstance(report, dict) or not {"machine", "system", "tiers"} <= set(report):
        raise ValueError(f"{path}: is no report.json: it has no machine or no tiers")
    return report


def prepare(options):
    """Finds everything that is measured or read; ValueError says what is missing."""
    for path in filter(None, [options.source, *options.peers]):
        if not Path(path).is_file():
            raise ValueError(f"no file {path}")
    for folder in filter(None, [options.folder, options.pictures]):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{folder}: {error.strerror}") from error
    options.peer_lines = read_peers(options.peers)
    if options.source:
        options.report = read_report(options.source)
        return
    session.check_numbers(options)
    if not shutil.which(options.program):
        raise ValueError(f"--program: no program {options.program}")
    options.networks = [(name, shape) for name in options.list for shape in read_list(name)
                        if options.filter in shape.name]
    if not options.networks:
        raise ValueError(f"--filter: no network has '{options.filter}' in its name" if options.list else
                         "--list: no list is named")
    for name in options.check_lists:
        read_list(name)
    options.bench = find_bench(options)
    options.plain_c = find_plain_c(options)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--peers", nargs="*", default=[], metavar="JSONL")
    parser.add_argument("--from", dest="source", help="a report.json: measures nothing")
    parser.add_argument("--list", nargs="*", default=["anchors", "cells"], help="lists of bench/shapes")
    parser.add_argument("--filter", default="", help="only networks with this in their name")
    parser.add_argument("--checks", nargs="*", default=CHECKS, choices=CHECKS, help="of gatekern bench --check")
    parser.add_argument("--check-lists", nargs="*", default=["anchors", "char-rnn", "ptb", "real-time", "small"],
                        help="lists whose default threads and schedule are compared with every other")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="also writes the pictures of README.md there")
    parser.add_argument("--seconds", type=float, default=0.5, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", default=os.environ.get("GATEKERN_PROGRAM", ROOT / "build/gatekern"))
    parser.add_argument("--bench", help="for plain C, by default that of build/; empty: without")
    options = parser.parse_args()
    given = {word.split("=")[0] for word in sys.argv[1:]}
    measured = given & {"--list", "--filter", "--checks", "--check-lists", "--seconds", "--rounds", "--program",
                        "--bench"}
    if options.source and measured:
        parser.error(f"{min(measured)} and --from: nothing is measured")
    try:
        prepare(options)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    return options


def write_json(options, report):
    (options.folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")


def main():
    options = parse_options()
    report = options.report if options.source else measure(options)
    if options.peers or "peers" not in report:
        report["peers"], report["peer_sessions"] = options.peer_lines
        report.pop("peer_versions", None)
    options.folder.mkdir(exist_ok=True)
    write_json(options, report)
    try:
        report["short"] = shortfalls(report)
        sections = sections_of(report)
    except (AttributeError, KeyError, TypeError) as error:
        if not (options.source or options.peers):
            raise
        read = ", ".join(map(str, filter(None, [options.source, *options.peers])))
        found = f"{type(error).__name__}: {error}"
        raise SystemExit(f"not all of this is what this version writes: {read}: {found}") from error
    for old in itertools.chain(*(options.folder.glob(f"{name}*.svg") for name in PICTURES)):
        old.unlink()  # of a section that this report may not have
    write_json(options, report)
    (options.folder / "report.html").write_text(html(report, sections, METHOD))
    (options.folder / "report.md").write_text(markdown(report, sections, METHOD))
    for section in sections:
        if section.picture:
            (options.folder / f"{section.file}.svg").write_text(section.picture + "\n")
            if options.pictures and section.file in SHOWN:
                (options.pictures / f"bench-{section.file}.svg").write_text(section.picture + "\n")
    for name in SHOWN if options.pictures else []:
        if name not in {section.file for section in sections}:
            print(f"no picture {name}: the report has no such section", file=sys.stderr)
    print(options.folder / "report.html")
    if not options.source and report["failed"]:
        raise SystemExit("unfinished:\n" + "\n".join(report["failed"]))


if __name__ == "__main__":
    main()
