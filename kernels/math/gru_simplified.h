/* SPDX-License-Identifier: Apache-2.0
 * GRU without the reset gate (the simplified GRU of Ng's course, in PyTorch's sense of z). Blocks of a gates
 * row: z n. */
#include "kernels/math/cell.h"

/* h = n + z (h' - n) */
GK_CELL_UNITS gru_simplified_forward_body(const struct gk_cell_forward *step, size_t row, size_t unit,
                                          size_t lanes, bool general) {
  const size_t hidden = step->hidden;
  const float *pre = step->pre[row] + unit;
  struct cell_value z = cell_activate(step->variant, general, GK_GATE, v_load(pre, lanes));
  struct cell_value n = cell_activate(step->variant, general, GK_CANDIDATE, v_load(pre + hidden, lanes));
  vf h_prev = v_load(step->h_prev[row] + unit, lanes);
  cell_store_h(step, row, unit, vf_fma(z.y, vf_sub(h_prev, n.y), n.y), lanes);
  if (!step->saved_gates)
    return;
  float *gates = step->saved_gates[row] + unit;
  cell_save(step, gates, z.saved, lanes);
  cell_save(step, gates + hidden, n.saved, lanes);
}

GK_CELL_UNITS gru_simplified_backward_body(const struct gk_cell_backward *step, size_t row, size_t unit,
                                           size_t lanes, bool general) {
  const size_t hidden = step->hidden;
  const vf one = vf_set(1.0f);
  const float *gates = step->gates[row] + unit;
  struct cell_recalled z = cell_recall(step->variant, general, GK_GATE, v_load(gates, lanes));
  struct cell_recalled n = cell_recall(step->variant, general, GK_CANDIDATE, v_load(gates + hidden, lanes));
  vf dh = cell_dh(step, row, unit, lanes);
  vf h_prev = v_load(step->h_prev[row] + unit, lanes);
  vf dz = vf_mul(vf_mul(dh, vf_sub(h_prev, n.y)), cell_slope(general, GK_GATE, z));
  vf dn = vf_mul(vf_mul(dh, vf_sub(one, z.y)), cell_slope(general, GK_CANDIDATE, n));
  cell_store_gradient(step, row, unit, dz, lanes);
  cell_store_gradient(step, row, unit + hidden, dn, lanes);
  v_store(step->dh[row] + unit, vf_flush(vf_mul(dh, z.y)), lanes);
}

GK_CELL_KERNEL(gru_simplified_forward, forward, 2, false)
GK_CELL_KERNEL(gru_simplified_backward, backward, 2, false)

#define gru_simplified_forward_phases                                                                        \
  { gru_simplified_forward }
#define gru_simplified_backward_phases                                                                       \
  { gru_simplified_backward }
#define gru_simplified_forward_general_phases                                                                \
  { gru_simplified_forward_general }
#define gru_simplified_backward_general_phases                                                               \
  { gru_simplified_backward_general }
