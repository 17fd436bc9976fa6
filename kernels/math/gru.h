/* SPDX-License-Identifier: Apache-2.0
 * GRU with the reset gate after the product (PyTorch, cuDNN). Blocks of a gates row: n r z a, where a is the
 * recurrent half of the candidate, W_hn h' + b_hn. The input product fills n r z, the recurrent one r z a:
 * each is one contiguous operand. */
#include "kernels/math/cell.h"

/* r and z; n + r a and z stay in the pre-activations. */
GK_CELL_UNITS gru_forward_gates_body(const struct gk_cell_forward *step, size_t row, size_t unit,
                                     size_t lanes, bool general) {
  const size_t hidden = step->hidden;
  float *pre = step->pre[row] + unit;
  struct cell_value r = cell_activate(step->variant, general, GK_GATE, v_load(pre + hidden, lanes));
  struct cell_value z = cell_activate(step->variant, general, GK_GATE, v_load(pre + 2 * hidden, lanes));
  vf a = v_load(pre + 3 * hidden, lanes);
  v_store(pre, vf_fma(r.y, a, v_load(pre, lanes)), lanes);
  v_store(pre + 2 * hidden, z.y, lanes);
  if (!step->saved_gates)
    return;
  float *gates = step->saved_gates[row] + unit;
  cell_save(step, gates + hidden, r.saved, lanes);
  cell_save(step, gates + 2 * hidden, z.saved, lanes);
  cell_save(step, gates + 3 * hidden, a, lanes);
}

/* n = tanh(n + r a),  h = n + z (h' - n) */
GK_CELL_UNITS gru_forward_candidate_body(const struct gk_cell_forward *step, size_t row, size_t unit,
                                         size_t lanes, bool general) {
  const float *pre = step->pre[row] + unit;
  struct cell_value n = cell_activate(step->variant, general, GK_CANDIDATE, v_load(pre, lanes));
  vf z = v_load(pre + 2 * step->hidden, lanes);
  vf h_prev = v_load(step->h_prev[row] + unit, lanes);
  cell_store_h(step, row, unit, vf_fma(z, vf_sub(h_prev, n.y), n.y), lanes);
  if (step->saved_gates)
    cell_save(step, step->saved_gates[row] + unit, n.saved, lanes);
}

GK_CELL_UNITS gru_backward_body(const struct gk_cell_backward *step, size_t row, size_t unit, size_t lanes,
                                bool general) {
  const size_t hidden = step->hidden;
  const vf one = vf_set(1.0f);
  const float *gates = step->gates[row] + unit;
  struct cell_recalled n = cell_recall(step->variant, general, GK_CANDIDATE, v_load(gates, lanes));
  struct cell_recalled r = cell_recall(step->variant, general, GK_GATE, v_load(gates + hidden, lanes));
  struct cell_recalled z = cell_recall(step->variant, general, GK_GATE, v_load(gates + 2 * hidden, lanes));
  vf a = v_load(gates + 3 * hidden, lanes);
  vf dh = cell_dh(step, row, unit, lanes);
  vf h_prev = v_load(step->h_prev[row] + unit, lanes);
  vf dz = vf_mul(vf_mul(dh, vf_sub(h_prev, n.y)), cell_slope(general, GK_GATE, z));
  vf dn = vf_flush(vf_mul(vf_mul(dh, vf_sub(one, z.y)), cell_slope(general, GK_CANDIDATE, n)));
  vf dr = vf_mul(vf_mul(dn, a), cell_slope(general, GK_GATE, r));
  cell_store_gradient(step, row, unit, dn, lanes);
  cell_store_gradient(step, row, unit + hidden, dr, lanes);
  cell_store_gradient(step, row, unit + 2 * hidden, dz, lanes);
  cell_store_gradient(step, row, unit + 3 * hidden, vf_mul(dn, r.y), lanes);
  v_store(step->dh[row] + unit, vf_flush(vf_mul(dh, z.y)), lanes);
}

GK_CELL_KERNEL_TWO_PASSES(gru_forward, gru_forward_gates, gru_forward_candidate, forward, 4, false)
GK_CELL_KERNEL(gru_backward, backward, 4, false)

#define gru_forward_phases                                                                                   \
  { gru_forward }
#define gru_backward_phases                                                                                  \
  { gru_backward }
#define gru_forward_general_phases                                                                           \
  { gru_forward_general }
#define gru_backward_general_phases                                                                          \
  { gru_backward_general }
