/* SPDX-License-Identifier: Apache-2.0
 * LSTM with layer normalisation (Ba 2016, equations 20-22), over whole rows, with every option of the LSTM:
 * a = gain_x N(W_x x) + gain_h N(W_h h') + b over all G gates of H units at once, the LSTM's arithmetic on a,
 * h = o tanh(gain_c N(c) + bias_c), where N(v) = (v - mean) / sqrt(variance + epsilon). A gates row holds one
 * after the other, G blocks being 3 or 4,
 * - as `pre`: G of W_x x, G of W_h h', G of a, then the LSTM's own, one of gain_c N(c) + bias_c;
 * - as saved gates: the LSTM's G, G of N(W_x x), G of N(W_h h'), one of N(c);
 * - as `d_pre`: the gradients of W_x x, W_h h' and a, G each, one of what tanh is taken of. */
#include "kernels/math/reduction.h"

struct normalised_row {
  float mean, scale; /* 1 / sqrt(variance + epsilon) */
};

static struct normalised_row normalised_statistics(size_t count, const float *x) {
  struct lane_sums sum = lane_sums_start(), squares = lane_sums_start();
  struct normalised_row row;
  GK_SUM_PASS(count, { sum.lane[j] = vf_add(sum.lane[j], v_load(x + i, lanes)); });
  row.mean = tree_sum(&sum) / (float)count;
  const vf mean = vf_set(row.mean);
  GK_SUM_PASS(count, {
    vf d = v_first(vf_sub(v_load(x + i, lanes), mean), lanes);
    squares.lane[j] = vf_fma(d, d, squares.lane[j]);
  });
  float scale[GK_V];
  const vf variance = vf_set(tree_sum(&squares) / (float)count + GK_LAYER_NORM_EPSILON);
  vf_store(scale, vf_div(vf_set(1.0f), vf_sqrt(variance)));
  row.scale = scale[0];
  return row;
}

static inline __attribute__((always_inline)) vf normalised_value(struct normalised_row row, vf x) {
  return vf_flush(vf_mul(vf_sub(x, vf_set(row.mean)), vf_set(row.scale)));
}

/* Where the parameters of a layer stand. */
struct normalised_parameters {
  const float *gain_x, *gain_h, *bias, *gain_c, *bias_c;
};
static inline struct normalised_parameters normalised_parameters(const float *norm, size_t width,
                                                                 size_t hidden) {
  return (struct normalised_parameters){norm, norm + width, norm + 2 * width, norm + 3 * width,
                                        norm + 3 * width + hidden};
}

/* The rows of arrays that may be NULL. */
#define NORMALISED_ROW(array, row) ((array) ? (array) + (row) : NULL)

static void lstm_normalised_forward(const struct gk_cell_forward *given) {
  const struct gk_cell_forward step_copy = *given, *step = &step_copy;
  const size_t hidden = step->hidden, width = (step->variant->coupled ? 3 : 4) * hidden;
  const struct normalised_parameters p = normalised_parameters(step->norm, width, hidden);
  for (size_t row = 0; row < step->rows; row++) {
    float *pre = step->pre[row], *a = pre + 2 * width, *squashed = pre;
    float *saved = step->saved_gates ? step->saved_gates[row] : NULL;
    const struct normalised_row x = normalised_statistics(width, pre),
                                h = normalised_statistics(width, pre + width);
    GK_ARRAY_PASS(width, {
      vf nx = normalised_value(x, v_load(pre + i, lanes));
      vf nh = normalised_value(h, v_load(pre + width + i, lanes));
      vf sum = vf_fma(v_load(p.gain_x + i, lanes), nx, v_load(p.bias + i, lanes));
      v_store(a + i, vf_fma(v_load(p.gain_h + i, lanes), nh, sum), lanes);
      if (saved) {
        cell_save(step, saved + width + i, nx, lanes);
        cell_save(step, saved + 2 * width + i, nh, lanes);
      }
    });
    struct gk_cell_forward lstm = *step;
    lstm.rows = 1;
    lstm.unit_begin = 0;
    lstm.unit_end = hidden;
    lstm.pre = &a;
    lstm.h_prev = NORMALISED_ROW(step->h_prev, row);
    lstm.c_prev = step->c_prev + row;
    lstm.h = step->h + row;
    lstm.c = step->c + row;
    lstm.saved_gates = NORMALISED_ROW(step->saved_gates, row);
    lstm.saved_h = NORMALISED_ROW(step->saved_h, row);
    lstm.saved_c = NORMALISED_ROW(step->saved_c, row);
    GK_CELL_PASS(lstm_forward_memory_general, &lstm, 0, lstm.unit_begin, lstm.unit_end);
    const struct normalised_row c = normalised_statistics(hidden, step->c[row]);
    GK_ARRAY_PASS(hidden, {
      vf nc = normalised_value(c, v_load(step->c[row] + i, lanes));
      v_store(squashed + i, vf_fma(v_load(p.gain_c + i, lanes), nc, v_load(p.bias_c + i, lanes)), lanes);
      if (saved)
        cell_save(step, saved + 3 * width + i, nc, lanes);
    });
    lstm.c = &squashed;
    GK_CELL_PASS(lstm_forward_output_general, &lstm, 0, lstm.unit_begin, lstm.unit_end);
    if (step->scales) {
      step->scales[row][0] = x.scale;
      step->scales[row][1] = h.scale;
      step->scales[row][2] = c.scale;
    }
  }
}

/* The gradient of v from d, the one of gain N(v): scale (d gain - mean(d gain) - N(v) mean(d gain N(v))). */
static inline __attribute__((always_inline)) vf normalised_gradient(vf d_gain, vf n, float scale, float mean,
                                                                    float mean_n) {
  vf centred = vf_sub(vf_sub(d_gain, vf_set(mean)), vf_mul(n, vf_set(mean_n)));
  return vf_flush(vf_mul(vf_set(scale), centred));
}

static void lstm_normalised_backward(const struct gk_cell_backward *given) {
  const struct gk_cell_backward step_copy = *given, *step = &step_copy;
  const size_t hidden = step->hidden, width = (step->variant->coupled ? 3 : 4) * hidden;
  const struct normalised_parameters p = normalised_parameters(step->norm, width, hidden);
  const struct gk_activation_function *function = &step->variant->function[GK_OUTPUT];
  for (size_t row = 0; row < step->rows; row++) {
    const float *gates = step->gates[row], *nx = gates + width, *nh = nx + width, *nc = nh + width;
    float *dx = step->d_pre[row], *dh = dx + width, *da = dh + width, *dn = da + width;
    const float *o = gates + width - hidden; /* the last block */
    const float *squashed = dx, *d_c = dh;   /* as rows, until the gradients take their place */
    struct lane_sums sum[4];
    for (int k = 0; k < 4; k++)
      sum[k] = lane_sums_start();
    GK_SUM_PASS(hidden, {
      vf n = v_load(nc + i, lanes), gain = v_load(p.gain_c + i, lanes);
      vf argument = vf_fma(gain, n, v_load(p.bias_c + i, lanes));
      vf y = cell_function(function, GK_OUTPUT, argument);
      vf slope = function->kind == GK_ACTIVATION_TANH ? cell_usual_slope(GK_OUTPUT, y)
                                                      : v_function_slope(function, argument, y);
      vf d = vf_mul(vf_mul(cell_dh(step, row, i, lanes),
                           cell_recall(step->variant, true, GK_GATE, v_load(o + i, lanes)).y),
                    slope);
      d = v_first(vf_flush(d), lanes);
      v_store(dx + i, y, lanes);
      v_store(dn + i, d, lanes);
      vf d_gain = vf_mul(d, gain);
      sum[0].lane[j] = vf_add(sum[0].lane[j], d_gain);
      sum[1].lane[j] = vf_fma(d_gain, n, sum[1].lane[j]);
    });
    const float mean_c = tree_sum(&sum[0]) / (float)hidden;
    const float mean_nc = tree_sum(&sum[1]) / (float)hidden;
    GK_ARRAY_PASS(hidden, {
      vf d_gain = vf_mul(v_load(dn + i, lanes), v_load(p.gain_c + i, lanes));
      vf n = v_load(nc + i, lanes);
      v_store(dh + i, normalised_gradient(d_gain, n, step->scales[row][2], mean_c, mean_nc), lanes);
    });
    struct gk_cell_backward lstm = *step;
    lstm.rows = 1;
    lstm.unit_begin = 0;
    lstm.unit_end = hidden;
    lstm.gates = step->gates + row;
    lstm.d_pre = &da;
    lstm.d_pre_copy = NULL;
    lstm.c_prev = step->c_prev + row;
    lstm.c = step->c + row;
    lstm.dy = NORMALISED_ROW(step->dy, row);
    lstm.dh = step->dh + row;
    lstm.dc = step->dc + row;
    lstm.squashed = &squashed;
    lstm.d_squashed = &d_c;
    GK_CELL_PASS(lstm_backward_general, &lstm, 0, lstm.unit_begin, lstm.unit_end);

    for (int k = 0; k < 4; k++)
      sum[k] = lane_sums_start();
    GK_SUM_PASS(width, {
      vf d = v_load(da + i, lanes);
      vf d_x = vf_mul(d, v_load(p.gain_x + i, lanes)), d_h = vf_mul(d, v_load(p.gain_h + i, lanes));
      sum[0].lane[j] = vf_add(sum[0].lane[j], d_x);
      sum[1].lane[j] = vf_fma(d_x, v_load(nx + i, lanes), sum[1].lane[j]);
      sum[2].lane[j] = vf_add(sum[2].lane[j], d_h);
      sum[3].lane[j] = vf_fma(d_h, v_load(nh + i, lanes), sum[3].lane[j]);
    });
    float mean[4];
    for (int k = 0; k < 4; k++)
      mean[k] = tree_sum(&sum[k]) / (float)width;
    float *copy = step->d_pre_copy ? step->d_pre_copy[row] : NULL;
    GK_ARRAY_PASS(width, {
      vf d = v_load(da + i, lanes);
      vf d_x = vf_mul(d, v_load(p.gain_x + i, lanes)), d_h = vf_mul(d, v_load(p.gain_h + i, lanes));
      d_x = normalised_gradient(d_x, v_load(nx + i, lanes), step->scales[row][0], mean[0], mean[1]);
      d_h = normalised_gradient(d_h, v_load(nh + i, lanes), step->scales[row][1], mean[2], mean[3]);
      v_store(dx + i, d_x, lanes);
      v_store(dh + i, d_h, lanes);
      if (copy)
        v_store(copy + i, d_x, lanes);
    });
  }
}
