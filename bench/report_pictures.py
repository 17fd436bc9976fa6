# SPDX-License-Identifier: Apache-2.0
"""SVG pictures of the report. Each stands alone and follows the reader's light or dark setting."""

import math
import textwrap
from html import escape

from bars import PEER_NAMES

# Instruction sets by colour; what the compiler made of plain C is hollow.
SERIES = {"scalar": ("scalar C", "grey", False), "plain-c-avx2": ("plain C, AVX2", "orange", True),
          "avx2": ("AVX2", "orange", False), "plain-c-avx512": ("plain C, AVX-512", "blue", True),
          "avx512": ("AVX-512", "blue", False), "neon": ("NEON", "green", False)}
PEERS = {name: (PEER_NAMES[name], *mark) for name, mark in {
    "pytorch": ("orange", False), "packed": ("orange", True), "onednn": ("blue", False),
    "onnxruntime": ("green", False)}.items()}
SCALAR_FMA = {"instruction": "scalar C, fma instruction", "libm": "scalar C, libm fma"}  # by what gatekern info says


def series_of(tiers):
    """SERIES, the scalar one named by the version that runs here; earlier versions' reports do not say which."""
    names = [SCALAR_FMA[tier["fma"]] for tier in tiers if "fma" in tier]
    return {**SERIES, "scalar": (names[0], *SERIES["scalar"][1:])} if names else SERIES


LINES = ["blue", "orange", "green", "purple", "grey"]
ROW_WIDTH = 670  # pixels right of a row's name: the longest name makes a picture wider
LABEL_ROOM = 28  # pixels of a number below an axis
CAPTION_COLUMNS = 130  # that the width of a picture has room for

# (light, dark), written out in each rule: not every program that shows pictures knows CSS variables.
COLORS = {"grey": ("#7d8590", "#8b949e"), "blue": ("#1f6feb", "#58a6ff"), "orange": ("#d1600a", "#f0883e"),
          "green": ("#1a7f5a", "#3fb98a"), "purple": ("#8250df", "#b58cf7")}
INK, DIM, RULE = ("#1f2328", "#e6edf3"), ("#656d76", "#9198a1"), ("#d8dee4", "#30363d")


def colors(theme):
    series = "".join(f".{name}{{fill:{shades[theme]};stroke:{shades[theme]}}}\n" for name, shades in COLORS.items())
    return (f"text{{fill:{INK[theme]}}}.dim{{fill:{DIM[theme]}}}.axis{{stroke:{DIM[theme]}}}"
            f".rule{{stroke:{RULE[theme]}}}\n{series}")


STYLE = f"""
svg{{font:13px system-ui,-apple-system,"Segoe UI",sans-serif}}
{colors(0)}@media(prefers-color-scheme:dark){{
{colors(1)}}}
.rule,.axis{{stroke-width:1}}.mark,.line{{stroke-width:2}}.line,.hollow{{fill:none}}.dash{{stroke-dasharray:5 4}}"""


class Picture:
    def __init__(self, width, height, title):
        self.width, self.height, self.title, self.parts = width, height, title, []

    def text(self, x, y, text, anchor="start", dim=False):
        kind = ' class="dim"' if dim else ""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(text)}</text>')

    def rule(self, x1, y1, x2, y2, kind="rule"):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def dot(self, x, y, color, hollow=False, note="", radius=5):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="mark {color}'
                          f'{" hollow" if hollow else ""}"><title>{escape(note)}</title></circle>')

    def line(self, points, color, dashed=False):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" class="{color} line{" dash" if dashed else ""}"/>')

    def legend(self, x, y, entries):
        for label, color, hollow in entries:
            self.dot(x + 5, y - 4, color, hollow)
            self.text(x + 16, y, label)
            x += 40 + 6.8 * len(label)

    def svg(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img" aria-label="{escape(self.title)}">'
                f"<style>{STYLE}</style>{''.join(self.parts)}</svg>")


def even_step(length):
    """Between ticks that cut a length into at most eight parts: 1, 2 or 5 times a power of ten."""
    least = length / 8
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)


class Log:
    """A logarithmic scale from values to pixels."""

    def __init__(self, values, begin, end):
        self.low, self.high = min(values) / 1.15, max(values) * 1.15
        self.begin, self.end = begin, end

    def __call__(self, value):
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self):
        span = self.high / self.low
        if span < 2:  # too short for steps of a decade: of ratios near 1 it would have that one tick
            step = even_step(self.high - self.low)
            return [step * i for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        steps = (1, 1.2, 1.5, 2, 3, 4, 5, 7) if span < 12 else (1, 2, 5) if span < 2000 else (1,)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        return [s * 10.0 ** p for p in powers for s in steps if self.low <= s * 10.0 ** p <= self.high]


def number(value):
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def rows_of_dots(names, series, values, title, unit, marker=None, caption=""):
    """values[name][key] -> dots along a logarithmic axis, one row a name. marker: (value, label) lines. The caption
    says what was measured where, for a reader who has only the picture."""
    left, right, row, top = max(250, 24 + 7 * max(map(len, names))), 30, 26, 66
    height = top + row * len(names) + 44
    lines = textwrap.wrap(caption, CAPTION_COLUMNS)
    picture = Picture(left + ROW_WIDTH, height + (8 + 16 * len(lines) if lines else 0), title)
    numbers = [v for name in names for v in values[name].values()] + [value for value, _ in marker or []]
    scale = Log(numbers, left, picture.width - right)
    used = [key for key in series if any(key in values[name] for name in names)]
    picture.legend(10, 22, [series[key] for key in used])
    bottom = height - 40
    for tick in scale.ticks():
        picture.rule(scale(tick), top - 14, scale(tick), bottom)
        picture.text(scale(tick), bottom + 18, number(tick), "middle", True)
    picture.text((left + picture.width - right) / 2, bottom + 35, unit, "middle", True)
    for index, line in enumerate(lines):
        picture.text(10, bottom + 57 + 16 * index, line, "start", True)
    for value, label in marker or []:
        picture.rule(scale(value), top - 14, scale(value), bottom, "axis dash")
        picture.text(scale(value), top - 20, label, "middle", True)
    for index, name in enumerate(names):
        y = top + row * index + 6
        picture.rule(left, y, picture.width - right, y)
        picture.text(left - 12, y + 4, name, "end")
        for key in used:
            if key in values[name]:
                label, color, hollow = series[key]
                picture.dot(scale(values[name][key]), y, color, hollow, f"{name}, {label}: {values[name][key]:.3g}")
    return picture.svg()


def roofline(points, series, peaks, bandwidths, caption):
    """points: (tier, name, FLOP a byte, GFLOP/s); series: of series_of(); peaks: tier -> GFLOP/s; bandwidths: level ->
    GB/s."""
    left, top, right, bottom = 70, 58, 800, 454
    picture = Picture(920, 534, "roofline")
    picture.text(14, bottom + 66, caption, "start", True)
    lowest = min(min(p[3] for p in points), min(peaks.values())) / 1.5
    xs = Log([p[2] for p in points] + [peak / width for peak in peaks.values() for width in bandwidths.values()],
             left, right)
    ys = Log([lowest, max(peaks.values()) * 1.2, *(p[3] for p in points)], bottom, top)
    for tick in xs.ticks():
        picture.rule(xs(tick), top, xs(tick), bottom)
        picture.text(xs(tick), bottom + 20, number(tick), "middle", True)
    for tick in ys.ticks():
        picture.rule(left, ys(tick), right, ys(tick))
        picture.text(left - 8, ys(tick) + 4, number(tick), "end", True)
    picture.text((left + right) / 2, bottom + 42, "FLOP a byte", "middle", True)
    picture.text(left - 56, top - 12, "GFLOP/s", "start", True)
    top_peak, label_y, taken = max(peaks.values()), [], []
    for index, (level, width) in enumerate(sorted(bandwidths.items(), key=lambda item: -item[1])):
        begin, end = max(xs.low, ys.low / width), top_peak / width
        picture.line([(xs(begin), ys(begin * width)), (xs(end), ys(top_peak))], "grey")
        # Above the roof, where each slope meets it: the upper half to the left, stacked where they would overlap.
        label, left_of = f"{level} {width:.0f} GB/s", 2 * index < len(bandwidths)
        span = (xs(end) - 7 * len(label), xs(end)) if left_of else (xs(end), xs(end) + 7 * len(label))
        line = next(n for n in range(9) if all(n != m or span[1] < a or b < span[0] for m, a, b in taken))
        taken.append((line, *span))
        picture.text(xs(end), ys(top_peak) - 8 - 16 * line, label, "end" if left_of else "start", True)
    widest = max(bandwidths.values())
    for tier, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        label, color, _ = SERIES[tier]
        picture.line([(xs(max(xs.low, peak / widest)), ys(peak)), (right, ys(peak))], color, True)
        y = ys(peak) + 4
        while any(abs(y - other) < 16 for other in label_y):
            y += 4
        label_y.append(y)
        picture.text(right + 8, y, f"{label} {peak:.0f}")
    for tier, name, intensity, gflops in points:
        label, color, hollow = series[tier]
        picture.dot(xs(intensity), ys(gflops), color, hollow, f"{name}, {label}: {gflops:.1f} GFLOP/s", 4)
    picture.legend(left, 20, [series[tier] for tier in series if tier in {p[0] for p in points}])
    return picture.svg()


def apart(values, scale):
    """Of sorted values those whose labels have room, the last one first of all."""
    kept = []
    for value in reversed(values):
        if not kept or scale(kept[-1]) - scale(value) >= LABEL_ROOM:
            kept.append(value)
    return kept


def curves(series, x_label, y_label, title, caption, ideal=False):
    """series: label -> [(x, y)]."""
    left, top, right, bottom = 70, 60, 800, 360
    picture = Picture(920, 440, title)
    picture.text(14, bottom + 66, caption, "start", True)
    points = [p for values in series.values() for p in values]
    xs, measured = Log([p[0] for p in points], left, right), sorted({p[0] for p in points})
    high = max(max(p) if ideal else p[1] for p in points) * 1.1
    step = even_step(high)
    for index in range(int(high / step) + 1):
        y = bottom - index * step / high * (bottom - top)
        picture.rule(left, y, right, y)
        picture.text(left - 8, y + 4, number(index * step) if index else "0", "end", True)
    for tick in apart(measured, xs):
        picture.text(xs(tick), bottom + 20, number(tick), "middle", True)
    picture.text((left + right) / 2, bottom + 42, x_label, "middle", True)
    picture.text(left - 56, top - 12, y_label, "start", True)
    if ideal:
        picture.line([(xs(x), bottom - x / high * (bottom - top)) for x in measured], "grey", True)
    for index, (label, values) in enumerate(series.items()):
        color = LINES[index % len(LINES)]
        place = [(xs(x), bottom - y / high * (bottom - top)) for x, y in values]
        picture.line(place, color)
        for (x, y), (px, py) in zip(values, place):
            picture.dot(px, py, color, False, f"{label}, {number(x)}: {y:.3g}", 4)
    picture.legend(left - 56, 22, [(label, LINES[i % len(LINES)], False) for i, label in enumerate(series)])
    return picture.svg()
