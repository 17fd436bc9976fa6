# SPDX-License-Identifier: Apache-2.0
"""Every figure below what it needs: what its own row says of its bound, and what is known of its like on this CPU."""

import bounds
import machine
import reasons
from bars import CHECKED_PASSES, geometric_means
from report_page import Section
from report_peers import ceilings_of, name_of, sessions_of
from report_pictures import PEERS


def shortfall(known, network, passes, isa, who, reached, needed, computed, **more):
    return {"network": network, "pass": passes, "isa": isa, "who": who, "reached": round(reached, 3), "needed": needed,
            "computed": computed, "reason": reasons.find(known, network, passes, isa, who), **more}


def of_session(number, header, lines, report):
    known = reasons.read(cpu=machine.name_of(header.get("machine", report["system"])))
    ceilings, more = ceilings_of(header, report), {"session": number}
    rows = [line for line in lines if "peers" in line]
    for line in rows:
        for who in line["missed"]:
            reached = line["gatekern"]["percent_of_peak"] / 100 if who == "peak" else line["peers"][who]["ratio"]
            yield shortfall(known, line["name"], line["pass"], line["isa"], who, reached, line["at_least"][who],
                            bounds.of_row(line, who, ceilings), **more)
    for mean in filter(lambda mean: mean.missed, geometric_means(rows)):
        yield shortfall(known, mean.name, "mean", "auto", mean.peer, mean.value, mean.needed, bounds.of_mean(mean),
                        **more)
    for row in lines:
        if "ragged" in row and row["ratio"] < row["at_least"]:
            yield shortfall(known, row["ragged"].replace(" ", "-"), "ragged", "auto", "packed", row["ratio"],
                            row["at_least"], bounds.of_ragged(row), **more)
    for job in lines:
        if "training" in job and job["ratio"] < job["at_least"]:
            yield shortfall(known, reasons.key_of_training(job["training"]), "training", "auto", "pytorch",
                            job["ratio"], job["at_least"], bounds.of_training(job, ceilings), **more)


def pass_of_check(line):
    """Of a check that is made of more than one; the first one in reports that were written before it was said."""
    return line.get("pass", CHECKED_PASSES[line["check"]][0]) if line["check"] in CHECKED_PASSES else ""


def of_checks(report):
    known = reasons.read(cpu=machine.name_of(report["system"]))
    for line in report.get("checks", []):
        if not line.get("fine", True):
            yield shortfall(known, line.get("name", line["cell"]), line["check"], "auto", "-", line["ratio"],
                            line["at_most"], bounds.of_check(line), checked_pass=pass_of_check(line))


def shortfalls(report):
    short = [s for number, (header, lines) in enumerate(sessions_of(report), 1)
             for s in of_session(number, header, lines, report)]
    return short + list(of_checks(report))


def shortfall_section(report):
    short, headers = report["short"], [header for header, _ in sessions_of(report)]
    if not short:
        return []
    notes = list(dict.fromkeys(s["reason"] for s in short if s["reason"] != reasons.NONE))
    table = [["network", "session", "what", "compared with", "reached", "needed", "reason", "~what its row says"]]
    for s in short:
        who, number = s["who"], s.get("session")
        if who in PEERS:
            who = name_of(headers[number - 1], who)
        what = ", ".join(filter(None, (s["pass"], s.get("checked_pass"))))
        table.append([s["network"], str(number or "–"), what + (f" ({s['isa']})" if s["isa"] != "auto" else ""),
                      {"peak": "share of the peak", "-": ""}.get(who, who), f"{s['reached']:.3f}", str(s["needed"]),
                      f"({notes.index(s['reason']) + 1})" if s["reason"] in notes else "!none",
                      "~" + s["computed"]])
    return [Section("Rows that fall short", "What is below what this project asks of itself, how far it is from what "
                    "bounds it, and what was found about its like on the CPU of its session, by number; none: "
                    f"{reasons.NONE}.", table=table, notes=notes)]
