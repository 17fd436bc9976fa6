/* SPDX-License-Identifier: Apache-2.0
 *
 * y = x W^T (+ b), W (out, in), inside a larger layer: its two packed matrices, and its weight gradient over
 * rows that somebody lists. */
#ifndef GK_LAYERS_LINEAR_H
#define GK_LAYERS_LINEAR_H

#include "src/core/matrix.h"
#include "src/core/packed.h"

struct gk_linear {
  size_t in, out;
  bool has_bias;
  struct gk_matrix forward, backward; /* x W^T and dy W */
  size_t bias;                        /* offset in the packed floats */
};

/* Places its packed floats behind those of `packed`. Once all are placed, gk_linear_close moves the backward
 * part behind the whole forward part. */
gk_status gk_linear_create(struct gk_linear *linear, const struct gk_kernels *kernels, int64_t in,
                           int64_t out, bool bias, struct gk_packed_size *packed);
void gk_linear_close(struct gk_linear *linear, const struct gk_packed_size *packed);
void gk_linear_destroy(struct gk_linear *linear);
/* bias is NULL without one. */
void gk_linear_pack(const struct gk_linear *linear, const struct gk_packing *packing, const float *weight,
                    const float *bias);

/* The rows of a sum in their order, GK_SUM_BLOCK at a time: `next` lists the following ones, 0 at the end,
 * and then begins anew. */
struct gk_row_list {
  void *context;
  size_t (*next)(void *context, int64_t rows[GK_SUM_BLOCK]);
};

/* weight (out, in) = or += sum over the listed rows of dy[row * dy_stride] x[row * x_stride]^T, bias = or +=
 * sum of dy (NULL: not computed), the thread's share of `out`. Accumulating adds the finished sum once.
 * scratch has gk_linear_scratch floats. */
struct gk_linear_gradient {
  const struct gk_matrix *matrix; /* of dy W: k = out, units = in */
  const struct gk_kernels *kernels;
  struct gk_row_list rows;
  const float *dy, *x;
  size_t dy_stride, x_stride;
  float *weight, *bias;
  bool accumulate;
  float *scratch;
};
/* Raises *floats to those of this matrix; false if they do not fit in size_t. */
bool gk_linear_scratch(const struct gk_matrix *matrix, size_t *floats);
void gk_linear_gradient(const struct gk_linear_gradient *gradient, int thread, int threads);

#define GK_LINEAR_STRIP 128 /* rows of a weight gradient that are formed together, at most */
/* One block of such a sum, for the rows of weight that `columns` of dy make, at most a strip. panels holds x,
 * packed by gk_matrix_pack_block; `transposed` is scratch of columns * GK_TRANSPOSED_STRIDE floats. */
void gk_linear_gradient_block(const struct gk_matrix *matrix, const struct gk_kernels *kernels, size_t rows,
                              size_t columns, const float *const *dy, const float *panels, float *transposed,
                              float *weight, bool overwrite);

#endif
