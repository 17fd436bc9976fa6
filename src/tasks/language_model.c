/* SPDX-License-Identifier: Apache-2.0 */
#include "src/tasks/language_model.h"
#include "src/tasks/buffer.h"

#include <inttypes.h>

/* ---- Creation ---- */

static gk_status create_plans(gk_language_model *model) {
  const gk_language_model_desc *desc = &model->desc;
  if (desc->tied && desc->embedding_size != desc->hidden_size)
    return gk_fail(GK_ERROR_ARGUMENT,
                   "tied weights with embedding_size %" PRId64 " and hidden_size %" PRId64
                   ": both must be equal",
                   desc->embedding_size, desc->hidden_size);
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
  output.tied = desc->tied;
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
  const float *output = model->parameters + model->rnn_count;
  if (status != GK_OK)
    return status;
  return model->desc.tied ? gk_output_pack_tied(model->output, model->pack_flags, model->parameters, output,
                                                model->packed_output)
                          : gk_output_pack(model->output, model->pack_flags, output, model->packed_output);
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
