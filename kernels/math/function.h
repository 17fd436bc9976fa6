/* SPDX-License-Identifier: Apache-2.0
 * Every function of enum gk_activation and its derivative, for the general kernels of cells. NaN stays NaN.
 * exp and log are SLEEF's deterministic ones, of what is near 0 or 1 its expm1 and log1p: nothing cancels. */
#ifndef GK_KERNELS_MATH_FUNCTION_H
#define GK_KERNELS_MATH_FUNCTION_H

#include "kernels/math/activation.h"

/* log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)) */
static inline vf v_softplus(vf x) {
  vf e = vf_sleef_exp(vf_sub(vf_set(0.0f), vf_abs(x)));
  return vf_add(vf_at_least(x, vf_set(0.0f)), vf_sleef_log1p(e));
}

/* Large x are cut where 1 + |x| rounds to |x|: infinities would give NaN. */
static inline vf v_softsign(vf x) {
  x = vf_at_most(vf_at_least(x, vf_set(-0x1p60f)), vf_set(0x1p60f));
  return vf_div(x, vf_add(vf_abs(x), vf_set(1.0f)));
}

static __attribute__((noinline)) vf v_function(const struct gk_activation_function *function, vf x) {
  const vf zero = vf_set(0.0f), one = vf_set(1.0f), alpha = vf_set(function->alpha),
           beta = vf_set(function->beta);
  switch (function->kind) {
  case GK_ACTIVATION_RELU:
    return vf_at_least(x, zero);
  case GK_ACTIVATION_SIGMOID:
    return v_sigmoid(x);
  case GK_ACTIVATION_AFFINE:
    return vf_fma(alpha, x, beta);
  case GK_ACTIVATION_LEAKY_RELU:
    return vf_select(vf_lt(x, zero), vf_mul(alpha, x), x);
  case GK_ACTIVATION_THRESHOLDED_RELU:
    return vf_zero_where(vf_lt(x, alpha), x);
  case GK_ACTIVATION_SCALED_TANH:
    return vf_mul(alpha, v_tanh(vf_mul(beta, x)));
  case GK_ACTIVATION_HARD_SIGMOID:
    return vf_at_most(vf_at_least(vf_fma(alpha, x, beta), zero), one);
  case GK_ACTIVATION_ELU:
    return vf_select(vf_lt(x, zero), vf_mul(alpha, vf_sleef_expm1(x)), x);
  case GK_ACTIVATION_SOFTSIGN:
    return v_softsign(x);
  case GK_ACTIVATION_SOFTPLUS:
    return v_softplus(x);
  case GK_ACTIVATION_IDENTITY:
    return x;
  default:
    return v_tanh(x);
  }
}

/* At x, where the function is y; 0 at the kinks from the left. */
static __attribute__((noinline)) vf v_function_slope(const struct gk_activation_function *function, vf x,
                                                     vf y) {
  const vf zero = vf_set(0.0f), one = vf_set(1.0f), alpha = vf_set(function->alpha),
           beta = vf_set(function->beta);
  vf t;
  switch (function->kind) {
  case GK_ACTIVATION_RELU:
    return vf_zero_where(vf_ge(zero, x), one);
  case GK_ACTIVATION_SIGMOID:
    return vf_mul(y, vf_sub(one, y));
  case GK_ACTIVATION_AFFINE:
    return alpha;
  case GK_ACTIVATION_LEAKY_RELU:
    return vf_select(vf_lt(x, zero), alpha, one);
  case GK_ACTIVATION_THRESHOLDED_RELU:
    return vf_zero_where(vf_lt(x, alpha), one);
  case GK_ACTIVATION_SCALED_TANH:
    t = v_tanh(vf_mul(beta, x));
    return vf_mul(vf_mul(alpha, beta), vf_fnma(t, t, one));
  case GK_ACTIVATION_HARD_SIGMOID:
    t = vf_fma(alpha, x, beta);
    return vf_zero_where(vf_ge(t, one), vf_zero_where(vf_ge(zero, t), alpha));
  case GK_ACTIVATION_ELU:
    return vf_select(vf_lt(x, zero), vf_mul(alpha, vf_sleef_exp(x)), one);
  case GK_ACTIVATION_SOFTSIGN:
    t = vf_div(one, vf_add(vf_abs(x), one));
    return vf_mul(t, t);
  case GK_ACTIVATION_SOFTPLUS:
    return v_sigmoid(x);
  case GK_ACTIVATION_IDENTITY:
    return one;
  default:
    return vf_fnma(y, y, one);
  }
}

#endif
