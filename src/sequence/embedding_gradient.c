/* SPDX-License-Identifier: Apache-2.0
 * The gradient of a folded embedding: gate gradients are summed into the rows of their tokens, in the order
 * of the sweep and in blocks as every other sum; these rows then take the place of (t, sample) in the
 * gradients of the input weights, and by the input weights give the rows of the embedding. A thread owns
 * units. */
#include <string.h>

#include "src/sequence/rows.h"

/* The worker's units of a row of gates: in each block of it, so many floats from `begin`. */
struct share {
  size_t blocks, hidden, begin, count;
};

/* By lines of cache: a row of a token is added to with each of its gradients, by all threads. */
static struct share own_share(const struct gk_worker *worker) {
  const size_t hidden = worker->run->rnn->layers[0].hidden;
  size_t begin, end;
  gk_split(hidden, GK_LINE_FLOATS, worker->thread, worker->threads, &begin, &end);
  return (struct share){(size_t)worker->run->rnn->cell->blocks, hidden, begin, end - begin};
}

static void clear(const struct share *own, float *row) {
  for (size_t b = 0; b < own->blocks; b++)
    memset(row + b * own->hidden + own->begin, 0, own->count * sizeof *row);
}

static void add(const struct gk_worker *worker, const struct share *own, const float *from, float *to) {
  for (size_t b = 0; b < own->blocks; b++) {
    const size_t at = b * own->hidden + own->begin;
    worker->run->rnn->kernels->add(own->count, from + at, to + at);
  }
}

static uint32_t *pending_rows(const struct gk_worker *worker) {
  const struct gk_embedding *embedding = &worker->run->embedding;
  return embedding->pending + (size_t)worker->thread * (size_t)embedding->distinct;
}

void gk_embedding_gradient_start(const struct gk_worker *worker) {
  const struct gk_embedding *embedding = &worker->run->embedding;
  const struct share own = own_share(worker);
  const size_t width = embedding->row_floats, distinct = (size_t)embedding->distinct;
  memset(pending_rows(worker), 0, distinct * sizeof *embedding->pending);
  for (size_t row = 0; row < distinct; row++) {
    clear(&own, embedding->table + row * width);
    clear(&own, embedding->block + row * width);
  }
}

void gk_embedding_gradient_rows(const struct gk_worker *worker, const struct gk_gradient_block *block) {
  const struct gk_embedding *embedding = &worker->run->embedding;
  const struct share own = own_share(worker);
  const size_t width = embedding->row_floats;
  uint32_t *pending = pending_rows(worker);
  for (size_t r = 0; r < block->rows; r++) {
    const size_t slot = (size_t)block->slot[r];
    float *sum = embedding->block + slot * width;
    add(worker, &own, gk_gradient_row(block, r), sum);
    if (++pending[slot] < GK_GRADIENT_BLOCK)
      continue;
    pending[slot] = 0;
    add(worker, &own, sum, embedding->table + slot * width);
    clear(&own, sum);
  }
}

/* d embedding rows = gate gradients of a token by the input weights; the second direction adds. */
static void embedding_rows(const struct gk_worker *worker, int direction) {
  const struct gk_run *run = worker->run;
  const struct gk_embedding *embedding = &run->embedding;
  const struct gk_cell_info *cell = run->rnn->cell;
  const struct gk_rnn_layer *layer = gk_run_layer(run, 0, direction);
  const size_t width = embedding->row_floats, input = layer->dx.units;
  const size_t block = (size_t)cell->input_block[cell->input_order[0]] * layer->hidden;
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
    gk_matrix_product(&layer->dx, run->rnn->kernels, gk_run_weights(run), 0, input, rows, a, c,
                      direction == 0 ? GK_START_ZERO : GK_START_C);
  }
}

void gk_embedding_gradient_finish(const struct gk_worker *worker, int direction) {
  const struct gk_run *run = worker->run;
  const struct gk_embedding *embedding = &run->embedding;
  const struct share own = own_share(worker);
  const size_t width = embedding->row_floats, distinct = (size_t)embedding->distinct;
  for (size_t row = 0; row < distinct; row++)
    if (pending_rows(worker)[row])
      add(worker, &own, embedding->block + row * width, embedding->table + row * width);
  struct gk_gradient_block block;
  for (size_t token = 0; token < distinct || token == 0; token += GK_SUM_BLOCK) {
    block.rows = distinct - token < GK_SUM_BLOCK ? distinct - token : GK_SUM_BLOCK;
    block.gates = embedding->table + token * width;
    block.gates_step = (ptrdiff_t)width;
    block.recurrent_rows = 0;
    for (size_t r = 0; r < block.rows; r++)
      block.x[r] = run->parameters + (size_t)embedding->token[token + r] * (size_t)run->rnn->desc.input_size;
    gk_weight_gradient_block(worker, 0, direction, &block, (struct gk_gradient_parts){.inputs = true},
                             token == 0);
  }
  embedding_rows(worker, direction); /* all units are there: the threads have met over the last block */
  gk_worker_wait(worker);
  if (direction + 1 < run->rnn->directions)
    gk_embedding_gradient_start(worker);
}

void gk_embedding_gradient_gather(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  const struct gk_kernels *kernels = run->rnn->kernels;
  const size_t width = (size_t)run->rnn->desc.input_size, distinct = (size_t)run->embedding.distinct;
  uint32_t *pending = pending_rows(worker);
  size_t begin, end;
  gk_split(width, GK_LINE_FLOATS, worker->thread, worker->threads, &begin, &end);
  const size_t count = end - begin;
  memset(pending, 0, distinct * sizeof *pending);
  for (size_t slot = 0; slot < distinct; slot++) {
    memset(run->embedding_gradient + slot * width + begin, 0, count * sizeof(float));
    memset(run->embedding_block + slot * width + begin, 0, count * sizeof(float));
  }
  gk_worker_wait(worker); /* all rows of dx are there */
  for (int64_t s = run->length[0]; s-- > 0;)
    for (int64_t i = 0; i < gk_run_rows(run, s); i++) {
      const int64_t row = gk_run_caller_row(run, gk_run_time(run, 0, s, run->length[i]), run->order[i]);
      const size_t slot = (size_t)run->embedding.slot[run->tokens[row]], at = slot * width + begin;
      kernels->add(count, run->dx + (size_t)row * width + begin, run->embedding_block + at);
      if (++pending[slot] < GK_GRADIENT_BLOCK)
        continue;
      pending[slot] = 0;
      kernels->add(count, run->embedding_block + at, run->embedding_gradient + at);
      memset(run->embedding_block + at, 0, count * sizeof(float));
    }
  for (size_t slot = 0; slot < distinct; slot++)
    if (pending[slot])
      kernels->add(count, run->embedding_block + slot * width + begin,
                   run->embedding_gradient + slot * width + begin);
  gk_worker_wait(worker);
}

void gk_embedding_gradient_return(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  const size_t input = (size_t)run->rnn->desc.input_size;
  size_t begin, end;
  gk_split((size_t)run->rnn->desc.vocabulary, 1, worker->thread, worker->threads, &begin, &end);
  for (size_t token = begin; token < end; token++) { /* embedding.weight is the first tensor */
    float *row = run->gradients + token * input;
    const int32_t slot = run->embedding.slot[token];
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
