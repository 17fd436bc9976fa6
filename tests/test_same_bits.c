/* SPDX-License-Identifier: Apache-2.0
 *
 * ctest labels: edges same-bits
 *
 * The same bits for every instruction set, any number of threads and every schedule; and the bits of the
 * canonical order (kernels.h), which plain loops compute here, so that a build that adds in another order
 * fails even where all tiers agree. Kept small: this file also runs emulated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kernels/kernels.h"
#include "tests/network_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* ---- Tiers, threads, schedules --------------------------------------------------------------- */

struct plan {
  int threads;
  gk_schedule schedule;
};
static const struct plan plans[] = {
    {1, GK_SCHEDULE_SLICES}, {2, GK_SCHEDULE_SLICES}, {3, GK_SCHEDULE_TEAMS},  {5, GK_SCHEDULE_SLICES},
    {8, GK_SCHEDULE_TEAMS},  {2, GK_SCHEDULE_TEAMS},  {3, GK_SCHEDULE_SLICES}, {5, GK_SCHEDULE_TEAMS},
    {8, GK_SCHEDULE_SLICES}, {3, GK_SCHEDULE_AUTO},
};
enum { PLANS = sizeof plans / sizeof *plans };

/* The weakest tier on one thread, then every tier with every plan against it. */
static void check_plans(struct network_case *c) {
  struct buffers data_buffers = {0};
  c->desc.isa = tiers[0];
  c->desc.threads = 1;
  c->desc.schedule = GK_SCHEDULE_SLICES;
  struct network_data d = take_data(&data_buffers, c);
  struct network_results wanted = run_case(&data_buffers, c, &d);
  for (int i = 0; i < tier_count; i++)
    for (int p = i == 0 ? 1 : 0; p < PLANS; p++) {
      struct buffers buffers = {0};
      char what[64];
      c->desc.isa = tiers[i];
      c->desc.threads = plans[p].threads;
      c->desc.schedule = plans[p].schedule;
      snprintf(what, sizeof what, "against %s on one thread", gk_isa_name(tiers[0]));
      struct network_results got = run_case(&buffers, c, &d);
      check_same_results(c, what, &got, &wanted);
      buffers_release(&buffers);
    }
  buffers_release(&data_buffers);
}

/* Shapes that cross tiles, vectors and blocks of GK_SUM_BLOCK: I, H, L, V, T, N. */
static const struct {
  int64_t input, hidden, layers, vocabulary, time, batch;
  gk_direction direction;
  gk_layout layout;
  bool ragged;
  float dropout;
} shapes[] = {
    {1, 1, 1, 0, 1, 1, GK_FORWARD, GK_TIME_MAJOR, false, 0},
    {5, 3, 1, 0, 3, 2, GK_FORWARD, GK_BATCH_FIRST, false, 0},
    {17, 19, 2, 0, 5, 7, GK_BIDIRECTIONAL, GK_TIME_MAJOR, true, 0},
    {33, 40, 1, 0, 4, 13, GK_REVERSE, GK_BATCH_FIRST, true, 0},
    {9, 23, 3, 0, 6, 5, GK_FORWARD, GK_TIME_MAJOR, true, 0.4f},
    {12, 31, 2, 20, 9, 6, GK_FORWARD, GK_BATCH_FIRST, true, 0},
    {270, 9, 1, 0, 3, 3, GK_FORWARD, GK_TIME_MAJOR, false, 0},
    {7, 261, 1, 0, 2, 2, GK_FORWARD, GK_TIME_MAJOR, false, 0},
    {6, 8, 1, 0, 30, 20, GK_FORWARD, GK_TIME_MAJOR, true, 0},
};

static void test_plans(void **state) {
  (void)state;
  for (int kind = 0; kind <= gk_cell_count(); kind++) /* the last one: rnn with ReLU */
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
      struct network_case c = {.desc = GK_RNN_DESC_INIT,
                               .time = shapes[i].time,
                               .batch = shapes[i].batch,
                               .ragged = shapes[i].ragged,
                               .states = i % 2 == 0,
                               .seed = 300 + i};
      c.desc.cell = kind < gk_cell_count() ? (gk_cell)kind : GK_CELL_RNN;
      c.desc.activation = kind < gk_cell_count() ? GK_ACTIVATION_TANH : GK_ACTIVATION_RELU;
      c.desc.input_size = shapes[i].input;
      c.desc.hidden_size = shapes[i].hidden;
      c.desc.layers = shapes[i].layers;
      c.desc.vocabulary = shapes[i].vocabulary;
      c.desc.direction = shapes[i].direction;
      c.desc.layout = shapes[i].layout;
      c.desc.dropout = shapes[i].dropout;
      if (case_wanted(__func__))
        check_plans(&c);
    }
}

/* ---- Fifty optimizer steps ------------------------------------------------------------------- */

enum { STEPS = 50, TRAIN_T = 6, TRAIN_N = 5, TRAIN_V = 11, TRAIN_H = 18 };

struct training {
  struct network_case c;
  gk_optimizer_desc optimizer;
  int64_t parameters, output_parameters;
  float *p, *q; /* parameters of network and output layer */
  double loss[STEPS];
};

struct training_buffers {
  struct network net;
  struct network_data data;
  struct network_results r;
  gk_output *output;
  void *packed, *workspace;
  float *dq, *dy, *p_state, *q_state;
};

static struct training_buffers open_training(struct buffers *b, struct training *t) {
  const struct network_case *c = &t->c;
  struct training_buffers m = {.data = take_data(b, c)};
  gk_output_desc desc = GK_OUTPUT_DESC_INIT;
  gk_init_desc init = GK_INIT_DESC_INIT;
  desc.input_size = TRAIN_H;
  desc.output_size = TRAIN_V;
  desc.isa = c->desc.isa;
  desc.threads = c->desc.threads;
  init.init = GK_INIT_ORTHOGONAL;
  init.forget_bias = 1;
  init.seed = c->seed;
  unsigned flags = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  size_t packed, workspace;
  int64_t p_state, q_state;
  check_status(c, gk_output_create(&desc, &m.output), "gk_output_create");
  t->parameters = sizes_of(c).parameters;
  t->output_parameters = gk_output_parameter_count(m.output);
  t->p = m.data.parameters;
  t->q = take_floats(b, t->output_parameters);
  check_status(c, gk_output_init(m.output, c->seed, t->q), "gk_output_init");
  m.net = open_network(b, c, t->p);
  check_status(c, gk_rnn_init(m.net.rnn, &init, t->p), "gk_rnn_init");
  check_status(c, gk_output_packed_bytes(m.output, flags, &packed), "gk_output_packed_bytes");
  check_status(c, gk_output_workspace_bytes(m.output, TRAIN_T * TRAIN_N, &workspace),
               "gk_output_workspace_bytes");
  check_status(c, gk_optimizer_state_count(&t->optimizer, t->parameters, &p_state),
               "gk_optimizer_state_count");
  check_status(c, gk_optimizer_state_count(&t->optimizer, t->output_parameters, &q_state),
               "gk_optimizer_state_count");
  m.packed = buffers_take(b, packed, 1);
  m.workspace = buffers_take(b, workspace, 1);
  m.r = take_results(b, c);
  m.dq = take_floats(b, t->output_parameters);
  m.dy = take_floats(b, sizes_of(c).outputs);
  m.p_state = memset(take_floats(b, p_state), 0, (size_t)p_state * sizeof(float));
  m.q_state = memset(take_floats(b, q_state), 0, (size_t)q_state * sizeof(float));
  m.data.dy = m.dy;
  return m;
}

static void training_step(struct training *t, struct training_buffers *m, int64_t step) {
  const struct network_case *c = &t->c;
  unsigned flags = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  int32_t targets[TRAIN_T * TRAIN_N];
  for (int i = 0; i < TRAIN_T * TRAIN_N; i++) {
    m->data.tokens[i] = (int32_t)random_integer(c->seed + (uint64_t)step, (uint64_t)i, TRAIN_V);
    targets[i] = i % 7 == 3 ? -1 : (m->data.tokens[i] * 3 + 1) % TRAIN_V;
  }
  check_status(c, gk_rnn_pack(m->net.rnn, flags, t->p, m->net.packed), "gk_rnn_pack");
  check_status(c, gk_output_pack(m->output, flags, t->q, m->packed), "gk_output_pack");
  gk_rnn_forward_args forward = forward_args(&m->net, &m->data, &m->r);
  gk_rnn_backward_args backward = backward_args(&m->net, &m->data, &m->r);
  forward.random.step = backward.random.step = (uint64_t)step;
  check_status(c, gk_rnn_forward(m->net.rnn, &forward), "gk_rnn_forward");
  gk_output_loss_args loss = GK_OUTPUT_LOSS_ARGS_INIT;
  loss.rows = TRAIN_T * TRAIN_N;
  loss.h = m->r.y;
  loss.targets = targets;
  loss.packed = m->packed;
  loss.loss = &t->loss[step - 1];
  loss.gradient_scale = 1.0f / (TRAIN_T * TRAIN_N);
  loss.dh = m->dy;
  loss.gradients = m->dq;
  loss.workspace = m->workspace;
  check_status(c, gk_output_loss(m->output, &loss), "gk_output_loss");
  check_status(c, gk_rnn_backward(m->net.rnn, &backward), "gk_rnn_backward");
  const float *gradients[] = {m->r.gradients, m->dq};
  const int64_t counts[] = {t->parameters, t->output_parameters};
  double norm;
  check_status(c, gk_gradient_norm(c->desc.isa, c->desc.threads, 2, gradients, counts, &norm),
               "gk_gradient_norm");
  float scale = gk_clip_scale(norm, 0.25);
  double rate = t->optimizer.kind == GK_OPTIMIZER_SGD ? 0.5 : 0.01;
  check_status(
      c, gk_optimizer_step(&t->optimizer, step, rate, scale, t->parameters, t->p, m->r.gradients, m->p_state),
      "gk_optimizer_step");
  check_status(
      c, gk_optimizer_step(&t->optimizer, step, rate, scale, t->output_parameters, t->q, m->dq, m->q_state),
      "gk_optimizer_step");
}

static void train(struct buffers *b, struct training *t) {
  struct training_buffers m = open_training(b, t);
  for (int64_t step = 1; step <= STEPS; step++)
    training_step(t, &m, step);
  close_network(&m.net);
  gk_output_destroy(m.output);
}

static struct training make_training(gk_cell cell, gk_optimizer_kind kind, gk_isa isa, struct plan plan) {
  struct training t = {.c = {.desc = GK_RNN_DESC_INIT, .time = TRAIN_T, .batch = TRAIN_N, .seed = 77},
                       .optimizer = GK_OPTIMIZER_DESC_INIT};
  t.c.desc.cell = cell;
  t.c.desc.input_size = 10;
  t.c.desc.hidden_size = TRAIN_H;
  t.c.desc.layers = 2;
  t.c.desc.vocabulary = TRAIN_V;
  t.c.desc.dropout = 0.1f;
  t.c.desc.isa = t.optimizer.isa = isa;
  t.c.desc.threads = t.optimizer.threads = plan.threads;
  t.c.desc.schedule = plan.schedule;
  t.optimizer.kind = kind;
  t.optimizer.momentum = 0.9f;
  t.optimizer.weight_decay = 1e-4f;
  return t;
}

static void test_fifty_steps(void **state) {
  (void)state;
  for (int cell = 0; cell < gk_cell_count(); cell++) {
    gk_optimizer_kind kind = (gk_optimizer_kind)(cell % 3);
    struct buffers wanted_buffers = {0};
    struct training wanted = make_training((gk_cell)cell, kind, tiers[0], plans[0]);
    if (!case_wanted(__func__))
      continue;
    train(&wanted_buffers, &wanted);
    if (!(wanted.loss[STEPS - 1] < 0.95 * wanted.loss[0])) /* the weights moved */
      fail_case(&wanted.c, "loss goes from %g to %g: nothing learned", wanted.loss[0],
                wanted.loss[STEPS - 1]);
    for (int i = 0; i < tier_count; i++)
      for (int p = 0; p < 5; p++) {
        struct buffers buffers = {0};
        struct training got = make_training((gk_cell)cell, kind, tiers[i], plans[p]);
        train(&buffers, &got);
        for (int step = 0; step < STEPS; step++)
          if (memcmp(&got.loss[step], &wanted.loss[step], sizeof(double)) != 0)
            fail_case(&got.c, "loss of step %d is %a, wanted %a", step, got.loss[step], wanted.loss[step]);
        check_bits(&got.c, "after 50 steps", "parameters", got.parameters, got.p, wanted.p);
        check_bits(&got.c, "after 50 steps", "output parameters", got.output_parameters, got.q, wanted.q);
        buffers_release(&buffers);
      }
    buffers_release(&wanted_buffers);
  }
}

/* ---- The canonical order by plain loops ------------------------------------------------------ */

/* y += sum of a[k * a_stride] * b[k * b_stride] in the canonical order. */
static float canonical_sum(float y, int64_t count, const float *a, int64_t a_stride, const float *b,
                           int64_t b_stride) {
  for (int64_t begin = 0; begin < count; begin += GK_SUM_BLOCK) {
    float acc = 0;
    for (int64_t k = begin; k < count && k < begin + GK_SUM_BLOCK; k++)
      acc = fmaf(a[k * a_stride], b[k * b_stride], acc);
    y = y + acc;
  }
  return y;
}

/* What stands in memory: magnitudes below 2^-95 are +0. */
static float stored(float x) {
  return fabsf(x) < 0x1p-95f ? 0 : x;
}

static void test_logits_in_canonical_order(void **state) {
  (void)state;
  enum { ROWS = 5, HIDDEN = 600, CLASSES = 21 };
  for (int tier = 0; tier < tier_count; tier++) {
    struct buffers b = {0};
    struct network_case c = {.desc = GK_RNN_DESC_INIT, .seed = 9}; /* names the tier if it fails */
    c.desc.isa = tiers[tier];
    if (!case_wanted(__func__))
      continue;
    gk_output_desc desc = GK_OUTPUT_DESC_INIT;
    desc.input_size = HIDDEN;
    desc.output_size = CLASSES;
    desc.isa = tiers[tier];
    desc.threads = 2;
    gk_output *output;
    size_t packed_bytes, workspace_bytes;
    check_status(&c, gk_output_create(&desc, &output), "gk_output_create");
    check_status(&c, gk_output_packed_bytes(output, GK_PACK_FORWARD, &packed_bytes),
                 "gk_output_packed_bytes");
    check_status(&c, gk_output_workspace_bytes(output, ROWS, &workspace_bytes), "gk_output_workspace_bytes");
    void *packed = buffers_take(&b, packed_bytes, 1), *workspace = buffers_take(&b, workspace_bytes, 1);
    float *p = take_random(&b, 1, 0.3f, CLASSES * HIDDEN + CLASSES),
          *h = take_random(&b, 2, 1, ROWS * HIDDEN);
    float *logits = take_floats(&b, ROWS * CLASSES), *wanted = take_floats(&b, ROWS * CLASSES);
    check_status(&c, gk_output_pack(output, GK_PACK_FORWARD, p, packed), "gk_output_pack");
    check_status(&c, gk_output_forward(output, ROWS, h, packed, logits, workspace), "gk_output_forward");
    for (int r = 0; r < ROWS; r++)
      for (int v = 0; v < CLASSES; v++)
        wanted[r * CLASSES + v] =
            canonical_sum(p[CLASSES * HIDDEN + v], HIDDEN, h + r * HIDDEN, 1, p + v * HIDDEN, 1);
    check_bits(&c, "canonical order", "logits", ROWS * CLASSES, logits, wanted);
    gk_output_destroy(output);
    buffers_release(&b);
  }
}

/* One layer of ReLU units, whose arithmetic outside the products is exact, forward and backward. */
enum { RELU_I = 300, RELU_H = 270, RELU_T = 5, RELU_N = 67 };
static const int64_t relu_lengths[3] = {5, 2, 4}; /* of sample n: [n % 3] */

struct relu {
  const float *w_ih, *w_hh, *b_ih, *b_hh; /* in the parameters */
  float *h;                               /* (T+1, N, H): h[0] is h0 */
  float *da;                              /* (T, N, H) */
  float *y, *dx, *dh0, *dw_ih, *dw_hh, *db;
};

static void relu_forward(const struct network_data *d, const struct relu *r) {
  int64_t state = (int64_t)RELU_N * RELU_H;
  memcpy(r->h, d->h0, (size_t)state * sizeof(float));
  for (int64_t t = 0; t < RELU_T; t++)
    for (int64_t n = 0; n < RELU_N; n++)
      for (int64_t j = 0; j < RELU_H; j++) {
        float *h = r->h + (t + 1) * state + n * RELU_H + j;
        bool exists = t < d->lengths[n];
        float a = r->b_ih[j] + r->b_hh[j];
        a = canonical_sum(a, RELU_I, d->x + (t * RELU_N + n) * RELU_I, 1, r->w_ih + j * RELU_I, 1);
        a = canonical_sum(a, RELU_H, r->h + t * state + n * RELU_H, 1, r->w_hh + j * RELU_H, 1);
        *h = exists ? stored(a > 0 ? a : 0) : 0;
        r->y[(t * RELU_N + n) * RELU_H + j] = *h;
      }
}

static void relu_backward(const struct network_data *d, const struct relu *r) {
  int64_t state = (int64_t)RELU_N * RELU_H;
  memcpy(r->dh0, d->dhn, (size_t)state * sizeof(float));
  for (int64_t t = RELU_T - 1; t >= 0; t--)
    for (int64_t n = 0; n < RELU_N; n++) {
      float *da = r->da + t * state + n * RELU_H, *dh = r->dh0 + n * RELU_H;
      float *dx = r->dx + (t * RELU_N + n) * RELU_I;
      memset(dx, 0, RELU_I * sizeof(float));
      if (t >= d->lengths[n])
        continue;
      for (int64_t j = 0; j < RELU_H; j++) {
        float sum = d->dy[(t * RELU_N + n) * RELU_H + j] + dh[j];
        da[j] = stored(r->h[(t + 1) * state + n * RELU_H + j] > 0 ? sum : 0);
      }
      for (int64_t i = 0; i < RELU_H; i++)
        dh[i] = canonical_sum(0, RELU_H, da, 1, r->w_hh + i, RELU_H);
      for (int64_t i = 0; i < RELU_I; i++)
        dx[i] = canonical_sum(0, RELU_H, da, 1, r->w_ih + i, RELU_I);
    }
}

/* The (t, sample) pairs that exist as the backward sweep visits them, longest sample first. */
static int64_t relu_pairs(const struct network_data *d, int64_t (*pairs)[2]) {
  int64_t count = 0;
  for (int64_t t = RELU_T - 1; t >= 0; t--)
    for (int64_t length = RELU_T; length > t; length--)
      for (int64_t n = 0; n < RELU_N; n++)
        if (d->lengths[n] == length) {
          pairs[count][0] = t;
          pairs[count++][1] = n;
        }
  return count;
}

static void relu_weight_gradients(struct buffers *b, const struct network_data *d, const struct relu *r) {
  int64_t state = (int64_t)RELU_N * RELU_H;
  int64_t(*pairs)[2] = buffers_take(b, sizeof(int64_t[RELU_T * RELU_N][2]), sizeof(int64_t));
  int64_t count = relu_pairs(d, pairs);
  float *column = take_floats(b, count), *row = take_floats(b, count), *ones = take_floats(b, count);
  for (int64_t j = 0; j < RELU_H; j++) {
    for (int64_t k = 0; k < count; k++) {
      column[k] = r->da[pairs[k][0] * state + pairs[k][1] * RELU_H + j];
      ones[k] = 1;
    }
    r->db[j] = canonical_sum(0, count, column, 1, ones, 1);
    for (int64_t i = 0; i < RELU_I; i++) {
      for (int64_t k = 0; k < count; k++)
        row[k] = d->x[(pairs[k][0] * RELU_N + pairs[k][1]) * RELU_I + i];
      r->dw_ih[j * RELU_I + i] = canonical_sum(0, count, column, 1, row, 1);
    }
    for (int64_t i = 0; i < RELU_H; i++) {
      for (int64_t k = 0; k < count; k++)
        row[k] = r->h[pairs[k][0] * state + pairs[k][1] * RELU_H + i];
      r->dw_hh[j * RELU_H + i] = canonical_sum(0, count, column, 1, row, 1);
    }
  }
}

static void test_network_in_canonical_order(void **state) {
  (void)state;
  struct buffers b = {0};
  struct network_case c = {
      .desc = GK_RNN_DESC_INIT, .time = RELU_T, .batch = RELU_N, .states = true, .ragged = true, .seed = 12};
  c.desc.cell = GK_CELL_RNN;
  c.desc.activation = GK_ACTIVATION_RELU;
  c.desc.input_size = RELU_I;
  c.desc.hidden_size = RELU_H;
  c.desc.threads = 2;
  int64_t rows = (int64_t)RELU_T * RELU_N, state_count = (int64_t)RELU_N * RELU_H;
  struct network_data d = take_data(&b, &c);
  for (int64_t n = 0; n < RELU_N; n++)
    d.lengths[n] = relu_lengths[n % 3];
  struct gk_reference_layout at = gk_reference_layout_of(&c.desc, 0, 0);
  struct network_results wanted = take_results(&b, &c);
  struct relu r = {.w_ih = d.parameters + at.weight_ih,
                   .w_hh = d.parameters + at.weight_hh,
                   .b_ih = d.parameters + at.bias_ih,
                   .b_hh = d.parameters + at.bias_hh,
                   .h = take_floats(&b, state_count * (RELU_T + 1)),
                   .da = take_floats(&b, rows * RELU_H),
                   .y = wanted.y,
                   .dx = wanted.dx,
                   .dh0 = wanted.dh0,
                   .dw_ih = wanted.gradients + at.weight_ih,
                   .dw_hh = wanted.gradients + at.weight_hh,
                   .db = wanted.gradients + at.bias_ih};
  relu_forward(&d, &r);
  relu_backward(&d, &r);
  relu_weight_gradients(&b, &d, &r);
  memcpy(wanted.gradients + at.bias_hh, r.db, RELU_H * sizeof(float));
  for (int64_t n = 0; n < RELU_N; n++)
    memcpy(wanted.hn + n * RELU_H, r.h + d.lengths[n] * state_count + n * RELU_H, RELU_H * sizeof(float));
  for (int tier = 0; tier < tier_count; tier++)
    for (int schedule = GK_SCHEDULE_SLICES; schedule <= GK_SCHEDULE_TEAMS; schedule++) {
      struct buffers buffers = {0};
      c.desc.isa = tiers[tier];
      c.desc.schedule = (gk_schedule)schedule;
      if (!case_wanted(__func__))
        continue;
      struct network_results got = run_case(&buffers, &c, &d);
      check_same_results(&c, "canonical order", &got, &wanted);
      buffers_release(&buffers);
    }
  buffers_release(&b);
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  tier_count = usable_tiers(tiers);
  if (tier_count == 0) {
    print_error("no usable tier: nothing would be tested\n");
    return 1;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_logits_in_canonical_order),
      cmocka_unit_test(test_network_in_canonical_order),
      cmocka_unit_test(test_plans),
      cmocka_unit_test(test_fifty_steps),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
