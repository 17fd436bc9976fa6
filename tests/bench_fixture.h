/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs `gatekern bench` for short times and reads its JSON. */
#ifndef GK_TESTS_BENCH_FIXTURE_H
#define GK_TESTS_BENCH_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/program_output.h"
#include "tests/temporary_folder.h"

/* Who waits must not spin on CPUs that other tests use. */
#define QUIET "OMP_WAIT_POLICY=passive "
#define SHORT " --seconds 0.004 --json"

/* What --pass takes. */
static const char *const bench_passes[] = {"step", "prepacked-step", "forward", "inference", "stream"};
enum { BENCH_PASSES = sizeof bench_passes / sizeof *bench_passes };

static inline json_t *run_json(const char *environment, const char *arguments) {
  json_error_t error;
  char *text = program_text(environment, arguments, 0);
  json_t *object = json_loads(text, 0, &error);
  if (!object)
    fail_msg("gatekern %s: %s at %d\n%s", arguments, error.text, error.position, text);
  free(text);
  return object;
}

static inline double number(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_number(value))
    fail_msg("%s is not a number", key);
  return json_number_value(value);
}

static inline const char *string(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_string(value))
    fail_msg("%s is not a string", key);
  return json_string_value(value);
}

static inline void expect_near(const char *what, double got, double wanted) {
  if (!(fabs(got - wanted) <= 1e-3 * fabs(wanted)))
    fail_msg("%s is %g, wanted %g", what, got, wanted);
}

static inline void write_list(const char *text) {
  write_file(temporary_path("shapes.txt"), text, strlen(text));
}

#endif
