/* SPDX-License-Identifier: Apache-2.0
 *
 * Cuts one block of the caller's memory into arrays of 64-byte alignment. The same code measures (base
 * NULL: every take returns NULL) and assigns, so that what is asked for and what is used cannot differ. */
#ifndef GK_CORE_ARENA_H
#define GK_CORE_ARENA_H

#include "src/core/size.h"

/* A line of cache: two threads that write to one wait for each other. In bytes, and in floats. */
#define GK_CACHE_LINE  64
#define GK_LINE_FLOATS (GK_CACHE_LINE / sizeof(float))

struct gk_arena {
  char *base;
  size_t used;
  bool overflow; /* a size did not fit in size_t: `used` means nothing */
};

/* base may have any alignment: GK_CACHE_LINE spare bytes are part of what is measured. */
static inline struct gk_arena gk_arena_start(void *base) {
  char *aligned =
      base ? (char *)(((uintptr_t)base + GK_CACHE_LINE - 1) & ~(uintptr_t)(GK_CACHE_LINE - 1)) : NULL;
  return (struct gk_arena){.base = aligned, .used = 0, .overflow = false};
}

/* Array of a * b * c elements. */
static inline void *gk_arena_take(struct gk_arena *arena, size_t element, int64_t a, int64_t b, int64_t c) {
  size_t bytes;
  if (!gk_size_array(&bytes, element, a, b, c) || !gk_size_align(&bytes, GK_CACHE_LINE)) {
    arena->overflow = true;
    return NULL;
  }
  char *start = arena->base ? arena->base + arena->used : NULL;
  if (!gk_size_add(&arena->used, bytes))
    arena->overflow = true;
  return start;
}

/* Bytes that a caller must provide; false if they do not fit in size_t. */
static inline bool gk_arena_bytes(const struct gk_arena *arena, size_t *bytes) {
  size_t total = arena->used;
  if (arena->overflow || !gk_size_add(&total, GK_CACHE_LINE))
    return false;
  *bytes = total;
  return true;
}

#endif
