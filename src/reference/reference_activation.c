/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stddef.h>

#include "src/reference/reference.h"

/* ONNX's default where both alpha and beta are 0. */
static void parameters_of(const gk_rnn_desc *desc, gk_activation kind, gk_activation_place place,
                          double *alpha, double *beta) {
  *alpha = desc->options.alpha[place];
  *beta = desc->options.beta[place];
  if (*alpha != 0 || *beta != 0)
    return;
  switch (kind) {
  case GK_ACTIVATION_LEAKY_RELU:
    *alpha = 0.01f; /* as fp32 has it */
    break;
  case GK_ACTIVATION_SCALED_TANH:
    *alpha = *beta = 1;
    break;
  case GK_ACTIVATION_HARD_SIGMOID:
    *alpha = 0.2f;
    *beta = 0.5;
    break;
  default:
    *alpha = 1;
  }
}

/* Value and derivative. */
static double apply(gk_activation kind, double alpha, double beta, double x, double *slope) {
  double y;
  switch (kind) {
  case GK_ACTIVATION_RELU:
    *slope = x > 0;
    return x > 0 ? x : 0;
  case GK_ACTIVATION_SIGMOID:
    y = gk_reference_sigmoid(x);
    *slope = y * (1 - y);
    return y;
  case GK_ACTIVATION_AFFINE:
    *slope = alpha;
    return alpha * x + beta;
  case GK_ACTIVATION_LEAKY_RELU:
    *slope = x < 0 ? alpha : 1;
    return x < 0 ? alpha * x : x;
  case GK_ACTIVATION_THRESHOLDED_RELU:
    *slope = x >= alpha;
    return x >= alpha ? x : 0;
  case GK_ACTIVATION_SCALED_TANH:
    y = tanh(beta * x);
    *slope = alpha * beta * (1 - y * y);
    return alpha * y;
  case GK_ACTIVATION_HARD_SIGMOID:
    y = alpha * x + beta;
    *slope = y > 0 && y < 1 ? alpha : 0;
    return fmin(fmax(y, 0), 1);
  case GK_ACTIVATION_ELU:
    *slope = x < 0 ? alpha * exp(x) : 1;
    return x < 0 ? alpha * expm1(x) : x;
  case GK_ACTIVATION_SOFTSIGN:
    *slope = 1 / ((1 + fabs(x)) * (1 + fabs(x)));
    return x / (1 + fabs(x));
  case GK_ACTIVATION_SOFTPLUS:
    *slope = gk_reference_sigmoid(x);
    return fmax(x, 0) + log1p(exp(-fabs(x)));
  case GK_ACTIVATION_IDENTITY:
    *slope = 1;
    return x;
  default:
    y = tanh(x);
    *slope = 1 - y * y;
    return y;
  }
}

double gk_reference_activation(const gk_rnn_desc *desc, gk_activation_place place, double a, double *slope) {
  double clip = desc->options.preactivation_clip, alpha, beta, derivative;
  gk_activation kind = place == GK_CANDIDATE ? desc->activation
                       : place == GK_GATE    ? desc->options.gate_activation
                                             : desc->options.output_activation;
  bool outside = clip > 0 && place != GK_OUTPUT && fabs(a) > clip;
  if (kind == GK_ACTIVATION_DEFAULT)
    kind = place == GK_GATE ? GK_ACTIVATION_SIGMOID : GK_ACTIVATION_TANH;
  parameters_of(desc, kind, place, &alpha, &beta);
  double y = apply(kind, alpha, beta, outside ? copysign(clip, a) : a, &derivative);
  if (slope)
    *slope = outside ? 0 : derivative;
  return y;
}
