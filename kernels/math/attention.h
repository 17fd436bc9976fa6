/* SPDX-License-Identifier: Apache-2.0
 * What attention and feedback need beside products: scores (dot products in the fixed tree), weighted sums
 * (in the canonical order of products), and the gradients of softmax, tanh and sigmoid from their values. */
#ifndef GK_KERNELS_MATH_ATTENTION_H
#define GK_KERNELS_MATH_ATTENTION_H

#include "kernels/math/reduction.h"

static float dot(size_t count, const float *x, const float *y) {
  struct lane_sums sum = lane_sums_start();
  GK_SUM_PASS(count, sum.lane[j] = vf_fma(v_load(x + i, lanes), v_load(y + i, lanes), sum.lane[j]););
  return tree_sum(&sum);
}

static void dots(size_t rows, size_t count, const float *x, const float *y, ptrdiff_t stride, float *out) {
  for (size_t r = 0; r < rows; r++)
    out[r] = dot(count, x, y + (ptrdiff_t)r * stride);
}

/* One block of the sum. */
static inline __attribute__((always_inline)) void weighted_block(size_t j, const size_t vectors, size_t lanes,
                                                                 size_t rows, const float *w,
                                                                 ptrdiff_t w_stride, const float *v,
                                                                 ptrdiff_t v_stride, float *sum, bool zero) {
  vf block[4];
  for (size_t q = 0; q < vectors; q++)
    block[q] = vf_set(0.0f);
  for (size_t r = 0; r < rows; r++) {
    const vf weight = vf_set(w[(ptrdiff_t)r * w_stride]);
    const float *value = v + (ptrdiff_t)r * v_stride + j;
    for (size_t q = 0; q < vectors; q++)
      block[q] = vf_fma(weight, v_load(value + q * GK_V, lanes), block[q]);
  }
  for (size_t q = 0; q < vectors; q++) {
    const vf before = zero ? vf_set(0.0f) : v_load(sum + j + q * GK_V, lanes);
    v_store(sum + j + q * GK_V, vf_add(before, block[q]), lanes);
  }
}

static void weighted_sum(size_t rows, size_t columns, const float *w, ptrdiff_t w_stride, const float *v,
                         ptrdiff_t v_stride, float *sum, bool overwrite) {
  for (size_t first = 0; first < rows || first == 0; first += GK_SUM_BLOCK) {
    const size_t count = rows - first < GK_SUM_BLOCK ? rows - first : GK_SUM_BLOCK;
    const float *weights = w + (ptrdiff_t)first * w_stride, *values = v + (ptrdiff_t)first * v_stride;
    GK_COLUMN_PASS(columns, weighted_block(j, vectors, lanes, count, weights, w_stride, values, v_stride, sum,
                                           overwrite && first == 0););
  }
}

static void softmax_backward(size_t count, const float *p, const float *dp, float *d) {
  const vf mean = vf_set(dot(count, p, dp));
  GK_ARRAY_PASS(count, {
    vf of_p = vf_mul(v_load(p + i, lanes), vf_sub(v_load(dp + i, lanes), mean));
    v_store(d + i, vf_flush(of_p), lanes);
  });
}

static void tanh_backward(size_t count, const float *y, const float *dy, float *d) {
  GK_ARRAY_PASS(count, {
    vf value = v_load(y + i, lanes), slope = vf_fnma(value, value, vf_set(1.0f));
    v_store(d + i, vf_flush(vf_mul(v_load(dy + i, lanes), slope)), lanes);
  });
}

static void sigmoid_backward(size_t count, const float *y, const float *dy, float *d) {
  GK_ARRAY_PASS(count, {
    vf value = v_load(y + i, lanes), slope = vf_mul(value, vf_sub(vf_set(1.0f), value));
    v_store(d + i, vf_flush(vf_mul(v_load(dy + i, lanes), slope)), lanes);
  });
}

#endif
