/* SPDX-License-Identifier: Apache-2.0 */
#include "plain_c.h"

#include <math.h>
#include <string.h>

/* PLAIN_C_TIER is given by the build. */
#define PASTE(name, tier)  plain_c_##name##_##tier
#define EXPAND(name, tier) PASTE(name, tier)
#define PLAIN_C_NAME(name) EXPAND(name, PLAIN_C_TIER)

/* Sums run in blocks of so many products, as Gatekern's do. Columns that one inner loop works on, rows that
 * share what it loads: as many sums as the compiler can keep in registers. */
enum { SUM_BLOCK = 256, ROWS = 4, COLUMNS = PLAIN_C_COLUMNS };

/* A matrix whose element (row, k) is at data[row * row_stride + k * k_stride]. */
struct operand {
  const float *data;
  size_t row_stride, k_stride;
};

static struct operand rows_of(const float *data, size_t width) {
  return (struct operand){data, width, 1};
}

/* c[r][j] += sum over k of a(r, k) b[k][j], for `rows` <= ROWS rows and COLUMNS columns. */
static void product_tile(size_t rows, size_t k, struct operand a, const float *b, size_t b_stride, float *c,
                         size_t c_stride) {
  for (size_t begin = 0; begin < k; begin += SUM_BLOCK) {
    const size_t end = begin + SUM_BLOCK < k ? begin + SUM_BLOCK : k;
    float sum[ROWS][COLUMNS] = {{0}};
    if (rows == ROWS)
      for (size_t i = begin; i < end; i++)
        for (size_t r = 0; r < ROWS; r++)
          for (size_t j = 0; j < COLUMNS; j++)
            sum[r][j] = fmaf(a.data[r * a.row_stride + i * a.k_stride], b[i * b_stride + j], sum[r][j]);
    else
      for (size_t r = 0; r < rows; r++)
        for (size_t i = begin; i < end; i++)
          for (size_t j = 0; j < COLUMNS; j++)
            sum[r][j] = fmaf(a.data[r * a.row_stride + i * a.k_stride], b[i * b_stride + j], sum[r][j]);
    for (size_t r = 0; r < rows; r++)
      for (size_t j = 0; j < COLUMNS; j++)
        c[r * c_stride + j] += sum[r][j];
  }
}

static void product_edge(size_t rows, size_t columns, size_t k, struct operand a, const float *b,
                         size_t b_stride, float *c, size_t c_stride) {
  for (size_t r = 0; r < rows; r++)
    for (size_t begin = 0; begin < k; begin += SUM_BLOCK) {
      const size_t end = begin + SUM_BLOCK < k ? begin + SUM_BLOCK : k;
      float sum[COLUMNS] = {0};
      for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < columns; j++)
          sum[j] = fmaf(a.data[r * a.row_stride + i * a.k_stride], b[i * b_stride + j], sum[j]);
      for (size_t j = 0; j < columns; j++)
        c[r * c_stride + j] += sum[j];
    }
}

static void product(size_t rows, size_t columns, size_t k, struct operand a, const float *b, size_t b_stride,
                    float *c, size_t c_stride) {
  size_t j = 0;
  for (; j + COLUMNS <= columns; j += COLUMNS)
    for (size_t r = 0; r < rows; r += ROWS) {
      const struct operand part = {a.data + r * a.row_stride, a.row_stride, a.k_stride};
      product_tile(rows - r < ROWS ? rows - r : ROWS, k, part, b + j, b_stride, c + r * c_stride + j,
                   c_stride);
    }
  if (j < columns)
    product_edge(rows, columns - j, k, a, b + j, b_stride, c + j, c_stride);
}

/* ---- Activations (the formulas of kernels/math/activation.h) ------------------------------------ */

static inline float power_of_two(float magic) {
  uint32_t bits;
  memcpy(&bits, &magic, sizeof bits);
  bits <<= 23;
  memcpy(&magic, &bits, sizeof bits);
  return magic;
}

static inline float sigmoid(float x) {
  const float magic = 0x1.8p23f + 127.0f;
  x = x > 87.0f ? 87.0f : x;
  x = x < -88.3f ? -88.9f : x;
  const float t = fmaf(-x, 0x1.715476p+0f, magic), s = power_of_two(t);
  float r = fmaf(-x, 0x1.715476p+0f, magic - t);
  r = fmaf(-x, 0x1.4ae0cp-26f, r);
  float p = fmaf(r, 0x1.4295cep-13f, 0x1.5ef138p-10f);
  p = fmaf(r, p, 0x1.3b2c3ep-7f);
  p = fmaf(r, p, 0x1.c6afa4p-5f);
  p = fmaf(r, p, 0x1.ebfbdep-3f);
  p = r * fmaf(r, p, 0x1.62e430p-1f);
  return 1.0f / (s + fmaf(s, p, 1.0f));
}

static inline float tangent(float x) {
  const float magic = 0x1.8p23f + 127.0f, size = fabsf(x), z = size > 9.1f ? 9.1f : size;
  const float t = fmaf(z, 0x1.715476p+1f, magic), s = power_of_two(t);
  const float h = fmaf(-(t - magic), 0x1.62e430p-2f, z);
  float q = fmaf(h, 0x1.6b97a6p-5f, 0x1.122538p-3f);
  q = fmaf(h, q, 0x1.5556f6p-2f);
  q = fmaf(h, q, 0x1.5554b4p-1f);
  q = fmaf(h, q, 0x1.fffffep-1f);
  const float e = fmaf(s, fmaf(h * h, q, h), fmaf(s, 0.5f, -0.5f));
  return copysignf(e / (e + 1.0f), x);
}

/* ---- A layer ------------------------------------------------------------------------------------ */

/* Shapes as in struct plain_c_network, but of one layer. */
struct layer {
  gk_cell cell;
  size_t input, hidden, batch, time;
  const float *parameters, *x, *h0, *c0, *dy, *dhn, *dcn;
  float *y, *hn, *cn, *dx, *dh0, *dc0, *gradients;
};

/* Where everything stands. Gates of a (t, n) are in PyTorch's order; a GRU with reset after has one block
 * more, W_hn h' + b_hn, which becomes the candidate's gradient on the recurrent side. Gradients, x and the
 * operands of the recurrent weights are kept in the order of the backward sweep, so that dW is one product.
 * Inference keeps K = 2 steps in turn and not one, so that no loop writes what it reads. Else K = T. */
struct plan {
  struct layer layer;
  bool keeps;                  /* what backward needs */
  size_t gates, blocks, width; /* width = blocks H */
  float *w_ih, *w_hh;          /* (I, G H), (H, G H): transposed */
  float *gate;                 /* (K, N, width) */
  float *c;                    /* (K, N, H) */
  float *reset_h;              /* (K N, H): r h', MGU's f h'; in the order of the sweep */
  float *x_swept, *h_swept;    /* (T N, I), (T N, H) */
  float *d_input, *d_hidden;   /* (T N, G H), of the pre-activations on either side */
  float *dh, *dc, *carry;      /* (N, H) */
  float *y, *dx;               /* (T, N, H), (T, N, I): where another layer reads them */
};

/* 0: not a cell of this file. */
static size_t gates_of(gk_cell cell) {
  switch ((int)cell) {
  case GK_CELL_RNN:
    return 1;
  case GK_CELL_GRU_SIMPLIFIED:
  case GK_CELL_MGU:
    return 2;
  case GK_CELL_GRU:
  case GK_CELL_GRU_RESET_BEFORE:
    return 3;
  case GK_CELL_LSTM:
    return 4;
  default:
    return 0;
  }
}

/* Cells whose candidate, the last gate, has a product of its own with the reset h'. */
static bool resets_before(gk_cell cell) {
  return cell == GK_CELL_GRU_RESET_BEFORE || cell == GK_CELL_MGU;
}

static size_t input_of(const struct plain_c_network *w, size_t index) {
  return index ? w->hidden : w->input;
}

/* The floats that layer `index` takes of the scratch; `at` may be NULL. */
static size_t lay_out(const struct plain_c_network *w, size_t index, struct plan *p, float *at) {
  const bool keeps = bench_pass_trains(w->pass), step = bench_pass_is_step(w->pass);
  const size_t gates = gates_of(w->cell), in = input_of(w, index), h = w->hidden, states = w->batch * h;
  const size_t steps = w->time * w->batch, kept = keeps ? steps : 2 * w->batch, swept = keeps ? steps : 0;
  const size_t back = step ? steps : 0, back_states = step ? states : 0;
  *p = (struct plan){.keeps = keeps, .gates = gates, .blocks = gates + (w->cell == GK_CELL_GRU)};
  p->width = p->blocks * h;
  const struct {
    float **part;
    size_t count;
  } parts[] = {{&p->w_ih, in * gates * h},
               {&p->w_hh, h * gates * h},
               {&p->gate, kept * p->width},
               {&p->c, kept * h},
               {&p->reset_h, kept * h},
               {&p->x_swept, swept * in},
               {&p->h_swept, swept * h},
               {&p->d_input, back * gates * h},
               {&p->d_hidden, back * gates * h},
               {&p->dh, back_states},
               {&p->dc, back_states},
               {&p->carry, back_states},
               {&p->y, index + 1 < w->layers ? steps * h : 0},
               {&p->dx, index ? back * in : 0}};
  size_t floats = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    *parts[i].part = at ? at + floats : NULL;
    floats += (parts[i].count + 15) / 16 * 16;
  }
  return floats;
}

/* Every layer's scratch is behind that of the layers below it. */
static size_t scratch_below(const struct plain_c_network *w, size_t index) {
  struct plan unused;
  size_t floats = 0;
  for (size_t i = 0; i < index; i++)
    floats += lay_out(w, i, &unused, NULL);
  return floats;
}

/* y of a layer is x of the next one, whose dx is its dy. */
static struct plan plan_of(const struct plain_c_network *w, size_t index) {
  const size_t h = w->hidden, states = index * w->batch * h, in = input_of(w, index);
  const size_t rows = gates_of(w->cell) * h, upper = rows * (h + h + 2);
  const size_t parameters = index ? rows * (w->input + h + 2) + (index - 1) * upper : 0;
  const bool memory = w->c0, bottom = index == 0, top = index + 1 == w->layers;
  struct plan p, below = {.y = NULL}, above = {.dx = NULL};
  if (!bottom)
    lay_out(w, index - 1, &below, w->scratch + scratch_below(w, index - 1));
  if (!top)
    lay_out(w, index + 1, &above, w->scratch + scratch_below(w, index + 1));
  lay_out(w, index, &p, w->scratch + scratch_below(w, index));
  p.layer = (struct layer){.cell = w->cell,
                           .input = in,
                           .hidden = h,
                           .batch = w->batch,
                           .time = w->time,
                           .parameters = w->parameters + parameters,
                           .x = bottom ? w->x : below.y,
                           .h0 = w->h0 + states,
                           .c0 = memory ? w->c0 + states : NULL,
                           .y = top ? w->y : p.y,
                           .hn = w->hn + states,
                           .cn = memory ? w->cn + states : NULL};
  if (!bench_pass_is_step(w->pass))
    return p;
  p.layer.dy = top ? w->dy : above.dx;
  p.layer.dhn = w->dhn + states;
  p.layer.dcn = memory ? w->dcn + states : NULL;
  p.layer.dx = bottom ? w->dx : p.dx;
  p.layer.dh0 = w->dh0 + states;
  p.layer.dc0 = memory ? w->dc0 + states : NULL;
  p.layer.gradients = w->gradients + parameters;
  return p;
}

/* Row of (t, n) in what forward writes for itself, and in what is in the order of the sweep. */
static size_t kept_row(const struct plan *p, size_t t, size_t n) {
  return (p->keeps ? t : t % 2) * p->layer.batch + n;
}
static size_t swept_row(const struct plan *p, size_t t, size_t n) {
  return kept_row(p, p->layer.time - 1 - t, n);
}

static const float *weight_ih(const struct plan *p) {
  return p->layer.parameters;
}
static const float *weight_hh(const struct plan *p) {
  return weight_ih(p) + p->gates * p->layer.hidden * p->layer.input;
}
static const float *biases(const struct plan *p) {
  return weight_hh(p) + p->gates * p->layer.hidden * p->layer.hidden;
}

static void transpose(const float *from, float *to, size_t rows, size_t columns) {
  for (size_t r = 0; r < rows; r++)
    for (size_t j = 0; j < columns; j++)
      to[j * rows + r] = from[r * columns + j];
}

static void start_gates(const struct plan *p, float *gate) {
  const size_t h = p->layer.hidden, all = p->gates * h;
  const float *b_ih = biases(p), *b_hh = b_ih + all;
  for (size_t j = 0; j < all; j++)
    gate[j] = b_ih[j] + (p->blocks > p->gates && j >= 2 * h ? 0 : b_hh[j]);
  for (size_t j = all; j < p->width; j++)
    gate[j] = b_hh[j - h];
}

/* No array here or below shares memory with another: told so, the compiler vectorises the loops. */
static void forward_cell(const struct plan *p, float *gate, const float *restrict h_prev,
                         const float *restrict c_prev, float *restrict c, float *restrict h) {
  const size_t units = p->layer.hidden;
  float *restrict a = gate, *restrict b = gate + units, *restrict d = gate + 2 * units,
                  *restrict e = gate + 3 * units;
  switch ((int)p->layer.cell) {
  case GK_CELL_RNN:
    for (size_t j = 0; j < units; j++)
      h[j] = a[j] = tangent(a[j]);
    break;
  case GK_CELL_GRU: /* r z n a */
    for (size_t j = 0; j < units; j++) {
      a[j] = sigmoid(a[j]);
      b[j] = sigmoid(b[j]);
      d[j] = tangent(fmaf(a[j], e[j], d[j]));
      h[j] = fmaf(b[j], h_prev[j] - d[j], d[j]);
    }
    break;
  case GK_CELL_GRU_SIMPLIFIED: /* z n */
    for (size_t j = 0; j < units; j++) {
      a[j] = sigmoid(a[j]);
      b[j] = tangent(b[j]);
      h[j] = fmaf(a[j], h_prev[j] - b[j], b[j]);
    }
    break;
  case GK_CELL_MGU: /* f n; f is done */
    for (size_t j = 0; j < units; j++) {
      b[j] = tangent(b[j]);
      h[j] = fmaf(1.0f - a[j], h_prev[j] - b[j], b[j]);
    }
    break;
  case GK_CELL_GRU_RESET_BEFORE: /* r z n; r and z are done */
    for (size_t j = 0; j < units; j++) {
      d[j] = tangent(d[j]);
      h[j] = fmaf(b[j], h_prev[j] - d[j], d[j]);
    }
    break;
  case GK_CELL_LSTM: /* i f g o */
    for (size_t j = 0; j < units; j++) {
      a[j] = sigmoid(a[j]);
      b[j] = sigmoid(b[j]);
      d[j] = tangent(d[j]);
      e[j] = sigmoid(e[j]);
      c[j] = fmaf(b[j], c_prev[j], a[j] * d[j]);
      h[j] = e[j] * tangent(c[j]);
    }
  }
}

/* The gates before the candidate, of which the first resets h'. */
static void forward_reset(const struct plan *p, float *restrict gate, const float *restrict h_prev,
                          float *restrict reset_h) {
  const size_t units = p->layer.hidden;
  for (size_t j = 0; j < (p->gates - 1) * units; j++)
    gate[j] = sigmoid(gate[j]);
  for (size_t j = 0; j < units; j++)
    reset_h[j] = gate[j] * h_prev[j];
}

/* c of sample n before step t; cells without memory do not read it. */
static const float *state_before(const struct plan *p, size_t t, size_t n) {
  const struct layer *l = &p->layer;
  const float *c0 = l->c0 ? l->c0 : l->h0;
  return t ? p->c + kept_row(p, t - 1, n) * l->hidden : c0 + n * l->hidden;
}

/* Rows [begin, end) of the batch through all steps. */
static void forward_rows(const struct plan *p, size_t begin, size_t end) {
  const struct layer *l = &p->layer;
  const size_t h = l->hidden, all = p->gates * h, rows = end - begin, candidate = all - h;
  const bool after = l->cell == GK_CELL_GRU, before = resets_before(l->cell);
  for (size_t t = 0; t < l->time; t++) {
    const size_t first = t * l->batch + begin, kept = kept_row(p, t, begin), swept = swept_row(p, t, begin);
    float *gate = p->gate + kept * p->width;
    const float *h_prev = t ? l->y + (first - l->batch) * h : l->h0 + begin * h;
    for (size_t n = 0; n < rows; n++)
      start_gates(p, gate + n * p->width);
    product(rows, all, l->input, rows_of(l->x + first * l->input, l->input), p->w_ih, all, gate, p->width);
    if (after || before) {
      product(rows, candidate, h, rows_of(h_prev, h), p->w_hh, all, gate, p->width);
      const float *operand = h_prev;
      for (size_t n = 0; before && n < rows; n++)
        forward_reset(p, gate + n * p->width, h_prev + n * h, p->reset_h + (swept + n) * h);
      if (before)
        operand = p->reset_h + swept * h;
      product(rows, h, h, rows_of(operand, h), p->w_hh + candidate, all, gate + (after ? 3 * h : candidate),
              p->width);
    } else {
      product(rows, all, h, rows_of(h_prev, h), p->w_hh, all, gate, p->width);
    }
    for (size_t n = 0; n < rows; n++) {
      const float *c_prev = state_before(p, t, begin + n);
      forward_cell(p, gate + n * p->width, h_prev + n * h, c_prev, p->c + (kept + n) * h,
                   l->y + (first + n) * h);
    }
    if (!p->keeps)
      continue;
    memcpy(p->h_swept + swept * h, h_prev, rows * h * sizeof(float));
    memcpy(p->x_swept + swept * l->input, l->x + first * l->input, rows * l->input * sizeof(float));
  }
}

/* From the gradients of h and c after the cell to those of its pre-activations; dh becomes what goes straight
 * to the step before. `di` and `dr` are the two sides of the pre-activations. */
static void backward_cell(const struct plan *p, const float *restrict gate, const float *restrict h_prev,
                          const float *restrict c_prev, const float *restrict c, float *restrict dh,
                          float *restrict dc, float *restrict di, float *restrict dr) {
  const size_t u = p->layer.hidden;
  const float *a = gate, *b = gate + u, *d = gate + 2 * u, *e = gate + 3 * u;
  switch ((int)p->layer.cell) {
  case GK_CELL_RNN:
    for (size_t j = 0; j < u; j++) {
      di[j] = dr[j] = dh[j] * fmaf(-a[j], a[j], 1.0f);
      dh[j] = 0;
    }
    break;
  case GK_CELL_GRU:
    for (size_t j = 0; j < u; j++) {
      const float dn = dh[j] * (1.0f - b[j]) * fmaf(-d[j], d[j], 1.0f);
      di[j] = dr[j] = dn * e[j] * (a[j] * (1.0f - a[j]));
      di[u + j] = dr[u + j] = dh[j] * (h_prev[j] - d[j]) * (b[j] * (1.0f - b[j]));
      di[2 * u + j] = dn;
      dr[2 * u + j] = dn * a[j];
      dh[j] *= b[j];
    }
    break;
  case GK_CELL_GRU_SIMPLIFIED:
    for (size_t j = 0; j < u; j++) {
      di[j] = dr[j] = dh[j] * (h_prev[j] - b[j]) * (a[j] * (1.0f - a[j]));
      di[u + j] = dr[u + j] = dh[j] * (1.0f - a[j]) * fmaf(-b[j], b[j], 1.0f);
      dh[j] *= a[j];
    }
    break;
  case GK_CELL_MGU: /* di has what reaches f by way of h; the rest comes after the candidate's product */
    for (size_t j = 0; j < u; j++) {
      di[j] = dh[j] * (b[j] - h_prev[j]);
      di[u + j] = dr[u + j] = dh[j] * a[j] * fmaf(-b[j], b[j], 1.0f);
      dh[j] *= 1.0f - a[j];
    }
    break;
  case GK_CELL_GRU_RESET_BEFORE: /* r's gradient comes after the candidate's product */
    for (size_t j = 0; j < u; j++) {
      di[j] = 0;
      di[u + j] = dr[u + j] = dh[j] * (h_prev[j] - d[j]) * (b[j] * (1.0f - b[j]));
      di[2 * u + j] = dr[2 * u + j] = dh[j] * (1.0f - b[j]) * fmaf(-d[j], d[j], 1.0f);
      dh[j] *= b[j];
    }
    break;
  case GK_CELL_LSTM: /* more blocks to write in one loop and the compiler does not vectorise it */
    for (size_t j = 0; j < u; j++) {
      const float y = tangent(c[j]), dcj = fmaf(dh[j] * e[j], fmaf(-y, y, 1.0f), dc[j]);
      di[j] = dcj * d[j] * (a[j] * (1.0f - a[j]));
      di[u + j] = dcj * c_prev[j] * (b[j] * (1.0f - b[j]));
      di[2 * u + j] = dcj * a[j] * fmaf(-d[j], d[j], 1.0f);
      di[3 * u + j] = dh[j] * y * (e[j] * (1.0f - e[j]));
      dc[j] = dcj * b[j];
      dh[j] = 0;
    }
    memcpy(dr, di, 4 * u * sizeof *di);
  }
}

/* The gate that resets h', from `d`, the gradient of their product; `di` has what reaches the gate by h. */
static void backward_reset(size_t units, const float *restrict r, const float *restrict h_prev,
                           const float *restrict d, float *restrict dh, float *restrict di,
                           float *restrict dr) {
  for (size_t j = 0; j < units; j++) {
    di[j] = dr[j] = fmaf(d[j], h_prev[j], di[j]) * (r[j] * (1.0f - r[j]));
    dh[j] = fmaf(d[j], r[j], dh[j]);
  }
}

static void backward_rows(const struct plan *p, size_t begin, size_t end) {
  const struct layer *l = &p->layer;
  const size_t h = l->hidden, all = p->gates * h, rows = end - begin, candidate = all - h;
  const bool before = resets_before(l->cell);
  float *dh = p->dh + begin * h, *dc = p->dc + begin * h;
  memcpy(dh, l->dhn + begin * h, rows * h * sizeof *dh);
  if (l->dcn)
    memcpy(dc, l->dcn + begin * h, rows * h * sizeof *dc);
  for (size_t t = l->time; t-- > 0;) {
    const size_t first = t * l->batch + begin, swept = (l->time - 1 - t) * l->batch + begin;
    const float *h_prev = p->h_swept + swept * h, *gate = p->gate + first * p->width;
    float *di = p->d_input + swept * all, *dr = p->d_hidden + swept * all, *carry = p->carry + begin * h;
    for (size_t n = 0; n < rows; n++) {
      const float *c_prev = state_before(p, t, begin + n);
      for (size_t j = 0; j < h; j++)
        dh[n * h + j] += l->dy[(first + n) * h + j];
      backward_cell(p, gate + n * p->width, h_prev + n * h, c_prev, p->c + (first + n) * h, dh + n * h,
                    dc + n * h, di + n * all, dr + n * all);
    }
    if (before) {
      memset(carry, 0, rows * h * sizeof *carry);
      product(rows, h, h, rows_of(dr + candidate, all), weight_hh(p) + candidate * h, h, carry, h);
      for (size_t n = 0; n < rows; n++)
        backward_reset(h, gate + n * p->width, h_prev + n * h, carry + n * h, dh + n * h, di + n * all,
                       dr + n * all);
    }
    product(rows, h, before ? candidate : all, rows_of(dr, all), weight_hh(p), h, dh, h);
    float *dx = l->dx + first * l->input;
    memset(dx, 0, rows * l->input * sizeof *dx);
    product(rows, l->input, all, rows_of(di, all), weight_ih(p), l->input, dx, l->input);
  }
  memcpy(l->dh0 + begin * h, dh, rows * h * sizeof *dh);
  if (l->dc0)
    memcpy(l->dc0 + begin * h, dc, rows * h * sizeof *dc);
}

/* Rows [begin, end) of both weight matrices and the biases. */
static void weight_rows(const struct plan *p, size_t begin, size_t end) {
  const struct layer *l = &p->layer;
  const size_t h = l->hidden, all = p->gates * h, steps = l->time * l->batch, in = l->input;
  float *d_ih = l->gradients, *d_hh = d_ih + all * in, *db_ih = d_hh + all * h, *db_hh = db_ih + all;
  const size_t candidate = resets_before(l->cell) ? all - h : all;
  const size_t split = candidate < begin ? begin : candidate > end ? end : candidate;
  memset(d_ih + begin * in, 0, (end - begin) * in * sizeof *d_ih);
  memset(d_hh + begin * h, 0, (end - begin) * h * sizeof *d_hh);
  product(end - begin, in, steps, (struct operand){p->d_input + begin, 1, all}, p->x_swept, in,
          d_ih + begin * in, in);
  product(split - begin, h, steps, (struct operand){p->d_hidden + begin, 1, all}, p->h_swept, h,
          d_hh + begin * h, h);
  product(end - split, h, steps, (struct operand){p->d_hidden + split, 1, all}, p->reset_h, h,
          d_hh + split * h, h);
  for (size_t j = begin; j < end; j++)
    db_ih[j] = db_hh[j] = 0;
  for (size_t i = 0; i < steps; i++)
    for (size_t j = begin; j < end; j++) {
      db_ih[j] += p->d_input[i * all + j];
      db_hh[j] += p->d_hidden[i * all + j];
    }
}

/* The states after the last step. */
static void final_states(const struct plan *p) {
  const struct layer *l = &p->layer;
  const size_t states = l->batch * l->hidden;
  memcpy(l->hn, l->y + (l->time - 1) * states, states * sizeof(float));
  if (l->cn)
    memcpy(l->cn, p->c + kept_row(p, l->time - 1, 0) * l->hidden, states * sizeof(float));
}

/* ---- All layers --------------------------------------------------------------------------------- */

static void network_rows(const struct plain_c_network *w, size_t begin, size_t end) {
  for (size_t i = 0; i < w->layers; i++) {
    const struct plan plan = plan_of(w, i);
    forward_rows(&plan, begin, end);
  }
  for (size_t i = w->layers; i-- > 0 && bench_pass_is_step(w->pass);) {
    const struct plan plan = plan_of(w, i);
    backward_rows(&plan, begin, end);
  }
}

size_t PLAIN_C_NAME(scratch)(const struct plain_c_network *w) {
  return gates_of(w->cell) ? scratch_below(w, w->layers) : 0;
}

void PLAIN_C_NAME(pack)(const struct plain_c_network *w) {
  for (size_t i = 0; i < w->layers; i++) {
    const struct plan plan = plan_of(w, i);
    const size_t all = plan.gates * w->hidden;
    transpose(weight_ih(&plan), plan.w_ih, all, plan.layer.input);
    transpose(weight_hh(&plan), plan.w_hh, all, w->hidden);
  }
}

void PLAIN_C_NAME(run)(const struct plain_c_network *w) {
  const size_t threads = (size_t)w->threads, all = gates_of(w->cell) * w->hidden;
  const size_t parts = threads < w->batch ? threads : w->batch; /* of the batch */
  if (w->pass == BENCH_STEP)
    PLAIN_C_NAME(pack)(w);
#pragma omp parallel for num_threads((int)parts) schedule(static, 1)
  for (size_t i = 0; i < parts; i++)
    network_rows(w, i * w->batch / parts, (i + 1) * w->batch / parts);
  for (size_t layer = 0; layer < w->layers; layer++) {
    const struct plan plan = plan_of(w, layer);
    final_states(&plan);
    if (!bench_pass_is_step(w->pass))
      continue;
#pragma omp parallel for num_threads(w->threads) schedule(static, 1)
    for (size_t i = 0; i < threads; i++)
      weight_rows(&plan, i * all / threads, (i + 1) * all / threads);
  }
}
