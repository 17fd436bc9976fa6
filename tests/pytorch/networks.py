# SPDX-License-Identifier: Apache-2.0
"""One network case: its inputs, which a seed decides, and what PyTorch makes of it.

Tensors are named as in gatekern.h: y, hn, cn, dx, dh0, dc0, and each parameter's gradient under PyTorch's
name. Inputs are the values of tests/random_values.h, so that C makes the same ones from the same seed.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

CELLS = ["rnn", "gru", "gru-reset-before", "lstm"]  # order of enum gk_cell
GATES = {"rnn": 1, "gru": 3, "gru-reset-before": 3, "lstm": 4}

MASK = (1 << 64) - 1


def random_bits(stream, count):
    index = np.arange(1, count + 1, dtype=np.uint64)
    z = np.uint64(stream * 0xD1342543DE82EF95 & MASK) + index * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def random_floats(stream, scale, shape):
    """fp32 array: scale * values in [-1, 1), rounded once."""
    bits = random_bits(stream, int(np.prod(shape)))
    values = ((bits >> np.uint64(40)).astype(np.int64) - (1 << 23)).astype(np.float32) * np.float32(2.0**-23)
    return (np.float32(scale) * values).reshape(shape)


def random_integers(stream, bound, shape):
    return ((random_bits(stream, int(np.prod(shape))) >> np.uint64(33)).astype(np.int64) % bound).reshape(shape)


@dataclass
class Case:
    """A description and a call. `lengths` empty: all T. vocabulary > 0: token inputs."""

    cell: str
    input_size: int
    hidden_size: int
    layers: int = 1
    time: int = 6
    batch: int = 3
    activation: str = "tanh"
    bidirectional: bool = False
    batch_first: bool = False
    vocabulary: int = 0
    lengths: list = field(default_factory=list)
    seed: int = 1
    parameter_scale: float = 1.0  # times 1/sqrt(H)

    @property
    def directions(self):
        return 2 if self.bidirectional else 1

    def rows(self, *width):
        leading = (self.batch, self.time) if self.batch_first else (self.time, self.batch)
        return leading + width

    def padding(self):
        """Boolean (T, N) or (N, T): which steps do not exist."""
        lengths = np.array(self.lengths or [self.time] * self.batch)
        steps = np.arange(self.time)
        mask = steps[None, :] >= lengths[:, None]
        return mask if self.batch_first else mask.T

    def parameter_shapes(self):
        """Names and shapes, in the order of gk_rnn's parameters."""
        shapes = {}
        if self.vocabulary:
            shapes["embedding.weight"] = (self.vocabulary, self.input_size)
        rows = GATES[self.cell] * self.hidden_size
        for layer in range(self.layers):
            width = self.input_size if layer == 0 else self.directions * self.hidden_size
            for direction in range(self.directions):
                suffix = f"_l{layer}" + ("_reverse" if direction else "")
                shapes["weight_ih" + suffix] = (rows, width)
                shapes["weight_hh" + suffix] = (rows, self.hidden_size)
                shapes["bias_ih" + suffix] = (rows,)
                shapes["bias_hh" + suffix] = (rows,)
        return shapes

    def inputs(self):
        """fp32 arrays; parameters as one flat array."""
        count = sum(int(np.prod(s)) for s in self.parameter_shapes().values())
        states = (self.layers * self.directions, self.batch, self.hidden_size)
        stream = self.seed * 16
        data = {
            "parameters": random_floats(stream, self.parameter_scale / np.sqrt(self.hidden_size), (count,)),
            "h0": random_floats(stream + 2, 1, states),
            "dy": random_floats(stream + 4, 1, self.rows(self.directions * self.hidden_size)),
            "dhn": random_floats(stream + 5, 1, states),
        }
        if self.vocabulary:
            data["tokens"] = random_integers(stream + 7, self.vocabulary, self.rows()).astype(np.int32)
        else:
            data["x"] = random_floats(stream + 1, 1, self.rows(self.input_size))
        if self.cell == "lstm":
            data["c0"] = random_floats(stream + 3, 1, states)
            data["dcn"] = random_floats(stream + 6, 1, states)
        return data

    def parameters_by_name(self, flat):
        named, offset = {}, 0
        for name, shape in self.parameter_shapes().items():
            count = int(np.prod(shape))
            named[name] = flat[offset : offset + count].reshape(shape)
            offset += count
        return named


def gru_reset_before(case, x, h0, p):
    """PyTorch has no such cell: its operations and autograd, one layer at a time. x (T, N, I)."""
    finals = []
    for layer in range(case.layers):
        halves = []
        for direction in range(case.directions):
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            w_ir, w_iz, w_in = p["weight_ih" + suffix].chunk(3)
            w_hr, w_hz, w_hn = p["weight_hh" + suffix].chunk(3)
            b_ir, b_iz, b_in = p["bias_ih" + suffix].chunk(3)
            b_hr, b_hz, b_hn = p["bias_hh" + suffix].chunk(3)
            lengths = case.lengths or [case.time] * case.batch
            columns, last = [], []
            for n in range(case.batch):
                h = h0[layer * case.directions + direction, n]
                steps = range(lengths[n])
                outputs = {}
                for t in reversed(steps) if direction else steps:
                    r = torch.sigmoid(w_ir @ x[t, n] + b_ir + w_hr @ h + b_hr)
                    z = torch.sigmoid(w_iz @ x[t, n] + b_iz + w_hz @ h + b_hz)
                    candidate = torch.tanh(w_in @ x[t, n] + b_in + w_hn @ (r * h) + b_hn)
                    h = (1 - z) * candidate + z * h
                    outputs[t] = h
                zero = torch.zeros_like(h)
                columns.append(torch.stack([outputs.get(t, zero) for t in range(case.time)]))
                last.append(h)
            halves.append(torch.stack(columns, 1))
            finals.append(torch.stack(last))
        x = torch.cat(halves, 2)
    return x, torch.stack(finals)


def torch_module(case, dtype):
    options = dict(num_layers=case.layers, bidirectional=case.bidirectional, batch_first=case.batch_first)
    if case.cell == "rnn":
        module = torch.nn.RNN(case.input_size, case.hidden_size, nonlinearity=case.activation, **options)
    else:
        kind = torch.nn.LSTM if case.cell == "lstm" else torch.nn.GRU
        module = kind(case.input_size, case.hidden_size, **options)
    return module.to(dtype)


def run(case, dtype, data=None):
    """Forward and backward in PyTorch. Returns name -> float64 array; steps in padding are 0."""
    data = data or case.inputs()
    leaf = {k: torch.tensor(data[k]).to(dtype).requires_grad_() for k in ("x", "h0", "c0") if k in data}
    named = case.parameters_by_name(data["parameters"])
    parameters = {k: torch.tensor(v).to(dtype).requires_grad_() for k, v in named.items()}
    if case.vocabulary:
        x = torch.nn.functional.embedding(torch.tensor(data["tokens"]).long(), parameters["embedding.weight"])
    else:
        x = leaf["x"]

    cn = None
    if case.cell == "gru-reset-before":
        by_time = x.transpose(0, 1) if case.batch_first else x
        y, hn = gru_reset_before(case, by_time, leaf["h0"], parameters)
        y = y.transpose(0, 1) if case.batch_first else y
    else:
        module = torch_module(case, dtype)
        with torch.no_grad():
            for name, value in module.named_parameters():
                value.copy_(parameters[name])
        state = (leaf["h0"], leaf["c0"]) if case.cell == "lstm" else leaf["h0"]
        if case.lengths:
            x = torch.nn.utils.rnn.pack_padded_sequence(
                x, torch.tensor(case.lengths), batch_first=case.batch_first, enforce_sorted=False)
        y, last = module(x, state)
        if case.lengths:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(
                y, batch_first=case.batch_first, total_length=case.time)
        hn, cn = last if case.cell == "lstm" else (last, None)
        parameters.update({k: v for k, v in module.named_parameters()})

    objective = (y * torch.tensor(data["dy"]).to(dtype)).sum()
    objective = objective + (hn * torch.tensor(data["dhn"]).to(dtype)).sum()
    if cn is not None:
        objective = objective + (cn * torch.tensor(data["dcn"]).to(dtype)).sum()
    objective.backward()

    result = {"y": y, "hn": hn}
    if cn is not None:
        result["cn"] = cn
    for k, v in leaf.items():
        result["d" + k] = v.grad
    for k in case.parameter_shapes():
        result[k] = parameters[k].grad
    return {k: v.detach().double().numpy() for k, v in result.items()}


def relative_error(got, truth):
    """Largest error relative to the tensor's largest magnitude."""
    largest = np.abs(truth).max()
    error = np.abs(got - truth).max()
    return 0.0 if error == 0 else error / largest
