/* SPDX-License-Identifier: Apache-2.0
 *
 * Truncated BPTT with k1 and k2: what a step's gradient goes back over, and what is read again. */
#include "tests/trainer_gradients.h"

static gk_language_model_desc plain_model(gk_cell cell) {
  gk_language_model_desc desc = small_model(cell);
  desc.network.input_size = desc.network.hidden_size; /* may be tied */
  desc.network.dropout = 0;
  return desc;
}

/* Weights stand still. */
static gk_training_desc still_training(void) {
  gk_training_desc desc = small_training();
  desc.optimizer = GK_OPTIMIZER_SGD;
  desc.decay = GK_DECAY_CONSTANT;
  desc.minimum_learning_rate = 0;
  desc.learning_rate = 1e-30;
  return desc;
}

/* With weights that stand still, losses of k1 characters each whose gradients go back over all of a span add
 * up to the gradient of the whole span: three steps of (k1 = 10, k2 = 30) are one of 30. */
static void gradients_of_a_span_add_up(void **state) {
  (void)state;
  for (int tied = 0; tied < 2; ++tied)
    for (int cell = 0; cell < gk_cell_count(); ++cell) {
      gk_language_model_desc model = plain_model((gk_cell)cell);
      gk_training_desc training = still_training();
      model.tied = tied;
      training.time = 30;
      gk_language_trainer *whole = create(&model, &training);
      run_steps(whole, 1);
      training.time = 10;
      training.backward_time = 30;
      gk_language_trainer *parts = create(&model, &training);
      const int64_t count = gk_language_model_parameter_count(whole->model);
      double *wanted = copy_gradients(whole), *sum = calloc((size_t)count, sizeof *sum);
      assert_non_null(sum);
      for (int i = 0; i < 3; ++i) {
        run_steps(parts, 1);
        double *part = copy_gradients(parts);
        for (int64_t j = 0; j < count; ++j)
          sum[j] += part[j] / 3;
        free(part);
      }
      const double length = norm_of(wanted, count);
      for (int64_t j = 0; j < count; ++j)
        sum[j] -= wanted[j];
      if (!(norm_of(sum, count) <= 2e-6 * length))
        fail_msg("%s, tied %d: the sum is off by %g of the gradient", gk_cell_name((gk_cell)cell), tied,
                 norm_of(sum, count) / length);
      free(wanted);
      free(sum);
      gk_language_trainer_destroy(whole);
      gk_language_trainer_destroy(parts);
    }
}

/* k2 reaches across steps: over whole epochs the carried state is where it should be, so that with weights
 * that stand still the losses are those of plain steps, for every k2 from k1 to more than the text. */
static void losses_do_not_depend_on_k2(void **state) {
  (void)state;
  enum { MOST = 200 };
  static const int64_t k2[] = {0, 13, 14, 25, 26, 30, 200, 100000};
  double wanted[MOST];
  for (size_t i = 0; i < sizeof k2 / sizeof *k2; ++i) {
    gk_language_model_desc model = plain_model(GK_CELL_LSTM);
    gk_training_desc training = still_training();
    training.backward_time = k2[i];
    gk_language_trainer *trainer = create(&model, &training);
    gk_language_progress progress;
    gk_language_trainer_progress(trainer, &progress);
    const int64_t steps = progress.steps_per_epoch + 3; /* the next epoch starts from zeros again */
    assert_in_range(steps, 10, MOST - 1);
    for (int64_t step = 0; step < steps; ++step) {
      gk_training_step report;
      expect_ok(gk_language_trainer_step(trainer, &report));
      if (i == 0)
        wanted[step] = report.loss;
      else if (report.loss != wanted[step])
        fail_msg("k2 %d, step %d: loss %.17g, plain %.17g", (int)k2[i], (int)step + 1, report.loss,
                 wanted[step]);
    }
    gk_language_trainer_destroy(trainer);
  }
}

/* The two calls that read the steps of k2 > k1 again draw the masks that one call draws. */
static void parts_of_k2_have_the_masks_of_one_call(void **state) {
  (void)state;
  gk_language_model_desc model = plain_model(GK_CELL_LSTM);
  gk_training_desc training = still_training();
  model.network.input_dropout = model.network.recurrent_dropout = 0.3f;
  model.network.zoneout_h = 0.2f;
  training.time = 10;
  training.backward_time = 30;
  gk_language_trainer *trainer = create(&model, &training);
  run_steps(trainer, 3); /* the next one reads steps 10 to 40, its parts meet at 20 */
  gk_rnn_memory need;
  expect_ok(gk_rnn_memory_needed(trainer->model->rnn, 30, training.batch, &need));
  const size_t state_bytes = (size_t)trainer->h_count * sizeof(float);
  float *h0 = malloc(state_bytes), *c0 = malloc(state_bytes);
  const int64_t values = 30 * training.batch * gk_rnn_output_size(trainer->model->rnn);
  float *y = malloc((size_t)values * sizeof *y);
  void *reserve, *workspace;
  expect_ok(gk_allocate(need.reserve_bytes, &reserve));
  expect_ok(gk_allocate(need.forward_workspace_bytes, &workspace));
  assert_true(h0 && c0 && y && trainer->c_count == trainer->h_count);
  memcpy(h0, trainer->h[trainer->step % 2], state_bytes);
  memcpy(c0, trainer->c[trainer->step % 2], state_bytes);
  run_steps(trainer, 1);
  gk_rnn_forward_args whole = GK_RNN_FORWARD_ARGS_INIT;
  whole.time = 30;
  whole.batch = training.batch;
  whole.tokens = trainer->inputs;
  whole.h0 = h0;
  whole.c0 = c0;
  whole.parameters = trainer->model->parameters;
  whole.packed = trainer->model->packed_rnn;
  whole.y = y;
  whole.random = (gk_random_key){.seed = training.seed, .step = 4};
  whole.reserve = reserve;
  whole.workspace = workspace;
  expect_ok(gk_rnn_forward(trainer->model->rnn, &whole));
  for (int64_t i = 0; i < values; ++i)
    if (y[i] != trainer->y[i])
      fail_msg("value %d of y is %.9g, of one call %.9g", (int)i, (double)trainer->y[i], (double)y[i]);
  gk_free(reserve);
  gk_free(workspace);
  free(h0);
  free(c0);
  free(y);
  gk_language_trainer_destroy(trainer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_of_a_span_add_up),
      cmocka_unit_test(losses_do_not_depend_on_k2),
      cmocka_unit_test(parts_of_k2_have_the_masks_of_one_call),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
