/* SPDX-License-Identifier: Apache-2.0
 * LSTM (Hochreiter and Schmidhuber 1997, Gers 2000; PyTorch's gate order). Blocks of a gates row: i f g o. */
#include "kernels/math/cell.h"

/* c = f c' + i g; o stays in the pre-activations. */
GK_CELL_UNITS lstm_forward_memory_units(const struct gk_cell_forward *step, size_t row, size_t unit,
                                        size_t lanes) {
  const size_t hidden = step->hidden;
  float *pre = step->pre[row] + unit;
  vf i = v_sigmoid(cell_load(pre, lanes));
  vf f = v_sigmoid(cell_load(pre + hidden, lanes));
  vf g = v_tanh(cell_load(pre + 2 * hidden, lanes));
  vf o = v_sigmoid(cell_load(pre + 3 * hidden, lanes));
  vf c = v_flush(vf_fma(f, cell_load(step->c_prev[row] + unit, lanes), vf_mul(i, g)));
  cell_store(pre + 3 * hidden, o, lanes);
  cell_store(step->c[row] + unit, c, lanes);
  if (!step->saved_gates)
    return;
  float *gates = step->saved_gates[row] + unit;
  cell_save(step, gates, i, lanes);
  cell_save(step, gates + hidden, f, lanes);
  cell_save(step, gates + 2 * hidden, g, lanes);
  cell_save(step, gates + 3 * hidden, o, lanes);
  cell_save(step, step->saved_c[row] + unit, c, lanes);
}

/* h = o tanh(c) */
GK_CELL_UNITS lstm_forward_output_units(const struct gk_cell_forward *step, size_t row, size_t unit,
                                        size_t lanes) {
  vf o = cell_load(step->pre[row] + 3 * step->hidden + unit, lanes);
  cell_store_h(step, row, unit, vf_mul(o, v_tanh(cell_load(step->c[row] + unit, lanes))), lanes);
}

GK_CELL_UNITS lstm_backward_units(const struct gk_cell_backward *step, size_t row, size_t unit,
                                  size_t lanes) {
  const size_t hidden = step->hidden;
  const vf one = vf_set(1.0f);
  const float *gates = step->gates[row] + unit;
  vf i = cell_load(gates, lanes);
  vf f = cell_load(gates + hidden, lanes);
  vf g = cell_load(gates + 2 * hidden, lanes);
  vf o = cell_load(gates + 3 * hidden, lanes);
  vf tanh_c = v_tanh(cell_load(step->c[row] + unit, lanes));
  vf dh = cell_load(step->dh[row] + unit, lanes);
  if (step->dy)
    dh = vf_add(cell_load(step->dy[row] + unit, lanes), dh);
  vf d_o = vf_mul(vf_mul(dh, tanh_c), vf_mul(o, vf_sub(one, o)));
  vf dc = vf_fma(vf_mul(dh, o), vf_fnma(tanh_c, tanh_c, one), cell_load(step->dc[row] + unit, lanes));
  vf di = vf_mul(vf_mul(dc, g), vf_mul(i, vf_sub(one, i)));
  vf df = vf_mul(vf_mul(dc, cell_load(step->c_prev[row] + unit, lanes)), vf_mul(f, vf_sub(one, f)));
  vf dg = vf_mul(vf_mul(dc, i), vf_fnma(g, g, one));
  cell_store_gradient(step, row, unit, di, lanes);
  cell_store_gradient(step, row, unit + hidden, df, lanes);
  cell_store_gradient(step, row, unit + 2 * hidden, dg, lanes);
  cell_store_gradient(step, row, unit + 3 * hidden, d_o, lanes);
  cell_store(step->dc[row] + unit, v_flush(vf_mul(dc, f)), lanes);
  cell_store(step->dh[row] + unit, vf_set(0.0f), lanes);
}

GK_CELL_KERNEL_TWO_PASSES(lstm_forward, lstm_forward_memory, lstm_forward_output, forward, 4, true)
GK_CELL_KERNEL(lstm_backward, backward, 4, true)

#define lstm_forward_phases                                                                                  \
  { lstm_forward }
#define lstm_backward_phases                                                                                 \
  { lstm_backward }
