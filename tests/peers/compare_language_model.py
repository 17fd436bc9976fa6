# SPDX-License-Identifier: Apache-2.0
"""The trainer against PyTorch: gatekern train lm and the same training loop written in PyTorch, from the same
initial weights on the same text, with carried state, clipping and a cosine learning rate, over more than one
epoch. Losses of each step within 1e-5 relative for the first ten; final weights and the validation loss close.
Files are read by the safetensors package and loaded into nn.Module with load_state_dict(strict=True).

    python compare_language_model.py PROGRAM     or GATEKERN_PROGRAM=...

Exit status 1 if any of this does not hold.
"""

import json
import math
import os
import random
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

BATCH, TIME, STEPS, RATE, MINIMUM, CLIP = 6, 20, 40, 4e-3, 1e-4, 0.4
EMBEDDING, HIDDEN, LAYERS = 24, 40, 2
LARGEST_LOSS_ERROR, COMPARED_STEPS = 1e-5, 10
CELLS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}


class LanguageModel(torch.nn.Module):
    def __init__(self, vocabulary, cell, embedding, hidden, layers):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, embedding)
        self.rnn = CELLS[cell](embedding, hidden, layers)
        self.output = torch.nn.Linear(hidden, vocabulary)

    def forward(self, tokens, state):
        y, state = self.rnn(self.embedding(tokens), state)
        return self.output(y), state


def make_text():
    words = ["the", "network", "keeps", "a", "state", "and", "its", "gates", "decide", "what", "stays"]
    choose = random.Random(5)
    return " ".join(choose.choice(words) for _ in range(560)).encode()


def streams(tokens, batch):
    """Stream n predicts tokens 1 + n*M//batch ... of M = len - 1; -100 past its end (ignored by the loss)."""
    count = len(tokens) - 1
    length = -(-count // batch)
    inputs, targets = np.zeros((length, batch), np.int64), np.full((length, batch), -100, np.int64)
    for n in range(batch):
        begin, end = n * count // batch, (n + 1) * count // batch
        inputs[:, n] = tokens[begin:begin + length]
        targets[:end - begin, n] = tokens[begin + 1:end + 1]
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def detach(state):
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def train(model, tokens):
    inputs, targets = streams(tokens, BATCH)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=MINIMUM)
    windows = -(-len(inputs) // TIME)
    losses, state = [], None
    for step in range(STEPS):
        first = step % windows * TIME
        state = detach(state) if first else None
        logits, state = model(inputs[first:first + TIME], state)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[first:first + TIME].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    assert STEPS > windows, "the text must end within the steps"
    return losses


def run(program, *arguments):
    subprocess.run([program, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, timeout=120)


def compare(program, cell, folder):
    text, model_path = os.path.join(folder, "text"), os.path.join(folder, cell)
    data = make_text()
    with open(text, "wb") as file:
        file.write(data)
    common = ["train", "lm", text, "--cell", cell, "--hidden", HIDDEN, "--embed", EMBEDDING, "--layers", LAYERS,
              "--batch", BATCH, "--time", TIME, "--seed", 3, "--threads", 2]
    # A step so small that no weight moves gives the initial weights.
    run(program, *common, "--steps", 1, "--optimizer", "sgd", "--lr", 1e-12, "--out", model_path + ".initial")
    run(program, *common, "--steps", STEPS, "--optimizer", "adam", "--lr", RATE, "--lr-schedule", "cosine",
        "--lr-min", MINIMUM, "--clip-norm", CLIP, "--eval-every", STEPS, "--log", model_path + ".log", "--out",
        model_path)
    with open(model_path + ".log") as file:
        log = [json.loads(line) for line in file]
    with safe_open(model_path, "np") as file:
        symbols = json.loads(file.metadata()["gatekern"])["symbols"]
    assert symbols == sorted(set(data)), symbols
    tokens = np.array([symbols.index(byte) for byte in data])
    validation = int(len(tokens) * 0.05)

    model = LanguageModel(len(symbols), cell, EMBEDDING, HIDDEN, LAYERS)
    initial = {k: torch.from_numpy(v) for k, v in load_file(model_path + ".initial").items()}
    model.load_state_dict(initial, strict=True)
    theirs = train(model, tokens[:-validation])
    ours = [line["loss"] for line in log]
    errors = [abs(a - b) / b for a, b in zip(ours, theirs)]
    with torch.no_grad():
        held_out = torch.from_numpy(tokens[-validation:])
        logits, _ = model(held_out[:-1, None], None)
        their_validation = torch.nn.functional.cross_entropy(logits[:, 0], held_out[1:]).item()
    our_validation = log[-1]["validation_loss"]
    final = load_file(model_path)
    moved = max(float(np.abs(final[k] - initial[k].numpy()).max()) for k in final)
    apart = max(float(np.abs(final[k] - v.detach().numpy()).max()) for k, v in model.state_dict().items())
    worst = max(errors[:COMPARED_STEPS])
    print(f"{cell}: losses {ours[0]:.5f} ... {ours[-1]:.5f}, largest relative difference {worst:.2g} in "
          f"{COMPARED_STEPS} steps, {max(errors):.2g} in {STEPS}; weights moved {moved:.2g}, are {apart:.2g} apart; "
          f"validation {our_validation:.6f}, PyTorch {their_validation:.6f}")
    return (len(ours) == STEPS and worst <= LARGEST_LOSS_ERROR and max(errors) < 1e-4 and apart < 0.01 * moved
            and math.isclose(our_validation, their_validation, rel_tol=1e-3))


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else os.environ["GATEKERN_PROGRAM"]
    with tempfile.TemporaryDirectory() as folder:
        return 0 if all([compare(program, cell, folder) for cell in CELLS]) else 1


if __name__ == "__main__":
    sys.exit(main())
