/* SPDX-License-Identifier: Apache-2.0
 *
 * Different calls that must give the same bits: layouts, directions, tokens and their vectors, a doubled
 * gradient. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/network_walk.h"

/* ---- Layouts, directions, tokens ------------------------------------------------------------- */

static void adjust_directions(struct network_case *c, int shape) {
  c->ragged = shape % 2;
  c->desc.layers = 1;
}

/* rows (t, n) of `width` floats in the layout of `from`, in that of `to`; times reversed in each length. */
static float *take_rearranged(struct buffers *b, const struct network_case *from,
                              const struct network_case *to, const struct network_data *d,
                              const float *values, int64_t width, bool reversed) {
  float *moved = take_floats(b, from->time * from->batch * width);
  memset(moved, 0, (size_t)(from->time * from->batch * width) * sizeof(float));
  for (int64_t n = 0; n < from->batch; n++)
    for (int64_t t = 0, length = length_of(from, d, n); t < length; t++)
      memcpy(moved + row_of(to, reversed ? length - 1 - t : t, n) * width,
             values + row_of(from, t, n) * width, (size_t)width * sizeof(float));
  return moved;
}

/* (L*D, T, N), each sample's steps reversed. */
static float *take_reversed_norms(struct buffers *b, const struct network_case *c,
                                  const struct network_data *d, const float *norms) {
  int64_t N = c->batch, count = sizes_of(c).norms;
  float *moved = take_floats(b, count);
  memset(moved, 0, (size_t)count * sizeof(float));
  for (int64_t first = 0; first < count; first += c->time * N)
    for (int64_t n = 0; n < N; n++)
      for (int64_t t = 0, length = length_of(c, d, n); t < length; t++)
        moved[first + (length - 1 - t) * N + n] = norms[first + t * N + n];
  return moved;
}

/* Batch-first equals time-major. With `reversed`: the reverse direction over the reversed sequence is the
 * forward direction, gradients of weights included, because both visit the same rows in the same order. */
static void check_rearranged(struct network_case *c, bool reversed) {
  struct buffers b = {0};
  struct network_data d = take_data(&b, c);
  struct network_results wanted = run_case(&b, c, &d);
  struct network_case other = *c;
  if (reversed)
    other.desc.direction = GK_REVERSE;
  else
    other.desc.layout = c->desc.layout == GK_TIME_MAJOR ? GK_BATCH_FIRST : GK_TIME_MAJOR;
  int64_t I = c->desc.input_size, width = sizes_of(c).width;
  struct network_data e = d;
  e.x = take_rearranged(&b, c, &other, &d, d.x, I, reversed);
  e.dy = take_rearranged(&b, c, &other, &d, d.dy, width, reversed);
  struct network_results got = run_case(&b, &other, &e);
  got.y = take_rearranged(&b, &other, c, &d, got.y, width, reversed);
  got.dx = take_rearranged(&b, &other, c, &d, got.dx, I, reversed);
  if (reversed)
    got.dh_norms = take_reversed_norms(&b, c, &d, got.dh_norms);
  check_same_results(c, reversed ? "reverse direction" : "other layout", &got, &wanted);
  buffers_release(&b);
}

static void check_layouts(struct network_case *c) {
  check_rearranged(c, false);
}

static void check_reversed(struct network_case *c) {
  check_rearranged(c, true);
}

static void the_layout_changes_no_bit(void **state) {
  (void)state;
  for_each_case(__func__, adjust_directions, check_layouts);
}

static void the_reverse_direction_is_forward_over_reversed_sequences(void **state) {
  (void)state;
  for_each_case(__func__, adjust_directions, check_reversed);
}

/* Half `direction` of the columns of rows (T*N, 2H). */
static float *take_half(struct buffers *b, const struct network_case *c, const float *rows, int direction) {
  int64_t H = h_size(c), count = c->time * c->batch;
  float *half = take_floats(b, count * H);
  for (int64_t row = 0; row < count; row++)
    memcpy(half + row * H, rows + row * 2 * H + direction * H, (size_t)H * sizeof(float));
  return half;
}

/* The directions of one bidirectional layer are two networks of one direction. */
static void check_bidirectional(struct network_case *c) {
  struct buffers b = {0};
  c->desc.direction = GK_BIDIRECTIONAL;
  struct network_data d = take_data(&b, c);
  struct network_results both = run_case(&b, c, &d);
  for (int direction = 0; direction < 2; direction++) {
    struct network_case one = *c;
    one.desc.direction = direction ? GK_REVERSE : GK_FORWARD;
    struct network_sizes s = sizes_of(&one);
    int64_t states = s.states, cells = s.cells, parameters = s.parameters;
    struct network_data e = d;
    float **halves[] = {&e.h0, &e.c0, &e.dhn, &e.dcn};
    for (int i = 0; i < 4; i++)
      *halves[i] = *halves[i] ? *halves[i] + direction * (i % 2 ? cells : states) : NULL;
    e.parameters = d.parameters + direction * parameters;
    e.dy = take_half(&b, c, d.dy, direction);
    struct network_results wanted = run_case(&b, &one, &e);
    struct network_results got = {.y = take_half(&b, c, both.y, direction),
                                  .hn = both.hn + direction * states,
                                  .cn = both.cn ? both.cn + direction * cells : NULL,
                                  .dh0 = both.dh0 + direction * states,
                                  .dc0 = both.dc0 ? both.dc0 + direction * cells : NULL,
                                  .gradients = both.gradients + direction * parameters};
    check_same_results(&one, "half of a bidirectional layer", &got, &wanted);
  }
  buffers_release(&b);
}

static void two_directions_are_two_networks_of_one(void **state) {
  (void)state;
  for_each_case(__func__, adjust_directions, check_bidirectional);
}

static void adjust_tokens(struct network_case *c, int shape) {
  c->ragged = shape % 2;
  c->desc.vocabulary = shape == 3 ? 500 : 4 + shape;
}

/* Tokens give the outputs, states and dh0 of the embedding's rows as vectors. (Weight gradients have an order
 * of their own: the folded table.) */
static void check_tokens(struct network_case *c) {
  struct buffers b = {0};
  struct network_data d = take_data(&b, c);
  struct network_results got = run_case(&b, c, &d);
  struct network_case dense = *c;
  dense.desc.vocabulary = 0;
  struct network_data e = d;
  int64_t I = c->desc.input_size;
  e.tokens = NULL;
  e.x = take_floats(&b, c->time * c->batch * I);
  e.parameters = d.parameters + c->desc.vocabulary * I;
  for (int64_t row = 0; row < c->time * c->batch; row++)
    memcpy(e.x + row * I, d.parameters + d.tokens[row] * I, (size_t)I * sizeof(float));
  struct network_results wanted = run_case(&b, &dense, &e);
  wanted.dx = wanted.gradients = NULL;
  check_same_results(c, "tokens as vectors", &got, &wanted);
  buffers_release(&b);
}

static void tokens_are_the_embeddings_rows(void **state) {
  (void)state;
  for_each_case(__func__, adjust_tokens, check_tokens);
}

static void adjust_doubled(struct network_case *c, int shape) {
  c->small = false; /* what underflows is not linear */
  c->ragged = shape % 2;
  c->resets = shape > 1;
  c->desc.vocabulary = shape == 1 ? 9 : 0;
  if (shape == 2)
    add_all_masks(c);
}

/* Backward is linear in what comes from above: twice that doubles every gradient, exactly. */
static void check_doubled(struct network_case *c) {
  struct buffers b = {0};
  struct network_sizes s = sizes_of(c);
  struct network_data d = take_data(&b, c);
  struct network_results wanted = run_case(&b, c, &d);
  float *above[] = {d.dy, d.dhn, d.dcn};
  float *below[] = {wanted.dx, wanted.dh0, wanted.dc0, wanted.gradients, wanted.dh_norms};
  int64_t above_count[] = {s.outputs, s.states, s.cells};
  int64_t below_count[] = {s.inputs, s.states, s.cells, s.parameters, s.norms};
  for (int k = 0; k < 3; k++)
    for (int64_t i = 0; above[k] && i < above_count[k]; i++)
      above[k][i] *= 2;
  for (int k = 0; k < 5; k++)
    for (int64_t i = 0; below[k] && i < below_count[k]; i++)
      below[k][i] *= 2;
  struct network_results got = run_case(&b, c, &d);
  check_same_results(c, "doubled gradient", &got, &wanted);
  buffers_release(&b);
}

static void a_doubled_gradient_doubles_every_gradient(void **state) {
  (void)state;
  for_each_case(__func__, adjust_doubled, check_doubled);
}

static void adjust_states(struct network_case *c, int shape) {
  const bool small = c->small;
  adjust_doubled(c, shape);
  c->small = small;
  c->desc.trained_states = shape == 3;
}

/* Products with a state that is not given, and for gradients of it that nobody asks for, are not formed: all
 * else has the same bits as if the state were zeros and its gradients were asked for. */
static void check_no_states(struct network_case *c) {
  struct buffers b = {0};
  struct network_sizes s = sizes_of(c);
  struct network_data d = take_data(&b, c);
  memset(d.h0, 0, (size_t)s.states * sizeof *d.h0);
  if (d.c0)
    memset(d.c0, 0, (size_t)s.cells * sizeof *d.c0);
  if (c->desc.trained_states)
    d.h0 = d.c0 = NULL;
  struct network_results wanted = run_case(&b, c, &d);
  d.h0 = d.c0 = NULL;
  for (int asked = 0; asked < 4; asked++) {
    struct network_results got = take_results(&b, c);
    struct network net = open_network(&b, c, d.parameters);
    if (!(asked & 1))
      got.dh0 = NULL;
    if (!(asked & 2))
      got.dc0 = NULL;
    run_network(&net, &d, &got);
    close_network(&net);
    check_same_results(c, "no states given", &got, &wanted);
  }
  buffers_release(&b);
}

static void states_that_are_not_given_are_zeros(void **state) {
  (void)state;
  for_each_case(__func__, adjust_states, check_no_states);
}

/* Which can be seen where weight_hh is not finite: not in the first step. */
static void zeros_meet_no_weights(void **state) {
  enum { T = 3, N = 5, H = 19, STEP = N * H };
  (void)state;
  for (int tier = 0; tier < tier_count; tier++)
    for (int cell = 0; cell < gk_cell_count(); cell++) {
      struct buffers b = {0};
      struct network_case c = {.desc = GK_RNN_DESC_INIT, .time = T, .batch = N, .states = true, .seed = 7};
      c.desc.cell = (gk_cell)cell;
      c.desc.input_size = 6;
      c.desc.hidden_size = H;
      c.desc.isa = tiers[tier];
      struct network_data d = take_data(&b, &c);
      struct network_results r = take_results(&b, &c);
      const int64_t rows = gk_cell_gates(c.desc.cell) * H; /* weight_hh stands behind weight_ih */
      for (int64_t k = 0; k < rows * H; k++)
        d.parameters[rows * c.desc.input_size + k] = INFINITY;
      d.h0 = d.c0 = NULL;
      struct network net = open_network(&b, &c, d.parameters);
      gk_rnn_forward_args args = forward_args(&net, &d, &r);
      check_status(&c, gk_rnn_forward(net.rnn, &args), "gk_rnn_forward");
      int64_t finite[T] = {0};
      for (int64_t k = 0; k < T * STEP; k++)
        finite[k / STEP] += isfinite(r.y[k]) && fabsf(r.y[k]) < 1;
      if (finite[0] != STEP || finite[1] == STEP)
        fail_case(&c, "of %d values of y %d are usual in the first step, %d in the second", STEP,
                  (int)finite[0], (int)finite[1]);
      close_network(&net);
      buffers_release(&b);
    }
}

/* Gradients of so many weights go past the caches if their rows begin lines of it, which the address decides.
 */
static void gradients_past_the_caches_are_the_same(void **state) {
  static const struct {
    gk_cell cell;
    int64_t input, hidden, threads;
    gk_direction direction;
  } networks[] = {{GK_CELL_LSTM, 1376, 640, 1, GK_FORWARD},
                  {GK_CELL_GRU_RESET_BEFORE, 1600, 720, 2, GK_REVERSE},
                  {GK_CELL_LSTM, 1440, 368, 2, GK_BIDIRECTIONAL}};
  (void)state;
  for (int tier = 0; tier < tier_count; tier++)
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
      struct buffers b = {0};
      struct network_case c = {.desc = GK_RNN_DESC_INIT, .time = 2, .batch = 3, .states = true, .seed = i};
      c.desc.cell = networks[i].cell;
      c.desc.input_size = networks[i].input;
      c.desc.hidden_size = networks[i].hidden;
      c.desc.threads = (int)networks[i].threads;
      c.desc.direction = networks[i].direction;
      c.desc.isa = tiers[tier];
      struct network_data d = take_data(&b, &c);
      struct network_results r[2] = {take_results(&b, &c), take_results(&b, &c)};
      const int64_t count = sizes_of(&c).parameters;
      assert_true(count > 5000000);
      for (int k = 0; k < 2; k++) {
        struct network net = open_network(&b, &c, d.parameters);
        r[k].gradients = (float *)buffers_take(&b, ((size_t)count + 1) * sizeof(float), 64) + k;
        run_network(&net, &d, &r[k]);
        close_network(&net);
      }
      check_same_results(&c, "gradients that begin no line", &r[1], &r[0]);
      buffers_release(&b);
    }
}

int main(int argc, char **argv) {
  if (!start_walk(argc, argv))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_layout_changes_no_bit),
      cmocka_unit_test(the_reverse_direction_is_forward_over_reversed_sequences),
      cmocka_unit_test(two_directions_are_two_networks_of_one),
      cmocka_unit_test(tokens_are_the_embeddings_rows),
      cmocka_unit_test(a_doubled_gradient_doubles_every_gradient),
      cmocka_unit_test(states_that_are_not_given_are_zeros),
      cmocka_unit_test(zeros_meet_no_weights),
      cmocka_unit_test(gradients_past_the_caches_are_the_same),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
