#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The job of `gatekern train lm`, in PyTorch: characters (bytes) in continuous streams with carried state, embedding,
recurrent layers, softmax cross-entropy, clipping by norm, Adam, from the weights of a model of Gatekern's. Prints the
loss of every step, the best and the median characters a second.

usage: train_torch.py FILE --weights MODEL --cell lstm --hidden 512 --layers 2 --batch 50 --time 50 [--steps 30]
"""
import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "tests" / "peers")]
from compare_language_model import CELLS, LanguageModel, detach, streams  # noqa: E402


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("file")
    parser.add_argument("--weights", required=True, help="safetensors: where training starts")
    parser.add_argument("--validation", type=float, default=0.01, help="share of the text that is not trained on")
    parser.add_argument("--cell", choices=sorted(CELLS), default="lstm")
    for name, value in (("hidden", 512), ("layers", 2), ("batch", 50), ("time", 50), ("steps", 30), ("first-steps", 3),
                        ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--clip-norm", type=float, default=5.0)
    return parser.parse_args()


def train(model, inputs, targets, options):
    """The loss, the seconds and the characters of each step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    windows, state, steps = -(-len(inputs) // options.time), None, []
    for step in range(options.steps + options.first_steps):
        first = step % windows * options.time
        characters = int((targets[first:first + options.time] >= 0).sum())
        start = time.perf_counter()
        state = detach(state) if first else None
        logits, state = model(inputs[first:first + options.time], state)
        wanted = targets[first:first + options.time]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
        optimizer.step()
        steps.append((loss.item(), time.perf_counter() - start, characters))
    return steps


def main():
    options = parse_options()
    torch.set_num_threads(options.threads)
    text = Path(options.file).read_bytes()
    symbols = sorted(set(text))
    code = {symbol: index for index, symbol in enumerate(symbols)}
    tokens = [code[symbol] for symbol in text]
    inputs, targets = streams(tokens[:len(tokens) - int(len(tokens) * options.validation)], options.batch)
    model = LanguageModel(len(symbols), options.cell, options.hidden, options.hidden, options.layers)
    model.load_state_dict(load_file(options.weights), strict=True)
    steps = train(model, inputs, targets, options)
    rates = [characters / seconds for _, seconds, characters in steps[options.first_steps:]]
    print(json.dumps({"peer": f"PyTorch {torch.__version__}", "cell": options.cell, "hidden": options.hidden,
                      "layers": options.layers, "batch": options.batch, "time": options.time,
                      "threads": options.threads, "losses": [loss for loss, _, _ in steps],
                      "characters_per_second": max(rates), "characters_per_second_median": statistics.median(rates)}))


if __name__ == "__main__":
    main()
