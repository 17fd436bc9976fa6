/* SPDX-License-Identifier: Apache-2.0
 *
 * What the backward sweeps of one direction (backward.c) and of two (backward_directions.c) share. */
#ifndef GK_SEQUENCE_BACKWARD_H
#define GK_SEQUENCE_BACKWARD_H

#include "src/sequence/rows.h"

/* Lists the gradients of the pre-activations of a step of the current chunk, the worker's first `count` rows,
 * from the float `at` of each on. */
static inline void gk_worker_list_d_pre(const struct gk_worker *worker, int layer, int64_t s, int64_t count,
                                        size_t at, float **list) {
  const struct gk_run *run = worker->run;
  const struct gk_gradient_ring *ring = gk_run_gradient_ring(run, layer);
  int64_t row = (worker->chunk_row[s % run->plan.chunk] + worker->first) % run->d_pre_rows;
  for (int64_t j = 0; j < count; j++) {
    list[j] = ring->rows + (size_t)row * ring->width + at;
    row += worker->stride;
    if (row >= run->d_pre_rows)
      row -= run->d_pre_rows;
  }
}

/* Of two directions, dx waits until both have finished a layer where it takes the place of what the layer
 * read, or where both are swept at once; until then the gradients of the pre-activations are left in the
 * reserve. */
static inline bool gk_dx_waits(const struct gk_run *run, int layer) {
  return run->rnn->directions == 2 && (layer > 0 || run->lanes);
}

static inline void gk_backward_enter(struct gk_worker *worker, int64_t begin, int64_t end) {
  if (worker->run->gradients)
    gk_worker_enter_chunk(worker, begin, end);
  else
    gk_worker_enter_lone_chunk(worker, begin, end);
}

/* Steps end-1 ... begin of one layer. */
void gk_backward_chunk(const struct gk_worker *worker, int layer, int direction, int64_t begin, int64_t end);
/* dx of steps [begin, end); the second direction adds to what the first one wrote. */
void gk_input_gradient_chunk(const struct gk_worker *worker, int layer, int direction, int64_t begin,
                             int64_t end);

/* Two directions: a layer must be finished, weight gradients included, before dx may take the place of the
 * output of the layer below. */
void gk_backward_directions(struct gk_worker *worker);
/* Both at once, each in a lane of its own. */
void gk_backward_directions_at_once(struct gk_worker *worker, struct gk_worker *lane);

#endif
