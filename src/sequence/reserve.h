/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory that a forward call leaves to backward. Its first line of cache says of which call it is, so
 * that another one's is an error instead of a wrong result, and where its arrays begin: the caller may have
 * copied it to an address of another alignment. */
#ifndef GK_SEQUENCE_RESERVE_H
#define GK_SEQUENCE_RESERVE_H

#include "src/core/arena.h"
#include "src/core/status.h"

/* Measures with base NULL, as gk_arena_start. */
struct gk_arena gk_reserve_start(void *base);
/* Of a forward call; the fingerprint tells apart what decides how its arrays stand. */
void gk_reserve_mark(void *base, uint64_t fingerprint, int64_t time, int64_t batch);
/* Before backward reads it. */
gk_status gk_reserve_check(const void *base, uint64_t fingerprint, int64_t time, int64_t batch);
/* Do its arrays begin elsewhere than gk_reserve_start has them? Then backward moves them there, in a reserve
 * of so many bytes as gk_arena_bytes says. */
bool gk_reserve_moved(const void *base);
void gk_reserve_settle(void *base, size_t bytes);
/* What it held is no longer there. */
void gk_reserve_close(void *base);

#endif
