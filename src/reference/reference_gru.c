/* SPDX-License-Identifier: Apache-2.0
 *
 * Reset after the product, as PyTorch:
 *   r = sigmoid(W_ir x + b_ir + W_hr h + b_hr), z likewise
 *   s = W_hn h + b_hn, n = tanh(W_in x + b_in + r s), h' = n + z (h - n)
 * sigmoid and tanh are what the description's options say. Kept: r, z, n, s and the functions' derivatives.
 */
#include <string.h>

#include "src/reference/reference.h"

static void forward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                    double *h_next, double *c_next, double *kept, double *scratch) {
  (void)c, (void)c_next;
  int64_t H = w->desc->hidden_size;
  double *r = kept, *z = kept + H, *n = kept + 2 * H, *s = kept + 3 * H;
  double *slope_r = kept + 4 * H, *slope_z = kept + 5 * H, *slope_n = kept + 6 * H;
  double *from_x = scratch, *from_h = scratch + 3 * H; /* (3, H) each: gates r, z, n */
  memset(scratch, 0, (size_t)(6 * H) * sizeof(double));
  gk_reference_add(3 * H, w->bias_ih, from_x);
  gk_reference_add(3 * H, w->bias_hh, from_h);
  gk_reference_product(3 * H, w->input_size, w->weight_ih, x, from_x);
  gk_reference_product(3 * H, H, w->weight_hh, h, from_h);
  for (int64_t j = 0; j < H; j++) {
    s[j] = from_h[2 * H + j];
    r[j] = gk_reference_activation(w->desc, GK_GATE, from_x[j] + from_h[j], &slope_r[j]);
    z[j] = gk_reference_activation(w->desc, GK_GATE, from_x[H + j] + from_h[H + j], &slope_z[j]);
    n[j] = gk_reference_activation(w->desc, GK_CANDIDATE, from_x[2 * H + j] + r[j] * s[j], &slope_n[j]);
    h_next[j] = n[j] + z[j] * (h[j] - n[j]);
  }
}

static void backward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                     const double *kept, double *dh, double *dc, double *dx,
                     const struct gk_reference_weight_gradients *dw, double *scratch) {
  (void)c, (void)dc;
  int64_t H = w->desc->hidden_size;
  const double *r = kept, *z = kept + H, *n = kept + 2 * H, *s = kept + 3 * H;
  const double *slope_r = kept + 4 * H, *slope_z = kept + 5 * H, *slope_n = kept + 6 * H;
  double *from_x = scratch, *from_h = scratch + 3 * H; /* gradients of forward's arrays of these names */
  for (int64_t j = 0; j < H; j++) {
    double dn = dh[j] * (1 - z[j]), dz = dh[j] * (h[j] - n[j]);
    double dn_sum = dn * slope_n[j];
    double dr = dn_sum * s[j];
    from_x[j] = from_h[j] = dr * slope_r[j];
    from_x[H + j] = from_h[H + j] = dz * slope_z[j];
    from_x[2 * H + j] = dn_sum;
    from_h[2 * H + j] = dn_sum * r[j];
    dh[j] = dh[j] * z[j];
  }
  gk_reference_add(3 * H, from_x, dw->bias_ih);
  gk_reference_add(3 * H, from_h, dw->bias_hh);
  gk_reference_product_backward(3 * H, w->input_size, w->weight_ih, x, from_x, dx, dw->weight_ih);
  gk_reference_product_backward(3 * H, H, w->weight_hh, h, from_h, dh, dw->weight_hh);
}

const struct gk_reference_cell gk_reference_gru = {
    .gates = 3, .kept = 7, .forward = forward, .backward = backward};
