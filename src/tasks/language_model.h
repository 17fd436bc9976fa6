/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_TASKS_LANGUAGE_MODEL_H
#define GK_TASKS_LANGUAGE_MODEL_H

#include "src/tasks/vocabulary.h"
#include "src/train/checkpoint.h"

struct gk_language_model {
  gk_language_model_desc desc;
  struct gk_vocabulary vocabulary;
  gk_rnn *rnn; /* time-major, forward, with the vocabulary's tokens as inputs */
  gk_output *output;
  int64_t rnn_count; /* parameters of the recurrent part, and of the output layer */
  int64_t output_count;
  float *parameters;                   /* first the one, then the other */
  unsigned pack_flags, rnn_pack_flags; /* of both, and those of them that the recurrent part is packed with */
  void *packed_rnn, *packed_output;    /* gk_language_model_pack */
  gk_language_watcher *watcher;        /* NULL: none */
  void *watcher_context;
};

/* Bytes of what a model holds. */
struct gk_language_model_memory {
  size_t parameters, packed_rnn, packed_output;
};

/* The model without memory for parameters, so that a file can be compared with their shapes first. Takes
 * the vocabulary, also on failure. */
gk_status gk_language_model_create_plans(const gk_language_model_desc *desc, struct gk_vocabulary *vocabulary,
                                         unsigned pack_flags, gk_language_model **model);
/* How much that is; also sets rnn_count and output_count. */
gk_status gk_language_model_memory_needed(gk_language_model *model, struct gk_language_model_memory *needed);
/* That memory; parameters are zero and not packed. */
gk_status gk_language_model_allocate(gk_language_model *model);
/* What a text begins from: zeros, or the trained states, for each sample. h and c as gk_rnn_forward takes h0
 * and c0; c NULL: not wanted, or a cell without memory. */
gk_status gk_language_model_initial_states(const gk_language_model *model, int64_t batch, float *h, float *c);
/* To be called after each change of the parameters. */
gk_status gk_language_model_pack(gk_language_model *model);

/* Calls the watcher, if there is one. */
void gk_language_model_tell(const gk_language_model *model, int64_t done, int64_t total, double nats);

gk_status gk_language_model_evaluate_tokens(const gk_language_model *model, const int32_t *tokens,
                                            int64_t count, gk_language_loss *loss);

/* A model's file that also has `extra` tensors, and `training` (may be NULL) in its description. */
gk_status gk_language_model_write(const gk_language_model *model, const char *path, const json_t *training,
                                  int extra_count, const gk_file_tensor *extra);
/* All but the symbols, into a desc that is GK_LANGUAGE_MODEL_DESC_INIT. *sizes, NULL before: what
 * network.hidden_sizes points to, for gk_free, also on failure. */
gk_status gk_language_model_read_description(const struct gk_checkpoint *checkpoint,
                                             gk_language_model_desc *desc, int64_t **sizes);
/* The model of an open file; packed. */
gk_status gk_language_model_read(const struct gk_checkpoint *checkpoint, const gk_language_model_desc *plan,
                                 unsigned pack_flags, gk_language_model **model);

#endif
