/* SPDX-License-Identifier: Apache-2.0
 * Into the order that tiles read: transposes (of blocks that a tier's transpose_registers(r[GK_V]) takes, and
 * parts of such) and panels of rows. */
#ifndef GK_KERNELS_MATH_PACKING_H
#define GK_KERNELS_MATH_PACKING_H

#include "kernels/math/array.h"

static inline void transpose_block(const float *const *source, size_t column, float *destination,
                                   size_t stride) {
  vf r[GK_V];
  GK_UNROLL for (size_t i = 0; i < GK_V; i++)
    r[i] = vf_load(source[i] + column);
  transpose_registers(r);
  GK_UNROLL for (size_t i = 0; i < GK_V; i++)
    vf_store(destination + i * stride, r[i]);
}

static void transpose_part(const float *const *source, size_t rows, size_t column, size_t columns,
                           float *destination, size_t stride) {
  vf r[GK_V];
  GK_UNROLL for (size_t i = 0; i < GK_V; i++)
    r[i] = i < rows ? vf_load_n(source[i] + column, columns) : vf_set(0);
  transpose_registers(r);
  GK_UNROLL for (size_t i = 0; i < GK_V; i++)
    if (i < columns)
      vf_store_n(destination + i * stride, r[i], rows);
}

static void transpose(size_t rows, size_t columns, const float *const *source, float *destination,
                      size_t stride) {
  for (size_t row = 0; row < rows; row += GK_V) {
    const size_t of_rows = rows - row < GK_V ? rows - row : GK_V;
    for (size_t column = 0; column < columns; column += GK_V) {
      const size_t of_columns = columns - column < GK_V ? columns - column : GK_V;
      float *const block = destination + column * stride + row;
      if (of_rows == GK_V && of_columns == GK_V)
        transpose_block(source + row, column, block, stride);
      else
        transpose_part(source + row, of_rows, column, of_columns, block, stride);
    }
  }
}

/* So many vectors of a panel begin and end a line of cache: what goes past the caches must fill it at
 * once. */
enum { LINE_VECTORS = GK_TILE_VECTORS * GK_V < 16 ? GK_TILE_VECTORS : 16 / GK_V };
/* So many k of all columns, before others: lines past the caches then are neighbours in memory, and what was
 * asked for of a row is still there. (32 to 128 are equally fast.) */
enum { STREAMED_K = 64 };

static inline void stream_block(const float *const *source, size_t row, float *destination) {
  vf r[LINE_VECTORS][GK_V];
  GK_UNROLL for (size_t j = 0; j < LINE_VECTORS; j++) {
    GK_UNROLL for (size_t i = 0; i < GK_V; i++) {
      __builtin_prefetch(source[j * GK_V + i] + row + STREAMED_K);
      r[j][i] = vf_load(source[j * GK_V + i] + row);
    }
    transpose_registers(r[j]);
  }
  GK_UNROLL for (size_t i = 0; i < GK_V; i++) GK_UNROLL
    for (size_t j = 0; j < LINE_VECTORS; j++)
      vf_stream(destination + (i * GK_TILE_VECTORS + j) * GK_V, r[j][i]);
}

static void stream_columns(size_t rows, const float *const *source, float *panel) {
  enum { WIDTH = GK_TILE_VECTORS * GK_V, LINE = LINE_VECTORS * GK_V };
  const size_t whole = rows / GK_V * GK_V;
  for (size_t begin = 0; begin < whole; begin += STREAMED_K)
    for (size_t column = 0; column < WIDTH; column += LINE)
      for (size_t row = begin; row < whole && row < begin + STREAMED_K; row += GK_V)
        stream_block(source + column, row, panel + row * WIDTH + column);
  if (whole == rows)
    return;
  for (size_t column = 0; column < WIDTH; column += GK_V)
    transpose_part(source + column, GK_V, whole, rows - whole, panel + whole * WIDTH + column, WIDTH);
}

_Static_assert(GK_TILE_VECTORS *GK_V <= GK_WIDEST_PANEL, "rows of W have no room");
_Static_assert(GK_V <= GK_MOST_LANES, "lanes of a vector have no room");

static void pack_columns(size_t columns, size_t rows, const float *const *source, float *panel, bool stream) {
  enum { WIDTH = GK_TILE_VECTORS * GK_V };
  if (stream && columns == WIDTH) {
    stream_columns(rows, source, panel);
    return;
  }
  for (size_t column = columns / GK_V * GK_V; column < WIDTH; column += GK_V)
    for (size_t row = 0; row < rows; row++)
      vf_store(panel + row * WIDTH + column, vf_set(0));
  for (size_t column = 0; column < columns; column += GK_V)
    transpose(columns - column < GK_V ? columns - column : GK_V, rows, source + column, panel + column,
              WIDTH);
}

static void copy_part(size_t count, const float *source, float *destination) {
  GK_ARRAY_PASS(count, v_store(destination + i, v_load(source + i, lanes), lanes););
}

static void stream(size_t count, const float *source, float *destination) {
  enum { LINE = 16 }; /* floats of a line of cache */
  const size_t to_line = (LINE - (uintptr_t)destination / sizeof(float) % LINE) % LINE;
  size_t i = to_line < count ? to_line : count;
  copy_part(i, source, destination);
  for (; i + LINE <= count; i += LINE) GK_UNROLL
    for (size_t j = 0; j < LINE; j += GK_V)
      vf_stream(destination + i + j, vf_load(source + i + j));
  copy_part(count - i, source + i, destination + i);
}

/* Row by row, so that the source is read as it stands in memory. */
static inline __attribute__((always_inline)) void pack_rows_body(size_t rows, size_t columns,
                                                                 const float *const *source, float *panels,
                                                                 size_t panel_stride, const bool stream,
                                                                 const bool flush) {
  const size_t width = GK_TILE_VECTORS * GK_V;
  for (size_t row = 0; row < rows; row++, panels += width) {
    float *panel = panels;
    size_t first = 0;
    for (; first + width <= columns; first += width, panel += panel_stride) GK_UNROLL
      for (size_t j = 0; j < GK_TILE_VECTORS; j++) {
        const vf read = vf_load(source[row] + first + j * GK_V), x = flush ? vf_flush(read) : read;
        if (stream)
          vf_stream(panel + j * GK_V, x);
        else
          vf_store(panel + j * GK_V, x);
      }
    if (first == columns)
      continue;
    for (size_t j = 0; j < width; j += GK_V) {
      const size_t left = first + j < columns ? columns - first - j : 0;
      const vf x = left < GK_V ? vf_load_n(source[row] + first + j, left) : vf_load(source[row] + first + j);
      vf_store(panel + j, flush ? vf_flush(x) : x);
    }
  }
}

static void pack_rows(size_t rows, size_t columns, const float *const *source, float *panels,
                      size_t panel_stride, bool stream) {
  if (stream)
    pack_rows_body(rows, columns, source, panels, panel_stride, true, false);
  else
    pack_rows_body(rows, columns, source, panels, panel_stride, false, false);
}

static void pack_flushed(size_t rows, size_t columns, const float *const *source, float *panels,
                         size_t panel_stride) {
  pack_rows_body(rows, columns, source, panels, panel_stride, false, true);
}

#endif
