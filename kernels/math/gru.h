/* SPDX-License-Identifier: Apache-2.0
 * GRU with the reset gate after the product (PyTorch, cuDNN). Blocks of a gates row: n r z a, where a is the
 * recurrent half of the candidate, W_hn h' + b_hn. The input product fills n r z, the recurrent one r z a:
 * each is one contiguous operand. */
#include "kernels/math/cell.h"

/* r and z; n + r a and z stay in the pre-activations. */
GK_CELL_UNITS gru_forward_gates_units(const struct gk_cell_forward *step, size_t row, size_t unit,
                                      size_t lanes) {
  const size_t hidden = step->hidden;
  float *pre = step->pre[row] + unit;
  vf r = v_sigmoid(cell_load(pre + hidden, lanes));
  vf z = v_sigmoid(cell_load(pre + 2 * hidden, lanes));
  vf a = cell_load(pre + 3 * hidden, lanes);
  cell_store(pre, vf_fma(r, a, cell_load(pre, lanes)), lanes);
  cell_store(pre + 2 * hidden, z, lanes);
  if (!step->saved_gates)
    return;
  float *gates = step->saved_gates[row] + unit;
  cell_save(step, gates + hidden, r, lanes);
  cell_save(step, gates + 2 * hidden, z, lanes);
  cell_save(step, gates + 3 * hidden, a, lanes);
}

/* n = tanh(n + r a),  h = n + z (h' - n) */
GK_CELL_UNITS gru_forward_candidate_units(const struct gk_cell_forward *step, size_t row, size_t unit,
                                          size_t lanes) {
  const float *pre = step->pre[row] + unit;
  vf n = v_tanh(cell_load(pre, lanes));
  vf z = cell_load(pre + 2 * step->hidden, lanes);
  vf h_prev = cell_load(step->h_prev[row] + unit, lanes);
  cell_store_h(step, row, unit, vf_fma(z, vf_sub(h_prev, n), n), lanes);
  if (step->saved_gates)
    cell_save(step, step->saved_gates[row] + unit, n, lanes);
}

GK_CELL_UNITS gru_backward_units(const struct gk_cell_backward *step, size_t row, size_t unit, size_t lanes) {
  const size_t hidden = step->hidden;
  const vf one = vf_set(1.0f);
  const float *gates = step->gates[row] + unit;
  vf n = cell_load(gates, lanes);
  vf r = cell_load(gates + hidden, lanes);
  vf z = cell_load(gates + 2 * hidden, lanes);
  vf a = cell_load(gates + 3 * hidden, lanes);
  vf dh = cell_load(step->dh[row] + unit, lanes);
  if (step->dy)
    dh = vf_add(cell_load(step->dy[row] + unit, lanes), dh);
  vf h_prev = cell_load(step->h_prev[row] + unit, lanes);
  vf dz = vf_mul(vf_mul(dh, vf_sub(h_prev, n)), vf_mul(z, vf_sub(one, z)));
  vf dn = v_flush(vf_mul(vf_mul(dh, vf_sub(one, z)), vf_fnma(n, n, one)));
  vf dr = vf_mul(vf_mul(dn, a), vf_mul(r, vf_sub(one, r)));
  cell_store_gradient(step, row, unit, dn, lanes);
  cell_store_gradient(step, row, unit + hidden, dr, lanes);
  cell_store_gradient(step, row, unit + 2 * hidden, dz, lanes);
  cell_store_gradient(step, row, unit + 3 * hidden, vf_mul(dn, r), lanes);
  cell_store(step->dh[row] + unit, v_flush(vf_mul(dh, z)), lanes);
}

GK_CELL_KERNEL_TWO_PASSES(gru_forward, gru_forward_gates, gru_forward_candidate, forward, 4, false)
GK_CELL_KERNEL(gru_backward, backward, 4, false)

#define gru_forward_phases                                                                                   \
  { gru_forward }
#define gru_backward_phases                                                                                  \
  { gru_backward }
