/* SPDX-License-Identifier: Apache-2.0
 *
 * A small text, model and training, and what tests of them have in common. */
#ifndef GK_TESTS_TRAINER_FIXTURE_H
#define GK_TESTS_TRAINER_FIXTURE_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "include/gatekern-train.h"

/* ---- Texts and descriptions ---- */

/* About 5000 characters that can be learnt: sentences of random words. */
static inline gk_text make_text(void) {
  static const char *const words[] = {"the ", "cell ", "keeps ", "a ", "state ", "and ", "gates ", "it.\n"};
  static char text[5200];
  size_t used = 0;
  for (uint64_t i = 0; used < 5000; ++i) {
    const char *word = words[(int)(8 * gk_uniform(7, 1, i))];
    used += (size_t)snprintf(text + used, sizeof text - used, "%s", word);
  }
  return (gk_text){text, used};
}

static inline gk_language_model_desc small_model(gk_cell cell) {
  gk_language_model_desc desc = GK_LANGUAGE_MODEL_DESC_INIT;
  desc.network.cell = cell;
  desc.network.hidden_size = 19;
  desc.network.input_size = 11;
  desc.network.layers = 2;
  desc.network.dropout = 0.25f;
  desc.network.threads = 1; /* the work is too small for more; some tests ask for them */
  return desc;
}

static inline gk_training_desc small_training(void) {
  gk_training_desc desc = GK_TRAINING_DESC_INIT;
  desc.batch = 7;
  desc.time = 13;
  desc.steps = 60;
  desc.learning_rate = 0.01;
  desc.decay = GK_DECAY_COSINE;
  desc.minimum_learning_rate = 1e-4;
  desc.clip_norm = 0.5;
  desc.seed = 0xfedcba9876543210;
  return desc;
}

static inline void expect_ok(gk_status status) {
  if (status != GK_OK)
    fail_msg("%s: %s", gk_status_name(status), gk_last_error());
}

static inline gk_language_trainer *create(const gk_language_model_desc *model,
                                          const gk_training_desc *training) {
  const gk_text text = make_text();
  gk_language_trainer *trainer;
  expect_ok(gk_language_trainer_create(model, training, &text, NULL, &trainer));
  return trainer;
}

static inline gk_training_step run_steps(gk_language_trainer *trainer, int count) {
  gk_training_step report = {0};
  for (int i = 0; i < count; ++i)
    expect_ok(gk_language_trainer_step(trainer, &report));
  return report;
}

static inline void expect_same_weights(const gk_language_trainer *a, const gk_language_trainer *b,
                                       const char *what) {
  const gk_language_model *x = gk_language_trainer_model(a), *y = gk_language_trainer_model(b);
  const int64_t count = gk_language_model_parameter_count(x);
  assert_int_equal(gk_language_model_parameter_count(y), count);
  const float *p = gk_language_model_parameters(x), *q = gk_language_model_parameters(y);
  for (int64_t i = 0; i < count; ++i)
    if (memcmp(&p[i], &q[i], sizeof *p) != 0)
      fail_msg("%s: weight %" PRId64 " of %" PRId64 ": %a and %a", what, i, count, (double)p[i],
               (double)q[i]);
}

#endif
