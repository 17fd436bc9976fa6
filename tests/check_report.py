#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_report.py ROOT: the benchmark's report, drawn from made-up figures: pictures for light and dark, nothing from
the network, the same figures in HTML, Markdown and JSON, and every row that falls short."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(sys.argv[1])
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench/peers")]

import reasons
from bars import read_list


def run(best, percent):
    return {"best": best, "median": best, "gflops": 1 / best, "spread": 0.01, "rounds": 3, "percent_of_peak": percent}


def network(cell, hidden, scale):
    tiers = {"scalar": 1.0, "plain-c-avx2": 0.5, "avx2": 0.25, "avx512": 0.125}
    return {"list": "anchors", "name": f"{cell}-{hidden}", "cell": cell, "input": hidden, "hidden": hidden, "batch": 8,
            "time": 5, "layers": 1, "intensity": 20.0 * scale,
            "runs": {tier: run(scale * best, 10 / best) for tier, best in tiers.items()}}


def peer_line(name, ratio, needed):
    missed = ["onednn"] if ratio < needed else []
    return {"name": name, "cell": "lstm", "pass": "step", "isa": "auto", "group": "lstm", "missed": missed,
            "at_least": {"onednn": needed}, "steal_percent": 0.0,
            "gatekern": {"best": 0.01, "gflops": 100.0, "percent_of_peak": 50.0},
            "peers": {"onednn": {"ratio": ratio, "ratio_median": ratio, "ratio_with_reorders": 2 * ratio}}}


def unmeasured_line(name):
    return {**peer_line(name, 1.0, 1.0), "group": "rnn", "cell": "rnn", "peers": {}, "unmeasured": ["onednn"]}


def training_line(title, ratio, needed):
    return {"training": title, "isa": "avx2", "gatekern": [{"best": 30.0}], "pytorch": [{"best": 20.0, "peer": "p 1"}],
            "ratio": ratio, "ratio_median": ratio, "at_least": needed}


def check_line(check, name, ratio, at_most):
    return {"check": check, "name": name, "cell": "lstm", "ratio": ratio, "at_most": at_most, "fine": ratio <= at_most}


REPORT = {
    "machine": {"cpu": "<a CPU & more>", "features": "f", "threads": 2, "threads_reason": "r", "version": "1",
                "tiers": [{"isa": t, "usable": True, "peak_gflops": p} for t, p in
                          (("scalar", 2.0), ("avx2", 9.0), ("avx512", 10.0))],
                "caches": [{"level": 1, "bytes": 32768}],
                "bandwidth": [{"level": "L2", "gigabytes_per_second": 5.0},
                              {"level": "memory", "gigabytes_per_second": 1.0}]},
    "system": {"kernel": "k", "date": "today"},
    "disturbance": {"steal_percent": 0.5, "load": 1.0, "megahertz": [1000, 2000]},
    "tiers": [network("lstm", 8, 1.0), network("lstm", 16, 2.0), network("rnn", 8, 0.5)],
    "threads": {"lstm 8, N 4": [[1, 2.0], [2, 1.0]]},
    "batches": {"lstm 8": [[1, 10.0], [2, 15.0]]},
    "checks": [check_line("latency", "slow", 2.5, 2), check_line("latency", "quick", 1.1, 2)],
    "peers": [peer_line("faster", 1.5, 1.0), peer_line("slower", 0.5, 1.0), unmeasured_line("alone"),
              training_line("lstm 2x8 N1 T1", 1.5, 1.0)],
    "peer_versions": ["onednn 3"],
}


def draw(folder):
    source = folder / "made-up.json"
    source.write_text(json.dumps(REPORT))
    subprocess.run([sys.executable, ROOT / "bench/report.py", folder, "--from", source, "--pictures", folder],
                   check=True, stdout=subprocess.DEVNULL)
    return [(folder / f"report.{kind}").read_text() for kind in ("html", "md", "json")]


def check_pictures(folder, page):
    pictures = sorted(folder.glob("*.svg"))
    names = {p.name for p in pictures}
    assert {"tiers.svg", "roofline.svg", "threads.svg", "batches.svg", "peers-step.svg", "bench-tiers.svg",
            "bench-roofline.svg", "bench-peers-step.svg"} <= names, names
    for picture in pictures:
        text = picture.read_text()
        ElementTree.fromstring(text)
        assert "prefers-color-scheme:dark" in text, picture
        assert text.strip() in page or picture.name.startswith("bench-"), picture


def check_text(page, markdown, data):
    assert "prefers-color-scheme:dark" in page
    links = re.findall(r"(?:src|href)=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)
    assert not links, links
    assert "&lt;a CPU &amp; more&gt;" in page and "<a CPU" not in page
    for text in (page, markdown):
        for figure in ("8.0× (8)", "1.50 (1.50) [3.00]", "geometric mean", "Rows that fall short", "Method", "warmed up",
                       "0.500", "2.500"):
            assert figure in text, figure
    assert re.search(r"\| alone .*not measured", markdown), markdown
    assert "| lstm 2x8 N1 T1 | avx2 | 30 | 20 | 1.50 (1.50) | 1.0 |" in markdown, markdown
    assert "| lstm-8 | 1.0× (1) | 2.0× (2) | 4.0× (4) | 8.0× (8) | 2.00 | 2.00 | 80 | 1 |" in markdown, markdown
    short = [(s["network"], s["pass"], s["who"], s["reached"]) for s in data["short"]]
    # The geometric mean of 1.5 and 0.5 is below its bound too.
    assert short == [("slower", "step", "onednn", 0.5), ("lstm", "mean", "onednn", 0.866),
                     ("slow", "latency", "-", 2.5)], short
    assert all(s["reason"] for s in data["short"])


def check_every_listed_network_is_counted():
    for path in (ROOT / "bench/shapes").glob("*.txt"):
        for shape in read_list(path.stem):
            assert shape.flop(True) == 3 * shape.flop(False) > 0, shape


def check_reasons(folder):
    path = folder / "reasons.txt"
    path.write_text("# comment\n\nlstm-* step auto onednn: L3, 12 % below\n* * avx2 *: other\n")
    known = reasons.read(path)
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
    reasons.read()  # the file of the project


with tempfile.TemporaryDirectory() as name:
    html, markdown, data = draw(Path(name))
    check_pictures(Path(name), html)
    check_text(html, markdown, json.loads(data))
    check_reasons(Path(name))
    check_every_listed_network_is_counted()
