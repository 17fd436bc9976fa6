/* SPDX-License-Identifier: Apache-2.0
 * Losses of one row, each fused with its gradient: formulas of torch.nn.CrossEntropyLoss, BCEWithLogitsLoss,
 * MSELoss and HuberLoss. Sums take GK_SUM_LANES virtual lanes and the fixed tree. */
#ifndef GK_KERNELS_MATH_LOSS_H
#define GK_KERNELS_MATH_LOSS_H

#include "kernels/math/activation.h"
#include "kernels/math/reduction.h"

/* ---- Softmax cross-entropy ---- */

static float sum_shifted(size_t count, float top, const float *x) {
  struct lane_sums sum = lane_sums_start();
  GK_SUM_PASS(count, {
    vf shifted = vf_sub(v_load(x + i, lanes), vf_set(top));
    sum.lane[j] = vf_add(sum.lane[j], v_first(shifted, lanes));
  });
  return tree_sum(&sum);
}

static void shift_array(size_t count, float down, float *x) {
  GK_ARRAY_PASS(count, v_store(x + i, vf_sub(v_load(x + i, lanes), vf_set(down)), lanes););
}

/* Flushed: of many classes some have no probability to speak of. */
static void scale_flushed(size_t count, float factor, float *x) { scale_units(count, factor, x, true); }

static float softmax_loss(const struct gk_loss_row *row) {
  float top = largest(row->count, row->x), lane[GK_V];
  float shifted = row->x[row->target] - top;
  /* The mean of -log p over all classes has the share `smoothing` of the loss; its gradient is -1/V each. */
  float uniform = row->smoothing / (float)row->count;
  float spread = row->smoothing != 0 ? uniform * sum_shifted(row->count, top, row->x) : 0.0f;
  float sum = row->dx ? exponentials_kept(row->count, 1.0f, top, row->x, row->dx, true)
                      : exponentials_kept(row->count, 1.0f, top, row->x, NULL, false);
  vf_store(lane, vf_sleef_log(vf_set(sum)));
  if (row->dx) {
    scale_flushed(row->count, row->scale / sum, row->dx);
    row->dx[row->target] -= row->scale * (1.0f - row->smoothing);
    if (row->smoothing != 0)
      shift_array(row->count, row->scale * uniform, row->dx);
  }
  return row->smoothing != 0 ? lane[0] - (1.0f - row->smoothing) * shifted - spread : lane[0] - shifted;
}

/* ---- Losses of one value each ---- */

/* The loss of one vector; *gradient is its derivative by x, not yet scaled. */

/* (1 - y) softplus(x) + positive_weight y softplus(-x), softplus(x) = max(x, 0) + log(1 + exp(-|x|)): no term
 * is negative for y in 0..1, so that nothing cancels. */
static inline __attribute__((always_inline)) vf binary_units(const struct gk_loss_row *row, vf x, vf y,
                                                             vf *gradient) {
  const vf zero = vf_set(0.0f), one = vf_set(1.0f);
  vf negative = vf_sub(one, y), positive = vf_mul(vf_set(row->positive_weight), y);
  vf minus = vf_sub(zero, x);
  vf tail = vf_sleef_log1p(vf_sleef_exp(vf_sub(zero, vf_abs(x))));
  *gradient = vf_sub(vf_mul(negative, v_sigmoid(x)), vf_mul(positive, v_sigmoid(minus)));
  vf up = vf_mul(negative, vf_add(vf_at_least(x, zero), tail));
  return vf_add(up, vf_mul(positive, vf_add(vf_at_least(minus, zero), tail)));
}

static inline __attribute__((always_inline)) vf squared_units(const struct gk_loss_row *row, vf x, vf y,
                                                              vf *gradient) {
  (void)row;
  vf difference = vf_sub(x, y);
  *gradient = vf_mul(vf_set(2.0f), difference);
  return vf_mul(difference, difference);
}

/* d^2 / 2 up to delta, from there on the tangent: m (|d| - m / 2) with m = min(|d|, delta). */
static inline __attribute__((always_inline)) vf huber_units(const struct gk_loss_row *row, vf x, vf y,
                                                            vf *gradient) {
  vf difference = vf_sub(x, y), distance = vf_abs(difference);
  vf near = vf_at_most(distance, vf_set(row->delta));
  *gradient = vf_with_sign(near, difference);
  return vf_mul(near, vf_fnma(vf_set(0.5f), near, distance));
}

/* The copy: as in cell.h. */
#define GK_LOSS_KERNEL(name)                                                                                 \
  static float name##_loss(const struct gk_loss_row *given) {                                                \
    const struct gk_loss_row row_copy = *given, *row = &row_copy;                                            \
    struct lane_sums sum = lane_sums_start();                                                                \
    vf gradient;                                                                                             \
    GK_SUM_PASS(row->count, {                                                                                \
      vf loss = name##_units(row, v_load(row->x + i, lanes), v_load(row->values + i, lanes), &gradient);     \
      sum.lane[j] = vf_add(sum.lane[j], v_first(loss, lanes));                                               \
      if (row->dx)                                                                                           \
        v_store(row->dx + i, vf_flush(vf_mul(vf_set(row->scale), gradient)), lanes);                         \
    });                                                                                                      \
    return tree_sum(&sum);                                                                                   \
  }
GK_LOSS_KERNEL(binary)
GK_LOSS_KERNEL(squared)
GK_LOSS_KERNEL(huber)

#endif
