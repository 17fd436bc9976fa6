/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/arguments.h"

#include "src/core/layout.h"
#include "src/core/size.h"

gk_status gk_check_range(const char *name, int64_t value, int64_t least, int64_t most, gk_status above) {
  return value < least || value > most
             ? gk_fail(value < least ? GK_ERROR_ARGUMENT : above, "%s is %lld, must be %lld..%lld", name,
                       (long long)value, (long long)least, (long long)most)
             : GK_OK;
}

gk_status gk_check_choice(const char *name, int64_t value, int64_t count) {
  return gk_check_range(name, value, 0, count - 1, GK_ERROR_ARGUMENT);
}

gk_status gk_check_not_negative(const char *name, int64_t value) {
  return value < 0 ? gk_fail(GK_ERROR_ARGUMENT, "%s is %lld, must not be negative", name, (long long)value)
                   : GK_OK;
}

gk_status gk_check_time_and_batch(int64_t time, int64_t batch) {
  const gk_status status = gk_check_not_negative("time", time);
  return status ? status : gk_check_not_negative("batch", batch);
}

gk_status gk_check_count(const char *name, int64_t count) {
  size_t bytes;
  const gk_status status = gk_check_not_negative(name, count);
  if (status)
    return status;
  return gk_size_array(&bytes, sizeof(float), count, 1, 1)
             ? GK_OK
             : gk_fail(GK_ERROR_OVERFLOW, "%s is %lld, which do not fit in memory", name, (long long)count);
}

gk_status gk_check_rows(int64_t rows, const char *name, int64_t width) {
  size_t bytes;
  const gk_status status = gk_check_not_negative("rows", rows);
  if (status)
    return status;
  return gk_size_array(&bytes, sizeof(float), rows, width, 1)
             ? GK_OK
             : gk_fail(GK_ERROR_OVERFLOW, "rows %lld x %s %lld do not fit in memory", (long long)rows, name,
                       (long long)width);
}

gk_status gk_check_sequence(const char *whose, int64_t time, int64_t batch, int64_t width) {
  enum { SMALL = 1 << 20 }; /* three of these by eight bytes fit; a streaming step asks here, too */
  size_t bytes;
  if (time < SMALL && batch < SMALL && width < SMALL)
    return GK_OK;
  if (gk_size_array(&bytes, sizeof(float), time > 1 ? time : 1, batch, width) &&
      gk_size_array(&bytes, sizeof(int64_t), batch, 1, 1))
    return GK_OK;
  return gk_fail(GK_ERROR_OVERFLOW, "%stime %lld x batch %lld rows of %lld do not fit in memory", whose,
                 (long long)time, (long long)batch, (long long)width);
}

gk_status gk_check_lengths(const char *whose, const int64_t *lengths, int64_t batch, int64_t time) {
  for (int64_t n = 0; n < batch && lengths; n++)
    if (lengths[n] < 0 || lengths[n] > time)
      return gk_fail(GK_ERROR_ARGUMENT, "%slengths[%lld] is %lld, must be 0..%lld (%stime)", whose,
                     (long long)n, (long long)lengths[n], (long long)time, whose);
  return GK_OK;
}

gk_status gk_check_tokens(const int32_t *tokens, int64_t vocabulary, gk_layout layout, int64_t time,
                          int64_t batch, const int64_t *lengths, int64_t most) {
  for (int64_t n = 0; n < batch; n++)
    for (int64_t t = 0; t < most && t < (lengths ? lengths[n] : time); t++) {
      const int32_t token = tokens[gk_layout_row(layout, time, batch, t, n)];
      if (token < 0 || token >= vocabulary)
        return gk_fail(GK_ERROR_ARGUMENT, "tokens at time %lld, sample %lld is %ld, must be 0..%lld",
                       (long long)t, (long long)n, (long)token, (long long)vocabulary - 1);
    }
  return GK_OK;
}
