/* SPDX-License-Identifier: Apache-2.0
 *
 * Every wrong argument of output layers, arrays, optimizers: the status, a message that names the argument
 * and the values that do not fit, and outputs that nobody touched. */
#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/arguments_fixture.h"

/* ---- Output layer ---------------------------------------------------------------------------- */

static void a_wrong_field_of_an_output_layer_is_refused_by_name(void **state) {
  (void)state;
  gk_output *output = NULL;
  gk_output_desc good = GK_OUTPUT_DESC_INIT, d;
  good.input_size = 6;
  good.output_size = 5;
  expect(__LINE__, gk_output_create(NULL, &output), GK_ERROR_ARGUMENT, "desc", NULL);
  expect(__LINE__, gk_output_create(&good, NULL), GK_ERROR_ARGUMENT, "output", NULL);
  gk_output_destroy(NULL);
#define EXPECT_OUTPUT(field, value, status, ...)                                                             \
  do {                                                                                                       \
    d = good;                                                                                                \
    d.field = value;                                                                                         \
    output = (gk_output *)&d;                                                                                \
    expect(__LINE__, gk_output_create(&d, &output), status, #field, __VA_ARGS__, NULL);                      \
    assert_null(output);                                                                                     \
  } while (0)
  EXPECT_OUTPUT(size, 2, GK_ERROR_ARGUMENT, "2");
  EXPECT_OUTPUT(input_size, 0, GK_ERROR_ARGUMENT, "0");
  EXPECT_OUTPUT(output_size, -1, GK_ERROR_ARGUMENT, "-1");
  EXPECT_OUTPUT(isa, (gk_isa)50, GK_ERROR_ISA, "50");
  EXPECT_OUTPUT(threads, -1, GK_ERROR_ARGUMENT, "-1");
  for (int i = 0; i < HUGE_SIZES; i++) {
    char value[32];
    snprintf(value, sizeof value, "%" PRId64, huge[i]);
    EXPECT_OUTPUT(input_size, huge[i], GK_ERROR_OVERFLOW, value);
    EXPECT_OUTPUT(output_size, huge[i], GK_ERROR_OVERFLOW, value);
  }
#undef EXPECT_OUTPUT
}

static void an_output_loss_refuses_wrong_arguments_and_writes_nothing(void **state) {
  (void)state;
  enum { ROWS = 3, HIDDEN = 6, CLASSES = 5 };
  struct buffers b = {0};
  gk_output_desc desc = GK_OUTPUT_DESC_INIT;
  desc.input_size = HIDDEN;
  desc.output_size = CLASSES;
  gk_output *output;
  size_t packed_bytes, workspace_bytes;
  assert_int_equal(gk_output_create(&desc, &output), GK_OK);
  int64_t count = gk_output_parameter_count(output);
  expect(__LINE__, gk_output_workspace_bytes(output, -1, &workspace_bytes), GK_ERROR_ARGUMENT, "rows", "-1",
         NULL);
  expect(__LINE__, gk_output_packed_bytes(output, 0, &packed_bytes), GK_ERROR_ARGUMENT, "flags is 0", NULL);
  assert_int_equal(gk_output_packed_bytes(output, GK_PACK_FORWARD, &packed_bytes), GK_OK);
  assert_int_equal(gk_output_workspace_bytes(output, ROWS, &workspace_bytes), GK_OK);
  float *p = take_random(&b, 1, 1, count), *h = take_random(&b, 2, 1, ROWS * HIDDEN);
  float *outputs = take_floats(&b, ROWS * HIDDEN + count), *old = take_floats(&b, ROWS * HIDDEN + count);
  double loss = 7;
  int32_t targets[ROWS] = {0, 4, -1};
  gk_output_loss_args good = GK_OUTPUT_LOSS_ARGS_INIT, args;
  good.rows = ROWS;
  good.h = h;
  good.targets = targets;
  good.packed = buffers_take(&b, packed_bytes, 1);
  good.loss = &loss;
  good.gradients = outputs + ROWS * HIDDEN;
  good.workspace = buffers_take(&b, workspace_bytes, 1);
  assert_int_equal(gk_output_pack(output, GK_PACK_FORWARD, p, (void *)good.packed), GK_OK);
#define EXPECT_LOSS(field, value, ...)                                                                       \
  do {                                                                                                       \
    args = good;                                                                                             \
    args.field = value;                                                                                      \
    expect(__LINE__, gk_output_loss(output, &args), GK_ERROR_ARGUMENT, __VA_ARGS__, NULL);                   \
    assert_true(loss == 7);                                                                                  \
    assert_memory_equal(outputs, old, (size_t)(ROWS * HIDDEN + count) * sizeof(float));                      \
  } while (0)
  EXPECT_LOSS(size, 3, "size", "3");
  EXPECT_LOSS(rows, -1, "rows", "-1");
  EXPECT_LOSS(h, NULL, "h", "NULL");
  EXPECT_LOSS(targets, NULL, "targets", "NULL");
  EXPECT_LOSS(packed, NULL, "packed", "NULL");
  EXPECT_LOSS(packed, (const void *)h, "packed");
  EXPECT_LOSS(workspace, NULL, "workspace", "NULL");
  EXPECT_LOSS(kind, (gk_loss_kind)4, "kind", "4");
  EXPECT_LOSS(kind, GK_LOSS_HUBER, "values", "NULL", "huber");
  EXPECT_LOSS(label_smoothing, 1.5f, "label_smoothing", "1.5");
  EXPECT_LOSS(label_smoothing, NAN, "label_smoothing", "nan");
  EXPECT_LOSS(positive_weight, -1, "positive_weight", "-1");
  EXPECT_LOSS(huber_delta, INFINITY, "huber_delta", "inf");
  EXPECT_LOSS(dweight, outputs, "dweight", "tied");
  static const float weights[ROWS] = {1, -0.5f};
  EXPECT_LOSS(row_weights, weights, "row_weights[1]", "-0.5");
  EXPECT_LOSS(dh, outputs, "packed"); /* packed without GK_PACK_BACKWARD */
  targets[1] = CLASSES;
  EXPECT_LOSS(size, good.size, "targets[1]", "5", "classes");
#undef EXPECT_LOSS
  gk_output_destroy(output);
  buffers_release(&b);
}

static void rows_that_no_memory_holds_overflow_before_any_is_read(void **state) {
  (void)state;
  static char packed[1 << 14], workspace[1 << 18];
  float floats[40] = {0};
  gk_output_desc desc = GK_OUTPUT_DESC_INIT;
  desc.input_size = 6;
  desc.output_size = 5;
  gk_output *output;
  size_t bytes = 7;
  assert_int_equal(gk_output_create(&desc, &output), GK_OK);
  assert_int_equal(gk_output_pack(output, GK_PACK_FORWARD, floats, packed), GK_OK);
  gk_output_loss_args of_output = GK_OUTPUT_LOSS_ARGS_INIT;
  of_output.h = of_output.values = of_output.row_weights = floats;
  of_output.packed = packed;
  of_output.workspace = workspace;
  gk_loss_args of_arrays = GK_LOSS_ARGS_INIT;
  of_arrays.x = of_arrays.values = of_arrays.row_weights = floats;
  of_arrays.columns = INT64_C(1) << 40;
  static const int64_t rows[] = {INT64_C(1) << 61, INT64_C(1) << 62, INT64_MAX};
  for (int i = 0; i < 3; i++) {
    char value[32];
    snprintf(value, sizeof value, "rows %" PRId64, rows[i]);
    of_output.rows = of_arrays.rows = rows[i];
    of_output.kind = of_arrays.kind = i ? GK_LOSS_SQUARED : GK_LOSS_SOFTMAX;
    expect(__LINE__, gk_output_workspace_bytes(output, rows[i], &bytes), GK_ERROR_OVERFLOW, value, NULL);
    expect(__LINE__, gk_output_forward(output, rows[i], floats, packed, floats, workspace), GK_ERROR_OVERFLOW,
           value, "input_size 6", NULL);
    expect(__LINE__, gk_output_loss(output, &of_output), GK_ERROR_OVERFLOW, value, "input_size 6", NULL);
    expect(__LINE__, gk_loss_gradient(&of_arrays), GK_ERROR_OVERFLOW, value, "columns 1099511627776", NULL);
  }
  assert_int_equal(bytes, 7);
  of_arrays.rows = of_arrays.columns;
  expect(__LINE__, gk_loss_gradient(&of_arrays), GK_ERROR_OVERFLOW, "rows 1099511627776", NULL);
  gk_output_destroy(output);
}

/* ---- Arrays ---------------------------------------------------------------------------------- */

static void calls_on_arrays_refuse_wrong_arguments_and_write_nothing(void **state) {
  (void)state;
  float x[4] = {1, 2, 3, 4}, y[4] = {9, 9, 9, 9};
  static const float nines[4] = {9, 9, 9, 9};
  expect(__LINE__, gk_sigmoid(GK_ISA_AUTO, GK_MATH_AUTO, -1, x, y), GK_ERROR_ARGUMENT, "count", "-1", NULL);
  expect(__LINE__, gk_sigmoid(GK_ISA_AUTO, GK_MATH_AUTO, 4, NULL, y), GK_ERROR_ARGUMENT, "x", "NULL", NULL);
  expect(__LINE__, gk_tanh(GK_ISA_AUTO, GK_MATH_AUTO, 4, x, NULL), GK_ERROR_ARGUMENT, "y", "NULL", NULL);
  expect(__LINE__, gk_tanh((gk_isa)77, GK_MATH_AUTO, 4, x, y), GK_ERROR_ISA, "77", NULL);
  expect(__LINE__, gk_tanh(GK_ISA_AUTO, (gk_math)77, 4, x, y), GK_ERROR_ARGUMENT, "math", "77", NULL);
  expect(__LINE__, gk_softmax(GK_ISA_AUTO, -4, 1, x, y), GK_ERROR_ARGUMENT, "count", "-4", NULL);
  expect(__LINE__, gk_softmax(GK_ISA_AUTO, 4, 0, x, y), GK_ERROR_ARGUMENT, "temperature", "0", NULL);
  expect(__LINE__, gk_softmax(GK_ISA_AUTO, 4, NAN, x, y), GK_ERROR_ARGUMENT, "temperature", "nan", NULL);
  expect(__LINE__, gk_softmax(GK_ISA_AUTO, 4, 1, NULL, y), GK_ERROR_ARGUMENT, "logits", "NULL", NULL);
  assert_memory_equal(y, nines, sizeof y);
  assert_int_equal(gk_tanh(GK_ISA_AUTO, GK_MATH_AUTO, 0, NULL, NULL), GK_OK);
}

static void optimizers_and_norms_refuse_and_change_nothing(void **state) {
  (void)state;
  gk_optimizer_desc good = GK_OPTIMIZER_DESC_INIT, d = good;
  float p[3] = {1, 2, 3}, g[3] = {1, 1, 1}, s[6] = {0};
  static const float old[3] = {1, 2, 3}, zeros[6] = {0};
  int64_t floats = 5;
  d.kind = (gk_optimizer_kind)8;
  expect(__LINE__, gk_optimizer_state_count(&d, 3, &floats), GK_ERROR_ARGUMENT, "kind", "8", NULL);
  expect(__LINE__, gk_optimizer_state_count(NULL, 3, &floats), GK_ERROR_ARGUMENT, "desc", NULL);
  expect(__LINE__, gk_optimizer_state_count(&good, -3, &floats), GK_ERROR_ARGUMENT, "count", "-3", NULL);
  expect(__LINE__, gk_optimizer_state_count(&good, 3, NULL), GK_ERROR_ARGUMENT, "floats", NULL);
  expect(__LINE__, gk_optimizer_state_count(&good, INT64_MAX, &floats), GK_ERROR_OVERFLOW, "count",
         "9223372036854775807", NULL);
  assert_int_equal(floats, 5);
  expect(__LINE__, gk_optimizer_step(&d, 1, 0.1, 1, 3, p, g, s), GK_ERROR_ARGUMENT, "kind", "8", NULL);
  expect(__LINE__, gk_optimizer_step(&good, 0, 0.1, 1, 3, p, g, s), GK_ERROR_ARGUMENT, "step", "0", NULL);
  expect(__LINE__, gk_optimizer_step(&good, 1, 0.1, 1, -3, p, g, s), GK_ERROR_ARGUMENT, "count", "-3", NULL);
  expect(__LINE__, gk_optimizer_step(&good, 1, 0.1, 1, 3, NULL, g, s), GK_ERROR_ARGUMENT, "parameters", NULL);
  expect(__LINE__, gk_optimizer_step(&good, 1, 0.1, 1, 3, p, NULL, s), GK_ERROR_ARGUMENT, "gradients", NULL);
  expect(__LINE__, gk_optimizer_step(&good, 1, 0.1, 1, 3, p, g, NULL), GK_ERROR_ARGUMENT, "state", NULL);
  static const float not_finite[] = {NAN, INFINITY, -INFINITY};
  static const char *const called[] = {"nan", "inf", "-inf"};
  for (int i = 0; i < 3; i++) {
    const float value = not_finite[i];
    const gk_optimizer_part spoilt[] = {{3, p, g, s, 1}, {3, p, g, s, value}};
    expect(__LINE__, gk_optimizer_step(&good, 1, (double)value, 1, 3, p, g, s), GK_ERROR_ARGUMENT,
           "learning_rate", called[i], NULL);
    expect(__LINE__, gk_optimizer_step(&good, 1, 0.1, value, 3, p, g, s), GK_ERROR_ARGUMENT, "gradient_scale",
           called[i], NULL);
    expect(__LINE__, gk_optimizer_step_parts(&good, 1, 0.1, 2, spoilt), GK_ERROR_ARGUMENT, "gradient_scale",
           called[i], NULL);
  }
  expect(__LINE__, gk_optimizer_step(&good, 1, 1e300, 1, 3, p, g, s), GK_ERROR_ARGUMENT, "learning_rate",
         "1e+300", NULL);
  d = good;
  d.size = 1;
  expect(__LINE__, gk_optimizer_step(&d, 1, 0.1, 1, 3, p, g, s), GK_ERROR_ARGUMENT, "size", "1", NULL);
  assert_memory_equal(p, old, sizeof p);
  assert_memory_equal(s, zeros, sizeof s);

  const float *parts[] = {g, NULL};
  int64_t counts[] = {3, 3};
  double norm = 8;
  expect(__LINE__, gk_gradient_norm(GK_ISA_AUTO, 1, -1, parts, counts, &norm), GK_ERROR_ARGUMENT, "parts",
         "-1", NULL);
  expect(__LINE__, gk_gradient_norm(GK_ISA_AUTO, 1, 2, parts, counts, &norm), GK_ERROR_ARGUMENT,
         "gradients[1]", NULL);
  expect(__LINE__, gk_gradient_norm(GK_ISA_AUTO, 1, 1, NULL, counts, &norm), GK_ERROR_ARGUMENT, "gradients",
         NULL);
  expect(__LINE__, gk_gradient_norm(GK_ISA_AUTO, 1, 1, parts, NULL, &norm), GK_ERROR_ARGUMENT, "counts",
         NULL);
  expect(__LINE__, gk_gradient_norm(GK_ISA_AUTO, 1, 1, parts, counts, NULL), GK_ERROR_ARGUMENT, "norm", NULL);
  counts[0] = -1;
  expect(__LINE__, gk_gradient_norm(GK_ISA_AUTO, 1, 1, parts, counts, &norm), GK_ERROR_ARGUMENT, "counts[0]",
         "-1", NULL);
  assert_true(norm == 8);
}

/* A rate that is finite as a float, and a factor made of it that is not: only of the kinds that read it. */
static void a_factor_of_the_rate_that_overflows_is_refused(void **state) {
  (void)state;
  gk_optimizer_desc adam, adamw, sgd;
  float p[3] = {1, 2, 3}, s[6] = {0};
  const float old[3] = {1, 2, 3}, zeros[6] = {0}, g[3] = {1, 1, 1};
  const double largest = (double)FLT_MAX;
  assert_int_equal(gk_optimizer_defaults(GK_OPTIMIZER_ADAM, &adam), GK_OK);
  assert_int_equal(gk_optimizer_defaults(GK_OPTIMIZER_ADAMW, &adamw), GK_OK);
  assert_int_equal(gk_optimizer_defaults(GK_OPTIMIZER_SGD, &sgd), GK_OK);
  expect(__LINE__, gk_optimizer_step(&adam, 1, largest, 1, 3, p, g, s), GK_ERROR_ARGUMENT,
         "learning_rate is 3.40282e+38", "beta1 is 0.9", "beta1^1", NULL);
  expect(__LINE__, gk_optimizer_step(&adamw, 2, -largest, 1, 3, p, g, s), GK_ERROR_ARGUMENT,
         "learning_rate is -3.40282e+38", "beta1 is 0.9", "beta1^2", NULL);
  adamw.weight_decay = 1e30f;
  expect(__LINE__, gk_optimizer_step(&adamw, 1, 1e30, 1, 3, p, g, s), GK_ERROR_ARGUMENT,
         "learning_rate is 1e+30", "weight_decay is 1e+30", NULL);
  assert_memory_equal(s, zeros, sizeof s);
  assert_int_equal(gk_optimizer_step(&sgd, 1, largest, 1, 3, p, zeros, NULL), GK_OK);
  assert_memory_equal(p, old, sizeof p);
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_wrong_field_of_an_output_layer_is_refused_by_name),
      cmocka_unit_test(an_output_loss_refuses_wrong_arguments_and_writes_nothing),
      cmocka_unit_test(rows_that_no_memory_holds_overflow_before_any_is_read),
      cmocka_unit_test(calls_on_arrays_refuse_wrong_arguments_and_write_nothing),
      cmocka_unit_test(optimizers_and_norms_refuse_and_change_nothing),
      cmocka_unit_test(a_factor_of_the_rate_that_overflows_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
