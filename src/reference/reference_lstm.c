/* SPDX-License-Identifier: Apache-2.0
 *
 * i, f, o = sigmoid(W x + b_i + W_h h + b_h [+ p c]), g = tanh(...), c' = f c + i g, h' = o tanh(c').
 * Options: sigmoid and tanh are others; p c are the peepholes, of i and f with c, of o with c'; coupled, f =
 * 1 - i and the gates are i g o; c' is bounded. */
#include <math.h>
#include <string.h>

#include "src/reference/reference.h"

/* What is kept of a step, (H) each. */
struct kept {
  double *i, *f, *g, *o, *output, *c_next; /* output: tanh(c') */
  double *slope_i, *slope_f, *slope_g, *slope_o, *slope_output, *inside;
};
enum { KEPT = sizeof(struct kept) / sizeof(double *) };

static struct kept kept_at(const double *kept, int64_t H) {
  struct kept k;
  double **const array[KEPT] = {&k.i,       &k.f,       &k.g,       &k.o,       &k.output,       &k.c_next,
                                &k.slope_i, &k.slope_f, &k.slope_g, &k.slope_o, &k.slope_output, &k.inside};
  for (int64_t a = 0; a < KEPT; a++)
    *array[a] = (double *)kept + a * H;
  return k;
}

/* Rows of the gates, and of the peepholes of i, f and o; f's do not exist if coupled. */
struct rows {
  bool coupled;
  int64_t gates, g, o, peep_o;
};

static struct rows rows_of(const gk_rnn_desc *desc) {
  if (desc->options.coupled)
    return (struct rows){true, 3, 1, 2, 1};
  return (struct rows){false, 4, 2, 3, 2};
}

static double peep(const double *peephole, int64_t at, double c) {
  return peephole ? peephole[at] * c : 0;
}

static void forward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                    double *h_next, double *c_next, double *kept, double *scratch) {
  const int64_t H = w->desc->hidden_size;
  const struct rows rows = rows_of(w->desc);
  const struct kept k = kept_at(kept, H);
  const double *p = w->peephole;
  double *a = scratch; /* (G, H) */
  memset(a, 0, (size_t)(rows.gates * H) * sizeof(double));
  gk_reference_add(rows.gates * H, w->bias_ih, a);
  gk_reference_add(rows.gates * H, w->bias_hh, a);
  gk_reference_product(rows.gates * H, w->input_size, w->weight_ih, x, a);
  gk_reference_product(rows.gates * H, w->output, w->weight_hh, h, a);
  for (int64_t j = 0; j < H; j++) {
    k.i[j] = gk_reference_activation(w->desc, GK_GATE, a[j] + peep(p, j, c[j]), &k.slope_i[j]);
    if (rows.coupled)
      k.f[j] = 1 - k.i[j];
    else
      k.f[j] = gk_reference_activation(w->desc, GK_GATE, a[H + j] + peep(p, H + j, c[j]), &k.slope_f[j]);
    k.g[j] = gk_reference_activation(w->desc, GK_CANDIDATE, a[rows.g * H + j], &k.slope_g[j]);
    double limit = w->desc->options.cell_clip, sum = k.f[j] * c[j] + k.i[j] * k.g[j];
    k.inside[j] = !(limit > 0 && fabs(sum) > limit);
    c_next[j] = k.c_next[j] = k.inside[j] ? sum : copysign(limit, sum);
    k.o[j] = gk_reference_activation(
        w->desc, GK_GATE, a[rows.o * H + j] + peep(p, rows.peep_o * H + j, c_next[j]), &k.slope_o[j]);
    k.output[j] = gk_reference_activation(w->desc, GK_OUTPUT, c_next[j], &k.slope_output[j]);
    h_next[j] = k.o[j] * k.output[j];
  }
}

static void backward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                     const double *kept, double *dh, double *dc, double *dx,
                     const struct gk_reference_weight_gradients *dw, double *scratch) {
  const int64_t H = w->desc->hidden_size;
  const struct rows rows = rows_of(w->desc);
  const struct kept k = kept_at(kept, H);
  const double *p = w->peephole;
  double *da = scratch;
  for (int64_t j = 0; j < H; j++) {
    double d_o = dh[j] * k.output[j] * k.slope_o[j], df = 0;
    double dc_next = dc[j] + dh[j] * k.o[j] * k.slope_output[j] + peep(p, rows.peep_o * H + j, d_o);
    dc_next *= k.inside[j];
    double di = dc_next * (k.g[j] - (rows.coupled ? c[j] : 0)) * k.slope_i[j];
    if (!rows.coupled)
      df = da[H + j] = dc_next * c[j] * k.slope_f[j];
    da[j] = di;
    da[rows.g * H + j] = dc_next * k.i[j] * k.slope_g[j];
    da[rows.o * H + j] = d_o;
    dc[j] = dc_next * k.f[j] + peep(p, j, di) + (rows.coupled ? 0 : peep(p, H + j, df));
    dh[j] = 0;
    if (!p)
      continue;
    dw->peephole[j] += di * c[j];
    if (!rows.coupled)
      dw->peephole[H + j] += df * c[j];
    dw->peephole[rows.peep_o * H + j] += d_o * k.c_next[j];
  }
  gk_reference_add(rows.gates * H, da, dw->bias_ih);
  gk_reference_add(rows.gates * H, da, dw->bias_hh);
  gk_reference_product_backward(rows.gates * H, w->input_size, w->weight_ih, x, da, dx, dw->weight_ih);
  gk_reference_product_backward(rows.gates * H, w->output, w->weight_hh, h, da, dh, dw->weight_hh);
}

const struct gk_reference_cell gk_reference_lstm = {
    .gates = 4, .kept = KEPT, .forward = forward, .backward = backward};
