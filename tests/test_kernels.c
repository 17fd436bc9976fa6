/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix kernels of every tier against plain loops in the canonical order, bit for bit.
 * ctest labels: edges */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/core/matrix.h"
#include "tests/guarded_memory.h"
#include "tests/kernel_tiers.h"
#include "tests/random_values.h"

enum { MOST_ROWS = 96, MOST_COLUMNS = 256, MOST_K = 1600 };

/* k at both sides of the ends of a sum and of a tile. */
static const size_t ks[] = {1, 2, 64, 65, 255, 256, 257, 512, 600, 1023, 1030, MOST_K};
enum { KS = sizeof ks / sizeof ks[0] };

/* sum[i][j] of rows x columns in the canonical order; a is (rows, k), b (k, columns). */
static void plain_product(size_t rows, size_t columns, size_t k, size_t sum_block, const float *a,
                          const float *b, float *sum) {
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < columns; j++) {
      float y = sum[i * columns + j];
      for (size_t first = 0; first < k; first += sum_block) {
        float block = 0;
        for (size_t l = first; l < k && l < first + sum_block; l++)
          block = fmaf(a[i * k + l], b[l * columns + j], block);
        y = y + block;
      }
      sum[i * columns + j] = y;
    }
}

/* What a product adds its sum to: C itself, zero, or rows of initial values, two of which all rows share. */
enum start { START_C, START_ZERO, START_INIT, STARTS };
enum { INIT_ROWS = 2 };

/* Matrices of one size, plain and as product() takes them, in guarded memory. */
struct problem {
  size_t rows, columns, k, sum_block, vectors, panel_stride;
  float *a, *b, *initial, *wanted; /* plain: (rows, k), (k, columns), (rows, columns) twice */
  float init[INIT_ROWS * MOST_COLUMNS];
  struct guarded_memory a_memory, b_memory, c_memory, init_memory, c_rows_memory, columns_memory;
  const float *a_rows[MOST_ROWS], *init_rows[MOST_ROWS], *b_columns[MOST_COLUMNS];
  const char *b_form;
  ptrdiff_t a_step;
  int turns; /* of A across */
  size_t b_step, b_first;
  size_t parted; /* last vectors whose lanes stand apart in C */
  const struct gk_ahead *ahead;
  const float *b_after;
  bool descending, stream;
  float **c_rows;
  struct gk_column *columns_at;
  struct gk_column_part parts[MOST_COLUMNS];
  float *packed, *c;
  size_t c_floats;
};

static void open_problem(struct problem *p) {
  *p = (struct problem){0};
  p->a = malloc(MOST_ROWS * MOST_K * sizeof(float));
  p->b = malloc(MOST_K * MOST_COLUMNS * sizeof(float));
  p->initial = malloc(MOST_ROWS * MOST_COLUMNS * sizeof(float));
  p->wanted = malloc(MOST_ROWS * MOST_COLUMNS * sizeof(float));
  bool fine = guarded_open(&p->a_memory, MOST_ROWS * (MOST_K + 4));
  fine &= guarded_open(&p->b_memory, (MOST_K + 2) * (2 * MOST_COLUMNS));
  fine &= guarded_open(&p->c_memory, MOST_ROWS * (5 * MOST_COLUMNS));
  fine &= guarded_open(&p->init_memory, INIT_ROWS * (5 * MOST_COLUMNS));
  fine &= guarded_open(&p->c_rows_memory, MOST_ROWS * sizeof *p->c_rows / sizeof(float));
  fine &= guarded_open(&p->columns_memory, MOST_COLUMNS * sizeof *p->columns_at / sizeof(float));
  assert_true(fine && p->a && p->b && p->initial && p->wanted);
}

static void close_problem(struct problem *p) {
  free(p->a);
  free(p->b);
  free(p->initial);
  free(p->wanted);
  guarded_close(&p->a_memory);
  guarded_close(&p->b_memory);
  guarded_close(&p->c_memory);
  guarded_close(&p->init_memory);
  guarded_close(&p->c_rows_memory);
  guarded_close(&p->columns_memory);
}

static void make_problem(struct problem *p, uint64_t stream, size_t rows, size_t columns, size_t k) {
  p->rows = rows, p->columns = columns, p->k = k, p->sum_block = GK_SUM_BLOCK;
  kernel_random(4 * stream, 1, rows * k, p->a);
  kernel_random(4 * stream + 1, 1, k * columns, p->b);
  kernel_random(4 * stream + 2, 1, rows * columns, p->initial);
  kernel_random(4 * stream + 3, 1, INIT_ROWS * columns, p->init);
}

static void solve_plainly(struct problem *p, enum start start) {
  for (size_t i = 0; i < p->rows; i++)
    for (size_t j = 0; j < p->columns; j++)
      p->wanted[i * p->columns + j] = start == START_ZERO ? 0.0f
                                      : start == START_C  ? p->initial[i * p->columns + j]
                                                          : p->init[i % INIT_ROWS * p->columns + j];
  plain_product(p->rows, p->columns, p->k, p->sum_block, p->a, p->b, p->wanted);
}

/* Rows of A lie in any order; the last one ends at a protected page. Across: one k of all rows after the
 * other, either way round, for tiers that read it so. */
static void place_a(struct problem *p, int place, bool across) {
  float *a = guarded_take(&p->a_memory, p->rows * p->k, place);
  const bool downwards = across && p->turns++ % 2;
  p->a_step = !across ? 1 : downwards ? -(ptrdiff_t)p->rows : (ptrdiff_t)p->rows;
  for (size_t i = 0; i < p->rows; i++) {
    float *row = a + (p->rows - 1 - i) * (across ? 1 : p->k) + (downwards ? (p->k - 1) * p->rows : 0);
    for (size_t l = 0; l < p->k; l++)
      row[(ptrdiff_t)l * p->a_step] = p->a[i * p->k + l];
    p->a_rows[i] = row;
  }
}

/* B by the contract of gk_product. Between panels there are canaries, after the last none. */
static void pack_b(struct problem *p, const struct gk_kernels *kernels, size_t gap, int place) {
  const size_t v = kernels->lanes, width = v * kernels->tile_vectors;
  const size_t panels = (p->columns + width - 1) / width;
  p->vectors = (p->columns + v - 1) / v;
  p->panel_stride = p->k * width + gap;
  p->b_step = p->b_first = 0;
  p->b_form = "packed";
  p->packed = guarded_take(&p->b_memory, panels * p->panel_stride - gap, place);
  for (size_t panel = 0; panel < panels; panel++)
    for (size_t l = 0; l < p->k; l++)
      for (size_t j = 0; j < width; j++) {
        size_t column = panel * width + j;
        p->packed[panel * p->panel_stride + l * width + j] =
            column < p->columns ? p->b[l * p->columns + column] : 0.0f;
      }
}

/* B as it stands: rows with canaries between them, after the last none, beginning with any. */
static void leave_b_unpacked(struct problem *p, const struct gk_kernels *kernels, size_t gap, int place) {
  p->vectors = (p->columns + kernels->lanes - 1) / kernels->lanes;
  p->b_step = p->columns + gap;
  p->b_first = p->k / 3;
  p->b_form = "unpacked";
  p->packed = guarded_take(&p->b_memory, p->k * p->b_step - gap, place);
  for (size_t l = 0; l < p->k; l++)
    memcpy(p->packed + (p->b_first + l) % p->k * p->b_step, p->b + l * p->columns, p->columns * sizeof *p->b);
}

/* The columns of B as rows with canaries between them, the last column's first. */
static void transpose_b(struct problem *p, const struct gk_kernels *kernels, size_t gap, int place) {
  float *row = guarded_take(&p->b_memory, p->columns * (p->k + gap) - gap, place);
  p->vectors = (p->columns + kernels->lanes - 1) / kernels->lanes;
  p->b_step = p->b_first = 0;
  p->b_form = "of columns";
  p->packed = NULL;
  for (size_t j = p->columns; j-- > 0; row += p->k + gap) {
    for (size_t l = 0; l < p->k; l++)
      row[l] = p->b[l * p->columns + j];
    p->b_columns[j] = row;
  }
}

/* How A and B stand, in turn. */
static void place_operands(struct problem *p, const struct gk_kernels *kernels, size_t turn, size_t gap,
                           int place) {
  place_a(p, place, kernels->reads_across && turn % 4 == 1);
  if (turn % 4 == 2)
    leave_b_unpacked(p, kernels, gap, place);
  else if (turn % 4 == 3)
    transpose_b(p, kernels, gap, place);
  else
    pack_b(p, kernels, gap, place);
}

/* The lanes of a vector to where it stands in a row of C, or of initial values. */
static void place_column(const struct problem *p, size_t q, const float *lanes, float *row) {
  const struct gk_column *column = &p->columns_at[q];
  for (size_t lane = 0, part = 0; lane < column->lanes; lane++) {
    while (column->parts && column->parts[part].end == lane)
      part++;
    row[column->parts ? column->parts[part].offset + lane - column->parts[part].begin
                      : column->offset + lane] = lanes[lane];
  }
}

static void place_columns(const struct problem *p, size_t v, const float *plain, float *row) {
  for (size_t q = 0; q < p->vectors; q++)
    place_column(p, q, plain + q * v, row);
}

/* The last vector, or the two last ones, in parts of up to five lanes that follow one another in C in any
 * order, with gaps. The floats that they take. */
static size_t place_parts(struct problem *p, size_t q, size_t offset) {
  struct gk_column *column = &p->columns_at[q];
  struct gk_column_part *parts = p->parts + (p->vectors - 1 - q) * 16;
  size_t at = offset, count = 0;
  for (size_t lane = 0; lane < column->lanes; lane = parts[count++].end) {
    const size_t left = column->lanes - lane, most = 1 + (p->k + q + count) % 5;
    parts[count] = (struct gk_column_part){0, (uint16_t)lane, (uint16_t)(lane + (left < most ? left : most))};
  }
  for (size_t i = 0; i < count; i++) {
    struct gk_column_part *part = &parts[(i + p->rows) % count];
    part->offset = (uint32_t)at;
    at += (size_t)(part->end - part->begin) + (i + 1 < count ? i % 3 : 0);
  }
  column->offset = parts[0].offset;
  column->parts = parts;
  return at - offset;
}

/* Vectors land in C one after the other or the other way round, with gaps of up to 3 floats between them.
 * What says where ends at a protected page: tiles look ahead in it. */
static void place_c(struct problem *p, size_t v, bool reversed, int place) {
  size_t offset = 0;
  p->c_rows =
      (float **)guarded_take(&p->c_rows_memory, p->rows * sizeof *p->c_rows / sizeof(float), GUARD_AT_END);
  p->columns_at = (struct gk_column *)guarded_take(
      &p->columns_memory, p->vectors * sizeof *p->columns_at / sizeof(float), GUARD_AT_END);
  for (size_t i = 0; i < p->vectors; i++) {
    size_t q = reversed ? p->vectors - 1 - i : i;
    size_t left = p->columns - q * v;
    p->columns_at[q] =
        (struct gk_column){.offset = (uint32_t)offset, .lanes = (uint32_t)(left < v ? left : v)};
    offset += q + p->parted < p->vectors ? p->columns_at[q].lanes : place_parts(p, q, offset);
    offset += i + 1 < p->vectors ? i % 4 : 0;
  }
  p->c_floats = offset;
  p->c = guarded_take(&p->c_memory, p->rows * offset, place);
  for (size_t i = 0; i < p->rows; i++) {
    p->c_rows[i] = p->c + i * offset;
    place_columns(p, v, p->initial + i * p->columns, p->c_rows[i]);
  }
  float *init = guarded_take(&p->init_memory, INIT_ROWS * offset, place);
  for (size_t i = 0; i < INIT_ROWS; i++)
    place_columns(p, v, p->init + i * p->columns, init + i * offset);
  for (size_t i = 0; i < p->rows; i++)
    p->init_rows[i] = init + i % INIT_ROWS * offset;
}

/* C as it must be if only rows [0, rows) and vectors [begin, end) were asked for: the gaps hold canaries,
 * which are NaN. */
static void compare_c(struct problem *p, size_t v, size_t rows, size_t begin, size_t end) {
  float wanted[5 * MOST_COLUMNS];
  for (size_t i = 0; i < p->rows; i++) {
    for (size_t j = 0; j < p->c_floats; j++)
      wanted[j] = NAN;
    for (size_t q = 0; q < p->vectors; q++) {
      bool computed = i < rows && q >= begin && q < end;
      place_column(p, q, (computed ? p->wanted : p->initial) + i * p->columns + q * v, wanted);
    }
    kernel_same("c", p->c_floats, p->c_rows[i], wanted);
  }
  kernel_true(guarded_intact(&p->a_memory) && guarded_intact(&p->b_memory) && guarded_intact(&p->c_memory) &&
                  guarded_intact(&p->init_memory),
              "the kernel wrote outside C");
}

/* Of columns, a panel's width of them at a time. */
static void run_product(struct problem *p, const struct gk_kernels *kernels, size_t rows, size_t begin,
                        size_t end, enum start start) {
  struct gk_product product = {
      .rows = rows,
      .k = p->k,
      .sum_block = p->sum_block,
      .a = p->a_rows,
      .a_step = p->a_step,
      .b = p->packed,
      .b_step = p->b_step,
      .b_first = p->b_first,
      .b_after = p->b_after,
      .panel_stride = p->panel_stride,
      .columns = p->columns_at,
      .vector_begin = begin,
      .vector_end = end,
      .descending = p->descending,
      .c = p->c_rows,
      .overwrite = start == START_ZERO,
      .stream = p->stream,
      .init = start == START_INIT ? p->init_rows : NULL,
      .ahead = p->ahead,
  };
  for (; begin < end; begin = product.vector_end) {
    product.vector_begin = begin;
    if (!p->packed) {
      product.vector_end = end - begin < kernels->tile_vectors ? end : begin + kernels->tile_vectors;
      product.b_columns = p->b_columns + begin * kernels->lanes;
    }
    kernels->product(&product);
  }
}

/* Every tile from 1 x 1 to mr + 2 rows by nv vectors and a third of those that take two tiles either way,
 * with one tail of the last vector. */
static void check_edge_tiles(struct problem *p, const struct kernel_tier *tier, size_t k, size_t lanes) {
  const struct gk_kernels *kernels = tier->kernels;
  const size_t v = kernels->lanes, nv = kernels->tile_vectors, mr = kernels->tile_rows, vectors = 2 * nv;
  int turn = (int)lanes;
  make_problem(p, k, 2 * mr + 1, (vectors - 1) * v + lanes, k);
  p->sum_block = turn % 2 == (k % 3 == 0) ? GK_SUM_BLOCK : GK_GRADIENT_BLOCK;
  for (int start = 0; start < STARTS; start++) {
    const int place = start == START_C ? (int)(k % 16) : GUARD_AT_END;
    solve_plainly(p, (enum start)start);
    place_operands(p, kernels, lanes + k + (size_t)start, lanes % 5, place);
    for (size_t rows = 1; rows <= p->rows; rows++)
      for (size_t begin = 0; begin < vectors; begin++)
        for (size_t end = lanes < v ? vectors : begin + 1; end <= vectors; end++) {
          /* Without the last vector the tail makes no difference. */
          if (++turn % 3 != 0 && (rows > mr + 2 || end - begin > nv))
            continue;
          p->parted = (size_t)turn / 3 % 3;
          place_c(p, v, turn % 4 == 3, turn % 17 == 0 ? GUARD_AT_START : turn % 2 ? GUARD_AT_END : turn % 16);
          p->descending = turn % 5 > 2;
          kernel_case(tier, "product",
                      "rows %zu, vectors %zu..%zu%s, lanes of vector %zu: %zu, %zu in parts, k %zu in %zu, "
                      "start %d, B %s",
                      rows, begin, end - 1, p->descending ? ", descending" : "", vectors - 1, lanes,
                      p->parted, k, p->sum_block, start, p->b_form);
          run_product(p, kernels, rows, begin, end, (enum start)start);
          compare_c(p, v, rows, begin, end);
        }
  }
}

static void product_of_every_edge_tile_is_the_plain_sum(void **state) {
  struct problem p;
  (void)state;
  open_problem(&p);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++) {
    assert_true(2 * tier->kernels->tile_rows + 1 <= MOST_ROWS);
    assert_true(2 * tier->kernels->tile_vectors * tier->kernels->lanes <= MOST_COLUMNS);
    for (size_t i = 0; i < KS; i++)
      for (size_t lanes = 1; lanes <= tier->kernels->lanes; lanes++)
        check_edge_tiles(&p, tier, ks[i], lanes);
  }
  assert_true(kernel_cases() > 0);
  close_problem(&p);
}

/* Sizes that are no tier's own: any rows, columns and k, on values that overflow, underflow and cancel. */
static void make_extreme(struct problem *p, uint64_t stream) {
  static const float scales[] = {1, 1, 0x1p-70f, 0x1p-140f, 0x1p70f, 0};
  for (size_t i = 0; i < p->rows * p->k; i++)
    p->a[i] *= scales[random_integer(stream, i, 6)];
  for (size_t i = 0; i < p->k * p->columns; i++)
    p->b[i] *= scales[random_integer(stream + 1, i, 6)];
  for (size_t i = 0; i < p->rows * p->columns; i++)
    p->initial[i] *= scales[random_integer(stream + 2, i, 6)];
}

static void product_of_any_size_has_the_same_bits_on_every_tier(void **state) {
  static const size_t rows_of_far_b[] = {7, 8, 9, 13, 14, 19, 40}; /* far B is cut into other strips */
  enum { FAR = sizeof rows_of_far_b / sizeof *rows_of_far_b };
  _Static_assert(MOST_COLUMNS * MOST_K > 1 << 18, "no B is far");
  struct problem p;
  (void)state;
  open_problem(&p);
  for (uint64_t trial = 0; trial < 48; trial++) {
    const uint64_t stream = 100 + 4 * trial;
    size_t rows = 1 + (size_t)random_integer(stream, 0, trial % 3 ? 20 : MOST_ROWS - 1);
    size_t columns = 1 + (size_t)random_integer(stream, 1, trial % 4 ? 40 : MOST_COLUMNS - 1);
    size_t k = 1 + (size_t)random_integer(stream, 2, trial % 5 ? 300 : MOST_K - 1);
    if (trial < FAR)
      rows = rows_of_far_b[trial], columns = MOST_COLUMNS, k = MOST_K;
    make_problem(&p, stream, rows, columns, k);
    p.descending = trial % 7 < 3;
    p.parted = trial % 3;
    if (trial % 4 > 1)
      p.sum_block = GK_GRADIENT_BLOCK;
    if (trial % 2)
      make_extreme(&p, stream);
    solve_plainly(&p, START_C);
    for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++) {
      place_operands(&p, tier->kernels, trial, trial % 3, GUARD_AT_END);
      place_c(&p, tier->kernels->lanes, trial % 7 == 0, GUARD_AT_END);
      kernel_case(tier, "product", "rows %zu, columns %zu, k %zu, trial %llu, B %s", rows, columns, k,
                  (unsigned long long)trial, p.b_form);
      run_product(&p, tier->kernels, rows, 0, p.vectors, START_C);
      compare_c(&p, tier->kernels->lanes, rows, 0, p.vectors);
    }
  }
  assert_true(kernel_cases() > 0);
  close_problem(&p);
}

/* Not even where nothing may be read: past the memory's end. */
static void what_a_product_asks_for_ahead_changes_nothing(void **state) {
  struct problem p;
  struct guarded_memory memory = {0};
  (void)state;
  open_problem(&p);
  assert_true(guarded_open(&memory, 4096));
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t rows = 1; rows <= 3 * tier->kernels->tile_rows; rows++) {
      struct gk_ahead ahead = {0};
      const float *asked[] = {guarded_take(&memory, 4096, GUARD_AT_END), NULL};
      asked[1] = asked[0] + 4096;
      make_problem(&p, rows, rows, 70, 300);
      solve_plainly(&p, START_C);
      place_a(&p, 1, false);
      pack_b(&p, tier->kernels, 1, 2);
      place_c(&p, tier->kernels->lanes, false, 3);
      p.ahead = &ahead;
      p.b_after = asked[1];
      p.descending = rows % 2;
      for (size_t floats = rows; floats <= 4096; floats *= 2)
        gk_ahead_add(&ahead, asked, 2, floats);
      kernel_case(tier, "product", "rows %zu, %zu floats in %zu ranges asked for", rows, ahead.floats,
                  ahead.count);
      run_product(&p, tier->kernels, rows, 0, p.vectors, START_C);
      compare_c(&p, tier->kernels->lanes, rows, 0, p.vectors);
      p.ahead = NULL;
      p.b_after = NULL;
    }
  assert_true(kernel_cases() > 0);
  guarded_close(&memory);
  close_problem(&p);
}

static void rows_that_follow_one_another_are_asked_for_as_one(void **state) {
  enum { ROWS = GK_AHEAD_RANGES + 8, WIDTH = 100, CLOSE = WIDTH + 32, APART = WIDTH + 33 };
  static const float memory[(ROWS + 1) * 2 * WIDTH];
  const float *rows[ROWS];
  (void)state;
  for (size_t stride = CLOSE; stride <= APART; stride++) {
    struct gk_ahead ahead = {0};
    const size_t ranges = stride == CLOSE ? 1 : GK_AHEAD_RANGES,
                 room = stride == CLOSE ? ROWS : GK_AHEAD_RANGES;
    for (size_t i = 0; i < ROWS; i++)
      rows[i] = memory + i * stride;
    gk_ahead_add(&ahead, rows, ROWS, WIDTH);
    assert_int_equal(ahead.count, ranges);
    assert_int_equal(ahead.floats, stride == CLOSE ? (ROWS - 1) * stride + WIDTH : room * WIDTH);
    for (size_t i = 0; i < ranges; i++)
      assert_ptr_equal(ahead.range[i].start, rows[i]);
  }
  struct gk_ahead ahead = {0};
  for (size_t i = 0; i < ROWS; i++)
    rows[i] = memory + (i / 2 % 2) * WIDTH * 4; /* each twice */
  gk_ahead_add(&ahead, rows, 4, WIDTH);
  assert_int_equal(ahead.count, 2);
  assert_int_equal(ahead.floats, 2 * WIDTH);
}

/* Whole panels, in rows that begin lines of cache. */
static void product_past_the_caches_is_the_same(void **state) {
  enum { ROW = MOST_COLUMNS, ROWS = 20 };
  static const unsigned char untouched[4] = {0xa5, 0xa5, 0xa5, 0xa5};
  static _Alignas(64) float c[ROWS][ROW];
  struct problem p;
  (void)state;
  open_problem(&p);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++) {
    const size_t width = tier->kernels->lanes * tier->kernels->tile_vectors;
    const size_t columns = (width < 16 ? 16 : width) * 2;
    assert_true(columns + 16 <= ROW);
    for (size_t rows = 1; rows <= ROWS; rows++)
      for (size_t k = 1; k <= 256; k *= 4) {
        make_problem(&p, rows, rows, columns, k);
        p.sum_block = GK_GRADIENT_BLOCK;
        solve_plainly(&p, START_ZERO);
        place_a(&p, 1, tier->kernels->reads_across && rows % 2);
        pack_b(&p, tier->kernels, 1, 2);
        place_c(&p, tier->kernels->lanes, false, 3);
        for (size_t q = 0; q < p.vectors; q++)
          p.columns_at[q].offset = (uint32_t)(16 + q * tier->kernels->lanes);
        memset(c, 0xa5, sizeof c);
        for (size_t i = 0; i < rows; i++)
          p.c_rows[i] = c[i];
        p.stream = true;
        kernel_case(tier, "product", "rows %zu, columns %zu, k %zu, past the caches", rows, columns, k);
        run_product(&p, tier->kernels, rows, 0, p.vectors, START_ZERO);
        tier->kernels->stream_end();
        p.stream = false;
        for (size_t i = 0; i < rows; i++) {
          kernel_same("c", columns, c[i] + 16, p.wanted + i * columns);
          for (size_t j = 0; j < ROW; j += j == 15 ? columns + 1 : 1)
            kernel_true(!memcmp(&c[i][j], untouched, sizeof untouched),
                        "what stands beside a row has changed");
        }
      }
  }
  assert_true(kernel_cases() > 0);
  close_problem(&p);
}

/* A NaN and an infinity in one row of A reach that row of C, and no other. */
static void product_keeps_rows_apart(void **state) {
  struct problem p;
  (void)state;
  open_problem(&p);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t rows = 1; rows <= 2 * tier->kernels->tile_rows; rows++)
      for (size_t poisoned = 0; poisoned < rows; poisoned++) {
        make_problem(&p, rows, rows, 37, 19);
        p.a[poisoned * p.k + 3] = NAN;
        p.a[poisoned * p.k + 4] = INFINITY;
        solve_plainly(&p, START_ZERO);
        place_a(&p, 1, false);
        pack_b(&p, tier->kernels, 1, 2);
        place_c(&p, tier->kernels->lanes, false, 3);
        kernel_case(tier, "product", "rows %zu, columns 37, k 19, row %zu poisoned", rows, poisoned);
        run_product(&p, tier->kernels, rows, 0, p.vectors, START_ZERO);
        kernel_true(isnan(p.wanted[poisoned * p.columns]), "the poisoned row has no NaN");
        compare_c(&p, tier->kernels->lanes, rows, 0, p.vectors);
      }
  assert_true(kernel_cases() > 0);
  close_problem(&p);
}

/* Cut where blocks meet, a long sum is the same: chunks of steps may be added one after the other. */
static void product_may_be_cut_between_blocks(void **state) {
  struct problem p;
  (void)state;
  open_problem(&p);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++) {
    const struct gk_kernels *kernels = tier->kernels;
    const size_t width = kernels->lanes * kernels->tile_vectors;
    make_problem(&p, 7, 9, 45, 600);
    solve_plainly(&p, START_INIT);
    place_a(&p, 5, false);
    pack_b(&p, kernels, 0, 6);
    place_c(&p, kernels->lanes, false, 7);
    kernel_case(tier, "product", "rows 9, columns 45, k 256 + 256 + 88");
    for (size_t first = 0; first < 600; first += GK_SUM_BLOCK) {
      p.k = 600 - first < GK_SUM_BLOCK ? 600 - first : GK_SUM_BLOCK;
      run_product(&p, kernels, 9, 0, p.vectors, first ? START_C : START_INIT);
      for (size_t i = 0; i < 9; i++)
        p.a_rows[i] += p.k;
      p.packed += p.k * width;
    }
    compare_c(&p, kernels->lanes, 9, 0, p.vectors);
  }
  assert_true(kernel_cases() > 0);
  close_problem(&p);
}

static void product_over_nothing_is_what_it_starts_from(void **state) {
  struct problem p;
  (void)state;
  open_problem(&p);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++) {
    const size_t v = tier->kernels->lanes;
    for (size_t rows = 1; rows <= 2 * tier->kernels->tile_rows + 1; rows++)
      for (int turn = 0; turn < 2 * STARTS; turn++) {
        const enum start start = (enum start)(turn / 2);
        make_problem(&p, 8, rows, 2 * tier->kernels->tile_vectors * v - v / 2, 0);
        solve_plainly(&p, start);
        place_a(&p, GUARD_AT_END, false);
        if (rows % 3)
          pack_b(&p, tier->kernels, 0, GUARD_AT_END);
        else
          transpose_b(&p, tier->kernels, 0, GUARD_AT_END);
        place_c(&p, v, false, GUARD_AT_END);
        p.descending = turn % 2;
        kernel_case(tier, "product", "rows %zu, columns %zu, k 0, start %d", rows, p.columns, (int)start);
        run_product(&p, tier->kernels, rows, 0, p.vectors, start);
        compare_c(&p, v, rows, 0, p.vectors);
      }
  }
  assert_true(kernel_cases() > 0);
  close_problem(&p);
}

static void every_listed_kernel_was_run(void **state) {
  (void)state;
  kernel_all_listed("kernels");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(product_of_every_edge_tile_is_the_plain_sum, kernel_say_where),
      cmocka_unit_test_teardown(product_of_any_size_has_the_same_bits_on_every_tier, kernel_say_where),
      cmocka_unit_test_teardown(what_a_product_asks_for_ahead_changes_nothing, kernel_say_where),
      cmocka_unit_test(rows_that_follow_one_another_are_asked_for_as_one),
      cmocka_unit_test_teardown(product_past_the_caches_is_the_same, kernel_say_where),
      cmocka_unit_test_teardown(product_keeps_rows_apart, kernel_say_where),
      cmocka_unit_test_teardown(product_may_be_cut_between_blocks, kernel_say_where),
      cmocka_unit_test_teardown(product_over_nothing_is_what_it_starts_from, kernel_say_where),
      cmocka_unit_test(every_listed_kernel_was_run),
  };
  kernel_arguments(argc, argv);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
