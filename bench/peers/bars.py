# SPDX-License-Identifier: Apache-2.0
"""What is compared, and the least ratios, ours / the peer's throughput (without packing beside oneDNN's step). Peers:
pytorch, packed (PyTorch's packed sequences), onednn, onnxruntime; "peak" is our share of the FMA peak that this machine
reached in the same process."""

import math
import random
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path

LISTS = Path(__file__).resolve().parent.parent / "shapes"
GATES = {"rnn": 1, "gru": 3, "gru-reset-before": 3, "lstm": 4, "gru-simplified": 2, "mgu": 2}
LARGEST_SIZE = 1 << 20  # of a list
# The cells that each peer has; the simplified GRU and the MGU are in none.
CELLS_OF = {"pytorch": ["rnn", "gru", "lstm"], "packed": ["rnn", "gru", "lstm"],
            "onednn": ["rnn", "gru", "gru-reset-before", "lstm"],
            "onnxruntime": ["rnn", "gru", "gru-reset-before", "lstm"]}

# Of whom a peer is, for readers.
PEER_NAMES = {"pytorch": "PyTorch", "packed": "PyTorch, packed", "onednn": "oneDNN", "onnxruntime": "ONNX Runtime"}

# Checks of gatekern bench --check that are made of more than one pass; the others choose theirs.
CHECKED_PASSES = {"threads": ["step", "inference"], "schedules": ["step", "inference"]}


@dataclass
class Shape:
    name: str
    cell: str
    input: int
    hidden: int
    batch: int
    time: int
    layers: int = 1
    direction: str = "forward"  # or bidirectional: every layer hands on the h of both directions

    @property
    def directions(self):
        return 2 if self.direction == "bidirectional" else 1

    def widths(self):
        """What each layer reads at a step."""
        return [self.input] + [self.directions * self.hidden] * (self.layers - 1)

    def flop(self, step):
        rows = self.directions * GATES[self.cell] * self.hidden
        forward = sum(2 * self.batch * self.time * rows * (width + self.hidden) for width in self.widths())
        return 3 * forward if step else forward


@dataclass
class Row:
    """One line of the comparison. `at_least`: peer -> ratio that this row must reach."""
    shape: Shape
    passes: str
    peers: list
    isa: str = "auto"
    at_least: dict = field(default_factory=dict)
    group: str = ""  # of the geometric means
    group_sizes: dict = field(default_factory=dict)  # peer -> rows of the group and pass that name it
    lengths: list = field(default_factory=list)  # of the samples; empty: all have T steps
    asked: bool = False  # by name for its peers: without any the row is amiss


# (group, peer) -> geometric mean over the rows of the group
GEOMETRIC_MEANS = {("lstm", "onednn"): 1.12, ("gru-reset-before", "onednn"): 1.08, ("avx2", "onednn"): 1.12}


@dataclass
class Mean:
    """Geometric, of the ratios to a peer over lines of compare.py: those of a group, or those of a cell that are in
    none, in one pass."""
    group: str
    cell: str
    passes: str
    peer: str
    lines: list = field(default_factory=list)

    @property
    def name(self):
        return self.group or self.cell

    @property
    def value(self):
        return math.exp(statistics.fmean(math.log(line["peers"][self.peer]["ratio"]) for line in self.lines))

    @property
    def part(self):
        """What of its group it is made of, in words; nothing where that is all."""
        size = self.lines[0].get("group_sizes", {}).get(self.peer, 0)
        return f" of {len(self.lines)} of {size} rows" if size > len(self.lines) else ""

    @property
    def needed(self):
        """None: nothing is, of a part of a group."""
        return None if self.part else GEOMETRIC_MEANS.get((self.group, self.peer))

    @property
    def missed(self):
        return self.needed is not None and self.value < self.needed


def geometric_means(lines):
    """Of all lines of compare.py that have a like."""
    means = {}
    for line in lines:
        for peer in line.get("peers", {}):
            key = line["group"], "" if line["group"] else line["cell"], line["pass"], peer
            means.setdefault(key, Mean(*key)).lines.append(line)
    return [mean for mean in means.values() if len(mean.lines) > 1]


def text_of_peer(peer):
    """Ours / the peer's by best run, (by medians), and what explain_brackets() says."""
    brackets = [f"{peer[key]:.2f}" for key in ("ratio_with_reorders", "ratio_packing_alone") if key in peer]
    return f"{peer['ratio']:.2f} ({peer['ratio_median']:.2f})" + (f" [{'; '.join(brackets)}]" if brackets else "")


def explain_brackets(lines):
    """Of text_of_peer() in lines of compare.py, among which those of earlier versions have packing on our side only."""
    keys = {key for line in lines for peer in line.get("peers", {}).values() for key in peer}
    if "ratio_packing_alone" in keys:
        return (" oneDNN is given weights in its own layout, and compared with a step of ours whose weights were "
                "packed before. In brackets the ratios, by best run, with packing and oneDNN's reorders of weights and "
                "gradients counted on both sides, and with packing counted on ours alone.")
    if "ratio_with_reorders" in keys:
        return (" Our packing is counted; in brackets the ratio with the peer's reorders of weights and gradients "
                "counted, too.")
    return ""


def text_of_ours(ours):
    """Best (median) in milliseconds, and without packing where a peer is compared with that."""
    median = f" ({1e3 * ours['median']:.3f})" if "median" in ours else ""
    without = f"; {1e3 * ours['prepacked_best']:.3f} without packing" if "prepacked_best" in ours else ""
    return f"{1e3 * ours['best']:.3f}{median}{without}"


def text_of_core_to_core(ours):
    """The shortest and the longest time of the rounds in nanoseconds; of one thread, and in files of earlier versions,
    there is none."""
    times = ours.get("core_to_core_ns", [])
    return "–".join(f"{time:.0f}" for time in times) if any(times) else "–"


def leaves_out_packing(peer):
    """Is the ratio that of our step without packing?"""
    return "ratio_packing_alone" in peer


def seconds_beside(ours, peer):
    """Ours, in the step that the peer's ratio is of."""
    return ours["prepacked_best"] if leaves_out_packing(peer) else ours["best"]


def is_size(word):
    return bool(re.fullmatch("[0-9]{1,7}", word)) and 1 <= int(word) <= LARGEST_SIZE


NO_SIZE = f"a size is not a whole number from 1 to {LARGEST_SIZE}"


def problem_of(words):
    """What bench/shapes.c, too, would refuse in a line of a list; None: nothing."""
    if len(words) != 7:
        return f"{len(words)} fields, not the seven: name cell input hidden batch time layers"
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,63}", words[0]):
        return "a name is made of at most 63 letters, digits, '-', '_' and '.'"
    if words[1] not in GATES:
        return f"unknown cell '{words[1]}'; there are {', '.join(GATES)}"
    return None if all(map(is_size, words[2:])) else NO_SIZE


def read_list(name):
    """A list of bench/shapes, by name, or a file of that form; ValueError says what is wrong with it."""
    path, shapes = LISTS / f"{name}.txt", []
    try:
        text = (path if path.exists() else Path(name)).read_text()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: is not text") from error
    except OSError as error:
        known = ", ".join(sorted(path.stem for path in LISTS.glob("*.txt")))
        raise ValueError(f"{name}: {error.strerror}; the lists are {known}") from error
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split("#")[0].split()
        problem = problem_of(words) if words else None
        if problem:
            raise ValueError(f"{name}, line {number}: {problem}")
        if words:
            shapes.append(Shape(words[0], words[1], *map(int, words[2:])))
    if not shapes:
        raise ValueError(f"{name}: no shape in it")
    return shapes


def parse_shape(text):
    """cell,I,H,N,T[,L][,bidirectional]"""
    cell, *sizes = text.split(",")
    direction = sizes.pop() if sizes and sizes[-1] == "bidirectional" else "forward"
    if cell not in GATES or len(sizes) not in (4, 5):
        raise ValueError(f"{text}: not cell,I,H,N,T[,L][,bidirectional] with a cell of {', '.join(GATES)}")
    if not all(map(is_size, sizes)):
        raise ValueError(f"{text}: {NO_SIZE}")
    sizes = [int(size) for size in sizes]
    name = [cell, f"i{sizes[0]}", f"h{sizes[1]}", f"n{sizes[2]}", f"t{sizes[3]}"]
    name += [f"l{size}" for size in sizes[4:] if size != 1]
    name += [direction] if direction != "forward" else []
    return Shape("-".join(name), cell, *sizes, *[1] * (5 - len(sizes)), direction)


def peak_share(shape, isa):
    """The least share of the peak of `isa`, which is no `auto`, in a step, or None."""
    if isa not in ("avx2", "avx512"):
        return None
    if shape.hidden >= 512 and shape.batch >= 64:
        return 0.87 if isa == "avx2" else 0.93
    if shape.hidden == 256 and shape.batch >= 64:
        return 0.84 if isa == "avx2" else 0.90
    if isa == "avx2":
        return None
    if shape.hidden == 128 and shape.batch == 50:
        return 0.86
    return 0.68 if (shape.cell, shape.hidden, shape.batch) == ("lstm", 1536, 8) else None


def step_rows(fastest):
    """`fastest`: the instruction set that auto stands for here. Where it is AVX2, no row runs it again."""
    rows = []
    for shape in read_list("anchors"):
        small = shape.hidden == 128
        bounds = {"lstm": {"pytorch": 1.15, "onednn": 1.0}, "gru": {"pytorch": 1.7, "onednn": 1.15},
                  "gru-reset-before": {"onednn": 1.0},
                  "rnn": {"pytorch": 3.0 if small else 1.4, "onednn": 1.25 if small else 1.0}}[shape.cell]
        peak = peak_share(shape, fastest)
        bounds = {**bounds, **({"peak": peak} if peak else {})}
        peers = [p for p in bounds if p != "peak"]
        if shape.hidden == 512 and shape.cell in CELLS_OF["packed"]:
            peers.append("packed")  # to be seen beside PyTorch; no bar is its
        rows.append(Row(shape, "step", peers, "auto", bounds, shape.cell))
    for shape in read_list("anchors") if fastest != "avx2" else []:
        if shape.cell != "rnn":
            peak = peak_share(shape, "avx2")
            rows.append(Row(shape, "step", ["onednn"], "avx2", {"onednn": 1.05, **({"peak": peak} if peak else {})},
                            "avx2"))
    return rows


def small_batch_rows():
    return [Row(Shape(f"{cell}-{hidden}-n{batch}-t50", cell, hidden, hidden, batch, 50), "step",
                ["pytorch", "onednn"], "auto", {"pytorch": 2.0, "onednn": 1.3})
            for cell, hidden in (("lstm", 512), ("gru", 512), ("rnn", 512), ("lstm", 1024)) for batch in (1, 2, 4, 8)]


def forward_batch_1_rows():
    ratios = {"lstm": {128: 1.2, 256: 1.8, 512: 1.6, 1024: 2.1}, "gru": {128: 1.2, 1024: 1.3}, "rnn": {512: 1.35}}
    return [Row(Shape(f"{cell}-{hidden}-n1-t100", cell, hidden, hidden, 1, 100), "inference",
                ["onnxruntime", "pytorch", "onednn"], "auto", {"onnxruntime": ratio})
            for cell, sizes in ratios.items() for hidden, ratio in sizes.items()]


# cell, layers, hidden, batch, time: least ratio of characters a second to PyTorch's
TRAINING = {("lstm", 2, 128, 50, 50): 1.9, ("lstm", 2, 512, 50, 50): 1.6, ("lstm", 1, 512, 64, 64): 2.2,
            ("gru", 2, 512, 50, 50): 2.0, ("rnn", 1, 512, 64, 64): 2.5, ("lstm", 2, 200, 20, 20): 1.6}

# Both above this share of the peak: 2 % may decide nothing.
NEAR_PEAK, NEAR_PEAK_RATIO = 0.92, 0.98
LARGEST_FLOP = 1e11  # of a run


def anywhere_rows():
    """Sizes that are in no list, the same ones every time: H 16...2048, I != H, N 1...256, T 1...500."""
    choose, rows = random.Random(1), []

    def size(least, most):
        return round(math.exp(choose.uniform(math.log(least), math.log(most + 0.49))))

    for passes, peers, each in (("step", ["pytorch", "onednn"], 8),
                                ("inference", ["pytorch", "onednn", "onnxruntime"], 4)):
        for cell in CELLS_OF["onednn"]:  # whose order the sizes depend on
            offered = [peer for peer in peers if cell in CELLS_OF[peer]]
            for _ in range(each):
                shape = Shape("", cell, size(16, 2048), size(16, 2048), size(1, 256), size(1, 500))
                while shape.flop(passes == "step") > LARGEST_FLOP:
                    shape.time, shape.batch = max(1, shape.time // 2), max(1, shape.batch * 2 // 3)
                shape.name = f"{cell}-i{shape.input}-h{shape.hidden}-n{shape.batch}-t{shape.time}"
                rows.append(Row(shape, passes, offered, "auto", {peer: 1.0 for peer in offered}, "anywhere"))
    return rows


def is_missed(row, name, ours, peer):
    """Is the ratio to this peer below what the row needs?"""
    share = ours["percent_of_peak"] / 100 * ours["best"] / seconds_beside(ours, peer)
    near_peak = row.group == "anywhere" and min(share, share / peer["ratio"]) > NEAR_PEAK
    return peer["ratio"] < (NEAR_PEAK_RATIO if near_peak else row.at_least[name])


# Of what auto stands for.
BARS = {"step": step_rows, "small-batch": lambda _: small_batch_rows(),
        "forward-batch-1": lambda _: forward_batch_1_rows(), "anywhere": lambda _: anywhere_rows()}
