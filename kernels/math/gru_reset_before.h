/* SPDX-License-Identifier: Apache-2.0
 * GRU with the reset gate before the product (Cho 2014, in PyTorch's sense of z). Blocks of a gates row:
 * r z n q, where q = r h' is the operand of the candidate's recurrent product. Two phases a step:
 * forward  r, z and q;  then (after the product of q) n and h
 * backward dn, dz;      then (after the product that gives drh, the gradient of q) dr */
#include "kernels/math/cell.h"

GK_CELL_UNITS gru_reset_before_forward_gates_units(const struct gk_cell_forward *step, size_t row,
                                                   size_t unit, size_t lanes) {
  const size_t hidden = step->hidden;
  float *gates = step->gates[row] + unit;
  vf r = v_sigmoid(cell_load(gates, lanes));
  vf z = v_sigmoid(cell_load(gates + hidden, lanes));
  cell_store(gates, r, lanes);
  cell_store(gates + hidden, z, lanes);
  cell_store(gates + 3 * hidden, v_flush(vf_mul(r, cell_load(step->h_prev[row] + unit, lanes))), lanes);
}

/* n = tanh(n),  h = n + z (h' - n) */
GK_CELL_UNITS gru_reset_before_forward_candidate_units(const struct gk_cell_forward *step, size_t row,
                                                       size_t unit, size_t lanes) {
  const size_t hidden = step->hidden;
  float *gates = step->gates[row] + unit;
  vf z = cell_load(gates + hidden, lanes);
  vf n = v_tanh(cell_load(gates + 2 * hidden, lanes));
  vf h_prev = cell_load(step->h_prev[row] + unit, lanes);
  cell_store(gates + 2 * hidden, n, lanes);
  cell_store(step->h[row] + unit, v_flush(vf_fma(z, vf_sub(h_prev, n), n)), lanes);
}

GK_CELL_UNITS gru_reset_before_backward_candidate_units(const struct gk_cell_backward *step, size_t row,
                                                        size_t unit, size_t lanes) {
  const size_t hidden = step->hidden;
  const vf one = vf_set(1.0f);
  float *gates = step->gates[row] + unit;
  vf z = cell_load(gates + hidden, lanes);
  vf n = cell_load(gates + 2 * hidden, lanes);
  vf dh = cell_load(step->dh[row] + unit, lanes);
  if (step->dy) dh = vf_add(cell_load(step->dy[row] + unit, lanes), dh);
  vf h_prev = cell_load(step->h_prev[row] + unit, lanes);
  vf dz = vf_mul(vf_mul(dh, vf_sub(h_prev, n)), vf_mul(z, vf_sub(one, z)));
  vf dn = vf_mul(vf_mul(dh, vf_sub(one, z)), vf_fnma(n, n, one));
  cell_store(gates + hidden, v_flush(dz), lanes);
  cell_store(gates + 2 * hidden, v_flush(dn), lanes);
  cell_store(step->dh[row] + unit, v_flush(vf_mul(dh, z)), lanes);
}

GK_CELL_UNITS gru_reset_before_backward_gates_units(const struct gk_cell_backward *step, size_t row,
                                                    size_t unit, size_t lanes) {
  float *gates = step->gates[row] + unit;
  vf r = cell_load(gates, lanes);
  vf h_prev = cell_load(step->h_prev[row] + unit, lanes);
  vf drh = cell_load(step->drh[row] + unit, lanes);
  vf dr = vf_mul(vf_mul(drh, h_prev), vf_mul(r, vf_sub(vf_set(1.0f), r)));
  cell_store(gates, v_flush(dr), lanes);
  float *dh = step->dh[row] + unit;
  cell_store(dh, v_flush(vf_fma(drh, r, cell_load(dh, lanes))), lanes);
}

GK_CELL_KERNEL(gru_reset_before_forward_gates, gk_cell_forward)
GK_CELL_KERNEL(gru_reset_before_forward_candidate, gk_cell_forward)
GK_CELL_KERNEL(gru_reset_before_backward_candidate, gk_cell_backward)
GK_CELL_KERNEL(gru_reset_before_backward_gates, gk_cell_backward)
