/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory of one test, taken piece by piece and given back at once, in awkward places if asked. */
#ifndef GK_TESTS_BUFFERS_H
#define GK_TESTS_BUFFERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Where a piece stands. `offset` shifts its first byte off a 64-byte boundary. Before or after a page:
 * between two pages that fault at any access, flush against one of them. */
enum placement_kind { PLACE_HEAP = 0, PLACE_BEFORE_PAGE, PLACE_AFTER_PAGE };
struct placement {
  enum placement_kind kind;
  size_t offset; /* heap only, 0..63 */
};

#define MAX_BUFFERS 256

struct buffers {
  struct placement placement;
  int count;
  struct {
    void *base;
    size_t mapped; /* 0: from malloc */
  } pieces[MAX_BUFFERS];
};

static inline void buffers_out_of_memory(void) {
  fprintf(stderr, "tests: out of memory\n");
  abort();
}

static inline void *buffers_map(struct buffers *buffers, size_t bytes) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t inner = (bytes + page - 1) / page * page, mapped = inner + 2 * page;
  char *base = mmap(NULL, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED || (inner && mprotect(base + page, inner, PROT_READ | PROT_WRITE) != 0))
    buffers_out_of_memory();
  buffers->pieces[buffers->count].base = base;
  buffers->pieces[buffers->count++].mapped = mapped;
  return buffers->placement.kind == PLACE_AFTER_PAGE ? base + page : base + page + inner - bytes;
}

/* `bytes` bytes filled with a pattern that no result has; NULL is never returned, also for 0 bytes. A
 * type's own alignment is kept: `offset` and the page's edge are rounded to `alignment`. */
static inline void *buffers_take(struct buffers *buffers, size_t bytes, size_t alignment) {
  if (buffers->count == MAX_BUFFERS)
    buffers_out_of_memory();
  if (buffers->placement.kind != PLACE_HEAP)
    return memset(buffers_map(buffers, bytes), 0xa5, bytes);
  size_t offset = buffers->placement.offset / alignment * alignment;
  char *base = aligned_alloc(64, (bytes + offset + 64) / 64 * 64);
  if (!base)
    buffers_out_of_memory();
  buffers->pieces[buffers->count].base = base;
  buffers->pieces[buffers->count++].mapped = 0;
  return memset(base + offset, 0xa5, bytes);
}

static inline float *take_floats(struct buffers *buffers, int64_t count) {
  return buffers_take(buffers, (size_t)count * sizeof(float), sizeof(float));
}

static inline double *take_doubles(struct buffers *buffers, int64_t count) {
  double *values = buffers_take(buffers, (size_t)count * sizeof(double), sizeof(double));
  return memset(values, 0, (size_t)count * sizeof(double));
}

static inline void buffers_release(struct buffers *buffers) {
  for (int i = 0; i < buffers->count; i++)
    if (buffers->pieces[i].mapped)
      munmap(buffers->pieces[i].base, buffers->pieces[i].mapped);
    else
      free(buffers->pieces[i].base);
  buffers->count = 0;
}

#endif
