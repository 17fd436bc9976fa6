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

#define GK_TILE_LANE(lane)                                                                                   \
  do {                                                                                                       \
    float32x4_t bk[8];                                                                                       \
    GK_UNROLL for (int j = 0; j < vectors; j++)                                                              \
      bk[j] = vld1q_f32(b + (size_t)(j / 4) * panel + (lane)*16 + (j % 4) * 4);                              \
    GK_UNROLL for (int i = 0; i < rows; i++) GK_UNROLL                                                       \
      for (int j = 0; j < vectors; j++)                                                                      \
        sum[i][j] = vfmaq_laneq_f32(sum[i][j], bk[j], ak[i], lane);                                          \
  } while (0)

static inline __attribute__((always_inline)) void tile_sum(const struct tile *t, size_t k, size_t count,
                                                           vf sum[][8], const int rows, const int vectors,
                                                           const bool across) {
  const float *a[5];
  const float *b = t->b + k * 16;
  const size_t panel = t->b_panel_stride;
  (void)across;
  GK_UNROLL for (int i = 0; i < rows; i++) {
    a[i] = t->a[i] + t->k_begin + k;
    GK_UNROLL for (int j = 0; j < vectors; j++)
      sum[i][j] = vdupq_n_f32(0);
  }
  size_t at = 0;
  for (; at + 4 <= count; at += 4) {
    float32x4_t ak[5];
    GK_UNROLL for (int i = 0; i < rows; i++)
      ak[i] = vld1q_f32(a[i] + at);
    GK_TILE_LANE(0);
    GK_TILE_LANE(1);
    GK_TILE_LANE(2);
    GK_TILE_LANE(3);
    b += 4 * 16;
  }
  for (; at < count; at++) {
    float32x4_t ak[5];
    GK_UNROLL for (int i = 0; i < rows; i++)
      ak[i] = vld1q_dup_f32(a[i] + at);
    GK_TILE_LANE(0);
    b += 16;
  }
}
#undef GK_TILE_LANE

#include "kernels/math/tile_strips.h"

#define GK_TILE(rows, vectors)                                                                               \
  static void tile_##rows##x##vectors(struct tile *t) { tile_strips(t, rows, vectors, false); }
#define GK_TILES(rows)      GK_TILE(rows, 1) GK_TILE(rows, 2) GK_TILE(rows, 3) GK_TILE(rows, 4)
#define GK_WIDE_TILES(rows) GK_TILES(rows) GK_TILE(rows, 5) GK_TILE(rows, 6) GK_TILE(rows, 7) GK_TILE(rows, 8)
GK_WIDE_TILES(1)
GK_WIDE_TILES(2)
GK_TILES(3)
GK_TILES(4)
GK_TILES(5)

#define GK_TILE_LINE(rows)                                                                                   \
  { tile_##rows##x1, tile_##rows##x2, tile_##rows##x3, tile_##rows##x4 }
static tile_fn *const tiles[GK_TILE_ROWS][8] = {
    {tile_1x1, tile_1x2, tile_1x3, tile_1x4, tile_1x5, tile_1x6, tile_1x7, tile_1x8},
    {tile_2x1, tile_2x2, tile_2x3, tile_2x4, tile_2x5, tile_2x6, tile_2x7, tile_2x8},
    GK_TILE_LINE(3),
    GK_TILE_LINE(4),
    GK_TILE_LINE(5)};

static inline void transpose_registers(vf r[4]) {
  const float32x4x2_t t01 = vtrnq_f32(r[0], r[1]), t23 = vtrnq_f32(r[2], r[3]);
  r[0] = vcombine_f32(vget_low_f32(t01.val[0]), vget_low_f32(t23.val[0]));
  r[1] = vcombine_f32(vget_low_f32(t01.val[1]), vget_low_f32(t23.val[1]));
  r[2] = vcombine_f32(vget_high_f32(t01.val[0]), vget_high_f32(t23.val[0]));
  r[3] = vcombine_f32(vget_high_f32(t01.val[1]), vget_high_f32(t23.val[1]));
}

#endif
