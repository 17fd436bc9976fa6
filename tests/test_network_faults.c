/* SPDX-License-Identifier: Apache-2.0
 *
 * ctest labels: edges
 *
 * Networks where something is odd but allowed: nothing to do, NaN and infinity, buffers at any address and
 * between protected pages, the caller's floating-point environment, many threads at one plan. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fenv.h>
#include <pthread.h>

#include "tests/float_controls.h"
#include "tests/network_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

static struct network_case small_case(gk_isa isa, gk_cell cell, uint64_t seed) {
  struct network_case c = {.desc = GK_RNN_DESC_INIT, .time = 5, .batch = 4, .states = true, .seed = seed};
  c.desc.isa = isa;
  c.desc.cell = cell;
  c.desc.input_size = 7;
  c.desc.hidden_size = 19;
  c.desc.layers = 2;
  c.desc.threads = 2;
  c.desc.schedule = cell % 2 ? GK_SCHEDULE_TEAMS : GK_SCHEDULE_SLICES;
  return c;
}

/* Plain cells with vectors and with tokens; of the other kinds (cell_variants.h) each tier has one of these,
 * some with masks. */
static void for_each_case(const char *test, void (*check)(struct network_case *c)) {
  for (int tier = 0; tier < tier_count; tier++)
    for (int kind = 0; kind < network_kinds_of_both_directions(); kind++)
      for (int tokens = 0; tokens < 2; tokens++) {
        const bool plain = kind < gk_cell_count();
        struct network_case c = small_case(tiers[tier], (gk_cell)(kind % 2), 500 + (uint64_t)kind);
        c.desc.vocabulary = tokens ? 6 : 0;
        c.desc.direction = tokens ? GK_FORWARD : GK_BIDIRECTIONAL;
        set_kind(&c, kind);
        if (!plain && kind % 3 == 0) {
          add_all_masks(&c);
          c.desc.weight_dropout = 0; /* which is a matter of packing */
        }
        const bool wanted = plain || (tier + kind) % 2 == tokens;
        if (wanted && case_wanted(test))
          check(&c);
      }
}

/* ---- Nothing to do --------------------------------------------------------------------------- */

/* No step exists: final states are the initial ones, their gradients pass through, the rest is zeros. */
static void check_empty(struct network_case *c, int64_t time, int64_t batch, bool lengths) {
  struct buffers b = {0};
  c->time = time;
  c->batch = batch;
  c->ragged = lengths;
  struct network_data d = take_data(&b, c);
  for (int64_t n = 0; n < batch && lengths; n++)
    d.lengths[n] = 0;
  struct network_sizes s = sizes_of(c);
  struct network_results got = run_case(&b, c, &d), wanted = take_results(&b, c);
  memset(wanted.y, 0, (size_t)s.outputs * sizeof(float));
  memset(wanted.gradients, 0, (size_t)s.parameters * sizeof(float));
  memset(wanted.dh_norms, 0, (size_t)s.norms * sizeof(float));
  if (wanted.dx)
    memset(wanted.dx, 0, (size_t)s.inputs * sizeof(float));
  wanted.hn = d.h0;
  wanted.cn = d.c0;
  wanted.dh0 = d.dhn;
  wanted.dc0 = d.dcn;
  char what[64];
  snprintf(what, sizeof what, "T %d, N %d, %s", (int)time, (int)batch, lengths ? "lengths 0" : "no lengths");
  check_same_results(c, what, &got, &wanted);
  if (d.tokens && time * batch == 0) { /* no token exists, so that none need be given */
    d.tokens = NULL;
    got = run_case(&b, c, &d);
    check_same_results(c, "tokens NULL", &got, &wanted);
  }

  /* Without states everything is zero; accumulating adds nothing. */
  d.h0 = d.c0 = d.dhn = d.dcn = NULL;
  memset(got.hn, 0xff, (size_t)s.states * sizeof(float));
  memset(got.dh0, 0xff, (size_t)s.states * sizeof(float));
  random_floats(1, 1, s.parameters, got.gradients);
  random_floats(1, 1, s.parameters, wanted.gradients);
  struct network net = open_network(&b, c, d.parameters);
  gk_rnn_forward_args forward = forward_args(&net, &d, &got);
  gk_rnn_backward_args backward = backward_args(&net, &d, &got);
  backward.accumulate = true;
  check_status(c, gk_rnn_forward(net.rnn, &forward), "gk_rnn_forward");
  check_status(c, gk_rnn_backward(net.rnn, &backward), "gk_rnn_backward");
  close_network(&net);
  const int64_t most = s.states > s.cells ? s.states : s.cells;
  float *zeros = memset(take_floats(&b, most), 0, (size_t)most * sizeof(float));
  wanted.hn = wanted.dh0 = zeros;
  wanted.cn = wanted.dc0 = has_memory(c) ? zeros : NULL;
  check_same_results(c, what, &got, &wanted);
  buffers_release(&b);
}

static void check_all_empty(struct network_case *c) {
  check_empty(c, 0, 4, false);
  check_empty(c, 5, 0, false);
  check_empty(c, 0, 0, false);
  check_empty(c, 5, 4, true);
  check_empty(c, 0, 4, true);
}

static void an_empty_call_hands_its_states_on(void **state) {
  (void)state;
  for_each_case(__func__, check_all_empty);
}

/* ---- NaN and infinity ------------------------------------------------------------------------ */

/* Padding of x, dy (NaN) and tokens (not a token) is not read: the bits are those of padding with zeros. */
static void check_padding(struct network_case *c) {
  struct buffers b = {0};
  c->ragged = true;
  struct network_data clean = take_data(&b, c), dirty = take_data(&b, c);
  int64_t width = sizes_of(c).width;
  for (int64_t n = 0; n < c->batch; n++)
    for (int64_t t = clean.lengths[n]; t < c->time; t++) {
      int64_t row = row_of(c, t, n);
      for (int64_t i = 0; i < width; i++) {
        clean.dy[row * width + i] = 0;
        dirty.dy[row * width + i] = i % 2 ? NAN : INFINITY;
      }
      for (int64_t i = 0; i < c->desc.input_size && clean.x; i++) {
        clean.x[row * c->desc.input_size + i] = 0;
        dirty.x[row * c->desc.input_size + i] = i % 2 ? INFINITY : NAN;
      }
      if (clean.tokens) {
        clean.tokens[row] = 0;
        dirty.tokens[row] = INT32_MIN;
      }
    }
  struct network_results wanted = run_case(&b, c, &clean), got = run_case(&b, c, &dirty);
  check_same_results(c, "NaN in padding", &got, &wanted);
  buffers_release(&b);
}

static void padding_is_not_read(void **state) {
  (void)state;
  for_each_case(__func__, check_padding);
}

/* What belongs to other samples than `poisoned` has the same bits. */
static void check_other_samples(const struct network_case *c, const char *what, int64_t poisoned,
                                const struct network_results *got, const struct network_results *wanted) {
  struct network_sizes s = sizes_of(c);
  int64_t I = c->desc.input_size;
  for (int64_t n = 0; n < c->batch; n++) {
    if (n == poisoned)
      continue;
    for (int64_t t = 0; t < c->time; t++) {
      int64_t row = row_of(c, t, n);
      check_bits(c, what, "y of another sample", s.width, got->y + row * s.width, wanted->y + row * s.width);
      if (got->dx)
        check_bits(c, what, "dx of another sample", I, got->dx + row * I, wanted->dx + row * I);
    }
    const float *a[] = {got->hn, got->cn, got->dh0, got->dc0};
    const float *z[] = {wanted->hn, wanted->cn, wanted->dh0, wanted->dc0};
    static const char *const names[] = {"hn of another sample", "cn of another sample",
                                        "dh0 of another sample", "dc0 of another sample"};
    for (int k = 0; k < 4; k++)
      for (int64_t l = 0, H = k % 2 ? c_size(c) : h_size(c); l < c->desc.layers * s.directions && a[k]; l++)
        check_bits(c, what, names[k], H, a[k] + (l * c->batch + n) * H, z[k] + (l * c->batch + n) * H);
  }
}

static bool any_nan(const float *values, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    if (isnan(values[i]))
      return true;
  return false;
}

/* A NaN, an infinity or the largest number in one input of sample 2 stays with sample 2, and where NaNs stand
 * is the same on every tier. */
static void check_poison(struct network_case *c) {
  struct buffers b = {0};
  struct network_data d = take_data(&b, c);
  struct network_results clean = run_case(&b, c, &d);
  int64_t width = sizes_of(c).width, H = h_size(c);
  static const float poisons[] = {NAN, INFINITY, -INFINITY, 3e38f};
  float *places[] = {d.x ? d.x + row_of(c, 2, 2) * c->desc.input_size + 1 : NULL, d.h0 + 2 * H + 3,
                     d.c0 ? d.c0 + 2 * c_size(c) + 3 : NULL, d.dy + row_of(c, 3, 2) * width + 2,
                     d.dhn + 2 * H};
  for (int place = 0; place < 5; place++)
    for (int k = 0; k < 4 && places[place]; k++) {
      struct buffers run_buffers = {0};
      char what[64];
      snprintf(what, sizeof what, "%g in %s", (double)poisons[k],
               (const char *[]){"x", "h0", "c0", "dy", "dhn"}[place]);
      float old = *places[place];
      c->desc.threads = k == 0 ? 2 : 1;
      *places[place] = poisons[k];
      struct network_results got = run_case(&run_buffers, c, &d);
      check_other_samples(c, what, 2, &got, &clean);
      const bool whole = c->desc.recurrent_dropout == 0; /* a mask may drop it */
      if (whole && isnan(poisons[k]) && place < 2 && !any_nan(got.hn, sizes_of(c).states))
        fail_case(c, "%s: no NaN arrives in hn", what);
      if (whole && isnan(poisons[k]) && !any_nan(got.gradients, sizes_of(c).parameters))
        fail_case(c, "%s: no NaN arrives in the gradients", what);
      struct network_case weakest = *c;
      weakest.desc.isa = tiers[0];
      weakest.desc.threads = 1;
      struct network_results wanted = run_case(&run_buffers, &weakest, &d);
      check_same_results(c, what, &got, &wanted);
      *places[place] = old;
      buffers_release(&run_buffers);
    }
  buffers_release(&b);
}

static void poison_stays_in_its_row(void **state) {
  (void)state;
  for_each_case(__func__, check_poison);
}

/* A sample of length 0 with NaN states and all of its inputs NaN touches nothing but its own states. */
static void check_poisoned_empty_sample(struct network_case *c) {
  struct buffers b = {0};
  c->ragged = true; /* sample 1 has length 0 */
  struct network_data d = take_data(&b, c);
  struct network_results wanted = run_case(&b, c, &d);
  int64_t parts = c->desc.layers * sizes_of(c).directions;
  float *states[] = {d.h0, d.c0, d.dhn, d.dcn};
  for (int k = 0; k < 4; k++)
    for (int64_t l = 0, H = k % 2 ? c_size(c) : h_size(c); l < parts && states[k]; l++)
      for (int64_t j = 0; j < H; j++)
        states[k][(l * c->batch + 1) * H + j] = NAN;
  struct network_results got = run_case(&b, c, &d);
  check_other_samples(c, "NaN states of an empty sample", 1, &got, &wanted);
  check_bits(c, "NaN states of an empty sample", "gradients", sizes_of(c).parameters, got.gradients,
             wanted.gradients);
  assert_true(isnan(got.hn[h_size(c)]) && isnan(got.dh0[h_size(c)]));
  buffers_release(&b);
}

static void a_poisoned_empty_sample_touches_no_other(void **state) {
  (void)state;
  for_each_case(__func__, check_poisoned_empty_sample);
}

/* ---- Addresses ------------------------------------------------------------------------------- */

static void check_placement(struct network_case *c, struct placement placement, const char *what) {
  struct buffers plain = {0}, placed = {.placement = placement};
  c->ragged = true;
  struct network_data d = take_data(&plain, c), e = take_data(&placed, c);
  struct network_results wanted = run_case(&plain, c, &d), got = run_case(&placed, c, &e);
  check_same_results(c, what, &got, &wanted);
  buffers_release(&placed);
  buffers_release(&plain);
}

static bool has_options(const struct network_case *c) {
  char text[200];
  describe_options(&c->desc, text, sizeof text);
  return text[0] || c->desc.projection_size > 0;
}

/* Floats at every multiple of 4, packed parameters, reserve and workspaces at every byte. */
static void check_offsets(struct network_case *c) {
  for (size_t offset = 1; offset < 64; offset += has_options(c) ? 31 : c->desc.cell == GK_CELL_LSTM ? 1 : 9) {
    char what[64];
    c->desc.threads = offset % 9 == 1 ? 2 : 1;
    snprintf(what, sizeof what, "every buffer %zu bytes off a boundary of 64", offset);
    check_placement(c, (struct placement){.kind = PLACE_HEAP, .offset = offset}, what);
  }
}

static void misaligned_buffers_change_nothing(void **state) {
  (void)state;
  for_each_case(__func__, check_offsets);
}

/* An access past an end of any buffer faults. */
static void check_pages(struct network_case *c) {
  static const int64_t hidden[] = {1, 8, 16, 19, 37};
  for (size_t i = has_options(c) ? 2 : 0; i < sizeof hidden / sizeof *hidden; i++) {
    c->desc.hidden_size = hidden[i];
    c->desc.input_size = 1 + 6 * (int64_t)i;
    c->desc.threads = 1 + (int)i % 2;
    check_placement(c, (struct placement){.kind = PLACE_BEFORE_PAGE}, "a protected page after every buffer");
    check_placement(c, (struct placement){.kind = PLACE_AFTER_PAGE}, "a protected page before every buffer");
  }
}

static void nothing_past_a_buffer_is_touched(void **state) {
  (void)state;
  for_each_case(__func__, check_pages);
}

/* ---- The caller's floating-point environment ------------------------------------------------- */

/* Small weights and gradients, so that denormals would appear. */
static void check_environment(struct network_case *c) {
  struct buffers b = {0};
  struct network_sizes s = sizes_of(c);
  struct network_data d = take_data(&b, c);
  for (int64_t i = 0; i < s.outputs; i += 3)
    d.dy[i] *= 0x1p-126f;
  for (int64_t i = 0; i < s.states; i += 2) {
    d.h0[i] *= 0x1p-130f;
    d.dhn[i] = 0x1p-140f;
  }
  struct network_results wanted = run_case(&b, c, &d), got = take_results(&b, c);
  struct network net = open_network(&b, c, d.parameters);
  gk_rnn_forward_args forward = forward_args(&net, &d, &got);
  gk_rnn_backward_args backward = backward_args(&net, &d, &got);
  control_word before = read_control();
  for (int i = 0; i < CONTROLS; i++) {
    write_control(odd_controls[i]);
    control_word set = read_control();
    gk_status packed = gk_rnn_pack(net.rnn, GK_PACK_FORWARD | GK_PACK_BACKWARD, d.parameters, net.packed);
    gk_status first = gk_rnn_forward(net.rnn, &forward);
    gk_status second = gk_rnn_backward(net.rnn, &backward);
    control_word after = read_control();
    write_control(before);
    char what[64];
    snprintf(what, sizeof what, "control word 0x%lx", (unsigned long)odd_controls[i]);
    check_status(c, packed, "gk_rnn_pack");
    check_status(c, first, "gk_rnn_forward");
    check_status(c, second, "gk_rnn_backward");
    if (after != set)
      fail_case(c, "%s: 0x%lx after the call", what, (unsigned long)after);
    check_same_results(c, what, &got, &wanted);
  }
  close_network(&net);
  buffers_release(&b);
}

static void the_callers_floating_point_environment_changes_nothing(void **state) {
  (void)state;
  for_each_case(__func__, check_environment);
}

/* The rest of training: its calls under one control word. */
enum {
  ENV_ROWS = 9,
  ENV_H = 20,
  ENV_V = 7,
  ENV_P = ENV_V * ENV_H + ENV_V,
  ENV_INITS = GK_INIT_ORTHOGONAL + 1
};

struct rest_of_step {
  float dh[ENV_ROWS * ENV_H], gradients[ENV_P], parameters[ENV_P], initial[ENV_P], state[2 * ENV_P];
  float softmax[ENV_V];
  float *network[ENV_INITS]; /* initial parameters */
  float scale;
  double loss, norm;
};

static gk_status run_rest_of_step(const struct network_case *c, const gk_rnn *rnn, const gk_output *output,
                                  const float *h, void *packed, void *workspace, struct rest_of_step *r) {
  static const int32_t targets[ENV_ROWS] = {0, 6, 3, 2, -1, 5, 1, 4, 4};
  gk_optimizer_desc optimizer = GK_OPTIMIZER_DESC_INIT;
  gk_output_loss_args loss = GK_OUTPUT_LOSS_ARGS_INIT;
  const int64_t count = ENV_P;
  const float *gradients = r->gradients;
  optimizer.isa = c->desc.isa;
  loss.rows = ENV_ROWS;
  loss.h = h;
  loss.targets = targets;
  loss.packed = packed;
  loss.loss = &r->loss;
  loss.gradient_scale = 1.0f / 8;
  loss.dh = r->dh;
  loss.gradients = r->gradients;
  loss.workspace = workspace;
  for (int i = 0; i < ENV_P; i++) /* exact whatever the rounding: no arithmetic of the test's own */
    r->parameters[i] = random_value(2, (uint64_t)i);
  memset(r->state, 0, sizeof r->state);
  gk_status status = gk_output_init(output, 5, r->initial);
  for (int i = 0; i < ENV_INITS && !status; i++) {
    gk_init_desc init = GK_INIT_DESC_INIT;
    init.init = (gk_init)i;
    init.forget_bias = 0.3f;
    status = gk_rnn_init(rnn, &init, r->network[i]);
  }
  if (!status)
    status = gk_output_pack(output, GK_PACK_FORWARD | GK_PACK_BACKWARD, r->parameters, packed);
  if (!status)
    status = gk_output_loss(output, &loss);
  if (!status)
    status = gk_gradient_norm(c->desc.isa, 1, 1, &gradients, &count, &r->norm);
  r->scale = gk_clip_scale(r->norm, 0.1);
  for (int64_t step = 1; step <= 3 && !status; step++)
    status = gk_optimizer_step(&optimizer, step, 0.003, r->scale, count, r->parameters, gradients, r->state);
  if (!status)
    status = gk_softmax(c->desc.isa, ENV_V, 0.7f, r->dh, r->softmax);
  return status;
}

static void check_rest_of_step(const struct network_case *c, const char *what, const struct rest_of_step *got,
                               const struct rest_of_step *wanted) {
  check_bits(c, what, "dh", ENV_ROWS * ENV_H, got->dh, wanted->dh);
  check_bits(c, what, "gradients", ENV_P, got->gradients, wanted->gradients);
  check_bits(c, what, "initial parameters", ENV_P, got->initial, wanted->initial);
  check_bits(c, what, "softmax", ENV_V, got->softmax, wanted->softmax);
  for (int i = 0; i < ENV_INITS; i++)
    check_bits(c, what, "the network's initial parameters", sizes_of(c).parameters, got->network[i],
               wanted->network[i]);
  if (memcmp(&got->loss, &wanted->loss, sizeof(double)) != 0)
    fail_case(c, "%s: loss %a, wanted %a", what, got->loss, wanted->loss);
  if (memcmp(&got->norm, &wanted->norm, sizeof(double)) != 0)
    fail_case(c, "%s: norm %a, wanted %a", what, got->norm, wanted->norm);
  check_bits(c, what, "clip scale", 1, &got->scale, &wanted->scale);
  check_bits(c, what, "parameters", ENV_P, got->parameters, wanted->parameters);
}

static void the_callers_environment_changes_no_training_step(void **state) {
  (void)state;
  for (int tier = 0; tier < tier_count; tier++) {
    struct network_case c = small_case(tiers[tier], GK_CELL_LSTM, 0); /* names the tier if it fails */
    if (!case_wanted(__func__))
      continue;
    struct buffers b = {0};
    gk_output_desc desc = GK_OUTPUT_DESC_INIT;
    gk_output *output;
    size_t packed_bytes, workspace_bytes;
    unsigned flags = GK_PACK_FORWARD | GK_PACK_BACKWARD;
    desc.input_size = ENV_H;
    desc.output_size = ENV_V;
    desc.isa = tiers[tier];
    gk_rnn *rnn;
    check_status(&c, gk_rnn_create(&c.desc, &rnn), "gk_rnn_create");
    check_status(&c, gk_output_create(&desc, &output), "gk_output_create");
    check_status(&c, gk_output_packed_bytes(output, flags, &packed_bytes), "gk_output_packed_bytes");
    check_status(&c, gk_output_workspace_bytes(output, ENV_ROWS, &workspace_bytes),
                 "gk_output_workspace_bytes");
    void *packed = buffers_take(&b, packed_bytes, 1), *workspace = buffers_take(&b, workspace_bytes, 1);
    float *h = take_random(&b, 1, 1, ENV_ROWS * ENV_H);
    struct rest_of_step wanted = {0}, got = {0};
    for (int i = 0; i < ENV_INITS; i++) {
      wanted.network[i] = take_floats(&b, sizes_of(&c).parameters);
      got.network[i] = take_floats(&b, sizes_of(&c).parameters);
    }
    check_status(&c, run_rest_of_step(&c, rnn, output, h, packed, workspace, &wanted), "a training step");
    control_word before = read_control();
    for (int i = 0; i < CONTROLS; i++) {
      write_control(odd_controls[i]);
      control_word set = read_control();
      gk_status status = run_rest_of_step(&c, rnn, output, h, packed, workspace, &got);
      control_word after = read_control();
      write_control(before);
      char what[64];
      snprintf(what, sizeof what, "control word 0x%lx", (unsigned long)odd_controls[i]);
      check_status(&c, status, what);
      if (after != set)
        fail_case(&c, "%s: 0x%lx after the call", what, (unsigned long)after);
      check_rest_of_step(&c, what, &got, &wanted);
    }
    gk_output_destroy(output);
    gk_rnn_destroy(rnn);
    buffers_release(&b);
  }
}

/* ---- Many threads ---------------------------------------------------------------------------- */

struct caller {
  const struct network *net; /* the plan and the packed parameters are shared, the rest is its own */
  const struct network_data *d;
  struct buffers buffers;
  struct network_results r;
  gk_status status;
};

static void run_caller(struct caller *caller) {
  struct network own = *caller->net;
  struct network_results *r = &caller->r;
  own.reserve = buffers_take(&caller->buffers, own.memory.reserve_bytes, 1);
  own.forward_workspace = buffers_take(&caller->buffers, own.memory.forward_workspace_bytes, 1);
  own.backward_workspace = buffers_take(&caller->buffers, own.memory.backward_workspace_bytes, 1);
  *r = take_results(&caller->buffers, own.c);
  for (int i = 0; i < 3 && caller->status == GK_OK; i++) {
    gk_rnn_forward_args forward = forward_args(&own, caller->d, r);
    gk_rnn_backward_args backward = backward_args(&own, caller->d, r);
    caller->status = gk_rnn_forward(own.rnn, &forward);
    if (caller->status == GK_OK)
      caller->status = gk_rnn_backward(own.rnn, &backward);
  }
}

static void *call_in_thread(void *argument) {
  run_caller(argument);
  return NULL;
}

enum { CALLERS = 4 };

/* From threads of the caller's own, and from inside a parallel region of OpenMP. */
static void check_callers(struct network_case *c) {
  struct buffers b = {0};
  struct network_data d = take_data(&b, c);
  struct network_results wanted = run_case(&b, c, &d);
  struct network net = open_network(&b, c, d.parameters);
  for (int openmp = 0; openmp < 2; openmp++) {
    struct caller callers[CALLERS] = {0};
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++)
      callers[i] = (struct caller){.net = &net, .d = &d};
    if (openmp) {
#pragma omp parallel for num_threads(CALLERS)
      for (int i = 0; i < CALLERS; i++)
        run_caller(&callers[i]);
    } else {
      for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_in_thread, &callers[i]), 0);
      for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
      check_status(c, callers[i].status, "a call of several at once");
      check_same_results(c, openmp ? "inside a parallel region" : "several callers at once", &callers[i].r,
                         &wanted);
      buffers_release(&callers[i].buffers);
    }
  }
  close_network(&net);
  buffers_release(&b);
}

static void several_callers_at_once_get_the_bits_of_one(void **state) {
  (void)state;
  for_each_case(__func__, check_callers);
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_empty_call_hands_its_states_on),
      cmocka_unit_test(padding_is_not_read),
      cmocka_unit_test(poison_stays_in_its_row),
      cmocka_unit_test(a_poisoned_empty_sample_touches_no_other),
      cmocka_unit_test(misaligned_buffers_change_nothing),
      cmocka_unit_test(nothing_past_a_buffer_is_touched),
      cmocka_unit_test(the_callers_floating_point_environment_changes_nothing),
      cmocka_unit_test(the_callers_environment_changes_no_training_step),
      cmocka_unit_test(several_callers_at_once_get_the_bits_of_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
