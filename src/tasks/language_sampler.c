/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/arguments.h"
#include "src/core/choice.h"
#include "src/core/float_environment.h"
#include "src/tasks/buffer.h"
#include "src/tasks/language_model.h"

#include <math.h>

struct gk_sampler {
  gk_sampler_desc desc;
  const gk_language_model *model;
  int32_t pending; /* read or generated, but not yet given to the model; -1: none */
  uint64_t drawn;  /* random numbers used */
  float *h, *c;    /* states of one sample */
  float *y;        /* the last layer's h */
  float *logits, *candidate_logits, *probabilities; /* (V) */
  int32_t *candidates;                              /* (V) tokens */
  void *rnn_workspace, *output_workspace;
};

static gk_status allocate(gk_sampler *sampler) {
  const gk_language_model *model = sampler->model;
  const int64_t symbols = model->vocabulary.count;
  gk_rnn_memory needed = {0};
  size_t output_bytes = 0;
  gk_status status = gk_rnn_memory_needed(model->rnn, 1, 1, &needed);
  if (status == GK_OK)
    status = gk_output_workspace_bytes(model->output, 1, &output_bytes);
  sampler->h = gk_buffer_array(&status, sizeof(float), gk_rnn_hidden_values(model->rnn), 1, 1);
  sampler->c = gk_buffer_array(&status, sizeof(float), gk_rnn_cell_values(model->rnn), 1, 1);
  sampler->y = gk_buffer_array(&status, sizeof(float), gk_rnn_output_size(model->rnn), 1, 1);
  sampler->logits = gk_buffer_array(&status, sizeof(float), symbols, 1, 1);
  sampler->candidate_logits = gk_buffer_array(&status, sizeof(float), symbols, 1, 1);
  sampler->probabilities = gk_buffer_array(&status, sizeof(float), symbols, 1, 1);
  sampler->candidates = gk_buffer_array(&status, sizeof(int32_t), symbols, 1, 1);
  sampler->rnn_workspace = gk_buffer_allocate(&status, needed.inference_workspace_bytes);
  sampler->output_workspace = gk_buffer_allocate(&status, output_bytes);
  return status == GK_OK ? gk_language_model_initial_states(model, 1, sampler->h, sampler->c) : status;
}

gk_status gk_sampler_create(const gk_language_model *model, const gk_sampler_desc *desc,
                            gk_sampler **result) {
  gk_status status = GK_CHECK_POINTERS({"model", model}, {"desc", desc}, {"sampler", result});
  if (status)
    return status;
  *result = NULL;
  status = gk_check_size_field("desc", desc->size, sizeof *desc, "GK_SAMPLER_DESC_INIT");
  if (status)
    return status;
  if (!(desc->temperature >= 0 && isfinite(desc->temperature)))
    return gk_fail(GK_ERROR_ARGUMENT, "temperature is %g, must be 0 or above", (double)desc->temperature);
  if (desc->top_k < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "top_k is %lld, must not be negative", (long long)desc->top_k);
  gk_sampler *sampler = calloc(1, sizeof *sampler);
  if (!sampler)
    return gk_fail(GK_ERROR_MEMORY, "no memory for a sampler");
  sampler->desc = *desc;
  sampler->model = model;
  sampler->pending = -1;
  status = allocate(sampler);
  if (status != GK_OK) {
    gk_sampler_destroy(sampler);
    return status;
  }
  *result = sampler;
  return GK_OK;
}

void gk_sampler_destroy(gk_sampler *sampler) {
  if (!sampler)
    return;
  gk_free(sampler->h);
  gk_free(sampler->c);
  gk_free(sampler->y);
  gk_free(sampler->logits);
  gk_free(sampler->candidate_logits);
  gk_free(sampler->probabilities);
  gk_free(sampler->candidates);
  gk_free(sampler->rnn_workspace);
  gk_free(sampler->output_workspace);
  free(sampler);
}

/* Gives the pending token to the model. */
static gk_status read_pending(gk_sampler *sampler) {
  const gk_language_model *model = sampler->model;
  gk_rnn_step_args step = GK_RNN_STEP_ARGS_INIT;
  step.batch = 1;
  step.tokens = &sampler->pending;
  step.parameters = model->parameters;
  step.packed = model->packed_rnn;
  step.h = sampler->h;
  step.c = gk_cell_has_memory(model->desc.network.cell) ? sampler->c : NULL;
  step.y = sampler->y;
  step.workspace = sampler->rnn_workspace;
  return gk_rnn_step(model->rnn, &step);
}

gk_status gk_sampler_prompt(gk_sampler *sampler, const gk_text *prompt) {
  gk_status status = GK_CHECK_POINTERS({"sampler", sampler}, {"prompt", prompt});
  if (status)
    return status;
  int32_t *tokens;
  int64_t count;
  status = gk_vocabulary_encode(&sampler->model->vocabulary, prompt, "prompt", &tokens, &count);
  if (status != GK_OK)
    return status;
  for (int64_t i = 0; i < count && status == GK_OK; ++i) {
    if (sampler->pending >= 0)
      status = read_pending(sampler);
    sampler->pending = tokens[i];
  }
  gk_free(tokens);
  return status;
}

/* The k candidates with the largest logits, largest first; of equal ones the first. */
static void select_top(gk_sampler *sampler, int64_t count, int64_t k) {
  float *left = sampler->probabilities; /* not needed yet */
  memcpy(left, sampler->logits, (size_t)count * sizeof *left);
  for (int64_t i = 0; i < k; ++i) {
    const int64_t best = gk_index_of_largest(left, count);
    sampler->candidates[i] = (int32_t)best;
    left[best] = NAN;
  }
}

static gk_status choose(gk_sampler *sampler, int32_t *token) {
  const int64_t symbols = sampler->model->vocabulary.count;
  const int64_t limit = sampler->desc.temperature == 0 ? 1 : sampler->desc.top_k;
  int64_t count = symbols;
  for (int64_t i = 0; i < symbols; ++i) {
    sampler->candidates[i] = (int32_t)i;
    if (!isfinite(sampler->logits[i]))
      return gk_fail(GK_ERROR_FORMAT, "the model's outputs are not finite: its weights are too large");
  }
  if (limit > 0 && limit < symbols) {
    select_top(sampler, symbols, limit);
    count = limit;
  }
  *token = sampler->candidates[0];
  if (count == 1)
    return GK_OK;
  for (int64_t i = 0; i < count; ++i)
    sampler->candidate_logits[i] = sampler->logits[sampler->candidates[i]];
  const gk_status status = gk_softmax(sampler->model->desc.network.isa, count, sampler->desc.temperature,
                                      sampler->candidate_logits, sampler->probabilities);
  if (status != GK_OK)
    return status;
  const float uniform = gk_uniform(sampler->desc.seed, 0, sampler->drawn++);
  *token = sampler->candidates[gk_index_drawn(sampler->probabilities, count, uniform)];
  return GK_OK;
}

gk_status gk_sampler_next(gk_sampler *sampler, char bytes[4], int *count) {
  gk_status status = GK_CHECK_POINTERS({"sampler", sampler}, {"bytes", bytes}, {"count", count});
  if (status)
    return status;
  const gk_language_model *model = sampler->model;
  if (sampler->pending < 0) {
    const int32_t line_feed = gk_vocabulary_token(&model->vocabulary, '\n');
    sampler->pending = line_feed < 0 ? 0 : line_feed;
  }
  status = read_pending(sampler);
  if (status == GK_OK)
    status = gk_output_forward(model->output, 1, sampler->y, model->packed_output, sampler->logits,
                               sampler->output_workspace);
  const uint64_t callers = gk_float_environment_pin();
  if (status == GK_OK)
    status = choose(sampler, &sampler->pending);
  gk_float_environment_restore(callers);
  if (status == GK_OK)
    *count = gk_vocabulary_decode(&model->vocabulary, sampler->pending, bytes);
  return status;
}
