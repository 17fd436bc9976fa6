/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "tests/guarded_memory.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A signalling NaN: whoever reads it shows it in the result. */
#define CANARY   UINT32_C(0x7fa5a5a5)
#define CANARIES 64

bool guarded_open(struct guarded_memory *memory, size_t floats) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t bytes = (floats * sizeof(float) + 2 * page - 1) / page * page;
  *memory = (struct guarded_memory){0};
  char *all = mmap(NULL, bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED)
    return false;
  if (mprotect(all + page, bytes, PROT_READ | PROT_WRITE) != 0) {
    munmap(all, bytes + 2 * page);
    return false;
  }
  memory->first = (float *)(void *)(all + page);
  memory->room = bytes / sizeof(float);
  return true;
}

void guarded_close(struct guarded_memory *memory) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  if (memory->first)
    munmap((char *)memory->first - page, memory->room * sizeof(float) + 2 * page);
  *memory = (struct guarded_memory){0};
}

/* The canaries before (side 0) or after (side 1) the buffer: [*begin, *end). */
static void canaries(const struct guarded_memory *memory, int side, float **begin, float **end) {
  float *last = memory->first + memory->room;
  if (side == 0) {
    *end = memory->taken;
    *begin = memory->taken - memory->first > CANARIES ? memory->taken - CANARIES : memory->first;
  } else {
    *begin = memory->taken + memory->count;
    *end = last - *begin > CANARIES ? *begin + CANARIES : last;
  }
}

static void fill(float *begin, float *end) {
  const uint32_t canary = CANARY;
  for (; begin < end; begin++)
    memcpy(begin, &canary, sizeof canary);
}

float *guarded_take(struct guarded_memory *memory, size_t count, int place) {
  memory->count = count;
  memory->taken = place == GUARD_AT_END ? memory->first + memory->room - count : memory->first + place;
  for (int side = 0; side < 2; side++) {
    float *begin, *end;
    canaries(memory, side, &begin, &end);
    fill(begin, end);
  }
  fill(memory->taken, memory->taken + count);
  return memory->taken;
}

bool guarded_intact(const struct guarded_memory *memory) {
  const uint32_t canary = CANARY;
  for (int side = 0; side < 2; side++) {
    float *begin, *end;
    canaries(memory, side, &begin, &end);
    for (; begin < end; begin++)
      if (memcmp(begin, &canary, sizeof canary) != 0)
        return false;
  }
  return true;
}
