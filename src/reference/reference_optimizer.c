/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "src/reference/reference.h"

void gk_reference_optimizer_step(const gk_optimizer_desc *desc, int64_t step, double learning_rate,
                                 double gradient_scale, int64_t count, double *parameters,
                                 const double *gradients, double *state) {
  double *first = state, *second = state + count;
  for (int64_t i = 0; i < count; i++) {
    double *p = &parameters[i];
    const bool decoupled = desc->kind == GK_OPTIMIZER_ADAMW;
    double g = gradients[i] * gradient_scale + (decoupled ? 0 : (double)desc->weight_decay * *p);
    if (decoupled)
      *p *= 1 - learning_rate * (double)desc->weight_decay;
    switch (desc->kind) {
    case GK_OPTIMIZER_SGD:
      first[i] = desc->momentum * first[i] + g;
      *p -= learning_rate * (desc->nesterov ? g + (double)desc->momentum * first[i] : first[i]);
      break;
    case GK_OPTIMIZER_ADAGRAD:
      first[i] += g * g;
      *p -= learning_rate / (1 + (double)(step - 1) * (double)desc->rate_decay) * g /
            (sqrt(first[i]) + desc->epsilon);
      break;
    case GK_OPTIMIZER_RMSPROP:
      first[i] = desc->alpha * first[i] + (1 - (double)desc->alpha) * g * g;
      *p -= learning_rate * g / (sqrt(first[i]) + desc->epsilon);
      break;
    case GK_OPTIMIZER_ADAM:
    case GK_OPTIMIZER_ADAMW: {
      double beta1 = desc->beta1, beta2 = desc->beta2;
      first[i] = beta1 * first[i] + (1 - beta1) * g;
      second[i] = beta2 * second[i] + (1 - beta2) * g * g;
      double mean = first[i] / (1 - pow(beta1, (double)step));
      double variance = second[i] / (1 - pow(beta2, (double)step));
      *p -= learning_rate * mean / (sqrt(variance) + desc->epsilon);
      break;
    }
    }
  }
}
