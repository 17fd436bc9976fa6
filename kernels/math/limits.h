/* SPDX-License-Identifier: Apache-2.0
 * Loops that measure what the machine can do: the FMA peak and the read bandwidth. */
#ifndef GK_KERNELS_MATH_LIMITS_H
#define GK_KERNELS_MATH_LIMITS_H

enum { FMA_CHAINS = 12 }; /* covers two pipes of four cycles, and fits 16 registers */

static double fma_loop(size_t iterations, float *sink) {
  vf sum[FMA_CHAINS];
  GK_UNROLL for (int i = 0; i < FMA_CHAINS; i++)
    sum[i] = vf_set((float)i);
  vf a = vf_set(sink[0]), b = vf_set(sink[1]);
  for (size_t k = 0; k < iterations; k++) GK_UNROLL
    for (int i = 0; i < FMA_CHAINS; i++)
      sum[i] = vf_fma(sum[i], a, b);
  for (int i = 1; i < FMA_CHAINS; i++)
    sum[0] = vf_add(sum[0], sum[i]);
  vf_store_n(sink, sum[0], 1);
  return 2.0 * FMA_CHAINS * GK_V * (double)iterations;
}

static float read_loop(size_t count, const float *x) {
  vf sum[8];
  float lane[GK_V];
  GK_UNROLL for (int i = 0; i < 8; i++)
    sum[i] = vf_set(0.0f);
  for (size_t k = 0; k < count; k += 8 * GK_V) GK_UNROLL
    for (int i = 0; i < 8; i++)
      sum[i] = vf_add(sum[i], vf_load(x + k + i * GK_V));
  GK_UNROLL for (int i = 1; i < 8; i++)
    sum[0] = vf_add(sum[0], sum[i]);
  vf_store(lane, sum[0]);
  return lane[0];
}

#endif
