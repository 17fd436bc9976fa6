/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/status.h"
#include "src/tasks/language_trainer.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Beside the weights. */
static const char optimizer_tensor[] = "optimizer.state";
static const char text_length[] = "characters"; /* of both texts; not in files of earlier versions */
static const char h_tensor[] = "stream.h", c_tensor[] = "stream.c";

/* ---- Saving ---- */

/* The files' form of `init` is older than that of the other choices. */
static bool is_number(const gk_training_option *option) {
  return option->offset == offsetof(gk_training_desc, init);
}

/* NULL: out of memory */
static json_t *describe_option(const gk_training_option *option, const gk_training_desc *desc) {
  const void *field = (const char *)desc + option->offset;
  switch (option->type) {
  case GK_OPTION_FLAG:
    return json_boolean(*(const bool *)field);
  case GK_OPTION_INTEGER:
    return json_integer(*(const int64_t *)field);
  case GK_OPTION_SEED:
    return gk_checkpoint_hash_text(*(const uint64_t *)field);
  case GK_OPTION_FLOAT:
    return json_real((double)*(const float *)field);
  case GK_OPTION_DOUBLE:
    return json_real(*(const double *)field);
  default: /* enumerations are all of int's size */
    return is_number(option) ? json_integer(*(const int *)field)
                             : json_string(option->choice(*(const int *)field));
  }
}

/* NULL: out of memory */
static json_t *describe_training(const gk_language_trainer *trainer) {
  const gk_learning_rate_state *rate = &trainer->rate_state;
  json_t *training =
      json_pack("{s:I, s:I, s:o, s:I, s:I, s:I, s:I}", "step", (json_int_t)trainer->step, "best_step",
                (json_int_t)trainer->best_step, "text", gk_checkpoint_hash_text(trainer->text_hash),
                text_length, (json_int_t)(trainer->training_count + trainer->validation_count),
                "rate_measured", (json_int_t)rate->measured, "rate_bad", (json_int_t)rate->bad,
                "rate_reduced", (json_int_t)rate->reduced);
  bool complete = training != NULL;
  for (const gk_training_option *option = gk_training_option_after(NULL); option && complete;
       option = gk_training_option_after(option))
    complete = json_object_set_new(training, option->field, describe_option(option, &trainer->desc)) == 0;
  if (complete && isfinite(rate->best))
    complete = json_object_set_new(training, "rate_best", json_real(rate->best)) == 0;
  if (complete && isfinite(trainer->best_loss))
    complete = json_object_set_new(training, "best_loss", json_real(trainer->best_loss)) == 0;
  if (complete)
    return training;
  json_decref(training);
  return NULL;
}

/* The shape of carried states of `values` a sample: (L, N, values of a layer) where all layers are alike,
 * else what gk_rnn_forward takes, in one row. */
static int state_shape(const gk_language_trainer *trainer, int64_t values, int64_t shape[3]) {
  const gk_rnn_desc *network = &trainer->model->desc.network;
  const int64_t batch = trainer->desc.batch;
  shape[0] = network->hidden_sizes ? batch * values : network->layers;
  shape[1] = batch;
  shape[2] = values / network->layers;
  return network->hidden_sizes ? 1 : 3;
}

gk_status gk_language_trainer_save(const gk_language_trainer *trainer, const char *path) {
  gk_status status = GK_CHECK_POINTERS({"trainer", trainer}, {"path", path});
  if (status)
    return status;
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
  status = gk_language_model_write(trainer->model, path, training, trainer->c[now] ? 3 : 2, extra);
  json_decref(training);
  return status;
}

/* ---- Resuming ---- */

static bool has(const json_t *training, const char *key) {
  return json_object_get(training, key) != NULL;
}

static gk_status read_choice(const struct gk_checkpoint *checkpoint, const json_t *training,
                             const gk_training_option *option, int *choice) {
  const json_t *found = json_object_get(training, option->field);
  const char *name = json_string_value(found);
  for (int i = 0; option->choice(i); ++i)
    if (is_number(option) ? json_is_integer(found) && json_integer_value(found) == i
                          : name && strcmp(name, option->choice(i)) == 0) {
      *choice = i;
      return GK_OK;
    }
  return gk_fail(GK_ERROR_FORMAT, "%s: %s in the description is none that this version knows",
                 checkpoint->path, option->field);
}

static gk_status read_option(const struct gk_checkpoint *checkpoint, const json_t *training,
                             const gk_training_option *option, gk_training_desc *desc) {
  void *field = (char *)desc + option->offset;
  const char *key = option->field;
  const bool single = option->type == GK_OPTION_FLOAT;
  const double largest = single ? FLT_MAX : DBL_MAX;
  double number = 0;
  gk_status status = GK_OK;
  switch (option->type) {
  case GK_OPTION_FLAG:
    *(bool *)field = json_is_true(json_object_get(training, key));
    return GK_OK;
  case GK_OPTION_INTEGER:
    return gk_checkpoint_integer(checkpoint, training, key, 0, INT64_MAX, field);
  case GK_OPTION_SEED:
    return gk_checkpoint_hash(checkpoint, training, key, field);
  case GK_OPTION_CHOICE:
    return read_choice(checkpoint, training, option, field);
  default:
    status = gk_checkpoint_number(checkpoint, training, key, -largest, largest, &number);
    if (single)
      *(float *)field = (float)number;
    else
      *(double *)field = number;
    return status;
  }
}

static gk_status read_training(const struct gk_checkpoint *checkpoint, const json_t *training,
                               gk_training_desc *desc) {
  gk_status status = GK_OK;
  for (const gk_training_option *option = gk_training_option_after(NULL); option && status == GK_OK;
       option = gk_training_option_after(option)) {
    /* The structure only grows at its end: files of earlier versions lack what stands behind. */
    const bool later = option->offset > offsetof(gk_training_desc, validation);
    if (!later || has(training, option->field))
      status = read_option(checkpoint, training, option, desc);
  }
  if (status == GK_OK && gk_language_trainer_check(desc) != GK_OK)
    return gk_checkpoint_refuse(checkpoint);
  return status;
}

/* Before the text is read: one of another length has symbols, too, that the model lacks. */
static gk_status check_length(const struct gk_checkpoint *checkpoint, const json_t *training,
                              const struct gk_vocabulary *vocabulary, const gk_text *text,
                              const gk_text *validation) {
  int64_t wanted = 0;
  if (!has(training, text_length) || !text->data || (validation && !validation->data))
    return GK_OK; /* of a text without data reading it says more */
  const gk_status status = gk_checkpoint_integer(checkpoint, training, text_length, 0, INT64_MAX, &wanted);
  const int64_t found = gk_vocabulary_characters(vocabulary, text) +
                        (validation ? gk_vocabulary_characters(vocabulary, validation) : 0);
  return status != GK_OK || found == wanted
             ? status
             : gk_fail(GK_ERROR_ARGUMENT,
                       "text: not the one that the run in %s is trained on: %" PRId64
                       " characters, with those for validation, and that one has %" PRId64,
                       checkpoint->path, found, wanted);
}

/* Of steps and measurements: far from where counting on would overflow. */
static const int64_t largest_count = INT64_MAX / 2;

static gk_status read_rate(const struct gk_checkpoint *checkpoint, const json_t *training,
                           gk_learning_rate_state *state) {
  if (!has(training, "rate_measured"))
    return GK_OK;
  gk_status status =
      gk_checkpoint_integer(checkpoint, training, "rate_measured", 0, largest_count, &state->measured);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "rate_bad", 0, largest_count, &state->bad);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "rate_reduced", 0, largest_count, &state->reduced);
  state->best = INFINITY; /* which JSON does not have */
  if (status == GK_OK && has(training, "rate_best"))
    status = gk_checkpoint_number(checkpoint, training, "rate_best", -1e300, 1e300, &state->best);
  return status;
}

static gk_status read_position(const struct gk_checkpoint *checkpoint, const json_t *training,
                               gk_language_trainer *trainer) {
  uint64_t hash = 0;
  gk_status status = gk_checkpoint_hash(checkpoint, training, "text", &hash);
  if (status == GK_OK && hash != trainer->text_hash)
    status = gk_fail(GK_ERROR_ARGUMENT,
                     "text: not the one, or not with the validation text, that the run in %s is trained on%s",
                     checkpoint->path, has(training, text_length) ? ", though as long" : "");
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "step", 0, largest_count, &trainer->step);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "best_step", 0, trainer->step, &trainer->best_step);
  if (status == GK_OK && json_object_get(training, "best_loss"))
    status = gk_checkpoint_number(checkpoint, training, "best_loss", 0, GK_LARGEST_LOSS, &trainer->best_loss);
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
  if (status == GK_OK &&
      (status = check_length(checkpoint, training, &model->vocabulary, text, validation)) != GK_OK)
    gk_language_model_destroy(model);
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
  gk_status status = GK_CHECK_POINTERS({"path", path}, {"text", text}, {"trainer", trainer});
  if (status)
    return status;
  *trainer = NULL;
  if (plan)
    status = gk_check_size_field("plan", plan->size, sizeof *plan, "GK_LANGUAGE_MODEL_DESC_INIT");
  if (status)
    return status;
  struct gk_checkpoint checkpoint;
  const uint64_t callers = gk_float_environment_pin();
  status = gk_checkpoint_open(&checkpoint, path);
  if (status == GK_OK)
    status = resume(&checkpoint, plan, text, validation, trainer);
  gk_checkpoint_close(&checkpoint);
  gk_float_environment_restore(callers);
  return status;
}

/* ---- Describing ---- */

static gk_status describe_file(const struct gk_checkpoint *checkpoint, gk_language_file *about) {
  const json_t *training = json_object_get(checkpoint->description, "training");
  gk_status status = gk_language_model_read_description(checkpoint, &about->model, &about->hidden_sizes);
  if (status != GK_OK || !training)
    return status;
  about->trainer = true;
  about->best_loss = INFINITY;
  status = gk_checkpoint_integer(checkpoint, training, "step", 0, largest_count, &about->step);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, training, "best_step", 0, about->step, &about->best_step);
  if (status == GK_OK && has(training, "best_loss"))
    status = gk_checkpoint_number(checkpoint, training, "best_loss", 0, GK_LARGEST_LOSS, &about->best_loss);
  return status;
}

gk_status gk_language_file_describe(const char *path, gk_language_file *about) {
  gk_status status = GK_CHECK_POINTERS({"path", path}, {"about", about});
  if (status)
    return status;
  gk_language_file found = {.model = GK_LANGUAGE_MODEL_DESC_INIT};
  struct gk_checkpoint checkpoint;
  status = gk_checkpoint_open_description(&checkpoint, path);
  if (status == GK_OK)
    status = describe_file(&checkpoint, &found);
  gk_checkpoint_close(&checkpoint);
  if (status == GK_OK)
    *about = found;
  else
    gk_free(found.hidden_sizes);
  return status;
}
