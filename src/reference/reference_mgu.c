/* SPDX-License-Identifier: Apache-2.0
 *
 * Minimal gated unit, Zhou 2016:
 *   f = sigmoid(W_if x + b_if + W_hf h + b_hf)
 *   u = f h, n = tanh(W_in x + b_in + W_hn u + b_hn), h' = h + f (n - h)
 * sigmoid and tanh are what the description's options say. Kept: f, n, u and the functions' derivatives. */
#include <string.h>

#include "src/reference/reference.h"

static void forward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                    double *h_next, double *c_next, double *kept, double *scratch) {
  (void)c, (void)c_next;
  int64_t H = w->desc->hidden_size;
  double *f = kept, *n = kept + H, *u = kept + 2 * H, *slope_f = kept + 3 * H, *slope_n = kept + 4 * H;
  double *a = scratch; /* (2, H): gates f, n */
  memset(a, 0, (size_t)(2 * H) * sizeof(double));
  gk_reference_add(2 * H, w->bias_ih, a);
  gk_reference_add(2 * H, w->bias_hh, a);
  gk_reference_product(2 * H, w->input_size, w->weight_ih, x, a);
  gk_reference_product(H, H, w->weight_hh, h, a);
  for (int64_t j = 0; j < H; j++) {
    f[j] = gk_reference_activation(w->desc, GK_GATE, a[j], &slope_f[j]);
    u[j] = f[j] * h[j];
  }
  gk_reference_product(H, H, w->weight_hh + H * H, u, a + H);
  for (int64_t j = 0; j < H; j++) {
    n[j] = gk_reference_activation(w->desc, GK_CANDIDATE, a[H + j], &slope_n[j]);
    h_next[j] = h[j] + f[j] * (n[j] - h[j]);
  }
}

static void backward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                     const double *kept, double *dh, double *dc, double *dx,
                     const struct gk_reference_weight_gradients *dw, double *scratch) {
  (void)c, (void)dc;
  int64_t H = w->desc->hidden_size;
  const double *f = kept, *n = kept + H, *u = kept + 2 * H, *slope_f = kept + 3 * H, *slope_n = kept + 4 * H;
  double *da = scratch, *du = scratch + 2 * H;
  for (int64_t j = 0; j < H; j++) {
    da[H + j] = dh[j] * f[j] * slope_n[j];
    du[j] = 0;
  }
  gk_reference_product_backward(H, H, w->weight_hh + H * H, u, da + H, du, dw->weight_hh + H * H);
  for (int64_t j = 0; j < H; j++) {
    double df = dh[j] * (n[j] - h[j]) + du[j] * h[j];
    da[j] = df * slope_f[j];
    dh[j] = dh[j] * (1 - f[j]) + du[j] * f[j];
  }
  gk_reference_add(2 * H, da, dw->bias_ih);
  gk_reference_add(2 * H, da, dw->bias_hh);
  gk_reference_product_backward(2 * H, w->input_size, w->weight_ih, x, da, dx, dw->weight_ih);
  gk_reference_product_backward(H, H, w->weight_hh, h, da, dh, dw->weight_hh);
}

const struct gk_reference_cell gk_reference_mgu = {
    .gates = 2, .kept = 5, .forward = forward, .backward = backward};
