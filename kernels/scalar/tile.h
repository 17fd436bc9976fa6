/* SPDX-License-Identifier: Apache-2.0
 * Matrix tile of the scalar tier, the readable definition: 3 rows by 4 columns, 12 sums of 16 registers. */
#ifndef GK_KERNELS_SCALAR_TILE_H
#define GK_KERNELS_SCALAR_TILE_H

#define GK_TILE_ROWS                 3
#define GK_TILE_VECTORS              4
#define GK_TILE_K                    GK_SUM_BLOCK
#define GK_TILE_LONGEST              GK_TILE_K
#define GK_TILE_READS_ACROSS         0
#define GK_TILE_TALLEST              GK_TILE_ROWS
#define GK_TILE_LOW_ROWS             GK_TILE_ROWS
#define GK_TILE_WIDTH(rows)          ((void)(rows), 4u)
#define GK_TILE_JOINED_ROWS(vectors) ((void)(vectors), 0u)
#define GK_TILE_NEXT_LINES(rows)     ((void)(rows), 0)

#include "kernels/math/tile.h"

static inline __attribute__((always_inline)) void tile_terms(const struct tile *t, size_t k, size_t count,
                                                             const float *b, vf sum[][8], const int rows,
                                                             const int vectors, const enum tile_form form) {
  const size_t b_step = form == TILE_UNPACKED ? t->b_step : 4;
  for (const size_t end = k + count; k < end; k++, b += b_step) GK_UNROLL
    for (int i = 0; i < rows; i++) GK_UNROLL
      for (int j = 0; j < vectors; j++)
        sum[i][j] = fmaf(t->a[i][t->k_begin + k], b[j], sum[i][j]);
}

#include "kernels/math/tile_strips.h"

#define GK_TILES(rows) GK_TILE(rows, 1) GK_TILE(rows, 2) GK_TILE(rows, 3) GK_TILE(rows, 4)
GK_TILES(1)
GK_TILES(2)
GK_TILES(3)

#define GK_TILE_LINE(name, rows)                                                                             \
  { name##rows##x1, name##rows##x2, name##rows##x3, name##rows##x4 }
#define GK_TILE_TABLE(name)                                                                                  \
  { GK_TILE_LINE(name, 1), GK_TILE_LINE(name, 2), GK_TILE_LINE(name, 3) }
static tile_fn *const tiles[GK_TILE_ROWS][4] = GK_TILE_TABLE(tile_);
static tile_fn *const tiles_unpacked[GK_TILE_ROWS][4] = GK_TILE_TABLE(tile_unpacked_);

static inline void transpose_registers(vf r[1]) { (void)r; }

#endif
