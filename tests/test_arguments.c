/* SPDX-License-Identifier: Apache-2.0
 *
 * Every wrong argument of networks: the status, a message that names the argument and the values that do not fit, and
 * outputs that nobody touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/arguments_fixture.h"

/* ---- Names ----------------------------------------------------------------------------------- */

static void test_names(void **state) {
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

static gk_rnn_desc good_desc(void) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.input_size = 5;
  desc.hidden_size = 6;
  desc.layers = 2;
  return desc;
}

static gk_status try_create(const gk_rnn_desc *desc) {
  gk_rnn *rnn = (gk_rnn *)desc; /* must become NULL */
  gk_status status = gk_rnn_create(desc, &rnn);
  if (status != GK_OK)
    assert_null(rnn);
  gk_rnn_destroy(rnn);
  return status;
}

static void test_create(void **state) {
  (void)state;
  gk_rnn_desc d = good_desc();
  gk_rnn *rnn = NULL;
  assert_int_equal(try_create(&d), GK_OK);
  expect(__LINE__, gk_rnn_create(NULL, &rnn), GK_ERROR_ARGUMENT, "desc", "NULL", NULL);
  expect(__LINE__, gk_rnn_create(&d, NULL), GK_ERROR_ARGUMENT, "rnn", "NULL", NULL);
  gk_rnn_destroy(NULL);

#define EXPECT(field, value, status, ...)                                                                    \
  do {                                                                                                       \
    d = good_desc();                                                                                         \
    d.field = value;                                                                                         \
    expect(__LINE__, try_create(&d), status, #field, __VA_ARGS__, NULL);                                     \
  } while (0)
  EXPECT(size, 0, GK_ERROR_ARGUMENT, "0", "GK_RNN_DESC_INIT");
  EXPECT(size, sizeof d + 8, GK_ERROR_ARGUMENT, "GK_RNN_DESC_INIT");
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
#define EXPECT_OF(of, field, value, ...)                                                                     \
  do {                                                                                                       \
    d = good_desc();                                                                                         \
    d.cell = of;                                                                                             \
    d.options.field = value;                                                                                 \
    expect(__LINE__, try_create(&d), GK_ERROR_UNSUPPORTED, #field, gk_cell_name(of), NULL);                  \
  } while (0)
  EXPECT_OF(GK_CELL_RNN, gate_activation, GK_ACTIVATION_ELU);
  EXPECT_OF(GK_CELL_GRU, output_activation, GK_ACTIVATION_ELU);
  EXPECT_OF(GK_CELL_GRU, peephole, true);
  EXPECT_OF(GK_CELL_MGU, coupled, true);
  EXPECT_OF(GK_CELL_RNN, cell_clip, 1);
  EXPECT_OF(GK_CELL_RNN, reverse_activation[GK_GATE], GK_ACTIVATION_ELU);
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
  for (int i = 0; i < HUGE_SIZES; i++) {
    char value[32];
    snprintf(value, sizeof value, "%" PRId64, huge[i]);
    EXPECT(input_size, huge[i], GK_ERROR_OVERFLOW, value);
    EXPECT(hidden_size, huge[i], GK_ERROR_OVERFLOW, value);
    EXPECT(layers, huge[i], GK_ERROR_OVERFLOW, value);
    EXPECT(vocabulary, huge[i], GK_ERROR_OVERFLOW, value);
  }
#undef EXPECT
}

/* A beta that is left out is the default; 0 and 0, which stand for both defaults, cannot be given. */
static void test_functions_as_text(void **state) {
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
static void test_sizes_do_not_wrap(void **state) {
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

static void test_memory_needed(void **state) {
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

/* ---- Calls ----------------------------------------------------------------------------------- */

/* One network, its call, and copies that show whether a refused call wrote anything. */
struct call {
  struct buffers buffers;
  struct network_case c;
  struct network_data d;
  struct network_results r, before;
  struct network net;
  gk_rnn_forward_args forward;
  gk_rnn_backward_args backward;
};

static void open_call(struct call *call, gk_cell cell, int64_t vocabulary) {
  *call = (struct call){.c = {.desc = GK_RNN_DESC_INIT, .time = 4, .batch = 3, .states = true, .seed = 5}};
  call->c.desc = good_desc();
  call->c.desc.cell = cell;
  call->c.desc.vocabulary = vocabulary;
  call->d = take_data(&call->buffers, &call->c);
  call->r = take_results(&call->buffers, &call->c);
  call->before = take_results(&call->buffers, &call->c);
  call->net = open_network(&call->buffers, &call->c, call->d.parameters);
  call->forward = forward_args(&call->net, &call->d, &call->r);
  call->backward = backward_args(&call->net, &call->d, &call->r);
}

static void close_call(struct call *call) {
  close_network(&call->net);
  buffers_release(&call->buffers);
}

static void check_untouched(const struct call *call) {
  struct network_sizes s = sizes_of(&call->c);
  const float *got[] = {call->r.y,   call->r.hn,  call->r.cn,        call->r.dx,
                        call->r.dh0, call->r.dc0, call->r.gradients, call->r.dh_norms};
  const float *old[] = {call->before.y,   call->before.hn,  call->before.cn,        call->before.dx,
                        call->before.dh0, call->before.dc0, call->before.gradients, call->before.dh_norms};
  int64_t counts[] = {s.outputs, s.states, s.states, s.inputs, s.states, s.states, s.parameters, s.norms};
  for (int i = 0; i < 8; i++)
    if (got[i])
      assert_memory_equal(got[i], old[i], (size_t)counts[i] * sizeof(float));
}

static gk_status try_forward(const struct call *call, const gk_rnn_forward_args *args) {
  gk_status status = gk_rnn_forward(call->net.rnn, args);
  check_untouched(call);
  return status;
}

static gk_status try_backward(const struct call *call, const gk_rnn_backward_args *args) {
  gk_status status = gk_rnn_backward(call->net.rnn, args);
  check_untouched(call);
  return status;
}

#define EXPECT_CALL(try, good, field, value, status, ...)                                                    \
  do {                                                                                                       \
    args = good;                                                                                             \
    args.field = value;                                                                                      \
    expect(__LINE__, try(&call, &args), status, #field, __VA_ARGS__, NULL);                                  \
  } while (0)

static const int64_t negative_length[] = {4, -1, 2}, long_length[] = {4, 2, 5};

static void test_forward(void **state) {
  (void)state;
  struct call call;
  open_call(&call, GK_CELL_LSTM, 0);
  gk_rnn_forward_args args = call.forward;
  expect(__LINE__, gk_rnn_forward(NULL, &args), GK_ERROR_ARGUMENT, "rnn", "NULL", NULL);
  expect(__LINE__, gk_rnn_forward(call.net.rnn, NULL), GK_ERROR_ARGUMENT, "args", "NULL", NULL);
  EXPECT_CALL(try_forward, call.forward, size, 8, GK_ERROR_ARGUMENT, "8", "GK_RNN_FORWARD_ARGS_INIT");
  EXPECT_CALL(try_forward, call.forward, time, -1, GK_ERROR_ARGUMENT, "-1");
  EXPECT_CALL(try_forward, call.forward, batch, -5, GK_ERROR_ARGUMENT, "-5");
  EXPECT_CALL(try_forward, call.forward, lengths, negative_length, GK_ERROR_ARGUMENT, "[1]", "-1", "4");
  EXPECT_CALL(try_forward, call.forward, lengths, long_length, GK_ERROR_ARGUMENT, "[2]", "5", "4");
  EXPECT_CALL(try_forward, call.forward, x, NULL, GK_ERROR_ARGUMENT, "NULL");
  EXPECT_CALL(try_forward, call.forward, packed, NULL, GK_ERROR_ARGUMENT, "NULL");
  EXPECT_CALL(try_forward, call.forward, workspace, NULL, GK_ERROR_ARGUMENT, "NULL");
  for (int i = 0; i < HUGE_SIZES; i++) {
    args = call.forward;
    args.time = huge[i];
    args.batch = huge[HUGE_SIZES - 1 - i];
    expect(__LINE__, try_forward(&call, &args), GK_ERROR_OVERFLOW, "time", "batch", NULL);
  }
  close_call(&call);
}

static void test_backward(void **state) {
  (void)state;
  struct call call;
  open_call(&call, GK_CELL_LSTM, 0);
  gk_rnn_backward_args args = call.backward;
  expect(__LINE__, gk_rnn_backward(NULL, &args), GK_ERROR_ARGUMENT, "rnn", "NULL", NULL);
  expect(__LINE__, gk_rnn_backward(call.net.rnn, NULL), GK_ERROR_ARGUMENT, "args", "NULL", NULL);
  EXPECT_CALL(try_backward, call.backward, size, 8, GK_ERROR_ARGUMENT, "8", "GK_RNN_BACKWARD_ARGS_INIT");
  EXPECT_CALL(try_backward, call.backward, time, -1, GK_ERROR_ARGUMENT, "-1");
  EXPECT_CALL(try_backward, call.backward, batch, -5, GK_ERROR_ARGUMENT, "-5");
  EXPECT_CALL(try_backward, call.backward, lengths, negative_length, GK_ERROR_ARGUMENT, "[1]", "-1", "4");
  EXPECT_CALL(try_backward, call.backward, lengths, long_length, GK_ERROR_ARGUMENT, "[2]", "5", "4");
  EXPECT_CALL(try_backward, call.backward, x, NULL, GK_ERROR_ARGUMENT, "NULL");
  EXPECT_CALL(try_backward, call.backward, packed, NULL, GK_ERROR_ARGUMENT, "NULL");
  EXPECT_CALL(try_backward, call.backward, reserve, NULL, GK_ERROR_ARGUMENT, "NULL");
  EXPECT_CALL(try_backward, call.backward, workspace, NULL, GK_ERROR_ARGUMENT, "NULL");
  for (int i = 0; i < HUGE_SIZES; i++) {
    args = call.backward;
    args.time = huge[i];
    args.batch = huge[HUGE_SIZES - 1 - i];
    expect(__LINE__, try_backward(&call, &args), GK_ERROR_OVERFLOW, "time", "batch", NULL);
  }
  close_call(&call);
}

static void test_tokens(void **state) {
  (void)state;
  struct call call;
  open_call(&call, GK_CELL_GRU, 9);
  gk_rnn_forward_args args;
  EXPECT_CALL(try_forward, call.forward, tokens, NULL, GK_ERROR_ARGUMENT, "NULL", "9");
  EXPECT_CALL(try_forward, call.forward, parameters, NULL, GK_ERROR_ARGUMENT, "NULL");
  int32_t old = call.d.tokens[7];
  call.d.tokens[7] = 9; /* time-major: time 2, sample 1 */
  expect(__LINE__, try_forward(&call, &call.forward), GK_ERROR_ARGUMENT, "tokens", "time 2", "sample 1", "9",
         "8", NULL);
  expect(__LINE__, try_backward(&call, &call.backward), GK_ERROR_ARGUMENT, "tokens", "9", "8", NULL);
  call.d.tokens[7] = -1;
  expect(__LINE__, try_forward(&call, &call.forward), GK_ERROR_ARGUMENT, "tokens", "-1", "8", NULL);
  call.d.tokens[7] = old;
  close_call(&call);
}

/* Packed parameters of another network, for another pass, or never packed. */
static void test_packed(void **state) {
  (void)state;
  struct call call, other;
  open_call(&call, GK_CELL_LSTM, 0);
  open_call(&other, GK_CELL_GRU, 0);
  gk_rnn_forward_args args = call.forward;
  args.packed = other.net.packed;
  expect(__LINE__, try_forward(&call, &args), GK_ERROR_ARGUMENT, "packed", NULL);
  gk_rnn_backward_args backward = call.backward;
  size_t bytes;
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  assert_int_equal(gk_rnn_packed_bytes(call.net.rnn, both, &bytes), GK_OK);
  void *packed = buffers_take(&call.buffers, bytes, 1);
  args.packed = backward.packed = packed; /* holds a pattern */
  expect(__LINE__, try_forward(&call, &args), GK_ERROR_ARGUMENT, "packed", NULL);
  args.parameters = backward.parameters = NULL;
  for (unsigned flags = 0; flags < both; flags++) {
    assert_int_equal(gk_rnn_pack(call.net.rnn, flags, call.d.parameters, packed), GK_OK);
    if (!(flags & GK_PACK_FORWARD))
      expect(__LINE__, try_forward(&call, &args), GK_ERROR_ARGUMENT, "parameters is NULL", "for forward",
             NULL);
    if (!(flags & GK_PACK_BACKWARD))
      expect(__LINE__, try_backward(&call, &backward), GK_ERROR_ARGUMENT, "parameters is NULL",
             "for backward", NULL);
  }
  args.time = 0; /* no step reads them */
  assert_int_equal(gk_rnn_pack(call.net.rnn, 0, call.d.parameters, packed), GK_OK);
  assert_int_equal(gk_rnn_forward(call.net.rnn, &args), GK_OK);

  const gk_rnn *rnn = call.net.rnn;
  const float *p = call.d.parameters;
  expect(__LINE__, gk_rnn_pack(NULL, GK_PACK_FORWARD, p, packed), GK_ERROR_ARGUMENT, "rnn", "NULL", NULL);
  expect(__LINE__, gk_rnn_pack(rnn, GK_PACK_FORWARD, NULL, packed), GK_ERROR_ARGUMENT, "parameters", NULL);
  expect(__LINE__, gk_rnn_pack(rnn, GK_PACK_FORWARD, p, NULL), GK_ERROR_ARGUMENT, "packed", "NULL", NULL);
  expect(__LINE__, gk_rnn_pack(rnn, 12, p, packed), GK_ERROR_ARGUMENT, "flags", NULL);
  expect(__LINE__, gk_rnn_packed_bytes(rnn, 12, &bytes), GK_ERROR_ARGUMENT, "flags", NULL);
  expect(__LINE__, gk_rnn_packed_bytes(rnn, GK_PACK_FORWARD, NULL), GK_ERROR_ARGUMENT, "bytes", NULL);
  expect(__LINE__, gk_rnn_packed_bytes(NULL, GK_PACK_FORWARD, &bytes), GK_ERROR_ARGUMENT, "rnn", NULL);
  close_call(&other);
  close_call(&call);
}

static void backward_of_what_is_packed_for_forward_alone_needs_the_parameters(void **state) {
  (void)state;
  for (int dropped = 0; dropped < 2; dropped++) {
    struct buffers b = {0};
    struct network_case c = {.desc = good_desc(), .time = 4, .batch = 3, .states = true, .seed = 5};
    c.desc.weight_dropout = dropped ? 0.5f : 0;
    struct network_data d = take_data(&b, &c);
    struct network net = open_network(&b, &c, d.parameters);
    struct network_results r = take_results(&b, &c);
    gk_rnn_forward_args forward = forward_args(&net, &d, &r);
    gk_rnn_backward_args backward = backward_args(&net, &d, &r);
    assert_int_equal(
        dropped ? gk_rnn_pack_dropped(net.rnn, GK_PACK_FORWARD, &forward.random, d.parameters, net.packed)
                : gk_rnn_pack(net.rnn, GK_PACK_FORWARD, d.parameters, net.packed),
        GK_OK);
    assert_int_equal(gk_rnn_forward(net.rnn, &forward), GK_OK);
    if (dropped) { /* they are not what is left of the weights */
      expect(__LINE__, gk_rnn_backward(net.rnn, &backward), GK_ERROR_ARGUMENT, "packed", "flags 1", NULL);
      backward.random.step++;
      expect(__LINE__, gk_rnn_backward(net.rnn, &backward), GK_ERROR_ARGUMENT, "packed", "another key", NULL);
      backward.random.step--;
      assert_int_equal(gk_rnn_pack(net.rnn, GK_PACK_FORWARD, d.parameters, net.packed), GK_OK);
      expect(__LINE__, gk_rnn_backward(net.rnn, &backward), GK_ERROR_ARGUMENT, "packed",
             "gk_rnn_pack_dropped", NULL);
      assert_int_equal(
          gk_rnn_pack_dropped(net.rnn, GK_PACK_FORWARD, &forward.random, d.parameters, net.packed), GK_OK);
    } else {
      assert_int_equal(gk_rnn_backward(net.rnn, &backward), GK_OK);
    }
    assert_int_equal(gk_rnn_forward(net.rnn, &forward), GK_OK);
    backward.parameters = NULL;
    expect(__LINE__, gk_rnn_backward(net.rnn, &backward), GK_ERROR_ARGUMENT,
           dropped ? "flags 1" : "parameters is NULL", "packed", NULL);
    close_network(&net);
    buffers_release(&b);
  }
}

/* As many bytes, laid out for another cell. */
static void test_packed_of_another_cell(void **state) {
  (void)state;
  gk_isa tiers[MAX_TIERS];
  const int tier_count = usable_tiers(tiers);
  for (int i = 0; i < tier_count; i++) {
    static const gk_cell cells[] = {GK_CELL_GRU, GK_CELL_GRU_RESET_BEFORE};
    struct buffers b = {0};
    struct network_case c = {.desc = good_desc(), .time = 4, .batch = 3, .states = true, .seed = 5};
    struct network_case cases[2];
    struct network net[2];
    struct network_data d;
    size_t bytes[2];
    c.desc.isa = tiers[i];
    c.desc.hidden_size = 32; /* a tail would be padded differently */
    for (int k = 0; k < 2; k++) {
      cases[k] = c;
      cases[k].desc.cell = cells[k];
      d = take_data(&b, &cases[k]); /* the same for both */
      net[k] = open_network(&b, &cases[k], d.parameters);
      assert_int_equal(gk_rnn_packed_bytes(net[k].rnn, GK_PACK_FORWARD | GK_PACK_BACKWARD, &bytes[k]), GK_OK);
    }
    assert_int_equal(bytes[0], bytes[1]); /* else the size tells them apart */
    struct network_results r = take_results(&b, &cases[0]);
    for (int k = 0; k < 2; k++) {
      gk_rnn_forward_args forward = forward_args(&net[k], &d, &r);
      gk_rnn_backward_args backward = backward_args(&net[k], &d, &r);
      assert_int_equal(gk_rnn_forward(net[k].rnn, &forward), GK_OK);
      forward.packed = backward.packed = net[1 - k].packed;
      expect(__LINE__, gk_rnn_forward(net[k].rnn, &forward), GK_ERROR_ARGUMENT, "packed", NULL);
      expect(__LINE__, gk_rnn_backward(net[k].rnn, &backward), GK_ERROR_ARGUMENT, "packed", NULL);
    }
    close_network(&net[0]);
    close_network(&net[1]);
    buffers_release(&b);
  }
}

static void test_step(void **state) {
  (void)state;
  struct call call;
  open_call(&call, GK_CELL_LSTM, 0);
  gk_rnn_step_args good = GK_RNN_STEP_ARGS_INIT, args;
  good.batch = 3;
  good.x = call.d.x;
  good.packed = call.net.packed;
  good.h = call.r.hn;
  good.c = call.r.cn;
  good.y = call.r.y;
  good.workspace = call.net.inference_workspace;
#define EXPECT_STEP(field, value, ...)                                                                       \
  do {                                                                                                       \
    args = good;                                                                                             \
    args.field = value;                                                                                      \
    expect(__LINE__, gk_rnn_step(call.net.rnn, &args), GK_ERROR_ARGUMENT, #field, __VA_ARGS__, NULL);        \
    check_untouched(&call);                                                                                  \
  } while (0)
  EXPECT_STEP(size, 4, "4", "GK_RNN_STEP_ARGS_INIT");
  EXPECT_STEP(batch, -2, "-2");
  EXPECT_STEP(x, NULL, "NULL");
  EXPECT_STEP(packed, NULL, "NULL");
  EXPECT_STEP(h, NULL, "NULL");
  EXPECT_STEP(c, NULL, "NULL");
  EXPECT_STEP(workspace, NULL, "NULL");
#undef EXPECT_STEP
  expect(__LINE__, gk_rnn_step(NULL, &good), GK_ERROR_ARGUMENT, "rnn", NULL);
  expect(__LINE__, gk_rnn_step(call.net.rnn, NULL), GK_ERROR_ARGUMENT, "args", NULL);
  close_call(&call);

  gk_rnn_desc d = good_desc();
  d.direction = GK_BIDIRECTIONAL;
  gk_rnn *both;
  assert_int_equal(gk_rnn_create(&d, &both), GK_OK);
  expect(__LINE__, gk_rnn_step(both, &good), GK_ERROR_UNSUPPORTED, "direction", NULL);
  gk_rnn_destroy(both);
}

static void test_tensors_and_init(void **state) {
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
  init.size = 1;
  expect(__LINE__, gk_rnn_init(rnn, &init, parameters), GK_ERROR_ARGUMENT, "size", "1", NULL);
  for (size_t i = 0; i < sizeof parameters; i++)
    assert_int_equal(((unsigned char *)parameters)[i], 0x33);
  gk_rnn_destroy(rnn);
}

/* The message belongs to the thread that failed. */
static void test_first_message(void **state) {
  (void)state;
  assert_string_equal(gk_last_error(), "");
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_first_message),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_create),
      cmocka_unit_test(test_functions_as_text),
      cmocka_unit_test(test_sizes_do_not_wrap),
      cmocka_unit_test(test_memory_needed),
      cmocka_unit_test(test_forward),
      cmocka_unit_test(test_backward),
      cmocka_unit_test(test_tokens),
      cmocka_unit_test(test_packed),
      cmocka_unit_test(backward_of_what_is_packed_for_forward_alone_needs_the_parameters),
      cmocka_unit_test(test_packed_of_another_cell),
      cmocka_unit_test(test_step),
      cmocka_unit_test(test_tensors_and_init),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
