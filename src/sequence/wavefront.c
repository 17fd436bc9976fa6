/* SPDX-License-Identifier: Apache-2.0
 * Threads that walk different layers, or the two directions, at the same time. Each is to the time loop a
 * worker that is alone: it has its own view of the run, in which scratch is its own and what passes between
 * layers is everybody's. */
#include "src/sequence/run.h"

void gk_wavefront_cut(struct gk_run *run, struct gk_arena *workspace, bool backward) {
  if (run->plan.schedule != GK_SCHEDULE_WAVEFRONT)
    return;
  run->lanes = gk_arena_take(workspace, sizeof *run->lanes, run->plan.threads, 1, 1);
  for (int i = 0; i < run->plan.threads; i++) {
    struct gk_run own = *run;
    own.plan.schedule = GK_SCHEDULE_SLICES;
    own.plan.threads = 1;
    own.late_chunks = run->rnn->directions == 1 ? i : 0;
    gk_run_cut_own(&own, workspace, backward);
    if (run->lanes)
      run->lanes[i] = own;
  }
}

bool gk_wavefront_enter(const struct gk_worker *worker, struct gk_worker *lane) {
  const struct gk_run *run = worker->run;
  if (run->plan.schedule != GK_SCHEDULE_WAVEFRONT || worker->threads < 2)
    return false;
  gk_worker_start(lane, &run->lanes[worker->thread], 0, 1);
  gk_worker_wait(worker); /* what all workers prepared together is there */
  return true;
}

void gk_wavefront_layers(const struct gk_worker *worker, int *begin, int *end) {
  size_t from, to;
  gk_split((size_t)worker->run->rnn->desc.layers, 1, worker->thread, worker->threads, &from, &to);
  *begin = (int)from;
  *end = (int)to;
}
