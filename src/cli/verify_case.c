/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"

enum { OUTPUT_SIZE = 13 };

void *verify_take_bytes(struct verify_pool *pool, size_t bytes) {
  void *buffer = NULL;
  if (pool->buffers < VERIFY_MOST_BUFFERS && bytes < PTRDIFF_MAX - 64)
    buffer = aligned_alloc(64, (bytes + 64) / 64 * 64);
  if (buffer)
    pool->buffer[pool->buffers++] = buffer;
  else
    pool->out_of_memory = true;
  return buffer;
}

void verify_release(struct verify_pool *pool) {
  for (int i = 0; i < pool->buffers; i++)
    free(pool->buffer[i]);
  *pool = (struct verify_pool){0};
}

float *verify_take(struct verify_pool *pool, int64_t count) {
  float *values = verify_take_bytes(pool, (size_t)count * sizeof(float));
  if (values)
    memset(values, 0, (size_t)count * sizeof(float));
  return values;
}

/* ---- Data ---- */

/* Values that no libm function has touched: uniform in [-range, range). */
static float *take_random(verify_job *job, int64_t count, float range) {
  float *values = verify_take(&job->data, count);
  job->stream++;
  for (int64_t i = 0; values && i < count; i++)
    values[i] = (2 * gk_uniform(job->seed, job->stream, (uint64_t)i) - 1) * range;
  return values;
}

/* Whole numbers in [low, high]. */
static int32_t *take_integers(verify_job *job, int64_t count, int32_t low, int32_t high) {
  int32_t *values = verify_take_bytes(&job->data, (size_t)count * sizeof *values);
  job->stream++;
  for (int64_t i = 0; values && i < count; i++)
    values[i] = low + (int32_t)(gk_uniform(job->seed, job->stream, (uint64_t)i) * (float)(high - low + 1));
  return values;
}

int64_t verify_pair_index(const verify_job *job, int64_t t, int64_t n) {
  const verify_case *c = job->kase;
  return c->layout == GK_BATCH_FIRST ? n * c->time + t : t * c->batch + n;
}

void verify_poison_padding(const verify_job *job, float *values, int64_t width) {
  for (int64_t n = 0; job->lengths && n < job->kase->batch; n++)
    for (int64_t t = job->lengths[n]; t < job->kase->time; t++)
      for (int64_t i = 0; i < width; i++)
        values[verify_pair_index(job, t, n) * width + i] = NAN;
}

static void make_lengths(verify_job *job) {
  const verify_case *c = job->kase;
  int32_t *random = take_integers(job, c->batch, 0, (int32_t)c->time);
  job->lengths = verify_take_bytes(&job->data, (size_t)c->batch * sizeof *job->lengths);
  if (job->data.out_of_memory)
    return;
  for (int64_t n = 0; n < c->batch; n++)
    job->lengths[n] = n == 1 ? 0 : n == 2 ? c->time : random[n];
  for (int64_t n = 0; n < c->batch; n++)
    for (int64_t t = job->lengths[n]; t < c->time; t++) {
      job->targets[verify_pair_index(job, t, n)] = -1;
      if (job->tokens)
        job->tokens[verify_pair_index(job, t, n)] = INT32_MAX;
    }
  if (job->x)
    verify_poison_padding(job, job->x, c->input);
}

static void make_resets(verify_job *job) {
  int32_t *random = take_integers(job, job->pairs, 0, 3);
  job->reset = verify_take_bytes(&job->data, (size_t)job->pairs * sizeof *job->reset);
  for (int64_t i = 0; i < job->pairs && random && job->reset; i++)
    job->reset[i] = random[i] == 0;
}

static gk_status make_data(verify_job *job) {
  const verify_case *c = job->kase;
  const int64_t cells = gk_cell_has_memory(job->cell) ? job->states : 0;
  job->parameters = take_random(job, job->parameter_count, 1 / sqrtf((float)c->hidden));
  job->output_parameters = take_random(job, job->output_parameter_count, 0.25f);
  job->targets = take_integers(job, job->pairs, -1, OUTPUT_SIZE - 1);
  if (c->vocabulary)
    job->tokens = take_integers(job, job->pairs, 0, (int32_t)c->vocabulary - 1);
  else
    job->x = take_random(job, job->pairs * c->input, 1);
  job->h0 = take_random(job, job->states, 1);
  job->c0 = take_random(job, cells, 1);
  job->dhn = take_random(job, job->states, 0.125f);
  job->dcn = take_random(job, cells, 0.125f);
  if (c->ragged && !job->data.out_of_memory)
    make_lengths(job);
  if (c->resets)
    make_resets(job);
  if (c->accumulate)
    job->old_gradients = take_random(job, job->parameter_count, 1);
  return job->data.out_of_memory ? GK_ERROR_MEMORY : GK_OK;
}

static gk_status set_options(gk_rnn_desc *desc, const char *options) {
  gk_status status = GK_OK;
  while (options && *options && status == GK_OK) {
    char name[32], value[64];
    int used = 0;
    if (sscanf(options, "%31[^=]=%63[^ ] %n", name, value, &used) != 2)
      return GK_ERROR_ARGUMENT;
    status = gk_rnn_option_set(desc, name, value);
    options += used ? used : (int)strlen(options);
  }
  return status;
}

gk_status verify_create_network(const verify_job *job, const verify_plan *plan, gk_rnn **rnn,
                                gk_output **output) {
  const verify_case *c = job->kase;
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = job->cell;
  desc.input_size = c->input;
  desc.hidden_size = c->hidden;
  desc.layers = c->layers;
  desc.vocabulary = c->vocabulary;
  desc.direction = c->direction;
  if (c->structure) {
    desc.trained_states = true;
    desc.merge = c->direction == GK_BIDIRECTIONAL ? GK_MERGE_SUM : GK_MERGE_CONCATENATE;
    desc.projection_size = job->cell == GK_CELL_LSTM ? c->hidden : 0;
  }
  desc.layout = c->layout;
  desc.activation = c->activation;
  desc.dropout = c->dropout;
  if (c->masks) {
    desc.input_dropout = 0.25f;
    desc.recurrent_dropout = 0.125f;
    desc.weight_dropout = 0.5f;
    desc.zoneout_h = 0.25f;
    desc.zoneout_c = gk_cell_has_memory(job->cell) ? 0.125f : 0;
    desc.dropout_masks = c->dropout_masks;
  }
  desc.isa = plan->isa;
  desc.math = GK_MATH_OWN;
  desc.schedule = plan->schedule;
  desc.threads = plan->threads;
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = job->output_hidden;
  output_desc.output_size = OUTPUT_SIZE;
  output_desc.isa = plan->isa;
  output_desc.threads = plan->threads;
  gk_status status = set_options(&desc, c->options);
  if (status == GK_OK)
    status = gk_rnn_create(&desc, rnn);
  return status == GK_OK ? gk_output_create(&output_desc, output) : status;
}

gk_status verify_open(const verify_case *this_case, gk_cell cell, uint64_t seed, verify_job **result) {
  *result = NULL;
  if (this_case->activation != GK_ACTIVATION_DEFAULT && cell != GK_CELL_RNN)
    return GK_ERROR_UNSUPPORTED;
  const verify_plan any = {.isa = GK_ISA_SCALAR, .threads = 1};
  gk_rnn *rnn = NULL;
  gk_output *output = NULL;
  verify_job *job = calloc(1, sizeof *job);
  if (!job)
    return GK_ERROR_MEMORY;
  job->kase = this_case;
  job->cell = cell;
  job->seed = seed;
  job->stream = checksum_text(CHECKSUM_START, this_case->name) << 8;
  const int64_t directions = this_case->direction == GK_BIDIRECTIONAL ? 2 : 1;
  job->output_hidden = (this_case->structure ? 1 : directions) * this_case->hidden;
  job->states = this_case->layers * directions * this_case->batch * this_case->hidden;
  job->pairs = this_case->batch * this_case->time;
  gk_status status = verify_create_network(job, &any, &rnn, &output);
  if (status == GK_OK) {
    job->parameter_count = gk_rnn_parameter_count(rnn);
    job->output_parameter_count = gk_output_parameter_count(output);
    status = make_data(job);
  }
  gk_rnn_destroy(rnn);
  gk_output_destroy(output);
  if (status != GK_OK)
    verify_close(job);
  else
    *result = job;
  return status;
}

void verify_close(verify_job *job) {
  if (!job)
    return;
  for (int i = 0; i < job->results; i++)
    free(job->result[i].values);
  verify_release(&job->data);
  free(job);
}
