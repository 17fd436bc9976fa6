/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void *verify_take_bytes(struct pool *pool, size_t bytes) {
  void *buffer = NULL;
  if (pool->buffers < MOST_BUFFERS && bytes < PTRDIFF_MAX - 64)
    buffer = aligned_alloc(64, (bytes + 64) / 64 * 64);
  if (buffer)
    pool->buffer[pool->buffers++] = buffer;
  else
    pool->out_of_memory = true;
  return buffer;
}

void verify_release(struct pool *pool) {
  for (int i = 0; i < pool->buffers; i++)
    free(pool->buffer[i]);
  *pool = (struct pool){0};
}

float *verify_take(struct pool *pool, int64_t count) {
  float *values = verify_take_bytes(pool, (size_t)count * sizeof(float));
  if (values)
    memset(values, 0, (size_t)count * sizeof(float));
  return values;
}

/* ---- Data ---- */

float *verify_take_random(verify_job *job, int64_t count, float range) {
  float *values = verify_take(&job->data, count);
  job->stream++;
  for (int64_t i = 0; values && i < count; i++)
    values[i] = (2 * gk_uniform(job->seed, job->stream, (uint64_t)i) - 1) * range;
  return values;
}

int32_t *verify_take_integers(verify_job *job, int64_t count, int32_t low, int32_t high) {
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
  int32_t *random = verify_take_integers(job, c->batch, 0, (int32_t)c->time);
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
  int32_t *random = verify_take_integers(job, job->pairs, 0, 3);
  job->reset = verify_take_bytes(&job->data, (size_t)job->pairs * sizeof *job->reset);
  for (int64_t i = 0; i < job->pairs && random && job->reset; i++)
    job->reset[i] = random[i] == 0;
}

gk_status verify_make_data(verify_job *job) {
  const verify_case *c = job->kase;
  const int64_t cells = gk_cell_has_memory(job->cell) ? job->states : 0;
  job->parameters = verify_take_random(job, job->parameter_count, 1 / sqrtf((float)c->hidden));
  job->output_parameters = verify_take_random(job, job->output_parameter_count, 0.25f);
  job->targets = verify_take_integers(job, job->pairs, -1, OUTPUT_SIZE - 1);
  if (c->vocabulary)
    job->tokens = verify_take_integers(job, job->pairs, 0, (int32_t)c->vocabulary - 1);
  else
    job->x = verify_take_random(job, job->pairs * c->input, 1);
  job->h0 = verify_take_random(job, job->states, 1);
  job->c0 = verify_take_random(job, cells, 1);
  job->dhn = verify_take_random(job, job->states, 0.125f);
  job->dcn = verify_take_random(job, cells, 0.125f);
  if (c->ragged && !job->data.out_of_memory)
    make_lengths(job);
  if (c->resets)
    make_resets(job);
  if (c->accumulate)
    job->old_gradients = verify_take_random(job, job->parameter_count, 1);
  return job->data.out_of_memory ? GK_ERROR_MEMORY : GK_OK;
}

gk_random_key verify_key(const verify_job *job) {
  return (gk_random_key){.seed = job->seed, .step = 3, .first_sample = 5};
}
