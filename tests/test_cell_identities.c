/* SPDX-License-Identifier: Apache-2.0
 *
 * Cells that are special cases of others, bit for bit: outputs, final states, gradients of inputs, of initial
 * states and of parameters, and norms of dL/dh; ragged, two layers, both directions. A gate is forced by its
 * bias, far enough for its sigmoid to be 0 or 1 exactly, and its weights are zero.
 *
 * Where two cells add the same products in another order, their gradients cannot have the same bits, and are
 * left out by name (enum not_equal): a GRU whose reset gate is 1 is the simplified GRU, but
 *  - with the reset after the product dx adds the products of the gates as they lie, n r z, the simplified
 *    GRU's as z n; everything else has the same bits;
 *  - with the reset before the product dh' is the sum of two products, over (r, z) and over n, each summed
 *    for itself; the simplified GRU has one, over (z, n). What depends on dL/dh from above alone has the same
 *    bits: with T = 1 everything but dh0, with any T the norm of dL/dh at the last step of each sample;
 *  - gradients of three gates start a block of a sum where those of two do only if 3 H <= GK_SUM_BLOCK. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kernels/kernels.h"
#include "tests/network_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* Which gate of `to` gate g of `from` is; the others are forced to values[gate]. */
struct special_case {
  gk_cell from, to;
  int gates;          /* of `to` */
  int same_as[4];     /* the gate of `from`, or -1: forced */
  float forced[4];    /* its bias */
  bool no_bias_hh;    /* the candidate's halves are summed apart: one of them starts from zero */
  unsigned not_equal; /* what is summed in another order */
};
enum not_equal { DX = 1, DH = 2 };

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

/* The norm at the step that the backward sweep visits first, of each sample, layer 0. */
static void check_first_norms(const struct network_case *c, const struct network_data *d, const float *got,
                              const float *wanted) {
  for (int64_t direction = 0; direction < gk_reference_directions(&c->desc); direction++)
    for (int64_t n = 0; n < c->batch; n++) {
      const bool reverse = direction == 1 || c->desc.direction == GK_REVERSE;
      const int64_t length = length_of(c, d, n), t = reverse ? 0 : length - 1;
      const int64_t at = (direction * c->time + t) * c->batch + n;
      if (length > 0)
        check_bits(c, "the last step", "dh_norms", 1, got + at, wanted + at);
    }
}

/* Of one layer, so that nothing of a layer above is hidden in what remains. */
static void leave_out(const struct special_case *s, const struct network_case *c,
                      const struct network_data *d, struct network_results *got,
                      const struct network_results *wanted) {
  unsigned out = s->not_equal;
  if (!out)
    return;
  if (c->desc.layers > 1) {
    got->dx = got->dh0 = got->gradients = got->dh_norms = NULL;
    return;
  }
  check_first_norms(c, d, got->dh_norms, wanted->dh_norms);
  const bool longer = 3 * c->desc.hidden_size > GK_SUM_BLOCK;
  if (out & DX || longer || (out & DH && c->time > 1))
    got->dx = NULL;
  if (out & DH || longer)
    got->dh0 = NULL;
  if (c->time > 1 && (out & DH || longer))
    got->gradients = got->dh_norms = NULL;
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
  leave_out(s, &from, &from_data, &compared, &wanted);
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
      for (int k = 0; k < 12; k++) { /* directions, one step or seven, one layer or two */
        struct network_case c = {.desc = GK_RNN_DESC_INIT,
                                 .time = k / 3 % 2 ? 1 : 7,
                                 .batch = 5,
                                 .ragged = true,
                                 .states = true,
                                 .seed = 500 + i};
        c.desc.isa = tiers[tier];
        c.desc.input_size = 4 + 9 * (int64_t)i;
        c.desc.hidden_size = hidden[i];
        c.desc.layers = 1 + k / 6;
        c.desc.direction = (gk_direction)(k % 3);
        if ((k < 6 || hidden[i] <= 64) && case_wanted(test))
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
                           .not_equal = DH};
  (void)state;
  check_special_case(__func__, &s);
  s.to = GK_CELL_GRU;
  s.not_equal = DX;
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

/* Plain loops of the LSTM's formulas in the canonical order; every sum is shorter than a block. With
 * `one_minus_i` two of them change: f := 1 - i, and so dc / di = g - c instead of g. */
enum { UNITS = 21, INPUTS = 13, STEPS = 9, SAMPLES = 5, LAYERS = 2, GATES = 4, I = 0, F = 1, G = 2, O = 3 };

struct plain_layer {
  bool one_minus_i;
  int64_t inputs;
  const float *w_ih, *w_hh, *b_ih, *b_hh; /* gates i f g o */
  const float *x;                         /* (T, N, inputs) */
  const int64_t *lengths;
  float h[STEPS + 1][SAMPLES][UNITS], c[STEPS + 1][SAMPLES][UNITS];
  float gate[STEPS][SAMPLES][GATES][UNITS], da[STEPS][SAMPLES][GATES * UNITS];
};

static float flushed(float x) {
  return fabsf(x) < 0x1p-95f ? 0 : x;
}

static float sum_of(int64_t count, const float *a, const float *b, int64_t stride) {
  float sum = 0;
  for (int64_t k = 0; k < count; k++)
    sum = fmaf(a[k], b[k * stride], sum);
  return sum;
}

static void plain_forward(struct plain_layer *p, int64_t t, int64_t n) {
  float tanh_c[UNITS], (*gate)[UNITS] = p->gate[t][n], *c = p->c[t + 1][n];
  for (int64_t row = 0; row < GATES * UNITS; row++)
    gate[row / UNITS][row % UNITS] =
        p->b_ih[row] + p->b_hh[row] +
        sum_of(p->inputs, p->x + (t * SAMPLES + n) * p->inputs, p->w_ih + row * p->inputs, 1) +
        sum_of(UNITS, p->h[t][n], p->w_hh + row * UNITS, 1);
  for (int g = 0; g < GATES; g++)
    assert_int_equal((g == G ? gk_tanh : gk_sigmoid)(GK_ISA_SCALAR, GK_MATH_OWN, UNITS, gate[g], gate[g]),
                     GK_OK);
  for (int64_t j = 0; j < UNITS; j++) {
    if (p->one_minus_i)
      gate[F][j] = 1 - gate[I][j];
    c[j] = flushed(fmaf(gate[F][j], p->c[t][n][j], gate[I][j] * gate[G][j]));
  }
  assert_int_equal(gk_tanh(GK_ISA_SCALAR, GK_MATH_OWN, UNITS, c, tanh_c), GK_OK);
  for (int64_t j = 0; j < UNITS; j++)
    p->h[t + 1][n][j] = flushed(gate[O][j] * tanh_c[j]);
}

/* dh and dc are of the step's h and c on entry, of the step before's on return; dx is written. */
static void plain_backward(struct plain_layer *p, int64_t t, int64_t n, const float *dy, float *dh, float *dc,
                           float *dx) {
  float tanh_c[UNITS], (*gate)[UNITS] = p->gate[t][n], *da = p->da[t][n];
  assert_int_equal(gk_tanh(GK_ISA_SCALAR, GK_MATH_OWN, UNITS, p->c[t + 1][n], tanh_c), GK_OK);
  for (int64_t j = 0; j < UNITS; j++) {
    const float i = gate[I][j], f = gate[F][j], g = gate[G][j], o = gate[O][j], c = p->c[t][n][j];
    const float d = dy[j] + dh[j];
    const float dc_next = fmaf(d * o, fmaf(-tanh_c[j], tanh_c[j], 1), dc[j]);
    da[I * UNITS + j] = flushed(dc_next * (p->one_minus_i ? g - c : g) * (i * (1 - i)));
    da[F * UNITS + j] = p->one_minus_i ? 0 : flushed(dc_next * c * (f * (1 - f)));
    da[G * UNITS + j] = flushed(dc_next * i * fmaf(-g, g, 1));
    da[O * UNITS + j] = flushed(d * tanh_c[j] * (o * (1 - o)));
    dc[j] = flushed(dc_next * f);
  }
  for (int64_t j = 0; j < UNITS; j++)
    dh[j] = sum_of(GATES * UNITS, da, p->w_hh + j, UNITS);
  for (int64_t j = 0; j < p->inputs; j++)
    dx[j] = sum_of(GATES * UNITS, da, p->w_ih + j, p->inputs);
}

/* Over the steps that exist, as the backward sweep visits them: the longest sample first. */
static void plain_weight_gradients(const struct plain_layer *p, float *w_ih, float *w_hh, float *bias) {
  float da[STEPS * SAMPLES], other[STEPS * SAMPLES], ones[STEPS * SAMPLES];
  int64_t steps[STEPS * SAMPLES], samples[STEPS * SAMPLES], count = 0;
  for (int64_t t = STEPS - 1; t >= 0; t--)
    for (int64_t length = STEPS; length > t; length--)
      for (int64_t n = 0; n < SAMPLES; n++)
        if (p->lengths[n] == length)
          steps[count] = t, ones[count] = 1, samples[count++] = n;
  for (int64_t row = 0; row < GATES * UNITS; row++) {
    for (int64_t k = 0; k < count; k++)
      da[k] = p->da[steps[k]][samples[k]][row];
    bias[row] = sum_of(count, da, ones, 1);
    for (int64_t j = 0; j < p->inputs; j++) {
      for (int64_t k = 0; k < count; k++)
        other[k] = p->x[(steps[k] * SAMPLES + samples[k]) * p->inputs + j];
      w_ih[row * p->inputs + j] = sum_of(count, da, other, 1);
    }
    for (int64_t j = 0; j < UNITS; j++) {
      for (int64_t k = 0; k < count; k++)
        other[k] = p->h[steps[k]][samples[k]][j];
      w_hh[row * UNITS + j] = sum_of(count, da, other, 1);
    }
  }
}

static void plain_network(struct buffers *b, const struct network_case *c, const struct network_data *d,
                          bool one_minus_i, const struct network_results *r) {
  struct plain_layer *layers = buffers_take(b, LAYERS * sizeof *layers, sizeof(double));
  const float *x = d->x, *dy = d->dy;
  memset(layers, 0, LAYERS * sizeof *layers);
  for (int64_t l = 0; l < LAYERS; l++) {
    const struct gk_reference_layout at = gk_reference_layout_of(&c->desc, l, 0);
    struct plain_layer *p = &layers[l];
    float *y = l == LAYERS - 1 ? r->y : take_floats(b, STEPS * SAMPLES * UNITS);
    *p = (struct plain_layer){.one_minus_i = one_minus_i,
                              .inputs = at.input_size,
                              .w_ih = d->parameters + at.weight_ih,
                              .w_hh = d->parameters + at.weight_hh,
                              .b_ih = d->parameters + at.bias_ih,
                              .b_hh = d->parameters + at.bias_hh,
                              .x = x,
                              .lengths = d->lengths};
    memset(y, 0, STEPS * SAMPLES * UNITS * sizeof *y);
    for (int64_t n = 0; n < SAMPLES; n++) {
      const int64_t state = (l * SAMPLES + n) * UNITS;
      memcpy(p->h[0][n], d->h0 + state, sizeof p->h[0][n]);
      memcpy(p->c[0][n], d->c0 + state, sizeof p->c[0][n]);
      for (int64_t t = 0; t < d->lengths[n]; t++) {
        plain_forward(p, t, n);
        memcpy(y + (t * SAMPLES + n) * UNITS, p->h[t + 1][n], sizeof p->h[t + 1][n]);
      }
      memcpy(r->hn + state, p->h[d->lengths[n]][n], sizeof p->h[0][n]);
      memcpy(r->cn + state, p->c[d->lengths[n]][n], sizeof p->c[0][n]);
    }
    x = y;
  }
  for (int64_t l = LAYERS - 1; l >= 0; l--) {
    const struct gk_reference_layout at = gk_reference_layout_of(&c->desc, l, 0);
    struct plain_layer *p = &layers[l];
    float *dx = l == 0 ? r->dx : take_floats(b, STEPS * SAMPLES * UNITS);
    memset(dx, 0, (size_t)(STEPS * SAMPLES * p->inputs) * sizeof *dx);
    for (int64_t n = 0; n < SAMPLES; n++) {
      const int64_t state = (l * SAMPLES + n) * UNITS;
      memcpy(r->dh0 + state, d->dhn + state, UNITS * sizeof(float));
      memcpy(r->dc0 + state, d->dcn + state, UNITS * sizeof(float));
      for (int64_t t = d->lengths[n] - 1; t >= 0; t--)
        plain_backward(p, t, n, dy + (t * SAMPLES + n) * UNITS, r->dh0 + state, r->dc0 + state,
                       dx + (t * SAMPLES + n) * p->inputs);
    }
    plain_weight_gradients(p, r->gradients + at.weight_ih, r->gradients + at.weight_hh,
                           r->gradients + at.bias_ih);
    memcpy(r->gradients + at.bias_hh, r->gradients + at.bias_ih, GATES * UNITS * sizeof(float));
    dy = dx;
  }
}

/* The same plain loops are the LSTM, and with f := 1 - i the coupled one, whose parameters lack the rows of
 * f. */
static void coupled_lstm_is_the_lstm_with_f_one_minus_i(void **state) {
  const struct special_case rows = {.gates = 3, .same_as = {0, 2, 3}};
  (void)state;
  for (int tier = 0; tier < tier_count; tier++)
    for (int schedule = GK_SCHEDULE_SLICES; schedule < gk_schedule_count(); schedule++)
      for (int coupled = 0; coupled < 2; coupled++) {
        struct buffers b = {0};
        struct network_case c = {.desc = GK_RNN_DESC_INIT,
                                 .time = STEPS,
                                 .batch = SAMPLES,
                                 .states = true,
                                 .ragged = true,
                                 .seed = 600};
        c.desc.input_size = INPUTS;
        c.desc.hidden_size = UNITS;
        c.desc.layers = LAYERS;
        c.desc.isa = tiers[tier];
        c.desc.schedule = (gk_schedule)schedule;
        c.desc.threads = 1 + schedule % 2;
        if (!case_wanted(__func__))
          continue;
        struct network_case run = c;
        run.desc.options.coupled = coupled;
        const struct network_data d = take_data(&b, &c);
        struct network_data used = d;
        struct network_results plain = take_results(&b, &c), wanted = plain;
        plain_network(&b, &c, &d, coupled, &plain);
        wanted.dh_norms = NULL;
        if (coupled) {
          used.parameters = take_floats(&b, sizes_of(&run).parameters);
          wanted.gradients = take_floats(&b, sizes_of(&run).parameters);
          embed_parameters(&rows, &c, &run, d.parameters, used.parameters, false);
          embed_parameters(&rows, &c, &run, plain.gradients, wanted.gradients, false);
        }
        const struct network_results got = run_case(&b, &run, &used);
        check_same_results(&run, "plain loops", &got, &wanted);
        buffers_release(&b);
      }
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gru_with_open_gates_is_the_rnn),
      cmocka_unit_test(gru_with_reset_at_one_is_the_simplified_gru),
      cmocka_unit_test(simplified_gru_with_an_open_gate_is_the_rnn),
      cmocka_unit_test(mgu_with_its_gate_at_one_is_the_rnn),
      cmocka_unit_test(coupled_lstm_is_the_lstm_with_f_one_minus_i),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
