/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_TASKS_LANGUAGE_TRAINER_H
#define GK_TASKS_LANGUAGE_TRAINER_H

#include "src/tasks/language_model.h"
#include "src/tasks/text_streams.h"

/* Of a loss that a file may hold as the lowest. */
#define GK_LARGEST_LOSS 1e300

struct gk_language_trainer {
  gk_training_desc desc;
  gk_optimizer_desc optimizer;
  gk_language_model *model;

  bool size_only; /* nothing is taken, only counted: bytes */
  size_t bytes;   /* without the model's */

  /* The text: tokens for training, then for validation. */
  int32_t *tokens;
  int64_t training_count, validation_count;
  uint64_t text_hash;
  struct gk_text_streams streams; /* of the first part */
  int64_t stream_length;          /* steps of time in an epoch */
  int64_t window;                 /* steps of time in a training step; the last of an epoch may have less */
  int64_t history;                /* steps that its gradient reaches back, the window included */

  /* What training changes, with the model's parameters. */
  int64_t step; /* done */
  double best_loss;
  int64_t best_step;
  float *optimizer_state;
  int64_t optimizer_state_count;
  float *h[2], *c[2]; /* states where the next step begins to read are number step % 2 */
  int64_t h_count, c_count;
  gk_learning_rate_state rate_state;

  /* Scratch of a step: (history, N) arrays. */
  int32_t *inputs, *targets;
  float *y, *dy;  /* (history, N, h of the last layer) */
  float *dh, *dc; /* gradients of the states between a step's two parts */
  void *packed;   /* the network with a step's mask of weight_dropout; NULL: the model's packed_rnn does */
  float *gradients;
  int64_t *last_seen; /* (V): in which of the steps that were begun a symbol was read last */
  int64_t begun;
  float **tensor_gradients;
  int64_t *tensor_counts;
  int tensor_count;
  void *reserve[2], *workspace;
};

/* The trainer around a model whose vocabulary is that of the texts. Takes the model, also on failure. */
gk_status gk_language_trainer_begin(gk_language_model *model, const gk_training_desc *desc,
                                    const gk_text *text, const gk_text *validation,
                                    gk_language_trainer **trainer);

int64_t gk_language_trainer_steps_per_epoch(const gk_language_trainer *trainer);
gk_learning_rate_desc gk_language_trainer_rate(const gk_training_desc *desc);
/* GK_ERROR_ARGUMENT: no training can be so. */
gk_status gk_language_trainer_check(const gk_training_desc *desc);

#endif
