/* SPDX-License-Identifier: Apache-2.0
 *
 * The bridge from encoders to decoders: values against plain float64 loops, every gradient against difference
 * quotients of these, the same bits on every tier, and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "include/gatekern.h"
#include "tests/buffers.h"
#include "tests/random_values.h"

enum { BATCH = 5, MOST = 4000 };

struct bridge_case {
  gk_bridge_kind kind;
  gk_rnn_desc encoder, decoder;
  int64_t encoder_sizes[3], decoder_sizes[3];
  uint64_t seed;
};

/* States of both sides and parameters, as doubles. */
struct values {
  double hn[MOST], cn[MOST], parameters[MOST], h0[MOST], c0[MOST];
};

static int64_t directions_of(const struct bridge_case *c) {
  return c->encoder.direction == GK_BIDIRECTIONAL ? 2 : 1;
}

static struct bridge_case make_case(uint64_t seed) {
  struct bridge_case c = {.encoder = GK_RNN_DESC_INIT, .decoder = GK_RNN_DESC_INIT, .seed = seed};
  c.kind = (gk_bridge_kind)(seed % 3);
  c.encoder.input_size = c.decoder.input_size = 3;
  c.encoder.cell = random_integer(seed, 1, 2) ? GK_CELL_LSTM : GK_CELL_GRU;
  c.decoder.cell = random_integer(seed, 2, 2) ? GK_CELL_LSTM : GK_CELL_RNN;
  c.encoder.layers = 1 + random_integer(seed, 3, 3);
  c.decoder.layers = 1 + random_integer(seed, 4, 3);
  c.encoder.direction = random_integer(seed, 5, 2) ? GK_BIDIRECTIONAL : GK_FORWARD;
  for (int l = 0; l < 3; l++) {
    c.encoder_sizes[l] =
        c.kind == GK_BRIDGE_COPY ? 6 / directions_of(&c) : 1 + random_integer(seed, 10 + (uint64_t)l, 20);
    c.decoder_sizes[l] = c.kind == GK_BRIDGE_COPY ? 6 : 1 + random_integer(seed, 20 + (uint64_t)l, 20);
  }
  return c;
}

static int64_t states_of(int64_t layers, int64_t directions, const int64_t *sizes) {
  int64_t count = 0;
  for (int64_t l = 0; l < layers; l++)
    count += directions * sizes[l] * BATCH;
  return count;
}

/* What the header states, one value at a time. */
static void plain_forward(const struct bridge_case *c, struct values *v) {
  const int64_t D = directions_of(c), L_e = c->encoder.layers, L_d = c->decoder.layers;
  const bool encoder_memory = c->encoder.cell == GK_CELL_LSTM, memory = c->decoder.cell == GK_CELL_LSTM;
  const double *p = v->parameters;
  int64_t to = 0;
  for (int64_t l = 0; l < L_d; to += c->decoder_sizes[l++] * BATCH) {
    const int64_t below = L_e - L_d + l > 0 ? L_e - L_d + l : 0, H_e = c->encoder_sizes[below];
    const int64_t H = c->decoder_sizes[l];
    int64_t from = states_of(below, D, c->encoder_sizes);
    for (int cell = 0; cell <= memory; cell++) {
      const double *e = cell && encoder_memory ? v->cn : v->hn;
      double *y = (cell ? v->c0 : v->h0) + to;
      for (int64_t n = 0; n < BATCH; n++)
        for (int64_t u = 0; u < H; u++) {
          double sum = 0;
          if (c->kind == GK_BRIDGE_COPY) {
            y[n * H + u] = cell && !encoder_memory ? 0 : e[from + (u / H_e * BATCH + n) * H_e + u % H_e];
            continue;
          }
          for (int64_t d = 0; d < D; d++)
            for (int64_t k = 0; k < H_e; k++)
              sum += p[u * D * H_e + d * H_e + k] * e[from + (d * BATCH + n) * H_e + k];
          sum += p[H * D * H_e + u];
          y[n * H + u] = c->kind == GK_BRIDGE_TANH ? tanh(sum) : sum;
        }
      if (c->kind != GK_BRIDGE_COPY)
        p += H * D * H_e + H;
    }
  }
}

static double plain_loss(const struct bridge_case *c, struct values *v, const float *dh0, const float *dc0,
                         int64_t count) {
  double loss = 0;
  plain_forward(c, v);
  for (int64_t i = 0; i < count; i++)
    loss += v->h0[i] * (double)dh0[i] + (dc0 ? v->c0[i] * (double)dc0[i] : 0);
  return loss;
}

struct result {
  float h0[MOST], c0[MOST], dhn[MOST], dcn[MOST], gradients[MOST];
};

static void run_bridge(const struct bridge_case *c, gk_isa isa, const float *hn, const float *cn,
                       const float *parameters, const float *dh0, const float *dc0, struct result *r) {
  struct buffers b = {0};
  gk_rnn_desc encoder = c->encoder, decoder = c->decoder;
  gk_rnn *rnn[2];
  gk_bridge *bridge;
  size_t bytes;
  encoder.hidden_sizes = c->encoder_sizes;
  decoder.hidden_sizes = c->decoder_sizes;
  encoder.isa = decoder.isa = isa;
  assert_int_equal(gk_rnn_create(&encoder, &rnn[0]), GK_OK);
  assert_int_equal(gk_rnn_create(&decoder, &rnn[1]), GK_OK);
  if (gk_bridge_create(c->kind, rnn[0], rnn[1], &bridge) != GK_OK)
    fail_msg("%s", gk_last_error());
  gk_rnn_destroy(rnn[0]);
  gk_rnn_destroy(rnn[1]);
  assert_int_equal(gk_bridge_packed_bytes(bridge, GK_PACK_FORWARD | GK_PACK_BACKWARD, &bytes), GK_OK);
  void *packed = buffers_take(&b, bytes, 1);
  assert_int_equal(gk_bridge_pack(bridge, GK_PACK_FORWARD | GK_PACK_BACKWARD, parameters, packed), GK_OK);
  assert_int_equal(gk_bridge_workspace_bytes(bridge, BATCH, &bytes), GK_OK);
  void *workspace = buffers_take(&b, bytes, 1);
  if (gk_bridge_forward(bridge, BATCH, hn, cn, packed, r->h0, r->c0, workspace) != GK_OK)
    fail_msg("%s", gk_last_error());
  gk_bridge_backward_args args = GK_BRIDGE_BACKWARD_ARGS_INIT;
  args.batch = BATCH;
  args.hn = hn;
  args.cn = cn;
  args.h0 = r->h0;
  args.c0 = r->c0;
  args.packed = packed;
  args.dh0 = dh0;
  args.dc0 = dc0;
  args.dhn = r->dhn;
  args.dcn = r->dcn;
  args.gradients = r->gradients;
  args.workspace = workspace;
  if (gk_bridge_backward(bridge, &args) != GK_OK)
    fail_msg("%s", gk_last_error());
  gk_bridge_destroy(bridge);
  buffers_release(&b);
}

static int64_t parameters_of(const struct bridge_case *c) {
  int64_t count = 0;
  for (int64_t l = 0; l < c->decoder.layers && c->kind != GK_BRIDGE_COPY; l++) {
    const int64_t below = c->encoder.layers - c->decoder.layers + l;
    count += c->decoder_sizes[l] * (directions_of(c) * c->encoder_sizes[below > 0 ? below : 0] + 1) *
             (c->decoder.cell == GK_CELL_LSTM ? 2 : 1);
  }
  return count;
}

static void check_near(uint64_t seed, const char *name, int64_t count, const float *got,
                       const double *wanted) {
  double largest = 0;
  for (int64_t i = 0; i < count; i++)
    largest = fmax(largest, fabs(wanted[i]));
  for (int64_t i = 0; i < count; i++)
    if (!(fabs((double)got[i] - wanted[i]) <= 1e-5 * largest))
      fail_msg("case %d: %s[%d] is %.9g, wanted %.9g", (int)seed, name, (int)i, (double)got[i], wanted[i]);
}

static void check_quotients(const struct bridge_case *c, struct values *v, const char *name, double *values,
                            int64_t count, const float *dh0, const float *dc0, int64_t outputs,
                            const float *got) {
  static double wanted[MOST];
  const double step = 1e-4;
  for (int64_t i = 0; i < count; i++) {
    const double centre = values[i];
    values[i] = centre + step;
    const double above = plain_loss(c, v, dh0, dc0, outputs);
    values[i] = centre - step;
    wanted[i] = (above - plain_loss(c, v, dh0, dc0, outputs)) / (2 * step);
    values[i] = centre;
  }
  check_near(c->seed, name, count, got, wanted);
}

static void values_and_gradients_are_those_of_the_plain_bridge(void **state) {
  static float hn[MOST], cn[MOST], parameters[MOST], dh0[MOST], dc0[MOST];
  static struct values v;
  static struct result first, r;
  (void)state;
  for (uint64_t seed = 0; seed < 30; seed++) {
    const struct bridge_case c = make_case(seed);
    const bool encoder_memory = c.encoder.cell == GK_CELL_LSTM, memory = c.decoder.cell == GK_CELL_LSTM;
    const int64_t in = states_of(c.encoder.layers, directions_of(&c), c.encoder_sizes);
    const int64_t out = states_of(c.decoder.layers, 1, c.decoder_sizes), count = parameters_of(&c);
    random_floats(seed * 8, 1, in, hn);
    random_floats(seed * 8 + 1, 1, in, cn);
    random_floats(seed * 8 + 2, 0.5f, count, parameters);
    random_floats(seed * 8 + 3, 1, out, dh0);
    random_floats(seed * 8 + 4, 1, out, dc0);
    random_doubles(seed * 8, 1, in, v.hn);
    random_doubles(seed * 8 + 1, 1, in, v.cn);
    random_doubles(seed * 8 + 2, 0.5, count, v.parameters);
    bool have = false;
    for (int i = 1; i <= gk_isa_count(); i++) {
      if (!gk_isa_usable((gk_isa)i))
        continue;
      memset(&r, 0, sizeof r);
      run_bridge(&c, (gk_isa)i, hn, encoder_memory ? cn : NULL, parameters, dh0, memory ? dc0 : NULL, &r);
      if (have && memcmp(&r, &first, sizeof r) != 0)
        fail_msg("case %d: other bits on %s", (int)seed, gk_isa_name((gk_isa)i));
      first = r;
      have = true;
    }
    plain_forward(&c, &v);
    check_near(seed, "h0", out, r.h0, v.h0);
    if (memory)
      check_near(seed, "c0", out, r.c0, v.c0);
    const float *dc = memory ? dc0 : NULL;
    check_quotients(&c, &v, "dhn", v.hn, in, dh0, dc, out, r.dhn);
    if (encoder_memory)
      check_quotients(&c, &v, "dcn", v.cn, in, dh0, dc, out, r.dcn);
    check_quotients(&c, &v, "gradients", v.parameters, count, dh0, dc, out, r.gradients);
  }
}

static void tensors_cover_the_parameters_without_holes(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 30; seed++) {
    const struct bridge_case c = make_case(seed);
    gk_rnn_desc encoder = c.encoder, decoder = c.decoder;
    gk_rnn *rnn[2];
    gk_bridge *bridge;
    int64_t end = 0;
    encoder.hidden_sizes = c.encoder_sizes;
    decoder.hidden_sizes = c.decoder_sizes;
    assert_int_equal(gk_rnn_create(&encoder, &rnn[0]), GK_OK);
    assert_int_equal(gk_rnn_create(&decoder, &rnn[1]), GK_OK);
    assert_int_equal(gk_bridge_create(c.kind, rnn[0], rnn[1], &bridge), GK_OK);
    for (int i = 0; i < gk_bridge_tensor_count(bridge); i++) {
      gk_tensor tensor;
      assert_int_equal(gk_bridge_tensor(bridge, i, &tensor), GK_OK);
      assert_int_equal(tensor.offset, end);
      end += tensor.count;
    }
    assert_int_equal(end, gk_bridge_parameter_count(bridge));
    assert_int_equal(end, parameters_of(&c));
    gk_bridge_destroy(bridge);
    gk_rnn_destroy(rnn[0]);
    gk_rnn_destroy(rnn[1]);
  }
}

/* With one seed for both. */
static void initial_weights_are_not_those_of_the_encoder(void **state) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  gk_init_desc init = GK_INIT_DESC_INIT;
  gk_rnn *rnn;
  gk_bridge *bridge;
  float encoder[MOST], linear[MOST];
  (void)state;
  desc.cell = GK_CELL_RNN;
  desc.input_size = desc.hidden_size = 8;
  init.seed = 1;
  assert_int_equal(gk_rnn_create(&desc, &rnn), GK_OK);
  assert_int_equal(gk_bridge_create(GK_BRIDGE_LINEAR, rnn, rnn, &bridge), GK_OK);
  assert_int_equal(gk_rnn_init(rnn, &init, encoder), GK_OK);
  assert_int_equal(gk_bridge_init(bridge, 1, linear), GK_OK);
  for (int64_t i = 0; i < gk_rnn_parameter_count(rnn); i++)
    for (int64_t j = 0; j < gk_bridge_parameter_count(bridge); j++)
      assert_true(encoder[i] != linear[j]);
  gk_bridge_destroy(bridge);
  gk_rnn_destroy(rnn);
}

static void what_does_not_fit_is_refused(void **state) {
  gk_rnn_desc small = GK_RNN_DESC_INIT, large = GK_RNN_DESC_INIT;
  gk_rnn *rnn[2];
  gk_bridge *bridge;
  (void)state;
  small.input_size = large.input_size = 2;
  small.hidden_size = 4;
  large.hidden_size = 5;
  large.direction = GK_BIDIRECTIONAL;
  assert_int_equal(gk_rnn_create(&small, &rnn[0]), GK_OK);
  assert_int_equal(gk_rnn_create(&large, &rnn[1]), GK_OK);
  assert_int_equal(gk_bridge_create(GK_BRIDGE_COPY, rnn[1], rnn[0], &bridge), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "10"));
  assert_null(bridge);
  assert_int_equal(gk_bridge_create(GK_BRIDGE_LINEAR, rnn[0], rnn[1], &bridge), GK_ERROR_UNSUPPORTED);
  assert_int_equal(gk_bridge_create((gk_bridge_kind)3, rnn[0], rnn[0], &bridge), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_bridge_create(GK_BRIDGE_COPY, NULL, rnn[0], &bridge), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_bridge_create(GK_BRIDGE_COPY, rnn[0], rnn[0], &bridge), GK_OK);
  assert_int_equal(gk_bridge_forward(bridge, 1, NULL, NULL, NULL, NULL, NULL, NULL), GK_ERROR_ARGUMENT);
  gk_bridge_destroy(bridge);
  gk_rnn_destroy(rnn[0]);
  gk_rnn_destroy(rnn[1]);
}

int main(int argc, char **argv) {
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_and_gradients_are_those_of_the_plain_bridge),
      cmocka_unit_test(tensors_cover_the_parameters_without_holes),
      cmocka_unit_test(initial_weights_are_not_those_of_the_encoder),
      cmocka_unit_test(what_does_not_fit_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
