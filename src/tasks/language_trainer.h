/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_TASKS_LANGUAGE_TRAINER_H
#define GK_TASKS_LANGUAGE_TRAINER_H

#include "src/tasks/language_model.h"
#include "src/tasks/text_streams.h"

struct gk_language_trainer {
  gk_training_desc desc;
  gk_optimizer_desc optimizer;
  gk_language_model *model;

  /* The text: tokens for training, then for validation. */
  int32_t *tokens;
  int64_t training_count, validation_count;
  uint64_t text_hash;
  struct gk_text_streams streams; /* of the first part */
  int64_t stream_length;          /* steps of time in an epoch */
  int64_t window;                 /* steps of time in a training step; the last of an epoch may have less */

  /* What training changes, with the model's parameters. */
  int64_t step; /* done */
  double best_loss;
  int64_t best_step;
  float *optimizer_state;
  int64_t optimizer_state_count;
  float *h[2], *c[2];  /* (L, N, H); states before the next step are number step % 2 */
  int64_t state_count; /* L * N * H */

  /* Scratch of a step: (window, N) arrays. */
  int32_t *inputs, *targets;
  float *y, *dy; /* (window, N, H) */
  float *gradients;
  int64_t *last_seen; /* (V): step in which a symbol was read last */
  void *reserve, *workspace;
};

/* The trainer around a model whose vocabulary is that of the texts. Takes the model, also on failure. */
gk_status gk_language_trainer_begin(gk_language_model *model, const gk_training_desc *desc,
                                    const gk_text *text, const gk_text *validation,
                                    gk_language_trainer **trainer);

#endif
