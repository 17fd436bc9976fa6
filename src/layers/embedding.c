/* SPDX-License-Identifier: Apache-2.0 */
#include "src/layers/embedding.h"

#include <string.h>

void gk_embedding_cut(struct gk_embedding *embedding, struct gk_arena *arena, int64_t vocabulary,
                      int64_t inputs, int64_t row_floats, int threads, bool backward) {
  const int64_t most = inputs < vocabulary ? inputs : vocabulary;
  embedding->vocabulary = vocabulary;
  embedding->row_floats = (size_t)row_floats;
  embedding->slot = gk_arena_take(arena, sizeof *embedding->slot, vocabulary, 1, 1);
  embedding->token = gk_arena_take(arena, sizeof *embedding->token, most, 1, 1);
  embedding->table = gk_arena_take(arena, sizeof *embedding->table, most, row_floats, 1);
  if (!backward)
    return;
  embedding->block = gk_arena_take(arena, sizeof *embedding->block, most, row_floats, 1);
  embedding->pending = gk_arena_take(arena, sizeof *embedding->pending, most, threads, 1);
}

void gk_embedding_distinct(struct gk_embedding *embedding, const int32_t *tokens, int64_t time, int64_t batch,
                           const int64_t *lengths, int64_t time_stride, int64_t batch_stride) {
  memset(embedding->slot, 0, (size_t)embedding->vocabulary * sizeof *embedding->slot);
  for (int64_t n = 0; n < batch; n++) {
    const int64_t length = lengths ? lengths[n] : time;
    for (int64_t t = 0; t < length; t++)
      embedding->slot[tokens[t * time_stride + n * batch_stride]] = 1;
  }
  embedding->distinct = 0;
  for (int64_t token = 0; token < embedding->vocabulary; token++) {
    if (!embedding->slot[token]) {
      embedding->slot[token] = -1;
      continue;
    }
    embedding->token[embedding->distinct] = (int32_t)token;
    embedding->slot[token] = (int32_t)embedding->distinct++;
  }
}
