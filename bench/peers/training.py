# SPDX-License-Identifier: Apache-2.0
"""Whole training loops in turn: `gatekern train lm` and train_torch.py, the same job on the same text."""

import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import bounds
import machine
import reasons
from contestants import environment

HERE = Path(__file__).resolve().parent
FIRST_STEPS = 3  # set up memory and threads; train_torch.py leaves as many out
SYMBOLS = bytes(range(33, 98))  # 65, as tiny Shakespeare has


def make_text(path):
    choose = random.Random(1)
    words = [bytes(choose.choices(SYMBOLS, k=choose.randint(1, 9))) for _ in range(2000)]
    path.write_bytes(b"!".join(choose.choices(words, k=200000)))


def tier_of(options):
    """The instruction set that Gatekern trains on."""
    if options.isa != "auto":
        return options.isa
    command = [options.program, "info", "--no-measure", "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["isa"]


def run_gatekern(job, text, options, folder):
    cell, layers, hidden, batch, time = job
    steps = options.training_steps + FIRST_STEPS
    log = folder / "log.jsonl"
    command = [options.program, "train", "lm", text, "--cell", cell, "--layers", layers, "--hidden", hidden, "--batch",
               batch, "--time", time, "--steps", steps, "--lr-schedule", "constant", "--validation", "0.01",
               "--eval-every", steps, "--log", log, "--out", folder / "model.safetensors", "--threads",
               options.threads, "--isa", options.isa]
    log.unlink(missing_ok=True)
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in log.read_text().splitlines()][FIRST_STEPS:]
    rates = [line["characters"] / line["seconds"] for line in lines]
    return {"best": max(rates), "median": statistics.median(rates), "loss": lines[-1]["loss"]}


def run_pytorch(job, text, options):
    cell, layers, hidden, batch, time = job
    command = [sys.executable, HERE / "train_torch.py", text, "--cell", cell, "--layers", layers, "--hidden", hidden,
               "--batch", batch, "--time", time, "--steps", options.training_steps, "--threads", options.threads]
    line = json.loads(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True,
                                     env=environment(options.isa, options.threads)).stdout)
    return {"best": line["characters_per_second"], "median": line["characters_per_second_median"],
            "loss": line["loss"], "peer": line["peer"]}


def compare_training(jobs, options, ceilings):
    """A Markdown table, and whether every ratio is reached."""
    lines = ["", "| training | isa | ours, characters/s | the peer's | ratio (of medians) | needed | steal % | MHz |",
             "|---|---|---|---|---|---|---|---|"]
    fine, short, tier = True, [], tier_of(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = Path(options.text) if options.text else folder / "text"
        if not options.text:
            make_text(text)
        for job, bound in jobs.items():
            title = f"{job[0]} {job[1]}x{job[2]} N{job[3]} T{job[4]}"
            if options.filter not in title:
                continue
            disturbance, ours, theirs = machine.Disturbance(), [], []
            for _ in range(options.rounds):
                ours.append(run_gatekern(job, text, options, folder))
                theirs.append(run_pytorch(job, text, options))
                disturbance.sample()
            best = [max(r["best"] for r in rounds) for rounds in (ours, theirs)]
            median = [statistics.median(r["median"] for r in rounds) for rounds in (ours, theirs)]
            ratio, of_medians, report = best[0] / best[1], median[0] / median[1], disturbance.report()
            line = {"training": title, "isa": tier, "gatekern": ours, "pytorch": theirs, "ratio": ratio,
                    "ratio_median": of_medians, "at_least": bound, **report}
            fine &= ratio >= bound
            if ratio < bound:
                reason = reasons.find(reasons.read(), reasons.key_of_training(title), "training", "auto", "pytorch")
                short.append(f"- {title} < {bound}: {bounds.of_training(line, ceilings)} {reason}")
            print(f"train {title} {tier}: {best[0]:.0f} characters/s, {theirs[0]['peer']} {best[1]:.0f}: x{ratio:.2f} "
                  f"(median x{of_medians:.2f}), needed {bound}; last losses {ours[-1]['loss']:.3f} "
                  f"{theirs[-1]['loss']:.3f}", flush=True)
            if options.out:
                with open(options.out, "a") as file:
                    json.dump(line, file)
                    file.write("\n")
            lines.append(f"| {title} | {tier} | {best[0]:.0f} | {best[1]:.0f} ({theirs[0]['peer']}) | "
                         f"{ratio:.2f} ({of_medians:.2f}) | {bound} | {report['steal_percent']} | "
                         f"{'–'.join(map(str, report.get('megahertz', [])))} |")
    return "\n".join([*lines, "", *short]) + "\n", fine
