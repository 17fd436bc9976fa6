/* SPDX-License-Identifier: Apache-2.0
 * GRU with the reset gate before the product (Cho 2014, in PyTorch's sense of z). Blocks of a gates row:
 * r z n q, where q = r h' is the operand of the candidate's recurrent product. Two phases a step:
 * forward  r, z and q;  then (after the product of q) n and h
 * backward dn, dz;      then (after the product that gives drh, the gradient of q) dr */
#include "kernels/math/cell.h"

GK_CELL_UNITS gru_reset_before_forward_gates_units(const struct gk_cell_forward *step, size_t row,
                                                   size_t unit, size_t lanes) {
  const size_t hidden = step->hidden;
  float *pre = step->pre[row] + unit;
  vf r = v_sigmoid(cell_load(pre, lanes));
  vf z = v_sigmoid(cell_load(pre + hidden, lanes));
  vf q = v_flush(vf_mul(r, cell_load(step->h_prev[row] + unit, lanes)));
  cell_store(pre + hidden, z, lanes);
  cell_store(pre + 3 * hidden, q, lanes);
  if (!step->saved_gates)
    return;
  float *gates = step->saved_gates[row] + unit;
  cell_save(step, gates, r, lanes);
  cell_save(step, gates + hidden, z, lanes);
  cell_save(step, gates + 3 * hidden, q, lanes);
}

/* n = tanh(n),  h = n + z (h' - n) */
GK_CELL_UNITS gru_reset_before_forward_candidate_units(const struct gk_cell_forward *step, size_t row,
                                                       size_t unit, size_t lanes) {
  const size_t hidden = step->hidden;
  const float *pre = step->pre[row] + unit;
  vf z = cell_load(pre + hidden, lanes);
  vf n = v_tanh(cell_load(pre + 2 * hidden, lanes));
  vf h_prev = cell_load(step->h_prev[row] + unit, lanes);
  cell_store_h(step, row, unit, vf_fma(z, vf_sub(h_prev, n), n), lanes);
  if (step->saved_gates)
    cell_save(step, step->saved_gates[row] + unit + 2 * hidden, n, lanes);
}

GK_CELL_UNITS gru_reset_before_backward_candidate_units(const struct gk_cell_backward *step, size_t row,
                                                        size_t unit, size_t lanes) {
  const size_t hidden = step->hidden;
  const vf one = vf_set(1.0f);
  const float *gates = step->gates[row] + unit;
  vf z = cell_load(gates + hidden, lanes);
  vf n = cell_load(gates + 2 * hidden, lanes);
  vf dh = cell_load(step->dh[row] + unit, lanes);
  if (step->dy)
    dh = vf_add(cell_load(step->dy[row] + unit, lanes), dh);
  vf h_prev = cell_load(step->h_prev[row] + unit, lanes);
  vf dz = vf_mul(vf_mul(dh, vf_sub(h_prev, n)), vf_mul(z, vf_sub(one, z)));
  vf dn = vf_mul(vf_mul(dh, vf_sub(one, z)), vf_fnma(n, n, one));
  cell_store_gradient(step, row, unit + hidden, dz, lanes);
  cell_store_gradient(step, row, unit + 2 * hidden, dn, lanes);
  cell_store(step->dh[row] + unit, v_flush(vf_mul(dh, z)), lanes);
}

GK_CELL_UNITS gru_reset_before_backward_gates_units(const struct gk_cell_backward *step, size_t row,
                                                    size_t unit, size_t lanes) {
  vf r = cell_load(step->gates[row] + unit, lanes);
  vf h_prev = cell_load(step->h_prev[row] + unit, lanes);
  vf drh = cell_load(step->drh[row] + unit, lanes);
  vf dr = vf_mul(vf_mul(drh, h_prev), vf_mul(r, vf_sub(vf_set(1.0f), r)));
  cell_store_gradient(step, row, unit, dr, lanes);
  float *dh = step->dh[row] + unit;
  cell_store(dh, v_flush(vf_fma(drh, r, cell_load(dh, lanes))), lanes);
}

GK_CELL_KERNEL(gru_reset_before_forward_gates, forward, 4, false)
GK_CELL_KERNEL(gru_reset_before_forward_candidate, forward, 4, false)
GK_CELL_KERNEL(gru_reset_before_backward_candidate, backward, 4, false)
GK_CELL_KERNEL(gru_reset_before_backward_gates, backward, 4, false)

#define gru_reset_before_forward_phases                                                                      \
  { gru_reset_before_forward_gates, gru_reset_before_forward_candidate }
#define gru_reset_before_backward_phases                                                                     \
  { gru_reset_before_backward_candidate, gru_reset_before_backward_gates }
