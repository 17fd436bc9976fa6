# SPDX-License-Identifier: Apache-2.0
"""Why a row falls short: bench/reasons.txt, one reason a line, NETWORK PASS ISA WHO: TEXT. The first four are patterns
(* stands for anything). PASS is step, forward, inference, training, mean (a geometric mean; NETWORK is its group) or a
check of gatekern bench; WHO is the peer, peak, or - in a check."""

from fnmatch import fnmatchcase
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "reasons.txt"
NONE = "no reason given"


def read(path=FILE):
    reasons = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        patterns, colon, text = line.partition(":")
        if not colon or len(patterns.split()) != 4 or not text.strip():
            raise SystemExit(f"{path}, line {number}: not NETWORK PASS ISA WHO: TEXT")
        reasons.append((patterns.split(), text.strip()))
    return reasons


def key_of_training(title):
    return title.lower().replace(" ", "-")


def find(reasons, network, passes, isa, who):
    for patterns, text in reasons:
        if all(fnmatchcase(value, pattern) for value, pattern in zip((network, passes, isa, who), patterns)):
            return text
    return NONE
