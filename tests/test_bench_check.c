/* SPDX-License-Identifier: Apache-2.0
 *
 * `gatekern bench --check`: each promise is judged by the figures that it reports, and the exit code tells
 * one that is missed from one that failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "src/cli/bench_check.h"
#include "tests/bench_fixture.h"

static void softmax_and_trainer_are_judged_by_what_they_measured(void **state) {
  (void)state;
  struct program_output missed =
      program_run(QUIET, "bench --check softmax --words 50 --hidden 8 --batch 4 --time 5" SHORT);
  json_t *softmax = json_loads(missed.text, 0, NULL);
  program_free(&missed);
  expect_near("gflops", number(softmax, "gflops"),
              1e-9 * 6 * 4 * 5 * 8 * 50 / (1e-3 * number(softmax, "ms")));
  expect_near("ratio", number(softmax, "ratio"), number(softmax, "peak_gflops") / number(softmax, "gflops"));
  json_decref(softmax);
  json_t *trainer = run_json(QUIET, "bench --check trainer --hidden 8 --batch 4 --time 5" SHORT);
  const double layers = number(trainer, "forward_ms") + number(trainer, "backward_ms");
  expect_near("ratio", number(trainer, "ratio"), number(trainer, "beside_ms") / number(trainer, "step_ms"));
  expect_near("beside_ms", number(trainer, "beside_ms"),
              number(trainer, "step_ms") - layers - number(trainer, "pack_ms"));
  assert_null(json_object_get(trainer, "fine")); /* nothing is promised of so few units */
  json_decref(trainer);
}

/* One product a call is far from the peak on every machine. */
static void a_missed_promise_is_no_failure(void **state) {
  (void)state;
  char *text =
      program_text(QUIET, "bench --check softmax --words 1 --hidden 1 --batch 1 --time 1 --seconds 0.004", 3);
  assert_non_null(strstr(text, "MISSED"));
  free(text);
  free(program_text("", "bench --check denormals --hidden 4096 --batch 1048576 --time 1048576", 1));
}

static void a_network_that_fails_is_named_and_the_others_are_checked(void **state) {
  (void)state;
  static const char *const checks[] = {"latency --steps 10", "first-call --seconds 0.004",
                                       "threads --threads 2 --seconds 0.004", "softmax --seconds 0.004"};
  write_list("huge lstm 1000000 1000000 1000000 1 1\nsmall gru 3 4 2 3 1\n");
  for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
    char line[1024];
    snprintf(line, sizeof line, "bench --shapes %s --check %s", temporary_path("shapes.txt"), checks[i]);
    char *text = program_text(QUIET, line, 1);
    if (!strstr(text, "gatekern bench: huge: not enough memory") || !strstr(text, "\nsmall  "))
      fail_msg("gatekern %s: %s", line, text);
    free(text);
  }
}

/* What they measure is judged on an idle machine, not here. */
static void checks_report_the_ratio_that_they_judge(void **state) {
  static const struct {
    const char *arguments;
    double at_most;
  } checks[] = {{"latency --cell gru --steps 50", 2},
                {"first-call --cell gru", 1.2},
                {"threads --cell gru --threads 3", 1.05},
                {"schedules --cell gru --threads 2 --layers 2", 1.1},
                {"denormals --cell gru", 1.1},
                {"softmax --words 50", 1 / 0.85},
                {"trainer --cell gru --hidden 512", 0.05}};
  (void)state;
  for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
    char line[200];
    const char *chosen =
        strncmp(checks[i].arguments, "latency", 7) == 0 ? " --json" : " --batch 3 --time 4" SHORT;
    snprintf(line, sizeof line, "bench --hidden 20 --check %s%s", checks[i].arguments, chosen);
    struct program_output output = program_run(QUIET, line);
    json_t *check = json_loads(output.text, 0, NULL);
    assert_non_null(check);
    assert_string_equal(string(check, "cell"), strstr(checks[i].arguments, "gru") ? "gru" : "lstm");
    expect_near("at_most", number(check, "at_most"), checks[i].at_most);
    assert_true(number(check, "ratio") > 0);
    const int fine = json_is_true(json_object_get(check, "fine"));
    assert_int_equal(fine, number(check, "ratio") <= checks[i].at_most);
    assert_int_equal(output.exit_code, fine ? 0 : 3);
    json_decref(check);
    program_free(&output);
  }
}

/* "0.050 MISSED, at most 0.05" contradicts itself. */
static void a_ratio_that_missed_its_bound_reads_above_it(void **state) {
  static const struct {
    double ratio, at_most;
    const char *printed;
  } cases[] = {{0.05004, 0.05, "0.05004"},    {0.0504, 0.05, "0.0504"}, {0.0512, 0.05, "0.051"},
               {0.0496, 0.05, "0.050"},       {0.05, 0.05, "0.050"},    {1.0500001, 1.05, "1.0500001"},
               {1.17648, 1 / 0.85, "1.1765"}, {20.3, 1.2, "20.300"},    {0.3, INFINITY, "0.300"}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char printed[BENCH_CHECK_RATIO_TEXT];
    bench_check_ratio_text(cases[i].ratio, cases[i].at_most, printed);
    assert_string_equal(printed, cases[i].printed);
  }
}

/* A size that ran before has no first call; networks that are small have no other ones below them. */
static void first_calls_are_of_different_sizes(void **state) {
  static const char *const networks[] = {"--batch 1 --time 2", "--batch 9 --time 1", "--batch 3 --time 30"};
  (void)state;
  for (size_t network = 0; network < sizeof networks / sizeof *networks; network++) {
    char line[200];
    snprintf(line, sizeof line, "bench --cell gru --hidden 8 --check first-call %s" SHORT, networks[network]);
    struct program_output output = program_run(QUIET, line);
    json_t *check = json_loads(output.text, 0, NULL);
    const json_t *sizes = json_object_get(check, "by_size");
    assert_true(json_array_size(sizes) >= 5 && json_array_size(sizes) == number(check, "sizes"));
    for (size_t i = 0; i < json_array_size(sizes); i++) {
      const json_t *size = json_array_get(sizes, i);
      assert_true(number(size, "time") >= 1 && number(size, "batch") >= 1 && number(size, "ratio") > 0);
      assert_true(number(size, "time") != number(check, "time"));
      for (size_t j = 0; j < i; j++)
        assert_false(number(size, "time") == number(json_array_get(sizes, j), "time") &&
                     number(size, "batch") == number(json_array_get(sizes, j), "batch"));
    }
    json_decref(check);
    program_free(&output);
  }
}

/* Each time is called by the pass that it is of. */
static void threads_and_schedules_are_checked_of_every_pass(void **state) {
  static const char *const checks[][2] = {{"threads", "by_threads"}, {"schedules", "by_schedule"}};
  double step_ms[2] = {0};
  (void)state;
  for (int i = 0; i < 2 * BENCH_PASSES; i++) {
    const char *pass = bench_passes[i / 2];
    char line[200], time[32];
    snprintf(line, sizeof line,
             "bench --cell gru --hidden 20 --threads 2 --time 300 --check %s --pass %s" SHORT,
             checks[i % 2][0], pass);
    snprintf(time, sizeof time, "%s_ms", pass);
    struct program_output output = program_run(QUIET, line);
    json_t *check = json_loads(output.text, 0, NULL);
    const json_t *ways = json_object_get(check, checks[i % 2][1]);
    assert_string_equal(string(check, "pass"), pass);
    assert_true(number(check, time) > 0 && json_array_size(ways) > 0);
    if (strcmp(pass, "step") == 0)
      step_ms[i] = number(check, time);
    else if (strcmp(pass, "stream") == 0) /* one of the step's 300 forward, and nothing backward */
      assert_true(number(check, time) < step_ms[i % 2] / 10);
    for (size_t way = 0; way < json_array_size(ways); way++)
      assert_true(number(json_array_get(ways, way), time) > 0);
    json_decref(check);
    program_free(&output);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(softmax_and_trainer_are_judged_by_what_they_measured),
      cmocka_unit_test(a_missed_promise_is_no_failure),
      cmocka_unit_test(a_network_that_fails_is_named_and_the_others_are_checked),
      cmocka_unit_test(checks_report_the_ratio_that_they_judge),
      cmocka_unit_test(a_ratio_that_missed_its_bound_reads_above_it),
      cmocka_unit_test(first_calls_are_of_different_sizes),
      cmocka_unit_test(threads_and_schedules_are_checked_of_every_pass),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
