/* SPDX-License-Identifier: Apache-2.0
 * What this machine can do, measured: the FMA rate of a tier, the read bandwidth, how soon cores answer each
 * other. */
#include <math.h>
#include <sched.h>
#include <stdlib.h>

#include "dispatch/dispatch.h"
#include "kernels/kernels.h"
#include "src/core/arguments.h"
#include "src/core/clock.h"
#include "src/core/parallel.h"
#include "src/core/threads.h"

struct limit_call {
  const struct gk_kernels *kernels;
  float *memory; /* bandwidth: `floats` a thread; NULL: FMA */
  size_t floats;
  double seconds;
  size_t iterations; /* of one round */
  /* Thread 0 writes these: work a second of the best round, over all threads; that of all rounds together. */
  double best;
  double work, took;
  atomic_bool done;
  struct gk_barrier barrier;
};

static double work_of_round(const struct limit_call *call, int thread, float *sink) {
  if (!call->memory)
    return call->kernels->fma_loop(call->iterations, sink);
  for (size_t i = 0; i < call->iterations; i++)
    sink[2] += call->kernels->read_loop(call->floats, call->memory + (size_t)thread * call->floats);
  return (double)call->iterations * (double)call->floats * sizeof(float);
}

/* Rounds of some milliseconds that all threads start together. */
static void limit_body(void *context, int thread, int threads) {
  struct limit_call *call = context;
  float sink[3] = {0.5f, 1.0f, 0};
  gk_barrier_open(&call->barrier, thread, threads);
  const double start = gk_clock_seconds();
  for (;;) {
    if (threads > 1)
      gk_barrier_wait(&call->barrier);
    const double begin = gk_clock_seconds();
    const double work = work_of_round(call, thread, sink) * threads;
    if (threads > 1)
      gk_barrier_wait(&call->barrier);
    if (thread == 0) {
      const double took = gk_clock_seconds() - begin;
      if (took < 2e-3 && call->iterations < ((size_t)1 << 40)) {
        call->iterations *= 2; /* too short to be timed */
      } else {
        call->best = work / took > call->best ? work / took : call->best;
        call->work += work;
        call->took += took;
      }
      atomic_store(&call->done, gk_clock_seconds() - start > call->seconds && call->best > 0);
    }
    if (threads > 1)
      gk_barrier_wait(&call->barrier);
    if (atomic_load(&call->done))
      return;
  }
}

static gk_status check_limit(int threads, double seconds) {
  gk_status status = gk_check_threads(threads);
  if (!status && !(seconds > 0 && seconds < 3600))
    status = gk_fail(GK_ERROR_ARGUMENT, "seconds is %g, must be above 0 and below 3600", seconds);
  return status;
}

static gk_status start(struct limit_call *call, gk_isa isa, int *threads, double seconds,
                       struct gk_named_pointer result) {
  gk_status status = gk_kernels_for(isa, GK_MATH_OWN, &call->kernels);
  if (!status)
    status = gk_check_pointers(1, &result);
  if (!status)
    status = check_limit(*threads, seconds);
  if (status)
    return status;
  *threads = gk_resolve_threads(*threads);
  call->seconds = seconds;
  call->iterations = 1;
  return GK_OK;
}

gk_status gk_measure_peak(gk_isa isa, int threads, double seconds, double *gflops, double *sustained) {
  struct limit_call call = {.memory = NULL};
  gk_status status = start(&call, isa, &threads, seconds, (struct gk_named_pointer){"gflops", gflops});
  if (status)
    return status;
  call.iterations = 10000;
  gk_parallel(threads, limit_body, &call);
  *gflops = call.best * 1e-9;
  if (sustained)
    *sustained = call.work / call.took * 1e-9;
  return GK_OK;
}

/* A ring: each thread waits for its own line, and then writes that of the next one. */
struct ring_line {
  _Alignas(2 * GK_CACHE_LINE) atomic_int round; /* 0 and 1 in turn; hardware fetches lines in pairs */
};
struct ring_call {
  struct ring_line *lines; /* [threads] */
  double seconds, best;    /* thread 0 writes it: seconds from one thread to the next */
};
enum { RING_ROUNDS = 100, RING_SPINS = 100000, RING_END = 2 };

static int ring_wait(struct ring_line *line, int before) {
  for (int spins = 0;; spins++) {
    const int round = atomic_load_explicit(&line->round, memory_order_acquire);
    if (round != before)
      return round;
    if (spins > RING_SPINS) /* threads may outnumber the CPUs */
      sched_yield();
  }
}

static void ring_body(void *context, int thread, int threads) {
  struct ring_call *call = context;
  struct ring_line *own = &call->lines[thread], *next = &call->lines[(thread + 1) % threads];
  int round = 0;
  if (threads == 1)
    return;
  if (thread > 0) {
    do {
      round = ring_wait(own, round);
      atomic_store_explicit(&next->round, round, memory_order_release);
    } while (round != RING_END);
    return;
  }
  const double start = gk_clock_seconds();
  double begin = start;
  do {
    for (int i = 0; i < RING_ROUNDS; i++) {
      atomic_store_explicit(&next->round, !round, memory_order_release);
      round = ring_wait(own, round);
    }
    const double end = gk_clock_seconds(), took = (end - begin) / RING_ROUNDS / threads;
    call->best = took < call->best ? took : call->best;
    begin = end;
  } while (begin - start < call->seconds);
  atomic_store_explicit(&next->round, RING_END, memory_order_release);
}

gk_status gk_measure_core_to_core(int threads, double seconds, double *nanoseconds) {
  gk_status status = GK_CHECK_POINTERS({"nanoseconds", nanoseconds});
  if (!status)
    status = check_limit(threads, seconds);
  if (status)
    return status;
  threads = gk_resolve_threads(threads);
  struct ring_call call = {.seconds = seconds, .best = INFINITY};
  const size_t bytes = (size_t)threads * sizeof *call.lines;
  call.lines = aligned_alloc(sizeof *call.lines, bytes);
  if (!call.lines)
    return gk_fail(GK_ERROR_MEMORY, "no memory for %zu bytes", bytes);
  for (int i = 0; i < threads; i++)
    atomic_init(&call.lines[i].round, 0);
  gk_parallel(threads, ring_body, &call);
  *nanoseconds = call.best < INFINITY ? 1e9 * call.best : 0;
  free(call.lines);
  return GK_OK;
}

struct touch {
  float *memory;
  size_t floats;
};

/* Each thread writes its own part first, so that its pages are near it. */
static void touch_body(void *context, int thread, int threads) {
  const struct touch *touch = context;
  (void)threads;
  for (size_t i = 0; i < touch->floats; i++)
    touch->memory[(size_t)thread * touch->floats + i] = 1.0f;
}

gk_status gk_measure_bandwidth(gk_isa isa, int threads, size_t bytes, double seconds, double *gigabytes) {
  struct limit_call call = {.memory = NULL};
  gk_status status = start(&call, isa, &threads, seconds, (struct gk_named_pointer){"gigabytes", gigabytes});
  if (status)
    return status;
  call.floats = (bytes / 4096 + (bytes % 4096 != 0)) * (4096 / sizeof(float));
  if (bytes == 0 || bytes > SIZE_MAX / 2 / (size_t)threads)
    return gk_fail(GK_ERROR_ARGUMENT, "bytes is %zu, must be 1..%zu", bytes, SIZE_MAX / 2 / (size_t)threads);
  call.memory = aligned_alloc(4096, call.floats * sizeof(float) * (size_t)threads);
  if (!call.memory)
    return gk_fail(GK_ERROR_MEMORY, "no memory for %d times %zu bytes", threads, bytes);
  gk_parallel(threads, touch_body, &(struct touch){call.memory, call.floats});
  gk_parallel(threads, limit_body, &call);
  *gigabytes = call.best * 1e-9;
  free(call.memory);
  return GK_OK;
}
