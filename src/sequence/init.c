/* SPDX-License-Identifier: Apache-2.0
 * Initial weights: counter-based uniform numbers, and arithmetic that rounds alike everywhere. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/names.h"
#include "src/core/random.h"
#include "src/sequence/rnn.h"

static const char *const init_names[] = {
    [GK_INIT_UNIFORM] = "uniform", [GK_INIT_GLOROT] = "glorot", [GK_INIT_ORTHOGONAL] = "orthogonal"};
GK_NAMES_OF(init, gk_init, init)

/* (rows, columns) with orthonormal rows, or columns if there are more rows: vectors made orthonormal one
 * after the other (modified Gram-Schmidt, twice, in double), from numbers that are close to normal: sums of
 * four uniform ones. */
static void fill_orthogonal(uint64_t seed, int tensor, int gate, int64_t rows, int64_t columns, double *q,
                            float *values) {
  const bool transposed = rows > columns;
  const int64_t count = transposed ? columns : rows, size = transposed ? rows : columns;
  float *u = (float *)(q + count * size);
  for (int64_t r = 0; r < count; r++) {
    const struct gk_random_counter counter = {.seed = seed,
                                              .purpose = GK_RANDOM_INIT,
                                              .layer = (uint32_t)tensor,
                                              .time = (uint32_t)gate,
                                              .sample = (uint64_t)r};
    double *row = q + (size_t)(r * size);
    gk_random_uniforms(&counter, 0, (size_t)size * 4, u);
    for (int64_t j = 0; j < size; j++)
      row[j] = (double)u[4 * j] + (double)u[4 * j + 1] + (double)u[4 * j + 2] + (double)u[4 * j + 3] - 2.0;
    for (int pass = 0; pass < 2; pass++) {
      for (int64_t p = 0; p < r; p++) {
        const double *other = q + (size_t)(p * size);
        double dot = 0;
        for (int64_t j = 0; j < size; j++)
          dot += row[j] * other[j];
        for (int64_t j = 0; j < size; j++)
          row[j] -= dot * other[j];
      }
      double squares = 0;
      for (int64_t j = 0; j < size; j++)
        squares += row[j] * row[j];
      const double scale = squares > 0 ? 1.0 / sqrt(squares) : 0;
      for (int64_t j = 0; j < size; j++)
        row[j] *= scale;
    }
    for (int64_t j = 0; j < size; j++)
      values[transposed ? j * columns + r : r * columns + j] = (float)row[j];
  }
}

/* Doubles that it needs at q, for the largest of a network's matrices. */
static size_t orthogonal_doubles(const gk_rnn *rnn) {
  size_t most = 1;
  for (int k = 0; k < rnn->layer_count; k++) {
    const size_t rows = rnn->layers[k].hidden, columns = rnn->layers[k].output;
    const size_t needed = rows * columns + 2 * (rows > columns ? rows : columns);
    most = most < needed ? needed : most;
  }
  return most;
}

static void init_tensor(const gk_rnn *rnn, const gk_init_desc *desc, int index, double *scratch,
                        float *values) {
  const gk_tensor *tensor = &rnn->tensors[index].tensor;
  const enum gk_tensor_role role = rnn->tensors[index].role;
  const int64_t columns = tensor->rank == 2 ? tensor->shape[1] : 1;
  if (role == GK_TENSOR_EMBEDDING) {
    gk_random_weights(desc->seed, (uint32_t)index, 0, tensor->shape[0], columns, sqrt(3.0), values);
    return;
  }
  if (role == GK_TENSOR_STATE || role == GK_TENSOR_GAIN || role == GK_TENSOR_SHIFT) {
    for (int64_t i = 0; i < tensor->count; i++)
      values[i] = role == GK_TENSOR_GAIN;
    return;
  }
  const int64_t hidden = (int64_t)rnn->layers[rnn->tensors[index].layer].hidden;
  if (desc->init == GK_INIT_UNIFORM) {
    gk_random_weights(desc->seed, (uint32_t)index, 0, tensor->shape[0], columns, 1.0 / sqrt((double)hidden),
                      values);
    return;
  }
  if (role == GK_TENSOR_BIAS || role == GK_TENSOR_PEEPHOLE) {
    memset(values, 0, (size_t)tensor->count * sizeof *values);
    return;
  }
  if (desc->init == GK_INIT_ORTHOGONAL && role == GK_TENSOR_RECURRENT && columns > 0) {
    for (int g = 0; g < rnn->cell->gates; g++)
      fill_orthogonal(desc->seed, index, g, hidden, columns, scratch,
                      values + (size_t)(g * hidden * columns));
    return;
  }
  const int64_t fan_out = role == GK_TENSOR_PROJECTION ? tensor->shape[0] : hidden;
  gk_random_weights(desc->seed, (uint32_t)index, 0, tensor->shape[0], columns,
                    sqrt(6.0 / (double)(fan_out + columns)), values);
}

gk_status gk_rnn_init(const gk_rnn *rnn, const gk_init_desc *desc, float *parameters) {
  gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"desc", desc}, {"parameters", parameters});
  if (!status)
    status = gk_check_size_field("desc", desc->size, sizeof *desc, "GK_INIT_DESC_INIT");
  if (!status)
    status = gk_check_choice("init", (int)desc->init, gk_init_count());
  if (!status && !isfinite(desc->forget_bias))
    status = gk_fail(GK_ERROR_ARGUMENT, "forget_bias is %g, must be finite", (double)desc->forget_bias);
  if (status)
    return status;
  /* All of it now: without it no parameter is written. */
  double *scratch = NULL;
  if (desc->init == GK_INIT_ORTHOGONAL && !(scratch = malloc(orthogonal_doubles(rnn) * sizeof *scratch)))
    return gk_fail(GK_ERROR_MEMORY, "no memory for an orthogonal matrix, %zu values",
                   orthogonal_doubles(rnn));
  const uint64_t callers = gk_float_environment_pin();
  for (int i = 0; i < rnn->tensor_count; i++)
    init_tensor(rnn, desc, i, scratch, parameters + rnn->tensors[i].tensor.offset);
  const struct gk_cell_info *cell = rnn->cell;
  for (int k = 0; k < rnn->layer_count && cell->forget_sign; k++) {
    const size_t hidden = rnn->layers[k].hidden;
    float *bias = parameters + rnn->layers[k].bias_ih + (size_t)cell->forget_gate * hidden;
    for (size_t u = 0; u < hidden; u++)
      bias[u] += (float)cell->forget_sign * desc->forget_bias;
  }
  gk_float_environment_restore(callers);
  free(scratch);
  return GK_OK;
}
