/* SPDX-License-Identifier: Apache-2.0
 * The spectral radius: the largest one of the matrix's irreducible blocks, each balanced and then squared
 * again and again. B times 2^exponent is a block to the power of 2^squarings: the exponent is kept apart, so
 * that nothing overflows. Plain loops in double: a few seconds at size 1024. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/matrix.h"
#include "src/core/parallel.h"
#include "src/core/size.h"
#include "src/core/threads.h"

enum { FEWEST_SQUARINGS = 10, MOST_SQUARINGS = 40, MOST_SWEEPS = 100, ROWS = 4 };

/* ---- Irreducible blocks ---- */

/* An index of the matrix, as a node of the graph whose edges are the values that are not zero. */
struct node {
  size_t number, low; /* by the order of first visits, from 1 on; 0: not visited */
  size_t next;        /* edge to follow */
  size_t from, below; /* whose edge led here; the node below on the stack */
  size_t block;       /* from 1 on; 0: none yet */
};

/* Of triangular matrices every block is one value, whose powers need not stand beside those of sums over
 * paths: they would be lost below them. Strongly connected components (Tarjan 1972); returns their number. */
static size_t find_blocks(size_t n, const float *matrix, struct node *node) {
  size_t visits = 0, blocks = 0, top = n;
  memset(node, 0, n * sizeof *node);
  for (size_t root = 0; root < n; root++) {
    size_t i = node[root].number ? n : root;
    while (i < n) {
      struct node *at = &node[i];
      if (!at->number) {
        at->number = at->low = ++visits;
        at->below = top;
        top = i;
      }
      size_t j = at->next++;
      if (j < n) {
        if (matrix[i * n + j] == 0)
          continue;
        if (!node[j].number) {
          node[j].from = i;
          i = j;
        } else if (!node[j].block && node[j].number < at->low) {
          at->low = node[j].number;
        }
        continue;
      }
      if (at->low == at->number) {
        blocks++;
        do {
          j = top;
          top = node[j].below;
          node[j].block = blocks;
        } while (j != i);
      }
      if (i != root && at->low < node[at->from].low)
        node[at->from].low = at->low;
      i = i == root ? n : at->from;
    }
  }
  return blocks;
}

/* A diagonal similarity by powers of two that brings each index's row and column (without the diagonal) to
 * sums within a factor of four (Parlett and Reinsch 1969). */
static void balance(size_t n, double *b) {
  bool changed = true;
  for (int sweep = 0; changed && sweep < MOST_SWEEPS; sweep++) {
    changed = false;
    for (size_t i = 0; i < n; i++) {
      double row = 0, column = 0;
      int of_row, of_column;
      for (size_t j = 0; j < n; j++) {
        row += j != i ? fabs(b[i * n + j]) : 0;
        column += j != i ? fabs(b[j * n + i]) : 0;
      }
      frexp(row, &of_row);
      frexp(column, &of_column);
      const int shift = (of_row - of_column) / 2;
      if (!(row > 0 && column > 0) || shift == 0)
        continue;
      changed = true;
      for (size_t j = 0; j < n; j++) {
        b[j * n + i] = ldexp(b[j * n + i], shift);
        b[i * n + j] = ldexp(b[i * n + j], -shift);
      }
    }
  }
}

/* ---- Squaring ---- */

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

/* NaN: values that count were lost below others. */
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
    if (!isfinite(squared)) /* a nilpotent matrix is zero from A^size on */
      return power < (double)size ? 0 : NAN;
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

static double radius_of_block(int threads, size_t n, const float *matrix, const struct node *node,
                              size_t block, double *b) {
  size_t size = 0, at = 0;
  for (size_t i = 0; i < n; i++)
    size += node[i].block == block;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n && node[i].block == block; j++)
      if (node[j].block == block)
        b[at++] = (double)matrix[i * n + j];
  if (size == 1)
    return fabs(b[0]);
  balance(size, b);
  return grow(threads, size, b, b + at);
}

static double radius_of(int threads, size_t n, const float *matrix, struct node *node, double *b) {
  double radius = 0;
  for (size_t i = 0; i < n * n; i++)
    if (!isfinite(matrix[i]))
      return NAN;
  const size_t blocks = find_blocks(n, matrix, node);
  for (size_t block = 1; block <= blocks; block++) {
    const double found = radius_of_block(threads, n, matrix, node, block, b);
    if (!(found <= radius))
      radius = found;
    if (isnan(found))
      break;
  }
  return radius;
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
  struct node *node = malloc((size_t)size * sizeof *node);
  if (b && node) {
    const uint64_t callers = gk_float_environment_pin();
    *radius = (double)(float)radius_of(gk_resolve_threads(threads), (size_t)size, matrix, node, b);
    gk_float_environment_restore(callers);
  } else {
    status = gk_fail(GK_ERROR_MEMORY, "no memory for two matrices of %lld x %lld", (long long)size,
                     (long long)size);
  }
  free(node);
  free(b);
  return status;
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
