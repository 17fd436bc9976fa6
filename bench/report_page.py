# SPDX-License-Identifier: Apache-2.0
"""The report's figures as pictures, as an HTML page without network, and as Markdown."""

from html import escape

from report_pictures import PEERS, SERIES, curves, roofline, rows_of_dots

METHOD = """Every measurement is a process of its own (PyTorch and ONNX Runtime stay alive and idle between theirs):
the network is made, warmed up, then run for a fixed time; the best and the median run count. Contestants take turns,
one measurement each a round, so that a slower clock or a noisy neighbour meets all of them; the best is that of all
rounds, the median that of the rounds' medians. Spread is how far the slowest round's best lies above the best. A
step is forward and backward with the gradients of input, initial states, weights and biases; ours includes packing the
weights, oneDNN's leaves out its reorders. GFLOP/s count matrix products only: 2 N T G H (I + H) a forward pass, three
times that a step. The scalar tier is C with one fused multiply-add at a time, through libm on CPUs that have none; plain C is the
same layer in straightforward loops, left to the compiler at -O3 for each instruction set. The clock is what the kernel
reports, which a virtual machine may not know; the FMA peak measured beside each run says more."""

CSS = """
:root{color-scheme:light dark;--ink:#1f2328;--dim:#656d76;--rule:#d8dee4;--back:#fff;--bar:#ddeaff;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9198a1;--rule:#30363d;--back:#0d1117;--bar:#17325c;
--bad:#ff7b72}}
body{margin:0 auto;max-width:980px;padding:24px 20px 60px;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:40px 0 8px}p{max-width:72ch}.dim,figcaption{color:var(--dim)}
figure{margin:12px 0;overflow-x:auto}svg{max-width:100%;height:auto}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 10px;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{color:var(--dim);font-weight:600}
td small{color:var(--dim)}.bad{color:var(--bad);font-weight:600}
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


def tier_section(report):
    shapes, keys = report["tiers"], [k for k in SERIES if any(k in s["runs"] for s in report["tiers"])]
    values = {s["name"]: {k: r["gflops"] for k, r in s["runs"].items()} for s in shapes}
    peaks = {t["isa"]: t["peak_gflops"] for t in report["machine"]["tiers"] if t.get("peak_gflops")}
    table = [["network"] + [SERIES[k][0] for k in keys] + ["best, % of peak", "spread %"]]
    for shape in shapes:
        runs = shape["runs"]
        base = runs.get("scalar")
        line = [shape["name"]]
        for key in keys:
            run = runs.get(key)
            ratio = f"{base['best'] / run['best']:.1f}× " if run and base else ""
            line.append(f"{ratio}({run['gflops']:.0f})" if run else "–")
        best = max((r for k, r in runs.items() if not k.startswith("plain")), key=lambda r: r["gflops"])
        line += [f"{best['percent_of_peak']:.0f}",
                 f"{100 * best['spread']:.0f}"]
        table.append(line)
    marks = [(peaks[k], SERIES[k][0] + " peak") for k in ("scalar", "avx512", "neon") if k in peaks]
    picture = rows_of_dots([s["name"] for s in shapes], SERIES, values, "GFLOP/s of each instruction set",
                           "GFLOP/s of a training step", marks)
    return Section("What each instruction set gives", "Speed-up over the scalar tier (GFLOP/s) of a training step.",
                   picture, "tiers", table)


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
        rows = [line for line in lines if line["pass"] == passes and line["peers"]]
        if not rows:
            continue
        label = {id(r): r["name"] + (f" ({r['isa']})" if r["isa"] != "auto" else "") for r in rows}
        values = {label[id(r)]: {k: p["ratio"] for k, p in r["peers"].items()} for r in rows}
        names = [k for k in PEERS if any(k in r["peers"] for r in rows)]
        table = [["network", "ms", "GFLOP/s", "% of peak"] + [PEERS[n][0] for n in names] + ["needed", "steal %"]]
        for row in rows:
            own, missed = row["gatekern"], set(row["missed"])
            line = [label[id(row)], f"{1e3 * own['best']:.3f}", f"{own['gflops']:.1f}",
                    ("!" if "peak" in missed else "") + f"{own['percent_of_peak']:.0f}"]
            for name in names:
                peer = row["peers"].get(name)
                line.append(("!" if name in missed else "") + f"{peer['ratio']:.2f} ({peer['ratio_median']:.2f})"
                            if peer else "–")
            line += [", ".join(f"{PEERS[k][0] if k in PEERS else k} {v}" for k, v in row["at_least"].items()) or "–",
                     str(row["steal_percent"])]
            table.append(line)
        versions = "; ".join(report["peer_versions"])
        sections.append(Section(f"Peers: {what}", f"Throughput of Gatekern / the peer's, by best run (by medians); "
                                f"above 1 Gatekern is faster. Outputs were compared before anything was timed. "
                                f"{versions}.",
                                rows_of_dots(list(values), PEERS, values, what, "ours / the peer's", [(1.0, "equal")]),
                                f"peers-{passes}", table))
    jobs = [line for line in report["peers"] if "training" in line]
    if jobs:
        table = [["training, characters/s", "Gatekern", "PyTorch", "ratio (medians)", "needed"]]
        table += [[j["training"], f"{max(r['best'] for r in j['gatekern']):.0f}",
                   f"{max(r['best'] for r in j['pytorch']):.0f}",
                   ("!" if j["ratio"] < j["at_least"] else "") + f"{j['ratio']:.2f} ({j['ratio_median']:.2f})",
                   str(j["at_least"])] for j in jobs]
        sections.append(Section("Peers: whole training loops", "The same job in both: embedding, layers, softmax, "
                                "clipping, Adam.", table=table))
    return sections


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
            *curve_sections(report)]


def cell_html(text):
    return f'<td class="bad">{escape(text[1:])}</td>' if text.startswith("!") else f"<td>{escape(text)}</td>"


def table_html(table):
    if len(table[0]) == 2:
        body = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in table[1:])
        return f'<table class="facts">{body}</table>'
    head = "".join(f"<th>{escape(text)}</th>" for text in table[0])
    body = "".join("<tr>" + "".join(map(cell_html, line)) + "</tr>" for line in table[1:])
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def html(report, sections):
    parts = [f"<h1>Gatekern on {escape(report['machine']['cpu'])}</h1>",
             f'<p class="dim">{escape(report["system"]["date"])}, version {escape(report["machine"]["version"])}, '
             f'{report["machine"]["threads"]} threads</p>']
    for section in sections:
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
        lines += [f"## {section.title}", ""] + ([section.text, ""] if section.text else [])
        if section.picture:
            lines += [f"![{section.title}]({section.file}.svg)", ""]
        if section.table:
            rows = [[f"**{t[1:]}**" if t.startswith("!") else t for t in line] for line in section.table]
            lines += ["| " + " | ".join(rows[0]) + " |", "|---" + "|---:" * (len(rows[0]) - 1) + "|"]
            lines += ["| " + " | ".join(row) + " |" for row in rows[1:]] + [""]
    return "\n".join(lines + ["## Method", "", METHOD, ""])
