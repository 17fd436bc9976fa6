/* SPDX-License-Identifier: Apache-2.0 */
#include "src/layers/linear.h"

#include <string.h>

#include "src/core/arena.h"
#include "src/core/random.h"

enum { STRIP = 64 }; /* rows of the weight gradient formed together */

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

void gk_linear_pack(const struct gk_linear *linear, const struct gk_kernels *kernels, unsigned flags,
                    const float *weight, const float *bias, float *packed, int thread, int threads) {
  if (flags & GK_PACK_FORWARD && thread == 0 && linear->has_bias)
    memcpy(packed + linear->bias, bias, linear->out * sizeof(float));
  gk_matrix_pack(
      &(struct gk_packing){
          .kernels = kernels, .flags = flags, .thread = thread, .threads = threads, .packed = packed},
      &linear->forward, &linear->backward, weight);
}

void gk_linear_init(uint64_t seed, uint32_t tensor, int64_t rows, int64_t columns, double bound,
                    float *weight) {
  for (int64_t r = 0; r < rows; r++) {
    const struct gk_random_counter counter = {
        .seed = seed, .purpose = GK_RANDOM_INIT, .layer = tensor, .sample = (uint64_t)r};
    float *row = weight + (size_t)(r * columns);
    gk_random_uniforms(&counter, 0, (size_t)columns, row);
    for (int64_t j = 0; j < columns; j++)
      row[j] = (float)((2.0 * (double)row[j] - 1.0) * bound);
  }
}

static size_t panel_floats(const struct gk_linear *linear) {
  const size_t width = linear->backward.width;
  return (linear->in + width - 1) / width * width * GK_SUM_BLOCK;
}

bool gk_linear_scratch(const struct gk_linear *linear, size_t *floats) {
  *floats = STRIP;
  return gk_size_multiply(floats, (int64_t)(linear->in + 1 + GK_TRANSPOSED_STRIDE)) &&
         gk_size_add(floats, panel_floats(linear)) && gk_size_align(floats, GK_LINE_FLOATS);
}

/* All rows of the sum for the rows [begin, end) of W, at most STRIP. */
static void gradient_strip(const struct gk_linear_gradient *g, size_t begin, size_t end) {
  const size_t in = g->linear->in, rows_of_w = end - begin;
  float *panels = g->scratch, *transposed = panels + panel_floats(g->linear);
  float *finished = transposed + (size_t)STRIP * GK_TRANSPOSED_STRIDE, *finished_bias = finished + STRIP * in;
  float *weight = g->accumulate ? finished : g->weight + begin * in;
  float *bias = g->accumulate || !g->bias ? finished_bias : g->bias + begin;
  int64_t row[GK_SUM_BLOCK];
  const float *source[GK_SUM_BLOCK], *a[STRIP];
  float *c[STRIP];
  for (size_t j = 0; j < rows_of_w; j++) {
    a[j] = transposed + j * GK_TRANSPOSED_STRIDE;
    c[j] = weight + j * in;
  }
  bool first = true;
  for (size_t rows; (rows = g->rows.next(g->rows.context, row)) > 0 || first; first = false) {
    for (size_t r = 0; r < rows; r++)
      source[r] = g->x + (size_t)row[r] * g->x_stride;
    g->kernels->pack_rows(rows, in, source, panels, g->linear->backward.width * GK_SUM_BLOCK, false);
    for (size_t r = 0; r < rows; r++)
      source[r] = g->dy + (size_t)row[r] * g->dy_stride + begin;
    g->kernels->column_sum(rows, rows_of_w, source, bias, first);
    g->kernels->transpose(rows, rows_of_w, source, transposed, GK_TRANSPOSED_STRIDE);
    g->kernels->product(&(struct gk_product){.rows = rows_of_w,
                                             .k = rows,
                                             .sum_block = GK_GRADIENT_BLOCK,
                                             .a = a,
                                             .a_step = 1,
                                             .b = panels,
                                             .panel_stride = g->linear->backward.width * GK_SUM_BLOCK,
                                             .columns = g->linear->backward.columns,
                                             .vector_end = g->linear->backward.vectors,
                                             .c = c,
                                             .overwrite = first});
  }
  if (!g->accumulate)
    return;
  g->kernels->add(rows_of_w * in, finished, g->weight + begin * in);
  if (g->bias)
    g->kernels->add(rows_of_w, finished_bias, g->bias + begin);
}

void gk_linear_gradient(const struct gk_linear_gradient *gradient, int thread, int threads) {
  size_t begin, end;
  gk_split(gradient->linear->out, GK_LINE_FLOATS, thread, threads, &begin, &end);
  for (size_t first = begin; first < end; first += STRIP)
    gradient_strip(gradient, first, end - first < STRIP ? end : first + STRIP);
}
