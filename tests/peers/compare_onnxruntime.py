# SPDX-License-Identifier: Apache-2.0
"""Gatekern's forward pass against ONNX Runtime's RNN, GRU (both resets) and LSTM operators.

    python compare_onnxruntime.py LIBGATEKERN.SO [--seed S] [--cases N]     or GATEKERN_LIBRARY=...

Random weights, ragged lengths, initial states, both directions; y, hn, cn on every tier within 1e-5 of the
tensor's largest magnitude. Exit status 1 if not.
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


def reorder(case, matrix):
    gates = np.split(matrix, len(GATE_ORDER[case.cell]))
    return np.concatenate([gates[g] for g in GATE_ORDER[case.cell]])


def onnx_forward(case, data):
    named = case.parameters_by_name(data["parameters"])
    suffixes = ["_l0", "_l0_reverse"][: case.directions]
    tensors = {
        "W": np.stack([reorder(case, named["weight_ih" + s]) for s in suffixes]),
        "R": np.stack([reorder(case, named["weight_hh" + s]) for s in suffixes]),
        "B": np.stack([np.concatenate([reorder(case, named["bias_ih" + s]), reorder(case, named["bias_hh" + s])])
                       for s in suffixes]),
        "initial_h": data["h0"],
    }
    if case.cell == "lstm":
        tensors["initial_c"] = data["c0"]
    attributes = {"hidden_size": case.hidden_size, "direction": "bidirectional" if case.bidirectional else "forward"}
    operator = {"lstm": "LSTM", "rnn": "RNN"}.get(case.cell, "GRU")
    if operator == "GRU":
        attributes["linear_before_reset"] = int(case.cell == "gru")
    if operator == "RNN":
        attributes["activations"] = [case.activation.capitalize()] * case.directions
    outputs = ["y", "hn", "cn"] if case.cell == "lstm" else ["y", "hn"]
    inputs = ["x", "W", "R", "B", "lengths", "initial_h"] + (["initial_c"] if case.cell == "lstm" else [])
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, outputs, **attributes)], "cell",
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
    parser.add_argument("--cases", type=int, default=60)
    arguments = parser.parse_args()
    if not arguments.library:
        parser.error("which libgatekern.so?")
    library = Library(arguments.library)
    random = np.random.default_rng(arguments.seed)
    largest, failures = {}, 0
    for number in range(arguments.cases):
        cell = str(random.choice(list(GATE_ORDER)))
        case = Case(cell=cell, activation=str(random.choice(["tanh", "relu"])) if cell == "rnn" else "tanh",
                    input_size=int(random.integers(1, 80)), hidden_size=int(random.integers(1, 80)),
                    time=int(random.integers(1, 20)), batch=int(random.integers(1, 9)),
                    bidirectional=bool(random.random() < 0.4), seed=1000 * arguments.seed + number)
        if random.random() < 0.5:
            case.lengths = [int(v) for v in random.integers(1, case.time + 1, case.batch)]
        data = case.inputs()
        wanted = onnx_forward(case, data)
        for tier, isa in library.tiers().items():
            net = Network(library, case, isa=isa)
            net.pack(data["parameters"])
            got = net.forward(data, inference=True)
            for name, value in wanted.items():
                error = relative_error(got[name], value)
                largest[tier] = max(largest.get(tier, 0), error)
                if not error <= LARGEST_ERROR:
                    failures += 1
                    print(f"FAILED {tier} {name}: error {error:.3g}; {case}")
    print(f"ONNX Runtime {onnxruntime.__version__}: {arguments.cases} cases, largest difference",
          " ".join(f"{k} {v:.2g}" for k, v in largest.items()))
    return 0 if largest and failures == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
