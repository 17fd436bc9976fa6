/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_TASKS_VOCABULARY_H
#define GK_TASKS_VOCABULARY_H

#include "gatekern-train.h"

/* Symbols of a text, bytes or code points, in ascending order; a token is a symbol's place there. */
struct gk_vocabulary {
  bool utf8;
  int64_t count;
  uint32_t *symbols;
  int32_t *tokens; /* of each code up to the largest symbol; -1: no symbol */
};

/* `names` are what messages call the texts. */
gk_status gk_vocabulary_from_texts(struct gk_vocabulary *vocabulary, bool utf8, int count,
                                   const gk_text *texts, const char *const *names);
/* `symbols` must be ascending, and bytes or code points. */
gk_status gk_vocabulary_from_symbols(struct gk_vocabulary *vocabulary, bool utf8, int64_t count,
                                     const uint32_t *symbols);
void gk_vocabulary_free(struct gk_vocabulary *vocabulary);

/* The text as tokens, for gk_free. GK_ERROR_FORMAT names the first character that is no symbol. */
gk_status gk_vocabulary_encode(const struct gk_vocabulary *vocabulary, const gk_text *text, const char *name,
                               int32_t **tokens, int64_t *count);
/* gk_language_model_keep_known */
gk_status gk_vocabulary_keep_known(const struct gk_vocabulary *vocabulary, const gk_text *text, void *kept,
                                   gk_known_text *result);
/* The characters of a text that gk_vocabulary_from_texts has read. */
int64_t gk_vocabulary_characters(const struct gk_vocabulary *vocabulary, const gk_text *text);
/* -1: not a symbol */
int32_t gk_vocabulary_token(const struct gk_vocabulary *vocabulary, uint32_t symbol);
/* The bytes of a symbol; returns their number, 1 to 4. */
int gk_vocabulary_decode(const struct gk_vocabulary *vocabulary, int32_t token, char bytes[4]);

#endif
