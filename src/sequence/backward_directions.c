/* SPDX-License-Identifier: Apache-2.0
 * Backward through two directions, layer by layer: one direction after the other, or both at once. */
#include <string.h>

#include "src/sequence/backward.h"
#include "src/sequence/pace.h"

/* Gradients of the pre-activations of a chunk, again as operands: two directions finish their sweep first. */
static void reload_chunk(struct gk_worker *worker, int layer, int direction, int64_t begin, int64_t end) {
  const struct gk_run *run = worker->run;
  const size_t width = gk_run_saved(run, layer, direction)->gates_width;
  if (layer == 0 && !run->dx)
    return;
  gk_worker_enter_lone_chunk(worker, begin, end);
  gk_worker_meet(worker);
  for (int64_t s = begin; s < end && gk_worker_leads(worker); s++) {
    const int64_t count = gk_worker_rows(worker, s);
    const struct gk_buffer_rows left = gk_left_gates(run, layer, direction, s);
    gk_worker_list_d_pre(worker, layer, s, count, 0, worker->d_pre);
    for (int64_t j = 0; j < count; j++)
      memcpy(worker->d_pre[j], gk_row_at(run, left, gk_worker_position(worker, j)), width * sizeof(float));
  }
  gk_worker_meet(worker);
}

/* All steps of one direction of a layer. */
static void sweep_direction(struct gk_worker *worker, int layer, int direction) {
  const struct gk_run *run = worker->run;
  worker->rows_swept = 0;
  for (int64_t end = run->length[0], begin; end > 0; end = begin) {
    begin = gk_chunk_before(run, end);
    gk_backward_enter(worker, begin, end);
    const double began = gk_pace_begin(worker);
    gk_backward_chunk(worker, layer, direction, begin, end);
    gk_pace_end(worker, began);
    if (!gk_dx_waits(run, layer)) {
      gk_input_gradient_chunk(worker, layer, direction, begin, end);
      gk_worker_meet(worker);
    }
    gk_weight_gradient(worker, layer, direction, worker->rows_swept, false);
  }
  gk_weight_gradient(worker, layer, direction, worker->rows_swept, true);
}

/* Then dx, of one after the other. */
static void input_gradients_of_directions(struct gk_worker *worker, int layer) {
  const struct gk_run *run = worker->run;
  if (!gk_dx_waits(run, layer))
    return;
  for (int direction = 0; direction < 2; direction++)
    for (int64_t begin = 0, end; begin < run->length[0]; begin = end) {
      end = gk_chunk_end(run, begin);
      reload_chunk(worker, layer, direction, begin, end);
      gk_input_gradient_chunk(worker, layer, direction, begin, end);
    }
  gk_worker_wait(worker); /* rows of the ring are numbered anew */
}

void gk_backward_directions(struct gk_worker *worker) {
  for (int layer = (int)worker->run->rnn->desc.layers; layer-- > 0;) {
    for (int direction = 0; direction < 2; direction++) {
      sweep_direction(worker, layer, direction);
      gk_worker_wait(worker);
    }
    input_gradients_of_directions(worker, layer);
  }
}

void gk_backward_directions_at_once(struct gk_worker *worker, struct gk_worker *lane) {
  for (int layer = (int)worker->run->rnn->desc.layers; layer-- > 0;) {
    if (worker->thread < 2)
      sweep_direction(lane, layer, worker->thread);
    gk_worker_wait(worker);
    input_gradients_of_directions(worker, layer);
  }
}
