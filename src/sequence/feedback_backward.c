/* SPDX-License-Identifier: Apache-2.0
 * Feedback backward. A step's dx is known before the step below it is taken: its fed-back part joins the
 * gradient of the output that was fed. Gradients of parameters and of the source follow when all steps are
 * done. */
#include <string.h>

#include "src/sequence/feedback_rows.h"

static void start_from(size_t count, const float *given, float *d) {
  if (given)
    memcpy(d, given, count * sizeof *d);
  else
    memset(d, 0, count * sizeof *d);
}

/* The gradient of o_t, then of W_o y + b_o, whose share of y's is added. */
static void outputs_backward(const struct gk_worker *worker, const struct gk_feed_rows *rows) {
  const struct gk_feed *feed = worker->run->feed;
  const struct gk_decoder *decoder = feed->decoder;
  const struct gk_output *output = decoder->desc.output;
  const struct gk_kernels *kernels = worker->run->rnn->kernels;
  const size_t size = (size_t)decoder->fed, top = (size_t)decoder->top;
  const float *a[GK_FEED_ROWS];
  float *c[GK_FEED_ROWS];
  for (size_t k = 0; k < rows->count; k++) {
    const struct gk_feed_row *row = &rows->row[k];
    const float *o = feed->out + (size_t)row->r * size;
    float *d = feed->d_out + (size_t)row->r * size;
    start_from(size, feed->doutputs ? feed->doutputs + (size_t)row->r * size : NULL, d);
    if (!row->last && feed->own[row->after])
      kernels->add(size, feed->d_in + row->after * decoder->width + decoder->desc.rnn.input_size, d);
    if (decoder->desc.output_function == GK_OUTPUT_TANH)
      kernels->tanh_backward(size, o, d, d);
    else if (decoder->desc.output_function == GK_OUTPUT_SIGMOID)
      kernels->sigmoid_backward(size, o, d, d);
    else if (decoder->desc.output_function == GK_OUTPUT_SOFTMAX)
      kernels->softmax_backward(size, o, d, d);
    else
      kernels->flush(size, d, d);
    a[k] = d;
    c[k] = feed->d_top + (size_t)row->r * top;
  }
  gk_matrix_product(&output->linear.backward, output->kernels,
                    (struct gk_weights){.packed = feed->output_packed}, 0, top, rows->count, a, c,
                    GK_START_C);
}

/* From y's gradient to h's, through h~ = tanh(W_c [c; h]) and the weights. */
static void attention_backward(const struct gk_worker *worker, const struct gk_feed_rows *rows) {
  const struct gk_feed *feed = worker->run->feed;
  const struct gk_decoder *decoder = feed->decoder;
  const struct gk_kernels *kernels = worker->run->rnn->kernels;
  const size_t hidden = (size_t)decoder->hidden, top = (size_t)decoder->top;
  const size_t size = (size_t)decoder->desc.source_size, positions = (size_t)feed->source_time;
  const bool general = decoder->desc.attention == GK_ATTENTION_GENERAL;
  const float *a[GK_FEED_ROWS];
  float *c[GK_FEED_ROWS];
  for (size_t k = 0; k < rows->count; k++) {
    const size_t r = (size_t)rows->row[k].r;
    kernels->tanh_backward(top, feed->top + r * top, feed->d_top + r * top, feed->d_top + r * top);
    a[k] = feed->d_top + r * top;
    c[k] = feed->d_joined + r * (size + hidden);
  }
  gk_matrix_product(&decoder->combine.backward, kernels, (struct gk_weights){.packed = feed->packed}, 0,
                    size + hidden, rows->count, a, c, GK_START_ZERO);
  for (size_t k = 0; k < rows->count; k++) {
    const size_t r = (size_t)rows->row[k].r;
    float *d_query = feed->d_query + r * size, *d_h = feed->d_h + r * hidden;
    kernels->flush(size, c[k], c[k]);
    gk_attention_backward(kernels, gk_feed_source(worker, &rows->row[k]), feed->alpha + r * positions, c[k],
                          feed->d_score + r * positions, d_query);
    memcpy(d_h, c[k] + size, hidden * sizeof *d_h);
    if (!general)
      kernels->add(hidden, d_query, d_h);
    a[k] = d_query;
    c[k] = d_h;
  }
  if (general)
    gk_matrix_product(&decoder->query.backward, kernels, (struct gk_weights){.packed = feed->packed}, 0,
                      hidden, rows->count, a, c, GK_START_C);
}

void gk_feed_backward(const struct gk_worker *worker, int64_t begin, int64_t end) {
  const struct gk_feed *feed = worker->run->feed;
  const struct gk_decoder *decoder = feed->decoder;
  const struct gk_kernels *kernels = worker->run->rnn->kernels;
  const size_t top = (size_t)decoder->top;
  struct gk_feed_rows rows = gk_feed_rows_start(worker, begin, end);
  while (gk_feed_rows_next(&rows)) {
    for (size_t k = 0; k < rows.count; k++) {
      const struct gk_feed_row *row = &rows.row[k];
      float *d = feed->d_top + (size_t)row->r * top;
      start_from(top, feed->dy ? feed->dy + (size_t)row->r * top : NULL, d);
      if (!decoder->desc.input_feeding)
        continue;
      if (!row->last)
        kernels->add(
            top, feed->d_in + row->after * decoder->width + decoder->desc.rnn.input_size + decoder->fed, d);
      else if (feed->dfeedn)
        kernels->add(top, feed->dfeedn + (size_t)row->n * top, d);
    }
    if (decoder->desc.feedback == GK_FEEDBACK_OUTPUT)
      outputs_backward(worker, &rows);
    if (decoder->desc.attention != GK_ATTENTION_NONE)
      attention_backward(worker, &rows);
  }
  gk_worker_meet(worker);
}

/* ---- When all steps are done ---- */

static void matrix_gradients(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  const struct gk_feed *feed = run->feed;
  const struct gk_decoder *decoder = feed->decoder;
  const size_t size = (size_t)decoder->desc.source_size, joined = size + (size_t)decoder->hidden;
  struct gk_sweep_rows sweep = gk_sweep_rows_of(run, true);
  struct gk_linear_gradient gradient = {.kernels = run->rnn->kernels,
                                        .rows = {.context = &sweep, .next = gk_sweep_next_rows},
                                        .scratch =
                                            feed->scratch + (size_t)worker->thread * feed->scratch_floats};
  if (feed->gradients && decoder->desc.attention != GK_ATTENTION_NONE) {
    gradient.accumulate = feed->accumulate;
    gradient.matrix = &decoder->combine.backward;
    gradient.dy = feed->d_top;
    gradient.dy_stride = (size_t)decoder->top;
    gradient.x = feed->joined;
    gradient.x_stride = joined;
    gradient.weight = feed->gradients + decoder->combine_offset;
    gk_linear_gradient(&gradient, worker->thread, worker->threads);
  }
  if (feed->gradients && decoder->desc.attention == GK_ATTENTION_GENERAL) {
    gradient.matrix = &decoder->query.backward;
    gradient.dy = feed->d_query;
    gradient.dy_stride = size;
    gradient.x = feed->joined + size;
    gradient.weight = feed->gradients + decoder->query_offset;
    gk_linear_gradient(&gradient, worker->thread, worker->threads);
  }
  if (feed->output_gradients && decoder->desc.feedback == GK_FEEDBACK_OUTPUT) {
    gradient.accumulate = true;
    gradient.matrix = &decoder->desc.output->linear.backward;
    gradient.kernels = decoder->desc.output->kernels;
    gradient.dy = feed->d_out;
    gradient.dy_stride = (size_t)decoder->fed;
    gradient.x = feed->top;
    gradient.x_stride = (size_t)decoder->top;
    gradient.weight = feed->output_gradients;
    gradient.bias = feed->output_gradients + decoder->fed * decoder->top;
    gk_linear_gradient(&gradient, worker->thread, worker->threads);
  }
}

/* Lists the rows of each token in the order of the sweep: a sort by counting. */
static void sort_by_token(const struct gk_run *run) {
  const struct gk_feed *feed = run->feed;
  const int64_t vocabulary = feed->decoder->desc.vocabulary;
  struct gk_sweep_rows sweep = gk_sweep_rows_of(run, true);
  int64_t rows[GK_SUM_BLOCK];
  memset(feed->token_start, 0, (size_t)(vocabulary + 1) * sizeof *feed->token_start);
  for (size_t count; (count = gk_sweep_next_rows(&sweep, rows)) > 0;)
    for (size_t k = 0; k < count; k++)
      feed->token_start[feed->token[rows[k]] + 1]++;
  for (int64_t v = 0; v < vocabulary; v++)
    feed->token_start[v + 1] += feed->token_start[v];
  for (size_t count; (count = gk_sweep_next_rows(&sweep, rows)) > 0;)
    for (size_t k = 0; k < count; k++)
      feed->token_rows[feed->token_start[feed->token[rows[k]]]++] = rows[k];
  for (int64_t v = vocabulary; v > 0; v--) /* each start has become the next one's */
    feed->token_start[v] = feed->token_start[v - 1];
  feed->token_start[0] = 0;
}

static void embedding_gradient(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  const struct gk_feed *feed = run->feed;
  const struct gk_decoder *decoder = feed->decoder;
  const size_t size = (size_t)decoder->fed;
  float *sum = feed->scratch + (size_t)worker->thread * feed->scratch_floats;
  const float *source[GK_SUM_BLOCK];
  size_t begin, end;
  gk_split((size_t)decoder->desc.vocabulary, 1, worker->thread, worker->threads, &begin, &end);
  for (size_t v = begin; v < end; v++) {
    float *row = feed->gradients + v * size;
    const int64_t first = feed->token_start[v], stop = feed->token_start[v + 1];
    if (first == stop) {
      if (!feed->accumulate)
        memset(row, 0, size * sizeof *row);
      continue;
    }
    for (int64_t block = first; block < stop; block += GK_SUM_BLOCK) {
      const size_t rows = stop - block < GK_SUM_BLOCK ? (size_t)(stop - block) : GK_SUM_BLOCK;
      for (size_t k = 0; k < rows; k++)
        source[k] =
            feed->d_in + feed->token_rows[block + (int64_t)k] * decoder->width + decoder->desc.rnn.input_size;
      run->rnn->kernels->column_sum(rows, size, source, sum, block == first);
    }
    if (feed->accumulate)
      run->rnn->kernels->add(size, sum, row);
    else
      memcpy(row, sum, size * sizeof *row);
  }
}

/* Of one sample's source: sums over its steps, the last one first. */
static void source_gradient(const struct gk_run *run, int64_t n, int64_t length) {
  const struct gk_feed *feed = run->feed;
  const struct gk_decoder *decoder = feed->decoder;
  const bool batch_first = run->rnn->desc.layout == GK_BATCH_FIRST;
  const size_t size = (size_t)decoder->desc.source_size, positions = (size_t)feed->source_time;
  const size_t joined = size + (size_t)decoder->hidden;
  const struct gk_source source = gk_feed_source_of(run, n);
  const ptrdiff_t step = batch_first ? -1 : -(ptrdiff_t)run->batch;
  const size_t last = length ? (size_t)gk_run_caller_row(run, length - 1, n) : 0;
  const struct gk_step_rows weights = {feed->alpha + last * positions, step * (ptrdiff_t)positions};
  const struct gk_step_rows d_score = {feed->d_score + last * positions, step * (ptrdiff_t)positions};
  const struct gk_step_rows d_context = {feed->d_joined + last * joined, step * (ptrdiff_t)joined};
  const struct gk_step_rows query =
      decoder->desc.attention == GK_ATTENTION_GENERAL
          ? (struct gk_step_rows){feed->query + last * size, step * (ptrdiff_t)size}
          : (struct gk_step_rows){feed->joined + last * joined + size, step * (ptrdiff_t)joined};
  for (size_t j = 0; j < positions; j++) {
    const int64_t row = gk_layout_row(run->rnn->desc.layout, feed->source_time, run->batch, (int64_t)j, n);
    float *d = feed->dsource + (size_t)row * size;
    if (j < source.positions && length)
      gk_attention_source_gradient(run->rnn->kernels, (size_t)length, j, size, weights, d_context, d_score,
                                   query, d);
    else
      memset(d, 0, size * sizeof *d);
  }
}

/* The parts of one row of the input's gradient, to whom they belong; r is a row of padding if `step` is
 * false. */
static void hand_out(const struct gk_feed *feed, int64_t r, bool step) {
  const struct gk_decoder *decoder = feed->decoder;
  const size_t given = (size_t)decoder->desc.rnn.input_size, fed = (size_t)decoder->fed;
  const float *d = feed->d_in + r * decoder->width;
  if (feed->dx)
    start_from(given, step ? d : NULL, feed->dx + (size_t)r * given);
  if (feed->dprevious)
    start_from(fed, step && !feed->own[r] ? d + given : NULL, feed->dprevious + (size_t)r * fed);
}

void gk_feed_gradients(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  const struct gk_feed *feed = run->feed;
  const struct gk_decoder *decoder = feed->decoder;
  const size_t top = (size_t)decoder->top;
  const bool embeds = feed->gradients && decoder->desc.feedback == GK_FEEDBACK_TOKEN;
  gk_worker_wait(worker);
  if (embeds && worker->thread == 0)
    sort_by_token(run);
  matrix_gradients(worker);
  if (embeds) {
    gk_worker_wait(worker);
    embedding_gradient(worker);
  }
  size_t begin, end;
  gk_split((size_t)run->batch, 1, worker->thread, worker->threads, &begin, &end);
  for (int64_t i = (int64_t)begin; i < (int64_t)end; i++) {
    const int64_t n = run->order[i], length = run->length[i];
    for (int64_t t = 0; t < run->time; t++)
      hand_out(feed, gk_run_caller_row(run, t, n), t < length);
    if (feed->dsource)
      source_gradient(run, n, length);
    if (feed->dfeed0 && length)
      memcpy(feed->dfeed0 + (size_t)n * top,
             feed->d_in + gk_run_caller_row(run, 0, n) * decoder->width + decoder->width - (int64_t)top,
             top * sizeof(float));
    else if (feed->dfeed0)
      start_from(top, feed->dfeedn ? feed->dfeedn + (size_t)n * top : NULL, feed->dfeed0 + (size_t)n * top);
  }
}

bool gk_feed_scratch_floats(const struct gk_decoder *decoder, size_t *floats) {
  const gk_decoder_desc *desc = &decoder->desc;
  size_t most = (size_t)(desc->feedback == GK_FEEDBACK_TOKEN ? desc->vocabulary : 0);
  if (!gk_size_multiply(&most, GK_FEED_LOGITS))
    return false;
  if (most < (size_t)decoder->fed)
    most = (size_t)decoder->fed;
  if ((decoder->query.out && !gk_linear_scratch(&decoder->query.backward, &most)) ||
      (decoder->combine.out && !gk_linear_scratch(&decoder->combine.backward, &most)) ||
      (desc->feedback == GK_FEEDBACK_OUTPUT && !gk_linear_scratch(&desc->output->linear.backward, &most)))
    return false;
  *floats = most;
  return gk_size_align(floats, GK_LINE_FLOATS);
}
