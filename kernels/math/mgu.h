/* SPDX-License-Identifier: Apache-2.0
 * Minimal gated unit (Zhou et al. 2016): one gate f resets and forgets. Blocks of a gates row: f n q, where
 * q = f h' is the operand of the candidate's recurrent product. Two phases a step:
 * forward  f and q;  then (after the product of q) n and h
 * backward dn;       then (after the product that gives drh, the gradient of q) df */
#include "kernels/math/cell.h"

GK_CELL_UNITS mgu_forward_gate_body(const struct gk_cell_forward *step, size_t row, size_t unit, size_t lanes,
                                    bool general) {
  const size_t hidden = step->hidden;
  float *pre = step->pre[row] + unit;
  struct cell_value f = cell_activate(step->variant, general, GK_GATE, v_load(pre, lanes));
  vf q = vf_flush(vf_mul(f.y, v_load(step->h_prev[row] + unit, lanes)));
  v_store(pre, f.y, lanes);
  v_store(pre + 2 * hidden, q, lanes);
  if (!step->saved_gates)
    return;
  float *gates = step->saved_gates[row] + unit;
  cell_save(step, gates, f.saved, lanes);
  cell_save(step, gates + 2 * hidden, q, lanes);
}

/* n = tanh(n),  h = n + (1 - f) (h' - n): exactly n where f is 1 */
GK_CELL_UNITS mgu_forward_candidate_body(const struct gk_cell_forward *step, size_t row, size_t unit,
                                         size_t lanes, bool general) {
  const size_t hidden = step->hidden;
  const float *pre = step->pre[row] + unit;
  vf f = v_load(pre, lanes);
  struct cell_value n = cell_activate(step->variant, general, GK_CANDIDATE, v_load(pre + hidden, lanes));
  vf h_prev = v_load(step->h_prev[row] + unit, lanes);
  cell_store_h(step, row, unit, vf_fma(vf_sub(vf_set(1.0f), f), vf_sub(h_prev, n.y), n.y), lanes);
  if (step->saved_gates)
    cell_save(step, step->saved_gates[row] + unit + hidden, n.saved, lanes);
}

/* dh keeps the gradient of h: the second phase needs it for f and for h'. */
GK_CELL_UNITS mgu_backward_candidate_body(const struct gk_cell_backward *step, size_t row, size_t unit,
                                          size_t lanes, bool general) {
  const size_t hidden = step->hidden;
  const float *gates = step->gates[row] + unit;
  struct cell_recalled f = cell_recall(step->variant, general, GK_GATE, v_load(gates, lanes));
  struct cell_recalled n = cell_recall(step->variant, general, GK_CANDIDATE, v_load(gates + hidden, lanes));
  vf dh = cell_dh(step, row, unit, lanes);
  vf dn = vf_mul(vf_mul(dh, f.y), cell_slope(general, GK_CANDIDATE, n));
  cell_store_gradient(step, row, unit + hidden, dn, lanes);
  /* n is needed once more, and d_pre has room for it until the gradient of f takes its place. */
  v_store(step->d_pre[row] + unit, n.y, lanes);
  v_store(step->dh[row] + unit, dh, lanes);
}

/* df = dh (n - h') + drh h',  dh' = dh (1 - f) + drh f */
GK_CELL_UNITS mgu_backward_gate_body(const struct gk_cell_backward *step, size_t row, size_t unit,
                                     size_t lanes, bool general) {
  const vf one = vf_set(1.0f);
  struct cell_recalled f =
      cell_recall(step->variant, general, GK_GATE, v_load(step->gates[row] + unit, lanes));
  vf n = v_load(step->d_pre[row] + unit, lanes);
  vf h_prev = v_load(step->h_prev[row] + unit, lanes);
  vf drh = v_load(step->drh[row] + unit, lanes);
  float *carry = step->dh[row] + unit;
  vf dh = v_load(carry, lanes);
  vf sum = vf_fma(drh, h_prev, vf_mul(dh, vf_sub(n, h_prev)));
  cell_store_gradient(step, row, unit, vf_mul(sum, cell_slope(general, GK_GATE, f)), lanes);
  v_store(carry, vf_flush(vf_fma(drh, f.y, vf_mul(dh, vf_sub(one, f.y)))), lanes);
}

GK_CELL_KERNEL(mgu_forward_gate, forward, 3, false)
GK_CELL_KERNEL(mgu_forward_candidate, forward, 3, false)
GK_CELL_KERNEL(mgu_backward_candidate, backward, 3, false)
GK_CELL_KERNEL(mgu_backward_gate, backward, 3, false)

#define mgu_forward_phases                                                                                   \
  { mgu_forward_gate, mgu_forward_candidate }
#define mgu_backward_phases                                                                                  \
  { mgu_backward_candidate, mgu_backward_gate }
#define mgu_forward_general_phases                                                                           \
  { mgu_forward_gate_general, mgu_forward_candidate_general }
#define mgu_backward_general_phases                                                                          \
  { mgu_backward_candidate_general, mgu_backward_gate_general }
