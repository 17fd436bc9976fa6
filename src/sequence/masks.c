/* SPDX-License-Identifier: Apache-2.0
 * Regularisation: what random masks do on the way of a call. Forward and backward draw the same numbers, row
 * by row, from the counters that name them: nothing of a mask is kept. */
#include "src/sequence/masks.h"
#include "src/sequence/rows.h"

#include <string.h>

#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/names.h"

enum { CHUNK = 256 }; /* numbers drawn at once, on the stack */

static const enum gk_random_purpose purposes[GK_MASK_COUNT] = {
    [GK_MASK_INPUT] = GK_RANDOM_INPUT_DROPOUT,         [GK_MASK_OUTPUT] = GK_RANDOM_DROPOUT,
    [GK_MASK_RECURRENT] = GK_RANDOM_RECURRENT_DROPOUT, [GK_MASK_WEIGHT] = GK_RANDOM_WEIGHT_DROPOUT,
    [GK_MASK_ZONEOUT_H] = GK_RANDOM_ZONEOUT_H,         [GK_MASK_ZONEOUT_C] = GK_RANDOM_ZONEOUT_C,
};

static float probability(const gk_rnn_desc *d, gk_mask mask) {
  const float p[GK_MASK_COUNT] = {
      [GK_MASK_INPUT] = d->input_dropout,         [GK_MASK_OUTPUT] = d->dropout,
      [GK_MASK_RECURRENT] = d->recurrent_dropout, [GK_MASK_WEIGHT] = d->weight_dropout,
      [GK_MASK_ZONEOUT_H] = d->zoneout_h,         [GK_MASK_ZONEOUT_C] = d->zoneout_c};
  return p[mask];
}

struct gk_random_stream gk_mask_stream(const gk_random_key *key, gk_mask mask, int layer, int direction) {
  const bool both = mask == GK_MASK_INPUT || mask == GK_MASK_OUTPUT; /* directions share these */
  const struct gk_random_counter counter = {.seed = key->seed,
                                            .purpose = purposes[mask],
                                            .layer = (uint32_t)layer,
                                            .direction = both ? 0 : (uint32_t)direction,
                                            .step = key->step};
  return gk_random_stream_of(&counter);
}

/* Dropout's masks may be those of the whole sequence; zoneout draws at each step. */
static uint32_t time_of_mask(const gk_rnn_desc *desc, gk_mask mask, const gk_random_key *key, int64_t t) {
  const bool zoneout = mask == GK_MASK_ZONEOUT_H || mask == GK_MASK_ZONEOUT_C;
  return zoneout || desc->dropout_masks == GK_DROPOUT_EACH_STEP ? (uint32_t)(key->first_time + (uint64_t)t)
                                                                : 0;
}

static struct gk_uniforms row_of(const struct gk_run *run, gk_mask mask, int layer, int direction, int64_t t,
                                 int64_t i) {
  return gk_random_row(&run->streams[mask][layer * run->rnn->directions + direction],
                       run->random.first_sample + (uint64_t)run->order[i],
                       time_of_mask(&run->rnn->desc, mask, &run->random, t));
}

/* Values first, first + 1, ... of a row. */
static void drop(const struct gk_kernels *kernels, const struct gk_uniforms *row, float p, size_t first,
                 size_t count, const float *x, float *y) {
  float uniform[CHUNK];
  for (size_t i = 0; i < count; i += CHUNK) {
    const size_t part = count - i < CHUNK ? count - i : CHUNK;
    kernels->uniforms(row, first + i, part, uniform);
    kernels->dropout(part, p, 1.0f / (1.0f - p), uniform, x + i, y + i);
  }
}

/* The numbers of a row of masks that belong to the whole sequence. */
static float *drawn_row(const struct gk_run *run, gk_mask mask, int index, int64_t i) {
  const size_t width = mask == GK_MASK_INPUT ? (size_t)run->rnn->desc.input_size : run->rnn->widest_output;
  return run->drawn[mask] + (size_t)(index * run->batch + i) * width;
}

void gk_mask_drop(const struct gk_run *run, gk_mask mask, int layer, int direction, int64_t t, int64_t i,
                  size_t begin, size_t end, const float *x, float *y) {
  const float p = probability(&run->rnn->desc, mask);
  if (run->drawn[mask]) {
    const float *uniform = drawn_row(run, mask, layer * run->rnn->directions + direction, i);
    run->rnn->kernels->dropout(end - begin, p, 1.0f / (1.0f - p), uniform + begin, x + begin, y + begin);
    return;
  }
  const struct gk_uniforms row = row_of(run, mask, layer, direction, t, i);
  drop(run->rnn->kernels, &row, p, begin, end - begin, x + begin, y + begin);
}

static int64_t width_of_mask(const gk_rnn *rnn, gk_mask mask, const struct gk_rnn_layer *layer) {
  switch (mask) {
  case GK_MASK_INPUT:
    return rnn->desc.input_size;
  case GK_MASK_OUTPUT:
    return (int64_t)layer->output_width;
  case GK_MASK_ZONEOUT_C:
    return rnn->cell->memory ? (int64_t)layer->hidden : 0;
  default:
    return (int64_t)layer->output;
  }
}

/* ---- Memory of a call ---- */

/* Does this call draw the mask? */
static bool is_drawn(const struct gk_run *run, gk_mask mask) {
  return run->training && probability(&run->rnn->desc, mask) > 0;
}

void gk_masks_cut_saved(const struct gk_run *run, const struct gk_rnn_layer *layer, struct gk_saved *saved,
                        struct gk_arena *reserve) {
  const int64_t T = run->time, N = run->batch;
  saved->operand_width = gk_padded(layer->output);
  if (is_drawn(run, GK_MASK_RECURRENT))
    saved->operand = gk_arena_take(reserve, sizeof(float), T, N, (int64_t)saved->operand_width);
  if (is_drawn(run, GK_MASK_ZONEOUT_H))
    saved->own_h = gk_arena_take(reserve, sizeof(float), T, N, (int64_t)saved->h_width);
  if (is_drawn(run, GK_MASK_ZONEOUT_C))
    saved->own_c = gk_arena_take(reserve, sizeof(float), T, N, (int64_t)saved->c_width);
}

void gk_masks_cut_workspace(struct gk_run *run, struct gk_arena *workspace) {
  const struct gk_rnn *rnn = run->rnn;
  const gk_rnn_desc *d = &rnn->desc;
  for (int mask = 0; mask < GK_MASK_COUNT; mask++)
    if (is_drawn(run, (gk_mask)mask))
      run->streams[mask] = gk_arena_take(workspace, sizeof *run->streams[mask], rnn->layer_count, 1, 1);
  for (int mask = GK_MASK_INPUT; mask <= GK_MASK_RECURRENT && d->dropout_masks == GK_DROPOUT_EACH_SEQUENCE;
       mask++)
    if (is_drawn(run, (gk_mask)mask))
      run->drawn[mask] = mask == GK_MASK_INPUT
                             ? gk_arena_take(workspace, sizeof(float), run->batch, d->input_size, 1)
                             : gk_arena_take(workspace, sizeof(float), rnn->layer_count, run->batch,
                                             (int64_t)rnn->widest_output);
  run->drops_state = is_drawn(run, GK_MASK_RECURRENT);
  run->zones_out = d->zoneout_h > 0 || d->zoneout_c > 0;
}

void gk_masks_open(struct gk_run *run) {
  for (int mask = 0; mask < GK_MASK_COUNT; mask++)
    for (int k = 0; k < run->rnn->layer_count && run->streams[mask]; k++)
      run->streams[mask][k] =
          gk_mask_stream(&run->random, (gk_mask)mask, k / run->rnn->directions, k % run->rnn->directions);
}

static void draw(const struct gk_worker *worker, gk_mask mask, int index) {
  const struct gk_run *run = worker->run;
  const struct gk_rnn *rnn = run->rnn;
  const int layer = index / rnn->directions, direction = index % rnn->directions;
  const int64_t row_step = gk_worker_row_step(worker);
  const size_t width = (size_t)width_of_mask(rnn, mask, &rnn->layers[index]);
  if ((mask == GK_MASK_INPUT && index > 0) || (mask == GK_MASK_OUTPUT && direction > 0))
    return; /* shared */
  for (int64_t j = gk_worker_row_begin(worker); j < worker->count; j += row_step) {
    const int64_t i = gk_worker_position(worker, j);
    const struct gk_uniforms row = row_of(run, mask, layer, direction, 0, i);
    rnn->kernels->uniforms(&row, 0, width, drawn_row(run, mask, index, i));
  }
}

void gk_masks_draw(const struct gk_worker *worker) {
  static const gk_mask masks[] = {GK_MASK_INPUT, GK_MASK_OUTPUT, GK_MASK_RECURRENT};
  bool any = false;
  for (size_t m = 0; m < sizeof masks / sizeof *masks; m++)
    for (int k = 0; k < worker->run->rnn->layer_count && worker->run->drawn[masks[m]]; k++) {
      draw(worker, masks[m], k);
      any = true;
    }
  if (any)
    gk_worker_meet(worker);
}

/* ---- Inputs ---- */

void gk_mask_inputs(const struct gk_worker *worker, int64_t begin, int64_t end) {
  const struct gk_run *run = worker->run;
  const size_t width = (size_t)run->rnn->desc.input_size;
  const int64_t row_step = gk_worker_row_step(worker);
  for (int64_t s = begin; s < end; s++) {
    const int64_t rows = gk_worker_rows(worker, s);
    for (int64_t j = gk_worker_row_begin(worker); j < rows; j += row_step) {
      const int64_t i = gk_worker_position(worker, j), t = gk_run_time(run, 0, s, run->length[i]);
      const size_t row = (size_t)gk_run_caller_row(run, t, run->order[i]);
      const float *x =
          run->tokens ? run->parameters + (size_t)run->tokens[row] * width : run->x + row * width;
      gk_mask_drop(run, GK_MASK_INPUT, 0, 0, t, i, 0, width, x, gk_run_masked_input(run, t, i));
    }
  }
  gk_worker_meet(worker);
}

/* ---- The state that products read ---- */

void gk_mask_state(const struct gk_worker *worker, int layer, int direction, int64_t s) {
  const struct gk_run *run = worker->run;
  const struct gk_saved *saved = gk_run_saved(run, layer, direction);
  const struct gk_buffer_rows last = gk_ring_h(run, gk_run_ring(run, layer, direction), s - 1);
  const int64_t rows = gk_worker_rows(worker, s);
  for (int64_t j = 0; j < rows; j++) {
    const int64_t i = gk_worker_position(worker, j), t = gk_run_time(run, direction, s, run->length[i]);
    gk_mask_drop(run, GK_MASK_RECURRENT, layer, direction, t, i, worker->output_begin, worker->output_end,
                 gk_run_h_before(run, layer, direction, s, i, last),
                 gk_row_at(run, gk_saved_operand(run, saved, s), i));
  }
}

void gk_mask_operand(const struct gk_worker *worker, int layer, int direction, int64_t s, int block) {
  const struct gk_run *run = worker->run;
  const size_t hidden = gk_run_layer(run, layer, direction)->hidden, at = (size_t)block * hidden;
  const size_t begin = worker->unit_begin, end = worker->unit_end;
  const int64_t rows = gk_worker_rows(worker, s);
  for (int64_t j = 0; j < rows; j++) {
    const int64_t i = gk_worker_position(worker, j), t = gk_run_time(run, direction, s, run->length[i]);
    float *operand = worker->pre[j] + at;
    gk_mask_drop(run, GK_MASK_RECURRENT, layer, direction, t, i, begin, end, operand, operand);
    if (!gk_run_saves_late(run, hidden))
      memcpy(worker->saved_gates[j] + at + begin, operand + begin, (end - begin) * sizeof *operand);
  }
}

void gk_mask_gradient(const struct gk_worker *worker, int layer, int direction, int64_t s, size_t rows,
                      size_t begin, size_t end, bool to_h) {
  const struct gk_run *run = worker->run;
  for (size_t j = 0; j < rows; j++) {
    const int64_t i = gk_worker_position(worker, (int64_t)j);
    const int64_t t = gk_run_time(run, direction, s, run->length[i]);
    float *d = worker->drh[j];
    gk_mask_drop(run, GK_MASK_RECURRENT, layer, direction, t, i, begin, end, d, d);
    if (to_h)
      run->rnn->kernels->add(end - begin, d + begin, worker->dh[j] + begin);
  }
}

/* ---- Zoneout ---- */

/* Some units of one state: what the cell made of it, and what was there before, become what goes on. */
static void zone_out(const struct gk_run *run, const struct gk_uniforms *row, float p, size_t begin,
                     size_t end, const float *previous, float *state) {
  const struct gk_kernels *kernels = run->rnn->kernels;
  float uniform[CHUNK];
  if (!row) {
    kernels->zoneout_mean(end - begin, p, previous + begin, state + begin, state + begin);
    return;
  }
  for (size_t u = begin; u < end; u += CHUNK) {
    const size_t count = end - u < CHUNK ? end - u : CHUNK;
    kernels->uniforms(row, u, count, uniform);
    kernels->zoneout(count, p, uniform, previous + u, state + u, state + u);
  }
}

void gk_zone_out(const struct gk_worker *worker, int layer, int direction, int64_t s) {
  const struct gk_run *run = worker->run;
  const gk_rnn_desc *d = &run->rnn->desc;
  const int64_t rows = gk_worker_rows(worker, s);
  for (int64_t j = 0; j < rows; j++) {
    const int64_t i = gk_worker_position(worker, j), t = gk_run_time(run, direction, s, run->length[i]);
    const struct gk_saved *saved = run->training ? gk_run_saved(run, layer, direction) : NULL;
    struct gk_uniforms row;
    if (d->zoneout_h > 0) {
      const size_t begin = worker->output_begin, end = worker->output_end;
      if (saved)
        row = row_of(run, GK_MASK_ZONEOUT_H, layer, direction, t, i);
      zone_out(run, saved ? &row : NULL, d->zoneout_h, begin, end, worker->h_prev[j], worker->h[j]);
      if (saved)
        memcpy(gk_row_at(run, gk_saved_h(run, saved, s), i) + begin, worker->h[j] + begin,
               (end - begin) * sizeof(float));
    }
    if (d->zoneout_c > 0) {
      const size_t begin = worker->unit_begin, end = worker->unit_end;
      if (saved)
        row = row_of(run, GK_MASK_ZONEOUT_C, layer, direction, t, i);
      zone_out(run, saved ? &row : NULL, d->zoneout_c, begin, end, worker->c_prev[j], worker->c[j]);
      if (saved)
        memcpy(gk_row_at(run, gk_saved_c(run, saved, s), i) + begin, worker->c[j] + begin,
               (end - begin) * sizeof(float));
    }
  }
}

static float *stayed_row(const struct gk_run *run, int k, int64_t i) {
  return run->stayed[k] + (size_t)i * gk_widest_state(run->rnn);
}

static void part_gradient(const struct gk_run *run, const struct gk_uniforms *row, float p, size_t begin,
                          size_t end, const float *dy, float *d, float *stayed) {
  float uniform[CHUNK];
  for (size_t u = begin; u < end; u += CHUNK) {
    const size_t count = end - u < CHUNK ? end - u : CHUNK;
    run->rnn->kernels->uniforms(row, u, count, uniform);
    run->rnn->kernels->zoneout_backward(count, p, uniform, dy ? dy + u : NULL, d + u, stayed + u);
  }
}

void gk_zone_out_backward_h(const struct gk_worker *worker, int layer, int direction, int64_t s,
                            struct gk_cell_backward *cell) {
  const struct gk_run *run = worker->run;
  const float p = run->rnn->desc.zoneout_h;
  for (size_t j = 0; j < cell->rows && p > 0; j++) {
    const int64_t i = gk_worker_position(worker, (int64_t)j);
    const struct gk_uniforms row =
        row_of(run, GK_MASK_ZONEOUT_H, layer, direction, gk_run_time(run, direction, s, run->length[i]), i);
    part_gradient(run, &row, p, cell->unit_begin, cell->unit_end, cell->dy ? cell->dy[j] : NULL,
                  worker->dh[j], stayed_row(run, 0, i));
  }
  if (p > 0)
    cell->dy = NULL; /* it is in dh */
}

void gk_zone_out_backward_c(const struct gk_worker *worker, int layer, int direction, int64_t s,
                            const struct gk_cell_backward *cell) {
  const struct gk_run *run = worker->run;
  const float p = run->rnn->desc.zoneout_c;
  for (size_t j = 0; j < cell->rows && p > 0; j++) {
    const int64_t i = gk_worker_position(worker, (int64_t)j);
    const struct gk_uniforms row =
        row_of(run, GK_MASK_ZONEOUT_C, layer, direction, gk_run_time(run, direction, s, run->length[i]), i);
    part_gradient(run, &row, p, cell->unit_begin, cell->unit_end, NULL, worker->dc[j], stayed_row(run, 1, i));
  }
}

/* k: 0 of h, 1 of c, whose sum is flushed as what a later call hands back is (dh is where a step reads
 * it). */
static void give_back(const struct gk_worker *worker, int k, size_t rows, size_t begin, size_t end,
                      float *const *d) {
  const struct gk_kernels *kernels = worker->run->rnn->kernels;
  for (size_t j = 0; j < rows; j++) {
    const float *stayed = stayed_row(worker->run, k, gk_worker_position(worker, (int64_t)j));
    kernels->add(end - begin, stayed + begin, d[j] + begin);
    if (k == 1)
      kernels->flush(end - begin, d[j] + begin, d[j] + begin);
  }
}

void gk_zone_out_return_h(const struct gk_worker *worker, size_t rows, size_t begin, size_t end) {
  if (worker->run->rnn->desc.zoneout_h > 0)
    give_back(worker, 0, rows, begin, end, worker->dh);
}

void gk_zone_out_return_c(const struct gk_worker *worker, size_t rows, size_t begin, size_t end) {
  if (worker->run->rnn->desc.zoneout_c > 0)
    give_back(worker, 1, rows, begin, end, worker->dc);
}

/* ---- Recurrent weights ---- */

void gk_mask_weights(const struct gk_rnn *rnn, const struct gk_random_stream *stream, size_t row,
                     size_t first, size_t count, const float *x, float *y) {
  const struct gk_uniforms named = gk_random_row(stream, row, 0);
  drop(rnn->kernels, &named, rnn->desc.weight_dropout, first, count, x, y);
}

/* ---- Read back ---- */

static const char *const mask_names[GK_MASK_COUNT] = {
    [GK_MASK_INPUT] = "input",   [GK_MASK_OUTPUT] = "output",       [GK_MASK_RECURRENT] = "recurrent",
    [GK_MASK_WEIGHT] = "weight", [GK_MASK_ZONEOUT_H] = "zoneout-h", [GK_MASK_ZONEOUT_C] = "zoneout-c",
};
GK_NAMES_OF(mask, gk_mask, mask)

gk_status gk_rnn_mask(const gk_rnn *rnn, gk_mask mask, const gk_random_key *key, int64_t layer, int direction,
                      int64_t t, int64_t n, float *factors) {
  gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"key", key}, {"factors", factors});
  if (!status)
    status = gk_check_choice("mask", (int)mask, GK_MASK_COUNT);
  if (!status)
    status = gk_rnn_check_place(rnn, layer, direction);
  if (!status)
    status = gk_check_not_negative("t", t);
  if (!status)
    status = gk_check_not_negative("n", n);
  if (status)
    return status;
  const uint64_t callers = gk_float_environment_pin();
  const struct gk_rnn_layer *of = &rnn->layers[layer * rnn->directions + direction];
  const bool zoneout = mask == GK_MASK_ZONEOUT_H || mask == GK_MASK_ZONEOUT_C;
  const bool applies =
      (mask != GK_MASK_INPUT || layer == 0) && (mask != GK_MASK_OUTPUT || layer + 1 < rnn->desc.layers);
  const float p = applies ? probability(&rnn->desc, mask) : 0;
  const struct gk_random_stream stream = gk_mask_stream(key, mask, (int)layer, direction);
  const struct gk_uniforms row =
      mask == GK_MASK_WEIGHT
          ? gk_random_row(&stream, (uint64_t)n, 0)
          : gk_random_row(&stream, key->first_sample + (uint64_t)n, time_of_mask(&rnn->desc, mask, key, t));
  const int64_t width = width_of_mask(rnn, mask, of);
  rnn->kernels->uniforms(&row, 0, (size_t)width, factors);
  for (int64_t u = 0; u < width; u++)
    factors[u] = zoneout ? (float)(factors[u] < p) : factors[u] < p ? 0 : 1.0f / (1.0f - p);
  gk_float_environment_restore(callers);
  return GK_OK;
}
