/* SPDX-License-Identifier: Apache-2.0 */
#include "src/tasks/text_streams.h"

/* n * (count - 1) / batch without an intermediate that wraps. */
static int64_t stream_begin(const struct gk_text_streams *streams, int64_t n) {
  const int64_t targets = streams->count - 1;
  return n * (targets / streams->batch) + n * (targets % streams->batch) / streams->batch;
}

int64_t gk_text_streams_length(const struct gk_text_streams *streams) {
  const int64_t targets = streams->count - 1;
  return targets / streams->batch + (targets % streams->batch != 0);
}

int64_t gk_text_streams_read(const struct gk_text_streams *streams, int64_t first, int64_t time,
                             int32_t *inputs, int32_t *targets) {
  int64_t present = 0;
  for (int64_t n = 0; n < streams->batch; ++n) {
    const int64_t begin = stream_begin(streams, n) + first;
    const int64_t end = stream_begin(streams, n + 1);
    for (int64_t t = 0; t < time; ++t) {
      const int64_t at = begin + t; /* at most count - 2: the longest stream begins early enough */
      inputs[t * streams->batch + n] = streams->tokens[at];
      targets[t * streams->batch + n] = at < end ? streams->tokens[at + 1] : -1;
      present += at < end;
    }
  }
  return present;
}
