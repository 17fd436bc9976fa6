/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_CORE_CLOCK_H
#define GK_CORE_CLOCK_H

#include <time.h>

/* Seconds that have passed since some moment, never set back. */
static inline double gk_clock_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
