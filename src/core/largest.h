/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_CORE_LARGEST_H
#define GK_CORE_LARGEST_H

#include <stdint.h>

/* Index of the largest value; of equal ones the first. Never that of a NaN, but 0 if all are. */
static inline int64_t gk_index_of_largest(const float *values, int64_t count) {
  int64_t best = 0;
  for (int64_t i = 1; i < count; i++)
    if (values[i] > values[best] || values[best] != values[best])
      best = i;
  return values[best] == values[best] ? best : 0;
}

#endif
