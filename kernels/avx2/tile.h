/* SPDX-License-Identifier: Apache-2.0
 * Matrix tile of AVX2: 6 rows by 2 vectors, 12 sums + 2 of B + 2 broadcasts (B unpacked: 1, and the mask of
 * its last lanes): 16 of 16 registers. Few rows take several panels at once. Four rows take a last panel of
 * one vector with the panel before (12 sums, 3 of B): products of 24 columns 1.16 to 1.4 times as fast, of
 * 136 1.03 to 1.07 (4, 16, 25 and more rows; five and six 1.0 to 1.2). */
#ifndef GK_KERNELS_AVX2_TILE_H
#define GK_KERNELS_AVX2_TILE_H

#define GK_TILE_ROWS                 6
#define GK_TILE_VECTORS              2
#define GK_TILE_K                    512 /* from L2; 256, for which a small L1 has room: 0.5 to 1 % slower */
#define GK_TILE_LONGEST              1024
#define GK_TILE_READS_ACROSS         0 /* a line of cache for each k drives B out of L1: 2 to 7 % slower */
#define GK_TILE_TALLEST              GK_TILE_ROWS
#define GK_TILE_LOW_ROWS             3 /* four by two sums wait for each other: 8 rows 1.1 times as fast so */
#define GK_TILE_WIDTH(rows)          ((rows) == 1 ? 8u : (rows) == 2 ? 6u : (rows) == 3 ? 4u : 2u)
#define GK_TILE_JOINED_ROWS(vectors) ((void)(vectors), 4u)
#define GK_TILE_NEXT_LINES(rows)     ((rows) > 3)

#include "kernels/math/tile.h"

/* Where a sum has come to. */
struct tile_cursor {
  const float *b, *soon;
  size_t panel, b_step, soon_step;
  __m256i last; /* lanes of the last vector of B */
  const float *a[GK_TILE_TALLEST];
  size_t at; /* of a */
};

static inline __attribute__((always_inline)) vf tile_b(const struct tile_cursor *to, const int j,
                                                       const int vectors, const enum tile_form form) {
  if (form != TILE_UNPACKED)
    return _mm256_loadu_ps(to->b + (size_t)(j / 2) * to->panel + (j % 2) * 8);
  return j + 1 < vectors ? _mm256_loadu_ps(to->b + j * 8) : _mm256_maskload_ps(to->b + j * 8, to->last);
}

static inline __attribute__((always_inline)) void tile_k(struct tile_cursor *to, vf sum[][8], const int rows,
                                                         const int vectors, const enum tile_form form) {
  vf ak[GK_TILE_TALLEST], bk[8];
  if (GK_TILE_NEXT_LINES(rows) && form != TILE_UNPACKED) {
    _mm_prefetch((const char *)to->soon, _MM_HINT_T1);
    to->soon += to->soon_step;
  }
  /* the fewer ones, of A or of B, stay in registers while the others pass by */
  if (rows < vectors) {
    GK_UNROLL for (int i = 0; i < rows; i++)
      ak[i] = _mm256_broadcast_ss(to->a[i] + to->at);
    GK_UNROLL for (int j = 0; j < vectors; j++) {
      bk[j] = tile_b(to, j, vectors, form);
      GK_UNROLL for (int i = 0; i < rows; i++)
        sum[i][j] = _mm256_fmadd_ps(ak[i], bk[j], sum[i][j]);
    }
  } else {
    GK_UNROLL for (int j = 0; j < vectors; j++)
      bk[j] = tile_b(to, j, vectors, form);
    GK_UNROLL for (int i = 0; i < rows; i++) {
      ak[i] = _mm256_broadcast_ss(to->a[i] + to->at);
      GK_UNROLL for (int j = 0; j < vectors; j++)
        sum[i][j] = _mm256_fmadd_ps(ak[i], bk[j], sum[i][j]);
    }
  }
  to->b += form == TILE_UNPACKED ? to->b_step : 2 * 8;
  to->at++;
}

static inline __attribute__((always_inline)) void tile_terms(const struct tile *t, size_t k, size_t count,
                                                             const float *b, vf sum[][8], const int rows,
                                                             const int vectors, const enum tile_form form) {
  /* to ask for both takes 1 % longer */
  const size_t soon_step = t->ahead_step ? t->ahead_step : t->next_step;
  struct tile_cursor to = {.b = b,
                           .soon = (t->ahead_step ? t->ahead : t->next) + k * soon_step,
                           .panel = t->b_panel_stride,
                           .b_step = t->b_step,
                           .soon_step = soon_step};
  if (form == TILE_UNPACKED)
    to.last = v_tail(t->columns[vectors - 1].lanes);
  GK_UNROLL for (int i = 0; i < rows; i++)
    to.a[i] = t->a[i] + t->k_begin + k;
  if (rows > 1) /* weights in L2: two rows 1.5 times as fast, four to eight 1.02 to 1.06 */
    GK_UNROLL_4 for (; count; count--) tile_k(&to, sum, rows, vectors, form);
  else
    for (; count; count--)
      tile_k(&to, sum, rows, vectors, form);
}

#include "kernels/math/tile_strips.h"

GK_TILE(1, 1)
GK_TILE(1, 2)
GK_TILE(1, 3)
GK_TILE(1, 4)
GK_TILE(1, 5)
GK_TILE(1, 6)
GK_TILE(1, 7)
GK_TILE(1, 8)
GK_TILE(2, 1)
GK_TILE(2, 2)
GK_TILE(2, 3)
GK_TILE(2, 4)
GK_TILE(2, 5)
GK_TILE(2, 6)
GK_TILE(3, 1)
GK_TILE(3, 2)
GK_TILE(3, 3)
GK_TILE(3, 4)
GK_TILE(4, 1)
GK_TILE(4, 2)
GK_TILE(4, 3)
GK_TILE(5, 1)
GK_TILE(5, 2)
GK_TILE(6, 1)
GK_TILE(6, 2)

#define GK_TILE_TABLE(name)                                                                                  \
  {                                                                                                          \
    {name##1x1, name##1x2, name##1x3, name##1x4, name##1x5, name##1x6, name##1x7, name##1x8},                \
        {name##2x1, name##2x2, name##2x3, name##2x4, name##2x5, name##2x6},                                  \
        {name##3x1, name##3x2, name##3x3, name##3x4}, {name##4x1, name##4x2, name##4x3},                     \
        {name##5x1, name##5x2}, {name##6x1, name##6x2},                                                      \
  }
static tile_fn *const tiles[GK_TILE_ROWS][8] = GK_TILE_TABLE(tile_);
static tile_fn *const tiles_unpacked[GK_TILE_ROWS][8] = GK_TILE_TABLE(tile_unpacked_);

static inline __attribute__((always_inline)) void transpose_registers(vf r[8]) {
  vf s[8];
  GK_UNROLL for (int i = 0; i < 8; i += 2) {
    s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  GK_UNROLL for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
  }
  GK_UNROLL for (int i = 0; i < 4; i++) {
    s[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    s[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
  GK_UNROLL for (int i = 0; i < 8; i++)
    r[i] = s[i];
}

#endif
