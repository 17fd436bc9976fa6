/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_TASKS_TEXT_STREAMS_H
#define GK_TASKS_TEXT_STREAMS_H

#include <stdint.h>

/* A text cut into `batch` streams that are read side by side. Stream n predicts the tokens number
 * 1 + n * (count - 1) / batch up to that of n + 1, so each token but the first is one stream's target. */
struct gk_text_streams {
  const int32_t *tokens;
  int64_t count; /* >= 2 */
  int64_t batch; /* 1..count - 1 */
};

/* Steps of the longest stream; the shortest has one less. */
int64_t gk_text_streams_length(const struct gk_text_streams *streams);

/* Steps first ... first + time - 1 of every stream as (time, batch) arrays; a target past the end of its
 * stream is -1. Returns the number of other targets. */
int64_t gk_text_streams_read(const struct gk_text_streams *streams, int64_t first, int64_t time,
                             int32_t *inputs, int32_t *targets);

#endif
