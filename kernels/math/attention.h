/* SPDX-License-Identifier: Apache-2.0
 * What attention and feedback need beside products: scores (dot products in the fixed tree), weighted sums
 * (in the canonical order of products), and the gradients of softmax, tanh and sigmoid from their values. */
#ifndef GK_KERNELS_MATH_ATTENTION_H
#define GK_KERNELS_MATH_ATTENTION_H

#include "kernels/math/reduction.h"

static float dot(size_t count, const float *x, const float *y) {
  vf sum[GK_SUM_VECTORS];
  for (int j = 0; j < GK_SUM_VECTORS; j++)
    sum[j] = vf_set(0.0f);
  size_t i = 0;
  for (; i + GK_SUM_LANES <= count; i += GK_SUM_LANES)
    for (int j = 0; j < GK_SUM_VECTORS; j++)
      sum[j] = vf_fma(vf_load(x + i + j * GK_V), vf_load(y + i + j * GK_V), sum[j]);
  for (int j = 0; j < GK_SUM_VECTORS && i < count; j++) { /* no sum is -0: fma(0, 0, s) = s */
    const size_t lanes = tail_lanes(i, count, j);
    if (lanes == 0)
      break;
    sum[j] = vf_fma(vf_load_n(x + i + j * GK_V, lanes), vf_load_n(y + i + j * GK_V, lanes), sum[j]);
  }
  return tree_sum(sum);
}

static void dots(size_t rows, size_t count, const float *x, const float *y, ptrdiff_t stride, float *out) {
  for (size_t r = 0; r < rows; r++)
    out[r] = dot(count, x, y + (ptrdiff_t)r * stride);
}

/* One vector of columns of one block of the sum. */
static inline __attribute__((always_inline)) vf weighted_block(size_t rows, const float *w,
                                                               ptrdiff_t w_stride, const float *v,
                                                               ptrdiff_t v_stride, size_t lanes) {
  vf block = vf_set(0.0f);
  for (size_t r = 0; r < rows; r++) {
    const float *value = v + (ptrdiff_t)r * v_stride;
    block = vf_fma(vf_set(w[(ptrdiff_t)r * w_stride]),
                   lanes == GK_V ? vf_load(value) : vf_load_n(value, lanes), block);
  }
  return block;
}

static void weighted_sum(size_t rows, size_t columns, const float *w, ptrdiff_t w_stride, const float *v,
                         ptrdiff_t v_stride, float *sum, bool overwrite) {
  for (size_t first = 0; first < rows || first == 0; first += GK_SUM_BLOCK) {
    const size_t count = rows - first < GK_SUM_BLOCK ? rows - first : GK_SUM_BLOCK;
    const float *weights = w + (ptrdiff_t)first * w_stride, *values = v + (ptrdiff_t)first * v_stride;
    const bool zero = overwrite && first == 0;
    size_t j = 0;
    for (; j + 4 * GK_V <= columns; j += 4 * GK_V) {
      vf block[4];
      for (int i = 0; i < 4; i++)
        block[i] = vf_set(0.0f);
      for (size_t r = 0; r < count; r++) {
        const vf weight = vf_set(weights[(ptrdiff_t)r * w_stride]);
        const float *value = values + (ptrdiff_t)r * v_stride + j;
        for (int i = 0; i < 4; i++)
          block[i] = vf_fma(weight, vf_load(value + i * GK_V), block[i]);
      }
      for (int i = 0; i < 4; i++)
        vf_store(sum + j + i * GK_V, vf_add(zero ? vf_set(0.0f) : vf_load(sum + j + i * GK_V), block[i]));
    }
    for (; j + GK_V <= columns; j += GK_V) {
      vf block = weighted_block(count, weights, w_stride, values + j, v_stride, GK_V);
      vf_store(sum + j, vf_add(zero ? vf_set(0.0f) : vf_load(sum + j), block));
    }
    if (j < columns) {
      vf block = weighted_block(count, weights, w_stride, values + j, v_stride, columns - j);
      vf_store_n(sum + j, vf_add(zero ? vf_set(0.0f) : vf_load_n(sum + j, columns - j), block), columns - j);
    }
  }
}

#define GK_ARRAY_PASS(count, expression)                                                                     \
  for (size_t i = 0; i < (count); i += GK_V) {                                                               \
    const size_t lanes = (count)-i < GK_V ? (count)-i : GK_V;                                                \
    expression;                                                                                              \
  }

static void softmax_backward(size_t count, const float *p, const float *dp, float *d) {
  const vf mean = vf_set(dot(count, p, dp));
  GK_ARRAY_PASS(count,
                vf_store_n(d + i,
                           vf_flush(vf_mul(vf_load_n(p + i, lanes), vf_sub(vf_load_n(dp + i, lanes), mean))),
                           lanes))
}

static void tanh_backward(size_t count, const float *y, const float *dy, float *d) {
  GK_ARRAY_PASS(
      count, vf value = vf_load_n(y + i, lanes); vf_store_n(
          d + i, vf_flush(vf_mul(vf_load_n(dy + i, lanes), vf_fnma(value, value, vf_set(1.0f)))), lanes))
}

static void sigmoid_backward(size_t count, const float *y, const float *dy, float *d) {
  GK_ARRAY_PASS(count, vf value = vf_load_n(y + i, lanes); vf_store_n(
                    d + i,
                    vf_flush(vf_mul(vf_load_n(dy + i, lanes), vf_mul(value, vf_sub(vf_set(1.0f), value)))),
                    lanes))
}

#endif
