/* SPDX-License-Identifier: Apache-2.0
 *
 * i, f, o = sigmoid(W x + b_i + W_h h + b_h), g = tanh(...), c' = f c + i g, h' = o tanh(c').
 * Kept: i, f, g, o, tanh(c'). */
#include <math.h>
#include <string.h>

#include "src/reference/reference.h"

static void forward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                    double *h_next, double *c_next, double *kept, double *scratch) {
  int64_t H = w->desc->hidden_size;
  double *i = kept, *f = kept + H, *g = kept + 2 * H, *o = kept + 3 * H, *tanh_c = kept + 4 * H;
  double *a = scratch; /* (4, H): gates i, f, g, o */
  memset(a, 0, (size_t)(4 * H) * sizeof(double));
  gk_reference_add(4 * H, w->bias_ih, a);
  gk_reference_add(4 * H, w->bias_hh, a);
  gk_reference_product(4 * H, w->input_size, w->weight_ih, x, a);
  gk_reference_product(4 * H, w->output, w->weight_hh, h, a);
  for (int64_t j = 0; j < H; j++) {
    i[j] = gk_reference_sigmoid(a[j]);
    f[j] = gk_reference_sigmoid(a[H + j]);
    g[j] = tanh(a[2 * H + j]);
    o[j] = gk_reference_sigmoid(a[3 * H + j]);
    c_next[j] = f[j] * c[j] + i[j] * g[j];
    tanh_c[j] = tanh(c_next[j]);
    h_next[j] = o[j] * tanh_c[j];
  }
}

static void backward(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                     const double *kept, double *dh, double *dc, double *dx,
                     const struct gk_reference_weight_gradients *dw, double *scratch) {
  int64_t H = w->desc->hidden_size;
  const double *i = kept, *f = kept + H, *g = kept + 2 * H, *o = kept + 3 * H, *tanh_c = kept + 4 * H;
  double *da = scratch;
  for (int64_t j = 0; j < H; j++) {
    double dc_next = dc[j] + dh[j] * o[j] * (1 - tanh_c[j] * tanh_c[j]);
    da[j] = dc_next * g[j] * i[j] * (1 - i[j]);
    da[H + j] = dc_next * c[j] * f[j] * (1 - f[j]);
    da[2 * H + j] = dc_next * i[j] * (1 - g[j] * g[j]);
    da[3 * H + j] = dh[j] * tanh_c[j] * o[j] * (1 - o[j]);
    dc[j] = dc_next * f[j];
    dh[j] = 0;
  }
  gk_reference_add(4 * H, da, dw->bias_ih);
  gk_reference_add(4 * H, da, dw->bias_hh);
  gk_reference_product_backward(4 * H, w->input_size, w->weight_ih, x, da, dx, dw->weight_ih);
  gk_reference_product_backward(4 * H, w->output, w->weight_hh, h, da, dh, dw->weight_hh);
}

const struct gk_reference_cell gk_reference_lstm = {
    .gates = 4, .kept = 5, .forward = forward, .backward = backward};
