/* SPDX-License-Identifier: Apache-2.0 */
#include "src/layers/attention.h"

void gk_attention_forward(const struct gk_kernels *kernels, struct gk_source source, const float *query,
                          float *weights, float *context) {
  kernels->dots(source.positions, source.size, query, source.vectors, source.stride, weights);
  kernels->softmax(source.positions, 1.0f, weights, weights);
  kernels->flush(source.positions, weights, weights);
  kernels->weighted_sum(source.positions, source.size, weights, 1, source.vectors, source.stride, context,
                        true);
  kernels->flush(source.size, context, context);
}

void gk_attention_backward(const struct gk_kernels *kernels, struct gk_source source, const float *weights,
                           const float *d_context, float *d_score, float *d_query) {
  kernels->dots(source.positions, source.size, d_context, source.vectors, source.stride, d_score);
  kernels->softmax_backward(source.positions, weights, d_score, d_score);
  kernels->weighted_sum(source.positions, source.size, d_score, 1, source.vectors, source.stride, d_query,
                        true);
  kernels->flush(source.size, d_query, d_query);
}

void gk_attention_source_gradient(const struct gk_kernels *kernels, size_t steps, size_t position,
                                  size_t size, struct gk_step_rows weights, struct gk_step_rows d_context,
                                  struct gk_step_rows d_score, struct gk_step_rows query, float *d_vector) {
  kernels->weighted_sum(steps, size, weights.last + position, weights.stride, d_context.last,
                        d_context.stride, d_vector, true);
  kernels->weighted_sum(steps, size, d_score.last + position, d_score.stride, query.last, query.stride,
                        d_vector, false);
  kernels->flush(size, d_vector, d_vector);
}
