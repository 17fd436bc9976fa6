# SPDX-License-Identifier: Apache-2.0
"""One network case: its inputs, which a seed decides, and what PyTorch makes of it.

Tensors are named as in gatekern.h: y, hn, cn, dx, dh0, dc0, and each parameter's gradient under PyTorch's
name. Inputs are the values of tests/random_values.h, so that C makes the same ones from the same seed.
"""

from dataclasses import dataclass, field, replace

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
    projection: int = 0  # lstm: h has so many values; 0: H
    hidden_sizes: list = field(default_factory=list)  # of each layer; empty: all hidden_size
    merge: str = "concatenate"  # of two directions, or "sum"

    @property
    def directions(self):
        return 2 if self.bidirectional else 1

    @property
    def has_pytorch_stack(self):
        """PyTorch's modules stack such layers themselves."""
        return not self.hidden_sizes and self.merge == "concatenate"

    @property
    def output_width(self):
        return self.layer(self.layers - 1).width

    def layer(self, index):
        """Layer `index` as a case of one layer."""
        case = replace(self, layers=1, hidden_sizes=[], vocabulary=0)
        if self.hidden_sizes:
            case.hidden_size = self.hidden_sizes[index]
        if index > 0:
            case.input_size = self.layer(index - 1).width
        return case

    @property
    def width(self):
        """Of y, of a case of one layer."""
        return (self.projection or self.hidden_size) * (1 if self.merge == "sum" else self.directions)

    def state_sizes(self, name):
        """Values of each layer's h ("h") or c ("c") of one sample and direction."""
        hidden = self.hidden_sizes or [self.hidden_size] * self.layers
        return [self.projection or size for size in hidden] if name == "h" else hidden

    def state_shape(self, name):
        """(L*D, N, size); flat, one block of each layer after the other, where sizes differ."""
        sizes = self.state_sizes(name)
        if len(set(sizes)) > 1:
            return (self.directions * self.batch * sum(sizes),)
        return (self.layers * self.directions, self.batch, sizes[0])

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
        for layer in range(self.layers):
            one = self.layer(layer)
            rows = GATES[self.cell] * one.hidden_size
            for direction in range(self.directions):
                suffix = f"_l{layer}" + ("_reverse" if direction else "")
                shapes["weight_ih" + suffix] = (rows, one.input_size)
                shapes["weight_hh" + suffix] = (rows, self.projection or one.hidden_size)
                shapes["bias_ih" + suffix] = (rows,)
                shapes["bias_hh" + suffix] = (rows,)
                if self.projection:
                    shapes["weight_hr" + suffix] = (self.projection, one.hidden_size)
        return shapes

    def inputs(self):
        """fp32 arrays; parameters as one flat array."""
        count = sum(int(np.prod(s)) for s in self.parameter_shapes().values())
        states, cells = self.state_shape("h"), self.state_shape("c")
        stream = self.seed * 16
        data = {
            "parameters": random_floats(stream, self.parameter_scale / np.sqrt(self.hidden_size), (count,)),
            "h0": random_floats(stream + 2, 1, states),
            "dy": random_floats(stream + 4, 1, self.rows(self.output_width)),
            "dhn": random_floats(stream + 5, 1, states),
        }
        if self.vocabulary:
            data["tokens"] = random_integers(stream + 7, self.vocabulary, self.rows()).astype(np.int32)
        else:
            data["x"] = random_floats(stream + 1, 1, self.rows(self.input_size))
        if self.cell == "lstm":
            data["c0"] = random_floats(stream + 3, 1, cells)
            data["dcn"] = random_floats(stream + 6, 1, cells)
        return data

    def parameters_by_name(self, flat):
        named, offset = {}, 0
        for name, shape in self.parameter_shapes().items():
            count = int(np.prod(shape))
            named[name] = flat[offset : offset + count].reshape(shape)
            offset += count
        return named


def gru_reset_before(case, x, h0, p):
    """PyTorch has no such cell: its operations and autograd. One layer; x (T, N, I), h0 (D, N, H)."""
    halves, finals = [], []
    for direction in range(case.directions):
        suffix = "_l0" + ("_reverse" if direction else "")
        w_ir, w_iz, w_in = p["weight_ih" + suffix].chunk(3)
        w_hr, w_hz, w_hn = p["weight_hh" + suffix].chunk(3)
        b_ir, b_iz, b_in = p["bias_ih" + suffix].chunk(3)
        b_hr, b_hz, b_hn = p["bias_hh" + suffix].chunk(3)
        lengths = case.lengths or [case.time] * case.batch
        columns, last = [], []
        for n in range(case.batch):
            h = h0[direction, n]
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
    return torch.cat(halves, 2), torch.stack(finals)


def torch_module(case, dtype):
    options = dict(num_layers=case.layers, bidirectional=case.bidirectional, batch_first=case.batch_first)
    if case.cell == "rnn":
        module = torch.nn.RNN(case.input_size, case.hidden_size, nonlinearity=case.activation, **options)
    elif case.cell == "lstm":
        module = torch.nn.LSTM(case.input_size, case.hidden_size, proj_size=case.projection, **options)
    else:
        module = torch.nn.GRU(case.input_size, case.hidden_size, **options)
    return module.to(dtype)


def run_module(case, dtype, x, h0, c0, parameters):
    """y, hn, cn of PyTorch's module (cn None but for the lstm); its parameters take their place in `parameters`."""
    module = torch_module(case, dtype)
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.copy_(parameters[name])
    parameters.update(module.named_parameters())
    if case.lengths:
        x = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(case.lengths), batch_first=case.batch_first, enforce_sorted=False)
    y, last = module(x, (h0, c0) if case.cell == "lstm" else h0)
    if case.lengths:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=case.batch_first, total_length=case.time)
    return (y, *last) if case.cell == "lstm" else (y, last, None)


def run_layers(case, dtype, x, h0, c0, parameters):
    """run_module for what PyTorch has no module of: a module of one layer upon the other."""
    finals, memories = [], []
    blocks = [None if c is None else c.flatten().split([case.directions * case.batch * s for s in case.state_sizes(k)])
              for k, c in (("h", h0), ("c", c0))]
    for layer in range(case.layers):
        one = case.layer(layer)
        own = {k: k.replace("_l0", f"_l{layer}") for k in one.parameter_shapes()}
        named = {k: parameters[v] for k, v in own.items()}
        h, c = (None if b is None else b[layer].view(one.state_shape(k)) for k, b in zip("hc", blocks))
        if case.cell == "gru-reset-before":
            y, h = gru_reset_before(one, x.transpose(0, 1) if case.batch_first else x, h, named)
            x = y.transpose(0, 1) if case.batch_first else y
        else:
            x, h, c = run_module(one, dtype, x, h, c, named)
        parameters.update({v: named[k] for k, v in own.items()})
        if case.merge == "sum":
            x = sum(x.chunk(case.directions, 2))
        finals.append(h.flatten())
        memories.append(None if c is None else c.flatten())
    hn = torch.cat(finals).view(case.state_shape("h"))
    return x, hn, None if c0 is None else torch.cat(memories).view(case.state_shape("c"))


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

    if case.has_pytorch_stack and case.cell != "gru-reset-before":
        y, hn, cn = run_module(case, dtype, x, leaf["h0"], leaf.get("c0"), parameters)
    else:
        y, hn, cn = run_layers(case, dtype, x, leaf["h0"], leaf.get("c0"), parameters)

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
    """Largest error relative to the tensor's largest magnitude; infinite where either holds a NaN."""
    largest = np.abs(truth).max()
    error = np.abs(got - truth).max()
    if np.isnan(error):
        return np.inf
    return 0.0 if error == 0 else error / largest
