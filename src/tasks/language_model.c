/* SPDX-License-Identifier: Apache-2.0 */
#include "src/tasks/language_model.h"
#include "src/core/arguments.h"
#include "src/tasks/buffer.h"

#include <inttypes.h>
#include <string.h>

/* ---- Creation ---- */

static gk_status check_description(const gk_language_model_desc *desc) {
  const gk_rnn_desc *network = &desc->network;
  if (network->direction != GK_FORWARD)
    return gk_fail(GK_ERROR_UNSUPPORTED,
                   "direction is %s, must be forward: a language model that reads backward would see the "
                   "characters it is to predict",
                   gk_direction_name(network->direction));
  if (network->layout != GK_TIME_MAJOR)
    return gk_fail(GK_ERROR_UNSUPPORTED, "layout is %s, must be time-major, as texts are read",
                   gk_layout_name(network->layout));
  if (network->vocabulary != 0)
    return gk_fail(GK_ERROR_ARGUMENT, "vocabulary is %" PRId64 ", must be 0: it is that of the texts",
                   network->vocabulary);
  return GK_OK;
}

static gk_status create_output(gk_language_model *model) {
  const gk_rnn_desc *network = &model->desc.network;
  const int64_t width = gk_rnn_output_size(model->rnn);
  if (model->desc.tied && network->input_size != width)
    return gk_fail(GK_ERROR_ARGUMENT,
                   "tied is set, the embedding's size is %" PRId64 ", %s is %" PRId64 ": both must be equal",
                   network->input_size, network->projection_size ? "projection_size" : "hidden_size", width);
  gk_output_desc output = GK_OUTPUT_DESC_INIT;
  output.input_size = width;
  output.output_size = model->vocabulary.count;
  output.tied = model->desc.tied;
  output.isa = network->isa;
  output.math = network->math;
  output.threads = network->threads;
  return gk_output_create(&output, &model->output);
}

static gk_status create_plans(gk_language_model *model) {
  gk_rnn_desc *network = &model->desc.network;
  gk_status status = check_description(&model->desc);
  if (status != GK_OK)
    return status;
  gk_rnn_desc rnn = *network;
  rnn.vocabulary = model->vocabulary.count;
  status = gk_rnn_create(&rnn, &model->rnn);
  if (status != GK_OK)
    return status;
  const gk_rnn_desc *resolved = gk_rnn_description(model->rnn);
  network->hidden_size = resolved->hidden_size;
  network->hidden_sizes = resolved->hidden_sizes;
  network->isa = resolved->isa;
  network->math = resolved->math;
  network->schedule = resolved->schedule;
  network->threads = resolved->threads;
  return create_output(model);
}

gk_status gk_language_model_memory_needed(gk_language_model *model, struct gk_language_model_memory *needed) {
  *needed = (struct gk_language_model_memory){0};
  model->rnn_count = gk_rnn_parameter_count(model->rnn);
  model->output_count = gk_output_parameter_count(model->output);
  gk_status status = GK_OK;
  needed->parameters = gk_buffer_bytes(&status, sizeof(float), model->rnn_count + model->output_count, 1, 1);
  if (status == GK_OK)
    status = gk_rnn_packed_bytes(model->rnn, model->pack_flags, &needed->packed_rnn);
  if (status == GK_OK)
    status = gk_output_packed_bytes(model->output, model->pack_flags, &needed->packed_output);
  return status;
}

gk_status gk_language_model_allocate(gk_language_model *model) {
  struct gk_language_model_memory needed;
  gk_status status = gk_language_model_memory_needed(model, &needed);
  model->parameters = gk_buffer_allocate(&status, needed.parameters);
  model->packed_rnn = gk_buffer_allocate(&status, needed.packed_rnn);
  model->packed_output = gk_buffer_allocate(&status, needed.packed_output);
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
  model->pack_flags = model->rnn_pack_flags = pack_flags;
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

/* One row of trained initial states, to every sample of its block. */
static void repeat_row(const float *row, int64_t size, int64_t batch, float *block) {
  for (int64_t n = 0; n < batch; ++n)
    memcpy(block + n * size, row, (size_t)size * sizeof(float));
}

gk_status gk_language_model_initial_states(const gk_language_model *model, int64_t batch, float *h,
                                           float *c) {
  const gk_rnn *rnn = model->rnn;
  memset(h, 0, (size_t)(gk_rnn_hidden_values(rnn) * batch) * sizeof(float));
  if (c)
    memset(c, 0, (size_t)(gk_rnn_cell_values(rnn) * batch) * sizeof(float));
  const gk_rnn_desc *network = &model->desc.network;
  gk_status status = GK_OK;
  for (int64_t l = 0; l < network->layers && network->trained_states && status == GK_OK; ++l) {
    gk_rnn_state state;
    gk_tensor h0, c0;
    status = gk_rnn_state_of(rnn, l, 0, &state);
    if (status == GK_OK)
      status = gk_rnn_tensor_of(rnn, "h0", l, 0, &h0);
    if (status == GK_OK)
      repeat_row(model->parameters + h0.offset, h0.count, batch, h + state.h_offset * batch);
    if (status != GK_OK || state.c_size == 0)
      continue;
    status = gk_rnn_tensor_of(rnn, "c0", l, 0, &c0);
    if (status == GK_OK)
      repeat_row(model->parameters + c0.offset, c0.count, batch, c + state.c_offset * batch);
  }
  return status;
}

gk_status gk_language_model_pack(gk_language_model *model) {
  const gk_status status =
      gk_rnn_pack(model->rnn, model->rnn_pack_flags, model->parameters, model->packed_rnn);
  const float *output = model->parameters + model->rnn_count;
  if (status != GK_OK)
    return status;
  return model->desc.tied ? gk_output_pack_tied(model->output, model->pack_flags, model->parameters, output,
                                                model->packed_output)
                          : gk_output_pack(model->output, model->pack_flags, output, model->packed_output);
}

void gk_language_model_watch(gk_language_model *model, gk_language_watcher *watcher, void *context) {
  if (!model)
    return;
  model->watcher = watcher;
  model->watcher_context = context;
}

void gk_language_model_tell(const gk_language_model *model, int64_t done, int64_t total, double nats) {
  if (model->watcher)
    model->watcher(model->watcher_context, done, total, nats);
}

const gk_language_model_desc *gk_language_model_description(const gk_language_model *model) {
  return model ? &model->desc : NULL;
}

const uint32_t *gk_language_model_symbols(const gk_language_model *model, int64_t *count) {
  if (count)
    *count = model ? model->vocabulary.count : 0;
  return model ? model->vocabulary.symbols : NULL;
}

gk_status gk_language_model_keep_known(const gk_language_model *model, const gk_text *text, void *kept,
                                       gk_known_text *result) {
  const gk_status status = GK_CHECK_POINTERS({"model", model}, {"text", text}, {"result", result});
  return status == GK_OK ? gk_vocabulary_keep_known(&model->vocabulary, text, kept, result) : status;
}

int64_t gk_language_model_parameter_count(const gk_language_model *model) {
  return model ? model->rnn_count + model->output_count : 0;
}

const float *gk_language_model_parameters(const gk_language_model *model) {
  return model ? model->parameters : NULL;
}
