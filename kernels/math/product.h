/* SPDX-License-Identifier: Apache-2.0
 * The loops around a tier's tile: panels, blocks of k, strips of rows. A tier defines before:
 *   GK_TILE_ROWS, GK_TILE_VECTORS
 *   tile_fn *const tiles[GK_TILE_TALLEST][n]: tile of (index + 1) rows by (index + 1) vectors;
 *     tiles_unpacked the same for B unpacked
 *   GK_TILE_WIDTH(rows): vectors that a tile of so many rows takes at once, of whole panels or a part of
 *     one that divides it: enough independent chains of fma
 *   GK_TILE_TALLEST: so many rows, at least GK_TILE_ROWS, may still be one strip
 *   GK_TILE_LOW_ROWS: so many rows at most are in a strip where B is near and some even strip would have one
 *     more or as few; GK_TILE_ROWS where that is no better
 *   GK_TILE_JOINED_ROWS(vectors): so many rows at most take a last panel of so few vectors together with the
 *     panel before, more sums than a tile of the few alone has; 0: none do
 *   GK_TILE_NEXT_LINES(rows): lines of cache of the next block of B, at most, asked for with each k
 *   GK_TILE_READS_ACROSS: reads_across of the table, 0 or 1; with it tiles_across, of any a_step
 *   GK_TILE_K: k that a tile takes, a multiple of GK_SUM_BLOCK
 *   GK_TILE_LONGEST: k that it may take of B packed and of A not across, at least GK_TILE_K
 * A block of B (a tile's k by one panel) stays in the nearest cache that holds it while all rows use it. */
#ifndef GK_KERNELS_MATH_PRODUCT_H
#define GK_KERNELS_MATH_PRODUCT_H

/* A build that sums in another order, so that the tests of the same bits can be seen to fail. */
#if GK_REORDERED_SUM && GK_V > 1
#define GK_SUM_PART 2
#else
#define GK_SUM_PART 1
#endif

_Static_assert(GK_TILE_K % GK_SUM_BLOCK == 0, "sums must begin where tiles do");
_Static_assert(GK_TILE_LONGEST >= GK_TILE_K, "few rows take tiles of GK_TILE_K and longer");

/* In how many tiles the k of a product are taken, one after the other. Rather in longer tiles than in one
 * more: what stands between two is not hidden, and a short one cannot ask for all of the next block of B
 * (640, 700 and 800 k: 64 rows 1.01 to 1.05 times as fast, 6 to 12 rows 1.07 to 1.2). Many rows take as few
 * as can be (1024 k by 64 rows 1.01). Few rows, which leave a block of B behind sooner, take as many as still
 * are GK_TILE_K long: 12 rows by 1024 k 1.02 to 1.05. Across, L1 must hold a line of A for each k, and of B
 * unpacked each k may be in another page: no tile is longer there. */
static inline size_t tiles_of(const struct gk_product *p, size_t strips) {
  enum { FEW_STRIPS = 4 };
  const size_t longest = p->a_step == 1 && !p->b_step ? GK_TILE_LONGEST : GK_TILE_K;
  if (p->k <= GK_TILE_K) /* small networks: no division for each product */
    return 1;
  const size_t fewest = (p->k + longest - 1) / longest, whole = p->k / GK_TILE_K;
  return strips <= FEW_STRIPS && whole > fewest ? whole : fewest;
}

/* What the first of so many tiles takes of the last k: whole sums, as even a share as can be. */
static inline size_t tile_k_of(const struct gk_product *p, size_t k, size_t count) {
  if (count == 1)
    return k;
  const size_t sums = (k + p->sum_block - 1) / p->sum_block;
  const size_t share = (sums + count - 1) / count * p->sum_block;
  return k < share ? k : share;
}

/* In a product of so many strips. */
static struct ahead_left ahead_start(const struct gk_product *p, size_t strips) {
  struct ahead_left left = {NULL, NULL, 0, 0};
  if (!p->ahead || p->k == 0)
    return left;
  left.range = p->ahead->range;
  left.end = left.range + p->ahead->count;
  left.step = 1 + p->ahead->floats / (strips * p->k + 1);
  if (left.step > 16) /* a line of cache */
    left.step = 16;
  return left;
}

/* Vectors of the last panel that join the whole one before it. Those that stand in parts do not: the others'
 * sums would go through memory with them. */
static inline size_t joining(const struct gk_product *p, size_t width) {
  const size_t few = p->vector_end % GK_TILE_VECTORS, vectors = p->vector_end - p->vector_begin;
  if (few == 0 || GK_TILE_JOINED_ROWS(few) == 0 || width != GK_TILE_VECTORS || vectors < width + few)
    return 0;
  for (size_t q = p->vector_end - few; q < p->vector_end; q++)
    if (p->columns[q].parts)
      return 0;
  return few;
}

/* The vectors that come next of those before `last`, at most `most`: whole panels, or what is left of one.
 * False after all of them. */
static bool next_vectors(const struct gk_product *p, size_t most, size_t last, size_t *begin, size_t *end) {
  const size_t panel = GK_TILE_VECTORS;
  if (p->descending) {
    *end = *begin;
    if (*end == p->vector_begin)
      return false;
    const size_t of_last = (*end - 1) / panel * panel;
    const size_t whole = (p->vector_begin + panel - 1) / panel * panel;
    *begin = of_last + panel > most ? of_last + panel - most : 0;
    if (*begin < p->vector_begin) /* a panel cut at the front goes alone */
      *begin = whole <= of_last ? whole : p->vector_begin;
    return true;
  }
  *begin = *end;
  const size_t of_panel = *begin % panel;
  *end += of_panel ? panel - of_panel : most;
  if (*end > last)
    *end = last;
  return *begin < last;
}

static const float *b_of_vector(const struct gk_product *p, size_t vector) {
  if (p->b_step)
    return p->b + vector * GK_V;
  return p->b + vector / GK_TILE_VECTORS * p->panel_stride + vector % GK_TILE_VECTORS * GK_V;
}

/* Of as even a height as can be. */
static inline size_t strips_of(const struct gk_product *p) {
  enum { NEAR_FLOATS = 1 << 18 }; /* 1 MiB */
  if (p->rows <= GK_TILE_TALLEST)
    return p->rows > 0;
  const size_t strips = (p->rows + GK_TILE_ROWS - 1) / GK_TILE_ROWS;
  const size_t own = p->k * (p->vector_end - p->vector_begin) * GK_V;
  const bool near = (own > p->b_floats ? own : p->b_floats) <= NEAR_FLOATS;
  const bool low = near && p->rows / strips <= GK_TILE_LOW_ROWS + 1;
  return low ? (p->rows + GK_TILE_LOW_ROWS - 1) / GK_TILE_LOW_ROWS : strips;
}

/* Of what joins the panel before; 0 if nothing does, as always on tiers where no panel is joined. */
static inline size_t joined_strips(size_t rows, size_t joins) {
  const size_t most = joins ? GK_TILE_JOINED_ROWS(joins) : 0;
  return most ? (rows + most - 1) / most : 0;
}

/* Vectors at once, by the tallest strip. */
static inline size_t width_of(size_t rows, size_t strips) {
  return GK_TILE_WIDTH((rows + strips - 1) / strips);
}

/* How many of the strips ask for the block of B that comes next. */
static inline size_t asking_strips(size_t rows, size_t strips) {
  const size_t height = rows / strips, taller = rows % strips;
  return GK_TILE_NEXT_LINES(height) ? strips : GK_TILE_NEXT_LINES(height + 1) ? taller : 0;
}

/* All rows by a tile's k and vectors. Strips are of equal height: a last one of a row or two would wait for B
 * instead of computing. */
static void product_strips(const struct gk_product *p, struct tile *tile, size_t strips, size_t vectors) {
  enum { WIDEST = sizeof tiles[0] / sizeof tiles[0][0] };
#if GK_TILE_READS_ACROSS
  tile_fn *const(*const of_rows)[WIDEST] = p->b_step ? tiles_unpacked : p->a_step == 1 ? tiles : tiles_across;
#else
  tile_fn *const(*const of_rows)[WIDEST] = p->b_step ? tiles_unpacked : tiles;
#endif
  const size_t height = p->rows / strips, taller = p->rows % strips;
  tile->a = p->a;
  tile->c = tile->c_first = p->c;
  tile->from = p->init && tile->k_begin == 0 ? p->init : (const float *const *)p->c;
  tile->rows_left = p->rows;
  tile->strips = taller;
  if (taller)
    of_rows[height][vectors - 1](tile);
  tile->strips = strips - taller;
  of_rows[height - 1][vectors - 1](tile);
}

/* All vectors of a block, `width` of them at a time; k_next of `b_next` will be read like B after it. Strips
 * ask for even shares of that: what the first ones ask for alone comes in bursts, which L3 does not keep up
 * with (products of 8 to 32 rows by 16 MB of B take 1.02 to 1.2 times as long on Xeon Emerald Rapids). */
static void product_block(const struct gk_product *p, struct tile *tile, size_t strips, const float *b_next,
                          size_t k_next, size_t vectors, size_t width) {
  const float *const b = tile->b;
  const struct gk_column *const columns = tile->columns, *const columns_next = tile->columns_next;
  const size_t sums = (tile->k + tile->sum_block - 1) / tile->sum_block;
  tile->c_share = sums > 1 ? (GK_TILE_TALLEST + sums - 1) / sums : GK_TILE_TALLEST;
  if (width > vectors)
    width = vectors;
  const size_t shares = asking_strips(p->rows, strips) * ((vectors + width - 1) / width);
  const size_t asking_k = shares * tile->k;
  tile->next = tile->next_first = b_next;
  tile->next_floats = k_next * GK_TILE_VECTORS * GK_V;
  tile->next_step = asking_k ? (tile->next_floats + asking_k - 1) / asking_k : 0;
  for (size_t vector = 0; vector < vectors; vector += width) {
    const size_t left = vectors - vector, following = left < 2 * width ? vectors - width : vector + width;
    tile->b = b + vector * GK_V;
    tile->columns = columns + vector;
    tile->columns_next = left > width ? columns + following : columns_next;
    tile->full = true;
    tile->in_parts = false;
    for (size_t j = 0; j < width && j < left; j++) {
      tile->full &= tile->columns[j].lanes == GK_V;
      tile->in_parts |= tile->columns[j].parts != NULL;
    }
    product_strips(p, tile, strips, left < width ? left : width);
  }
}

/* B from the rows of W that are its columns: a sum's k of them are packed, and read while they are near.
 * Takes 64 KiB of stack on AVX-512, 16 KiB on AVX2. */
static __attribute__((noinline)) void product_of_columns(const struct gk_product *p) {
  enum { WIDTH = GK_TILE_VECTORS * GK_V };
  _Alignas(64) float block[GK_SUM_BLOCK * WIDTH];
  const float *source[WIDTH];
  const size_t strips = strips_of(p), width = width_of(p->rows, strips);
  struct ahead_left ahead = {NULL, NULL, 0, 0};
  struct tile tile = {
      .a_step = 1, .sum_block = p->sum_block / GK_SUM_PART, .ahead = block, .ahead_left = &ahead};
  size_t columns = 0;
  for (size_t q = p->vector_begin; q < p->vector_end; q++)
    columns += p->columns[q].lanes;
  for (size_t k = 0; k < p->k; k += GK_SUM_BLOCK) {
    for (size_t j = 0; j < columns; j++)
      source[j] = p->b_columns[j] + k;
    tile.k = p->k - k < GK_SUM_BLOCK ? p->k - k : GK_SUM_BLOCK;
    tile.k_begin = k;
    tile.b = block;
    tile.overwrite = p->overwrite && k == 0;
    tile.columns = p->columns + p->vector_begin;
    pack_columns(columns, tile.k, source, block, false);
    product_block(p, &tile, strips, block, tile.k, p->vector_end - p->vector_begin, width);
  }
}

static void product(const struct gk_product *p) {
  const size_t strips = strips_of(p);
  if (strips == 0)
    return;
  if (p->b_columns && p->k) {
    product_of_columns(p);
    return;
  }
  const size_t tile_count = tiles_of(p, strips), k_first = tile_k_of(p, p->k, tile_count);
  const size_t width = width_of(p->rows, strips);
  const size_t most = width < GK_TILE_VECTORS ? GK_TILE_VECTORS : width;
  const size_t joins = joining(p, width), of_joined = joined_strips(p->rows, joins);
  const size_t panels = (p->vector_end - p->vector_begin + GK_TILE_VECTORS - 1) / GK_TILE_VECTORS;
  struct ahead_left ahead = ahead_start(p, (panels - (joins ? 2 : 0)) * strips * (most / width) + of_joined);
  struct tile tile = {.a_step = p->a_step,
                      .b_panel_stride = p->panel_stride,
                      .b_step = p->b_step,
                      .b_first = p->b_first,
                      .b_rows = p->k,
                      .sum_block = p->sum_block / GK_SUM_PART,
                      .k = k_first,
                      .stream = p->stream,
                      .ahead_left = &ahead,
                      .a_asks = true};
  const size_t end_of_most = p->vector_end - joins;
  size_t begin = p->descending ? end_of_most : p->vector_begin, end = begin;
  bool more = next_vectors(p, most, end_of_most, &begin, &end);
  tile.b = b_of_vector(p, begin);
  tile_ask_ahead(&tile);
  while (more) {
    const bool joined = joins && end == end_of_most;
    const size_t vectors = end - begin + (joined ? joins : 0);
    size_t begin_next = begin, end_next = end;
    more = next_vectors(p, most, end_of_most, &begin_next, &end_next);
    const float *const b = b_of_vector(p, begin);
    const float *const b_next = more ? b_of_vector(p, begin_next) : p->b_after ? p->b_after : b;
    /* as many as here, though the next may be fewer */
    const size_t asked = begin_next + vectors <= p->vector_end ? begin_next : p->vector_end - vectors;
    const struct gk_column *const columns = p->columns + begin;
    for (size_t k = 0, k_next = k_first, left = tile_count; left; k += tile.k, left--) {
      const bool last = left == 1;
      tile.k = k_next;
      k_next = last ? k_first : tile_k_of(p, p->k - k - tile.k, left - 1);
      tile.k_begin = k;
      tile.b = p->b_step ? b : b + k * GK_TILE_VECTORS * GK_V;
      tile.overwrite = p->overwrite && k == 0;
      tile.columns = columns;
      tile.columns_next = !last ? columns : more ? p->columns + asked : NULL;
      product_block(p, &tile, joined ? of_joined : strips,
                    last || p->b_step ? b_next : tile.b + tile.k * GK_TILE_VECTORS * GK_V, k_next, vectors,
                    joined ? vectors : width);
    }
    begin = begin_next;
    end = end_next;
    tile.a_asks = false;
  }
}

#endif
