/* SPDX-License-Identifier: Apache-2.0
 *
 * ctest labels: edges
 *
 * What is not a network's pass (test_network_faults has those) under the floating-point environments that a
 * caller may have: the same bits, and the environment as it was. */
#include <fenv.h>

#include "tests/float_controls.h"
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
      cmocka_unit_test(options_are_the_same_text_and_numbers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
