/* SPDX-License-Identifier: Apache-2.0
 * LSTM with layer normalisation (Ba 2016, equations 20-22), over whole rows, with every option of the LSTM:
 *   a = gain_x N(W_x x) + gain_h N(W_h h') + b over all G gates of H units at once, the LSTM's arithmetic on
 * a, h = o tanh(gain_c N(c) + bias_c), where N(v) = (v - mean) / sqrt(variance + epsilon). G blocks are 3, or
 * 4 of a gates row that holds in turn pre          W_x x, W_h h', a (then what the LSTM leaves there) saved
 * gates  the LSTM's G blocks, N(W_x x), N(W_h h'), and one block N(c) d_pre        gradients of W_x x, of W_h
 * h', of a, and one block of what tanh is taken of */
#include "kernels/math/reduction.h"

struct normalised_sums {
  vf lane[GK_SUM_VECTORS];
};

static inline __attribute__((always_inline)) struct normalised_sums normalised_start(void) {
  struct normalised_sums sums;
  GK_UNROLL for (int j = 0; j < GK_SUM_VECTORS; j++)
    sums.lane[j] = vf_set(0.0f);
  return sums;
}

/* Every value i of a row of `count`: the statements see i, lanes and its vector j of the virtual lanes. */
#define NORMALISED_LOOP(count, ...)                                                                          \
  do {                                                                                                       \
    size_t i = 0;                                                                                            \
    for (; i + GK_SUM_LANES <= (count);)                                                                     \
      for (int j = 0; j < GK_SUM_VECTORS; j++, i += GK_V) {                                                  \
        const size_t lanes = GK_V;                                                                           \
        __VA_ARGS__                                                                                          \
      }                                                                                                      \
    for (int j = 0; j < GK_SUM_VECTORS && i < (count); j++, i += GK_V) {                                     \
      const size_t lanes = (count)-i < GK_V ? (count)-i : GK_V;                                              \
      __VA_ARGS__                                                                                            \
    }                                                                                                        \
  } while (0)

struct normalised_row {
  float mean, scale; /* 1 / sqrt(variance + epsilon) */
};

static struct normalised_row normalised_statistics(size_t count, const float *x) {
  struct normalised_sums sum = normalised_start(), squares = normalised_start();
  struct normalised_row row;
  NORMALISED_LOOP(count, { sum.lane[j] = vf_add(sum.lane[j], cell_load(x + i, lanes)); });
  row.mean = tree_sum(sum.lane) / (float)count;
  const vf mean = vf_set(row.mean);
  NORMALISED_LOOP(count, {
    vf d = vf_first(vf_sub(cell_load(x + i, lanes), mean), lanes);
    squares.lane[j] = vf_fma(d, d, squares.lane[j]);
  });
  float scale[GK_V];
  const vf variance = vf_set(tree_sum(squares.lane) / (float)count + GK_LAYER_NORM_EPSILON);
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

static void lstm_normalised_forward(const struct gk_cell_forward *step) {
  const size_t hidden = step->hidden, width = (step->variant->coupled ? 3 : 4) * hidden;
  const struct normalised_parameters p = normalised_parameters(step->norm, width, hidden);
  for (size_t row = 0; row < step->rows; row++) {
    float *pre = step->pre[row], *a = pre + 2 * width, *squashed = pre;
    float *saved = step->saved_gates ? step->saved_gates[row] : NULL;
    const struct normalised_row x = normalised_statistics(width, pre),
                                h = normalised_statistics(width, pre + width);
    NORMALISED_LOOP(width, {
      (void)j;
      vf nx = normalised_value(x, cell_load(pre + i, lanes));
      vf nh = normalised_value(h, cell_load(pre + width + i, lanes));
      vf sum = vf_fma(cell_load(p.gain_x + i, lanes), nx, cell_load(p.bias + i, lanes));
      cell_store(a + i, vf_fma(cell_load(p.gain_h + i, lanes), nh, sum), lanes);
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
    NORMALISED_LOOP(hidden, {
      (void)j;
      vf nc = normalised_value(c, cell_load(step->c[row] + i, lanes));
      cell_store(squashed + i, vf_fma(cell_load(p.gain_c + i, lanes), nc, cell_load(p.bias_c + i, lanes)),
                 lanes);
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

static void lstm_normalised_backward(const struct gk_cell_backward *step) {
  const size_t hidden = step->hidden, width = (step->variant->coupled ? 3 : 4) * hidden;
  const struct normalised_parameters p = normalised_parameters(step->norm, width, hidden);
  const struct gk_activation_function *function = &step->variant->function[GK_OUTPUT];
  for (size_t row = 0; row < step->rows; row++) {
    const float *gates = step->gates[row], *nx = gates + width, *nh = nx + width, *nc = nh + width;
    float *dx = step->d_pre[row], *dh = dx + width, *da = dh + width, *dn = da + width;
    const float *o = gates + width - hidden; /* the last block */
    const float *squashed = dx, *d_c = dh;   /* as rows, until the gradients take their place */
    struct normalised_sums sum[4];
    for (int k = 0; k < 4; k++)
      sum[k] = normalised_start();
    NORMALISED_LOOP(hidden, {
      vf n = cell_load(nc + i, lanes), gain = cell_load(p.gain_c + i, lanes);
      vf argument = vf_fma(gain, n, cell_load(p.bias_c + i, lanes));
      vf y = cell_function(function, GK_OUTPUT, argument);
      vf slope = function->kind == GK_ACTIVATION_TANH ? cell_usual_slope(GK_OUTPUT, y)
                                                      : v_function_slope(function, argument, y);
      vf d = vf_mul(vf_mul(cell_dh(step, row, i, lanes),
                           cell_recall(step->variant, true, GK_GATE, cell_load(o + i, lanes)).y),
                    slope);
      d = vf_first(vf_flush(d), lanes);
      cell_store(dx + i, y, lanes);
      cell_store(dn + i, d, lanes);
      vf d_gain = vf_mul(d, gain);
      sum[0].lane[j] = vf_add(sum[0].lane[j], d_gain);
      sum[1].lane[j] = vf_fma(d_gain, n, sum[1].lane[j]);
    });
    const float mean_c = tree_sum(sum[0].lane) / (float)hidden;
    const float mean_nc = tree_sum(sum[1].lane) / (float)hidden;
    NORMALISED_LOOP(hidden, {
      (void)j;
      vf d_gain = vf_mul(cell_load(dn + i, lanes), cell_load(p.gain_c + i, lanes));
      vf n = cell_load(nc + i, lanes);
      cell_store(dh + i, normalised_gradient(d_gain, n, step->scales[row][2], mean_c, mean_nc), lanes);
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
      sum[k] = normalised_start();
    NORMALISED_LOOP(width, {
      vf d = cell_load(da + i, lanes);
      vf d_x = vf_mul(d, cell_load(p.gain_x + i, lanes)), d_h = vf_mul(d, cell_load(p.gain_h + i, lanes));
      sum[0].lane[j] = vf_add(sum[0].lane[j], d_x);
      sum[1].lane[j] = vf_fma(d_x, cell_load(nx + i, lanes), sum[1].lane[j]);
      sum[2].lane[j] = vf_add(sum[2].lane[j], d_h);
      sum[3].lane[j] = vf_fma(d_h, cell_load(nh + i, lanes), sum[3].lane[j]);
    });
    float mean[4];
    for (int k = 0; k < 4; k++)
      mean[k] = tree_sum(sum[k].lane) / (float)width;
    float *copy = step->d_pre_copy ? step->d_pre_copy[row] : NULL;
    NORMALISED_LOOP(width, {
      (void)j;
      vf d = cell_load(da + i, lanes);
      vf d_x = vf_mul(d, cell_load(p.gain_x + i, lanes)), d_h = vf_mul(d, cell_load(p.gain_h + i, lanes));
      d_x = normalised_gradient(d_x, cell_load(nx + i, lanes), step->scales[row][0], mean[0], mean[1]);
      d_h = normalised_gradient(d_h, cell_load(nh + i, lanes), step->scales[row][1], mean[2], mean[3]);
      cell_store(dx + i, d_x, lanes);
      cell_store(dh + i, d_h, lanes);
      if (copy)
        cell_store(copy + i, d_x, lanes);
    });
  }
}
