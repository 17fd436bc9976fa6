# SPDX-License-Identifier: Apache-2.0
"""What the report says of the machine, of the instruction sets and of promises; all its sections in their order."""

import math
import statistics
from pathlib import Path

import machine
from bars import CHECKED_PASSES
from report_page import Section
from report_peers import peer_sections, text_of_clock, text_of_share
from report_pictures import SERIES, curves, roofline, rows_of_dots, series_of
from report_shortfalls import pass_of_check, shortfall_section

METHOD = """Every measurement is a process of its own (PyTorch and ONNX Runtime stay alive and idle between theirs): the
network is made, warmed up, then run for a fixed time; the best and the median run count. Contestants take turns, one
measurement each a round, so that a slower clock or a noisy neighbour meets all of them; the scalar tier, ten times
slower, is measured in the first round only. All leave OpenMP's threads that wait as they are by default, though
gatekern alone would let them spin for less. The best is that of all rounds, the median that of the rounds' medians. How
far the slowest round's best lies above it is spread in report.json; gatekern bench prints another figure, how far the
quartiles of one round's runs lie apart. A step is forward and backward with the gradients of input, initial states,
weights and biases, ours with packing of the weights where nothing else is said. GFLOP/s count matrix products only: 2 N
T G H (I + H) a forward pass, three times that a step. The scalar tier is C with one fused multiply-add at a time, not
vectorised, by the instruction or, on CPUs that have none, by libm, as its name says; plain C is the same step in
straightforward loops, left to the compiler at -O3 for each instruction set. Peers' outputs are compared with ours on
the same data, which all of them are timed on. PyTorch runs as it does for its users: its outputs and gradients are new
memory each step, which the C library maps anew where it is large (31 MB a step of LSTM 512), while ours are arrays of
the caller. Bandwidths, as slopes of the roofline and of what a row's bound is computed from, and FMA peaks, its roofs,
are measured by gatekern info when the session starts and when it ends, peaks beside each run, too, and the largest
counts. The FMA peak is measured in the process of each run, before and after it; the largest of all rounds is what per
cents are of, and the lowest of a round says how slow the machine was at its worst. Checks of threads, schedules and
denormals are measured up to four times while they miss, and the best run of all counts. Steal is the share of all CPU
time that the hypervisor took, of each row alone, and others that of programs which the session had not started. The
clock is what the kernel reports, which a virtual machine may not know; the FMA peak measured beside each run says more.
From core to core is the time that a line of cache takes from the thread that wrote it to the one that waits for it: a
virtual machine may move threads from one cache that they share to two of their own, where networks of few samples then
take longer."""


def machine_name(report):
    return (f"{machine.name_of({**report['system'], 'cpu': report['machine']['cpu']})}, "
            f"{report['machine']['threads']} threads")


BUSY_PERCENT = 5  # of all CPU time: beside more of other programs no figure means much
SLOW_PERCENT = 85  # of a tier's highest FMA peak: below it a neighbour, or the clock, took a round's figure


def notice_sections(report):
    """What a reader must know before any figure."""
    notices = [f"This report is unfinished: {failure}" for failure in report.get("failed", [])]
    others = report["disturbance"].get("others_percent") or 0
    if others >= BUSY_PERCENT:
        notices.append(f"Other programs took {others} % of all CPU time meanwhile: figures are too low, and those of "
                       "small networks mean little.")
    steal, slow = report["disturbance"].get("steal_percent") or 0, slow_networks(report["tiers"])
    if steal >= BUSY_PERCENT:
        notices.append(f"The hypervisor took {steal} % of the time of the measurements: figures are too low.")
    if slow:
        notices.append(f"In {slow} of {len(report['tiers'])} networks the FMA peak of a round was below {SLOW_PERCENT} "
                       "% of its highest: the machine was not all ours, and single rows can be off by as much.")
    return [Section("", "", notice=notice) for notice in notices]


def machine_section(report):
    info, extra = report["machine"], report["system"]
    caches = ", ".join(f"L{c['level']} {c['bytes'] // 1024} KiB" for c in info["caches"])
    series = series_of(info["tiers"])
    tiers = "; ".join(f"{series[isa][0]} {peak:.0f}" for isa, peak in ceilings_of_tiers(report).items())
    bandwidth = ", ".join(f"{b['level']} {b['gigabytes_per_second']:.0f}" for b in info["bandwidth"])
    table = [["", "measured"], ["CPU", machine.name_of({**extra, "cpu": info["cpu"]})], ["features", info["features"]],
             ["threads", f"{info['threads']} ({info['threads_reason']})"], ["caches", caches],
             ["instruction set of threads, batches, promises", info.get("isa_reason", "–")],
             ["FMA peak, GFLOP/s, all threads", tiers], ["read bandwidth, GB/s, all threads", bandwidth],
             ["from core to core, ns", f"{info['core_to_core_ns']:.0f}" if info.get("core_to_core_ns") else "–"],
             ["kernel", extra["kernel"]],
             ["Gatekern", machine.text_of_build(info["version"], info.get("compiler"), extra)],
             ["date", extra["date"]],
             ["steal", f"{report['disturbance']['steal_percent']} % of the time of the measurements"],
             ["clock", text_of_clock(report["disturbance"]) + " MHz, by the kernel"],
             ["other programs", f"{text_of_share(report['disturbance'], 'others_percent')} % of all CPU time"]]
    return Section("Machine", "", table=table)


def mean(values):
    values = [v for v in values if v]
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


def quotient(runs, over, under):
    return runs[under]["best"] / runs[over]["best"] if over in runs and under in runs else None


def speed_up(runs, key):
    """Over the scalar tier, and GFLOP/s."""
    ratio = quotient(runs, key, "scalar")
    return (f"{ratio:.1f}× " if ratio else "") + f"({runs[key]['gflops']:.0f})" if key in runs else "–"


def text_of_slowest(run):
    """Of one round there is none."""
    return f"{100 * run['spread']:.0f}" if run["rounds"] > 1 else "–"


def text_of(ratio):
    return f"{ratio:.2f}" if ratio else "–"


# Pairs of tiers whose ratio readers look for.
PAIRS = [("avx512", "avx2"), ("avx2", "plain-c-avx2"), ("avx512", "plain-c-avx512")]


def most_taken(lines):
    """Cells: of steal, and of other programs' time."""
    shares = [[line[name] for line in lines if line.get(name) is not None]
              for name in ("steal_percent", "others_percent")]
    return [f"{max(of_all):.1f}" if of_all else "–" for of_all in shares]


def disturbance_of_runs(runs, highest):
    """Cells: the lowest FMA peak of a round in per cent of its tier's highest of all networks, the most steal of a
    tier, and the most that other programs took."""
    lowest = [100 * r["lowest_peak_gflops"] / highest[key] for key, r in runs.items() if "lowest_peak_gflops" in r]
    return [f"{min(lowest):.0f}" if lowest else "–", *most_taken(runs.values())]


def slow_networks(shapes):
    """How many had a round on a slow machine."""
    highest = highest_peaks(shapes)
    return sum(any(100 * run["lowest_peak_gflops"] < SLOW_PERCENT * highest[key]
                   for key, run in shape["runs"].items() if "lowest_peak_gflops" in run) for shape in shapes)


def highest_peaks(shapes):
    """Of each tier that measures it."""
    peaks = {}
    for key, run in (item for s in shapes for item in s["runs"].items()):
        peaks[key] = max(peaks.get(key, 0), run.get("peak_gflops", 0))
    return peaks


def ceilings_of_tiers(report):
    """Instruction set -> the largest FMA peak that the session measured, beside a run or alone."""
    largest = highest_peaks(report["tiers"])
    return {t["isa"]: max(t["peak_gflops"], largest.get(t["isa"], 0)) for t in report["machine"]["tiers"]
            if t.get("peak_gflops")}


def tier_table(shapes, keys, pairs, series):
    """One line a network, under its cell; a line of geometric means below each cell."""
    ratios = [f"{SERIES[a][0]} / {'plain C' if b.startswith('plain') else SERIES[b][0]}" for a, b in pairs]
    table = [["network"] + [series[k][0] for k in keys] + ratios
             + ["best, % of peak (median)", "slowest round, % above best", "lowest peak, %", "steal %", "others %"]]
    highest = highest_peaks(shapes)
    for cell in dict.fromkeys(s["cell"] for s in shapes):
        of_cell = [s for s in shapes if s["cell"] == cell]
        table.append([cell])
        for shape in of_cell:
            runs = shape["runs"]
            line = [shape["name"]] + [speed_up(runs, key) for key in keys]
            best = max((r for k, r in runs.items() if not k.startswith("plain")), key=lambda r: r["gflops"])
            table.append(line + [text_of(quotient(runs, a, b)) for a, b in pairs]
                         + [f"{best['percent_of_peak']:.0f} "
                            f"({best['percent_of_peak'] * best['best'] / best['median']:.0f})",
                            text_of_slowest(best)] + disturbance_of_runs(runs, highest))
        if len(of_cell) > 1:
            means = [mean(quotient(s["runs"], key, "scalar") for s in of_cell) for key in keys]
            table.append(["geometric mean"] + [f"{m:.1f}×" if m else "–" for m in means]
                         + [text_of(mean(quotient(s["runs"], a, b) for s in of_cell)) for a, b in pairs] + [""] * 5)
    return table


def caption_of(report):
    return f"{machine_name(report)}, Gatekern {report['machine']['version']}, {report['system']['date']}"


def labels_of_lists(lists):
    """The name of each, without the folder and the suffix of a file unless two would be called alike."""
    stems = {name: Path(name or "").stem for name in lists}
    return stems if len(set(stems.values())) == len(stems) else {name: name for name in lists}


def tier_section(report):
    shapes, keys = report["tiers"], [k for k in SERIES if any(k in s["runs"] for s in report["tiers"])]
    shapes = sorted(shapes, key=lambda s: s["cell"])
    lists = labels_of_lists({s.get("list") for s in shapes})
    names = [f"{lists[s['list']]}/{s['name']}" if len(lists) > 1 else s["name"] for s in shapes]
    values = {name: {k: r["gflops"] for k, r in s["runs"].items()} for name, s in zip(names, shapes)}
    peaks = ceilings_of_tiers(report)
    pairs = [(a, b) for a, b in PAIRS if a in keys and b in keys]
    series = series_of(report["machine"]["tiers"])
    table = tier_table([{**s, "name": name} for name, s in zip(names, shapes)], keys, pairs, series)
    widest = "avx512" if "avx512" in peaks else "avx2"  # one of them: where both lie near, so would their labels
    marks = [(peaks[k], SERIES[k][0] + " peak") for k in ("scalar", widest, "neon") if k in peaks]
    picture = rows_of_dots(names, series, values, "GFLOP/s of each instruction set", "GFLOP/s of a training step",
                           marks, caption_of(report))
    return Section("What each instruction set gives", "Speed-up over the scalar tier (GFLOP/s) of a training step; "
                   "then the ratios of one instruction set to another, and of hand-written kernels to plain C of the "
                   "same instruction set. The last columns say what disturbed a network: the lowest FMA peak of a "
                   "round, in per cent of its tier's highest, the most steal that a tier met, and the most of all CPU "
                   "time that other programs took.", picture, "tiers", table)


def roofline_section(report):
    peaks = ceilings_of_tiers(report)
    bandwidths = {b["level"]: b["gigabytes_per_second"] for b in report["machine"]["bandwidth"]}
    points = [(key, s["name"], s["intensity"], run["gflops"]) for s in report["tiers"]
              for key, run in s["runs"].items()]
    return Section("Roofline", "Dashed: measured FMA peak of each tier; grey: measured read bandwidth. One point a "
                   "network and tier, at the FLOP a byte of a step. Its bytes: recurrent weights once a time step "
                   "forward and once backward, all other weights once forward and once backward, the gradients of "
                   "weights once; x and y twice, their gradients once, what forward keeps for backward twice. A point "
                   "above a slope has its weights in a faster level.",
                   roofline(points, series_of(report["machine"]["tiers"]), peaks, bandwidths, caption_of(report)),
                   "roofline")


# (check, what its ratio is)
CHECKS = [("latency", "streaming steps, one sample, one thread: slowest hundredth / median"),
          ("first-call", "first call of a new (T, N) / later ones"),
          ("threads", "default number of threads / the fastest"),
          ("schedules", "chosen schedule / the fastest"),
          ("denormals", "denormal inputs / normal ones"),
          ("softmax", "output layer of many words: FMA peak / its GFLOP/s"),
          ("trainer", "what training does beside the layers / its whole step")]


def check_row(what, lines):
    """`lines` of one check. Of networks that nothing is promised for, only where no other is."""
    lines = [line for line in lines if "at_most" in line] or lines
    worst = max(lines, key=lambda line: line["ratio"])
    missed = sum(not line.get("fine", True) for line in lines)
    lowest = [line["lowest_peak_percent"] for line in lines if "lowest_peak_percent" in line]
    return [what, str(len(lines)), ("!" if missed else "") + f"{worst['ratio']:.3f}", worst.get("name", ""),
            f"{statistics.median(line['ratio'] for line in lines):.3f}", str(worst.get("at_most", "–")), str(missed),
            f"{min(lowest):.0f}" if lowest else "–", *most_taken(lines)]


def check_section(report):
    table = [["promise", "networks", "worst", "of", "median", "at most", "missed", "lowest peak, %", "steal %",
              "others %"]]
    for check, what in CHECKS:
        lines = [line for line in report.get("checks", []) if line["check"] == check and "ratio" in line]
        for passes in CHECKED_PASSES.get(check, []):
            of_pass = [line for line in lines if pass_of_check(line) == passes]
            table += [check_row(f"{what}, {passes}", of_pass)] if of_pass else []
        if lines and check not in CHECKED_PASSES:
            table.append(check_row(what, lines))
    return [Section("Promises", "Measured by gatekern bench --check: the worst network and the median of all; "
                    "report.json has each. The lowest FMA peak measured before and after a check is in per cent of "
                    "the highest; steal and others are the most that a network met.", table=table)] \
        if len(table) > 1 else []


def text_of_curves(disturbance):
    if not disturbance:
        return ""
    lowest = f"lowest FMA peak of a run {disturbance['lowest_peak_percent']:.0f} % of the highest"
    return f" Meanwhile {', '.join(filter(None, (lowest, machine.text_of_taken(disturbance))))}."


def curve_table(first, series, digits):
    """series: label -> [(x, y)]; a column for each x."""
    columns = sorted({x for points in series.values() for x, _ in points})
    return [[first, *map(str, columns)]] + [[label] + [f"{dict(points)[x]:.{digits}f}" if x in dict(points) else "–"
                                                       for x in columns] for label, points in series.items()]


def curve_sections(report):
    threads = {name: [(t, runs[0][1] / s) for t, s in runs] for name, runs in report["threads"].items()}
    batches = {name: [(n, g) for n, g in runs] for name, runs in report["batches"].items()}
    sections, disturbed = [], report.get("disturbances", {})
    if threads and max(len(runs) for runs in threads.values()) > 1:
        sections.append(Section("Threads", "Speed-up over one thread of a training step; dashed: as many times as "
                                f"threads.{text_of_curves(disturbed.get('threads'))}",
                                curves(threads, "threads", "speed-up", "thread scaling", caption_of(report),
                                       ideal=True),
                                "threads", curve_table("speed-up by threads", threads, 2)))
    if batches:
        sections.append(Section("Small batches", "GFLOP/s of a training step, T = 50, by samples of a batch."
                                + text_of_curves(disturbed.get("batches")),
                                curves(batches, "samples of a batch, N", "GFLOP/s", "small batches",
                                       caption_of(report)), "batches", curve_table("GFLOP/s by N", batches, 1)))
    return sections


def sections_of(report):
    return [*notice_sections(report), machine_section(report), tier_section(report), roofline_section(report),
            *peer_sections(report), *curve_sections(report), *check_section(report), *shortfall_section(report)]
