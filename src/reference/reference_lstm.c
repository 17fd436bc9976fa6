/* SPDX-License-Identifier: Apache-2.0
 *
 * i, f, o = sigmoid(W x + b_i + W_h h + b_h [+ p c]), g = tanh(...), c' = f c + i g, h' = o tanh(c').
 * Options: sigmoid and tanh are others; p c are the peepholes, of i and f with c, of o with c'; coupled, f =
 * 1 - i and the gates are i g o; c' is bounded; layer normalisation (Ba 2016) of W x, of W_h h and of c' on
 * its way to tanh. */
#include <math.h>
#include <string.h>

#include "src/reference/reference.h"

/* What is kept of a step, (H) each. */
struct kept {
  double *i, *f, *g, *o, *output, *c_next; /* output: tanh(c') */
  double *slope_i, *slope_f, *slope_g, *slope_o, *slope_output, *inside;
  double *x, *h, *c, *scale; /* normalised W x, W_h h (4 H each) and c'; 1 / deviation of the three */
};
enum { PLAIN = sizeof(struct kept) / sizeof(double *) - 4, KEPT = PLAIN + 4 + 4 + 1 + 3 };

static struct kept kept_at(const double *kept, int64_t H) {
  struct kept k;
  double **const array[PLAIN] = {&k.i,       &k.f,       &k.g,       &k.o,       &k.output,       &k.c_next,
                                 &k.slope_i, &k.slope_f, &k.slope_g, &k.slope_o, &k.slope_output, &k.inside};
  for (int64_t a = 0; a < PLAIN; a++)
    *array[a] = (double *)kept + a * H;
  k.x = (double *)kept + PLAIN * H;
  k.h = k.x + 4 * H;
  k.c = k.h + 4 * H;
  k.scale = k.c + H;
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

/* n = (v - mean) / deviation; returns 1 / deviation. */
static double normalise(int64_t count, const double *v, double *n) {
  double mean = 0, variance = 0;
  for (int64_t i = 0; i < count; i++)
    mean += v[i] / (double)count;
  for (int64_t i = 0; i < count; i++)
    variance += (v[i] - mean) * (v[i] - mean) / (double)count;
  double scale = 1 / sqrt(variance + 1e-5);
  for (int64_t i = 0; i < count; i++)
    n[i] = (v[i] - mean) * scale;
  return scale;
}

/* d is the gradient of gain n on entry, of v on return; that of the gain is added. */
static void normalise_backward(int64_t count, const double *gain, const double *n, double scale, double *d,
                               double *d_gain) {
  double mean = 0, mean_n = 0;
  for (int64_t i = 0; i < count; i++) {
    d_gain[i] += d[i] * n[i];
    d[i] *= gain[i];
    mean += d[i] / (double)count;
    mean_n += d[i] * n[i] / (double)count;
  }
  for (int64_t i = 0; i < count; i++)
    d[i] = scale * (d[i] - mean - n[i] * mean_n);
}

/* a = the pre-activations; `from_h` is scratch. */
static void sum_products(const struct gk_reference_weights *w, int64_t count, const struct kept *k,
                         const double *x, const double *h, double *a, double *from_h) {
  if (w->ln_ih) {
    memset(a, 0, (size_t)count * sizeof(double));
    memset(from_h, 0, (size_t)count * sizeof(double));
    gk_reference_product(count, w->input_size, w->weight_ih, x, a);
    gk_reference_product(count, w->output, w->weight_hh, h, from_h);
    k->scale[0] = normalise(count, a, k->x);
    k->scale[w->desc->hidden_size] = normalise(count, from_h, k->h);
    for (int64_t i = 0; i < count; i++)
      a[i] = w->ln_ih[i] * k->x[i] + w->ln_hh[i] * k->h[i];
  } else {
    memset(a, 0, (size_t)count * sizeof(double));
    gk_reference_product(count, w->input_size, w->weight_ih, x, a);
    gk_reference_product(count, w->output, w->weight_hh, h, a);
  }
  gk_reference_add(count, w->bias_ih, a);
  gk_reference_add(count, w->bias_hh, a);
}

/* c' as the output function sees it. */
static void squash(const struct gk_reference_weights *w, const struct kept *k, const double *c_next,
                   double *seen) {
  const int64_t H = w->desc->hidden_size;
  memcpy(seen, c_next, (size_t)H * sizeof *seen);
  if (!w->ln_ih)
    return;
  k->scale[2 * H] = normalise(H, c_next, k->c);
  for (int64_t j = 0; j < H; j++)
    seen[j] = w->ln_c[j] * k->c[j] + w->bias_ln_c[j];
}

static void forward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                    double *h_next, double *c_next, double *kept, double *scratch) {
  const int64_t H = w->desc->hidden_size;
  const struct rows rows = rows_of(w->desc);
  const struct kept k = kept_at(kept, H);
  const double *p = w->peephole;
  double *a = scratch, *seen = scratch + 8 * H; /* (G, H), (H) */
  sum_products(w, rows.gates * H, &k, x, h, a, scratch + 4 * H);
  for (int64_t j = 0; j < H; j++) {
    k.i[j] = gk_reference_activation(w->desc, GK_GATE, a[j] + peep(p, j, c[j]), &k.slope_i[j]);
    if (rows.coupled)
      k.f[j] = 1 - k.i[j];
    else
      k.f[j] = gk_reference_activation(w->desc, GK_GATE, a[H + j] + peep(p, H + j, c[j]), &k.slope_f[j]);
    k.g[j] = gk_reference_activation(w->desc, GK_CANDIDATE, a[rows.g * H + j], &k.slope_g[j]);
    double limit = w->desc->options.cell_clip, sum = k.f[j] * c[j] + k.i[j] * k.g[j];
    k.inside[j] = !(limit > 0 && fabs(sum) > limit);
    c_next[j] = k.c_next[j] = k.inside[j] > 0 ? sum : copysign(limit, sum);
    k.o[j] = gk_reference_activation(
        w->desc, GK_GATE, a[rows.o * H + j] + peep(p, rows.peep_o * H + j, c_next[j]), &k.slope_o[j]);
  }
  squash(w, &k, c_next, seen);
  for (int64_t j = 0; j < H; j++) {
    k.output[j] = gk_reference_activation(w->desc, GK_OUTPUT, seen[j], &k.slope_output[j]);
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
  double *da = scratch, *dah = scratch + 4 * H,
         *seen = scratch + 8 * H; /* seen: gradients of c' by way of h */
  for (int64_t j = 0; j < H; j++) {
    seen[j] = dh[j] * k.o[j] * k.slope_output[j];
    if (w->ln_ih)
      dw->bias_ln_c[j] += seen[j];
  }
  if (w->ln_ih)
    normalise_backward(H, w->ln_c, k.c, k.scale[2 * H], seen, dw->ln_c);
  for (int64_t j = 0; j < H; j++) {
    double d_o = dh[j] * k.output[j] * k.slope_o[j], df = 0;
    double dc_next = dc[j] + seen[j] + peep(p, rows.peep_o * H + j, d_o);
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
  memcpy(dah, da, (size_t)(rows.gates * H) * sizeof *dah);
  if (w->ln_ih) {
    normalise_backward(rows.gates * H, w->ln_ih, k.x, k.scale[0], da, dw->ln_ih);
    normalise_backward(rows.gates * H, w->ln_hh, k.h, k.scale[H], dah, dw->ln_hh);
  }
  gk_reference_product_backward(rows.gates * H, w->input_size, w->weight_ih, x, da, dx, dw->weight_ih);
  gk_reference_product_backward(rows.gates * H, w->output, w->weight_hh, h, dah, dh, dw->weight_hh);
}

const struct gk_reference_cell gk_reference_lstm = {
    .gates = 4, .kept = KEPT, .forward = forward, .backward = backward};
