/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "src/reference/reference.h"

/* The step that the last state of a column comes from. */
static int64_t last_step(const gk_pool_desc *desc, int64_t column, int64_t length) {
  bool forward =
      desc->direction == GK_FORWARD || (desc->direction == GK_BIDIRECTIONAL && column < desc->width / 2);
  return forward ? length - 1 : 0;
}

/* The first of the largest; a NaN is larger than any number. */
static int64_t largest_step(const double *y, int64_t stride, int64_t length) {
  int64_t best = 0;
  for (int64_t t = 1; t < length && !isnan(y[best * stride]); t++)
    if (y[t * stride] > y[best * stride] || isnan(y[t * stride]))
      best = t;
  return best;
}

void gk_reference_pool(const gk_pool_desc *desc, int64_t time, int64_t batch, const int64_t *lengths,
                       const double *y, double *pooled, const double *dpooled, double *dy) {
  int64_t width = desc->width;
  if (dy)
    memset(dy, 0, (size_t)(time * batch * width) * sizeof(double));
  for (int64_t n = 0; n < batch; n++)
    for (int64_t j = 0; j < width; j++) {
      int64_t length = lengths ? lengths[n] : time;
      int64_t stride = desc->layout == GK_BATCH_FIRST ? width : batch * width;
      int64_t first = (desc->layout == GK_BATCH_FIRST ? n * time : n) * width + j;
      double value = 0;
      if (length && desc->pool == GK_POOL_MEAN) {
        for (int64_t t = 0; t < length; t++) {
          value += y[first + t * stride] / (double)length;
          if (dy)
            dy[first + t * stride] = dpooled[n * width + j] / (double)length;
        }
      } else if (length) {
        int64_t t =
            desc->pool == GK_POOL_LAST ? last_step(desc, j, length) : largest_step(y + first, stride, length);
        value = y[first + t * stride];
        if (dy)
          dy[first + t * stride] = dpooled[n * width + j];
      }
      if (pooled)
        pooled[n * width + j] = value;
    }
}
