/* SPDX-License-Identifier: Apache-2.0
 * What every tier's tile does around its sums. Between two of them C stays in a buffer of the tile: rows of C
 * may begin no line of cache. A tier defines before:
 *   tile_sum(tile, k, count, sum, rows, vectors, across): sum = the products of `count` k from k on */
#ifndef GK_KERNELS_MATH_TILE_STRIPS_H
#define GK_KERNELS_MATH_TILE_STRIPS_H

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

static inline __attribute__((always_inline)) void tile_store(const struct tile *t, vf sum[][8],
                                                             const int rows, const int vectors) {
  const struct gk_column *columns = t->columns;
  float *const *c = t->c;
  if (t->full) {
    size_t offset[8];
    GK_UNROLL for (int j = 0; j < vectors; j++)
      offset[j] = columns[j].offset;
    GK_UNROLL for (int i = 0; i < rows; i++) {
      float *after = c[i];
      GK_UNROLL for (int j = 0; j < vectors; j++)
        vf_store(after + offset[j], sum[i][j]);
    }
    return;
  }
  GK_UNROLL for (int i = 0; i < rows; i++) GK_UNROLL
    for (int j = 0; j < vectors; j++)
      vf_store_n(c[i] + columns[j].offset, sum[i][j], columns[j].lanes);
}

static inline __attribute__((always_inline)) void tile_strips(struct tile *t, const int rows,
                                                              const int vectors, const bool across) {
  vf sum[GK_TILE_TALLEST][8];
  _Alignas(64) float memory[GK_TILE_TALLEST * GK_TILE_VECTORS * GK_V], *y = memory;
  GK_FROM_HERE(y);
  do {
    size_t k = 0, asked = 0;
    do {
      const size_t count = t->k - k < t->sum_block ? t->k - k : t->sum_block;
      tile_ask_for_c(t, &asked, (size_t)rows, vectors);
      if (k && k + count == t->k)
        tile_ask_again(t, rows, vectors);
      tile_sum(t, k, count, sum, rows, vectors, across);
      GK_FROM_HERE(t);
      if (k == 0)
        tile_add(t, sum, rows, vectors);
      else GK_UNROLL
        for (int i = 0; i < rows; i++) GK_UNROLL
          for (int j = 0; j < vectors; j++)
            sum[i][j] = vf_add(vf_load(y + (i * vectors + j) * GK_V), sum[i][j]);
      k += count;
      if (k == t->k)
        tile_store(t, sum, rows, vectors);
      else GK_UNROLL
        for (int i = 0; i < rows; i++) GK_UNROLL
          for (int j = 0; j < vectors; j++)
            vf_store(y + (i * vectors + j) * GK_V, sum[i][j]);
      GK_FROM_HERE(t);
    } while (k < t->k);
    tile_next_strip(t, (size_t)rows);
  } while (--t->strips);
}

#endif
