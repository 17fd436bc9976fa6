/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads are not equally fast: cores differ, and another program, or what else a host of virtual machines
 * computes, may take a part of one. A network keeps how fast each thread went through its slice, and later
 * calls cut slices, and the units of weight gradients, in that proportion. Who computes a row changes no bit
 * of it. Slices of ragged batches, or of fewer threads than the network may have, teams and wavefronts are
 * cut evenly. Callers that use one network at the same time leave their paces in one place: each gets a
 * mixture. */
#ifndef GK_SEQUENCE_PACE_H
#define GK_SEQUENCE_PACE_H

#include "src/core/clock.h"
#include "src/sequence/run.h"

/* If a call's slices, of samples of one length, follow the pace of so many threads. */
bool gk_pace_moves_slices(const struct gk_rnn *rnn, int64_t batch, int threads);

/* Finds the shares of the threads, of samples that are sorted. */
void gk_pace_open(struct gk_run *run);

/* Around what a thread does without waiting for others. */
static inline double gk_pace_begin(const struct gk_worker *worker) {
  return worker->paced ? gk_clock_seconds() : 0;
}
static inline void gk_pace_end(struct gk_worker *worker, double began) {
  if (worker->paced)
    worker->busy += gk_clock_seconds() - began;
}

/* Leaves the worker's pace to later calls. */
void gk_pace_keep(const struct gk_worker *worker);

#endif
