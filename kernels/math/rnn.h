/* SPDX-License-Identifier: Apache-2.0
 * Basic RNN (Elman 1990; PyTorch's RNN). The one block of a gates row: only gradients, because h
 * says all; in the general kernels forward saves the pre-activation there. */
#include "kernels/math/cell.h"

/* h = f(a) */
GK_CELL_UNITS rnn_forward_body(const struct gk_cell_forward *step, size_t row, size_t unit, size_t lanes,
                               bool general) {
  vf a = v_load(step->pre[row] + unit, lanes);
  if (general) {
    cell_store_h(step, row, unit, cell_activate(step->variant, true, GK_CANDIDATE, a).y, lanes);
    if (step->saved_gates)
      cell_save(step, step->saved_gates[row] + unit, a, lanes);
    return;
  }
  vf h = step->activation == GK_ACTIVATION_RELU ? vf_at_least(a, vf_set(0.0f)) : v_tanh(a);
  cell_store_h(step, row, unit, h, lanes);
}

/* f' from h alone: 1 - h^2, or 1 where h > 0 (a NaN goes on) */
GK_CELL_UNITS rnn_backward_body(const struct gk_cell_backward *step, size_t row, size_t unit, size_t lanes,
                                bool general) {
  vf h = v_load(step->h[row] + unit, lanes);
  vf dh = cell_dh(step, row, unit, lanes);
  if (general) {
    vf slope = cell_recall(step->variant, true, GK_CANDIDATE, v_load(step->gates[row] + unit, lanes)).slope;
    cell_store_gradient(step, row, unit, vf_mul(dh, slope), lanes);
    v_store(step->dh[row] + unit, vf_set(0.0f), lanes);
    return;
  }
  vf da = step->activation == GK_ACTIVATION_RELU ? vf_zero_where(vf_ge(vf_set(0.0f), h), dh)
                                                 : vf_mul(dh, vf_fnma(h, h, vf_set(1.0f)));
  cell_store_gradient(step, row, unit, da, lanes);
  v_store(step->dh[row] + unit, vf_set(0.0f), lanes);
}

GK_CELL_KERNEL(rnn_forward, forward, 0, false)
GK_CELL_KERNEL(rnn_backward, backward, 1, false)

#define rnn_forward_phases                                                                                   \
  { rnn_forward }
#define rnn_backward_phases                                                                                  \
  { rnn_backward }
#define rnn_forward_general_phases                                                                           \
  { rnn_forward_general }
#define rnn_backward_general_phases                                                                          \
  { rnn_backward_general }
