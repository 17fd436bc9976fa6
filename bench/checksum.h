/* SPDX-License-Identifier: Apache-2.0 */
/* 64-bit FNV-1a over the bits of results. Floats are hashed as little-endian words; every NaN counts as the
 * same NaN, -0 and +0 differ. */
#ifndef GATEKERN_BENCH_CHECKSUM_H
#define GATEKERN_BENCH_CHECKSUM_H

#include <stdint.h>

#define CHECKSUM_START UINT64_C(0xcbf29ce484222325)

uint64_t checksum_word(uint64_t hash, uint64_t word);
uint64_t checksum_text(uint64_t hash, const char *text);
uint64_t checksum_floats(uint64_t hash, const float *values, int64_t count);

#endif
