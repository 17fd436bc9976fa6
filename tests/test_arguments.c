/* SPDX-License-Identifier: Apache-2.0
 *
 * Every wrong name, description and place of networks: the status, and a message that names the argument and
 * the values that do not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/arguments_fixture.h"

/* ---- Names ----------------------------------------------------------------------------------- */

static void names_read_back_and_wrong_ones_are_refused(void **state) {
  (void)state;
  gk_isa isa = GK_ISA_SCALAR;
  gk_cell cell = GK_CELL_GRU;
  gk_schedule schedule = GK_SCHEDULE_TEAMS;
  gk_optimizer_kind kind = GK_OPTIMIZER_SGD;
  expect(__LINE__, gk_isa_from_name("sse9", &isa), GK_ERROR_ISA, "sse9", "scalar", NULL);
  expect(__LINE__, gk_isa_from_name(NULL, &isa), GK_ERROR_ARGUMENT, "name", NULL);
  expect(__LINE__, gk_isa_from_name("scalar", NULL), GK_ERROR_ARGUMENT, "isa", NULL);
  expect(__LINE__, gk_cell_from_name("lstn", &cell), GK_ERROR_ARGUMENT, "lstn", "lstm", "gru-reset-before",
         NULL);
  expect(__LINE__, gk_cell_from_name(NULL, &cell), GK_ERROR_ARGUMENT, "name", NULL);
  expect(__LINE__, gk_schedule_from_name("", &schedule), GK_ERROR_ARGUMENT, "slices", "teams", NULL);
  expect(__LINE__, gk_schedule_from_name(NULL, &schedule), GK_ERROR_ARGUMENT, "name", NULL);
  expect(__LINE__, gk_optimizer_from_name("adamant", &kind), GK_ERROR_ARGUMENT, "adamant", "adam", NULL);
  expect(__LINE__, gk_optimizer_from_name(NULL, &kind), GK_ERROR_ARGUMENT, "name", NULL);
  assert_true(isa == GK_ISA_SCALAR && cell == GK_CELL_GRU && schedule == GK_SCHEDULE_TEAMS);
  assert_true(kind == GK_OPTIMIZER_SGD);
  for (int i = 0; i < gk_cell_count(); i++) {
    assert_int_equal(gk_cell_from_name(gk_cell_name((gk_cell)i), &cell), GK_OK);
    assert_int_equal(cell, i);
  }
  for (int i = 1; i <= gk_isa_count(); i++)
    if (gk_isa_usable((gk_isa)i)) {
      assert_int_equal(gk_isa_from_name(gk_isa_name((gk_isa)i), &isa), GK_OK);
      assert_int_equal(isa, i);
    } else {
      expect(__LINE__, gk_isa_resolve((gk_isa)i, &isa), GK_ERROR_ISA, gk_isa_name((gk_isa)i), "scalar", NULL);
    }
  /* Out of range: a name that says so, never a crash. */
  assert_non_null(gk_isa_name((gk_isa)99));
  assert_non_null(gk_cell_name((gk_cell)-1));
  assert_non_null(gk_schedule_name((gk_schedule)99));
  assert_non_null(gk_optimizer_name((gk_optimizer_kind)99));
  assert_non_null(gk_status_name((gk_status)99));
  assert_false(gk_isa_usable((gk_isa)99));
  assert_false(gk_isa_usable((gk_isa)-1));
}

/* ---- Creating -------------------------------------------------------------------------------- */

static gk_status try_create(const gk_rnn_desc *desc) {
  gk_rnn *rnn = (gk_rnn *)desc; /* must become NULL */
  gk_status status = gk_rnn_create(desc, &rnn);
  if (status != GK_OK)
    assert_null(rnn);
  gk_rnn_destroy(rnn);
  return status;
}

static void no_description_and_no_place_for_the_network_are_refused(void **state) {
  (void)state;
  gk_rnn_desc d = good_desc();
  gk_rnn *rnn = NULL;
  assert_int_equal(try_create(&d), GK_OK);
  expect(__LINE__, gk_rnn_create(NULL, &rnn), GK_ERROR_ARGUMENT, "desc", "NULL", NULL);
  expect(__LINE__, gk_rnn_create(&d, NULL), GK_ERROR_ARGUMENT, "rnn", "NULL", NULL);
  gk_rnn_destroy(NULL);
}

/* A good description with one field of another value is refused. */
#define EXPECT(field, value, status, ...)                                                                    \
  do {                                                                                                       \
    gk_rnn_desc d = good_desc();                                                                             \
    d.field = value;                                                                                         \
    expect(__LINE__, try_create(&d), status, #field, __VA_ARGS__, NULL);                                     \
  } while (0)
#define EXPECT_OF(of, field, value, ...)                                                                     \
  do {                                                                                                       \
    gk_rnn_desc d = good_desc();                                                                             \
    d.cell = of;                                                                                             \
    d.options.field = value;                                                                                 \
    expect(__LINE__, try_create(&d), GK_ERROR_UNSUPPORTED, #field, gk_cell_name(of), NULL);                  \
  } while (0)

static void a_field_out_of_range_is_refused_by_name(void **state) {
  (void)state;
  EXPECT(size, 0, GK_ERROR_ARGUMENT, "0", "GK_RNN_DESC_INIT");
  EXPECT(size, sizeof(gk_rnn_desc) + 8, GK_ERROR_ARGUMENT, "GK_RNN_DESC_INIT");
  EXPECT(cell, (gk_cell)99, GK_ERROR_ARGUMENT, "99");
  EXPECT(cell, (gk_cell)-1, GK_ERROR_ARGUMENT, "-1");
  EXPECT(input_size, 0, GK_ERROR_ARGUMENT, "0", "1");
  EXPECT(input_size, -3, GK_ERROR_ARGUMENT, "-3", "1");
  EXPECT(input_size, INT64_MIN, GK_ERROR_ARGUMENT, "-9223372036854775808");
  EXPECT(hidden_size, 0, GK_ERROR_ARGUMENT, "0", "1");
  EXPECT(hidden_size, -1, GK_ERROR_ARGUMENT, "-1", "1");
  EXPECT(layers, 0, GK_ERROR_ARGUMENT, "0", "1");
  EXPECT(layers, -2, GK_ERROR_ARGUMENT, "-2", "1");
  EXPECT(vocabulary, -1, GK_ERROR_ARGUMENT, "-1", "0");
  EXPECT(direction, (gk_direction)3, GK_ERROR_ARGUMENT, "3", "2");
  EXPECT(layout, (gk_layout)2, GK_ERROR_ARGUMENT, "2", "1");
  EXPECT(activation, (gk_activation)99, GK_ERROR_ARGUMENT, "99", "12");
  EXPECT(schedule, (gk_schedule)9, GK_ERROR_ARGUMENT, "9", "3");
  EXPECT(isa, (gk_isa)99, GK_ERROR_ISA, "99");
  EXPECT(isa, (gk_isa)-1, GK_ERROR_ISA, "-1");
  EXPECT(math, (gk_math)9, GK_ERROR_ARGUMENT, "9");
  EXPECT(dropout, -0.25f, GK_ERROR_ARGUMENT, "-0.25", "1");
  EXPECT(dropout, 1.0f, GK_ERROR_ARGUMENT, "1");
  EXPECT(dropout, NAN, GK_ERROR_ARGUMENT, "nan");
  EXPECT(input_dropout, 1.5f, GK_ERROR_ARGUMENT, "input_dropout", "1.5");
  EXPECT(recurrent_dropout, -1.0f, GK_ERROR_ARGUMENT, "recurrent_dropout", "-1");
  EXPECT(weight_dropout, 1.0f, GK_ERROR_ARGUMENT, "weight_dropout", "1");
  EXPECT(zoneout_h, NAN, GK_ERROR_ARGUMENT, "zoneout_h", "nan");
  EXPECT(zoneout_c, 2.0f, GK_ERROR_ARGUMENT, "zoneout_c", "2");
  EXPECT(dropout_masks, (gk_dropout_masks)2, GK_ERROR_ARGUMENT, "dropout_masks", "2", "1");
  EXPECT(threads, -1, GK_ERROR_ARGUMENT, "-1", "0");
  EXPECT(threads, INT32_MAX, GK_ERROR_ARGUMENT, "2147483647");
}

static void an_option_out_of_range_or_that_the_cell_lacks_is_refused_by_name(void **state) {
  (void)state;
  EXPECT(options.gate_activation, (gk_activation)-1, GK_ERROR_ARGUMENT, "gate_activation", "-1");
  EXPECT(options.alpha[GK_GATE], NAN, GK_ERROR_ARGUMENT, "alpha", "gate_activation", "nan");
  EXPECT(options.beta[GK_OUTPUT], 0.5f, GK_ERROR_ARGUMENT, "output_activation", "0.5");
  EXPECT(options.reverse_activation[GK_GATE], (gk_activation)99, GK_ERROR_ARGUMENT, "99", "12");
  EXPECT(options.reverse_activation[GK_OUTPUT], GK_ACTIVATION_RELU, GK_ERROR_UNSUPPORTED, "relu",
         "not bidirectional");
  EXPECT(options.reverse_alpha[GK_CANDIDATE], NAN, GK_ERROR_ARGUMENT, "nan");
  EXPECT(options.reverse_beta[GK_CANDIDATE], 2, GK_ERROR_ARGUMENT, "reverse_activation[GK_CANDIDATE]", "2");
  EXPECT(options.preactivation_clip, -1, GK_ERROR_ARGUMENT, "preactivation_clip", "-1");
  EXPECT(options.preactivation_clip, INFINITY, GK_ERROR_ARGUMENT, "preactivation_clip", "inf");
  EXPECT(options.cell_clip, NAN, GK_ERROR_ARGUMENT, "cell_clip", "nan");
  EXPECT_OF(GK_CELL_RNN, gate_activation, GK_ACTIVATION_ELU);
  EXPECT_OF(GK_CELL_GRU, output_activation, GK_ACTIVATION_ELU);
  EXPECT_OF(GK_CELL_GRU, peephole, true);
  EXPECT_OF(GK_CELL_MGU, coupled, true);
  EXPECT_OF(GK_CELL_RNN, cell_clip, 1);
  EXPECT_OF(GK_CELL_RNN, reverse_activation[GK_GATE], GK_ACTIVATION_ELU);
}

static void a_size_that_no_memory_holds_overflows(void **state) {
  (void)state;
  for (int i = 0; i < HUGE_SIZES; i++) {
    char value[32];
    snprintf(value, sizeof value, "%" PRId64, huge[i]);
    EXPECT(input_size, huge[i], GK_ERROR_OVERFLOW, value);
    EXPECT(hidden_size, huge[i], GK_ERROR_OVERFLOW, value);
    EXPECT(layers, huge[i], GK_ERROR_OVERFLOW, value);
    EXPECT(vocabulary, huge[i], GK_ERROR_OVERFLOW, value);
  }
  gk_rnn_desc d = good_desc();
  d.cell = GK_CELL_GRU_SIMPLIFIED;
  d.input_size = d.layers = 1;
  d.hidden_size = INT32_MAX / 8; /* the matrices fit, and no more */
  expect(__LINE__, try_create(&d), GK_ERROR_OVERFLOW, "bias_hh_l0 has 536870910 values", NULL);
}
#undef EXPECT
#undef EXPECT_OF

/* A struct of another version has other fields in the places of these. */
static void a_description_of_another_size_is_neither_read_nor_written(void **state) {
  (void)state;
  gk_rnn_desc d = good_desc();
  const gk_rnn_desc before = d;
  char value[8] = "as ever";
  d.size--;
  expect(__LINE__, gk_rnn_option_set(&d, "peephole", "on"), GK_ERROR_ARGUMENT, "desc.size", NULL);
  expect(__LINE__, gk_rnn_options_set(&d, "peephole=on"), GK_ERROR_ARGUMENT, "desc.size", NULL);
  expect(__LINE__, gk_rnn_option_get(&d, "peephole", value, sizeof value), GK_ERROR_ARGUMENT, "desc.size",
         NULL);
  expect(__LINE__, gk_rnn_dropout_check(&d), GK_ERROR_ARGUMENT, "desc.size", NULL);
  assert_string_equal(value, "as ever");
  d.size++;
  assert_memory_equal(&d, &before, sizeof d);
}

/* Rounded to float these are 0, which is off, and not what was asked for. */
static void a_number_too_small_for_a_float_is_refused(void **state) {
  (void)state;
  static const char *const names[] = {"cell-clip", "preactivation-clip", "dropout", "zoneout-h"};
  static const char *const too_small[] = {"1e-50", "1e-400"}; /* no float, nor double */
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    gk_rnn_desc d = good_desc();
    const gk_rnn_desc before = d;
    for (int j = 0; j < 2; j++)
      expect(__LINE__, gk_rnn_option_set(&d, names[i], too_small[j]), GK_ERROR_ARGUMENT, names[i],
             too_small[j], "at least 1.4013e-45", NULL);
    assert_memory_equal(&d, &before, sizeof d);
    char value[16];
    assert_int_equal(gk_rnn_option_set(&d, names[i], "1.4013e-45"), GK_OK);
    assert_int_equal(gk_rnn_option_get(&d, names[i], value, sizeof value), GK_OK);
    assert_string_equal(value, "1.4013e-45");
    assert_int_equal(gk_rnn_option_set(&d, names[i], "0e-99"), GK_OK);
    assert_int_equal(gk_rnn_option_get(&d, names[i], value, sizeof value), GK_OK);
    assert_string_equal(value, "");
  }
}

/* A beta that is left out is the default; 0 and 0, which stand for both defaults, cannot be given. */
static void options_in_text_read_back_or_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *given, *taken; /* NULL: refused */
  } functions[] = {{"scaled-tanh(1.5)", "scaled-tanh(1.5,1)"},
                   {"hard-sigmoid(0.25)", "hard-sigmoid(0.25,0.5)"},
                   {"hard-sigmoid(0.25,0)", "hard-sigmoid(0.25,0)"},
                   {"hard-sigmoid", "hard-sigmoid"},
                   {"scaled-tanh(0)", "scaled-tanh(0,1)"},
                   {"affine(2)", "affine(2,0)"},
                   {"elu(0.7)", "elu(0.7,0)"},
                   {"elu(0)", NULL},
                   {"elu(1e-60)", NULL},
                   {"hard-sigmoid(0,0)", NULL},
                   {"affine(1e60)", NULL},
                   {"elu(0.7", NULL}};
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    gk_rnn_desc d = good_desc();
    char value[96] = "";
    const gk_status status = gk_rnn_option_set(&d, "activation", functions[i].given);
    assert_int_equal(gk_rnn_option_get(&d, "activation", value, sizeof value), GK_OK);
    if (functions[i].taken) {
      assert_int_equal(status, GK_OK);
      assert_string_equal(value, functions[i].taken);
      assert_int_equal(try_create(&d), GK_OK);
    } else {
      expect(__LINE__, status, GK_ERROR_ARGUMENT, "activation", functions[i].given, NULL);
      assert_string_equal(value, "");
    }
  }
  gk_rnn_desc several = good_desc();
  assert_int_equal(gk_rnn_options_set(&several, NULL), GK_OK);
  assert_int_equal(gk_rnn_options_set(&several, " peephole=on  activation=elu(0.5) "), GK_OK);
  assert_true(several.options.peephole && several.activation == GK_ACTIVATION_ELU);
  expect(__LINE__, gk_rnn_options_set(&several, "peephole=off coupled"), GK_ERROR_ARGUMENT, "'coupled'",
         "name=value", NULL);
  expect(__LINE__, gk_rnn_options_set(&several, "peephole=maybe"), GK_ERROR_ARGUMENT, "'maybe'", NULL);
  char digits[140];
  snprintf(digits, sizeof digits, "cell-clip=3.%0120d", 7);
  expect(__LINE__, gk_rnn_options_set(&several, digits), GK_ERROR_ARGUMENT, "cell-clip=3.0", NULL);
  static const gk_activation without_beta[] = {GK_ACTIVATION_LEAKY_RELU, GK_ACTIVATION_THRESHOLDED_RELU,
                                               GK_ACTIVATION_ELU};
  for (int i = 0; i < 3; i++) {
    gk_rnn_desc d = good_desc();
    d.activation = without_beta[i];
    d.options.alpha[GK_CANDIDATE] = 0.2f;
    assert_int_equal(try_create(&d), GK_OK);
    d.options.beta[GK_CANDIDATE] = 3;
    expect(__LINE__, try_create(&d), GK_ERROR_ARGUMENT, gk_activation_name(without_beta[i]), "no beta",
           "beta[GK_CANDIDATE] is 3", NULL);
  }
}

/* Large but valid sizes: either an exact size or an overflow, never a product that wrapped. Creating such a
 * network allocates little. */
static void sizes_do_not_wrap(void **state) {
  (void)state;
  static const int64_t sizes[] = {1, 46341, 65536, 5000000, 60000000};
  enum { SIZES = sizeof sizes / sizeof *sizes };
  for (int h = 0; h < SIZES; h++)
    for (int i = 0; i < SIZES; i++) {
      gk_rnn_desc d = good_desc();
      gk_rnn *rnn;
      size_t bytes = 0;
      d.layers = 1;
      d.hidden_size = sizes[h];
      d.input_size = sizes[i];
      gk_status status = gk_rnn_create(&d, &rnn);
      if (status != GK_OK) {
        assert_int_equal(status, GK_ERROR_OVERFLOW);
        continue;
      }
      __int128 count = (__int128)4 * sizes[h] * (sizes[h] + sizes[i] + 2);
      assert_true((__int128)gk_rnn_parameter_count(rnn) == count);
      status = gk_rnn_packed_bytes(rnn, GK_PACK_FORWARD, &bytes);
      assert_true(status == GK_ERROR_OVERFLOW ||
                  (status == GK_OK && (__int128)bytes >= 4 * count - 16 * sizes[h]));
      gk_rnn_destroy(rnn);
    }
}

static void memory_needed_is_enough_or_overflows(void **state) {
  (void)state;
  gk_rnn_desc d = good_desc();
  gk_rnn *rnn;
  gk_rnn_memory memory, old;
  memset(&old, 0x5a, sizeof old);
  memory = old;
  assert_int_equal(gk_rnn_create(&d, &rnn), GK_OK);
  expect(__LINE__, gk_rnn_memory_needed(NULL, 1, 1, &memory), GK_ERROR_ARGUMENT, "rnn", "NULL", NULL);
  expect(__LINE__, gk_rnn_memory_needed(rnn, 1, 1, NULL), GK_ERROR_ARGUMENT, "memory", "NULL", NULL);
  expect(__LINE__, gk_rnn_memory_needed(rnn, -1, 1, &memory), GK_ERROR_ARGUMENT, "time", "-1", NULL);
  expect(__LINE__, gk_rnn_memory_needed(rnn, 1, -7, &memory), GK_ERROR_ARGUMENT, "batch", "-7", NULL);
  assert_memory_equal(&memory, &old, sizeof old);
  static const int64_t sizes[] = {
      1,        3, INT64_C(1) << 31, INT64_C(1) << 32, INT64_C(1) << 33, INT64_C(1) << 47, INT64_C(1) << 62,
      INT64_MAX};
  enum { SIZES = sizeof sizes / sizeof *sizes };
  int overflows = 0;
  for (int t = 0; t < SIZES; t++)
    for (int n = 0; n < SIZES; n++) {
      memory = old;
      gk_status status = gk_rnn_memory_needed(rnn, sizes[t], sizes[n], &memory);
      /* The states h and c of two layers are the least that a reserve holds. */
      __int128 least = sizes[t] > INT64_MAX / sizes[n] ? ((__int128)1 << 100)
                                                       : (__int128)sizes[t] * sizes[n] * 2 * 2 * 6 * 4;
      if (status == GK_OK) {
        assert_true((__int128)memory.reserve_bytes >= least);
        continue;
      }
      expect(__LINE__, status, GK_ERROR_OVERFLOW, "time", "batch", NULL);
      assert_memory_equal(&memory, &old, sizeof old);
      overflows++;
    }
  assert_true(overflows > SIZES);
  gk_rnn_destroy(rnn);
}

static void wrong_arguments_of_tensors_and_init_are_refused(void **state) {
  (void)state;
  gk_rnn_desc d = good_desc();
  gk_rnn *rnn;
  gk_tensor tensor, old;
  assert_int_equal(gk_rnn_create(&d, &rnn), GK_OK);
  memset(&old, 0x33, sizeof old);
  tensor = old;
  expect(__LINE__, gk_rnn_tensor(rnn, 8, &tensor), GK_ERROR_ARGUMENT, "index", "8", "7", NULL);
  expect(__LINE__, gk_rnn_tensor(rnn, -1, &tensor), GK_ERROR_ARGUMENT, "index", "-1", "7", NULL);
  expect(__LINE__, gk_rnn_tensor(rnn, 0, NULL), GK_ERROR_ARGUMENT, "tensor", NULL);
  expect(__LINE__, gk_rnn_tensor(NULL, 0, &tensor), GK_ERROR_ARGUMENT, "rnn", NULL);
  const gk_status none = gk_rnn_tensor_of(rnn, "weight_h", 1, 0, &tensor);
  expect(__LINE__, none, GK_ERROR_ARGUMENT, "kind", "'weight_h'", NULL);
  expect(__LINE__, gk_rnn_tensor_of(rnn, "h0", 2, 0, &tensor), GK_ERROR_ARGUMENT, "layer", "2", "1", NULL);
  expect(__LINE__, gk_rnn_tensor_of(rnn, "h0", 0, 1, &tensor), GK_ERROR_ARGUMENT, "direction", "0", NULL);
  expect(__LINE__, gk_rnn_tensor_of(rnn, "h0", 0, 0, NULL), GK_ERROR_ARGUMENT, "tensor", NULL);
  expect(__LINE__, gk_rnn_tensor_of(rnn, NULL, 0, 0, &tensor), GK_ERROR_ARGUMENT, "kind", NULL);
  expect(__LINE__, gk_rnn_tensor_of(NULL, "h0", 0, 0, &tensor), GK_ERROR_ARGUMENT, "rnn", NULL);
  assert_memory_equal(&tensor, &old, sizeof old);
  gk_init_desc init = GK_INIT_DESC_INIT;
  float parameters[1000];
  memset(parameters, 0x33, sizeof parameters);
  assert_true(gk_rnn_parameter_count(rnn) <= 1000);
  expect(__LINE__, gk_rnn_init(rnn, &init, NULL), GK_ERROR_ARGUMENT, "parameters", NULL);
  expect(__LINE__, gk_rnn_init(rnn, NULL, parameters), GK_ERROR_ARGUMENT, "desc", NULL);
  expect(__LINE__, gk_rnn_init(NULL, &init, parameters), GK_ERROR_ARGUMENT, "rnn", NULL);
  init.init = (gk_init)9;
  expect(__LINE__, gk_rnn_init(rnn, &init, parameters), GK_ERROR_ARGUMENT, "init", "9", NULL);
  init = (gk_init_desc)GK_INIT_DESC_INIT;
  init.forget_bias = INFINITY;
  expect(__LINE__, gk_rnn_init(rnn, &init, parameters), GK_ERROR_ARGUMENT, "forget_bias", "inf", NULL);
  init = (gk_init_desc)GK_INIT_DESC_INIT;
  init.size = 1;
  expect(__LINE__, gk_rnn_init(rnn, &init, parameters), GK_ERROR_ARGUMENT, "size", "1", NULL);
  for (size_t i = 0; i < sizeof parameters; i++)
    assert_int_equal(((unsigned char *)parameters)[i], 0x33);
  gk_rnn_destroy(rnn);
}

/* The message belongs to the thread that failed. */
static void before_any_failure_the_message_is_empty(void **state) {
  (void)state;
  assert_string_equal(gk_last_error(), "");
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(before_any_failure_the_message_is_empty),
      cmocka_unit_test(names_read_back_and_wrong_ones_are_refused),
      cmocka_unit_test(no_description_and_no_place_for_the_network_are_refused),
      cmocka_unit_test(a_field_out_of_range_is_refused_by_name),
      cmocka_unit_test(an_option_out_of_range_or_that_the_cell_lacks_is_refused_by_name),
      cmocka_unit_test(a_size_that_no_memory_holds_overflows),
      cmocka_unit_test(a_description_of_another_size_is_neither_read_nor_written),
      cmocka_unit_test(a_number_too_small_for_a_float_is_refused),
      cmocka_unit_test(options_in_text_read_back_or_are_refused),
      cmocka_unit_test(sizes_do_not_wrap),
      cmocka_unit_test(memory_needed_is_enough_or_overflows),
      cmocka_unit_test(wrong_arguments_of_tensors_and_init_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
