/* SPDX-License-Identifier: Apache-2.0
 *
 * The program as people use it (GATEKERN_PROGRAM): training, evaluating, inspecting, sampling. */
#include <math.h>
#include <time.h>

#include <jansson.h>

#include "tests/command_line_fixture.h"

/* ---- Training, evaluating, sampling ---- */

/* The number of lines of a log, each of which must be an object with the right step. */
static int check_log(const char *name, int validations) {
  size_t bytes;
  char *log = read_file(temporary_path(name), &bytes), *rest = log;
  int lines = 0, validated = 0;
  for (char *feed; (feed = strchr(rest, '\n')); rest = feed + 1) {
    json_error_t error;
    json_t *object = json_loadb(rest, (size_t)(feed - rest), JSON_REJECT_DUPLICATES, &error);
    if (!object)
      fail_msg("line %d of the log: %s", lines + 1, error.text);
    assert_int_equal(json_integer_value(json_object_get(object, "step")), ++lines);
    static const char *const numbers[] = {
        "epoch",         "loss",       "bits_per_character",    "learning_rate",
        "gradient_norm", "seconds",    "characters_per_second", "gflops",
        "clip_scale",    "characters", "percent_of_peak"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; ++i)
      if (!(json_number_value(json_object_get(object, numbers[i])) > 0))
        fail_msg("line %d of the log: %s is missing or not above 0", lines, numbers[i]);
    validated += json_object_get(object, "validation_loss") != NULL;
    json_decref(object);
  }
  assert_int_equal(*rest, 0);
  assert_int_equal(validated, validations);
  free(log);
  return lines;
}

/* Number `index` of the array `key`. */
static double number_at(const json_t *value, const char *key, size_t index) {
  const json_t *array = json_object_get(value, key);
  assert_true(json_array_size(array) > index);
  return json_number_value(json_array_get(array, index));
}

static void inspect_shows_gradients_that_follow_the_radius(void **state) {
  (void)state;
  struct result result = run_line("inspect --hidden 24 --time 40 --batch 3 --gain 1.25 --json");
  assert_int_equal(result.exit_code, 0);
  json_t *root = json_loads(result.out, 0, NULL);
  const json_t *networks = json_object_get(root, "networks"), *linear = json_array_get(networks, 0);
  assert_true(json_array_size(networks) > 4);
  assert_string_equal(json_string_value(json_object_get(linear, "name")), "rnn, linear");
  assert_true(fabs(number_at(linear, "spectral_radius", 0) - 1.25) < 1e-5);
  for (size_t i = 0; i < json_array_size(networks); ++i)
    assert_int_equal(json_array_size(json_object_get(json_array_get(networks, i), "gates")),
                     json_array_size(json_object_get(json_array_get(networks, i), "spectral_radius")));
  for (size_t t = 0; t < 40; ++t) {
    const double wanted = pow(1.25, 39.0 - (double)t) * number_at(linear, "norms", 39);
    assert_true(fabs(number_at(linear, "norms", t) / wanted - 1) < 1e-5);
  }
  json_decref(root);
  free_result(&result);
  const char *const table[] = {
      "distance", "rnn, linear", "lstm", "spectral radius", " i         f         g         o\nlstm", NULL};
  expect_says("inspect --hidden 24 --time 40 --batch 3", table);
}

/* Of the widest tables; the model's many options are broken too. */
static void inspect_fits_a_terminal_of_80_columns(void **state) {
  (void)state;
  static const char *const lines[] = {"inspect --hidden 4 --time 3",
                                      "inspect --cell gru-reset-before --layers 11 --direction bidirectional "
                                      "--hidden 4 --time 3 --batch 1",
                                      "inspect @/many-options @/text --time 3 --batch 1"};
  expect_exit("train lm @/text --cell lstm --layers 3 --hidden 4,5,6 --steps 1 --batch 2 --time 4 --coupled "
              "--peephole --cell-clip 3 --zoneout-c 0.25 --zoneout-h 0.125 --recurrent-dropout 0.25 "
              "--dropout 0.25 --dropout-masks sequence --out @/many-options",
              0);
  for (size_t i = 0; i < sizeof lines / sizeof *lines; ++i) {
    struct result result = run_line(lines[i]);
    assert_int_equal(result.exit_code, 0);
    for (const char *line = result.out, *end; (end = strchr(line, '\n')); line = end + 1)
      if (end - line > 79)
        fail_msg("gatekern %s: %d columns: %.*s", lines[i], (int)(end - line), (int)(end - line), line);
    free_result(&result);
  }
}

/* The sign of a NaN is the machine's. */
static void inspect_says_what_has_overflowed(void **state) {
  (void)state;
#define OVERFLOWING "inspect --cell rnn --activation identity --gain 1e3 --hidden 8 --batch 2 "
  struct result result = run_line(OVERFLOWING);
  assert_int_equal(result.exit_code, 0);
  assert_non_null(strstr(result.out, "overflow\n"));
  assert_null(strstr(result.out, "nan"));
  assert_null(strstr(result.out, "inf"));
  free_result(&result);
  result = run_line(OVERFLOWING "--json");
  json_t *root = json_loads(result.out, 0, NULL);
  const json_t *network = json_array_get(json_object_get(root, "networks"), 0);
  assert_true(json_is_null(json_array_get(json_object_get(network, "norms"), 0)));
  json_decref(root);
  free_result(&result);
#undef OVERFLOWING
}

/* Options of a training survive a resume, and another value is refused. */
static void options_of_a_training_survive_a_resume(void **state) {
  (void)state;
#define OPTIONS                                                                                              \
  "train lm @/text " SMALL                                                                                   \
  "--tie --optimizer adamw --backward-time 12 --label-smoothing 0.1 --clip-value 1 "                         \
  "--clip-tensor-norm 1 --lr-schedule plateau --lr-warmup 5 --lr-patience 0 --lr-factor 0.5 --eval-every "   \
  "7 "
  expect_exit(OPTIONS "--steps 40 --out @/whole", 0);
  expect_exit(OPTIONS "--steps 21 --out @/part", 0);
  /* The plateau sees the same losses, though 40 steps alone would be validated at others. */
  expect_exit("train lm @/text --resume --steps 40 --out @/part", 0);
  expect_same_files("whole", "part");
  expect_same_files("whole.state", "part.state");
  expect_exit("train lm @/text --resume --backward-time 20 --steps 50 --out @/part", 2);
  expect_exit("train lm @/text " SMALL
              "--optimizer sgd --momentum 0.9 --nesterov --lr 0.1 --lr-schedule step "
              "--lr-every 5 --steps 12 --out @/sgd",
              0);
#undef OPTIONS
}

static void a_trained_model_is_evaluated_inspected_and_sampled(void **state) {
  (void)state;
  static const char *const trained[] = {"text ",
                                        "model ",
                                        "memory ",
                                        "machine ",
                                        "step 250/250",
                                        " nats/char  ",
                                        "bits/char",
                                        "chars/s",
                                        "GFLOP/s",
                                        "of peak",
                                        "left",
                                        "validation",
                                        "done",
                                        "profile  medians of 247 steps",
                                        "forward",
                                        "output",
                                        "update",
                                        "beside layers and pack",
                                        NULL};
  expect_says("train lm @/text " SMALL "--lr 0.02 --steps 250 --eval-every 100 --log @/log --out @/trained "
              "--profile",
              trained);
  assert_int_equal(check_log("log", 3), 250);
  struct result result = run_line("eval @/trained @/text --json");
  json_t *loss = json_loads(result.out, 0, NULL);
  assert_int_equal(json_integer_value(json_object_get(loss, "characters")), SENTENCES * SENTENCE - 1);
  assert_true(json_number_value(json_object_get(loss, "nats_per_character")) < 1);
  json_decref(loss);
  free_result(&result);
  const char *const inspected[] = {"lstm", "layer 1", "spectral radius", NULL};
  expect_says("inspect @/trained @/text --time 30 --batch 4", inspected);
  const char *const evaluated[] = {"nats/char",       "bits/char",    "perplexity",
                                   "6199 characters", "free-running", NULL};
  expect_says("eval @/trained @/text", evaluated);
  struct result a = run_line("sample @/trained --prompt gates --length 70 --seed 3");
  struct result b = run_line("sample @/trained --prompt gates --length 70 --seed 3 --isa scalar --threads 2");
  assert_int_equal(a.exit_code, 0);
  assert_int_equal(strlen(a.out), 5 + 70 + 1);
  assert_string_equal(a.out, b.out);
  assert_int_equal(strncmp(a.out, "gates", 5), 0);
  free_result(&b);
  b = run_line("sample @/trained --prompt gates --length 70 --seed 4 --temperature 1.5");
  assert_string_not_equal(a.out, b.out);
  free_result(&a);
  free_result(&b);
}

/* No longer than the text, whatever was asked for: of its 20 characters the first is not predicted. */
static void free_running_says_how_long_its_runs_were(void **state) {
  (void)state;
  const char *const text[] = {"in runs of 19 characters, ", "(--free-running 5000)", "  16: ", NULL};
  expect_says("eval @/model @/short --free-running 5000", text);
  const char *const enough[] = {"in runs of 19 characters\n", NULL};
  expect_says("eval @/model @/short --free-running 19", enough);
  struct result result = run_line("eval @/model @/short --free-running 5000 --json");
  json_t *loss = json_loads(result.out, 0, NULL);
  const json_t *runs = json_object_get(loss, "free_running");
  assert_int_equal(json_integer_value(json_object_get(runs, "length")), 19);
  assert_int_equal(json_array_size(json_object_get(runs, "nats_at")), 19);
  json_decref(loss);
  free_result(&result);
}

/* What is left is evaluated as if nothing else had been there. */
static void unknown_characters_are_skipped(void **state) {
  (void)state;
  char *text, mixed[2 * 20];
  size_t bytes;
  text = read_file(temporary_path("short"), &bytes);
  assert_int_equal(bytes, 20);
  for (int i = 0; i < 20; ++i) {
    mixed[2 * i] = '#';
    mixed[2 * i + 1] = text[i];
  }
  free(text);
  write_file(temporary_path("mixed"), mixed, sizeof mixed);
  const char *const says[] = {"(19 characters of ", "skipped 20 of 40 characters, which the model", NULL};
  expect_says("eval @/model @/mixed --skip-unknown", says);
  const char *const none[] = {"skipped 0 of 20 characters", NULL};
  expect_says("eval @/model @/short --skip-unknown", none);
  struct result skipped = run_line("eval @/model @/mixed --skip-unknown --json");
  struct result plain = run_line("eval @/model @/short --json");
  json_t *of_mixed = json_loads(skipped.out, 0, NULL), *of_short = json_loads(plain.out, 0, NULL);
  assert_int_equal(json_integer_value(json_object_get(of_mixed, "skipped_characters")), 20);
  assert_int_equal(json_integer_value(json_object_get(of_mixed, "text_characters")), 40);
  json_object_del(of_mixed, "skipped_characters");
  json_object_del(of_mixed, "text_characters");
  assert_true(of_short && json_equal(of_mixed, of_short));
  json_decref(of_mixed);
  json_decref(of_short);
  free_result(&skipped);
  free_result(&plain);
}

/* A model's file is not overwritten without a word, and a warm-up that never ends not trained without one. */
static void a_start_warns_of_replaced_files_and_endless_warm_up(void **state) {
  (void)state;
  struct result result = run_line("train lm @/text " SMALL "--steps 5 --lr-warmup 5 --out @/replaced");
  assert_int_equal(result.exit_code, 0);
  assert_string_equal(result.err, "");
  assert_null(strstr(result.out, "replaces"));
  free_result(&result);
  result = run_line("train lm @/text " SMALL "--steps 5 --lr-warmup 10 --out @/replaced");
  assert_int_equal(result.exit_code, 0);
  assert_non_null(strstr(result.err, "--lr-warmup is 10 and --steps 5"));
  assert_non_null(strstr(result.out, "replaces "));
  free_result(&result);
  result = run_line("train lm @/text --resume --steps 20 --out @/replaced");
  assert_null(strstr(result.out, "replaces"));
  free_result(&result);
}

static void tiers_and_threads_change_no_file(void **state) {
  (void)state;
  expect_exit("train lm @/text --cell gru --layers 2 --dropout 0.3 --hidden 24 --embed 9 --batch 5 --time 11 "
              "--steps 40 --threads 1 --isa scalar --out @/one",
              0);
  expect_exit("train lm @/text --cell gru --layers 2 --dropout 0.3 --hidden 24 --embed 9 --batch 5 --time 11 "
              "--steps 40 --threads 3 --out @/three",
              0);
  expect_same_files("one", "three");
  expect_same_files("one.state", "three.state");
}

static void without_a_file_the_built_in_text_is_used(void **state) {
  (void)state;
  const char *const trained[] = {"the built-in text", "done", NULL};
  expect_says("train lm --hidden 8 --steps 3 --threads 1 --out @/builtin", trained);
  const char *const evaluated[] = {"built-in text", NULL};
  expect_says("eval @/builtin", evaluated);
}

static void text_may_be_code_points_piped_or_two_files(void **state) {
  (void)state;
  const char *const code_points[] = {"4 different code points", "15 characters", NULL};
  expect_says("train lm @/utf8 --utf8 --validation 0 " SMALL "--batch 2 --time 3 --steps 60 --out @/points",
              code_points);
  struct result result = run_line("sample @/points --prompt \xE2\x82\xAC --length 1 --temperature 0");
  assert_string_equal(result.out, "\xE2\x82\xAC\xF0\x9F\x98\x80\n");
  free_result(&result);
  const struct run from_input = {.input = temporary_path("text")};
  result = finish(start("train lm - " SMALL "--steps 30 --out @/piped", &from_input), &from_input);
  assert_int_equal(result.exit_code, 0);
  free_result(&result);
  expect_same_files("model", "piped");
  const char *const validated[] = {"6200 characters for training, 20 for validation", NULL};
  expect_says("train lm @/text --validation-file @/short " SMALL "--steps 3 --out @/other", validated);
}

static void a_run_of_minutes_ends_in_time(void **state) {
  (void)state;
  const time_t begin = time(NULL);
  expect_exit("train lm @/text " SMALL "--minutes 0.05 --log @/minutes.log --out @/minutes", 0);
  assert_true(time(NULL) - begin < 50); /* 3 seconds, on a machine that does something else too */
  size_t bytes;
  char *log = read_file(temporary_path("minutes.log"), &bytes);
  int lines = 0;
  for (size_t i = 0; i < bytes; ++i)
    lines += log[i] == '\n';
  free(log);
  assert_true(lines > 10);
  char line[256];
  snprintf(line, sizeof line, "train lm @/text " SMALL "--steps %d --eval-every %d --out @/steps", lines,
           lines);
  expect_exit(line, 0);
  snprintf(line, sizeof line, "train lm @/text " SMALL "--minutes 0.05 --steps %d", lines);
  expect_exit(line, 2);
}

/* Ten validations of such a text take far longer than the minutes. */
static void minutes_are_for_steps_before_validations(void **state) {
  (void)state;
  enum { COPIES = 400 };
  char *const large = malloc((size_t)COPIES * SENTENCES * SENTENCE);
  size_t bytes;
  char *const text = read_file(temporary_path("text"), &bytes);
  assert_int_equal(bytes, SENTENCES * SENTENCE);
  for (size_t i = 0; i < COPIES; ++i)
    memcpy(large + i * bytes, text, bytes);
  write_file(temporary_path("large"), large, COPIES * bytes);
  free(text);
  free(large);
  struct result result =
      run_line("train lm @/text --validation-file @/large " SMALL "--minutes 0.05 --out @/trained");
  int steps = 0, every = 0;
  assert_int_equal(result.exit_code, 0);
  assert_non_null(strstr(result.out, "plan "));
  assert_int_equal(sscanf(strstr(result.out, "plan "), "plan %d steps", &steps), 1);
  assert_int_equal(sscanf(strstr(result.out, "validated every "), "validated every %d", &every), 1);
  if (steps < 100 || every < steps / 3)
    fail_msg("%d steps, validated every %d", steps, every);
  free_result(&result);
}

static void a_run_that_only_gets_worse_is_warned_of(void **state) {
  (void)state;
  struct result result = run_line("train lm @/text " SMALL "--lr 1e5 --steps 8 --out @/wild");
  assert_int_equal(result.exit_code, 0);
  assert_non_null(strstr(result.err, "warning: worse than guessing"));
  free_result(&result);
}

static void keep_all_keeps_the_model_of_every_validation(void **state) {
  (void)state;
  expect_exit("train lm @/text " SMALL "--steps 9 --eval-every 4 --keep-all --out @/kept", 0);
  assert_true(file_exists(temporary_path("kept.step-4")) && file_exists(temporary_path("kept.step-8")));
  expect_same_files("kept", "kept.step-9");
  assert_false(file_exists(temporary_path("kept.step-5")));
}

/* Each as train, bench, inspect and info take it. */
static const struct {
  const char *options, *says;
  bool trains; /* a language model can be so */
} networks[] = {
    {"--cell lstm --hidden 6,5 --projection-size 4", "6,5", true},
    {"--cell lstm --hidden 6 --layers 2 --zoneout-h 0.1 --zoneout-c 0.2", "zoneout-c", true},
    {"--cell gru --hidden 5,6,4 --trained-states --recurrent-dropout 0.1", "trained-states", true},
    {"--cell mgu --hidden 6 --layers 2 --dropout 0.1 --input-dropout 0.1 --dropout-masks sequence",
     "dropout-masks sequence", true},
    {"--cell rnn --hidden 6 --weight-dropout 0.3", "weight-dropout", true},
    {"--cell lstm --hidden 6 --recurrence none", "recurrence none", true},
    {"--cell gru --hidden 6 --layers 2 --direction bidirectional", "direction bidirectional", false},
    {"--cell lstm --hidden 6,5 --direction bidirectional --merge sum --weight-dropout 0.1", "merge sum",
     false},
    {"--cell lstm --hidden 6 --direction reverse --projection-size 3", "direction reverse", false},
};

static void every_kind_of_network_trains_and_is_measured(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof networks / sizeof *networks; ++i) {
    char line[512];
    const char *const says[] = {networks[i].says, NULL};
    snprintf(line, sizeof line, "bench %s --batch 3 --time 4 --seconds 0.001", networks[i].options);
    expect_says(line, says);
    snprintf(line, sizeof line, "bench %s --batch 3 --time 4 --seconds 0.001 --layout batch-first --json",
             networks[i].options);
    expect_exit(line, 0);
    snprintf(line, sizeof line, "inspect %s --batch 3 --time 4", networks[i].options);
    expect_exit(line, 0);
    snprintf(line, sizeof line, "info --plan %s --batch 3 --time 4", networks[i].options);
    expect_exit(line, 0);
    if (!networks[i].trains)
      continue;
    snprintf(line, sizeof line, "train lm @/text %s --batch 4 --time 8 --threads 1 --steps 8 --out @/network",
             networks[i].options);
    expect_says(line, says);
    snprintf(
        line, sizeof line,
        "train lm @/text %s --batch 4 --time 8 --threads 1 --steps 4 --out @/half --lr-schedule constant",
        networks[i].options);
    expect_exit(line, 0);
    expect_exit("train lm @/text --resume --steps 8 --out @/half", 0);
    snprintf(
        line, sizeof line,
        "train lm @/text %s --batch 4 --time 8 --threads 2 --steps 8 --out @/whole --lr-schedule constant",
        networks[i].options);
    expect_exit(line, 0);
    expect_same_files("half.state", "whole.state");
    expect_exit("sample @/network --length 5", 0);
    expect_exit("eval @/network @/text", 0);
    expect_exit("inspect @/network @/text --time 5 --batch 3", 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(inspect_shows_gradients_that_follow_the_radius),
      cmocka_unit_test(inspect_fits_a_terminal_of_80_columns),
      cmocka_unit_test(inspect_says_what_has_overflowed),
      cmocka_unit_test(options_of_a_training_survive_a_resume),
      cmocka_unit_test(every_kind_of_network_trains_and_is_measured),
      cmocka_unit_test(a_trained_model_is_evaluated_inspected_and_sampled),
      cmocka_unit_test(free_running_says_how_long_its_runs_were),
      cmocka_unit_test(unknown_characters_are_skipped),
      cmocka_unit_test(a_start_warns_of_replaced_files_and_endless_warm_up),
      cmocka_unit_test(tiers_and_threads_change_no_file),
      cmocka_unit_test(without_a_file_the_built_in_text_is_used),
      cmocka_unit_test(text_may_be_code_points_piped_or_two_files),
      cmocka_unit_test(a_run_of_minutes_ends_in_time),
      cmocka_unit_test(minutes_are_for_steps_before_validations),
      cmocka_unit_test(a_run_that_only_gets_worse_is_warned_of),
      cmocka_unit_test(keep_all_keeps_the_model_of_every_validation),
  };
  return cmocka_run_group_tests(tests, set_up, NULL);
}
