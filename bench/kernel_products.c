/* SPDX-License-Identifier: Apache-2.0
 * Kernels on matrices: products, packing, sums over rows, attention's reads; the loops that measure a
 * machine. */

#include "kernel_flop.h"
#include "kernel_work.h"

/* B of columns: a panel's width of them at a time. */
static void multiply(const struct gk_kernels *kernels, struct gk_product product,
                     const float *const *columns) {
  const size_t end = product.vector_end;
  if (!columns)
    kernels->product(&product);
  for (size_t q = 0; columns && q < end; q = product.vector_end) {
    product.vector_begin = q;
    product.vector_end = end - q < kernels->tile_vectors ? end : q + kernels->tile_vectors;
    product.b_columns = columns + q * kernels->lanes;
    kernels->product(&product);
  }
}

void run_product(shim_state *state, const void *context) {
  const struct work *work = context;
  const struct gk_kernels *kernels = work->kernels;
  const size_t rows = work->size[0], k = work->size[1], columns = work->size[2], v = kernels->lanes;
  const size_t vectors = (columns + v - 1) / v, nv = kernels->tile_vectors, panels = (vectors + nv - 1) / nv;
  struct arena arena = {0};
  struct gk_column *column = malloc(vectors * sizeof *column);
  if (!column)
    abort();
  for (size_t q = 0; q < vectors; q++)
    column[q] = (struct gk_column){.offset = (uint32_t)(q * v),
                                   .lanes = (uint32_t)(columns - q * v < v ? columns - q * v : v)};
  struct gk_product product = {.rows = rows,
                               .k = k,
                               .sum_block = GK_SUM_BLOCK,
                               .a_step = 1,
                               .panel_stride = k * nv * v,
                               .columns = column};
  product.a = take_rows(&arena, take(&arena, rows * k, -1, 1), rows, k);
  product.b = take(&arena, panels * product.panel_stride, -0.1f, 0.1f);
  product.b_step = work->form == UNPACKED ? columns : 0;
  product.c = take_rows(&arena, take(&arena, rows * columns, 0, 1), rows, columns);
  product.vector_end = vectors;
  product.overwrite = true;
  const float *const *b_columns =
      work->form == OF_COLUMNS ? take_rows(&arena, take(&arena, k * columns, -0.1f, 0.1f), columns, k) : NULL;
  while (shim_keep_running(state))
    multiply(kernels, product, b_columns);
  shim_flop_and_bytes(state, 2.0 * (double)rows * (double)k * (double)columns,
                      sizeof(float) * ((double)rows * (double)(k + columns) + (double)k * (double)columns));
  free(column);
  release(&arena);
}

typedef void packing(const struct gk_kernels *kernels, size_t rows, size_t columns,
                     const float *const *source, float *to);

static void transpose(const struct gk_kernels *kernels, size_t rows, size_t columns,
                      const float *const *source, float *to) {
  kernels->transpose(rows, columns, source, to, rows);
}

/* Panel by panel, the last one of what is left. */
static void pack_columns(const struct gk_kernels *kernels, size_t rows, size_t columns,
                         const float *const *source, float *to) {
  const size_t width = kernels->lanes * kernels->tile_vectors;
  for (size_t row = 0; row < rows; row += width)
    kernels->pack_columns(rows - row < width ? rows - row : width, columns, source + row, to + row * columns,
                          false);
}

static void pack_rows(const struct gk_kernels *kernels, size_t rows, size_t columns,
                      const float *const *source, float *to) {
  kernels->pack_rows(rows, columns, source, to, rows * kernels->lanes * kernels->tile_vectors, false);
}

static void pack_flushed(const struct gk_kernels *kernels, size_t rows, size_t columns,
                         const float *const *source, float *to) {
  kernels->pack_flushed(rows, columns, source, to, rows * kernels->lanes * kernels->tile_vectors);
}

static void run_packing(shim_state *state, const struct work *work, packing *pack) {
  const size_t rows = work->size[0], columns = work->size[1];
  const size_t width = work->kernels->lanes * work->kernels->tile_vectors;
  struct arena arena = {0};
  const float *const *source = take_rows(&arena, take(&arena, rows * columns, -1, 1), rows, columns);
  float *to = take(&arena, (rows + width) * (columns + width), 0, 1);
  while (shim_keep_running(state))
    pack(work->kernels, rows, columns, source, to);
  count_values(state, rows * columns, 0, 2);
  release(&arena);
}

void run_transpose(shim_state *state, const void *context) {
  run_packing(state, context, transpose);
}
void run_pack_columns(shim_state *state, const void *context) {
  run_packing(state, context, pack_columns);
}
void run_pack_rows(shim_state *state, const void *context) {
  run_packing(state, context, pack_rows);
}
void run_pack_flushed(shim_state *state, const void *context) {
  run_packing(state, context, pack_flushed);
}

void run_column_sum(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t rows = work->size[0], columns = work->size[1];
  struct arena arena = {0};
  const float *const *source = take_rows(&arena, take(&arena, rows * columns, -1, 1), rows, columns);
  float *sum = take(&arena, columns, 0, 1);
  while (shim_keep_running(state))
    work->kernels->column_sum(rows, columns, source, sum, true);
  count_values(state, columns, (double)rows, (double)rows + 1);
  release(&arena);
}

void run_column_dot(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t rows = work->size[0], columns = work->size[1];
  struct arena arena = {0};
  const float *const *a = take_rows(&arena, take(&arena, rows * columns, -1, 1), rows, columns);
  const float *const *b = take_rows(&arena, take(&arena, rows * columns, -1, 1), rows, columns);
  float *sum = take(&arena, columns, 0, 1);
  while (shim_keep_running(state))
    work->kernels->column_dot(rows, columns, a, b, sum, true);
  count_values(state, columns, 2 * (double)rows, 2 * (double)rows + 1);
  release(&arena);
}

void run_column_max(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t rows = work->size[0], columns = work->size[1];
  struct arena arena = {0};
  const float *const *source = take_rows(&arena, take(&arena, rows * columns, -1, 1), rows, columns);
  float *best = take(&arena, columns, 0, 1);
  int32_t *row = (int32_t *)take(&arena, columns, 0, 1);
  while (shim_keep_running(state))
    work->kernels->column_max(rows, columns, source, 0, best, row, true);
  /* Is it larger, and is the largest a number? */
  count_values(state, columns, 2 * (double)rows, (double)rows + 2);
  release(&arena);
}

/* One query against `rows` keys, or their weighted sum. */
static void run_attention(shim_state *state, const struct work *work, bool scores) {
  const size_t rows = work->size[0], columns = work->size[1];
  struct arena arena = {0};
  float *values = take(&arena, rows * columns, -1, 1), *row = take(&arena, columns, -1, 1);
  float *weights = take(&arena, rows, 0, 1);
  while (shim_keep_running(state))
    if (scores)
      work->kernels->dots(rows, columns, row, values, (ptrdiff_t)columns, weights);
    else
      work->kernels->weighted_sum(rows, columns, weights, 1, values, (ptrdiff_t)columns, row, true);
  shim_flop_and_bytes(state, 2.0 * (double)rows * (double)columns,
                      sizeof(float) * ((double)(rows + 1) * (double)columns + (double)rows));
  release(&arena);
}

void run_dots(shim_state *state, const void *context) {
  run_attention(state, context, true);
}

void run_weighted_sum(shim_state *state, const void *context) {
  run_attention(state, context, false);
}

void run_fma_loop(shim_state *state, const void *context) {
  const struct work *work = context;
  float sink[64] = {0.5f, 0.5f};
  double flop = 0;
  while (shim_keep_running(state))
    flop = work->kernels->fma_loop(work->size[0], sink);
  shim_flop_and_bytes(state, flop, 0); /* all in registers */
}

void run_read_loop(shim_state *state, const void *context) {
  const struct work *work = context;
  struct arena arena = {0};
  const float *x = take(&arena, work->size[0], -1, 1);
  volatile float sum = 0;
  while (shim_keep_running(state))
    sum = work->kernels->read_loop(work->size[0], x);
  count_values(state, work->size[0], 1, 1);
  release(&arena);
  (void)sum;
}
