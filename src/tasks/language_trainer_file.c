/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/status.h"
#include "src/tasks/language_trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Beside the weights. */
static const char optimizer_tensor[] = "optimizer.state";
static const char h_tensor[] = "stream.h", c_tensor[] = "stream.c";

/* ---- Saving ---- */

/* NULL: out of memory */
static json_t *describe_training(const gk_language_trainer *trainer) {
  const gk_training_desc *desc = &trainer->desc;
  json_t *training = json_pack(
      "{s:I, s:I, s:I, s:s, s:f, s:f, s:s, s:f, s:f, s:i, s:f, s:o, s:f, s:I, s:I, s:o}", "batch",
      (json_int_t)desc->batch, "time", (json_int_t)desc->time, "steps", (json_int_t)desc->steps, "optimizer",
      gk_optimizer_name(desc->optimizer), "momentum", (double)desc->momentum, "learning_rate",
      desc->learning_rate, "decay", gk_decay_name(desc->decay), "minimum_learning_rate",
      desc->minimum_learning_rate, "clip_norm", desc->clip_norm, "init", (int)desc->init, "forget_bias",
      (double)desc->forget_bias, "seed", gk_checkpoint_hash_text(desc->seed), "validation", desc->validation,
      "step", (json_int_t)trainer->step, "best_step", (json_int_t)trainer->best_step, "text",
      gk_checkpoint_hash_text(trainer->text_hash));
  json_t *more =
      json_pack("{s:I, s:b, s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:I, s:f, s:I, s:I, s:I}", "backward_time",
                (json_int_t)desc->backward_time, "nesterov", (int)desc->nesterov, "weight_decay",
                (double)desc->weight_decay, "label_smoothing", (double)desc->label_smoothing, "clip_value",
                desc->clip_value, "clip_tensor_norm", desc->clip_tensor_norm, "warmup",
                (json_int_t)desc->warmup, "decay_period", (json_int_t)desc->decay_period, "decay_factor",
                desc->decay_factor, "decay_patience", (json_int_t)desc->decay_patience, "decay_threshold",
                desc->decay_threshold, "rate_measured", (json_int_t)trainer->rate_state.measured, "rate_bad",
                (json_int_t)trainer->rate_state.bad, "rate_reduced", (json_int_t)trainer->rate_state.reduced);
  bool complete = training && more && json_object_update(training, more) == 0;
  json_decref(more);
  if (complete && isfinite(trainer->rate_state.best))
    complete = json_object_set_new(training, "rate_best", json_real(trainer->rate_state.best)) == 0;
  if (!complete) {
    json_decref(training);
    return NULL;
  }
  if (isfinite(trainer->best_loss) &&
      json_object_set_new(training, "best_loss", json_real(trainer->best_loss)) != 0) {
    json_decref(training);
    return NULL;
  }
  return training;
}

/* The shape of carried states of `values` a sample: (L, N, values of a layer) where all layers are alike, else
 * what gk_rnn_forward takes, in one row. */
static int state_shape(const gk_language_trainer *trainer, int64_t values, int64_t shape[3]) {
  const gk_rnn_desc *network = &trainer->model->desc.network;
  const int64_t batch = trainer->desc.batch;
  shape[0] = network->hidden_sizes ? batch * values : network->layers;
  shape[1] = batch;
  shape[2] = values / network->layers;
  return network->hidden_sizes ? 1 : 3;
}

gk_status gk_language_trainer_save(const gk_language_trainer *trainer, const char *path) {
  if (!trainer || !path)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", trainer ? "path" : "trainer");
  const int now = (int)(trainer->step % 2);
  gk_file_tensor extra[] = {
      {.name = optimizer_tensor,
       .rank = 1,
       .shape = {trainer->optimizer_state_count},
       .data = trainer->optimizer_state},
      {.name = h_tensor, .data = trainer->h[now]},
      {.name = c_tensor, .data = trainer->c[now]},
  };
  extra[1].rank = state_shape(trainer, gk_rnn_hidden_values(trainer->model->rnn), extra[1].shape);
  extra[2].rank = state_shape(trainer, gk_rnn_cell_values(trainer->model->rnn), extra[2].shape);
  json_t *training = describe_training(trainer);
  if (!training)
    return gk_fail(GK_ERROR_MEMORY, "%s: no memory for the description", path);
  const gk_status status =
      gk_language_model_write(trainer->model, path, training, trainer->c[now] ? 3 : 2, extra);
  json_decref(training);
  return status;
}

/* ---- Resuming ---- */

static gk_status read_names(const struct gk_checkpoint *checkpoint, const json_t *training,
                            gk_training_desc *desc) {
  const char *optimizer = NULL, *decay = NULL;
  gk_status status = gk_checkpoint_text(checkpoint, training, "optimizer", &optimizer);
  if (status == GK_OK)
    status = gk_checkpoint_text(checkpoint, training, "decay", &decay);
  if (status != GK_OK)
    return status;
  if (gk_optimizer_from_name(optimizer, &desc->optimizer) != GK_OK)
    return gk_fail(GK_ERROR_FORMAT, "%s: optimizer is %s, which this version does not know", checkpoint->path,
                   optimizer);
  if (gk_decay_from_name(decay, &desc->decay) != GK_OK)
    return gk_fail(GK_ERROR_FORMAT, "%s: decay is %s, which this version does not know", checkpoint->path,
                   decay);
  return GK_OK;
}

/* What files of earlier versions lack keeps its default. */
static bool has(const json_t *training, const char *key) {
  return json_object_get(training, key) != NULL;
}

static gk_status read_integers(const struct gk_checkpoint *checkpoint, const json_t *training,
                               gk_training_desc *desc) {
  const struct {
    const char *key;
    int64_t minimum, *value;
  } integers[] = {{"backward_time", 0, &desc->backward_time},
                  {"warmup", 0, &desc->warmup},
                  {"decay_period", 1, &desc->decay_period},
                  {"decay_patience", 0, &desc->decay_patience}};
  gk_status status = GK_OK;
  for (size_t i = 0; i < sizeof integers / sizeof *integers && status == GK_OK; ++i)
    if (has(training, integers[i].key))
      status = gk_checkpoint_integer(checkpoint, training, integers[i].key, integers[i].minimum, INT32_MAX,
                                     integers[i].value);
  return status;
}

static gk_status read_options(const struct gk_checkpoint *checkpoint, const json_t *training,
                              gk_training_desc *desc) {
  double weight_decay = 0, smoothing = 0;
  const struct {
    const char *key;
    double maximum, *value;
  } numbers[] = {
      {"weight_decay", 1e30, &weight_decay},    {"label_smoothing", 1, &smoothing},
      {"clip_value", 1e300, &desc->clip_value}, {"clip_tensor_norm", 1e300, &desc->clip_tensor_norm},
      {"decay_factor", 1, &desc->decay_factor}, {"decay_threshold", 0.999999999, &desc->decay_threshold}};
  gk_status status = read_integers(checkpoint, training, desc);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers && status == GK_OK; ++i)
    if (has(training, numbers[i].key))
      status =
          gk_checkpoint_number(checkpoint, training, numbers[i].key, 0, numbers[i].maximum, numbers[i].value);
  desc->weight_decay = (float)weight_decay;
  desc->label_smoothing = (float)smoothing;
  desc->nesterov = json_is_true(json_object_get(training, "nesterov"));
  if (status == GK_OK && desc->backward_time != 0 && desc->backward_time < desc->time)
    status = gk_fail(GK_ERROR_FORMAT, "%s: backward_time is %" PRId64 ", below time, %" PRId64,
                     checkpoint->path, desc->backward_time, desc->time);
  if (status == GK_OK && !(desc->decay_factor > 0))
    status = gk_fail(GK_ERROR_FORMAT, "%s: decay_factor is %g, must be above 0", checkpoint->path,
                     desc->decay_factor);
  return status;
}

static gk_status read_training(const struct gk_checkpoint *checkpoint, const json_t *training,
                               gk_training_desc *desc) {
  const double largest = 1e300;
  double momentum = 0, forget_bias = 0;
  int64_t init = 0;
  gk_status status = read_names(checkpoint, training, desc);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "batch", 1, INT32_MAX, &desc->batch);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "time", 1, INT32_MAX, &desc->time);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "steps", 0, INT64_MAX, &desc->steps);
  if (status == GK_OK)
    status = gk_checkpoint_number(checkpoint, training, "momentum", 0, 1, &momentum);
  if (status == GK_OK)
    status =
        gk_checkpoint_number(checkpoint, training, "learning_rate", 1e-300, largest, &desc->learning_rate);
  if (status == GK_OK)
    status = gk_checkpoint_number(checkpoint, training, "minimum_learning_rate", 0, desc->learning_rate,
                                  &desc->minimum_learning_rate);
  if (status == GK_OK)
    status = gk_checkpoint_number(checkpoint, training, "clip_norm", 0, largest, &desc->clip_norm);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "init", 0, gk_init_count() - 1, &init);
  if (status == GK_OK)
    status = gk_checkpoint_number(checkpoint, training, "forget_bias", -largest, largest, &forget_bias);
  if (status == GK_OK)
    status = gk_checkpoint_hash(checkpoint, training, "seed", &desc->seed);
  if (status == GK_OK)
    status = gk_checkpoint_number(checkpoint, training, "validation", 0, 0.999999999, &desc->validation);
  desc->momentum = (float)momentum;
  desc->forget_bias = (float)forget_bias;
  desc->init = (gk_init)init;
  return status == GK_OK ? read_options(checkpoint, training, desc) : status;
}

static gk_status read_rate(const struct gk_checkpoint *checkpoint, const json_t *training,
                           gk_learning_rate_state *state) {
  if (!has(training, "rate_measured"))
    return GK_OK;
  gk_status status =
      gk_checkpoint_integer(checkpoint, training, "rate_measured", 0, INT64_MAX - 1, &state->measured);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "rate_bad", 0, INT64_MAX - 1, &state->bad);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "rate_reduced", 0, INT64_MAX - 1, &state->reduced);
  if (status == GK_OK && has(training, "rate_best"))
    status = gk_checkpoint_number(checkpoint, training, "rate_best", -1e300, 1e300, &state->best);
  return status;
}

static gk_status read_position(const struct gk_checkpoint *checkpoint, const json_t *training,
                               gk_language_trainer *trainer) {
  uint64_t hash = 0;
  gk_status status = gk_checkpoint_hash(checkpoint, training, "text", &hash);
  if (status == GK_OK && hash != trainer->text_hash)
    status =
        gk_fail(GK_ERROR_ARGUMENT, "text: not the one that the run in %s is trained on", checkpoint->path);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "step", 0, INT64_MAX - 1, &trainer->step);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "best_step", 0, trainer->step, &trainer->best_step);
  if (status == GK_OK && json_object_get(training, "best_loss"))
    status = gk_checkpoint_number(checkpoint, training, "best_loss", 0, 1e300, &trainer->best_loss);
  return status == GK_OK ? read_rate(checkpoint, training, &trainer->rate_state) : status;
}

static gk_status read_states(const struct gk_checkpoint *checkpoint, gk_language_trainer *trainer) {
  const gk_rnn *rnn = trainer->model->rnn;
  const int now = (int)(trainer->step % 2);
  int64_t shape[3];
  gk_status status = gk_checkpoint_read(checkpoint, optimizer_tensor, 1, &trainer->optimizer_state_count,
                                        trainer->optimizer_state);
  int rank = state_shape(trainer, gk_rnn_hidden_values(rnn), shape);
  if (status == GK_OK)
    status = gk_checkpoint_read(checkpoint, h_tensor, rank, shape, trainer->h[now]);
  rank = state_shape(trainer, gk_rnn_cell_values(rnn), shape);
  if (status == GK_OK && trainer->c[now])
    status = gk_checkpoint_read(checkpoint, c_tensor, rank, shape, trainer->c[now]);
  return status;
}

static gk_status resume(const struct gk_checkpoint *checkpoint, const gk_language_model_desc *plan,
                        const gk_text *text, const gk_text *validation, gk_language_trainer **result) {
  gk_training_desc desc = GK_TRAINING_DESC_INIT;
  const json_t *training = json_object_get(checkpoint->description, "training");
  if (!training)
    return gk_fail(GK_ERROR_FORMAT, "%s: weights only, without the state of a training to go on from",
                   checkpoint->path);
  gk_language_model *model = NULL;
  gk_language_trainer *trainer = NULL;
  gk_status status = read_training(checkpoint, training, &desc);
  if (status == GK_OK)
    status = gk_language_model_read(checkpoint, plan, GK_PACK_FORWARD | GK_PACK_BACKWARD, &model);
  if (status == GK_OK)
    status = gk_language_trainer_begin(model, &desc, text, validation, &trainer);
  if (status == GK_OK)
    status = read_position(checkpoint, training, trainer);
  if (status == GK_OK)
    status = read_states(checkpoint, trainer);
  if (status != GK_OK) {
    gk_language_trainer_destroy(trainer);
    return status;
  }
  *result = trainer;
  return GK_OK;
}

gk_status gk_language_trainer_resume(const char *path, const gk_language_model_desc *plan,
                                     const gk_text *text, const gk_text *validation,
                                     gk_language_trainer **trainer) {
  if (!path || !text || !trainer)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", !path ? "path" : !text ? "text" : "trainer");
  *trainer = NULL;
  if (plan && plan->size != sizeof *plan)
    return gk_fail(GK_ERROR_ARGUMENT, "plan.size is %zu, must be %zu", plan->size, sizeof *plan);
  struct gk_checkpoint checkpoint;
  gk_status status = gk_checkpoint_open(&checkpoint, path);
  if (status == GK_OK)
    status = resume(&checkpoint, plan, text, validation, trainer);
  gk_checkpoint_close(&checkpoint);
  return status;
}
