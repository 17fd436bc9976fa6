/* SPDX-License-Identifier: Apache-2.0
 *
 * Every wrong argument of a network's calls: the status, a message that names the argument and the values
 * that do not fit, and outputs that nobody touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/arguments_fixture.h"

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

static void forward_refuses_wrong_arguments_and_writes_nothing(void **state) {
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

static void backward_refuses_wrong_arguments_and_writes_nothing(void **state) {
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

static void tokens_outside_the_vocabulary_are_refused_by_place(void **state) {
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

static void sizes_that_no_memory_holds_overflow_before_lengths_and_tokens_are_read(void **state) {
  (void)state;
  static const struct {
    int64_t time, batch;
    bool lengths;
  } sizes[] = {{1, INT64_MAX, true},
               {0, INT64_MAX, true},
               {INT64_MAX, INT64_C(1) << 40, true},
               {INT64_C(1) << 40, INT64_C(1) << 40, false}};
  for (int vocabulary = 0; vocabulary < 10; vocabulary += 9) {
    struct call call;
    open_call(&call, GK_CELL_GRU, vocabulary);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      gk_rnn_forward_args forward = call.forward;
      gk_rnn_backward_args backward = call.backward;
      forward.time = backward.time = sizes[i].time;
      forward.batch = backward.batch = sizes[i].batch;
      forward.lengths = backward.lengths = sizes[i].lengths ? (const int64_t[3]){0} : NULL;
      expect(__LINE__, try_forward(&call, &forward), GK_ERROR_OVERFLOW, "time", "batch", NULL);
      expect(__LINE__, try_backward(&call, &backward), GK_ERROR_OVERFLOW, "time", "batch", NULL);
    }
    close_call(&call);
  }
}

/* Packed parameters of another network, for another pass, or never packed. */
static void parameters_that_are_not_packed_for_the_call_are_refused(void **state) {
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

static void as_many_bytes_packed_for_another_cell_are_refused(void **state) {
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

static void a_step_refuses_wrong_arguments_and_two_directions(void **state) {
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

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(forward_refuses_wrong_arguments_and_writes_nothing),
      cmocka_unit_test(backward_refuses_wrong_arguments_and_writes_nothing),
      cmocka_unit_test(sizes_that_no_memory_holds_overflow_before_lengths_and_tokens_are_read),
      cmocka_unit_test(tokens_outside_the_vocabulary_are_refused_by_place),
      cmocka_unit_test(parameters_that_are_not_packed_for_the_call_are_refused),
      cmocka_unit_test(backward_of_what_is_packed_for_forward_alone_needs_the_parameters),
      cmocka_unit_test(as_many_bytes_packed_for_another_cell_are_refused),
      cmocka_unit_test(a_step_refuses_wrong_arguments_and_two_directions),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
