# SPDX-License-Identifier: Apache-2.0
"""The part of include/gatekern.h that comparisons need, through ctypes and NumPy arrays."""

import ctypes
from ctypes import byref, c_bool, c_char_p, c_double, c_float, c_int64, c_size_t, c_void_p

import numpy as np

from header import structure

CELLS = ["rnn", "gru", "gru-reset-before", "lstm", "gru-simplified", "mgu"]  # enum gk_cell
ACTIVATIONS = ["default", "tanh", "relu", "sigmoid", "affine", "leaky-relu", "thresholded-relu", "scaled-tanh",
               "hard-sigmoid", "elu", "softsign", "softplus", "identity"]
OPTIMIZERS = ["sgd", "rmsprop", "adam", "adagrad", "adamw"]
FORWARD, BACKWARD = 1, 2  # gk_pack_flags


RnnDesc, Tensor, Memory = structure("gk_rnn_desc"), structure("gk_tensor"), structure("gk_rnn_memory")
ForwardArgs, BackwardArgs = structure("gk_rnn_forward_args"), structure("gk_rnn_backward_args")
OutputDesc, OutputLossArgs = structure("gk_output_desc"), structure("gk_output_loss_args")
OptimizerDesc = structure("gk_optimizer_desc")


def pointer(array):
    return None if array is None else array.ctypes.data


def buffer(size):
    return np.zeros(size + 64, dtype=np.uint8)


class Library:
    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        for name in ("gk_last_error", "gk_isa_name", "gk_cell_name", "gk_version"):
            getattr(self.c, name).restype = c_char_p
        self.c.gk_isa_usable.restype = c_bool
        for name in ("gk_rnn_parameter_count", "gk_output_parameter_count"):
            getattr(self.c, name).restype = c_int64
            getattr(self.c, name).argtypes = [c_void_p]
        self.c.gk_clip_scale.restype = c_float
        self.c.gk_clip_scale.argtypes = [c_double, c_double]
        self.c.gk_optimizer_step.argtypes = [c_void_p, c_int64, c_double, c_float, c_int64, c_void_p,
                                             c_void_p, c_void_p]
        for what, listed in (("cell", CELLS), ("activation", ACTIVATIONS), ("optimizer", OPTIMIZERS)):
            name, count = getattr(self.c, f"gk_{what}_name"), getattr(self.c, f"gk_{what}_count")
            name.restype = ctypes.c_char_p
            names = [name(i).decode() for i in range(count())]
            assert names == listed, (what, names)

    def check(self, status):
        if status != 0:
            raise RuntimeError(self.c.gk_last_error().decode())

    def start_threads(self, threads):
        """Makes the library's OpenMP runtime start its team."""
        peak = c_double()
        self.check(self.c.gk_measure_peak(0, threads, c_double(0.01), byref(peak), None))

    def tiers(self):
        """Usable ones, as name -> number."""
        numbers = range(1, self.c.gk_isa_count() + 1)
        return {self.c.gk_isa_name(i).decode(): i for i in numbers if self.c.gk_isa_usable(i)}


class Network:
    """A gk_rnn for a pytorch/networks.py Case."""

    def __init__(self, library, case, isa=0, threads=0, schedule=0, options=(), reverse=False):
        """options: (name, value) pairs for gk_rnn_option_set."""
        self.library, self.case = library, case
        self.desc = RnnDesc(size=ctypes.sizeof(RnnDesc), cell=CELLS.index(case.cell),
                            input_size=case.input_size, hidden_size=case.hidden_size, layers=case.layers,
                            vocabulary=case.vocabulary, direction=2 if case.bidirectional else int(reverse),
                            layout=int(case.batch_first), activation=ACTIVATIONS.index(case.activation),
                            isa=isa, threads=threads, schedule=schedule, projection_size=case.projection,
                            merge=int(case.merge == "sum"))
        sizes = np.array(case.hidden_sizes, dtype=np.int64)  # gk_rnn_create copies them
        self.desc.hidden_sizes = pointer(sizes) if case.hidden_sizes else None
        for name, value in options:
            library.check(library.c.gk_rnn_option_set(byref(self.desc), name.encode(), value.encode()))
        self.handle = c_void_p()
        library.check(library.c.gk_rnn_create(byref(self.desc), byref(self.handle)))
        memory, packed = Memory(), c_size_t()
        library.check(library.c.gk_rnn_memory_needed(self.handle, c_int64(case.time), c_int64(case.batch),
                                                     byref(memory)))
        library.check(library.c.gk_rnn_packed_bytes(self.handle, FORWARD | BACKWARD, byref(packed)))
        self.packed, self.reserve = buffer(packed.value), buffer(memory.reserve_bytes)
        self.workspace = buffer(max(memory.forward_workspace_bytes, memory.inference_workspace_bytes,
                                    memory.backward_workspace_bytes))

    def __del__(self):
        if self.handle:
            self.library.c.gk_rnn_destroy(self.handle)

    def tensors(self):
        """Name -> (offset, shape) of the parameters, in order."""
        named = {}
        for i in range(self.library.c.gk_rnn_tensor_count(self.handle)):
            tensor = Tensor()
            self.library.check(self.library.c.gk_rnn_tensor(self.handle, i, byref(tensor)))
            named[tensor.name.decode()] = (tensor.offset, tuple(tensor.shape[: tensor.rank]))
        return named

    def pack(self, parameters):
        self.library.check(self.library.c.gk_rnn_pack(self.handle, FORWARD | BACKWARD, c_void_p(pointer(parameters)),
                                                      c_void_p(pointer(self.packed))))

    def call(self, data):
        case = self.case
        self.lengths = np.array(case.lengths, dtype=np.int64) if case.lengths else None
        return dict(time=case.time, batch=case.batch, lengths=pointer(self.lengths), x=pointer(data.get("x")),
                    tokens=pointer(data.get("tokens")), h0=pointer(data.get("h0")), c0=pointer(data.get("c0")),
                    parameters=pointer(data["parameters"]), packed=pointer(self.packed),
                    workspace=pointer(self.workspace))

    def forward(self, data, inference=False):
        case = self.case
        out = {"y": np.empty(case.rows(case.output_width), np.float32),
               "hn": np.empty(case.state_shape("h"), np.float32)}
        if case.cell == "lstm":
            out["cn"] = np.empty(case.state_shape("c"), np.float32)
        args = ForwardArgs(size=ctypes.sizeof(ForwardArgs), reserve=None if inference else pointer(self.reserve),
                           **{k: pointer(v) for k, v in out.items()}, **self.call(data))
        self.library.check(self.library.c.gk_rnn_forward(self.handle, byref(args)))
        return out

    def backward(self, data):
        case = self.case
        count = self.library.c.gk_rnn_parameter_count(self.handle)
        out = {"dh0": np.empty(case.state_shape("h"), np.float32), "gradients": np.empty(count, np.float32)}
        if case.cell == "lstm":
            out["dc0"] = np.empty(case.state_shape("c"), np.float32)
        if not case.vocabulary:
            out["dx"] = np.empty(case.rows(case.input_size), np.float32)
        upstream = {k: pointer(data.get(k)) for k in ("dy", "dhn", "dcn")}
        args = BackwardArgs(size=ctypes.sizeof(BackwardArgs), reserve=pointer(self.reserve), **upstream,
                            **{k: pointer(v) for k, v in out.items()}, **self.call(data))
        self.library.check(self.library.c.gk_rnn_backward(self.handle, byref(args)))
        return out

    def run(self, data):
        """As networks.run: name -> array, gradients of the parameters under their names."""
        self.pack(data["parameters"])
        out = {**self.forward(data), **self.backward(data)}
        flat = out.pop("gradients")
        for name, (offset, shape) in self.tensors().items():
            out[name] = flat[offset : offset + int(np.prod(shape))].reshape(shape)
        return out


class Output:
    """gk_output: linear layer and softmax cross-entropy."""

    def __init__(self, library, hidden, classes, rows, isa=0):
        self.library, self.rows, self.hidden = library, rows, hidden
        desc = OutputDesc(size=ctypes.sizeof(OutputDesc), input_size=hidden, output_size=classes, isa=isa)
        self.handle = c_void_p()
        library.check(library.c.gk_output_create(byref(desc), byref(self.handle)))
        packed, workspace = c_size_t(), c_size_t()
        library.check(library.c.gk_output_packed_bytes(self.handle, FORWARD | BACKWARD, byref(packed)))
        library.check(library.c.gk_output_workspace_bytes(self.handle, c_int64(rows), byref(workspace)))
        self.packed, self.workspace = buffer(packed.value), buffer(workspace.value)
        self.count = library.c.gk_output_parameter_count(self.handle)

    def __del__(self):
        if self.handle:
            self.library.c.gk_output_destroy(self.handle)

    def mean_loss(self, parameters, h, targets):
        """Mean loss, its gradients by h and by the parameters."""
        self.library.check(self.library.c.gk_output_pack(self.handle, FORWARD | BACKWARD,
                                                         c_void_p(pointer(parameters)), c_void_p(pointer(self.packed))))
        total, dh = c_double(), np.empty(h.shape, np.float32)
        gradients = np.empty(self.count, np.float32)
        args = OutputLossArgs(size=ctypes.sizeof(OutputLossArgs), rows=self.rows, h=pointer(h),
                              targets=pointer(targets), packed=pointer(self.packed),
                              loss=ctypes.addressof(total), gradient_scale=1 / self.rows, dh=pointer(dh),
                              gradients=pointer(gradients), workspace=pointer(self.workspace))
        self.library.check(self.library.c.gk_output_loss(self.handle, byref(args)))
        return total.value / self.rows, dh, gradients


class Optimizer:
    """One optimizer over several arrays of parameters, with clipping by their common norm."""

    def __init__(self, library, kind, arrays, rate, momentum=0.0, isa=0):
        self.library, self.arrays, self.rate, self.number = library, arrays, rate, 0
        self.desc = OptimizerDesc(size=ctypes.sizeof(OptimizerDesc), kind=OPTIMIZERS.index(kind),
                                  momentum=momentum, beta1=0.9, beta2=0.999, alpha=0.99, epsilon=1e-8, isa=isa)
        self.states = []
        for array in arrays:
            floats = c_int64()
            library.check(library.c.gk_optimizer_state_count(byref(self.desc), c_int64(array.size), byref(floats)))
            self.states.append(np.zeros(floats.value, np.float32))

    def step(self, gradients, largest_norm):
        """Returns the norm before clipping."""
        self.number += 1
        pointers = (c_void_p * len(gradients))(*(pointer(g) for g in gradients))
        counts = (c_int64 * len(gradients))(*(g.size for g in gradients))
        norm = c_double()
        self.library.check(self.library.c.gk_gradient_norm(self.desc.isa, 1, len(gradients), pointers, counts,
                                                           byref(norm)))
        scale = self.library.c.gk_clip_scale(norm.value, largest_norm)
        for array, gradient, state in zip(self.arrays, gradients, self.states):
            self.library.check(self.library.c.gk_optimizer_step(
                ctypes.addressof(self.desc), self.number, self.rate, scale, array.size, pointer(array),
                pointer(gradient), pointer(state)))
        return norm.value
