/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "src/reference/reference.h"

void gk_reference_product(int64_t rows, int64_t columns, const double *m, const double *x, double *y) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t k = 0; k < columns; k++)
      y[i] += m[i * columns + k] * x[k];
}

void gk_reference_product_backward(int64_t rows, int64_t columns, const double *m, const double *x,
                                   const double *dy, double *dx, double *dm) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t k = 0; k < columns; k++) {
      dx[k] += m[i * columns + k] * dy[i];
      dm[i * columns + k] += dy[i] * x[k];
    }
}

void gk_reference_add(int64_t count, const double *x, double *y) {
  for (int64_t i = 0; i < count; i++)
    y[i] += x[i];
}

double gk_reference_sigmoid(double x) {
  return 1 / (1 + exp(-x));
}
