/* SPDX-License-Identifier: Apache-2.0
 *
 * Random numbers, what masks do to arrays, and the largest of columns, on every tier: random numbers against
 * Random123, the rest against plain loops, bit for bit.
 * ctest labels: edges */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#include "src/core/random.h"
#include "tests/guarded_memory.h"
#include "tests/kernel_tiers.h"
#include "tests/random_values.h"

enum { MOST = 200, LONGEST_TAIL = 150, ARRAYS = 5 };

struct arrays {
  struct guarded_memory memory[ARRAYS];
};

static void open_arrays(struct arrays *arrays) {
  for (int i = 0; i < ARRAYS; i++)
    assert_true(guarded_open(&arrays->memory[i], MOST + 16));
}

static void close_arrays(struct arrays *arrays) {
  for (int i = 0; i < ARRAYS; i++)
    guarded_close(&arrays->memory[i]);
}

static void check_intact(const struct arrays *arrays) {
  for (int i = 0; i < ARRAYS; i++)
    kernel_true(!arrays->memory[i].taken || guarded_intact(&arrays->memory[i]), "the kernel wrote outside");
}

/* Array number `index`, holding `values`. Its end lies at a protected page, or anywhere. */
static float *place(struct arrays *arrays, int index, size_t count, const float *values) {
  const int where = (count + (size_t)index) % 3 == 2 ? (int)(count % 16) : GUARD_AT_END;
  float *array = guarded_take(&arrays->memory[index], count, where);
  return values ? memcpy(array, values, count * sizeof(float)) : array;
}

static void uniforms_are_those_of_random123(void **state) {
  struct arrays arrays = {0};
  float wanted[MOST];
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count <= LONGEST_TAIL; count++) {
      struct gk_random_counter counter = {.seed = kernel_test_seed() * 0x9e3779b97f4a7c15u + count,
                                          .purpose = (uint32_t)count % 7,
                                          .layer = (uint32_t)count,
                                          .direction = count % 2,
                                          .step = (uint64_t)count << 31,
                                          .sample = UINT64_MAX - count,
                                          .time = (uint32_t)(count * 77)};
      const size_t first = count % 3 == 0 ? 0 : count % 3 == 1 ? count * 5 : ((size_t)1 << 32) - count;
      const struct gk_random_stream stream = gk_random_stream_of(&counter);
      const struct gk_uniforms row = gk_random_row(&stream, counter.sample, counter.time);
      gk_random_uniforms(&counter, first, count, wanted);
      float *result = place(&arrays, 0, count, NULL);
      kernel_case(tier, "uniforms", "count %zu, first %zu", count, first);
      tier->kernels->uniforms(&row, first, count, result);
      kernel_same("u", count, result, wanted);
      check_intact(&arrays);
    }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

static void zoneout_takes_one_or_the_other(void **state) {
  struct arrays arrays = {0};
  float x[MOST], previous[MOST], uniform[MOST], wanted[MOST], mean[MOST];
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count <= LONGEST_TAIL; count++) {
      const float p = (float)(count % 4) / 4;
      const bool in_place = count / 4 % 2;
      kernel_random(count, 1, count, x);
      kernel_random(count + 300, 1, count, previous);
      kernel_random(count + 600, 0.5f, count, uniform);
      for (size_t i = 0; i < count; i++) {
        uniform[i] = i % 5 == 4 ? p : uniform[i] + 0.5f;
        x[i] = i % 9 == 3 ? NAN : x[i];
        wanted[i] = uniform[i] < p ? previous[i] : x[i];
        mean[i] = fmaf(p, previous[i] - x[i], x[i]);
      }
      const float *u = place(&arrays, 1, count, uniform), *before = place(&arrays, 2, count, previous);
      float *source = place(&arrays, 0, count, x);
      float *result = in_place ? source : place(&arrays, 3, count, NULL);
      kernel_case(tier, "zoneout", "count %zu, p %g, in place %d", count, (double)p, in_place);
      tier->kernels->zoneout(count, p, u, before, source, result);
      kernel_same("y", count, result, wanted);
      memcpy(source, x, count * sizeof *x);
      kernel_case(tier, "zoneout_mean", "count %zu, p %g, in place %d", count, (double)p, in_place);
      tier->kernels->zoneout_mean(count, p, before, source, result);
      kernel_same("y", count, result, mean);
      check_intact(&arrays);
    }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

static void zoneout_backward_sends_the_gradient_one_way(void **state) {
  struct arrays arrays = {0};
  float d[MOST], dy[MOST], uniform[MOST], on[MOST], stayed[MOST];
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count <= LONGEST_TAIL; count++) {
      const float p = (float)(count % 4) / 4;
      const bool with_dy = count / 4 % 2;
      kernel_random(count, 1, count, d);
      kernel_random(count + 300, 1, count, dy);
      kernel_random(count + 600, 0.5f, count, uniform);
      for (size_t i = 0; i < count; i++) {
        uniform[i] = i % 5 == 4 ? p : uniform[i] + 0.5f;
        if (i % 7 == 2)
          d[i] = dy[i] = -0x1p-97f;
        const float sum = i % 7 == 2 ? 0 : with_dy ? dy[i] + d[i] : d[i];
        on[i] = uniform[i] < p ? 0 : sum;
        stayed[i] = uniform[i] < p ? sum : 0;
      }
      const float *u = place(&arrays, 1, count, uniform), *out = place(&arrays, 2, count, dy);
      float *carry = place(&arrays, 0, count, d), *result = place(&arrays, 3, count, NULL);
      kernel_case(tier, "zoneout_backward", "count %zu, p %g, dy %d", count, (double)p, with_dy);
      tier->kernels->zoneout_backward(count, p, u, with_dy ? out : NULL, carry, result);
      kernel_same("d", count, carry, on);
      kernel_same("stayed", count, result, stayed);
      check_intact(&arrays);
    }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

/* Few different values, so that most are equal to another; now and then a NaN. */
static void column_max_finds_the_first_of_the_largest(void **state) {
  enum { ROWS = 7 };
  struct arrays arrays = {0};
  float x[ROWS][MOST], best[MOST];
  int32_t at[MOST];
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count <= LONGEST_TAIL; count++) {
      const size_t rows = 1 + count % ROWS, cut = rows / 2;
      const float *source[ROWS];
      for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < count; j++) {
          const uint64_t bits = random_bits(count, r * MOST + j);
          x[r][j] = bits % 19 == 0 ? NAN : (float)(int)(bits / 19 % 5) - 2;
        }
        source[r] = x[r];
      }
      for (size_t j = 0; j < count; j++) {
        best[j] = x[0][j];
        at[j] = 40;
        for (size_t r = 1; r < rows; r++)
          if (!isnan(best[j]) && (isnan(x[r][j]) || x[r][j] > best[j])) {
            best[j] = x[r][j];
            at[j] = 40 + (int32_t)r;
          }
      }
      float *top = place(&arrays, 0, count, NULL), *row = place(&arrays, 1, count, NULL);
      kernel_case(tier, "column_max", "columns %zu, rows %zu, cut at %zu", count, rows, cut);
      if (cut)
        tier->kernels->column_max(cut, count, source, 40, top, (int32_t *)row, true);
      tier->kernels->column_max(rows - cut, count, source + cut, 40 + (int32_t)cut, top, (int32_t *)row,
                                cut == 0);
      kernel_same("best", count, top, best);
      kernel_true(count == 0 || memcmp(row, at, count * sizeof *at) == 0, "row of the largest");
      check_intact(&arrays);
    }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

static void every_listed_kernel_was_run(void **state) {
  (void)state;
  kernel_all_listed("kernels_masks");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(uniforms_are_those_of_random123, kernel_say_where),
      cmocka_unit_test_teardown(zoneout_takes_one_or_the_other, kernel_say_where),
      cmocka_unit_test_teardown(zoneout_backward_sends_the_gradient_one_way, kernel_say_where),
      cmocka_unit_test_teardown(column_max_finds_the_first_of_the_largest, kernel_say_where),
      cmocka_unit_test(every_listed_kernel_was_run),
  };
  kernel_arguments(argc, argv);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
