#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_report.py ROOT: the benchmark's report, drawn from made-up figures: pictures for light and dark, nothing from
the network, the same figures in HTML, Markdown and JSON, sessions apart, and every row that falls short with what
bounds it."""

import contextlib
import copy
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from xml.etree import ElementTree

ROOT = Path(sys.argv[1])
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench/peers")]

import bars
import bounds
import machine
import reasons
import report
import report_pictures

MEASURED_CPU = {"cpu": "AMD EPYC", "family": 25, "model": 17}  # one that reasons.txt has reasons for

def run(best, percent, rounds):
    return {"best": best, "median": best, "gflops": 1 / best, "spread": 0.01, "rounds": rounds,
            "percent_of_peak": percent, "peak_gflops": 100.0, "lowest_peak_gflops": 97.0, "steal_percent": 1.25,
            "others_percent": 2.5, "megahertz": [1000, 2000]}


def network(cell, hidden, scale, rounds=3):
    tiers = {"scalar": 1.0, "plain-c-avx2": 0.5, "avx2": 0.25, "avx512": 0.125}
    return {"list": "anchors", "name": f"{cell}-{hidden}", "cell": cell, "input": hidden, "hidden": hidden, "batch": 8,
            "time": 5, "layers": 1, "intensity": 20.0 * scale,
            "runs": {tier: run(scale * best, 10 / best, rounds) for tier, best in tiers.items()}}


def peer_line(name, ratio, needed, session=0, batch=64):
    """GFLOP/s of a shape that are those of its time; the peak is twice as high."""
    missed, best = ["onednn"] if ratio < needed else [], 0.01
    shape = {"cell": "lstm", "input": 512, "hidden": 512, "batch": batch, "time": 25, "layers": 1}
    gflops = bars.Shape(name, **shape).flop(True) / best * 1e-9
    return {"name": name, **shape, "pass": "step", "isa": "auto", "group": "lstm", "missed": missed,
            "at_least": {"onednn": needed}, "steal_percent": 0.0, "others_percent": 0.75, "session": session,
            "megahertz": [2596, 2596], "gatekern": {"best": best, "median": best, "gflops": gflops,
                                                    "percent_of_peak": 50.0, "peak_gflops": 2 * gflops,
                                                    "lowest_peak_gflops": 1.96 * gflops,
                                                    **({"sustained_gflops": 1.95 * gflops} if session == 0 else {})},
            "peers": {"onednn": {"ratio": ratio, "ratio_median": ratio, "ratio_with_reorders": 2 * ratio}}}


def prepacked_line(name, ratio, needed):
    """Without packing the network takes half the time."""
    line = peer_line(name, ratio, needed)
    line["gatekern"]["prepacked_best"] = line["gatekern"]["best"] / 2
    line["peers"]["onednn"]["ratio_packing_alone"] = ratio / 2
    return line


def unmeasured_line(name):
    return {**peer_line(name, 1.0, 1.0), "group": "rnn", "cell": "rnn", "peers": {}, "unmeasured": ["onednn"]}


def training_line(title, ratio, needed):
    return {"training": title, "isa": "avx2", "session": 0, "gatekern": [{"best": 30.0}],
            "pytorch": [{"best": 20.0, "peer": "p 1"}], "ratio": ratio, "ratio_median": ratio, "at_least": needed}


def check_line(check, name, ratio, at_most):
    return {"check": check, "name": name, "cell": "lstm", "ratio": ratio, "at_most": at_most, "fine": ratio <= at_most,
            "steal_percent": 0.75, "lowest_peak_percent": 96.0}


def session(cpu, threads, version):
    return {"machine": {**cpu, "date": "2026-01-02"}, "threads": threads, "rounds": 3, "seconds": 0.5,
            "versions": {"gatekern": "1", "onednn": version}}


REPORT = {
    "machine": {"cpu": "AMD EPYC", "features": "f", "threads": 2, "threads_reason": "r", "version": "1",
                "tiers": [{"isa": t, "usable": True, "peak_gflops": p} for t, p in
                          (("scalar", 2.0), ("avx2", 9.0), ("avx512", 10.0))],
                "caches": [{"level": 1, "bytes": 32768}],
                "bandwidth": [{"level": "L2", "gigabytes_per_second": 5.0},
                              {"level": "memory", "gigabytes_per_second": 1.0}]},
    "system": {**MEASURED_CPU, "kernel": "k<&>", "date": "today"},
    "disturbance": {"steal_percent": 0.5, "others_percent": 1.5, "load": 1.0, "megahertz": [1000, 2000]},
    "tiers": [network("lstm", 8, 1.0), network("lstm", 16, 2.0), network("rnn", 8, 0.5, rounds=1)],
    "threads": {"lstm 8, N 4": [[1, 2.0], [2, 1.0]]},
    "batches": {"lstm 8": [[1, 10.0], [2, 15.0]]},
    "disturbances": {"threads": {"steal_percent": 0.25, "others_percent": 12.5, "lowest_peak_percent": 88.0}},
    "checks": [check_line("latency", "slow", 2.5, 2), check_line("latency", "quick", 1.1, 2),
               check_line("trainer", "whole", 0.01, 0.05),
               check_line("threads", "old", 1.01, 1.05),
               {**check_line("threads", "new", 1.5, 1.05), "pass": "inference", "schedule": "teams", "threads_used": 2,
                "inference_ms": 3.0, "by_threads": [{"threads": t, "inference_ms": 1.0 + t} for t in (1, 2)]},
               {"check": "trainer", "name": "small", "cell": "lstm", "ratio": 0.09}],
    "peers": [peer_line("faster", 1.5, 1.0), peer_line("slower", 0.5, 1.0), unmeasured_line("alone"),
              training_line("lstm 2x8 N1 T1", 1.5, 1.0), peer_line("slower", 0.25, 1.0, 1),
              {"name": "broken", "pass": "step", "isa": "auto", "error": "oneDNN failed: no memory", "session": 1}],
    "peer_sessions": [session(MEASURED_CPU, 2, "3.2.0"), session({"cpu": "<a CPU & more>"}, 8, "9.9.9")],
}


def draw(folder, report):
    folder.mkdir(exist_ok=True)
    source = folder / "made-up.json"
    source.write_text(json.dumps(report))
    subprocess.run([sys.executable, ROOT / "bench/report.py", folder, "--from", source, "--pictures", folder],
                   check=True, stdout=subprocess.DEVNULL)
    return [(folder / f"report.{kind}").read_text() for kind in ("html", "md", "json")]


def check_pictures(folder, page):
    pictures = sorted(folder.glob("*.svg"))
    names = {p.name for p in pictures}
    assert {"tiers.svg", "roofline.svg", "threads.svg", "batches.svg", "peers-step.svg", "peers-step-2.svg",
            "bench-tiers.svg", "bench-roofline.svg", "bench-peers-step.svg"} <= names, names
    for picture in pictures:
        text = picture.read_text()
        ElementTree.fromstring(text)
        assert "prefers-color-scheme:dark" in text, picture
        assert "var(" not in text, picture  # programs that show pictures need not know CSS variables
        assert text.strip() in page or picture.name.startswith("bench-"), picture
    for name, version, other in (("peers-step", "3.2.0", "9.9.9"), ("peers-step-2", "9.9.9", "3.2.0")):
        text = (folder / f"{name}.svg").read_text()
        assert f"oneDNN {version}" in text and "2026-01-02" in text and other not in text, name


def check_text(page, markdown):
    assert "prefers-color-scheme:dark" in page
    links = re.findall(r"(?:src|href)=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)
    assert not links, links
    assert "&lt;a CPU &amp; more&gt;" in page and "<a CPU" not in page and "k<&>" not in page
    for text in (page, markdown):
        for figure in ("8.0× (8)", "1.50 (1.50) [3.00]", "geometric mean", "Rows that fall short", "Method",
                       "warmed up", "0.500", "2.500"):
            assert figure in text, figure
    assert re.search(r"\| alone .*not measured", markdown), markdown
    assert "| lstm 2x8 N1 T1 | avx2 | 30 | 20 | 1.50 (1.50) | 1.0 |" in markdown, markdown
    line = "| lstm-8 | 1.0× (1) | 2.0× (2) | 4.0× (4) | 8.0× (8) | 2.00 | 2.00 | 80 (80) | 1 | 97 | 1.2 | 2.5 |"
    assert line in markdown, markdown
    assert re.search(r"\| rnn-8 \| 1.0× .* \| 80 \(80\) \| – \| 97", markdown), "one round has no slowest one"
    assert re.search(r"\| faster \| 10.000 \(10.000\) .*\| oneDNN 1.0 \| 98 \| 0.0 \| 0.75 \| 2596 \|", markdown), \
        markdown
    assert "/ its whole step | 1 | 0.010 | whole | 0.010 | 0.05 | 0 |" in markdown, markdown
    for passes, worst in (("step", "1.010"), ("inference", "**1.500**")):  # that of an old line is a step
        assert f"| default number of threads / the fastest, {passes} | 1 | {worst} |" in markdown, markdown
    assert "| new | – | threads, inference |" in markdown, markdown
    assert re.search(r"\| 2 \| \*\*2.500\*\* \| slow \| 1.800 \| 2 \| 1 \| 96 \| 0.8 \| – \|", markdown), markdown
    assert "Meanwhile lowest FMA peak of a run 88 % of the highest, steal 0.25 %, others 12.5 %." in markdown, markdown
    assert "Other programs took" not in page


def check_sessions(page, markdown):
    """Two sessions with the same network: apart, each with its versions; one of another machine says so."""
    for text in (page, markdown):
        assert "Peers, session 1: a training step" in text and "Peers, session 2: a training step" in text
        assert text.count("Not to be compared with the rest of this report") == 2  # once a section
        assert "with 8 threads, not 2" in text and "oneDNN failed: no memory" in text
    assert markdown.count("| our speed / oneDNN 3.2.0's |") == 1
    assert markdown.count("| our speed / oneDNN 9.9.9's |") == 1
    # The geometric mean is of the first session's rows alone.
    assert "| lstm | oneDNN 3.2.0 | **0.866** | 1.12 |" in markdown and "| oneDNN 9.9.9 | **" not in markdown, markdown


def check_shortfalls(markdown, data):
    short = [(s["network"], s["pass"], s["who"], s["reached"], s.get("session")) for s in data["short"]]
    # The geometric mean of 1.5 and 0.5 is below its bound too.
    assert short == [("slower", "step", "onednn", 0.5, 1), ("lstm", "mean", "onednn", 0.866, 1),
                     ("slower", "step", "onednn", 0.25, 2), ("slow", "latency", "-", 2.5, None),
                     ("new", "threads", "-", 1.5, None)], short
    here, mean, elsewhere, check, threads = data["short"]
    for row in (here, mean):
        assert row["reason"] not in ("", reasons.NONE), row
        assert row["reason"] in markdown, row
    for row in (elsewhere, check):  # never another CPU's reason
        assert row["reason"] == reasons.NONE, row
    assert markdown.count("**none**") == 3 and reasons.NONE in markdown, markdown
    assert all(row["computed"] in markdown for row in data["short"])
    assert "50.0 % of the FMA peak; the peer" in here["computed"], here
    assert ", 100.0 %; a ratio of 1.0 asks" in here["computed"], here
    assert "2 rows: ours at 50 % of the FMA peak, the peer at 33-100 %" in mean["computed"], mean
    assert "25.0 % above" in check["computed"], check
    assert "Chosen: teams, 2 threads, 3 ms; fastest: threads 1, 2 ms." in threads["computed"], threads
    assert "Meanwhile steal 0.75 %, FMA peak 96 % of the highest." in check["computed"], check
    assert "Meanwhile steal 0.0 %, others 0.75 %." in here["computed"], here


def check_peak_without_avx512(folder):
    """Then AVX2's has its line in the picture."""
    report = json.loads(json.dumps(REPORT))
    draw(folder, report)
    picture = (folder / "tiers.svg").read_text()
    assert "AVX-512 peak" in picture and "AVX2 peak" not in picture
    report["machine"]["tiers"][2] = {"isa": "avx512", "usable": False}
    draw(folder, report)
    assert "AVX2 peak" in (folder / "tiers.svg").read_text()


def check_axes(folder):
    """Ratios near 1 have more than that tick, each measured count of threads its own, long names room beside them."""
    ticks = report_pictures.Log([0.98, 1.03], 0, 600).ticks()
    assert [report_pictures.number(tick) for tick in ticks] == ["0.9", "0.95", "1", "1.05", "1.1", "1.15"], ticks
    far = copy.deepcopy(REPORT)
    far["threads"] = {"lstm 8, N 4": [[count, 1 / count] for count in (1, 2, 4, 8, 12)]}
    far["tiers"][0] |= {"list": "/a/long/path/of/its/own/that/nobody/needs/to/see/own.txt", "name": "n" * 90}
    far["system"]["kernel"] = "a|b"
    page, text, _ = draw(folder, far)
    assert r"| kernel | a\|b |" in text, text
    curve, tiers = ((folder / name).read_text() for name in ("threads.svg", "tiers.svg"))
    assert all(f">{count}</text>" in curve for count in (1, 2, 4, 8, 12)), curve
    assert "own/" + "n" * 90 in page and "nobody" not in page and "anchors/lstm-16" in page
    width = int(re.search(r'width="(\d+)"', tiers).group(1))
    assert width > 920 and all(0 <= float(x) <= width for x in re.findall(r'\b[c]?x[12]?="([^"]*)"', tiers)), width


def check_roofs(folder):
    """The largest peaks and bandwidths of all that were measured; no run is above its roof."""
    low = {"tiers": [{"isa": "avx2", "usable": True, "peak_gflops": 60.0}, {"isa": "avx512", "usable": False}],
           "bandwidth": [{"level": "L2", "gigabytes_per_second": 5.0}]}
    high = {"tiers": [{"isa": "avx2", "usable": True, "peak_gflops": 80.0}, {"isa": "avx512", "usable": False}],
            "bandwidth": [{"level": "L2", "gigabytes_per_second": 4.0}]}
    report.keep_largest(low, high)
    assert low["tiers"][0]["peak_gflops"] == 80.0 and low["bandwidth"][0]["gigabytes_per_second"] == 5.0, low
    draw(folder, REPORT)  # its runs have a peak of 100, the session's start had 10
    assert ">AVX-512 100<" in (folder / "roofline.svg").read_text()


def check_scalar_versions(folder):
    """Tables and legends say which of the two ran."""
    named = copy.deepcopy(REPORT)
    for fma, name in (("instruction", "scalar C, fma instruction"), ("libm", "scalar C, libm fma")):
        named["machine"]["tiers"][0]["fma"] = fma
        page, text, _ = draw(folder, named)
        assert f"| network | {name} |" in text and page.count(f">{name}<") == 3, (name, page.count(f">{name}<"))


def check_prepacked(folder):
    """A peer that leaves out its reorders is compared with a step of ours that leaves out packing."""
    lines = [prepacked_line("packs", ratio, 1.0) for ratio in (0.9, 0.8)]
    _, markdown, data = draw(folder, {**REPORT, "peers": lines})
    assert "**0.90 (0.90) [1.80; 0.45]**" in markdown and "10.000 (10.000); 5.000 without packing" in markdown, markdown
    assert "compared with a step of ours whose weights were packed" in markdown, markdown
    row, _, mean = json.loads(data)["short"][:3]
    assert "Ours without packing" in row["computed"] and ", 111.1 %; a ratio of 1.0" in row["computed"], row
    assert "2 rows: ours without packing at 100 % of the FMA peak, the peer at 111-125 %" in mean["computed"], mean


def check_rows_without_peers(folder):
    """What falls short has its row in a table, beside no picture where there is no ratio to draw."""
    of_peak = {**peer_line("no-peer", 1.0, 1.0), "peers": {}, "at_least": {"peak": 0.9}, "missed": ["peak"]}
    _, markdown, data = draw(folder, {**REPORT, "peers": [of_peak]})
    assert [s["network"] for s in json.loads(data)["short"]][0] == "no-peer"
    assert re.search(r"\| no-peer \| 10.000 .* \| \*\*50\*\* \| peak 0.9 \|", markdown), markdown
    assert not list(folder.glob("peers-*.svg"))


def check_ragged(folder):
    row = {"ragged": "lstm 8/4/5", "best": 0.5, "packed": 1.0, "ratio": 2.0, "at_least": 3.0, "difference": 0.0,
           "session": 0, "steal_percent": 0.25, "others_percent": 0.5}
    _, markdown, data = draw(folder, {**REPORT, "peers": [row]})
    assert "| lstm 8/4/5 | 500.000 | 1000.000 | **2.00** | 3.0 | 0.25 | 0.5 |" in markdown, markdown
    with_medians = {**row, "median": 0.6, "packed_median": 1.5, "ratio_median": 2.5}
    wanted = "| lstm 8/4/5 | 500.000 (600.000) | 1000.000 (1500.000) | **2.00 (2.50)** | 3.0 | 0.25 | 0.5 |"
    assert wanted in draw(folder, {**REPORT, "peers": [with_medians]})[1]
    short = json.loads(data)["short"][0]
    assert short["network"] == "lstm-8/4/5" and "a ratio of 3.0 asks for 333 ms" in short["computed"], short


def check_old_report(folder):
    """One that was written before sessions, disturbances and the CPU's family were kept."""
    report = json.loads(json.dumps(REPORT))
    report["peer_versions"] = ["onednn 3"]
    del report["peer_sessions"], report["system"]["family"], report["system"]["model"]
    for line in report["peers"] + report["checks"]:
        for key in ("session", "steal_percent", "lowest_peak_percent", "megahertz", "others_percent"):
            line.pop(key, None)
    for shape in report["tiers"]:
        for of_tier in shape["runs"].values():
            for key in ("peak_gflops", "lowest_peak_gflops", "steal_percent", "others_percent", "megahertz"):
                del of_tier[key]
    _, markdown, data = draw(folder, report)
    assert "| 80 (80) | 1 | – | – | – |" in markdown and "onednn 3" in markdown, markdown
    assert "slower, again 1" in markdown, markdown
    assert "with the peer's reorders" in markdown and "whose weights were packed" not in markdown, markdown
    of_steps = [s["reason"] for s in json.loads(data)["short"] if s["pass"] == "step"]
    assert of_steps and set(of_steps) == {reasons.NONE}, of_steps


def check_bounds():
    """On ceilings that leave no doubt: 4 MB of weights, 100 GB/s of memory, 1000 GFLOP/s."""
    ceilings = {"threads": 2, "caches": [{"level": 2, "bytes": 1 << 20, "shared_by_cpus": "0"}],
                "bandwidth": [{"level": "L2", "gigabytes_per_second": 1e3},
                              {"level": "memory", "gigabytes_per_second": 100.0}]}
    assert [bounds.sharers({"shared_by_cpus": text}) for text in ("0", "0-3", "0-1,8-9", None)] == [1, 4, 4, 1]
    assert bounds.holding_level(ceilings, 2 << 20) == "L2" and bounds.holding_level(ceilings, 4 << 20) == "memory"
    floor = bounds.floor_of(bars.Shape("", "lstm", 512, 512, 1, 25), True, 1000.0, ceilings)
    assert floor.by_bandwidth and floor.level == "memory", floor
    assert abs(floor.reading - 2 * 25 * 4 * 4 * 512 * 512 / 100e9) < 1e-12, floor
    others = 3 * 2 * 25 * 4 * 512 * 1024 - 2 * 2 * 25 * 4 * 512 * 512
    assert abs(floor.seconds - floor.reading - others / 1e12) < 1e-12, floor
    assert not bounds.floor_of(bars.Shape("", "lstm", 512, 512, 64, 25), True, 1000.0, ceilings).by_bandwidth
    text = bounds.of_row(peer_line("one", 0.5, 1.0, batch=1), "onednn", ceilings)
    kept = "The FMA loop itself kept 97.5 % on average"
    assert kept in text and kept not in bounds.of_row(peer_line("old", 0.5, 1.0, session=1), "onednn", ceilings), text
    assert "(4.19 MB, in memory) once a time step forward and once backward at 100 GB/s takes 2.1 ms" in text, text
    assert "Reading" not in bounds.of_row(peer_line("one", 0.5, 1.0), "onednn"), "no bandwidth is known"


def make_program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def refusal_of(call, *arguments):
    """What it stops with."""
    try:
        call(*arguments)
    except (SystemExit, ValueError) as refusal:
        return str(refusal)
    raise AssertionError(f"not refused: {arguments}")


def check_exit_statuses(folder):
    """A missed promise is a result; a failure is none, whatever was checked before and after it."""
    for status in (0, 1, 2, 3):
        program = make_program(folder / "gatekern", f"echo '{{\"ratio\": 2}}'; exit {status}")
        lines = [{}]
        arguments = SimpleNamespace(program=program), "latency", None, None, lines
        if status in (0, 3):
            report.run_check(*arguments)
        else:
            message = refusal_of(report.run_check, *arguments)
            assert f"failed with exit status {status}; networks that were checked: 1" in message, message
        assert len(lines) == 2 and lines[1]["ratio"] == 2, (status, lines)


def check_passes_of_checks(folder):
    """Threads and schedules are checked of a step and of inference, in each list."""
    info = json.dumps({"tiers": [{"isa": "scalar", "peak_gflops": 1}]})
    program = make_program(folder / "gatekern", f"""[ "$1" = info ] && echo '{info}' && exit
echo "{{\\"arguments\\": \\"$*\\"}}\"""")
    options = SimpleNamespace(program=program, checks=["latency", "threads"], check_lists=["ptb", "cells"])
    with contextlib.redirect_stdout(None):
        measured = {"checks": []}
        report.measure_checks(options, measured)
    asked = [line["arguments"].partition("--check ")[2] for line in measured["checks"]]
    assert asked == ["latency"] + [f"threads --shapes {shapes} --pass {passes}" for shapes in ("ptb", "cells")
                                   for passes in ("step", "inference")], asked


def check_unfinished(folder):
    """What was measured before a part failed, or the user stopped it, is kept, drawn, and said to be unfinished."""
    info = json.dumps(REPORT["machine"] | {"tiers": [{"isa": "scalar", "usable": True, "peak_gflops": 1.0}]})
    step = '{"step_ms": 1, "step_ms_median": 1, "peak_gflops": 1, "bytes": 8}'
    for stop, said, where in (("exit 1", "failed with exit status 1", "stopped"),
                              ("printf '{\"na'; exit 134", "failed with exit status 134", "stopped"),
                              ("kill -TERM $PPID; sleep 1", "stopped by the user", "stopped/unfinished")):
        program = make_program(folder / "gatekern", f"""[ "$1" = info ] && echo '{info}' && exit
case "$*" in *--check*) {stop};; *) echo '{step}';; esac""")
        command = [sys.executable, ROOT / "bench/report.py", folder / "stopped", "--program", program, "--bench", "",
                   "--list", "anchors", "--filter", "lstm-128", "--rounds", "1", "--checks", "latency"]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 1 and said in result.stderr, result
        data = json.loads((folder / where / "report.json").read_text())
        assert data["tiers"] and data["batches"] and data["checks"] == [] and said in data["failed"][0], data
        for text in draw(folder / "redrawn", data)[:2]:
            assert "This report is unfinished" in text and said in text


def check_stopped_at_once(folder):
    """Before anything was measured, that is said, and nothing else."""
    program = make_program(folder / "gatekern", "kill -INT $PPID; sleep 1")
    command = [sys.executable, ROOT / "bench/report.py", folder / "at-once", "--program", program, "--bench", ""]
    result = subprocess.run(command, capture_output=True, text=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    assert result.returncode == 1 and "Traceback" not in result.stderr, result
    assert result.stderr.endswith("nothing was measured: stopped by the user\n"), result


def check_plain_c(folder):
    """Only what gatekern-bench has is asked for: not AVX-512 where the CPU has none, nor a list of the user's own."""
    info = json.dumps(REPORT["machine"] | {"tiers": [{"isa": "scalar", "usable": True, "peak_gflops": 1.0}]})
    program = make_program(folder / "gatekern", f"""[ "$1" = info ] && echo '{info}' && exit
echo '{{"step_ms": 1, "step_ms_median": 1, "peak_gflops": 1, "bytes": 8}}'""")
    listed = "layer/anchors/lstm-128-n50-t50/{}/step/real_time"
    line = '{"run_type": "iteration", "real_time": 2e6}'
    (folder / "own.txt").write_text("tiny lstm 32 32 4 5 1\n")
    avx2 = make_program(folder / "bench-avx2", f"""case "$*" in *--benchmark_list_tests*)
echo {listed.format("plain-c-avx2")};; */plain-c-avx2/step/*) echo '{{"benchmarks": [{line}]}}';; *) exit 1;; esac""")
    without = make_program(folder / "no-plain-c", f"""case "$*" in *--benchmark_list_tests*)
echo {listed.format("neon")};; *) exit 1;; esac""")
    for bench, names, wanted, said in ((avx2, ["anchors"], {"scalar", "plain-c-avx2"}, ""),
                                       (avx2, [folder / "own.txt"], {"scalar"}, "plain C is left out of "),
                                       (without, ["anchors"], {"scalar"}, "no-plain-c has none for this CPU")):
        command = [sys.executable, ROOT / "bench/report.py", folder / "plain-c", "--program", program, "--bench", bench,
                   "--list", *names, "--rounds", "1", "--checks"]
        command += ["--filter", "lstm-128-n50-t50"] if names == ["anchors"] else []
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0 and said in result.stderr, result
        network, = json.loads((folder / "plain-c/report.json").read_text())["tiers"]
        assert set(network["runs"]) == wanted and network["intensity"] > 0, network


def check_means():
    """Each pass has its own mean, and a group none of the rows that are in no group."""
    step, alone = peer_line("a", 2.0, 1.0), {**peer_line("b", 0.5, 1.0), "group": ""}
    forward = {**peer_line("c", 0.5, 1.0), "pass": "inference"}
    sizes = {"group_sizes": {"onednn": 3, "pytorch": 4}}
    part, failed = {**step, **sizes}, {"error": "none", "group": "lstm", **sizes}
    of_part, = bars.geometric_means([part, part, failed])
    assert of_part.part == " of 2 of 3 rows" and of_part.needed is None and not of_part.missed
    whole, = bars.geometric_means([part] * 3)
    assert whole.part == "" and whole.needed == 1.12
    found = [(mean.name, mean.passes, len(mean.lines), round(mean.value, 6))
             for mean in bars.geometric_means([step, forward, alone, step, forward, alone])]
    assert found == [("lstm", "step", 2, 2.0), ("lstm", "inference", 2, 0.5), ("lstm", "step", 2, 0.5)], found


def check_step_rows():
    """A CPU without AVX-512 is asked for AVX2's share of the peak, once; packed sequences are measured, for no bar."""
    both, avx2 = bars.step_rows("avx512"), bars.step_rows("avx2")
    assert {row.isa for row in both} == {"auto", "avx2"} and {row.isa for row in avx2} == {"auto"}
    packed = {row.shape.name: row.at_least for row in both if "packed" in row.peers}
    assert {name.split("-")[0] for name in packed} == {"lstm", "gru", "rnn"} and len(packed) == 3, packed
    assert not any("packed" in bars_of_row for bars_of_row in packed.values()), packed
    shares = [{row.shape.name: row.at_least.get("peak") for row in rows if row.isa == isa and row.shape.cell != "rnn"}
              for rows, isa in ((avx2, "auto"), (both, "avx2"), (both, "auto"))]
    assert shares[0] == shares[1] != shares[2], shares


def check_lists_are_refused(folder):
    """With the line, and what is wrong with it, as the library's own program refuses them."""
    path = folder / "list.txt"
    for line, problem in (("a lstm 1 2 3 4", "6 fields"), ("a lstm 1 2 3 4 5 6", "8 fields"),
                          ("a/b lstm 1 2 3 4 5", "a name"), ("a lsdm 1 2 3 4 5", "unknown cell 'lsdm'"),
                          ("a lstm 1 2 x 4 5", "a size"), ("a lstm 1 2 0 4 5", "a size"),
                          ("a lstm 1 2 3 4 1048577", "a size")):
        path.write_text(f"# comment\nfine rnn 1 2 3 4 5\n{line}\n")
        message = refusal_of(bars.read_list, str(path))
        assert message.startswith(f"{path}, line 3: {problem}"), message
    for text, problem in (("lstm,1,2,x,4", "a size"), ("lstm,1,2,0,4", "a size"), ("lstm,1,2,3", "not cell,I,H,N,T"),
                          ("lsdm,1,2,3,4", "not cell,I,H,N,T")):
        assert refusal_of(bars.parse_shape, text).startswith(f"{text}: {problem}"), text
    path.write_text("# nothing\n")
    assert "no shape" in refusal_of(bars.read_list, str(path))
    assert "the lists are anchors" in refusal_of(bars.read_list, "nosuch")


def check_missing_files(folder):
    """One line for each, before anything is measured."""
    program, torn = make_program(folder / "gatekern", "exit 9"), folder / "torn.jsonl"
    torn.write_text('{"header": {}}\n{"name": "a')
    bare, binary = folder / "bare.jsonl", folder / "binary.jsonl"
    bare.write_text("null\n")
    binary.write_bytes(b"\x7fELF\xff")
    for arguments, missing in (([], f"no program {folder / 'nosuch'}"),
                               (["--program", program, "--bench", "nosuch"], "no program nosuch"),
                               (["--program", program, "--list", "nosuch"], "nosuch: No such file"),
                               (["--program", program, "--check-lists", "nosuch"], "nosuch: No such file"),
                               (["--program", program, "--filter", "nosuch"], "no network has 'nosuch'"),
                               (["--program", program, "--rounds", "0"], "--rounds is 0, must be at least 1"),
                               (["--pictures", program], f"{program}: File exists"),
                               (["--from", program], f"{program}: is no report.json"),
                               (["--from", torn], f"{torn}: is no report.json"),
                               (["--peers", torn], f"{torn}, line 2: "),
                               (["--peers", bare], f"{bare}, line 1: is no object"),
                               (["--peers", binary], f"{binary}: is not text"),
                               (["--program", program, "--list"], "--list: no list is named"),
                               (["--from", "nosuch"], "no file nosuch"), (["--peers", "nosuch"], "no file nosuch")):
        result = subprocess.run([sys.executable, ROOT / "bench/report.py", folder, *arguments], capture_output=True,
                                text=True, env={**os.environ, "GATEKERN_PROGRAM": str(folder / "nosuch")})
        lines = result.stderr.splitlines()
        assert result.returncode == 2 and len(lines) == 1 and missing in lines[0], (arguments, result)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert report.find_bench(SimpleNamespace(bench="")) == "" and not said.getvalue()
        report.BENCH = folder / "nosuch"
        assert report.find_bench(SimpleNamespace(bench=None)) == "" and "plain C is left out" in said.getvalue()


def check_load():
    """Other work is warned of. Ticks: user, nice, system, idle, waiting for a disk, interrupts, steal."""
    for after, warned in (([1, 0, 1, 90, 8, 0, 0, 0], False), ([60, 0, 0, 40, 0, 0, 0, 0], True),
                          ([0, 0, 0, 40, 0, 0, 0, 60], True), ([0] * 8, False)):
        counters = iter(([0] * 8, after))
        with mock.patch.object(machine.Disturbance, "counters", lambda: next(counters)), \
                mock.patch("os.cpu_count", lambda: 4), contextlib.redirect_stderr(io.StringIO()) as said:
            machine.warn_of_load()
        assert ("of 4 CPUs busy" in said.getvalue()) == warned, (after, said.getvalue())


def check_disturbance():
    """What others take is what is busy beside this process and its children; the hypervisor's share is none of it."""
    counters, own = iter(([0] * 8, [50, 0, 10, 20, 0, 0, 0, 20])), iter((1000, 1040))
    with mock.patch.object(machine.Disturbance, "counters", lambda *_: next(counters)), \
            mock.patch.object(machine, "own_ticks", lambda: next(own)):
        disturbance = machine.Disturbance()
        disturbance.pause()
    found = disturbance.report()
    assert (found["steal_percent"], found["others_percent"]) == (20, 20), found
    assert machine.text_of_taken({"steal_percent": None}) == "", "where the kernel does not say"
    assert machine.text_of_taken(found) == "steal 20.0 %, others 20.0 %", found
    for others, marks in ((10.0, []), (10.5, ["DISTURBED: others 10.5 % of all CPU time"])):
        assert machine.marks_of_disturbance({"steal_percent": 1.0, "others_percent": others}) == marks
    before = machine.own_ticks()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.2: pass"], check=True)
    assert machine.own_ticks() - before >= 0.15 * os.sysconf("SC_CLK_TCK")


def check_busy_machine(folder):
    busy = {**REPORT, "disturbance": {**REPORT["disturbance"], "others_percent": 40.0}}
    for text in draw(folder, busy)[:2]:
        assert "Other programs took 40.0 % of all CPU time" in text


def check_shared_machine(folder):
    """A neighbour behind the hypervisor is named as well as other programs."""
    slow = copy.deepcopy(REPORT)
    slow["disturbance"]["steal_percent"] = 7.5
    next(iter(slow["tiers"][0]["runs"].values()))["lowest_peak_gflops"] = 60.0
    for calm, disturbed in zip(draw(folder, REPORT)[:2], draw(folder, slow)[:2]):
        for text in ("The hypervisor took 7.5 % of the time", f"In 1 of {len(slow['tiers'])} networks the FMA peak"):
            assert text in disturbed and text not in calm, text


def check_lists():
    """Whatever list a report is asked for, its figures can be computed."""
    for path in bars.LISTS.glob("*.txt"):
        for shape in bars.read_list(path.stem):
            assert shape.flop(True) == 3 * shape.flop(False) > 0, (path.stem, shape)


def check_reasons(folder):
    path = folder / "reasons.txt"
    path.write_text("# comment\n\n[One*, model 1]\nlstm-* step auto onednn: L3, 12 % below\n[Two*]\n* * * *: of two\n"
                    "[*]\n* * avx2 *: other\n")
    known = reasons.read(path, "One CPU, model 1")
    assert reasons.find(reasons.read(path, "Two"), "any", "step", "auto", "peak") == "of two"
    assert reasons.find(reasons.read(path, "One CPU, model 2"), "lstm-512", "step", "auto", "onednn") == reasons.NONE
    assert reasons.find(known, "lstm-512", "step", "auto", "onednn") == "L3, 12 % below"
    assert reasons.find(known, "gru-512", "step", "avx2", "peak") == "other"
    assert reasons.find(known, "gru-512", "step", "auto", "peak") == reasons.NONE
    assert reasons.key_of_training("lstm 2x512 N50 T50") == "lstm-2x512-n50-t50"
    for bad in ("a b c: text", "a b c d e: text", "a b c d:", "a b c d"):
        path.write_text(bad + "\n")
        try:
            reasons.read(path)
        except SystemExit:
            continue
        raise AssertionError(f"not refused: {bad}")
    of_project = reasons.read(cpu=machine.name_of(MEASURED_CPU))
    steps = bars.step_rows("avx512")
    for names, kind in (([row.shape.name for row in steps], "step auto onednn"),
                        ([row.shape.name for row in steps if "peak" in row.at_least], "step auto peak"),
                        ([row.shape.name for row in bars.small_batch_rows()], "step auto onednn"),
                        ([row.shape.name for row in bars.forward_batch_1_rows()], "inference auto onnxruntime")):
        for network in names:
            assert reasons.find(of_project, network, *kind.split()) != reasons.NONE, (network, kind)


check_bounds()
check_disturbance()
check_load()
check_means()
check_step_rows()
with tempfile.TemporaryDirectory() as name:
    html, markdown, data = draw(Path(name), REPORT)
    check_pictures(Path(name), html)
    check_text(html, markdown)
    check_sessions(html, markdown)
    check_shortfalls(markdown, json.loads(data))
    check_prepacked(Path(name) / "prepacked")
    check_rows_without_peers(Path(name) / "without-peers")
    check_ragged(Path(name) / "ragged")
    check_old_report(Path(name) / "old")
    check_busy_machine(Path(name) / "busy")
    check_shared_machine(Path(name))
    check_peak_without_avx512(Path(name) / "avx2")
    check_axes(Path(name) / "axes")
    check_scalar_versions(Path(name) / "scalar")
    check_roofs(Path(name) / "roofs")
    check_reasons(Path(name))
    check_lists_are_refused(Path(name))
    check_missing_files(Path(name))
    check_exit_statuses(Path(name))
    check_passes_of_checks(Path(name))
    check_unfinished(Path(name))
    check_stopped_at_once(Path(name))
    check_plain_c(Path(name))
check_lists()
