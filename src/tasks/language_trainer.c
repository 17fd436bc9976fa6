/* SPDX-License-Identifier: Apache-2.0 */
#include "src/tasks/language_trainer.h"
#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/tasks/buffer.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

/* ---- Arguments ---- */

gk_learning_rate_desc gk_language_trainer_rate(const gk_training_desc *desc) {
  gk_learning_rate_desc rate = {.size = sizeof rate};
  for (const gk_training_option *option = gk_training_option_after(NULL); option;
       option = gk_training_option_after(option))
    if (option->rate_offset)
      memcpy((char *)&rate + option->rate_offset, (const char *)desc + option->offset, option->bytes);
  return rate;
}

static gk_status describe_optimizer(const gk_training_desc *desc, gk_optimizer_desc *optimizer) {
  int64_t floats;
  const gk_status status = gk_optimizer_defaults(desc->optimizer, optimizer);
  if (status != GK_OK)
    return status;
  optimizer->momentum = desc->momentum;
  optimizer->nesterov = desc->nesterov;
  optimizer->weight_decay = desc->weight_decay;
  return gk_optimizer_state_count(optimizer, 0, &floats); /* checks them */
}

gk_status gk_language_trainer_check(const gk_training_desc *desc) {
  gk_optimizer_desc optimizer;
  gk_status status = gk_check_size_field("training", desc->size, sizeof *desc, "GK_TRAINING_DESC_INIT");
  if (status)
    return status;
  if (desc->batch < 1 || desc->time < 1)
    return gk_fail(GK_ERROR_ARGUMENT, "batch is %" PRId64 ", time %" PRId64 ", both must be at least 1",
                   desc->batch, desc->time);
  if (desc->steps < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "steps is %" PRId64 ", must not be negative", desc->steps);
  const struct {
    const char *name;
    double value;
  } bounds[] = {{"clip_norm", desc->clip_norm},
                {"clip_tensor_norm", desc->clip_tensor_norm},
                {"clip_value", desc->clip_value}};
  for (size_t i = 0; i < sizeof bounds / sizeof *bounds; ++i) {
    if (!(bounds[i].value >= 0 && isfinite(bounds[i].value)))
      return gk_fail(GK_ERROR_ARGUMENT, "%s is %g, must be 0 or above", bounds[i].name, bounds[i].value);
    if (bounds[i].value > 0 && bounds[i].value < (double)FLT_MIN)
      return gk_fail(GK_ERROR_ARGUMENT, "%s is %g, which leaves no gradient: must be 0 or at least %g",
                     bounds[i].name, bounds[i].value, (double)FLT_MIN);
  }
  /* As gk_check_choice, which libgatekern does not export. */
  if ((int)desc->init < 0 || (int)desc->init >= gk_init_count())
    return gk_fail(GK_ERROR_ARGUMENT, "init is %d, must be 0..%d", (int)desc->init, gk_init_count() - 1);
  if (!isfinite(desc->forget_bias))
    return gk_fail(GK_ERROR_ARGUMENT, "forget_bias is %g, must be finite", (double)desc->forget_bias);
  if (!(desc->validation >= 0 && desc->validation < 1))
    return gk_fail(GK_ERROR_ARGUMENT, "validation is %g, must be at least 0 and below 1", desc->validation);
  if (!(desc->label_smoothing >= 0 && desc->label_smoothing <= 1))
    return gk_fail(GK_ERROR_ARGUMENT, "label_smoothing is %g, must be 0..1", (double)desc->label_smoothing);
  if (desc->backward_time != 0 && desc->backward_time < desc->time)
    return gk_fail(GK_ERROR_ARGUMENT,
                   "backward_time is %" PRId64 " and time is %" PRId64
                   ": a gradient goes back at least to the start of its own step",
                   desc->backward_time, desc->time);
  const gk_learning_rate_desc rate = gk_language_trainer_rate(desc);
  status = gk_learning_rate_check(&rate);
  return status == GK_OK ? describe_optimizer(desc, &optimizer) : status;
}

static gk_status check_model(const gk_language_model_desc *desc) {
  const gk_status status =
      gk_check_size_field("model", desc->size, sizeof *desc, "GK_LANGUAGE_MODEL_DESC_INIT");
  return status ? status : gk_rnn_dropout_check(&desc->network);
}

/* ---- Creation ---- */

/* Zeroed memory of the trainer; also counts it, and only that for gk_language_trainer_size. */
static void *take_bytes(gk_language_trainer *trainer, gk_status *status, size_t bytes) {
  if (*status == GK_OK && !gk_size_add(&trainer->bytes, bytes))
    *status = gk_fail(GK_ERROR_OVERFLOW, "a trainer does not fit in memory");
  return trainer->size_only ? NULL : gk_buffer_allocate(status, bytes);
}

static void *take(gk_language_trainer *trainer, gk_status *status, size_t element, int64_t a, int64_t b,
                  int64_t c) {
  const size_t bytes = gk_buffer_bytes(status, element, a, b, c);
  return take_bytes(trainer, status, bytes);
}

/* Without a text for validation, the end of the only one. */
static gk_status divide_texts(gk_language_trainer *trainer, int64_t count, int64_t other_count, bool other) {
  if (other) {
    trainer->training_count = count;
    trainer->validation_count = other_count;
  } else {
    const uint64_t callers = gk_float_environment_pin();
    trainer->validation_count = (int64_t)((double)count * trainer->desc.validation);
    gk_float_environment_restore(callers);
    if (trainer->validation_count < 2) /* the first character is not predicted */
      trainer->validation_count = 0;
    trainer->training_count = count - trainer->validation_count;
  }
  return other && other_count < 2
             ? gk_fail(GK_ERROR_ARGUMENT, "validation text: %" PRId64 " characters, 2 are needed",
                       other_count)
             : GK_OK;
}

/* Encodes both texts and joins their tokens. */
static gk_status take_texts(gk_language_trainer *trainer, const gk_text *text, const gk_text *validation) {
  const struct gk_vocabulary *vocabulary = &trainer->model->vocabulary;
  int32_t *other = NULL;
  int64_t count = 0, other_count = 0;
  gk_status status = gk_vocabulary_encode(vocabulary, text, "text", &trainer->tokens, &count);
  if (status == GK_OK && validation)
    status = gk_vocabulary_encode(vocabulary, validation, "validation text", &other, &other_count);
  if (status == GK_OK && validation) {
    int32_t *joined = gk_buffer_array(&status, sizeof *joined, count + other_count, 1, 1);
    if (status == GK_OK) {
      memcpy(joined, trainer->tokens, (size_t)count * sizeof *joined);
      memcpy(joined + count, other, (size_t)other_count * sizeof *joined);
      gk_free(trainer->tokens);
      trainer->tokens = joined;
    }
  }
  gk_free(other);
  if (status == GK_OK)
    status = divide_texts(trainer, count, other_count, validation != NULL);
  if (status == GK_OK)
    trainer->text_hash =
        gk_hash(GK_HASH_START, trainer->tokens, (size_t)(count + other_count) * sizeof(int32_t));
  return status;
}

/* The same without tokens. */
static gk_status count_texts(gk_language_trainer *trainer, const gk_text *text, const gk_text *validation) {
  const struct gk_vocabulary *vocabulary = &trainer->model->vocabulary;
  const int64_t count = gk_vocabulary_characters(vocabulary, text);
  const int64_t other_count = validation ? gk_vocabulary_characters(vocabulary, validation) : 0;
  gk_status status = GK_OK;
  take(trainer, &status, sizeof(int32_t), count + other_count, 1, 1);
  return status == GK_OK ? divide_texts(trainer, count, other_count, validation != NULL) : status;
}

static gk_status cut_streams(gk_language_trainer *trainer) {
  const gk_training_desc *desc = &trainer->desc;
  int64_t needed;
  trainer->history = desc->backward_time ? desc->backward_time : desc->time;
  if (__builtin_mul_overflow(desc->batch, desc->time, &needed) || needed >= trainer->training_count)
    return gk_fail(GK_ERROR_ARGUMENT,
                   "text: %" PRId64 " characters for training, fewer than one step needs: batch %" PRId64
                   " x time %" PRId64 " + 1",
                   trainer->training_count, desc->batch, desc->time);
  trainer->streams = (struct gk_text_streams){trainer->tokens, trainer->training_count, desc->batch};
  trainer->stream_length = gk_text_streams_length(&trainer->streams);
  trainer->window = desc->time;
  return GK_OK;
}

static gk_status allocate_states(gk_language_trainer *trainer) {
  const gk_language_model *model = trainer->model;
  const int64_t batch = trainer->desc.batch;
  const int64_t h_values = gk_rnn_hidden_values(model->rnn), c_values = gk_rnn_cell_values(model->rnn);
  gk_status status = describe_optimizer(&trainer->desc, &trainer->optimizer);
  if (status != GK_OK)
    return status;
  trainer->optimizer.isa = model->desc.network.isa;
  trainer->optimizer.threads = model->desc.network.threads;
  trainer->h_count = h_values * batch;
  trainer->c_count = c_values * batch;
  status = gk_optimizer_state_count(&trainer->optimizer, model->rnn_count + model->output_count,
                                    &trainer->optimizer_state_count);
  trainer->optimizer_state = take(trainer, &status, sizeof(float), trainer->optimizer_state_count, 1, 1);
  for (int i = 0; i < 2 && status == GK_OK; ++i) {
    trainer->h[i] = take(trainer, &status, sizeof(float), h_values, batch, 1);
    if (c_values)
      trainer->c[i] = take(trainer, &status, sizeof(float), c_values, batch, 1);
  }
  if (trainer->history > trainer->window) {
    trainer->dh = take(trainer, &status, sizeof(float), h_values, batch, 1);
    if (c_values)
      trainer->dc = take(trainer, &status, sizeof(float), c_values, batch, 1);
  }
  return status;
}

/* Where each tensor's gradient stands, for clipping. */
static gk_status list_tensors(gk_language_trainer *trainer) {
  const gk_language_model *model = trainer->model;
  const int rnn = gk_rnn_tensor_count(model->rnn), all = rnn + gk_output_tensor_count(model->output);
  gk_status status = GK_OK;
  trainer->tensor_gradients = take(trainer, &status, sizeof *trainer->tensor_gradients, all, 1, 1);
  trainer->tensor_counts = take(trainer, &status, sizeof *trainer->tensor_counts, all, 1, 1);
  for (int i = 0; i < all && status == GK_OK && !trainer->size_only; ++i) {
    gk_tensor tensor;
    status =
        i < rnn ? gk_rnn_tensor(model->rnn, i, &tensor) : gk_output_tensor(model->output, i - rnn, &tensor);
    if (status != GK_OK)
      break;
    trainer->tensor_gradients[i] = trainer->gradients + (i < rnn ? 0 : model->rnn_count) + tensor.offset;
    trainer->tensor_counts[i] = tensor.count;
  }
  trainer->tensor_count = all;
  return status;
}

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static gk_status allocate_scratch(gk_language_trainer *trainer) {
  const gk_language_model *model = trainer->model;
  const int64_t time = trainer->history, batch = trainer->desc.batch;
  const int64_t width = gk_rnn_output_size(model->rnn);
  /* A step's two parts: what the next step no longer reaches, and what it will see again. */
  const int64_t parts[2] = {trainer->window, time - trainer->window};
  gk_rnn_memory needed[2] = {0};
  size_t workspace = 0, packed = 0;
  gk_status status = gk_output_workspace_bytes(model->output, trainer->window * batch, &workspace);
  for (int i = 0; i < 2 && status == GK_OK; ++i) {
    status = gk_rnn_memory_needed(model->rnn, parts[i], batch, &needed[i]);
    /* Forward, output layer and backward follow one another: one workspace serves all three. */
    workspace = larger(workspace, needed[i].forward_workspace_bytes);
    workspace = larger(workspace, needed[i].backward_workspace_bytes);
    if (parts[i])
      trainer->reserve[i] = take_bytes(trainer, &status, needed[i].reserve_bytes);
  }
  trainer->inputs = take(trainer, &status, sizeof(int32_t), time, batch, 1);
  trainer->targets = take(trainer, &status, sizeof(int32_t), time, batch, 1);
  trainer->y = take(trainer, &status, sizeof(float), time, batch, width);
  trainer->dy = take(trainer, &status, sizeof(float), time, batch, width);
  trainer->gradients = take(trainer, &status, sizeof(float), model->rnn_count + model->output_count, 1, 1);
  trainer->last_seen = take(trainer, &status, sizeof(int64_t), model->vocabulary.count, 1, 1);
  trainer->workspace = take_bytes(trainer, &status, workspace);
  if (status == GK_OK && model->desc.network.weight_dropout > 0) {
    status = gk_rnn_packed_bytes(model->rnn, model->pack_flags, &packed);
    trainer->packed = take_bytes(trainer, &status, packed);
  }
  return status == GK_OK ? list_tensors(trainer) : status;
}

/* Takes the model, also on failure. */
static gk_status begin(gk_language_model *model, const gk_training_desc *desc, const gk_text *text,
                       const gk_text *validation, bool size_only, gk_language_trainer **result) {
  gk_language_trainer *trainer = calloc(1, sizeof *trainer);
  if (!trainer) {
    gk_language_model_destroy(model);
    gk_fail(GK_ERROR_MEMORY, "no memory for a trainer");
    return GK_ERROR_MEMORY;
  }
  trainer->model = model;
  trainer->desc = *desc;
  trainer->best_loss = INFINITY;
  trainer->size_only = size_only;
  gk_status status = (size_only ? count_texts : take_texts)(trainer, text, validation);
  if (status == GK_OK)
    status = cut_streams(trainer);
  if (status == GK_OK)
    status = allocate_states(trainer);
  if (status == GK_OK)
    status = allocate_scratch(trainer);
  if (status == GK_OK)
    status = gk_rnn_training_pack_flags(model->rnn, trainer->history, desc->batch, &model->rnn_pack_flags);
  model->rnn_pack_flags |= GK_PACK_FORWARD; /* evaluation walks many steps */
  if (status != GK_OK) {
    gk_language_trainer_destroy(trainer);
    return status;
  }
  *result = trainer;
  return GK_OK;
}

gk_status gk_language_trainer_begin(gk_language_model *model, const gk_training_desc *desc,
                                    const gk_text *text, const gk_text *validation,
                                    gk_language_trainer **result) {
  return begin(model, desc, text, validation, false, result);
}

/* The model without its memory; checks all arguments, `result`, where it goes, among them. */
static gk_status plan_model(const gk_language_model_desc *desc, const gk_training_desc *training,
                            const gk_text *text, const gk_text *validation, struct gk_named_pointer result,
                            gk_language_model **model) {
  gk_status status = GK_CHECK_POINTERS({"model", desc}, {"training", training}, {"text", text}, result);
  if (!status)
    status = check_model(desc);
  if (status == GK_OK)
    status = gk_language_trainer_check(training);
  if (status != GK_OK)
    return status;
  const char *const names[] = {"text", "validation text"};
  gk_text texts[2] = {*text};
  if (validation)
    texts[1] = *validation;
  if (text->bytes == 0)
    return gk_fail(GK_ERROR_ARGUMENT, "text: empty");
  struct gk_vocabulary vocabulary;
  status = gk_vocabulary_from_texts(&vocabulary, desc->utf8, validation ? 2 : 1, texts, names);
  return status == GK_OK
             ? gk_language_model_create_plans(desc, &vocabulary, GK_PACK_FORWARD | GK_PACK_BACKWARD, model)
             : status;
}

gk_status gk_language_trainer_size(const gk_language_model_desc *desc, const gk_training_desc *training,
                                   const gk_text *text, const gk_text *validation, gk_training_size *size) {
  gk_language_model *model = NULL;
  gk_language_trainer *trainer = NULL;
  struct gk_language_model_memory needed;
  gk_status status =
      plan_model(desc, training, text, validation, (struct gk_named_pointer){"size", size}, &model);
  if (status == GK_OK && (status = gk_language_model_memory_needed(model, &needed)) != GK_OK)
    gk_language_model_destroy(model);
  if (status == GK_OK)
    status = begin(model, training, text, validation, true, &trainer);
  if (status != GK_OK)
    return status;
  size_t bytes = trainer->bytes;
  if (!gk_size_add(&bytes, needed.parameters) || !gk_size_add(&bytes, needed.packed_rnn) ||
      !gk_size_add(&bytes, needed.packed_output))
    status = gk_fail(GK_ERROR_OVERFLOW, "a trainer does not fit in memory");
  else
    *size = (gk_training_size){.training_characters = trainer->training_count,
                               .validation_characters = trainer->validation_count,
                               .steps_per_epoch = gk_language_trainer_steps_per_epoch(trainer),
                               .symbols = model->vocabulary.count,
                               .parameters = gk_language_model_parameter_count(model),
                               .bytes = bytes};
  gk_language_trainer_destroy(trainer);
  return status;
}

gk_status gk_language_trainer_create(const gk_language_model_desc *desc, const gk_training_desc *training,
                                     const gk_text *text, const gk_text *validation,
                                     gk_language_trainer **result) {
  if (result)
    *result = NULL;
  gk_language_model *model = NULL;
  gk_language_trainer *trainer = NULL;
  gk_status status =
      plan_model(desc, training, text, validation, (struct gk_named_pointer){"trainer", result}, &model);
  if (status == GK_OK && (status = gk_language_model_allocate(model)) != GK_OK)
    gk_language_model_destroy(model);
  if (status == GK_OK)
    status = gk_language_trainer_begin(model, training, text, validation, &trainer);
  if (status == GK_OK && (status = gk_language_trainer_restart(trainer)) != GK_OK)
    gk_language_trainer_destroy(trainer);
  if (status == GK_OK)
    *result = trainer;
  return status;
}

void gk_language_trainer_destroy(gk_language_trainer *trainer) {
  if (!trainer)
    return;
  gk_language_model_destroy(trainer->model);
  gk_free(trainer->tokens);
  gk_free(trainer->optimizer_state);
  for (int i = 0; i < 2; ++i) {
    gk_free(trainer->h[i]);
    gk_free(trainer->c[i]);
  }
  gk_free(trainer->inputs);
  gk_free(trainer->targets);
  gk_free(trainer->y);
  gk_free(trainer->dy);
  gk_free(trainer->gradients);
  gk_free(trainer->last_seen);
  gk_free(trainer->dh);
  gk_free(trainer->dc);
  gk_free(trainer->tensor_gradients);
  gk_free(trainer->tensor_counts);
  gk_free(trainer->reserve[0]);
  gk_free(trainer->reserve[1]);
  gk_free(trainer->workspace);
  gk_free(trainer->packed);
  free(trainer);
}

gk_status gk_language_trainer_restart(gk_language_trainer *trainer) {
  gk_status status = GK_CHECK_POINTERS({"trainer", trainer});
  if (status != GK_OK)
    return status;
  gk_language_model *model = trainer->model;
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.init = trainer->desc.init;
  init.forget_bias = trainer->desc.forget_bias;
  init.seed = trainer->desc.seed;
  status = gk_rnn_init(model->rnn, &init, model->parameters);
  if (status != GK_OK)
    return status;
  float *output = model->parameters + model->rnn_count;
  /* A tied embedding starts as an output layer's weight, or the first logits would be huge. */
  status = model->desc.tied
               ? gk_output_init_tied(model->output, trainer->desc.seed, model->parameters, output)
               : gk_output_init(model->output, trainer->desc.seed, output);
  if (status == GK_OK)
    status = gk_language_model_pack(model);
  memset(trainer->optimizer_state, 0, (size_t)trainer->optimizer_state_count * sizeof(float));
  trainer->step = 0;
  trainer->best_loss = INFINITY;
  trainer->best_step = 0;
  trainer->rate_state = (gk_learning_rate_state){0};
  return status;
}

/* ---- Queries ---- */

const gk_training_desc *gk_language_trainer_description(const gk_language_trainer *trainer) {
  return trainer ? &trainer->desc : NULL;
}

const gk_language_model *gk_language_trainer_model(const gk_language_trainer *trainer) {
  return trainer ? trainer->model : NULL;
}

int64_t gk_language_trainer_steps_per_epoch(const gk_language_trainer *trainer) {
  return trainer->stream_length / trainer->window + (trainer->stream_length % trainer->window != 0);
}

void gk_language_trainer_progress(const gk_language_trainer *trainer, gk_language_progress *progress) {
  if (!trainer || !progress)
    return;
  *progress = (gk_language_progress){.step = trainer->step,
                                     .steps_per_epoch = gk_language_trainer_steps_per_epoch(trainer),
                                     .training_characters = trainer->training_count,
                                     .validation_characters = trainer->validation_count,
                                     .best_loss = trainer->best_loss,
                                     .best_step = trainer->best_step};
  const gk_learning_rate_desc rate = gk_language_trainer_rate(&trainer->desc);
  progress->learning_rate = gk_learning_rate(&rate, &trainer->rate_state, trainer->step + 1);
}

gk_status gk_language_trainer_set_best(gk_language_trainer *trainer, double loss, int64_t step) {
  const gk_status status = GK_CHECK_POINTERS({"trainer", trainer});
  if (status != GK_OK)
    return status;
  if (!(loss >= 0) || (loss > GK_LARGEST_LOSS && !isinf(loss)))
    return gk_fail(GK_ERROR_ARGUMENT, "loss is %g, must be from 0 to %g, or infinite", loss, GK_LARGEST_LOSS);
  if (step < 0 || step > trainer->step)
    return gk_fail(GK_ERROR_ARGUMENT, "step is %" PRId64 ", must be from 0 to %" PRId64, step, trainer->step);
  trainer->best_loss = loss;
  trainer->best_step = step;
  return GK_OK;
}

gk_status gk_language_trainer_set_learning_rate(gk_language_trainer *trainer,
                                                const gk_learning_rate_desc *desc) {
  gk_status status = GK_CHECK_POINTERS({"trainer", trainer});
  if (status == GK_OK)
    status = gk_learning_rate_check(desc);
  if (status != GK_OK)
    return status;
  const gk_learning_rate_desc before = gk_language_trainer_rate(&trainer->desc);
  if (desc->learning_rate != before.learning_rate || desc->factor != before.factor)
    trainer->rate_state.reduced = trainer->rate_state.bad = 0;
  for (const gk_training_option *option = gk_training_option_after(NULL); option;
       option = gk_training_option_after(option))
    if (option->rate_offset)
      memcpy((char *)&trainer->desc + option->offset, (const char *)desc + option->rate_offset,
             option->bytes);
  return GK_OK;
}

void gk_language_trainer_learning_rate(const gk_language_trainer *trainer, gk_learning_rate_desc *desc) {
  if (trainer && desc)
    *desc = gk_language_trainer_rate(&trainer->desc);
}
