/* SPDX-License-Identifier: Apache-2.0 */
#include "src/sequence/pace.h"

#include <math.h>
#include <stdatomic.h>

/* Of fewer samples a thread, one more or less would change too much. */
enum { FEWEST_SAMPLES = 8 };

/* Operations a thread, some 5 ms of them, that a call's own are weighed against; it never counts for more
 * than all before it. Nothing is believed before so many were measured. A thread that is held up in one long
 * call, at half its speed, leaves slices that cost the next call 14 %, and the one after that 7. */
static const double REMEMBERED_FLOP = 5e8;

/* How much faster the fastest thread must be than the slowest for shares that differ: jitter must not move
 * rows from one thread's caches to another's. */
static const double EVEN = 1.06;

/* A thread that hardly ran once must get samples to be measured on. */
static const double SLOWEST_OF_FASTEST = 0.25;

bool gk_pace_moves_slices(const struct gk_rnn *rnn, int64_t batch, int threads) {
  return threads > 1 && threads == rnn->desc.threads && batch / threads >= FEWEST_SAMPLES;
}

static bool can_pace(const struct gk_run *run) {
  return run->plan.schedule == GK_SCHEDULE_SLICES &&
         gk_pace_moves_slices(run->rnn, run->batch, run->plan.threads) && !run->feed &&
         gk_run_has_one_length(run);
}

/* The speeds of the threads; false if they are as good as equal, or one is not known. Other callers may be
 * leaving theirs meanwhile: each is read once. */
static bool read_speeds(const struct gk_run *run, double *speeds, double *fastest) {
  double slowest = INFINITY;
  *fastest = 0;
  for (int i = 0; i < run->plan.threads; i++) {
    const struct gk_pace *of = &run->rnn->pace[i];
    if (atomic_load_explicit(&of->flop, memory_order_relaxed) < (float)REMEMBERED_FLOP)
      return false;
    speeds[i] = (double)atomic_load_explicit(&of->speed, memory_order_relaxed);
    *fastest = fmax(*fastest, speeds[i]);
    slowest = fmin(slowest, speeds[i]);
  }
  return slowest > 0 && *fastest > EVEN * slowest;
}

void gk_pace_open(struct gk_run *run) {
  const int threads = run->plan.threads;
  double fastest, sum = 0;
  run->paced = can_pace(run);
  run->uneven = run->paced && read_speeds(run, run->share, &fastest);
  if (!run->uneven)
    return;
  for (int i = 0; i < threads; i++) {
    const double speed = fmax(run->share[i], SLOWEST_OF_FASTEST * fastest);
    run->share[i] = sum;
    sum += speed;
  }
  for (int i = 0; i < threads; i++)
    run->share[i] /= sum;
  run->share[threads] = 1;
}

/* What another caller leaves between reading and writing is lost, which is no more than a call less. */
void gk_pace_keep(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  if (!worker->paced || worker->count == 0 || !(worker->busy > 0))
    return;
  struct gk_pace *of = &run->rnn->pace[worker->thread];
  const double sample = 2 * gk_rnn_weights(run->rnn) * (double)run->time;
  const double call = sample * (double)run->batch / worker->threads;
  const double measured = (double)atomic_load_explicit(&of->flop, memory_order_relaxed);
  const double before = (double)atomic_load_explicit(&of->speed, memory_order_relaxed);
  const double part = measured > 0 ? fmin(call / (measured + call), 0.5) : 1;
  const double speed = sample * (double)worker->count / worker->busy;
  atomic_store_explicit(&of->speed, (float)(before + part * (speed - before)), memory_order_relaxed);
  atomic_store_explicit(&of->flop, (float)fmin(measured + call, REMEMBERED_FLOP), memory_order_relaxed);
}
