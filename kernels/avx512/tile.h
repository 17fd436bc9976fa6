/* SPDX-License-Identifier: Apache-2.0
 * Matrix tile of AVX-512: 6 rows by 4 vectors. 24 sums + 4 of B + 1 broadcast: 29 of 32 registers. */
#ifndef GK_KERNELS_AVX512_TILE_H
#define GK_KERNELS_AVX512_TILE_H

#include "kernels/math/tile.h"

#define GK_TILE_ROWS         6
#define GK_TILE_VECTORS      4
#define GK_TILE_K            512 /* B comes from L2 either way, and a call costs some 40 cycles */
#define GK_TILE_READS_ACROSS true
#define GK_TILE_PANELS(rows) ((rows) == 1 ? 2u : 1u)

static inline __attribute__((always_inline)) void tile_add(__m512 sum[6][8], const struct gk_column *columns,
                                                           const float *const *from, float *const *c,
                                                           bool full, bool overwrite, const int rows,
                                                           const int vectors) {
  if (full && !overwrite) {
    size_t offset[8];
    GK_UNROLL for (int j = 0; j < vectors; j++)
      offset[j] = columns[j].offset;
    GK_UNROLL for (int i = 0; i < rows; i++) {
      const float *before = from[i];
      float *after = c[i];
      GK_UNROLL for (int j = 0; j < vectors; j++)
        _mm512_storeu_ps(after + offset[j], _mm512_add_ps(_mm512_loadu_ps(before + offset[j]), sum[i][j]));
    }
    return;
  }
  GK_UNROLL for (int i = 0; i < rows; i++) GK_UNROLL
    for (int j = 0; j < vectors; j++) {
      const __mmask16 mask = (__mmask16)((1u << columns[j].lanes) - 1);
      const __m512 before = _mm512_maskz_loadu_ps(overwrite ? 0 : mask, from[i] + columns[j].offset);
      _mm512_mask_storeu_ps(c[i] + columns[j].offset, mask, _mm512_add_ps(before, sum[i][j]));
    }
}

static inline __attribute__((always_inline)) void tile_body(const struct tile *t, const int rows,
                                                            const int vectors) {
  __m512 sum[6][8];
  const float *a[6];
  const float *b = t->b, *next = t->b_next, *ahead = t->ahead;
  const size_t panel = t->b_panel_stride, ahead_step = t->ahead_step;
  const ptrdiff_t a_step = t->a_step;
  ptrdiff_t at = 0; /* of a */
  const float *const *from = t->from;
  bool overwrite = t->overwrite;
  GK_UNROLL for (int i = 0; i < rows; i++) {
    a[i] = t->a[i] + (ptrdiff_t)t->k_begin * a_step;
    GK_UNROLL for (int j = 0; j < vectors; j++)
      _mm_prefetch((const char *)(from[i] + t->columns[j].offset), _MM_HINT_T0);
  }
  size_t k = 0;
  do {
    const size_t end = t->k - k < t->sum_block ? t->k : k + t->sum_block;
    GK_UNROLL for (int i = 0; i < rows; i++) GK_UNROLL
      for (int j = 0; j < vectors; j++)
        sum[i][j] = _mm512_setzero_ps();
    for (; k < end; k++) {
      __m512 bk[8];
      if (rows > 2) {
        _mm_prefetch((const char *)(next + k * 16), _MM_HINT_T1);
        _mm_prefetch((const char *)ahead, _MM_HINT_T1);
        ahead += ahead_step;
      }
      GK_UNROLL for (int j = 0; j < vectors; j++)
        bk[j] = _mm512_loadu_ps(b + (size_t)(j / 4) * panel + (j % 4) * 16);
      GK_UNROLL for (int i = 0; i < rows; i++) {
        __m512 ak = _mm512_set1_ps(a[i][at]);
        GK_UNROLL for (int j = 0; j < vectors; j++)
          sum[i][j] = _mm512_fmadd_ps(ak, bk[j], sum[i][j]);
      }
      b += 4 * 16;
      at += a_step;
    }
    const struct gk_column *columns = t->columns;
    GK_ADDRESSES_FROM_HERE(columns);
    tile_add(sum, columns, from, t->c, t->full, overwrite, rows, vectors);
    from = (const float *const *)t->c;
    overwrite = false;
  } while (k < t->k);
}

#define GK_TILE(rows, vectors)                                                                               \
  static void tile_##rows##x##vectors(const struct tile *t) { tile_body(t, rows, vectors); }
#define GK_TILES(rows) GK_TILE(rows, 1) GK_TILE(rows, 2) GK_TILE(rows, 3) GK_TILE(rows, 4)
GK_TILES(1)
GK_TILES(2)
GK_TILES(3)
GK_TILES(4)
GK_TILES(5)
GK_TILES(6)
GK_TILE(1, 5)
GK_TILE(1, 6)
GK_TILE(1, 7)
GK_TILE(1, 8)

#define GK_TILE_LINE(rows)                                                                                   \
  { tile_##rows##x1, tile_##rows##x2, tile_##rows##x3, tile_##rows##x4 }
static tile_fn *const tiles[GK_TILE_ROWS][8] = {
    {tile_1x1, tile_1x2, tile_1x3, tile_1x4, tile_1x5, tile_1x6, tile_1x7, tile_1x8},
    GK_TILE_LINE(2),
    GK_TILE_LINE(3),
    GK_TILE_LINE(4),
    GK_TILE_LINE(5),
    GK_TILE_LINE(6)};

/* 16 rows of 16 columns at a time: 64 shuffles. */
static inline void transpose_16x16(const float *const *source, size_t column, float *destination,
                                   size_t stride) {
  __m512 r[16], s[16];
  GK_UNROLL for (int i = 0; i < 16; i++)
    r[i] = _mm512_loadu_ps(source[i] + column);
  GK_UNROLL for (int i = 0; i < 16; i += 2) {
    s[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  GK_UNROLL for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(s[i], s[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(s[i], s[i + 2], 0xee);
    r[i + 2] = _mm512_shuffle_ps(s[i + 1], s[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(s[i + 1], s[i + 3], 0xee);
  }
  /* r[4g + c]: rows 4g..4g+3, columns c, c+4, c+8, c+12, one to a 128-bit lane */
  GK_UNROLL for (int c = 0; c < 4; c++) {
    __m512 low02 = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88),
           low13 = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xdd);
    __m512 high02 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88),
           high13 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xdd);
    s[c] = _mm512_shuffle_f32x4(low02, high02, 0x88);
    s[c + 4] = _mm512_shuffle_f32x4(low13, high13, 0x88);
    s[c + 8] = _mm512_shuffle_f32x4(low02, high02, 0xdd);
    s[c + 12] = _mm512_shuffle_f32x4(low13, high13, 0xdd);
  }
  GK_UNROLL for (int i = 0; i < 16; i++)
    _mm512_storeu_ps(destination + (column + (size_t)i) * stride, s[i]);
}

static void transpose_block(const float *const *source, size_t columns, float *destination, size_t stride) {
  size_t column = 0;
  for (; column + 16 <= columns; column += 16)
    transpose_16x16(source, column, destination, stride);
  for (; column < columns; column++)
    for (size_t row = 0; row < 16; row++)
      destination[column * stride + row] = source[row][column];
}

#endif
