#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A peer that lives in a process of its own, started by contestants.py: worker.py pytorch|onnxruntime THREADS.

Reads one JSON request a line, answers with one JSON object a line. A request names the case (cell, input, hidden,
batch, time, layers, directions, pass: step, forward or inference, packed, lengths), the file of its arrays (NumPy's
npz), and either a file to write the results to, or for how many seconds to time runs."""

import json
import statistics
import sys
import time

import numpy as np

# Where ONNX's gates are in PyTorch's order: i o f c of i f g o; z r h of r z n.
ONNX_ORDER = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "gru-reset-before": [1, 0, 2], "rnn": [0]}


class PyTorch:
    def __init__(self, threads):
        import torch
        self.torch, self.version = torch, torch.__version__
        torch.set_num_threads(threads)

    def prepare(self, case, data):
        torch = self.torch
        self.case, step = case, case["pass"] == "step"
        cells = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
        self.module = cells[case["cell"]](case["input"], case["hidden"], case["layers"],
                                          bidirectional=case["directions"] == 2)
        self.arrays = {name: torch.from_numpy(array) for name, array in data.items()}
        with torch.no_grad():
            offset = 0
            for parameter in self.module.parameters():
                count = parameter.numel()
                parameter.copy_(self.arrays["parameters"][offset:offset + count].view(parameter.shape))
                offset += count
        for name in ("x", "h0", "c0"):
            if name in self.arrays and step:
                self.arrays[name].requires_grad_()
        self.x, self.dy = self.arrays["x"], self.arrays.get("dy")
        if case["packed"]:
            packed = self.pack(self.x.detach())
            self.x = self.like_x(packed, packed.data.requires_grad_(step))
            self.dy = self.pack(self.dy).data
        h0 = self.arrays["h0"]
        self.state = (h0, self.arrays["c0"]) if case["cell"] == "lstm" else h0

    def pack(self, rows):
        """Of sequences of the case's lengths."""
        lengths = self.torch.tensor(self.case["lengths"] or [self.case["time"]] * self.case["batch"])
        return self.torch.nn.utils.rnn.pack_padded_sequence(rows, lengths, enforce_sorted=not self.case["lengths"])

    def like_x(self, x, data):
        return self.torch.nn.utils.rnn.PackedSequence(data, x.batch_sizes, x.sorted_indices, x.unsorted_indices)

    def unpack(self, data):
        packed = self.like_x(self.x, data)
        return self.torch.nn.utils.rnn.pad_packed_sequence(packed, total_length=self.case["time"])[0]

    def forward(self):
        """y of packed sequences is left packed."""
        y, state = self.module(self.x, self.state)
        y = y.data if self.case["packed"] else y
        return (y, *state) if isinstance(state, tuple) else (y, state)

    def run(self):
        """Seconds of forward and of all."""
        if self.case["pass"] == "inference":
            start = time.perf_counter()
            with self.torch.inference_mode():
                self.outputs = self.forward()
            return [time.perf_counter() - start] * 2
        for tensor in [*self.module.parameters(), *self.arrays.values()]:
            tensor.grad = None
        if self.case["packed"]:
            self.x.data.grad = None
        start = time.perf_counter()
        outputs = self.forward()
        forward = time.perf_counter() - start
        if self.case["pass"] == "step":
            upstream = [self.dy, *(self.arrays[name] for name in ("dhn", "dcn") if name in self.arrays)]
            self.torch.autograd.backward(outputs, upstream)
        total = time.perf_counter() - start
        self.outputs = outputs
        return [forward, total]

    def results(self):
        self.run()
        named = dict(zip(("y", "hn", "cn"), (output.detach() for output in self.outputs)))
        if self.case["pass"] == "step":
            named["gradients"] = self.torch.cat([p.grad.reshape(-1) for p in self.module.parameters()])
            named["dx"] = self.x.data.grad if self.case["packed"] else self.x.grad
            named.update({"d" + s: self.arrays[s].grad for s in ("h0", "c0") if s in self.arrays})
        if self.case["packed"]:
            named.update({name: self.unpack(named[name]) for name in ("y", "dx") if name in named})
        return {name: tensor.numpy() for name, tensor in named.items()}


class OnnxRuntime:
    """Forward only; one layer a node."""

    def __init__(self, threads):
        import onnx  # noqa: F401 - makes the models: that it is not here is known before a row needs it
        import onnxruntime
        self.runtime, self.version, self.threads = onnxruntime, onnxruntime.__version__, threads

    @staticmethod
    def layer(case, index, width, parameters):
        """The node of a layer, its constants, and the parameters of the layers above."""
        from onnx import TensorProto, helper
        cell, hidden, order = case["cell"], case["hidden"], ONNX_ORDER[case["cell"]]
        rows = len(order) * hidden

        def take(*shape):
            nonlocal parameters
            count = int(np.prod(shape))
            gates, parameters = np.split(parameters[:count].reshape(shape), len(order)), parameters[count:]
            return np.concatenate([gates[gate] for gate in order])
        weights = [(take(rows, width), take(rows, hidden), np.concatenate([take(rows), take(rows)]))
                   for _ in range(case["directions"])]
        arrays = {name: np.stack(of_directions) for name, of_directions in zip("WRB", zip(*weights))}
        operator = {"lstm": "LSTM", "rnn": "RNN"}.get(cell, "GRU")
        attributes = {"hidden_size": hidden, "direction": "bidirectional" if len(weights) > 1 else "forward"}
        if operator == "GRU":
            attributes["linear_before_reset"] = int(cell == "gru")
        states = ["h"] + (["c"] if cell == "lstm" else [])
        last = index == case["layers"] - 1
        outputs = ["y" if last else f"y{index}"] + [f"{s}n{index}" for s in states]
        node = helper.make_node(operator, [f"x{index}", *(f"{k}{index}" for k in arrays), "",
                                           *(f"{s}0_{index}" for s in states)], outputs, **attributes)
        constants = [helper.make_tensor(f"{k}{index}", TensorProto.FLOAT, v.shape, np.ascontiguousarray(v).tobytes(),
                                        raw=True) for k, v in arrays.items()]
        return node, constants, parameters

    def prepare(self, case, data):
        from onnx import TensorProto, helper
        nodes, constants, inputs, parameters = [], [], [], data["parameters"]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["?"] * 4)]
        self.case, self.feed, width = case, {"x0": data["x"]}, case["input"]
        inputs.append(helper.make_tensor_value_info("x0", TensorProto.FLOAT, data["x"].shape))
        for index in range(case["layers"]):
            node, more, parameters = self.layer(case, index, width, parameters)
            nodes.append(node)
            constants += more
            width = case["directions"] * case["hidden"]
            if index < case["layers"] - 1:  # (T, D, N, H) to (T, N, D*H)
                rows = f"y{index}"
                if case["directions"] > 1:
                    nodes.append(helper.make_node("Transpose", [rows], [f"rows{index}"], perm=[0, 2, 1, 3]))
                    rows = f"rows{index}"
                dims = [case["time"], case["batch"], width]
                constants.append(helper.make_tensor(f"dims{index}", TensorProto.INT64, [3], dims))
                nodes.append(helper.make_node("Reshape", [rows, f"dims{index}"], [f"x{index + 1}"]))
            for state in ("h", "c") if case["cell"] == "lstm" else ("h",):
                name, value = f"{state}0_{index}", np.split(data[state + "0"], case["layers"])[index]
                self.feed[name] = np.ascontiguousarray(value)
                inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
                outputs.append(helper.make_tensor_value_info(f"{state}n{index}", TensorProto.FLOAT, ["?"] * 3))
        graph = helper.make_graph(nodes, "layer", inputs, outputs, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
        model.ir_version = 8
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        self.session = self.runtime.InferenceSession(model.SerializeToString(), options,
                                                     providers=["CPUExecutionProvider"])
        self.names = [output.name for output in outputs]

    def run(self):
        start = time.perf_counter()
        self.outputs = self.session.run(self.names, self.feed)
        return [time.perf_counter() - start] * 2

    def results(self):
        self.run()
        named = dict(zip(self.names, self.outputs))
        y = named["y"].transpose(0, 2, 1, 3)
        results = {"y": y.reshape(self.case["time"], self.case["batch"], -1)}
        for state in ("h", "c") if self.case["cell"] == "lstm" else ("h",):
            results[state + "n"] = np.concatenate([named[f"{state}n{i}"] for i in range(self.case["layers"])])
        return results


def measure(peer, seconds):
    end = time.perf_counter() + 0.1 * seconds
    runs = [peer.run(), peer.run()]
    while time.perf_counter() < end:
        peer.run()
    runs, end = [], time.perf_counter() + seconds
    while len(runs) < 3 or time.perf_counter() < end:
        runs.append(peer.run())
    forward, total = zip(*runs)
    return {"best": min(total), "median": statistics.median(total), "forward_best": min(forward),
            "forward_median": statistics.median(forward), "runs": len(runs)}


def main():
    try:
        peer = {"pytorch": PyTorch, "onnxruntime": OnnxRuntime}[sys.argv[1]](int(sys.argv[2]))
    except ImportError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    try:
        print(json.dumps({"version": peer.version}), flush=True)
    except BrokenPipeError:  # nobody waits any more
        return
    prepared = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if prepared != (request["case"], request["data"]):
                prepared = None  # nor is the old case, should this fail half way
                with np.load(request["data"]) as data:
                    peer.prepare(request["case"], dict(data))
                prepared = request["case"], request["data"]
            if "dump" in request:
                np.savez(request["dump"], **peer.results())
                answer = {}
            else:
                answer = measure(peer, request["seconds"])
        except Exception as error:  # the parent says which case it was, and goes on
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
