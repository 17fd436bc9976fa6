/* SPDX-License-Identifier: Apache-2.0
 * How every cell's arithmetic is applied: row by row (but for cell_units_end), units in vectors, the last
 * one masked. A cell is a pair of static functions CELL_forward_body / CELL_backward_body(step, row, unit,
 * lanes, general), each compiled twice: plain, and general, which looks at the step's variant. */
#ifndef GK_KERNELS_MATH_CELL_H
#define GK_KERNELS_MATH_CELL_H

#include "kernels/math/array.h"
#include "kernels/math/function.h"

/* To a saved row. */
static inline __attribute__((always_inline)) void cell_save(const struct gk_cell_forward *step, float *p,
                                                            vf x, size_t lanes) {
  if (lanes == GK_V && step->stream)
    vf_stream(p, x);
  else
    v_store(p, x, lanes);
}

/* The gradient of h: dy + dh, flushed, since what a caller gives may be denormal. */
static inline __attribute__((always_inline)) vf cell_dh(const struct gk_cell_backward *step, size_t row,
                                                        size_t unit, size_t lanes) {
  vf dh = v_load(step->dh[row] + unit, lanes);
  if (step->dy)
    dh = vf_add(v_load(step->dy[row] + unit, lanes), dh);
  return vf_flush(dh);
}

/* The gradient of a pre-activation. */
static inline __attribute__((always_inline)) void
cell_store_gradient(const struct gk_cell_backward *step, size_t row, size_t column, vf x, size_t lanes) {
  x = vf_flush(x);
  v_store(step->d_pre[row] + column, x, lanes);
  if (step->d_pre_copy)
    v_store(step->d_pre_copy[row] + column, x, lanes);
}

/* The new h, flushed. */
static inline __attribute__((always_inline)) void cell_store_h(const struct gk_cell_forward *step, size_t row,
                                                               size_t unit, vf h, size_t lanes) {
  h = vf_flush(h);
  v_store(step->h[row] + unit, h, lanes);
  if (step->saved_h)
    cell_save(step, step->saved_h[row] + unit, h, lanes);
}

/* ---- Activations ---- */

/* Sigmoid of gates, tanh elsewhere: `usual` functions need no call. */
static inline __attribute__((always_inline)) vf cell_usual(gk_activation_place place, vf x) {
  return place == GK_GATE ? v_sigmoid(x) : v_tanh(x);
}
static inline __attribute__((always_inline)) vf cell_usual_slope(gk_activation_place place, vf y) {
  const vf one = vf_set(1.0f);
  return place == GK_GATE ? vf_mul(y, vf_sub(one, y)) : vf_fnma(y, y, one);
}
static inline __attribute__((always_inline)) vf cell_function(const struct gk_activation_function *function,
                                                              gk_activation_place place, vf x) {
  return function->kind == (place == GK_GATE ? GK_ACTIVATION_SIGMOID : GK_ACTIVATION_TANH)
             ? cell_usual(place, x)
             : v_function(function, x);
}
static inline __attribute__((always_inline)) vf cell_bounded(vf x, float limit) {
  return vf_at_most(vf_at_least(x, vf_set(-limit)), vf_set(limit));
}

/* Forward: the value of a pre-activation, and what is saved of it. */
struct cell_value {
  vf y, saved;
};
static inline __attribute__((always_inline)) struct cell_value
cell_activate(const struct gk_cell_variant *variant, bool general, gk_activation_place place, vf x) {
  struct cell_value value;
  if (!general) {
    value.y = value.saved = cell_usual(place, x);
    return value;
  }
  const struct gk_activation_function *function = &variant->function[place];
  value.y = cell_function(function, place, cell_bounded(x, variant->clip));
  value.saved = function->from_output ? value.y : x;
  return value;
}

/* Backward: the value, and the derivative of the general kernels, from what was saved. */
struct cell_recalled {
  vf y, slope;
};
static inline __attribute__((always_inline)) struct cell_recalled
cell_recall(const struct gk_cell_variant *variant, bool general, gk_activation_place place, vf saved) {
  struct cell_recalled recalled = {saved, saved};
  if (general && variant->function[place].from_output)
    recalled.slope = cell_usual_slope(place, saved);
  if (general && !variant->function[place].from_output) {
    const struct gk_activation_function *function = &variant->function[place];
    vf x = cell_bounded(saved, variant->clip);
    recalled.y = cell_function(function, place, x);
    recalled.slope =
        vf_zero_where(vf_lt(vf_set(variant->clip), vf_abs(saved)), v_function_slope(function, x, recalled.y));
  }
  return recalled;
}
/* The derivative, where it is used: the plain kernels have no registers to keep it in. */
static inline __attribute__((always_inline)) vf cell_slope(bool general, gk_activation_place place,
                                                           struct cell_recalled recalled) {
  return general ? recalled.slope : cell_usual_slope(place, recalled.y);
}

/* Rows are far apart, so no hardware prefetcher follows from one to the next: this many rows ahead, the
 * lines that a cell will touch (CELL_prefetch) are asked for. */
enum { CELL_PREFETCH_ROWS = 6, CELL_LINE = 16 /* floats of a line of cache */ };

static inline __attribute__((always_inline)) void cell_prefetch(const float *row, size_t unit, size_t hidden,
                                                                int blocks) {
  for (int b = 0; b < blocks; b++)
    __builtin_prefetch(row + (size_t)b * hidden + unit);
}

/* What forward saves: `blocks` of gates and the states; what backward reads. */
static inline __attribute__((always_inline)) void
cell_prefetch_forward(const struct gk_cell_forward *step, size_t row, size_t unit, int blocks, bool memory) {
  if (!step->saved_gates || step->stream)
    return;
  cell_prefetch(step->saved_gates[row], unit, step->hidden, blocks);
  cell_prefetch(step->saved_h[row], unit, step->hidden, 1);
  if (memory)
    cell_prefetch(step->saved_c[row], unit, step->hidden, 1);
}
static inline __attribute__((always_inline)) void cell_prefetch_backward(const struct gk_cell_backward *step,
                                                                         size_t row, size_t unit, int blocks,
                                                                         bool memory) {
  cell_prefetch(step->gates[row], unit, step->hidden, blocks);
  cell_prefetch(step->h_prev[row], unit, step->hidden, 1);
  if (step->dy)
    cell_prefetch(step->dy[row], unit, step->hidden, 1);
  if (memory)
    cell_prefetch(step->c[row], unit, step->hidden, 1);
  if (memory)
    cell_prefetch(step->c_prev[row], unit, step->hidden, 1);
}

/* Where the units that all rows take before they take the next ones end: a line of cache, if other threads
 * have other units of these rows (gk_run_copies in src/sequence/run.h says why; forward of LSTM 256 with 2
 * and 3 samples 1.11 and 1.09 times as fast where two threads share no cache, with 2 1.02 where they do). */
static inline size_t cell_units_end(bool units_split, size_t rows, size_t begin, size_t end) {
  const size_t line_end = (begin / CELL_LINE + 1) * CELL_LINE;
  return units_split && rows > 1 && line_end < end ? line_end : end;
}

#define GK_CELL_PASS(pass, step, row, begin, end)                                                            \
  do {                                                                                                       \
    size_t unit = (begin);                                                                                   \
    for (; unit + GK_V <= (end); unit += GK_V)                                                               \
      pass##_units(step, row, unit, GK_V);                                                                   \
    if (unit < (end))                                                                                        \
      pass##_units(step, row, unit, (end)-unit);                                                             \
  } while (0)

#define GK_CELL_PREFETCH(step, direction, row, begin, end, blocks, memory)                                   \
  if ((row) + CELL_PREFETCH_ROWS < (step)->rows)                                                             \
    for (size_t line = (begin); line < (end); line += CELL_LINE)                                             \
  cell_prefetch_##direction(step, (row) + CELL_PREFETCH_ROWS, line, blocks, memory)

#define GK_CELL_UNITS static inline __attribute__((always_inline)) void

/* Both instances of the body of a pass. */
#define GK_CELL_INSTANCES(pass, direction)                                                                   \
  GK_CELL_UNITS pass##_units(const struct gk_cell_##direction *step, size_t row, size_t unit,                \
                             size_t lanes) {                                                                 \
    pass##_body(step, row, unit, lanes, false);                                                              \
  }                                                                                                          \
  GK_CELL_UNITS pass##_general_units(const struct gk_cell_##direction *step, size_t row, size_t unit,        \
                                     size_t lanes) {                                                         \
    pass##_body(step, row, unit, lanes, true);                                                               \
  }

/* All rows by `pass`, and then by what follows. The copy is known to be none of the arrays that are written:
 * a compiler reads its pointers once and not after every store (6 to 17 % of a call). */
#define GK_CELL_KERNEL_OF(name, pass, direction, blocks, memory, ...)                                        \
  static void name(const struct gk_cell_##direction *given) {                                                \
    const struct gk_cell_##direction step_copy = *given, *step = &step_copy;                                 \
    for (size_t begin = step->unit_begin, end; begin < step->unit_end; begin = end) {                        \
      end = cell_units_end(step->units_split, step->rows, begin, step->unit_end);                            \
      for (size_t row = 0; row < step->rows; row++) {                                                        \
        GK_CELL_PREFETCH(step, direction, row, begin, end, blocks, memory);                                  \
        GK_CELL_PASS(pass, step, row, begin, end);                                                           \
      }                                                                                                      \
      __VA_ARGS__                                                                                            \
    }                                                                                                        \
  }

/* Where one activation needs another's result, all rows are taken twice: in one pass the chain of a vector is
 * so long that too few vectors are in flight (LSTM forward, 16 units: 162 cycles on AVX2, 102 on AVX-512). */
#define GK_CELL_KERNEL_TWO_PASSES_OF(name, first, second, direction, blocks, memory)                         \
  GK_CELL_KERNEL_OF(name, first, direction, blocks, memory,                                                  \
                    for (size_t row = 0; row < step->rows; row++)                                            \
                        GK_CELL_PASS(second, step, row, begin, end);)

/* name, from name_body, and name_general. */
#define GK_CELL_KERNEL(name, direction, blocks, memory)                                                      \
  GK_CELL_INSTANCES(name, direction)                                                                         \
  GK_CELL_KERNEL_OF(name, name, direction, blocks, memory, )                                                 \
  GK_CELL_KERNEL_OF(name##_general, name##_general, direction, blocks, memory, )
#define GK_CELL_KERNEL_TWO_PASSES(name, first, second, direction, blocks, memory)                            \
  GK_CELL_INSTANCES(first, direction)                                                                        \
  GK_CELL_INSTANCES(second, direction)                                                                       \
  GK_CELL_KERNEL_TWO_PASSES_OF(name, first, second, direction, blocks, memory)                               \
  GK_CELL_KERNEL_TWO_PASSES_OF(name##_general, first##_general, second##_general, direction, blocks, memory)

#endif
