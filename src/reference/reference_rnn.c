/* SPDX-License-Identifier: Apache-2.0
 *
 * h' = f(W_ih x + b_ih + W_hh h + b_hh), f = tanh or ReLU. Kept: h'. */
#include <math.h>
#include <string.h>

#include "src/reference/reference.h"

static void forward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                    double *h_next, double *c_next, double *kept, double *scratch) {
  (void)c, (void)c_next;
  int64_t H = w->desc->hidden_size;
  double *a = scratch;
  memset(a, 0, (size_t)H * sizeof(double));
  gk_reference_add(H, w->bias_ih, a);
  gk_reference_add(H, w->bias_hh, a);
  gk_reference_product(H, w->input_size, w->weight_ih, x, a);
  gk_reference_product(H, H, w->weight_hh, h, a);
  for (int64_t j = 0; j < H; j++) {
    double relu = a[j] > 0 ? a[j] : 0;
    h_next[j] = w->desc->activation == GK_ACTIVATION_RELU ? relu : tanh(a[j]);
    kept[j] = h_next[j];
  }
}

static void backward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                     const double *kept, double *dh, double *dc, double *dx,
                     const struct gk_reference_weight_gradients *dw, double *scratch) {
  (void)c, (void)dc;
  int64_t H = w->desc->hidden_size;
  double *da = scratch;
  for (int64_t j = 0; j < H; j++) {
    double relu = kept[j] > 0 ? 1 : 0;
    da[j] = dh[j] * (w->desc->activation == GK_ACTIVATION_RELU ? relu : 1 - kept[j] * kept[j]);
    dh[j] = 0;
  }
  gk_reference_add(H, da, dw->bias_ih);
  gk_reference_add(H, da, dw->bias_hh);
  gk_reference_product_backward(H, w->input_size, w->weight_ih, x, da, dx, dw->weight_ih);
  gk_reference_product_backward(H, H, w->weight_hh, h, da, dh, dw->weight_hh);
}

const struct gk_reference_cell gk_reference_rnn = {
    .gates = 1, .kept = 1, .forward = forward, .backward = backward};
