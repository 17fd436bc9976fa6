/* SPDX-License-Identifier: Apache-2.0
 * The loops around a tier's tile: panels, blocks of k, strips of rows. A tier defines before:
 *   GK_TILE_ROWS, GK_TILE_VECTORS
 *   tile_fn *const tiles[GK_TILE_ROWS][n]: tile of (index + 1) rows by (index + 1) vectors
 *   GK_TILE_PANELS(rows): panels that a tile of so few rows takes at once (independent chains of fma)
 *   GK_TILE_READS_ACROSS: reads_across of the table
 *   GK_TILE_K: k that a tile takes, a multiple of GK_SUM_BLOCK
 * A strip of B (GK_TILE_K by one panel) stays in the nearest cache that holds it while all rows use it. */
#ifndef GK_KERNELS_MATH_PRODUCT_H
#define GK_KERNELS_MATH_PRODUCT_H

/* A build that sums in another order, so that the tests of the same bits can be seen to fail. */
#if GK_REORDERED_SUM && GK_V > 1
#define GK_SUM_PART 2
#else
#define GK_SUM_PART 1
#endif

_Static_assert(GK_TILE_K % GK_SUM_BLOCK == 0, "sums must begin where tiles do");

/* What is left to ask for, and how much of it with each k: all, if its ranges are fewer than the tiles. */
struct ahead_left {
  const struct gk_ahead_range *range, *end;
  size_t done, step;
};

static struct ahead_left ahead_start(const struct gk_product *p, size_t strips) {
  struct ahead_left left = {NULL, NULL, 0, 0};
  if (!p->ahead || p->k == 0)
    return left;
  const size_t panels = (p->vector_end - p->vector_begin + GK_TILE_VECTORS - 1) / GK_TILE_VECTORS;
  left.range = p->ahead->range;
  left.end = left.range + p->ahead->count;
  left.step = 1 + p->ahead->floats / (strips * panels * p->k + 1);
  if (left.step > 16) /* a line of cache */
    left.step = 16;
  return left;
}

/* The share of one tile: a range, or as much of it as its k allow. */
static inline void ahead_of_tile(struct ahead_left *left, struct tile *tile) {
  tile->ahead = tile->b;
  tile->ahead_step = 0;
  if (left->range == left->end)
    return;
  tile->ahead = left->range->start + left->done;
  tile->ahead_step = left->step;
  left->done += left->step * tile->k;
  if (left->done >= left->range->floats) {
    left->done = 0;
    left->range++;
  }
}

static void product(const struct gk_product *p) {
  const size_t strips = (p->rows + GK_TILE_ROWS - 1) / GK_TILE_ROWS;
  if (strips == 0)
    return;
  struct ahead_left ahead = ahead_start(p, strips);
  /* Strips of equal height: a last one of a row or two would wait for B instead of computing. */
  const size_t height = p->rows / strips, taller = p->rows % strips;
  const size_t panels = GK_TILE_PANELS(height + (taller != 0));
  for (size_t q = p->vector_begin; q < p->vector_end;) {
    const size_t first = q % GK_TILE_VECTORS;
    size_t vectors = panels * GK_TILE_VECTORS - first;
    if (first && vectors > GK_TILE_VECTORS - first)
      vectors = GK_TILE_VECTORS - first;
    if (vectors > p->vector_end - q)
      vectors = p->vector_end - q;
    const float *b = p->b + q / GK_TILE_VECTORS * p->panel_stride + first * GK_V;
    struct tile tile = {.a_step = p->a_step,
                        .b_panel_stride = p->panel_stride,
                        .columns = p->columns + q,
                        .sum_block = p->sum_block / GK_SUM_PART,
                        .full = true};
    for (size_t j = 0; j < vectors; j++)
      tile.full &= p->columns[q + j].lanes == GK_V;
    for (size_t k = 0; k < p->k || k == 0; k += GK_TILE_K) {
      tile.k = p->k - k < GK_TILE_K ? p->k - k : GK_TILE_K;
      tile.k_begin = k;
      tile.b = b + k * GK_TILE_VECTORS * GK_V;
      tile.overwrite = p->overwrite && k == 0;
      const float *next = tile.b;
      if (k + GK_TILE_K < p->k)
        next = tile.b + GK_TILE_K * GK_TILE_VECTORS * GK_V;
      else if (q + vectors < p->vector_end)
        next = p->b + (q + vectors) / GK_TILE_VECTORS * p->panel_stride;
      for (size_t strip = 0, row = 0; strip < strips; strip++) {
        const size_t rows = height + (strip < taller);
        tile.b_next = next + (strip * 16 < GK_TILE_VECTORS * GK_V ? strip * tile.k * 16 : 0);
        tile.a = p->a + row;
        tile.c = p->c + row;
        tile.from = p->init && k == 0 ? p->init + row : (const float *const *)tile.c;
        ahead_of_tile(&ahead, &tile);
        tiles[rows - 1][vectors - 1](&tile);
        row += rows;
      }
    }
    q += vectors;
  }
}

#endif
