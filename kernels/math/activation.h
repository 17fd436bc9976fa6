/* SPDX-License-Identifier: Apache-2.0
 * sigmoid and tanh in registers: one division each, no table, no estimate; NaN stays NaN, infinities
 * saturate, tanh keeps the sign of zero. Errors are the largest over all floats with a normal result
 * (tests/test_activations.c). */
#ifndef GK_KERNELS_MATH_ACTIVATION_H
#define GK_KERNELS_MATH_ACTIVATION_H

#include "kernels/math/array.h"

/* Adding it rounds y to an integer n and leaves n + 127 in the low mantissa bits, where vf_exponent finds it.
 */
#define GK_ROUND_TO_EXPONENT (0x1.8p23f + 127.0f)

#if GK_MATH_USE_SLEEF

static inline vf v_tanh(vf x) { return vf_sleef_tanh(x); }

/* 1 / (1 + exp(-x)) */
static inline vf v_sigmoid(vf x) {
  const vf one = vf_set(1.0f);
  return vf_div(one, vf_add(one, vf_sleef_exp(vf_sub(vf_set(0.0f), x))));
}

#else

/* 1 / (1 + 2^n 2^r) with n + r = -x log2(e), |r| <= 1/2, 2^r - 1 a polynomial of degree 6: 2.00 ULP. */
static inline vf v_sigmoid(vf x) {
  const vf magic = vf_set(GK_ROUND_TO_EXPONENT);
  /* Above 87 the result is 1; below -88.3 it is no normal number, and -88.9 makes 2^n infinite: +0. */
  x = vf_at_most(x, vf_set(87.0f));
  x = vf_select(vf_lt(x, vf_set(-88.3f)), vf_set(-88.9f), x);
  vf t = vf_fnma(x, vf_set(0x1.715476p+0f), magic);
  vf s = vf_exponent(t);
  vf r = vf_fnma(x, vf_set(0x1.715476p+0f), vf_sub(magic, t));
  r = vf_fnma(x, vf_set(0x1.4ae0cp-26f), r);
  vf p = vf_fma(r, vf_set(0x1.4295cep-13f), vf_set(0x1.5ef138p-10f));
  p = vf_fma(r, p, vf_set(0x1.3b2c3ep-7f));
  p = vf_fma(r, p, vf_set(0x1.c6afa4p-5f));
  p = vf_fma(r, p, vf_set(0x1.ebfbdep-3f));
  p = vf_fma(r, p, vf_set(0x1.62e430p-1f));
  p = vf_mul(r, p);
  return vf_div(vf_set(1.0f), vf_add(s, vf_fma(s, p, vf_set(1.0f))));
}

/* e / (e + 1) with e = (exp(2|x|) - 1) / 2 = s p + (s - 1) / 2, s = 2^n, p = (exp(2h) - 1) / 2,
 * h = |x| - n ln(2)/2: 2.57 ULP. From 9.1 on tanh rounds to 1. */
static inline vf v_tanh(vf x) {
  const vf magic = vf_set(GK_ROUND_TO_EXPONENT);
  vf z = vf_at_most(vf_abs(x), vf_set(9.1f));
  vf t = vf_fma(z, vf_set(0x1.715476p+1f), magic);
  vf s = vf_exponent(t);
  vf n = vf_sub(t, magic);
  vf h = vf_fnma(n, vf_set(0x1.62e430p-2f), z);
  vf q = vf_fma(h, vf_set(0x1.6b97a6p-5f), vf_set(0x1.122538p-3f));
  q = vf_fma(h, q, vf_set(0x1.5556f6p-2f));
  q = vf_fma(h, q, vf_set(0x1.5554b4p-1f));
  q = vf_fma(h, q, vf_set(0x1.fffffep-1f));
  vf p = vf_fma(vf_mul(h, h), q, h);
  vf e = vf_fma(s, p, vf_fma(s, vf_set(0.5f), vf_set(-0.5f)));
  return vf_with_sign(vf_div(e, vf_add(e, vf_set(1.0f))), x);
}

#endif

static void sigmoid_array(size_t count, const float *x, float *y) {
  GK_ARRAY_PASS(count, v_store(y + i, v_sigmoid(v_load(x + i, lanes)), lanes););
}

static void tanh_array(size_t count, const float *x, float *y) {
  GK_ARRAY_PASS(count, v_store(y + i, v_tanh(v_load(x + i, lanes)), lanes););
}

/* Throughput of the functions with everything in registers: the argument of 16 floats moves a little
 * each round, so that no round waits for the one before. */
#define GK_ACTIVATION_LOOP(function)                                                                         \
  vf argument[16 / GK_V], sum[16 / GK_V];                                                                    \
  for (int i = 0; i < 16 / GK_V; i++)                                                                        \
    argument[i] = sum[i] = vf_load(x + i * GK_V);                                                            \
  for (size_t round = 0; round < iterations; round++)                                                        \
    for (int i = 0; i < 16 / GK_V; i++) {                                                                    \
      sum[i] = vf_add(sum[i], function(argument[i]));                                                        \
      argument[i] = vf_add(argument[i], vf_set(0x1p-20f));                                                   \
    }                                                                                                        \
  for (int i = 0; i < 16 / GK_V; i++)                                                                        \
  vf_store(x + i * GK_V, sum[i])

static void sigmoid_loop(size_t iterations, float *x) { GK_ACTIVATION_LOOP(v_sigmoid); }
static void tanh_loop(size_t iterations, float *x) { GK_ACTIVATION_LOOP(v_tanh); }

#endif
