/* SPDX-License-Identifier: Apache-2.0
 * What is chosen of several values: the largest, or one drawn by the softmax of a temperature. */
#ifndef GK_CORE_CHOICE_H
#define GK_CORE_CHOICE_H

#include <float.h>
#include <math.h>
#include <stdint.h>

/* Index of the largest value; of equal ones the first. Never that of a NaN, but 0 if all are. */
static inline int64_t gk_index_of_largest(const float *values, int64_t count) {
  int64_t best = 0;
  for (int64_t i = 1; i < count; i++)
    if (values[i] > values[best] || values[best] != values[best])
      best = i;
  return values[best] == values[best] ? best : 0;
}

/* Index drawn in proportion to p, by a number in [0, 1). Should rounding carry past the end, the last one of
 * any probability; `count` is at least 1. */
static inline int64_t gk_index_drawn(const float *p, int64_t count, float uniform) {
  int64_t drawn = 0;
  double left = 0;
  for (int64_t i = 0; i < count; i++)
    left += (double)p[i];
  left *= (double)uniform;
  for (int64_t i = 0; i < count && left >= 0; i++) {
    if (p[i] > 0)
      drawn = i;
    left -= (double)p[i];
  }
  return drawn;
}

/* What a softmax of this temperature multiplies logits by: finite, so that below 1 / FLT_MAX the likeliest
 * are left. */
static inline float gk_softmax_scale(float temperature) {
  return fminf(1.0f / temperature, FLT_MAX);
}

#endif
