/* SPDX-License-Identifier: Apache-2.0
 *
 * Losses of a row on every tier: against the scalar tier bit for bit, against plain formulas in double.
 * ctest labels: edges */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#include "tests/guarded_memory.h"
#include "tests/kernel_tiers.h"
#include "tests/random_values.h"

enum { MOST = 200, LONGEST_TAIL = 70, ARRAYS = 3 };

struct arrays {
  struct guarded_memory memory[ARRAYS];
};

static float *place(struct arrays *arrays, int index, size_t count, const float *values) {
  const int where = (count + (size_t)index) % 3 == 2 ? (int)(count % 16) : GUARD_AT_END;
  float *array = guarded_take(&arrays->memory[index], count, where);
  return values ? memcpy(array, values, count * sizeof(float)) : array;
}

typedef float loss_fn(const struct gk_loss_row *row);
/* The loss in double; d: its gradient, not scaled. */
typedef double plain_fn(const struct gk_loss_row *row, double *d);

static double plain_softmax(const struct gk_loss_row *row, double *d) {
  double top = -INFINITY, sum = 0, loss = 0, share = (double)row->smoothing, count = (double)row->count;
  for (size_t i = 0; i < row->count; i++)
    top = fmax(top, (double)row->x[i]);
  for (size_t i = 0; i < row->count; i++)
    sum += exp((double)row->x[i] - top);
  for (size_t i = 0; i < row->count; i++) {
    const double wanted = (i == row->target ? 1 - share : 0) + share / count;
    const double log_p = (double)row->x[i] - top - log(sum);
    if (wanted > 0)
      loss -= wanted * log_p;
    d[i] = exp(log_p) - wanted;
  }
  return loss;
}

static double plain_binary(const struct gk_loss_row *row, double *d) {
  double loss = 0;
  for (size_t i = 0; i < row->count; i++) {
    const double x = (double)row->x[i], y = (double)row->values[i], weight = (double)row->positive_weight;
    const double up = log1p(exp(-fabs(x))) + fmax(x, 0), down = log1p(exp(-fabs(x))) + fmax(-x, 0);
    loss += (1 - y) * up + weight * y * down;
    d[i] = (1 - y) / (1 + exp(-x)) - weight * y / (1 + exp(x));
  }
  return loss;
}

static double plain_squared(const struct gk_loss_row *row, double *d) {
  double loss = 0;
  for (size_t i = 0; i < row->count; i++) {
    const double e = (double)row->x[i] - (double)row->values[i];
    loss += e * e;
    d[i] = 2 * e;
  }
  return loss;
}

static double plain_huber(const struct gk_loss_row *row, double *d) {
  double loss = 0, delta = (double)row->delta;
  for (size_t i = 0; i < row->count; i++) {
    const double e = (double)row->x[i] - (double)row->values[i];
    loss += fabs(e) <= delta ? e * e / 2 : delta * (fabs(e) - delta / 2);
    d[i] = fmax(-delta, fmin(delta, e));
  }
  return loss;
}

static const struct {
  const char *name;
  size_t slot;
  plain_fn *plain;
} losses[] = {
    {"softmax_loss", offsetof(struct gk_kernels, softmax_loss), plain_softmax},
    {"binary_loss", offsetof(struct gk_kernels, binary_loss), plain_binary},
    {"squared_loss", offsetof(struct gk_kernels, squared_loss), plain_squared},
    {"huber_loss", offsetof(struct gk_kernels, huber_loss), plain_huber},
};

/* Logits and predictions with large ones among them, where a naive formula would overflow or cancel. */
static void make_row(size_t count, float *x, float *values) {
  kernel_random(count, 8, count, x);
  kernel_random(count + 700, 0.5f, count, values);
  for (size_t i = 0; i < count; i++) {
    values[i] = i % 3 ? values[i] + 0.5f : (float)(i / 3 % 2);
    if (count % 5 == 0 && i % 4 == 3)
      x[i] = i % 8 == 3 ? 150 : -200;
    if (count % 7 == 0 && i % 4 == 1) /* probabilities about 2^-95 to 2^-140 */
      x[i] = -60 - (float)(i % 32);
  }
}

static void check_loss(struct arrays *arrays, const struct kernel_tier *tier, int which, size_t count) {
  enum { X, VALUES, DX };
  float x[MOST], values[MOST], wanted[MOST];
  double exact[MOST];
  loss_fn *apply, *definition;
  memcpy(&apply, (const char *)tier->kernels + losses[which].slot, sizeof apply);
  memcpy(&definition, (const char *)kernel_definition(tier->kernels->math) + losses[which].slot,
         sizeof definition);
  make_row(count, x, values);
  struct gk_loss_row row = {.count = count,
                            .x = x,
                            .values = values,
                            .target = (size_t)random_integer(9, count, (int64_t)count),
                            .scale = count % 2 ? 1 : 0.0125f,
                            .smoothing = count % 3 ? 0 : 0.1f,
                            .positive_weight = count % 4 ? 1 : 2.5f,
                            .delta = count % 3 ? 1 : 0.3f,
                            .dx = wanted};
  const float wanted_loss = definition(&row);
  const double exact_loss = losses[which].plain(&row, exact);
  double largest = 0;
  for (size_t i = 0; i < count; i++) {
    exact[i] *= (double)row.scale;
    largest = fmax(largest, fabs(exact[i]));
  }
  row.x = place(arrays, X, count, x);
  row.values = place(arrays, VALUES, count, values);
  kernel_case(tier, losses[which].name, "count %zu, target %zu, scale %g, smoothing %g", count, row.target,
              (double)row.scale, (double)row.smoothing);
  row.dx = NULL;
  float loss = apply(&row);
  kernel_same("loss without gradient", 1, &loss, &wanted_loss);
  kernel_near("loss", 1, &loss, &exact_loss, 2e-6, 4e-6);
  row.dx = count % 2 ? place(arrays, DX, count, NULL) : place(arrays, X, count, x);
  loss = apply(&row);
  kernel_same("loss", 1, &loss, &wanted_loss);
  kernel_same("gradient", count, row.dx, wanted);
  kernel_near("gradient", count, row.dx, exact, 4e-6, 1e-6 * largest + 1e-28);
  for (size_t i = 0; i < count; i++)
    kernel_true(row.dx[i] == 0 || fabsf(row.dx[i]) >= 0x1p-95f, "a gradient below 2^-95 is stored");
  for (int i = 0; i < ARRAYS; i++)
    kernel_true(!arrays->memory[i].taken || guarded_intact(&arrays->memory[i]), "the kernel wrote outside");
}

static void losses_follow_their_formulas_with_the_same_bits_on_every_tier(void **state) {
  struct arrays arrays = {0};
  (void)state;
  for (int i = 0; i < ARRAYS; i++)
    assert_true(guarded_open(&arrays.memory[i], MOST + 16));
  for (int math = GK_MATH_OWN; math <= GK_MATH_SLEEF; math++)
    for (const struct kernel_tier *tier = kernel_tiers((gk_math)math); tier->kernels; tier++)
      for (int which = 0; which < (int)(sizeof losses / sizeof *losses); which++)
        for (size_t count = 1; count <= MOST; count += count < LONGEST_TAIL ? 1 : 13)
          check_loss(&arrays, tier, which, count);
  assert_true(kernel_cases() > 0);
  for (int i = 0; i < ARRAYS; i++)
    guarded_close(&arrays.memory[i]);
}

/* A prediction that is right and certain has a loss that is small, not one that cancelled to zero. */
static void a_certain_binary_prediction_keeps_its_loss(void **state) {
  (void)state;
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++) {
    float x[2] = {12, -12}, y[2] = {1, 0}, dx[2];
    struct gk_loss_row row = {.count = 2, .x = x, .values = y, .scale = 1, .positive_weight = 1, .dx = dx};
    kernel_case(tier, "binary_loss", "two certain predictions");
    const float loss = tier->kernels->binary_loss(&row);
    const double tail = exp(-12) / (1 + exp(-12)), exact[2] = {-tail, tail}, sum = 2 * log1p(exp(-12));
    kernel_near("loss", 1, &loss, &sum, 1e-6, 0);
    kernel_near("gradient", 2, dx, exact, 1e-6, 0);
  }
}

static void every_listed_kernel_was_run(void **state) {
  (void)state;
  kernel_all_listed("kernels_losses");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(losses_follow_their_formulas_with_the_same_bits_on_every_tier,
                                kernel_say_where),
      cmocka_unit_test_teardown(a_certain_binary_prediction_keeps_its_loss, kernel_say_where),
      cmocka_unit_test(every_listed_kernel_was_run),
  };
  kernel_arguments(argc, argv);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
