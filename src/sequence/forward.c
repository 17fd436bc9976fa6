/* SPDX-License-Identifier: Apache-2.0
 * Forward over time: the input product for a chunk of steps, then step by step the recurrent products and
 * the cell's arithmetic on the strip that they leave. */
#include <string.h>

#include "src/core/arguments.h"
#include "src/sequence/denormals.h"
#include "src/sequence/feedback.h"
#include "src/sequence/masks.h"
#include "src/sequence/pace.h"
#include "src/sequence/rows.h"

/* What pre-activations start from where the embedding is folded: the row of the token. */
static const float *folded_row(const struct gk_run *run, int direction, int64_t s, int64_t i) {
  const int64_t t = gk_run_time(run, direction, s, run->length[i]);
  const int32_t token = run->tokens[gk_run_caller_row(run, t, run->order[i])];
  return run->embedding.table + (size_t)run->embedding.slot[token] * run->embedding.row_floats;
}

/* The gates, a bit each, whose block among `blocks`, those of one product, the other product leaves alone. */
static unsigned gates_apart(const struct gk_cell_info *cell, const int *blocks, const int *others) {
  unsigned apart = 0;
  for (int g = 0; g < cell->gates; g++) {
    bool shared = false;
    for (int other = 0; other < cell->gates; other++)
      shared |= others[other] == blocks[g];
    apart |= (unsigned)!shared << g;
  }
  return apart;
}

static void start_blocks(const struct gk_worker *worker, unsigned gates, const int *blocks, size_t hidden,
                         const float *start, float *pre) {
  for (int g = 0; gates >> g; g++) {
    const size_t at = (size_t)blocks[g] * hidden + worker->unit_begin;
    if (gates >> g & 1)
      memcpy(pre + at, start + at, (worker->unit_end - worker->unit_begin) * sizeof *pre);
  }
}

/* The inputs of step s, where they stand: copies that do not collide in L1 gain nothing. */
static void list_inputs(const struct gk_worker *worker, int layer, int direction, int64_t s, int64_t count,
                        const float **list) {
  const struct gk_run *run = worker->run;
  if (gk_run_reads_h_below(run, layer))
    gk_worker_list_read(worker, count, gk_ring_h(run, gk_run_ring(run, layer - 1, direction), s), list);
  else
    for (int64_t j = 0; j < count; j++)
      list[j] = gk_run_input(run, layer, direction, s, gk_worker_position(worker, j));
}

/* Rows of x that stay in L2 from the look for what must be flushed to the last panel of few weights, while
 * those after them are asked for: LSTM I 1137 H 19 reads its x at the speed of memory (forward 1.07 times as
 * fast as chunk by chunk). More weights are not read again for each such part of a chunk. */
static size_t rows_at_once(const struct gk_matrix *x, size_t rows) {
  enum { WEIGHTS = 1 << 17, INPUTS = 1 << 16, FEWEST = 48 }; /* floats, floats, rows */
  const size_t fit = INPUTS / x->k;
  if (x->k * x->vectors * x->lanes > WEIGHTS)
    return rows;
  return fit < FEWEST ? FEWEST : fit / FEWEST * FEWEST;
}

/* Lines up the operands of a chunk's input product, and forms it unless the step will (one step alone). */
static void input_product(const struct gk_worker *worker, int layer, int direction, int64_t begin,
                          int64_t end, bool joined) {
  const struct gk_run *run = worker->run;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  const struct gk_cell_info *cell = run->rnn->cell;
  const float *const bias = run->packed + weights->bias;
  size_t rows = 0;
  if (layer == 0 && run->folded)
    return; /* each step starts from its tokens' rows */
  /* No input product brings the biases to them: the candidate's half that stays apart. */
  const unsigned apart = cell->normalised ? 0 : gates_apart(cell, cell->recurrent_block, cell->input_block);
  for (int64_t s = begin; s < end; s++) {
    const int64_t count = gk_worker_rows(worker, s);
    gk_worker_list(worker, count, gk_chunk_pre(worker, s), worker->chunk_c + rows);
    list_inputs(worker, layer, direction, s, count, worker->chunk_a + rows);
    for (int64_t j = 0; j < count; j++) {
      worker->chunk_from[rows + (size_t)j] = bias;
      if (apart)
        start_blocks(worker, apart, cell->recurrent_block, weights->hidden, bias,
                     worker->chunk_c[rows + (size_t)j]);
    }
    rows += (size_t)count;
  }
  const struct gk_strips all = {.unit_begin = worker->unit_begin, .unit_end = worker->unit_end};
  const size_t most = joined ? rows : rows_at_once(&weights->x, rows);
  for (size_t first = 0, count; first < rows; first += count) {
    struct gk_ahead ahead = {0};
    count = rows - first < most ? rows - first : most;
    const size_t next = first + count, following = rows - next < most ? rows - next : most;
    if (layer == 0 && !run->masked_x)
      gk_flush_inputs(worker, begin, end, first, next);
    if (joined || all.unit_begin >= all.unit_end)
      continue;
    gk_ahead_add(&ahead, worker->chunk_a + next, following, (size_t)weights->input_size);
    gk_matrix_strip_product(&weights->x, run->rnn->kernels, gk_run_weights(run), &all, count,
                            worker->chunk_a + first, worker->chunk_c + first,
                            (struct gk_start){.rows = worker->chunk_from + first}, &ahead);
  }
}

/* The folded rows of a step, which no input product brings to the pre-activations. */
static void list_folded(const struct gk_worker *worker, int direction, int64_t s, int64_t rows) {
  const struct gk_run *run = worker->run;
  const struct gk_cell_info *cell = run->rnn->cell;
  /* Nor does a recurrent one, to the candidate's input half. */
  const unsigned apart = gates_apart(cell, cell->input_block, cell->recurrent_block);
  for (int64_t j = 0; j < rows; j++) {
    worker->from[j] = folded_row(run, direction, s, gk_worker_position(worker, j));
    if (apart)
      start_blocks(worker, apart, cell->input_block, gk_run_layer(run, 0, direction)->hidden, worker->from[j],
                   worker->pre[j]);
  }
}

static void point_at_step(const struct gk_worker *worker, int layer, int direction, int64_t s, int64_t rows) {
  const struct gk_run *run = worker->run;
  const struct gk_ring *ring = gk_run_ring(run, layer, direction);
  gk_worker_list(worker, rows, gk_chunk_pre(worker, s), worker->pre);
  if (layer == 0 && run->folded)
    list_folded(worker, direction, s, rows);
  gk_worker_list(worker, rows, gk_ring_h(run, ring, s), worker->h);
  if (ring->c)
    gk_worker_list(worker, rows, gk_ring_c(worker, ring, s), worker->c);
  gk_worker_list_states(worker, layer, direction, s, rows, gk_ring_h(run, ring, s - 1),
                        gk_ring_c(worker, ring, s - 1));
  for (int64_t j = 0; j < rows && run->whole_h; j++)
    worker->whole_h[j] = gk_run_whole_h(run, gk_worker_position(worker, j));
  if (!run->training)
    return;
  const struct gk_saved *saved = gk_run_saved(run, layer, direction);
  gk_worker_list(worker, rows, gk_saved_gates(run, saved, s), worker->saved_gates);
  gk_worker_list(worker, rows, gk_saved_own_h(run, saved, s), worker->saved_h);
  if (ring->c)
    gk_worker_list(worker, rows, gk_saved_own_c(run, saved, s), worker->saved_c);
  if (saved->scales)
    gk_worker_list(worker, rows, gk_saved_scales(run, saved, s), worker->scales);
  if (saved->whole_h)
    gk_worker_list(worker, rows, gk_saved_whole_h(run, saved, s), worker->saved_whole_h);
}

/* What becomes of h and c between the cell's arithmetic and the next step. */
static void finish_states(const struct gk_worker *worker, int layer, int direction, int64_t s, size_t rows) {
  const struct gk_run *run = worker->run;
  if (gk_run_projects(run)) {
    gk_worker_meet(worker);
    gk_project(worker, gk_run_layer(run, layer, direction), rows, s % 2 != 0);
  }
  if (run->zones_out)
    gk_zone_out(worker, layer, direction, s);
  if (run->drops_state)
    gk_mask_state(worker, layer, direction, s + 1);
}

/* Rows of the worker from number `first` on, to be cut into strips of units. */
static struct gk_cell_forward cell_of_step(const struct gk_worker *worker, int layer, int direction,
                                           size_t first, size_t rows) {
  const struct gk_run *run = worker->run;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  const bool projects = gk_run_projects(run);
  struct gk_cell_forward cell = {.rows = rows,
                                 .hidden = weights->hidden,
                                 .activation = run->rnn->variant[direction].function[GK_CANDIDATE].kind,
                                 .variant = &run->rnn->variant[direction],
                                 .peephole = run->rnn->peepholes ? run->packed + weights->peephole : NULL,
                                 .norm = run->packed + weights->norm,
                                 .pre = worker->pre + first,
                                 .h_prev = worker->h_prev + first,
                                 .c_prev = worker->c_prev + first,
                                 .h = (projects ? worker->whole_h : worker->h) + first,
                                 .c = worker->c + first,
                                 .units_split = worker->teams,
                                 .stream = run->stream && weights->hidden % run->rnn->kernels->lanes == 0};
  if (gk_run_saves_late(run, weights->hidden)) {
    cell.saved_gates = cell.pre;
    cell.saved_h = cell.h;
    cell.saved_c = cell.c;
  } else if (run->training) {
    cell.scales = worker->scales + first;
    cell.saved_gates = worker->saved_gates + first;
    cell.saved_h = (projects ? worker->saved_whole_h : worker->saved_h) + first;
    cell.saved_c = worker->saved_c + first;
  }
  return cell;
}

static void save(const struct gk_worker *worker, const struct gk_cell_forward *cell) {
  const struct gk_rnn *rnn = worker->run->rnn;
  const size_t hidden = cell->hidden, unit = worker->unit_begin, units = worker->unit_end - unit;
  const size_t gates = rnn->cell->gates_in_h ? 0 : (size_t)rnn->cell->blocks * hidden;
  float *const *saved_h = gk_run_projects(worker->run) ? worker->saved_whole_h : worker->saved_h;
  for (size_t j = 0; j < cell->rows; j++) {
    if (units == hidden)
      rnn->kernels->stream(gates, cell->pre[j], worker->saved_gates[j]);
    for (size_t at = unit; units < hidden && at < gates; at += hidden)
      rnn->kernels->stream(units, cell->pre[j] + at, worker->saved_gates[j] + at);
    rnn->kernels->stream(units, cell->h[j] + unit, saved_h[j] + unit);
    if (rnn->cell->memory)
      rnn->kernels->stream(units, cell->c[j] + unit, worker->saved_c[j] + unit);
  }
}

/* Arithmetic that needs whole rows, when all of them are there. */
static void whole_rows(const struct gk_worker *worker, int layer, int direction, size_t rows) {
  size_t begin, end;
  gk_worker_meet(worker);
  gk_worker_whole_rows(worker, rows, &begin, &end);
  struct gk_cell_forward cell = cell_of_step(worker, layer, direction, begin, end - begin);
  cell.unit_end = cell.hidden;
  worker->run->rnn->arithmetic.forward[0](&cell);
  gk_worker_meet(worker);
}

/* The step's phases for the worker's rows and units. Joined: a strip's input and recurrent product follow
 * one another through the panels of [W_x | W_h], so that a streaming step reads its weights as they stand. */
static void step(const struct gk_worker *worker, int layer, int direction, int64_t s, bool joined) {
  const struct gk_run *run = worker->run;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  const struct gk_kernels *kernels = run->rnn->kernels;
  const struct gk_cell_info *cell = run->rnn->cell;
  const int64_t rows = gk_worker_rows(worker, s);
  point_at_step(worker, layer, direction, s, rows);
  struct gk_cell_forward units = cell_of_step(worker, layer, direction, 0, (size_t)rows);
  const bool normalised = cell->normalised, late = gk_run_saves_late(run, weights->hidden);
  const struct gk_start start = {.zero = normalised,
                                 .without_product = s == 0 && gk_run_begins_from_zero(run),
                                 .rows = layer == 0 && run->folded && !normalised ? worker->from : NULL};
  for (int p = 0; p < cell->phases; p++) {
    const int block = cell->phase[p].operand_block;
    const float **operand = worker->h_prev;
    if (block != GK_OPERAND_H || run->drops_state) {
      const struct gk_saved *saved = gk_run_saved(run, layer, direction);
      operand = worker->operand;
      if (block == GK_OPERAND_H)
        gk_worker_list_read(worker, rows, gk_saved_operand(run, saved, s), operand);
      for (int64_t j = 0; j < rows && block != GK_OPERAND_H; j++)
        operand[j] = worker->pre[j] + (size_t)block * units.hidden;
    }
    struct gk_strips strips =
        gk_matrix_strips(&weights->h[p], (size_t)rows, worker->unit_begin, worker->unit_end, s % 2 != 0);
    while (rows && gk_strips_next(&strips)) {
      units.unit_begin = strips.unit_begin;
      units.unit_end = strips.unit_end;
      if (joined)
        gk_matrix_strip_product(&weights->x, kernels, gk_run_weights(run), &strips, (size_t)rows,
                                worker->chunk_a, worker->chunk_c,
                                (struct gk_start){.rows = worker->chunk_from}, NULL);
      gk_matrix_strip_product(&weights->h[p], kernels, gk_run_weights(run), &strips, (size_t)rows, operand,
                              worker->pre, start, NULL);
      if (!normalised)
        run->rnn->arithmetic.forward[p](&units);
    }
    if (normalised)
      whole_rows(worker, layer, direction, (size_t)rows);
    if (p + 1 == cell->phases && late)
      save(worker, &units);
    if (p + 1 == cell->phases)
      finish_states(worker, layer, direction, s, (size_t)rows);
    else if (run->drops_state && cell->phase[p + 1].operand_block != GK_OPERAND_H)
      gk_mask_operand(worker, layer, direction, s, cell->phase[p + 1].operand_block);
    gk_worker_meet(worker);
  }
}

/* h of a direction into its columns of a layer's output; where directions are added, the second one adds. */
static void merge(const struct gk_run *run, int direction, size_t count, const float *h, float *output) {
  if (direction == 0 || run->rnn->desc.merge == GK_MERGE_CONCATENATE) {
    memcpy(output, h, count * sizeof *output);
    return;
  }
  run->rnn->kernels->add(count, h, output);
  run->rnn->kernels->flush(count, output, output);
}

/* Hands a finished step on: to the caller's y, hn, cn and to the buffer between layers. */
static void emit(const struct gk_worker *worker, int layer, int direction, int64_t s) {
  const struct gk_run *run = worker->run;
  const gk_rnn_desc *desc = &run->rnn->desc;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  const size_t begin = worker->output_begin, count = worker->output_end - begin, unit = worker->unit_begin;
  const size_t column = weights->output_column + begin;
  const bool last = layer + 1 == desc->layers;
  const bool merged = desc->merge == GK_MERGE_CONCATENATE || direction + 1 == run->rnn->directions;
  if (!run->hn && !run->cn && !(last ? run->y : run->outputs[layer]))
    return;
  const int64_t rows = gk_worker_rows(worker, s);
  for (int64_t j = 0; j < rows; j++) {
    const int64_t i = gk_worker_position(worker, j), n = run->order[i];
    const int64_t t = gk_run_time(run, direction, s, run->length[i]);
    const float *h = worker->h[j] + begin;
    if (last && run->y)
      merge(run, direction, count, h,
            run->y + (size_t)gk_run_caller_row(run, t, n) * weights->output_width + column);
    if (!last && run->outputs[layer]) {
      float *output = gk_run_output(run, layer, t, i);
      merge(run, direction, count, h, output + column);
      if (run->training && desc->dropout > 0 && merged)
        gk_mask_drop(run, GK_MASK_OUTPUT, layer, 0, t, i, column, column + count, output, output);
    }
    if (s + 1 < run->length[i])
      continue;
    if (run->hn)
      memcpy(run->hn + gk_run_h_row(run, weights, n) + begin, h, count * sizeof(float));
    if (run->cn && run->rnn->cell->memory)
      memcpy(run->cn + gk_run_c_row(run, weights, n) + unit, worker->c[j] + unit,
             (worker->unit_end - unit) * sizeof(float));
  }
}

static void forward_chunk(struct gk_worker *worker, int layer, int direction, int64_t begin, int64_t end) {
  const bool folded = layer == 0 && worker->run->folded;
  const bool joined = end - begin == 1 && worker->run->rnn->cell->phases == 1 && !folded;
  gk_worker_enter(worker, layer, direction);
  if (layer == 0 && direction == 0 && worker->run->masked_x)
    gk_mask_inputs(worker, begin, end);
  if (begin == 0 && worker->run->drops_state) {
    gk_mask_state(worker, layer, direction, 0);
    gk_worker_meet(worker);
  }
  const double began = gk_pace_begin(worker);
  input_product(worker, layer, direction, begin, end, joined);
  for (int64_t s = begin; s < end; s++) {
    step(worker, layer, direction, s, joined);
    emit(worker, layer, direction, s);
  }
  gk_pace_end(worker, began);
  gk_worker_meet(worker); /* the layer above reads all units; a ring of states may be written over */
}

/* What no step touches: y in the padding, and the states of samples without a step. */
static void fill_untouched(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  const int directions = run->rnn->directions;
  const size_t width = run->rnn->layers[run->rnn->layer_count - 1].output_width;
  if (!gk_worker_leads(worker))
    return;
  for (int64_t j = worker->count; j-- > 0;) {
    const int64_t i = gk_worker_position(worker, j), n = run->order[i];
    if (run->length[i] == run->time && run->time > 0)
      break;
    if (run->y)
      gk_run_clear_padding(run, i, width, run->y);
    if (run->length[i] > 0)
      continue;
    for (int k = 0; k < run->rnn->layer_count; k++) {
      const struct gk_rnn_layer *weights = &run->rnn->layers[k];
      if (run->hn)
        memmove(run->hn + gk_run_h_row(run, weights, n), gk_run_h0(run, k / directions, k % directions, i),
                weights->output * sizeof(float));
      if (run->cn && run->rnn->cell->memory)
        memmove(run->cn + gk_run_c_row(run, weights, n), gk_run_c0(run, k / directions, k % directions, i),
                weights->hidden * sizeof(float));
    }
  }
}

/* The folded table: biases + embedding rows of the distinct tokens by the input weights. */
static void fold_embedding(const struct gk_worker *worker, int direction) {
  const struct gk_run *run = worker->run;
  const struct gk_rnn_layer *layer = gk_run_layer(run, 0, direction);
  const size_t input = (size_t)layer->input_size, hidden = layer->hidden;
  const size_t width = (size_t)run->rnn->cell->blocks * hidden;
  const size_t padded = gk_padded(input);
  float *const flushed = run->fold_x + (size_t)worker->thread * GK_FOLD_ROWS * padded;
  const float *a[GK_FOLD_ROWS], *from[GK_FOLD_ROWS];
  float *c[GK_FOLD_ROWS];
  size_t begin, end;
  gk_split((size_t)run->embedding.distinct, 1, worker->thread, worker->threads, &begin, &end);
  for (size_t u = begin; u < end; u += GK_FOLD_ROWS) {
    const size_t rows = end - u < GK_FOLD_ROWS ? end - u : GK_FOLD_ROWS;
    for (size_t j = 0; j < rows; j++) {
      run->rnn->kernels->flush(input, run->parameters + (size_t)run->embedding.token[u + j] * input,
                               flushed + j * padded);
      a[j] = flushed + j * padded;
      c[j] = run->embedding.table + (u + j) * run->embedding.row_floats;
      from[j] = run->packed + layer->bias;
      memcpy(c[j], from[j], width * sizeof(float)); /* also the blocks that the product does not fill */
    }
    gk_matrix_product(&layer->x, run->rnn->kernels, gk_run_weights(run), 0, hidden, rows, a, c,
                      (struct gk_start){.rows = from});
  }
  gk_worker_wait(worker);
}

/* Layers of a stack at different times: in each wave a thread takes the chunk that the one below it has left.
 */
static void walk_stack_wavefront(const struct gk_worker *worker, struct gk_worker *lane) {
  const struct gk_run *run = lane->run;
  const int64_t longest = run->length[0], chunk = run->plan.chunk, chunks = (longest + chunk - 1) / chunk;
  int first, last;
  gk_wavefront_layers(worker, &first, &last);
  if (first == 0 && run->folded)
    fold_embedding(lane, 0);
  for (int64_t wave = 0; wave < chunks + worker->threads - 1; wave++) {
    const int64_t begin = (wave - worker->thread) * chunk;
    for (int layer = first; layer < last && begin >= 0 && begin < longest; layer++)
      forward_chunk(lane, layer, 0, begin, gk_chunk_end(run, begin));
    gk_worker_wait(worker);
  }
}

/* Both directions at once. */
static void walk_directions(const struct gk_worker *worker, struct gk_worker *lane) {
  const struct gk_run *run = lane->run;
  const int64_t longest = run->length[0], chunk = run->plan.chunk;
  for (int layer = 0; layer < run->rnn->desc.layers; layer++) {
    for (int64_t begin = 0; begin < longest && worker->thread < 2; begin += chunk)
      forward_chunk(lane, layer, worker->thread, begin, gk_chunk_end(run, begin));
    gk_worker_wait(worker);
  }
}

/* One direction: a chunk goes up through all layers while it is in cache. Two: layer by layer. */
static void walk_forward(struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  const int layers = (int)run->rnn->desc.layers;
  const int64_t longest = run->length[0], chunk = run->plan.chunk;
  if (run->rnn->directions == 1) {
    if (run->folded)
      fold_embedding(worker, 0);
    for (int64_t begin = 0; begin < longest; begin += chunk) {
      const int64_t end = gk_chunk_end(run, begin);
      if (run->feed)
        gk_feed_inputs(worker, begin, end);
      for (int layer = 0; layer < layers; layer++)
        forward_chunk(worker, layer, 0, begin, end);
      if (run->feed)
        gk_feed_outputs(worker, begin, end);
    }
    return;
  }
  for (int layer = 0; layer < layers; layer++)
    for (int direction = 0; direction < 2; direction++) {
      if (layer == 0 && direction == 1 && run->folded)
        gk_worker_wait(worker); /* the first one's table is done with */
      if (layer == 0 && run->folded)
        fold_embedding(worker, direction);
      for (int64_t begin = 0; begin < longest; begin += chunk)
        forward_chunk(worker, layer, direction, begin, gk_chunk_end(run, begin));
    }
}

static void forward_body(void *context, int thread, int threads) {
  const struct gk_run *run = context;
  struct gk_worker worker;
  gk_worker_start(&worker, run, thread, threads);
  gk_masks_draw(&worker);
  fill_untouched(&worker);
  if (run->feed)
    gk_feed_start(&worker);
  struct gk_worker lane;
  if (!gk_wavefront_enter(&worker, &lane))
    walk_forward(&worker);
  else if (run->rnn->directions == 1)
    walk_stack_wavefront(&worker, &lane);
  else
    walk_directions(&worker, &lane);
  gk_pace_keep(&worker);
  if (run->stream)
    run->rnn->kernels->stream_end();
}

static gk_status check_arguments(const gk_rnn *rnn, const gk_rnn_forward_args *args) {
  gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"args", args});
  if (!status)
    status = gk_check_size_field("args", args->size, sizeof *args, "GK_RNN_FORWARD_ARGS_INIT");
  if (status)
    return status;
  return gk_run_check(rnn, args->time, args->batch, args->lengths, args->x, args->tokens, args->parameters);
}

gk_status gk_rnn_forward(const gk_rnn *rnn, const gk_rnn_forward_args *args) {
  return gk_rnn_forward_fed(rnn, args, NULL);
}

gk_status gk_rnn_forward_fed(const gk_rnn *rnn, const gk_rnn_forward_args *args, const struct gk_feed *feed) {
  gk_status status = check_arguments(rnn, args);
  if (status || args->batch == 0)
    return status;
  struct gk_run run = {.rnn = rnn,
                       .time = args->time,
                       .batch = args->batch,
                       .training = args->reserve != NULL,
                       .parameters = args->parameters,
                       .x = args->x,
                       .tokens = rnn->desc.vocabulary ? args->tokens : NULL,
                       .h0 = args->h0,
                       .c0 = args->c0,
                       .reset = args->reset,
                       .random = args->random,
                       .feed = feed,
                       .y = args->y,
                       .hn = args->hn,
                       .cn = args->cn};
  status = gk_run_find_weights(&run, GK_PACK_FORWARD, args->packed);
  if (!status)
    status = gk_run_open(&run, args->lengths, args->workspace, args->reserve, false);
  if (!status)
    gk_parallel(run.plan.threads, forward_body, &run);
  return status;
}

gk_status gk_rnn_step(const gk_rnn *rnn, const gk_rnn_step_args *args) {
  gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"args", args});
  if (!status)
    status = gk_check_size_field("args", args->size, sizeof *args, "GK_RNN_STEP_ARGS_INIT");
  if (status)
    return status;
  if (rnn->desc.direction != GK_FORWARD)
    return gk_fail(GK_ERROR_UNSUPPORTED,
                   "direction is %s, must be forward: a single step has no future to read",
                   gk_direction_name(rnn->desc.direction));
  if (args->batch && !args->h)
    return gk_fail(GK_ERROR_ARGUMENT, "h is NULL");
  if (args->batch && !args->c && rnn->cell->memory)
    return gk_fail(GK_ERROR_ARGUMENT, "c is NULL, and the cell %s has a cell state",
                   gk_cell_name(rnn->desc.cell));
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = 1;
  forward.batch = args->batch;
  forward.x = args->x;
  forward.tokens = args->tokens;
  forward.reset = args->reset;
  forward.parameters = args->parameters;
  forward.packed = args->packed;
  forward.h0 = forward.hn = args->h;
  forward.c0 = forward.cn = args->c;
  forward.y = args->y;
  forward.workspace = args->workspace;
  return gk_rnn_forward(rnn, &forward);
}
