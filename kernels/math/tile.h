/* SPDX-License-Identifier: Apache-2.0
 * What a tier's matrix tile is given: `rows` by `vectors` of C, at most GK_TILE_K k, added to C in sums of
 * sum_block k each. C stays in the nearest cache from one to the next, which is why the tile does it. */
#ifndef GK_KERNELS_MATH_TILE_H
#define GK_KERNELS_MATH_TILE_H

struct tile {
  size_t k, k_begin, sum_block;
  const float *const *a; /* a[i][(k_begin + k) * a_step] */
  ptrdiff_t a_step;      /* 1 unless the tier reads across */
  const float *b;        /* vector j of row k: b + (j / nv) * b_panel_stride + (k * nv + j % nv) * v */
  size_t b_panel_stride;
  const float
      *b_next; /* 16 floats for each k of it are asked for meanwhile: a share of the block that comes next */
  const float *ahead; /* ahead_step floats for each k, of what the caller will read next */
  size_t ahead_step;
  const struct gk_column *columns;
  float *const *c;
  const float *const *from; /* what the sum is added to: c, or rows of initial values */
  bool full;                /* every column has all its lanes */
  bool overwrite;           /* C = 0 + sum */
};
typedef void tile_fn(const struct tile *tile);

/* Sums must live in registers: a tile's loops over rows and vectors are unrolled by force. */
#ifdef __clang__
#define GK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GK_UNROLL _Pragma("GCC unroll 16")
#endif

/* What is read through `pointer` is computed here: before the loop over k it would be kept in memory, as two
 * addresses for each vector of C. */
#define GK_ADDRESSES_FROM_HERE(pointer) __asm__("" : "+r"(pointer))

#endif
