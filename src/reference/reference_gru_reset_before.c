/* SPDX-License-Identifier: Apache-2.0
 *
 * Reset before the product, as Cho 2014:
 *   r = sigmoid(W_ir x + b_ir + W_hr h + b_hr), z likewise
 *   u = r h, n = tanh(W_in x + b_in + W_hn u + b_hn), h' = n + z (h - n)
 * sigmoid and tanh are what the description's options say. Kept: r, z, n, u and the functions' derivatives.
 */
#include <string.h>

#include "src/reference/reference.h"

static void forward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                    double *h_next, double *c_next, double *kept, double *scratch) {
  (void)c, (void)c_next;
  int64_t H = w->desc->hidden_size;
  double *r = kept, *z = kept + H, *n = kept + 2 * H, *u = kept + 3 * H;
  double *slope_r = kept + 4 * H, *slope_z = kept + 5 * H, *slope_n = kept + 6 * H;
  double *a = scratch; /* (3, H): gates r, z, n */
  memset(a, 0, (size_t)(3 * H) * sizeof(double));
  gk_reference_add(3 * H, w->bias_ih, a);
  gk_reference_add(3 * H, w->bias_hh, a);
  gk_reference_product(3 * H, w->input_size, w->weight_ih, x, a);
  gk_reference_product(2 * H, H, w->weight_hh, h, a);
  for (int64_t j = 0; j < H; j++) {
    r[j] = gk_reference_activation(w->desc, GK_GATE, a[j], &slope_r[j]);
    z[j] = gk_reference_activation(w->desc, GK_GATE, a[H + j], &slope_z[j]);
    u[j] = r[j] * h[j];
  }
  gk_reference_product(H, H, w->weight_hh + 2 * H * H, u, a + 2 * H);
  for (int64_t j = 0; j < H; j++) {
    n[j] = gk_reference_activation(w->desc, GK_CANDIDATE, a[2 * H + j], &slope_n[j]);
    h_next[j] = n[j] + z[j] * (h[j] - n[j]);
  }
}

static void backward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                     const double *kept, double *dh, double *dc, double *dx,
                     const struct gk_reference_weight_gradients *dw, double *scratch) {
  (void)c, (void)dc;
  int64_t H = w->desc->hidden_size;
  const double *r = kept, *z = kept + H, *n = kept + 2 * H, *u = kept + 3 * H;
  const double *slope_r = kept + 4 * H, *slope_z = kept + 5 * H, *slope_n = kept + 6 * H;
  double *da = scratch, *du = scratch + 3 * H;
  for (int64_t j = 0; j < H; j++) {
    double dn = dh[j] * (1 - z[j]), dz = dh[j] * (h[j] - n[j]);
    da[H + j] = dz * slope_z[j];
    da[2 * H + j] = dn * slope_n[j];
    dh[j] = dh[j] * z[j];
    du[j] = 0;
  }
  gk_reference_product_backward(H, H, w->weight_hh + 2 * H * H, u, da + 2 * H, du, dw->weight_hh + 2 * H * H);
  for (int64_t j = 0; j < H; j++) {
    da[j] = du[j] * h[j] * slope_r[j];
    dh[j] += du[j] * r[j];
  }
  gk_reference_add(3 * H, da, dw->bias_ih);
  gk_reference_add(3 * H, da, dw->bias_hh);
  gk_reference_product_backward(3 * H, w->input_size, w->weight_ih, x, da, dx, dw->weight_ih);
  gk_reference_product_backward(2 * H, H, w->weight_hh, h, da, dh, dw->weight_hh);
}

const struct gk_reference_cell gk_reference_gru_reset_before = {
    .gates = 3, .kept = 7, .forward = forward, .backward = backward};
