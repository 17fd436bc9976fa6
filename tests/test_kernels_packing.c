/* SPDX-License-Identifier: Apache-2.0
 *
 * Packing, transposing and sums of columns on every tier against plain loops, bit for bit.
 * ctest labels: edges */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/guarded_memory.h"
#include "tests/kernel_tiers.h"

enum { MOST_ROWS = 96, MOST_COLUMNS = 192, MOST_SUMMED = 600 };

struct matrix {
  struct guarded_memory source_memory, result_memory;
  const float *row[MOST_ROWS];
};

static void open_matrix(struct matrix *m) {
  bool fine = guarded_open(&m->source_memory, MOST_ROWS * MOST_COLUMNS);
  fine &= guarded_open(&m->result_memory, 4 * MOST_ROWS * MOST_COLUMNS);
  assert_true(fine);
}

static void close_matrix(struct matrix *m) {
  guarded_close(&m->source_memory);
  guarded_close(&m->result_memory);
}

static float *make_rows(struct matrix *m, size_t rows, size_t columns, int place) {
  float *values = guarded_take(&m->source_memory, rows * columns, place);
  kernel_random(rows * 1000 + columns, 1, rows * columns, values);
  for (size_t i = 0; i < rows; i++)
    m->row[i] = values + (rows - 1 - i) * columns;
  return values;
}

static void transpose_moves_every_element(void **state) {
  static float wanted[MOST_COLUMNS * (MOST_ROWS + 2)];
  struct matrix m;
  (void)state;
  open_matrix(&m);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t rows = 1; rows <= 2 * tier->kernels->lanes + 1; rows++)
      for (size_t columns = 1; columns <= 2 * tier->kernels->lanes + 1; columns++) {
        const size_t stride = rows + columns % 3, floats = (columns - 1) * stride + rows;
        make_rows(&m, rows, columns, columns % 2 ? GUARD_AT_END : (int)(rows % 16));
        float *result = guarded_take(&m.result_memory, floats, rows % 2 ? GUARD_AT_END : (int)(columns % 16));
        for (size_t i = 0; i < floats; i++)
          wanted[i] = NAN;
        for (size_t i = 0; i < rows; i++)
          for (size_t j = 0; j < columns; j++)
            wanted[j * stride + i] = m.row[i][j];
        kernel_case(tier, "transpose", "rows %zu, columns %zu, stride %zu", rows, columns, stride);
        tier->kernels->transpose(rows, columns, m.row, result, stride);
        kernel_same("destination", floats, result, wanted);
        kernel_true(guarded_intact(&m.result_memory), "the kernel wrote outside");
      }
  assert_true(kernel_cases() > 0);
  close_matrix(&m);
}

/* From anywhere to anywhere; a line of cache may begin before it or end after it. */
static void stream_copies_every_float(void **state) {
  enum { MOST = 67 };
  struct matrix m;
  (void)state;
  open_matrix(&m);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count <= MOST; count++)
      for (int place = 0; place <= 16; place++) {
        make_rows(&m, 1, count, place % 3 ? GUARD_AT_END : place % 16);
        float *result = guarded_take(&m.result_memory, count, place == 16 ? GUARD_AT_END : place);
        kernel_case(tier, "stream", "count %zu, place %d", count, place);
        tier->kernels->stream(count, m.row[0], result);
        tier->kernels->stream_end();
        kernel_same("destination", count, result, m.row[0]);
        kernel_true(guarded_intact(&m.result_memory), "the kernel wrote outside");
      }
  assert_true(kernel_cases() > 0);
  close_matrix(&m);
}

/* How rows become panels. */
enum way { STORED, STREAMED, FLUSHED, WAYS };
static const char *const way_name[WAYS] = {"pack_rows", "pack_rows past the caches", "pack_flushed"};

/* Some values that flushing drops, and some that are just large enough. */
static float tiny_now_and_then(size_t i, float x) {
  static const float tiny[] = {1e-40f, -0x1.fffffep-96f, 0x1p-95f, -0x1p-95f, -1e-45f};
  return i % 3 ? x : tiny[i / 3 % (sizeof tiny / sizeof *tiny)];
}

static void packed_panels_hold_every_column_and_zeros(void **state) {
  static float wanted[4 * MOST_ROWS * MOST_COLUMNS];
  struct matrix m;
  (void)state;
  open_matrix(&m);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++) {
    const size_t width = tier->kernels->lanes * tier->kernels->tile_vectors;
    for (size_t rows = 1; rows <= 5; rows++)
      for (size_t columns = 1; columns <= 2 * width + 1 && columns <= MOST_COLUMNS; columns++)
        for (enum way way = 0; way < WAYS; way++) {
          const size_t panels = (columns + width - 1) / width, gap = columns % 4;
          const size_t stride = rows * width + gap, floats = panels * stride - gap;
          float *const values =
              make_rows(&m, rows, columns, columns % 2 ? GUARD_AT_END : (int)(columns % 16));
          for (size_t i = 0; i < rows * columns; i++)
            values[i] = tiny_now_and_then(i + columns, values[i]);
          float *result = guarded_take(&m.result_memory, floats, columns % 3 ? GUARD_AT_END : (int)rows);
          for (size_t i = 0; i < floats; i++)
            wanted[i] = i % stride < rows * width ? 0 : NAN;
          for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < columns; j++)
              wanted[j / width * stride + i * width + j % width] =
                  way == FLUSHED && fabsf(m.row[i][j]) < 0x1p-95f ? 0 : m.row[i][j];
          kernel_case(tier, way_name[way], "rows %zu, columns %zu, panel stride %zu", rows, columns, stride);
          if (way == FLUSHED)
            tier->kernels->pack_flushed(rows, columns, m.row, result, stride);
          else
            tier->kernels->pack_rows(rows, columns, m.row, result, stride, way == STREAMED);
          kernel_same("panels", floats, result, wanted);
          kernel_true(guarded_intact(&m.result_memory), "the kernel wrote outside");
        }
  }
  assert_true(kernel_cases() > 0);
  close_matrix(&m);
}

static void packed_columns_hold_every_row_and_zeros(void **state) {
  static float wanted[MOST_ROWS * MOST_COLUMNS];
  struct matrix m;
  (void)state;
  open_matrix(&m);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++) {
    const size_t width = tier->kernels->lanes * tier->kernels->tile_vectors;
    const size_t most =
        2 * GK_WIDEST_PANEL + 2 * tier->kernels->lanes + 1; /* what streams goes 64 at a time */
    assert_true(most * width <= sizeof wanted / sizeof *wanted && most <= MOST_COLUMNS);
    for (size_t columns = 1; columns <= width; columns++)
      for (size_t rows = 1; rows <= most; rows += columns < width ? 5 : 1)
        for (int stream = 0; stream < 2; stream++) {
          make_rows(&m, columns, rows, rows % 2 ? GUARD_AT_END : (int)(rows % 16));
          float *panel =
              guarded_take(&m.result_memory, rows * width, rows % 3 ? GUARD_AT_END : (int)(columns % 16));
          for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < width; j++)
              wanted[i * width + j] = j < columns ? m.row[j][i] : 0;
          kernel_case(tier, "pack_columns", "columns %zu, rows %zu, stream %d", columns, rows, stream != 0);
          tier->kernels->pack_columns(columns, rows, m.row, panel, stream);
          tier->kernels->stream_end();
          kernel_same("panel", rows * width, panel, wanted);
          kernel_true(guarded_intact(&m.result_memory), "the kernel wrote outside");
        }
  }
  assert_true(kernel_cases() > 0);
  close_matrix(&m);
}

/* Bias gradients: rows times 1 in the canonical order. Rows repeat, so that many of them need little room. */
static void column_sum_is_the_plain_sum(void **state) {
  static const size_t row_counts[] = {0, 1, 2, 64, 65, 257, 600};
  static const float *source[MOST_SUMMED];
  float wanted[MOST_COLUMNS];
  struct matrix m;
  (void)state;
  open_matrix(&m);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++)
      for (size_t columns = 1; columns <= 6 * tier->kernels->lanes + 3; columns++) {
        const bool overwrite = (columns + r) % 2;
        make_rows(&m, MOST_ROWS, columns, columns % 2 ? GUARD_AT_END : (int)(columns % 16));
        for (size_t i = 0; i < row_counts[r]; i++)
          source[i] = m.row[(i * 7) % MOST_ROWS];
        float *sum =
            guarded_take(&m.result_memory, columns, columns % 3 ? GUARD_AT_END : (int)(columns % 16));
        kernel_random(5, 1, columns, sum);
        for (size_t j = 0; j < columns; j++) {
          wanted[j] = overwrite ? 0 : sum[j];
          for (size_t first = 0; first < row_counts[r]; first += GK_GRADIENT_BLOCK) {
            float block = 0;
            for (size_t i = first; i < row_counts[r] && i < first + GK_GRADIENT_BLOCK; i++)
              block = fmaf(source[i][j], 1, block);
            wanted[j] += block;
          }
        }
        kernel_case(tier, "column_sum", "rows %zu, columns %zu, overwrite %d", row_counts[r], columns,
                    overwrite);
        tier->kernels->column_sum(row_counts[r], columns, source, sum, overwrite);
        kernel_same("sum", columns, sum, wanted);
        kernel_true(guarded_intact(&m.result_memory), "the kernel wrote outside");
      }
  assert_true(kernel_cases() > 0);
  close_matrix(&m);
}

static void column_dot_is_the_plain_sum(void **state) {
  static const size_t row_counts[] = {0, 1, 64, 65, 600};
  static const float *a[MOST_SUMMED], *b[MOST_SUMMED];
  float wanted[MOST_COLUMNS];
  struct matrix m;
  (void)state;
  open_matrix(&m);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++)
      for (size_t columns = 1; columns <= 2 * tier->kernels->lanes + 3; columns++) {
        const bool overwrite = (columns + r) % 2;
        make_rows(&m, MOST_ROWS, columns, columns % 2 ? GUARD_AT_END : (int)(columns % 16));
        for (size_t i = 0; i < row_counts[r]; i++) {
          a[i] = m.row[(i * 7) % MOST_ROWS];
          b[i] = m.row[(i * 5 + 1) % MOST_ROWS];
        }
        float *sum =
            guarded_take(&m.result_memory, columns, columns % 3 ? GUARD_AT_END : (int)(columns % 16));
        kernel_random(5, 1, columns, sum);
        for (size_t j = 0; j < columns; j++) {
          wanted[j] = overwrite ? 0 : sum[j];
          for (size_t first = 0; first < row_counts[r]; first += GK_GRADIENT_BLOCK) {
            float block = 0;
            for (size_t i = first; i < row_counts[r] && i < first + GK_GRADIENT_BLOCK; i++)
              block = fmaf(a[i][j], b[i][j], block);
            wanted[j] += block;
          }
        }
        kernel_case(tier, "column_dot", "rows %zu, columns %zu, overwrite %d", row_counts[r], columns,
                    overwrite);
        tier->kernels->column_dot(row_counts[r], columns, a, b, sum, overwrite);
        kernel_same("sum", columns, sum, wanted);
        kernel_true(guarded_intact(&m.result_memory), "the kernel wrote outside");
      }
  assert_true(kernel_cases() > 0);
  close_matrix(&m);
}

static void every_listed_kernel_was_run(void **state) {
  (void)state;
  kernel_all_listed("kernels_packing");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(transpose_moves_every_element, kernel_say_where),
      cmocka_unit_test_teardown(stream_copies_every_float, kernel_say_where),
      cmocka_unit_test_teardown(packed_columns_hold_every_row_and_zeros, kernel_say_where),
      cmocka_unit_test_teardown(packed_panels_hold_every_column_and_zeros, kernel_say_where),
      cmocka_unit_test_teardown(column_sum_is_the_plain_sum, kernel_say_where),
      cmocka_unit_test_teardown(column_dot_is_the_plain_sum, kernel_say_where),
      cmocka_unit_test(every_listed_kernel_was_run),
  };
  kernel_arguments(argc, argv);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
