/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels of attention and feedback on every tier: bit for bit what plain loops over the virtual lanes, the
 * canonical order of sums and the stated formulas give.
 * ctest labels: edges */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#include "tests/guarded_memory.h"
#include "tests/kernel_tiers.h"

enum { MOST = 100, MOST_ROWS = 2 * GK_SUM_BLOCK + 3 };

static struct guarded_memory memory[4];

static int open_memory(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++)
    if (!guarded_open(&memory[i], (size_t)MOST_ROWS * 8 + 2 * MOST))
      return 1;
  return 0;
}

static int close_memory(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++)
    guarded_close(&memory[i]);
  return 0;
}

static float *place(int index, size_t count, const float *values) {
  float *array = guarded_take(&memory[index], count, count % 3 == 2 ? (int)(count % 16) : GUARD_AT_END);
  return values ? memcpy(array, values, count * sizeof(float)) : array;
}

static void check_intact(void) {
  for (int i = 0; i < 4; i++)
    kernel_true(!memory[i].taken || guarded_intact(&memory[i]), "the kernel wrote outside");
}

static float plain_dot(size_t count, const float *x, const float *y) {
  float lane[GK_SUM_LANES] = {0};
  for (size_t i = 0; i < count; i++)
    lane[i % GK_SUM_LANES] = fmaf(x[i], y[i], lane[i % GK_SUM_LANES]);
  for (int width = GK_SUM_LANES / 2; width; width /= 2)
    for (int j = 0; j < width; j++)
      lane[j] += lane[j + width];
  return lane[0] + 0.0f;
}

static float plain_flush(float x) {
  return fabsf(x) < 0x1p-95f ? 0.0f : x;
}

static void scores_keep_their_lanes_and_tree(void **state) {
  enum { ROWS = 3 };
  float x[MOST], y[ROWS * MOST], wanted[ROWS];
  (void)state;
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count < MOST; count++) {
      kernel_random(count, 2, count, x);
      kernel_random(count + 200, 2, ROWS * count, y);
      const float *query = place(0, count, x), *keys = place(1, ROWS * count, y);
      float *out = place(2, ROWS, NULL);
      kernel_case(tier, "dots", "count %zu", count);
      for (size_t r = 0; r < ROWS; r++)
        wanted[r] = plain_dot(count, x, y + r * count);
      tier->kernels->dots(ROWS, count, query, keys, (ptrdiff_t)count, out);
      kernel_same("forward", ROWS, out, wanted);
      for (size_t r = 0; r < ROWS && count; r++)
        wanted[r] = plain_dot(count, x, y + (ROWS - 1 - r) * count);
      tier->kernels->dots(ROWS, count, query, keys + (ROWS - 1) * count, -(ptrdiff_t)count, out);
      kernel_same("a negative stride", ROWS, out, wanted);
      check_intact();
    }
  assert_true(kernel_cases() > 0);
}

/* Each product is negative and rounds to -0; lanes beyond the last value, where a tier has them, are +0. */
static void scores_too_small_for_a_float_are_plus_zero(void **state) {
  float x[MOST], y[MOST];
  (void)state;
  for (size_t i = 0; i < MOST; i++) {
    x[i] = -0x1p-90f;
    y[i] = 0x1p-90f;
  }
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count < MOST; count++) {
      const float zero = 0.0f, *query = place(0, count, x), *key = place(1, count, y);
      float *out = place(2, 1, NULL);
      kernel_case(tier, "dots", "count %zu", count);
      tier->kernels->dots(1, count, query, key, (ptrdiff_t)count, out);
      kernel_same("forward", 1, out, &zero);
    }
  assert_true(kernel_cases() > 0);
}

static void weighted_sums_keep_the_canonical_order(void **state) {
  static const size_t rows_of[] = {0, 1, 7, GK_SUM_BLOCK, GK_SUM_BLOCK + 1, MOST_ROWS};
  static float w[2 * MOST_ROWS], v[MOST_ROWS * 8 + MOST];
  float wanted[MOST], initial[MOST];
  (void)state;
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t r = 0; r < sizeof rows_of / sizeof *rows_of; r++)
      for (size_t columns = 0; columns < MOST; columns += columns < 20 ? 1 : 11)
        for (int overwrite = 0; overwrite < 2; overwrite++) {
          const size_t rows = rows_of[r], stride = rows > 7 ? 8 : columns;
          const size_t size = rows ? (rows - 1) * stride + columns : columns;
          if (size > sizeof v / sizeof *v)
            continue;
          kernel_random(rows + columns, 1, 2 * rows, w);
          kernel_random(rows + columns + 1000, 1, size, v);
          kernel_random(columns + 2000, 1, columns, initial);
          for (size_t j = 0; j < columns; j++) {
            wanted[j] = overwrite ? 0 : initial[j];
            for (size_t k = 0; k < rows; k += GK_SUM_BLOCK) {
              float block = 0;
              for (size_t i = k; i < rows && i < k + GK_SUM_BLOCK; i++)
                block = fmaf(w[2 * i], v[i * stride + j], block);
              wanted[j] += block;
            }
          }
          const float *weights = place(0, 2 * rows, w), *values = place(1, size, v);
          float *sum = place(2, columns, initial);
          kernel_case(tier, "weighted_sum", "rows %zu, columns %zu, overwrite %d", rows, columns, overwrite);
          tier->kernels->weighted_sum(rows, columns, weights, 2, values, (ptrdiff_t)stride, sum,
                                      overwrite != 0);
          kernel_same("sum", columns, sum, wanted);
          check_intact();
        }
  assert_true(kernel_cases() > 0);
}

typedef void gradient_fn(size_t count, const float *y, const float *dy, float *d);

static float tanh_gradient(float y, float dy, float mean) {
  (void)mean;
  return dy * fmaf(-y, y, 1.0f);
}
static float sigmoid_gradient(float y, float dy, float mean) {
  const float rest = 1.0f - y;
  (void)mean;
  return dy * (y * rest);
}
static float softmax_gradient(float y, float dy, float mean) {
  const float centred = dy - mean;
  return y * centred;
}

static void gradients_from_values_are_their_formulas(void **state) {
  static const struct {
    const char *name;
    size_t slot;
    float (*plain)(float y, float dy, float mean);
  } functions[] = {{"tanh_backward", offsetof(struct gk_kernels, tanh_backward), tanh_gradient},
                   {"sigmoid_backward", offsetof(struct gk_kernels, sigmoid_backward), sigmoid_gradient},
                   {"softmax_backward", offsetof(struct gk_kernels, softmax_backward), softmax_gradient}};
  float y[MOST], dy[MOST], wanted[MOST];
  (void)state;
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (int f = 0; f < 3; f++)
      for (size_t count = 0; count < MOST; count++) {
        gradient_fn *apply;
        memcpy(&apply, (const char *)tier->kernels + functions[f].slot, sizeof apply);
        kernel_random(count, 1, count, y);
        kernel_random(count + 300, count % 4 ? 1 : 0x1p-94f, count, dy);
        const float mean = plain_dot(count, y, dy);
        for (size_t i = 0; i < count; i++)
          wanted[i] = plain_flush(functions[f].plain(y[i], dy[i], mean));
        const float *value = place(0, count, y);
        float *gradient = place(1, count, dy), *result = count % 2 ? gradient : place(2, count, NULL);
        kernel_case(tier, functions[f].name, "count %zu", count);
        apply(count, value, gradient, result);
        kernel_same("d", count, result, wanted);
        check_intact();
      }
  assert_true(kernel_cases() > 0);
}

static void every_kernel_of_this_program_was_run(void **state) {
  (void)state;
  kernel_all_listed("kernels_attention");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(scores_keep_their_lanes_and_tree, kernel_say_where),
      cmocka_unit_test_teardown(scores_too_small_for_a_float_are_plus_zero, kernel_say_where),
      cmocka_unit_test_teardown(weighted_sums_keep_the_canonical_order, kernel_say_where),
      cmocka_unit_test_teardown(gradients_from_values_are_their_formulas, kernel_say_where),
      cmocka_unit_test(every_kernel_of_this_program_was_run),
  };
  kernel_arguments(argc, argv);
  return cmocka_run_group_tests(tests, open_memory, close_memory);
}
