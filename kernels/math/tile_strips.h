/* SPDX-License-Identifier: Apache-2.0
 * What every tier's tile does around its sums. Between two of them C stays in a buffer of the tile: rows of C
 * may begin no line of cache. A tier defines before:
 *   tile_terms(tile, k, count, b, sum, rows, vectors, form): sum += the products of `count` k from k on,
 *     whose rows of B begin at b */
#ifndef GK_KERNELS_MATH_TILE_STRIPS_H
#define GK_KERNELS_MATH_TILE_STRIPS_H

#define GK_TILE_MOST_SUMS 32 /* no tier has more registers */

/* sum += what the first sum is added to. */
static inline __attribute__((always_inline)) void tile_add(const struct tile *t, vf sum[][8], const int rows,
                                                           const int vectors) {
  const struct gk_column *columns = t->columns;
  const float *const *from = t->from;
  const bool zero = t->overwrite;
  if (t->full && zero) {
    GK_UNROLL for (int i = 0; i < rows; i++) GK_UNROLL
      for (int j = 0; j < vectors; j++)
        sum[i][j] = vf_add(vf_set(0), sum[i][j]);
    return;
  }
  if (t->full) {
    size_t offset[8];
    GK_UNROLL for (int j = 0; j < vectors; j++)
      offset[j] = columns[j].offset;
    GK_UNROLL for (int i = 0; i < rows; i++) {
      const float *before = from[i];
      GK_UNROLL for (int j = 0; j < vectors; j++)
        sum[i][j] = vf_add(vf_load(before + offset[j]), sum[i][j]);
    }
    return;
  }
  GK_UNROLL for (int i = 0; i < rows; i++) GK_UNROLL
    for (int j = 0; j < vectors; j++)
      sum[i][j] = vf_add(vf_load_n(from[i] + columns[j].offset, zero ? 0 : columns[j].lanes), sum[i][j]);
}

static inline __attribute__((always_inline)) void
tile_store_full(const struct tile *t, vf sum[][8], const int rows, const int vectors, const bool stream) {
  size_t offset[8];
  GK_UNROLL for (int j = 0; j < vectors; j++)
    offset[j] = t->columns[j].offset;
  GK_UNROLL for (int i = 0; i < rows; i++) {
    float *c = t->c[i];
    GK_UNROLL for (int j = 0; j < vectors; j++)
      if (stream)
        vf_stream(c + offset[j], sum[i][j]);
      else
        vf_store(c + offset[j], sum[i][j]);
  }
}

static inline __attribute__((always_inline)) void tile_store(const struct tile *t, vf sum[][8],
                                                             const int rows, const int vectors) {
  if (t->full && t->stream) {
    tile_store_full(t, sum, rows, vectors, true);
    return;
  }
  if (t->full) {
    tile_store_full(t, sum, rows, vectors, false);
    return;
  }
  GK_UNROLL for (int i = 0; i < rows; i++) GK_UNROLL
    for (int j = 0; j < vectors; j++)
      vf_store_n(t->c[i] + t->columns[j].offset, sum[i][j], t->columns[j].lanes);
}

/* The same where lanes of a vector stand apart: on the sums in y. */
static __attribute__((noinline)) void tile_parts(const struct tile *t, float *y, int rows, int vectors,
                                                 bool add, bool store) {
  for (int j = 0; j < vectors; j++) {
    const struct gk_column *column = &t->columns[j];
    const struct gk_column_part whole = {column->offset, 0, (uint16_t)column->lanes};
    const struct gk_column_part *const parts = column->parts ? column->parts : &whole;
    ptrdiff_t offset[GK_V]; /* of lane 0, if it stood with the part */
    v_part part[GK_V];
    int count = 0;
    do {
      offset[count] = (ptrdiff_t)parts[count].offset - parts[count].begin;
      part[count] = v_part_of(parts[count].begin, parts[count].end);
    } while (parts[count++].end < column->lanes);
    for (int i = 0; i < rows; i++) {
      float *at = y + (i * vectors + j) * GK_V;
      vf sum = vf_load(at), before = vf_set(0);
      for (int p = 0; p < count && add && !t->overwrite; p++)
        before = vf_load_part(before, t->from[i] + offset[p], part[p]);
      if (add)
        sum = vf_add(before, sum);
      if (!store)
        vf_store(at, sum);
      for (int p = 0; p < count && store; p++)
        vf_store_part(t->c[i] + offset[p], sum, part[p]);
    }
  }
}

/* One sum: `count` k from k on. B unpacked comes in two parts, where its last row is among them. */
static inline __attribute__((always_inline)) void tile_sum(const struct tile *t, size_t k, size_t count,
                                                           vf sum[][8], const int rows, const int vectors,
                                                           const enum tile_form form) {
  size_t part = count;
  const float *b =
      form == TILE_UNPACKED ? tile_unpacked(t, k, count, &part) : t->b + k * GK_TILE_VECTORS * GK_V;
  GK_UNROLL for (int i = 0; i < rows; i++) GK_UNROLL
    for (int j = 0; j < vectors; j++)
      sum[i][j] = vf_set(0);
  do {
    tile_terms(t, k, part, b, sum, rows, vectors, form);
    k += part;
    count -= part;
    part = count;
    b = t->b;
  } while (form == TILE_UNPACKED && count);
}

static inline __attribute__((always_inline)) void tile_strips(struct tile *t, const int rows,
                                                              const int vectors, const enum tile_form form) {
  vf sum[GK_TILE_TALLEST][8];
  _Alignas(64) float memory[GK_TILE_MOST_SUMS * GK_V], *y = memory;
  GK_FROM_HERE(y);
  do {
    size_t k = 0, asked = 0;
    do {
      const bool first = k == 0;
      const size_t count = t->k - k < t->sum_block ? t->k - k : t->sum_block;
      tile_ask_for_c(t, &asked, (size_t)rows, vectors);
      if (k && k + count == t->k && !t->stream)
        tile_ask_again(t, rows, vectors);
      tile_sum(t, k, count, sum, rows, vectors, form);
      GK_FROM_HERE(t);
      if (!first) {
        GK_UNROLL for (int i = 0; i < rows; i++) GK_UNROLL
          for (int j = 0; j < vectors; j++)
            sum[i][j] = vf_add(vf_load(y + (i * vectors + j) * GK_V), sum[i][j]);
      } else if (!t->in_parts) {
        tile_add(t, sum, rows, vectors);
      }
      k += count;
      if (k == t->k && !t->in_parts)
        tile_store(t, sum, rows, vectors);
      else GK_UNROLL
        for (int i = 0; i < rows; i++) GK_UNROLL
          for (int j = 0; j < vectors; j++)
            vf_store(y + (i * vectors + j) * GK_V, sum[i][j]);
      if (t->in_parts)
        tile_parts(t, y, rows, vectors, first, k == t->k);
      GK_FROM_HERE(t);
    } while (k < t->k);
    tile_next_strip(t, (size_t)rows);
  } while (--t->strips);
}

/* The tiles of a tier, one for each form: none keeps in a register what it does not need. */
#define GK_TILE_FORM(name, rows, vectors, form)                                                              \
  _Static_assert((rows) * (vectors) <= GK_TILE_MOST_SUMS, "the buffer of C is too small");                   \
  static void tile_##name##rows##x##vectors(struct tile *t) { tile_strips(t, rows, vectors, form); }
#if GK_TILE_READS_ACROSS
#define GK_TILE(rows, vectors)                                                                               \
  GK_TILE_FORM(, rows, vectors, TILE_PACKED)                                                                 \
  GK_TILE_FORM(across_, rows, vectors, TILE_ACROSS)                                                          \
  GK_TILE_FORM(unpacked_, rows, vectors, TILE_UNPACKED)
#else
#define GK_TILE(rows, vectors)                                                                               \
  GK_TILE_FORM(, rows, vectors, TILE_PACKED)                                                                 \
  GK_TILE_FORM(unpacked_, rows, vectors, TILE_UNPACKED)
#endif

#endif
