/* SPDX-License-Identifier: Apache-2.0
 * Weight gradients: one product over all (t, sample) that exist, in the order in which the backward sweep
 * visits them, so that a sum's blocks depend on neither threads nor schedule. A thread owns units. Block by
 * block of the sum it packs the inputs once, and for 128 units at a time transposes their gate gradients. */
#include <string.h>

#include "src/sequence/masks.h"
#include "src/sequence/run.h"

/* Floats from row to row of a transposed block: rows of a tile must not share a set of L1. */
enum { TRANSPOSED_STRIDE = GK_SUM_BLOCK + 16 };

/* One block of the sum: where its rows stand. */
struct block {
  size_t rows;
  const float *gates[GK_SUM_BLOCK], *x[GK_SUM_BLOCK], *h_prev[GK_SUM_BLOCK];
};

/* Walks (s, position) backward, or the distinct tokens of a folded embedding. */
struct walk {
  const struct gk_run *run;
  int layer, direction;
  bool tokens;
  int64_t s, i, samples; /* samples: that exist at step s */
  int64_t token;
};

static struct walk start_walk(const struct gk_run *run, int layer, int direction, bool tokens) {
  return (struct walk){
      .run = run, .layer = layer, .direction = direction, .tokens = tokens, .s = run->length[0]};
}

static void next_tokens(struct walk *walk, struct block *block) {
  const struct gk_embedding *embedding = &walk->run->embedding;
  const size_t width = (size_t)walk->run->rnn->cell->blocks * walk->run->rnn->layers[0].hidden;
  for (; walk->token < embedding->distinct && block->rows < GK_SUM_BLOCK; walk->token++, block->rows++) {
    block->gates[block->rows] = embedding->table + (size_t)walk->token * width;
    block->x[block->rows] = walk->run->parameters +
                            (size_t)embedding->token[walk->token] * (size_t)walk->run->rnn->desc.input_size;
  }
}

/* The layer's input at the walk's place: h of the layer below is read where it was saved. */
static const float *saved_input(const struct walk *walk) {
  const struct gk_run *run = walk->run;
  const float *input = gk_run_input(run, walk->layer, walk->direction, walk->s, walk->i);
  return input ? input
               : gk_run_saved_h(run, gk_run_saved(run, walk->layer - 1, walk->direction), walk->s, walk->i);
}

static void next_steps(struct walk *walk, struct block *block) {
  const struct gk_run *run = walk->run;
  const struct gk_saved *saved = gk_run_saved(run, walk->layer, walk->direction);
  const bool dense = walk->layer > 0 || !run->tokens;
  while (block->rows < GK_SUM_BLOCK) {
    if (walk->i == walk->samples) {
      if (walk->s == 0)
        return;
      walk->s--;
      walk->i = 0;
      while (walk->samples < run->batch && run->length[walk->samples] > walk->s)
        walk->samples++;
    }
    const size_t row = block->rows++;
    block->gates[row] = gk_run_gates(run, saved, walk->s, walk->i);
    block->h_prev[row] = run->drops_state
                             ? gk_run_saved_operand(run, saved, walk->s, walk->i)
                             : gk_run_h_prev(run, walk->layer, walk->direction, walk->s, walk->i);
    if (dense)
      block->x[row] = saved_input(walk);
    walk->i++;
  }
}

static void next_block(struct walk *walk, struct block *block) {
  block->rows = 0;
  if (walk->tokens)
    next_tokens(walk, block);
  else
    next_steps(walk, block);
}

/* The finished rows of some units: in the caller's gradients, or in scratch to be added at the end. */
struct strip {
  const struct gk_worker *worker;
  int layer, direction;
  size_t hidden; /* of the layer */
  size_t unit, units;
  float *transposed;                /* (blocks * units, TRANSPOSED_STRIDE) */
  float *panels[1 + GK_MAX_PHASES]; /* packed rows of x and of the recurrent operands */
  float *finished;                  /* accumulate: (gates * units, I + H), then biases */
  const float **a;
  float **c;
};

static float *finished_row(const struct strip *strip, int64_t tensor, size_t columns, size_t gate,
                           size_t unit, size_t scratch_offset) {
  const struct gk_run *run = strip->worker->run;
  if (run->accumulate)
    return strip->finished + scratch_offset + (gate * strip->units + unit) * columns;
  return run->gradients + tensor + (gate * strip->hidden + strip->unit + unit) * columns;
}

static void transpose_gates(const struct strip *strip, const struct block *block) {
  const struct gk_run *run = strip->worker->run;
  const float *source[GK_SUM_BLOCK];
  for (int b = 0; b < run->rnn->cell->blocks; b++) {
    for (size_t r = 0; r < block->rows; r++)
      source[r] = block->gates[r] + (size_t)b * strip->hidden + strip->unit;
    run->rnn->kernels->transpose(block->rows, strip->units, source,
                                 strip->transposed + (size_t)b * strip->units * TRANSPOSED_STRIDE,
                                 TRANSPOSED_STRIDE);
  }
}

/* C (gates * units, columns of `matrix`) += transposed gates by the packed rows. */
static void strip_product(const struct strip *strip, const struct gk_matrix *matrix, const float *panels,
                          size_t rows, int gate_count, const int *gate, const int *gate_block, int64_t tensor,
                          size_t scratch_offset, bool first) {
  const size_t units = strip->units, columns = matrix->units;
  for (int g = 0; g < gate_count; g++)
    for (size_t u = 0; u < units; u++) {
      const size_t index = (size_t)g * units + u;
      strip->a[index] = strip->transposed + ((size_t)gate_block[gate[g]] * units + u) * TRANSPOSED_STRIDE;
      strip->c[index] = finished_row(strip, tensor, columns, (size_t)gate[g], u, scratch_offset);
    }
  strip->worker->run->rnn->kernels->product(&(struct gk_product){.rows = (size_t)gate_count * units,
                                                                 .k = rows,
                                                                 .a = strip->a,
                                                                 .b = panels,
                                                                 .panel_stride = matrix->width * GK_SUM_BLOCK,
                                                                 .columns = matrix->columns,
                                                                 .vector_end = matrix->vectors,
                                                                 .c = strip->c,
                                                                 .overwrite = first});
}

static void bias_sums(const struct strip *strip, const struct block *block, size_t scratch_offset,
                      bool first) {
  const struct gk_run *run = strip->worker->run;
  const struct gk_cell_info *cell = run->rnn->cell;
  const struct gk_rnn_layer *layer = gk_run_layer(run, strip->layer, strip->direction);
  const size_t hidden = strip->hidden, count = (size_t)cell->gates * strip->units;
  const float *source[GK_SUM_BLOCK];
  for (int g = 0; g < cell->gates; g++) {
    const int half_block[2] = {cell->input_block[g], cell->recurrent_block[g]};
    for (int half = 0; half < 2; half++) {
      float *sum = finished_row(strip, half ? layer->bias_hh : layer->bias_ih, 1, (size_t)g, 0,
                                scratch_offset + (size_t)half * count);
      for (size_t r = 0; r < block->rows; r++)
        source[r] = block->gates[r] + (size_t)half_block[half] * hidden + strip->unit;
      if (half && half_block[1] == half_block[0]) /* one sum for both biases */
        memcpy(sum, finished_row(strip, layer->bias_ih, 1, (size_t)g, 0, scratch_offset),
               strip->units * sizeof *sum);
      else
        run->rnn->kernels->column_sum(block->rows, strip->units, source, sum, first);
    }
  }
}

/* Adds the finished strip to the caller's gradients, each element once. */
static void add_strip(const struct strip *strip, int64_t tensor, size_t columns, size_t scratch_offset) {
  const struct gk_run *run = strip->worker->run;
  for (int g = 0; g < run->rnn->cell->gates; g++)
    run->rnn->kernels->add(strip->units * columns,
                           strip->finished + scratch_offset + (size_t)g * strip->units * columns,
                           run->gradients + tensor + ((size_t)g * strip->hidden + strip->unit) * columns);
}

/* Which parts a pass forms, and over which rows. */
struct parts {
  bool inputs, recurrent, tokens;
};

static void pack_block(const struct strip *strip, const struct block *block, struct parts parts) {
  const struct gk_run *run = strip->worker->run;
  const struct gk_cell_info *cell = run->rnn->cell;
  const struct gk_rnn_layer *layer = gk_run_layer(run, strip->layer, strip->direction);
  const struct gk_kernels *kernels = run->rnn->kernels;
  const size_t stride = layer->dx.width * GK_SUM_BLOCK;
  const float *operand[GK_SUM_BLOCK];
  if (parts.inputs)
    kernels->pack_rows(block->rows, layer->dx.units, block->x, strip->panels[0], stride);
  for (int p = 0; p < cell->phases && parts.recurrent; p++) {
    const int operand_block = cell->phase[p].operand_block;
    for (size_t r = 0; r < block->rows; r++)
      operand[r] = operand_block == GK_OPERAND_H ? block->h_prev[r]
                                                 : block->gates[r] + (size_t)operand_block * strip->hidden;
    kernels->pack_rows(block->rows, layer->output, operand, strip->panels[1 + p], stride);
  }
}

/* Offsets in `finished` of a strip's recurrent weights and of its biases, behind its input weights. */
static size_t finished_h(const struct strip *strip) {
  const struct gk_run *run = strip->worker->run;
  return (size_t)run->rnn->cell->gates * strip->units *
         (size_t)gk_run_layer(run, strip->layer, strip->direction)->input_size;
}
static size_t finished_bias(const struct strip *strip) {
  const struct gk_run *run = strip->worker->run;
  return finished_h(strip) + (size_t)run->rnn->cell->gates * strip->units *
                                 gk_run_layer(run, strip->layer, strip->direction)->output;
}

static void strip_block(const struct strip *strip, const struct block *block, struct parts parts,
                        bool first) {
  const struct gk_run *run = strip->worker->run;
  const struct gk_cell_info *cell = run->rnn->cell;
  const struct gk_rnn_layer *layer = gk_run_layer(run, strip->layer, strip->direction);
  transpose_gates(strip, block);
  if (parts.inputs) {
    strip_product(strip, &layer->dx, strip->panels[0], block->rows, cell->gates, cell->input_order,
                  cell->input_block, layer->weight_ih, 0, first);
    bias_sums(strip, block, finished_bias(strip), first);
  }
  for (int p = 0; p < cell->phases && parts.recurrent; p++)
    strip_product(strip, &layer->dh[p], strip->panels[1 + p], block->rows, cell->phase[p].gate_count,
                  cell->phase[p].gate, cell->recurrent_block, layer->weight_hh, finished_h(strip), first);
}

/* Weight dropout: what was dropped has no gradient. */
static void drop_recurrent(const struct strip *strip) {
  const struct gk_run *run = strip->worker->run;
  const struct gk_rnn_layer *layer = gk_run_layer(run, strip->layer, strip->direction);
  const struct gk_random_stream *stream =
      &run->streams[GK_MASK_WEIGHT][strip->layer * run->rnn->directions + strip->direction];
  for (size_t g = 0; g < (size_t)run->rnn->cell->gates; g++)
    for (size_t u = 0; u < strip->units; u++) {
      float *row = finished_row(strip, layer->weight_hh, layer->output, g, u, finished_h(strip));
      gk_mask_weights(run->rnn, stream, g * layer->hidden + strip->unit + u, 0, layer->output, row, row);
    }
}

static void add_finished(const struct strip *strip, struct parts parts) {
  const struct gk_run *run = strip->worker->run;
  const struct gk_rnn_layer *layer = gk_run_layer(run, strip->layer, strip->direction);
  const size_t at_bias = finished_bias(strip), biases = (size_t)run->rnn->cell->gates * strip->units;
  if (parts.inputs) {
    add_strip(strip, layer->weight_ih, (size_t)layer->input_size, 0);
    add_strip(strip, layer->bias_ih, 1, at_bias);
    add_strip(strip, layer->bias_hh, 1, at_bias + biases);
  }
  if (parts.recurrent)
    add_strip(strip, layer->weight_hh, layer->output, finished_h(strip));
}

/* All blocks of the sum, for the units [begin, end). */
static void gradient_pass(struct strip *strip, struct parts parts, size_t begin, size_t end) {
  struct walk walk = start_walk(strip->worker->run, strip->layer, strip->direction, parts.tokens);
  struct block block;
  bool first = true;
  for (next_block(&walk, &block); block.rows || first; next_block(&walk, &block), first = false) {
    pack_block(strip, &block, parts);
    for (strip->unit = begin; strip->unit < end; strip->unit += strip->units) {
      strip->units = end - strip->unit < GK_GRADIENT_UNITS ? end - strip->unit : GK_GRADIENT_UNITS;
      strip_block(strip, &block, parts, first);
    }
  }
}

static void *take(float **next, size_t floats) {
  void *start = *next;
  *next += (floats + 15) / 16 * 16;
  return start;
}

bool gk_worker_scratch_floats(const struct gk_run *run, size_t *scratch) {
  const struct gk_rnn *rnn = run->rnn;
  const size_t operand = rnn->widest_hidden > rnn->widest_output ? rnn->widest_hidden : rnn->widest_output;
  const size_t input = rnn->widest_input > operand ? rnn->widest_input : operand;
  size_t floats, finished;
  const int64_t rows = rnn->cell->blocks * GK_GRADIENT_UNITS;
  if (!gk_size_array(&floats, 1, (int64_t)(input + rnn->layers[0].dx.width),
                     (1 + rnn->cell->phases) * GK_SUM_BLOCK, 1) ||
      !gk_size_array(&finished, 1, (int64_t)(input + operand + 2), rows, 1) ||
      !gk_size_add(&floats, finished) ||
      !gk_size_add(&floats, (size_t)rows * (TRANSPOSED_STRIDE + 2 * sizeof(void *) / sizeof(float)) + 8 * 16))
    return false;
  *scratch = floats;
  return gk_size_align(scratch, GK_CACHE_LINE / sizeof(float));
}

static void gradient_of_units(const struct gk_worker *worker, int layer, int direction, struct parts parts) {
  const struct gk_run *run = worker->run;
  const size_t rows = (size_t)run->rnn->cell->blocks * GK_GRADIENT_UNITS;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  const size_t hidden = weights->hidden, input = (size_t)weights->input_size;
  float *next = worker->scratch;
  struct strip strip = {.worker = worker, .layer = layer, .direction = direction, .hidden = hidden};
  strip.a = take(&next, rows * sizeof(void *) / sizeof(float));
  strip.c = take(&next, rows * sizeof(void *) / sizeof(float));
  strip.transposed = take(&next, rows * TRANSPOSED_STRIDE);
  for (int p = 0; p < 1 + run->rnn->cell->phases; p++)
    strip.panels[p] = take(&next, ((p ? weights->output : input) + weights->dx.width) * GK_SUM_BLOCK);
  strip.finished = next;
  size_t begin, end;
  gk_split(hidden, GK_CACHE_LINE / sizeof(float), worker->thread, worker->threads, &begin, &end);
  if (!run->accumulate) {
    if (begin < end)
      gradient_pass(&strip, parts, begin, end);
    strip.unit = begin;
    strip.units = end - begin;
    if (run->streams[GK_MASK_WEIGHT] && parts.recurrent)
      drop_recurrent(&strip);
    return;
  }
  for (size_t unit = begin; unit < end;
       unit += GK_GRADIENT_UNITS) { /* scratch holds one strip until it is finished */
    gradient_pass(&strip, parts, unit, end - unit < GK_GRADIENT_UNITS ? end : unit + GK_GRADIENT_UNITS);
    strip.unit = unit;
    if (run->streams[GK_MASK_WEIGHT] && parts.recurrent)
      drop_recurrent(&strip);
    add_finished(&strip, parts);
  }
}

void gk_weight_gradient(const struct gk_worker *worker, int layer, int direction) {
  const bool folded = layer == 0 && worker->run->tokens;
  gradient_of_units(worker, layer, direction,
                    (struct parts){.inputs = !folded,
                                   .recurrent = worker->run->rnn->desc.recurrence == GK_RECURRENCE_HIDDEN});
}

/* Gate gradients of all steps into the rows of their tokens, the worker's units, in the order of the sweep
 * and in blocks as every other sum. */
static void scatter(const struct gk_worker *worker, int direction, size_t begin, size_t end) {
  const struct gk_run *run = worker->run;
  const struct gk_kernels *kernels = run->rnn->kernels;
  const struct gk_embedding *embedding = &run->embedding;
  const struct gk_saved *saved = gk_run_saved(run, 0, direction);
  const size_t hidden = run->rnn->layers[0].hidden, blocks = (size_t)run->rnn->cell->blocks;
  const size_t width = blocks * hidden;
  uint32_t *pending = embedding->pending + (size_t)worker->thread * (size_t)embedding->distinct;
  memset(pending, 0, (size_t)embedding->distinct * sizeof *pending);
  for (size_t row = 0; row < (size_t)embedding->distinct; row++)
    for (size_t b = 0; b < blocks; b++) {
      memset(embedding->table + row * width + b * hidden + begin, 0, (end - begin) * sizeof(float));
      memset(embedding->block + row * width + b * hidden + begin, 0, (end - begin) * sizeof(float));
    }
  int64_t samples = 0;
  for (int64_t s = run->length[0]; s-- > 0;) {
    while (samples < run->batch && run->length[samples] > s)
      samples++;
    for (int64_t i = 0; i < samples; i++) {
      const int64_t t = gk_run_time(run, direction, s, run->length[i]);
      const int32_t slot = embedding->slot[run->tokens[gk_run_caller_row(run, t, run->order[i])]];
      const float *gates = gk_run_gates(run, saved, s, i);
      const bool full = ++pending[slot] == GK_SUM_BLOCK;
      float *row = embedding->block + (size_t)slot * width;
      for (size_t b = 0; b < blocks; b++)
        kernels->add(end - begin, gates + b * hidden + begin, row + b * hidden + begin);
      if (!full)
        continue;
      pending[slot] = 0;
      for (size_t b = 0; b < blocks; b++) {
        kernels->add(end - begin, row + b * hidden + begin,
                     embedding->table + (size_t)slot * width + b * hidden + begin);
        memset(row + b * hidden + begin, 0, (end - begin) * sizeof(float));
      }
    }
  }
  for (size_t row = 0; row < (size_t)embedding->distinct; row++)
    for (size_t b = 0; b < blocks && pending[row]; b++)
      kernels->add(end - begin, embedding->block + row * width + b * hidden + begin,
                   embedding->table + row * width + b * hidden + begin);
}

/* d embedding rows = gate gradients of a token by the input weights; the second direction adds. */
static void embedding_rows(const struct gk_worker *worker, int direction) {
  const struct gk_run *run = worker->run;
  const struct gk_embedding *embedding = &run->embedding;
  const struct gk_cell_info *cell = run->rnn->cell;
  const struct gk_matrix *matrix = &gk_run_layer(run, 0, direction)->dx;
  const size_t hidden = run->rnn->layers[0].hidden, width = (size_t)cell->blocks * hidden,
               input = matrix->units;
  const size_t block = (size_t)cell->input_block[cell->input_order[0]] * hidden;
  enum { ROWS = 48 };
  const float *a[ROWS];
  float *c[ROWS];
  size_t begin, end;
  gk_split((size_t)embedding->distinct, 1, worker->thread, worker->threads, &begin, &end);
  for (size_t u = begin; u < end; u += ROWS) {
    const size_t rows = end - u < ROWS ? end - u : ROWS;
    for (size_t j = 0; j < rows; j++) {
      a[j] = embedding->table + (u + j) * width + block;
      c[j] = run->embedding_gradient + (u + j) * input;
    }
    gk_matrix_product(matrix, run->rnn->kernels, run->packed, 0, input, rows, a, c,
                      direction == 0 ? GK_START_ZERO : GK_START_C);
  }
}

void gk_embedding_gradient(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  const struct gk_embedding *embedding = &run->embedding;
  const size_t input = (size_t)run->rnn->desc.input_size, hidden = run->rnn->layers[0].hidden;
  size_t begin, end;
  for (int direction = 0; direction < run->rnn->directions; direction++) {
    gk_split(hidden, GK_CACHE_LINE / sizeof(float), worker->thread, worker->threads, &begin, &end);
    scatter(worker, direction, begin, end);
    gradient_of_units(worker, 0, direction, (struct parts){.inputs = true, .tokens = true});
    gk_worker_wait(worker);
    embedding_rows(worker, direction);
    gk_worker_wait(worker); /* the table belongs to the next direction now; all rows are there to be copied */
  }
  gk_split((size_t)run->rnn->desc.vocabulary, 1, worker->thread, worker->threads, &begin, &end);
  for (size_t token = begin; token < end; token++) { /* embedding.weight is the first tensor */
    float *row = run->gradients + token * input;
    const int32_t slot = embedding->slot[token];
    if (slot < 0 && !run->accumulate)
      memset(row, 0, input * sizeof *row);
    if (slot < 0)
      continue;
    if (run->accumulate)
      run->rnn->kernels->add(input, run->embedding_gradient + (size_t)slot * input, row);
    else
      memcpy(row, run->embedding_gradient + (size_t)slot * input, input * sizeof *row);
  }
}
