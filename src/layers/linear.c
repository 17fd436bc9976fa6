/* SPDX-License-Identifier: Apache-2.0 */
#include "src/layers/linear.h"

#include <string.h>

#include "src/core/arena.h"

static bool place(size_t *floats, size_t *offset, size_t count) {
  *offset = *floats;
  return gk_size_add(floats, count) && gk_size_align(floats, GK_LINE_FLOATS);
}

gk_status gk_linear_create(struct gk_linear *linear, const struct gk_kernels *kernels, int64_t in,
                           int64_t out, bool bias, struct gk_packed_size *packed) {
  static const int plain[1] = {0};
  *linear = (struct gk_linear){.in = (size_t)in, .out = (size_t)out, .has_bias = bias};
  gk_status status = gk_matrix_create(&linear->forward, kernels, linear->in, linear->out, 1, plain, true);
  if (!status)
    status = gk_matrix_create(&linear->backward, kernels, linear->out, linear->in, 1, plain, true);
  if (status)
    return status;
  size_t forward = linear->forward.panel_stride, backward = linear->backward.panel_stride;
  if (!gk_size_multiply(&forward, (int64_t)linear->forward.panels) ||
      !gk_size_multiply(&backward, (int64_t)linear->backward.panels) ||
      !place(&packed->forward, &linear->forward.offset, forward) ||
      !place(&packed->forward, &linear->bias, bias ? linear->out : 0) ||
      !place(&packed->backward, &linear->backward.offset, backward))
    return gk_fail(GK_ERROR_OVERFLOW, "packed weights of %zu x %zu do not fit in memory", linear->out,
                   linear->in);
  packed->fingerprint = gk_packed_fingerprint(gk_packed_fingerprint(packed->fingerprint, in), out);
  return GK_OK;
}

void gk_linear_close(struct gk_linear *linear, const struct gk_packed_size *packed) {
  linear->backward.offset += packed->forward;
}

void gk_linear_destroy(struct gk_linear *linear) {
  gk_matrix_destroy(&linear->forward);
  gk_matrix_destroy(&linear->backward);
}

void gk_linear_pack(const struct gk_linear *linear, const struct gk_packing *packing, const float *weight,
                    const float *bias) {
  if (packing->flags & GK_PACK_FORWARD && packing->thread == 0 && linear->has_bias)
    memcpy(packing->packed + linear->bias, bias, linear->out * sizeof(float));
  gk_matrix_pack(packing, &linear->forward, &linear->backward, weight);
}

bool gk_linear_scratch(const struct gk_matrix *matrix, size_t *floats) {
  size_t needed = matrix->units + 1 + GK_TRANSPOSED_STRIDE, panels = matrix->panels * matrix->width;
  if (!gk_size_multiply(&needed, GK_LINEAR_STRIP) || !gk_size_multiply(&panels, GK_SUM_BLOCK) ||
      !gk_size_add(&needed, panels))
    return false;
  if (*floats < needed)
    *floats = needed;
  return true;
}

void gk_linear_gradient_block(const struct gk_matrix *matrix, const struct gk_kernels *kernels, size_t rows,
                              size_t columns, const float *const *dy, const float *panels, float *transposed,
                              float *weight, bool overwrite) {
  const float *a[GK_LINEAR_STRIP];
  float *c[GK_LINEAR_STRIP];
  for (size_t j = 0; j < columns; j++) {
    a[j] = transposed + j * GK_TRANSPOSED_STRIDE;
    c[j] = weight + j * matrix->units;
  }
  kernels->transpose(rows, columns, dy, transposed, GK_TRANSPOSED_STRIDE);
  const struct gk_product product = gk_matrix_block_product(matrix, panels, columns, rows, a, c, overwrite);
  kernels->product(&product);
}

/* All rows of the sum for the rows [begin, end) of W, at most GK_LINEAR_STRIP. */
static void gradient_strip(const struct gk_linear_gradient *g, size_t begin, size_t end) {
  const size_t in = g->matrix->units, rows_of_w = end - begin;
  float *transposed = g->scratch, *finished = transposed + (size_t)GK_LINEAR_STRIP * GK_TRANSPOSED_STRIDE;
  float *finished_bias = finished + GK_LINEAR_STRIP * in, *panels = finished_bias + GK_LINEAR_STRIP;
  float *weight = g->accumulate ? finished : g->weight + begin * in;
  float *bias = g->accumulate || !g->bias ? finished_bias : g->bias + begin;
  int64_t row[GK_SUM_BLOCK];
  const float *source[GK_SUM_BLOCK];
  bool first = true;
  for (size_t rows; (rows = g->rows.next(g->rows.context, row)) > 0 || first; first = false) {
    for (size_t r = 0; r < rows; r++)
      source[r] = g->x + (size_t)row[r] * g->x_stride;
    gk_matrix_pack_block(g->matrix, g->kernels, rows, source, panels);
    for (size_t r = 0; r < rows; r++)
      source[r] = g->dy + (size_t)row[r] * g->dy_stride + begin;
    if (g->bias)
      g->kernels->column_sum(rows, rows_of_w, source, bias, first);
    gk_linear_gradient_block(g->matrix, g->kernels, rows, rows_of_w, source, panels, transposed, weight,
                             first);
  }
  if (!g->accumulate)
    return;
  g->kernels->add(rows_of_w * in, finished, g->weight + begin * in);
  if (g->bias)
    g->kernels->add(rows_of_w, finished_bias, g->bias + begin);
}

void gk_linear_gradient(const struct gk_linear_gradient *gradient, int thread, int threads) {
  size_t begin, end;
  gk_split(gradient->matrix->k, GK_LINE_FLOATS, thread, threads, &begin, &end);
  for (size_t first = begin; first < end; first += GK_LINEAR_STRIP)
    gradient_strip(gradient, first, end - first < GK_LINEAR_STRIP ? end : first + GK_LINEAR_STRIP);
}
