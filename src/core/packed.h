/* SPDX-License-Identifier: Apache-2.0
 *
 * A packed buffer: a header, the vectors, and behind them the weights for forward and those for backward, if
 * they were asked for. The header makes a buffer of another network, tier or purpose an error instead of a
 * wrong result. */
#ifndef GK_CORE_PACKED_H
#define GK_CORE_PACKED_H

#include "src/core/status.h"

/* Floats of the parts of a network's or layer's packed parameters, and a number that tells apart those whose
 * sizes happen to agree. Vectors alone are enough where products may read weights from the parameters; where
 * they may not, there are none, and those that there are count as forward's. */
struct gk_packed_size {
  size_t vectors, forward, backward;
  uint64_t fingerprint;
};

/* The next value of a fingerprint (FNV-1a, eight bytes at once). */
static inline uint64_t gk_packed_fingerprint(uint64_t fingerprint, int64_t value) {
  return (fingerprint ^ (uint64_t)value) * UINT64_C(0x100000001b3);
}

gk_status gk_packed_bytes(struct gk_packed_size size, unsigned flags, size_t *bytes);
/* Floats (20 MB) more than which do not stay in the cache that cores share (32 MiB) until they are read: then
 * they are written past it. */
#define GK_STREAM_FLOATS 5000000

/* Floats of forward's weights, of a layer or a decoder's own, fewer than which one thread packs in less time
 * than others take to come. */
#define GK_PACK_SHARED_FLOATS 100000

/* Packed parts that would not stay in the cache that cores share until a pass reads them are written
 * past it, which also leaves it to what a step reads: packing for both passes takes 0.76 to 0.91 of the time,
 * training steps of LSTM 1024 0 to 5 % less. LSTM 512 (4.2 million floats), of which some is still there,
 * would take up to 5 % more with one sample, and RNN 512 12 %. */
bool gk_packed_streams(struct gk_packed_size size, unsigned flags);
/* Writes the header; *floats is where offsets count from. */
gk_status gk_packed_start(struct gk_packed_size size, unsigned flags, gk_isa isa, void *packed,
                          float **floats);
/* Is this a buffer of the network or layer? Then the flags that it was packed with. */
bool gk_packed_flags(struct gk_packed_size size, gk_isa isa, const void *packed, unsigned *flags);
/* The floats of a buffer that holds at least `flags`, or NULL and a message that names `packed`. */
const float *gk_packed_open(struct gk_packed_size size, unsigned flags, gk_isa isa, const void *packed);

#endif
