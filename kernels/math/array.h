/* SPDX-License-Identifier: Apache-2.0
 * Arrays of any length, vector by vector: the whole ones without masks, then what is left. */
#ifndef GK_KERNELS_MATH_ARRAY_H
#define GK_KERNELS_MATH_ARRAY_H

/* Where `lanes` is the constant GK_V, the compiler drops the mask. */
static inline __attribute__((always_inline)) vf v_load(const float *p, size_t lanes) {
  return lanes == GK_V ? vf_load(p) : vf_load_n(p, lanes);
}
static inline __attribute__((always_inline)) void v_store(float *p, vf x, size_t lanes) {
  if (lanes == GK_V)
    vf_store(p, x);
  else
    vf_store_n(p, x, lanes);
}

/* The lanes that are there, 0 in the others. */
static inline __attribute__((always_inline)) vf v_first(vf x, size_t lanes) {
  return lanes == GK_V ? x : vf_first(x, lanes);
}

/* Every value i of `count`: the statements see i and lanes. */
#define GK_ARRAY_PASS(count, ...)                                                                            \
  do {                                                                                                       \
    size_t i = 0;                                                                                            \
    for (; i + GK_V <= (count); i += GK_V) {                                                                 \
      const size_t lanes = GK_V;                                                                             \
      __VA_ARGS__                                                                                            \
    }                                                                                                        \
    if (i < (count)) {                                                                                       \
      const size_t lanes = (count)-i;                                                                        \
      __VA_ARGS__                                                                                            \
    }                                                                                                        \
  } while (0)

/* The same of columns whose rows are taken in turn: so many vectors from j on, 4 of them to have enough sums
 * in flight, of so many lanes each. */
#define GK_COLUMN_PASS(columns, ...)                                                                         \
  do {                                                                                                       \
    size_t j = 0;                                                                                            \
    for (; j + 4 * GK_V <= (columns); j += 4 * GK_V) {                                                       \
      const size_t vectors = 4, lanes = GK_V;                                                                \
      __VA_ARGS__                                                                                            \
    }                                                                                                        \
    for (; j + GK_V <= (columns); j += GK_V) {                                                               \
      const size_t vectors = 1, lanes = GK_V;                                                                \
      __VA_ARGS__                                                                                            \
    }                                                                                                        \
    if (j < (columns)) {                                                                                     \
      const size_t vectors = 1, lanes = (columns)-j;                                                         \
      __VA_ARGS__                                                                                            \
    }                                                                                                        \
  } while (0)

/* Every value i of what is added up (reduction.h): the statements also see the vector j of the virtual
 * lanes. */
#define GK_SUM_PASS(count, ...)                                                                              \
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

#endif
