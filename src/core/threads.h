/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_CORE_THREADS_H
#define GK_CORE_THREADS_H

#include "gatekern.h"

#define GK_MOST_THREADS 1024
/* 0..GK_MOST_THREADS, 0 being the default. */
gk_status gk_check_threads(int threads);
/* Inline: tests put a function of their own in the place of gk_default_threads. */
static inline int gk_resolve_threads(int threads) {
  return threads ? threads : gk_default_threads();
}

/* True in a child of fork() of a process that had the library loaded: OpenMP's threads stayed behind in
 * the parent, so the child must not open a region. */
bool gk_in_forked_child(void);

/* CPUs that this process may run on: affinity and control group's quota, at least 1. Read once. */
int gk_available_cpus(void);

#endif
