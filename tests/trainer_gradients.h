/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_TESTS_TRAINER_GRADIENTS_H
#define GK_TESTS_TRAINER_GRADIENTS_H

#include <math.h>

#include "src/tasks/language_trainer.h"
#include "tests/trainer_fixture.h"

/* The gradient that a trainer's step left, in parameters' order. */
static inline double *copy_gradients(const gk_language_trainer *trainer) {
  const int64_t count = gk_language_model_parameter_count(trainer->model);
  double *copy = malloc((size_t)count * sizeof *copy);
  assert_non_null(copy);
  for (int64_t i = 0; i < count; ++i)
    copy[i] = (double)trainer->gradients[i];
  return copy;
}

static inline double norm_of(const double *x, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += x[i] * x[i];
  return sqrt(sum);
}

#endif
