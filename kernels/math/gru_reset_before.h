/* SPDX-License-Identifier: Apache-2.0
 * GRU with the reset gate before the product (Cho 2014, in PyTorch's sense of z). Blocks of a gates row:
 * r z n q, where q = r h' is the operand of the candidate's recurrent product. Two phases a step:
 * forward  r, z and q;  then (after the product of q) n and h
 * backward dn, dz;      then (after the product that gives drh, the gradient of q) dr */
#include "kernels/math/cell.h"

GK_CELL_UNITS gru_reset_before_forward_gates_body(const struct gk_cell_forward *step, size_t row, size_t unit,
                                                  size_t lanes, bool general) {
  const size_t hidden = step->hidden;
  float *pre = step->pre[row] + unit;
  struct cell_value r = cell_activate(step->variant, general, GK_GATE, v_load(pre, lanes));
  struct cell_value z = cell_activate(step->variant, general, GK_GATE, v_load(pre + hidden, lanes));
  vf q = vf_flush(vf_mul(r.y, v_load(step->h_prev[row] + unit, lanes)));
  v_store(pre + hidden, z.y, lanes);
  v_store(pre + 3 * hidden, q, lanes);
  if (!step->saved_gates)
    return;
  float *gates = step->saved_gates[row] + unit;
  cell_save(step, gates, r.saved, lanes);
  cell_save(step, gates + hidden, z.saved, lanes);
  cell_save(step, gates + 3 * hidden, q, lanes);
}

/* n = tanh(n),  h = n + z (h' - n) */
GK_CELL_UNITS gru_reset_before_forward_candidate_body(const struct gk_cell_forward *step, size_t row,
                                                      size_t unit, size_t lanes, bool general) {
  const size_t hidden = step->hidden;
  const float *pre = step->pre[row] + unit;
  vf z = v_load(pre + hidden, lanes);
  struct cell_value n = cell_activate(step->variant, general, GK_CANDIDATE, v_load(pre + 2 * hidden, lanes));
  vf h_prev = v_load(step->h_prev[row] + unit, lanes);
  cell_store_h(step, row, unit, vf_fma(z, vf_sub(h_prev, n.y), n.y), lanes);
  if (step->saved_gates)
    cell_save(step, step->saved_gates[row] + unit + 2 * hidden, n.saved, lanes);
}

GK_CELL_UNITS gru_reset_before_backward_candidate_body(const struct gk_cell_backward *step, size_t row,
                                                       size_t unit, size_t lanes, bool general) {
  const size_t hidden = step->hidden;
  const vf one = vf_set(1.0f);
  const float *gates = step->gates[row] + unit;
  struct cell_recalled z = cell_recall(step->variant, general, GK_GATE, v_load(gates + hidden, lanes));
  struct cell_recalled n =
      cell_recall(step->variant, general, GK_CANDIDATE, v_load(gates + 2 * hidden, lanes));
  vf dh = cell_dh(step, row, unit, lanes);
  vf h_prev = v_load(step->h_prev[row] + unit, lanes);
  vf dz = vf_mul(vf_mul(dh, vf_sub(h_prev, n.y)), cell_slope(general, GK_GATE, z));
  vf dn = vf_mul(vf_mul(dh, vf_sub(one, z.y)), cell_slope(general, GK_CANDIDATE, n));
  cell_store_gradient(step, row, unit + hidden, dz, lanes);
  cell_store_gradient(step, row, unit + 2 * hidden, dn, lanes);
  v_store(step->dh[row] + unit, vf_flush(vf_mul(dh, z.y)), lanes);
}

GK_CELL_UNITS gru_reset_before_backward_gates_body(const struct gk_cell_backward *step, size_t row,
                                                   size_t unit, size_t lanes, bool general) {
  struct cell_recalled r =
      cell_recall(step->variant, general, GK_GATE, v_load(step->gates[row] + unit, lanes));
  vf h_prev = v_load(step->h_prev[row] + unit, lanes);
  vf drh = v_load(step->drh[row] + unit, lanes);
  vf dr = vf_mul(vf_mul(drh, h_prev), cell_slope(general, GK_GATE, r));
  cell_store_gradient(step, row, unit, dr, lanes);
  float *dh = step->dh[row] + unit;
  v_store(dh, vf_flush(vf_fma(drh, r.y, v_load(dh, lanes))), lanes);
}

GK_CELL_KERNEL(gru_reset_before_forward_gates, forward, 4, false)
GK_CELL_KERNEL(gru_reset_before_forward_candidate, forward, 4, false)
GK_CELL_KERNEL(gru_reset_before_backward_candidate, backward, 4, false)
GK_CELL_KERNEL(gru_reset_before_backward_gates, backward, 4, false)

#define gru_reset_before_forward_phases                                                                      \
  { gru_reset_before_forward_gates, gru_reset_before_forward_candidate }
#define gru_reset_before_backward_phases                                                                     \
  { gru_reset_before_backward_candidate, gru_reset_before_backward_gates }
#define gru_reset_before_forward_general_phases                                                              \
  { gru_reset_before_forward_gates_general, gru_reset_before_forward_candidate_general }
#define gru_reset_before_backward_general_phases                                                             \
  { gru_reset_before_backward_candidate_general, gru_reset_before_backward_gates_general }
