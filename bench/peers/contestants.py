# SPDX-License-Identifier: Apache-2.0
"""Gatekern and its peers behind one interface: results(row, ...), measure(row, seconds, folder), in processes of their
own, all on the data that make_data has put into the folder. A measurement is a dict with best, median, forward_best,
forward_median in seconds."""

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from bars import CELLS_OF, GATES

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent / "tests" / "peers")]

PAUSE = 0.05  # seconds: after it no peer's threads spin any more

# What caps a peer at AVX2; ONNX Runtime has no such switch.
CAPPED = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


class Failed(Exception):
    """A contestant could not do what it was asked for, or did something else; the message names it."""


class NotOffered(Exception):
    """This peer has no such network."""


class NoAnswer(Exception):
    """This peer took longer than it is waited for, and was ended."""

    def __init__(self, seconds):
        super().__init__(f"gave no answer in {seconds:g} s")


def must_have_cell(peer, cell):
    if cell not in CELLS_OF[peer]:
        raise NotOffered(f"has no {cell} among its cells, {', '.join(CELLS_OF[peer])}")


def environment(isa, threads):
    return {**os.environ, "OMP_NUM_THREADS": str(threads), **(CAPPED if isa == "avx2" else {})}


def array_shapes(shape):
    """Name -> shape of every input, in the order of data.raw, which peer_onednn and gatekern bench --data read."""
    states = (shape.layers * shape.directions, shape.batch, shape.hidden)
    rows = shape.directions * GATES[shape.cell] * shape.hidden
    y = (shape.time, shape.batch, shape.directions * shape.hidden)
    named = {"parameters": (sum(rows * (width + shape.hidden + 2) for width in shape.widths()),),
             "x": (shape.time, shape.batch, shape.input), "h0": states, "c0": states, "dy": y, "dhn": states,
             "dcn": states}
    return {k: v for k, v in named.items() if shape.cell == "lstm" or k not in ("c0", "dcn")}


def result_shapes(shape, training):
    inputs = array_shapes(shape)
    named = {"y": inputs["dy"], "hn": inputs["h0"], "cn": inputs["h0"]}
    if training:
        named.update({"dx": inputs["x"], "dh0": inputs["h0"], "dc0": inputs["h0"], "gradients": inputs["parameters"]})
    return {k: v for k, v in named.items() if shape.cell == "lstm" or k not in ("cn", "dc0")}


def make_data(shape, folder):
    """The ranges of bench/runner.c, as data.npz and data.raw."""
    random, data = np.random.default_rng(1), {}
    ranges = {"parameters": shape.hidden ** -0.5, "dy": 0.1, "dhn": 0.1, "dcn": 0.1}
    with open(folder / "data.raw", "wb") as raw:
        for name, dims in array_shapes(shape).items():
            data[name] = ((2 * random.random(dims, np.float32) - 1) * np.float32(ranges.get(name, 1)))
            data[name].tofile(raw)
    np.savez(folder / "data.npz", **data)
    return data


def machine_info(program):
    """ValueError: it is no program of Gatekern's."""
    result = subprocess.run([program, "info", "--no-measure", "--json"], capture_output=True, text=True)
    try:
        return json.loads(result.stdout)
    except ValueError as error:
        said = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise ValueError(f"--program: {program} info --json gives no JSON: {said[-1]}") from error


def fastest_tier(program):
    """What auto stands for here."""
    return machine_info(program)["isa"]


def usable_tiers(program):
    return [tier["isa"] for tier in machine_info(program)["tiers"] if tier["usable"]]


class LibraryResults:
    """Ours, of the library in this process."""

    def __init__(self, library, threads):
        from gatekern_library import Library
        self.library, self.threads = Library(library), threads
        self.version = self.library.c.gk_version().decode()

    def results(self, row, data):
        from gatekern_library import Network
        shape = row.shape
        case = SimpleNamespace(cell=shape.cell, input_size=shape.input, hidden_size=shape.hidden, layers=shape.layers,
                               vocabulary=0, bidirectional=shape.directions == 2, batch_first=False, activation="tanh",
                               projection=0, merge="concatenate", hidden_sizes=[],
                               output_width=shape.directions * shape.hidden,
                               state_shape=lambda name: array_shapes(shape)["h0"],
                               directions=shape.directions, lengths=row.lengths, time=shape.time, batch=shape.batch,
                               rows=lambda width: (shape.time, shape.batch, width))
        isa = 0 if row.isa == "auto" else self.library.tiers()[row.isa]
        network = Network(self.library, case, isa=isa, threads=self.threads)
        network.pack(data["parameters"])
        if row.passes != "step":
            return network.forward(data, inference=row.passes == "inference")
        return {**network.forward(data), **network.backward(data)}


class Gatekern(LibraryResults):
    """Timed by `gatekern bench`."""

    def __init__(self, program, library, threads):
        super().__init__(library, threads)
        self.program, self.compiler = program, machine_info(program)["compiler"]
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        self.version = version.split()[-1]

    def measure(self, row, seconds, folder):
        s = row.shape
        command = [self.program, "bench", "--json", "--cell", s.cell, "--pass", row.passes, "--isa", row.isa,
                   "--direction", s.direction]
        for name in ("input", "hidden", "batch", "time", "layers"):
            command += [f"--{name}", str(getattr(s, name))]
        command += ["--threads", str(self.threads), "--seconds", str(seconds), "--data", str(folder / "data.raw")]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(result.stderr.strip() or f"exit status {result.returncode}")
        m = json.loads(result.stdout)
        key = "forward" if m["step_ms"] is None else "step"
        return {"best": m[f"{key}_ms"] / 1e3, "median": m[f"{key}_ms_median"] / 1e3,
                "forward_best": m["forward_ms"] / 1e3, "forward_median": m["forward_ms_median"] / 1e3,
                "runs": m["runs"], "percent_of_peak": m["percent_of_peak"], "peak_gflops": m["peak_gflops"],
                "sustained_gflops": m["sustained_gflops"], "core_to_core_ns": m["core_to_core_ns"],
                "isa": m["isa"], "schedule": m["schedule"], "threads_used": m["threads_used"],
                "checksum": m["checksum"]}


class Prepacked:
    """Ours, its weights packed before: what a step of a peer that leaves out its reorders is compared with."""

    def __init__(self, gatekern):
        self.gatekern = gatekern

    def measure(self, row, seconds, folder):
        return self.gatekern.measure(replace(row, passes="prepacked-step"), seconds, folder)


class Onednn:
    def __init__(self, program, threads, patience):
        self.program, self.threads, self.patience = program, threads, patience
        probe = SimpleNamespace(shape=SimpleNamespace(cell="rnn", input=16, hidden=16, batch=1, time=1, layers=1,
                                                directions=1),
                                passes="step", isa="auto")
        self.version = self.call(probe, "--seconds", "0.001")["peer"].split()[-1]

    def call(self, row, *more):
        s = row.shape
        must_have_cell("onednn", s.cell)
        if row.passes == "forward":
            raise NotOffered("a training forward pass is timed as part of a step")
        if s.layers > 1 and s.input != s.hidden:
            raise NotOffered("needs I = H for several layers")
        if s.layers > 1 and s.directions > 1:
            raise NotOffered("its layers above the first do not read two directions")
        command = [self.program, "--cell", s.cell, "--threads", str(self.threads), *more]
        for name in ("input", "hidden", "batch", "time", "layers"):
            command += [f"--{name}", str(getattr(s, name))]
        command += ["--inference"] if row.passes == "inference" else []
        command += ["--bidirectional"] if s.directions > 1 else []
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=self.patience,
                                    env=environment(row.isa, self.threads))
        except subprocess.TimeoutExpired as error:
            raise NoAnswer(self.patience) from error
        if result.returncode == 3:
            raise NotOffered(result.stderr.strip())
        if result.returncode:
            raise RuntimeError(result.stderr.strip() or f"exit status {result.returncode}")
        return json.loads(result.stdout) if result.stdout else {}

    def results(self, row, folder):
        self.call(row, "--data", str(folder / "data.raw"), "--dump", str(folder / "onednn.raw"))
        values, results = np.fromfile(folder / "onednn.raw", np.float32), {}
        for name, dims in result_shapes(row.shape, row.passes == "step").items():
            count = int(np.prod(dims))
            results[name], values = values[:count].reshape(dims), values[count:]
        if values.size:
            raise RuntimeError(f"dumped {values.size} values too many")
        return results

    def measure(self, row, seconds, folder):
        m = self.call(row, "--seconds", str(seconds), "--data", str(folder / "data.raw"))
        key = "step" if row.passes == "step" else "forward"
        figures = {"best": m[f"{key}_ms"] / 1e3, "median": m[f"{key}_ms_median"] / 1e3,
                   "forward_best": m["forward_ms"] / 1e3, "forward_median": m["forward_ms_median"] / 1e3,
                   "runs": m["runs"], "isa_flags": m["isa_flags"]}
        if row.passes == "step":
            figures["best_with_reorders"] = m["step_with_reorders_ms"] / 1e3
        return figures

    def close(self):
        """Nothing is left of a call."""


class Worker:
    """PyTorch or ONNX Runtime in worker.py; one process for each cap of the instruction set."""

    def __init__(self, peer, threads, patience, packed=False):
        self.peer, self.threads, self.patience, self.packed = peer, threads, patience, packed
        self.processes, self.version = {}, None
        self.process("auto")

    def read_line(self, process):
        """An answer, "" from a process that has ended."""
        if not select.select([process.stdout], [], [], self.patience)[0]:
            process.kill()
            process.wait()
            raise NoAnswer(self.patience)
        return process.stdout.readline()

    def process(self, isa):
        if isa not in self.processes:
            process = subprocess.Popen([sys.executable, str(HERE / "worker.py"), self.peer, str(self.threads)],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                       env=environment(isa, self.threads),
                                       start_new_session=True)  # Ctrl-C is ours, and ends it
            hello = self.read_line(process)
            if not hello:
                raise RuntimeError(f"{self.peer} does not start here")
            answer = json.loads(hello)
            if "error" in answer:
                process.wait()
                raise RuntimeError(answer["error"])
            self.version = answer["version"]
            self.processes[isa] = process
        return self.processes[isa]

    def ask(self, row, folder, **request):
        s = row.shape
        must_have_cell(self.peer, s.cell)
        if self.peer == "onnxruntime" and (row.passes != "inference" or row.isa == "avx2"):
            raise NotOffered("runs inference alone" if row.passes != "inference" else "has no switch for AVX2")
        isa = "avx2" if row.isa == "avx2" else "auto"
        process = self.process(isa)
        case = {"cell": s.cell, "input": s.input, "hidden": s.hidden, "batch": s.batch, "time": s.time,
                "layers": s.layers, "directions": s.directions, "pass": row.passes, "packed": self.packed,
                "lengths": row.lengths}
        try:
            process.stdin.write(json.dumps({"case": case, "data": str(folder / "data.npz"), **request}) + "\n")
            process.stdin.flush()
            line = self.read_line(process)
        except BrokenPipeError:
            line = ""
        except NoAnswer:
            del self.processes[isa]
            raise
        if not line:  # it died; the next request starts another
            raise RuntimeError(f"its process ended with exit status {self.processes.pop(isa).wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def results(self, row, folder):
        self.ask(row, folder, dump=str(folder / "peer.npz"))
        with np.load(folder / "peer.npz") as file:
            return dict(file)

    def measure(self, row, seconds, folder):
        return self.ask(row, folder, seconds=seconds)

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


def pause():
    time.sleep(PAUSE)
