/* SPDX-License-Identifier: Apache-2.0 */
#include "runner_clock.h"

#include <stdlib.h>
#include <time.h>

double clock_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
  const double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

double clock_median(double *seconds, int64_t count) {
  qsort(seconds, (size_t)count, sizeof *seconds, compare_doubles);
  return (seconds[(count - 1) / 2] + seconds[count / 2]) / 2;
}

/* sum = sum + one, in an order that the compiler cannot change. */
static inline void add(uint64_t *sum, uint64_t one) {
#if defined(__x86_64__)
  __asm__ volatile("add %1, %0" : "+r"(*sum) : "r"(one) : "cc");
#elif defined(__aarch64__)
  __asm__ volatile("add %0, %0, %1" : "+r"(*sum) : "r"(one));
#else
#error "say how this architecture adds"
#endif
}

double clock_cycle_seconds(void) {
  enum { TRIES = 20, ROUNDS = 10000, CHAIN = 8 };
  double best = 1;
  uint64_t sum = 0;
  for (int i = 0; i < TRIES; i++) {
    const double start = clock_seconds();
    for (int round = 0; round < ROUNDS; round++) {
      add(&sum, 1), add(&sum, 1), add(&sum, 1), add(&sum, 1);
      add(&sum, 1), add(&sum, 1), add(&sum, 1), add(&sum, 1);
    }
    const double elapsed = clock_seconds() - start;
    if (elapsed < best)
      best = elapsed;
  }
  return best / (ROUNDS * CHAIN);
}
