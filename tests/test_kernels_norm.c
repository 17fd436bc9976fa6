/* SPDX-License-Identifier: Apache-2.0
 *
 * ctest labels: edges
 *
 * The layer-normalised LSTM's arithmetic on every tier: the bits of the scalar tier. That they are right is
 * tested in whole networks (test_gradients). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/kernel_tiers.h"
#include "tests/random_values.h"

enum { ROWS = 3, BLOCKS = 13, MOST_HIDDEN = 70, WIDTH = BLOCKS * MOST_HIDDEN };

/* Of each tier: rows that hold what no kernel may leave there where it must not write. */
struct arrays {
  float pre[ROWS][WIDTH], gates[ROWS][WIDTH], d_pre[ROWS][WIDTH], d_pre_copy[ROWS][WIDTH];
  float h_prev[ROWS][MOST_HIDDEN], c_prev[ROWS][MOST_HIDDEN], h[ROWS][MOST_HIDDEN], c[ROWS][MOST_HIDDEN];
  float saved_h[ROWS][MOST_HIDDEN], saved_c[ROWS][MOST_HIDDEN], dy[ROWS][MOST_HIDDEN];
  float dh[ROWS][MOST_HIDDEN], dc[ROWS][MOST_HIDDEN], scales[ROWS][4];
};
static struct arrays wanted, got;
static float norm[(3 * 4 + 2) * MOST_HIDDEN], peephole[3 * MOST_HIDDEN];

#define POINTERS(field)                                                                                      \
  float *field[ROWS];                                                                                        \
  for (int row = 0; row < ROWS; row++)                                                                       \
  field[row] = a->field[row]

static void run(const struct gk_kernels *kernels, size_t hidden, const struct gk_cell_variant *variant,
                bool peeps, struct arrays *a) {
  POINTERS(pre);
  POINTERS(gates);
  POINTERS(d_pre);
  POINTERS(d_pre_copy);
  POINTERS(h_prev);
  POINTERS(c_prev);
  POINTERS(h);
  POINTERS(c);
  POINTERS(saved_h);
  POINTERS(saved_c);
  POINTERS(dy);
  POINTERS(dh);
  POINTERS(dc);
  POINTERS(scales);
  random_floats(1, 2, sizeof *a / sizeof(float), (float *)a);
  const struct gk_cell_forward forward = {.rows = ROWS,
                                          .unit_end = hidden,
                                          .hidden = hidden,
                                          .variant = variant,
                                          .peephole = peeps ? peephole : NULL,
                                          .norm = norm,
                                          .scales = scales,
                                          .pre = pre,
                                          .h_prev = (const float *const *)h_prev,
                                          .c_prev = (const float *const *)c_prev,
                                          .h = h,
                                          .c = c,
                                          .saved_gates = gates,
                                          .saved_h = saved_h,
                                          .saved_c = saved_c};
  kernels->lstm_normalised_forward(&forward);
  const struct gk_cell_backward backward = {.rows = ROWS,
                                            .unit_end = hidden,
                                            .hidden = hidden,
                                            .variant = variant,
                                            .peephole = forward.peephole,
                                            .norm = norm,
                                            .scales = (const float *const *)scales,
                                            .gates = (const float *const *)gates,
                                            .d_pre = d_pre,
                                            .d_pre_copy = d_pre_copy,
                                            .c_prev = (const float *const *)c_prev,
                                            .c = (const float *const *)c,
                                            .dy = (const float *const *)dy,
                                            .dh = dh,
                                            .dc = dc};
  kernels->lstm_normalised_backward(&backward);
}

static void normalised_arithmetic_has_the_same_bits(void **state) {
  (void)state;
  random_floats(2, 1, sizeof norm / sizeof *norm, norm);
  random_floats(3, 1, sizeof peephole / sizeof *peephole, peephole);
  for (int math = GK_MATH_OWN; math <= GK_MATH_SLEEF; math++)
    for (size_t hidden = 1; hidden <= MOST_HIDDEN; hidden++) {
      const bool options = hidden % 2;
      const struct gk_cell_variant variant = {.function = {[GK_CANDIDATE] = {GK_ACTIVATION_TANH, 0, 0, true},
                                                           [GK_GATE] = {GK_ACTIVATION_SIGMOID, 0, 0, true},
                                                           [GK_OUTPUT] = {GK_ACTIVATION_TANH, 0, 0, true}},
                                              .clip = options ? 1.5f : INFINITY,
                                              .cell_clip = options ? 0.5f : INFINITY,
                                              .coupled = hidden % 3 == 0};
      const struct kernel_tier *tier = kernel_tiers((gk_math)math);
      for (bool first = true; tier->kernels; tier++, first = false) {
        kernel_case(tier, "lstm_normalised_forward", "hidden %zu", hidden);
        kernel_case(tier, "lstm_normalised_backward", "hidden %zu", hidden);
        run(tier->kernels, hidden, &variant, options, first ? &wanted : &got);
        if (!first) /* pre is scratch */
          kernel_same("everything after pre", sizeof got / sizeof(float) - ROWS * WIDTH, got.gates[0],
                      wanted.gates[0]);
      }
    }
  assert_true(kernel_cases() > 0);
}

static void every_listed_kernel_was_run(void **state) {
  (void)state;
  kernel_all_listed("kernels_norm");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(normalised_arithmetic_has_the_same_bits, kernel_say_where),
      cmocka_unit_test(every_listed_kernel_was_run),
  };
  kernel_arguments(argc, argv);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
