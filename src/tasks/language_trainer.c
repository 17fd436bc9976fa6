/* SPDX-License-Identifier: Apache-2.0 */
#include "src/tasks/language_trainer.h"
#include "src/tasks/buffer.h"

#include <inttypes.h>
#include <math.h>
#include <time.h>

/* ---- Arguments ---- */

static gk_status check_training(const gk_training_desc *desc) {
  if (desc->size != sizeof *desc)
    return gk_fail(GK_ERROR_ARGUMENT, "training.size is %zu, must be %zu", desc->size, sizeof *desc);
  if (desc->batch < 1 || desc->time < 1)
    return gk_fail(GK_ERROR_ARGUMENT, "batch is %" PRId64 ", time %" PRId64 ", both must be at least 1",
                   desc->batch, desc->time);
  if (desc->steps < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "steps is %" PRId64 ", must not be negative", desc->steps);
  if (!(desc->learning_rate > 0 && isfinite(desc->learning_rate)))
    return gk_fail(GK_ERROR_ARGUMENT, "learning_rate is %g, must be above 0", desc->learning_rate);
  if (!(desc->minimum_learning_rate >= 0 && desc->minimum_learning_rate <= desc->learning_rate))
    return gk_fail(GK_ERROR_ARGUMENT, "minimum_learning_rate is %g, must be from 0 to learning_rate, %g",
                   desc->minimum_learning_rate, desc->learning_rate);
  if (!(desc->clip_norm >= 0 && isfinite(desc->clip_norm)))
    return gk_fail(GK_ERROR_ARGUMENT, "clip_norm is %g, must be 0 or above", desc->clip_norm);
  if (!(desc->validation >= 0 && desc->validation < 1))
    return gk_fail(GK_ERROR_ARGUMENT, "validation is %g, must be at least 0 and below 1", desc->validation);
  if (desc->decay != GK_DECAY_CONSTANT && desc->decay != GK_DECAY_COSINE)
    return gk_fail(GK_ERROR_ARGUMENT, "decay is %d, not a gk_decay", (int)desc->decay);
  return GK_OK;
}

static gk_status check_model(const gk_language_model_desc *desc) {
  if (desc->size != sizeof *desc)
    return gk_fail(GK_ERROR_ARGUMENT, "model.size is %zu, must be %zu", desc->size, sizeof *desc);
  if (desc->dropout > 0 && desc->layers == 1)
    return gk_fail(GK_ERROR_ARGUMENT, "dropout is %g with 1 layer: it acts between layers, so it needs 2",
                   (double)desc->dropout);
  return GK_OK;
}

/* ---- Creation ---- */

/* Encodes both texts and joins their tokens. Without a text for validation, the end of the only one. */
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
  if (status != GK_OK)
    return status;
  if (validation) {
    trainer->training_count = count;
    trainer->validation_count = other_count;
  } else {
    trainer->validation_count = (int64_t)((double)count * trainer->desc.validation);
    if (trainer->validation_count < 2) /* the first character is not predicted */
      trainer->validation_count = 0;
    trainer->training_count = count - trainer->validation_count;
  }
  if (validation && other_count < 2)
    return gk_fail(GK_ERROR_ARGUMENT, "validation text: %" PRId64 " characters, 2 are needed", other_count);
  trainer->text_hash =
      gk_hash(GK_HASH_START, trainer->tokens, (size_t)(count + other_count) * sizeof(int32_t));
  return GK_OK;
}

static gk_status cut_streams(gk_language_trainer *trainer) {
  const gk_training_desc *desc = &trainer->desc;
  int64_t needed;
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
  const int64_t layers = model->desc.layers, batch = trainer->desc.batch, hidden = model->desc.hidden_size;
  trainer->optimizer = (gk_optimizer_desc)GK_OPTIMIZER_DESC_INIT;
  trainer->optimizer.kind = trainer->desc.optimizer;
  trainer->optimizer.momentum = trainer->desc.momentum;
  trainer->optimizer.isa = model->desc.isa;
  trainer->optimizer.threads = model->desc.threads;
  trainer->state_count = layers * batch * hidden;
  gk_status status = gk_optimizer_state_count(&trainer->optimizer, model->rnn_count + model->output_count,
                                              &trainer->optimizer_state_count);
  trainer->optimizer_state = gk_buffer_array(&status, sizeof(float), trainer->optimizer_state_count, 1, 1);
  for (int i = 0; i < 2 && status == GK_OK; ++i) {
    trainer->h[i] = gk_buffer_array(&status, sizeof(float), layers, batch, hidden);
    if (status == GK_OK && gk_cell_has_memory(model->desc.cell))
      trainer->c[i] = gk_buffer_array(&status, sizeof(float), layers, batch, hidden);
  }
  return status;
}

static gk_status allocate_scratch(gk_language_trainer *trainer) {
  const gk_language_model *model = trainer->model;
  const int64_t time = trainer->window, batch = trainer->desc.batch, hidden = model->desc.hidden_size;
  gk_rnn_memory needed = {0};
  size_t output_bytes = 0;
  gk_status status = gk_rnn_memory_needed(model->rnn, time, batch, &needed);
  if (status == GK_OK)
    status = gk_output_workspace_bytes(model->output, time * batch, &output_bytes);
  trainer->inputs = gk_buffer_array(&status, sizeof(int32_t), time, batch, 1);
  trainer->targets = gk_buffer_array(&status, sizeof(int32_t), time, batch, 1);
  trainer->y = gk_buffer_array(&status, sizeof(float), time, batch, hidden);
  trainer->dy = gk_buffer_array(&status, sizeof(float), time, batch, hidden);
  trainer->gradients = gk_buffer_array(&status, sizeof(float), model->rnn_count + model->output_count, 1, 1);
  trainer->last_seen = gk_buffer_array(&status, sizeof(int64_t), model->vocabulary.count, 1, 1);
  trainer->reserve = gk_buffer_allocate(&status, needed.reserve_bytes);
  if (status != GK_OK)
    return status;
  /* Forward, output layer and backward follow one another: one workspace serves all three. */
  size_t workspace = output_bytes;
  if (workspace < needed.forward_workspace_bytes)
    workspace = needed.forward_workspace_bytes;
  if (workspace < needed.backward_workspace_bytes)
    workspace = needed.backward_workspace_bytes;
  trainer->workspace = gk_buffer_allocate(&status, workspace);
  return status;
}

gk_status gk_language_trainer_begin(gk_language_model *model, const gk_training_desc *desc,
                                    const gk_text *text, const gk_text *validation,
                                    gk_language_trainer **result) {
  gk_language_trainer *trainer = calloc(1, sizeof *trainer);
  if (!trainer) {
    gk_language_model_destroy(model);
    gk_fail(GK_ERROR_MEMORY, "no memory for a trainer");
    return GK_ERROR_MEMORY;
  }
  trainer->model = model;
  trainer->desc = *desc;
  trainer->best_loss = INFINITY;
  gk_status status = take_texts(trainer, text, validation);
  if (status == GK_OK)
    status = cut_streams(trainer);
  if (status == GK_OK)
    status = allocate_states(trainer);
  if (status == GK_OK)
    status = allocate_scratch(trainer);
  if (status != GK_OK) {
    gk_language_trainer_destroy(trainer);
    return status;
  }
  *result = trainer;
  return GK_OK;
}

gk_status gk_language_trainer_create(const gk_language_model_desc *desc, const gk_training_desc *training,
                                     const gk_text *text, const gk_text *validation,
                                     gk_language_trainer **result) {
  if (result)
    *result = NULL;
  if (!desc || !training || !text || !result)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL",
                   !desc       ? "model"
                   : !training ? "training"
                   : !text     ? "text"
                               : "trainer");
  gk_status status = check_model(desc);
  if (status == GK_OK)
    status = check_training(training);
  if (status != GK_OK)
    return status;
  const char *const names[] = {"text", "validation text"};
  gk_text texts[2] = {*text};
  if (validation)
    texts[1] = *validation;
  if (text->bytes == 0)
    return gk_fail(GK_ERROR_ARGUMENT, "text: empty");
  struct gk_vocabulary vocabulary;
  gk_language_model *model = NULL;
  gk_language_trainer *trainer = NULL;
  status = gk_vocabulary_from_texts(&vocabulary, desc->utf8, validation ? 2 : 1, texts, names);
  if (status == GK_OK)
    status = gk_language_model_create_plans(desc, &vocabulary, GK_PACK_FORWARD | GK_PACK_BACKWARD, &model);
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
  gk_free(trainer->reserve);
  gk_free(trainer->workspace);
  free(trainer);
}

gk_status gk_language_trainer_restart(gk_language_trainer *trainer) {
  gk_language_model *model = trainer->model;
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.init = trainer->desc.init;
  init.forget_bias = trainer->desc.forget_bias;
  init.seed = trainer->desc.seed;
  gk_status status = gk_rnn_init(model->rnn, &init, model->parameters);
  if (status == GK_OK)
    status = gk_output_init(model->output, trainer->desc.seed, model->parameters + model->rnn_count);
  if (status == GK_OK)
    status = gk_language_model_pack(model);
  memset(trainer->optimizer_state, 0, (size_t)trainer->optimizer_state_count * sizeof(float));
  memset(trainer->last_seen, 0, (size_t)model->vocabulary.count * sizeof *trainer->last_seen);
  trainer->step = 0;
  trainer->best_loss = INFINITY;
  trainer->best_step = 0;
  return status;
}

/* ---- Queries ---- */

const gk_training_desc *gk_language_trainer_description(const gk_language_trainer *trainer) {
  return &trainer->desc;
}

const gk_language_model *gk_language_trainer_model(const gk_language_trainer *trainer) {
  return trainer->model;
}

static int64_t steps_per_epoch(const gk_language_trainer *trainer) {
  return trainer->stream_length / trainer->window + (trainer->stream_length % trainer->window != 0);
}

void gk_language_trainer_progress(const gk_language_trainer *trainer, gk_language_progress *progress) {
  *progress = (gk_language_progress){.step = trainer->step,
                                     .steps_per_epoch = steps_per_epoch(trainer),
                                     .training_characters = trainer->training_count,
                                     .validation_characters = trainer->validation_count,
                                     .best_loss = trainer->best_loss,
                                     .best_step = trainer->best_step};
}

gk_status gk_language_trainer_set_learning_rate(gk_language_trainer *trainer, double learning_rate,
                                                gk_decay decay, double minimum, int64_t steps) {
  gk_training_desc changed = trainer->desc;
  changed.learning_rate = learning_rate;
  changed.decay = decay;
  changed.minimum_learning_rate = minimum;
  changed.steps = steps;
  const gk_status status = check_training(&changed);
  if (status == GK_OK)
    trainer->desc = changed;
  return status;
}

/* ---- A step ---- */

static const char *const part_names[GK_TRAINING_PARTS] = {
    [GK_PART_DATA] = "data",         [GK_PART_FORWARD] = "forward", [GK_PART_OUTPUT] = "output",
    [GK_PART_BACKWARD] = "backward", [GK_PART_CLIP] = "clip",       [GK_PART_UPDATE] = "update",
    [GK_PART_PACK] = "pack"};

const char *gk_training_part_name(gk_training_part part) {
  return (unsigned)part < GK_TRAINING_PARTS ? part_names[part] : "unknown";
}

/* The time since *start is that of `part`; the next part starts now. */
static void end_part(gk_training_step *report, gk_training_part part, double *start) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  const double now = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
  report->seconds[part] = now - *start;
  *start = now;
}

static int64_t count_distinct(gk_language_trainer *trainer, int64_t count) {
  int64_t distinct = 0;
  for (int64_t i = 0; i < count; ++i) {
    int64_t *seen = &trainer->last_seen[trainer->inputs[i]];
    distinct += *seen != trainer->step + 1;
    *seen = trainer->step + 1;
  }
  return distinct;
}

static double count_operations(gk_language_trainer *trainer, int64_t time) {
  const gk_language_model_desc *desc = &trainer->model->desc;
  const double rows = (double)(time * trainer->desc.batch), hidden = (double)desc->hidden_size;
  const double distinct = (double)count_distinct(trainer, time * trainer->desc.batch);
  const double gates = (double)gk_cell_gates(desc->cell) * hidden;
  const double inputs = distinct * (double)desc->embedding_size + rows * hidden;
  const double upper = (double)(desc->layers - 1) * rows * 2 * hidden;
  return 6 * (gates * (inputs + upper) + rows * hidden * (double)trainer->model->vocabulary.count);
}

/* Loss and gradients of `time` steps of every stream. */
static gk_status differentiate(gk_language_trainer *trainer, int64_t time, gk_training_step *report,
                               double *start) {
  const gk_language_model *model = trainer->model;
  const int before = (int)(trainer->step % 2), after = 1 - before;
  const gk_random_key random = {.seed = trainer->desc.seed, .step = (uint64_t)trainer->step + 1};
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = time;
  forward.batch = trainer->desc.batch;
  forward.tokens = trainer->inputs;
  forward.h0 = trainer->h[before];
  forward.c0 = trainer->c[before];
  forward.hn = trainer->h[after];
  forward.cn = trainer->c[after];
  forward.parameters = model->parameters;
  forward.packed = model->packed_rnn;
  forward.y = trainer->y;
  forward.random = random;
  forward.reserve = trainer->reserve;
  forward.workspace = trainer->workspace;
  gk_status status = gk_rnn_forward(model->rnn, &forward);
  end_part(report, GK_PART_FORWARD, start);
  if (status != GK_OK)
    return status;
  gk_output_loss_args output = GK_OUTPUT_LOSS_ARGS_INIT;
  output.rows = time * trainer->desc.batch;
  output.h = trainer->y;
  output.targets = trainer->targets;
  output.packed = model->packed_output;
  output.loss = &report->loss;
  output.gradient_scale = 1 / (float)report->characters;
  output.dh = trainer->dy;
  output.gradients = trainer->gradients + model->rnn_count;
  output.workspace = trainer->workspace;
  status = gk_output_loss(model->output, &output);
  end_part(report, GK_PART_OUTPUT, start);
  if (status != GK_OK)
    return status;
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  backward.time = time;
  backward.batch = trainer->desc.batch;
  backward.tokens = trainer->inputs;
  backward.h0 = trainer->h[before];
  backward.c0 = trainer->c[before];
  backward.parameters = model->parameters;
  backward.packed = model->packed_rnn;
  backward.dy = trainer->dy;
  backward.gradients = trainer->gradients;
  backward.random = random;
  backward.reserve = trainer->reserve;
  backward.workspace = trainer->workspace;
  status = gk_rnn_backward(model->rnn, &backward);
  end_part(report, GK_PART_BACKWARD, start);
  return status;
}

/* Clipping and update. */
static gk_status update(gk_language_trainer *trainer, gk_training_step *report, double *start) {
  gk_language_model *model = trainer->model;
  const gk_training_desc *desc = &trainer->desc;
  const int64_t count = model->rnn_count + model->output_count;
  const float *const gradients[] = {trainer->gradients};
  gk_status status =
      gk_gradient_norm(model->desc.isa, model->desc.threads, 1, gradients, &count, &report->gradient_norm);
  end_part(report, GK_PART_CLIP, start);
  if (status != GK_OK)
    return status;
  if (!isfinite(report->loss) || !isfinite(report->gradient_norm))
    return gk_fail(GK_ERROR_ARGUMENT,
                   "step %" PRId64
                   ": the loss is %g and the gradient's norm %g: learning_rate, %g, is too high",
                   report->step, report->loss, report->gradient_norm, desc->learning_rate);
  report->clip_scale = gk_clip_scale(report->gradient_norm, desc->clip_norm);
  report->learning_rate = gk_learning_rate(desc->steps ? desc->decay : GK_DECAY_CONSTANT, desc->learning_rate,
                                           desc->minimum_learning_rate, report->step, desc->steps);
  status = gk_optimizer_step(&trainer->optimizer, report->step, report->learning_rate, report->clip_scale,
                             count, model->parameters, trainer->gradients, trainer->optimizer_state);
  end_part(report, GK_PART_UPDATE, start);
  if (status == GK_OK)
    status = gk_language_model_pack(model);
  end_part(report, GK_PART_PACK, start);
  return status;
}

gk_status gk_language_trainer_step(gk_language_trainer *trainer, gk_training_step *report) {
  const int64_t first = trainer->step % steps_per_epoch(trainer) * trainer->window;
  const int64_t left = trainer->stream_length - first;
  const int64_t time = left < trainer->window ? left : trainer->window;
  const int before = (int)(trainer->step % 2);
  if (first == 0) {
    memset(trainer->h[before], 0, (size_t)trainer->state_count * sizeof(float));
    if (trainer->c[before])
      memset(trainer->c[before], 0, (size_t)trainer->state_count * sizeof(float));
  }
  *report = (gk_training_step){.step = trainer->step + 1};
  double start = 0;
  end_part(report, GK_PART_DATA, &start);
  report->characters =
      gk_text_streams_read(&trainer->streams, first, time, trainer->inputs, trainer->targets);
  report->operations = count_operations(trainer, time);
  end_part(report, GK_PART_DATA, &start);
  gk_status status = differentiate(trainer, time, report, &start);
  report->loss /= (double)report->characters;
  if (status == GK_OK)
    status = update(trainer, report, &start);
  if (status == GK_OK)
    ++trainer->step;
  return status;
}

gk_status gk_language_trainer_validate(gk_language_trainer *trainer, gk_language_loss *loss, bool *improved) {
  if (trainer->validation_count == 0)
    return gk_fail(GK_ERROR_ARGUMENT, "there is no text for validation");
  const gk_status status = gk_language_model_evaluate_tokens(
      trainer->model, trainer->tokens + trainer->training_count, trainer->validation_count, loss);
  if (status != GK_OK)
    return status;
  const bool better = loss->nats < trainer->best_loss;
  if (better) {
    trainer->best_loss = loss->nats;
    trainer->best_step = trainer->step;
  }
  if (improved)
    *improved = better;
  return GK_OK;
}
