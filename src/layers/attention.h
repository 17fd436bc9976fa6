/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of one query over one source (Luong, Pham, Manning 2015), forward and backward. Keys are the
 * source's vectors themselves: `positions` of them, `size` floats each, `stride` floats apart. */
#ifndef GK_LAYERS_ATTENTION_H
#define GK_LAYERS_ATTENTION_H

#include "kernels/kernels.h"

struct gk_source {
  const float *vectors;
  ptrdiff_t stride;
  size_t positions, size;
};

/* weights (positions) = softmax(query . source), context (size) = weights source; 0 for an empty source. */
void gk_attention_forward(const struct gk_kernels *kernels, struct gk_source source, const float *query,
                          float *weights, float *context);
/* From d_context: d_score (positions) and d_query (size). The gradient of the source is the caller's:
 * gk_attention_source_gradient. */
void gk_attention_backward(const struct gk_kernels *kernels, struct gk_source source, const float *weights,
                           const float *d_context, float *d_score, float *d_query);

/* Rows of one sample's steps, the last one first: stride floats from step to step, negative. */
struct gk_step_rows {
  const float *last;
  ptrdiff_t stride;
};
/* d_vector (size) of source position `position` = sum over `steps` steps of weight d_context + d_score query.
 */
void gk_attention_source_gradient(const struct gk_kernels *kernels, size_t steps, size_t position,
                                  size_t size, struct gk_step_rows weights, struct gk_step_rows d_context,
                                  struct gk_step_rows d_score, struct gk_step_rows query, float *d_vector);

#endif
