/* SPDX-License-Identifier: Apache-2.0
 *
 * h' = f(W_ih x + b_ih + W_hh h + b_hh), f = tanh unless the description says otherwise. Kept: the sum. */
#include <string.h>

#include "src/reference/reference.h"

static void forward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                    double *h_next, double *c_next, double *kept, double *scratch) {
  (void)c, (void)c_next, (void)scratch;
  int64_t H = w->desc->hidden_size;
  memset(kept, 0, (size_t)H * sizeof(double));
  gk_reference_add(H, w->bias_ih, kept);
  gk_reference_add(H, w->bias_hh, kept);
  gk_reference_product(H, w->input_size, w->weight_ih, x, kept);
  gk_reference_product(H, H, w->weight_hh, h, kept);
  for (int64_t j = 0; j < H; j++)
    h_next[j] = gk_reference_activation(w->desc, GK_CANDIDATE, kept[j], NULL);
}

static void backward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                     const double *kept, double *dh, double *dc, double *dx,
                     const struct gk_reference_weight_gradients *dw, double *scratch) {
  (void)c, (void)dc;
  int64_t H = w->desc->hidden_size;
  double *da = scratch, slope;
  for (int64_t j = 0; j < H; j++) {
    gk_reference_activation(w->desc, GK_CANDIDATE, kept[j], &slope);
    da[j] = dh[j] * slope;
    dh[j] = 0;
  }
  gk_reference_add(H, da, dw->bias_ih);
  gk_reference_add(H, da, dw->bias_hh);
  gk_reference_product_backward(H, w->input_size, w->weight_ih, x, da, dx, dw->weight_ih);
  gk_reference_product_backward(H, H, w->weight_hh, h, da, dh, dw->weight_hh);
}

const struct gk_reference_cell gk_reference_rnn = {
    .gates = 1, .kept = 1, .forward = forward, .backward = backward};
