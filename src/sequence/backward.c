/* SPDX-License-Identifier: Apache-2.0
 * Backward through time, strictly t = T-1 ... 0: the recurrent product gives dh of the step before, and the
 * cell takes that strip while it is hot. Chunk by chunk dx goes to the layer below, and weight gradients take
 * the rows of whole blocks of their sums while these are in cache. */
#include <string.h>

#include "src/sequence/backward.h"
#include "src/core/arguments.h"
#include "src/sequence/feedback.h"
#include "src/sequence/masks.h"
#include "src/sequence/pace.h"
#include "src/sequence/reserve.h"

/* The gradient of an inner layer's output, of a stack of one direction. Threads may be at different layers:
 * all have one stride. */
static struct gk_buffer_rows d_output_rows(const struct gk_run *run, int layer, int64_t s) {
  const int64_t steps = run->plan.kept_steps, slots = run->d_output_layers * steps;
  const int64_t slot = layer % run->d_output_layers * steps + s % steps;
  return (struct gk_buffer_rows){run->d_output, run->rnn->widest_output, slots, slot};
}

/* The gradients of the layer's output. */
static void list_output_gradients(const struct gk_worker *worker, int layer, int direction, int64_t s,
                                  int64_t rows) {
  const struct gk_run *run = worker->run;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  const bool last = layer + 1 == run->rnn->desc.layers;
  if (!last && run->rnn->directions == 1) {
    gk_worker_list_read(worker, rows, d_output_rows(run, layer, s), worker->dy);
    return;
  }
  for (int64_t j = 0; j < rows; j++) {
    const int64_t i = gk_worker_position(worker, j), t = gk_run_time(run, direction, s, run->length[i]);
    const float *row =
        last ? run->dy + (size_t)gk_run_caller_row(run, t, run->order[i]) * weights->output_width
             : gk_run_left_output(run, layer, t, i);
    worker->dy[j] = row + weights->output_column;
  }
}

static void point_at_cell(const struct gk_worker *worker, int layer, int direction, int64_t s, int64_t rows) {
  const struct gk_run *run = worker->run;
  const struct gk_saved *saved = gk_run_saved(run, layer, direction);
  gk_worker_list(worker, rows, gk_saved_gates(run, saved, s), worker->saved_gates);
  gk_worker_list_d_pre(worker, layer, s, rows, 0, worker->d_pre);
  if (gk_dx_waits(run, layer))
    gk_worker_list(worker, rows, gk_left_gates(run, layer, direction, s), worker->d_pre_copy);
  gk_worker_list(worker, rows, gk_saved_own_h(run, saved, s), worker->h);
  if (saved->c)
    gk_worker_list(worker, rows, gk_saved_own_c(run, saved, s), worker->c);
  gk_worker_list_states(worker, layer, direction, s, rows, gk_saved_h(run, saved, s - 1),
                        gk_saved_c(run, saved, s - 1));
  if (layer + 1 < run->rnn->desc.layers || run->dy)
    list_output_gradients(worker, layer, direction, s, rows);
  if (saved->scales)
    gk_worker_list(worker, rows, gk_saved_scales(run, saved, s), worker->scales);
  if (saved->d_h)
    gk_worker_list(worker, rows, gk_saved_d_h(run, saved, s), worker->d_h);
  for (int64_t j = 0; j < rows && saved->d_h; j++)
    worker->d_whole_h[j] = gk_run_whole_h(run, gk_worker_position(worker, j));
}

struct backward_step {
  const struct gk_worker *worker;
  int layer, direction;
  struct gk_cell_backward cell;
};

/* Phase p of the cell's backward arithmetic needs the rows of step s. */
static void enter_step(struct backward_step *step, int64_t s) {
  const int64_t rows = gk_worker_rows(step->worker, s);
  point_at_cell(step->worker, step->layer, step->direction, s, rows);
  step->cell.rows = (size_t)rows;
}

/* Is the arithmetic left until the gradient of h is whole? */
static bool defers(const struct gk_run *run) {
  return gk_run_projects(run) || run->rnn->cell->normalised;
}

/* No gradient goes from the first step of a sequence to the step before it: the worker's rows of step s, the
 * units of a strip. */
static void stop_carry(const struct backward_step *step, int64_t s, size_t rows, size_t begin, size_t end,
                       float *const *carry) {
  const struct gk_worker *worker = step->worker;
  for (size_t j = 0; j < rows; j++)
    if (gk_run_resets(worker->run, step->direction, s, gk_worker_position(worker, (int64_t)j)))
      memset(carry[j] + begin, 0, (end - begin) * sizeof(float));
}

/* What waits for the gradient of h of step s, in a strip of its values: phase 0 of the cell's arithmetic, or
 * where that needs all of them, what comes before. */
static void start_cell(struct backward_step *step, int64_t s) {
  const struct gk_worker *worker = step->worker;
  const struct gk_run *run = worker->run;
  struct gk_cell_backward cell = step->cell;
  if (run->dh_norms)
    gk_flow_keep(worker, &cell, s);
  if (run->zones_out)
    gk_zone_out_backward_h(worker, step->layer, step->direction, s, &cell);
  if (run->zones_out && !defers(run))
    gk_zone_out_backward_c(worker, step->layer, step->direction, s, &cell);
  if (gk_run_projects(run))
    gk_projection_gather(worker, cell.rows, cell.dy, cell.unit_begin, cell.unit_end);
  else if (!defers(run))
    run->rnn->arithmetic.backward[0](&cell);
}

/* Arithmetic that needs whole rows, when all of them are there. */
static void whole_rows(const struct gk_worker *worker, struct gk_cell_backward cell) {
  size_t begin, end;
  gk_worker_meet(worker);
  gk_worker_whole_rows(worker, cell.rows, &begin, &end);
  cell.rows = end - begin;
  cell.unit_begin = 0;
  cell.unit_end = cell.hidden;
  cell.scales += begin;
  cell.gates += begin;
  cell.d_pre += begin;
  cell.c_prev += begin;
  cell.c += begin;
  cell.dh += begin;
  cell.dc += begin;
  if (cell.d_pre_copy)
    cell.d_pre_copy += begin;
  if (cell.dy)
    cell.dy += begin;
  worker->run->rnn->arithmetic.backward[0](&cell);
  gk_worker_meet(worker);
}

/* Where the cell's arithmetic was left until all of the gradient of h of step s is there: through the
 * projection, the arithmetic, and all that a step does to the gradient of c; of one strip. */
static void finish_strip(struct backward_step *step, int64_t s, const struct gk_strips *strip) {
  const struct gk_worker *worker = step->worker;
  const struct gk_run *run = worker->run;
  const struct gk_rnn_layer *weights = gk_run_layer(run, step->layer, step->direction);
  const bool projects = gk_run_projects(run);
  struct gk_cell_backward cell = step->cell;
  cell.unit_begin = strip->unit_begin;
  cell.unit_end = strip->unit_end;
  if (projects)
    cell.dh = worker->d_whole_h;
  if (projects || run->rnn->desc.zoneout_h > 0)
    cell.dy = NULL; /* it is in dh */
  if (projects)
    gk_projection_backward(worker, weights, cell.rows, strip);
  if (run->zones_out)
    gk_zone_out_backward_c(worker, step->layer, step->direction, s, &cell);
  if (run->rnn->cell->normalised)
    whole_rows(worker, cell);
  else
    run->rnn->arithmetic.backward[0](&cell);
  if (run->zones_out)
    gk_zone_out_return_c(worker, cell.rows, cell.unit_begin, cell.unit_end);
  if (run->reset)
    stop_carry(step, s, cell.rows, cell.unit_begin, cell.unit_end, worker->dc);
}

static void finish_cell(struct backward_step *step, int64_t s) {
  const struct gk_run *run = step->worker->run;
  const struct gk_rnn_layer *weights = gk_run_layer(run, step->layer, step->direction);
  const bool projects = gk_run_projects(run), normalised = run->rnn->cell->normalised;
  const struct gk_matrix *matrix = projects ? &weights->dp : &weights->dh[0];
  size_t begin, end;
  if (!defers(run))
    return;
  gk_worker_columns(step->worker, matrix, &begin, &end);
  struct gk_strips strips =
      gk_matrix_strips(matrix, projects && !normalised ? step->cell.rows : 0, begin, end, s % 2 != 0);
  if (begin == end && normalised) /* rows are shared, whatever the units */
    finish_strip(step, s, &strips);
  while (gk_strips_next(&strips))
    finish_strip(step, s, &strips);
  gk_worker_meet(step->worker);
}

/* What the arithmetic of the step will read of what forward saved long ago, and would wait for; h of the step
 * before is for the weight gradient too, soon after. The kernels ask once more, some rows ahead, for what a
 * product was too short to ask for. Of few rows a team's threads each read a part. */
static void list_ahead(const struct backward_step *step, struct gk_ahead *ahead) {
  const struct gk_rnn *rnn = step->worker->run->rnn;
  const struct gk_cell_backward *cell = &step->cell;
  const size_t output = gk_run_layer(step->worker->run, step->layer, step->direction)->output;
  if (step->worker->teams)
    return;
  if (rnn->general || !rnn->cell->gates_in_h)
    gk_ahead_add(ahead, cell->gates, cell->rows, (size_t)rnn->cell->blocks * cell->hidden);
  if (rnn->cell->memory)
    gk_ahead_add(ahead, cell->c_prev, cell->rows, cell->hidden);
  gk_ahead_add(ahead, cell->h_prev, cell->rows, output);
  if (cell->dy)
    gk_ahead_add(ahead, cell->dy, cell->rows, output);
}

/* What a step does to the gradients that it hands to the step before, when its last product has added its
 * share; of one strip. Where the arithmetic was left, the gradient of c is finished with it. */
static void hand_on_carries(const struct backward_step *step, int64_t s, size_t rows,
                            const struct gk_strips *strip) {
  const struct gk_worker *worker = step->worker;
  const struct gk_run *run = worker->run;
  const size_t begin = strip->unit_begin, end = strip->unit_end;
  const bool cell_state = run->dc && !defers(run);
  if (run->zones_out)
    gk_zone_out_return_h(worker, rows, begin, end);
  if (run->zones_out && cell_state)
    gk_zone_out_return_c(worker, rows, begin, end);
  if (run->reset)
    stop_carry(step, s, rows, begin, end, worker->dh);
  if (run->reset && cell_state)
    stop_carry(step, s, rows, begin, end, worker->dc);
}

/* One recurrent product (its rows are those of step s, where `step` stands on entry) and, strip by strip, the
 * cell arithmetic that waits for it: phase `next` of this step, or phase 0 of step s-1. */
static void product_then_cell(struct backward_step *step, int phase, int64_t s, int next, bool leave_step) {
  const struct gk_worker *worker = step->worker;
  const struct gk_run *run = worker->run;
  const struct gk_cell_info *cell = run->rnn->cell;
  const struct gk_cell_phase *product = &cell->phase[phase];
  const struct gk_matrix *matrix = &gk_run_layer(run, step->layer, step->direction)->dh[phase];
  const size_t hidden = step->cell.hidden, rows = step->cell.rows;
  const bool to_h = product->operand_block == GK_OPERAND_H, in_place = to_h && !run->drops_state;
  const size_t block = (size_t)cell->recurrent_block[product->gate[0]];
  for (size_t j = 0; j < rows; j++)
    worker->operand[j] = worker->d_pre[j] + block * hidden;
  struct gk_ahead ahead = {0};
  if (leave_step) {
    enter_step(step, s - 1);
    list_ahead(step, &ahead);
  }
  size_t begin, end;
  gk_worker_columns(worker, matrix, &begin, &end);
  struct gk_strips strips = gk_matrix_strips(matrix, rows, begin, end, s % 2 != 0);
  while (gk_strips_next(&strips)) {
    step->cell.unit_begin = strips.unit_begin;
    step->cell.unit_end = strips.unit_end;
    gk_matrix_strip_product(matrix, run->rnn->kernels, gk_run_weights(run), &strips, rows, worker->operand,
                            in_place ? worker->dh : worker->drh, in_place ? GK_START_C : GK_START_ZERO,
                            strips.taken == 1 ? &ahead : NULL);
    if (run->drops_state)
      gk_mask_gradient(worker, step->layer, step->direction, s, rows, strips.unit_begin, strips.unit_end,
                       to_h);
    if (phase == 0)
      hand_on_carries(step, s, rows, &strips);
    if (next == 0)
      start_cell(step, s - 1);
    else if (next > 0)
      run->rnn->arithmetic.backward[next](&step->cell);
  }
}

/* Does anybody read the gradient of the states before the first step? */
static bool reads_first_gradient(const struct gk_run *run) {
  return run->dh0 || run->dc0 || (run->gradients && run->rnn->desc.trained_states);
}

/* The carries of h and c between steps: the worker's columns. */
struct carries {
  size_t h_begin, h_end, c_begin, c_end;
};

static struct carries carries_of(const struct gk_worker *worker, const struct gk_rnn_layer *weights) {
  struct carries of;
  gk_worker_columns(worker, &weights->dh[0], &of.h_begin, &of.h_end);
  of.c_begin = of.h_begin;
  of.c_end = of.h_end;
  if (gk_run_projects(worker->run))
    gk_worker_columns(worker, &weights->dp, &of.c_begin, &of.c_end);
  return of;
}

/* Carried on from a later call as if there had been one: there, too, dh is flushed with a step's dy only. */
static void start_carries(const struct gk_worker *worker, int layer, int direction) {
  const struct gk_run *run = worker->run;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  const struct carries of = carries_of(worker, weights);
  for (int64_t j = 0; j < worker->count; j++) {
    const int64_t i = gk_worker_position(worker, j);
    memcpy(run->dh + gk_run_h_row(run, weights, i) + of.h_begin,
           gk_run_given_h(run, run->dhn, weights, i) + of.h_begin, (of.h_end - of.h_begin) * sizeof(float));
    if (run->dc)
      run->rnn->kernels->flush(of.c_end - of.c_begin, gk_run_given_c(run, run->dcn, weights, i) + of.c_begin,
                               run->dc + gk_run_c_row(run, weights, i) + of.c_begin);
  }
}

static void return_carries(const struct gk_worker *worker, int layer, int direction) {
  const struct gk_run *run = worker->run;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  const struct carries of = carries_of(worker, weights);
  for (int64_t j = 0; j < worker->count; j++) {
    const int64_t i = gk_worker_position(worker, j), n = run->order[i];
    if (run->dh0)
      memcpy(run->dh0 + gk_run_h_row(run, weights, n) + of.h_begin,
             run->dh + gk_run_h_row(run, weights, i) + of.h_begin, (of.h_end - of.h_begin) * sizeof(float));
    if (run->dc0 && run->dc)
      memcpy(run->dc0 + gk_run_c_row(run, weights, n) + of.c_begin,
             run->dc + gk_run_c_row(run, weights, i) + of.c_begin, (of.c_end - of.c_begin) * sizeof(float));
  }
}

void gk_backward_chunk(const struct gk_worker *worker, int layer, int direction, int64_t begin, int64_t end) {
  const struct gk_run *run = worker->run;
  const struct gk_cell_info *info = run->rnn->cell;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  for (int64_t j = 0; j < worker->count; j++) {
    const int64_t i = gk_worker_position(worker, j);
    worker->dh[j] = run->dh + gk_run_h_row(run, weights, i);
    if (run->dc)
      worker->dc[j] = run->dc + gk_run_c_row(run, weights, i);
    if (run->drh)
      worker->drh[j] = run->drh + (size_t)i * gk_widest_state(run->rnn);
  }
  struct backward_step step = {
      .worker = worker,
      .layer = layer,
      .direction = direction,
      .cell = {.hidden = weights->hidden,
               .activation = run->rnn->variant[direction].function[GK_CANDIDATE].kind,
               .variant = &run->rnn->variant[direction],
               .peephole = run->rnn->peepholes ? run->packed + weights->peephole : NULL,
               .gates = (const float *const *)worker->saved_gates,
               .d_pre = worker->d_pre,
               .d_pre_copy = gk_dx_waits(run, layer) ? worker->d_pre_copy : NULL,
               .norm = run->packed + weights->norm,
               .scales = (const float *const *)worker->scales,
               .h_prev = worker->h_prev,
               .c_prev = worker->c_prev,
               .h = (const float *const *)worker->h,
               .c = (const float *const *)worker->c,
               .units_split = worker->teams,
               .dh = worker->dh,
               .dc = worker->dc,
               .drh = worker->drh,
               .dy = layer + 1 < run->rnn->desc.layers || run->dy ? worker->dy : NULL}};
  enter_step(&step, end - 1);
  gk_worker_columns(worker, &weights->dh[0], &step.cell.unit_begin, &step.cell.unit_end);
  start_cell(&step, end - 1);
  gk_worker_meet(worker);
  finish_cell(&step, end - 1);
  if (run->dh_norms)
    gk_flow_norms(worker, layer, direction, end - 1);
  for (int64_t s = end; s-- > begin;)
    for (int next = 1; next <= info->phases; next++) {
      const bool last = next == info->phases;
      if (last && s == 0 && !reads_first_gradient(run))
        break;
      product_then_cell(&step, info->phases - next, s, !last ? next : s > begin ? 0 : -1, last && s > begin);
      gk_worker_meet(worker);
      if (run->dh_norms && last && s > begin)
        gk_flow_norms(worker, layer, direction, s - 1);
      if (last && s > begin)
        finish_cell(&step, s - 1);
    }
}

/* Rows of dx: the caller's, or the gradient of the output of the layer below. */
static void list_input_gradients(const struct gk_worker *worker, int layer, int direction, int64_t s,
                                 int64_t rows, float **list) {
  const struct gk_run *run = worker->run;
  if (layer > 0 && run->rnn->directions == 1) {
    gk_worker_list(worker, rows, d_output_rows(run, layer - 1, s), list);
    return;
  }
  for (int64_t j = 0; j < rows; j++) {
    const int64_t i = gk_worker_position(worker, j), t = gk_run_time(run, direction, s, run->length[i]);
    list[j] = layer > 0 ? gk_run_left_output(run, layer - 1, t, i)
                        : run->dx + (size_t)gk_run_caller_row(run, t, run->order[i]) *
                                        (size_t)run->rnn->desc.input_size;
  }
}

void gk_input_gradient_chunk(const struct gk_worker *worker, int layer, int direction, int64_t begin,
                             int64_t end) {
  const struct gk_run *run = worker->run;
  if (layer == 0 && !run->dx)
    return;
  const struct gk_cell_info *cell = run->rnn->cell;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  const struct gk_matrix *matrix = &weights->dx;
  const size_t block = (size_t)cell->input_block[cell->input_order[0]] * weights->hidden;
  const bool masked = layer > 0 ? run->rnn->desc.dropout > 0 : run->masked_x != NULL;
  const bool last_direction = direction + 1 == run->rnn->directions;
  size_t rows = 0, unit_begin, unit_end;
  gk_worker_columns(worker, matrix, &unit_begin, &unit_end);
  for (int64_t s = begin; s < end; s++) {
    const int64_t count = gk_worker_rows(worker, s);
    gk_worker_list_d_pre(worker, layer, s, count, block, (float **)worker->chunk_a + rows);
    list_input_gradients(worker, layer, direction, s, count, worker->chunk_c + rows);
    rows += (size_t)count;
  }
  gk_matrix_product(matrix, run->rnn->kernels, gk_run_weights(run), unit_begin, unit_end, rows,
                    worker->chunk_a, worker->chunk_c, direction == 0 ? GK_START_ZERO : GK_START_C);
  rows = 0;
  for (int64_t s = begin; s < end && masked && last_direction; s++) {
    const int64_t count = gk_worker_rows(worker, s);
    for (int64_t j = 0; j < count; j++) {
      const int64_t i = gk_worker_position(worker, j);
      gk_mask_drop(run, layer ? GK_MASK_OUTPUT : GK_MASK_INPUT, layer ? layer - 1 : 0, 0,
                   gk_run_time(run, direction, s, run->length[i]), i, unit_begin, unit_end,
                   worker->chunk_c[rows], worker->chunk_c[rows]);
      rows++;
    }
  }
}

static void clear_padding(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  const size_t width = (size_t)run->rnn->desc.input_size;
  if (!run->dx || !gk_worker_leads(worker))
    return;
  for (int64_t j = worker->count; j-- > 0;)
    gk_run_clear_padding(run, gk_worker_position(worker, j), width, run->dx);
}

/* One direction: a chunk goes down through all layers while its gradients are in cache. */
static void sweep_stack(struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  const int layers = (int)run->rnn->desc.layers;
  for (int64_t end = run->length[0], begin; end > 0; end = begin) {
    begin = gk_chunk_before(run, end);
    gk_backward_enter(worker, begin, end);
    if (run->feed)
      gk_feed_backward(worker, begin, end);
    for (int layer = layers; layer-- > 0;) {
      const double began = gk_pace_begin(worker);
      gk_backward_chunk(worker, layer, 0, begin, end);
      gk_input_gradient_chunk(worker, layer, 0, begin, end);
      gk_pace_end(worker, began);
      gk_worker_meet(worker);
      gk_weight_gradient(worker, layer, 0, worker->rows_swept, false);
    }
  }
  for (int layer = 0; layer < layers; layer++)
    gk_weight_gradient(worker, layer, 0, worker->rows_swept, true);
  if (run->feed)
    gk_feed_gradients(worker);
}

/* Layers at different times: in each wave a thread takes the chunk that the one above it has left. */
static void sweep_stack_wavefront(const struct gk_worker *worker, struct gk_worker *lane) {
  const struct gk_run *run = lane->run;
  const int64_t longest = run->length[0], chunk = run->plan.chunk, chunks = (longest + chunk - 1) / chunk;
  const int64_t behind = worker->threads - 1 - worker->thread;
  int first, last;
  int64_t rows = 0; /* of the sweep, that all threads have finished */
  gk_wavefront_layers(worker, &first, &last);
  for (int64_t wave = 0; wave < chunks + worker->threads - 1; wave++) {
    const int64_t begin = (chunks - 1 - wave + behind) * chunk;
    const int64_t end = gk_chunk_end(run, begin);
    if (begin >= 0 && begin < longest) {
      gk_backward_enter(lane, begin, end);
      for (int layer = last; layer-- > first;) {
        gk_backward_chunk(lane, layer, 0, begin, end);
        gk_input_gradient_chunk(lane, layer, 0, begin, end);
      }
    }
    /* All threads form their blocks in the same wave, when the last one has the rows: a block takes longer
     * than a chunk, and in waves of their own each would keep the others waiting (LSTM 2x64, four samples, 70
     * steps: backward 1.6 times as long). */
    const int64_t reached = begin + worker->thread * chunk;
    for (int64_t s = reached; s < reached + chunk && s < longest; s++)
      rows += gk_run_rows(run, s);
    for (int layer = last; layer-- > first;)
      gk_weight_gradient(lane, layer, 0, rows, false);
    gk_worker_wait(worker);
  }
  for (int layer = first; layer < last; layer++)
    gk_weight_gradient(lane, layer, 0, rows, true);
  gk_worker_wait(worker);
}

static void backward_body(void *context, int thread, int threads) {
  const struct gk_run *run = context;
  struct gk_worker worker;
  gk_worker_start(&worker, run, thread, threads);
  gk_masks_draw(&worker);
  clear_padding(&worker);
  if (run->dh_norms)
    gk_flow_clear(&worker);
  for (int k = 0; k < run->rnn->layer_count; k++)
    start_carries(&worker, k / run->rnn->directions, k % run->rnn->directions);
  gk_weight_gradient_start(&worker);
  struct gk_worker lane;
  if (gk_wavefront_enter(&worker, &lane)) {
    if (run->rnn->directions == 1)
      sweep_stack_wavefront(&worker, &lane);
    else
      gk_backward_directions_at_once(&worker, &lane);
  } else if (run->rnn->directions == 1) {
    sweep_stack(&worker);
  } else {
    gk_backward_directions(&worker);
  }
  for (int k = 0; k < run->rnn->layer_count; k++)
    return_carries(&worker, k / run->rnn->directions, k % run->rnn->directions);
  gk_weight_gradient_end(&worker);
  if (run->gradients && (gk_run_projects(run) || run->rnn->desc.trained_states))
    gk_worker_wait(&worker);
  for (int k = 0; k < run->rnn->layer_count && run->gradients && gk_run_projects(run); k++)
    gk_projection_gradient(&worker, k / run->rnn->directions, k % run->rnn->directions);
  if (run->gradients && run->rnn->desc.trained_states)
    gk_state_gradients(&worker);
  gk_pace_keep(&worker);
  if (run->stream_gradients)
    run->rnn->kernels->stream_end();
}

static gk_status check_arguments(const gk_rnn *rnn, const gk_rnn_backward_args *args) {
  gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"args", args});
  if (!status)
    status = gk_check_size_field("args", args->size, sizeof *args, "GK_RNN_BACKWARD_ARGS_INIT");
  if (status)
    return status;
  if (args->dx && rnn->desc.vocabulary)
    return gk_fail(GK_ERROR_ARGUMENT, "dx is given, and the inputs are tokens of a vocabulary of %lld",
                   (long long)rnn->desc.vocabulary);
  status = gk_run_check(rnn, args->time, args->batch, args->lengths, args->x, args->tokens, args->parameters);
  if (!status && args->batch && args->time && !args->reserve)
    status = gk_fail(GK_ERROR_ARGUMENT, "reserve is NULL");
  return status;
}

gk_status gk_rnn_backward(const gk_rnn *rnn, const gk_rnn_backward_args *args) {
  return gk_rnn_backward_fed(rnn, args, NULL);
}

gk_status gk_rnn_backward_fed(const gk_rnn *rnn, const gk_rnn_backward_args *args,
                              const struct gk_feed *feed) {
  gk_status status = check_arguments(rnn, args);
  if (status)
    return status;
  if (args->batch == 0) {
    if (args->gradients && !args->accumulate)
      memset(args->gradients, 0, (size_t)rnn->parameter_count * sizeof(float));
    return GK_OK;
  }
  struct gk_run run = {.rnn = rnn,
                       .time = args->time,
                       .batch = args->batch,
                       .training = true,
                       .parameters = args->parameters,
                       .x = args->x,
                       .tokens = rnn->desc.vocabulary ? args->tokens : NULL,
                       .h0 = args->h0,
                       .c0 = args->c0,
                       .reset = args->reset,
                       .random = args->random,
                       .feed = feed,
                       .dy = args->dy,
                       .dhn = args->dhn,
                       .dcn = args->dcn,
                       .dx = args->dx,
                       .dh0 = args->dh0,
                       .dc0 = args->dc0,
                       .gradients = args->gradients,
                       .accumulate = args->accumulate,
                       .keep = args->keep_reserve,
                       .dh_norms = args->dh_norms};
  status = gk_run_find_weights(&run, GK_PACK_BACKWARD, args->packed);
  if (!status)
    status = gk_run_open(&run, args->lengths, args->workspace, args->reserve, true);
  if (!status)
    gk_parallel(run.plan.threads, backward_body, &run);
  if (!status && args->time && !args->keep_reserve)
    gk_reserve_close(args->reserve);
  return status;
}
