/* SPDX-License-Identifier: Apache-2.0
 * Matrix tile of NEON: 5 rows by 4 vectors, four k at a time with fma by lane. 20 sums + 5 of A + 1 to 4 of
 * B: 29 of 32 registers; 20 independent chains cover four pipes of four cycles. Five and ten, of a last panel
 * of one or two vectors, would not: it joins the panel before, with 20 and 18 chains (25 and 24 spill). */
#ifndef GK_KERNELS_NEON_TILE_H
#define GK_KERNELS_NEON_TILE_H

#define GK_TILE_ROWS                 5
#define GK_TILE_VECTORS              4
#define GK_TILE_K                    GK_SUM_BLOCK
#define GK_TILE_LONGEST              GK_TILE_K
#define GK_TILE_READS_ACROSS         0 /* four k of a row come as one vector */
#define GK_TILE_TALLEST              GK_TILE_ROWS
#define GK_TILE_LOW_ROWS             GK_TILE_ROWS
#define GK_TILE_WIDTH(rows)          ((rows) <= 2 ? 8u : 4u)
#define GK_TILE_JOINED_ROWS(vectors) ((vectors) == 1 ? 4u : (vectors) == 2 ? 3u : 0u)
#define GK_TILE_NEXT_LINES(rows)     ((void)(rows), 0)

#include "kernels/math/tile.h"

#define GK_TILE_LANE(lane)                                                                                   \
  do {                                                                                                       \
    GK_UNROLL for (int j = 0; j < vectors; j++) {                                                            \
      const float *at_b = b + (size_t)(j / 4) * panel + (lane)*b_step + (j % 4) * 4;                         \
      const float32x4_t bk = part && j + 1 == vectors ? vf_load_n(at_b, last) : vld1q_f32(at_b);             \
      GK_UNROLL for (int i = 0; i < rows; i++)                                                               \
        sum[i][j] = vfmaq_laneq_f32(sum[i][j], bk, ak[i], lane);                                             \
    }                                                                                                        \
  } while (0)

/* part: B is not packed, and its last vector has fewer lanes. */
static inline __attribute__((always_inline)) void tile_fma(const struct tile *t, size_t k, size_t count,
                                                           const float *b, vf sum[][8], const int rows,
                                                           const int vectors, const enum tile_form form,
                                                           const bool part) {
  const float *a[GK_TILE_TALLEST];
  const size_t panel = form == TILE_UNPACKED ? 16 : t->b_panel_stride;
  const size_t b_step = form == TILE_UNPACKED ? t->b_step : 16;
  const size_t last = t->columns[vectors - 1].lanes;
  GK_UNROLL for (int i = 0; i < rows; i++)
    a[i] = t->a[i] + t->k_begin + k;
  size_t at = 0;
  for (; at + 4 <= count; at += 4) {
    float32x4_t ak[GK_TILE_TALLEST];
    GK_UNROLL for (int i = 0; i < rows; i++)
      ak[i] = vld1q_f32(a[i] + at);
    GK_TILE_LANE(0);
    GK_TILE_LANE(1);
    GK_TILE_LANE(2);
    GK_TILE_LANE(3);
    b += 4 * b_step;
  }
  for (; at < count; at++) {
    float32x4_t ak[GK_TILE_TALLEST];
    GK_UNROLL for (int i = 0; i < rows; i++)
      ak[i] = vld1q_dup_f32(a[i] + at);
    GK_TILE_LANE(0);
    b += b_step;
  }
}
#undef GK_TILE_LANE

static inline __attribute__((always_inline)) void tile_terms(const struct tile *t, size_t k, size_t count,
                                                             const float *b, vf sum[][8], const int rows,
                                                             const int vectors, const enum tile_form form) {
  if (form == TILE_UNPACKED && t->columns[vectors - 1].lanes < GK_V)
    tile_fma(t, k, count, b, sum, rows, vectors, form, true);
  else
    tile_fma(t, k, count, b, sum, rows, vectors, form, false);
}

#include "kernels/math/tile_strips.h"

#define GK_TILES(rows)      GK_TILE(rows, 1) GK_TILE(rows, 2) GK_TILE(rows, 3) GK_TILE(rows, 4)
#define GK_WIDE_TILES(rows) GK_TILES(rows) GK_TILE(rows, 5) GK_TILE(rows, 6) GK_TILE(rows, 7) GK_TILE(rows, 8)
GK_WIDE_TILES(1)
GK_WIDE_TILES(2)
GK_TILES(3)
GK_TILES(4)
GK_TILES(5)
GK_TILE(3, 5)
GK_TILE(3, 6)
GK_TILE(4, 5)

#define GK_TILE_LINE(name, rows) name##rows##x1, name##rows##x2, name##rows##x3, name##rows##x4
#define GK_WIDE_TILE_LINE(name, rows)                                                                        \
  GK_TILE_LINE(name, rows), name##rows##x5, name##rows##x6, name##rows##x7, name##rows##x8
#define GK_TILE_TABLE(name)                                                                                  \
  {                                                                                                          \
    {GK_WIDE_TILE_LINE(name, 1)}, {GK_WIDE_TILE_LINE(name, 2)},                                              \
        {GK_TILE_LINE(name, 3), name##3x5, name##3x6}, {GK_TILE_LINE(name, 4), name##4x5},                   \
        {GK_TILE_LINE(name, 5)},                                                                             \
  }
static tile_fn *const tiles[GK_TILE_ROWS][8] = GK_TILE_TABLE(tile_);
static tile_fn *const tiles_unpacked[GK_TILE_ROWS][8] = GK_TILE_TABLE(tile_unpacked_);

static inline void transpose_registers(vf r[4]) {
  const float32x4x2_t t01 = vtrnq_f32(r[0], r[1]), t23 = vtrnq_f32(r[2], r[3]);
  r[0] = vcombine_f32(vget_low_f32(t01.val[0]), vget_low_f32(t23.val[0]));
  r[1] = vcombine_f32(vget_low_f32(t01.val[1]), vget_low_f32(t23.val[1]));
  r[2] = vcombine_f32(vget_high_f32(t01.val[0]), vget_high_f32(t23.val[0]));
  r[3] = vcombine_f32(vget_high_f32(t01.val[1]), vget_high_f32(t23.val[1]));
}

#endif
