/* SPDX-License-Identifier: Apache-2.0
 *
 * Where rows stand: of a step in the buffers of a call, and in the caller's tensors. i is a position, s an
 * internal step, t a time (run.h). */
#ifndef GK_SEQUENCE_ROWS_H
#define GK_SEQUENCE_ROWS_H

#include "src/core/layout.h"
#include "src/sequence/run.h"

static inline bool gk_run_reverse(const struct gk_run *run, int direction) {
  return run->rnn->desc.direction == GK_REVERSE || direction == 1;
}
/* Time of internal step s, for a sample of `length`. */
static inline int64_t gk_run_time(const struct gk_run *run, int direction, int64_t s, int64_t length) {
  return gk_run_reverse(run, direction) ? length - 1 - s : s;
}
/* Index of (t, n) in the caller's layout, to be multiplied by a row's width. */
static inline int64_t gk_run_caller_row(const struct gk_run *run, int64_t t, int64_t n) {
  return gk_layout_row(run->rnn->desc.layout, run->time, run->batch, t, n);
}
/* Row of position i at step s of a buffer of `steps`. */
static inline size_t gk_run_row(const struct gk_run *run, int64_t steps, int64_t s, int64_t i) {
  const struct gk_place *place = &run->places[i];
  return (size_t)(place->before * steps + s * place->rows + place->at);
}
/* The rows of step s of a buffer of so many steps. */
struct gk_buffer_rows {
  float *buffer;
  size_t width; /* floats from row to row */
  int64_t steps, s;
};
static inline float *gk_row_at(const struct gk_run *run, struct gk_buffer_rows rows, int64_t i) {
  return rows.buffer + gk_run_row(run, rows.steps, rows.s, i) * rows.width;
}
/* Lists the first `count` rows of a worker, to be written or to be read. */
static inline void gk_worker_list(const struct gk_worker *worker, int64_t count, struct gk_buffer_rows rows,
                                  float **list) {
  for (int64_t j = 0; j < count;) {
    const int64_t i = gk_worker_position(worker, j);
    const struct gk_place *place = &worker->run->places[i];
    int64_t end = j + (worker->in_line ? place->rows - place->at : 1);
    end = end < count ? end : count;
    for (float *row = gk_row_at(worker->run, rows, i); j < end; j++, row += rows.width)
      list[j] = row;
  }
}
static inline void gk_worker_list_read(const struct gk_worker *worker, int64_t count,
                                       struct gk_buffer_rows rows, const float **list) {
  gk_worker_list(worker, count, rows, (float **)list);
}
/* What forward keeps of step s: gates, states, and h and c as the cell made them. */
static inline struct gk_buffer_rows gk_saved_gates(const struct gk_run *run, const struct gk_saved *saved,
                                                   int64_t s) {
  return (struct gk_buffer_rows){saved->gates, saved->gates_width, run->time, s};
}
static inline struct gk_buffer_rows gk_saved_h(const struct gk_run *run, const struct gk_saved *saved,
                                               int64_t s) {
  return (struct gk_buffer_rows){saved->h, saved->h_width, run->time, s};
}
static inline struct gk_buffer_rows gk_saved_c(const struct gk_run *run, const struct gk_saved *saved,
                                               int64_t s) {
  return (struct gk_buffer_rows){saved->c, saved->c_width, run->time, s};
}
static inline struct gk_buffer_rows gk_saved_own_h(const struct gk_run *run, const struct gk_saved *saved,
                                                   int64_t s) {
  return (struct gk_buffer_rows){saved->own_h ? saved->own_h : saved->h, saved->h_width, run->time, s};
}
static inline struct gk_buffer_rows gk_saved_own_c(const struct gk_run *run, const struct gk_saved *saved,
                                                   int64_t s) {
  return (struct gk_buffer_rows){saved->own_c ? saved->own_c : saved->c, saved->c_width, run->time, s};
}
/* The masked state that the step's products read; h before its projection, and the gradient of h; scales. */
static inline struct gk_buffer_rows gk_saved_operand(const struct gk_run *run, const struct gk_saved *saved,
                                                     int64_t s) {
  return (struct gk_buffer_rows){saved->operand, saved->operand_width, run->time, s};
}
static inline struct gk_buffer_rows gk_saved_whole_h(const struct gk_run *run, const struct gk_saved *saved,
                                                     int64_t s) {
  return (struct gk_buffer_rows){saved->whole_h, saved->c_width, run->time, s};
}
static inline struct gk_buffer_rows gk_saved_d_h(const struct gk_run *run, const struct gk_saved *saved,
                                                 int64_t s) {
  return (struct gk_buffer_rows){saved->d_h, saved->h_width, run->time, s};
}
static inline struct gk_buffer_rows gk_saved_scales(const struct gk_run *run, const struct gk_saved *saved,
                                                    int64_t s) {
  return (struct gk_buffer_rows){saved->scales, 4, run->time, s};
}
/* h before its projection, of the step at hand. */
static inline float *gk_run_whole_h(const struct gk_run *run, int64_t i) {
  return run->whole_h + (size_t)i * gk_padded(run->rnn->widest_hidden);
}
/* The states of step s while forward walks. */
static inline struct gk_buffer_rows gk_ring_h(const struct gk_run *run, const struct gk_ring *ring,
                                              int64_t s) {
  const int64_t steps = run->plan.kept_steps + 1;
  return (struct gk_buffer_rows){ring->h, ring->h_width, steps, s % steps};
}
/* The worker's copy of a buffer of gk_run_copies. */
static inline struct gk_buffer_rows gk_worker_copy(const struct gk_worker *worker,
                                                   struct gk_buffer_rows rows) {
  if (worker->teams && rows.buffer)
    rows.buffer += (size_t)(worker->thread % gk_run_copies(worker->run)) * (size_t)rows.steps *
                   (size_t)worker->run->batch * rows.width;
  return rows;
}
static inline struct gk_buffer_rows gk_ring_c(const struct gk_worker *worker, const struct gk_ring *ring,
                                              int64_t s) {
  const int64_t steps = worker->run->plan.kept_steps + 1;
  return gk_worker_copy(worker, (struct gk_buffer_rows){ring->c, ring->c_width, steps, s % steps});
}
/* Pre-activations of a step of the current chunk. */
static inline struct gk_buffer_rows gk_chunk_pre(const struct gk_worker *worker, int64_t s) {
  const struct gk_run *run = worker->run;
  const size_t width = gk_padded((size_t)run->rnn->cell->blocks * run->rnn->widest_hidden);
  return gk_worker_copy(worker,
                        (struct gk_buffer_rows){run->pre, width, run->plan.chunk, s % run->plan.chunk});
}
/* Flushed inputs of a step of the current chunk. */
static inline struct gk_buffer_rows gk_chunk_x(const struct gk_run *run, int64_t s) {
  const size_t width = gk_padded((size_t)run->rnn->desc.input_size);
  return (struct gk_buffer_rows){run->chunk_x, width, run->plan.chunk, s % run->plan.chunk};
}
/* Gradients of pre-activations: row number `row` of the sweep. A block of the weight gradient's sums never
 * goes round the ring. */
static inline const struct gk_gradient_ring *gk_run_gradient_ring(const struct gk_run *run, int layer) {
  return &run->d_pre[run->rnn->directions == 2 ? 0 : layer];
}
static inline float *gk_run_d_pre(const struct gk_run *run, int layer, int64_t row) {
  const struct gk_gradient_ring *ring = gk_run_gradient_ring(run, layer);
  return ring->rows + (size_t)(row % run->d_pre_rows) * ring->width;
}
/* Row n of a layer's block of a (L*D, N, H) tensor: h's, and c's. */
static inline size_t gk_run_h_row(const struct gk_run *run, const struct gk_rnn_layer *layer, int64_t n) {
  return (size_t)(layer->h_offset * run->batch) + (size_t)n * layer->output;
}
static inline size_t gk_run_c_row(const struct gk_run *run, const struct gk_rnn_layer *layer, int64_t n) {
  return (size_t)(layer->c_offset * run->batch) + (size_t)n * layer->hidden;
}
/* Such a row of the caller's, of position i, or zeros if the tensor is NULL. */
static inline const float *gk_run_given_h(const struct gk_run *run, const float *state,
                                          const struct gk_rnn_layer *layer, int64_t i) {
  return state ? state + gk_run_h_row(run, layer, run->order[i]) : run->zero;
}
static inline const float *gk_run_given_c(const struct gk_run *run, const float *state,
                                          const struct gk_rnn_layer *layer, int64_t i) {
  return state ? state + gk_run_c_row(run, layer, run->order[i]) : run->zero;
}
/* The initial states: the caller's, the trained ones, or zeros. */
static inline const float *gk_run_h0(const struct gk_run *run, int layer, int direction, int64_t i) {
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  return !run->h0 && run->rnn->desc.trained_states ? run->packed + weights->h0_row
                                                   : gk_run_given_h(run, run->h0, weights, i);
}
/* Is h zero before the first step of every sample? */
static inline bool gk_run_begins_from_zero(const struct gk_run *run) {
  return !run->h0 && !run->rnn->desc.trained_states;
}
static inline const float *gk_run_c0(const struct gk_run *run, int layer, int direction, int64_t i) {
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  return !run->c0 && run->rnn->desc.trained_states ? run->packed + weights->c0_row
                                                   : gk_run_given_c(run, run->c0, weights, i);
}
/* Does a sequence begin at internal step s: is the state before it zero, whatever it was? */
static inline bool gk_run_resets(const struct gk_run *run, int direction, int64_t s, int64_t i) {
  if (!run->reset)
    return false;
  const int64_t t = gk_run_time(run, direction, s, run->length[i]);
  if (gk_run_reverse(run, direction)) /* the step walked before this one is t + 1: its sequence ended there */
    return s > 0 && run->reset[gk_run_caller_row(run, t + 1, run->order[i])];
  return run->reset[gk_run_caller_row(run, t, run->order[i])];
}
/* h and c before step s of position i; `last`: those of the step before, where there is one. */
static inline const float *gk_run_h_before(const struct gk_run *run, int layer, int direction, int64_t s,
                                           int64_t i, struct gk_buffer_rows last) {
  if (gk_run_resets(run, direction, s, i))
    return run->zero;
  return s ? gk_row_at(run, last, i) : gk_run_h0(run, layer, direction, i);
}
static inline const float *gk_run_c_before(const struct gk_run *run, int layer, int direction, int64_t s,
                                           int64_t i, struct gk_buffer_rows last) {
  if (gk_run_resets(run, direction, s, i))
    return run->zero;
  return s ? gk_row_at(run, last, i) : gk_run_c0(run, layer, direction, i);
}
/* Lists them as h_prev and c_prev of the worker's first `count` rows; last_c.buffer is NULL where there is no
 * c. */
static inline void gk_worker_list_states(const struct gk_worker *worker, int layer, int direction, int64_t s,
                                         int64_t count, struct gk_buffer_rows last_h,
                                         struct gk_buffer_rows last_c) {
  const struct gk_run *run = worker->run;
  if (s > 0 && !run->reset) {
    gk_worker_list_read(worker, count, last_h, worker->h_prev);
    if (last_c.buffer)
      gk_worker_list_read(worker, count, last_c, worker->c_prev);
    return;
  }
  for (int64_t j = 0; j < count; j++) {
    const int64_t i = gk_worker_position(worker, j);
    worker->h_prev[j] = gk_run_h_before(run, layer, direction, s, i, last_h);
    if (last_c.buffer)
      worker->c_prev[j] = gk_run_c_before(run, layer, direction, s, i, last_c);
  }
}
static inline float *gk_run_masked_input(const struct gk_run *run, int64_t t, int64_t i) {
  return run->masked_x + gk_run_row(run, run->time, t, i) * gk_padded((size_t)run->rnn->desc.input_size);
}
/* Row of a layer's output buffer at time t. */
static inline float *gk_run_output(const struct gk_run *run, int layer, int64_t t, int64_t i) {
  return run->outputs[layer] + gk_run_row(run, run->time, t, i) * gk_run_layer(run, layer, 0)->output_width;
}
/* Two directions: where backward leaves gradients of pre-activations until dx is formed, and that of an inner
 * layer's output. */
static inline struct gk_buffer_rows gk_left_gates(const struct gk_run *run, int layer, int direction,
                                                  int64_t s) {
  const size_t widest = (size_t)run->rnn->cell->blocks * run->rnn->widest_hidden;
  if (!run->spare_gates)
    return gk_saved_gates(run, gk_run_saved(run, layer, direction), s);
  return (struct gk_buffer_rows){run->spare_gates, widest, 2 * run->time, direction * run->time + s};
}
static inline float *gk_run_left_output(const struct gk_run *run, int layer, int64_t t, int64_t i) {
  if (!run->spare_output)
    return gk_run_output(run, layer, t, i);
  return run->spare_output + gk_run_row(run, run->time, t, i) * run->rnn->widest_output;
}
/* Is the input of a layer just h of the layer below at the same step? */
static inline bool gk_run_reads_h_below(const struct gk_run *run, int layer) {
  return layer > 0 && !run->outputs[layer - 1];
}
/* The input of a layer at internal step s, where that is not so. */
static inline const float *gk_run_input(const struct gk_run *run, int layer, int direction, int64_t s,
                                        int64_t i) {
  const int64_t t = gk_run_time(run, direction, s, run->length[i]);
  if (layer == 0 && run->masked_x)
    return gk_run_masked_input(run, t, i);
  if (layer == 0)
    return run->x + (size_t)gk_run_caller_row(run, t, run->order[i]) * (size_t)run->rnn->desc.input_size;
  return gk_run_output(run, layer - 1, t, i);
}

#endif
