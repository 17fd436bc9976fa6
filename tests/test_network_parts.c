/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of a call that must give the bits of the whole: a sample alone and in any batch, a sequence between
 * resets, pieces of time, single steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/network_walk.h"

/* ---- A part of a batch, a piece of time ------------------------------------------------------ */

/* `count` samples and the steps [begin, begin + time), padded with NaN where a sample has ended. */
struct part {
  const int64_t *samples;
  int64_t count, begin, time;
};

static int64_t part_length(const struct network_case *c, const struct network_data *d,
                           const struct part *part, int64_t i) {
  int64_t left = length_of(c, d, part->samples[i]) - part->begin;
  return left < 0 ? 0 : left < part->time ? left : part->time;
}

static struct network_case part_case(const struct network_case *c, const struct part *part) {
  struct network_case p = *c;
  p.batch = part->count;
  p.time = part->time;
  p.ragged = true;
  return p;
}

/* Rows (t, sample) of `width` floats. */
static float *take_part_rows(struct buffers *b, const struct network_case *c, const struct network_data *d,
                             const struct part *part, const float *from, int64_t width) {
  struct network_case p = part_case(c, part);
  float *to = take_floats(b, p.time * p.batch * width);
  for (int64_t i = 0; i < p.time * p.batch * width; i++)
    to[i] = NAN;
  for (int64_t i = 0; i < part->count; i++)
    for (int64_t t = 0; t < part_length(c, d, part, i); t++)
      memcpy(to + row_of(&p, t, i) * width, from + row_of(c, part->begin + t, part->samples[i]) * width,
             (size_t)width * sizeof(float));
  return to;
}

/* (L*D, N, H) of the part's samples. */
static float *take_part_states(struct buffers *b, const struct network_case *c, const struct part *part,
                               const float *from, int64_t H) {
  if (!from)
    return NULL;
  int64_t layers = c->desc.layers * sizes_of(c).directions;
  float *to = take_floats(b, layers * part->count * H);
  for (int64_t l = 0; l < layers; l++)
    for (int64_t i = 0; i < part->count; i++)
      memcpy(to + (l * part->count + i) * H, from + (l * c->batch + part->samples[i]) * H,
             (size_t)H * sizeof(float));
  return to;
}

static struct network_data take_part(struct buffers *b, const struct network_case *c,
                                     const struct network_data *d, const struct part *part) {
  struct network_case p = part_case(c, part);
  struct network_data q = {.parameters = d->parameters};
  if (d->x)
    q.x = take_part_rows(b, c, d, part, d->x, c->desc.input_size);
  q.dy = take_part_rows(b, c, d, part, d->dy, sizes_of(c).width);
  q.h0 = take_part_states(b, c, part, d->h0, h_size(c));
  q.c0 = take_part_states(b, c, part, d->c0, c_size(c));
  q.dhn = take_part_states(b, c, part, d->dhn, h_size(c));
  q.dcn = take_part_states(b, c, part, d->dcn, c_size(c));
  q.lengths = buffers_take(b, (size_t)part->count * sizeof(int64_t), sizeof(int64_t));
  for (int64_t i = 0; i < part->count; i++)
    q.lengths[i] = part_length(c, d, part, i);
  if (d->reset)
    q.reset = buffers_take(b, (size_t)(p.time * p.batch) * sizeof(bool), 1);
  for (int64_t i = 0; i < part->count && d->reset; i++)
    for (int64_t t = 0; t < part->time; t++)
      q.reset[row_of(&p, t, i)] = t >= q.lengths[i] || d->reset[row_of(c, part->begin + t, part->samples[i])];
  if (d->tokens)
    q.tokens = buffers_take(b, (size_t)(p.time * p.batch) * sizeof(int32_t), sizeof(int32_t));
  for (int64_t i = 0; i < part->count && d->tokens; i++)
    for (int64_t t = 0; t < part->time; t++) /* padding: no such token */
      q.tokens[row_of(&p, t, i)] =
          t < q.lengths[i] ? d->tokens[row_of(c, part->begin + t, part->samples[i])] : INT32_MAX;
  return q;
}

/* The rows of a part's result against those of the whole; what the part pads must be 0. */
static void check_part_rows(const struct network_case *c, const struct network_data *d,
                            const struct part *part, const char *what, const char *tensor, const float *got,
                            const float *whole, int64_t width) {
  struct network_case p = part_case(c, part);
  float zeros[128] = {0};
  assert_true(width <= 128);
  for (int64_t i = 0; i < part->count; i++)
    for (int64_t t = 0; t < part->time; t++) {
      int64_t n = part->samples[i];
      bool exists = t < part_length(c, d, part, i);
      char name[96];
      snprintf(name, sizeof name, "%s (t %" PRId64 ", sample %" PRId64 ")", tensor, part->begin + t, n);
      check_bits(c, what, name, width, got + row_of(&p, t, i) * width,
                 exists ? whole + row_of(c, part->begin + t, n) * width : zeros);
    }
}

static void check_part_states(const struct network_case *c, const struct part *part, const char *what,
                              const char *tensor, const float *got, const float *whole, int64_t H) {
  int64_t layers = c->desc.layers * sizes_of(c).directions;
  for (int64_t l = 0; l < layers && got; l++)
    for (int64_t i = 0; i < part->count; i++) {
      char name[96];
      snprintf(name, sizeof name, "%s (layer %" PRId64 ", sample %" PRId64 ")", tensor, l, part->samples[i]);
      check_bits(c, what, name, H, got + (l * part->count + i) * H,
                 whole + (l * c->batch + part->samples[i]) * H);
    }
}

/* ---- Batches --------------------------------------------------------------------------------- */

static void adjust_batches(struct network_case *c, int shape) {
  c->ragged = shape != 3;
  c->desc.direction = shape == 2 ? GK_BIDIRECTIONAL : GK_FORWARD;
}

static void run_part(struct network_case *c, const struct network_data *d,
                     const struct network_results *whole, const struct part *part, const char *what) {
  struct buffers b = {0};
  struct network_case p = part_case(c, part);
  struct network_data q = take_part(&b, c, d, part);
  struct network_results r = take_results(&b, &p);
  struct network net = open_network(&b, &p, d->parameters);
  gk_rnn_forward_args forward = forward_args(&net, &q, &r);
  gk_rnn_backward_args backward = backward_args(&net, &q, &r);
  forward.random.first_sample += (uint64_t)part->samples[0];
  backward.random = forward.random;
  check_status(c, gk_rnn_forward(net.rnn, &forward), "gk_rnn_forward");
  check_status(c, gk_rnn_backward(net.rnn, &backward), "gk_rnn_backward");
  close_network(&net);
  check_part_rows(c, d, part, what, "y", r.y, whole->y, sizes_of(c).width);
  if (r.dx)
    check_part_rows(c, d, part, what, "dx", r.dx, whole->dx, c->desc.input_size);
  check_part_states(c, part, what, "hn", r.hn, whole->hn, h_size(c));
  check_part_states(c, part, what, "cn", r.cn, whole->cn, c_size(c));
  check_part_states(c, part, what, "dh0", r.dh0, whole->dh0, h_size(c));
  check_part_states(c, part, what, "dc0", r.dc0, whole->dc0, c_size(c));
  buffers_release(&b);
}

/* Each sample alone; the batch backwards with more padding; every third sample and one twice. */
static void check_batches(struct network_case *c) {
  struct buffers b = {0};
  struct network_data d = take_data(&b, c);
  struct network_results whole = run_case(&b, c, &d);
  int64_t N = c->batch, backwards[16], some[16];
  for (int64_t n = 0; n < N; n++) {
    backwards[n] = N - 1 - n;
    int64_t length = length_of(c, &d, n);
    run_part(c, &d, &whole, &(struct part){&n, 1, 0, length}, "sample alone");
    run_part(c, &d, &whole, &(struct part){&n, 1, 0, length + 1 + n}, "sample alone, padded");
  }
  if (c->desc.dropout == 0) { /* with it a sample's masks belong to its place in the data */
    run_part(c, &d, &whole, &(struct part){backwards, N, 0, c->time + 3}, "batch backwards");
    int64_t count = 0;
    for (int64_t n = 0; n < N; n += 3)
      some[count++] = n;
    some[count++] = 0;
    run_part(c, &d, &whole, &(struct part){some, count, 0, c->time}, "part of the batch");
  }
  buffers_release(&b);
}

static void a_sample_is_the_same_in_any_batch(void **state) {
  (void)state;
  for_each_case(__func__, adjust_batches, check_batches);
}

static void adjust_batches_of_tokens(struct network_case *c, int shape) {
  adjust_batches(c, shape);
  c->desc.vocabulary = 2 + 5 * shape;
}

static void a_sample_of_tokens_is_the_same_in_any_batch(void **state) {
  (void)state;
  for_each_case(__func__, adjust_batches_of_tokens, check_batches);
}

static void adjust_batches_with_dropout(struct network_case *c, int shape) {
  adjust_batches(c, shape);
  c->desc.layers = 2;
  c->desc.dropout = 0.5f;
  c->desc.dropout_masks = (gk_dropout_masks)(shape / 2);
  if (shape % 2)
    add_all_masks(c);
}

static void a_sample_with_dropout_is_the_same_alone(void **state) {
  (void)state;
  for_each_case(__func__, adjust_batches_with_dropout, check_batches);
}

/* ---- Sequences inside a row ------------------------------------------------------------------ */

static void adjust_resets(struct network_case *c, int shape) {
  adjust_batches(c, shape);
  c->resets = true;
  c->states = false;
  c->desc.vocabulary = shape == 3 ? 9 : 0;
  if (shape == 1)
    c->desc.direction = GK_REVERSE;
}

/* The steps from one reset to the next, alone. */
static void check_sequence(struct network_case *c, const struct network_data *d,
                           const struct network_results *whole, const struct part *part) {
  struct buffers b = {0};
  struct network_case p = part_case(c, part);
  struct network_data q = take_part(&b, c, d, part);
  q.reset = NULL;
  struct network_results r = run_case(&b, &p, &q);
  check_part_rows(c, d, part, "sequence alone", "y", r.y, whole->y, sizes_of(c).width);
  if (r.dx)
    check_part_rows(c, d, part, "sequence alone", "dx", r.dx, whole->dx, c->desc.input_size);
  buffers_release(&b);
}

static void check_resets(struct network_case *c) {
  struct buffers b = {0};
  struct network_data d = take_data(&b, c);
  struct network_results whole = run_case(&b, c, &d);
  for (int64_t n = 0; n < c->batch; n++)
    for (int64_t begin = 0, end; begin < length_of(c, &d, n); begin = end) {
      for (end = begin + 1; end < length_of(c, &d, n) && !d.reset[row_of(c, end, n)];)
        end++;
      check_sequence(c, &d, &whole, &(struct part){&n, 1, begin, end - begin});
    }
  buffers_release(&b);
}

static void a_sequence_inside_a_row_is_the_same_alone(void **state) {
  (void)state;
  for_each_case(__func__, adjust_resets, check_resets);
}

/* ---- Pieces of time -------------------------------------------------------------------------- */

static void adjust_cuts(struct network_case *c, int shape) {
  c->ragged = shape % 2;
  c->resets = shape > 1;
  c->desc.vocabulary = shape == 1 ? 9 : 0;
}

static void adjust_cuts_with_masks(struct network_case *c, int shape) {
  adjust_cuts(c, shape);
  add_all_masks(c);
}

/* Forward over [0, k), then [k, T) from the states that it left; backward the other way round. */
static void check_cut(struct network_case *c, const struct network_data *d,
                      const struct network_results *whole, int64_t cut) {
  struct buffers b = {0};
  int64_t all[16], ends[3] = {0, cut, c->time};
  char what[64];
  snprintf(what, sizeof what, "cut before step %d", (int)cut);
  for (int64_t n = 0; n < c->batch; n++)
    all[n] = n;
  struct part part[2];
  struct network_case p[2];
  struct network_data q[2];
  struct network net[2];
  struct network_results r[2];
  for (int i = 0; i < 2; i++) {
    part[i] = (struct part){all, c->batch, ends[i], ends[i + 1] - ends[i]};
    p[i] = part_case(c, &part[i]);
    q[i] = take_part(&b, c, d, &part[i]);
    r[i] = take_results(&b, &p[i]);
    net[i] = open_network(&b, &p[i], d->parameters);
  }
  q[1].h0 = r[0].hn;
  q[1].c0 = r[0].cn;
  for (int i = 0; i < 2; i++) {
    gk_rnn_forward_args forward = forward_args(&net[i], &q[i], &r[i]);
    forward.random.first_time = ends[i];
    check_status(c, gk_rnn_forward(net[i].rnn, &forward), "gk_rnn_forward");
  }
  q[0].dhn = r[1].dh0;
  q[0].dcn = r[1].dc0;
  for (int i = 1; i >= 0; i--) {
    gk_rnn_backward_args backward = backward_args(&net[i], &q[i], &r[i]);
    backward.random.first_time = ends[i];
    check_status(c, gk_rnn_backward(net[i].rnn, &backward), "gk_rnn_backward");
    close_network(&net[i]);
    check_part_rows(c, d, &part[i], what, "y", r[i].y, whole->y, sizes_of(c).width);
    if (r[i].dx)
      check_part_rows(c, d, &part[i], what, "dx", r[i].dx, whole->dx, c->desc.input_size);
  }
  check_part_states(c, &part[1], what, "hn", r[1].hn, whole->hn, h_size(c));
  check_part_states(c, &part[1], what, "cn", r[1].cn, whole->cn, c_size(c));
  check_part_states(c, &part[0], what, "dh0", r[0].dh0, whole->dh0, h_size(c));
  check_part_states(c, &part[0], what, "dc0", r[0].dc0, whole->dc0, c_size(c));
  buffers_release(&b);
}

static void check_cuts(struct network_case *c) {
  struct buffers b = {0};
  struct network_data d = take_data(&b, c);
  struct network_results whole = run_case(&b, c, &d);
  for (int64_t cut = 0; cut <= c->time; cut++)
    check_cut(c, &d, &whole, cut);
  buffers_release(&b);
}

static void a_sequence_cut_in_two_is_the_same(void **state) {
  (void)state;
  for_each_case(__func__, adjust_cuts, check_cuts);
}

static void a_sequence_with_masks_cut_in_two_is_the_same(void **state) {
  (void)state;
  for_each_case(__func__, adjust_cuts_with_masks, check_cuts);
}

/* T calls of gk_rnn_step, inference, and inference in place (hn is h0) against the training call. */
static void check_steps(struct network_case *c) {
  struct buffers b = {0};
  struct network_sizes s = sizes_of(c);
  struct network_data d = take_data(&b, c);
  struct network_results whole = run_case(&b, c, &d), r = take_results(&b, c);
  struct network net = open_network(&b, c, d.parameters);
  gk_rnn_forward_args inference = forward_args(&net, &d, &r);
  inference.reserve = NULL;
  inference.workspace = net.inference_workspace;
  check_status(c, gk_rnn_forward(net.rnn, &inference), "gk_rnn_forward");
  check_bits(c, "inference", "y", s.outputs, r.y, whole.y);
  check_bits(c, "inference", "hn", s.states, r.hn, whole.hn);
  memcpy(r.hn, d.h0, (size_t)s.states * sizeof(float));
  inference.h0 = r.hn;
  if (r.cn) {
    check_bits(c, "inference", "cn", s.cells, r.cn, whole.cn);
    memcpy(r.cn, d.c0, (size_t)s.cells * sizeof(float));
    inference.c0 = r.cn;
  }
  check_status(c, gk_rnn_forward(net.rnn, &inference), "gk_rnn_forward");
  check_bits(c, "hn is h0", "hn", s.states, r.hn, whole.hn);

  int64_t H = h_size(c), N = c->batch, I = c->desc.input_size;
  float *x = take_floats(&b, N * I), *y = take_floats(&b, N * H);
  int32_t *tokens = buffers_take(&b, (size_t)N * sizeof(int32_t), sizeof(int32_t));
  bool reset[16];
  memcpy(r.hn, d.h0, (size_t)s.states * sizeof(float));
  if (r.cn)
    memcpy(r.cn, d.c0, (size_t)s.cells * sizeof(float));
  for (int64_t t = 0; t < c->time; t++) {
    for (int64_t n = 0; n < N && d.reset; n++)
      reset[n] = d.reset[row_of(c, t, n)];
    for (int64_t n = 0; n < N; n++)
      if (d.tokens)
        tokens[n] = d.tokens[row_of(c, t, n)];
      else
        memcpy(x + n * I, d.x + row_of(c, t, n) * I, (size_t)I * sizeof(float));
    gk_rnn_step_args step = GK_RNN_STEP_ARGS_INIT;
    step.batch = N;
    step.reset = d.reset ? reset : NULL;
    step.x = d.tokens ? NULL : x;
    step.tokens = d.tokens ? tokens : NULL;
    step.parameters = d.parameters;
    step.packed = net.packed;
    step.h = r.hn;
    step.c = r.cn;
    step.y = t % 3 == 2 ? NULL : y;
    step.workspace = net.inference_workspace;
    check_status(c, gk_rnn_step(net.rnn, &step), "gk_rnn_step");
    for (int64_t n = 0; n < N && step.y; n++)
      check_bits(c, "single steps", "y", H, y + n * H, whole.y + row_of(c, t, n) * H);
  }
  check_bits(c, "single steps", "hn", s.states, r.hn, whole.hn);
  if (r.cn)
    check_bits(c, "single steps", "cn", s.cells, r.cn, whole.cn);
  close_network(&net);
  buffers_release(&b);
}

static void adjust_steps(struct network_case *c, int shape) {
  c->resets = shape > 1;
  c->desc.vocabulary = shape == 1 ? 9 : 0;
}

static void single_steps_and_inference_are_the_training_call(void **state) {
  (void)state;
  for_each_case(__func__, adjust_steps, check_steps);
}

int main(int argc, char **argv) {
  if (!start_walk(argc, argv))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_sample_is_the_same_in_any_batch),
      cmocka_unit_test(a_sample_of_tokens_is_the_same_in_any_batch),
      cmocka_unit_test(a_sample_with_dropout_is_the_same_alone),
      cmocka_unit_test(a_sequence_inside_a_row_is_the_same_alone),
      cmocka_unit_test(a_sequence_cut_in_two_is_the_same),
      cmocka_unit_test(a_sequence_with_masks_cut_in_two_is_the_same),
      cmocka_unit_test(single_steps_and_inference_are_the_training_call),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
