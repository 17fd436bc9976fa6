/* SPDX-License-Identifier: Apache-2.0
 * Forward: the input of a step joined from its parts; attention, output and choice on top of the last layer.
 */
#include "src/sequence/feedback.h"

#include <string.h>

#include "src/core/choice.h"
#include "src/layers/attention.h"
#include "src/sequence/feedback_rows.h"

/* ---- Padding ---- */

static void clear_row(const struct gk_feed *feed, int64_t r) {
  const struct gk_decoder *decoder = feed->decoder;
  if (feed->y)
    memset(feed->y + r * decoder->top, 0, (size_t)decoder->top * sizeof(float));
  if (feed->outputs)
    memset(feed->outputs + r * decoder->fed, 0, (size_t)decoder->fed * sizeof(float));
  if (feed->weights)
    memset(feed->weights + r * feed->source_time, 0, (size_t)feed->source_time * sizeof(float));
  if (feed->chosen)
    feed->chosen[r] = -1;
  if (feed->fed)
    feed->fed[r] = -1;
}

void gk_feed_start(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  const struct gk_feed *feed = run->feed;
  const size_t top = (size_t)feed->decoder->top;
  if (!gk_worker_leads(worker))
    return;
  for (int64_t j = 0; j < worker->count; j++) {
    const int64_t i = gk_worker_position(worker, j), n = run->order[i];
    for (int64_t t = run->length[i]; t < run->time; t++)
      clear_row(feed, gk_run_caller_row(run, t, n));
    if (run->length[i] > 0 || !feed->feedn)
      continue;
    if (feed->feed0)
      memmove(feed->feedn + (size_t)n * top, feed->feed0 + (size_t)n * top, top * sizeof(float));
    else
      memset(feed->feedn + (size_t)n * top, 0, top * sizeof(float));
  }
}

/* ---- Inputs ---- */

/* Is the network fed its own output of the step before? */
static bool own_turn(const struct gk_feed *feed, const struct gk_feed_row *row) {
  struct gk_random_counter coin = feed->coin;
  float uniform;
  if (row->s == 0 || feed->sampling == 0)
    return false;
  coin.time += (uint32_t)row->s;
  coin.sample += (uint64_t)row->n;
  gk_random_uniforms(&coin, 0, 1, &uniform);
  return uniform < feed->sampling;
}

static void join_fed(const struct gk_feed *feed, const struct gk_feed_row *row, float *to) {
  const struct gk_decoder *decoder = feed->decoder;
  const size_t size = (size_t)decoder->fed;
  const bool own = own_turn(feed, row);
  feed->own[row->r] = own;
  if (decoder->desc.feedback == GK_FEEDBACK_OUTPUT) {
    memcpy(to, (own ? feed->out + (size_t)row->before * size : feed->previous + (size_t)row->r * size),
           size * sizeof *to);
    if (feed->fed)
      feed->fed[row->r] = own;
    return;
  }
  const int32_t token = own ? feed->picked[row->before] : feed->tokens[row->r];
  feed->token[row->r] = token;
  memcpy(to, feed->parameters + (size_t)token * size, size * sizeof *to); /* the embedding comes first */
  if (feed->fed)
    feed->fed[row->r] = token;
}

void gk_feed_inputs(const struct gk_worker *worker, int64_t begin, int64_t end) {
  const struct gk_feed *feed = worker->run->feed;
  const struct gk_decoder *decoder = feed->decoder;
  const size_t given = (size_t)decoder->desc.rnn.input_size, top = (size_t)decoder->top;
  struct gk_feed_rows rows = gk_feed_rows_start(worker, begin, end);
  while (gk_feed_rows_next(&rows))
    for (size_t k = 0; k < rows.count; k++) {
      const struct gk_feed_row *row = &rows.row[k];
      float *to = feed->in + (size_t)row->r * (size_t)decoder->width;
      if (given)
        memcpy(to, feed->x + (size_t)row->r * given, given * sizeof *to);
      if (decoder->fed)
        join_fed(feed, row, to + given);
      if (!decoder->desc.input_feeding)
        continue;
      to += given + (size_t)decoder->fed;
      if (row->s > 0)
        memcpy(to, feed->top + (size_t)row->before * top, top * sizeof *to);
      else if (feed->feed0)
        memcpy(to, feed->feed0 + (size_t)row->n * top, top * sizeof *to);
      else
        memset(to, 0, top * sizeof *to);
    }
  gk_worker_meet(worker);
}

/* ---- Outputs ---- */

/* h of the last layer to where the next product reads it, [c; h] or y itself. */
static void attend(const struct gk_worker *worker, const struct gk_feed_rows *rows) {
  const struct gk_run *run = worker->run;
  const struct gk_feed *feed = run->feed;
  const struct gk_decoder *decoder = feed->decoder;
  const struct gk_kernels *kernels = run->rnn->kernels;
  const struct gk_ring *ring = gk_run_ring(run, (int)run->rnn->desc.layers - 1, 0);
  const size_t hidden = (size_t)decoder->hidden, top = (size_t)decoder->top;
  const size_t size = (size_t)decoder->desc.source_size, positions = (size_t)feed->source_time;
  const float *a[GK_FEED_ROWS];
  float *c[GK_FEED_ROWS];
  for (size_t k = 0; k < rows->count; k++) {
    a[k] = gk_row_at(run, gk_ring_h(run, ring, rows->row[k].s), rows->row[k].i);
    if (decoder->desc.attention == GK_ATTENTION_NONE)
      memcpy(feed->top + (size_t)rows->row[k].r * top, a[k], top * sizeof(float));
  }
  if (decoder->desc.attention == GK_ATTENTION_NONE)
    return;
  if (decoder->desc.attention == GK_ATTENTION_GENERAL) {
    for (size_t k = 0; k < rows->count; k++)
      c[k] = feed->query + (size_t)rows->row[k].r * size;
    gk_matrix_product(&decoder->query.forward, kernels, (struct gk_weights){.packed = feed->packed}, 0, size,
                      rows->count, a, c, GK_START_ZERO);
  }
  for (size_t k = 0; k < rows->count; k++) {
    const struct gk_feed_row *row = &rows->row[k];
    const struct gk_source source = gk_feed_source(worker, row);
    float *weights = feed->alpha + (size_t)row->r * positions;
    float *joined = feed->joined + (size_t)row->r * (size + hidden);
    gk_attention_forward(kernels, source, decoder->desc.attention == GK_ATTENTION_DOT ? a[k] : c[k], weights,
                         joined);
    memset(weights + source.positions, 0, (positions - source.positions) * sizeof *weights);
    memcpy(joined + size, a[k], hidden * sizeof *joined);
    if (feed->weights)
      memcpy(feed->weights + (size_t)row->r * positions, weights, positions * sizeof *weights);
    a[k] = joined;
    c[k] = feed->top + (size_t)row->r * top;
  }
  gk_matrix_product(&decoder->combine.forward, kernels, (struct gk_weights){.packed = feed->packed}, 0, top,
                    rows->count, a, c, GK_START_ZERO);
  for (size_t k = 0; k < rows->count; k++) {
    kernels->tanh(top, c[k], c[k]);
    kernels->flush(top, c[k], c[k]);
  }
}

static void output_product(const struct gk_feed *feed, size_t rows, const float *const *a, float *const *c) {
  const struct gk_output *output = feed->decoder->desc.output;
  const float *from[GK_FEED_ROWS];
  for (size_t k = 0; k < rows; k++)
    from[k] = feed->output_packed + output->linear.bias;
  gk_matrix_product(&output->linear.forward, output->kernels,
                    (struct gk_weights){.packed = feed->output_packed}, 0, (size_t)output->desc.output_size,
                    rows, a, c, (struct gk_start){.rows = from});
}

static void apply_function(const struct gk_kernels *kernels, gk_output_function function, size_t count,
                           float *o) {
  if (function == GK_OUTPUT_TANH)
    kernels->tanh(count, o, o);
  else if (function == GK_OUTPUT_SIGMOID)
    kernels->sigmoid(count, o, o);
  else if (function == GK_OUTPUT_SOFTMAX)
    kernels->softmax(count, 1.0f, o, o);
  kernels->flush(count, o, o);
}

static void make_outputs(const struct gk_worker *worker, const struct gk_feed_rows *rows) {
  const struct gk_feed *feed = worker->run->feed;
  const struct gk_decoder *decoder = feed->decoder;
  const size_t size = (size_t)decoder->fed;
  const float *a[GK_FEED_ROWS];
  float *c[GK_FEED_ROWS];
  for (size_t k = 0; k < rows->count; k++) {
    a[k] = feed->top + (size_t)rows->row[k].r * (size_t)decoder->top;
    c[k] = feed->out + (size_t)rows->row[k].r * size;
  }
  output_product(feed, rows->count, a, c);
  for (size_t k = 0; k < rows->count; k++) {
    apply_function(worker->run->rnn->kernels, decoder->desc.output_function, size, c[k]);
    if (feed->outputs)
      memcpy(feed->outputs + (size_t)rows->row[k].r * size, c[k], size * sizeof(float));
  }
}

/* logits: the output of `top`. */
static int32_t choose(const struct gk_feed *feed, const struct gk_feed_row *row,
                      const struct gk_kernels *kernels, size_t count, const float *top, float *logits) {
  if (feed->choice == GK_CHOICE_GREEDY)
    return (int32_t)gk_index_of_largest(logits, (int64_t)count);
  struct gk_random_counter draw = feed->draw;
  float uniform;
  draw.time += (uint32_t)row->s;
  draw.sample += (uint64_t)row->n;
  gk_random_uniforms(&draw, 0, 1, &uniform);
  kernels->softmax(count, gk_softmax_scale(feed->temperature), logits, logits);
  if (!isnan(logits[0]))
    return (int32_t)gk_index_drawn(logits, (int64_t)count, uniform);
  output_product(feed, 1, &top, &logits); /* nothing to draw by, and it stands where the logits did */
  return (int32_t)gk_index_of_largest(logits, (int64_t)count);
}

static void choose_tokens(const struct gk_worker *worker, const struct gk_feed_rows *rows) {
  const struct gk_feed *feed = worker->run->feed;
  const size_t size = (size_t)feed->decoder->desc.vocabulary;
  float *scratch = feed->scratch + (size_t)worker->thread * feed->scratch_floats;
  const float *a[GK_FEED_LOGITS];
  float *c[GK_FEED_LOGITS];
  for (size_t k = 0; k < rows->count; k += GK_FEED_LOGITS) {
    const size_t count = rows->count - k < GK_FEED_LOGITS ? rows->count - k : GK_FEED_LOGITS;
    for (size_t j = 0; j < count; j++) {
      a[j] = feed->top + (size_t)rows->row[k + j].r * (size_t)feed->decoder->top;
      c[j] = scratch + j * size;
    }
    output_product(feed, count, a, c);
    for (size_t j = 0; j < count; j++) {
      const struct gk_feed_row *row = &rows->row[k + j];
      feed->picked[row->r] = choose(feed, row, worker->run->rnn->kernels, size, a[j], c[j]);
      if (feed->chosen)
        feed->chosen[row->r] = feed->picked[row->r];
    }
  }
}

void gk_feed_outputs(const struct gk_worker *worker, int64_t begin, int64_t end) {
  const struct gk_feed *feed = worker->run->feed;
  const size_t top = (size_t)feed->decoder->top;
  struct gk_feed_rows rows = gk_feed_rows_start(worker, begin, end);
  while (gk_feed_rows_next(&rows)) {
    attend(worker, &rows);
    if (feed->decoder->desc.feedback == GK_FEEDBACK_OUTPUT)
      make_outputs(worker, &rows);
    if (feed->chooses)
      choose_tokens(worker, &rows);
    for (size_t k = 0; k < rows.count; k++) {
      const struct gk_feed_row *row = &rows.row[k];
      const float *y = feed->top + (size_t)row->r * top;
      if (feed->y)
        memcpy(feed->y + (size_t)row->r * top, y, top * sizeof *y);
      if (feed->feedn && row->last)
        memcpy(feed->feedn + (size_t)row->n * top, y, top * sizeof *y);
    }
  }
  gk_worker_meet(worker);
}
