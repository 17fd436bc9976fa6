/* SPDX-License-Identifier: Apache-2.0
 *
 * How gradients flow back through time: of a trained model, layer by layer, or of fresh networks of every
 * cell. */
#include "builtin_corpus.h"
#include "commands.h"
#include "flow_table.h"
#include "progress_line.h"
#include "text_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
  const char *model, *file;
  int cell, init, isa;
  struct cli_hidden hidden;
  int64_t layers, time, batch, threads;
  double gain, forget_bias, input;
  uint64_t seed;
  gk_rnn_desc network; /* its options and layers */
  bool json;
};

#define FIELD(name) offsetof(struct settings, name)
static const cli_option options[] = {
    {.name = "time",
     .type = CLI_INTEGER,
     .offset = FIELD(time),
     .fallback = "100",
     .minimum = 1,
     .maximum = 1 << 16,
     .value = "T",
     .help = "steps that the gradient goes back; the loss is a function of the last step alone"},
    {.name = "batch",
     .type = CLI_INTEGER,
     .offset = FIELD(batch),
     .fallback = "16",
     .minimum = 1,
     .maximum = 1 << 16,
     .value = "N",
     .help = "sequences over which the norm is taken"},
    {.name = "cell",
     .type = CLI_CELL,
     .offset = FIELD(cell),
     .group = "Fresh networks (without MODEL)",
     .help = "only this cell; all of them, and a linear network, if it is not given"},
    {.name = "hidden",
     .type = CLI_HIDDEN,
     .offset = FIELD(hidden),
     .fallback = "64",
     .minimum = 1,
     .maximum = 4096,
     .help = "hidden units (of a layer, or of each, as 64,32), and inputs"},
    {.name = "layers",
     .type = CLI_INTEGER,
     .offset = FIELD(layers),
     .fallback = "1",
     .minimum = 1,
     .maximum = CLI_MOST_HIDDEN,
     .value = "L",
     .help = "layers; the loss is a function of the last step of the last one"},
    {.name = "init",
     .type = CLI_INIT,
     .offset = FIELD(init),
     .fallback = "orthogonal",
     .help = "initial weights"},
    {.name = "gain",
     .type = CLI_NUMBER,
     .offset = FIELD(gain),
     .fallback = "1",
     .minimum = 0,
     .maximum = 1000,
     .value = "X",
     .help = "factor of the recurrent matrices: with orthogonal ones their spectral radius"},
    {.name = "forget-bias",
     .type = CLI_NUMBER,
     .offset = FIELD(forget_bias),
     .fallback = "0",
     .minimum = -100,
     .maximum = 100,
     .value = "B",
     .help = "of the LSTM's forget gate: its gradient lives about exp(B) steps"},
    {.name = "input",
     .type = CLI_NUMBER,
     .offset = FIELD(input),
     .fallback = "0.1",
     .minimum = 0,
     .maximum = 1000,
     .value = "X",
     .help = "inputs are uniform in +-X"},
    {.name = "seed",
     .type = CLI_SEED,
     .offset = FIELD(seed),
     .fallback = "0",
     .help = "of weights and inputs"},
    {.type = CLI_NETWORK, .offset = FIELD(network)},
    {.name = "json",
     .type = CLI_FLAG,
     .offset = FIELD(json),
     .group = "Output and machine",
     .help = "print a JSON object"},
    {.name = "threads",
     .type = CLI_INTEGER,
     .offset = FIELD(threads),
     .fallback = "0",
     .maximum = CLI_MOST_THREADS,
     .help = "0: all that this process may use; never changes a result"},
    {.name = "isa", .type = CLI_ISA, .offset = FIELD(isa), .fallback = "auto", .help = "instruction set"},
    {0}};

static const cli_positional positionals[] = {
    {"MODEL", FIELD(model), false, "a model's file, from gatekern train lm; without it, fresh networks"},
    {"FILE", FIELD(file), false, "text for the model, - for standard input; without it, the built-in one"},
    {0}};

static const cli_command command = {
    .name = "inspect",
    .summary =
        "Shows how gradients flow back through time: the norm of dL/dh_t against the distance from the "
        "loss, relative to distance 0, and the spectral radius of each recurrent matrix. Where the norm "
        "falls fast, nothing that far back can be learned (it vanishes); where it grows, training needs "
        "clipping (it explodes). A linear network's norm is exactly radius^distance. A direction's distance "
        "is counted from its own last step; its random masks are those of one training step.",
    .options = options,
    .positionals = positionals,
    .examples = "  gatekern inspect                              RNN, GRU and LSTM as they start\n"
                "  gatekern inspect --gain 1.5                   what explodes\n"
                "  gatekern inspect --forget-bias 5              what the LSTM keeps\n"
                "  gatekern inspect --cell lstm --layers 3 --zoneout-c 0.3\n"
                "                                                layer by layer\n"
                "  gatekern inspect model.safetensors book.txt   what a trained model does\n",
    .settings_size = sizeof(struct settings)};

/* Spectral radii take longest: which matrix of how many. */
struct radii_progress {
  struct progress_line line;
  int64_t done, total;
};

static void show_radii(void *context, int64_t done, int64_t total, double nats) {
  struct radii_progress *progress = context;
  (void)nats;
  if (done == 0)
    progress_line_begin(&progress->line, stderr, 0);
  progress_line_count(&progress->line, "inspect", done, total, "spectral radii", "");
}

/* ---- Fresh networks ---- */

struct fresh {
  gk_rnn *rnn;
  float *parameters, *x, *dhn, *norms;
  void *packed, *reserve, *forward_workspace, *backward_workspace;
};

static gk_status take_floats(int64_t count, float **floats) {
  void *memory;
  const gk_status status = gk_allocate((size_t)count * sizeof(float), &memory);
  *floats = memory;
  return status;
}

static int directions_of(const gk_rnn *rnn) {
  return gk_rnn_description(rnn)->direction == GK_BIDIRECTIONAL ? 2 : 1;
}

static gk_status allocate_fresh(const struct settings *settings, struct fresh *fresh) {
  const gk_rnn_desc *desc = gk_rnn_description(fresh->rnn);
  const int64_t rows = settings->batch;
  size_t packed = 0;
  gk_rnn_memory needed = {0};
  gk_status status = gk_rnn_packed_bytes(fresh->rnn, GK_PACK_FORWARD | GK_PACK_BACKWARD, &packed);
  if (status == GK_OK)
    status = gk_rnn_memory_needed(fresh->rnn, settings->time, rows, &needed);
  if (status == GK_OK)
    status = gk_allocate(packed, &fresh->packed);
  if (status == GK_OK)
    status = gk_allocate(needed.reserve_bytes, &fresh->reserve);
  if (status == GK_OK)
    status = gk_allocate(needed.forward_workspace_bytes, &fresh->forward_workspace);
  if (status == GK_OK)
    status = gk_allocate(needed.backward_workspace_bytes, &fresh->backward_workspace);
  if (status == GK_OK)
    status = take_floats(gk_rnn_parameter_count(fresh->rnn), &fresh->parameters);
  if (status == GK_OK)
    status = take_floats(settings->time * rows * desc->input_size, &fresh->x);
  if (status == GK_OK)
    status = take_floats(rows * gk_rnn_hidden_values(fresh->rnn), &fresh->dhn);
  return status == GK_OK
             ? take_floats(desc->layers * directions_of(fresh->rnn) * settings->time * rows, &fresh->norms)
             : status;
}

static void free_fresh(struct fresh *fresh) {
  gk_rnn_destroy(fresh->rnn);
  void *const memory[] = {fresh->parameters,
                          fresh->x,
                          fresh->dhn,
                          fresh->norms,
                          fresh->packed,
                          fresh->reserve,
                          fresh->forward_workspace,
                          fresh->backward_workspace};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; ++i)
    gk_free(memory[i]);
}

/* Weights, and what depends on them alone. */
static gk_status start_weights(const struct settings *settings, struct fresh *fresh,
                               struct flow_column *columns, struct radii_progress *progress) {
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.init = (gk_init)settings->init;
  init.forget_bias = (float)settings->forget_bias;
  init.seed = settings->seed;
  gk_status status = gk_rnn_init(fresh->rnn, &init, fresh->parameters);
  const int directions = directions_of(fresh->rnn), gates = gk_rnn_gates(fresh->rnn);
  const int count = (int)gk_rnn_description(fresh->rnn)->layers * directions;
  for (int i = 0; i < count && status == GK_OK; ++i) {
    gk_tensor tensor;
    status = gk_rnn_tensor_of(fresh->rnn, "weight_hh", i / directions, i % directions, &tensor);
    for (int64_t j = 0; status == GK_OK && j < tensor.count; ++j)
      fresh->parameters[tensor.offset + j] *= (float)settings->gain;
    for (int gate = 0; gate < gates && status == GK_OK; ++gate) {
      show_radii(progress, progress->done++, progress->total, 0);
      status = gk_rnn_spectral_radius(fresh->rnn, fresh->parameters, i / directions, i % directions, gate,
                                      &columns[i].radii[gate]);
    }
  }
  return status;
}

/* Weights as a training step reads them, with the masks of seed and step 0. */
static gk_status pack(struct fresh *fresh) {
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  const gk_random_key key = {0};
  return gk_rnn_pack_dropped(fresh->rnn, both, &key, fresh->parameters, fresh->packed);
}

/* The loss is linear in the last layer's final states: random numbers are its gradient. */
static gk_status fill_inputs(const struct settings *settings, struct fresh *fresh) {
  const gk_rnn_desc *desc = gk_rnn_description(fresh->rnn);
  const int64_t batch = settings->batch, values = gk_rnn_hidden_values(fresh->rnn);
  gk_rnn_state last;
  for (int64_t i = 0; i < settings->time * batch * desc->input_size; ++i)
    fresh->x[i] = (float)settings->input * (2 * gk_uniform(settings->seed, 1, (uint64_t)i) - 1);
  const gk_status status = gk_rnn_state_of(fresh->rnn, desc->layers - 1, 0, &last);
  const int64_t first = status == GK_OK ? batch * last.h_offset : 0;
  memset(fresh->dhn, 0, (size_t)(batch * values) * sizeof(float));
  for (int64_t i = first; i < batch * values; ++i)
    fresh->dhn[i] = 2 * gk_uniform(settings->seed, 2, (uint64_t)(i - first)) - 1;
  return status;
}

/* Of one direction of a layer, over the batch; a direction that walks backward ends at step 0. */
static void sum_norms(const struct settings *settings, const float *norms, bool backward,
                      struct flow_column *column) {
  const int64_t time = settings->time, batch = settings->batch;
  for (int64_t t = 0; t < time; ++t) {
    double squares = 0;
    for (int64_t n = 0; n < batch; ++n)
      squares += (double)norms[t * batch + n] * (double)norms[t * batch + n];
    column->norms[backward ? time - 1 - t : t] = sqrt(squares);
  }
}

static gk_status differentiate(const struct settings *settings, struct fresh *fresh,
                               struct flow_column *columns) {
  const gk_rnn_desc *desc = gk_rnn_description(fresh->rnn);
  gk_status status = fill_inputs(settings, fresh);
  if (status == GK_OK)
    status = pack(fresh);
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = settings->time;
  forward.batch = settings->batch;
  forward.x = fresh->x;
  forward.packed = fresh->packed;
  forward.reserve = fresh->reserve;
  forward.workspace = fresh->forward_workspace;
  if (status == GK_OK)
    status = gk_rnn_forward(fresh->rnn, &forward);
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  backward.time = settings->time;
  backward.batch = settings->batch;
  backward.x = fresh->x;
  backward.packed = fresh->packed;
  backward.dhn = fresh->dhn;
  backward.dh_norms = fresh->norms;
  backward.reserve = fresh->reserve;
  backward.workspace = fresh->backward_workspace;
  if (status == GK_OK)
    status = gk_rnn_backward(fresh->rnn, &backward);
  const int directions = directions_of(fresh->rnn);
  for (int i = 0; i < desc->layers * directions && status == GK_OK; ++i)
    sum_norms(settings, fresh->norms + i * settings->time * settings->batch,
              desc->direction == GK_REVERSE || i % directions == 1, &columns[i]);
  return status;
}

/* "lstm", "lstm 2", "lstm 2 reverse": the cell, the layer of several, the direction of two. */
static void name_columns(const gk_rnn_desc *desc, bool linear, struct flow_column *columns) {
  const int directions = desc->direction == GK_BIDIRECTIONAL ? 2 : 1;
  for (int i = 0; i < desc->layers * directions; ++i) {
    char layer[24] = "";
    if (desc->layers > 1)
      snprintf(layer, sizeof layer, " %d", i / directions + 1);
    flow_column_name_gates(&columns[i], desc);
    snprintf(columns[i].name, sizeof columns[i].name, "%s%s%s%s", gk_cell_name(desc->cell), layer,
             i % directions ? " reverse" : "", linear ? ", linear" : "");
  }
}

static gk_status inspect_cell(const struct settings *settings, gk_cell cell, bool linear,
                              struct flow_column *columns, struct radii_progress *progress) {
  gk_rnn_desc desc = settings->network;
  struct fresh fresh = {0};
  desc.cell = cell;
  if (linear)
    desc.activation = GK_ACTIVATION_IDENTITY;
  desc.input_size = settings->hidden.sizes[0];
  desc.isa = (gk_isa)settings->isa;
  desc.threads = (int)settings->threads;
  name_columns(&desc, linear, columns);
  gk_status status = gk_rnn_create(&desc, &fresh.rnn);
  if (status == GK_OK)
    status = allocate_fresh(settings, &fresh);
  if (status == GK_OK)
    status = start_weights(settings, &fresh, columns, progress);
  if (status == GK_OK)
    status = differentiate(settings, &fresh, columns);
  free_fresh(&fresh);
  return status;
}

static int inspect_one_cell(const struct settings *settings, struct flow_table *table, int columns) {
  const gk_cell cell = (gk_cell)settings->cell;
  struct radii_progress progress = {.total = columns * flow_gates(&settings->network)};
  const gk_status status = inspect_cell(settings, cell, false, table->columns, &progress);
  progress_line_clear(&progress.line);
  return cli_status(&command, status);
}

/* The linear RNN as the yardstick, then every cell. */
static int inspect_every_cell(const struct settings *settings, struct flow_table *table, int columns) {
  struct radii_progress progress = {.total = columns * gk_cell_gates(GK_CELL_RNN)};
  for (int i = 0; i < gk_cell_count(); ++i)
    progress.total += columns * gk_cell_gates((gk_cell)i);
  gk_status status = inspect_cell(settings, GK_CELL_RNN, true, table->columns, &progress);
  int cell = 0;
  for (; cell < gk_cell_count() && status == GK_OK; ++cell)
    status = inspect_cell(settings, (gk_cell)cell, false, table->columns + (1 + cell) * columns, &progress);
  progress_line_clear(&progress.line);
  if (status == GK_ERROR_UNSUPPORTED)
    return cli_error(&command, "%s; --cell shows one cell only", cli_message(status));
  return cli_status(&command, status);
}

static int inspect_fresh(struct settings *settings) {
  struct flow_table table;
  if (!cli_take_layers(&command, &settings->hidden, settings->layers, &settings->network) ||
      !cli_check_masks(&command, &settings->network, settings->network.layers, true))
    return CLI_BAD_INPUT;
  const bool one = cli_given("cell");
  settings->network.cell = (gk_cell)settings->cell;
  if (one && cli_given("forget-bias") && settings->cell != GK_CELL_LSTM)
    return cli_error(&command, "--forget-bias %g: only the cell lstm has a forget gate with it, not %s",
                     settings->forget_bias, gk_cell_name((gk_cell)settings->cell));
  const int columns =
      (int)settings->network.layers * (settings->network.direction == GK_BIDIRECTIONAL ? 2 : 1);
  int exit_code = CLI_SUCCESS;
  if (!flow_table_make(&table, settings->time, (one ? 1 : 1 + gk_cell_count()) * columns)) {
    cli_error(&command, "out of memory");
    exit_code = CLI_FAILURE;
  } else if (one) {
    exit_code = inspect_one_cell(settings, &table, columns);
  } else {
    exit_code = inspect_every_cell(settings, &table, columns);
  }
  if (exit_code == CLI_SUCCESS)
    (settings->json ? flow_table_print_json : flow_table_print)(&table);
  flow_table_free(&table);
  return exit_code;
}

/* ---- A model ---- */

static gk_status inspect_layers(const struct settings *settings, gk_language_model *model,
                                const gk_text *text, struct flow_table *table) {
  const gk_rnn_desc *network = &gk_language_model_description(model)->network;
  const int layers = table->count, gates = flow_gates(network);
  double *norms = calloc((size_t)layers * (size_t)settings->time, sizeof *norms);
  double *radii = calloc((size_t)layers * (size_t)gates, sizeof *radii);
  gk_status status = GK_OK;
  struct radii_progress progress = {0};
  gk_language_model_watch(model, show_radii, &progress);
  if (!norms || !radii)
    status = gk_fail(GK_ERROR_MEMORY, "no memory for the norms of %d layers", layers);
  else
    status = gk_language_model_gradient_flow(model, text, settings->time, settings->batch, norms, radii);
  progress_line_clear(&progress.line);
  gk_language_model_watch(model, NULL, NULL);
  for (int layer = 0; layer < layers && status == GK_OK; ++layer) {
    struct flow_column *column = &table->columns[layer];
    snprintf(column->name, sizeof column->name, "layer %d", layer + 1);
    flow_column_name_gates(column, network);
    memcpy(column->norms, norms + layer * settings->time, (size_t)settings->time * sizeof *norms);
    for (int gate = 0; gate < gates; ++gate)
      column->radii[gate] = radii[layer * gates + gate];
  }
  free(norms);
  free(radii);
  return status;
}

static void print_model(const gk_rnn_desc *network, int64_t time) {
  char text[CLI_NETWORK_TEXT + 80];
  cli_network_text(network, text);
  const size_t used = strlen(text);
  if (time == 1)
    snprintf(text + used, sizeof text - used, "; the loss is that of one character");
  else
    snprintf(text + used, sizeof text - used, "; the loss is that of the last of %" PRId64 " characters",
             time);
  cli_print_wrapped(text, 0, 0);
}

static int inspect_model(const struct settings *settings, const gk_text *text) {
  gk_language_model_desc plan = GK_LANGUAGE_MODEL_DESC_INIT;
  plan.network.isa = (gk_isa)settings->isa;
  plan.network.threads = (int)settings->threads;
  gk_language_model *model;
  struct flow_table table;
  gk_status status = gk_language_model_load(settings->model, &plan, &model);
  if (status != GK_OK)
    return cli_input_status(&command, status);
  const gk_language_model_desc *desc = gk_language_model_description(model);
  int exit_code = CLI_SUCCESS;
  if (!flow_table_make(&table, settings->time, (int)desc->network.layers)) {
    cli_error(&command, "out of memory");
    exit_code = CLI_FAILURE;
  } else {
    status = inspect_layers(settings, model, text, &table);
    exit_code =
        status == GK_OK
            ? CLI_SUCCESS
            : cli_text_status(&command, status,
                              settings->file ? settings->file : "the built-in text (no FILE is given)", NULL);
  }
  if (exit_code == CLI_SUCCESS && !settings->json) {
    print_model(&desc->network, settings->time);
  }
  if (exit_code == CLI_SUCCESS)
    (settings->json ? flow_table_print_json : flow_table_print)(&table);
  flow_table_free(&table);
  gk_language_model_destroy(model);
  return exit_code;
}

/* One that was given, or NULL. */
static const char *option_of_fresh(void) {
  static const char *const names[] = {"cell", "hidden",      "layers", "init",
                                      "gain", "forget-bias", "input",  "seed"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
    if (cli_given(names[i]))
      return names[i];
  return cli_given_of_network();
}

int run_inspect(int argc, char **argv) {
  struct settings settings;
  int exit_code;
  if (!cli_parse(&command, argc, argv, &settings, &exit_code))
    return exit_code;
  if (!settings.model)
    return inspect_fresh(&settings);
  const char *of_fresh = option_of_fresh();
  if (of_fresh)
    return cli_error(&command, "--%s: only without a MODEL, for fresh networks", of_fresh);
  gk_text text = {.data = gk_builtin_corpus_valid, .bytes = gk_builtin_corpus_valid_size};
  if (settings.file && !cli_read_text(&command, settings.file, &text))
    return CLI_BAD_INPUT;
  exit_code = inspect_model(&settings, &text);
  if (settings.file)
    free((void *)text.data);
  return exit_code;
}
