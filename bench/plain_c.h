/* SPDX-License-Identifier: Apache-2.0 */
/* One recurrent layer in plain C: loops that any programmer would write, with Gatekern's order of sums and
 * its formulas, left to the compiler. plain_c.c is compiled once for AVX2 and once for AVX-512: the
 * difference to Gatekern's tiers is what hand-written tiles, packing and fusion buy. */
#ifndef GATEKERN_BENCH_PLAIN_C_H
#define GATEKERN_BENCH_PLAIN_C_H

#include <gatekern.h>

/* Shapes as in gk_rnn_forward_args and gk_rnn_backward_args, one layer, time-major; nothing is NULL but c0,
 * cn, dcn, dc0 of cells without memory. */
struct plain_c_layer {
  gk_cell cell;
  size_t input, hidden, batch, time;
  int threads;
  const float *parameters, *x, *h0, *c0, *dy, *dhn, *dcn;
  float *y, *hn, *cn, *dx, *dh0, *dc0, *gradients;
  float *scratch; /* plain_c_scratch_... floats */
};

/* 0: it does not know the cell. */
typedef size_t plain_c_scratch(const struct plain_c_layer *layer);
plain_c_scratch plain_c_scratch_avx2, plain_c_scratch_avx512;

/* Forward and backward with all gradients. */
typedef void plain_c_step(const struct plain_c_layer *layer);
plain_c_step plain_c_step_avx2, plain_c_step_avx512;

/* layer/LIST/SHAPE/plain-c-TIER/step: every named shape of one layer. */
void register_plain_c_benchmarks(void);

#endif
