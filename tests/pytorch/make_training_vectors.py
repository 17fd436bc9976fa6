# SPDX-License-Identifier: Apache-2.0
"""Writes training_vectors.bin: what PyTorch float64 makes of losses, optimizers, learning rates and clipping.

The file is doubles alone, little-endian. A case starts with its kind:
    0 loss       kind (gk_loss_kind), rows, columns, seed, smoothing, positive weight, delta, weighted, then the
                 loss (summed) and its gradient
    1 optimizer  kind (gk_optimizer_kind), count, steps, seed, rate, momentum, weight decay, rate decay, nesterov,
                 then the parameters
    2 rate       decay (gk_decay), steps, rate, minimum, warmup, period, factor, patience, threshold, measured
                 every, seed, then the rate of each step
    3 clip       by value or by the norm of each of two halves, count, limit, seed, then the gradients
-1 ends it. Inputs are those of tests/random_values.h.
"""

import os
import sys

import numpy as np
import torch

from networks import random_floats, random_integers

torch.set_default_dtype(torch.float64)
SOFTMAX, BINARY, SQUARED, HUBER = range(4)
SGD, RMSPROP, ADAM, ADAGRAD, ADAMW = range(5)
CONSTANT, COSINE, STEP, PLATEAU = range(4)


def fp32(value):
    return float(np.float32(value))


def loss(kind, rows, columns, seed, smoothing=0, positive=1, delta=1, weighted=False):
    smoothing, positive, delta = fp32(smoothing), fp32(positive), fp32(delta)
    x = torch.tensor(random_floats(seed * 16, 3, (rows, columns))).double().requires_grad_()
    values = torch.tensor(random_floats(seed * 16 + 1, 0.5, (rows, columns))).double() + 0.5
    targets = torch.tensor(random_integers(seed * 16 + 2, columns, (rows,)))
    weights = torch.ones(rows)
    if weighted:  # a row in four is padding
        weights = torch.tensor([0.0 if r % 4 == 3 else 0.5 + r % 3 for r in range(rows)])
    if kind == SOFTMAX:
        ignored = torch.where(weights == 0, -100, targets)
        each = torch.nn.CrossEntropyLoss(reduction="none", label_smoothing=smoothing, ignore_index=-100)(x, ignored)
    elif kind == BINARY:
        each = torch.nn.BCEWithLogitsLoss(reduction="none", pos_weight=torch.tensor(positive))(x, values).sum(1)
    elif kind == SQUARED:
        each = torch.nn.MSELoss(reduction="none")(x, values).sum(1)
    else:
        each = torch.nn.HuberLoss(reduction="none", delta=delta)(x, values).sum(1)
    total = (each * weights).sum()
    total.backward()
    return [0, kind, rows, columns, seed, smoothing, positive, delta, weighted, total.item(), *x.grad.flatten().tolist()]


def optimizer(kind, seed, momentum=0, decay=0, rate_decay=0, nesterov=False, count=37, steps=12, rate=0.01):
    momentum, decay, rate_decay = fp32(momentum), fp32(decay), fp32(rate_decay)
    p = torch.nn.Parameter(torch.tensor(random_floats(seed * 16, 1, (count,))).double())
    made = {
        SGD: lambda: torch.optim.SGD([p], lr=rate, momentum=momentum, weight_decay=decay, nesterov=nesterov),
        RMSPROP: lambda: torch.optim.RMSprop([p], lr=rate, weight_decay=decay, eps=fp32(1e-8), alpha=fp32(0.99)),
        ADAM: lambda: torch.optim.Adam([p], lr=rate, weight_decay=decay, eps=fp32(1e-8), betas=(fp32(0.9), fp32(0.999))),
        ADAGRAD: lambda: torch.optim.Adagrad([p], lr=rate, lr_decay=rate_decay, weight_decay=decay, eps=fp32(1e-10)),
        ADAMW: lambda: torch.optim.AdamW([p], lr=rate, weight_decay=decay, eps=fp32(1e-8), betas=(fp32(0.9), fp32(0.999))),
    }[kind]()
    for step in range(steps):
        p.grad = torch.tensor(random_floats(seed * 16 + 1 + step, 0.1, (count,))).double()
        made.step()
    return [1, kind, count, steps, seed, rate, momentum, decay, rate_decay, nesterov, *p.detach().tolist()]


def measured_loss(seed, index):
    """Falls, then stands still with noise."""
    return max(1.0, 3.0 - 0.4 * index) + 0.01 * float(random_floats(seed, 1, (index + 1,))[index])


def rate(decay, steps, base, minimum=0, warmup=0, period=1, factor=1, patience=0, threshold=1e-4, every=0, seed=0):
    p = torch.nn.Parameter(torch.zeros(1))
    made = torch.optim.SGD([p], lr=base)
    plateau = None
    if decay == CONSTANT:
        after = torch.optim.lr_scheduler.LambdaLR(made, lambda _: 1.0)
    elif decay == COSINE:
        after = torch.optim.lr_scheduler.CosineAnnealingLR(made, steps - warmup, minimum)
    elif decay == STEP:
        after = torch.optim.lr_scheduler.StepLR(made, period, factor)
    else:
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(made, factor=factor, patience=patience,
                                                             threshold=threshold, min_lr=minimum, eps=0)
    schedule = None if plateau else after
    if warmup:
        first = torch.optim.lr_scheduler.LinearLR(made, 1 / warmup, total_iters=warmup - 1)
        schedule = torch.optim.lr_scheduler.SequentialLR(made, [first, after], [warmup])
    rates, count = [], 0
    for step in range(1, steps + 1):
        rates.append(made.param_groups[0]["lr"])
        p.grad = torch.zeros(1)
        made.step()
        if plateau and step % every == 0:
            plateau.step(measured_loss(seed, count))
            count += 1
        elif schedule:
            schedule.step()
    return [2, decay, steps, base, minimum, warmup, period, factor, patience, threshold, every, seed, *rates]


def clip(by_norm, count, limit, seed):
    limit = fp32(limit)
    halves = [torch.nn.Parameter(torch.zeros(count // 2)) for _ in range(2)]
    values = torch.tensor(random_floats(seed, 1, (count,))).double()
    values[count // 2:] *= 0.125
    for half, grad in zip(halves, values.split(count // 2)):
        half.grad = grad.clone()
        if by_norm:
            torch.nn.utils.clip_grad_norm_([half], limit)
    if not by_norm:
        torch.nn.utils.clip_grad_value_(halves, limit)
    return [3, by_norm, count, limit, seed, *torch.cat([half.grad for half in halves]).tolist()]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "training_vectors.bin")
    cases = [loss(kind, 9, columns, 600 + 10 * kind + columns) for kind in range(4) for columns in (2, 11)]
    cases += [loss(SOFTMAX, 9, 11, 651, smoothing=0.1, weighted=True), loss(SOFTMAX, 5, 4, 652, smoothing=1),
              loss(BINARY, 9, 6, 653, positive=3.5, weighted=True), loss(SQUARED, 9, 6, 654, weighted=True),
              loss(HUBER, 9, 6, 655, delta=0.3, weighted=True)]
    cases += [optimizer(SGD, 661), optimizer(SGD, 662, momentum=0.9, decay=0.01),
              optimizer(SGD, 663, momentum=0.9, decay=0.01, nesterov=True), optimizer(RMSPROP, 664, decay=0.01),
              optimizer(ADAM, 665, decay=0.01), optimizer(ADAGRAD, 666), optimizer(ADAGRAD, 667, decay=0.01, rate_decay=0.1),
              optimizer(ADAMW, 668), optimizer(ADAMW, 669, decay=0.1)]
    cases += [rate(CONSTANT, 20, 0.1), rate(CONSTANT, 20, 0.1, warmup=7), rate(COSINE, 40, 0.1, 0.02),
              rate(COSINE, 40, 0.1, 0.02, warmup=10), rate(STEP, 40, 0.1, period=7, factor=0.3),
              rate(STEP, 40, 0.1, warmup=5, period=7, factor=0.3),
              rate(PLATEAU, 60, 0.1, 0.004, factor=0.5, patience=2, every=2, seed=670),
              rate(PLATEAU, 60, 0.1, 0, factor=0.1, patience=0, threshold=0.01, every=3, seed=671)]
    cases += [clip(False, 40, 0.3, 681), clip(True, 40, 0.9, 682), clip(True, 40, 100, 683)]
    values = np.array([value for case in cases for value in case] + [-1], dtype="<f8")
    values.tofile(path)
    print(f"{path}: {len(cases)} cases, {values.nbytes} bytes, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
