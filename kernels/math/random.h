/* SPDX-License-Identifier: Apache-2.0
 * Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011), GK_W counters at once: a round multiplies two of the
 * four words and crosses the halves of the products. A 64-bit lane holds one word, so that nothing is
 * shuffled between rounds. Random123 is the definition (src/core/random.h). */
#ifndef GK_KERNELS_MATH_RANDOM_H
#define GK_KERNELS_MATH_RANDOM_H

#include <string.h>

/* The numbers of counters unit, unit + 1, ... unit + GK_W - 1: 4 * GK_W floats. */
static inline __attribute__((always_inline)) void philox_units(const struct gk_uniforms *row, uint32_t unit,
                                                               float *u) {
  const vw m0 = vw_set(0xd2511f53u), m1 = vw_set(0xcd9e8d57u);
  vw x[4] = {vw_set(row->counter[0]), vw_set(row->counter[1]), vw_set(row->counter[2]), vw_count(unit)};
  uint32_t k0 = row->key[0], k1 = row->key[1];
  GK_UNROLL for (int round = 0; round < 10; round++) {
    const vw p0 = vw_multiply(x[0], m0), p1 = vw_multiply(x[2], m1);
    x[0] = vw_xor(vw_xor(vw_high(p1), x[1]), vw_set(k0));
    x[1] = p1;
    x[2] = vw_xor(vw_xor(vw_high(p0), x[3]), vw_set(k1));
    x[3] = p0;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  vw_units(x, u);
}

static void uniforms(const struct gk_uniforms *row, size_t first, size_t count, float *u) {
  enum { BLOCK = 4 * GK_W };
  uint32_t unit = (uint32_t)(first / 4);
  float block[BLOCK];
  for (size_t i = 0, skip = first % 4; i < count; unit += GK_W) {
    if (skip == 0 && count - i >= BLOCK) {
      philox_units(row, unit, u + i);
      i += BLOCK;
      continue;
    }
    const size_t taken = count - i < BLOCK - skip ? count - i : BLOCK - skip;
    philox_units(row, unit, block);
    memcpy(u + i, block + skip, taken * sizeof *u);
    i += taken;
    skip = 0;
  }
}

#endif
