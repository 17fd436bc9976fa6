/* SPDX-License-Identifier: Apache-2.0
 * Matrix tile of AVX-512: 6 rows by 4 vectors. 24 sums + 6 broadcasts + 1 of B: 31 of 32 registers. Seven and
 * eight rows take 2 vectors, one half of a block of B after the other: it is read once instead of twice. One
 * to three rows take two panels at once: more sums to hide the latency of fma, and B in two streams. Five
 * rows take a last panel of one vector with the panel before (25 sums: 31 registers): six sums of one vector
 * alone wait for each other. Products of 80 columns 1.09 to 1.19 times as fast, of 144 1.05 to 1.11 (4, 5, 9
 * and more rows; six 1.0 to 1.1). A panel of two vectors gained nothing so.
 * Instructions count: a thread of another process on the same core leaves three a cycle (Xeon Emerald Rapids,
 * as measured), of which two are fma; four k of six rows take 150 for 96 fma, 158 where they ask for two
 * lines of B each; across 148, where they ask for one 156. */
#ifndef GK_KERNELS_AVX512_TILE_H
#define GK_KERNELS_AVX512_TILE_H

#define GK_TILE_ROWS                 6
#define GK_TILE_VECTORS              4
#define GK_TILE_K                    512  /* B comes from L2 either way, and a call costs some 40 cycles */
#define GK_TILE_LONGEST              1024 /* two blocks of B, 512 KiB, and A of 64 rows: in an L2 of 1 MiB */
#define GK_TILE_READS_ACROSS         1
#define GK_TILE_TALLEST              8
#define GK_TILE_LOW_ROWS             GK_TILE_ROWS
#define GK_TILE_WIDTH(rows)          ((rows) <= 3 ? 8u : (rows) <= 6 ? 4u : 2u)
#define GK_TILE_JOINED_ROWS(vectors) ((vectors) == 1 ? 5u : 0u)

/* Lines of cache of the block of B that comes next, at most, asked for with each k. Up to four rows leave B
 * behind as fast as it can be read, and ask for nothing: 8 KiB ahead in their own stream cost three rows 2 to
 * 6 % (Zen 4), and brought four nothing. Nor is anything asked for of B unpacked: rows 32 k ahead bring LSTM
 * 512 2 to 6 % and cost LSTM 256 up to 5 %, and of weights that large B is packed. */
#define GK_TILE_NEXT_LINES(rows) ((rows) <= 4 ? 0 : 2)

#include "kernels/math/tile.h"

/* Where a sum has come to. */
struct tile_cursor {
  const float *b, *next, *ahead;
  size_t panel, b_step, next_step, next_half, ahead_step;
  __mmask16 last; /* lanes of the last vector of B */
  const char *a[GK_TILE_TALLEST], *a_next;
  ptrdiff_t at, a_step; /* of a and a_next, in bytes */
};

static inline __attribute__((always_inline)) void tile_k(struct tile_cursor *to, vf sum[][8], const int rows,
                                                         const int vectors, const enum tile_form form,
                                                         const int next_lines) {
  __m512 ak[GK_TILE_TALLEST];
  if (next_lines) {
    _mm_prefetch((const char *)to->next, _MM_HINT_T1);
    if (next_lines == 2)
      _mm_prefetch((const char *)(to->next + to->next_half), _MM_HINT_T1);
    to->next += to->next_step;
  }
  if (rows > 2 && form == TILE_ACROSS)
    _mm_prefetch(to->a_next + to->at, _MM_HINT_T0);
  GK_UNROLL for (int i = 0; i < rows; i++)
    ak[i] = _mm512_set1_ps(*(const float *)(to->a[i] + to->at));
  GK_UNROLL for (int j = 0; j < vectors; j++) {
    const float *b =
        to->b + (form != TILE_UNPACKED ? (size_t)(j / 4) * to->panel + (size_t)(j % 4) * 16 : (size_t)j * 16);
    const bool last = form == TILE_UNPACKED && j + 1 == vectors;
    const __m512 bk = last ? _mm512_maskz_loadu_ps(to->last, b) : _mm512_loadu_ps(b);
    GK_UNROLL for (int i = 0; i < rows; i++)
      sum[i][j] = _mm512_fmadd_ps(ak[i], bk, sum[i][j]);
  }
  to->b += form == TILE_UNPACKED ? to->b_step : 4 * 16;
  to->at += to->a_step;
  if (form == TILE_ACROSS) /* one index, not a pointer for each row to move on */
    GK_FROM_HERE(to->at);
}

static inline __attribute__((always_inline)) void tile_loop(struct tile_cursor *to, size_t count, vf sum[][8],
                                                            const int rows, const int vectors,
                                                            const enum tile_form form, const int next_lines) {
  if (rows > 1) /* weights in L2: two and three rows 1.3 to 1.7 times as fast; one row 0.97 */
    GK_UNROLL_4 for (; count; count--) tile_k(to, sum, rows, vectors, form, next_lines);
  else
    for (; count; count--)
      tile_k(to, sum, rows, vectors, form, next_lines);
}

/* Asks at once for what `k` of them bring; returns what follows. With an instruction for each k instead,
 * products of 8 to 32 rows take 1.02 to 1.04 times as long where another process's thread shares the core. */
static inline __attribute__((always_inline)) const float *tile_ask(const float *from, size_t step, size_t k) {
  for (size_t at = 0; at < step * k; at += 16)
    _mm_prefetch((const char *)(from + at), _MM_HINT_T1);
  return from + step * k;
}

static inline __attribute__((always_inline)) void tile_terms(const struct tile *t, size_t k, size_t count,
                                                             const float *b, vf sum[][8], const int rows,
                                                             const int vectors, const enum tile_form form) {
  struct tile_cursor to = {.b = b,
                           .next = t->next + k * t->next_step,
                           .next_step = t->next_step,
                           .ahead = t->ahead + k * t->ahead_step,
                           .panel = t->b_panel_stride,
                           .b_step = t->b_step,
                           .ahead_step = t->ahead_step,
                           .a_step = sizeof(float)};
  if (form == TILE_ACROSS) {
    to.a_step *= t->a_step;
    GK_FROM_HERE(to.a_step);
    to.a_next = (const char *)tile_next_a(t, (size_t)rows) + (ptrdiff_t)(t->k_begin + k) * to.a_step;
    GK_FROM_HERE(to.a_next);
  }
  if (form == TILE_UNPACKED)
    to.last = v_tail(t->columns[vectors - 1].lanes);
  GK_UNROLL for (int i = 0; i < rows; i++)
    to.a[i] = (const char *)t->a[i] + (ptrdiff_t)(t->k_begin + k) * to.a_step;
  /* sums of weight gradients are of 64 k: at most 16 lines of cache at once, or it is a burst */
  const bool at_once = form == TILE_ACROSS && to.next_step <= 4;
  if (at_once && GK_TILE_NEXT_LINES(rows))
    tile_ask(to.next, to.next_step, count);
  const int lines = form == TILE_UNPACKED ? 0 : GK_TILE_NEXT_LINES(rows);
  /* Two lines where strips are so few that one would not bring all: seven or eight rows, or a share of more
   * than a line. They are of two streams, which bring sooner what one does: weights in L3, 8 to 12 rows 1.04
   * to 1.1 times as fast, 16 rows 1.02 to 1.04, six rows 0.97 (in L2 1.02 to 1.07). Of a larger share some
   * lines are not asked for. Across it is one: the compiler makes that loop longer where both stand. */
  const bool two =
      lines == 2 && !at_once && (rows > GK_TILE_ROWS || (form == TILE_PACKED && to.next_step > 16));
  if (two) {
    const size_t half = (to.next_step + 1) / 2;
    to.next_step = half < 16 ? half : 16;
    to.next_half = to.next_step * count;
  }
  for (size_t stretch = count; count; count -= stretch) {
    if (rows > 2 && form != TILE_ACROSS && to.ahead_step) {
      stretch = to.ahead_step <= 4 ? 64 : 16; /* the same 16 lines */
      stretch = count < stretch ? count : stretch;
      to.ahead = tile_ask(to.ahead, to.ahead_step, stretch);
    }
    if (two)
      tile_loop(&to, stretch, sum, rows, vectors, form, 2);
    else if (lines == 0 || at_once)
      tile_loop(&to, stretch, sum, rows, vectors, form, 0);
    else
      tile_loop(&to, stretch, sum, rows, vectors, form, 1);
  }
}

#include "kernels/math/tile_strips.h"

#define GK_TILES(rows)      GK_TILE(rows, 1) GK_TILE(rows, 2) GK_TILE(rows, 3) GK_TILE(rows, 4)
#define GK_WIDE_TILES(rows) GK_TILES(rows) GK_TILE(rows, 5) GK_TILE(rows, 6) GK_TILE(rows, 7) GK_TILE(rows, 8)
GK_WIDE_TILES(1)
GK_WIDE_TILES(2)
GK_WIDE_TILES(3)
GK_TILES(4)
GK_TILES(5)
GK_TILE(4, 5)
GK_TILE(5, 5)
GK_TILES(6)
GK_TILE(7, 1)
GK_TILE(7, 2)
GK_TILE(8, 1)
GK_TILE(8, 2)

#define GK_TILE_LINE(name, rows) name##rows##x1, name##rows##x2, name##rows##x3, name##rows##x4
#define GK_WIDE_TILE_LINE(name, rows)                                                                        \
  GK_TILE_LINE(name, rows), name##rows##x5, name##rows##x6, name##rows##x7, name##rows##x8
#define GK_TILE_TABLE(name)                                                                                  \
  {                                                                                                          \
    {GK_WIDE_TILE_LINE(name, 1)}, {GK_WIDE_TILE_LINE(name, 2)}, {GK_WIDE_TILE_LINE(name, 3)},                \
        {GK_TILE_LINE(name, 4), name##4x5}, {GK_TILE_LINE(name, 5), name##5x5}, {GK_TILE_LINE(name, 6)},     \
        {name##7x1, name##7x2}, {name##8x1, name##8x2},                                                      \
  }
static tile_fn *const tiles[GK_TILE_TALLEST][8] = GK_TILE_TABLE(tile_);
static tile_fn *const tiles_across[GK_TILE_TALLEST][8] = GK_TILE_TABLE(tile_across_);
static tile_fn *const tiles_unpacked[GK_TILE_TALLEST][8] = GK_TILE_TABLE(tile_unpacked_);

/* 16 rows of 16 columns: 64 shuffles. */
static inline __attribute__((always_inline)) void transpose_registers(__m512 r[16]) {
  __m512 s[16];
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
    r[i] = s[i];
}

#endif
