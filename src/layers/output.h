/* SPDX-License-Identifier: Apache-2.0
 *
 * The output layer as those see it who use it inside a step. */
#ifndef GK_LAYERS_OUTPUT_H
#define GK_LAYERS_OUTPUT_H

#include "src/core/matrix.h"
#include "src/core/packed.h"

struct gk_output {
  gk_output_desc desc;
  const struct gk_kernels *kernels;
  struct gk_matrix forward, backward; /* h W^T and d(logits) W */
  size_t bias;                        /* offset in the packed floats */
  struct gk_packed_size packed;
};

#endif
