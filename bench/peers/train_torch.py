#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The job of `gatekern train lm`, in PyTorch: characters (bytes) in continuous streams with carried state, embedding,
recurrent layers, softmax cross-entropy, clipping by norm, Adam. Prints the best and the median characters a second.

usage: train_torch.py FILE --cell lstm --hidden 512 --layers 2 --batch 50 --time 50 [--steps 30] [--threads 2]
"""
import argparse
import json
import statistics
import time

import torch

CELLS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}


class LanguageModel(torch.nn.Module):
    def __init__(self, vocabulary, cell, hidden, layers):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, hidden)
        self.rnn = CELLS[cell](hidden, hidden, layers)
        self.output = torch.nn.Linear(hidden, vocabulary)

    def forward(self, tokens, state):
        y, state = self.rnn(self.embedding(tokens), state)
        return self.output(y), state


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("file")
    parser.add_argument("--cell", choices=sorted(CELLS), default="lstm")
    for name, value in (("hidden", 512), ("layers", 2), ("batch", 50), ("time", 50), ("steps", 30), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--clip-norm", type=float, default=5.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    text = open(options.file, "rb").read()
    symbols = sorted(set(text))
    code = {symbol: index for index, symbol in enumerate(symbols)}
    tokens = torch.tensor([code[symbol] for symbol in text])
    length = (len(tokens) - 1) // options.batch
    inputs = tokens[: length * options.batch].view(options.batch, length).t().contiguous()
    targets = tokens[1 : length * options.batch + 1].view(options.batch, length).t().contiguous()

    model = LanguageModel(len(symbols), options.cell, options.hidden, options.layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    state, at, seconds = None, 0, []
    for step in range(options.steps + 3):
        if at + options.time > length:
            state, at = None, 0
        start = time.perf_counter()
        x, y = inputs[at : at + options.time], targets[at : at + options.time]
        logits, state = model(x, state)
        loss = torch.nn.functional.cross_entropy(logits.view(-1, len(symbols)), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
        optimizer.step()
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss.item()
        if step >= 3:  # the first steps set up memory and threads
            seconds.append(time.perf_counter() - start)
        at += options.time
    characters = options.batch * options.time
    print(json.dumps({"peer": f"PyTorch {torch.__version__}", "cell": options.cell, "hidden": options.hidden,
                      "layers": options.layers, "batch": options.batch, "time": options.time,
                      "threads": options.threads, "loss": loss.item(),
                      "characters_per_second": characters / min(seconds),
                      "characters_per_second_median": characters / statistics.median(seconds)}))


if __name__ == "__main__":
    main()
