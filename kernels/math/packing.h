/* SPDX-License-Identifier: Apache-2.0
 * Into the order that tiles read: transposes (of blocks that a tier's transpose_registers(r[GK_V]) takes, and
 * parts of such) and panels of rows. */
#ifndef GK_KERNELS_MATH_PACKING_H
#define GK_KERNELS_MATH_PACKING_H

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

/* Row by row, so that the source is read as it stands in memory. */
static inline __attribute__((always_inline)) void pack_rows_body(size_t rows, size_t columns,
                                                                 const float *const *source, float *panels,
                                                                 size_t panel_stride, const bool stream) {
  const size_t width = GK_TILE_VECTORS * GK_V;
  for (size_t row = 0; row < rows; row++, panels += width) {
    float *panel = panels;
    size_t first = 0;
    for (; first + width <= columns; first += width, panel += panel_stride) GK_UNROLL
      for (size_t j = 0; j < GK_TILE_VECTORS; j++) {
        const vf x = vf_load(source[row] + first + j * GK_V);
        if (stream)
          vf_stream(panel + j * GK_V, x);
        else
          vf_store(panel + j * GK_V, x);
      }
    if (first == columns)
      continue;
    for (size_t j = 0; j < width; j += GK_V) {
      const size_t left = first + j < columns ? columns - first - j : 0;
      vf_store(panel + j,
               left < GK_V ? vf_load_n(source[row] + first + j, left) : vf_load(source[row] + first + j));
    }
  }
}

static void pack_rows(size_t rows, size_t columns, const float *const *source, float *panels,
                      size_t panel_stride, bool stream) {
  if (stream)
    pack_rows_body(rows, columns, source, panels, panel_stride, true);
  else
    pack_rows_body(rows, columns, source, panels, panel_stride, false);
}

#endif
