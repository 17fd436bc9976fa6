/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_CORE_RANDOM_H
#define GK_CORE_RANDOM_H

#include "kernels/kernels.h"

/* What a random number is for. The values are part of every mask and every initial weight: never
 * renumber, only append. */
enum gk_random_purpose {
  GK_RANDOM_INIT = 1,
  GK_RANDOM_DROPOUT = 2, /* of a layer's output */
  GK_RANDOM_INPUT_DROPOUT = 3,
  GK_RANDOM_RECURRENT_DROPOUT = 4,
  GK_RANDOM_WEIGHT_DROPOUT = 5,
  GK_RANDOM_ZONEOUT_H = 6,
  GK_RANDOM_ZONEOUT_C = 7,
  GK_RANDOM_TEACHER = 8, /* scheduled sampling: whose output is fed */
  GK_RANDOM_TOKEN = 9,   /* the token that is drawn */
};

/* Names one row of random numbers, whoever computes it, on which thread, in which batch. */
struct gk_random_counter {
  uint64_t seed;
  uint32_t purpose;   /* enum gk_random_purpose, < 2^24 */
  uint32_t layer;     /* or the index of a tensor */
  uint32_t direction; /* < 2^8 */
  uint64_t step;      /* the optimizer's step */
  uint64_t sample;    /* global index */
  uint32_t time;
};

/* What the first of the two applications below gives: the same for all samples, times and units. */
struct gk_random_stream {
  uint32_t key[2], salt[2];
};
struct gk_random_stream gk_random_stream_of(const struct gk_random_counter *counter);
/* A row as the kernel `uniforms` takes it. */
static inline struct gk_uniforms gk_random_row(const struct gk_random_stream *stream, uint64_t sample,
                                               uint32_t time) {
  return (struct gk_uniforms){
      .key = {stream->key[0], stream->key[1]},
      .counter = {(uint32_t)sample ^ stream->salt[0], (uint32_t)(sample >> 32) ^ stream->salt[1], time}};
}

/* u[i] = the number of unit first + i of this row, uniform in [0, 1), 24 bits. Units are below 2^34.
 *
 * Two applications of Philox4x32-10, because seven fields do not fit into one counter of 128 bits:
 *   d = philox(counter = step, layer, purpose * 256 + direction;  key = seed)       once a call
 *   r = philox(counter = sample ^ (d2, d3), time, unit / 4;       key = (d0, d1))   four units each
 * For one seed the first is a bijection of its fields, so d's 128 bits differ; two rows can only share
 * numbers if 64 bits of d agree and the other 64 differ by exactly the difference of the samples. */
void gk_random_uniforms(const struct gk_random_counter *counter, size_t first, size_t count, float *u);

/* Numbers of tensors that are not a network's, which count from 0, where one seed initialises all. */
#define GK_INIT_BRIDGE  (UINT32_C(1) << 29)
#define GK_INIT_DECODER (UINT32_C(1) << 30)
#define GK_INIT_OUTPUT  UINT32_MAX

/* Initial weights (rows, columns) from U(-bound, bound): those of rows first .. first + rows - 1 of `tensor`,
 * which tells apart those of one seed. In the pinned floating-point environment. */
void gk_random_weights(uint64_t seed, uint32_t tensor, int64_t first, int64_t rows, int64_t columns,
                       double bound, float *weights);

#endif
