/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/packed.h"

#include <string.h>

#include "src/core/arena.h"

struct header {
  uint64_t magic, floats, fingerprint;
  uint32_t flags, isa;
  uint64_t offset; /* of the floats, in bytes: they begin a line of cache */
};

#define PACKED_MAGIC UINT64_C(0x6b6361702d6b67) /* "gk-pack" */

static gk_status check_flags(struct gk_packed_size size, unsigned flags) {
  if ((flags == 0 && size.vectors == 0) || flags & ~(unsigned)(GK_PACK_FORWARD | GK_PACK_BACKWARD))
    return gk_fail(GK_ERROR_ARGUMENT,
                   "flags is %u, must be %sa sum of GK_PACK_FORWARD (%d) and GK_PACK_BACKWARD (%d)", flags,
                   size.vectors ? "0 or " : "", GK_PACK_FORWARD, GK_PACK_BACKWARD);
  return GK_OK;
}

/* Forward's weights have their place before backward's, so that offsets do not depend on the flags. */
static bool count_floats(struct gk_packed_size size, unsigned flags, size_t *floats) {
  *floats = (sizeof(struct header) + GK_CACHE_LINE) / sizeof(float);
  return gk_size_add(floats, size.vectors) && (!flags || gk_size_add(floats, size.forward)) &&
         (!(flags & GK_PACK_BACKWARD) || gk_size_add(floats, size.backward));
}

bool gk_packed_streams(struct gk_packed_size size, unsigned flags) {
  return (flags & GK_PACK_FORWARD ? (double)size.forward : 0) +
             (flags & GK_PACK_BACKWARD ? (double)size.backward : 0) >
         GK_STREAM_FLOATS;
}

gk_status gk_packed_bytes(struct gk_packed_size size, unsigned flags, size_t *bytes) {
  size_t floats;
  gk_status status = check_flags(size, flags);
  if (status)
    return status;
  if (!bytes)
    return gk_fail(GK_ERROR_ARGUMENT, "bytes is NULL");
  if (!count_floats(size, flags, &floats) || !gk_size_multiply(&floats, sizeof(float)))
    return gk_fail(GK_ERROR_OVERFLOW, "packed weights of %zu + %zu floats do not fit in memory",
                   size.vectors + size.forward, size.backward);
  *bytes = floats;
  return GK_OK;
}

gk_status gk_packed_start(struct gk_packed_size size, unsigned flags, gk_isa isa, void *packed,
                          float **floats) {
  size_t bytes = 0;
  gk_status status = gk_packed_bytes(size, flags, &bytes);
  if (status)
    return status;
  if (!packed)
    return gk_fail(GK_ERROR_ARGUMENT, "packed is NULL, must have %zu bytes", bytes);
  char *start = (char *)packed + sizeof(struct header);
  start += (GK_CACHE_LINE - (uintptr_t)start % GK_CACHE_LINE) % GK_CACHE_LINE;
  const struct header header = {.magic = PACKED_MAGIC,
                                .floats = bytes / sizeof(float),
                                .fingerprint = size.fingerprint,
                                .flags = flags,
                                .isa = (uint32_t)isa,
                                .offset = (uint64_t)(start - (char *)packed)};
  memcpy(packed, &header, sizeof header);
  *floats = (float *)start;
  return GK_OK;
}

/* Reads the header; `floats` of a buffer of this size and the flags that it has. */
static bool fits(struct gk_packed_size size, gk_isa isa, const void *packed, struct header *header,
                 size_t *floats) {
  memcpy(header, packed, sizeof *header);
  *floats = 0;
  return header->magic == PACKED_MAGIC && header->isa == (uint32_t)isa &&
         count_floats(size, header->flags, floats) && header->floats == *floats &&
         header->fingerprint == size.fingerprint && header->offset <= sizeof *header + GK_CACHE_LINE;
}

bool gk_packed_flags(struct gk_packed_size size, gk_isa isa, const void *packed, unsigned *flags) {
  struct header header;
  size_t floats;
  if (!packed || !fits(size, isa, packed, &header, &floats))
    return false;
  *flags = header.flags;
  return true;
}

const float *gk_packed_open(struct gk_packed_size size, unsigned flags, gk_isa isa, const void *packed) {
  struct header header;
  size_t floats;
  if (!packed) {
    gk_fail(GK_ERROR_ARGUMENT, "packed is NULL");
    return NULL;
  }
  if (!fits(size, isa, packed, &header, &floats)) {
    gk_fail(GK_ERROR_ARGUMENT, "packed was not packed for this network (%zu floats) and isa %s", floats,
            gk_isa_name(isa));
    return NULL;
  }
  if ((header.flags & flags) != flags) {
    gk_fail(GK_ERROR_ARGUMENT, "packed was packed with flags %u, this call needs %u", (unsigned)header.flags,
            flags);
    return NULL;
  }
  return (const float *)((const char *)packed + header.offset);
}
