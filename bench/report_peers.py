# SPDX-License-Identifier: Apache-2.0
"""What compare.py --out has written, session by session: figures of two sessions met other machines, versions or
minutes, so that they share no table, picture or mean."""

import json
from pathlib import Path

import machine
from bars import (explain_brackets, geometric_means, leaves_out_packing, text_of_core_to_core, text_of_ours,
                  text_of_peer)
from report_page import Section
from report_pictures import PEERS, rows_of_dots

PASSES = {"step": "a training step", "inference": "a forward pass without gradients",
          "forward": "a forward pass that keeps what backward needs"}


def read_peers(paths):
    """Lines with the index of their session, and the sessions: the headers of the files. ValueError: they are none."""
    lines, sessions = [], []
    for path in paths:
        try:
            texts = Path(path).read_text().splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: is not text") from error
        for number, text in enumerate(texts, 1):
            try:
                line = json.loads(text)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            if not isinstance(line, dict):
                raise ValueError(f"{path}, line {number}: is no object of JSON")
            if "header" in line:
                sessions.append(line["header"])
            elif sessions:
                lines.append({**line, "session": len(sessions) - 1})
            else:
                raise ValueError(f"{path}: no header; it must be what compare.py --out writes")
    return lines, sessions


def sessions_of(report):
    """(header, lines) of each session. A report that was written before sessions were kept has one, of unknown date."""
    lines, headers = report["peers"], report.get("peer_sessions")
    if headers is None:
        return [({"known": "; ".join(report.get("peer_versions", []))}, lines)] if lines else []
    return [(header, [line for line in lines if line["session"] == index]) for index, header in enumerate(headers)]


def version_of(header, peer):
    return header.get("versions", {}).get(peer, "")


def name_of(header, peer):
    return " ".join(filter(None, (PEERS[peer][0], version_of(header, peer))))


def describe(header):
    if "known" in header:
        return f"Session of unknown machine and date: {header['known'] or 'versions unknown'}"
    ours = machine.text_of_build(version_of(header, "gatekern") or "of unknown version", header.get("compiler"),
                                 header["machine"])
    return (f"{machine.name_of(header['machine'])}, {header['threads']} threads, Gatekern {ours}, "
            f"{header['machine']['date']}, {header['rounds']} rounds of {header['seconds']} s")


def is_same_cpu(one, other):
    """Of two descriptions of a machine; an old one has no family and model."""
    known = [key for key in ("family", "model") if key in one and key in other]
    return all(one.get(key) == other.get(key) for key in ["cpu", *known])


def differences(header, report):
    """What of a session is not as in the rest of the report, in plain words."""
    if "known" in header:
        return ""
    here, system, found = report["machine"], report["system"], []
    if not is_same_cpu(header["machine"], system):
        found.append(f"on another CPU: {machine.name_of(header['machine'])}, not {machine.name_of(system)}")
    if header["threads"] != here["threads"]:
        found.append(f"with {header['threads']} threads, not {here['threads']}")
    version = version_of(header, "gatekern")
    if version and version != here["version"]:
        found.append(f"with Gatekern {version}, not {here['version']}")
    return "Not to be compared with the rest of this report. Measured " + "; ".join(found) + "." if found else ""


def ceilings_of(header, report):
    """Of the session itself, or of the report's machine where it is the same one."""
    if header.get("ceilings"):
        return header["ceilings"]
    same = "known" in header or (is_same_cpu(header["machine"], report["system"])
                                 and header["threads"] == report["machine"]["threads"])
    return report["machine"] if same else None


def labels_of(rows):
    """One for each row, no two alike."""
    labels = []
    for row in rows:
        label = row["name"] + (f" ({row['isa']})" if row["isa"] != "auto" else "")
        again = sum(other == label or other.startswith(label + ", again") for other in labels)
        labels.append(label + (f", again {again}" if again else ""))
    return labels


def text_of_clock(disturbance):
    return "–".join(map(str, sorted(set(disturbance.get("megahertz", []))))) or "–"


def text_of_share(line, name):
    return "–" if line.get(name) is None else str(line[name])


def disturbance_of_row(line):
    """Cells: lowest FMA peak of a round in per cent of the highest, steal, other programs, clock, the shortest and
    longest time from core to core."""
    own = line["gatekern"]
    lowest = f"{100 * own['lowest_peak_gflops'] / own['peak_gflops']:.0f}" if "lowest_peak_gflops" in own else "–"
    return [lowest, text_of_share(line, "steal_percent"), text_of_share(line, "others_percent"), text_of_clock(line),
            text_of_core_to_core(own)]


def peer_table(header, rows, labels, names):
    table = [["network", "ms (median)", "GFLOP/s", "% of peak"] + [f"our speed / {name_of(header, n)}'s" for n in names]
             + ["needed", "lowest peak, %", "steal %", "others %", "MHz", "core to core, ns"]]
    for row, label in zip(rows, labels):
        own, missed = row["gatekern"], set(row["missed"])
        cells = [label, text_of_ours(own), f"{own['gflops']:.1f}",
                 ("!" if "peak" in missed else "") + f"{own['percent_of_peak']:.0f}"]
        for name in names:
            peer = row["peers"].get(name)
            unmeasured = "!not measured" if name in row.get("unmeasured", []) else "–"
            cells.append(("!" if name in missed else "") + text_of_peer(peer) if peer else unmeasured)
        needed = ", ".join(f"{PEERS[k][0] if k in PEERS else k} {v}" for k, v in row["at_least"].items())
        table.append(cells + ["&" + needed if needed else "–"] + disturbance_of_row(row))
    return table


def pass_sections(header, rows, what, title, file):
    labels = labels_of(rows)
    names = [k for k in PEERS if any(k in r["peers"] or k in r.get("unmeasured", []) for r in rows)]
    values = {label: {k: p["ratio"] for k, p in row["peers"].items()} for label, row in zip(labels, rows)
              if row["peers"]}
    series = {k: (name_of(header, k), *PEERS[k][1:]) for k in PEERS}
    without = any(leaves_out_packing(peer) for row in rows for peer in row["peers"].values())
    caption = describe(header) + ("; oneDNN: without packing of weights" if without else "")
    picture = rows_of_dots(list(values), series, values, what, "our speed / the peer's", [(1.0, "equal")],
                           caption) if values else None
    text = (f"{describe(header)}. Throughput of Gatekern / the peer's, by best run (by medians); above 1 Gatekern is "
            f"faster.{explain_brackets(rows)} Outputs were compared before anything was timed. The last columns say "
            "what disturbed a row: the lowest FMA peak of a round in per cent of the highest, time that the hypervisor "
            "and that other programs took, the clock that the kernel reports.")
    sections = [Section(title, text, picture, file, peer_table(header, rows, labels, names))]
    means = geometric_means(rows)
    if means:
        sections.append(Section("", f"Geometric means of these rows. {describe(header)}.",
                                table=[["rows", "peer", "our speed / the peer's", "needed"]]
                                + [[mean.name + mean.part, name_of(header, mean.peer), ("!" if mean.missed else "")
                                    + f"{mean.value:.3f}", str(mean.needed or "–")] for mean in means]))
    return sections


def training_section(header, jobs, title):
    versions = sorted({r["peer"] for j in jobs for r in j["pytorch"]})
    table = [["training, characters/s", "isa", "Gatekern", ", ".join(versions), "ratio (medians)", "needed", "steal %",
              "others %"]]
    table += [[j["training"], j.get("isa", "auto"), f"{max(r['best'] for r in j['gatekern']):.0f}",
               f"{max(r['best'] for r in j['pytorch']):.0f}",
               ("!" if j["ratio"] < j["at_least"] else "") + f"{j['ratio']:.2f} ({j['ratio_median']:.2f})",
               str(j["at_least"]), text_of_share(j, "steal_percent"), text_of_share(j, "others_percent")]
              for j in jobs]
    return Section(title, f"The same job in both: embedding, layers, softmax, clipping, Adam. {describe(header)}.",
                   table=table)


def ragged_section(header, rows, title):
    def milliseconds(row, best, median):
        return f"{1e3 * row[best]:.3f}" + (f" ({1e3 * row[median]:.3f})" if median in row else "")
    table = [["cell H/N/T (I = H)", "ms (median)", f"{name_of(header, 'packed')}, ms (median)", "ratio (medians)",
              "needed", "steal %", "others %"]]
    table += [[r["ragged"], milliseconds(r, "best", "median"), milliseconds(r, "packed", "packed_median"),
               ("!" if r["ratio"] < r["at_least"] else "") + f"{r['ratio']:.2f}"
               + (f" ({r['ratio_median']:.2f})" if "ratio_median" in r else ""), str(r["at_least"]),
               text_of_share(r, "steal_percent"), text_of_share(r, "others_percent")] for r in rows]
    return Section(title, "A training step over lengths that are uniform in 1 ... T: the best of all rounds, and the "
                   f"median of the rounds' best ones. {describe(header)}.", table=table)


def sections_of_session(header, lines, title, taken):
    """`taken`: names of files so far."""
    sections = []
    for passes, what in PASSES.items():
        rows = [line for line in lines if "peers" in line and line["pass"] == passes]
        if rows:
            count = sum(name == passes for name in taken)
            taken.append(passes)
            sections += pass_sections(header, rows, what, f"{title}: {what}",
                                      f"peers-{passes}" + (f"-{count + 1}" if count else ""))
    jobs = [line for line in lines if "training" in line]
    sections += [training_section(header, jobs, f"{title}: whole training loops")] if jobs else []
    ragged = [line for line in lines if "ragged" in line]
    sections += [ragged_section(header, ragged, f"{title}: ragged lengths")] if ragged else []
    failed = [[line["name"], line["pass"], "!" + line["error"]] for line in lines if "error" in line]
    return sections + ([Section(f"{title}: rows that failed", f"{describe(header)}.",
                                table=[["network", "what", "how"], *failed])] if failed else [])


def peer_sections(report):
    sessions, sections, taken = sessions_of(report), [], []
    for number, (header, lines) in enumerate(sessions, 1):
        title = f"Peers, session {number}" if len(sessions) > 1 else "Peers"
        of_session = sections_of_session(header, lines, title, taken)
        for section in of_session:
            section.notice = differences(header, report)
        sections += of_session
    return sections
