/* SPDX-License-Identifier: Apache-2.0
 *
 * ctest labels: edges
 *
 * Every kernel on every tier, of values as they come: any bits, those too small for products of them to be
 * floats, ordinary ones. Whatever comes of it, it has the bits of the scalar tier. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/kernel_tiers.h"

enum {
  ROUNDS = 60,
  SCRATCH = 13,
  ARRAYS,
  MOST_ROWS = 5,
  MOST_COLUMNS = 70,
  BLOCKS = 13 /* of the normalised LSTM */
};
enum { FLOATS = MOST_ROWS * BLOCKS * MOST_COLUMNS };
/* Of a product: beyond a block of gradients' sums, and all that an array has room for. */
enum { MOST_K = MOST_ROWS * BLOCKS, PACKED = MOST_K * (MOST_COLUMNS + GK_WIDEST_PANEL) };
_Static_assert(MOST_K > GK_GRADIENT_BLOCK, "a product crosses a block");

/* The arguments of a kernel: it reads and writes what it likes of the arrays, all of which but SCRATCH
 * are compared. */
struct call {
  const struct gk_kernels *kernels;
  float (*array)[FLOATS];
  size_t rows, columns; /* of a matrix; an array has `columns` values, 1 to MOST_COLUMNS */
  bool flag;            /* what has two ways goes one of them */
};

typedef void run_function(const struct call *call);

static void *rows_of(const struct call *call, int index, size_t width) {
  static float *row[ARRAYS][MOST_ROWS];
  for (size_t i = 0; i < MOST_ROWS; i++)
    row[index][i] = call->array[index] + i * width;
  return row[index];
}

/* ---- Products and packing --------------------------------------------------------------------------- */

/* A of array 0 by B of array 1, with many more k than rows. */
static void run_product(const struct call *call) {
  static float packed[PACKED];
  const float *b[MOST_K];
  struct gk_column column[MOST_COLUMNS];
  const struct gk_kernels *kernels = call->kernels;
  const size_t v = kernels->lanes, k = call->rows * BLOCKS, width = kernels->tile_vectors * v;
  struct gk_product product = {.rows = MOST_ROWS,
                               .k = k,
                               .sum_block = call->flag ? GK_SUM_BLOCK : GK_GRADIENT_BLOCK,
                               .a = rows_of(call, 0, k),
                               .a_step = 1,
                               .b = packed,
                               .panel_stride = k * width,
                               .columns = column,
                               .c = rows_of(call, 2, call->columns),
                               .overwrite = call->flag};
  for (size_t i = 0; i < k; i++)
    b[i] = call->array[1] + i * call->columns;
  kernels->pack_rows(k, call->columns, b, packed, product.panel_stride, false);
  for (size_t j = 0; j < call->columns; j += v, product.vector_end++)
    column[product.vector_end] = (struct gk_column){
        .offset = (uint32_t)j, .lanes = (uint32_t)(call->columns - j < v ? call->columns - j : v)};
  kernels->product(&product);
}

static void run_transpose(const struct call *call) {
  call->kernels->transpose(call->rows, call->columns, rows_of(call, 0, call->columns), call->array[1],
                           MOST_ROWS);
}

/* Array 1 takes what panels hold, row by row. */
static void unpack(const struct call *call, size_t rows, size_t columns, const float *panels) {
  const size_t width = call->kernels->lanes * call->kernels->tile_vectors;
  for (size_t row = 0; row < rows; row++)
    for (size_t j = 0; j < columns; j++)
      call->array[1][row * columns + j] = panels[(j / width * rows + row) * width + j % width];
}

static void run_pack_columns(const struct call *call) {
  static float panels[MOST_COLUMNS * (MOST_ROWS + GK_WIDEST_PANEL)];
  const size_t width = call->kernels->lanes * call->kernels->tile_vectors;
  const float *const *source = rows_of(call, 0, call->columns);
  for (size_t row = 0; row < call->rows; row += width)
    call->kernels->pack_columns(call->rows - row < width ? call->rows - row : width, call->columns,
                                source + row, panels + row * call->columns, false);
  unpack(call, call->columns, call->rows, panels);
}

static void run_pack_rows(const struct call *call) {
  static float panels[PACKED];
  call->kernels->pack_rows(call->rows, call->columns, rows_of(call, 0, call->columns), panels,
                           call->rows * call->kernels->lanes * call->kernels->tile_vectors, false);
  unpack(call, call->rows, call->columns, panels);
}

static void run_pack_flushed(const struct call *call) {
  static float panels[PACKED];
  call->kernels->pack_flushed(call->rows, call->columns, rows_of(call, 0, call->columns), panels,
                              call->rows * call->kernels->lanes * call->kernels->tile_vectors);
  unpack(call, call->rows, call->columns, panels);
}

static void run_column_sum(const struct call *call) {
  call->kernels->column_sum(call->rows, call->columns, rows_of(call, 0, call->columns), call->array[1],
                            call->flag);
}

static void run_column_dot(const struct call *call) {
  call->kernels->column_dot(call->rows, call->columns, rows_of(call, 0, call->columns),
                            rows_of(call, 1, call->columns), call->array[2], call->flag);
}

static void run_column_max(const struct call *call) {
  int32_t row[MOST_COLUMNS] = {0};
  call->kernels->column_max(call->rows, call->columns, rows_of(call, 0, call->columns), 1, call->array[1],
                            row, call->flag);
  for (size_t j = 0; j < call->columns; j++)
    call->array[2][j] = (float)row[j];
}

static void run_dots(const struct call *call) {
  call->kernels->dots(call->rows, call->columns, call->array[0], call->array[1], (ptrdiff_t)call->columns,
                      call->array[2]);
}

static void run_weighted_sum(const struct call *call) {
  call->kernels->weighted_sum(call->rows, call->columns, call->array[0], 1, call->array[1],
                              (ptrdiff_t)call->columns, call->array[2], call->flag);
}

/* ---- Cells ------------------------------------------------------------------------------------------ */

/* A usual variant, or one with other functions and bounds. */
static struct gk_cell_variant variant_of(const struct call *call) {
  struct gk_cell_variant variant = {.function = {[GK_CANDIDATE] = {GK_ACTIVATION_TANH, 0, 0, true},
                                                 [GK_GATE] = {GK_ACTIVATION_SIGMOID, 0, 0, true},
                                                 [GK_OUTPUT] = {GK_ACTIVATION_TANH, 0, 0, true}},
                                    .clip = INFINITY,
                                    .cell_clip = INFINITY};
  if (!call->flag)
    return variant;
  variant.function[GK_CANDIDATE] = (struct gk_activation_function){GK_ACTIVATION_ELU, 0.5f, 0, false};
  variant.function[GK_GATE] = (struct gk_activation_function){GK_ACTIVATION_HARD_SIGMOID, 0.2f, 0.5f, false};
  variant.function[GK_OUTPUT] = (struct gk_activation_function){GK_ACTIVATION_SOFTPLUS, 0, 0, false};
  variant.clip = 2;
  variant.cell_clip = 0.5f;
  variant.coupled = true;
  return variant;
}

/* A step from its arrays and what else it has; all cells take it in turn, each what the one before left. */
#define RUN_CELLS(direction, ...)                                                                            \
  static struct gk_cell_##direction direction##_of(const struct call *call,                                  \
                                                   const struct gk_cell_variant *variant) {                  \
    const size_t hidden = call->columns;                                                                     \
    return (struct gk_cell_##direction){.rows = call->rows,                                                  \
                                        .unit_end = hidden,                                                  \
                                        .hidden = hidden,                                                    \
                                        .variant = variant,                                                  \
                                        .peephole = call->array[8],                                          \
                                        .norm = call->array[9],                                              \
                                        .scales = rows_of(call, 12, 3),                                      \
                                        .h_prev = rows_of(call, 1, hidden),                                  \
                                        .c_prev = rows_of(call, 2, hidden),                                  \
                                        .h = rows_of(call, 3, hidden),                                       \
                                        .c = rows_of(call, 4, hidden),                                       \
                                        __VA_ARGS__};                                                        \
  }                                                                                                          \
  static void run_##direction(const struct call *call,                                                       \
                              gk_cell_##direction##_fn *const cells[][GK_MAX_PHASES], bool general) {        \
    const struct gk_cell_variant variant = variant_of(call);                                                 \
    const struct gk_cell_##direction step = direction##_of(call, general ? &variant : NULL);                 \
    for (int cell = 0; cell < GK_CELL_COUNT; cell++)                                                         \
      for (int phase = 0; phase < GK_MAX_PHASES && cells[cell][phase]; phase++)                              \
        cells[cell][phase](&step);                                                                           \
  }                                                                                                          \
  static void run_cell_##direction(const struct call *call) {                                                \
    run_##direction(call, call->kernels->cell_##direction, false);                                           \
  }                                                                                                          \
  static void run_cell_##direction##_general(const struct call *call) {                                      \
    run_##direction(call, call->kernels->cell_##direction##_general, true);                                  \
  }                                                                                                          \
  static void run_lstm_normalised_##direction(const struct call *call) {                                     \
    const struct gk_cell_variant variant = variant_of(call);                                                 \
    const struct gk_cell_##direction step = direction##_of(call, &variant);                                  \
    call->kernels->lstm_normalised_##direction(&step);                                                       \
  }
RUN_CELLS(forward, .pre = rows_of(call, SCRATCH, BLOCKS *hidden),
          .saved_gates = rows_of(call, 5, BLOCKS *hidden), .saved_h = rows_of(call, 6, hidden),
          .saved_c = rows_of(call, 7, hidden))
RUN_CELLS(backward, .gates = rows_of(call, 0, BLOCKS *hidden), .d_pre = rows_of(call, 5, BLOCKS *hidden),
          .dy = rows_of(call, 6, hidden), .dh = rows_of(call, 7, hidden), .dc = rows_of(call, 10, hidden),
          .drh = rows_of(call, 11, hidden))

/* ---- Arrays ----------------------------------------------------------------------------------------- */

#define RUN(slot, ...)                                                                                       \
  static void run_##slot(const struct call *call) {                                                          \
    float(*const a)[FLOATS] = call->array;                                                                   \
    const size_t n = call->columns;                                                                          \
    call->kernels->slot(__VA_ARGS__);                                                                        \
  }
RUN(stream, n, a[0], a[1])
RUN(sigmoid, n, a[0], a[1])
RUN(tanh, n, a[0], a[1])
RUN(dropout, n, 0.5f, 2, a[0], a[1], a[2])
RUN(zoneout, n, 0.5f, a[0], a[1], a[2], a[3])
RUN(zoneout_mean, n, 0.25f, a[0], a[1], a[2])
RUN(zoneout_backward, n, 0.5f, a[0], call->flag ? a[1] : NULL, a[2], a[3])
RUN(clamp, n, 0.5f, a[0])
RUN(scale, n, a[1][0], a[0])
RUN(add, n, a[0], a[1])
RUN(flush, n, a[0], a[1])
RUN(softmax, n, a[1][0], a[0], a[2])
RUN(softmax_backward, n, a[0], a[1], a[2])
RUN(tanh_backward, n, a[0], a[1], a[2])
RUN(sigmoid_backward, n, a[0], a[1], a[2])

/* What a kernel returns stands in array 3. */
#define RUN_FOR_VALUE(slot, ...)                                                                             \
  static void run_##slot(const struct call *call) {                                                          \
    float(*const a)[FLOATS] = call->array;                                                                   \
    const size_t n = call->columns;                                                                          \
    a[3][0] = (float)call->kernels->slot(__VA_ARGS__);                                                       \
  }
RUN_FOR_VALUE(needs_flush, n, a[0])
RUN_FOR_VALUE(sum_squares, n, a[0])

#define RUN_LOSS(slot)                                                                                       \
  RUN_FOR_VALUE(slot, &(struct gk_loss_row){.count = n,                                                      \
                                            .x = a[0],                                                       \
                                            .values = a[1],                                                  \
                                            .target = n / 2,                                                 \
                                            .scale = a[4][0],                                                \
                                            .smoothing = call->flag ? 0.1f : 0,                              \
                                            .positive_weight = 1.5f,                                         \
                                            .delta = 0.7f,                                                   \
                                            .dx = a[2]})
RUN_LOSS(softmax_loss)
RUN_LOSS(binary_loss)
RUN_LOSS(squared_loss)
RUN_LOSS(huber_loss)

#define RUN_OPTIMIZER(slot)                                                                                  \
  RUN(slot, &(struct gk_update){.count = n,                                                                  \
                                .parameters = a[0],                                                          \
                                .gradients = a[1],                                                           \
                                .first = a[2],                                                               \
                                .second = a[3],                                                              \
                                .gradient_scale = a[4][0],                                                   \
                                .weight_decay = 0.1f,                                                        \
                                .learning_rate = 0.3f,                                                       \
                                .momentum = 0.9f,                                                            \
                                .beta1 = 0.9f,                                                               \
                                .beta2 = 0.99f,                                                              \
                                .alpha = 0.9f,                                                               \
                                .epsilon = 1e-8f,                                                            \
                                .step_size = 0.5f,                                                           \
                                .bias_correction2_root = 0.7f,                                               \
                                .shrink = 0.99f,                                                             \
                                .nesterov = call->flag})
RUN_OPTIMIZER(sgd)
RUN_OPTIMIZER(rmsprop)
RUN_OPTIMIZER(adagrad)
RUN_OPTIMIZER(adam)
RUN_OPTIMIZER(adamw)

RUN(uniforms, &(struct gk_uniforms){.key = {1, 2}, .counter = {3, 4, 5}}, call->rows, n, a[0])

static void run_sigmoid_loop(const struct call *call) {
  call->kernels->sigmoid_loop(2, call->array[0]);
}
static void run_tanh_loop(const struct call *call) {
  call->kernels->tanh_loop(2, call->array[0]);
}

/* They give no values, or none that a promise is about. */
static void run_stream_end(const struct call *call) {
  call->kernels->stream_end();
}
static void run_fma_loop(const struct call *call) {
  (void)call;
}
static void run_read_loop(const struct call *call) {
  (void)call;
}

/* ---- All of them ------------------------------------------------------------------------------------ */

static const struct {
  const char *slot;
  run_function *run;
} kernels[] = {
#define GK_KERNEL(slot, test, counts, sizes, maths) {#slot, run_##slot},
#include "bench/kernel_list.def"
#undef GK_KERNEL
};

/* Products of two TINIEST are no float but zero, in a row all of one sign. */
enum values { ANY_BITS, TINY, TINIEST, ORDINARY, VALUES };

static void fill(float *x, size_t count, enum values kind, uint64_t stream) {
  kernel_random(stream, 1, count, x);
  for (size_t i = 0; i < count; i++) {
    const uint32_t bits = (uint32_t)(int32_t)ldexpf(x[i], 31) * 2654435761u;
    if (kind == ANY_BITS)
      memcpy(&x[i], &bits, sizeof bits);
    else if (kind == TINY)
      x[i] = ldexpf(x[i], -60 - (int)(bits % 90));
    else if (kind == TINIEST)
      x[i] = copysignf(ldexpf(x[i], -80 - (int)(bits % 20)), stream % 2 ? 1.0f : -1.0f);
  }
}

static void check_tiers(gk_math math) {
  static float given[ARRAYS][FLOATS], wanted[ARRAYS][FLOATS], got[ARRAYS][FLOATS];
  for (int round = 0; round < ROUNDS; round++) {
    const enum values kind = (enum values)(round % VALUES);
    struct call call = {.rows = (size_t)(1 + round % MOST_ROWS),
                        .columns = (size_t)(1 + round * 37 % MOST_COLUMNS),
                        .flag = round / VALUES % 2};
    for (int i = 0; i < ARRAYS; i++)
      fill(given[i], FLOATS, kind, (uint64_t)(round * ARRAYS + i));
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
      memcpy(wanted, given, sizeof given);
      call.kernels = kernel_definition(math);
      call.array = wanted;
      kernels[i].run(&call);
      for (const struct kernel_tier *tier = kernel_tiers(math); tier->kernels; tier++) {
        kernel_case(tier, kernels[i].slot, "math %d, round %d: values %d, rows %zu, columns %zu, flag %d",
                    math, round, kind, call.rows, call.columns, call.flag);
        memcpy(got, given, sizeof given);
        call.kernels = tier->kernels;
        call.array = got;
        kernels[i].run(&call);
        kernel_same("array", SCRATCH * FLOATS, got[0], wanted[0]);
      }
    }
  }
}

static void tiers_agree_on_values_of_every_kind(void **state) {
  (void)state;
  check_tiers(GK_MATH_OWN);
  check_tiers(GK_MATH_SLEEF);
  assert_true(kernel_cases() > 0);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(tiers_agree_on_values_of_every_kind, kernel_say_where),
  };
  kernel_arguments(argc, argv);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
