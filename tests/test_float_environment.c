/* SPDX-License-Identifier: Apache-2.0
 *
 * ctest labels: edges
 *
 * What is not a network's pass (test_network_faults has those) under the floating-point environments that a
 * caller may have: the same bits, and the environment as it was. */
#include <fenv.h>
#include <math.h>

#include "tests/float_controls.h"
#include "tests/temporary_folder.h"
#include "tests/trainer_fixture.h"

/* By control words, and as C says it. */
static const int roundings[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
enum { ROUNDINGS = 3, ENVIRONMENTS = CONTROLS + ROUNDINGS };

static void set_environment(int environment) {
  if (environment < CONTROLS)
    write_control(odd_controls[environment]);
  else
    fesetround(roundings[environment - CONTROLS]);
}

/* `calculate` fills a zeroed result of `bytes` bytes without arithmetic of its own; a status that is not
 * GK_OK ends it. */
static void expect_same_bits(const char *what, size_t bytes, gk_status (*calculate)(void *result)) {
  unsigned char *wanted = calloc(1, bytes), *got = calloc(1, bytes);
  assert_true(wanted && got);
  expect_ok(calculate(wanted));
  const control_word usual = read_control();
  for (int environment = 0; environment < ENVIRONMENTS; environment++) {
    memset(got, 0, bytes);
    set_environment(environment);
    const control_word before = read_control();
    const int rounding = fegetround();
    const gk_status status = calculate(got);
    const control_word after = read_control();
    const int rounding_after = fegetround();
    fesetround(FE_TONEAREST);
    write_control(usual);
    expect_ok(status);
    if (after != before || rounding_after != rounding)
      fail_msg("%s: control word 0x%lx of environment %d is 0x%lx after the call", what,
               (unsigned long)before, environment, (unsigned long)after);
    for (size_t i = 0; i < bytes; i++)
      if (got[i] != wanted[i])
        fail_msg("%s: environment %d (0x%lx): byte %zu of %zu differs", what, environment,
                 (unsigned long)before, i, bytes);
  }
  free(wanted);
  free(got);
}

/* ---- Trainer and file ---- */

enum { STEPS = 5, MOST_WEIGHTS = 16384 };

struct training {
  gk_training_step steps[STEPS];
  gk_language_loss validated;
  float weights[MOST_WEIGHTS], resumed[MOST_WEIGHTS];
};

static void copy_weights(const gk_language_trainer *trainer, float weights[MOST_WEIGHTS]) {
  const gk_language_model *model = gk_language_trainer_model(trainer);
  const int64_t count = gk_language_model_parameter_count(model);
  assert_true(count <= MOST_WEIGHTS);
  memcpy(weights, gk_language_model_parameters(model), (size_t)count * sizeof *weights);
}

static gk_status step_once(gk_language_trainer *trainer, gk_training_step *report) {
  const gk_status status = gk_language_trainer_step(trainer, report);
  memset(report->seconds, 0, sizeof report->seconds);
  return status;
}

static gk_status resume_and_step(const gk_text *text, float weights[MOST_WEIGHTS]) {
  gk_language_trainer *trainer;
  gk_training_step report;
  gk_status status = gk_language_trainer_resume(temporary_path("model"), NULL, text, NULL, &trainer);
  if (status)
    return status;
  status = step_once(trainer, &report);
  copy_weights(trainer, weights);
  gk_language_trainer_destroy(trainer);
  return status;
}

static gk_status train_save_and_resume(void *result) {
  struct training *r = result;
  const gk_text text = make_text();
  gk_language_model_desc model = small_model(GK_CELL_LSTM);
  gk_training_desc training = small_training();
  gk_language_trainer *trainer;
  model.network.options.cell_clip = 2.7f;
  training.warmup = 7;
  training.label_smoothing = 0.1f;
  training.clip_tensor_norm = 0.3;
  gk_status status = gk_language_trainer_create(&model, &training, &text, NULL, &trainer);
  if (status)
    return status;
  for (int i = 0; i < STEPS && !status; i++)
    status = step_once(trainer, &r->steps[i]);
  if (!status)
    status = gk_language_trainer_validate(trainer, &r->validated, NULL);
  copy_weights(trainer, r->weights);
  if (!status)
    status = gk_language_trainer_save(trainer, temporary_path("model"));
  gk_language_trainer_destroy(trainer);
  return status ? status : resume_and_step(&text, r->resumed);
}

static void a_training_and_its_file_are_the_same_bits(void **state) {
  (void)state;
  expect_same_bits("training", sizeof(struct training), train_save_and_resume);
}

/* ---- What is asked of a model ---- */

enum { CHARACTERS = 300, DISTANCES = 9, TIME = 12, LAYERS = 2, GATES = 4 };

struct answers {
  char sampled[2][CHARACTERS];
  gk_language_loss loss;
  gk_free_running_loss free_running;
  double nats_at[DISTANCES], told[64], norms[LAYERS * TIME], radii[LAYERS * GATES];
  int told_count;
};

static gk_status sample(const gk_language_model *model, int64_t top_k, char text[CHARACTERS]) {
  gk_sampler_desc desc = GK_SAMPLER_DESC_INIT;
  gk_sampler *sampler;
  desc.temperature = 0.7f;
  desc.top_k = top_k;
  gk_status status = gk_sampler_create(model, &desc, &sampler);
  if (status)
    return status;
  for (int i = 0; i < CHARACTERS && !status; i++) {
    char bytes[4];
    int count;
    status = gk_sampler_next(sampler, bytes, &count);
    text[i] = bytes[0];
  }
  gk_sampler_destroy(sampler);
  return status;
}

/* A watcher is the caller's own code: in the caller's environment. */
static control_word callers_word;

static void remember_nats(void *context, int64_t done, int64_t total, double nats) {
  struct answers *r = context;
  (void)done, (void)total;
  if (read_control() != callers_word)
    r->told_count = -1000;
  if (r->told_count >= 0 && r->told_count < 64)
    r->told[r->told_count++] = nats;
}

static gk_status ask_the_model(void *result) {
  struct answers *r = result;
  const gk_text text = make_text();
  gk_language_model *model;
  gk_status status = gk_language_model_load(temporary_path("asked"), NULL, &model);
  if (status)
    return status;
  gk_free_running_desc running = GK_FREE_RUNNING_DESC_INIT;
  running.length = DISTANCES;
  callers_word = read_control();
  gk_language_model_watch(model, remember_nats, r);
  for (int i = 0; i < 2 && !status; i++)
    status = sample(model, i ? 5 : 0, r->sampled[i]);
  if (!status)
    status = gk_language_model_evaluate(model, &text, &r->loss);
  if (!status)
    status = gk_language_model_evaluate_free_running(model, &text, &running, &r->free_running, r->nats_at);
  if (!status)
    status = gk_language_model_gradient_flow(model, &text, TIME, 7, r->norms, r->radii);
  gk_language_model_destroy(model);
  return status;
}

static void a_model_answers_the_same_bits_and_its_watcher_keeps_its_environment(void **state) {
  (void)state;
  struct answers answers = {.told_count = 0};
  expect_ok(ask_the_model(&answers));
  assert_true(answers.told_count > 2);
  expect_same_bits("sampler, evaluation, gradient flow", sizeof(struct answers), ask_the_model);
}

static int train_a_model(void **state) {
  const gk_language_model_desc model = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  (void)state;
  gk_language_trainer *trainer = create(&model, &training);
  run_steps(trainer, 40);
  expect_ok(gk_language_model_save(gk_language_trainer_model(trainer), temporary_path("asked")));
  gk_language_trainer_destroy(trainer);
  return 0;
}

/* ---- Single numbers ---- */

enum { RATES = 40, MEASURED = 12 };

struct rates {
  double rate[GK_DECAY_PLATEAU + 1][RATES];
  gk_learning_rate_state plateau;
  float teacher[GK_TEACHER_INVERSE_SIGMOID + 1][RATES], clip[RATES];
};

static gk_status take_rates(void *result) {
  struct rates *r = result;
  gk_learning_rate_desc desc = GK_LEARNING_RATE_DESC_INIT;
  static const double k[] = {0.97, 0.93, 7};
  desc.warmup = 7;
  desc.steps = RATES;
  desc.period = 3;
  desc.patience = 1;
  desc.factor = 0.7;
  for (int decay = 0; decay <= GK_DECAY_PLATEAU; decay++) {
    desc.decay = (gk_decay)decay;
    for (int i = 0; i < RATES; i++) {
      const gk_learning_rate_state state = {.reduced = i};
      r->rate[decay][i] = gk_learning_rate(&desc, &state, i + 1);
    }
  }
  desc.threshold = 0.1;
  static const double losses[MEASURED] = {3, 2.7, 2.43, 2.2, 1.98, 1.1, 0.99, 0.9, 0.81, 0.7, 0.63, 0.6};
  for (int i = 0; i < MEASURED; i++)
    gk_learning_rate_measure(&desc, &r->plateau, losses[i]);
  for (int teacher = 0; teacher <= GK_TEACHER_INVERSE_SIGMOID; teacher++)
    for (int i = 0; i < RATES; i++)
      r->teacher[teacher][i] = gk_teacher_probability((gk_teacher)teacher, k[teacher], 0.013, 0.01, i);
  for (int i = 0; i < RATES; i++)
    r->clip[i] = gk_clip_scale(i, 1.3);
  return GK_OK;
}

static void rates_and_probabilities_are_the_same_bits(void **state) {
  (void)state;
  expect_same_bits("rates", sizeof(struct rates), take_rates);
}

/* ---- Networks: what is not a pass ---- */

enum { HIDDEN = 9, PROJECTED = 5, LOSS_ROWS = 300, COLUMNS = 3 };

struct network_numbers {
  double radii[GATES], loss, operations;
  float mask[GK_MASK_COUNT][HIDDEN];
};

static gk_status take_network_numbers(void *result) {
  struct network_numbers *r = result;
  static float parameters[2000], x[LOSS_ROWS * COLUMNS];
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  const gk_init_desc init = GK_INIT_DESC_INIT;
  const gk_random_key key = {.seed = 1, .step = 2, .first_sample = 3};
  static const float zeros[LOSS_ROWS * COLUMNS];
  gk_loss_args loss = GK_LOSS_ARGS_INIT;
  gk_rnn *rnn;
  desc.input_size = desc.hidden_size = HIDDEN;
  desc.projection_size = PROJECTED;
  desc.input_dropout = desc.recurrent_dropout = desc.weight_dropout = desc.zoneout_h = 0.3f;
  gk_status status = gk_rnn_create(&desc, &rnn);
  if (status)
    return status;
  assert_true(gk_rnn_parameter_count(rnn) <= 2000);
  status = gk_rnn_init(rnn, &init, parameters);
  if (!status)
    status = gk_rnn_spectral_radii(rnn, parameters, 0, 0, r->radii);
  for (int mask = 0; mask < GK_MASK_COUNT && !status; mask++)
    status = gk_rnn_mask(rnn, (gk_mask)mask, &key, 0, 0, 0, 0, r->mask[mask]);
  r->operations = gk_rnn_training_flop(rnn, (INT64_C(1) << 50) + 1, 0);
  gk_rnn_destroy(rnn);
  for (int i = 0; i < LOSS_ROWS * COLUMNS; i++)
    x[i] = gk_uniform(1, 0, (uint64_t)i);
  loss.kind = GK_LOSS_HUBER;
  loss.rows = LOSS_ROWS;
  loss.columns = COLUMNS;
  loss.x = x;
  loss.values = zeros;
  loss.loss = &r->loss;
  return status ? status : gk_loss_gradient(&loss);
}

static void radii_masks_and_losses_are_the_same_bits(void **state) {
  (void)state;
  expect_same_bits("radii, masks, losses", sizeof(struct network_numbers), take_network_numbers);
}

/* ---- Arguments that some environments take for 0 ---- */

enum { UNITS = 7, INPUTS = 5, STEPS_OF_PASS = 4, SAMPLES = 3, MOST_PARAMETERS = 1024, MOST_OPTIONS = 40 };

struct pass {
  float y[STEPS_OF_PASS * SAMPLES * UNITS], dx[STEPS_OF_PASS * SAMPLES * INPUTS], gradients[MOST_PARAMETERS];
};

static void fill_uniform(uint64_t stream, int64_t count, float *x) {
  for (int64_t i = 0; i < count; i++)
    x[i] = gk_uniform(7, stream, (uint64_t)i) - 0.5f;
}

static gk_status train_once(const gk_rnn *rnn, struct pass *result) {
  enum { BOTH = GK_PACK_FORWARD | GK_PACK_BACKWARD, BYTES = 1 << 21 };
  static _Alignas(64) unsigned char packed[BYTES], reserve[BYTES], forward_space[BYTES],
      backward_space[BYTES];
  static float parameters[MOST_PARAMETERS], x[STEPS_OF_PASS * SAMPLES * INPUTS];
  const gk_random_key key = {.seed = 1, .step = 2, .first_sample = 3};
  gk_rnn_memory need;
  size_t bytes;
  assert_true(gk_rnn_parameter_count(rnn) <= MOST_PARAMETERS);
  fill_uniform(0, gk_rnn_parameter_count(rnn), parameters);
  fill_uniform(1, STEPS_OF_PASS * SAMPLES * INPUTS, x);
  expect_ok(gk_rnn_packed_bytes(rnn, BOTH, &bytes));
  expect_ok(gk_rnn_memory_needed(rnn, STEPS_OF_PASS, SAMPLES, &need));
  assert_true(bytes <= BYTES && need.reserve_bytes <= BYTES && need.forward_workspace_bytes <= BYTES &&
              need.backward_workspace_bytes <= BYTES);
  gk_status status = gk_rnn_pack_dropped(rnn, BOTH, &key, parameters, packed);
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  forward.time = backward.time = STEPS_OF_PASS;
  forward.batch = backward.batch = SAMPLES;
  forward.x = backward.x = x;
  forward.packed = backward.packed = packed;
  forward.random = backward.random = key;
  forward.reserve = backward.reserve = reserve;
  forward.workspace = forward_space;
  backward.workspace = backward_space;
  forward.y = result->y;
  backward.dy = result->y;
  backward.dx = result->dx;
  backward.gradients = result->gradients;
  if (!status)
    status = gk_rnn_forward(rnn, &forward);
  return status ? status : gk_rnn_backward(rnn, &backward);
}

/* Each option of a network in turn that takes this value. */
static gk_status train_with_tiny_options(void *result) {
  struct pass *pass = result;
  gk_rnn_desc lone = GK_RNN_DESC_INIT;
  lone.dropout = 1e-40f; /* which is off: of one layer no other would do */
  const gk_status checked = gk_rnn_dropout_check(&lone);
  if (checked)
    return checked;
  for (int option = 0; option < gk_rnn_option_count(); option++) {
    static const char *const values[] = {"1e-40", "elu(1e-40)"};
    for (int v = 0; v < 2; v++) {
      gk_rnn_desc desc = GK_RNN_DESC_INIT;
      gk_rnn *rnn;
      desc.input_size = INPUTS;
      desc.hidden_size = UNITS;
      desc.layers = 2;
      desc.threads = 2;
      if (gk_rnn_option_set(&desc, gk_rnn_option_name(option), values[v]) || gk_rnn_create(&desc, &rnn))
        continue;
      const gk_status status = train_once(rnn, &pass[option]);
      gk_rnn_destroy(rnn);
      if (status)
        return status;
    }
  }
  return GK_OK;
}

static gk_status update_and_draw(void *result) {
  float *at = result;
  for (int kind = 0; kind < gk_optimizer_count(); kind++) {
    enum { COUNT = 20 };
    gk_optimizer_desc desc;
    float gradients[COUNT], state[2 * COUNT] = {0};
    gk_status status = gk_optimizer_defaults((gk_optimizer_kind)kind, &desc);
    if (kind == GK_OPTIMIZER_SGD) {
      desc.momentum = 1e-40f;
      desc.nesterov = true;
    }
    fill_uniform(2, COUNT, at);
    fill_uniform(3, COUNT, gradients);
    for (int step = 1; step <= 3 && !status; step++)
      status = gk_optimizer_step(&desc, step, 0.01 / step, 0.7f, COUNT, at, gradients, state);
    if (status)
      return status;
    at += COUNT;
  }
  const float logits[] = {1, 2, 3, 3};
  return gk_softmax(GK_ISA_AUTO, 4, 1e-40f, logits, at);
}

static void tiny_arguments_count_the_same(void **state) {
  (void)state;
  assert_true(gk_rnn_option_count() <= MOST_OPTIONS);
  expect_same_bits("a network's options", MOST_OPTIONS * sizeof(struct pass), train_with_tiny_options);
  expect_same_bits("optimizers, softmax", 200 * sizeof(float), update_and_draw);
}

/* ---- Text ---- */

struct texts {
  float clip[6];
  char text[6][32];
};

static gk_status read_and_write_options(void *result) {
  static const char *const values[] = {"0.1", "0.2", "0.3", "1.7", "2.6", "0.70001"};
  struct texts *r = result;
  gk_status status = GK_OK;
  for (int i = 0; i < 6 && !status; i++) {
    gk_rnn_desc desc = GK_RNN_DESC_INIT;
    status = gk_rnn_option_set(&desc, "cell-clip", values[i]);
    if (!status)
      status = gk_rnn_option_get(&desc, "cell-clip", r->text[i], sizeof r->text[i]);
    r->clip[i] = desc.options.cell_clip;
  }
  return status;
}

static void options_are_the_same_text_and_numbers(void **state) {
  (void)state;
  expect_same_bits("options", sizeof(struct texts), read_and_write_options);
}

int main(int argc, char **argv) {
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_training_and_its_file_are_the_same_bits),
      cmocka_unit_test(a_model_answers_the_same_bits_and_its_watcher_keeps_its_environment),
      cmocka_unit_test(rates_and_probabilities_are_the_same_bits),
      cmocka_unit_test(radii_masks_and_losses_are_the_same_bits),
      cmocka_unit_test(tiny_arguments_count_the_same),
      cmocka_unit_test(options_are_the_same_text_and_numbers),
  };
  return cmocka_run_group_tests(tests, train_a_model, NULL);
}
