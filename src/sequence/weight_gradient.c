/* SPDX-License-Identifier: Apache-2.0
 * Weight gradients: one product over all (t, sample) that exist, in the order in which the backward sweep
 * visits them, so that a sum's blocks depend on neither threads nor schedule. As soon as the sweep has
 * finished a block's rows, and while they are in cache, its inputs are packed, by each thread for itself or
 * by all together; each then forms the share of its own units, 128 at a time. */
#include <string.h>

#include "src/sequence/masks.h"
#include "src/sequence/rows.h"

enum { STRIP_UNITS = 128 }; /* units whose gates are formed together */

/* `count` rows of a buffer, that of position i first. */
static void list_rows(const struct gk_run *run, int64_t i, int64_t count, struct gk_buffer_rows rows,
                      const float **list) {
  for (int64_t j = 0; j < count; j++)
    list[j] = gk_row_at(run, rows, i + j);
}

/* The states before step s. */
static void list_states(const struct gk_run *run, int layer, int direction, int64_t s, int64_t i,
                        int64_t count, struct gk_gradient_block *block) {
  const struct gk_saved *saved = gk_run_saved(run, layer, direction);
  const float **const h_prev = block->h_prev + block->rows, **const c_prev = block->c_prev + block->rows;
  const bool peepholes = run->rnn->peepholes > 0;
  if (run->drops_state)
    list_rows(run, i, count, gk_saved_operand(run, saved, s), h_prev);
  else if (s > 0 && !run->reset)
    list_rows(run, i, count, gk_saved_h(run, saved, s - 1), h_prev);
  else
    for (int64_t j = 0; j < count; j++)
      h_prev[j] = gk_run_h_before(run, layer, direction, s, i + j, gk_saved_h(run, saved, s - 1));
  for (int64_t j = 0; j < count && peepholes; j++)
    c_prev[j] = gk_run_c_before(run, layer, direction, s, i + j, gk_saved_c(run, saved, s - 1));
}

/* Adds rows of one step to a block. */
static void list_step(const struct gk_run *run, int layer, int direction, int64_t s, int64_t i, int64_t count,
                      struct gk_gradient_block *block) {
  const struct gk_saved *saved = gk_run_saved(run, layer, direction);
  const struct gk_cell_info *cell = run->rnn->cell;
  const size_t at = block->rows;
  if (cell->phases > 1 || cell->normalised)
    list_rows(run, i, count, gk_saved_gates(run, saved, s), block->saved_gates + at);
  if (run->rnn->peepholes)
    list_rows(run, i, count, gk_saved_own_c(run, saved, s), block->c + at);
  list_states(run, layer, direction, s, i, count, block);
  if (gk_run_reads_h_below(run, layer))
    list_rows(run, i, count, gk_saved_h(run, gk_run_saved(run, layer - 1, direction), s), block->x + at);
  else
    for (int64_t j = 0; j < count && (layer > 0 || !run->folded); j++)
      block->x[at + (size_t)j] = gk_run_input(run, layer, direction, s, i + j);
  for (int64_t j = 0; j < count && layer == 0 && run->folded; j++) {
    const int64_t t = gk_run_time(run, direction, s, run->length[i + j]);
    block->slot[at + (size_t)j] =
        run->embedding.slot[run->tokens[gk_run_caller_row(run, t, run->order[i + j])]];
  }
  block->rows += (size_t)count;
}

/* The next ones of `rows` rows of the sweep, a block of them or as many as there are. */
static void next_rows(const struct gk_worker *worker, int layer, int direction, int64_t rows,
                      struct gk_gradient_block *block) {
  const struct gk_run *run = worker->run;
  struct gk_gradient_walk *walk = &worker->walk[layer * run->rnn->directions + direction];
  const bool from_zero = gk_run_begins_from_zero(run) && !run->drops_state;
  const int64_t left = rows - walk->rows < GK_SUM_BLOCK ? rows - walk->rows : GK_SUM_BLOCK;
  block->gates = left > 0 ? gk_run_d_pre(run, layer, walk->rows) : run->zero;
  block->gates_step = (ptrdiff_t)gk_run_gradient_ring(run, layer)->width;
  block->rows = block->recurrent_rows = 0;
  int64_t s, i, count;
  while ((int64_t)block->rows < left &&
         (count = gk_sweep_next(run, &walk->next, left - (int64_t)block->rows, &s, &i)) > 0) {
    list_step(run, layer, direction, s, i, count, block);
    if (s > 0 || !from_zero) /* the sweep ends with the first step */
      block->recurrent_rows = block->rows;
  }
  walk->rows += (int64_t)block->rows;
}

/* Some units of a block. */
struct strip {
  const struct gk_worker *worker;
  const struct gk_rnn_layer *layer;
  const struct gk_gradient_block *block;
  size_t unit, units;
  bool first;
  const float **a;
  float **c;
  /* The k of a row of A, the gradients of one unit: unit u of block b is at gates + b * block_step +
   * u * unit_step. */
  const float *gates;
  ptrdiff_t block_step, unit_step, k_step;
  float *transposed; /* (blocks * units, GK_TRANSPOSED_STRIDE) */
};

static float *finished_row(const struct strip *strip, int64_t tensor, size_t columns, size_t gate,
                           size_t unit) {
  const struct gk_run *run = strip->worker->run;
  float *gradients = run->accumulate ? run->finished : run->gradients;
  return gradients + tensor + (gate * strip->layer->hidden + strip->unit + unit) * columns;
}

/* Lets products read the gates as they stand, or transposed. */
static void place_gates(struct strip *strip) {
  const struct gk_run *run = strip->worker->run;
  const struct gk_cell_info *cell = run->rnn->cell;
  const struct gk_gradient_block *block = strip->block;
  const int blocks = cell->normalised ? cell->bias_block : cell->blocks; /* what products read */
  const float *source[GK_SUM_BLOCK];
  if (run->rnn->reads_across) {
    strip->gates = block->gates + strip->unit;
    strip->block_step = (ptrdiff_t)strip->layer->hidden;
    strip->unit_step = 1;
    strip->k_step = block->gates_step;
    return;
  }
  strip->gates = strip->transposed;
  strip->block_step = (ptrdiff_t)strip->units * GK_TRANSPOSED_STRIDE;
  strip->unit_step = GK_TRANSPOSED_STRIDE;
  strip->k_step = 1;
  for (int b = 0; b < blocks; b++) {
    for (size_t r = 0; r < block->rows; r++)
      source[r] = gk_gradient_row(block, r) + (size_t)b * strip->layer->hidden + strip->unit;
    run->rnn->kernels->transpose(block->rows, strip->units, source, strip->transposed + b * strip->block_step,
                                 GK_TRANSPOSED_STRIDE);
  }
}

/* C (gates * units, columns of `matrix`) += the gates, transposed, by the first `rows` of the packed rows. */
static void strip_product(const struct strip *strip, const struct gk_matrix *matrix, const float *panels,
                          size_t rows, int gate_count, const int *gate, const int *gate_block,
                          int64_t tensor) {
  const struct gk_run *run = strip->worker->run;
  const size_t units = strip->units, columns = matrix->units;
  for (int g = 0; g < gate_count; g++)
    for (size_t u = 0; u < units; u++) {
      const size_t index = (size_t)g * units + u;
      strip->a[index] =
          strip->gates + gate_block[gate[g]] * strip->block_step + (ptrdiff_t)u * strip->unit_step;
      strip->c[index] = finished_row(strip, tensor, columns, (size_t)gate[g], u);
    }
  struct gk_product product = gk_matrix_block_product(matrix, panels, (size_t)gate_count * units, rows,
                                                      strip->a, strip->c, strip->first);
  product.a_step = strip->k_step;
  product.stream = run->stream_gradients && strip->first && columns % GK_LINE_FLOATS == 0 &&
                   (uintptr_t)strip->c[0] % GK_CACHE_LINE == 0;
  run->rnn->kernels->product(&product);
}

static void bias_sums(const struct strip *strip) {
  const struct gk_run *run = strip->worker->run;
  const struct gk_cell_info *cell = run->rnn->cell;
  const struct gk_gradient_block *block = strip->block;
  const float *source[GK_SUM_BLOCK];
  for (int g = 0; g < cell->gates; g++) {
    const int half_block[2] = {gk_cell_bias_block(cell, g, false), gk_cell_bias_block(cell, g, true)};
    for (int half = 0; half < 2; half++) {
      float *sum = finished_row(strip, half ? strip->layer->bias_hh : strip->layer->bias_ih, 1, (size_t)g, 0);
      for (size_t r = 0; r < block->rows; r++)
        source[r] = gk_gradient_row(block, r) + (size_t)half_block[half] * strip->layer->hidden + strip->unit;
      if (half && half_block[1] == half_block[0]) /* one sum for both biases */
        memcpy(sum, finished_row(strip, strip->layer->bias_ih, 1, (size_t)g, 0), strip->units * sizeof *sum);
      else
        run->rnn->kernels->column_sum(block->rows, strip->units, source, sum, strip->first);
    }
  }
}

/* Each gate that sees c by what it sees: the input and forget gates c of the step before, the output gate
 * (the last one) c. */
static void peephole_sums(const struct strip *strip) {
  const struct gk_rnn *rnn = strip->worker->run->rnn;
  const struct gk_gradient_block *block = strip->block;
  const float *gradient[GK_SUM_BLOCK], *seen[GK_SUM_BLOCK];
  for (int p = 0; p < rnn->peepholes; p++) {
    const bool output = p + 1 == rnn->peepholes;
    const int gate = output ? rnn->cell->gates - 1 : p;
    for (size_t r = 0; r < block->rows; r++) {
      gradient[r] = gk_gradient_row(block, r) +
                    (size_t)gk_cell_bias_block(rnn->cell, gate, true) * strip->layer->hidden + strip->unit;
      seen[r] = (output ? block->c : block->c_prev)[r] + strip->unit;
    }
    rnn->kernels->column_dot(block->rows, strip->units, gradient, seen,
                             finished_row(strip, strip->layer->weight_peephole, 1, (size_t)p, 0),
                             strip->first);
  }
}

/* Block `of` of the gradients by block `by` of what forward kept, or alone. */
static void norm_sum(const struct strip *strip, int of, int by, float *sum) {
  const struct gk_kernels *kernels = strip->worker->run->rnn->kernels;
  const struct gk_gradient_block *block = strip->block;
  const size_t hidden = strip->layer->hidden;
  const float *gradient[GK_SUM_BLOCK], *saved[GK_SUM_BLOCK];
  for (size_t r = 0; r < block->rows; r++) {
    gradient[r] = gk_gradient_row(block, r) + (size_t)of * hidden + strip->unit;
    saved[r] = block->saved_gates[r] + (size_t)by * hidden + strip->unit;
  }
  if (by)
    kernels->column_dot(block->rows, strip->units, gradient, saved, sum, strip->first);
  else
    kernels->column_sum(block->rows, strip->units, gradient, sum, strip->first);
}

/* Gains and bias of layer normalisation; blocks as kernels/math/lstm_normalised.h names them. */
static void norm_sums(const struct strip *strip) {
  const struct gk_cell_info *cell = strip->worker->run->rnn->cell;
  const struct gk_rnn_layer *layer = strip->layer;
  const int gates = cell->gates, last = 3 * gates;
  for (int g = 0; g < gates; g++) {
    norm_sum(strip, cell->bias_block + g, gates + g,
             finished_row(strip, layer->weight_ln_ih, 1, (size_t)g, 0));
    norm_sum(strip, cell->bias_block + g, 2 * gates + g,
             finished_row(strip, layer->weight_ln_hh, 1, (size_t)g, 0));
  }
  norm_sum(strip, last, last, finished_row(strip, layer->weight_ln_c, 1, 0, 0));
  norm_sum(strip, last, 0, finished_row(strip, layer->bias_ln_c, 1, 0, 0));
}

/* The panels that the worker reads. */
static float *panels_of(const struct gk_worker *worker, int operand) {
  const struct gk_run *run = worker->run;
  return run->panels[operand] + (run->own_panels ? (size_t)worker->thread * run->panel_floats[operand] : 0);
}

/* The block's rows as panels; of those that all threads read, the worker's share. */
static void pack_block(const struct gk_worker *worker, const struct gk_rnn_layer *layer,
                       const struct gk_gradient_block *block, struct gk_gradient_parts parts) {
  const struct gk_run *run = worker->run;
  const struct gk_cell_info *cell = run->rnn->cell;
  const size_t width = layer->dx.width;
  const float *operand[GK_SUM_BLOCK];
  size_t begin = 0, end = block->rows;
  if (!run->own_panels)
    gk_split(block->rows, 1, worker->thread, worker->threads, &begin, &end);
  if (parts.inputs)
    gk_matrix_pack_block(&layer->dx, run->rnn->kernels, end - begin, block->x + begin,
                         panels_of(worker, 0) + begin * width);
  if (end > block->recurrent_rows)
    end = block->recurrent_rows;
  for (int p = 0; p < cell->phases && parts.recurrent && begin < end; p++) {
    const int operand_block = cell->phase[p].operand_block;
    for (size_t r = begin; r < end; r++)
      operand[r] = operand_block == GK_OPERAND_H
                       ? block->h_prev[r]
                       : block->saved_gates[r] + (size_t)operand_block * layer->hidden;
    gk_matrix_pack_block(&layer->dh[p], run->rnn->kernels, end - begin, operand + begin,
                         panels_of(worker, 1 + p) + begin * width);
  }
}

static void strip_block(struct strip *strip, struct gk_gradient_parts parts) {
  const struct gk_run *run = strip->worker->run;
  const struct gk_cell_info *cell = run->rnn->cell;
  const struct gk_rnn_layer *layer = strip->layer;
  place_gates(strip);
  if (parts.inputs) {
    strip_product(strip, &layer->dx, panels_of(strip->worker, 0), strip->block->rows, cell->gates,
                  cell->input_order, cell->input_block, layer->weight_ih);
    bias_sums(strip);
  }
  if (parts.vectors)
    peephole_sums(strip);
  if (parts.vectors && cell->normalised)
    norm_sums(strip);
  for (int p = 0; p < cell->phases && parts.recurrent; p++)
    strip_product(strip, &layer->dh[p], panels_of(strip->worker, 1 + p), strip->block->recurrent_rows,
                  cell->phase[p].gate_count, cell->phase[p].gate, cell->recurrent_block, layer->weight_hh);
}

static size_t strip_rows(const struct gk_run *run) {
  return (size_t)run->rnn->cell->blocks * STRIP_UNITS;
}

/* To the unit: by lines of cache one of two threads would have 112 of 198 units, and steps of such sizes took
 * 2 to 5 % longer. That threads share a line of the biases at their border costs nothing that was seen. */
static void own_units(const struct gk_worker *worker, const struct gk_rnn_layer *layer, size_t *begin,
                      size_t *end) {
  gk_worker_split(worker, layer->hidden, begin, end);
}

void gk_weight_gradient_block(const struct gk_worker *worker, int layer, int direction,
                              const struct gk_gradient_block *block, struct gk_gradient_parts parts,
                              bool first) {
  struct strip strip = {.worker = worker,
                        .layer = gk_run_layer(worker->run, layer, direction),
                        .block = block,
                        .first = first,
                        .a = (const float **)worker->scratch};
  strip.c = (float **)(strip.a + strip_rows(worker->run));
  strip.transposed = (float *)(strip.c + strip_rows(worker->run));
  size_t begin, end;
  own_units(worker, strip.layer, &begin, &end);
  gk_worker_wait(worker); /* the rows are there, and the panels have been read */
  if (!worker->run->own_panels || begin < end)
    pack_block(worker, strip.layer, block, parts);
  if (!worker->run
           ->own_panels) /* no thread writes over what packing reads before all come to the next block */
    gk_worker_wait(worker);
  for (strip.unit = begin; strip.unit < end; strip.unit += strip.units) {
    strip.units = end - strip.unit < STRIP_UNITS ? end - strip.unit : STRIP_UNITS;
    strip_block(&strip, parts);
  }
}

void gk_weight_gradient_cut(struct gk_run *run, struct gk_arena *workspace) {
  const gk_rnn *rnn = run->rnn;
  const int rings = rnn->directions == 2 ? 1 : (int)rnn->desc.layers;
  const int64_t threads = run->plan.threads, width = (int64_t)rnn->layers[0].dx.width;
  const size_t transposed = rnn->reads_across ? 0 : GK_TRANSPOSED_STRIDE;
  const size_t scratch = strip_rows(run) * (transposed + 2 * sizeof(void *) / sizeof(float));
  /* A block that some thread still reads, one that is not yet full, a chunk, and those that wait. */
  size_t rows = 0, all = 0;
  if (!gk_size_array(&rows, 1, run->plan.chunk, run->batch, 1 + run->late_chunks) ||
      !gk_size_add(&rows, 2 * GK_SUM_BLOCK) || !gk_size_array(&all, 1, run->time, run->batch, 1))
    workspace->overflow = true;
  if (rows > all)
    rows = all;
  if (!gk_size_align(&rows, GK_SUM_BLOCK) || rows > INT64_MAX)
    workspace->overflow = true;
  run->d_pre_rows = workspace->overflow ? 0 : (int64_t)rows;
  run->d_pre = gk_arena_take(workspace, sizeof *run->d_pre, rings, 1, 1);
  for (int i = 0; i < rings; i++) {
    const size_t hidden = rnn->directions == 2 ? rnn->widest_hidden : rnn->layers[i].hidden;
    struct gk_gradient_ring ring = {.width = gk_padded((size_t)rnn->cell->blocks * hidden)};
    ring.rows = gk_arena_take(workspace, sizeof(float), run->d_pre_rows, (int64_t)ring.width, 1);
    if (run->d_pre)
      run->d_pre[i] = ring;
  }
  run->chunk_rows = gk_arena_take(workspace, sizeof *run->chunk_rows, threads, run->plan.chunk, 1);
  run->walks = gk_arena_take(workspace, sizeof *run->walks, threads, rnn->layer_count, 1);
  run->own_panels = threads <= GK_OWN_PANELS_THREADS;
  for (int p = 0; p < 1 + rnn->cell->phases; p++) {
    size_t floats;
    const size_t inputs = p ? gk_widest_state(rnn) : rnn->widest_input;
    if (!gk_size_array(&floats, 1, (int64_t)inputs + width, GK_SUM_BLOCK, 1))
      workspace->overflow = true;
    run->panel_floats[p] = workspace->overflow ? 0 : floats;
    run->panels[p] = gk_arena_take(workspace, sizeof(float), (int64_t)run->panel_floats[p],
                                   run->own_panels ? threads : 1, 1);
  }
  run->scratch_floats = (scratch + GK_CACHE_LINE - 1) / GK_CACHE_LINE * GK_CACHE_LINE;
  run->scratch = gk_arena_take(workspace, sizeof(float), threads, (int64_t)run->scratch_floats, 1);
}

void gk_weight_gradient_start(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  if (gk_rnn_folds(run->rnn, run->training) && run->gradients)
    gk_embedding_gradient_start(worker);
}

void gk_weight_gradient(const struct gk_worker *worker, int layer, int direction, int64_t rows, bool last) {
  const struct gk_run *run = worker->run;
  const struct gk_gradient_walk *walk = &worker->walk[layer * run->rnn->directions + direction];
  const bool folded = layer == 0 && gk_rnn_folds(run->rnn, run->training);
  const struct gk_gradient_parts parts = {
      .inputs = !folded, .recurrent = run->rnn->desc.recurrence == GK_RECURRENCE_HIDDEN, .vectors = true};
  struct gk_gradient_block block;
  if (!run->gradients)
    return;
  for (;;) {
    const int64_t waiting = rows - walk->rows;
    const bool first = walk->rows == 0; /* without any row the sum is zero */
    if (waiting < GK_SUM_BLOCK && !(last && (waiting || first)))
      break;
    next_rows(worker, layer, direction, rows, &block);
    gk_weight_gradient_block(worker, layer, direction, &block, parts, first);
    if (folded)
      gk_embedding_gradient_rows(worker, &block);
    if (block.rows == 0)
      break;
  }
  if (folded && last)
    gk_embedding_gradient_finish(worker, direction);
}

/* Weight dropout: what was dropped has no gradient. */
static void drop_recurrent(const struct gk_worker *worker, int index) {
  const struct gk_run *run = worker->run;
  const struct gk_rnn_layer *layer = &run->rnn->layers[index];
  float *gradients = run->accumulate ? run->finished : run->gradients;
  size_t begin, end;
  own_units(worker, layer, &begin, &end);
  for (size_t g = 0; g < (size_t)run->rnn->cell->gates; g++)
    for (size_t unit = begin; unit < end; unit++) {
      const size_t row = g * layer->hidden + unit;
      float *values = gradients + layer->weight_hh + row * layer->output;
      gk_mask_weights(run->rnn, &run->streams[GK_MASK_WEIGHT][index], row, 0, layer->output, values, values);
    }
}

/* Adds the worker's units of a tensor to the caller's gradients, each element once. */
static void add_units(const struct gk_worker *worker, const struct gk_rnn_tensor *of) {
  const struct gk_run *run = worker->run;
  if (of->role == GK_TENSOR_EMBEDDING || of->role == GK_TENSOR_PROJECTION || of->role == GK_TENSOR_STATE)
    return; /* added where they are formed */
  const bool matrix = of->role == GK_TENSOR_INPUT || of->role == GK_TENSOR_RECURRENT;
  const size_t columns = matrix ? (size_t)of->tensor.shape[1] : 1;
  const struct gk_rnn_layer *layer = &run->rnn->layers[of->layer];
  size_t begin, end;
  own_units(worker, layer, &begin, &end);
  for (size_t block = 0; block < (size_t)of->tensor.count; block += layer->hidden * columns) {
    const size_t at = (size_t)of->tensor.offset + block + begin * columns;
    run->rnn->kernels->add((end - begin) * columns, run->finished + at, run->gradients + at);
  }
}

void gk_weight_gradient_end(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  if (!run->gradients)
    return;
  const bool recurrent = run->rnn->desc.recurrence == GK_RECURRENCE_HIDDEN;
  for (int k = 0; k < run->rnn->layer_count && recurrent && run->streams[GK_MASK_WEIGHT]; k++)
    drop_recurrent(worker, k);
  for (int i = 0; i < run->rnn->tensor_count && run->accumulate; i++)
    add_units(worker, &run->rnn->tensors[i]);
  if (!run->rnn->desc.vocabulary)
    return;
  if (!gk_rnn_folds(run->rnn, run->training))
    gk_embedding_gradient_gather(worker);
  gk_embedding_gradient_return(worker);
}
