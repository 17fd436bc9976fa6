/* SPDX-License-Identifier: Apache-2.0
 *
 * The output layer as those see it who use it inside a step. */
#ifndef GK_LAYERS_OUTPUT_H
#define GK_LAYERS_OUTPUT_H

#include "src/layers/linear.h"

struct gk_output {
  gk_output_desc desc;
  const struct gk_kernels *kernels;
  struct gk_linear linear;
  struct gk_packed_size packed;
};

#endif
