# SPDX-License-Identifier: Apache-2.0
"""Gatekern against PyTorch, live.

    python compare_pytorch.py LIBGATEKERN.SO [--seed S] [--cases N] [--gatekern-first]     or GATEKERN_LIBRARY=...

1. names      tensors of gk_rnn have the names, shapes and order of torch.nn.{LSTM,GRU,RNN}'s parameters
2. accuracy   random cases (cell, sizes, layers, directions, ragged packed sequences, layout, initial states,
              tokens) on every tier: y, hn, cn, dx, dh0, dc0 and the gradient of each parameter. The error of
              a tensor is the largest absolute error over the tensor's largest magnitude, with PyTorch float64
              as the truth; it is divided by PyTorch float32's error on the same case. The ratios' geometric
              mean is at most 1.2, none is above 3; an error of ours below 1e-6 counts as a ratio of 1
3. training   the same initial weights and batches, ten steps with clipping: losses within 1e-5 relative
4. structures the same as 2 with projection, layers of different sizes and added directions (the last two from
              PyTorch's modules of one layer)
5. runtimes   the same in a process that loads Gatekern's OpenMP runtime before PyTorch's

Exit status 1 if any of this does not hold.
"""

import argparse
import itertools
import os
import subprocess
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pytorch")]

from gatekern_library import Library, Network, Optimizer, Output

LARGEST_RATIO, LARGEST_MEAN_RATIO, COUNTS_AS_ONE, LARGEST_LOSS_ERROR = 3.0, 1.2, 1e-6, 1e-5


def random_case(random, seed):
    from networks import Case

    cell = str(random.choice(["lstm", "gru", "rnn", "rnn"]))
    ragged = random.random() < 0.4
    case = Case(cell=cell, activation=str(random.choice(["tanh", "relu"])) if cell == "rnn" else "tanh",
                input_size=int(2 ** random.uniform(0, 8.3)), hidden_size=int(2 ** random.uniform(3, 8.3)),
                layers=int(random.choice([1, 1, 2, 3])), bidirectional=bool(random.random() < 0.3),
                time=int(random.integers(1, 60)), batch=int(random.integers(1, 24)),
                batch_first=bool(random.random() < 0.5), seed=seed,
                vocabulary=int(random.integers(1, 200)) if random.random() < 0.25 else 0,
                parameter_scale=float(random.choice([0.5, 1.0, 1.5])))
    if ragged:
        lengths = random.integers(1, case.time + 1, case.batch)
        case.lengths = [int(v) for v in lengths]
    return case


def random_structure(random, seed):
    """A random case with projection, layers of different sizes or added directions."""
    case = random_case(random, seed)
    if random.random() < 0.7:
        case.cell, case.activation = "lstm", "tanh"
        case.projection = int(random.integers(1, case.hidden_size))
    if case.bidirectional and random.random() < 0.5:
        case.merge = "sum"
    if not case.projection or random.random() < 0.3:
        case.layers = max(case.layers, 2)
        # PyTorch's modules want more units than projected values
        # a tensor of one value says little: its terms may cancel
        smallest = max(case.projection + 1, min(8, case.hidden_size))
        sizes = random.integers(smallest, case.hidden_size + 1, case.layers)
        case.hidden_sizes = [int(v) for v in sizes]
    return case


def compare_names(library):
    import torch
    from networks import Case, torch_module

    for cell in ("lstm", "gru", "rnn"):
        for bidirectional, projection in itertools.product((False, True), (0, 4) if cell == "lstm" else (0,)):
            case = Case(cell=cell, input_size=5, hidden_size=7, layers=3, bidirectional=bidirectional,
                        projection=projection)
            ours = {k: shape for k, (_, shape) in Network(library, case).tensors().items()}
            theirs = {k: tuple(v.shape) for k, v in torch_module(case, torch.float32).named_parameters()}
            assert list(ours.items()) == list(theirs.items()), (ours, theirs)
    print("names: as PyTorch's")


def compare_accuracy(library, what, random_case, count, seed):
    import numpy as np
    import torch
    from networks import relative_error, run

    random = np.random.default_rng(seed)
    ratios, ones, failures = [], 0, 0
    worst = {}
    for number in range(count):
        case = random_case(random, 1000 * seed + number)
        data = case.inputs()
        truth, single = run(case, torch.float64, data), run(case, torch.float32, data)
        for tier, isa in library.tiers().items():
            if tier == "scalar" and number % 4:
                continue  # the same bits, ten times slower
            got = Network(library, case, isa=isa, threads=int(random.integers(1, 4))).run(data)
            assert got.keys() == truth.keys(), (got.keys(), truth.keys())
            for name, value in truth.items():
                error, theirs = relative_error(got[name], value), relative_error(single[name], value)
                small = error < COUNTS_AS_ONE
                ratio = 1.0 if small else error / theirs if theirs else np.inf
                ones += small
                ratios.append(ratio)
                worst[tier] = max(worst.get(tier, 0), ratio)
                if not ratio <= LARGEST_RATIO:
                    failures += 1
                    print(f"FAILED {tier} {name}: error {error:.3g}, PyTorch float32's {theirs:.3g}; {case}")
    mean = float(np.exp(np.mean(np.log(ratios))))
    print(f"accuracy, {what}: {count} cases, {len(ratios)} tensors, {ones} with an error below {COUNTS_AS_ONE}; "
          f"error over PyTorch float32's: geometric mean {mean:.3f}, largest",
          " ".join(f"{k} {v:.2f}" for k, v in worst.items()))
    return failures == 0 and mean <= LARGEST_MEAN_RATIO and len(ratios) > 0


def train_gatekern(library, case, kind, steps, rate, momentum, largest_norm, isa):
    """make_vectors.train through the C API."""
    import numpy as np
    from networks import random_floats, random_integers

    net = Network(library, case, isa=isa)
    output = Output(library, case.hidden_size, case.vocabulary, case.time * case.batch, isa=isa)
    stream, scale = case.seed * 16 + 8, 1 / np.sqrt(case.hidden_size)
    parameters = case.inputs()["parameters"]
    linear = np.concatenate([random_floats(stream, scale, (case.vocabulary * case.hidden_size,)),
                             random_floats(stream + 1, scale, (case.vocabulary,))])
    optimizer = Optimizer(library, kind, [parameters, linear], rate, momentum, isa=isa)
    states, losses = {}, []
    for step in range(steps):
        rows = random_integers(case.seed * 16 + 10 + step, case.vocabulary, (case.time + 1, case.batch))
        rows[1:] = np.where(rows[1:] % 2 == 0, (rows[:-1] + 1) % case.vocabulary, rows[1:])
        rows = np.ascontiguousarray(rows, np.int32)
        data = {"parameters": parameters, "tokens": rows[:-1], **states}
        net.pack(parameters)
        out = net.forward(data)
        targets = np.ascontiguousarray(rows[1:])
        loss, dy, dlinear = output.mean_loss(linear, out["y"], targets)
        gradients = net.backward({**data, "dy": dy})["gradients"]
        optimizer.step([gradients, dlinear], largest_norm)
        states = {"h0": out["hn"], **({"c0": out["cn"]} if case.cell == "lstm" else {})}
        losses.append(loss)
    return losses


def compare_training(library, seed, sizes):
    import numpy as np
    import torch
    from make_vectors import ADAM, RMSPROP, SGD, train
    from networks import Case

    jobs = [("lstm", "adam", 4e-3, 0), ("gru", "adam", 4e-3, 0), ("rnn", "adam", 1e-3, 0),
            ("lstm", "rmsprop", 1e-3, 0), ("gru", "sgd", 0.5, 0.9)]
    good = True
    for number, (cell, kind, rate, momentum) in enumerate(jobs):
        hidden, time, batch = sizes
        case = Case(cell=cell, input_size=hidden, hidden_size=hidden, layers=2, vocabulary=65, time=time,
                    batch=batch, seed=seed + number)
        options = (10, rate, momentum, 0.25)
        number_of = {"sgd": SGD, "rmsprop": RMSPROP, "adam": ADAM}[kind]
        theirs, _ = train(case, torch.float32, number_of, *options)
        for tier, isa in library.tiers().items():
            if tier == "scalar":
                continue  # the same bits, ten times slower
            ours = train_gatekern(library, case, kind, *options, isa)
            error = max(abs(a - b) / b for a, b in zip(ours, theirs))
            print(f"training: {cell} 2x{hidden} {kind} {tier}: losses {ours[0]:.5f} ... {ours[-1]:.5f}, largest "
                  f"relative difference {error:.2g}")
            good = good and np.isfinite(error) and error <= LARGEST_LOSS_ERROR
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library", nargs="?", default=os.environ.get("GATEKERN_LIBRARY"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--gatekern-first", action="store_true", help="load Gatekern before PyTorch")
    arguments = parser.parse_args()
    if not arguments.library:
        parser.error("which libgatekern.so?")
    if arguments.gatekern_first:
        library = Library(arguments.library)
        library.start_threads(2)
        import torch
    else:
        import torch
        torch.set_num_threads(2)
        torch.ones(300, 300).mm(torch.ones(300, 300))
        library = Library(arguments.library)
    print("tiers:", " ".join(library.tiers()), "PyTorch", torch.__version__)
    compare_names(library)
    good = compare_accuracy(library, "plain", random_case, arguments.cases, arguments.seed)
    if not arguments.gatekern_first:
        good = compare_accuracy(library, "structures", random_structure, arguments.cases, arguments.seed) and good
    if not arguments.gatekern_first:
        good = compare_training(library, arguments.seed, (128, 50, 32)) and good
        again = [sys.executable, os.path.abspath(__file__), arguments.library, "--gatekern-first", "--cases", "8",
                 "--seed", str(arguments.seed + 1)]
        print("Gatekern's runtime first:", flush=True)
        good = subprocess.run(again, timeout=600).returncode == 0 and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
