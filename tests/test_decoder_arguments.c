/* SPDX-License-Identifier: Apache-2.0
 *
 * What decoders refuse, by status and a message that names the argument and the values; outputs stay as they
 * were. Batches without samples and calls without steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/decoder_fixture.h"

/* Names that must be in the message, ended by NULL. */
static void expect(int line, gk_status got, gk_status wanted, ...) {
  va_list names;
  if (got != wanted)
    fail_msg("line %d: %s instead of %s: %s", line, gk_status_name(got), gk_status_name(wanted),
             gk_last_error());
  va_start(names, wanted);
  for (const char *name; (name = va_arg(names, const char *)) != NULL;)
    if (!strstr(gk_last_error(), name))
      fail_msg("line %d: '%s' is not in '%s'", line, name, gk_last_error());
  va_end(names);
}

static gk_output *make_output(int64_t in, int64_t out) {
  gk_output_desc desc = GK_OUTPUT_DESC_INIT;
  gk_output *output;
  desc.input_size = in;
  desc.output_size = out;
  assert_int_equal(gk_output_create(&desc, &output), GK_OK);
  return output;
}

static gk_decoder_desc plain_description(const gk_output *output) {
  gk_decoder_desc desc = GK_DECODER_DESC_INIT;
  desc.rnn.hidden_size = 8;
  desc.feedback = GK_FEEDBACK_TOKEN;
  desc.vocabulary = 5;
  desc.embedding_size = 3;
  desc.output = output;
  desc.attention = GK_ATTENTION_GENERAL;
  desc.source_size = 6;
  desc.input_feeding = true;
  return desc;
}

#define REFUSED(change, status, ...)                                                                         \
  do {                                                                                                       \
    gk_decoder_desc desc = plain_description(output);                                                        \
    gk_decoder *made = (gk_decoder *)&desc;                                                                  \
    change;                                                                                                  \
    expect(__LINE__, gk_decoder_create(&desc, &made), status, __VA_ARGS__, NULL);                            \
    assert_null(made);                                                                                       \
  } while (0)

static void descriptions_that_do_not_fit_are_refused(void **state) {
  gk_output *output = make_output(8, 5), *narrow = make_output(7, 5), *other = make_output(8, 6);
  gk_decoder *decoder;
  gk_decoder_desc good = plain_description(output);
  (void)state;
  size_t bytes;
  assert_int_equal(gk_decoder_create(&good, &decoder), GK_OK);
  expect(__LINE__, gk_decoder_packed_bytes(decoder, 0, &bytes), GK_ERROR_ARGUMENT, "flags is 0", NULL);
  gk_decoder_destroy(decoder);
  expect(__LINE__, gk_decoder_create(&good, NULL), GK_ERROR_ARGUMENT, "decoder", NULL);
  expect(__LINE__, gk_decoder_create(NULL, &decoder), GK_ERROR_ARGUMENT, "desc", NULL);
  REFUSED(desc.size = 3, GK_ERROR_ARGUMENT, "size", "3");
  REFUSED(desc.feedback = (gk_feedback)7, GK_ERROR_ARGUMENT, "feedback", "7");
  REFUSED(desc.attention = (gk_attention)-1, GK_ERROR_ARGUMENT, "attention", "-1");
  REFUSED(desc.output_function = (gk_output_function)4, GK_ERROR_ARGUMENT, "output_function", "4");
  REFUSED(desc.output_function = GK_OUTPUT_TANH, GK_ERROR_ARGUMENT, "output_function", "tanh", "token");
  REFUSED(desc.rnn.direction = GK_BIDIRECTIONAL, GK_ERROR_UNSUPPORTED, "direction");
  REFUSED(desc.rnn.vocabulary = 5, GK_ERROR_ARGUMENT, "rnn.vocabulary", "5");
  REFUSED(desc.rnn.hidden_size = -5, GK_ERROR_ARGUMENT, "hidden_size", "-5");
  REFUSED(desc.rnn.hidden_size = INT64_MAX, GK_ERROR_OVERFLOW, "hidden_size");
  REFUSED(desc.rnn.projection_size = INT64_MAX, GK_ERROR_OVERFLOW, "projection_size");
  REFUSED((desc.rnn.hidden_sizes = (const int64_t[]){3}, desc.rnn.layers = INT64_MAX), GK_ERROR_OVERFLOW,
          "layers");
  REFUSED(desc.rnn.input_size = -1, GK_ERROR_ARGUMENT, "rnn.input_size", "-1");
  REFUSED(desc.rnn.hidden_size = 0, GK_ERROR_ARGUMENT, "hidden_size", "0");
  REFUSED(desc.vocabulary = 0, GK_ERROR_ARGUMENT, "vocabulary", "0");
  REFUSED(desc.embedding_size = 0, GK_ERROR_ARGUMENT, "embedding_size", "0");
  REFUSED(desc.source_size = 0, GK_ERROR_ARGUMENT, "source_size", "0");
  REFUSED(desc.attention_size = -2, GK_ERROR_ARGUMENT, "attention_size", "-2");
  REFUSED(desc.attention = GK_ATTENTION_NONE, GK_ERROR_ARGUMENT, "input_feeding");
  REFUSED((desc.attention = GK_ATTENTION_NONE, desc.input_feeding = false), GK_ERROR_ARGUMENT, "source_size",
          "6");
  REFUSED(desc.attention = GK_ATTENTION_DOT, GK_ERROR_ARGUMENT, "source_size", "6", "8");
  REFUSED(desc.feedback = GK_FEEDBACK_NONE, GK_ERROR_ARGUMENT, "vocabulary", "5");
  REFUSED(desc.output = narrow, GK_ERROR_ARGUMENT, "input_size", "7", "8");
  REFUSED(desc.output = other, GK_ERROR_ARGUMENT, "output_size", "6", "5");
  REFUSED((desc.feedback = GK_FEEDBACK_OUTPUT, desc.output = NULL), GK_ERROR_ARGUMENT, "output");
  gk_decoder_desc empty = GK_DECODER_DESC_INIT;
  empty.rnn.hidden_size = 4;
  expect(__LINE__, gk_decoder_create(&empty, &decoder), GK_ERROR_ARGUMENT, "input", NULL);
  gk_output_destroy(output);
  gk_output_destroy(narrow);
  gk_output_destroy(other);
}

static struct decoder_case plain_case(void) {
  struct decoder_case c = {.desc = plain_description(NULL), .sizes = {8, 8}, .seed = 5};
  c.output_size = 5;
  c.time = 4;
  c.batch = 3;
  c.source_time = 2;
  c.chosen = true;
  c.sampling = 0.5f;
  return c;
}

/* A call with one change: refused, and y untouched. */
#define FORWARD_REFUSED(change, ...)                                                                         \
  do {                                                                                                       \
    gk_decoder_forward_args args = decoder_forward_args(&o, &c, &d, &r);                                     \
    change;                                                                                                  \
    memset(r.tensor[D_Y], 0x5a, (size_t)r.count[D_Y] * sizeof(float));                                       \
    expect(__LINE__, gk_decoder_forward(o.decoder, &args), GK_ERROR_ARGUMENT, __VA_ARGS__, NULL);            \
    for (int64_t i = 0; i < r.count[D_Y]; i++)                                                               \
      assert_memory_equal(&r.tensor[D_Y][i], "\x5a\x5a\x5a\x5a", 4);                                         \
  } while (0)
#define BACKWARD_REFUSED(change, ...)                                                                        \
  do {                                                                                                       \
    gk_decoder_backward_args args = decoder_backward_args(&o, &c, &d, &r);                                   \
    change;                                                                                                  \
    expect(__LINE__, gk_decoder_backward(o.decoder, &args), GK_ERROR_ARGUMENT, __VA_ARGS__, NULL);           \
  } while (0)

static void calls_that_do_not_fit_are_refused(void **state) {
  struct buffers b = {0};
  const struct decoder_case c = plain_case();
  struct decoder_data d = take_decoder_data(&b, &c);
  struct decoder_results r = take_decoder_results(&b, &c, &d);
  struct open_decoder o = open_decoder(&b, &c, &d);
  const int64_t long_lengths[3] = {4, 5, 0}, long_sources[3] = {0, 0, 3};
  float unused[400];
  int32_t strange[12] = {0, 1, 5};
  (void)state;
  FORWARD_REFUSED(args.size = 1, "size", "1");
  FORWARD_REFUSED(args.time = -1, "time", "-1");
  FORWARD_REFUSED(args.batch = -2, "batch", "-2");
  FORWARD_REFUSED(args.source_time = -3, "source_time", "-3");
  FORWARD_REFUSED(args.lengths = long_lengths, "lengths[1]", "5", "4");
  FORWARD_REFUSED(args.source_lengths = long_sources, "source_lengths[2]", "3", "2");
  FORWARD_REFUSED(args.source = NULL, "source", "2");
  FORWARD_REFUSED(args.tokens = NULL, "tokens");
  FORWARD_REFUSED(args.tokens = strange, "tokens", "sample 2", "5");
  FORWARD_REFUSED(args.parameters = NULL, "parameters");
  FORWARD_REFUSED(args.packed = NULL, "packed");
  FORWARD_REFUSED(args.output_packed = NULL, "output_packed");
  FORWARD_REFUSED(args.output_packed = o.packed, "packed");
  FORWARD_REFUSED(args.sampling = 1.5f, "sampling", "1.5");
  FORWARD_REFUSED(args.sampling = NAN, "sampling", "nan");
  FORWARD_REFUSED(args.choice = (gk_choice)2, "choice", "2");
  FORWARD_REFUSED(args.temperature = -1, "temperature", "-1");
  FORWARD_REFUSED(args.outputs = unused, "outputs", "feedback");
  FORWARD_REFUSED(args.workspace = NULL, "workspace", "bytes");
  BACKWARD_REFUSED(args.size = 2, "size", "2");
  BACKWARD_REFUSED(args.time = -1, "time", "-1");
  BACKWARD_REFUSED(args.dx = unused, "dx", "input_size");
  BACKWARD_REFUSED(args.doutputs = unused, "doutputs", "feedback");
  BACKWARD_REFUSED(args.dprevious = unused, "dprevious");
  BACKWARD_REFUSED(args.output_gradients = unused, "output_gradients");
  BACKWARD_REFUSED(args.reserve = NULL, "reserve");
  BACKWARD_REFUSED(args.workspace = NULL, "workspace", "bytes");
  BACKWARD_REFUSED(args.packed = NULL, "packed");
  expect(__LINE__, gk_decoder_forward(NULL, NULL), GK_ERROR_ARGUMENT, "decoder", NULL);
  expect(__LINE__, gk_decoder_backward(o.decoder, NULL), GK_ERROR_ARGUMENT, "args", NULL);
  gk_rnn_memory memory;
  expect(__LINE__, gk_decoder_memory_needed(o.decoder, INT64_MAX / 2, 3, 2, &memory), GK_ERROR_OVERFLOW,
         NULL);
  expect(__LINE__, gk_decoder_memory_needed(o.decoder, 4, 3, INT64_MAX / 2, &memory), GK_ERROR_OVERFLOW,
         NULL);
  close_decoder(&o);
  buffers_release(&b);
}

static void calls_larger_than_memory_are_refused(void **state) {
  struct buffers b = {0};
  const struct decoder_case c = plain_case();
  struct decoder_data d = take_decoder_data(&b, &c);
  struct decoder_results r = take_decoder_results(&b, &c, &d);
  struct open_decoder o = open_decoder(&b, &c, &d);
  const int64_t lengths[3] = {4, 4, 4}, source_lengths[3] = {2, 2, 2}, many = INT64_MAX / 2;
  (void)state;
  for (int which = 0; which < 4; which++) {
    gk_decoder_forward_args forward = decoder_forward_args(&o, &c, &d, &r);
    gk_decoder_backward_args backward = decoder_backward_args(&o, &c, &d, &r);
    forward.lengths = backward.lengths = lengths;
    forward.source_lengths = backward.source_lengths = source_lengths;
    if (which == 0)
      forward.time = backward.time = many;
    else if (which == 1)
      forward.source_time = backward.source_time = many;
    else if (which == 2) /* lengths are not read */
      forward.batch = backward.batch = INT64_MAX;
    else { /* nor are tokens */
      forward.time = forward.batch = backward.time = backward.batch = INT64_C(1) << 40;
      forward.lengths = backward.lengths = forward.source_lengths = backward.source_lengths = NULL;
    }
    expect(__LINE__, gk_decoder_forward(o.decoder, &forward), GK_ERROR_OVERFLOW, "memory", NULL);
    expect(__LINE__, gk_decoder_backward(o.decoder, &backward), GK_ERROR_OVERFLOW, "memory", NULL);
    forward.reserve = NULL;
    expect(__LINE__, gk_decoder_forward(o.decoder, &forward), GK_ERROR_OVERFLOW, "memory", NULL);
  }
  close_decoder(&o);
  buffers_release(&b);
}

static void searches_that_do_not_fit_are_refused(void **state) {
  struct buffers b = {0};
  const struct decoder_case c = plain_case();
  struct decoder_data d = take_decoder_data(&b, &c);
  struct open_decoder o = open_decoder(&b, &c, &d);
  const int32_t start[3] = {0, 1, 9}, good[3] = {0, 1, 2};
  int32_t tokens[60];
  size_t bytes;
  char *nothing = buffers_take(&b, 64, 1);
  (void)state;
#define SEARCH_REFUSED(change, ...)                                                                          \
  do {                                                                                                       \
    gk_search_args args = GK_SEARCH_ARGS_INIT;                                                               \
    args.batch = 3;                                                                                          \
    args.most = 4;                                                                                           \
    args.start = good;                                                                                       \
    args.tokens = tokens;                                                                                    \
    args.workspace = nothing;                                                                                \
    change;                                                                                                  \
    expect(__LINE__, gk_decoder_search(o.decoder, &args), GK_ERROR_ARGUMENT, __VA_ARGS__, NULL);             \
  } while (0)
  SEARCH_REFUSED(args.size = 0, "size");
  SEARCH_REFUSED(args.beam = 0, "beam", "0", "5");
  SEARCH_REFUSED(args.beam = 6, "beam", "6", "5");
  SEARCH_REFUSED(args.most = 0, "most", "0");
  SEARCH_REFUSED(args.end = 5, "end", "5");
  SEARCH_REFUSED(args.start = start, "start[2]", "9");
  SEARCH_REFUSED(args.start = NULL, "start");
  SEARCH_REFUSED(args.tokens = NULL, "tokens");
  SEARCH_REFUSED(args.workspace = NULL, "workspace");
  SEARCH_REFUSED(args.length_penalty = INFINITY, "length_penalty", "inf");
  struct decoder_case other = c; /* without attention: another place of the stack's weights */
  other.desc.attention = GK_ATTENTION_NONE;
  other.desc.input_feeding = false;
  other.desc.source_size = other.desc.attention_size = 0;
  struct decoder_data other_data = take_decoder_data(&b, &other);
  struct open_decoder of_other = open_decoder(&b, &other, &other_data);
  assert_int_equal(gk_decoder_search_bytes(o.decoder, 3, 1, 4, c.source_time, &bytes), GK_OK);
  void *workspace = buffers_take(&b, bytes, 1);
  SEARCH_REFUSED((args.packed = of_other.packed, args.source = d.source, args.source_time = c.source_time,
                  args.parameters = d.parameters, args.output_packed = o.output_packed,
                  args.workspace = workspace),
                 "packed");
  close_decoder(&of_other);
  gk_search_args many = GK_SEARCH_ARGS_INIT; /* more than start has */
  many.batch = INT32_MAX;
  many.beam = 2;
  many.most = 4;
  many.start = good;
  many.tokens = tokens;
  many.workspace = nothing;
  expect(__LINE__, gk_decoder_search(o.decoder, &many), GK_ERROR_OVERFLOW, "hypotheses", NULL);
  many.batch = INT64_MAX;
  expect(__LINE__, gk_decoder_search(o.decoder, &many), GK_ERROR_OVERFLOW, "batch", NULL);
  expect(__LINE__, gk_decoder_search_bytes(o.decoder, INT64_MAX / 4, 2, 2, 0, &bytes), GK_ERROR_OVERFLOW,
         "batch", NULL);
  expect(__LINE__, gk_decoder_search_bytes(o.decoder, 2, 2, INT64_MAX, 0, &bytes), GK_ERROR_OVERFLOW, "most",
         NULL);
  close_decoder(&o);
  buffers_release(&b);
}

/* T = 0: states and feed go through; N = 0: gradients are zero. */
static void no_steps_and_no_samples_are_allowed(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 30; seed++) {
    struct buffers b = {0};
    struct decoder_case c = random_decoder(4000 + seed);
    c.ragged = false;
    c.states = true;
    (seed % 2 ? &c.time : &c.batch)[0] = 0;
    struct decoder_data d = take_decoder_data(&b, &c);
    struct decoder_results r = run_decoder(&b, &c, &d);
    for (int64_t i = 0; i < r.count[D_GRADIENTS]; i++)
      if (!(r.tensor[D_GRADIENTS][i] == 0) && !c.desc.rnn.trained_states)
        fail_decoder(&c, "gradients[%d] is %g", (int)i, (double)r.tensor[D_GRADIENTS][i]);
    static const struct {
      int got;
      size_t wanted;
    } same[] = {
        {D_HN, offsetof(struct decoder_data, h0)},       {D_CN, offsetof(struct decoder_data, c0)},
        {D_FEEDN, offsetof(struct decoder_data, feed0)}, {D_DH0, offsetof(struct decoder_data, dhn)},
        {D_DC0, offsetof(struct decoder_data, dcn)},     {D_DFEED0, offsetof(struct decoder_data, dfeedn)}};
    for (size_t k = 0; k < sizeof same / sizeof *same; k++) {
      float *wanted;
      memcpy(&wanted, (const char *)&d + same[k].wanted, sizeof wanted);
      if (r.count[same[k].got])
        assert_memory_equal(r.tensor[same[k].got], wanted, (size_t)r.count[same[k].got] * sizeof(float));
    }
    for (int64_t i = 0; i < r.count[D_DSOURCE]; i++)
      assert_true(r.tensor[D_DSOURCE][i] == 0);
    buffers_release(&b);
  }
}

static void names_are_read_back(void **state) {
  (void)state;
#define READ_BACK(what, type, count)                                                                         \
  for (int i = 0; i < count; i++) {                                                                          \
    type value = (type)-1;                                                                                   \
    assert_int_equal(gk_##what##_from_name(gk_##what##_name((type)i), &value), GK_OK);                       \
    assert_int_equal(value, i);                                                                              \
    expect(__LINE__, gk_##what##_from_name("nothing", &value), GK_ERROR_ARGUMENT, #what, "nothing", NULL);   \
  }
  READ_BACK(feedback, gk_feedback, 3)
  READ_BACK(attention, gk_attention, 3)
  READ_BACK(output_function, gk_output_function, 4)
  READ_BACK(choice, gk_choice, 2)
  READ_BACK(teacher, gk_teacher, 3)
  READ_BACK(bridge, gk_bridge_kind, 3)
  READ_BACK(recurrence, gk_recurrence, 2)
}

int main(int argc, char **argv) {
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(descriptions_that_do_not_fit_are_refused),
      cmocka_unit_test(calls_that_do_not_fit_are_refused),
      cmocka_unit_test(calls_larger_than_memory_are_refused),
      cmocka_unit_test(searches_that_do_not_fit_are_refused),
      cmocka_unit_test(no_steps_and_no_samples_are_allowed),
      cmocka_unit_test(names_are_read_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
