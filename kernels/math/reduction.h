/* SPDX-License-Identifier: Apache-2.0
 * Reductions other than products: GK_SUM_LANES virtual lanes and a fixed tree, on every tier alike; the
 * softmax, which reduces; and sums of columns, which keep the canonical order of products. */
#ifndef GK_KERNELS_MATH_REDUCTION_H
#define GK_KERNELS_MATH_REDUCTION_H

#include <string.h>

#include "kernels/math/array.h"

#define GK_SUM_VECTORS (GK_SUM_LANES / GK_V)

/* The virtual lanes of a sum. */
struct lane_sums {
  vf lane[GK_SUM_VECTORS];
};

static inline __attribute__((always_inline)) struct lane_sums lane_sums_start(void) {
  struct lane_sums sums;
  GK_UNROLL for (int j = 0; j < GK_SUM_VECTORS; j++)
    sums.lane[j] = vf_set(0.0f);
  return sums;
}

/* Of all lanes, which are lost. Never -0: where every product is too small for a float, lanes that stand for
 * no value would make it +0 on some tiers alone. */
static inline float tree_sum(struct lane_sums *sums) {
  vf *sum = sums->lane;
  float lane[GK_V];
  for (int width = GK_SUM_VECTORS / 2; width; width /= 2)
    for (int j = 0; j < width; j++)
      sum[j] = vf_add(sum[j], sum[j + width]);
  GK_UNROLL for (int width = GK_V / 2; width; width /= 2)
    sum[0] = vf_add(sum[0], vf_from_lane(sum[0], width));
  vf_store(lane, sum[0]);
  return lane[0] + 0.0f;
}

static float sum_squares(size_t count, const float *x) {
  struct lane_sums sum = lane_sums_start();
  GK_SUM_PASS(count, {
    vf value = v_load(x + i, lanes);
    sum.lane[j] = vf_fma(value, value, sum.lane[j]);
  });
  return tree_sum(&sum);
}

/* Of x[0], which is lost. */
static inline float largest_lane(vf *x) {
  float lane[GK_V];
  GK_UNROLL for (int width = GK_V / 2; width; width /= 2)
    x[0] = vf_at_least(x[0], vf_from_lane(x[0], width));
  vf_store(lane, x[0]);
  return lane[0];
}

/* The largest value. A NaN loses every comparison, unless it is the first value, and is found by exp later.
 * The last vector is read over values that have been read before. */
static float largest(size_t count, const float *x) {
  vf best[4];
  size_t i = 0;
  for (int j = 0; j < 4; j++)
    best[j] = vf_set(x[0]);
  for (; i + 4 * GK_V <= count; i += 4 * GK_V)
    for (int j = 0; j < 4; j++)
      best[j] = vf_at_least(best[j], vf_load(x + i + j * GK_V));
  for (; i + GK_V <= count; i += GK_V)
    best[0] = vf_at_least(best[0], vf_load(x + i));
  if (i < count && count >= GK_V) {
    best[1] = vf_at_least(best[1], vf_load(x + count - GK_V));
    i = count;
  }
  for (int width = 2; width; width /= 2)
    for (int j = 0; j < width; j++)
      best[j] = vf_at_least(best[j], best[j + width]);
  float top = largest_lane(best);
  for (; i < count; i++)
    top = top < x[i] ? x[i] : top;
  return top;
}

/* p[i] = exp(scale * (x[i] - top)); returns the sum in the fixed order. p NULL: the sum alone, where the
 * caller says so by a constant. */
static inline __attribute__((always_inline)) float exponentials_kept(size_t count, float scale, float top,
                                                                     const float *x, float *p, bool keep) {
  struct lane_sums sum = lane_sums_start();
  GK_SUM_PASS(count, {
    vf e = vf_sleef_exp(vf_mul(vf_set(scale), vf_sub(v_load(x + i, lanes), vf_set(top))));
    if (keep)
      v_store(p + i, e, lanes);
    sum.lane[j] = vf_add(sum.lane[j], v_first(e, lanes));
  });
  return tree_sum(&sum);
}

static float exponentials(size_t count, float scale, float top, const float *x, float *p) {
  return exponentials_kept(count, scale, top, x, p, true);
}

static inline __attribute__((always_inline)) void scale_units(size_t count, float factor, float *x,
                                                              bool flush) {
  const vf by = vf_set(factor);
  GK_ARRAY_PASS(count, {
    const vf y = vf_mul(v_load(x + i, lanes), by);
    v_store(x + i, flush ? vf_flush(y) : y, lanes);
  });
}

static void scale_array(size_t count, float factor, float *x) { scale_units(count, factor, x, false); }

static void clamp(size_t count, float limit, float *x) {
  GK_ARRAY_PASS(count, {
    vf value = v_load(x + i, lanes);
    v_store(x + i, vf_with_sign(vf_at_most(vf_abs(value), vf_set(limit)), value), lanes);
  });
}

static void softmax(size_t count, float scale, const float *logits, float *p) {
  if (count == 0)
    return;
  float sum = exponentials(count, scale, largest(count, logits), logits, p);
  scale_array(count, 1.0f / sum, p);
}

/* Adds rows [first, end) of a, or of a times b. */
static inline __attribute__((always_inline)) void column_block(size_t j, const size_t vectors, size_t lanes,
                                                               size_t first, size_t end,
                                                               const float *const *a, const float *const *b,
                                                               float *sum, bool zero) {
  vf block[4];
  for (size_t q = 0; q < vectors; q++)
    block[q] = vf_set(0.0f);
  for (size_t row = first; row < end; row++)
    for (size_t q = 0; q < vectors; q++) {
      const vf x = v_load(a[row] + j + q * GK_V, lanes);
      block[q] = b ? vf_fma(x, v_load(b[row] + j + q * GK_V, lanes), block[q]) : vf_add(block[q], x);
    }
  for (size_t q = 0; q < vectors; q++) {
    const vf before = zero ? vf_set(0.0f) : v_load(sum + j + q * GK_V, lanes);
    v_store(sum + j + q * GK_V, vf_add(before, block[q]), lanes);
  }
}

static inline __attribute__((always_inline)) void column_sums(size_t rows, size_t columns,
                                                              const float *const *a, const float *const *b,
                                                              float *sum, bool overwrite) {
  for (size_t first = 0; first < rows || first == 0; first += GK_GRADIENT_BLOCK) {
    const size_t end = rows < first + GK_GRADIENT_BLOCK ? rows : first + GK_GRADIENT_BLOCK;
    GK_COLUMN_PASS(columns, column_block(j, vectors, lanes, first, end, a, b, sum, overwrite && first == 0););
  }
}

static void column_sum(size_t rows, size_t columns, const float *const *source, float *sum, bool overwrite) {
  column_sums(rows, columns, source, NULL, sum, overwrite);
}

static void column_dot(size_t rows, size_t columns, const float *const *a, const float *const *b, float *sum,
                       bool overwrite) {
  column_sums(rows, columns, a, b, sum, overwrite);
}

/* A row's index travels through the selects as the bits of a float. */
static inline vf row_bits(int32_t row) {
  float bits;
  memcpy(&bits, &row, sizeof bits);
  return vf_set(bits);
}

static inline __attribute__((always_inline)) void
column_max_block(size_t j, const size_t vectors, size_t lanes, size_t rows, const float *const *source,
                 int32_t first_row, float *best, int32_t *row, bool overwrite) {
  vf top[4], at[4];
  float bits[GK_V] = {0};
  for (size_t q = 0; q < vectors; q++) {
    top[q] = v_load((overwrite ? source[0] : best) + j + q * GK_V, lanes);
    if (!overwrite)
      memcpy(bits, row + j + q * GK_V, lanes * sizeof *row);
    at[q] = overwrite ? row_bits(first_row) : vf_load(bits);
  }
  for (size_t r = overwrite; r < rows; r++)
    for (size_t q = 0; q < vectors; q++) {
      const vf x = v_load(source[r] + j + q * GK_V, lanes);
      const vm stays = vf_ge(top[q], x), number = vf_ge(top[q], top[q]);
      at[q] = vf_select(number, vf_select(stays, at[q], row_bits(first_row + (int32_t)r)), at[q]);
      top[q] = vf_select(number, vf_select(stays, top[q], x), top[q]);
    }
  for (size_t q = 0; q < vectors; q++) {
    v_store(best + j + q * GK_V, top[q], lanes);
    v_store(bits, at[q], lanes);
    memcpy(row + j + q * GK_V, bits, lanes * sizeof *row);
  }
}

static void column_max(size_t rows, size_t columns, const float *const *source, int32_t first_row,
                       float *best, int32_t *row, bool overwrite) {
  GK_COLUMN_PASS(columns,
                 column_max_block(j, vectors, lanes, rows, source, first_row, best, row, overwrite););
}

static void add_array(size_t count, const float *x, float *y) {
  GK_ARRAY_PASS(count, v_store(y + i, vf_add(v_load(y + i, lanes), v_load(x + i, lanes)), lanes););
}

static void flush_array(size_t count, const float *x, float *y) {
  GK_ARRAY_PASS(count, v_store(y + i, vf_flush(v_load(x + i, lanes)), lanes););
}

/* The larger of `most` and |x|, of those values that vf_flush drops; a NaN is none. */
static inline vf largest_flushed(vf most, vf x) {
  const vf size = vf_abs(x);
  return vf_at_least(most, vf_zero_where(vf_ge(size, vf_set(0x1p-95f)), size));
}

static bool needs_flush(size_t count, const float *x) {
  vf most[2] = {vf_set(0.0f), vf_set(0.0f)};
  size_t i = 0;
  for (; i + 2 * GK_V <= count; i += 2 * GK_V) {
    most[0] = largest_flushed(most[0], vf_load(x + i));
    most[1] = largest_flushed(most[1], vf_load(x + i + GK_V));
  }
  for (; i + GK_V <= count; i += GK_V)
    most[0] = largest_flushed(most[0], vf_load(x + i));
  if (i < count)
    most[1] = largest_flushed(most[1], vf_load_n(x + i, count - i));
  most[0] = vf_at_least(most[0], most[1]);
  return largest_lane(most) > 0;
}

#endif
