/* SPDX-License-Identifier: Apache-2.0
 * Weight dropout: recurrent weights are dropped while they are packed, a few rows at a time, so that no other
 * copy of them exists; a packed buffer knows the key that it was dropped with. */
#include "src/sequence/masks.h"

enum { ROWS = 64, COLUMNS = 256 };

void gk_pack_dropped_transposed(const struct gk_rnn *rnn, const struct gk_random_stream *stream,
                                const struct gk_matrix *matrix, const float *source, size_t begin, size_t end,
                                float *packed) {
  const size_t v = matrix->lanes;
  float dropped[GK_MOST_LANES][COLUMNS];
  const float *rows[GK_MOST_LANES];
  for (size_t q = begin * matrix->tile_vectors; q < end * matrix->tile_vectors && q < matrix->vectors; q++) {
    float *destination =
        gk_matrix_panel(matrix, packed, q / matrix->tile_vectors) + q % matrix->tile_vectors * v;
    for (size_t k = 0; k < matrix->k; k += COLUMNS) {
      const size_t count = matrix->k - k < COLUMNS ? matrix->k - k : COLUMNS;
      for (size_t lane = 0; lane < matrix->columns[q].lanes; lane++) {
        const size_t row = gk_matrix_source_row(matrix, q, lane);
        rows[lane] = dropped[lane];
        gk_mask_weights(rnn, stream, row, k, count, source + row * matrix->k + k, dropped[lane]);
      }
      rnn->kernels->transpose(matrix->columns[q].lanes, count, rows, destination + k * matrix->width,
                              matrix->width);
    }
  }
}

void gk_pack_dropped_rows(const struct gk_rnn *rnn, const struct gk_random_stream *stream,
                          const struct gk_matrix *matrix, const float *source, size_t gate_count,
                          size_t begin, size_t end, float *packed) {
  const size_t rows_of_gate = matrix->k / gate_count;
  float dropped[ROWS][COLUMNS];
  const float *rows[ROWS];
  for (size_t panel = begin; panel < end && panel * matrix->width < matrix->units; panel++) {
    const size_t column = panel * matrix->width, left = matrix->units - column;
    const size_t columns = left < matrix->width ? left : matrix->width;
    float *destination = gk_matrix_panel(matrix, packed, panel);
    for (size_t k = 0; k < matrix->k; k += ROWS) {
      const size_t count = matrix->k - k < ROWS ? matrix->k - k : ROWS;
      for (size_t i = 0; i < count; i++) {
        const size_t row = gk_matrix_gate_row(matrix, rows_of_gate, k + i);
        rows[i] = dropped[i];
        gk_mask_weights(rnn, stream, row, column, columns, source + row * matrix->units + column, dropped[i]);
      }
      rnn->kernels->pack_rows(count, columns, rows, destination + k * matrix->width, matrix->panel_stride,
                              false);
    }
  }
}

struct gk_packed_size gk_packed_dropped(const struct gk_rnn *rnn, const gk_random_key *key) {
  struct gk_packed_size size = rnn->packed;
  size.fingerprint = gk_packed_fingerprint(size.fingerprint, (int64_t)key->seed);
  size.fingerprint = gk_packed_fingerprint(size.fingerprint, (int64_t)key->step) + 1;
  return size;
}
