/* SPDX-License-Identifier: Apache-2.0 */
#include "src/sequence/pace.h"

#include <math.h>
#include <stdatomic.h>

/* Of fewer samples a thread, one more or less would change too much. */
enum { FEWEST_SAMPLES = 8 };

/* A call counts as it is long, but for no more than all before it: one of so many operations a thread for a
 * third. */
static const double REMEMBERED_FLOP = 5e8;

/* How much faster the fastest thread must be than the slowest for shares that differ: jitter must not move
 * rows from one thread's caches to another's. */
static const double EVEN = 1.06;

/* A thread that hardly ran once must get samples to be measured on. */
static const double SLOWEST_OF_FASTEST = 0.25;

static bool can_pace(const struct gk_run *run) {
  const int64_t threads = run->plan.threads;
  return run->plan.schedule == GK_SCHEDULE_SLICES && threads > 1 && !run->feed && gk_run_is_even(run) &&
         run->batch / threads >= FEWEST_SAMPLES;
}

/* Other callers may be leaving theirs meanwhile: each is read once. */
void gk_pace_open(struct gk_run *run) {
  const int threads = run->plan.threads;
  double fastest = 0, slowest = INFINITY, sum = 0;
  run->paced = can_pace(run);
  run->uneven = false;
  for (int i = 0; i < threads && run->paced; i++) {
    const double pace = (double)atomic_load_explicit(&run->rnn->pace[i], memory_order_relaxed);
    run->share[i] = pace;
    fastest = pace > fastest ? pace : fastest;
    slowest = pace < slowest ? pace : slowest;
  }
  run->uneven = run->paced && slowest > 0 && fastest > EVEN * slowest; /* 0: never measured */
  for (int i = 0; i < threads && run->uneven; i++) {
    const double least = SLOWEST_OF_FASTEST * fastest, pace = run->share[i] > least ? run->share[i] : least;
    run->share[i] = sum;
    sum += pace;
  }
  for (int i = 0; i < threads && run->uneven; i++)
    run->share[i] /= sum;
  run->share[threads] = 1;
}

void gk_pace_keep(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  if (!worker->paced || worker->count == 0 || !(worker->busy > 0))
    return;
  const double flop = 2 * gk_rnn_weights(run->rnn) * (double)run->time; /* of a sample */
  const double pace = flop * (double)worker->count / worker->busy;
  const double call = flop * (double)run->batch / worker->threads, part = call / (2 * call + REMEMBERED_FLOP);
  _Atomic float *kept = &run->rnn->pace[worker->thread];
  const double before = (double)atomic_load_explicit(kept, memory_order_relaxed);
  atomic_store_explicit(kept, (float)(before > 0 ? before + part * (pace - before) : pace),
                        memory_order_relaxed);
}
