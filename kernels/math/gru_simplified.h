/* SPDX-License-Identifier: Apache-2.0
 * GRU without the reset gate (the simplified GRU of Ng's course, in PyTorch's sense of z). Blocks of a gates
 * row: z n. */
#include "kernels/math/cell.h"

/* h = n + z (h' - n) */
GK_CELL_UNITS gru_simplified_forward_units(const struct gk_cell_forward *step, size_t row, size_t unit,
                                           size_t lanes) {
  const size_t hidden = step->hidden;
  const float *pre = step->pre[row] + unit;
  vf z = v_sigmoid(cell_load(pre, lanes));
  vf n = v_tanh(cell_load(pre + hidden, lanes));
  vf h_prev = cell_load(step->h_prev[row] + unit, lanes);
  cell_store_h(step, row, unit, vf_fma(z, vf_sub(h_prev, n), n), lanes);
  if (!step->saved_gates)
    return;
  float *gates = step->saved_gates[row] + unit;
  cell_save(step, gates, z, lanes);
  cell_save(step, gates + hidden, n, lanes);
}

GK_CELL_UNITS gru_simplified_backward_units(const struct gk_cell_backward *step, size_t row, size_t unit,
                                            size_t lanes) {
  const size_t hidden = step->hidden;
  const vf one = vf_set(1.0f);
  const float *gates = step->gates[row] + unit;
  vf z = cell_load(gates, lanes);
  vf n = cell_load(gates + hidden, lanes);
  vf dh = cell_load(step->dh[row] + unit, lanes);
  if (step->dy)
    dh = vf_add(cell_load(step->dy[row] + unit, lanes), dh);
  vf h_prev = cell_load(step->h_prev[row] + unit, lanes);
  vf dz = vf_mul(vf_mul(dh, vf_sub(h_prev, n)), vf_mul(z, vf_sub(one, z)));
  vf dn = vf_mul(vf_mul(dh, vf_sub(one, z)), vf_fnma(n, n, one));
  cell_store_gradient(step, row, unit, dz, lanes);
  cell_store_gradient(step, row, unit + hidden, dn, lanes);
  cell_store(step->dh[row] + unit, v_flush(vf_mul(dh, z)), lanes);
}

GK_CELL_KERNEL(gru_simplified_forward, forward, 2, false)
GK_CELL_KERNEL(gru_simplified_backward, backward, 2, false)

#define gru_simplified_forward_phases                                                                        \
  { gru_simplified_forward }
#define gru_simplified_backward_phases                                                                       \
  { gru_simplified_backward }
