/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks of arguments that many functions take, each with one wording. GK_ERROR_ARGUMENT. */
#ifndef GK_CORE_ARGUMENTS_H
#define GK_CORE_ARGUMENTS_H

#include "src/core/status.h"

/* The size of a caller's struct, of which `expected` bytes are known here; init: what sets it. Inline,
 * because libgatekern-train sees only what libgatekern exports. */
static inline gk_status gk_check_size_field(const char *name, size_t size, size_t expected,
                                            const char *init) {
  return size == expected
             ? GK_OK
             : gk_fail(GK_ERROR_ARGUMENT, "%s.size is %zu, must be %zu (%s)", name, size, expected, init);
}

struct gk_named_pointer {
  const char *name;
  const void *pointer;
};
/* Names the first one that is NULL. Inline for the same reason. */
static inline gk_status gk_check_pointers(size_t count, const struct gk_named_pointer *pointers) {
  for (size_t i = 0; i < count; i++)
    if (!pointers[i].pointer)
      return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", pointers[i].name);
  return GK_OK;
}
/* The same of a list: GK_CHECK_POINTERS({"rnn", rnn}, {"args", args}). */
#define GK_CHECK_POINTERS(...)                                                                               \
  gk_check_pointers(sizeof((struct gk_named_pointer[]){__VA_ARGS__}) / sizeof(struct gk_named_pointer),      \
                    (struct gk_named_pointer[]){__VA_ARGS__})

/* least..most; `above` is the status of a value above. */
gk_status gk_check_range(const char *name, int64_t value, int64_t least, int64_t most, gk_status above);
/* 0..count-1. */
gk_status gk_check_choice(const char *name, int64_t value, int64_t count);
gk_status gk_check_not_negative(const char *name, int64_t value);
gk_status gk_check_time_and_batch(int64_t time, int64_t batch);
/* Of floats: not negative; GK_ERROR_OVERFLOW if no memory holds so many. */
gk_status gk_check_count(const char *name, int64_t count);
/* GK_ERROR_OVERFLOW if no memory holds so many rows of `width` floats, whose name is `name`; rows must not be
 * negative. To be asked, as the next one, before anything is read that a caller's size counts. */
gk_status gk_check_rows(int64_t rows, const char *name, int64_t width);
/* The same of an array (time, batch, width), of a row and of a length for each sample, of sizes that are not
 * negative; whose: as of gk_check_lengths. */
gk_status gk_check_sequence(const char *whose, int64_t time, int64_t batch, int64_t width);
/* Lengths, or NULL, of samples of `time` steps; whose: "" or what both names begin with, as "source_". */
gk_status gk_check_lengths(const char *whose, const int64_t *lengths, int64_t batch, int64_t time);
/* The first `most` tokens of each sample, as far as it has them. */
gk_status gk_check_tokens(const int32_t *tokens, int64_t vocabulary, gk_layout layout, int64_t time,
                          int64_t batch, const int64_t *lengths, int64_t most);

#endif
