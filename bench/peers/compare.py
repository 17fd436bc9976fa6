#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gatekern and its peers in turn in one session: A B C, A B C, ...; outputs are compared before anything is timed.

  compare.py --bars step --onednn build/peer_onednn
  compare.py --shapes char-rnn --shape lstm,240,1024,16,40,bidirectional --peers pytorch,packed,onednn --rounds 5
  compare.py --bars training --text shakespeare.txt

Runs in a Python environment with NumPy and the peers that are asked for (tests/peers/requirements.txt;
onednn: bench/peers/build_onednn); one that does not start here is left out. A ratio is the peer's time / ours:
above 1, Gatekern is faster. A step is forward + backward with the gradients of input, initial states, weights and
biases, ours with packing of the weights. oneDNN is given weights in its own layout, so that it is compared with a step
of ours whose weights were packed before; in brackets stand the ratios with packing and reorders counted on both sides,
and with packing counted on ours alone. Exit status 1 if outputs or losses differ, a contestant fails in a row (the
other rows are still compared), a bar is missed, the peer that a bar needs could not be measured (--peers takes some),
or none of those that --peers names answers though it offers the network; 130 after Ctrl-C, which keeps what was
compared."""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import bounds
import machine
import reasons
import session
import training
from bars import (BARS, PEER_NAMES as NAMES, TRAINING, Row, explain_brackets, geometric_means, is_missed, parse_shape,
                  read_list, text_of_core_to_core, text_of_ours, text_of_peer)
from contestants import (Failed, Gatekern, NoAnswer, NotOffered, Onednn, Prepacked, Worker, environment, fastest_tier,
                         make_data, pause, result_shapes, usable_tiers)

LARGEST_DIFFERENCE = 1e-4  # of a tensor's largest magnitude
MOVED = 3  # times as long from core to core: on caches of their own, no longer on one


def ask(name, call, *arguments):
    try:
        return call(*arguments)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        message = " ".join(str(error).split())
        raise Failed(f"{NAMES.get(name, 'Gatekern')} failed: {message or type(error).__name__}") from error


def check_whole(results, shapes):
    """What is not there, has another size or is nothing but zeros would not be compared."""
    if set(results) != set(shapes):
        raise ValueError(f"gave {', '.join(sorted(results)) or 'nothing'} of {', '.join(sorted(shapes))}")
    for name, shape in shapes.items():
        if results[name].size != np.prod(shape):
            raise ValueError(f"{name} has {results[name].size} values of {np.prod(shape)}")
        if not results[name].any():
            raise ValueError(f"{name} is nothing but zeros")


def largest_difference(ours, theirs, shapes):
    """Over all tensors of these shapes, and the name of the worst."""
    worst = (0.0, "")
    check_whole(theirs, shapes)
    for name in shapes:
        a, b = ours[name].reshape(-1).astype(np.float64), theirs[name].reshape(-1)
        difference = float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))
        worst = max(worst, (math.inf if math.isnan(difference) else difference, name))
    return worst


def start_peers(names, options):
    peers = {}
    for name in names:
        try:
            if name == "onednn":
                peers[name] = Onednn(options.onednn, options.threads, options.patience)
            else:
                peers[name] = Worker("onnxruntime" if name == "onnxruntime" else "pytorch", options.threads,
                                     options.patience, name == "packed")
        except (NotOffered, NoAnswer, OSError, RuntimeError, ValueError) as error:
            if name == "onednn" and isinstance(error, FileNotFoundError):
                error = f"there is no {options.onednn}, which bench/peers/build_onednn makes"
            print(f"{NAMES[name]} is left out, it does not start: {error}", file=sys.stderr)
    return peers


def leave_out(name, reason, left_out):
    left_out[name] = reason
    print(f"  {NAMES[name]}: {reason}", file=sys.stderr)


def compare_outputs(row, gatekern, peers, folder):
    """Peer -> largest difference, and peer -> why it is left out of the row."""
    data, differences, left_out = make_data(row.shape, folder), {}, {}
    shapes = result_shapes(row.shape, row.passes == "step")
    ours = ask("gatekern", gatekern.results, row, data)
    ask("gatekern", check_whole, ours, shapes)
    for name in row.peers:
        if name in peers:
            try:
                theirs = ask(name, peers[name].results, row, folder)
                differences[name] = ask(name, largest_difference, ours, theirs, shapes)
            except (NotOffered, NoAnswer) as reason:
                leave_out(name, reason, left_out)
    return differences, left_out


def measure_once(contestant, row, seconds, folder):
    pause()
    return contestant.measure(row, seconds, folder)


def summary(rounds):
    figures = {key: min(r[key] for r in rounds) for key in rounds[0] if "best" in key}
    figures.update({key: statistics.median(r[key] for r in rounds) for key in rounds[0] if "median" in key})
    figures["spread"] = (max(r["best"] for r in rounds) - figures["best"]) / figures["best"]
    return figures


def run_row(row, gatekern, peers, options, folder):
    """The row's figures; {"error": ...} where outputs differ or a contestant fails, after which others can follow."""
    try:
        differences, left_out = compare_outputs(row, gatekern, peers, folder)
        for name, (difference, tensor) in differences.items():
            if not difference <= LARGEST_DIFFERENCE:
                raise Failed(f"{NAMES[name]}: {tensor} differs by {difference:.2g}")
        contestants = {"gatekern": gatekern, **{name: peers[name] for name in differences}}
        if row.passes == "step" and "onednn" in differences:
            contestants["prepacked"] = Prepacked(gatekern)  # for oneDNN
        rounds, disturbance = measure_rounds(row, contestants, left_out, options, folder)
        differences = {name: pair[0] for name, pair in differences.items() if name in rounds}
        return result_of(row, rounds, differences, left_out, disturbance, options.ceilings)
    except Failed as failure:
        return {"error": str(failure)}


def measure_rounds(row, contestants, left_out, options, folder):
    """The figures of each contestant that answers in every round, and what disturbed them."""
    rounds, disturbance = {name: [] for name in contestants}, machine.Disturbance()
    for _ in range(options.rounds):
        for name in list(rounds):
            if name not in rounds:
                continue
            try:
                rounds[name].append(ask(name, measure_once, contestants[name], row, options.seconds, folder))
            except NoAnswer as reason:
                leave_out(name, reason, left_out)
                del rounds[name]
                if name == "onednn":
                    rounds.pop("prepacked", None)
            disturbance.sample()
    return rounds, disturbance.report()


def peer_result(ours, theirs, difference):
    """Like with like: a peer whose step leaves out its reorders, with a step of ours that leaves out packing."""
    result = {**theirs, "difference": difference}
    if "best_with_reorders" in theirs:
        result.update(ratio=theirs["best"] / ours["prepacked_best"],
                      ratio_median=theirs["median"] / ours["prepacked_median"],
                      ratio_with_reorders=theirs["best_with_reorders"] / ours["best"],
                      ratio_packing_alone=theirs["best"] / ours["best"])
    else:
        result.update(ratio=theirs["best"] / ours["best"], ratio_median=theirs["median"] / ours["median"])
    return result


def ceiling_of(ceilings, isa):
    """The FMA peak of an instruction set when the session began; 0 if it is not known."""
    return max((tier.get("peak_gflops", 0) for tier in (ceilings or {}).get("tiers", []) if tier["isa"] == isa),
               default=0)


def result_of(row, rounds, differences, left_out, disturbance, ceilings):
    ours = summary(rounds["gatekern"])
    # Each measurement knows only its own peak, which is none beside other programs: the largest is the ceiling.
    own_rounds = rounds["gatekern"] + rounds.get("prepacked", [])
    peaks = [r["peak_gflops"] for r in own_rounds]
    peak = max(*peaks, ceiling_of(ceilings, own_rounds[0]["isa"]))
    if len({r["checksum"] for r in own_rounds}) > 1:
        raise Failed(f"Gatekern's checksums differ: {', '.join(r['checksum'] for r in own_rounds)}")
    gflops = row.shape.flop(row.passes == "step") / ours["best"] * 1e-9
    ours.update(rounds["gatekern"][0], **ours)
    sustained = statistics.mean(r["sustained_gflops"] for r in own_rounds)
    answers = [r["core_to_core_ns"] for r in own_rounds]
    ours.update(gflops=gflops, peak_gflops=peak, lowest_peak_gflops=min(peaks), percent_of_peak=100 * gflops / peak,
                sustained_gflops=sustained, core_to_core_ns=[min(answers), max(answers)])
    result = {"gatekern": ours, "rounds": rounds, "left_out": {name: str(left_out[name]) for name in left_out},
              **disturbance}
    if "prepacked" in rounds:
        prepacked = summary(rounds["prepacked"])
        ours.update(prepacked_best=prepacked["best"], prepacked_median=prepacked["median"])
    result["peers"] = {name: peer_result(ours, summary(rounds[name]), differences[name]) for name in differences}
    result["missed"] = [name for name in row.at_least
                        if name == "peak" and gflops / peak < row.at_least["peak"]
                        or name in result["peers"] and is_missed(row, name, ours, result["peers"][name])]
    result["unmeasured"] = [name for name in row.at_least if name in row.peers and name not in result["peers"]]
    if row.asked and not result["peers"]:
        result["unmeasured"] += [name for name in row.peers if name not in result["unmeasured"]
                                 and not isinstance(left_out.get(name), NotOffered)]
    return result


def line_of(row, result):
    """What --out writes of a row."""
    return {**vars(row.shape), "pass": row.passes, "isa": row.isa, "at_least": row.at_least, "group": row.group,
            "group_sizes": row.group_sizes, **result}


def reason_of(row, result, name, ceilings):
    """The row's own figures, and what is known of its like on this CPU."""
    found = reasons.find(reasons.read(), row.shape.name, row.passes, row.isa, name)
    return f"{bounds.of_row(line_of(row, result), name, ceilings)} {found}"


def measure_ceilings(options):
    """With the threads that all are asked to use; None where as many are not to be had."""
    result = subprocess.run([options.program, "info", "--json"], capture_output=True, text=True,
                            env=environment("auto", options.threads))
    info = json.loads(result.stdout) if result.returncode == 0 else {}
    return {k: info[k] for k in ("threads", "tiers", "caches", "bandwidth")} \
        if info.get("threads") == options.threads else None


def text_of_disturbance(result):
    """Where others took so much that the row's figures mean little, or the threads were moved apart meanwhile."""
    texts = machine.marks_of_disturbance(result)
    soonest, latest = result["gatekern"]["core_to_core_ns"]
    if latest > MOVED * soonest:
        texts.append(f"MOVED: from core to core {text_of_core_to_core(result['gatekern'])} ns")
    return texts


def describe_row(row, result, ceilings):
    if "error" in result:
        return f"{row.shape.name} {row.passes} {row.isa}: FAILED: {result['error']}"
    own = result["gatekern"]
    parts = [f"{row.shape.name} {row.passes} {own['isa']}: ms {text_of_ours(own)}",
             f"{own['gflops']:.1f} GFLOP/s, {own['percent_of_peak']:.1f} % of peak"]
    for name, peer in result["peers"].items():
        parts.append(f"{NAMES[name]} x{text_of_peer(peer)}, outputs within {peer['difference']:.1g}")
    if not result["peers"]:
        parts.append("ours alone: " + "; ".join(f"{NAMES[name]}: {result['left_out'].get(name, 'is not here')}"
                                                for name in row.peers))
    if result["missed"]:
        parts.append("MISSED: " + ", ".join(f"{name} < {row.at_least[name]} ({reason_of(row, result, name, ceilings)})"
                                            for name in result["missed"]))
    if result["unmeasured"]:
        parts.append("NOT MEASURED: " + ", ".join(NAMES[name] for name in result["unmeasured"]))
    return "; ".join(parts + text_of_disturbance(result))


def describe_session(header, jobs):
    peers = {**training.versions(jobs), **header["versions"]}
    versions = ", ".join(f"{NAMES[k]} {v}" for k, v in peers.items() if k in NAMES)
    ours = machine.text_of_build(header["versions"]["gatekern"], header["compiler"], header["machine"])
    return (f"{machine.name_of(header['machine'])}, {header['machine']['allowed_cpus']} CPUs, threads: "
            f"{header['threads']}, {header['machine']['date']}. Gatekern {ours}. {versions or 'No peer'}.\n\n")


def markdown(header, rows, results):
    peers = sorted({name for result in results for name in [*result.get("peers", {}), *result.get("unmeasured", [])]})
    lines = [f"Best (median) of {header['rounds']} rounds in turn, {header['seconds']} s each, after warm-up. Speeds "
             "are the peer's time / ours: above 1, Gatekern is faster. The last columns say what disturbed them: the "
             "lowest FMA peak of a round (a slower clock), time that the hypervisor and that other programs took, the "
             "clock that the kernel reports, the shortest and longest time that a line of cache took from core to core "
             "(longer: on caches of their own)." + explain_brackets(results),
             "", "| " + " | ".join(["network", "pass", "isa", "ms", "GFLOP/s", "% of peak",
                                *(f"our speed / {NAMES[p]}'s" for p in peers), "needed", "lowest peak, %", "steal %",
                                "others %", "MHz", "core to core, ns"]) + " |", "|---" * (12 + len(peers)) + "|"]
    for row, result in zip(rows, results):
        if "error" in result:
            lines.append(f"| {row.shape.name} | {row.passes} | {row.isa} | {session.markdown_cell(result['error'])} |")
            continue
        own, cells = result["gatekern"], []
        for name in peers:
            peer = result["peers"].get(name)
            text = text_of_peer(peer) if peer else "not measured" if name in result["unmeasured"] else "–"
            cells.append(f"**{text}**" if name in result["missed"] else text)
        needed = ", ".join(f"{NAMES.get(k, k)} {v}" for k, v in row.at_least.items()) or "–"
        peak = f"{own['percent_of_peak']:.1f}"
        lines.append(f"| {row.shape.name} | {row.passes} | {own['isa']} | {text_of_ours(own)} | "
                     f"{own['gflops']:.1f} | "
                     f"{'**' + peak + '**' if 'peak' in result['missed'] else peak} | "
                     f"{' | '.join([*cells, needed])} | "
                     f"{100 * own['lowest_peak_gflops'] / own['peak_gflops']:.0f} | {result['steal_percent']} | "
                     f"{result['others_percent']} | {'–'.join(map(str, result.get('megahertz', [])))} | "
                     f"{text_of_core_to_core(own)} |")
    short = [(row, result, name) for row, result in zip(rows, results) for name in result.get("missed", [])]
    lines += [""] + [f"- {row.shape.name}, {row.passes}, {row.isa}, {NAMES.get(name, name)} < {row.at_least[name]}: "
                     f"{reason_of(row, result, name, header.get('ceilings'))}" for row, result, name in short]
    lines += [""] + [f"- {mean.name}, {mean.passes}, {NAMES[mean.peer]}: geometric mean{mean.part} {mean.value:.3f}"
                     + (f", needed {mean.needed}" if mean.needed else "") for mean in means_of(rows, results)]
    return "\n".join(lines) + "\n"


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", action="append", default=[], choices=[*BARS, "training"])
    parser.add_argument("--shapes", action="append", default=[], metavar="LIST", help="of bench/shapes, or a file")
    parser.add_argument("--shape", action="append", default=[], metavar="CELL,I,H,N,T[,L][,bidirectional]")
    parser.add_argument("--filter", default="", help="only networks with this in their name")
    parser.add_argument("--pass", dest="passes", choices=["step", "forward", "inference"],
                        help="for --shape and --shapes; step if it is not given")
    parser.add_argument("--isa", choices=["auto", "scalar", "avx2", "avx512", "neon"],
                        help="for --shape, --shapes and training; avx2 caps the peers too, scalar could not")
    parser.add_argument("--peers", default=None, help="some of " + ", ".join(NAMES) + "; all that are found")
    session.add_options(parser, rounds=5, seconds=1.0)
    parser.add_argument("--program", default=os.environ.get("GATEKERN_PROGRAM", str(session.BUILD / "gatekern")))
    parser.add_argument("--onednn", default=str(session.BUILD / "peer_onednn"))
    parser.add_argument("--text", help="for --bars training; one is made if it is not given")
    parser.add_argument("--training-steps", type=int, help="for --bars training; 30 if it is not given")
    parser.add_argument("--markdown", help="a table")
    options = parser.parse_args()
    unknown = set((options.peers or "pytorch").split(",")) - set(NAMES)
    if unknown:
        parser.error(f"--peers: no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if options.isa == "scalar":
        parser.error("--isa scalar: no peer can be kept to scalar code, and none is compared with it")
    try:
        session.check_numbers(options)
        options.shape_rows = [shape for name in options.shapes for shape in read_list(name)]
        options.shape_rows += [parse_shape(text) for text in options.shape]
    except ValueError as error:
        parser.error(str(error))
    training = "training" in options.bars
    if training and options.peers and "pytorch" not in options.peers.split(","):
        parser.error(f"--peers {options.peers}: --bars training compares with PyTorch alone")
    if options.passes and not options.shape_rows:
        parser.error("--pass: there is no --shape or --shapes that it is for; bars have theirs")
    if options.isa and not options.shape_rows and not training:
        parser.error("--isa: there is no --shape, --shapes or --bars training that it is for; other bars have theirs")
    for name in ("text", "training_steps"):
        if getattr(options, name) is not None and not training:
            parser.error(f"--{name.replace('_', '-')}: there is no --bars training that it is for")
    options.training_steps = 30 if options.training_steps is None else options.training_steps
    options.passes, options.isa = options.passes or "step", options.isa or "auto"
    try:
        session.check_files(options)
        if options.text and not Path(options.text).is_file():
            raise ValueError(f"--text: no file {options.text}")
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    return options


def make_rows(options):
    """ValueError: there is nothing to compare."""
    usable = usable_tiers(options.program)
    if options.isa not in ("auto", *usable):
        raise ValueError(f"--isa {options.isa}: this machine runs {', '.join(usable)}")
    rows = [row for name in options.bars if name in BARS for row in BARS[name](fastest_tier(options.program))]
    names = options.peers.split(",") if options.peers else [*NAMES]
    rows += [Row(shape, options.passes, names, options.isa) for shape in options.shape_rows]
    if options.peers:
        for row in rows:
            row.peers, row.asked = names, True
    for row in rows:
        alike = [other for other in rows if row.group and (other.group, other.passes) == (row.group, row.passes)]
        row.group_sizes = {peer: sum(peer in other.peers for other in alike) for peer in row.peers}
    chosen = [row for row in rows if options.filter in row.shape.name]
    if not chosen and "training" not in options.bars:
        raise ValueError(f"--filter: no network has '{options.filter}' in its name" if rows else
                         "nothing to compare: --bars, --shapes or --shape says what")
    return chosen


def run_rows(rows, gatekern, peers, options, results):
    """Adds the result of each row as it comes."""
    for row in rows:
        with tempfile.TemporaryDirectory() as folder:
            results.append(run_row(row, gatekern, peers, options, Path(folder)))
        session.write(options.out, json.dumps(line_of(row, results[-1])) + "\n")
        print(describe_row(row, results[-1], options.ceilings), flush=True)


def is_amiss(result):
    return "error" in result or bool(result["missed"] or result["unmeasured"])


def means_of(rows, results):
    return geometric_means([line_of(row, result) for row, result in zip(rows, results)])


def report_means(rows, results):
    """Prints them; true if none is missed."""
    means = means_of(rows, results)
    for mean in means:
        print(f"{mean.name}, {mean.passes}, {NAMES[mean.peer]}: geometric mean{mean.part} x{mean.value:.3f}"
              + (f", MISSED {mean.needed} ({bounds.of_mean(mean)})" if mean.missed else ""))
    return not any(mean.missed for mean in means)


def main():
    options = parse_options()
    machine.make_all_wait_alike()
    machine.warn_of_load()
    try:
        rows = make_rows(options)
        gatekern = Gatekern(options.program, options.library, options.threads)
        session.write(options.markdown, "")
        session.write(options.out, "")
    except (ValueError, OSError) as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 2
    peers = start_peers(sorted({name for row in rows for name in row.peers}), options)
    options.ceilings = measure_ceilings(options)
    header = {"machine": machine.describe(), "ceilings": options.ceilings, "threads": options.threads,
              "rounds": options.rounds, "seconds": options.seconds, "compiler": gatekern.compiler,
              "versions": {"gatekern": gatekern.version, **{k: v.version for k, v in peers.items()}}}
    session.write(options.out, json.dumps({"header": header}) + "\n", "w")
    results, jobs, fine, stopped = [], [], True, False
    try:
        run_rows(rows, gatekern, peers, options, results)
        if "training" in options.bars:
            fine = training.compare_training(TRAINING, options, options.ceilings, jobs)
    except KeyboardInterrupt:
        stopped = True
    for peer in peers.values():
        peer.close()
    fine &= report_means(rows, results)
    text = describe_session(header, jobs) + (markdown(header, rows, results) if results else "")
    session.write(options.markdown, text + (training.markdown(jobs) if jobs else ""), "w")
    if stopped:
        compared = [f"{len(results)} of {len(rows)} networks"] if rows else []
        compared += [f"{len(jobs)} training jobs"] if "training" in options.bars else []
        print(f"compare.py: stopped by the user; compared: {', '.join(compared)}", file=sys.stderr)
        return session.STOPPED
    return 0 if fine and not any(map(is_amiss, results)) else 1


if __name__ == "__main__":
    session.run(main)
