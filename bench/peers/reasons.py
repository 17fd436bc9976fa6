# SPDX-License-Identifier: Apache-2.0
"""Why a row falls short, as far as someone has looked: bench/reasons.txt, a reason a line, NETWORK PASS ISA WHO: TEXT.
The first four are patterns (* stands for anything). PASS is step, forward, inference, training, ragged, mean (a
geometric mean; NETWORK is its group) or a check of gatekern bench; WHO is the peer, peak, or - in a check. A line [CPU]
says on which CPU the lines below it were found: a pattern of what machine.name_of() gives; the first line that matches
counts.
What the row's own figures say is in bounds.py."""

from fnmatch import fnmatchcase
from pathlib import Path

import machine

FILE = Path(__file__).resolve().parent.parent / "reasons.txt"
NONE = "no reason given for this CPU"


def read(path=FILE, cpu=None):
    """The reasons that were found on a CPU; on this one by default."""
    cpu, reasons, here = cpu or machine.name_of(machine.describe()), [], True
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            here = fnmatchcase(cpu, line[1:-1].strip())
            continue
        patterns, colon, text = line.partition(":")
        if not colon or len(patterns.split()) != 4 or not text.strip():
            raise SystemExit(f"{path}, line {number}: neither NETWORK PASS ISA WHO: TEXT nor [CPU]")
        if here:
            reasons.append((patterns.split(), text.strip()))
    return reasons


def key_of_training(title):
    return title.lower().replace(" ", "-")


def find(reasons, network, passes, isa, who):
    for patterns, text in reasons:
        if all(fnmatchcase(value, pattern) for value, pattern in zip((network, passes, isa, who), patterns)):
            return text
    return NONE
