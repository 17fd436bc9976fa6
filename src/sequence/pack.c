/* SPDX-License-Identifier: Apache-2.0
 * Packed parameters: weights in the order that this tier's tiles read them, biases as a gates row. */
#include <string.h>

#include "src/core/arguments.h"
#include "src/core/parallel.h"
#include "src/sequence/masks.h"

struct packing {
  const struct gk_rnn *rnn;
  unsigned flags;
  const float *parameters;
  const gk_random_key *key; /* of weight dropout; NULL: none */
  bool stream;              /* past the caches */
  float *packed;
};

/* b_ih and b_hh in the blocks of a gates row, summed where both halves of a gate share one. */
static void pack_bias(const struct packing *packing, const struct gk_rnn_layer *layer) {
  const struct gk_cell_info *cell = packing->rnn->cell;
  const size_t hidden = layer->hidden;
  const float *b_ih = packing->parameters + layer->bias_ih, *b_hh = packing->parameters + layer->bias_hh;
  float *bias = packing->packed + layer->bias;
  memset(bias, 0, (size_t)cell->blocks * hidden * sizeof *bias);
  for (int g = 0; g < cell->gates && !cell->normalised; g++) {
    float *input = bias + (size_t)cell->input_block[g] * hidden;
    float *recurrent = bias + (size_t)cell->recurrent_block[g] * hidden;
    for (size_t u = 0; u < hidden; u++) {
      input[u] = b_ih[(size_t)g * hidden + u];
      recurrent[u] = (recurrent == input ? input[u] : 0) + b_hh[(size_t)g * hidden + u];
    }
  }
}

/* Forward and backward both start from them, and read the peepholes. */
static void pack_states(const struct packing *packing, const struct gk_rnn_layer *layer) {
  const struct gk_kernels *kernels = packing->rnn->kernels; /* as given ones are flushed */
  kernels->flush(layer->output, packing->parameters + layer->h0, packing->packed + layer->h0_row);
  if (packing->rnn->cell->memory)
    kernels->flush(layer->hidden, packing->parameters + layer->c0, packing->packed + layer->c0_row);
}

static void pack_peepholes(const struct packing *packing, const struct gk_rnn_layer *layer) {
  if (packing->rnn->peepholes)
    memcpy(packing->packed + layer->peephole, packing->parameters + layer->weight_peephole,
           (size_t)packing->rnn->peepholes * layer->hidden * sizeof(float));
}

/* Gains of both products, the sum of the biases, gain and bias of c. */
static void pack_norm(const struct packing *packing, const struct gk_rnn_layer *layer) {
  const size_t hidden = layer->hidden, width = (size_t)packing->rnn->cell->gates * hidden;
  const float *p = packing->parameters;
  float *norm = packing->packed + layer->norm;
  if (!packing->rnn->cell->normalised)
    return;
  memcpy(norm, p + layer->weight_ln_ih, width * sizeof *norm);
  memcpy(norm + width, p + layer->weight_ln_hh, width * sizeof *norm);
  for (size_t i = 0; i < width; i++)
    norm[2 * width + i] = p[(size_t)layer->bias_ih + i] + p[(size_t)layer->bias_hh + i];
  memcpy(norm + 3 * width, p + layer->weight_ln_c, hidden * sizeof *norm);
  memcpy(norm + 3 * width + hidden, p + layer->bias_ln_c, hidden * sizeof *norm);
}

static void pack_layer(const struct packing *packing, const struct gk_rnn_layer *layer, unsigned flags,
                       int thread, int threads) {
  const struct gk_cell_info *cell = packing->rnn->cell;
  const struct gk_packing matrix = {.kernels = packing->rnn->kernels,
                                    .flags = flags,
                                    .stream = packing->stream,
                                    .thread = thread,
                                    .threads = threads,
                                    .packed = packing->packed};
  const float *p = packing->parameters;
  if (!flags)
    return;
  if (packing->rnn->desc.projection_size)
    gk_matrix_pack(&matrix, &layer->p, &layer->dp, p + layer->weight_hr);
  for (int phase = 0; phase < cell->phases; phase++)
    gk_matrix_pack(&matrix, &layer->h[phase], &layer->dh[phase], p + layer->weight_hh);
  gk_matrix_pack(&matrix, &layer->x, &layer->dx, p + layer->weight_ih);
}

/* Over the recurrent weights as they are: those of this step's mask. */
static void pack_dropped(const struct packing *packing, int index, int thread, int threads) {
  const struct gk_rnn *rnn = packing->rnn;
  const struct gk_rnn_layer *layer = &rnn->layers[index];
  const struct gk_random_stream stream =
      gk_mask_stream(packing->key, GK_MASK_WEIGHT, index / rnn->directions, index % rnn->directions);
  const float *w_hh = packing->parameters + layer->weight_hh;
  for (int p = 0; p < rnn->cell->phases; p++) {
    size_t begin, end;
    gk_split(layer->h[p].panels, 1, thread, threads, &begin, &end);
    if (packing->flags & GK_PACK_FORWARD)
      gk_pack_dropped_transposed(rnn, &stream, &layer->h[p], w_hh, begin, end, packing->packed);
    gk_split(layer->dh[p].panels, 1, thread, threads, &begin, &end);
    if (packing->flags & GK_PACK_BACKWARD)
      gk_pack_dropped_rows(rnn, &stream, &layer->dh[p], w_hh, layer->h[p].gates, begin, end, packing->packed);
  }
}

static void pack_body(void *context, int thread, int threads) {
  const struct packing *packing = context;
  const struct gk_rnn_layer *layers = packing->rnn->layers;
  const int count = packing->rnn->layer_count;
  for (int i = 0; i < count && thread == 0; i++) {
    pack_bias(packing, &layers[i]);
    if (packing->rnn->desc.trained_states)
      pack_states(packing, &layers[i]);
    pack_peepholes(packing, &layers[i]);
    pack_norm(packing, &layers[i]);
  }
  /* What is read first, the first layer's input weights, is written last, and so is found in a cache that
   * does not hold all. Where weights are dropped afterwards, each half goes by itself: threads drop from the
   * panels that they have packed. */
  for (int i = count; i-- > 0;)
    if (packing->key) {
      pack_layer(packing, &layers[i], packing->flags & GK_PACK_BACKWARD, thread, threads);
      pack_layer(packing, &layers[i], packing->flags & GK_PACK_FORWARD, thread, threads);
    } else {
      pack_layer(packing, &layers[i], packing->flags, thread, threads);
    }
  for (int i = 0; i < count && packing->key; i++)
    pack_dropped(packing, i, thread, threads);
  if (packing->stream)
    packing->rnn->kernels->stream_end();
}

gk_status gk_rnn_packed_bytes(const gk_rnn *rnn, unsigned flags, size_t *bytes) {
  if (!rnn)
    return gk_fail(GK_ERROR_ARGUMENT, "rnn is NULL");
  return gk_packed_bytes(rnn->packed, flags, bytes);
}

static gk_status pack(const gk_rnn *rnn, struct gk_packed_size size, struct packing *packing, void *packed) {
  gk_status status = gk_packed_start(size, packing->flags, rnn->kernels->isa, packed, &packing->packed);
  if (status)
    return status;
  packing->stream = !packing->key && gk_packed_streams(size, packing->flags); /* dropped ones come on top */
  gk_parallel(packing->flags ? gk_rnn_packing_threads(rnn) : 1, pack_body, packing);
  return GK_OK;
}

gk_status gk_rnn_pack(const gk_rnn *rnn, unsigned flags, const float *parameters, void *packed) {
  const gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"parameters", parameters});
  if (status)
    return status;
  struct packing packing = {.rnn = rnn, .flags = flags, .parameters = parameters};
  return pack(rnn, rnn->packed, &packing, packed);
}

gk_status gk_rnn_pack_dropped(const gk_rnn *rnn, unsigned flags, const gk_random_key *key,
                              const float *parameters, void *packed) {
  const gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"key", key}, {"parameters", parameters});
  if (status)
    return status;
  struct packing packing = {.rnn = rnn, .flags = flags, .parameters = parameters, .key = key};
  if (rnn->desc.weight_dropout > 0 && flags == 0)
    return gk_fail(GK_ERROR_ARGUMENT, "flags is 0 and weight_dropout is %g: what it leaves must be packed",
                   (double)rnn->desc.weight_dropout);
  if (rnn->desc.weight_dropout > 0)
    return pack(rnn, gk_packed_dropped(rnn, key), &packing, packed);
  packing.key = NULL; /* nothing is dropped */
  return pack(rnn, rnn->packed, &packing, packed);
}

/* Why parameters that were dropped with another key, or not at all, do not serve. */
static void explain_refusal(const struct gk_run *run, const void *packed) {
  const struct gk_rnn *rnn = run->rnn;
  unsigned flags;
  if (run->training && gk_packed_flags(rnn->packed, rnn->kernels->isa, packed, &flags))
    gk_fail(GK_ERROR_ARGUMENT,
            "packed is from gk_rnn_pack: with weight_dropout %g training needs gk_rnn_pack_dropped",
            (double)rnn->desc.weight_dropout);
  else
    gk_fail(GK_ERROR_ARGUMENT, "%s, or was dropped with another key than %s (weight_dropout is %g)",
            gk_last_error(), run->training ? "random's seed and step" : "none, which inference needs",
            (double)rnn->desc.weight_dropout);
}

gk_status gk_run_find_weights(struct gk_run *run, gk_pack_flags flag, const void *packed) {
  const struct gk_rnn *rnn = run->rnn;
  const bool drops = rnn->desc.weight_dropout > 0, dropped = drops && run->training;
  const struct gk_packed_size size = dropped ? gk_packed_dropped(rnn, &run->random) : rnn->packed;
  unsigned flags;
  const bool known = gk_packed_flags(size, rnn->kernels->isa, packed, &flags);
  const bool unpacked = known && !(flags & flag) && !dropped;
  if (unpacked && !run->parameters && run->time)
    return gk_fail(GK_ERROR_ARGUMENT, "parameters is NULL, and packed has no weights for %s either",
                   flag == GK_PACK_FORWARD ? "forward" : "backward");
  run->unpacked = unpacked ? run->parameters : NULL;
  run->packed = gk_packed_open(size, unpacked ? 0 : flag, rnn->kernels->isa, packed);
  if (!run->packed && packed && drops && !known)
    explain_refusal(run, packed);
  return run->packed ? GK_OK : GK_ERROR_ARGUMENT;
}
