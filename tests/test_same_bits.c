/* SPDX-License-Identifier: Apache-2.0
 *
 * ctest labels: edges same-bits
 *
 * The same bits for every instruction set, any number of threads and every schedule; also of weights after
 * fifty optimizer steps. Kept small: this file also runs emulated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/network_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* ---- Tiers, threads, schedules --------------------------------------------------------------- */

struct plan {
  int threads;
  gk_schedule schedule;
};
static const struct plan plans[] = {
    {1, GK_SCHEDULE_SLICES},    {4, GK_SCHEDULE_SLICES}, {2, GK_SCHEDULE_SLICES}, {3, GK_SCHEDULE_TEAMS},
    {5, GK_SCHEDULE_SLICES},    {8, GK_SCHEDULE_TEAMS},  {2, GK_SCHEDULE_TEAMS},  {3, GK_SCHEDULE_SLICES},
    {5, GK_SCHEDULE_TEAMS},     {8, GK_SCHEDULE_SLICES}, {3, GK_SCHEDULE_AUTO},   {2, GK_SCHEDULE_WAVEFRONT},
    {3, GK_SCHEDULE_WAVEFRONT},
};
enum { PLANS = sizeof plans / sizeof *plans, WAVEFRONTS = 2 }; /* the last ones */

/* The weakest tier on one thread, then every tier with `count` of the plans against it, from `first` on. */
static void check_some_plans(struct network_case *c, int first, int count) {
  struct buffers data_buffers = {0};
  c->desc.isa = tiers[0];
  c->desc.threads = 1;
  c->desc.schedule = GK_SCHEDULE_SLICES;
  c->unpacked = 0;
  c->gates_turned = c->uneven = false;
  struct network_data d = take_data(&data_buffers, c);
  struct network_results wanted = run_case(&data_buffers, c, &d);
  for (int i = 0; i < tier_count; i++)
    for (int p = first + (i == 0 && first == 0); p < first + count; p++) {
      struct buffers buffers = {0};
      char what[64];
      c->desc.isa = tiers[i];
      c->desc.threads = plans[p].threads;
      c->desc.schedule = plans[p].schedule;
      c->unpacked = (unsigned)(i + p) % 4;
      c->gates_turned = p / 2 % 2;
      c->uneven = (i + p) % 3;
      snprintf(what, sizeof what, "against %s on one thread", gk_isa_name(tiers[0]));
      struct network_results got = run_case(&buffers, c, &d);
      check_same_results(c, what, &got, &wanted);
      buffers_release(&buffers);
    }
  buffers_release(&data_buffers);
}

static void check_plans(struct network_case *c) {
  check_some_plans(c, 0, PLANS);
}

/* Shapes that cross tiles, vectors and blocks of GK_SUM_BLOCK: I, H, L, V, T, N. */
static const struct {
  int64_t input, hidden, layers, vocabulary, time, batch;
  gk_direction direction;
  gk_layout layout;
  bool ragged;
  float dropout;
  bool masks;
} shapes[] = {
    {1, 1, 1, 0, 1, 1, GK_FORWARD, GK_TIME_MAJOR, false, 0, false},
    {5, 3, 1, 0, 3, 2, GK_FORWARD, GK_BATCH_FIRST, false, 0, false},
    {17, 19, 2, 0, 5, 7, GK_BIDIRECTIONAL, GK_TIME_MAJOR, true, 0, false},
    {33, 40, 1, 0, 4, 13, GK_REVERSE, GK_BATCH_FIRST, true, 0, false},
    {9, 23, 3, 0, 6, 5, GK_FORWARD, GK_TIME_MAJOR, true, 0.4f, false},
    {12, 31, 2, 20, 9, 6, GK_FORWARD, GK_BATCH_FIRST, true, 0, false},
    {270, 9, 1, 0, 3, 3, GK_FORWARD, GK_TIME_MAJOR, false, 0, false},
    {7, 261, 1, 0, 2, 2, GK_FORWARD, GK_TIME_MAJOR, false, 0, false},
    {6, 8, 1, 0, 30, 20, GK_FORWARD, GK_TIME_MAJOR, true, 0, false},
    {11, 37, 2, 0, 5, 6, GK_FORWARD, GK_TIME_MAJOR, true, 0, true},
    {13, 21, 2, 0, 4, 7, GK_BIDIRECTIONAL, GK_BATCH_FIRST, true, 0, true},
    {9, 62, 1, 17, 3, 5, GK_REVERSE, GK_TIME_MAJOR, false, 0, true},
    {5, 203, 1, 0, 2, 34, GK_FORWARD, GK_TIME_MAJOR, false, 0,
     false}, /* teams' strips begin inside a panel */
    /* round the ring of gradients, with saved rows past the caches where they begin lines */
    {5, 70, 1, 0, 52, 52, GK_FORWARD, GK_TIME_MAJOR, false, 0, false},
    {4, 64, 2, 700, 45, 31, GK_FORWARD, GK_TIME_MAJOR, true, 0, false},
    {4, 34, 1, 0, 45, 30, GK_BIDIRECTIONAL, GK_TIME_MAJOR, true, 0, false},
    /* enough samples of one length for threads that are not equally fast */
    {10, 18, 1, 0, 3, 17, GK_BIDIRECTIONAL, GK_BATCH_FIRST, false, 0, false},
    {7, 18, 2, 11, 3, 25, GK_FORWARD, GK_TIME_MAJOR, false, 0.3f, true},
};

static void every_tier_and_plan_has_the_same_bits(void **state) {
  (void)state;
  for (int kind = 0; kind <= gk_cell_count(); kind++) /* the last one: rnn with ReLU */
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
      struct network_case c = {.desc = GK_RNN_DESC_INIT,
                               .time = shapes[i].time,
                               .batch = shapes[i].batch,
                               .ragged = shapes[i].ragged,
                               .resets = i % 4 == 2,
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
      c.desc.dropout_masks = (gk_dropout_masks)(i % 2);
      if (shapes[i].masks)
        add_all_masks(&c);
      const bool round_the_ring =
          c.time * c.batch > 1000; /* slow under emulation, and the same for all cells */
      if (round_the_ring && kind != GK_CELL_LSTM)
        continue;
      if (case_wanted(__func__))
        check_some_plans(&c, 0, round_the_ring ? 5 : PLANS);
      c.desc.math = GK_MATH_SLEEF;
      if (i == 2 && case_wanted(__func__))
        check_plans(&c);
    }
}

/* Every option of cells: one shape with all that a network can have, and for some one of long sums. */
static void every_option_of_cells_has_the_same_bits(void **state) {
  (void)state;
  for (int kind = 0; kind < CELL_VARIANTS; kind++)
    for (int i = 0; i <= (kind % 4 == 3); i++) {
      struct network_case c = {.desc = GK_RNN_DESC_INIT,
                               .time = i ? 20 : 5,
                               .batch = i ? 17 : 7,
                               .ragged = !i,
                               .resets = !i,
                               .states = true,
                               .seed = 400 + (uint64_t)i};
      c.desc.cell = cell_variants[kind].cell;
      c.desc.input_size = i ? 3 : 17;
      c.desc.hidden_size = i ? 7 : 19;
      c.desc.layers = i ? 1 : 2;
      c.desc.direction = i && !needs_two_directions(&cell_variants[kind]) ? GK_FORWARD : GK_BIDIRECTIONAL;
      c.desc.vocabulary = kind % 4 == 1 ? 12 : 0;
      check_status(&c, gk_rnn_options_set(&c.desc, cell_variants[kind].options), "gk_rnn_options_set");
      if (kind % 4 == 2)
        add_all_masks(&c);
      if (case_wanted(__func__))
        check_some_plans(&c, 0, 3);
    }
}

/* ---- Fifty optimizer steps ------------------------------------------------------------------- */

enum { STEPS = 50, TRAIN_V = 11, TRAIN_H = 10, MAX_ROWS = 300 };

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
  check_status(c, gk_output_workspace_bytes(m.output, c->time * c->batch, &workspace),
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
  const unsigned flags = GK_PACK_FORWARD | GK_PACK_BACKWARD, some = (unsigned)step % 4;
  int32_t targets[MAX_ROWS];
  const int64_t rows = c->time * c->batch;
  for (int64_t i = 0; i < rows; i++) {
    m->data.tokens[i] = (int32_t)random_integer(c->seed + (uint64_t)step, (uint64_t)i, TRAIN_V);
    targets[i] = i % 7 == 3 ? -1 : (m->data.tokens[i] * 3 + 1) % TRAIN_V;
  }
  check_status(c, gk_rnn_pack(m->net.rnn, some, t->p, m->net.packed), "gk_rnn_pack");
  check_status(c, gk_output_pack(m->output, flags, t->q, m->packed), "gk_output_pack");
  gk_rnn_forward_args forward = forward_args(&m->net, &m->data, &m->r);
  gk_rnn_backward_args backward = backward_args(&m->net, &m->data, &m->r);
  forward.random.step = backward.random.step = (uint64_t)step;
  check_status(c, gk_rnn_forward(m->net.rnn, &forward), "gk_rnn_forward");
  gk_output_loss_args loss = GK_OUTPUT_LOSS_ARGS_INIT;
  loss.rows = rows;
  loss.h = m->r.y;
  loss.targets = targets;
  loss.packed = m->packed;
  loss.loss = &t->loss[step - 1];
  loss.gradient_scale = 1 / (float)rows;
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
  struct training t = {.c = {.desc = GK_RNN_DESC_INIT, .time = 6, .batch = 5, .seed = 77},
                       .optimizer = GK_OPTIMIZER_DESC_INIT};
  if (cell == GK_CELL_RNN)
    t.c.batch = 50; /* more rows than a block of GK_SUM_BLOCK */
  t.c.desc.cell = cell;
  t.c.desc.input_size = 7;
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

/* Every other one for each tier but the strongest, which has all: six sequences of steps are what emulation
 * has time for. GATEKERN_TEST_FULL=1: all for each tier. */
static const struct plan training_plans[] = {
    {1, GK_SCHEDULE_SLICES}, {2, GK_SCHEDULE_TEAMS}, {5, GK_SCHEDULE_TEAMS},     {3, GK_SCHEDULE_SLICES},
    {8, GK_SCHEDULE_SLICES}, {8, GK_SCHEDULE_TEAMS}, {2, GK_SCHEDULE_WAVEFRONT},
};
enum { TRAINING_PLANS = sizeof training_plans / sizeof *training_plans };

static bool training_plan_wanted(int tier, int plan) {
  return tier == tier_count - 1 || (tier + plan) % 2 == 1 || getenv("GATEKERN_TEST_FULL");
}

static void fifty_steps_of_training_have_the_same_bits(void **state) {
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
      for (int p = 0; p < TRAINING_PLANS; p++) {
        if (!training_plan_wanted(i, p))
          continue;
        struct buffers buffers = {0};
        struct training got = make_training((gk_cell)cell, kind, tiers[i], training_plans[p]);
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

/* Gradients that wait in a wavefront go round their ring, blocks of the sum end within chunks. */
static void wavefronts_round_the_ring_have_the_same_bits(void **state) {
  (void)state;
  for (int ragged = 0; ragged < 2; ragged++)
    for (int64_t layers = 2; layers < 5; layers++) {
      struct network_case c = {
          .desc = GK_RNN_DESC_INIT, .time = 5, .batch = 500, .ragged = ragged, .states = true, .seed = 77};
      c.desc.cell = layers == 3 ? GK_CELL_GRU_RESET_BEFORE : GK_CELL_LSTM;
      c.desc.input_size = 5;
      c.desc.hidden_size = 7;
      c.desc.layers = layers;
      c.desc.vocabulary = layers == 4 ? 11 : 0;
      if (case_wanted(__func__))
        check_some_plans(&c, PLANS - WAVEFRONTS, WAVEFRONTS);
    }
}

/* So many rows that they are saved past the caches, with vectors that begin no line of it: plain arithmetic's
 * when a step is finished. On one lane, what all are compared with, no vector does. */
static void check_saved_rows(struct network_case *c) {
  enum { BATCH = 61, BYTES = 4500000 };
  gk_rnn *rnn;
  gk_rnn_memory step;
  c->batch = BATCH;
  c->states = true;
  check_status(c, gk_rnn_create(&c->desc, &rnn), "gk_rnn_create");
  check_status(c, gk_rnn_memory_needed(rnn, 1, BATCH, &step), "gk_rnn_memory_needed");
  gk_rnn_destroy(rnn);
  c->time = 1 + BYTES / (int64_t)step.reserve_bytes;
  if (case_wanted("rows_saved_past_the_caches_have_the_same_bits"))
    check_some_plans(c, 2, 2);
}

static void rows_saved_past_the_caches_have_the_same_bits(void **state) {
  static const struct {
    gk_cell cell;
    const char *options;
    int64_t layers, hidden;
  } others[] = {
      {GK_CELL_LSTM, NULL, 1, 203}, /* so large that threads of a team share the units */
      {GK_CELL_GRU_RESET_BEFORE, NULL, 1, 203},
      {GK_CELL_LSTM, "projection-size=5", 1, 19},
      {GK_CELL_LSTM, "direction=bidirectional", 2, 19},
      {GK_CELL_LSTM, "output-activation=softsign gate-activation=hard-sigmoid", 1, 19}, /* saved as x */
      {GK_CELL_GRU_RESET_BEFORE, "preactivation-clip=0.5 gate-activation=softsign", 1, 19},
      {GK_CELL_MGU, "gate-activation=softsign", 1, 19},
      {GK_CELL_LSTM, "layer-norm=on", 1, 19},
  };
  (void)state;
  for (int kind = 0; kind < gk_cell_count(); kind++)
    for (int masks = 0; masks < 2; masks++) {
      struct network_case c = {.desc = GK_RNN_DESC_INIT, .seed = 800};
      c.desc.cell = (gk_cell)kind;
      c.desc.input_size = 3;
      c.desc.hidden_size = 19;
      if (masks)
        add_all_masks(&c);
      check_saved_rows(&c);
    }
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    struct network_case c = {.desc = GK_RNN_DESC_INIT, .seed = 900};
    c.desc.cell = others[i].cell;
    c.desc.input_size = 3;
    c.desc.hidden_size = others[i].hidden;
    c.desc.layers = others[i].layers;
    check_status(&c, gk_rnn_options_set(&c.desc, others[i].options), "gk_rnn_options_set");
    check_saved_rows(&c);
  }
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_tier_and_plan_has_the_same_bits),
      cmocka_unit_test(every_option_of_cells_has_the_same_bits),
      cmocka_unit_test(wavefronts_round_the_ring_have_the_same_bits),
      cmocka_unit_test(rows_saved_past_the_caches_have_the_same_bits),
      cmocka_unit_test(fifty_steps_of_training_have_the_same_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
