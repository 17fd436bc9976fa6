/* SPDX-License-Identifier: Apache-2.0
 * Losses of rows: what the output layer and plain arrays have in common. */
#ifndef GK_LAYERS_LOSS_H
#define GK_LAYERS_LOSS_H

#include "kernels/kernels.h"
#include "src/core/status.h"

struct gk_loss_rows {
  const struct gk_kernels *kernels;
  gk_loss_kind kind;
  int64_t rows, columns;
  const int32_t *targets;
  const int32_t *ignored_target;
  const float *values;
  const float *row_weights;
  float label_smoothing, positive_weight, huber_delta, scale;
};

/* Names the argument that does not fit. */
gk_status gk_loss_check(const struct gk_loss_rows *rows);
/* Does row r count? Otherwise it has neither loss nor gradient, and nothing of it is read. */
bool gk_loss_row_counts(const struct gk_loss_rows *rows, int64_t r);
/* The loss of row r, in float; x -> dx (may be x; NULL: the loss alone). */
float gk_loss_of_row(const struct gk_loss_rows *rows, int64_t r, const float *x, float *dx);

#endif
