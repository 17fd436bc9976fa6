/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_CORE_PARALLEL_H
#define GK_CORE_PARALLEL_H

#include <stdalign.h>
#include <stdatomic.h>

#include "src/core/arena.h"

/* Runs body(context, thread, threads) on up to `threads` OpenMP threads and returns when all have; the
 * `threads` that body is told is the number that the region really got. In one thread, in a child after
 * fork and inside another parallel region it is body(context, 0, 1), without OpenMP. Around body each
 * thread's floating-point environment is pinned (float_environment.h), and its own restored after. */
void gk_parallel(int threads, void (*body)(void *context, int thread, int threads), void *context);

/* Values of a pass that does a few operations on each, fewer than which one thread takes less time for than
 * others take to come. */
#define GK_SHARED_VALUES 20000

/* A barrier in the caller's memory, for the threads that one gk_parallel region got. What a thread
 * wrote before it waits is seen by every thread after. No allocation, nothing to destroy; it must live
 * until all threads have left their last wait. A line of cache each for what all write, what all read
 * while they spin, and what is constant. */
struct gk_barrier {
  alignas(GK_CACHE_LINE) atomic_int missing;     /* threads still to come */
  alignas(GK_CACHE_LINE) atomic_uint generation; /* completed waits; the word that sleepers sleep on */
  atomic_uint sleepers;
  alignas(GK_CACHE_LINE) int threads;
  int spins;
};

void gk_barrier_init(struct gk_barrier *barrier, int threads);
/* Inside a region, by all of its threads: thread 0 initialises, and none returns before it has. Nothing where
 * there is one. */
void gk_barrier_open(struct gk_barrier *barrier, int thread, int threads);
void gk_barrier_wait(struct gk_barrier *barrier);

#endif
