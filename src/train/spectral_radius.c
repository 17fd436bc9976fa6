/* SPDX-License-Identifier: Apache-2.0
 * The spectral radius by repeated squaring. B times 2^exponent is A to the power of 2^squarings: the exponent
 * is kept apart, so that nothing overflows. Plain loops in double: a few seconds at size 1024. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/matrix.h"
#include "src/core/parallel.h"
#include "src/core/size.h"
#include "src/core/threads.h"

enum { FEWEST_SQUARINGS = 10, MOST_SQUARINGS = 40, ROWS = 4 };

struct squaring {
  size_t size;
  const double *from;
  double *to;
};

/* Rows of to = from from, four rows of the right factor at a time. */
static void square_body(void *context, int thread, int threads) {
  const struct squaring *s = context;
  const size_t n = s->size;
  size_t begin, end;
  gk_split(n, 1, thread, threads, &begin, &end);
  for (size_t i = begin; i < end; i++) {
    double *restrict row = s->to + i * n;
    const double *restrict a = s->from + i * n;
    memset(row, 0, n * sizeof *row);
    size_t k = 0;
    for (; k + ROWS <= n; k += ROWS) {
      const double *restrict b = s->from + k * n;
      for (size_t j = 0; j < n; j++)
        row[j] += (a[k] * b[j] + a[k + 1] * b[n + j]) + (a[k + 2] * b[2 * n + j] + a[k + 3] * b[3 * n + j]);
    }
    for (; k < n; k++)
      for (size_t j = 0; j < n; j++)
        row[j] += a[k] * s->from[k * n + j];
  }
}

/* Takes a power of two out of B, so that its largest value is 1..2; returns log2 of what is left's norm, and
 * -infinity for zero. */
static double normalise(size_t count, double *b, double *exponent) {
  double largest = 0, squares = 0;
  int shift;
  for (size_t i = 0; i < count; i++)
    largest = largest < fabs(b[i]) ? fabs(b[i]) : largest;
  if (largest == 0)
    return -INFINITY;
  frexp(largest, &shift);
  for (size_t i = 0; i < count; i++) {
    b[i] = ldexp(b[i], 1 - shift);
    squares += b[i] * b[i];
  }
  *exponent += shift - 1;
  return 0.5 * log2(squares);
}

static double grow(int threads, size_t size, double *b, double *other) {
  double exponent = 0, estimate = NAN, power = 1;
  double norm = normalise(size * size, b, &exponent);
  if (!isfinite(norm))
    return 0;
  for (int squarings = 1; squarings <= MOST_SQUARINGS; squarings++, power *= 2) {
    struct squaring squaring = {size, b, other};
    gk_parallel(size < 32 ? 1 : threads, square_body, &squaring);
    double squared_exponent = 2 * exponent;
    const double squared = normalise(size * size, other, &squared_exponent);
    if (!isfinite(squared))
      return 0;
    const double next = exp2(((squared - norm) + (squared_exponent - exponent)) / power);
    if (squarings >= FEWEST_SQUARINGS && fabs(next - estimate) <= 1e-7 * next)
      return next;
    double *swap = b;
    b = other;
    other = swap;
    norm = squared;
    exponent = squared_exponent;
    estimate = next;
  }
  return estimate;
}

gk_status gk_spectral_radius(int threads, int64_t size, const float *matrix, double *radius) {
  size_t bytes;
  gk_status status = GK_CHECK_POINTERS({"matrix", matrix}, {"radius", radius});
  if (!status)
    status = gk_check_threads(threads);
  if (status)
    return status;
  if (size < 1)
    return gk_fail(GK_ERROR_ARGUMENT, "size is %lld, must be at least 1", (long long)size);
  if (!gk_size_array(&bytes, 2 * sizeof(double), size, size, 1))
    return gk_fail(GK_ERROR_OVERFLOW, "a matrix of %lld x %lld does not fit in memory", (long long)size,
                   (long long)size);
  double *b = malloc(bytes);
  if (!b)
    return gk_fail(GK_ERROR_MEMORY, "no memory for two matrices of %lld x %lld", (long long)size,
                   (long long)size);
  const size_t count = (size_t)size * (size_t)size;
  const uint64_t callers = gk_float_environment_pin();
  bool finite = true;
  for (size_t i = 0; i < count; i++) {
    b[i] = (double)matrix[i];
    finite &= isfinite(matrix[i]) != 0;
  }
  *radius = finite ? (double)(float)grow(gk_resolve_threads(threads), (size_t)size, b, b + count) : NAN;
  gk_float_environment_restore(callers);
  free(b);
  return GK_OK;
}

/* Where a tensor of one direction of a layer stands; NULL: the network has none. */
static const float *find_tensor(const gk_rnn *rnn, const float *parameters, const char *kind, int64_t layer,
                                int direction) {
  gk_tensor tensor;
  const gk_status status = gk_rnn_tensor_of(rnn, kind, layer, direction, &tensor);
  return status == GK_OK ? parameters + tensor.offset : NULL;
}

/* (P, P): W_hr (P, H) times one gate's W_hh (H, P). Its eigenvalues but zero are those of W_hh W_hr. */
static void through_projection(int64_t p, int64_t h, const float *w_hr, const float *w_hh, float *product) {
  const uint64_t callers = gk_float_environment_pin();
  for (int64_t i = 0; i < p; i++)
    for (int64_t j = 0; j < p; j++) {
      double sum = 0;
      for (int64_t k = 0; k < h; k++)
        sum += (double)w_hr[i * h + k] * (double)w_hh[k * p + j];
      product[i * p + j] = (float)sum;
    }
  gk_float_environment_restore(callers);
}

gk_status gk_rnn_spectral_radius(const gk_rnn *rnn, const float *parameters, int64_t layer, int direction,
                                 int gate, double *radius) {
  gk_rnn_state state;
  gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"parameters", parameters}, {"radius", radius});
  if (!status)
    status = gk_rnn_state_of(rnn, layer, direction, &state);
  if (!status)
    status = gk_check_choice("gate", gate, gk_rnn_gates(rnn));
  if (status != GK_OK)
    return status;
  const gk_rnn_desc *desc = gk_rnn_description(rnn);
  if (desc->recurrence == GK_RECURRENCE_NONE) {
    *radius = 0;
    return GK_OK;
  }
  const int64_t p = state.h_size, h = desc->projection_size ? state.c_size : p;
  const float *w_hh = find_tensor(rnn, parameters, "weight_hh", layer, direction);
  const float *w_hr =
      desc->projection_size ? find_tensor(rnn, parameters, "weight_hr", layer, direction) : NULL;
  float *product = w_hr ? malloc((size_t)p * (size_t)p * sizeof *product) : NULL;
  if (w_hr && !product)
    return gk_fail(GK_ERROR_MEMORY, "no memory for a matrix of %lld x %lld", (long long)p, (long long)p);
  const float *matrix = w_hh + gate * h * p;
  if (w_hr)
    through_projection(p, h, w_hr, matrix, product);
  status = gk_spectral_radius(desc->threads, p, w_hr ? product : matrix, radius);
  free(product);
  return status;
}

gk_status gk_rnn_spectral_radii(const gk_rnn *rnn, const float *parameters, int64_t layer, int direction,
                                double *radii) {
  double found[GK_MAX_GATES];
  gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"radii", radii});
  for (int gate = 0; gate < gk_rnn_gates(rnn) && status == GK_OK; gate++)
    status = gk_rnn_spectral_radius(rnn, parameters, layer, direction, gate, &found[gate]);
  if (status == GK_OK)
    memcpy(radii, found, (size_t)gk_rnn_gates(rnn) * sizeof *radii);
  return status;
}
