/* SPDX-License-Identifier: Apache-2.0 */
#include "src/sequence/reserve.h"

#include <string.h>

struct header {
  uint64_t magic, fingerprint;
  int64_t time, batch;
  uint64_t offset; /* of the arena's base, in bytes */
};

#define RESERVE_MAGIC UINT64_C(0x767265736572) /* "reserv" */

static struct header read_header(const void *base) {
  struct header header;
  memcpy(&header, base, sizeof header);
  return header;
}

static uint64_t offset_of(const void *base) {
  return (uint64_t)(GK_CACHE_LINE - (uintptr_t)base % GK_CACHE_LINE) % GK_CACHE_LINE;
}

struct gk_arena gk_reserve_start(void *base) {
  struct gk_arena arena = gk_arena_start(base);
  arena.used = GK_CACHE_LINE; /* the header, at the base itself, ends before the arena's second line */
  return arena;
}

void gk_reserve_mark(void *base, uint64_t fingerprint, int64_t time, int64_t batch) {
  const struct header header = {RESERVE_MAGIC, fingerprint, time, batch, offset_of(base)};
  memcpy(base, &header, sizeof header);
}

gk_status gk_reserve_check(const void *base, uint64_t fingerprint, int64_t time, int64_t batch) {
  const struct header header = read_header(base);
  if (header.magic != RESERVE_MAGIC || header.offset >= GK_CACHE_LINE)
    return gk_fail(
        GK_ERROR_ARGUMENT,
        "reserve holds no forward call, or one whose backward call has not kept it (keep_reserve)");
  if (header.time != time || header.batch != batch)
    return gk_fail(GK_ERROR_ARGUMENT,
                   "reserve is of a forward call of time %lld, batch %lld; backward has %lld, %lld",
                   (long long)header.time, (long long)header.batch, (long long)time, (long long)batch);
  return header.fingerprint == fingerprint
             ? GK_OK
             : gk_fail(
                   GK_ERROR_ARGUMENT,
                   "reserve is of a forward call of another network, or one with other threads, schedule");
}

bool gk_reserve_moved(const void *base) {
  return read_header(base).offset != offset_of(base);
}

void gk_reserve_settle(void *base, size_t bytes) {
  struct header header = read_header(base);
  char *arrays = (char *)base + GK_CACHE_LINE;
  if (header.offset == offset_of(base))
    return;
  memmove(arrays + offset_of(base), arrays + header.offset, bytes - 2 * GK_CACHE_LINE);
  gk_reserve_mark(base, header.fingerprint, header.time, header.batch);
}

void gk_reserve_close(void *base) {
  memset(base, 0, sizeof(struct header));
}
