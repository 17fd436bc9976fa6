/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "src/reference/reference.h"

void gk_reference_embedding(int64_t rows, int64_t size, const double *weight, const int32_t *tokens,
                            double *x) {
  for (int64_t r = 0; r < rows; r++)
    memcpy(x + r * size, weight + tokens[r] * size, (size_t)size * sizeof(double));
}

void gk_reference_embedding_backward(int64_t rows, int64_t size, const int32_t *tokens, const double *dx,
                                     double *dweight) {
  for (int64_t r = 0; r < rows; r++)
    gk_reference_add(size, dx + r * size, dweight + tokens[r] * size);
}

/* log sum exp(logits / temperature). */
static double log_sum_exp(int64_t count, double temperature, const double *logits) {
  double largest = -INFINITY, sum = 0;
  for (int64_t v = 0; v < count; v++)
    largest = fmax(largest, logits[v] / temperature);
  for (int64_t v = 0; v < count; v++)
    sum += exp(logits[v] / temperature - largest);
  return largest + log(sum);
}

void gk_reference_softmax(int64_t count, double temperature, const double *logits, double *p) {
  double normaliser = log_sum_exp(count, temperature, logits);
  for (int64_t v = 0; v < count; v++)
    p[v] = exp(logits[v] / temperature - normaliser);
}

double gk_reference_output_loss(const struct gk_reference_loss *loss) {
  int64_t H = loss->input_size, V = loss->output_size;
  double *logits = loss->scratch, *dlogits = loss->scratch + V;
  double sum = 0;
  if (loss->dh)
    memset(loss->dh, 0, (size_t)(loss->rows * H) * sizeof(double));
  if (loss->dweight)
    memset(loss->dweight, 0, (size_t)(V * H) * sizeof(double));
  if (loss->dbias)
    memset(loss->dbias, 0, (size_t)V * sizeof(double));
  for (int64_t r = 0; r < loss->rows; r++) {
    const double *h = loss->h + r * H;
    if (loss->targets[r] < 0)
      continue;
    memcpy(logits, loss->bias, (size_t)V * sizeof(double));
    gk_reference_product(V, H, loss->weight, h, logits);
    sum += log_sum_exp(V, 1, logits) - logits[loss->targets[r]];
    gk_reference_softmax(V, 1, logits, dlogits);
    dlogits[loss->targets[r]] -= 1;
    for (int64_t v = 0; v < V; v++)
      for (int64_t j = 0; j < H; j++) {
        if (loss->dh)
          loss->dh[r * H + j] += loss->scale * dlogits[v] * loss->weight[v * H + j];
        if (loss->dweight)
          loss->dweight[v * H + j] += loss->scale * dlogits[v] * h[j];
      }
    for (int64_t v = 0; loss->dbias && v < V; v++)
      loss->dbias[v] += loss->scale * dlogits[v];
  }
  return sum;
}
