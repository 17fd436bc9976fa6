/* SPDX-License-Identifier: Apache-2.0
 *
 * What a training of a language model can be asked for beyond the plain one: tied weights, every optimizer
 * and schedule, clipping, label smoothing, truncated BPTT: each with the same weights everywhere and an exact
 * resume; and the free-running loss, gradient flow of a model.
 * ctest labels: same-bits */
#include "tests/temporary_folder.h"
#include "tests/trainer_gradients.h"

/* ---- Descriptions ---- */

static gk_language_model_desc plain_model(gk_cell cell) {
  gk_language_model_desc desc = GK_LANGUAGE_MODEL_DESC_INIT;
  desc.network.cell = cell;
  desc.network.hidden_size = desc.network.input_size = 19;
  desc.network.layers = 2;
  desc.network.threads = 1;
  return desc;
}

static gk_training_desc plain_training(void) {
  gk_training_desc desc = GK_TRAINING_DESC_INIT;
  desc.batch = 7;
  desc.time = 13;
  desc.steps = 60;
  desc.learning_rate = 0.01;
  desc.seed = 5;
  return desc;
}

static void run_and_validate(gk_language_trainer *trainer, int count, int validate_every) {
  gk_training_step report;
  for (int i = 0; i < count; ++i) {
    expect_ok(gk_language_trainer_step(trainer, &report));
    gk_language_loss loss;
    if (report.step % validate_every == 0)
      expect_ok(gk_language_trainer_validate(trainer, &loss, NULL));
  }
}

/* ---- Every option: the same weights everywhere, an exact resume ---- */

struct option {
  const char *name;
  void (*set)(gk_language_model_desc *model, gk_training_desc *training);
};

#define OPTION(name, ...)                                                                                    \
  static void set_##name(gk_language_model_desc *model, gk_training_desc *training) {                        \
    (void)model, (void)training;                                                                             \
    __VA_ARGS__;                                                                                             \
  }
OPTION(sgd, training->optimizer = GK_OPTIMIZER_SGD)
OPTION(momentum, training->optimizer = GK_OPTIMIZER_SGD; training->momentum = 0.9f)
OPTION(nesterov, set_momentum(model, training); training->nesterov = true; training->weight_decay = 1e-3f)
OPTION(rmsprop, training->optimizer = GK_OPTIMIZER_RMSPROP)
OPTION(adagrad, training->optimizer = GK_OPTIMIZER_ADAGRAD)
OPTION(adam, training->weight_decay = 1e-3f)
OPTION(adamw, training->optimizer = GK_OPTIMIZER_ADAMW; training->weight_decay = 0.1f)
OPTION(cosine, training->decay = GK_DECAY_COSINE; training->warmup = 10;
       training->minimum_learning_rate = 1e-4)
OPTION(step, training->decay = GK_DECAY_STEP; training->decay_period = 7; training->decay_factor = 0.5)
OPTION(plateau, training->decay = GK_DECAY_PLATEAU; training->decay_patience = 0;
       training->decay_factor = 0.5; training->decay_threshold = 0.2; training->warmup = 3)
OPTION(clip_value, training->clip_value = 1e-3)
OPTION(clip_tensor, training->clip_tensor_norm = 0.02; training->clip_value = 0.01;
       training->clip_norm = 0.05)
OPTION(smoothing, training->label_smoothing = 0.1f)
OPTION(tied, model->tied = true)
OPTION(k2, training->backward_time = 30)
OPTION(k2_dropout, training->backward_time = 20; model->network.dropout = 0.3f; model->tied = true)

static const struct option options[] = {
    {"sgd", set_sgd},
    {"momentum", set_momentum},
    {"nesterov", set_nesterov},
    {"rmsprop", set_rmsprop},
    {"adagrad", set_adagrad},
    {"adam with decay", set_adam},
    {"adamw", set_adamw},
    {"cosine after a warm-up", set_cosine},
    {"step", set_step},
    {"plateau", set_plateau},
    {"clip values", set_clip_value},
    {"clip tensors", set_clip_tensor},
    {"label smoothing", set_smoothing},
    {"tied", set_tied},
    {"k2", set_k2},
    {"k2, tied, dropout", set_k2_dropout},
};
enum { OPTIONS = sizeof options / sizeof *options, STEPS = 64, CUT = 23, VALIDATE = 4 };

static void every_option_resumes_exactly_elsewhere(void **state) {
  (void)state;
  const gk_text text = make_text();
  char path[4096];
  snprintf(path, sizeof path, "%s", temporary_path("state"));
  for (int i = 0; i < OPTIONS; ++i) {
    gk_language_model_desc model = plain_model(i % 2 ? GK_CELL_LSTM : GK_CELL_GRU);
    gk_training_desc training = plain_training();
    options[i].set(&model, &training);
    model.network.isa = GK_ISA_SCALAR;
    gk_language_trainer *whole = create(&model, &training), *resumed = NULL;
    run_and_validate(whole, CUT, VALIDATE);
    expect_ok(gk_language_trainer_save(whole, path));
    run_and_validate(whole, STEPS - CUT, VALIDATE);
    gk_language_model_desc plan = GK_LANGUAGE_MODEL_DESC_INIT; /* best instruction set, other threads */
    plan.network.threads = 3;
    expect_ok(gk_language_trainer_resume(path, &plan, &text, NULL, &resumed));
    run_and_validate(resumed, STEPS - CUT, VALIDATE);
    expect_same_weights(whole, resumed, options[i].name);
    gk_language_trainer_destroy(resumed);
    gk_language_trainer_destroy(whole);
  }
}

static void every_option_learns(void **state) {
  (void)state;
  for (int i = 0; i < OPTIONS; ++i) {
    gk_language_model_desc model = plain_model(GK_CELL_GRU);
    gk_training_desc training = plain_training();
    options[i].set(&model, &training);
    const bool sgd = training.optimizer == GK_OPTIMIZER_SGD;
    training.learning_rate = sgd ? 0.5 : 0.02;
    training.clip_norm = 1;
    training.decay = training.decay == GK_DECAY_PLATEAU || training.decay == GK_DECAY_STEP ? GK_DECAY_CONSTANT
                                                                                           : training.decay;
    training.minimum_learning_rate = 0;
    training.steps = 200;
    if (training.clip_value > 0)
      training.clip_value = 0.05, training.clip_tensor_norm *= 20;
    gk_language_trainer *trainer = create(&model, &training);
    gk_language_loss before, after;
    expect_ok(gk_language_trainer_validate(trainer, &before, NULL));
    run_and_validate(trainer, 200, 1000);
    expect_ok(gk_language_trainer_validate(trainer, &after, NULL));
    if (!(after.nats < 0.6 * before.nats))
      fail_msg("%s: validation loss %g, then %g", options[i].name, before.nats, after.nats);
    gk_language_trainer_destroy(trainer);
  }
}

/* The plateau does reduce the rate, and the warm-up raises it. */
static void rates_are_applied(void **state) {
  (void)state;
  gk_language_model_desc model = plain_model(GK_CELL_GRU);
  gk_training_desc training = plain_training();
  set_plateau(&model, &training);
  gk_language_trainer *trainer = create(&model, &training);
  gk_training_step first, last;
  expect_ok(gk_language_trainer_step(trainer, &first));
  run_and_validate(trainer, 40, 2);
  expect_ok(gk_language_trainer_step(trainer, &last));
  assert_true(first.learning_rate == (double)(float)(0.01 / 3));
  assert_true(last.learning_rate < 0.01 && trainer->rate_state.reduced > 0);
  gk_language_trainer_destroy(trainer);
}

/* The best loss of a plateau that has measured none but NaN is infinite, and JSON has no infinity. */
static void resumed_plateau_still_waits_for_its_first_loss(void **state) {
  (void)state;
  const char *path = temporary_path("plateau.state");
  const gk_text text = make_text();
  gk_language_model_desc model = plain_model(GK_CELL_GRU);
  gk_training_desc training = plain_training();
  set_plateau(&model, &training);
  gk_language_trainer *trainer = create(&model, &training), *resumed;
  const gk_learning_rate_desc rate = gk_language_trainer_rate(&training);
  gk_learning_rate_measure(&rate, &trainer->rate_state, NAN);
  expect_ok(gk_language_trainer_save(trainer, path));
  expect_ok(gk_language_trainer_resume(path, NULL, &text, NULL, &resumed));
  assert_memory_equal(&resumed->rate_state, &trainer->rate_state, sizeof resumed->rate_state);
  gk_learning_rate_measure(&rate, &resumed->rate_state, 2.5);
  assert_true(resumed->rate_state.best == 2.5);
  gk_language_trainer_destroy(resumed);
  gk_language_trainer_destroy(trainer);
}

/* ---- Tied weights ---- */

/* The gradient of the tied embedding is the sum of both: a difference quotient of the loss agrees. */
static void the_tied_gradient_is_the_sum_of_both(void **state) {
  (void)state;
  gk_language_model_desc model = plain_model(GK_CELL_GRU);
  gk_training_desc training = plain_training();
  model.tied = true;
  training.optimizer = GK_OPTIMIZER_SGD;
  training.learning_rate = 1e-30;
  gk_language_trainer *trainer = create(&model, &training);
  gk_language_progress progress;
  gk_language_trainer_progress(trainer, &progress);
  gk_training_step report;
  expect_ok(gk_language_trainer_step(trainer, &report));
  double *gradient = copy_gradients(trainer);
  const int64_t embedding = trainer->model->vocabulary.count * 19;
  /* Along the gradient the loss changes by its squared length. */
  const double length = norm_of(gradient, embedding), move = 1e-2 / length;
  double losses[2];
  for (int side = 0; side < 2; ++side) {
    expect_ok(gk_language_trainer_restart(trainer));
    for (int64_t i = 0; i < embedding; ++i)
      trainer->model->parameters[i] += (float)((side ? -move : move) * gradient[i]);
    expect_ok(gk_language_model_pack(trainer->model));
    expect_ok(gk_language_trainer_step(trainer, &report));
    losses[side] = report.loss;
  }
  const double slope = (losses[0] - losses[1]) / (2 * move);
  if (!(fabs(slope - length * length) <= 1e-3 * length * length))
    fail_msg("slope %g along the gradient, its squared length is %g", slope, length * length);
  free(gradient);
  gk_language_trainer_destroy(trainer);
  model.network.input_size = 18;
  const gk_text text = make_text();
  assert_int_equal(gk_language_trainer_create(&model, &training, &text, NULL, &trainer), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "tied"));
}

/* A tied model's file has the embedding once, and loads as what was saved. */
static void a_tied_file_has_the_embedding_once(void **state) {
  (void)state;
  gk_language_model_desc model = plain_model(GK_CELL_LSTM);
  const gk_training_desc training = plain_training();
  char path[4096];
  snprintf(path, sizeof path, "%s", temporary_path("tied"));
  model.tied = true;
  gk_language_trainer *trainer = create(&model, &training);
  run_and_validate(trainer, 20, 1000);
  const gk_language_model *trained = gk_language_trainer_model(trainer);
  expect_ok(gk_language_model_save(trained, path));
  gk_safetensors *file;
  expect_ok(gk_safetensors_open(path, &file));
  assert_true(gk_safetensors_find(file, "embedding.weight") >= 0);
  assert_true(gk_safetensors_find(file, "output.bias") >= 0);
  assert_int_equal(gk_safetensors_find(file, "output.weight"), -1);
  gk_safetensors_close(file);
  gk_language_model *loaded;
  expect_ok(gk_language_model_load(path, NULL, &loaded));
  assert_true(gk_language_model_description(loaded)->tied);
  const gk_text text = make_text();
  gk_language_loss a, b;
  expect_ok(gk_language_model_evaluate(trained, &text, &a));
  expect_ok(gk_language_model_evaluate(loaded, &text, &b));
  assert_true(a.nats == b.nats);
  gk_language_model_destroy(loaded);
  gk_language_trainer_destroy(trainer);
}

/* ---- Free-running ---- */

static void free_running_loses_more_the_farther_it_goes(void **state) {
  (void)state;
  enum { LENGTH = 9 };
  const gk_language_model_desc model = plain_model(GK_CELL_LSTM);
  gk_training_desc training = plain_training();
  training.time = 25;
  training.learning_rate = 0.02;
  gk_language_trainer *trainer = create(&model, &training);
  const gk_language_model *trained = gk_language_trainer_model(trainer);
  const gk_text text = make_text();
  run_and_validate(trainer, 200, 1000);
  gk_free_running_desc desc = GK_FREE_RUNNING_DESC_INIT;
  gk_free_running_loss alone, loss, again;
  gk_language_loss forced;
  double at[LENGTH], first, mean = 0;
  expect_ok(gk_language_model_evaluate(trained, &text, &forced));
  /* Runs of one character are teacher forcing. */
  desc.length = 1;
  expect_ok(gk_language_model_evaluate_free_running(trained, &text, &desc, &alone, &first));
  assert_true(fabs(alone.free_nats - forced.nats) < 1e-9 && first == alone.free_nats);
  assert_int_equal(alone.characters, forced.characters);
  for (int temperature = 0; temperature < 2; ++temperature) {
    desc.length = LENGTH;
    desc.temperature = (float)temperature;
    expect_ok(gk_language_model_evaluate_free_running(trained, &text, &desc, &loss, at));
    expect_ok(gk_language_model_evaluate_free_running(trained, &text, &desc, &again, NULL));
    assert_true(loss.free_nats == again.free_nats);
    assert_true(fabs(loss.forced_nats - forced.nats) < 1e-9);
    /* Its own words are not the text's: it is surer of the wrong continuation the farther it has gone. */
    assert_true(loss.free_nats > 1.1 * forced.nats && at[LENGTH - 1] > at[0]);
    for (int t = 0; t < LENGTH; ++t)
      mean += at[t] / LENGTH;
  }
  assert_true(mean > 0);
  desc.length = 0;
  assert_int_equal(gk_language_model_evaluate_free_running(trained, &text, &desc, &loss, at),
                   GK_ERROR_ARGUMENT);
  desc.length = LENGTH;
  desc.temperature = -1;
  assert_int_equal(gk_language_model_evaluate_free_running(trained, &text, &desc, &loss, at),
                   GK_ERROR_ARGUMENT);
  assert_int_equal(gk_language_model_evaluate_free_running(trained, NULL, &desc, &loss, at),
                   GK_ERROR_ARGUMENT);
  gk_language_trainer_destroy(trainer);
}

/* ---- Watching long calls ---- */

struct watched {
  int calls;
  int64_t done, total;
  double nats;
};

/* From 0, upward, of the same total. */
static void watch(void *context, int64_t done, int64_t total, double nats) {
  struct watched *watched = context;
  assert_true(watched->calls ? done > watched->done && total == watched->total : done == 0);
  *watched = (struct watched){watched->calls + 1, done, total, nats};
}

/* Who watches sees the way to the result, and the result is the same. */
static void watching_shows_the_way_and_changes_nothing(void **state) {
  (void)state;
  enum { LENGTH = 5, RADII = 8 };
  const gk_language_model_desc desc = plain_model(GK_CELL_LSTM);
  const gk_training_desc training = plain_training();
  gk_language_trainer *trainer = create(&desc, &training);
  gk_language_model *model = trainer->model;
  const gk_text text = make_text();
  gk_free_running_desc free_running = GK_FREE_RUNNING_DESC_INIT;
  free_running.length = LENGTH;
  gk_language_loss loss[2];
  gk_free_running_loss free_loss[2];
  double radii[2][RADII];
  struct watched watched[3] = {{0}};
  for (int i = 0; i < 2; ++i) {
    gk_language_model_watch(model, i ? watch : NULL, &watched[0]);
    expect_ok(gk_language_model_evaluate(model, &text, &loss[i]));
    gk_language_model_watch(model, i ? watch : NULL, &watched[1]);
    expect_ok(gk_language_model_evaluate_free_running(model, &text, &free_running, &free_loss[i], NULL));
    gk_language_model_watch(model, i ? watch : NULL, &watched[2]);
    expect_ok(gk_language_model_gradient_flow(model, &text, 9, 2, NULL, radii[i]));
  }
  assert_true(loss[0].nats == loss[1].nats && watched[0].nats == loss[1].nats);
  assert_true(free_loss[0].free_nats == free_loss[1].free_nats && watched[1].nats == free_loss[1].free_nats);
  assert_memory_equal(radii[0], radii[1], sizeof radii[0]);
  for (int i = 0; i < 2; ++i) {
    assert_true(watched[i].calls > 10);
    assert_int_equal(watched[i].done, text.bytes - 1);
    assert_int_equal(watched[i].total, text.bytes - 1);
  }
  assert_int_equal(watched[2].calls, RADII);
  assert_int_equal(watched[2].total, RADII);
  gk_language_trainer_destroy(trainer);
}

/* ---- What a trainer is, before it is ---- */

/* With a validation text of its own and code points too; the memory is that of the same trainer's buffers. */
static void size_is_the_trainers(void **state) {
  (void)state;
  const gk_text ascii = make_text();
  const gk_text points = {"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 \xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 ", 20};
  for (int i = 0; i < 4; ++i) {
    gk_language_model_desc desc = plain_model(i % 2 ? GK_CELL_GRU : GK_CELL_LSTM);
    gk_training_desc training = plain_training();
    desc.utf8 = i > 1;
    desc.network.weight_dropout = i % 2 ? 0.25f : 0;
    training.backward_time = i % 2 ? 20 : 0;
    gk_training_size size;
    gk_language_trainer *trainer;
    const gk_text *other = i > 1 ? &points : NULL;
    expect_ok(gk_language_trainer_size(&desc, &training, &ascii, other, &size));
    expect_ok(gk_language_trainer_create(&desc, &training, &ascii, other, &trainer));
    gk_language_progress progress;
    int64_t symbols;
    gk_language_trainer_progress(trainer, &progress);
    const gk_language_model *model = gk_language_trainer_model(trainer);
    gk_language_model_symbols(model, &symbols);
    assert_int_equal(size.training_characters, progress.training_characters);
    assert_int_equal(size.validation_characters, progress.validation_characters);
    assert_int_equal(size.steps_per_epoch, progress.steps_per_epoch);
    assert_int_equal(size.symbols, symbols);
    assert_int_equal(size.parameters, gk_language_model_parameter_count(model));
    struct gk_language_model_memory needed;
    expect_ok(gk_language_model_memory_needed(trainer->model, &needed));
    assert_int_equal(size.bytes,
                     needed.parameters + needed.packed_rnn + needed.packed_output + trainer->bytes +
                         sizeof(int32_t) *
                             (size_t)(progress.training_characters + progress.validation_characters));
    gk_language_trainer_destroy(trainer);
  }
}

/* ---- Gradient flow of a model ---- */

static void a_fresh_models_gradients_vanish_over_time(void **state) {
  (void)state;
  enum { TIME = 40, BATCH = 5, LAYERS = 2, GATES = 4 };
  const gk_language_model_desc model = plain_model(GK_CELL_LSTM);
  const gk_training_desc training = plain_training();
  gk_language_trainer *trainer = create(&model, &training);
  const gk_text text = make_text();
  double norms[LAYERS * TIME], radii[LAYERS * GATES];
  expect_ok(
      gk_language_model_gradient_flow(gk_language_trainer_model(trainer), &text, TIME, BATCH, norms, radii));
  for (int i = 0; i < LAYERS * TIME; ++i)
    assert_true(norms[i] > 0 && isfinite(norms[i]));
  for (int layer = 0; layer < LAYERS; ++layer) /* a fresh LSTM forgets */
    assert_true(norms[layer * TIME] < 1e-3 * norms[layer * TIME + TIME - 1]);
  for (int i = 0; i < LAYERS * GATES; ++i) /* uniform in +-1/sqrt(H): about 1/sqrt(3) */
    assert_true(radii[i] > 0.3 && radii[i] < 1);
  assert_int_equal(
      gk_language_model_gradient_flow(gk_language_trainer_model(trainer), &text, 5000, BATCH, norms, radii),
      GK_ERROR_ARGUMENT);
  assert_int_equal(
      gk_language_model_gradient_flow(gk_language_trainer_model(trainer), &text, 0, BATCH, norms, radii),
      GK_ERROR_ARGUMENT);
  gk_language_trainer_destroy(trainer);
}

/* ---- Refusals ---- */

static void wrong_options_are_refused(void **state) {
  (void)state;
  const gk_language_model_desc model = plain_model(GK_CELL_LSTM);
  const gk_training_desc good = plain_training();
  const gk_text text = make_text();
  gk_language_trainer *trainer;
  gk_training_size size;
#define EXPECT(field, value, word)                                                                           \
  do {                                                                                                       \
    gk_training_desc bad = good;                                                                             \
    bad.field = value;                                                                                       \
    assert_int_equal(gk_language_trainer_create(&model, &bad, &text, NULL, &trainer), GK_ERROR_ARGUMENT);    \
    assert_null(trainer);                                                                                    \
    assert_int_equal(gk_language_trainer_size(&model, &bad, &text, NULL, &size), GK_ERROR_ARGUMENT);         \
    if (!strstr(gk_last_error(), word))                                                                      \
      fail_msg("the message \"%s\" does not have %s", gk_last_error(), word);                                \
  } while (0)
  EXPECT(backward_time, 12, "backward_time is 12 and time is 13");
  EXPECT(label_smoothing, 1.5f, "label_smoothing");
  EXPECT(clip_value, -1, "clip_value");
  EXPECT(clip_value, 1e-300, "clip_value is 1e-300");
  EXPECT(clip_norm, 1e-300, "clip_norm is 1e-300");
  EXPECT(clip_tensor_norm, INFINITY, "clip_tensor_norm");
  EXPECT(init, (gk_init)7, "init is 7");
  EXPECT(forget_bias, NAN, "forget_bias is nan");
  EXPECT(decay_period, -5, "period is -5");
  EXPECT(decay_factor, INFINITY, "factor is inf");
  EXPECT(nesterov, true, "nesterov");
  EXPECT(weight_decay, -1, "weight_decay");
  EXPECT(warmup, -1, "warmup");
  EXPECT(decay, (gk_decay)9, "decay");
  EXPECT(optimizer, (gk_optimizer_kind)9, "kind is 9");
#undef EXPECT
}

int main(int argc, char **argv) {
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_option_resumes_exactly_elsewhere),
      cmocka_unit_test(every_option_learns),
      cmocka_unit_test(rates_are_applied),
      cmocka_unit_test(resumed_plateau_still_waits_for_its_first_loss),
      cmocka_unit_test(the_tied_gradient_is_the_sum_of_both),
      cmocka_unit_test(a_tied_file_has_the_embedding_once),
      cmocka_unit_test(free_running_loses_more_the_farther_it_goes),
      cmocka_unit_test(watching_shows_the_way_and_changes_nothing),
      cmocka_unit_test(size_is_the_trainers),
      cmocka_unit_test(a_fresh_models_gradients_vanish_over_time),
      cmocka_unit_test(wrong_options_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
