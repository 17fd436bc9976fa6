/* SPDX-License-Identifier: Apache-2.0
 * Losses over plain arrays, row by row: a row's loss is a float, their sum is in double from the last row to
 * the first, as the output layer takes them. */
#include "src/layers/loss.h"

#include <math.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/matrix.h"
#include "src/core/names.h"
#include "src/core/parallel.h"
#include "src/core/threads.h"

static const char *const loss_names[] = {[GK_LOSS_SOFTMAX] = "softmax",
                                         [GK_LOSS_BINARY] = "binary",
                                         [GK_LOSS_SQUARED] = "squared",
                                         [GK_LOSS_HUBER] = "huber"};
GK_NAMES_OF(loss, gk_loss_kind, kind)

bool gk_loss_row_counts(const struct gk_loss_rows *rows, int64_t r) {
  if (rows->row_weights && rows->row_weights[r] == 0)
    return false;
  if (rows->kind != GK_LOSS_SOFTMAX)
    return true;
  return rows->targets[r] >= 0 && !(rows->ignored_target && rows->targets[r] == *rows->ignored_target);
}

static gk_status check_values(const struct gk_loss_rows *rows) {
  const gk_status status = gk_check_choice("kind", (int)rows->kind, gk_loss_count());
  if (status)
    return status;
  if (!(rows->label_smoothing >= 0 && rows->label_smoothing <= 1))
    return gk_fail(GK_ERROR_ARGUMENT, "label_smoothing is %g, must be 0..1", (double)rows->label_smoothing);
  if (rows->label_smoothing != 0 && rows->kind != GK_LOSS_SOFTMAX)
    return gk_fail(GK_ERROR_UNSUPPORTED, "label_smoothing is %g and the loss is %s: only softmax has labels",
                   (double)rows->label_smoothing, loss_names[rows->kind]);
  if (!(rows->positive_weight >= 0 && isfinite(rows->positive_weight)))
    return gk_fail(GK_ERROR_ARGUMENT, "positive_weight is %g, must be finite and at least 0",
                   (double)rows->positive_weight);
  if (!(rows->huber_delta >= 0 && isfinite(rows->huber_delta)))
    return gk_fail(GK_ERROR_ARGUMENT, "huber_delta is %g, must be finite and at least 0",
                   (double)rows->huber_delta);
  return GK_OK;
}

static gk_status check(const struct gk_loss_rows *rows) {
  gk_status status = check_values(rows);
  if (status)
    return status;
  if (rows->rows && rows->kind == GK_LOSS_SOFTMAX && !rows->targets)
    return gk_fail(GK_ERROR_ARGUMENT, "targets is NULL");
  if (rows->rows && rows->kind != GK_LOSS_SOFTMAX && !rows->values)
    return gk_fail(GK_ERROR_ARGUMENT, "values is NULL, and the loss is %s", loss_names[rows->kind]);
  for (int64_t r = 0; r < rows->rows && rows->row_weights; r++)
    if (!(rows->row_weights[r] >= 0 && isfinite(rows->row_weights[r])))
      return gk_fail(GK_ERROR_ARGUMENT, "row_weights[%lld] is %g, must be finite and at least 0",
                     (long long)r, (double)rows->row_weights[r]);
  for (int64_t r = 0; r < rows->rows && rows->kind == GK_LOSS_SOFTMAX; r++)
    if (rows->targets[r] >= rows->columns && gk_loss_row_counts(rows, r))
      return gk_fail(GK_ERROR_ARGUMENT, "targets[%lld] is %ld, must be below %lld, the number of classes",
                     (long long)r, (long)rows->targets[r], (long long)rows->columns);
  return GK_OK;
}

gk_status gk_loss_check(const struct gk_loss_rows *rows) {
  /* Or the smallest weights would be zero here, whose rows' targets need not exist, and count later. */
  const uint64_t callers = gk_float_environment_pin();
  const gk_status status = check(rows);
  gk_float_environment_restore(callers);
  return status;
}

float gk_loss_of_row(const struct gk_loss_rows *rows, int64_t r, const float *x, float *dx) {
  if (!gk_loss_row_counts(rows, r)) {
    if (dx)
      memset(dx, 0, (size_t)rows->columns * sizeof *dx);
    return 0;
  }
  const float weight = rows->row_weights ? rows->row_weights[r] : 1;
  const struct gk_loss_row row = {
      .count = (size_t)rows->columns,
      .x = x,
      .values = rows->kind == GK_LOSS_SOFTMAX ? NULL : rows->values + (size_t)r * (size_t)rows->columns,
      .target = rows->kind == GK_LOSS_SOFTMAX ? (size_t)rows->targets[r] : 0,
      .scale = rows->scale * weight,
      .smoothing = rows->label_smoothing,
      .positive_weight = rows->positive_weight != 0 ? rows->positive_weight : 1,
      .delta = rows->huber_delta != 0 ? rows->huber_delta : 1,
      .dx = dx};
  const struct gk_kernels *kernels = rows->kernels;
  float loss;
  switch (rows->kind) {
  case GK_LOSS_BINARY:
    loss = kernels->binary_loss(&row);
    break;
  case GK_LOSS_SQUARED:
    loss = kernels->squared_loss(&row);
    break;
  case GK_LOSS_HUBER:
    loss = kernels->huber_loss(&row);
    break;
  default:
    loss = kernels->softmax_loss(&row);
  }
  return weight * loss;
}

/* ---- Plain arrays ---- */

struct loss_call {
  struct gk_loss_rows rows;
  const float *x;
  float *dx;
  int64_t first; /* of the block */
  size_t count;
  float losses[GK_SUM_BLOCK];
};

static void loss_body(void *context, int thread, int threads) {
  struct loss_call *call = context;
  const size_t columns = (size_t)call->rows.columns;
  size_t begin, end;
  gk_split(call->count, 1, thread, threads, &begin, &end);
  for (size_t r = begin; r < end; r++) {
    const size_t at = ((size_t)call->first + r) * columns;
    call->losses[r] =
        gk_loss_of_row(&call->rows, call->first + (int64_t)r, call->x + at, call->dx ? call->dx + at : NULL);
  }
}

static gk_status open_call(struct loss_call *call, const gk_loss_args *args) {
  const struct gk_kernels *kernels;
  const gk_status status = gk_kernels_for(args->isa, args->math, &kernels);
  if (status)
    return status;
  *call = (struct loss_call){.rows = {.kernels = kernels,
                                      .kind = args->kind,
                                      .rows = args->rows,
                                      .columns = args->columns,
                                      .targets = args->targets,
                                      .ignored_target = args->ignored_target,
                                      .values = args->values,
                                      .row_weights = args->row_weights,
                                      .label_smoothing = args->label_smoothing,
                                      .positive_weight = args->positive_weight,
                                      .huber_delta = args->huber_delta,
                                      .scale = args->gradient_scale},
                             .x = args->x,
                             .dx = args->dx};
  return gk_loss_check(&call->rows);
}

static double sum_losses(struct loss_call *call, int threads) {
  const uint64_t callers = gk_float_environment_pin();
  double loss = 0;
  for (int64_t end = call->rows.rows; end > 0; end -= GK_SUM_BLOCK) {
    call->first = end > GK_SUM_BLOCK ? end - GK_SUM_BLOCK : 0;
    call->count = (size_t)(end - call->first);
    gk_parallel(call->count * (size_t)call->rows.columns < GK_SHARED_VALUES ? 1 : threads, loss_body, call);
    for (size_t r = call->count; r-- > 0;)
      loss += (double)call->losses[r];
  }
  gk_float_environment_restore(callers);
  return loss;
}

gk_status gk_loss_gradient(const gk_loss_args *args) {
  if (!args)
    return gk_fail(GK_ERROR_ARGUMENT, "args is NULL");
  gk_status status = gk_check_size_field("args", args->size, sizeof *args, "GK_LOSS_ARGS_INIT");
  if (status)
    return status;
  if (args->columns < 1)
    return gk_fail(GK_ERROR_ARGUMENT, "columns is %lld, must be at least 1", (long long)args->columns);
  status = gk_check_rows(args->rows, "columns", args->columns);
  if (status)
    return status;
  if (args->rows && !args->x)
    return gk_fail(GK_ERROR_ARGUMENT, "x is NULL");
  status = gk_check_threads(args->threads);
  if (status)
    return status;
  struct loss_call call;
  status = open_call(&call, args);
  if (status)
    return status;
  const double loss = sum_losses(&call, gk_resolve_threads(args->threads));
  if (args->loss)
    *args->loss = loss;
  return GK_OK;
}
