/* SPDX-License-Identifier: Apache-2.0
 *
 * The oracle of gk_decoder and gk_bridge: float64, one sample and one step at a time. What the network chose
 * (tokens, whose turn it was) is given, so that random numbers and near ties are the fp32 run's. */
#ifndef GK_REFERENCE_DECODER_H
#define GK_REFERENCE_DECODER_H

#include "src/reference/reference.h"

/* Shapes, layout and names are gk_decoder_forward_args' and gk_decoder_backward_args'. Any result may be
 * NULL. */
struct gk_reference_decoder {
  const gk_decoder_desc *desc; /* `output` is not looked at */
  int64_t output_size;         /* O; with feedback output */
  int64_t time, batch;
  const int64_t *lengths;
  const double *x, *previous;
  const int32_t *fed; /* (T, N): the token that is fed; feedback output: 1 where o_{t-1} is fed */
  int64_t source_time;
  const int64_t *source_lengths;
  const double *source, *h0, *c0, *feed0;
  const double *parameters, *output_parameters;
  double *y, *outputs, *weights, *hn, *cn, *feedn;

  bool backward;
  const double *dy, *doutputs, *dhn, *dcn, *dfeedn;
  double *dx, *dprevious, *dsource, *dh0, *dc0, *dfeed0;
  double *gradients, *output_gradients; /* overwritten */
  double *dh_norms;                     /* (L, T, N); NULL: not wanted */
};
/* GK_OK or GK_ERROR_MEMORY. */
gk_status gk_reference_decoder_run(const struct gk_reference_decoder *call);

#endif
