/* SPDX-License-Identifier: Apache-2.0 */
#ifdef __linux__
#define _GNU_SOURCE /* syscall */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "src/core/parallel.h"
#include "src/core/threads.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

/* A pause is 40 to 140 cycles: about 20 us of spinning, longer than the imbalance of one time step, then
 * as much again of yielding. Threads that outnumber the CPUs do not spin at all: the one they wait for
 * may need their CPU. */
enum { SPINS = 1000, YIELDS = 20 };

static inline void pause_cpu(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

static void sleep_while(atomic_uint *word, unsigned value) {
#ifdef __linux__
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
#else
  (void)word, (void)value;
  nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
#endif
}

static void wake_all(atomic_uint *word) {
#ifdef __linux__
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#else
  (void)word;
#endif
}

void gk_barrier_init(struct gk_barrier *barrier, int threads) {
  atomic_init(&barrier->missing, threads);
  atomic_init(&barrier->generation, 0);
  atomic_init(&barrier->sleepers, 0);
  barrier->threads = threads;
  barrier->spins = threads <= gk_available_cpus() ? SPINS : 0;
}

void gk_barrier_open(struct gk_barrier *barrier, int thread, int threads) {
  if (threads == 1)
    return;
  if (thread == 0)
    gk_barrier_init(barrier, threads);
#pragma omp barrier
}

static bool passed(struct gk_barrier *barrier, unsigned generation) {
  return atomic_load_explicit(&barrier->generation, memory_order_acquire) != generation;
}

void gk_barrier_wait(struct gk_barrier *barrier) {
  /* Cannot change before this thread has arrived. */
  unsigned generation = atomic_load_explicit(&barrier->generation, memory_order_relaxed);
  if (atomic_fetch_sub_explicit(&barrier->missing, 1, memory_order_acq_rel) == 1) {
    atomic_store_explicit(&barrier->missing, barrier->threads, memory_order_relaxed);
    /* Sequentially consistent, as is the sleeper's count: either this thread sees the sleeper, or the
     * kernel, called after the count, sees the new generation and does not let it sleep. */
    atomic_store(&barrier->generation, generation + 1);
    if (atomic_load(&barrier->sleepers) != 0)
      wake_all(&barrier->generation);
    return;
  }
  for (int i = 0; i < barrier->spins; i++) {
    if (passed(barrier, generation))
      return;
    pause_cpu();
  }
  for (int i = 0; i < YIELDS; i++) {
    if (passed(barrier, generation))
      return;
    sched_yield();
  }
  atomic_fetch_add(&barrier->sleepers, 1);
  while (!passed(barrier, generation))
    sleep_while(&barrier->generation, generation);
  atomic_fetch_sub(&barrier->sleepers, 1);
}
