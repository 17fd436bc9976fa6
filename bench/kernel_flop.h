/* SPDX-License-Identifier: Apache-2.0
 *
 * How benchmarks of kernels count. FLOP are the operations that the formulas of kernels/math/ apply to each
 * value, the same on every tier: an addition, subtraction, multiplication, division, square root, comparison,
 * minimum or maximum is 1, a fused multiply-add 2; signs, absolute values, selections, conversions and
 * integers are 0. What a call or a row of it does once, and the zeros that fill up a vector, do not count.
 * Bytes are what a call must read, by its arguments, and what it writes, each once, but not what it reads
 * back of that. */
#ifndef GATEKERN_BENCH_KERNEL_FLOP_H
#define GATEKERN_BENCH_KERNEL_FLOP_H

#include <stddef.h>

#include "shim.h"

/* Of functions: sigmoid and tanh as in kernels/math/activation.h, also where SLEEF's take their place; exp as
 * SLEEF's expf with an error of 1.0 ULP. Its log1p, in pairs of floats, is longer: it counts as exp does. */
enum { FLOP_SIGMOID = 24, FLOP_TANH = 23, FLOP_EXP = 23, FLOP_LOG1P = FLOP_EXP };

/* Results below 2^-95 that become 0 (vf_flush), or states that are no normal number: one comparison. */
enum { FLOP_FLUSH = 1 };

/* For each of `count` values so many FLOP, and so many floats read or written. */
static inline void count_values(shim_state *state, size_t count, double flop, double floats) {
  shim_flop_and_bytes(state, flop * (double)count, sizeof(float) * floats * (double)count);
}

#endif
