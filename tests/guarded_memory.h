/* SPDX-License-Identifier: Apache-2.0
 *
 * Buffers between two protected pages, surrounded by canaries: a kernel that reads or writes past an end
 * crashes there, or leaves a trace. */
#ifndef GK_TESTS_GUARDED_MEMORY_H
#define GK_TESTS_GUARDED_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Where a buffer lies: its end at the protected page, its start at one, or n floats past a page's start. */
enum { GUARD_AT_END = -1, GUARD_AT_START = 0 };

struct guarded_memory {
  float *first; /* right after a protected page */
  size_t room;  /* floats up to the next protected page */
  float *taken;
  size_t count;
};

/* Room for buffers of up to `floats` floats at any place. False if there is no memory. */
bool guarded_open(struct guarded_memory *memory, size_t floats);
void guarded_close(struct guarded_memory *memory);

/* A new buffer in place of the last one. The floats on both sides of it hold canaries, the buffer too. */
float *guarded_take(struct guarded_memory *memory, size_t count, int place);

/* True if the canaries around the buffer are whole. */
bool guarded_intact(const struct guarded_memory *memory);

#endif
