/* SPDX-License-Identifier: Apache-2.0
 * Matrix tile of NEON: 5 rows by 4 vectors, four k at a time with fma by lane. 20 sums + 5 of A + 4 of B: 29
 * of 32 registers; 20 independent chains cover four pipes of four cycles. */
#ifndef GK_KERNELS_NEON_TILE_H
#define GK_KERNELS_NEON_TILE_H

#define GK_TILE_ROWS             5
#define GK_TILE_VECTORS          4
#define GK_TILE_K                GK_SUM_BLOCK
#define GK_TILE_READS_ACROSS     0 /* four k of a row come as one vector */
#define GK_TILE_TALLEST          GK_TILE_ROWS
#define GK_TILE_WIDTH(rows)      ((rows) <= 2 ? 8u : 4u)
#define GK_TILE_NEXT_LINES(rows) 0

#include "kernels/math/tile.h"

static inline vf tile_load_last(const float *b, size_t lanes) {
  return lanes == GK_V ? vf_load(b) : vf_load_n(b, lanes);
}

#define GK_TILE_LANE(lane)                                                                                   \
  do {                                                                                                       \
    float32x4_t bk[8];                                                                                       \
    GK_UNROLL for (int j = 0; j < vectors; j++)                                                              \
      bk[j] = form != TILE_UNPACKED ? vld1q_f32(b + (size_t)(j / 4) * panel + (lane)*16 + (j % 4) * 4)       \
              : j + 1 < vectors     ? vld1q_f32(b + (lane)*b_step + j * 4)                                   \
                                    : tile_load_last(b + (lane)*b_step + j * 4, last);                           \
    GK_UNROLL for (int i = 0; i < rows; i++) GK_UNROLL                                                       \
      for (int j = 0; j < vectors; j++)                                                                      \
        sum[i][j] = vfmaq_laneq_f32(sum[i][j], bk[j], ak[i], lane);                                          \
  } while (0)

static inline __attribute__((always_inline)) void tile_terms(const struct tile *t, size_t k, size_t count,
                                                             const float *b, vf sum[][8], const int rows,
                                                             const int vectors, const enum tile_form form) {
  const float *a[5];
  const size_t panel = t->b_panel_stride, b_step = form == TILE_UNPACKED ? t->b_step : 16;
  const size_t last = t->columns[vectors - 1].lanes;
  GK_UNROLL for (int i = 0; i < rows; i++)
    a[i] = t->a[i] + t->k_begin + k;
  size_t at = 0;
  for (; at + 4 <= count; at += 4) {
    float32x4_t ak[5];
    GK_UNROLL for (int i = 0; i < rows; i++)
      ak[i] = vld1q_f32(a[i] + at);
    GK_TILE_LANE(0);
    GK_TILE_LANE(1);
    GK_TILE_LANE(2);
    GK_TILE_LANE(3);
    b += 4 * b_step;
  }
  for (; at < count; at++) {
    float32x4_t ak[5];
    GK_UNROLL for (int i = 0; i < rows; i++)
      ak[i] = vld1q_dup_f32(a[i] + at);
    GK_TILE_LANE(0);
    b += b_step;
  }
}
#undef GK_TILE_LANE

#include "kernels/math/tile_strips.h"

#define GK_TILES(rows)      GK_TILE(rows, 1) GK_TILE(rows, 2) GK_TILE(rows, 3) GK_TILE(rows, 4)
#define GK_WIDE_TILES(rows) GK_TILES(rows) GK_TILE(rows, 5) GK_TILE(rows, 6) GK_TILE(rows, 7) GK_TILE(rows, 8)
GK_WIDE_TILES(1)
GK_WIDE_TILES(2)
GK_TILES(3)
GK_TILES(4)
GK_TILES(5)

#define GK_TILE_LINE(name, rows) name##rows##x1, name##rows##x2, name##rows##x3, name##rows##x4
#define GK_TILE_TABLE(name)                                                                                  \
  {                                                                                                          \
    {GK_TILE_LINE(name, 1), name##1x5, name##1x6, name##1x7, name##1x8},                                     \
        {GK_TILE_LINE(name, 2), name##2x5, name##2x6, name##2x7, name##2x8}, {GK_TILE_LINE(name, 3)},        \
        {GK_TILE_LINE(name, 4)}, {GK_TILE_LINE(name, 5)},                                                    \
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
