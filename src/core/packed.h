/* SPDX-License-Identifier: Apache-2.0
 *
 * A packed buffer: a header, the forward part, and behind it the backward part if it was asked for. The
 * header makes a buffer of another network, tier or purpose an error instead of a wrong result. */
#ifndef GK_CORE_PACKED_H
#define GK_CORE_PACKED_H

#include "src/core/status.h"

/* Floats of the two parts of a network's or layer's packed parameters. */
struct gk_packed_size {
  size_t forward, backward;
};

gk_status gk_packed_bytes(struct gk_packed_size size, unsigned flags, size_t *bytes);
/* Writes the header; *floats is where offsets count from. */
gk_status gk_packed_start(struct gk_packed_size size, unsigned flags, gk_isa isa, void *packed,
                          float **floats);
/* The floats of a buffer that holds at least `flags`, or NULL and a message that names `packed`. */
const float *gk_packed_open(struct gk_packed_size size, unsigned flags, gk_isa isa, const void *packed);

#endif
