/* SPDX-License-Identifier: Apache-2.0
 *
 * How gradients flow back through time: of a trained model, layer by layer, or of fresh networks of every
 * cell. */
#include "builtin_corpus.h"
#include "commands.h"
#include "json_number.h"
#include "text_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_GATES = 8 };

struct settings {
  const char *model, *file;
  int init, isa;
  int64_t hidden, time, batch, threads;
  double gain, forget_bias, input;
  uint64_t seed;
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
    {.name = "hidden",
     .type = CLI_INTEGER,
     .offset = FIELD(hidden),
     .fallback = "64",
     .minimum = 1,
     .maximum = 4096,
     .value = "H",
     .group = "Fresh networks (without MODEL)",
     .help = "hidden units, and inputs"},
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
    {.name = "json",
     .type = CLI_FLAG,
     .offset = FIELD(json),
     .group = "Output and machine",
     .help = "print a JSON object; scripts/plot-gradient-flow draws it"},
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
        "clipping (it explodes). A linear network's norm is exactly radius^distance.",
    .options = options,
    .positionals = positionals,
    .examples = "  gatekern inspect                                  RNN, GRU and LSTM as they start\n"
                "  gatekern inspect --gain 1.5                       what explodes\n"
                "  gatekern inspect --forget-bias 5                  what the LSTM keeps\n"
                "  gatekern inspect model.safetensors book.txt       what a trained model does\n",
    .settings_size = sizeof(struct settings)};

/* ---- What is shown: a network, or a layer of a model ---- */

struct column {
  char name[40];
  double *norms; /* (T) */
  int gates;
  double radii[MOST_GATES];
};

struct table {
  int64_t time;
  int count;
  struct column *columns;
};

static bool make_table(struct table *table, int64_t time, int count) {
  *table = (struct table){time, count, calloc((size_t)count, sizeof *table->columns)};
  for (int i = 0; i < count && table->columns; ++i)
    if (!(table->columns[i].norms = calloc((size_t)time, sizeof(double))))
      return false;
  return table->columns != NULL;
}

static void free_table(struct table *table) {
  for (int i = 0; i < table->count && table->columns; ++i)
    free(table->columns[i].norms);
  free(table->columns);
}

static void print_json(const struct table *table) {
  printf("{\"time\": %" PRId64 ", \"networks\": [", table->time);
  for (int i = 0; i < table->count; ++i) {
    const struct column *column = &table->columns[i];
    printf("%s\n{\"name\": \"%s\", \"spectral_radius\": [", i ? "," : "", column->name);
    for (int gate = 0; gate < column->gates; ++gate)
      printf("%s%.9g", gate ? ", " : "", column->radii[gate]);
    printf("], \"norms\": [");
    for (int64_t t = 0; t < table->time; ++t)
      if (isfinite(column->norms[t]))
        printf("%s%.9g", t ? ", " : "", column->norms[t]);
      else
        printf("%snull", t ? ", " : "");
    printf("]}");
  }
  printf("]}\n");
}

static void print_distance(const struct table *table, int64_t distance) {
  printf("%-9" PRId64, distance);
  for (int i = 0; i < table->count; ++i) {
    const double *norms = table->columns[i].norms;
    printf(" %16.3g", norms[table->time - 1 - distance] / norms[table->time - 1]);
  }
  printf("\n");
}

static void print_table(const struct table *table) {
  printf("norm of dL/dh against the distance from the loss, relative to distance 0\ndistance ");
  for (int i = 0; i < table->count; ++i)
    printf(" %16s", table->columns[i].name);
  printf("\n");
  int64_t last = 0;
  print_distance(table, 0);
  for (int64_t ten = 1; ten < table->time; ten *= 10)
    for (int step = 0; step < 3 && ten * (step == 0 ? 1 : step == 1 ? 2 : 5) < table->time; ++step)
      print_distance(table, last = ten * (step == 0 ? 1 : step == 1 ? 2 : 5));
  if (last < table->time - 1)
    print_distance(table, table->time - 1);
  printf("\nspectral radius of the recurrent matrix, gate by gate\n");
  for (int i = 0; i < table->count; ++i) {
    printf("%-17s", table->columns[i].name);
    for (int gate = 0; gate < table->columns[i].gates; ++gate)
      printf("  %.4f", table->columns[i].radii[gate]);
    printf("\n");
  }
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

static gk_status allocate_fresh(const struct settings *settings, struct fresh *fresh) {
  const int64_t rows = settings->batch, hidden = settings->hidden;
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
    status = take_floats(settings->time * rows * hidden, &fresh->x);
  if (status == GK_OK)
    status = take_floats(rows * hidden, &fresh->dhn);
  return status == GK_OK ? take_floats(settings->time * rows, &fresh->norms) : status;
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
static gk_status start_weights(const struct settings *settings, struct fresh *fresh, struct column *column) {
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.init = (gk_init)settings->init;
  init.forget_bias = (float)settings->forget_bias;
  init.seed = settings->seed;
  gk_status status = gk_rnn_init(fresh->rnn, &init, fresh->parameters);
  const int64_t hidden = settings->hidden;
  for (int i = 0; i < gk_rnn_tensor_count(fresh->rnn) && status == GK_OK; ++i) {
    gk_tensor tensor;
    status = gk_rnn_tensor(fresh->rnn, i, &tensor);
    if (status != GK_OK || strncmp(tensor.name, "weight_hh", 9) != 0)
      continue;
    float *weights = fresh->parameters + tensor.offset;
    for (int64_t j = 0; j < tensor.count; ++j)
      weights[j] *= (float)settings->gain;
    column->gates = (int)(tensor.count / (hidden * hidden));
    for (int gate = 0; gate < column->gates && gate < MOST_GATES && status == GK_OK; ++gate)
      status = gk_spectral_radius((int)settings->threads, hidden, weights + gate * hidden * hidden,
                                  &column->radii[gate]);
  }
  return status;
}

static gk_status differentiate(const struct settings *settings, struct fresh *fresh, struct column *column) {
  const int64_t time = settings->time, batch = settings->batch, hidden = settings->hidden;
  for (int64_t i = 0; i < time * batch * hidden; ++i)
    fresh->x[i] = (float)settings->input * (2 * gk_uniform(settings->seed, 1, (uint64_t)i) - 1);
  for (int64_t i = 0; i < batch * hidden; ++i)
    fresh->dhn[i] = 2 * gk_uniform(settings->seed, 2, (uint64_t)i) - 1;
  gk_status status =
      gk_rnn_pack(fresh->rnn, GK_PACK_FORWARD | GK_PACK_BACKWARD, fresh->parameters, fresh->packed);
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = time;
  forward.batch = batch;
  forward.x = fresh->x;
  forward.packed = fresh->packed;
  forward.reserve = fresh->reserve;
  forward.workspace = fresh->forward_workspace;
  if (status == GK_OK)
    status = gk_rnn_forward(fresh->rnn, &forward);
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  backward.time = time;
  backward.batch = batch;
  backward.x = fresh->x;
  backward.packed = fresh->packed;
  backward.dhn = fresh->dhn;
  backward.dh_norms = fresh->norms;
  backward.reserve = fresh->reserve;
  backward.workspace = fresh->backward_workspace;
  if (status == GK_OK)
    status = gk_rnn_backward(fresh->rnn, &backward);
  for (int64_t t = 0; t < time && status == GK_OK; ++t) {
    double squares = 0;
    for (int64_t n = 0; n < batch; ++n)
      squares += (double)fresh->norms[t * batch + n] * (double)fresh->norms[t * batch + n];
    column->norms[t] = sqrt(squares);
  }
  return status;
}

static gk_status inspect_cell(const struct settings *settings, gk_cell cell, gk_activation activation,
                              struct column *column) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  struct fresh fresh = {0};
  desc.cell = cell;
  desc.activation = activation;
  desc.input_size = desc.hidden_size = settings->hidden;
  desc.isa = (gk_isa)settings->isa;
  desc.threads = (int)settings->threads;
  snprintf(column->name, sizeof column->name, "%s%s", gk_cell_name(cell),
           activation == GK_ACTIVATION_IDENTITY ? ", linear" : "");
  gk_status status = gk_rnn_create(&desc, &fresh.rnn);
  if (status == GK_OK)
    status = allocate_fresh(settings, &fresh);
  if (status == GK_OK)
    status = start_weights(settings, &fresh, column);
  if (status == GK_OK)
    status = differentiate(settings, &fresh, column);
  free_fresh(&fresh);
  return status;
}

/* The linear RNN as the yardstick, then every cell. */
static int inspect_fresh(const struct settings *settings) {
  struct table table;
  gk_status status = GK_OK;
  int exit_code = CLI_SUCCESS;
  if (!make_table(&table, settings->time, 1 + gk_cell_count())) {
    cli_error(&command, "out of memory");
    exit_code = CLI_FAILURE;
  } else {
    status = inspect_cell(settings, GK_CELL_RNN, GK_ACTIVATION_IDENTITY, &table.columns[0]);
    for (int cell = 0; cell < gk_cell_count() && status == GK_OK; ++cell)
      status = inspect_cell(settings, (gk_cell)cell, GK_ACTIVATION_DEFAULT, &table.columns[1 + cell]);
    exit_code = cli_status(&command, status);
  }
  if (exit_code == CLI_SUCCESS)
    (settings->json ? print_json : print_table)(&table);
  free_table(&table);
  return exit_code;
}

/* ---- A model ---- */

static gk_status inspect_layers(const struct settings *settings, const gk_language_model *model,
                                const gk_text *text, struct table *table) {
  const int layers = table->count, gates = table->columns[0].gates;
  double *norms = calloc((size_t)layers * (size_t)settings->time, sizeof *norms);
  double *radii = calloc((size_t)layers * (size_t)gates, sizeof *radii);
  gk_status status = GK_ERROR_MEMORY;
  if (norms && radii)
    status = gk_language_model_gradient_flow(model, text, settings->time, settings->batch, norms, radii);
  for (int layer = 0; layer < layers && status == GK_OK; ++layer) {
    struct column *column = &table->columns[layer];
    snprintf(column->name, sizeof column->name, "layer %d", layer + 1);
    column->gates = gates;
    memcpy(column->norms, norms + layer * settings->time, (size_t)settings->time * sizeof *norms);
    for (int gate = 0; gate < gates && gate < MOST_GATES; ++gate)
      column->radii[gate] = radii[layer * gates + gate];
  }
  free(norms);
  free(radii);
  return status;
}

static int inspect_model(const struct settings *settings, const gk_text *text) {
  gk_language_model_desc plan = GK_LANGUAGE_MODEL_DESC_INIT;
  plan.isa = (gk_isa)settings->isa;
  plan.threads = (int)settings->threads;
  gk_language_model *model;
  struct table table;
  gk_status status = gk_language_model_load(settings->model, &plan, &model);
  if (status != GK_OK)
    return cli_input_status(&command, status);
  const gk_language_model_desc *desc = gk_language_model_description(model);
  int exit_code = CLI_SUCCESS;
  if (!make_table(&table, settings->time, (int)desc->layers)) {
    cli_error(&command, "out of memory");
    exit_code = CLI_FAILURE;
  } else {
    table.columns[0].gates = gk_cell_gates(desc->cell) - (desc->options.coupled ? 1 : 0);
    status = inspect_layers(settings, model, text, &table);
    exit_code =
        status == GK_OK
            ? CLI_SUCCESS
            : cli_text_status(&command, status, settings->file ? settings->file : "the built-in text", NULL);
  }
  if (exit_code == CLI_SUCCESS && !settings->json)
    printf("%s, %" PRId64 " x %" PRId64 "; the loss is that of the last of %" PRId64 " characters\n",
           gk_cell_name(desc->cell), desc->layers, desc->hidden_size, settings->time);
  if (exit_code == CLI_SUCCESS)
    (settings->json ? print_json : print_table)(&table);
  free_table(&table);
  gk_language_model_destroy(model);
  return exit_code;
}

int run_inspect(int argc, char **argv) {
  struct settings settings;
  int exit_code;
  if (!cli_parse(&command, argc, argv, &settings, &exit_code))
    return exit_code;
  if (!settings.model)
    return inspect_fresh(&settings);
  static const char *const fresh[] = {"hidden", "init", "gain", "forget-bias", "input", "seed"};
  for (size_t i = 0; i < sizeof fresh / sizeof *fresh; ++i)
    if (cli_given(fresh[i]))
      return cli_error(&command, "--%s: only without a MODEL, for fresh networks", fresh[i]);
  gk_text text = {.data = gk_builtin_corpus_valid, .bytes = gk_builtin_corpus_valid_size};
  if (settings.file && !cli_read_text(&command, settings.file, &text))
    return CLI_BAD_INPUT;
  exit_code = inspect_model(&settings, &text);
  if (settings.file)
    free((void *)text.data);
  return exit_code;
}
