/* SPDX-License-Identifier: Apache-2.0
 * What random masks do to arrays: dropout, and zoneout (Krueger et al. 2016), forward above backward. The
 * masks are uniform numbers compared with a probability, so that forward and backward form them alike. */
#ifndef GK_KERNELS_MATH_MASKS_H
#define GK_KERNELS_MATH_MASKS_H

#include "kernels/math/cell.h"

#define GK_MASK_UNITS static inline __attribute__((always_inline)) void
#define GK_MASK_PASS(units, count, ...)                                                                      \
  do {                                                                                                       \
    size_t i = 0;                                                                                            \
    for (; i + GK_V <= (count); i += GK_V)                                                                   \
      units(i, GK_V, __VA_ARGS__);                                                                           \
    if (i < (count))                                                                                         \
      units(i, (count)-i, __VA_ARGS__);                                                                      \
  } while (0)

GK_MASK_UNITS dropout_units(size_t i, size_t lanes, float p, float scale, const float *uniform,
                            const float *x, float *y) {
  vf kept = vf_mul(vf_flush(cell_load(x + i, lanes)), vf_set(scale)); /* x may be the caller's */
  cell_store(y + i, vf_zero_where(vf_lt(cell_load(uniform + i, lanes), vf_set(p)), kept), lanes);
}
static void dropout(size_t count, float p, float scale, const float *uniform, const float *x, float *y) {
  GK_MASK_PASS(dropout_units, count, p, scale, uniform, x, y);
}

GK_MASK_UNITS zoneout_units(size_t i, size_t lanes, float p, const float *uniform, const float *previous,
                            const float *x, float *y) {
  vm stays = vf_lt(cell_load(uniform + i, lanes), vf_set(p));
  cell_store(y + i, vf_select(stays, cell_load(previous + i, lanes), cell_load(x + i, lanes)), lanes);
}
static void zoneout(size_t count, float p, const float *uniform, const float *previous, const float *x,
                    float *y) {
  GK_MASK_PASS(zoneout_units, count, p, uniform, previous, x, y);
}

GK_MASK_UNITS zoneout_mean_units(size_t i, size_t lanes, float p, const float *previous, const float *x,
                                 float *y) {
  vf now = cell_load(x + i, lanes);
  vf mean = vf_fma(vf_set(p), vf_sub(cell_load(previous + i, lanes), now), now);
  cell_store(y + i, vf_flush(mean), lanes);
}
static void zoneout_mean(size_t count, float p, const float *previous, const float *x, float *y) {
  GK_MASK_PASS(zoneout_mean_units, count, p, previous, x, y);
}

GK_MASK_UNITS zoneout_backward_units(size_t i, size_t lanes, float p, const float *uniform, const float *dy,
                                     float *d, float *stayed) {
  vf zero = vf_set(0.0f), sum = cell_load(d + i, lanes);
  if (dy)
    sum = vf_add(cell_load(dy + i, lanes), sum);
  sum = vf_flush(sum); /* as cell_dh */
  vm stays = vf_lt(cell_load(uniform + i, lanes), vf_set(p));
  cell_store(stayed + i, vf_select(stays, sum, zero), lanes);
  cell_store(d + i, vf_zero_where(stays, sum), lanes);
}
static void zoneout_backward(size_t count, float p, const float *uniform, const float *dy, float *d,
                             float *stayed) {
  GK_MASK_PASS(zoneout_backward_units, count, p, uniform, dy, d, stayed);
}

#endif
