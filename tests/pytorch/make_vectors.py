# SPDX-License-Identifier: Apache-2.0
"""Writes vectors.bin: what PyTorch computes for a few small cases, read by tests/test_pytorch_vectors.c.

    python make_vectors.py [vectors.bin]

Needs torch. Little-endian, 8 bytes each: int64 (i) and float64 (d).

    file      "GKVECT02", i cases, cases
    case      i kind, then by kind:
    network 0 i cell, activation, input size, hidden size, layers, bidirectional, batch first, vocabulary,
              time, batch, seed, projection, directions added, sizes given; layers hidden sizes if given;
              lengths given; batch lengths if given; d scale of the parameters (times 1/sqrt(hidden size));
              i tensors;
              each tensor: i count, d largest error of PyTorch's float32, relative to the tensor's largest
              magnitude, count d of PyTorch's float64.
              Order: y, hn, cn (lstm), dx (no vocabulary), dh0, dc0 (lstm), gradients of the parameters
    train 1   i cell, activation, input size, hidden size, layers, vocabulary, time, batch, seed, optimizer,
              steps; d learning rate, momentum, largest norm; per step: d loss, gradient norm (float64),
              loss (float32)
    update 2  i optimizer, count, steps, seed; d learning rate, momentum, beta1, beta2, alpha, epsilon,
              weight decay; count d parameters after the steps (float64)
"""

import os
import struct
import sys

import numpy as np
import torch

from networks import CELLS, Case, random_floats, random_integers, relative_error, run, torch_module

SGD, RMSPROP, ADAM = 0, 1, 2


def ints(*values):
    return struct.pack(f"<{len(values)}q", *values)


def doubles(*values):
    return struct.pack(f"<{len(values)}d", *values)


def network_cases():
    for number, (cell, activation) in enumerate(
        [("lstm", "tanh"), ("gru", "tanh"), ("rnn", "tanh"), ("rnn", "relu"), ("gru-reset-before", "tanh")]
    ):
        seed = 100 * (number + 1)
        common = dict(cell=cell, activation=activation)
        yield Case(input_size=5, hidden_size=7, time=6, batch=3, seed=seed, **common)
        yield Case(input_size=4, hidden_size=5, layers=2, batch_first=True, time=7, batch=4,
                   lengths=[3, 7, 1, 5], seed=seed + 1, **common)
        yield Case(input_size=4, hidden_size=5, bidirectional=True, time=6, batch=4,
                   lengths=[2, 6, 5, 1], seed=seed + 2, **common)
        yield Case(input_size=3, hidden_size=4, layers=2, bidirectional=True, batch_first=True, time=5,
                   batch=2, seed=seed + 3, **common)
        yield Case(input_size=6, hidden_size=5, layers=2, vocabulary=9, time=8, batch=3, seed=seed + 4,
                   **common)
        # Longer sums and sequences, larger weights: where float32 shows.
        yield Case(input_size=18, hidden_size=13, time=20, batch=4, seed=seed + 5, parameter_scale=2.0,
                   **common)
        # Layers of different sizes, directions added: PyTorch's modules of one layer upon each other.
        yield Case(input_size=4, hidden_size=5, hidden_sizes=[6, 3], layers=2, time=6, batch=3,
                   lengths=[4, 1, 6], seed=seed + 6, **common)
        yield Case(input_size=3, hidden_size=4, hidden_sizes=[3, 5], layers=2, bidirectional=True, merge="sum",
                   batch_first=True, time=5, batch=3, lengths=[5, 2, 3], seed=seed + 7, **common)


def projection_cases():
    common = dict(cell="lstm")
    for number, (layers, bidirectional) in enumerate([(1, False), (1, True), (2, False), (2, True)]):
        yield Case(input_size=4, hidden_size=5, projection=2, layers=layers, bidirectional=bidirectional,
                   time=6, batch=3, seed=610 + number, **common)
        yield Case(input_size=3, hidden_size=5, projection=4, layers=layers, bidirectional=bidirectional,
                   batch_first=True, time=7, batch=4, lengths=[3, 7, 1, 5], seed=620 + number, **common)
    # Longer sums and sequences, larger weights: where float32 shows.
    yield Case(input_size=18, hidden_size=13, projection=8, time=20, batch=4, lengths=[20, 11, 2, 17], seed=630,
               parameter_scale=2.0, **common)
    yield Case(input_size=9, hidden_size=8, projection=5, layers=2, bidirectional=True, time=20, batch=3,
               lengths=[9, 20, 14], seed=631, parameter_scale=2.0, **common)
    yield Case(input_size=6, hidden_size=5, projection=2, layers=2, vocabulary=9, time=8, batch=3, seed=640, **common)
    yield Case(input_size=3, hidden_size=4, hidden_sizes=[6, 5], projection=3, layers=2, bidirectional=True,
               merge="sum", time=5, batch=3, lengths=[1, 5, 4], seed=641, **common)


def write_network(case):
    truth, single = run(case, torch.float64), run(case, torch.float32)
    out = ints(0, CELLS.index(case.cell), int(case.activation == "relu"), case.input_size, case.hidden_size,
               case.layers, int(case.bidirectional), int(case.batch_first), case.vocabulary, case.time,
               case.batch, case.seed, case.projection, int(case.merge == "sum"), int(bool(case.hidden_sizes)),
               *case.hidden_sizes, int(bool(case.lengths)), *case.lengths)
    out += doubles(case.parameter_scale) + ints(len(truth))
    for name, value in truth.items():
        out += ints(value.size) + doubles(relative_error(single[name], value))
        out += value.astype("<f8").tobytes()
    return out


class LanguageModel(torch.nn.Module):
    """Embedding, recurrent layers, linear: what gk_rnn with a vocabulary and gk_output are together."""

    def __init__(self, case, dtype):
        super().__init__()
        self.rnn = torch_module(case, dtype)
        self.embedding = torch.nn.Embedding(case.vocabulary, case.input_size, dtype=dtype)
        self.output = torch.nn.Linear(case.hidden_size, case.vocabulary, dtype=dtype)
        named = case.parameters_by_name(case.inputs()["parameters"])
        stream, scale = case.seed * 16 + 8, 1 / np.sqrt(case.hidden_size)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.tensor(named.pop("embedding.weight")))
            for name, value in self.rnn.named_parameters():
                value.copy_(torch.tensor(named[name]))
            self.output.weight.copy_(torch.tensor(random_floats(stream, scale, tuple(self.output.weight.shape))))
            self.output.bias.copy_(torch.tensor(random_floats(stream + 1, scale, (case.vocabulary,))))

    def forward(self, tokens, state):
        y, state = self.rnn(self.embedding(tokens), state)
        return self.output(y), state


def optimizer_of(kind, parameters, rate, momentum):
    # gatekern's hyperparameters are fp32
    beta1, beta2, alpha, epsilon = (float(np.float32(v)) for v in (0.9, 0.999, 0.99, 1e-8))
    if kind == SGD:
        return torch.optim.SGD(parameters, lr=rate, momentum=float(np.float32(momentum)))
    if kind == RMSPROP:
        return torch.optim.RMSprop(parameters, lr=rate, alpha=alpha, eps=epsilon)
    return torch.optim.Adam(parameters, lr=rate, betas=(beta1, beta2), eps=epsilon)


def train(case, dtype, kind, steps, rate, momentum, largest_norm):
    """Mean cross-entropy of each step and the norm before clipping; the state is carried, as in training a
    language model on continuous streams. Batch k has tokens of stream 16 seed + 10 + k, (T + 1, N)."""
    model = LanguageModel(case, dtype)
    optimizer = optimizer_of(kind, model.parameters(), rate, momentum)
    state, losses, norms = None, [], []
    for step in range(steps):
        rows = torch.tensor(random_integers(case.seed * 16 + 10 + step, case.vocabulary, (case.time + 1, case.batch)))
        # a little structure, so that there is something to learn
        rows[1:] = torch.where(rows[1:] % 2 == 0, (rows[:-1] + 1) % case.vocabulary, rows[1:])
        logits, state = model(rows[:-1], state)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), largest_norm).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def write_training(cell, kind, rate, momentum, largest_norm, seed, steps=10):
    case = Case(cell=cell, input_size=8, hidden_size=16, layers=2, vocabulary=11, time=8, batch=4, seed=seed)
    losses, norms = train(case, torch.float64, kind, steps, rate, momentum, largest_norm)
    single, _ = train(case, torch.float32, kind, steps, rate, momentum, largest_norm)
    print(cell, kind, "losses", " ".join(f"{v:.4f}" for v in losses), "norms", " ".join(f"{v:.2f}" for v in norms))
    out = ints(1, CELLS.index(cell), 0, case.input_size, case.hidden_size, case.layers, case.vocabulary,
               case.time, case.batch, seed, kind, steps)
    out += doubles(rate, float(np.float32(momentum)), largest_norm)
    return out + b"".join(doubles(*row) for row in zip(losses, norms, single))


def write_update(kind, momentum, weight_decay, seed, count=37, steps=10, rate=0.01):
    beta1, beta2, alpha, epsilon, momentum, weight_decay = (
        float(np.float32(v)) for v in (0.9, 0.98, 0.95, 1e-6, momentum, weight_decay))
    parameters = torch.nn.Parameter(torch.tensor(random_floats(seed * 16, 1, (count,))).double())
    if kind == SGD:
        optimizer = torch.optim.SGD([parameters], lr=rate, momentum=momentum, weight_decay=weight_decay)
    elif kind == RMSPROP:
        optimizer = torch.optim.RMSprop([parameters], lr=rate, alpha=alpha, eps=epsilon, weight_decay=weight_decay)
    else:
        optimizer = torch.optim.Adam([parameters], lr=rate, betas=(beta1, beta2), eps=epsilon,
                                     weight_decay=weight_decay)
    for step in range(steps):
        parameters.grad = torch.tensor(random_floats(seed * 16 + 1 + step, 0.1, (count,))).double()
        optimizer.step()
    out = ints(2, kind, count, steps, seed)
    out += doubles(rate, momentum, beta1, beta2, alpha, epsilon, weight_decay)
    return out + parameters.detach().numpy().astype("<f8").tobytes()


def main():
    torch.manual_seed(0)
    here = os.path.dirname(os.path.abspath(__file__))
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "vectors.bin")
    cases = [write_network(case) for case in (*network_cases(), *projection_cases())]
    cases.append(write_training("lstm", ADAM, 4e-3, 0, 0.2, seed=901))
    cases.append(write_training("gru", ADAM, 1e-2, 0, 0.3, seed=902))
    cases.append(write_training("lstm", RMSPROP, 2e-3, 0, 0.5, seed=903))
    cases.append(write_training("rnn", SGD, 0.5, 0.9, 0.5, seed=904))
    cases.append(write_update(SGD, 0, 0, seed=951))
    cases.append(write_update(SGD, 0.9, 0.01, seed=952))
    cases.append(write_update(RMSPROP, 0, 0.01, seed=953))
    cases.append(write_update(ADAM, 0, 0, seed=954))
    cases.append(write_update(ADAM, 0, 0.01, seed=955))
    with open(path, "wb") as file:
        file.write(b"GKVECT02" + ints(len(cases)) + b"".join(cases))
    print(f"{path}: {len(cases)} cases, {os.path.getsize(path)} bytes, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
