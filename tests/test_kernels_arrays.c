/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels over arrays on every tier: activations, dropout, reductions, softmax, optimizers, measuring loops.
 * Against the scalar tier bit for bit, and against plain loops: bit for bit where the contract fixes every
 * operation, within rounding where it does not.
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

/* Every tail of 16 lanes, of the 32 virtual lanes and of four vectors at once, and a little more. */
enum { MOST = 200, LONGEST_TAIL = 70 };

struct arrays {
  struct guarded_memory memory[4];
};

static void open_arrays(struct arrays *arrays) {
  for (int i = 0; i < 4; i++)
    assert_true(guarded_open(&arrays->memory[i], MOST + 16));
}

static void close_arrays(struct arrays *arrays) {
  for (int i = 0; i < 4; i++)
    guarded_close(&arrays->memory[i]);
}

static void check_intact(const struct arrays *arrays) {
  for (int i = 0; i < 4; i++)
    kernel_true(!arrays->memory[i].taken || guarded_intact(&arrays->memory[i]), "the kernel wrote outside");
}

/* Array number `index`, holding `values`. Its end lies at a protected page, or anywhere. */
static float *place(struct arrays *arrays, int index, size_t count, const float *values) {
  const int where = (count + (size_t)index) % 3 == 2 ? (int)(count % 16) : GUARD_AT_END;
  float *array = guarded_take(&arrays->memory[index], count, where);
  return values ? memcpy(array, values, count * sizeof(float)) : array;
}

/* Random values of many magnitudes, with the special ones among them. */
static void extreme_values(uint64_t stream, size_t count, float *x) {
  static const float special[] = {0.0f, -0.0f,     INFINITY,   -INFINITY,
                                  NAN,  0x1p-149f, -0x1p-126f, 0x1.fffffep127f};
  kernel_random(stream, 1, count, x);
  for (size_t i = 0; i < count; i++) {
    uint64_t bits = random_bits(stream + 1, i);
    if (bits % 16 == 0)
      x[i] = special[bits / 16 % 8];
    else
      x[i] = ldexpf(x[i], (int)(bits / 16 % 16) - 8);
  }
}

typedef void array_fn(size_t count, const float *x, float *y);

static void check_activation(struct arrays *arrays, const char *name, gk_math math, size_t slot) {
  float x[MOST], wanted[MOST];
  for (const struct kernel_tier *tier = kernel_tiers(math); tier->kernels; tier++) {
    array_fn *apply, *definition;
    memcpy(&apply, (const char *)tier->kernels + slot, sizeof apply);
    memcpy(&definition, (const char *)kernel_definition(math) + slot, sizeof definition);
    for (size_t count = 0; count <= LONGEST_TAIL; count++)
      for (int in_place = 0; in_place < 2; in_place++) {
        extreme_values(3 * count, count, x);
        for (size_t i = 0; i < count; i++)
          definition(1, &x[i], &wanted[i]);
        float *source = place(arrays, 0, count, x);
        float *result = in_place ? source : place(arrays, 1, count, NULL);
        kernel_case(tier, name, "count %zu, in place %d, math %d", count, in_place, (int)math);
        apply(count, source, result);
        kernel_same("y", count, result, wanted);
        check_intact(arrays);
      }
  }
}

static void activations_of_every_tail_have_the_same_bits_on_every_tier(void **state) {
  struct arrays arrays = {0};
  (void)state;
  open_arrays(&arrays);
  for (int math = GK_MATH_OWN; math <= GK_MATH_SLEEF; math++) {
    check_activation(&arrays, "sigmoid", (gk_math)math, offsetof(struct gk_kernels, sigmoid));
    check_activation(&arrays, "tanh", (gk_math)math, offsetof(struct gk_kernels, tanh));
  }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

static void dropout_zeroes_where_uniform_is_below_p(void **state) {
  static const float probabilities[] = {0, 0.25f, 0.5f, 0.999f};
  struct arrays arrays = {0};
  float x[MOST], uniform[MOST], wanted[MOST];
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count <= LONGEST_TAIL; count++) {
      const float p = probabilities[count % 4], scale = 1 / (1 - p);
      const bool in_place = count / 4 % 2;
      extreme_values(count, count, x);
      kernel_random(count + 500, 0.5f, count, uniform);
      for (size_t i = 0; i < count; i++) {
        uniform[i] = i % 5 == 4 ? p : uniform[i] + 0.5f;
        x[i] = i % 7 == 3 ? -0x1.fffffep-96f : x[i];
        wanted[i] = uniform[i] >= p && !(fabsf(x[i]) < 0x1p-95f) ? x[i] * scale : 0.0f;
      }
      float *source = place(&arrays, 0, count, x), *u = place(&arrays, 1, count, uniform);
      float *result = in_place ? source : place(&arrays, 2, count, NULL);
      kernel_case(tier, "dropout", "count %zu, p %g, in place %d", count, (double)p, in_place);
      tier->kernels->dropout(count, p, scale, u, source, result);
      kernel_same("y", count, result, wanted);
      check_intact(&arrays);
    }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

static void add_adds(void **state) {
  struct arrays arrays = {0};
  float x[MOST], y[MOST], wanted[MOST];
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count <= LONGEST_TAIL; count++) {
      extreme_values(count, count, x);
      extreme_values(count + 300, count, y);
      for (size_t i = 0; i < count; i++)
        wanted[i] = y[i] + x[i];
      float *source = place(&arrays, 0, count, x), *result = place(&arrays, 1, count, y);
      kernel_case(tier, "add", "count %zu", count);
      tier->kernels->add(count, source, result);
      kernel_same("y", count, result, wanted);
      check_intact(&arrays);
    }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

static void flush_drops_what_is_tiny(void **state) {
  struct arrays arrays = {0};
  float x[MOST], wanted[MOST];
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count <= LONGEST_TAIL; count++) {
      const bool in_place = count % 2;
      extreme_values(count, count, x);
      for (size_t i = 0; i < count; i++) {
        if (i % 4 == 3)
          x[i] = i % 8 == 3 ? -0x1p-95f : 0x1.fffffep-96f;
        wanted[i] = fabsf(x[i]) < 0x1p-95f ? 0.0f : x[i];
      }
      float *source = place(&arrays, 0, count, x);
      float *result = in_place ? source : place(&arrays, 1, count, NULL);
      kernel_case(tier, "flush", "count %zu, in place %d", count, in_place);
      tier->kernels->flush(count, source, result);
      kernel_same("y", count, result, wanted);
      check_intact(&arrays);
    }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

/* Each place in turn holds what flushing drops, among values that it keeps or that are no number. */
static void needs_flush_finds_one_tiny_value(void **state) {
  static const float tiny[] = {0x1.fffffep-96f, -0x1.fffffep-96f, 1e-45f, -1e-40f};
  static const float kept[] = {0.0f, -0.0f, 0x1p-95f, -0x1p-95f, NAN, -INFINITY, 1.0f};
  struct arrays arrays = {0};
  float x[MOST];
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count <= LONGEST_TAIL; count++) {
      for (size_t i = 0; i < count; i++)
        x[i] = kept[(i + count) % (sizeof kept / sizeof *kept)];
      float *source = place(&arrays, 0, count, x);
      kernel_case(tier, "needs_flush", "count %zu", count);
      kernel_true(!tier->kernels->needs_flush(count, source), "found where there is none");
      for (size_t i = 0; i < count; i++) {
        source[i] = tiny[i % (sizeof tiny / sizeof *tiny)];
        kernel_case(tier, "needs_flush", "count %zu, at %zu", count, i);
        kernel_true(tier->kernels->needs_flush(count, source), "not found");
        source[i] = x[i];
      }
      check_intact(&arrays);
    }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

/* The tree over the virtual lanes. */
static float plain_tree(float lane[GK_SUM_LANES]) {
  for (int width = GK_SUM_LANES / 2; width; width /= 2)
    for (int j = 0; j < width; j++)
      lane[j] += lane[j + width];
  return lane[0];
}

static void sum_of_squares_keeps_its_lanes_and_tree(void **state) {
  struct arrays arrays = {0};
  float x[MOST];
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count <= MOST; count++) {
      float lane[GK_SUM_LANES] = {0};
      kernel_random(count, count % 7 == 0 ? 0x1p-70f : 3, count, x);
      for (size_t i = 0; i < count; i++)
        lane[i % GK_SUM_LANES] = fmaf(x[i], x[i], lane[i % GK_SUM_LANES]);
      const float wanted = plain_tree(lane);
      kernel_case(tier, "sum_squares", "count %zu", count);
      const float sum = tier->kernels->sum_squares(count, place(&arrays, 0, count, x));
      kernel_same("sum", 1, &sum, &wanted);
      check_intact(&arrays);
    }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

/* The float64 softmax of scale * x; returns log(sum exp) of the scaled logits. */
static double plain_softmax(size_t count, double scale, const float *x, double *p) {
  double top = -INFINITY, sum = 0;
  for (size_t i = 0; i < count; i++)
    top = fmax(top, scale * (double)x[i]);
  for (size_t i = 0; i < count; i++)
    sum += p[i] = exp(scale * (double)x[i] - top);
  for (size_t i = 0; i < count; i++)
    p[i] /= sum;
  return top + log(sum);
}

static void make_logits(size_t count, float *x) {
  kernel_random(count, 8, count, x);
  for (size_t i = 0; i < count; i++)
    if (count % 5 == 0 && i % 4 == 3)
      x[i] = i % 8 == 3 ? -INFINITY : -200;
}

static void softmax_is_right_and_has_the_same_bits_on_every_tier(void **state) {
  static const float scales[] = {1, 0.25f, 3};
  struct arrays arrays = {0};
  float x[MOST], wanted[MOST];
  double exact[MOST];
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 1; count <= MOST; count += count < LONGEST_TAIL ? 1 : 13) {
      const float scale = scales[count % 3];
      make_logits(count, x);
      plain_softmax(count, (double)scale, x, exact);
      kernel_definition(GK_MATH_OWN)->softmax(count, scale, x, wanted);
      float *source = place(&arrays, 0, count, x);
      float *result = count % 2 ? source : place(&arrays, 1, count, NULL);
      kernel_case(tier, "softmax", "count %zu, scale %g", count, (double)scale);
      tier->kernels->softmax(count, scale, source, result);
      kernel_same("p", count, result, wanted);
      kernel_near("p", count, result, exact, 4e-6, 1e-37);
      check_intact(&arrays);
    }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

/* ---- Clipping ---- */

static void clamp_and_scale_follow_their_contracts(void **state) {
  struct arrays arrays = {0};
  float x[MOST], wanted[MOST];
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t count = 0; count <= LONGEST_TAIL; count++) {
      const float limit = count % 3 ? 0.25f : 2;
      extreme_values(count + 40, count, x);
      for (size_t i = 0; i < count; i++)
        wanted[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
      kernel_case(tier, "clamp", "count %zu, limit %g", count, (double)limit);
      float *result = place(&arrays, 0, count, x);
      tier->kernels->clamp(count, limit, result);
      kernel_same("x", count, result, wanted);
      for (size_t i = 0; i < count; i++)
        wanted[i] = x[i] * limit;
      kernel_case(tier, "scale", "count %zu, factor %g", count, (double)limit);
      result = place(&arrays, 0, count, x);
      tier->kernels->scale(count, limit, result);
      kernel_same("x", count, result, wanted);
      check_intact(&arrays);
    }
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

/* ---- Optimizers ---- */

typedef void update_fn(const struct gk_update *update);
typedef void plain_update_fn(const struct gk_update *update, size_t i, double *parameter, double *first,
                             double *second);

static double plain_gradient(const struct gk_update *u, size_t i) {
  return (double)u->gradients[i] * (double)u->gradient_scale +
         (double)u->weight_decay * (double)u->parameters[i];
}

static void plain_sgd(const struct gk_update *u, size_t i, double *parameter, double *first, double *second) {
  double g = plain_gradient(u, i);
  if (u->momentum != 0) {
    *first = u->first_step ? g : (double)u->momentum * *first + g;
    g = u->nesterov ? g + (double)u->momentum * *first : *first;
  }
  *parameter -= (double)u->learning_rate * g;
  (void)second;
}

static void plain_rmsprop(const struct gk_update *u, size_t i, double *parameter, double *first,
                          double *second) {
  double g = plain_gradient(u, i);
  *first = (double)u->alpha * *first + (1 - (double)u->alpha) * g * g;
  *parameter -= (double)u->learning_rate * g / (sqrt(*first) + (double)u->epsilon);
  (void)second;
}

static void plain_adagrad(const struct gk_update *u, size_t i, double *parameter, double *first,
                          double *second) {
  double g = plain_gradient(u, i);
  *first += g * g;
  *parameter -= (double)u->learning_rate * g / (sqrt(*first) + (double)u->epsilon);
  (void)second;
}

static void adam_step(const struct gk_update *u, double g, double *parameter, double *first, double *second) {
  *first = (double)u->beta1 * *first + (1 - (double)u->beta1) * g;
  *second = (double)u->beta2 * *second + (1 - (double)u->beta2) * g * g;
  *parameter -=
      (double)u->step_size * *first / (sqrt(*second) / (double)u->bias_correction2_root + (double)u->epsilon);
}

static void plain_adam(const struct gk_update *u, size_t i, double *parameter, double *first,
                       double *second) {
  adam_step(u, plain_gradient(u, i), parameter, first, second);
}

static void plain_adamw(const struct gk_update *u, size_t i, double *parameter, double *first,
                        double *second) {
  *parameter *= (double)u->shrink;
  adam_step(u, (double)u->gradients[i] * (double)u->gradient_scale, parameter, first, second);
}

static const struct {
  const char *name;
  size_t slot;
  plain_update_fn *plain;
  bool squares; /* the first state is a sum of squares */
  bool decays;  /* without gradients the first state goes to zero in 300 steps */
} optimizers[] = {
    {"sgd", offsetof(struct gk_kernels, sgd), plain_sgd, false, true},
    {"rmsprop", offsetof(struct gk_kernels, rmsprop), plain_rmsprop, true, false},
    {"adagrad", offsetof(struct gk_kernels, adagrad), plain_adagrad, true, false},
    {"adam", offsetof(struct gk_kernels, adam), plain_adam, false, true},
    {"adamw", offsetof(struct gk_kernels, adamw), plain_adamw, false, true},
};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

static struct gk_update make_update(size_t count, bool first_step) {
  return (struct gk_update){
      .count = count,
      .gradient_scale = count % 2 ? 1 : 0.375f,
      .weight_decay = count % 3 ? 0 : 0.01f,
      .learning_rate = 0.01f,
      .momentum = count % 4 ? 0.9f : 0,
      .beta1 = 0.9f,
      .beta2 = 0.999f,
      .alpha = 0.99f,
      .epsilon = 1e-8f,
      .step_size = 0.1f,
      .bias_correction2_root = 0.03125f,
      .shrink = 0.9999f,
      .first_step = first_step,
      .nesterov = count % 8 == 3,
  };
}

static void check_optimizer(struct arrays *arrays, const struct kernel_tier *tier, int which, size_t count) {
  enum { PARAMETERS, GRADIENTS, FIRST, SECOND };
  float initial[4][MOST], wanted[4][MOST];
  double exact[4][MOST];
  update_fn *apply, *definition;
  memcpy(&apply, (const char *)tier->kernels + optimizers[which].slot, sizeof apply);
  memcpy(&definition, (const char *)kernel_definition(GK_MATH_OWN) + optimizers[which].slot,
         sizeof definition);
  struct gk_update update = make_update(count, count % 5 == 0);
  for (uint64_t i = 0; i < 4; i++) {
    kernel_random(10 * count + i, 1, count, initial[i]);
    for (size_t j = 0; j < count; j++) {
      if (i == SECOND || (i == FIRST && optimizers[which].squares))
        initial[i][j] = fabsf(initial[i][j]);
      exact[i][j] = (double)initial[i][j];
    }
  }
  memcpy(wanted, initial, sizeof wanted);

  update.parameters = wanted[PARAMETERS], update.gradients = wanted[GRADIENTS];
  update.first = wanted[FIRST], update.second = wanted[SECOND];
  for (size_t i = 0; i < count; i++)
    optimizers[which].plain(&update, i, &exact[PARAMETERS][i], &exact[FIRST][i], &exact[SECOND][i]);
  definition(&update);

  update.parameters = place(arrays, PARAMETERS, count, initial[PARAMETERS]);
  update.gradients = place(arrays, GRADIENTS, count, initial[GRADIENTS]);
  update.first = place(arrays, FIRST, count, initial[FIRST]);
  update.second = place(arrays, SECOND, count, initial[SECOND]);
  kernel_case(tier, optimizers[which].name, "count %zu", count);
  apply(&update);
  kernel_same("parameters", count, update.parameters, wanted[PARAMETERS]);
  kernel_same("gradients", count, update.gradients, initial[GRADIENTS]);
  kernel_same("first state", count, update.first, wanted[FIRST]);
  kernel_same("second state", count, update.second, wanted[SECOND]);
  kernel_near("parameters", count, update.parameters, exact[PARAMETERS], 1e-6, 1e-6);
  kernel_near("first state", count, update.first, exact[FIRST], 1e-6, 1e-6);
  kernel_near("second state", count, update.second, exact[SECOND], 1e-6, 1e-6);
  check_intact(arrays);
}

static void optimizers_follow_their_formulas_with_the_same_bits_on_every_tier(void **state) {
  struct arrays arrays = {0};
  (void)state;
  open_arrays(&arrays);
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (int which = 0; which < OPTIMIZERS; which++)
      for (size_t count = 0; count <= LONGEST_TAIL; count++)
        check_optimizer(&arrays, tier, which, count);
  assert_true(kernel_cases() > 0);
  close_arrays(&arrays);
}

/* A state that decays for ever must not become denormal: that is where tiers and CPUs differ. */
static void optimizer_states_go_to_zero_instead_of_denormal(void **state) {
  (void)state;
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++) {
    float parameters[20], gradients[20] = {0}, first[20], second[20];
    struct gk_update update = make_update(20, false);
    update.weight_decay = 0;
    update.momentum = 0.5f;
    update.parameters = parameters, update.gradients = gradients;
    update.first = first, update.second = second;
    for (int which = 0; which < OPTIMIZERS; which++) {
      update_fn *apply;
      memcpy(&apply, (const char *)tier->kernels + optimizers[which].slot, sizeof apply);
      for (int i = 0; i < 20; i++)
        parameters[i] = 1, first[i] = second[i] = i < 10 ? 0x1p-126f : 0x1p-125f;
      kernel_case(tier, optimizers[which].name, "count 20, states at the smallest normal number");
      for (int step = 0; step < 300; step++)
        apply(&update);
      for (int i = 0; i < 20; i++) {
        kernel_true(fpclassify(first[i]) != FP_SUBNORMAL && fpclassify(second[i]) != FP_SUBNORMAL,
                    "a state is denormal");
        kernel_true(!optimizers[which].decays || first[i] == 0, "a state did not decay to zero");
      }
    }
  }
  assert_true(kernel_cases() > 0);
}

/* ---- Measuring loops: they must do the work that they are counted for ---- */

static void activation_loops_apply_the_function_each_round(void **state) {
  (void)state;
  for (int math = GK_MATH_OWN; math <= GK_MATH_SLEEF; math++)
    for (const struct kernel_tier *tier = kernel_tiers((gk_math)math); tier->kernels; tier++)
      for (int which = 0; which < 2; which++) {
        float x[16], argument[16], value[16], wanted[16];
        kernel_random((uint64_t)which, 4, 16, x);
        memcpy(argument, x, sizeof x);
        memcpy(wanted, x, sizeof x);
        for (int round = 0; round < 1000; round++) {
          (which ? tier->kernels->tanh : tier->kernels->sigmoid)(16, argument, value);
          for (int i = 0; i < 16; i++)
            wanted[i] += value[i], argument[i] += 0x1p-20f;
        }
        kernel_case(tier, which ? "tanh_loop" : "sigmoid_loop", "iterations 1000, math %d", math);
        (which ? tier->kernels->tanh_loop : tier->kernels->sigmoid_loop)(1000, x);
        kernel_same("x", 16, x, wanted);
      }
  assert_true(kernel_cases() > 0);
}

static void limit_loops_do_the_work_they_count(void **state) {
  static float values[4096];
  (void)state;
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++) {
    float sink[64] = {1, 0.5f};
    kernel_case(tier, "fma_loop", "iterations 10 and 1000");
    const double few = tier->kernels->fma_loop(10, sink);
    kernel_true(few > 0, "no FLOP counted");
    sink[0] = 1, sink[1] = 0.5f;
    kernel_true(tier->kernels->fma_loop(1000, sink) == 100 * few, "FLOP are not proportional to iterations");
    /* s = 1 s + 0.5, `iterations` times in every chain: the sum of all chains shows that each ran. */
    const double chains = few / (2 * 10 * (double)tier->kernels->lanes);
    const double wanted = chains * 500 + chains * (chains - 1) / 2;
    kernel_near("sink", 1, sink, &wanted, 1e-6, 0);

    kernel_case(tier, "read_loop", "count 4096");
    for (size_t i = 0; i < 4096; i++)
      values[i] = 1;
    /* One lane of the sums is returned: every value of that lane must be in it. */
    const float sum = tier->kernels->read_loop(4096, values);
    const double lane = 4096 / (double)tier->kernels->lanes;
    kernel_near("sum", 1, &sum, &lane, 0, 0);
  }
  assert_true(kernel_cases() > 0);
}

static void every_listed_kernel_was_run(void **state) {
  (void)state;
  kernel_all_listed("kernels_arrays");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(activations_of_every_tail_have_the_same_bits_on_every_tier, kernel_say_where),
      cmocka_unit_test_teardown(dropout_zeroes_where_uniform_is_below_p, kernel_say_where),
      cmocka_unit_test_teardown(add_adds, kernel_say_where),
      cmocka_unit_test_teardown(flush_drops_what_is_tiny, kernel_say_where),
      cmocka_unit_test_teardown(needs_flush_finds_one_tiny_value, kernel_say_where),
      cmocka_unit_test_teardown(sum_of_squares_keeps_its_lanes_and_tree, kernel_say_where),
      cmocka_unit_test_teardown(softmax_is_right_and_has_the_same_bits_on_every_tier, kernel_say_where),
      cmocka_unit_test_teardown(clamp_and_scale_follow_their_contracts, kernel_say_where),
      cmocka_unit_test_teardown(optimizers_follow_their_formulas_with_the_same_bits_on_every_tier,
                                kernel_say_where),
      cmocka_unit_test_teardown(optimizer_states_go_to_zero_instead_of_denormal, kernel_say_where),
      cmocka_unit_test_teardown(activation_loops_apply_the_function_each_round, kernel_say_where),
      cmocka_unit_test_teardown(limit_loops_do_the_work_they_count, kernel_say_where),
      cmocka_unit_test(every_listed_kernel_was_run),
  };
  kernel_arguments(argc, argv);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
