/* SPDX-License-Identifier: Apache-2.0
 * What random masks do to arrays: dropout, and zoneout (Krueger et al. 2016), forward above backward. The
 * masks are uniform numbers compared with a probability, so that forward and backward form them alike. */
#ifndef GK_KERNELS_MATH_MASKS_H
#define GK_KERNELS_MATH_MASKS_H

#include "kernels/math/array.h"

static void dropout(size_t count, float p, float scale, const float *uniform, const float *x, float *y) {
  GK_ARRAY_PASS(count, {
    vf kept = vf_mul(vf_flush(v_load(x + i, lanes)), vf_set(scale)); /* x may be the caller's */
    v_store(y + i, vf_zero_where(vf_lt(v_load(uniform + i, lanes), vf_set(p)), kept), lanes);
  });
}

static void zoneout(size_t count, float p, const float *uniform, const float *previous, const float *x,
                    float *y) {
  GK_ARRAY_PASS(count, {
    vm stays = vf_lt(v_load(uniform + i, lanes), vf_set(p));
    v_store(y + i, vf_select(stays, v_load(previous + i, lanes), v_load(x + i, lanes)), lanes);
  });
}

static void zoneout_mean(size_t count, float p, const float *previous, const float *x, float *y) {
  GK_ARRAY_PASS(count, {
    vf now = v_load(x + i, lanes);
    vf mean = vf_fma(vf_set(p), vf_sub(v_load(previous + i, lanes), now), now);
    v_store(y + i, vf_flush(mean), lanes);
  });
}

static void zoneout_backward(size_t count, float p, const float *uniform, const float *dy, float *d,
                             float *stayed) {
  GK_ARRAY_PASS(count, {
    vf zero = vf_set(0.0f), sum = v_load(d + i, lanes);
    if (dy)
      sum = vf_add(v_load(dy + i, lanes), sum);
    sum = vf_flush(sum); /* as cell_dh */
    vm stays = vf_lt(v_load(uniform + i, lanes), vf_set(p));
    v_store(stayed + i, vf_select(stays, sum, zero), lanes);
    v_store(d + i, vf_zero_where(stays, sum), lanes);
  });
}

#endif
