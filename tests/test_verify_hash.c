/* SPDX-License-Identifier: Apache-2.0
 *
 * `gatekern verify`: one hash whatever the instruction set, another for other data, and the cases it names.
 * ctest labels: same-bits */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <gatekern.h>

#include "tests/program_output.h"

enum { HASH = 16 };

/* Three threads on two CPUs that other tests use too: who waits must not spin. */
#define QUIET "OMP_WAIT_POLICY=passive "

/* The hash at the start of the last line. */
static void last_hash(const char *text, char hash[HASH + 1]) {
  const char *line = text;
  for (const char *next = text; (next = strchr(next, '\n')) && next[1];)
    line = ++next;
  assert_true(strspn(line, "0123456789abcdef") == HASH && line[HASH] == ' ');
  memcpy(hash, line, HASH);
  hash[HASH] = 0;
}

static int lines(const char *text) {
  int count = 0;
  for (; (text = strchr(text, '\n')); text++)
    count++;
  return count;
}

static void the_hash_is_the_committed_one_on_all_instruction_sets_together(void **state) {
  (void)state;
  char *text = program_text(QUIET "GATEKERN_ISA=auto", "verify", 0);
  assert_int_equal(lines(text), 1);
  for (int cell = 0; cell < gk_cell_count(); cell++)
    assert_non_null(strstr(text, gk_cell_name((gk_cell)cell)));
  for (int isa = 1; isa <= gk_isa_count(); isa++)
    assert_int_equal(strstr(text, gk_isa_name((gk_isa)isa)) != NULL, gk_isa_usable((gk_isa)isa));
  free(text);
}

static void the_hash_is_the_committed_one_on_one_instruction_set_alone(void **state) {
  (void)state;
  char *text = program_text(QUIET "GATEKERN_ISA=scalar", "verify", 0);
  assert_non_null(strstr(text, "(scalar;"));
  free(text);
}

/* Each result of each case has a line, and no two gradients have the same bits; other data, other hashes. */
static void every_case_and_every_seed_has_its_own_hash(void **state) {
  enum { MOST = 300 };
  char *gradients[MOST], *rest = NULL, first[HASH + 1], second[HASH + 1];
  int count = 0;
  (void)state;
  char *text = program_text(QUIET "GATEKERN_ISA=scalar", "verify --per-case", 0);
  char *other = program_text(QUIET "GATEKERN_ISA=scalar", "verify --per-case --seed 2", 0);
  last_hash(text, first);
  last_hash(other, second);
  assert_string_not_equal(first, second);
  assert_int_equal(lines(text), lines(other));
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
    if (strstr(line, ": gradients") && count < MOST)
      gradients[count++] = line;
  assert_true(count >= 15 * gk_cell_count());
  for (int i = 0; i < count; i++) {
    for (int j = 0; j < i; j++)
      assert_int_not_equal(strncmp(gradients[i], gradients[j], HASH), 0);
    char hash[HASH + 1] = {0};
    assert_null(strstr(other, memcpy(hash, gradients[i], HASH)));
  }
  free(text);
  free(other);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_hash_is_the_committed_one_on_all_instruction_sets_together),
      cmocka_unit_test(the_hash_is_the_committed_one_on_one_instruction_set_alone),
      cmocka_unit_test(every_case_and_every_seed_has_its_own_hash),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
