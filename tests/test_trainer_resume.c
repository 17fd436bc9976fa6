/* SPDX-License-Identifier: Apache-2.0
 *
 * A trainer in a file: what is resumed goes on as if unbroken, on other instruction sets and threads too, and
 * with its own text alone; the file says what it holds.
 * ctest labels: same-bits */
#include <math.h>

#include "tests/temporary_folder.h"
#include "tests/trainer_fixture.h"

static void expect_same_description(const gk_training_desc *a, const gk_training_desc *b) {
  for (const gk_training_option *option = gk_training_option_after(NULL); option;
       option = gk_training_option_after(option))
    if (memcmp((const char *)a + option->offset, (const char *)b + option->offset, option->bytes) != 0)
      fail_msg("%s is another one", option->field);
}

static void check_resume(const gk_language_model_desc *model, const gk_training_desc *training, int stop,
                         const char *what) {
  enum { STEPS = 31 };
  const gk_text text = make_text();
  const char *path = temporary_path("resume.state");
  gk_language_model_desc plan = GK_LANGUAGE_MODEL_DESC_INIT;
  gk_language_loss loss, resumed_loss;
  bool improved;
  gk_language_trainer *unbroken = create(model, training);
  run_steps(unbroken, stop);
  expect_ok(gk_language_trainer_validate(unbroken, &loss, &improved));
  expect_ok(gk_language_trainer_save(unbroken, path));
  run_steps(unbroken, STEPS - stop);
  for (int threads = 1; threads <= 2; ++threads) {
    plan.network.isa = threads == 1 ? GK_ISA_SCALAR : GK_ISA_AUTO;
    plan.network.threads = threads;
    gk_language_trainer *resumed;
    gk_language_progress progress;
    expect_ok(gk_language_trainer_resume(path, &plan, &text, NULL, &resumed));
    gk_language_trainer_progress(resumed, &progress);
    assert_int_equal(progress.step, stop);
    assert_int_equal(progress.best_step, stop);
    assert_memory_equal(&progress.best_loss, &loss.nats, sizeof loss.nats);
    expect_same_description(gk_language_trainer_description(resumed), training);
    run_steps(resumed, STEPS - stop);
    expect_same_weights(unbroken, resumed, what);
    expect_ok(gk_language_trainer_validate(unbroken, &loss, NULL));
    expect_ok(gk_language_trainer_validate(resumed, &resumed_loss, NULL));
    assert_memory_equal(&loss, &resumed_loss, sizeof loss);
    loss.nats = progress.best_loss;
    gk_language_trainer_destroy(resumed);
  }
  gk_language_trainer_destroy(unbroken);
}

static void resume_is_unbroken(void **state) {
  (void)state;
  gk_training_desc training = small_training();
  training.time = 40; /* an epoch of 17 steps, the last one short */
  for (int cell = 0; cell < gk_cell_count(); ++cell) {
    const gk_language_model_desc model = small_model((gk_cell)cell);
    check_resume(&model, &training, 5, gk_cell_name((gk_cell)cell));
  }
  const gk_language_model_desc model = small_model(GK_CELL_LSTM);
  static const int stops[] = {0, 1, 16, 17, 18, 30};
  for (size_t i = 0; i < sizeof stops / sizeof stops[0]; ++i)
    check_resume(&model, &training, stops[i], "another place");
  for (int kind = 0; kind <= GK_OPTIMIZER_ADAM; ++kind) {
    training.optimizer = (gk_optimizer_kind)kind;
    training.momentum = kind == GK_OPTIMIZER_SGD ? 0.9f : 0;
    training.init = (gk_init)kind;
    training.forget_bias = 0.1f * (float)kind;
    check_resume(&model, &training, 7, gk_optimizer_name(training.optimizer));
  }
}

static void resume_refuses_another_text_or_file(void **state) {
  (void)state;
  const gk_language_model_desc model = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  const char *path = temporary_path("refuse.state"), *weights = temporary_path("weights.safetensors");
  gk_text text = make_text();
  gk_language_trainer *trainer = create(&model, &training), *resumed;
  run_steps(trainer, 2);
  expect_ok(gk_language_trainer_save(trainer, path));
  expect_ok(gk_language_model_save(gk_language_trainer_model(trainer), weights));
  assert_int_equal(gk_language_trainer_resume(weights, NULL, &text, NULL, &resumed), GK_ERROR_FORMAT);
  assert_int_equal(gk_language_trainer_resume("/nowhere", NULL, &text, NULL, &resumed), GK_ERROR_IO);
  assert_int_equal(gk_language_trainer_resume(path, NULL, &text, &text, &resumed), GK_ERROR_ARGUMENT);
  --text.bytes;
  assert_int_equal(gk_language_trainer_resume(path, NULL, &text, NULL, &resumed), GK_ERROR_ARGUMENT);
  char lengths[128];
  snprintf(lengths, sizeof lengths, "not the one that the run in %s is trained on: %zu characters", path,
           text.bytes);
  assert_non_null(strstr(gk_last_error(), lengths));
  snprintf(lengths, sizeof lengths, ", and that one has %zu", text.bytes + 1);
  assert_non_null(strstr(gk_last_error(), lengths));
  assert_null(resumed);
  char *changed = malloc(text.bytes + 1);
  assert_non_null(changed);
  ++text.bytes;
  memcpy(changed, text.data, text.bytes);
  changed[3] = changed[3] == 'a' ? 'e' : 'a';
  text.data = changed;
  assert_int_equal(gk_language_trainer_resume(path, NULL, &text, NULL, &resumed), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "though as long"));
  changed[3] = '%';
  assert_int_equal(gk_language_trainer_resume(path, NULL, &text, NULL, &resumed), GK_ERROR_FORMAT);
  free(changed);
  gk_language_trainer_destroy(trainer);
}

/* Whoever could not keep the best model gets the next one as the best again. */
static void best_can_be_taken_back(void **state) {
  (void)state;
  const gk_language_model_desc model = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  gk_language_trainer *trainer = create(&model, &training);
  gk_language_loss loss;
  gk_language_progress progress;
  bool improved = false;
  run_steps(trainer, 2);
  expect_ok(gk_language_trainer_validate(trainer, &loss, &improved));
  assert_true(improved);
  expect_ok(gk_language_trainer_validate(trainer, &loss, &improved));
  assert_false(improved);
  expect_ok(gk_language_trainer_set_best(trainer, INFINITY, 0));
  expect_ok(gk_language_trainer_validate(trainer, &loss, &improved));
  assert_true(improved);
  assert_int_equal(gk_language_trainer_set_best(trainer, NAN, 0), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_language_trainer_set_best(trainer, 1, 3), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "step is 3, must be from 0 to 2"));
  gk_language_trainer_progress(trainer, &progress);
  assert_true(progress.best_loss == loss.nats && progress.best_step == 2);
  gk_language_trainer_destroy(trainer);
}

/* A file's description needs no tensors: it is the same where they are damaged, which a resume refuses. */
static void file_describes_itself(void **state) {
  (void)state;
  static const int64_t sizes[] = {12, 7};
  gk_language_model_desc model = small_model(GK_CELL_GRU);
  model.network.hidden_sizes = sizes;
  const gk_training_desc training = small_training();
  const char *path = temporary_path("about.state"), *weights = temporary_path("about");
  gk_language_trainer *trainer = create(&model, &training);
  gk_language_file about;
  run_steps(trainer, 3);
  expect_ok(gk_language_trainer_save(trainer, path));
  expect_ok(gk_language_file_describe(path, &about));
  assert_true(about.trainer && about.step == 3 && about.best_step == 0 && isinf(about.best_loss));
  gk_free(about.hidden_sizes);
  gk_language_loss loss;
  expect_ok(gk_language_trainer_validate(trainer, &loss, NULL));
  expect_ok(gk_language_trainer_save(trainer, path));
  expect_ok(gk_language_model_save(gk_language_trainer_model(trainer), weights));
  size_t bytes;
  char *content = read_file(path, &bytes);
  content[bytes - 1] ^= 1;
  write_file(path, content, bytes);
  free(content);
  expect_ok(gk_language_file_describe(path, &about));
  assert_int_equal(about.model.network.cell, GK_CELL_GRU);
  assert_int_equal(about.model.network.layers, 2);
  assert_memory_equal(about.model.network.hidden_sizes, sizes, sizeof sizes);
  assert_true(about.best_step == 3 && about.best_loss == loss.nats);
  gk_free(about.hidden_sizes);
  expect_ok(gk_language_file_describe(weights, &about));
  assert_false(about.trainer);
  gk_free(about.hidden_sizes);
  const gk_language_file before = about;
  assert_int_equal(gk_language_file_describe("/nowhere", &about), GK_ERROR_IO);
  assert_memory_equal(&about, &before, sizeof about);
  gk_language_trainer_destroy(trainer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(resume_is_unbroken),
      cmocka_unit_test(resume_refuses_another_text_or_file),
      cmocka_unit_test(best_can_be_taken_back),
      cmocka_unit_test(file_describes_itself),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
