/* SPDX-License-Identifier: Apache-2.0 */
#include "src/sequence/rnn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/names.h"
#include "src/core/threads.h"

static gk_status check_size(const char *name, int64_t value, int64_t least) {
  return gk_check_range(name, value, least, INT32_MAX / (2 * GK_MAX_GATES), GK_ERROR_OVERFLOW);
}

static gk_status check_regularisation(const gk_rnn_desc *desc) {
  const struct {
    const char *name;
    float p;
  } options[] = {{"dropout", desc->dropout},
                 {"input_dropout", desc->input_dropout},
                 {"recurrent_dropout", desc->recurrent_dropout},
                 {"weight_dropout", desc->weight_dropout},
                 {"zoneout_h", desc->zoneout_h},
                 {"zoneout_c", desc->zoneout_c}};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++)
    if (!(options[i].p >= 0 && options[i].p < 1))
      return gk_fail(GK_ERROR_ARGUMENT, "%s is %g, must be at least 0 and below 1", options[i].name,
                     (double)options[i].p);
  gk_status status = gk_check_choice("dropout_masks", (int)desc->dropout_masks, gk_dropout_masks_count());
  const bool recurrent = gk_probability_is_on(desc->recurrent_dropout);
  if (!status && desc->recurrence == GK_RECURRENCE_NONE &&
      (recurrent || gk_probability_is_on(desc->weight_dropout)))
    status = gk_fail(GK_ERROR_UNSUPPORTED, "%s is %g and recurrence is none: there is no recurrent product",
                     recurrent ? "recurrent_dropout" : "weight_dropout",
                     (double)(recurrent ? desc->recurrent_dropout : desc->weight_dropout));
  if (!status && gk_probability_is_on(desc->zoneout_c) && !gk_cell_has_memory(desc->cell))
    status = gk_fail(GK_ERROR_UNSUPPORTED, "zoneout_c is %g and the cell %s has no cell state",
                     (double)desc->zoneout_c, gk_cell_name(desc->cell));
  return status;
}

gk_status gk_rnn_check_description(const gk_rnn_desc *desc) {
  if (!desc)
    return gk_fail(GK_ERROR_ARGUMENT, "desc is NULL");
  gk_status status = gk_check_size_field("desc", desc->size, sizeof *desc, "GK_RNN_DESC_INIT");
  if (!status)
    status = gk_check_choice("cell", (int)desc->cell, gk_cell_count());
  if (!status)
    status = check_size("input_size", desc->input_size, 1);
  if (!status)
    status = gk_check_range("layers", desc->layers, 1, 10000, GK_ERROR_OVERFLOW);
  if (!status && !desc->hidden_sizes)
    status = check_size("hidden_size", desc->hidden_size, 1);
  for (int64_t l = 0; !status && desc->hidden_sizes && l < desc->layers; l++) {
    char name[48];
    snprintf(name, sizeof name, "hidden_sizes[%lld]", (long long)l);
    status = check_size(name, desc->hidden_sizes[l], 1);
  }
  if (!status)
    status = check_size("projection_size", desc->projection_size, 0);
  if (!status)
    status = check_size("vocabulary", desc->vocabulary, 0);
  if (!status)
    status = gk_check_choice("direction", (int)desc->direction, gk_direction_count());
  if (!status)
    status = gk_check_choice("merge", (int)desc->merge, gk_merge_count());
  if (!status && desc->merge != GK_MERGE_CONCATENATE && desc->direction != GK_BIDIRECTIONAL)
    status = gk_fail(GK_ERROR_UNSUPPORTED, "merge is %s and direction is not bidirectional: nothing to merge",
                     gk_merge_name(desc->merge));
  if (!status)
    status = gk_check_choice("layout", (int)desc->layout, gk_layout_count());
  if (!status)
    status = gk_check_choice("schedule", (int)desc->schedule, gk_schedule_count());
  if (!status)
    status = gk_check_choice("recurrence", (int)desc->recurrence, gk_recurrence_count());
  if (!status)
    status = gk_cell_check_options(desc);
  if (!status)
    status = check_regularisation(desc);
  return status ? status : gk_check_threads(desc->threads);
}

/* `made` but for its shape and place. columns -1: a vector. */
static gk_status add_tensor(struct gk_rnn *rnn, const struct gk_rnn_tensor *made, int64_t *offset,
                            int64_t rows, int64_t columns) {
  gk_tensor *tensor = &rnn->tensors[rnn->tensor_count].tensor;
  size_t count;
  rnn->tensors[rnn->tensor_count++] = *made;
  if (!gk_size_array(&count, 1, rows, columns < 0 ? 1 : columns, 1) ||
      count > (size_t)(INT64_MAX / 64 - rnn->parameter_count))
    return columns < 0
               ? gk_fail(GK_ERROR_OVERFLOW, "%s has %lld values: too many", tensor->name, (long long)rows)
               : gk_fail(GK_ERROR_OVERFLOW, "%s has %lld x %lld values: too many", tensor->name,
                         (long long)rows, (long long)columns);
  tensor->rank = columns < 0 ? 1 : 2;
  tensor->shape[0] = rows;
  tensor->shape[1] = columns < 0 ? 0 : columns;
  tensor->offset = *offset = rnn->parameter_count;
  tensor->count = (int64_t)count;
  rnn->parameter_count += tensor->count;
  return GK_OK;
}

/* Sizes of every layer's rows, and where its states stand. */
static void size_layers(struct gk_rnn *rnn) {
  const gk_rnn_desc *d = &rnn->desc;
  size_t input = (size_t)d->input_size;
  for (int i = 0; i < rnn->layer_count; i++) {
    struct gk_rnn_layer *layer = &rnn->layers[i];
    const int64_t depth = i / rnn->directions;
    layer->input_size = (int64_t)input;
    layer->hidden = (size_t)(d->hidden_sizes ? d->hidden_sizes[depth] : d->hidden_size);
    layer->output = d->projection_size ? (size_t)d->projection_size : layer->hidden;
    layer->output_width = layer->output;
    if (rnn->directions == 2 && d->merge == GK_MERGE_CONCATENATE) {
      layer->output_width *= 2;
      layer->output_column = i % 2 ? layer->output : 0;
    }
    layer->h_offset = rnn->hidden_values;
    layer->c_offset = rnn->cell_values;
    rnn->hidden_values += (int64_t)layer->output;
    rnn->cell_values += rnn->cell->memory ? (int64_t)layer->hidden : 0;
    if (rnn->widest_input < input)
      rnn->widest_input = input;
    if (rnn->widest_hidden < layer->hidden)
      rnn->widest_hidden = layer->hidden;
    if (rnn->widest_output < layer->output_width)
      rnn->widest_output = layer->output_width;
    if (i % rnn->directions == rnn->directions - 1)
      input = layer->output_width;
  }
}

static gk_status add_layer_tensors(struct gk_rnn *rnn, int index) {
  struct gk_rnn_layer *layer = &rnn->layers[index];
  const int64_t rows = rnn->cell->gates * (int64_t)layer->hidden;
  const char *reverse = rnn->directions == 2 && index % 2 ? "_reverse" : "";
  const bool projected = rnn->desc.projection_size > 0, trained = rnn->desc.trained_states;
  const bool normalised = rnn->cell->normalised;
  const int64_t hidden = (int64_t)layer->hidden, output = (int64_t)layer->output;
  const struct {
    bool present;
    const char *kind;
    enum gk_tensor_role role;
    int64_t *offset, rows, columns;
  } tensor[GK_MAX_LAYER_TENSORS] = {
      {true, "weight_ih", GK_TENSOR_INPUT, &layer->weight_ih, rows, layer->input_size},
      {true, "weight_hh", GK_TENSOR_RECURRENT, &layer->weight_hh, rows, rnn->desc.recurrence ? 0 : output},
      {true, "bias_ih", GK_TENSOR_BIAS, &layer->bias_ih, rows, -1},
      {true, "bias_hh", GK_TENSOR_BIAS, &layer->bias_hh, rows, -1},
      {projected, "weight_hr", GK_TENSOR_PROJECTION, &layer->weight_hr, output, hidden},
      {rnn->peepholes > 0, "weight_peephole", GK_TENSOR_PEEPHOLE, &layer->weight_peephole, rnn->peepholes,
       hidden},
      {normalised, "weight_ln_ih", GK_TENSOR_GAIN, &layer->weight_ln_ih, rows, -1},
      {normalised, "weight_ln_hh", GK_TENSOR_GAIN, &layer->weight_ln_hh, rows, -1},
      {normalised, "weight_ln_c", GK_TENSOR_GAIN, &layer->weight_ln_c, hidden, -1},
      {normalised, "bias_ln_c", GK_TENSOR_SHIFT, &layer->bias_ln_c, hidden, -1},
      {trained, "h0", GK_TENSOR_STATE, &layer->h0, output, -1},
      {trained && rnn->cell->memory, "c0", GK_TENSOR_STATE, &layer->c0, hidden, -1}};
  gk_status status = GK_OK;
  for (int j = 0; j < GK_MAX_LAYER_TENSORS && !status; j++) {
    if (!tensor[j].present)
      continue;
    struct gk_rnn_tensor made = {.role = tensor[j].role, .layer = index, .kind = tensor[j].kind};
    snprintf(made.tensor.name, sizeof made.tensor.name, "%s_l%d%s", made.kind, index / rnn->directions,
             reverse);
    status = add_tensor(rnn, &made, tensor[j].offset, tensor[j].rows, tensor[j].columns);
  }
  return status;
}

static gk_status add_tensors(struct gk_rnn *rnn) {
  const gk_rnn_desc *d = &rnn->desc;
  const size_t most = (size_t)rnn->layer_count * GK_MAX_LAYER_TENSORS + 1;
  const struct gk_rnn_tensor embedding = {
      .tensor = {.name = "embedding.weight"}, .role = GK_TENSOR_EMBEDDING, .layer = -1};
  int64_t offset;
  gk_status status = GK_OK;
  rnn->tensors = calloc(most, sizeof *rnn->tensors);
  if (!rnn->tensors)
    return gk_fail(GK_ERROR_MEMORY, "no memory for the list of %zu tensors", most);
  if (d->vocabulary)
    status = add_tensor(rnn, &embedding, &offset, d->vocabulary, d->input_size);
  for (int i = 0; i < rnn->layer_count && !status; i++)
    status = add_layer_tensors(rnn, i);
  return status;
}

/* Places a matrix behind what is already packed; false if the sum does not fit. */
static bool place(size_t *floats, struct gk_matrix *matrix) {
  size_t count = matrix->panel_stride;
  matrix->offset = *floats;
  return gk_size_multiply(&count, (int64_t)matrix->panels) && gk_size_add(floats, count);
}

/* The same for a row of parameters. */
static bool place_row(size_t *floats, size_t *offset, size_t count) {
  *offset = *floats;
  return gk_size_add(floats, count) && gk_size_align(floats, GK_LINE_FLOATS);
}

/* Where matrices stand in the parameters; of those as they stand gates follow one another. */
static void place_unpacked(const struct gk_cell_info *cell, struct gk_rnn_layer *layer) {
  layer->x.unpacked = layer->dx.unpacked = (size_t)layer->weight_ih;
  layer->p.unpacked = layer->dp.unpacked = (size_t)layer->weight_hr;
  layer->x.transposed = layer->p.transposed = true;
  layer->dx.gate = cell->input_order;
  layer->dx.first_row = (size_t)cell->input_order[0] * layer->hidden;
  for (int p = 0; p < cell->phases; p++) {
    const int *gate = layer->h[p].gate = layer->dh[p].gate = cell->phase[p].gate;
    layer->h[p].transposed = true;
    layer->h[p].unpacked = (size_t)layer->weight_hh;
    layer->dh[p].unpacked = (size_t)layer->weight_hh + (size_t)gate[0] * layer->hidden * layer->output;
  }
}

/* Of a layer, in the packed parameters. */
static bool place_vectors(struct gk_rnn *rnn, struct gk_rnn_layer *layer) {
  const struct gk_cell_info *cell = rnn->cell;
  size_t *floats = &rnn->packed.vectors;
  bool fits = place_row(floats, &layer->bias, (size_t)cell->blocks * layer->hidden);
  if (rnn->desc.trained_states)
    fits &=
        place_row(floats, &layer->h0_row, layer->output) && place_row(floats, &layer->c0_row, layer->hidden);
  if (rnn->peepholes)
    fits &= place_row(floats, &layer->peephole, (size_t)rnn->peepholes * layer->hidden);
  if (cell->normalised)
    fits &= place_row(floats, &layer->norm, (3 * (size_t)cell->gates + 2) * layer->hidden);
  return fits;
}

/* All matrices behind the vectors, those of backward behind the others. */
static void move_behind(const struct gk_rnn *rnn, struct gk_rnn_layer *layer) {
  const size_t forward = rnn->packed.vectors, backward = forward + rnn->packed.forward;
  layer->x.offset += forward;
  layer->dx.offset += backward;
  layer->p.offset += forward;
  layer->dp.offset += backward;
  for (int p = 0; p < rnn->cell->phases; p++) {
    layer->h[p].offset += forward;
    layer->dh[p].offset += backward;
  }
}

static gk_status create_matrices(struct gk_rnn *rnn, struct gk_rnn_layer *layer) {
  const struct gk_cell_info *cell = rnn->cell;
  const size_t hidden = layer->hidden, output = layer->output, input = (size_t)layer->input_size;
  const size_t gates = (size_t)cell->gates;
  const size_t recurrent = rnn->desc.recurrence == GK_RECURRENCE_HIDDEN; /* else products of no terms */
  const bool interleaves = gk_rnn_interleaves(rnn, layer);
  static const int plain[1] = {0};
  int block[GK_MAX_GATES];
  gk_status status;
  for (int j = 0; j < cell->gates; j++)
    block[j] = cell->input_block[j];
  status = gk_matrix_create(&layer->x, rnn->kernels, input, hidden, gates, block, interleaves);
  if (!status)
    status = gk_matrix_create(&layer->dx, rnn->kernels, gates * hidden, input, 1, plain, true);
  for (int p = 0; p < cell->phases && !status; p++) {
    const struct gk_cell_phase *phase = &cell->phase[p];
    const size_t count = (size_t)phase->gate_count;
    for (size_t j = 0; j < count; j++)
      block[j] = cell->recurrent_block[phase->gate[j]];
    status =
        gk_matrix_create(&layer->h[p], rnn->kernels, recurrent * output, hidden, count, block, interleaves);
    if (!status)
      status =
          gk_matrix_create(&layer->dh[p], rnn->kernels, recurrent * count * hidden, output, 1, plain, true);
  }
  if (!status && rnn->desc.projection_size) {
    status = gk_matrix_create(&layer->p, rnn->kernels, hidden, output, 1, plain, true);
    if (!status)
      status = gk_matrix_create(&layer->dp, rnn->kernels, output, hidden, 1, plain, true);
  }
  if (status)
    return status;
  place_unpacked(cell, layer);

  bool fits = place_vectors(rnn, layer);
  if (cell->phases ==
      1) { /* [W_x | W_h]: one panel after the other of both, as the streaming step reads them */
    layer->x.panel_stride = layer->h[0].panel_stride = layer->x.width * (input + recurrent * output);
    fits &= place(&rnn->packed.forward, &layer->x);
    layer->h[0].offset = layer->x.offset + layer->x.width * input;
  } else {
    fits &= place(&rnn->packed.forward, &layer->x);
    for (int p = 0; p < cell->phases; p++)
      fits &= place(&rnn->packed.forward, &layer->h[p]);
  }
  fits &= place(&rnn->packed.forward, &layer->p);
  fits &= place(&rnn->packed.backward, &layer->dx);
  fits &= place(&rnn->packed.backward, &layer->dp);
  for (int p = 0; p < cell->phases; p++)
    fits &= place(&rnn->packed.backward, &layer->dh[p]);
  return fits ? GK_OK
              : gk_fail(GK_ERROR_OVERFLOW, "packed weights of hidden_size %zu do not fit in memory", hidden);
}

/* Of what decides where a packed weight stands. */
static uint64_t fingerprint(const gk_rnn_desc *desc) {
  const int64_t values[] = {desc->cell,
                            desc->input_size,
                            desc->hidden_size,
                            desc->layers,
                            desc->direction,
                            desc->recurrence,
                            desc->merge,
                            desc->projection_size,
                            desc->trained_states,
                            desc->options.coupled,
                            desc->options.peephole,
                            desc->options.layer_norm};
  uint64_t print = 1;
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    print = gk_packed_fingerprint(print, values[i]);
  for (int64_t l = 0; desc->hidden_sizes && l < desc->layers; l++)
    print = gk_packed_fingerprint(print, desc->hidden_sizes[l]);
  return print;
}

static gk_status copy_hidden_sizes(struct gk_rnn *rnn) {
  gk_rnn_desc *d = &rnn->desc;
  if (!d->hidden_sizes)
    return GK_OK;
  rnn->hidden_sizes = calloc((size_t)d->layers, sizeof *rnn->hidden_sizes);
  if (!rnn->hidden_sizes)
    return gk_fail(GK_ERROR_MEMORY, "no memory for %lld hidden sizes", (long long)d->layers);
  memcpy(rnn->hidden_sizes, d->hidden_sizes, (size_t)d->layers * sizeof *rnn->hidden_sizes);
  d->hidden_sizes = rnn->hidden_sizes;
  d->hidden_size = rnn->hidden_sizes[d->layers - 1];
  return GK_OK;
}

static void flush_probabilities(gk_rnn_desc *desc) {
  float *const p[] = {&desc->dropout,        &desc->input_dropout, &desc->recurrent_dropout,
                      &desc->weight_dropout, &desc->zoneout_h,     &desc->zoneout_c};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++)
    *p[i] = gk_probability_is_on(*p[i]) ? *p[i] : 0;
}

static gk_status create(struct gk_rnn *rnn, const gk_rnn_desc *desc) {
  rnn->desc = *desc;
  flush_probabilities(&rnn->desc);
  gk_status status = gk_kernels_for(desc->isa, desc->math, &rnn->kernels);
  if (!status)
    status = copy_hidden_sizes(rnn);
  if (status)
    return status;
  rnn->desc.isa = rnn->kernels->isa;
  rnn->desc.math = rnn->kernels->math;
  rnn->reads_across = gk_reads_across(rnn->kernels);
  rnn->cores_are_near = gk_cores_are_near();
  rnn->threads_forced = desc->threads != 0;
  rnn->desc.threads = gk_resolve_threads(desc->threads);
  rnn->pace = calloc((size_t)rnn->desc.threads, sizeof *rnn->pace);
  if (!rnn->pace)
    return gk_fail(GK_ERROR_MEMORY, "no memory for %d threads", rnn->desc.threads);
  rnn->cell = gk_cell_of(desc);
  gk_cell_resolve_options(&rnn->desc);
  for (int direction = 0; direction < (desc->direction == GK_BIDIRECTIONAL ? 2 : 1); direction++)
    rnn->general |= gk_cell_variant_of(&rnn->desc, direction == 1, &rnn->variant[direction]);
  rnn->arithmetic = gk_cell_arithmetic_of(&rnn->desc, rnn->kernels, rnn->general);
  rnn->peepholes = desc->options.peephole ? rnn->cell->gates - 1 : 0;
  rnn->packed.fingerprint = fingerprint(&rnn->desc);
  rnn->directions = desc->direction == GK_BIDIRECTIONAL ? 2 : 1;
  rnn->layer_count = (int)desc->layers * rnn->directions;
  rnn->layers = calloc((size_t)rnn->layer_count, sizeof *rnn->layers);
  if (!rnn->layers)
    return gk_fail(GK_ERROR_MEMORY, "no memory for %d layers", rnn->layer_count);
  size_layers(rnn);
  status = add_tensors(rnn);
  for (int i = 0; i < rnn->layer_count && !status; i++)
    status = create_matrices(rnn, &rnn->layers[i]);
  for (int i = 0; i < rnn->layer_count && !status; i++)
    move_behind(rnn, &rnn->layers[i]);
  return status;
}

static GK_PINNED gk_status create_checked(const gk_rnn_desc *desc, gk_rnn **rnn) {
  gk_status status = gk_rnn_check_description(desc);
  if (status)
    return status;
  struct gk_rnn *made = calloc(1, sizeof *made);
  if (!made)
    return gk_fail(GK_ERROR_MEMORY, "no memory for a network");
  status = create(made, desc);
  if (status)
    gk_rnn_destroy(made);
  else
    *rnn = made;
  return status;
}

gk_status gk_rnn_create(const gk_rnn_desc *desc, gk_rnn **rnn) {
  if (!rnn)
    return gk_fail(GK_ERROR_ARGUMENT, "rnn is NULL");
  *rnn = NULL;
  const uint64_t callers = gk_float_environment_pin();
  const gk_status status = create_checked(desc, rnn);
  gk_float_environment_restore(callers);
  return status;
}

void gk_rnn_destroy(gk_rnn *rnn) {
  if (!rnn)
    return;
  for (int i = 0; i < rnn->layer_count && rnn->layers; i++) {
    struct gk_rnn_layer *layer = &rnn->layers[i];
    gk_matrix_destroy(&layer->x);
    gk_matrix_destroy(&layer->dx);
    gk_matrix_destroy(&layer->p);
    gk_matrix_destroy(&layer->dp);
    for (int p = 0; p < GK_MAX_PHASES; p++) {
      gk_matrix_destroy(&layer->h[p]);
      gk_matrix_destroy(&layer->dh[p]);
    }
  }
  free(rnn->layers);
  free(rnn->hidden_sizes);
  free(rnn->tensors);
  free(rnn->pace);
  free(rnn);
}

const gk_rnn_desc *gk_rnn_description(const gk_rnn *rnn) {
  return rnn ? &rnn->desc : NULL;
}
int gk_rnn_gates(const gk_rnn *rnn) {
  return rnn ? rnn->cell->gates : 0;
}
int gk_rnn_tensor_count(const gk_rnn *rnn) {
  return rnn ? rnn->tensor_count : 0;
}
int64_t gk_rnn_parameter_count(const gk_rnn *rnn) {
  return rnn ? rnn->parameter_count : 0;
}
int64_t gk_rnn_hidden_values(const gk_rnn *rnn) {
  return rnn ? rnn->hidden_values : 0;
}
int64_t gk_rnn_cell_values(const gk_rnn *rnn) {
  return rnn ? rnn->cell_values : 0;
}
int64_t gk_rnn_output_size(const gk_rnn *rnn) {
  return rnn ? (int64_t)rnn->layers[rnn->layer_count - 1].output_width : 0;
}

gk_status gk_rnn_check_place(const struct gk_rnn *rnn, int64_t layer, int direction) {
  const gk_status status = gk_check_choice("layer", layer, rnn->desc.layers);
  return status ? status : gk_check_choice("direction", direction, rnn->directions);
}

gk_status gk_rnn_state_of(const gk_rnn *rnn, int64_t layer, int direction, gk_rnn_state *state) {
  gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"state", state});
  if (!status)
    status = gk_rnn_check_place(rnn, layer, direction);
  if (status)
    return status;
  const struct gk_rnn_layer *of = &rnn->layers[layer * rnn->directions + direction];
  *state = (gk_rnn_state){.h_size = (int64_t)of->output,
                          .c_size = rnn->cell->memory ? (int64_t)of->hidden : 0,
                          .h_offset = of->h_offset,
                          .c_offset = of->c_offset};
  return GK_OK;
}

gk_status gk_rnn_tensor(const gk_rnn *rnn, int index, gk_tensor *tensor) {
  gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"tensor", tensor});
  if (!status)
    status = gk_check_choice("index", index, rnn->tensor_count);
  if (status)
    return status;
  *tensor = rnn->tensors[index].tensor;
  return GK_OK;
}

gk_status gk_rnn_tensor_of(const gk_rnn *rnn, const char *kind, int64_t layer, int direction,
                           gk_tensor *tensor) {
  gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"kind", kind}, {"tensor", tensor});
  if (!status)
    status = gk_rnn_check_place(rnn, layer, direction);
  if (status)
    return status;
  for (int i = 0; i < rnn->tensor_count; i++) {
    const struct gk_rnn_tensor *found = &rnn->tensors[i];
    if (found->layer == layer * rnn->directions + direction && strcmp(found->kind, kind) == 0) {
      *tensor = found->tensor;
      return GK_OK;
    }
  }
  return gk_fail(GK_ERROR_ARGUMENT, "kind is '%.40s': a layer of this network has no such tensor", kind);
}

double gk_rnn_training_flop(const gk_rnn *rnn, int64_t rows, int64_t distinct) {
  const uint64_t callers = gk_float_environment_pin();
  double products = 0;
  for (int i = 0; rnn && i < rnn->tensor_count; i++) {
    const struct gk_rnn_tensor *of = &rnn->tensors[i];
    const bool input = of->role == GK_TENSOR_INPUT;
    const bool folded = input && of->layer < rnn->directions && gk_rnn_folds(rnn, true);
    if (input || of->role == GK_TENSOR_RECURRENT || of->role == GK_TENSOR_PROJECTION)
      products += (double)of->tensor.count * (double)(folded ? distinct : rows);
  }
  double operations = 6 * products;
  gk_float_environment_restore_after(callers, &operations);
  return operations;
}
