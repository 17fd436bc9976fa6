/* SPDX-License-Identifier: Apache-2.0
 *
 * Test data: value number `index` of a stream, by splitmix64. tests/pytorch/make_vectors.py has the same
 * function, so that frozen vectors need to hold no inputs. */
#ifndef GK_TESTS_RANDOM_VALUES_H
#define GK_TESTS_RANDOM_VALUES_H

#include <stdint.h>

static inline uint64_t random_bits(uint64_t stream, uint64_t index) {
  uint64_t z = stream * 0xd1342543de82ef95u + (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* In [-1, 1), a multiple of 2^-23: exact in fp32. */
static inline float random_value(uint64_t stream, uint64_t index) {
  return (float)((int64_t)(random_bits(stream, index) >> 40) - (1 << 23)) * 0x1p-23f;
}

/* In 0 .. bound - 1. */
static inline int64_t random_integer(uint64_t stream, uint64_t index, int64_t bound) {
  return (int64_t)(random_bits(stream, index) >> 33) % bound;
}

static inline void random_floats(uint64_t stream, float scale, int64_t count, float *values) {
  for (int64_t i = 0; i < count; i++)
    values[i] = scale * random_value(stream, (uint64_t)i);
}

static inline void random_doubles(uint64_t stream, double scale, int64_t count, double *values) {
  for (int64_t i = 0; i < count; i++)
    values[i] = scale * random_value(stream, (uint64_t)i);
}

#endif
