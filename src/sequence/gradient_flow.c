/* SPDX-License-Identifier: Apache-2.0
 * Gradient flow: the norm of the gradient of h against time. A row is whole only when all its strips have
 * come by, in teams from several threads, so it is kept until then; the norm is one reduction in the fixed
 * order. */
#include <math.h>

#include "src/sequence/rows.h"

static float *kept_row(const struct gk_run *run, int64_t s, int64_t i) {
  return run->flow + gk_run_row(run, 2, s % 2, i) * gk_padded(run->rnn->widest_output);
}

/* By the kernel of all such sums. The row, which nobody needs after this, is brought near 1 by a power of two
 * first, which is exact: what vanishes or explodes has squares beyond a float's range. */
static float norm(const struct gk_kernels *kernels, size_t count, float *x) {
  enum { LEAST = -126 };
  float top = 0;
  int exponent = 0;
  for (size_t i = 0; i < count; i++)
    if (fabsf(x[i]) > top)
      top = fabsf(x[i]);
  if (isfinite(top))
    frexpf(top, &exponent);
  if (exponent < LEAST)
    exponent = LEAST;
  const float scale = ldexpf(1, -exponent);
  for (size_t i = 0; i < count; i++)
    x[i] *= scale;
  return (float)ldexp(sqrt((double)kernels->sum_squares(count, x)), exponent);
}

static float *norm_of(const struct gk_run *run, int index, int64_t t, int64_t i) {
  return run->dh_norms + (size_t)((index * run->time + t) * run->batch + run->order[i]);
}

void gk_flow_clear(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  if (!gk_worker_leads(worker))
    return;
  for (int64_t j = 0; j < worker->count; j++) {
    const int64_t i = gk_worker_position(worker, j);
    for (int index = 0; index < run->rnn->layer_count; index++)
      for (int64_t t = run->length[i]; t < run->time; t++)
        *norm_of(run, index, t, i) = 0;
  }
}

void gk_flow_keep(const struct gk_worker *worker, const struct gk_cell_backward *cell, int64_t s) {
  const struct gk_kernels *kernels = worker->run->rnn->kernels;
  const size_t begin = cell->unit_begin;
  for (size_t j = 0; j < cell->rows; j++) {
    float *row = kept_row(worker->run, s, gk_worker_position(worker, (int64_t)j));
    for (size_t unit = begin; unit < cell->unit_end; unit++)
      row[unit] = cell->dy ? cell->dy[j][unit] + cell->dh[j][unit] : cell->dh[j][unit];
    kernels->flush(cell->unit_end - begin, row + begin, row + begin);
  }
}

void gk_flow_norms(const struct gk_worker *worker, int layer, int direction, int64_t s) {
  const struct gk_run *run = worker->run;
  const int64_t rows = gk_worker_rows(worker, s), row_step = gk_worker_row_step(worker);
  for (int64_t j = gk_worker_row_begin(worker); j < rows; j += row_step) {
    const int64_t i = gk_worker_position(worker, j);
    const int64_t t = gk_run_time(run, direction, s, run->length[i]);
    *norm_of(run, layer * run->rnn->directions + direction, t, i) =
        norm(run->rnn->kernels, gk_run_layer(run, layer, direction)->output, kept_row(run, s, i));
  }
}
