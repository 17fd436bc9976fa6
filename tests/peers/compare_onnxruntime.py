# SPDX-License-Identifier: Apache-2.0
"""Gatekern's forward pass against ONNX Runtime's RNN, GRU (both resets) and LSTM operators.

    python compare_onnxruntime.py LIBGATEKERN.SO [--seed S] [--cases N]     or GATEKERN_LIBRARY=...

Random weights, ragged lengths, initial states, every direction, and every attribute: activations with alpha and
beta, others in each of two directions, clip, input_forget, peepholes; y, hn, cn on every tier within 1e-5 of the
tensor's largest magnitude. Exit status 1 if not, or if an attribute was in no case.
"""

import argparse
import os
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pytorch")]

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from gatekern_library import Library, Network
from networks import Case, relative_error

# Where ONNX's gates are in PyTorch's order: i o f c of i f g o; z r h of r z n.
GATE_ORDER = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "gru-reset-before": [1, 0, 2], "rnn": [0]}
LARGEST_ERROR = 1e-5
LARGEST_VALUE = 100  # of outputs and states

# ONNX's name, Gatekern's, and which of alpha and beta it has.
FUNCTIONS = [("Relu", "relu", ""), ("Tanh", "tanh", ""), ("Sigmoid", "sigmoid", ""), ("Affine", "affine", "ab"),
             ("LeakyRelu", "leaky-relu", "a"), ("ThresholdedRelu", "thresholded-relu", "a"),
             ("ScaledTanh", "scaled-tanh", "ab"), ("HardSigmoid", "hard-sigmoid", "ab"), ("Elu", "elu", "a"),
             ("Softsign", "softsign", ""), ("Softplus", "softplus", "")]
# f g h of the operators as options of Gatekern.
PLACES = {"rnn": ["activation"], "gru": ["gate-activation", "activation"],
          "gru-reset-before": ["gate-activation", "activation"],
          "lstm": ["gate-activation", "activation", "output-activation"]}


class Attributes:
    """Attributes of one case, for both sides."""

    def __init__(self, cell, direction, random):
        self.options, self.onnx, self.used = [], {}, set()
        if random.random() < 0.7:
            self.activations(cell, direction, random)
        if random.random() < 0.4:
            self.set("preactivation-clip", np.float32(random.uniform(0.2, 1.5)), clip=lambda v: float(v))
        if cell != "lstm":
            return
        if random.random() < 0.4:
            self.set("coupled", "on", input_forget=lambda v: 1)
        if random.random() < 0.5:
            self.set("peephole", "on")

    def set(self, option, value, **onnx):
        self.options.append((option, str(value)))
        self.onnx.update({k: make(value) for k, make in onnx.items()})
        self.used.add(option)

    def has(self, option):
        return option in self.used

    def activations(self, cell, direction, random):
        """f g h of each direction, and their alpha and beta, one after the other."""
        names, alphas, betas = [], [], []
        places = PLACES[cell]
        if direction == "bidirectional":
            places = places + ["reverse-" + place for place in places]
        for place in places:
            name, ours, parameters = FUNCTIONS[random.integers(len(FUNCTIONS))]
            alpha, beta = (np.float32(v) for v in random.uniform(0.2, 0.9, 2))
            names.append(name)
            text = ours
            if parameters:
                alphas.append(float(alpha))
                betas += [float(beta)] if "b" in parameters else []
                text += f"({alpha},{beta if 'b' in parameters else 0})"
            self.options.append((place, text))
            self.used.update((place, name))
        self.onnx["activations"], self.onnx["activation_alpha"], self.onnx["activation_beta"] = names, alphas, betas


def gates_of(case, attributes, matrix, random):
    """Rows in ONNX's order; a coupled LSTM has no forget gate: any values will do."""
    gates = list(np.split(matrix, len(GATE_ORDER[case.cell]) - int(attributes.has("coupled"))))
    if attributes.has("coupled"):
        gates.insert(1, random.uniform(-1, 1, gates[0].shape).astype(np.float32))
    return np.concatenate([gates[g] for g in GATE_ORDER[case.cell]])


def onnx_tensors(case, attributes, named, data, random):
    suffixes = ["_l0", "_l0_reverse"][: case.directions]

    def stacked(name):
        return np.stack([gates_of(case, attributes, named[name + s], random) for s in suffixes])

    tensors = {"W": stacked("weight_ih"), "R": stacked("weight_hh"),
               "B": np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1), "initial_h": data["h0"]}
    if case.cell == "lstm":
        tensors["initial_c"] = data["c0"]
    if attributes.has("peephole"):  # rows i f o, or i o; ONNX's i o f
        rows = [named["weight_peephole" + s] for s in suffixes]
        tensors["P"] = np.stack([np.concatenate([p[0], p[-1], p[1] if len(p) == 3 else np.ones_like(p[0])])
                                 for p in rows])
    return tensors


def onnx_forward(case, direction, attributes, tensors, data):
    operator = {"lstm": "LSTM", "rnn": "RNN"}.get(case.cell, "GRU")
    settings = {"hidden_size": case.hidden_size, "direction": direction, **attributes.onnx}
    for name in ("activations", "activation_alpha", "activation_beta"):
        if not settings.get(name):
            settings.pop(name, None)
    if operator == "GRU":
        settings["linear_before_reset"] = int(case.cell == "gru")
    outputs = ["y", "hn", "cn"] if case.cell == "lstm" else ["y", "hn"]
    inputs = ["x", "W", "R", "B", "lengths", "initial_h"] + (["initial_c"] if case.cell == "lstm" else [])
    inputs += ["P"] if "P" in tensors else []
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, outputs, **settings)], "cell",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, data["x"].shape),
         helper.make_tensor_value_info("lengths", TensorProto.INT32, [case.batch])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["?"] * (4 if name == "y" else 3)) for name in outputs],
        [helper.make_tensor(k, TensorProto.FLOAT, v.shape, v.astype("<f4").tobytes(), raw=True)
         for k, v in tensors.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    lengths = np.array(case.lengths or [case.time] * case.batch, np.int32)
    result = dict(zip(outputs, session.run(outputs, {"x": data["x"], "lengths": lengths})))
    # (T, D, N, H) -> (T, N, D*H)
    result["y"] = result["y"].transpose(0, 2, 1, 3).reshape(case.time, case.batch, -1)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library", nargs="?", default=os.environ.get("GATEKERN_LIBRARY"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=300)
    arguments = parser.parse_args()
    if not arguments.library:
        parser.error("which libgatekern.so?")
    library = Library(arguments.library)
    random = np.random.default_rng(arguments.seed)
    largest, failures, compared, used = {}, 0, 0, set()
    for number in range(arguments.cases):
        cell = str(random.choice(list(GATE_ORDER)))
        case = Case(cell=cell, activation="default", input_size=int(random.integers(1, 80)),
                    hidden_size=int(random.integers(1, 80)), time=int(random.integers(1, 20)),
                    batch=int(random.integers(1, 9)), seed=1000 * arguments.seed + number)
        direction = str(random.choice(["forward", "reverse", "bidirectional"]))
        case.bidirectional = direction == "bidirectional"
        if random.random() < 0.5:
            case.lengths = [int(v) for v in random.integers(1, case.time + 1, case.batch)]
        attributes = Attributes(cell, direction, random)
        data = case.inputs()
        wanted = None
        for tier, isa in library.tiers().items():
            net = Network(library, case, isa=isa, options=attributes.options, reverse=direction == "reverse")
            if wanted is None:
                named, flat = {}, []
                for name, (_, shape) in net.tensors().items():
                    named[name] = random.uniform(-1, 1, shape).astype(np.float32) / np.float32(case.hidden_size**0.5)
                    flat.append(named[name].ravel())
                data["parameters"] = np.concatenate(flat)
                wanted = onnx_forward(case, direction, attributes,
                                      onnx_tensors(case, attributes, named, data, random), data)
                if not all(np.abs(value).max() < LARGEST_VALUE for value in wanted.values()):
                    break  # it explodes: differences of rounding do so too
                compared += 1
                used |= attributes.used | {direction, cell, "lengths" if case.lengths else "all"}
            net.pack(data["parameters"])
            got = net.forward(data, inference=True)
            for name, value in wanted.items():
                error = relative_error(got[name], value)
                largest[tier] = max(largest.get(tier, 0), error)
                if not error <= LARGEST_ERROR:
                    failures += 1
                    print(f"FAILED {tier} {name}: error {error:.3g}; {direction} {attributes.options} {case}")
    wanted = {"preactivation-clip", "coupled", "peephole", "lengths", "reverse"}
    wanted |= {"reverse-" + place for place in PLACES["lstm"]}
    missing = ({name for name, _, _ in FUNCTIONS} | wanted) - used
    if missing:
        failures += 1
        print("FAILED: in no case:", *sorted(missing))
    print(f"ONNX Runtime {onnxruntime.__version__}: {compared} cases, largest difference",
          " ".join(f"{k} {v:.2g}" for k, v in largest.items()))
    return 0 if largest and failures == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
