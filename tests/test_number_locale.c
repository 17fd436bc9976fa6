/* SPDX-License-Identifier: Apache-2.0
 *
 * Options as text, and the files that hold them, where the caller's locale has a decimal comma. */
#include <locale.h>

#include "tests/temporary_folder.h"
#include "tests/trainer_fixture.h"

/* A locale of nothing but a decimal comma, which localedef makes for this program; 0: it cannot. */
static locale_t comma_locale(void) {
  static const char source[] =
      "LC_NUMERIC\ndecimal_point \",\"\nthousands_sep \".\"\ngrouping 3;3\nEND LC_NUMERIC\n";
  char command[1024];
  const char *folder = temporary_folder(), *text = temporary_path("comma.source");
  write_file(text, source, sizeof source - 1);
  snprintf(command, sizeof command, "localedef -c -i %s -f ANSI_X3.4-1968 ./%s/comma >%s/log 2>&1", text,
           folder, folder);
  const int made =
      system(command); /* 1 with warnings of what the locale lacks: whether it loads is what counts */
  setenv("LOCPATH", folder, 1);
  const bool loads =
      made >= 0 && setlocale(LC_NUMERIC, "comma"); /* newlocale leaks what it keeps of LOCPATH */
  const locale_t comma = loads ? duplocale(LC_GLOBAL_LOCALE) : (locale_t)0;
  setlocale(LC_NUMERIC, "C");
  snprintf(command, sizeof command, "rm -rf %s/comma", folder);
  if (system(command) != 0)
    print_message("%s is left behind\n", folder);
  return comma;
}

static locale_t comma; /* 0: there is none */

/* Begins a test in the locale with the comma, which it must have. */
static void begin(void) {
  char text[8];
  if (comma)
    uselocale(comma);
  snprintf(text, sizeof text, "%g", 0.5);
  if (strcmp(text, "0,5") != 0) {
    print_message("no locale with a decimal comma, and no localedef that makes one\n");
    skip();
  }
}

static int end(void **state) {
  (void)state;
  uselocale(LC_GLOBAL_LOCALE);
  return 0;
}

static void options_have_decimal_points_in_every_locale(void **state) {
  (void)state;
  begin();
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  char value[96];
  expect_ok(gk_rnn_options_set(&desc, "cell-clip=1.7 gate-activation=hard-sigmoid(0.3,0.4)"));
  assert_true(desc.options.cell_clip == 1.7f && desc.options.alpha[GK_GATE] == 0.3f);
  expect_ok(gk_rnn_option_get(&desc, "cell-clip", value, sizeof value));
  assert_string_equal(value, "1.7");
  expect_ok(gk_rnn_option_get(&desc, "gate-activation", value, sizeof value));
  assert_string_equal(value, "hard-sigmoid(0.3,0.4)");
  assert_int_equal(gk_rnn_option_set(&desc, "cell-clip", "1,7"), GK_ERROR_ARGUMENT);
}

static void the_callers_locale_is_untouched(void **state) {
  (void)state;
  begin();
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  char value[96];
  expect_ok(gk_rnn_option_set(&desc, "cell-clip", "1.7"));
  assert_true(uselocale((locale_t)0) == comma);
  assert_int_equal(gk_rnn_option_set(&desc, "cell-clip", "-1"), GK_ERROR_ARGUMENT);
  assert_true(uselocale((locale_t)0) == comma);
  expect_ok(gk_rnn_option_get(&desc, "cell-clip", value, sizeof value));
  assert_true(uselocale((locale_t)0) == comma);
}

/* A training's file has numbers of JSON too. */
static void files_of_one_locale_load_in_another(void **state) {
  (void)state;
  begin();
  const char *const paths[] = {temporary_path("comma.state"), temporary_path("point.state")};
  const gk_text text = make_text();
  gk_language_model_desc model = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  model.network.options.cell_clip = 1.7f;
  gk_language_trainer *trainer = create(&model, &training);
  char *content[2];
  size_t bytes[2];
  for (int i = 0; i < 2; ++i) {
    uselocale(i ? LC_GLOBAL_LOCALE : comma);
    expect_ok(gk_language_trainer_save(trainer, paths[i]));
    content[i] = read_file(paths[i], &bytes[i]);
  }
  assert_int_equal(bytes[0], bytes[1]);
  assert_memory_equal(content[0], content[1], bytes[0]);
  for (int i = 0; i < 2; ++i) {
    gk_language_trainer *resumed;
    free(content[i]);
    uselocale(i ? comma : LC_GLOBAL_LOCALE);
    expect_ok(gk_language_trainer_resume(paths[i], NULL, &text, NULL, &resumed));
    const gk_language_model *found = gk_language_trainer_model(resumed);
    assert_true(gk_language_model_description(found)->network.options.cell_clip == 1.7f);
    gk_language_trainer_destroy(resumed);
  }
  gk_language_trainer_destroy(trainer);
}

int main(void) {
  comma = comma_locale();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(options_have_decimal_points_in_every_locale, end),
      cmocka_unit_test_teardown(the_callers_locale_is_untouched, end),
      cmocka_unit_test_teardown(files_of_one_locale_load_in_another, end),
  };
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (comma)
    freelocale(comma);
  return failed;
}
