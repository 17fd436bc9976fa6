/* SPDX-License-Identifier: Apache-2.0
 *
 * Token inputs without one-hot products: the embedding rows of the distinct tokens of a call are multiplied
 * by the input weights once; steps gather the results, and backward scatters into them in the order of the
 * backward sweep. */
#ifndef GK_LAYERS_EMBEDDING_H
#define GK_LAYERS_EMBEDDING_H

#include "src/core/arena.h"
#include "src/core/status.h"

struct gk_embedding {
  int64_t vocabulary;
  int64_t distinct;  /* U */
  int32_t *slot;     /* [V] index among the distinct tokens, -1 if absent */
  int32_t *token;    /* [U] ascending */
  size_t row_floats; /* from row to row of table and block */
  float *table;      /* (U, gates row): forward pre-activations, or the gradient of them */
  float *block;      /* backward: the sum of the current block of each row of table */
  uint32_t *pending; /* backward, [threads][U]: rows in the current block */
};

/* Room for min(V, T * N) distinct tokens. */
void gk_embedding_cut(struct gk_embedding *embedding, struct gk_arena *arena, int64_t vocabulary,
                      int64_t inputs, int64_t row_floats, int threads, bool backward);
/* Marks the tokens of (t, n) for t < lengths[n] (NULL: all); the caller has checked their range. row(t, n) is
 * t * time_stride + n * batch_stride. */
void gk_embedding_distinct(struct gk_embedding *embedding, const int32_t *tokens, int64_t time, int64_t batch,
                           const int64_t *lengths, int64_t time_stride, int64_t batch_stride);

#endif
