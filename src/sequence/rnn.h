/* SPDX-License-Identifier: Apache-2.0
 *
 * struct gk_rnn: a network's description, the layout of its parameters, and how its weights are packed.
 * Immutable after gk_rnn_create. */
#ifndef GK_SEQUENCE_RNN_H
#define GK_SEQUENCE_RNN_H

#include "kernels/kernels.h"
#include "src/cells/cell.h"
#include "src/core/arena.h"
#include "src/core/matrix.h"
#include "src/core/packed.h"
#include "src/core/status.h"

/* One direction of one layer. */
struct gk_rnn_layer {
  int64_t input_size;
  int64_t weight_ih, weight_hh, bias_ih, bias_hh; /* offsets in the parameters */
  size_t bias;                                    /* offset of its packed gates row of biases */
  struct gk_matrix x, h[GK_MAX_PHASES]; /* forward: W_x and W_h, side by side where a step has one product */
  struct gk_matrix dx, dh[GK_MAX_PHASES]; /* backward */
};

struct gk_rnn {
  gk_rnn_desc desc;
  const struct gk_cell_info *cell;
  const struct gk_kernels *kernels;
  bool threads_forced; /* the caller named a number: small work takes as many all the same */
  int directions;
  int layer_count;             /* L * D */
  struct gk_rnn_layer *layers; /* [layer * D + direction] */
  gk_tensor *tensors;
  int tensor_count;
  int64_t parameter_count;
  struct gk_packed_size packed;
};

/* How one call is cut. Reads nothing but sizes. */
struct gk_rnn_plan {
  gk_schedule schedule; /* slices or teams */
  int threads;
  int64_t chunk; /* steps whose input product (or dx) is formed at once */
};
struct gk_rnn_plan gk_rnn_plan_for(const struct gk_rnn *rnn, int64_t time, int64_t batch);

#endif
