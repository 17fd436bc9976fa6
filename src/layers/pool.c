/* SPDX-License-Identifier: Apache-2.0
 * Pooling over time: one row a sample from all rows of its valid steps. Threads share samples. */
#include <string.h>

#include "dispatch/dispatch.h"
#include "src/core/arguments.h"
#include "src/core/layout.h"
#include "src/core/matrix.h"
#include "src/core/names.h"
#include "src/core/parallel.h"
#include "src/core/status.h"
#include "src/core/threads.h"

enum { STEPS = GK_SUM_BLOCK, COLUMNS = 256, FLOATS_A_THREAD = 100000 };

static const char *const pool_names[] = {
    [GK_POOL_LAST] = "last", [GK_POOL_MEAN] = "mean", [GK_POOL_MAX] = "max"};
GK_NAMES_OF(pool, gk_pool, pool)

struct pooling {
  const gk_pool_desc *desc;
  const struct gk_kernels *kernels;
  int64_t time, batch;
  const int64_t *lengths;
  const float *y, *dpooled;
  float *pooled, *dy;
  int32_t *step;
  const int32_t *from_step;
};

static size_t row_at(const struct pooling *p, int64_t t, int64_t n) {
  return (size_t)gk_layout_row(p->desc->layout, p->time, p->batch, t, n) * (size_t)p->desc->width;
}

static int64_t length_of(const struct pooling *p, int64_t n) {
  return p->lengths ? p->lengths[n] : p->time;
}

/* Columns of the last state that a walk forward in time ends with; those of the other one come after. */
static size_t forward_columns(const gk_pool_desc *desc) {
  const size_t width = (size_t)desc->width;
  return desc->direction == GK_FORWARD ? width : desc->direction == GK_REVERSE ? 0 : width / 2;
}

/* Mean or max of some columns of one sample, block by block of its steps. The sums of STEPS blocks are added
 * up first, so that no sum has more than STEPS terms up to 2^24 steps. */
static void pool_columns(const struct pooling *p, int64_t n, size_t column, size_t columns) {
  const int64_t length = length_of(p, n), together = (int64_t)STEPS * STEPS;
  const size_t to = (size_t)n * (size_t)p->desc->width + column;
  float *pooled = p->pooled + to, later[COLUMNS];
  int32_t unwanted[COLUMNS];
  int32_t *step = p->step ? p->step + to : unwanted;
  const float *source[STEPS];
  for (int64_t t = 0; t < length; t += STEPS) {
    const size_t rows = (size_t)(length - t < STEPS ? length - t : STEPS);
    for (size_t r = 0; r < rows; r++)
      source[r] = p->y + row_at(p, t + (int64_t)r, n) + column;
    if (p->desc->pool == GK_POOL_MAX) {
      p->kernels->column_max(rows, columns, source, (int32_t)t, pooled, step, t == 0);
      continue;
    }
    p->kernels->column_sum(rows, columns, source, t < together ? pooled : later, t % together == 0);
    if (t >= together && ((t + STEPS) % together == 0 || t + STEPS >= length))
      for (size_t j = 0; j < columns; j++)
        pooled[j] += later[j];
  }
  for (size_t j = 0; j < columns && p->desc->pool == GK_POOL_MEAN; j++)
    pooled[j] /= (float)length;
}

static void forward_body(void *context, int thread, int threads) {
  const struct pooling *p = context;
  const size_t width = (size_t)p->desc->width, columns = forward_columns(p->desc);
  size_t begin, end;
  gk_split((size_t)p->batch, 1, thread, threads, &begin, &end);
  for (int64_t n = (int64_t)begin; n < (int64_t)end; n++) {
    float *pooled = p->pooled + (size_t)n * width;
    const int64_t length = length_of(p, n);
    for (size_t j = 0; j < width && p->step && (length == 0 || p->desc->pool != GK_POOL_MAX); j++)
      p->step[(size_t)n * width + j] = -1;
    if (length == 0) {
      memset(pooled, 0, width * sizeof *pooled);
    } else if (p->desc->pool == GK_POOL_LAST) {
      memcpy(pooled, p->y + row_at(p, length - 1, n), columns * sizeof *pooled);
      memcpy(pooled + columns, p->y + row_at(p, 0, n) + columns, (width - columns) * sizeof *pooled);
    } else {
      for (size_t j = 0; j < width; j += COLUMNS)
        pool_columns(p, n, j, width - j < COLUMNS ? width - j : COLUMNS);
    }
  }
}

/* The mean's gradient, the same at every step. */
static void spread(const struct pooling *p, int64_t n, int64_t length) {
  const size_t width = (size_t)p->desc->width;
  float *first = p->dy + row_at(p, 0, n);
  for (size_t j = 0; j < width; j++)
    first[j] = p->dpooled[(size_t)n * width + j] / (float)length;
  for (int64_t t = 1; t < length; t++)
    memcpy(p->dy + row_at(p, t, n), first, width * sizeof *first);
}

static void backward_body(void *context, int thread, int threads) {
  const struct pooling *p = context;
  const size_t width = (size_t)p->desc->width, columns = forward_columns(p->desc);
  size_t begin, end;
  gk_split((size_t)p->batch, 1, thread, threads, &begin, &end);
  for (int64_t n = (int64_t)begin; n < (int64_t)end; n++) {
    const float *d = p->dpooled + (size_t)n * width;
    const int32_t *step = p->from_step ? p->from_step + (size_t)n * width : NULL;
    const int64_t length = length_of(p, n);
    for (int64_t t = p->desc->pool == GK_POOL_MEAN ? length : 0; t < p->time; t++)
      memset(p->dy + row_at(p, t, n), 0, width * sizeof *p->dy);
    if (length == 0)
      continue;
    if (p->desc->pool == GK_POOL_LAST) {
      memcpy(p->dy + row_at(p, length - 1, n), d, columns * sizeof *d);
      memcpy(p->dy + row_at(p, 0, n) + columns, d + columns, (width - columns) * sizeof *d);
    } else if (p->desc->pool == GK_POOL_MEAN) {
      spread(p, n, length);
    } else {
      for (size_t j = 0; j < width; j++)
        p->dy[row_at(p, step[j], n) + j] = d[j];
    }
  }
}

static gk_status check_description(const gk_pool_desc *d) {
  if (!d)
    return gk_fail(GK_ERROR_ARGUMENT, "desc is NULL");
  gk_status status = gk_check_size_field("desc", d->size, sizeof *d, "GK_POOL_DESC_INIT");
  if (!status)
    status = gk_check_choice("pool", (int)d->pool, gk_pool_count());
  if (!status)
    status = gk_check_choice("direction", (int)d->direction, gk_direction_count());
  if (!status)
    status = gk_check_choice("layout", (int)d->layout, gk_layout_count());
  if (status)
    return status;
  if (d->width < 1)
    return gk_fail(GK_ERROR_ARGUMENT, "width is %lld, must be at least 1", (long long)d->width);
  if (d->pool == GK_POOL_LAST && d->direction == GK_BIDIRECTIONAL && d->width % 2)
    return gk_fail(GK_ERROR_ARGUMENT, "width is %lld, must be even for the last states of two directions",
                   (long long)d->width);
  return gk_check_threads(d->threads);
}

static gk_status check_sizes(const gk_pool_desc *d, const struct pooling *p) {
  gk_status status = gk_check_time_and_batch(p->time, p->batch);
  if (status)
    return status;
  if (d->pool == GK_POOL_MAX && p->time > INT32_MAX) /* steps are int32_t */
    return gk_fail(GK_ERROR_OVERFLOW, "time is %lld, must be at most %d for max", (long long)p->time,
                   INT32_MAX);
  status = gk_check_sequence("", p->time, p->batch, d->width);
  return status ? status : gk_check_lengths("", p->lengths, p->batch, p->time);
}

static gk_status run(const gk_pool_desc *desc, struct pooling *p,
                     void (*body)(void *context, int thread, int threads)) {
  const gk_status status = gk_kernels_for(desc->isa, GK_MATH_OWN, &p->kernels);
  if (status)
    return status;
  p->desc = desc;
  const double most = 1 + (double)p->time * (double)p->batch * (double)desc->width / FLOATS_A_THREAD;
  int threads = gk_resolve_threads(desc->threads);
  if (!desc->threads && threads > most)
    threads = (int)most;
  gk_parallel(threads > p->batch ? (int)p->batch : threads, body, p);
  return GK_OK;
}

gk_status gk_pool_forward(const gk_pool_desc *desc, int64_t time, int64_t batch, const int64_t *lengths,
                          const float *y, float *pooled, int32_t *steps) {
  struct pooling p = {
      .time = time, .batch = batch, .lengths = lengths, .y = y, .pooled = pooled, .step = steps};
  gk_status status = check_description(desc);
  if (!status)
    status = check_sizes(desc, &p);
  if (status || batch == 0)
    return status;
  status = time ? GK_CHECK_POINTERS({"pooled", pooled}, {"y", y}) : GK_CHECK_POINTERS({"pooled", pooled});
  return status ? status : run(desc, &p, forward_body);
}

gk_status gk_pool_backward(const gk_pool_desc *desc, int64_t time, int64_t batch, const int64_t *lengths,
                           const int32_t *steps, const float *dpooled, float *dy) {
  struct pooling p = {
      .time = time, .batch = batch, .lengths = lengths, .from_step = steps, .dpooled = dpooled, .dy = dy};
  gk_status status = check_description(desc);
  if (!status)
    status = check_sizes(desc, &p);
  if (status || batch == 0 || time == 0)
    return status;
  status = GK_CHECK_POINTERS({"dpooled", dpooled}, {"dy", dy});
  if (status)
    return status;
  if (desc->pool == GK_POOL_MAX && !steps)
    return gk_fail(GK_ERROR_ARGUMENT, "steps is NULL: the gradient of max goes where forward found it");
  for (int64_t n = 0; n < batch && desc->pool == GK_POOL_MAX; n++)
    for (int64_t j = 0; j < desc->width && length_of(&p, n); j++) {
      const int32_t step = steps[n * desc->width + j];
      if (step < 0 || step >= length_of(&p, n))
        return gk_fail(GK_ERROR_ARGUMENT, "steps[%lld, %lld] is %d, must be 0..%lld", (long long)n,
                       (long long)j, step, (long long)length_of(&p, n) - 1);
    }
  return run(desc, &p, backward_body);
}
