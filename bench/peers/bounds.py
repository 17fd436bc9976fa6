# SPDX-License-Identifier: Apache-2.0
"""What bounds a figure and how far it is from that bound, computed from the figure's own row: a sentence for each kind
of row. `ceilings` is what gatekern info --json measured of the machine: threads, caches, bandwidth, tiers; None where
it is not known."""

import re
from dataclasses import dataclass

import machine
from bars import GATES, Shape, leaves_out_packing, seconds_beside


@dataclass
class Floor:
    """The least time of a run on ceilings that were measured."""
    seconds: float
    reading: float  # of it, the recurrent weights once a time step forward and once backward; 0: bandwidth unknown
    level: str  # that holds these weights
    megabytes: float
    gigabytes_per_second: float
    by_bandwidth: bool  # or by the FMA peak alone


def shape_of(line):
    sizes = (line[key] for key in ("input", "hidden", "batch", "time", "layers"))
    return Shape(line.get("name", ""), line["cell"], *sizes, line.get("direction", "forward"))


def recurrent_weights(shape):
    """Of one layer, of both of its directions."""
    return shape.directions * GATES[shape.cell] * shape.hidden * shape.hidden


def sharers(cache):
    """How many CPUs share a cache, from text as 0-3,8."""
    spans = [part.split("-") for part in str(cache.get("shared_by_cpus") or "0").split(",")]
    return sum(int(span[-1]) - int(span[0]) + 1 for span in spans)


def holding_level(ceilings, size):
    """The first level whose caches, of all threads together, hold as many bytes."""
    for cache in sorted(ceilings["caches"], key=lambda c: c["level"]):
        if cache.get("type") != "Instruction" and size <= cache["bytes"] * -(-ceilings["threads"] // sharers(cache)):
            return f"L{cache['level']}"
    return "memory"


def floor_of(shape, step, peak_gflops, ceilings):
    """A time step needs the state before it: its product reads all recurrent weights, forward and, in a step, backward.
    All other products may wait for many time steps together: they are bounded by the peak."""
    ways = 2 if step else 1
    recurrent = ways * shape.layers * shape.time * 2 * shape.batch * recurrent_weights(shape)
    products, others = recurrent / peak_gflops * 1e-9, (shape.flop(step) - recurrent) / peak_gflops * 1e-9
    size = 4 * recurrent_weights(shape)
    level = holding_level(ceilings, size) if ceilings else ""
    widths = {b["level"]: b["gigabytes_per_second"] for b in ceilings["bandwidth"]} if ceilings else {}
    width = widths.get(level, 0)
    reading = ways * shape.layers * shape.time * size / width * 1e-9 if width else 0.0
    return Floor(others + max(products, reading), reading, level, size * 1e-6, width, reading > products)


def milliseconds(seconds):
    return f"{1e3 * seconds:.3g} ms"


def text_of_floor(shape, step, best, peak, asked, ceilings):
    """`best`: our seconds; `asked`: those that the bar asks for."""
    floor, parts = floor_of(shape, step, peak, ceilings), []
    if floor.reading:
        often = "once a time step forward and once backward" if step else "once a time step"
        parts.append(f"Reading the recurrent weights ({floor.megabytes:.3g} MB, in {floor.level}) {often} at "
                     f"{floor.gigabytes_per_second:.0f} GB/s takes {milliseconds(floor.reading)} of our "
                     f"{milliseconds(best)}.")
    what = f"the bandwidth of {floor.level} and the peak" if floor.by_bandwidth else "the FMA peak"
    parts.append(f"Bound: {what}, {milliseconds(floor.seconds)}, {100 * floor.seconds / best:.0f} % of our time"
                 + (", in which the machine was faster than when the ceilings were measured"
                    if floor.seconds > best else "")
                 + (f"; the {milliseconds(asked)} asked for are below it." if asked < floor.seconds else "."))
    return " ".join(parts)


def meanwhile(line, *more):
    """What disturbed a figure, as a sentence; "" where nothing is known of it."""
    known = ", ".join(filter(None, (machine.text_of_taken(line), *more)))
    return f" Meanwhile {known}." if known else ""


def peak_of(own):
    return own.get("peak_gflops") or 100 * own["gflops"] / own["percent_of_peak"]


def of_row(line, who, ceilings=None):
    """Of a line of compare.py and a name in its `missed`."""
    own, needed, peer = line["gatekern"], line["at_least"][who], line["peers"].get(who)
    best = seconds_beside(own, peer) if peer else own["best"]
    peak, gflops = peak_of(own), own["gflops"] * own["best"] / best
    share = 100 * gflops / peak
    whose = "Ours without packing" if peer and leaves_out_packing(peer) else "Ours"
    parts = [f"{whose} {gflops:.1f} GFLOP/s, {share:.1f} % of the FMA peak"]
    if not peer:
        asked = best * share / (100 * needed)
        parts[0] += f"; asked for {needed * peak:.1f}, {100 * needed:.0f} %."
    else:
        asked = best * peer["ratio"] / needed
        of_peer, percent = gflops / peer["ratio"], share / peer["ratio"]
        parts[0] += (f"; the peer {of_peer:.1f}, {percent:.1f} %; a ratio of {needed} asks for {needed * of_peer:.1f}, "
                     f"{needed * percent:.1f} %.")
        if "ratio_with_reorders" in peer:
            parts.append("With packing and the peer's reorders counted the ratio is "
                         f"{peer['ratio_with_reorders']:.2f}.")
    if "sustained_gflops" in own:
        parts.append(f"The FMA loop itself kept {100 * own['sustained_gflops'] / peak:.1f} % on average, before and "
                     "after the runs.")
    parts.append(text_of_floor(shape_of(line), line["pass"] == "step", best, peak, asked, ceilings))
    return " ".join(parts) + meanwhile(line)


def span(values):
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low}-{high}"


def of_mean(mean):
    """Of a bars.Mean that something is needed of."""
    pairs = [(line["gatekern"], line["peers"][mean.peer]) for line in mean.lines]
    ours = [own["percent_of_peak"] * own["best"] / seconds_beside(own, peer) for own, peer in pairs]
    theirs = [share / peer["ratio"] for share, (_, peer) in zip(ours, pairs)]
    faster = mean.needed / mean.value
    which = "ours without packing" if any(leaves_out_packing(peer) for _, peer in pairs) else "ours"
    return (f"{len(ours)} rows: {which} at {span(ours)} % of the FMA peak, the peer at {span(theirs)} %. Every row "
            f"{100 * (faster - 1):.1f} % faster would reach {mean.needed}, the fastest then at "
            f"{max(ours) * faster:.0f} %.")


def of_training(job, ceilings=None):
    """Of a line of training.py. Counted are the products of the layers, but for those of the first layer's input, which
    an embedding replaces."""
    cell, layers, hidden = re.match(r"(\S+) (\d+)x(\d+) ", job["training"]).groups()
    shape = Shape("", cell, 0, int(hidden), 1, 1, int(layers))
    flop = 3 * 2 * (2 * shape.layers - 1) * recurrent_weights(shape)
    peaks = {t["isa"]: t.get("peak_gflops") for t in (ceilings or {}).get("tiers", [])}
    isa = job.get("isa", "auto")
    peak = peaks.get(isa) if isa != "auto" else max((p for p in peaks.values() if p), default=None)
    rates = [max(r["best"] for r in job[who]) for who in ("gatekern", "pytorch")]
    figures = [rate * flop * 1e-9 for rate in (*rates, job["at_least"] * rates[1])]
    ours, theirs, asked = (f"{f:.1f}" + (f", {100 * f / peak:.1f} %" if peak else "") for f in figures)
    return (f"Products of the layers in GFLOP/s{' and per cent of the FMA peak' if peak else ''}: ours {ours}; the "
            f"peer {theirs}; a ratio of {job['at_least']} asks for {asked}.{meanwhile(job)}")


def of_ragged(row):
    """Of a line of compare_ragged.py."""
    times = [milliseconds(s) for s in (row["best"], row["packed"], row["packed"] / row["at_least"])]
    return f"Ours {times[0]}; the peer {times[1]}; a ratio of {row['at_least']} asks for {times[2]}.{meanwhile(row)}"


def of_check(line):
    """Of a line of gatekern bench --check that missed."""
    ratio, at_most = line["ratio"], line["at_most"]
    text = f"{ratio:.3f} where {at_most} is the most: {100 * (ratio / at_most - 1):.1f} % above."
    if "peak_gflops" in line:
        text += f" {line['gflops']:.1f} GFLOP/s, {100 * line['gflops'] / line['peak_gflops']:.1f} % of the FMA peak."
    if "beside_ms" in line:
        text += f" Beside the layers {line['beside_ms']:.3g} of {line['step_ms']:.3g} ms."
    if "p99_us" in line:
        text += f" Slowest hundredth {line['p99_us']:.2f} us, median {line['median_us']:.2f} us."
    for key, name in (("by_threads", "threads"), ("by_schedule", "schedule")):
        if key in line:
            time = line.get("pass", "step") + "_ms"
            fastest = min(line[key], key=lambda way: way[time])
            text += (f" Chosen: {line['schedule']}, {line['threads_used']} threads, {line[time]:.3g} ms; fastest: "
                     f"{name} {fastest[name]}, {fastest[time]:.3g} ms.")
    lowest = line.get("lowest_peak_percent")
    return text + meanwhile(line, f"FMA peak {lowest:.0f} % of the highest" if lowest is not None else "")
