/* SPDX-License-Identifier: Apache-2.0 */
#include "src/tasks/language_model.h"
#include "src/tasks/buffer.h"
#include "src/tasks/text_streams.h"

#include <inttypes.h>

/* ---- Creation ---- */

static gk_status create_plans(gk_language_model *model) {
  const gk_language_model_desc *desc = &model->desc;
  gk_rnn_desc rnn = GK_RNN_DESC_INIT;
  rnn.cell = desc->cell;
  rnn.activation = desc->activation;
  rnn.options = desc->options;
  rnn.input_size = desc->embedding_size;
  rnn.hidden_size = desc->hidden_size;
  rnn.layers = desc->layers;
  rnn.vocabulary = model->vocabulary.count;
  rnn.dropout = desc->dropout;
  rnn.layout = GK_TIME_MAJOR;
  rnn.isa = desc->isa;
  rnn.math = desc->math;
  rnn.schedule = desc->schedule;
  rnn.threads = desc->threads;
  const gk_status created = gk_rnn_create(&rnn, &model->rnn);
  if (created != GK_OK)
    return created;
  const gk_rnn_desc *resolved = gk_rnn_description(model->rnn);
  model->desc.isa = resolved->isa;
  model->desc.math = resolved->math;
  model->desc.schedule = resolved->schedule;
  model->desc.threads = resolved->threads;
  gk_output_desc output = GK_OUTPUT_DESC_INIT;
  output.input_size = desc->hidden_size;
  output.output_size = model->vocabulary.count;
  output.isa = resolved->isa;
  output.threads = resolved->threads;
  return gk_output_create(&output, &model->output);
}

gk_status gk_language_model_allocate(gk_language_model *model) {
  size_t rnn_bytes = 0, output_bytes = 0;
  model->rnn_count = gk_rnn_parameter_count(model->rnn);
  model->output_count = gk_output_parameter_count(model->output);
  gk_status status = GK_OK;
  model->parameters = gk_buffer_array(&status, sizeof(float), model->rnn_count + model->output_count, 1, 1);
  if (status == GK_OK)
    status = gk_rnn_packed_bytes(model->rnn, model->pack_flags, &rnn_bytes);
  if (status == GK_OK)
    status = gk_output_packed_bytes(model->output, model->pack_flags, &output_bytes);
  model->packed_rnn = gk_buffer_allocate(&status, rnn_bytes);
  model->packed_output = gk_buffer_allocate(&status, output_bytes);
  return status;
}

gk_status gk_language_model_create_plans(const gk_language_model_desc *desc, struct gk_vocabulary *vocabulary,
                                         unsigned pack_flags, gk_language_model **result) {
  gk_language_model *model = calloc(1, sizeof *model);
  if (!model) {
    gk_vocabulary_free(vocabulary);
    gk_fail(GK_ERROR_MEMORY, "no memory for a language model");
    return GK_ERROR_MEMORY;
  }
  model->desc = *desc;
  model->desc.utf8 = vocabulary->utf8;
  model->vocabulary = *vocabulary;
  model->pack_flags = pack_flags;
  *vocabulary = (struct gk_vocabulary){0};
  const gk_status status = create_plans(model);
  if (status != GK_OK) {
    gk_language_model_destroy(model);
    return status;
  }
  *result = model;
  return GK_OK;
}

void gk_language_model_destroy(gk_language_model *model) {
  if (!model)
    return;
  gk_rnn_destroy(model->rnn);
  gk_output_destroy(model->output);
  gk_vocabulary_free(&model->vocabulary);
  gk_free(model->parameters);
  gk_free(model->packed_rnn);
  gk_free(model->packed_output);
  free(model);
}

gk_status gk_language_model_pack(gk_language_model *model) {
  const gk_status status = gk_rnn_pack(model->rnn, model->pack_flags, model->parameters, model->packed_rnn);
  if (status != GK_OK)
    return status;
  return gk_output_pack(model->output, model->pack_flags, model->parameters + model->rnn_count,
                        model->packed_output);
}

const gk_language_model_desc *gk_language_model_description(const gk_language_model *model) {
  return &model->desc;
}

const uint32_t *gk_language_model_symbols(const gk_language_model *model, int64_t *count) {
  *count = model->vocabulary.count;
  return model->vocabulary.symbols;
}

int64_t gk_language_model_parameter_count(const gk_language_model *model) {
  return model->rnn_count + model->output_count;
}

const float *gk_language_model_parameters(const gk_language_model *model) {
  return model->parameters;
}

/* ---- Evaluation ---- */

enum { EVALUATION_STREAMS = 64, EVALUATION_CHARACTERS = 2048, EVALUATION_TIME = 64 };

struct evaluation {
  int32_t *inputs, *targets;
  float *h, *c, *y;
  void *rnn_workspace, *output_workspace;
};

static gk_status allocate_evaluation(const gk_language_model *model, int64_t time, int64_t batch,
                                     struct evaluation *memory) {
  const gk_language_model_desc *desc = &model->desc;
  gk_rnn_memory needed = {0};
  size_t output_bytes = 0;
  gk_status status = gk_rnn_memory_needed(model->rnn, time, batch, &needed);
  if (status == GK_OK)
    status = gk_output_workspace_bytes(model->output, time * batch, &output_bytes);
  memory->inputs = gk_buffer_array(&status, sizeof(int32_t), time, batch, 1);
  memory->targets = gk_buffer_array(&status, sizeof(int32_t), time, batch, 1);
  memory->h = gk_buffer_array(&status, sizeof(float), desc->layers, batch, desc->hidden_size);
  memory->c = gk_buffer_array(&status, sizeof(float), desc->layers, batch, desc->hidden_size);
  memory->y = gk_buffer_array(&status, sizeof(float), time, batch, desc->hidden_size);
  memory->rnn_workspace = gk_buffer_allocate(&status, needed.inference_workspace_bytes);
  memory->output_workspace = gk_buffer_allocate(&status, output_bytes);
  return status;
}

static void free_evaluation(struct evaluation *memory) {
  gk_free(memory->inputs);
  gk_free(memory->targets);
  gk_free(memory->h);
  gk_free(memory->c);
  gk_free(memory->y);
  gk_free(memory->rnn_workspace);
  gk_free(memory->output_workspace);
}

/* The summed loss of `time` steps of every stream; the states move on. */
static gk_status evaluate_steps(const gk_language_model *model, int64_t time, int64_t batch,
                                const struct evaluation *memory, double *loss) {
  const bool memory_cell = gk_cell_has_memory(model->desc.cell);
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = time;
  forward.batch = batch;
  forward.tokens = memory->inputs;
  forward.h0 = forward.hn = memory->h;
  if (memory_cell)
    forward.c0 = forward.cn = memory->c;
  forward.parameters = model->parameters;
  forward.packed = model->packed_rnn;
  forward.y = memory->y;
  forward.workspace = memory->rnn_workspace;
  const gk_status status = gk_rnn_forward(model->rnn, &forward);
  if (status != GK_OK)
    return status;
  gk_output_loss_args output = GK_OUTPUT_LOSS_ARGS_INIT;
  output.rows = time * batch;
  output.h = memory->y;
  output.targets = memory->targets;
  output.packed = model->packed_output;
  output.loss = loss;
  output.workspace = memory->output_workspace;
  return gk_output_loss(model->output, &output);
}

gk_status gk_language_model_evaluate_tokens(const gk_language_model *model, const int32_t *tokens,
                                            int64_t count, gk_language_loss *result) {
  if (count < 2)
    return gk_fail(GK_ERROR_ARGUMENT, "a text of %" PRId64 " characters: an evaluation needs 2", count);
  const int64_t whole = count / EVALUATION_CHARACTERS;
  const struct gk_text_streams streams = {tokens, count,
                                          whole < 1                    ? 1
                                          : whole > EVALUATION_STREAMS ? EVALUATION_STREAMS
                                                                       : whole};
  const int64_t length = gk_text_streams_length(&streams);
  struct evaluation memory = {0};
  double sum = 0;
  int64_t characters = 0;
  gk_status status =
      allocate_evaluation(model, length < EVALUATION_TIME ? length : EVALUATION_TIME, streams.batch, &memory);
  for (int64_t first = 0; first < length && status == GK_OK; first += EVALUATION_TIME) {
    const int64_t time = length - first < EVALUATION_TIME ? length - first : EVALUATION_TIME;
    double loss = 0;
    characters += gk_text_streams_read(&streams, first, time, memory.inputs, memory.targets);
    status = evaluate_steps(model, time, streams.batch, &memory, &loss);
    sum += loss;
  }
  free_evaluation(&memory);
  if (status == GK_OK)
    *result = (gk_language_loss){.nats = sum / (double)characters, .characters = characters};
  return status;
}

gk_status gk_language_model_evaluate(const gk_language_model *model, const gk_text *text,
                                     gk_language_loss *loss) {
  if (!model || !text || !loss)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", !model ? "model" : !text ? "text" : "loss");
  int32_t *tokens;
  int64_t count;
  gk_status status = gk_vocabulary_encode(&model->vocabulary, text, "text", &tokens, &count);
  if (status != GK_OK)
    return status;
  status = gk_language_model_evaluate_tokens(model, tokens, count, loss);
  gk_free(tokens);
  return status;
}
