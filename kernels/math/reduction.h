/* SPDX-License-Identifier: Apache-2.0
 * Reductions other than products: GK_SUM_LANES virtual lanes and a fixed tree, on every tier alike; the
 * softmax, which reduces; and sums of columns, which keep the canonical order of products. */
#ifndef GK_KERNELS_MATH_REDUCTION_H
#define GK_KERNELS_MATH_REDUCTION_H

#include <string.h>

#define GK_SUM_VECTORS (GK_SUM_LANES / GK_V)

static inline float tree_sum(vf *sum) {
  float lane[GK_V];
  for (int width = GK_SUM_VECTORS / 2; width; width /= 2)
    for (int j = 0; j < width; j++)
      sum[j] = vf_add(sum[j], sum[j + width]);
  GK_UNROLL for (int width = GK_V / 2; width; width /= 2)
    sum[0] = vf_add(sum[0], vf_from_lane(sum[0], width));
  vf_store(lane, sum[0]);
  return lane[0];
}

/* The k-th vector of the tail of a row of `count` values that starts at `i`: how many lanes it has. */
static inline size_t tail_lanes(size_t i, size_t count, int vector) {
  size_t first = i + (size_t)vector * GK_V;
  return first >= count ? 0 : count - first < GK_V ? count - first : GK_V;
}

static float sum_squares(size_t count, const float *x) {
  vf sum[GK_SUM_VECTORS];
  for (int j = 0; j < GK_SUM_VECTORS; j++)
    sum[j] = vf_set(0.0f);
  size_t i = 0;
  for (; i + GK_SUM_LANES <= count; i += GK_SUM_LANES)
    for (int j = 0; j < GK_SUM_VECTORS; j++) {
      vf value = vf_load(x + i + j * GK_V);
      sum[j] = vf_fma(value, value, sum[j]);
    }
  for (int j = 0; j < GK_SUM_VECTORS && i < count; j++) { /* fma(0, 0, s) = s for s >= 0 */
    vf value = vf_load_n(x + i + j * GK_V, tail_lanes(i, count, j));
    sum[j] = vf_fma(value, value, sum[j]);
  }
  return tree_sum(sum);
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
  vf sum[GK_SUM_VECTORS];
  for (int j = 0; j < GK_SUM_VECTORS; j++)
    sum[j] = vf_set(0.0f);
  size_t i = 0;
  for (; i + GK_SUM_LANES <= count; i += GK_SUM_LANES)
    for (int j = 0; j < GK_SUM_VECTORS; j++) {
      vf e = vf_sleef_exp(vf_mul(vf_set(scale), vf_sub(vf_load(x + i + j * GK_V), vf_set(top))));
      if (keep)
        vf_store(p + i + j * GK_V, e);
      sum[j] = vf_add(sum[j], e);
    }
  for (int j = 0; j < GK_SUM_VECTORS && i < count; j++) {
    size_t lanes = tail_lanes(i, count, j);
    if (lanes == 0)
      break;
    vf value = vf_load_n(x + i + j * GK_V, lanes);
    vf e = vf_sleef_exp(vf_mul(vf_set(scale), vf_sub(value, vf_set(top))));
    if (keep)
      vf_store_n(p + i + j * GK_V, e, lanes);
    sum[j] = vf_add(sum[j], vf_first(e, lanes));
  }
  return tree_sum(sum);
}

static float exponentials(size_t count, float scale, float top, const float *x, float *p) {
  return exponentials_kept(count, scale, top, x, p, true);
}

static inline __attribute__((always_inline)) void scale_units(size_t count, float factor, float *x,
                                                              bool flush) {
  const vf by = vf_set(factor);
  size_t i = 0;
  for (; i + GK_V <= count; i += GK_V) {
    const vf y = vf_mul(vf_load(x + i), by);
    vf_store(x + i, flush ? vf_flush(y) : y);
  }
  if (i < count) {
    const vf y = vf_mul(vf_load_n(x + i, count - i), by);
    vf_store_n(x + i, flush ? vf_flush(y) : y, count - i);
  }
}

static void scale_array(size_t count, float factor, float *x) { scale_units(count, factor, x, false); }

static void clamp(size_t count, float limit, float *x) {
  for (size_t i = 0; i < count; i += GK_V) {
    size_t lanes = count - i < GK_V ? count - i : GK_V;
    vf value = vf_load_n(x + i, lanes);
    vf_store_n(x + i, vf_with_sign(vf_at_most(vf_abs(value), vf_set(limit)), value), lanes);
  }
}

static void softmax(size_t count, float scale, const float *logits, float *p) {
  if (count == 0)
    return;
  float sum = exponentials(count, scale, largest(count, logits), logits, p);
  scale_array(count, 1.0f / sum, p);
}

static void column_sum(size_t rows, size_t columns, const float *const *source, float *sum, bool overwrite) {
  for (size_t first = 0; first < rows || first == 0; first += GK_GRADIENT_BLOCK) {
    size_t end = rows < first + GK_GRADIENT_BLOCK ? rows : first + GK_GRADIENT_BLOCK;
    for (size_t j = 0; j < columns;) {
      if (j + 4 * GK_V <= columns) {
        vf block[4];
        for (int i = 0; i < 4; i++)
          block[i] = vf_set(0.0f);
        for (size_t row = first; row < end; row++)
          for (int i = 0; i < 4; i++)
            block[i] = vf_add(block[i], vf_load(source[row] + j + i * GK_V));
        for (int i = 0; i < 4; i++) {
          vf before = overwrite && first == 0 ? vf_set(0.0f) : vf_load(sum + j + i * GK_V);
          vf_store(sum + j + i * GK_V, vf_add(before, block[i]));
        }
        j += 4 * GK_V;
      } else {
        size_t lanes = columns - j < GK_V ? columns - j : GK_V;
        vf block = vf_set(0.0f);
        for (size_t row = first; row < end; row++)
          block = vf_add(block, vf_load_n(source[row] + j, lanes));
        vf before = overwrite && first == 0 ? vf_set(0.0f) : vf_load_n(sum + j, lanes);
        vf_store_n(sum + j, vf_add(before, block), lanes);
        j += lanes;
      }
    }
  }
}

static void column_dot(size_t rows, size_t columns, const float *const *a, const float *const *b, float *sum,
                       bool overwrite) {
  for (size_t first = 0; first < rows || first == 0; first += GK_GRADIENT_BLOCK) {
    size_t end = rows < first + GK_GRADIENT_BLOCK ? rows : first + GK_GRADIENT_BLOCK;
    for (size_t j = 0; j < columns;) {
      size_t lanes = columns - j < GK_V ? columns - j : GK_V;
      vf block = vf_set(0.0f);
      for (size_t row = first; row < end; row++)
        block = vf_fma(vf_load_n(a[row] + j, lanes), vf_load_n(b[row] + j, lanes), block);
      vf before = overwrite && first == 0 ? vf_set(0.0f) : vf_load_n(sum + j, lanes);
      vf_store_n(sum + j, vf_add(before, block), lanes);
      j += lanes;
    }
  }
}

/* A row's index travels through the selects as the bits of a float. */
static inline vf row_bits(int32_t row) {
  float bits;
  memcpy(&bits, &row, sizeof bits);
  return vf_set(bits);
}

static inline __attribute__((always_inline)) void column_max_units(size_t j, size_t lanes, size_t rows,
                                                                   const float *const *source,
                                                                   int32_t first_row, float *best, float *row,
                                                                   bool overwrite) {
  vf top = vf_load_n(overwrite ? source[0] + j : best + j, lanes);
  vf at = overwrite ? row_bits(first_row) : vf_load_n(row + j, lanes);
  for (size_t r = overwrite; r < rows; r++) {
    vf x = vf_load_n(source[r] + j, lanes);
    vm stays = vf_ge(top, x), number = vf_ge(top, top);
    at = vf_select(number, vf_select(stays, at, row_bits(first_row + (int32_t)r)), at);
    top = vf_select(number, vf_select(stays, top, x), top);
  }
  vf_store_n(best + j, top, lanes);
  vf_store_n(row + j, at, lanes);
}

static void column_max(size_t rows, size_t columns, const float *const *source, int32_t first_row,
                       float *best, int32_t *row, bool overwrite) {
  for (size_t j = 0; j < columns; j += GK_V) {
    const size_t lanes = columns - j < GK_V ? columns - j : GK_V;
    column_max_units(j, lanes, rows, source, first_row, best, (float *)row, overwrite);
  }
}

static void add_array(size_t count, const float *x, float *y) {
  size_t i = 0;
  for (; i + GK_V <= count; i += GK_V)
    vf_store(y + i, vf_add(vf_load(y + i), vf_load(x + i)));
  if (i < count) {
    size_t lanes = count - i;
    vf_store_n(y + i, vf_add(vf_load_n(y + i, lanes), vf_load_n(x + i, lanes)), lanes);
  }
}

static void flush_array(size_t count, const float *x, float *y) {
  size_t i = 0;
  for (; i + GK_V <= count; i += GK_V)
    vf_store(y + i, vf_flush(vf_load(x + i)));
  if (i < count)
    vf_store_n(y + i, vf_flush(vf_load_n(x + i, count - i)), count - i);
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
