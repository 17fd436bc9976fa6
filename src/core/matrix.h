/* SPDX-License-Identifier: Apache-2.0
 *
 * A weight matrix as kernels read it: panels of nv vectors of v columns, columns of several gates
 * interleaved, so that consecutive vectors hold all gates of the same v units; of the units that are left,
 * one gate after the other, vectors running on from gate to gate. */
#ifndef GK_CORE_MATRIX_H
#define GK_CORE_MATRIX_H

#include "kernels/kernels.h"
#include "src/core/status.h"

#define GK_MAX_GATES  4
#define GK_MAX_BLOCKS 13 /* of a gates row */

/* Floats from row to row of a transposed block of a sum: rows of a tile must not share a set of L1. */
#define GK_TRANSPOSED_STRIDE (GK_SUM_BLOCK + 16)

struct gk_matrix {
  size_t k;       /* rows of B: the length of the products */
  size_t units;   /* columns of one gate */
  size_t gates;   /* that it holds */
  size_t vectors; /* ceil(gates * units / v) */
  size_t width;   /* floats of one k of a panel: nv * v */
  size_t panels;  /* ceil(vectors / nv) */
  size_t panel_stride;
  size_t offset;                /* of panel 0 in the packed buffer, in floats */
  const int *gate;              /* of W: of columns or, of W as it stands, of k; not owned */
  bool transposed;              /* B is W's transpose */
  size_t unpacked;              /* where W stands in the parameters; if not transposed, the first gate of k */
  size_t first_row;             /* as it stands: of k = 0; the last one is followed by row 0 */
  size_t lanes, tile_vectors;   /* the tier's v and nv */
  size_t interleaved;           /* units, a multiple of v: the others are left */
  int order[GK_MAX_GATES];      /* of the gates of those: as their blocks stand in a row of C */
  struct gk_column *columns;    /* [vectors], owned */
  struct gk_column_part *parts; /* of the last ones, owned */
};

/* Lays out a matrix of k rows whose column block of gate g starts at block[g] * units in a row of C. Without
 * `interleaves` all units of several gates are left, if v does not divide them: threads cannot share these.
 * GK_ERROR_OVERFLOW, GK_ERROR_MEMORY. */
gk_status gk_matrix_create(struct gk_matrix *matrix, const struct gk_kernels *kernels, size_t k, size_t units,
                           size_t gates, const int *block, bool interleaves);
void gk_matrix_destroy(struct gk_matrix *matrix);

/* Where products read B: from packed parameters, or if `unpacked` is not NULL, from the parameters
 * (transposed where it is read, a panel at a time). */
struct gk_weights {
  const float *packed, *unpacked;
};

/* What a product starts from: what is in C, zero, or rows of initial values that are addressed as C is. */
struct gk_start {
  bool zero;
  bool without_product; /* A is zero */
  const float *const *rows;
};
#define GK_START_C    ((struct gk_start){.zero = false})
#define GK_START_ZERO ((struct gk_start){.zero = true})

/* A walk through the units [begin, end), strip by strip: rows by all gates of a strip are few enough that
 * what a product leaves stays in L1, and strips end where panels do. Walked backwards every other time, a
 * matrix larger than a cache finds in it what the walk before read last. */
struct gk_strips {
  size_t begin, end;
  size_t first,
      length; /* of the panels that the first strip is in; of all strips but the first and the last */
  size_t count, taken;
  bool descending;
  size_t unit_begin, unit_end; /* of the strip at hand */
};
struct gk_strips gk_matrix_strips(const struct gk_matrix *matrix, size_t rows, size_t begin, size_t end,
                                  bool descending);
/* To the next strip, at first the first one; false after the last. */
bool gk_strips_next(struct gk_strips *strips);

/* The units of `thread` where threads share them: v of the interleaved ones at a time, as evenly as they
 * divide; the last thread, which never has more of these than another, also has those that are left. */
void gk_matrix_share(const struct gk_matrix *matrix, int thread, int threads, size_t *begin, size_t *end);

/* C = start + A B for the columns of the units [unit_begin, unit_end), multiples of v or the end of all. */
void gk_matrix_product(const struct gk_matrix *matrix, const struct gk_kernels *kernels,
                       struct gk_weights weights, size_t unit_begin, size_t unit_end, size_t rows,
                       const float *const *a, float *const *c, struct gk_start start);
/* The same for the strip at hand; `ahead` (or NULL) is asked for meanwhile. */
void gk_matrix_strip_product(const struct gk_matrix *matrix, const struct gk_kernels *kernels,
                             struct gk_weights weights, const struct gk_strips *strips, size_t rows,
                             const float *const *a, float *const *c, struct gk_start start,
                             const struct gk_ahead *ahead);
/* One block of a weight gradient, C = or += dy^T x: at most GK_SUM_BLOCK rows of x, which has the matrix's
 * columns, packed as panels of that many rows, flushed; then the product of A, columns of dy, and k packed
 * rows. */
static inline void gk_matrix_pack_block(const struct gk_matrix *matrix, const struct gk_kernels *kernels,
                                        size_t rows, const float *const *x, float *panels) {
  kernels->pack_flushed(rows, matrix->units, x, panels, matrix->width * GK_SUM_BLOCK);
}
struct gk_product gk_matrix_block_product(const struct gk_matrix *matrix, const float *panels, size_t rows,
                                          size_t k, const float *const *a, float *const *c, bool overwrite);
/* Adds rows of `floats` floats to what is asked for; those that follow one another become one range, a row
 * that is the last one again and what finds no room are left out. */
void gk_ahead_add(struct gk_ahead *ahead, const float *const *rows, size_t count, size_t floats);

/* How many lanes of a vector of B, from `lane` on, are neighbouring units of one gate, and the first one. */
size_t gk_matrix_neighbours(const struct gk_matrix *matrix, size_t vector, size_t lane, size_t *gate,
                            size_t *unit);
/* The row of W (gates * units, k) whose transpose is a lane of B. */
size_t gk_matrix_source_row(const struct gk_matrix *matrix, size_t vector, size_t lane);
/* The row of W that is row k of B where B is W as it stands, its gates of so many rows. */
static inline size_t gk_matrix_gate_row(const struct gk_matrix *matrix, size_t rows_of_gate, size_t k) {
  return (size_t)matrix->gate[k / rows_of_gate] * rows_of_gate + k % rows_of_gate;
}
/* Where a panel of B begins. */
static inline float *gk_matrix_panel(const struct gk_matrix *matrix, float *packed, size_t panel) {
  return packed + matrix->offset + panel * matrix->panel_stride;
}
/* A thread's share of packing. */
struct gk_packing {
  const struct gk_kernels *kernels;
  unsigned flags; /* GK_PACK_FORWARD, GK_PACK_BACKWARD: which of both */
  bool stream;    /* past the caches: kernels->stream_end() follows */
  int thread, threads;
  float *packed;
};
/* Packs W (gates * units, k). Transposed, for forward, y = x W^T: B[k][unit of gate g] = W[forward->gate[g] *
 * units + unit][k]. As it stands, for backward, dx = dy W: B[j * units + unit][k] = W[backward->gate[j] *
 * units + unit][k], one interleaved gate; of k = 0 nothing is packed. For both, rows of W are packed a second
 * time while they are near: a thread then writes a part of each of backward's panels. */
void gk_matrix_pack(const struct gk_packing *packing, const struct gk_matrix *forward,
                    const struct gk_matrix *backward, const float *w);

/* The part of [0, count) that belongs to `thread` when cut at multiples of `granule`. */
void gk_split(size_t count, size_t granule, int thread, int threads, size_t *begin, size_t *end);

#endif
