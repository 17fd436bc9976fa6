/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent networks in plain C: loops that any programmer would write, with Gatekern's order of sums and
 * its formulas, left to the compiler. plain_c.c is compiled once for AVX2 and once for AVX-512: the
 * difference to Gatekern's tiers is what hand-written tiles, packing and fusion buy. */
#ifndef GATEKERN_BENCH_PLAIN_C_H
#define GATEKERN_BENCH_PLAIN_C_H

#include "runner.h"

/* Shapes as in gk_rnn_forward_args and gk_rnn_backward_args, one direction, time-major. NULL are c0, cn, dcn
 * and dc0 of cells without memory, and what only a step reads or writes in other passes. hn may be h0, and cn
 * c0: of one time step, that is a stream's. */
struct plain_c_network {
  gk_cell cell;
  bench_pass pass;
  size_t input, hidden, layers, batch, time;
  int threads;
  const float *parameters, *x, *h0, *c0, *dy, *dhn, *dcn;
  float *y, *hn, *cn, *dx, *dh0, *dc0, *gradients;
  float *scratch; /* plain_c_scratch_... floats */
};

/* 0: it does not know the cell. */
typedef size_t plain_c_scratch(const struct plain_c_network *network);
plain_c_scratch plain_c_scratch_avx2, plain_c_scratch_avx512;

/* Transposes the weights into the scratch, which a step does itself and other passes read. */
typedef void plain_c_pack(const struct plain_c_network *network);
plain_c_pack plain_c_pack_avx2, plain_c_pack_avx512;

/* The pass: a step is forward and backward with all gradients, a stream's is an inference. */
typedef void plain_c_run(const struct plain_c_network *network);
plain_c_run plain_c_run_avx2, plain_c_run_avx512;

/* layer/LIST/SHAPE/plain-c-TIER/PASS: every named shape. */
void register_plain_c_benchmarks(void);
void plain_c_benchmarks_end(void);

#endif
