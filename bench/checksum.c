/* SPDX-License-Identifier: Apache-2.0 */
#include "checksum.h"

#include <string.h>

#define FNV_PRIME UINT64_C(0x100000001b3)

static uint64_t add_bytes(uint64_t hash, uint64_t word, int bytes) {
  for (int i = 0; i < bytes; i++)
    hash = (hash ^ ((word >> (8 * i)) & 0xff)) * FNV_PRIME;
  return hash;
}

uint64_t checksum_word(uint64_t hash, uint64_t word) {
  return add_bytes(hash, word, 8);
}

uint64_t checksum_text(uint64_t hash, const char *text) {
  for (; *text; text++)
    hash = add_bytes(hash, (unsigned char)*text, 1);
  return hash;
}

uint64_t checksum_floats(uint64_t hash, const float *values, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &values[i], sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000)
      bits = 0x7fc00000;
    hash = add_bytes(hash, bits, 4);
  }
  return hash;
}
