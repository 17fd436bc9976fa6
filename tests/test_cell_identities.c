/* SPDX-License-Identifier: Apache-2.0
 *
 * Cells that are special cases of others, bit for bit: outputs, states and gradients. A gate is forced by its
 * bias, far enough for its sigmoid to be 0 or 1 exactly, and its weights are zero. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/network_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* Which gate of `to` gate g of `from` is; the others are forced to values[gate]. */
struct special_case {
  gk_cell from, to;
  int gates;       /* of `to` */
  int same_as[4];  /* the gate of `from`, or -1: forced */
  float forced[4]; /* its bias */
  bool no_bias_hh; /* the candidate's halves are summed apart: one of them starts from zero */
  bool forward; /* gradients of inputs and states are sums in another order: outputs only, and the parameters'
                   gradients of one step */
};

#define ONE  200.0f
#define ZERO (-200.0f)

/* The whole parameters of `to` from those of `from`, all layers. */
static void embed_parameters(const struct special_case *s, const struct network_case *from,
                             const struct network_case *to, const float *source, float *target, bool back) {
  const int64_t H = from->desc.hidden_size, D = gk_reference_directions(&from->desc);
  for (int64_t l = 0; l < from->desc.layers; l++)
    for (int64_t d = 0; d < D; d++) {
      const struct gk_reference_layout f = gk_reference_layout_of(&from->desc, l, d);
      const struct gk_reference_layout t = gk_reference_layout_of(&to->desc, l, d);
      const int64_t from_at[4] = {f.weight_ih, f.weight_hh, f.bias_ih, f.bias_hh};
      const int64_t to_at[4] = {t.weight_ih, t.weight_hh, t.bias_ih, t.bias_hh};
      const int64_t columns[4] = {f.input_size, H, 1, 1};
      for (int k = 0; k < 4; k++)
        for (int g = 0; g < s->gates; g++)
          for (int64_t i = 0; i < H * columns[k]; i++) {
            const int64_t at = to_at[k] + g * H * columns[k] + i;
            const int64_t other = from_at[k] + s->same_as[g] * H * columns[k] + i;
            if (back && s->same_as[g] >= 0)
              target[other] = source[at];
            else if (!back)
              target[at] = s->same_as[g] >= 0 ? source[other] : k == 2 ? s->forced[g] : 0;
          }
    }
}

static void clear_bias_hh(const struct network_case *c, float *parameters) {
  for (int64_t l = 0; l < c->desc.layers; l++)
    for (int64_t d = 0; d < gk_reference_directions(&c->desc); d++) {
      const struct gk_reference_layout at = gk_reference_layout_of(&c->desc, l, d);
      memset(parameters + at.bias_hh, 0, (size_t)(at.end - at.bias_hh) * sizeof *parameters);
    }
}

static void check_identity(const struct special_case *s, struct network_case c) {
  struct buffers buffers = {0};
  struct network_case from = c, to = c;
  from.desc.cell = s->from;
  to.desc.cell = s->to;
  struct network_data from_data = take_data(&buffers, &from), to_data = from_data;
  if (s->no_bias_hh)
    clear_bias_hh(&from, from_data.parameters);
  to_data.parameters = take_floats(&buffers, sizes_of(&to).parameters);
  embed_parameters(s, &from, &to, from_data.parameters, to_data.parameters, false);
  struct network_results wanted = run_case(&buffers, &from, &from_data);
  struct network_results got = run_case(&buffers, &to, &to_data), compared = got;
  compared.gradients = take_floats(&buffers, sizes_of(&from).parameters);
  embed_parameters(s, &from, &to, got.gradients, compared.gradients, true);
  if (s->forward)
    compared.dx = compared.dh0 = compared.dh_norms = NULL;
  if (s->forward && c.time > 1)
    compared.gradients = NULL;
  char what[96];
  snprintf(what, sizeof what, "%s with forced gates against %s", gk_cell_name(s->to), gk_cell_name(s->from));
  check_same_results(&from, what, &compared, &wanted);
  buffers_release(&buffers);
}

/* Sizes whose gate gradients of one cell start a block of a sum where the other's do: 3 H <= 256, 2 H = 256.
 */
static void check_special_case(const char *test, const struct special_case *s) {
  static const int64_t hidden[] = {1, 5, 17, 64, 85, 128};
  for (int tier = 0; tier < tier_count; tier++)
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
      for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++) {
        struct network_case c = {
            .desc = GK_RNN_DESC_INIT, .time = 7, .batch = 5, .ragged = true, .states = true, .seed = 500 + i};
        c.desc.isa = tiers[tier];
        c.desc.input_size = 4 + 9 * (int64_t)i;
        c.desc.hidden_size = hidden[i];
        c.desc.layers = 1;
        c.desc.direction = (gk_direction)direction;
        if (case_wanted(test))
          check_identity(s, c);
      }
}

/* Both gates of Ng's GRU at 1: all of the candidate (z = 0), and nothing of h' reset (r = 1). */
static void gru_with_open_gates_is_the_rnn(void **state) {
  struct special_case s = {.from = GK_CELL_RNN,
                           .to = GK_CELL_GRU_RESET_BEFORE,
                           .gates = 3,
                           .same_as = {-1, -1, 0},
                           .forced = {ONE, ZERO}};
  (void)state;
  check_special_case(__func__, &s);
  s.to = GK_CELL_GRU;
  s.no_bias_hh = true;
  check_special_case(__func__, &s);
}

static void gru_with_reset_at_one_is_the_simplified_gru(void **state) {
  struct special_case s = {.from = GK_CELL_GRU_SIMPLIFIED,
                           .to = GK_CELL_GRU_RESET_BEFORE,
                           .gates = 3,
                           .same_as = {-1, 0, 1},
                           .forced = {ONE},
                           .forward = true};
  (void)state;
  check_special_case(__func__, &s);
  s.to = GK_CELL_GRU;
  s.no_bias_hh = true;
  check_special_case(__func__, &s);
}

static void simplified_gru_with_an_open_gate_is_the_rnn(void **state) {
  const struct special_case s = {
      .from = GK_CELL_RNN, .to = GK_CELL_GRU_SIMPLIFIED, .gates = 2, .same_as = {-1, 0}, .forced = {ZERO}};
  (void)state;
  check_special_case(__func__, &s);
}

static void mgu_with_its_gate_at_one_is_the_rnn(void **state) {
  const struct special_case s = {
      .from = GK_CELL_RNN, .to = GK_CELL_MGU, .gates = 2, .same_as = {-1, 0}, .forced = {ONE}};
  (void)state;
  check_special_case(__func__, &s);
}

/* ---- The coupled LSTM ------------------------------------------------------------------------ */

enum { UNITS = 21, INPUTS = 13, STEPS = 9, SAMPLES = 3 };

/* Gate `row` of the LSTM (i f g o times H) in the canonical order, one block a sum. */
static float plain_gate(const float *p, int64_t row, const float *x, const float *h) {
  const float *w_ih = p, *w_hh = w_ih + 4 * UNITS * INPUTS, *b_ih = w_hh + 4 * UNITS * UNITS;
  float input = 0, recurrent = 0;
  for (int64_t k = 0; k < INPUTS; k++)
    input = fmaf(x[k], w_ih[row * INPUTS + k], input);
  for (int64_t k = 0; k < UNITS; k++)
    recurrent = fmaf(h[k], w_hh[row * UNITS + k], recurrent);
  return b_ih[row] + b_ih[4 * UNITS + row] + input + recurrent;
}

static float flushed(float x) {
  return fabsf(x) < 0x1p-95f ? 0 : x;
}

/* One sample through the LSTM, with f := 1 - i if asked for; y (T, H), and c at the end. */
static void plain_lstm(const struct network_data *d, int64_t n, bool one_minus_i, float *y, float *c) {
  float h[UNITS], a[4 * UNITS], tanh_c[UNITS];
  memcpy(h, d->h0 + n * UNITS, sizeof h);
  memcpy(c, d->c0 + n * UNITS, sizeof h);
  for (int64_t t = 0; t < STEPS; t++) {
    for (int64_t row = 0; row < 4 * UNITS; row++)
      a[row] = plain_gate(d->parameters, row, d->x + (t * SAMPLES + n) * INPUTS, h);
    for (int64_t g = 0; g < 4; g++)
      assert_int_equal(
          (g == 2 ? gk_tanh : gk_sigmoid)(GK_ISA_SCALAR, GK_MATH_OWN, UNITS, a + g * UNITS, a + g * UNITS),
          GK_OK);
    for (int64_t j = 0; j < UNITS; j++) {
      const float f = one_minus_i ? 1 - a[j] : a[UNITS + j];
      c[j] = flushed(fmaf(f, c[j], a[j] * a[2 * UNITS + j]));
    }
    assert_int_equal(gk_tanh(GK_ISA_SCALAR, GK_MATH_OWN, UNITS, c, tanh_c), GK_OK);
    for (int64_t j = 0; j < UNITS; j++)
      y[t * UNITS + j] = h[j] = flushed(a[3 * UNITS + j] * tanh_c[j]);
  }
}

/* The same plain loops are the LSTM, and with f := 1 - i the coupled one. */
static void coupled_lstm_is_the_lstm_with_f_one_minus_i(void **state) {
  const struct special_case rows = {.gates = 3, .same_as = {0, 2, 3}};
  (void)state;
  for (int tier = 0; tier < tier_count; tier++)
    for (int coupled = 0; coupled < 2; coupled++) {
      struct buffers buffers = {0};
      struct network_case c = {
          .desc = GK_RNN_DESC_INIT, .time = STEPS, .batch = SAMPLES, .states = true, .seed = 600};
      float y[STEPS * UNITS], cell[UNITS];
      c.desc.input_size = INPUTS;
      c.desc.hidden_size = UNITS;
      c.desc.isa = tiers[tier];
      if (!case_wanted(__func__))
        continue;
      struct network_data d = take_data(&buffers, &c), used = d;
      struct network_case run = c;
      run.desc.options.coupled = coupled;
      if (coupled) {
        used.parameters = take_floats(&buffers, sizes_of(&run).parameters);
        embed_parameters(&rows, &c, &run, d.parameters, used.parameters, false);
      }
      struct network_results got = run_case(&buffers, &run, &used);
      for (int64_t n = 0; n < SAMPLES; n++) {
        plain_lstm(&d, n, coupled, y, cell);
        for (int64_t t = 0; t < STEPS; t++)
          check_bits(&run, "plain loops", "y", UNITS, got.y + (t * SAMPLES + n) * UNITS, y + t * UNITS);
        check_bits(&run, "plain loops", "cn", UNITS, got.cn + n * UNITS, cell);
      }
      buffers_release(&buffers);
    }
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
      cmocka_unit_test(gru_with_open_gates_is_the_rnn),
      cmocka_unit_test(gru_with_reset_at_one_is_the_simplified_gru),
      cmocka_unit_test(simplified_gru_with_an_open_gate_is_the_rnn),
      cmocka_unit_test(mgu_with_its_gate_at_one_is_the_rnn),
      cmocka_unit_test(coupled_lstm_is_the_lstm_with_f_one_minus_i),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
