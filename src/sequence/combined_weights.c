/* SPDX-License-Identifier: Apache-2.0
 * The weights of a layer as one matrix [W_hh | W_ih] with one bias, to and from the parameters. */
#include <string.h>

#include "src/core/float_environment.h"
#include "src/sequence/rnn.h"

/* Do the two biases of a gate meet in one sum, so that only that counts? */
static bool biases_meet(const struct gk_rnn *rnn, int gate) {
  return rnn->cell->normalised || rnn->cell->input_block[gate] == rnn->cell->recurrent_block[gate];
}

static gk_status find_layer(const gk_rnn *rnn, const float *parameters, int64_t layer, int direction,
                            const struct gk_rnn_layer **found) {
  gk_rnn_state state;
  gk_status status = gk_rnn_state_of(rnn, layer, direction, &state);
  if (!status && !parameters)
    status = gk_fail(GK_ERROR_ARGUMENT, "parameters is NULL");
  if (!status)
    *found = &rnn->layers[layer * rnn->directions + direction];
  return status;
}

static size_t recurrent_columns(const struct gk_rnn *rnn, const struct gk_rnn_layer *layer) {
  return rnn->desc.recurrence == GK_RECURRENCE_NONE ? 0 : layer->output;
}

gk_status gk_rnn_combined_weights(const gk_rnn *rnn, const float *parameters, int64_t layer, int direction,
                                  float *weight, float *bias) {
  const struct gk_rnn_layer *of;
  gk_status status = find_layer(rnn, parameters, layer, direction, &of);
  if (status)
    return status;
  const size_t left = recurrent_columns(rnn, of), right = (size_t)of->input_size, hidden = of->hidden;
  const size_t rows = (size_t)rnn->cell->gates * hidden;
  const float *b_ih = parameters + of->bias_ih, *b_hh = parameters + of->bias_hh;
  for (size_t row = 0; weight && row < rows; row++, weight += left + right) {
    memcpy(weight, parameters + of->weight_hh + row * left, left * sizeof *weight);
    memcpy(weight + left, parameters + of->weight_ih + row * right, right * sizeof *weight);
  }
  const uint64_t callers = gk_float_environment_pin();
  float *apart = bias ? bias + rows : NULL;
  for (int gate = 0; bias && gate < rnn->cell->gates; gate++)
    for (size_t row = (size_t)gate * hidden; row < (size_t)(gate + 1) * hidden; row++) {
      const bool meet = biases_meet(rnn, gate);
      bias[row] = meet ? b_ih[row] + b_hh[row] : b_ih[row];
      if (!meet)
        *apart++ = b_hh[row];
    }
  gk_float_environment_restore(callers);
  return GK_OK;
}

gk_status gk_rnn_set_combined_weights(const gk_rnn *rnn, int64_t layer, int direction, const float *weight,
                                      const float *bias, float *parameters) {
  const struct gk_rnn_layer *of;
  gk_status status = find_layer(rnn, parameters, layer, direction, &of);
  if (status)
    return status;
  const size_t left = recurrent_columns(rnn, of), right = (size_t)of->input_size, hidden = of->hidden;
  const size_t rows = (size_t)rnn->cell->gates * hidden;
  for (size_t row = 0; weight && row < rows; row++, weight += left + right) {
    memcpy(parameters + of->weight_hh + row * left, weight, left * sizeof *weight);
    memcpy(parameters + of->weight_ih + row * right, weight + left, right * sizeof *weight);
  }
  const float *apart = bias ? bias + rows : NULL;
  for (int gate = 0; bias && gate < rnn->cell->gates; gate++)
    for (size_t row = (size_t)gate * hidden; row < (size_t)(gate + 1) * hidden; row++) {
      parameters[(size_t)of->bias_ih + row] = bias[row];
      parameters[(size_t)of->bias_hh + row] = biases_meet(rnn, gate) ? 0 : *apart++;
    }
  return GK_OK;
}
