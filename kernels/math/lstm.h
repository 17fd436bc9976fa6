/* SPDX-License-Identifier: Apache-2.0
 * LSTM (Hochreiter and Schmidhuber 1997, Gers 2000; PyTorch's gate order). Blocks of a gates row: i f g o;
 * coupled i g o, f being 1 - i. */
#include "kernels/math/cell.h"

/* Where f (or nothing), g and o stand, and the rows of the peepholes. */
struct lstm_blocks {
  size_t f, g, o;
  const float *peep_i, *peep_f, *peep_o; /* NULL: none */
};
static inline __attribute__((always_inline)) struct lstm_blocks
lstm_blocks(const struct gk_cell_variant *variant, const float *peephole, bool general, size_t hidden,
            size_t unit) {
  struct lstm_blocks at = {.f = hidden, .g = 2 * hidden, .o = 3 * hidden};
  if (!general)
    return at;
  if (variant->coupled)
    at = (struct lstm_blocks){.g = hidden, .o = 2 * hidden};
  if (peephole) {
    at.peep_i = peephole + unit;
    at.peep_f = peephole + hidden + unit;
    at.peep_o = peephole + (variant->coupled ? 1 : 2) * hidden + unit;
  }
  return at;
}

/* a + p c */
static inline __attribute__((always_inline)) vf lstm_peep(const float *peephole, vf c, vf a, size_t lanes) {
  return peephole ? vf_fma(v_load(peephole, lanes), c, a) : a;
}

/* c = f c' + i g; o stays in the pre-activations. */
GK_CELL_UNITS lstm_forward_memory_body(const struct gk_cell_forward *step, size_t row, size_t unit,
                                       size_t lanes, bool general) {
  const struct gk_cell_variant *variant = step->variant;
  const struct lstm_blocks at = lstm_blocks(variant, step->peephole, general, step->hidden, unit);
  const bool coupled = general && variant->coupled;
  float *pre = step->pre[row] + unit;
  struct cell_value f;
  vf c_prev, ai = v_load(pre, lanes);
  if (general) {
    c_prev = v_load(step->c_prev[row] + unit, lanes);
    ai = lstm_peep(at.peep_i, c_prev, ai, lanes);
  }
  struct cell_value i = cell_activate(variant, general, GK_GATE, ai);
  if (coupled) {
    f.y = f.saved = vf_sub(vf_set(1.0f), i.y);
  } else {
    vf af = v_load(pre + at.f, lanes);
    if (general)
      af = lstm_peep(at.peep_f, c_prev, af, lanes);
    f = cell_activate(variant, general, GK_GATE, af);
  }
  struct cell_value g = cell_activate(variant, general, GK_CANDIDATE, v_load(pre + at.g, lanes));
  struct cell_value o = {v_load(pre + at.o, lanes), vf_set(0.0f)};
  if (!general)
    o = cell_activate(variant, general, GK_GATE, o.y);
  vf c = vf_fma(f.y, v_load(step->c_prev[row] + unit, lanes), vf_mul(i.y, g.y));
  if (general)
    c = cell_bounded(c, variant->cell_clip);
  c = vf_flush(c);
  if (general)
    o = cell_activate(variant, true, GK_GATE, lstm_peep(at.peep_o, c, o.y, lanes));
  v_store(pre + at.o, o.y, lanes);
  v_store(step->c[row] + unit, c, lanes);
  if (!step->saved_gates)
    return;
  float *gates = step->saved_gates[row] + unit;
  cell_save(step, gates, i.saved, lanes);
  if (!coupled)
    cell_save(step, gates + at.f, f.saved, lanes);
  cell_save(step, gates + at.g, g.saved, lanes);
  cell_save(step, gates + at.o, o.saved, lanes);
  cell_save(step, step->saved_c[row] + unit, c, lanes);
}

/* h = o tanh(c) */
GK_CELL_UNITS lstm_forward_output_body(const struct gk_cell_forward *step, size_t row, size_t unit,
                                       size_t lanes, bool general) {
  const struct lstm_blocks at = lstm_blocks(step->variant, NULL, general, step->hidden, unit);
  vf o = v_load(step->pre[row] + at.o + unit, lanes);
  vf c = v_load(step->c[row] + unit, lanes);
  vf y = general ? cell_function(&step->variant->function[GK_OUTPUT], GK_OUTPUT, c) : v_tanh(c);
  cell_store_h(step, row, unit, vf_mul(o, y), lanes);
}

GK_CELL_UNITS lstm_backward_body(const struct gk_cell_backward *step, size_t row, size_t unit, size_t lanes,
                                 bool general) {
  const struct gk_cell_variant *variant = step->variant;
  const size_t hidden = step->hidden;
  const struct lstm_blocks at = lstm_blocks(variant, step->peephole, general, hidden, unit);
  const bool coupled = general && variant->coupled;
  const vf one = vf_set(1.0f);
  const float *gates = step->gates[row] + unit;
  struct cell_recalled i = cell_recall(variant, general, GK_GATE, v_load(gates, lanes)), f;
  if (coupled)
    f.y = f.slope = vf_sub(one, i.y);
  else
    f = cell_recall(variant, general, GK_GATE, v_load(gates + at.f, lanes));
  struct cell_recalled g = cell_recall(variant, general, GK_CANDIDATE, v_load(gates + at.g, lanes));
  struct cell_recalled o = cell_recall(variant, general, GK_GATE, v_load(gates + at.o, lanes));
  vf c = v_load(step->c[row] + unit, lanes);
  struct cell_recalled output; /* tanh(c) */
  const bool normalised = general && step->squashed;
  if (normalised) {
    output.y = output.slope = v_load(step->squashed[row] + unit, lanes);
  } else if (general) {
    const struct gk_activation_function *function = &variant->function[GK_OUTPUT];
    output.y = cell_function(function, GK_OUTPUT, c);
    output.slope = function->kind == GK_ACTIVATION_TANH ? cell_usual_slope(GK_OUTPUT, output.y)
                                                        : v_function_slope(function, c, output.y);
  } else {
    output.y = output.slope = v_tanh(c);
  }
  vf dh = cell_dh(step, row, unit, lanes);
  vf d_o = vf_mul(vf_mul(dh, output.y), cell_slope(general, GK_GATE, o));
  vf dc = normalised
              ? vf_add(v_load(step->d_squashed[row] + unit, lanes), v_load(step->dc[row] + unit, lanes))
              : vf_fma(vf_mul(dh, o.y), cell_slope(general, GK_OUTPUT, output),
                       v_load(step->dc[row] + unit, lanes));
  if (general) { /* o sees c, and c is what the bounds left */
    dc = lstm_peep(at.peep_o, d_o, dc, lanes);
    dc = vf_zero_where(vf_ge(vf_abs(c), vf_set(variant->cell_clip)), dc);
  }
  vf along_i = g.y; /* dc / di */
  if (coupled)
    along_i = vf_sub(g.y, v_load(step->c_prev[row] + unit, lanes));
  vf di = vf_mul(vf_mul(dc, along_i), cell_slope(general, GK_GATE, i));
  vf df = vf_mul(vf_mul(dc, v_load(step->c_prev[row] + unit, lanes)), cell_slope(general, GK_GATE, f));
  vf dg = vf_mul(vf_mul(dc, i.y), cell_slope(general, GK_CANDIDATE, g));
  cell_store_gradient(step, row, unit, di, lanes);
  if (!coupled)
    cell_store_gradient(step, row, unit + at.f, df, lanes);
  cell_store_gradient(step, row, unit + at.g, dg, lanes);
  cell_store_gradient(step, row, unit + at.o, d_o, lanes);
  vf dc_prev = vf_mul(dc, f.y);
  if (general) {
    dc_prev = lstm_peep(at.peep_i, di, dc_prev, lanes);
    if (!coupled)
      dc_prev = lstm_peep(at.peep_f, df, dc_prev, lanes);
  }
  v_store(step->dc[row] + unit, vf_flush(dc_prev), lanes);
  v_store(step->dh[row] + unit, vf_set(0.0f), lanes);
}

GK_CELL_KERNEL_TWO_PASSES(lstm_forward, lstm_forward_memory, lstm_forward_output, forward, 4, true)
GK_CELL_KERNEL(lstm_backward, backward, 4, true)

#define lstm_forward_phases                                                                                  \
  { lstm_forward }
#define lstm_backward_phases                                                                                 \
  { lstm_backward }
#define lstm_forward_general_phases                                                                          \
  { lstm_forward_general }
#define lstm_backward_general_phases                                                                         \
  { lstm_backward_general }
