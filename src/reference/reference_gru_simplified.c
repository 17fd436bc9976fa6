/* SPDX-License-Identifier: Apache-2.0
 *
 * Update gate only, as Ng's course with z = 1 - its update gate:
 *   z = sigmoid(W_iz x + b_iz + W_hz h + b_hz), n = tanh(likewise), h' = n + z (h - n)
 * sigmoid and tanh are what the description's options say. Kept: z, n and the functions' derivatives. */
#include <string.h>

#include "src/reference/reference.h"

static void forward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                    double *h_next, double *c_next, double *kept, double *scratch) {
  (void)c, (void)c_next;
  int64_t H = w->desc->hidden_size;
  double *z = kept, *n = kept + H, *slope_z = kept + 2 * H, *slope_n = kept + 3 * H;
  double *a = scratch; /* (2, H): gates z, n */
  memset(a, 0, (size_t)(2 * H) * sizeof(double));
  gk_reference_add(2 * H, w->bias_ih, a);
  gk_reference_add(2 * H, w->bias_hh, a);
  gk_reference_product(2 * H, w->input_size, w->weight_ih, x, a);
  gk_reference_product(2 * H, H, w->weight_hh, h, a);
  for (int64_t j = 0; j < H; j++) {
    z[j] = gk_reference_activation(w->desc, GK_GATE, a[j], &slope_z[j]);
    n[j] = gk_reference_activation(w->desc, GK_CANDIDATE, a[H + j], &slope_n[j]);
    h_next[j] = n[j] + z[j] * (h[j] - n[j]);
  }
}

static void backward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                     const double *kept, double *dh, double *dc, double *dx,
                     const struct gk_reference_weight_gradients *dw, double *scratch) {
  (void)c, (void)dc;
  int64_t H = w->desc->hidden_size;
  const double *z = kept, *n = kept + H, *slope_z = kept + 2 * H, *slope_n = kept + 3 * H;
  double *da = scratch;
  for (int64_t j = 0; j < H; j++) {
    da[j] = dh[j] * (h[j] - n[j]) * slope_z[j];
    da[H + j] = dh[j] * (1 - z[j]) * slope_n[j];
    dh[j] = dh[j] * z[j];
  }
  gk_reference_add(2 * H, da, dw->bias_ih);
  gk_reference_add(2 * H, da, dw->bias_hh);
  gk_reference_product_backward(2 * H, w->input_size, w->weight_ih, x, da, dx, dw->weight_ih);
  gk_reference_product_backward(2 * H, H, w->weight_hh, h, da, dh, dw->weight_hh);
}

const struct gk_reference_cell gk_reference_gru_simplified = {
    .gates = 2, .kept = 4, .forward = forward, .backward = backward};
