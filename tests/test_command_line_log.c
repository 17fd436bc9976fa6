/* SPDX-License-Identifier: Apache-2.0
 *
 * The program as people use it (GATEKERN_PROGRAM): the log of a training has every step once, and takes no
 * other file's place. */
#include "tests/command_line_fixture.h"

/* A log takes the place of a log, which is announced, and of nothing else. */
static void a_log_replaces_only_a_log(void **state) {
  (void)state;
  static const char document[] = "A user's document\nof two lines.\n";
  const char *const announces[] = {"replaces ", "/old.log: the log of an earlier run\n", NULL};
  write_file(temporary_path("document"), document, sizeof document);
  write_file(temporary_path("blank"), "", 0);
  const char *const refused[] = {"train lm @/text " SMALL "--steps 5 --log @/document --out @/logged",
                                 "train lm @/text " SMALL "--steps 5 --log @/model-of-20 --out @/logged",
                                 "train lm @/text --resume --steps 9 --log @/document --out @/logged"};
  expect_exit("train lm @/text " SMALL "--steps 5 --log @/blank --out @/logged", 0);
  expect_exit("train lm @/text " SMALL "--steps 9 --log @/old.log --out @/logged", 0);
  expect_says("train lm @/text " SMALL "--steps 5 --log @/old.log --out @/logged", announces);
  for (size_t i = 0; i < sizeof refused / sizeof *refused; ++i) {
    struct result result = run_line(refused[i]);
    assert_int_equal(result.exit_code, 2);
    assert_non_null(strstr(result.err, "exists and is not a log of this program"));
    assert_string_equal(result.out, "");
    free_result(&result);
  }
  size_t bytes;
  char *kept = read_file(temporary_path("document"), &bytes);
  assert_int_equal(bytes, sizeof document);
  assert_string_equal(kept, document);
  free(kept);
  assert_int_equal(lines_of("old.log"), 5);
  expect_exit("train lm @/text --resume --steps 9 --log @/old.log --out @/logged", 0); /* appends */
  assert_int_equal(lines_of("old.log"), 9);
}

/* What a run that was killed had logged after its last save, and half of a line. */
static void a_resumed_runs_log_has_every_step_once(void **state) {
  (void)state;
  static const char begun[] = "{\"st";
  size_t bytes, whole_bytes;
  expect_exit("train lm @/text " SMALL "--steps 9 --log @/once.log --out @/once", 0);
  char *whole = read_file(temporary_path("once.log"), &whole_bytes);
  expect_exit("train lm @/text " SMALL "--steps 5 --out @/once", 0);
  write_file(temporary_path("once.log"), whole, whole_bytes - 7); /* up to half of step 9 */
  expect_exit("train lm @/text --resume --steps 9 --log @/once.log --out @/once", 0);
  char *got = read_file(temporary_path("once.log"), &bytes), *line = got;
  for (int step = 1; step <= 9; ++step) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, "{\"step\": %d,", step);
    assert_non_null(line);
    assert_memory_equal(line, wanted, strlen(wanted));
    line = strchr(line, '\n');
    line = line ? line + 1 : NULL;
  }
  assert_non_null(line);
  assert_int_equal(*line, 0);
  write_file(temporary_path("begun.log"), begun, strlen(begun));
  expect_exit("train lm @/text --resume --steps 11 --log @/begun.log --out @/once", 0);
  assert_int_equal(lines_of("begun.log"), 2);
  free(whole);
  free(got);
}

static void a_log_never_has_the_name_of_a_model(void **state) {
  (void)state;
  const char *const lines[] = {"train lm @/text " SMALL "--steps 2 --log @/fresh --out @/fresh",
                               "train lm @/text " SMALL "--steps 2 --log @/./fresh.state --out @/fresh",
                               "train lm @/text " SMALL "--steps 2 --log @/fresh.old --out @/fresh"};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; ++i) {
    struct result result = run_line(lines[i]);
    assert_int_equal(result.exit_code, 2);
    assert_non_null(strstr(result.err, "is the model's file"));
    assert_false(file_exists(temporary_path("fresh")));
    free_result(&result);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_log_replaces_only_a_log),
      cmocka_unit_test(a_resumed_runs_log_has_every_step_once),
      cmocka_unit_test(a_log_never_has_the_name_of_a_model),
  };
  return cmocka_run_group_tests(tests, set_up_runs, NULL);
}
