/* SPDX-License-Identifier: Apache-2.0
 * What a tier's matrix tile is given: strips of `rows` rows by `vectors` of C, some k, added to C in sums of
 * sum_block k each. A call takes many strips, because what stands between two of them is not hidden by the
 * sums. A tier's tile.h defines what math/product.h lists before it includes this, then tile_terms, then
 * includes math/tile_strips.h. */
#ifndef GK_KERNELS_MATH_TILE_H
#define GK_KERNELS_MATH_TILE_H

/* What is left to ask for of a struct gk_ahead, and how much of it with each k: all, if its ranges are fewer
 * than the strips. */
struct ahead_left {
  const struct gk_ahead_range *range, *end;
  size_t done, step;
};

struct tile {
  size_t strips;
  size_t k, k_begin, sum_block;
  const float *const *a; /* a[i][(k_begin + k) * a_step] */
  ptrdiff_t a_step;      /* 1 unless the tier reads across */
  const float *b;        /* vector j of row k: b + (j / nv) * b_panel_stride + (k * nv + j % nv) * v */
  size_t b_panel_stride;
  /* B unpacked: b is row 0 of b_rows that stand b_step floats apart; row b_first is that of k_begin + k =
   * 0 */
  size_t b_step, b_first, b_rows;
  const struct gk_column *columns;
  float *const *c;
  const float *const *from; /* what the sum is added to: c, or rows of initial values */
  bool full;                /* every column has all its lanes */
  bool in_parts;            /* lanes of a column stand apart */
  bool overwrite, stream;   /* C = 0 + sum; past the caches */
  size_t rows_left;         /* that take these vectors, those of the strip included */
  /* What is asked for meanwhile, at addresses that may be anything: */
  const float *next; /* next_step on for each k, of the block of B that comes next: each strip's even share */
  const float *next_first; /* of that block */
  size_t next_step, next_floats;
  const float *ahead; /* ahead_step on for each k, of what the caller will read next */
  size_t ahead_step;
  struct ahead_left *ahead_left;
  bool a_asks;                          /* across: for A of the next strip */
  float *const *c_first;                /* C of the first rows of what these vectors are followed by, */
  const struct gk_column *columns_next; /* and where in them; or NULL */
  size_t c_share;                       /* rows of C of the next strip for each sum */
};
/* How A and B stand: as in most products, A across, or B unpacked. */
enum tile_form { TILE_PACKED, TILE_ACROSS, TILE_UNPACKED };
/* Leaves `tile` at the strip that follows. */
typedef void tile_fn(struct tile *tile);

/* Sums must live in registers: a tile's loops over rows and vectors are unrolled by force. */
#ifdef __clang__
#define GK_UNROLL   _Pragma("clang loop unroll(full)")
#define GK_UNROLL_4 _Pragma("clang loop unroll_count(4)")
#else
#define GK_UNROLL   _Pragma("GCC unroll 16")
#define GK_UNROLL_4 _Pragma("GCC unroll 4")
#endif

/* C of the strip after this one of `rows` rows, with each sum a share. All of it at once would keep B
 * waiting, and later than that the sums would wait for C. Asked for is the line of a vector's last lane:
 * where rows begin no line, that of the first lane came with the vectors before. */
static inline __attribute__((always_inline)) void tile_ask_for_c(const struct tile *t, size_t *asked,
                                                                 const size_t rows, const int vectors) {
  const size_t left = t->rows_left - rows;
  float *const *c = left ? t->c + rows : t->c_first;
  const struct gk_column *columns = left ? t->columns : t->columns_next;
  size_t end = *asked + t->c_share, most = left && left < rows ? left : rows;
  if (!columns || t->stream)
    return;
  for (end = end < most ? end : most; *asked < end; ++*asked) GK_UNROLL
    for (int j = 0; j < vectors; j++)
      __builtin_prefetch(c[*asked] + columns[j].offset + GK_V - 1, 1);
}

/* C of this strip: before the last of several sums, when what was read of it for the first one may be
 * gone. */
static inline __attribute__((always_inline)) void tile_ask_again(const struct tile *t, const int rows,
                                                                 const int vectors) {
  GK_UNROLL for (int i = 0; i < rows; i++) GK_UNROLL
    for (int j = 0; j < vectors; j++)
      __builtin_prefetch(t->c[i] + t->columns[j].offset + GK_V - 1, 1);
}

/* B unpacked: where the row for k stands, and how many of `count` rows follow one another from there; the
 * others begin at t->b. */
static inline __attribute__((always_inline)) const float *tile_unpacked(const struct tile *t, size_t k,
                                                                        size_t count, size_t *part) {
  size_t row = t->b_first + t->k_begin + k;
  if (row >= t->b_rows)
    row -= t->b_rows;
  *part = t->b_rows - row < count ? t->b_rows - row : count;
  return t->b + row * t->b_step;
}

/* The row of A to ask for: the one that reaches furthest into the next strip. */
static inline const float *tile_next_a(const struct tile *t, size_t rows) {
  const size_t last = t->rows_left < 2 * rows ? t->rows_left : 2 * rows;
  return t->a[t->a_asks ? last - 1 : 0];
}

/* The share of one strip: a range, or as much of it as its k allow. */
static inline void tile_ask_ahead(struct tile *t) {
  struct ahead_left *left = t->ahead_left;
  t->ahead = t->b;
  t->ahead_step = 0;
  if (left->range == left->end)
    return;
  t->ahead = left->range->start + left->done;
  t->ahead_step = left->step;
  left->done += left->step * t->k;
  if (left->done >= left->range->floats) {
    left->done = 0;
    left->range++;
  }
}

static inline void tile_next_strip(struct tile *t, size_t rows) {
  t->a += rows;
  t->c += rows;
  t->from += rows;
  t->rows_left -= rows;
  tile_ask_ahead(t);
  if (GK_TILE_NEXT_LINES(rows) == 0)
    return;
  t->next += t->next_step * t->k;
  if (t->next >= t->next_first + t->next_floats) /* once more, for little: it is in L2 */
    t->next = t->next_first;
}

/* What follows from `value`, or is read through it, is computed after this: addresses of C before the loop
 * over k would be kept in memory meanwhile. */
#define GK_FROM_HERE(value) __asm__("" : "+r"(value))

#endif
