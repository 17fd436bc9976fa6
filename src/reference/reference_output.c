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

static double softmax_loss(const struct gk_reference_row *row, double *d) {
  const double normaliser = log_sum_exp(row->count, 1, row->x), count = (double)row->count;
  double loss = 0;
  for (int64_t v = 0; v < row->count; v++) {
    const double wanted = (v == row->target ? 1 - row->smoothing : 0) + row->smoothing / count;
    if (wanted > 0)
      loss += wanted * (normaliser - row->x[v]);
    if (d)
      d[v] = exp(row->x[v] - normaliser) - wanted;
  }
  return loss;
}

static double softplus(double x) {
  return fmax(x, 0) + log1p(exp(-fabs(x)));
}

/* The loss of one value; *d is its derivative. */
static double value_loss(const struct gk_reference_row *row, double x, double y, double *d) {
  const double difference = x - y, weight = row->positive_weight, delta = row->delta;
  switch (row->kind) {
  case GK_LOSS_BINARY:
    *d = (1 - y) * gk_reference_sigmoid(x) - weight * y * gk_reference_sigmoid(-x);
    return (1 - y) * softplus(x) + weight * y * softplus(-x);
  case GK_LOSS_SQUARED:
    *d = 2 * difference;
    return difference * difference;
  default:
    *d = fmax(-delta, fmin(delta, difference));
    return fabs(difference) <= delta ? difference * difference / 2 : delta * (fabs(difference) - delta / 2);
  }
}

double gk_reference_row_loss(const struct gk_reference_row *row, double *d) {
  double loss = 0;
  if (row->kind == GK_LOSS_SOFTMAX)
    loss = softmax_loss(row, d);
  for (int64_t v = 0; v < row->count && row->kind != GK_LOSS_SOFTMAX; v++) {
    double derivative;
    loss += value_loss(row, row->x[v], row->values[v], &derivative);
    if (d)
      d[v] = derivative;
  }
  for (int64_t v = 0; v < row->count && d; v++)
    d[v] *= row->scale * row->weight;
  return row->weight * loss;
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
    struct gk_reference_row row = {.kind = loss->kind,
                                   .count = V,
                                   .x = logits,
                                   .target = loss->targets ? loss->targets[r] : 0,
                                   .values = loss->values ? loss->values + r * V : NULL,
                                   .weight = loss->row_weights ? loss->row_weights[r] : 1,
                                   .smoothing = loss->smoothing,
                                   .positive_weight = loss->positive_weight > 0 ? loss->positive_weight : 1,
                                   .delta = loss->delta > 0 ? loss->delta : 1,
                                   .scale = loss->scale};
    if (row.weight == 0 || row.target < 0)
      continue;
    memcpy(logits, loss->bias, (size_t)V * sizeof(double));
    gk_reference_product(V, H, loss->weight, h, logits);
    sum += gk_reference_row_loss(&row, dlogits);
    for (int64_t v = 0; v < V; v++)
      for (int64_t j = 0; j < H; j++) {
        if (loss->dh)
          loss->dh[r * H + j] += dlogits[v] * loss->weight[v * H + j];
        if (loss->dweight)
          loss->dweight[v * H + j] += dlogits[v] * h[j];
      }
    for (int64_t v = 0; loss->dbias && v < V; v++)
      loss->dbias[v] += dlogits[v];
  }
  return sum;
}
