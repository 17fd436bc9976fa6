/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/matrix.h"

#include <stdlib.h>
#include <string.h>

#include "src/core/size.h"

/* Where the lanes of vector q stand in a row of C: together, or in parts. */
static void place_lanes(struct gk_matrix *matrix, size_t q, const int *block, struct gk_column_part *parts) {
  struct gk_column *column = &matrix->columns[q];
  struct gk_column_part part[GK_MAX_GATES] = {{0}};
  size_t count = 0;
  for (size_t lane = 0, end, gate, unit; lane < column->lanes; lane = end) {
    end = lane + gk_matrix_neighbours(matrix, q, lane, &gate, &unit);
    const size_t offset = (size_t)block[gate] * matrix->units + unit;
    struct gk_column_part *last = count ? &part[count - 1] : NULL;
    if (last && last->offset + (lane - last->begin) == offset)
      last->end = (uint16_t)end;
    else
      part[count++] = (struct gk_column_part){(uint32_t)offset, (uint16_t)lane, (uint16_t)end};
  }
  column->offset = part[0].offset;
  if (count > 1)
    column->parts = memcpy(parts, part, count * sizeof *part);
}

static void order_gates(struct gk_matrix *matrix, const int *block) {
  for (size_t g = 0; g < matrix->gates; g++) {
    size_t before = 0;
    for (size_t other = 0; other < matrix->gates; other++)
      before += block[other] < block[g];
    matrix->order[before] = (int)g;
  }
}

gk_status gk_matrix_create(struct gk_matrix *matrix, const struct gk_kernels *kernels, size_t k, size_t units,
                           size_t gates, const int *block, bool interleaves) {
  static const int in_order[GK_MAX_GATES] = {0, 1, 2, 3};
  const size_t v = kernels->lanes, nv = kernels->tile_vectors;
  *matrix = (struct gk_matrix){.k = k,
                               .units = units,
                               .gates = gates,
                               .gate = in_order,
                               .lanes = v,
                               .tile_vectors = nv,
                               .width = nv * v};
  matrix->interleaved = interleaves || units % v == 0 || gates == 1 ? units - units % v : 0;
  if (units > UINT32_MAX / GK_MAX_BLOCKS)
    return gk_fail(GK_ERROR_OVERFLOW, "a row of %zu columns, must be at most %u", units,
                   (unsigned)(UINT32_MAX / GK_MAX_BLOCKS));
  const size_t rest = gates * (units - matrix->interleaved), whole = matrix->interleaved / v * gates;
  const size_t shared = rest / v + (rest % v != 0);
  matrix->vectors = whole + shared;
  matrix->panels = (matrix->vectors + nv - 1) / nv;
  matrix->panel_stride = matrix->width * k;
  matrix->columns = calloc(matrix->vectors + 1, sizeof *matrix->columns);
  matrix->parts = calloc(shared * GK_MAX_GATES + 1, sizeof *matrix->parts);
  if (!matrix->columns || !matrix->parts) {
    gk_matrix_destroy(matrix);
    return gk_fail(GK_ERROR_MEMORY, "no memory for %zu column entries", matrix->vectors);
  }
  order_gates(matrix, block);
  for (size_t q = 0; q < matrix->vectors; q++) {
    const size_t before = q < whole ? 0 : q - whole, left = q < whole ? v : rest - before * v;
    matrix->columns[q].lanes = (uint32_t)(left < v ? left : v);
    place_lanes(matrix, q, block, matrix->parts + before * GK_MAX_GATES);
  }
  return GK_OK;
}

void gk_matrix_destroy(struct gk_matrix *matrix) {
  free(matrix->columns);
  free(matrix->parts);
  matrix->columns = NULL;
  matrix->parts = NULL;
}

struct gk_strips gk_matrix_strips(const struct gk_matrix *matrix, size_t rows, size_t begin, size_t end,
                                  bool descending) {
  enum { FLOATS = 4096 }; /* 16 KiB */
  struct gk_strips strips = {
      .begin = begin, .end = end, .first = begin, .length = matrix->units, .descending = descending};
  size_t groups = 1; /* of v units, that fill panels */
  if (rows > 0 && matrix->interleaved) {
    while (groups * matrix->gates % matrix->tile_vectors)
      groups++;
    const size_t granule = groups * matrix->lanes;
    const size_t fit = FLOATS / (rows * matrix->gates * granule) * granule;
    strips.first = begin - begin % granule;
    strips.length = fit > granule ? fit : granule;
  }
  if (begin < end)
    strips.count = (end - strips.first + strips.length - 1) / strips.length;
  return strips;
}

bool gk_strips_next(struct gk_strips *strips) {
  if (strips->taken == strips->count)
    return false;
  const size_t index = strips->descending ? strips->count - 1 - strips->taken : strips->taken;
  const size_t first = strips->first + index * strips->length;
  strips->unit_begin = first > strips->begin ? first : strips->begin;
  strips->unit_end = first + strips->length < strips->end ? first + strips->length : strips->end;
  strips->taken++;
  return true;
}

void gk_matrix_share(const struct gk_matrix *matrix, int thread, int threads, size_t *begin, size_t *end) {
  gk_split(matrix->interleaved, matrix->lanes, thread, threads, begin, end);
  if (thread == threads - 1)
    *end = matrix->units;
}

void gk_ahead_add(struct gk_ahead *ahead, const float *const *rows, size_t count, size_t floats) {
  enum { PADDING = 32 }; /* floats between neighbours */
  for (size_t i = 0; i < count; i++) {
    struct gk_ahead_range *last = ahead->count ? &ahead->range[ahead->count - 1] : NULL;
    const uintptr_t end = last ? (uintptr_t)last->start + last->floats * sizeof(float) : 0;
    if (last && rows[i] == last->start)
      continue; /* rows may be one and the same, of zeros */
    if (last && (uintptr_t)rows[i] - end <= PADDING * sizeof(float)) {
      const size_t more = (size_t)((uintptr_t)rows[i] - end) / sizeof(float) + floats;
      last->floats += more;
      ahead->floats += more;
    } else if (ahead->count < GK_AHEAD_RANGES) {
      ahead->range[ahead->count++] = (struct gk_ahead_range){rows[i], floats};
      ahead->floats += floats;
    }
  }
}

size_t gk_matrix_neighbours(const struct gk_matrix *matrix, size_t vector, size_t lane, size_t *gate,
                            size_t *unit) {
  const size_t v = matrix->lanes, rest = matrix->units - matrix->interleaved,
               whole = matrix->interleaved / v * matrix->gates;
  if (vector < whole) {
    *gate = vector % matrix->gates;
    *unit = vector / matrix->gates * v + lane;
    return v - lane;
  }
  const size_t index = (vector - whole) * v + lane, of_gate = rest - index % rest;
  const size_t of_vector = matrix->columns[vector].lanes - lane;
  *gate = (size_t)matrix->order[index / rest];
  *unit = matrix->units - of_gate;
  return of_gate < of_vector ? of_gate : of_vector;
}

size_t gk_matrix_source_row(const struct gk_matrix *matrix, size_t vector, size_t lane) {
  size_t of, unit;
  gk_matrix_neighbours(matrix, vector, lane, &of, &unit);
  return (size_t)matrix->gate[of] * matrix->units + unit;
}

/* The rows of W whose transposes are the vectors [begin, end); how many. */
static size_t source_rows(const struct gk_matrix *matrix, const float *w, size_t begin, size_t end,
                          const float **rows) {
  size_t count = 0;
  for (size_t q = begin; q < end; q++)
    for (size_t lane = 0; lane < matrix->columns[q].lanes; lane++)
      rows[count++] = w + gk_matrix_source_row(matrix, q, lane) * matrix->k;
  return count;
}

static struct gk_product product_of(const struct gk_matrix *matrix, struct gk_weights weights,
                                    size_t unit_begin, size_t unit_end, size_t rows, const float *const *a,
                                    float *const *c, struct gk_start start) {
  const size_t v = matrix->lanes;
  return (struct gk_product){
      .rows = rows,
      .k = start.without_product ? 0 : matrix->k,
      .sum_block = GK_SUM_BLOCK,
      .a = a,
      .a_step = 1,
      .b = weights.unpacked ? weights.unpacked + matrix->unpacked : weights.packed + matrix->offset,
      .b_step = weights.unpacked && !matrix->transposed ? matrix->units : 0,
      .b_first = matrix->first_row,
      .b_floats = matrix->k * matrix->vectors * v,
      .panel_stride = matrix->panel_stride,
      .columns = matrix->columns,
      .vector_begin = unit_begin / v * matrix->gates,
      .vector_end = unit_end == matrix->units ? matrix->vectors : unit_end / v * matrix->gates,
      .c = c,
      .overwrite = start.zero,
      .init = start.rows,
  };
}

/* Of W's transpose, where it is not packed, so many columns after the other as a panel has. */
static void multiply(const struct gk_matrix *matrix, const struct gk_kernels *kernels,
                     struct gk_weights weights, struct gk_product product) {
  const size_t end = product.vector_end;
  const float *rows[GK_WIDEST_PANEL];
  if (!weights.unpacked || !matrix->transposed) {
    kernels->product(&product);
    return;
  }
  for (size_t q = product.vector_begin; q < end; q = product.vector_end) {
    product.vector_begin = q;
    product.vector_end = end - q < matrix->tile_vectors ? end : q + matrix->tile_vectors;
    source_rows(matrix, product.b, q, product.vector_end, rows);
    product.b_columns = rows;
    kernels->product(&product);
  }
}

void gk_matrix_product(const struct gk_matrix *matrix, const struct gk_kernels *kernels,
                       struct gk_weights weights, size_t unit_begin, size_t unit_end, size_t rows,
                       const float *const *a, float *const *c, struct gk_start start) {
  if (rows == 0 || unit_begin >= unit_end)
    return;
  const struct gk_product product = product_of(matrix, weights, unit_begin, unit_end, rows, a, c, start);
  multiply(matrix, kernels, weights, product);
}

void gk_matrix_strip_product(const struct gk_matrix *matrix, const struct gk_kernels *kernels,
                             struct gk_weights weights, const struct gk_strips *strips, size_t rows,
                             const float *const *a, float *const *c, struct gk_start start,
                             const struct gk_ahead *ahead) {
  struct gk_product product =
      product_of(matrix, weights, strips->unit_begin, strips->unit_end, rows, a, c, start);
  product.ahead = ahead;
  product.descending = strips->descending;
  if (strips->taken < strips->count && !weights.unpacked) {
    const size_t vector = strips->descending ? product.vector_begin - 1 : product.vector_end;
    product.b_after = product.b + vector / matrix->tile_vectors * product.panel_stride;
  }
  multiply(matrix, kernels, weights, product);
}

struct gk_product gk_matrix_block_product(const struct gk_matrix *matrix, const float *panels, size_t rows,
                                          size_t k, const float *const *a, float *const *c, bool overwrite) {
  return (struct gk_product){.rows = rows,
                             .k = k,
                             .sum_block = GK_GRADIENT_BLOCK,
                             .a = a,
                             .a_step = 1,
                             .b = panels,
                             .panel_stride = matrix->width * GK_SUM_BLOCK,
                             .columns = matrix->columns,
                             .vector_end = matrix->vectors,
                             .c = c,
                             .overwrite = overwrite};
}

static void pack_transposed(const struct gk_packing *packing, const struct gk_matrix *matrix, const float *w,
                            size_t begin, size_t end) {
  const size_t nv = matrix->tile_vectors;
  const float *rows[GK_WIDEST_PANEL];
  for (size_t panel = begin; panel < end; panel++) {
    const size_t last = (panel + 1) * nv < matrix->vectors ? (panel + 1) * nv : matrix->vectors;
    const size_t columns = source_rows(matrix, w, panel * nv, last, rows);
    packing->kernels->pack_columns(columns, matrix->k, rows, gk_matrix_panel(matrix, packing->packed, panel),
                                   packing->stream);
  }
}

static void pack_rows(const struct gk_packing *packing, const struct gk_matrix *matrix, const float *w,
                      size_t gate_count, size_t begin, size_t end) {
  enum { CHUNK = 64 };
  const float *rows[CHUNK];
  const size_t column = begin * matrix->width, rows_of_gate = matrix->k / gate_count;
  if (begin >= end || column >= matrix->units)
    return;
  size_t columns = (end - begin) * matrix->width;
  if (columns > matrix->units - column)
    columns = matrix->units - column;
  float *destination = gk_matrix_panel(matrix, packing->packed, begin);
  for (size_t k = 0; k < matrix->k; k += CHUNK) {
    const size_t count = matrix->k - k < CHUNK ? matrix->k - k : CHUNK;
    for (size_t i = 0; i < count; i++)
      rows[i] = w + gk_matrix_gate_row(matrix, rows_of_gate, k + i) * matrix->units + column;
    packing->kernels->pack_rows(count, columns, rows, destination + k * matrix->width, matrix->panel_stride,
                                packing->stream);
  }
}

/* The rows of W that are columns of a panel of `forward`, as rows of `backward`. */
static void pack_rows_of_panel(const struct gk_packing *packing, const struct gk_matrix *forward,
                               const struct gk_matrix *backward, const float *w, size_t panel) {
  const size_t nv = forward->tile_vectors, units = forward->units;
  const float *rows[GK_WIDEST_PANEL];
  for (size_t q = panel * nv; q < (panel + 1) * nv && q < forward->vectors; q++)
    for (size_t lane = 0, count, of, unit; lane < forward->columns[q].lanes; lane += count) {
      count = gk_matrix_neighbours(forward, q, lane, &of, &unit);
      size_t at = 0; /* of the gate among backward's */
      while (backward->gate[at] != forward->gate[of])
        at++;
      for (size_t i = 0; i < count; i++)
        rows[i] = w + ((size_t)forward->gate[of] * units + unit + i) * backward->units;
      packing->kernels->pack_rows(count, backward->units, rows,
                                  packing->packed + backward->offset + (at * units + unit) * backward->width,
                                  backward->panel_stride, packing->stream);
    }
}

void gk_matrix_pack(const struct gk_packing *packing, const struct gk_matrix *forward,
                    const struct gk_matrix *backward, const float *w) {
  const size_t panels = packing->flags & GK_PACK_FORWARD ? forward->panels : backward->panels;
  size_t begin, end;
  gk_split(panels, 1, packing->thread, packing->threads, &begin, &end);
  if (backward->k == 0) /* no recurrence */
    return;
  if (packing->flags == GK_PACK_BACKWARD)
    pack_rows(packing, backward, w, forward->gates, begin, end);
  else if (packing->flags == GK_PACK_FORWARD)
    pack_transposed(packing, forward, w, begin, end);
  else
    for (size_t panel = begin; panel < end; panel++) {
      pack_transposed(packing, forward, w, panel, panel + 1);
      pack_rows_of_panel(packing, forward, backward, w, panel);
    }
}

void gk_split(size_t count, size_t granule, int thread, int threads, size_t *begin, size_t *end) {
  const size_t pieces = (count + granule - 1) / granule, of = (size_t)threads, at = (size_t)thread;
  *begin = (pieces / of * at + (pieces % of < at ? pieces % of : at)) * granule;
  *end = *begin + (pieces / of + (at < pieces % of)) * granule;
  if (*begin > count)
    *begin = count;
  if (*end > count)
    *end = count;
}
