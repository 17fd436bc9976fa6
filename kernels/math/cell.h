/* SPDX-License-Identifier: Apache-2.0
 * How every cell's arithmetic is applied: row by row, units in vectors, the last one masked. A cell is a
 * pair of static functions CELL_forward_units / CELL_backward_units(step, row, unit, lanes). */
#ifndef GK_KERNELS_MATH_CELL_H
#define GK_KERNELS_MATH_CELL_H

/* lanes is the constant GK_V in the body of a row: the compiler drops the masks there. */
static inline __attribute__((always_inline)) vf cell_load(const float *p, size_t lanes) {
  return lanes == GK_V ? vf_load(p) : vf_load_n(p, lanes);
}
static inline __attribute__((always_inline)) void cell_store(float *p, vf x, size_t lanes) {
  if (lanes == GK_V)
    vf_store(p, x);
  else
    vf_store_n(p, x, lanes);
}

/* The gradient of a pre-activation goes to two places. */
static inline __attribute__((always_inline)) void cell_store_gradient(const struct gk_cell_backward *step, size_t row,
                                                                      size_t column, vf x, size_t lanes) {
  x = v_flush(x);
  cell_store(step->gates[row] + column, x, lanes);
  cell_store(step->d_pre[row] + column, x, lanes);
}

/* The new h, flushed. */
static inline __attribute__((always_inline)) void cell_store_h(const struct gk_cell_forward *step, size_t row,
                                                               size_t unit, vf h, size_t lanes) {
  h = v_flush(h);
  cell_store(step->h[row] + unit, h, lanes);
  if (step->saved_h) cell_store(step->saved_h[row] + unit, h, lanes);
}

#define GK_CELL_KERNEL(name, step_type)                                                                  \
  static void name(const struct step_type *step) {                                                       \
    for (size_t row = 0; row < step->rows; row++) {                                                      \
      size_t unit = step->unit_begin;                                                                    \
      for (; unit + GK_V <= step->unit_end; unit += GK_V) name##_units(step, row, unit, GK_V);           \
      if (unit < step->unit_end) name##_units(step, row, unit, step->unit_end - unit);                   \
    }                                                                                                    \
  }
#define GK_CELL_UNITS static inline __attribute__((always_inline)) void

#endif
