#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_plots.py ROOT GATEKERN: scripts/plot-*: --help and what is wrong with a command need no matplotlib, are no
traceback and leave no file; where matplotlib is, what is drawn is told apart."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT, PROGRAM = Path(sys.argv[1]), sys.argv[2]


def run(folder, script, *arguments, matplotlib=True):
    """In `folder`, where a module that is none stands before the real one if there is to be no matplotlib."""
    lacking = folder.parent / "lacking"
    lacking.mkdir(exist_ok=True)
    (lacking / "matplotlib.py").write_text("raise ImportError\n")
    environment = {**os.environ, **({} if matplotlib else {"PYTHONPATH": str(lacking)})}
    return subprocess.run([sys.executable, ROOT / "scripts" / script, *arguments], cwd=folder, env=environment,
                          capture_output=True, text=True)


def write_log(path, scale, steps=20):
    entries = [{"step": step, "loss": scale / step, **({"validation_loss": scale} if step % 5 == 0 else {})}
               for step in range(1, steps + 1)]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def check_help(folder):
    for script in ("plot-training", "plot-gradient-flow"):
        answer = run(folder, script, "--help", matplotlib=False)
        assert answer.returncode == 0 and "PICTURE.svg" in answer.stdout and not answer.stderr, answer
        assert run(folder, script, matplotlib=False).returncode == 2
    assert not list(folder.iterdir()), "--help leaves no file"


def check_refused(folder, script, says, *arguments):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    answer = run(folder, script, *arguments, matplotlib=False)
    assert answer.returncode == 2 and not answer.stdout, (arguments, answer)
    assert answer.stderr.count("\n") == 1 and says in answer.stderr, (arguments, answer.stderr)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before, arguments


def check_all_refusals(folder):
    write_log(folder / "a.jsonl", 1.0)
    write_log(folder / "b.jsonl", 2.0)
    (folder / "empty.jsonl").write_text("")
    (folder / "model").write_bytes(b"\x10\0\0\0\0\0\0\0{\"tensor\": {}}  \n\xff\xfe\n")
    (folder / "other.jsonl").write_text("5\n")
    lines = (folder / "a.jsonl").read_text().splitlines()
    (folder / "middle.jsonl").write_text("\n".join([lines[0], lines[1][:9] + lines[2], lines[3]]) + "\n")
    check_refused(folder, "plot-training", "b.jsonl: a picture's name ends in", "a.jsonl", "b.jsonl")
    check_refused(folder, "plot-training", "missing.jsonl: No such file", "missing.jsonl", "x.svg")
    check_refused(folder, "plot-training", "empty.jsonl: it holds no step", "empty.jsonl", "x.svg")
    for name, line in (("model", 1), ("other.jsonl", 1), ("middle.jsonl", 2)):
        check_refused(folder, "plot-training", f"{name}: line {line} is not", "a.jsonl", name, "x.svg")
    check_refused(folder, "plot-gradient-flow", "flow: a picture's name ends in", "flow")
    answer = run(folder, "plot-training", "a.jsonl", "x.svg", matplotlib=False)
    assert answer.returncode == 1 and answer.stderr.startswith("plot-training: needs matplotlib"), answer


def draw(folder, *logs):
    """The picture's words, which matplotlib puts into comments, and its colours of lines."""
    answer = run(folder, "plot-training", *logs, "picture.svg")
    assert answer.returncode == 0, answer
    picture = (folder / "picture.svg").read_text()
    return re.findall(r"<!-- (.*?) -->", picture), set(re.findall(r"stroke: (#1f77b4|#ff7f0e|#2ca02c)", picture))


def check_pictures(folder):
    (folder / "cut.jsonl").write_text((folder / "a.jsonl").read_text()[:-10])
    words, colors = draw(folder, "cut.jsonl")
    assert "training" in words and "validation" in words and len(colors) == 2, (words, colors)
    words, colors = draw(folder, "a.jsonl", "b.jsonl", "cut.jsonl")
    for stem in ("a", "b", "cut"):
        assert f"{stem}, training" in words and f"{stem}, validation" in words, words
    assert len(colors) == 3, "a colour for each log"
    (folder / "runs").mkdir()
    write_log(folder / "runs/a.jsonl", 3.0, steps=4)
    words, _ = draw(folder, "a.jsonl", "runs/a.jsonl")
    assert "a, training" in words and "runs/a, training" in words, words
    assert "runs/a, validation" not in words, "it has none"
    assert run(folder, "plot-training", "a.jsonl", "nowhere/x.svg").stderr.count("\n") == 1
    answer = run(folder, "plot-gradient-flow", "flow.svg", PROGRAM)
    assert answer.returncode == 0 and "forget bias 5" in (folder / "flow.svg").read_text(), answer
    for program in ("no-such-program", "false", "echo"):
        answer = run(folder, "plot-gradient-flow", "other.svg", program)
        assert answer.returncode == 2 and answer.stderr.count("\n") == 1, answer


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"
        folder.mkdir()
        check_help(folder)
        check_all_refusals(folder)
        if importlib.util.find_spec("matplotlib"):
            check_pictures(folder)
        else:
            print("no matplotlib: nothing is drawn")


if __name__ == "__main__":
    main()
