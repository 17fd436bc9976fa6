/* SPDX-License-Identifier: Apache-2.0
 *
 * Every function that a cell can have, against float64: relative to the value itself, since the error of a
 * small value is lost beside large ones. One step of a basic RNN of one unit is y = f(x).
 * ctest labels: edges */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/network_fixture.h"

enum { COUNT = 4096 };

/* Magnitudes 2^-24 to 2^6, both signs. */
static void fill(float *x) {
  random_floats(3, 1, COUNT, x);
  for (int i = 0; i < COUNT; i++)
    x[i] = ldexpf(x[i], i % 31 - 24);
}

static void apply(const gk_rnn_desc *desc, const float *x, float *y) {
  const float parameters[4] = {1}; /* W_ih, W_hh, b_ih, b_hh */
  struct buffers b = {0};
  gk_rnn *rnn;
  gk_rnn_memory need;
  gk_rnn_forward_args args = GK_RNN_FORWARD_ARGS_INIT;
  assert_int_equal(gk_rnn_create(desc, &rnn), GK_OK);
  size_t packed_bytes;
  assert_int_equal(gk_rnn_packed_bytes(rnn, GK_PACK_FORWARD, &packed_bytes), GK_OK);
  void *packed = buffers_take(&b, packed_bytes, 1);
  assert_int_equal(gk_rnn_pack(rnn, GK_PACK_FORWARD, parameters, packed), GK_OK);
  assert_int_equal(gk_rnn_memory_needed(rnn, 1, COUNT, &need), GK_OK);
  args.time = 1;
  args.batch = COUNT;
  args.x = x;
  args.y = y;
  args.packed = packed;
  args.workspace = buffers_take(&b, need.inference_workspace_bytes, 1);
  assert_int_equal(gk_rnn_forward(rnn, &args), GK_OK);
  gk_rnn_destroy(rnn);
  buffers_release(&b);
}

static void every_function_is_within_4_ulp_of_its_value(void **state) {
  static float x[COUNT], y[COUNT];
  gk_isa tiers[MAX_TIERS];
  const int tier_count = usable_tiers(tiers);
  (void)state;
  assert_true(tier_count > 0);
  fill(x);
  for (int tier = 0; tier < tier_count; tier++)
    for (int kind = 0; kind < gk_activation_count(); kind++) {
      gk_rnn_desc desc = GK_RNN_DESC_INIT;
      desc.cell = GK_CELL_RNN;
      desc.input_size = desc.hidden_size = 1;
      desc.isa = tiers[tier];
      assert_int_equal(gk_rnn_option_set(&desc, "activation", gk_activation_name((gk_activation)kind)),
                       GK_OK);
      apply(&desc, x, y);
      for (int i = 0; i < COUNT; i++) {
        const double exact = gk_reference_activation(&desc, GK_CANDIDATE, (double)x[i], NULL);
        if (fabs((double)y[i] - exact) > 4 * 0x1p-24 * 2 * fabs(exact) + 0x1p-95)
          fail_msg("%s, %s(%a) = %a, is %a", gk_isa_name(tiers[tier]),
                   gk_activation_name((gk_activation)kind), (double)x[i], (double)y[i], exact);
      }
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_function_is_within_4_ulp_of_its_value)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
