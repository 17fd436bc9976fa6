# SPDX-License-Identifier: Apache-2.0
"""The report's figures as pictures, as an HTML page without network, and as Markdown."""

import math
import statistics
from html import escape

import reasons
from bars import geometric_means, text_of_peer
from report_pictures import PEERS, SERIES, curves, roofline, rows_of_dots

METHOD = """Every measurement is a process of its own (PyTorch and ONNX Runtime stay alive and idle between theirs):
the network is made, warmed up, then run for a fixed time; the best and the median run count. Contestants take turns,
one measurement each a round, so that a slower clock or a noisy neighbour meets all of them; the best is that of all
rounds, the median that of the rounds' medians. Spread is how far the slowest round's best lies above the best. A
step is forward and backward with the gradients of input, initial states, weights and biases; ours includes packing the
weights, oneDNN's leaves out its reorders. GFLOP/s count matrix products only: 2 N T G H (I + H) a forward pass, three
times that a step. The scalar tier is C with one fused multiply-add at a time, not vectorised, through libm on CPUs that
have none; plain C is the same step in straightforward loops, left to the compiler at -O3 for each instruction set,
and its best that of five means. Peers' outputs are compared with ours on the same data, which all of them are timed
on. The FMA peak is measured in the process of each run, before and after it; the largest counts. The clock is what
the kernel reports, which a virtual machine may not know; the FMA peak measured beside each run says more."""

CSS = """
:root{color-scheme:light dark;--ink:#1f2328;--dim:#656d76;--rule:#d8dee4;--back:#fff;--bar:#ddeaff;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9198a1;--rule:#30363d;--back:#0d1117;--bar:#17325c;
--bad:#ff7b72}}
body{margin:0 auto;max-width:1040px;padding:24px 20px 60px;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:40px 0 8px}p{max-width:72ch}.dim,figcaption{color:var(--dim)}
figure{margin:12px 0;overflow-x:auto}svg{max-width:100%;height:auto}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 8px;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
th{color:var(--dim);font-weight:600;white-space:normal;vertical-align:bottom;}
.bad{color:var(--bad);font-weight:600}.prose{text-align:left;white-space:normal;min-width:24em}
th.group{text-align:left;padding-top:14px;color:var(--ink)}.mean td{color:var(--dim)}
.facts td{text-align:left;white-space:normal}.facts td:first-child{color:var(--dim);white-space:nowrap;
vertical-align:top}"""


class Section:
    def __init__(self, title, text, picture=None, file=None, table=None):
        self.title, self.text, self.picture, self.file, self.table = title, text, picture, file, table


def machine_section(report):
    info, extra = report["machine"], report["system"]
    caches = ", ".join(f"L{c['level']} {c['bytes'] // 1024} KiB" for c in info["caches"])
    tiers = ", ".join(f"{SERIES[t['isa']][0]} {t['peak_gflops']:.0f}" for t in info["tiers"] if t.get("peak_gflops"))
    bandwidth = ", ".join(f"{b['level']} {b['gigabytes_per_second']:.0f}" for b in info["bandwidth"])
    table = [["", "measured"], ["CPU", info["cpu"]], ["features", info["features"]],
             ["threads", f"{info['threads']} ({info['threads_reason']})"], ["caches", caches],
             ["FMA peak, GFLOP/s, all threads", tiers], ["read bandwidth, GB/s, all threads", bandwidth],
             ["kernel", extra["kernel"]], ["Gatekern", info["version"]], ["date", extra["date"]],
             ["steal", f"{report['disturbance']['steal_percent']} % of the time of the measurements"],
             ["clock", "–".join(map(str, report["disturbance"].get("megahertz", ["?"]))) + " MHz, by the kernel"],
             ["load at the end", str(report["disturbance"]["load"])]]
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


def text_of(ratio):
    return f"{ratio:.2f}" if ratio else "–"


# Pairs of tiers whose ratio readers look for.
PAIRS = [("avx512", "avx2"), ("avx2", "plain-c-avx2"), ("avx512", "plain-c-avx512")]


def tier_table(shapes, keys, pairs):
    """One line a network, under its cell; a line of geometric means below each cell."""
    ratios = [f"{SERIES[a][0]} / {'plain C' if b.startswith('plain') else SERIES[b][0]}" for a, b in pairs]
    table = [["network"] + [SERIES[k][0] for k in keys] + ratios + ["best, % of peak", "spread %"]]
    for cell in dict.fromkeys(s["cell"] for s in shapes):
        of_cell = [s for s in shapes if s["cell"] == cell]
        table.append([cell])
        for shape in of_cell:
            runs = shape["runs"]
            line = [shape["name"]] + [speed_up(runs, key) for key in keys]
            best = max((r for k, r in runs.items() if not k.startswith("plain")), key=lambda r: r["gflops"])
            table.append(line + [text_of(quotient(runs, a, b)) for a, b in pairs]
                         + [f"{best['percent_of_peak']:.0f}", f"{100 * best['spread']:.0f}"])
        if len(of_cell) > 1:
            means = [mean(quotient(s["runs"], key, "scalar") for s in of_cell) for key in keys]
            table.append(["geometric mean"] + [f"{m:.1f}×" if m else "–" for m in means]
                         + [text_of(mean(quotient(s["runs"], a, b) for s in of_cell)) for a, b in pairs] + ["", ""])
    return table


def tier_section(report):
    shapes, keys = report["tiers"], [k for k in SERIES if any(k in s["runs"] for s in report["tiers"])]
    shapes = sorted(shapes, key=lambda s: s["cell"])
    several = len({s.get("list") for s in shapes}) > 1
    names = [f"{s['list']}/{s['name']}" if several else s["name"] for s in shapes]
    values = {name: {k: r["gflops"] for k, r in s["runs"].items()} for name, s in zip(names, shapes)}
    peaks = {t["isa"]: t["peak_gflops"] for t in report["machine"]["tiers"] if t.get("peak_gflops")}
    pairs = [(a, b) for a, b in PAIRS if a in keys and b in keys]
    table = tier_table([{**s, "name": name} for name, s in zip(names, shapes)], keys, pairs)
    marks = [(peaks[k], SERIES[k][0] + " peak") for k in ("scalar", "avx512", "neon") if k in peaks]
    picture = rows_of_dots(names, SERIES, values, "GFLOP/s of each instruction set", "GFLOP/s of a training step",
                           marks)
    return Section("What each instruction set gives", "Speed-up over the scalar tier (GFLOP/s) of a training step; "
                   "then the ratios of one instruction set to another, and of hand-written kernels to plain C of the "
                   "same instruction set.", picture, "tiers", table)


def roofline_section(report):
    peaks = {t["isa"]: t["peak_gflops"] for t in report["machine"]["tiers"] if t.get("peak_gflops")}
    bandwidths = {b["level"]: b["gigabytes_per_second"] for b in report["machine"]["bandwidth"]}
    points = [(key, s["name"], s["intensity"], run["gflops"]) for s in report["tiers"]
              for key, run in s["runs"].items()]
    return Section("Roofline", "Dashed: measured FMA peak of each tier; grey: measured read bandwidth. One point a "
                   "network and tier, at the FLOP a byte of a step that reads the recurrent weights once a time "
                   "step in each direction and everything else once. A point above a slope has its weights in a "
                   "faster level.",
                   roofline(points, peaks, bandwidths), "roofline")


def peer_sections(report):
    lines = [line for line in report["peers"] if "peers" in line]
    sections = []
    for passes, what in (("step", "a training step"), ("inference", "a forward pass without gradients"),
                         ("forward", "a forward pass that keeps what backward needs")):
        rows = [line for line in lines if line["pass"] == passes and (line["peers"] or line.get("unmeasured"))]
        if not rows:
            continue
        label = {id(r): r["name"] + (f" ({r['isa']})" if r["isa"] != "auto" else "") for r in rows}
        values = {label[id(r)]: {k: p["ratio"] for k, p in r["peers"].items()} for r in rows}
        names = [k for k in PEERS if any(k in r["peers"] or k in r.get("unmeasured", []) for r in rows)]
        table = [["network", "ms", "GFLOP/s", "% of peak"] + [PEERS[n][0] for n in names] + ["needed", "steal %"]]
        for row in rows:
            own, missed = row["gatekern"], set(row["missed"])
            line = [label[id(row)], f"{1e3 * own['best']:.3f}", f"{own['gflops']:.1f}",
                    ("!" if "peak" in missed else "") + f"{own['percent_of_peak']:.0f}"]
            for name in names:
                peer = row["peers"].get(name)
                unmeasured = "!not measured" if name in row.get("unmeasured", []) else "–"
                line.append(("!" if name in missed else "") + text_of_peer(peer) if peer else unmeasured)
            line += [", ".join(f"{PEERS[k][0] if k in PEERS else k} {v}" for k, v in row["at_least"].items()) or "–",
                     str(row["steal_percent"])]
            table.append(line)
        versions = "; ".join(report["peer_versions"])
        sections.append(Section(f"Peers: {what}", f"Throughput of Gatekern / the peer's, by best run (by medians); "
                                f"above 1 Gatekern is faster. In brackets with the peer's "
                                f"reorders of weights and gradients counted, as our packing is. Outputs were compared "
                                f"before anything was timed. "
                                f"{versions}.",
                                rows_of_dots(list(values), PEERS, values, what, "ours / the peer's", [(1.0, "equal")]),
                                f"peers-{passes}", table))
        means = geometric_means(rows)
        if means:
            sections.append(Section("", "Geometric means.", table=[["rows", "peer", "ours / the peer's", "needed"]] + [
                [group, PEERS[name][0], ("!" if bound and value < bound else "") + f"{value:.3f}", str(bound or "–")]
                for group, name, value, bound in means]))
    jobs = [line for line in report["peers"] if "training" in line]
    if jobs:
        versions = sorted({r["peer"] for j in jobs for r in j["pytorch"]})
        table = [["training, characters/s", "isa", "Gatekern", ", ".join(versions), "ratio (medians)", "needed"]]
        table += [[j["training"], j.get("isa", "auto"), f"{max(r['best'] for r in j['gatekern']):.0f}",
                   f"{max(r['best'] for r in j['pytorch']):.0f}",
                   ("!" if j["ratio"] < j["at_least"] else "") + f"{j['ratio']:.2f} ({j['ratio_median']:.2f})",
                   str(j["at_least"])] for j in jobs]
        sections.append(Section("Peers: whole training loops", "The same job in both: embedding, layers, softmax, "
                                "clipping, Adam.", table=table))
    return sections


CHECKS = {"latency": ("streaming steps, one sample, one thread: slowest hundredth / median", "ratio"),
          "first-call": ("first call of a new (T, N) / later ones", "ratio"),
          "threads": ("default number of threads / the fastest", "ratio"),
          "schedules": ("chosen schedule / the fastest", "ratio"),
          "denormals": ("denormal inputs / normal ones", "ratio"),
          "softmax": ("output layer of many words: share of the FMA peak", "share_of_peak")}


def check_section(report):
    table = [["promise", "networks", "worst", "of", "at most", "missed"]]
    for check, (what, key) in CHECKS.items():
        lines = [line for line in report.get("checks", []) if line["check"] == check]
        if lines:
            worst = (min if check == "softmax" else max)(lines, key=lambda line: line[key])
            missed = sum(not line.get("fine", True) for line in lines)
            table.append([what, str(len(lines)), ("!" if missed else "") + f"{worst[key]:.3f}", worst.get("name", ""),
                          str(worst.get("at_most", "–")), str(missed)])
    return [Section("Promises", "Measured by gatekern bench --check; report.json has every network.", table=table)] \
        if len(table) > 1 else []


def shortfalls(report):
    """Every figure below what it needs, with its reason."""
    known, short = reasons.read(), []

    def add(network, passes, isa, who, reached, needed):
        short.append({"network": network, "pass": passes, "isa": isa, "who": who, "reached": round(reached, 3),
                      "needed": needed, "reason": reasons.find(known, network, passes, isa, who)})

    lines = [line for line in report["peers"] if "peers" in line]
    for line in lines:
        for who in line["missed"]:
            reached = line["gatekern"]["percent_of_peak"] / 100 if who == "peak" else line["peers"][who]["ratio"]
            add(line["name"], line["pass"], line["isa"], who, reached, line["at_least"][who])
    for group, who, value, bound in geometric_means(lines):
        if bound and value < bound:
            add(group, "mean", "auto", who, value, bound)
    for job in report["peers"]:
        if "training" in job and job["ratio"] < job["at_least"]:
            add(reasons.key_of_training(job["training"]), "training", "auto", "pytorch", job["ratio"], job["at_least"])
    for line in report.get("checks", []):
        if not line.get("fine", True):
            add(line.get("name", line["cell"]), line["check"], "auto", "-", line["ratio"], line["at_most"])
    return short


def shortfall_section(report):
    short = report["short"]
    if not short:
        return []
    names = {**{k: v[0] for k, v in PEERS.items()}, "peak": "share of the peak", "-": ""}
    table = [["network", "what", "compared with", "reached", "needed", "reason"]]
    table += [[s["network"], s["pass"] + (f" ({s['isa']})" if s["isa"] != "auto" else ""),
               names.get(s["who"], s["who"]), f"{s['reached']:.3f}", str(s["needed"]),
               ("!" if s["reason"] == reasons.NONE else "~") + s["reason"]]
              for s in short]
    return [Section("Rows that fall short", "What is below what this project asks of itself, and what bounds it.",
                    table=table)]


def curve_sections(report):
    threads = {name: [(t, runs[0][1] / s) for t, s in runs] for name, runs in report["threads"].items()}
    batches = {name: [(n, g) for n, g in runs] for name, runs in report["batches"].items()}
    sections = []
    if threads and max(len(runs) for runs in threads.values()) > 1:
        sections.append(Section("Threads", "Speed-up over one thread of a training step; dashed: as many times as "
                                "threads.", curves(threads, "threads", "speed-up", "thread scaling", ideal=True),
                                "threads"))
    if batches:
        sections.append(Section("Small batches", "GFLOP/s of a training step, T = 50, by samples of a batch.",
                                curves(batches, "samples of a batch, N", "GFLOP/s", "small batches"), "batches"))
    return sections


def sections_of(report):
    return [machine_section(report), tier_section(report), roofline_section(report), *peer_sections(report),
            *curve_sections(report), *check_section(report), *shortfall_section(report)]


NO_BREAK = "\u2011"  # a hyphen at which no line ends

# What a cell's text begins with: bad, prose.
KINDS = {"!": "bad", "~": "prose"}


def cell_html(text):
    kind = KINDS.get(text[:1])
    return f'<td class="{kind}">{escape(text[1:])}</td>' if kind else f"<td>{escape(text)}</td>"


def line_html(line, width):
    if len(line) == 1:
        return f'<tr><th class="group" colspan="{width}">{escape(line[0])}</th></tr>'
    kind = ' class="mean"' if line[0] == "geometric mean" else ""
    return f"<tr{kind}>" + "".join(map(cell_html, line)) + "</tr>"


def table_html(table):
    if len(table[0]) == 2:
        body = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in table[1:])
        return f'<table class="facts">{body}</table>'
    head = "".join(f"<th>{escape(text).replace('-', NO_BREAK)}</th>" for text in table[0])
    body = "".join(line_html(line, len(table[0])) for line in table[1:])
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def html(report, sections):
    parts = [f"<h1>Gatekern on {escape(report['machine']['cpu'])}</h1>",
             f'<p class="dim">{escape(report["system"]["date"])}, version {escape(report["machine"]["version"])}, '
             f'{report["machine"]["threads"]} threads</p>']
    for section in sections:
        if section.title:
            parts.append(f"<h2>{escape(section.title)}</h2>")
        if section.text:
            parts.append(f'<p class="dim">{escape(section.text)}</p>')
        if section.picture:
            parts.append(f"<figure>{section.picture}</figure>")
        if section.table:
            parts.append(table_html(section.table))
    parts += ["<h2>Method</h2>", f"<p>{escape(METHOD)}</p>"]
    return ('<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>Gatekern benchmark</title><style>{CSS}</style><body>{''.join(parts)}</body></html>\n")


def markdown(report, sections):
    lines = [f"# Gatekern on {report['machine']['cpu']}", "", f"{report['system']['date']}, version "
             f"{report['machine']['version']}, {report['machine']['threads']} threads", ""]
    for section in sections:
        lines += [f"## {section.title}", ""] if section.title else []
        lines += [section.text, ""] if section.text else []
        if section.picture:
            lines += [f"![{section.title}]({section.file}.svg)", ""]
        if section.table:
            rows = [[f"**{t[1:]}**" if t.startswith("!") else t.removeprefix("~") for t in line]
                    for line in section.table]
            rows = [[f"**{row[0]}**"] + [""] * (len(rows[0]) - 1) if len(row) == 1 else row for row in rows]
            lines += ["| " + " | ".join(rows[0]) + " |", "|---" + "|---:" * (len(rows[0]) - 1) + "|"]
            lines += ["| " + " | ".join(row) + " |" for row in rows[1:]] + [""]
    return "\n".join(lines + ["## Method", "", METHOD, ""])
