/* SPDX-License-Identifier: Apache-2.0
 *
 * No public function crashes on a pointer that is missing: with a status it names the argument, without one
 * it gives nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/temporary_folder.h"
#include "tests/trainer_fixture.h"

enum { MOST_POINTERS = 8, FLOATS = 4096 };

struct pointer {
  const char *name;
  const void *fits;
};

struct call {
  const char *function;
  gk_status (*with)(void *const *p);
  struct pointer pointers[MOST_POINTERS];
};

#define CALL(function, arguments, ...)                                                                       \
  static gk_status with_##function(void *const *p) {                                                         \
    return function arguments;                                                                               \
  }
#include "tests/null_arguments.def"
#undef CALL

/* ---- What fits ---- */

static float floats[FLOATS];
static char bytes[1 << 20], output_packed[1 << 16], bridge_packed[1 << 16];
static gk_rnn_desc rnn_desc = GK_RNN_DESC_INIT;
static gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
static gk_decoder_desc decoder_desc = GK_DECODER_DESC_INIT;
static gk_rnn *rnn;
static gk_output *output, *tied;
static gk_decoder *decoder;
static gk_bridge *bridge;
static gk_language_trainer *trainer;
static gk_sampler *sampler;
static gk_safetensors *file;

static void open_networks(void) {
  rnn_desc.input_size = rnn_desc.hidden_size = output_desc.input_size = 4;
  output_desc.output_size = 5;
  expect_ok(gk_rnn_create(&rnn_desc, &rnn));
  expect_ok(gk_output_create(&output_desc, &output));
  expect_ok(gk_output_pack(output, GK_PACK_FORWARD, floats, output_packed));
  gk_output_desc tied_desc = output_desc;
  tied_desc.tied = true;
  expect_ok(gk_output_create(&tied_desc, &tied));
  decoder_desc.rnn.hidden_size = 4;
  decoder_desc.feedback = GK_FEEDBACK_TOKEN;
  decoder_desc.vocabulary = 5;
  decoder_desc.embedding_size = 3;
  decoder_desc.output = output;
  expect_ok(gk_decoder_create(&decoder_desc, &decoder));
  expect_ok(gk_bridge_create(GK_BRIDGE_LINEAR, rnn, rnn, &bridge));
  expect_ok(gk_bridge_pack(bridge, GK_PACK_FORWARD, floats, bridge_packed));
}

static int open_all(void **state) {
  (void)state;
  open_networks();
  const gk_language_model_desc model = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  trainer = create(&model, &training);
  const gk_sampler_desc sampling = GK_SAMPLER_DESC_INIT;
  expect_ok(gk_sampler_create(gk_language_trainer_model(trainer), &sampling, &sampler));
  const gk_file_tensor one = {.name = "x", .rank = 1, .shape = {1}, .data = floats};
  const char *path = temporary_path("x.safetensors");
  expect_ok(gk_safetensors_save(path, 1, &one, 0, NULL));
  expect_ok(gk_safetensors_open(path, &file));
  return 0;
}

static int close_all(void **state) {
  (void)state;
  gk_safetensors_close(file);
  gk_sampler_destroy(sampler);
  gk_language_trainer_destroy(trainer);
  gk_bridge_destroy(bridge);
  gk_decoder_destroy(decoder);
  gk_output_destroy(tied);
  gk_output_destroy(output);
  gk_rnn_destroy(rnn);
  return 0;
}

/* ---- Tests ---- */

/* The other pointers fit: it is this one that is refused. */
static void expect_named(const struct call *call, int missing) {
  void *p[MOST_POINTERS] = {NULL};
  char wanted[64];
  for (int i = 0; i < MOST_POINTERS && i != missing; i++)
    memcpy(&p[i], &call->pointers[i].fits, sizeof p[i]);
  for (int i = missing + 1; i < MOST_POINTERS; i++)
    memcpy(&p[i], &call->pointers[i].fits, sizeof p[i]);
  snprintf(wanted, sizeof wanted, "%s is NULL", call->pointers[missing].name);
  print_message("%s: %s\n", call->function, wanted); /* found above a crash */
  assert_int_equal(call->with(p), GK_ERROR_ARGUMENT);
  if (!strstr(gk_last_error(), wanted))
    fail_msg("%s: \"%s\" does not say \"%s\"", call->function, gk_last_error(), wanted);
}

static void every_pointer_that_is_missing_is_named(void **state) {
  (void)state;
  void *memory, *made = NULL;
  gk_isa isa;
  int number;
  int64_t count = 4;
  size_t size;
  double doubles[8];
  char text[8];
  float *arrays[] = {floats};
  gk_tensor tensor;
  gk_rnn_state rnn_state;
  gk_rnn_memory rnn_memory;
  const gk_random_key key = {0};
  const gk_init_desc init = GK_INIT_DESC_INIT;
  gk_rnn_plan_info info = GK_RNN_PLAN_INFO_INIT;
  const gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  const gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  const gk_rnn_step_args step = GK_RNN_STEP_ARGS_INIT;
  const gk_loss_args loss = GK_LOSS_ARGS_INIT;
  gk_pool_desc pool = GK_POOL_DESC_INIT;
  pool.width = 4;
  const gk_output_loss_args output_loss = GK_OUTPUT_LOSS_ARGS_INIT;
  const gk_decoder_forward_args decoder_forward = GK_DECODER_FORWARD_ARGS_INIT;
  const gk_decoder_backward_args decoder_backward = GK_DECODER_BACKWARD_ARGS_INIT;
  const gk_search_args search = GK_SEARCH_ARGS_INIT;
  const gk_bridge_backward_args bridge_backward = GK_BRIDGE_BACKWARD_ARGS_INIT;
  gk_optimizer_desc optimizer = GK_OPTIMIZER_DESC_INIT;
  const gk_optimizer_part part = {4, floats, floats, floats, 1};
  const gk_learning_rate_desc rate = GK_LEARNING_RATE_DESC_INIT;
  gk_file_tensor file_tensor;
  const gk_file_metadata metadata = {"key", "value"};
  const gk_language_model *model = gk_language_trainer_model(trainer);
  const gk_language_model_desc model_desc = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  const gk_text training_text = make_text();
  gk_training_size training_size;
  gk_known_text known_text;
  gk_language_loss language_loss;
  const gk_free_running_desc free_running = GK_FREE_RUNNING_DESC_INIT;
  gk_free_running_loss free_running_loss;
  const gk_sampler_desc sampler_desc = GK_SAMPLER_DESC_INIT;
  gk_training_step report;
  const struct call calls[] = {
#define CALL(function, arguments, ...) {#function, with_##function, {__VA_ARGS__}},
#include "tests/null_arguments.def"
#undef CALL
  };
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    for (int k = 0; k < MOST_POINTERS && calls[i].pointers[k].name; k++)
      expect_named(&calls[i], k);
}

static void without_a_status_an_object_that_is_missing_gives_nothing(void **state) {
  (void)state;
  int64_t count = 9;
  assert_null(gk_rnn_description(NULL));
  assert_int_equal(gk_rnn_gates(NULL) + gk_rnn_tensor_count(NULL), 0);
  assert_int_equal(gk_rnn_hidden_values(NULL) + gk_rnn_cell_values(NULL), 0);
  assert_int_equal(gk_rnn_output_size(NULL) + gk_rnn_parameter_count(NULL), 0);
  assert_int_equal(gk_output_tensor_count(NULL) + gk_output_parameter_count(NULL), 0);
  assert_null(gk_decoder_rnn(NULL));
  assert_int_equal(gk_decoder_size(NULL) + gk_decoder_tensor_count(NULL), 0);
  assert_int_equal(gk_decoder_parameter_count(NULL), 0);
  assert_int_equal(gk_bridge_tensor_count(NULL) + gk_bridge_parameter_count(NULL), 0);
  assert_int_equal(gk_safetensors_count(NULL), 0);
  assert_int_equal(gk_safetensors_find(NULL, "x"), -1);
  assert_int_equal(gk_safetensors_find(file, NULL), -1);
  assert_null(gk_safetensors_metadata(NULL, "x"));
  assert_null(gk_safetensors_metadata(file, NULL));
  assert_null(gk_language_model_description(NULL));
  assert_null(gk_language_model_symbols(NULL, &count));
  assert_int_equal(count, 0);
  assert_null(gk_language_model_symbols(NULL, NULL));
  assert_non_null(gk_language_model_symbols(gk_language_trainer_model(trainer), NULL));
  assert_int_equal(gk_language_model_parameter_count(NULL), 0);
  assert_null(gk_language_model_parameters(NULL));
  gk_language_model_watch(NULL, NULL, NULL);
  assert_null(gk_language_trainer_description(NULL));
  assert_null(gk_language_trainer_model(NULL));
}

static void without_a_trainer_nothing_is_told_of_it(void **state) {
  (void)state;
  gk_language_progress progress = {.step = 9};
  gk_learning_rate_desc rate = {.steps = 9};
  gk_language_trainer_progress(NULL, &progress);
  gk_language_trainer_progress(trainer, NULL);
  assert_int_equal(progress.step, 9);
  gk_language_trainer_learning_rate(NULL, &rate);
  gk_language_trainer_learning_rate(trainer, NULL);
  assert_int_equal(rate.steps, 9);
}

int main(int argc, char **argv) {
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_pointer_that_is_missing_is_named),
      cmocka_unit_test(without_a_status_an_object_that_is_missing_gives_nothing),
      cmocka_unit_test(without_a_trainer_nothing_is_told_of_it),
  };
  return cmocka_run_group_tests(tests, open_all, close_all);
}
