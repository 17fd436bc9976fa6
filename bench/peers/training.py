# SPDX-License-Identifier: Apache-2.0
"""Whole training loops in turn: `gatekern train lm` and train_torch.py, the same job on the same text from the same
weights. Their losses must agree in the first steps, after which rounding drives any two runs apart."""

import json
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import bounds
import machine
import reasons
import session
from contestants import Failed, environment, fastest_tier

HERE = Path(__file__).resolve().parent
FIRST_STEPS = 3  # set up memory and threads: not timed
OPTIMIZER = ["--lr", "4e-3", "--clip-norm", "5"]  # of both
COMPARED_STEPS, LARGEST_LOSS_DIFFERENCE = 10, 1e-5  # relative, as in tests/peers/compare_language_model.py
VALIDATION = 0.01  # share of the text
SYMBOLS = bytes(range(33, 98))  # 65, as tiny Shakespeare has


@dataclass
class Job:
    """What Markdown says of one."""
    row: str
    short: str = ""  # of what it misses
    peer: str = ""  # and its version


def make_text(path):
    choose = random.Random(1)
    words = [bytes(choose.choices(SYMBOLS, k=choose.randint(1, 9))) for _ in range(2000)]
    path.write_bytes(b"!".join(choose.choices(words, k=200000)))


def tier_of(options):
    """The instruction set that Gatekern trains on."""
    return options.isa if options.isa != "auto" else fastest_tier(options.program)


def run(who, command, **settings):
    """What it prints; a failure is told by the last line of what it said."""
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, **settings)
    if result.returncode:
        said = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise Failed(f"{who} failed: {said[-1]}")
    return result.stdout


def train_gatekern(job, text, options, steps, out, *more):
    cell, layers, hidden, batch, time = job
    command = [options.program, "train", "lm", text, "--cell", cell, "--layers", layers, "--hidden", hidden, "--batch",
               batch, "--time", time, "--steps", steps, "--validation", VALIDATION, "--eval-every", steps, "--out", out,
               "--threads", options.threads, "--isa", options.isa, *more]
    run("Gatekern", command)


def make_initial_weights(job, text, options, path):
    """A step so small leaves the weights that training starts from, but for zeros, which it moves by 1e-12."""
    train_gatekern(job, text, options, 1, path, "--optimizer", "sgd", "--lr", "1e-12")


def run_gatekern(job, text, options, folder):
    log = folder / "log.jsonl"
    log.unlink(missing_ok=True)
    train_gatekern(job, text, options, options.training_steps + FIRST_STEPS, folder / "model.safetensors",
                   "--lr-schedule", "constant", *OPTIMIZER, "--log", log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    rates = [line["characters"] / line["seconds"] for line in lines[FIRST_STEPS:]]
    return {"best": max(rates), "median": statistics.median(rates), "losses": [line["loss"] for line in lines]}


def run_pytorch(job, text, options, weights):
    cell, layers, hidden, batch, time = job
    command = [sys.executable, HERE / "train_torch.py", text, "--weights", weights, "--validation", VALIDATION,
               "--cell", cell, "--layers", layers, "--hidden", hidden, "--batch", batch, "--time", time,
               "--steps", options.training_steps, "--first-steps", FIRST_STEPS, *OPTIMIZER, "--threads",
               options.threads]
    line = json.loads(run("PyTorch", command, env=environment(options.isa, options.threads)))
    return {"best": line["characters_per_second"], "median": line["characters_per_second_median"],
            "losses": line["losses"], "peer": line["peer"]}


def compare_losses(ours, theirs):
    """The largest relative difference in the first steps."""
    if len(ours) != len(theirs):
        raise Failed(f"Gatekern made {len(ours)} steps, PyTorch {len(theirs)}")
    worst = 0.0
    for step, (a, b) in enumerate(list(zip(ours, theirs))[:COMPARED_STEPS], 1):
        difference = abs(a - b) / abs(b)
        if not difference <= LARGEST_LOSS_DIFFERENCE:
            raise Failed(f"losses differ: at step {step} Gatekern's is {a:.6g}, PyTorch's {b:.6g}, apart by "
                         f"{difference:.2g} of it, at most {LARGEST_LOSS_DIFFERENCE}")
        worst = max(worst, difference)
    return worst


def run_job(job, text, options, folder):
    """What both reached, and what disturbed them."""
    disturbance, ours, theirs, differences = machine.Disturbance(), [], [], []
    make_initial_weights(job, text, options, folder / "initial.safetensors")
    for _ in range(options.rounds):
        ours.append(run_gatekern(job, text, options, folder))
        theirs.append(run_pytorch(job, text, options, folder / "initial.safetensors"))
        differences.append(compare_losses(ours[-1]["losses"], theirs[-1]["losses"]))
        disturbance.sample()
    best = [max(r["best"] for r in rounds) for rounds in (ours, theirs)]
    median = [statistics.median(r["median"] for r in rounds) for rounds in (ours, theirs)]
    return {"gatekern": ours, "pytorch": theirs, "ratio": best[0] / best[1], "ratio_median": median[0] / median[1],
            "loss_difference": max(differences), **disturbance.report()}


def describe_job(title, tier, result, bound):
    """A line for the terminal, and one of the table."""
    ours, theirs = (max(r["best"] for r in result[side]) for side in ("gatekern", "pytorch"))
    peer, ratio, of_medians = result["pytorch"][0]["peer"], result["ratio"], result["ratio_median"]
    last = [result[side][-1]["losses"][-1] for side in ("gatekern", "pytorch")]
    return ("; ".join([f"train {title} {tier}: {ours:.0f} characters/s, {peer} {theirs:.0f}: x{ratio:.2f} (median "
                       f"x{of_medians:.2f}), needed {bound}",
                       f"losses within {result['loss_difference']:.1g} in the first steps, the last {last[0]:.3f} "
                       f"{last[1]:.3f}", *machine.marks_of_disturbance(result)]),
            f"| {title} | {tier} | {ours:.0f} | {theirs:.0f} ({peer}) | {ratio:.2f} ({of_medians:.2f}) | {bound} | "
            f"{result['steal_percent']} | {result['others_percent']} | "
            f"{'–'.join(map(str, result.get('megahertz', [])))} |")


def compare_training(jobs, options, ceilings, table):
    """Adds what Markdown says of each job to the table as it comes. Do losses agree, and is every ratio reached?"""
    fine, tier = True, tier_of(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = Path(options.text) if options.text else folder / "text"
        if not options.text:
            make_text(text)
        for job, bound in jobs.items():
            title = f"{job[0]} {job[1]}x{job[2]} N{job[3]} T{job[4]}"
            if options.filter not in title:
                continue
            try:
                result = run_job(job, text, options, folder)
            except Failed as failure:
                fine = False
                print(f"train {title} {tier}: FAILED: {failure}", flush=True)
                table.append(Job(f"| {title} | {tier} | {session.markdown_cell(failure)} |"))
                session.write(options.out, json.dumps({"name": title, "pass": "training", "isa": tier,
                                                       "error": str(failure)}) + "\n")
                continue
            line = {"training": title, "isa": tier, **result, "at_least": bound}
            text_of_job, row = describe_job(title, tier, result, bound)
            short = ""
            if result["ratio"] < bound:
                fine = False
                reason = reasons.find(reasons.read(), reasons.key_of_training(title), "training", "auto", "pytorch")
                short = f"- {title} < {bound}: {bounds.of_training(line, ceilings)} {reason}"
            table.append(Job(row, short, result["pytorch"][0]["peer"]))
            session.write(options.out, json.dumps(line) + "\n")
            print(text_of_job, flush=True)
    return fine


def markdown(table):
    """Of what compare_training added."""
    head = ["", "| training | isa | ours, characters/s | the peer's | ratio (of medians) | needed | steal % | others % "
            "| MHz |", "|---" * 9 + "|"]
    return "\n".join([*head, *(job.row for job in table), "", *filter(None, (job.short for job in table))]) + "\n"


def versions(table):
    """Peer -> version, of the jobs that compare_training added."""
    return {"pytorch": job.peer.split()[-1] for job in table if job.peer}
