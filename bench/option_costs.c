/* SPDX-License-Identifier: Apache-2.0 */
/* What options cost: a training step (pack, forward, backward with every gradient) with an option on against
 * the plain one of the same cell and shape, taken in turn, the best of each. Those of the output layer are of
 * a language model's step: tokens, the network, the output layer with its loss. Prints the ratio and the most
 * that is promised; exit status 1 where a promise is missed. gatekern-bench-options [SECONDS a pair [CELL
 * [OPTION]]] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gatekern.h>

#include "runner_clock.h"

enum { ALL_CELLS = -1 };

/* What follows the network, of both; the option is on one's. */
enum head { NO_HEAD, SMOOTHED, TIED };
enum { VOCABULARY = 512 };

typedef struct option {
  const char *name;
  double most;         /* promised ratio; 0: none is */
  const char *options; /* of the network: for gk_rnn_options_set */
  void (*set)(gk_rnn_desc *desc, int64_t time, int64_t batch, int64_t *lengths, bool *reset); /* or NULL */
  int64_t layers;
  int64_t only_hidden; /* promised at this size alone; 0: at all */
  int cell;            /* the only one that has it, or ALL_CELLS */
  int against;         /* the plain network's cell, or ALL_CELLS: the same */
  enum head head;
} option;

static void set_variational(gk_rnn_desc *d, int64_t time, int64_t batch, int64_t *lengths, bool *reset) {
  (void)time, (void)batch, (void)lengths, (void)reset;
  d->dropout = d->input_dropout = d->recurrent_dropout = 0.25f;
  d->dropout_masks = GK_DROPOUT_EACH_SEQUENCE;
}

static void set_zoneout(gk_rnn_desc *d, int64_t time, int64_t batch, int64_t *lengths, bool *reset) {
  (void)time, (void)batch, (void)lengths, (void)reset;
  d->zoneout_h = 0.1f;
  d->zoneout_c = gk_cell_has_memory(d->cell) ? 0.2f : 0;
}

static void set_reset(gk_rnn_desc *d, int64_t time, int64_t batch, int64_t *lengths, bool *reset) {
  (void)d, (void)lengths;
  for (int64_t i = 0; i < time * batch; i++)
    reset[i] = gk_uniform(3, 0, (uint64_t)i) < 0.05f;
}

static void set_ragged(gk_rnn_desc *d, int64_t time, int64_t batch, int64_t *lengths, bool *reset) {
  (void)d, (void)reset;
  for (int64_t n = 0; n < batch; n++) /* 1 ... time evenly, in an order that is not sorted */
    lengths[n] = 1 + (n * 37 % batch * (time - 1) + batch / 2) / (batch > 1 ? batch - 1 : 1) % time;
}

static void set_equal(gk_rnn_desc *d, int64_t time, int64_t batch, int64_t *lengths, bool *reset) {
  (void)d, (void)reset;
  for (int64_t n = 0; n < batch; n++)
    lengths[n] = time;
}

static void set_projection(gk_rnn_desc *d, int64_t time, int64_t batch, int64_t *lengths, bool *reset) {
  (void)time, (void)batch, (void)lengths, (void)reset;
  d->projection_size = d->hidden_size / 2;
}

#define LSTM(name, most, options, set)                                                                       \
  { name, most, options, set, 1, 0, GK_CELL_LSTM, ALL_CELLS, NO_HEAD }
#define EVERY(name, most, options, set, layers, only_hidden)                                                 \
  { name, most, options, set, layers, only_hidden, ALL_CELLS, ALL_CELLS, NO_HEAD }
#define CELL(name, most, cell, against)                                                                      \
  { name, most, "", NULL, 1, 0, cell, against, NO_HEAD }
#define HEAD(name, most, head)                                                                               \
  { name, most, "", NULL, 1, 0, ALL_CELLS, ALL_CELLS, head }

/* However many options an LSTM has at once, it is one variant (1.3; 1.5 with layer normalisation), and
 * dropout adds its own 0.15. */
static const option options[] = {
    EVERY("dropout", 1.15, "dropout=0.25", NULL, 2, 0),
    EVERY("input-dropout", 1.15, "input-dropout=0.25", NULL, 1, 0),
    EVERY("recurrent-dropout", 1.15, "recurrent-dropout=0.25", NULL, 1, 0),
    EVERY("variational-dropout", 1.15, "", set_variational, 2, 0),
    EVERY("weight-dropout", 1.15, "weight-dropout=0.5", NULL, 1, 0),
    EVERY("zoneout", 1.15, "", set_zoneout, 1, 0),
    EVERY("resets", 0, "", set_reset, 1, 0),
    EVERY("lengths-all-equal", 1.05, "", set_equal, 1, 0),
    EVERY("lengths-uniform", 0.6, "", set_ragged, 1, 256),
    EVERY("bidirectional", 2.05, "direction=bidirectional", NULL, 1, 0),
    EVERY("bidirectional-sum", 2.05, "direction=bidirectional merge=sum", NULL, 1, 0),
    HEAD("label-smoothing", 1.15, SMOOTHED),
    HEAD("weight-tying", 1.15, TIED),
    LSTM("preactivation-clip", 1.3, "preactivation-clip=2", NULL),
    LSTM("hard-sigmoid", 1.3, "gate-activation=hard-sigmoid", NULL),
    LSTM("peephole", 1.3, "peephole=on", NULL),
    LSTM("coupled", 1.3, "coupled=on", NULL),
    LSTM("cell-clip", 1.3, "cell-clip=1", NULL),
    LSTM("projection", 1.3, "", set_projection),
    LSTM("layer-norm", 1.5, "layer-norm=on", NULL),
    LSTM("peephole+coupled+projection", 1.3, "peephole=on coupled=on", set_projection),
    LSTM("layer-norm+peephole+cell-clip+dropout", 1.65,
         "layer-norm=on peephole=on cell-clip=1 input-dropout=0.25", NULL),
    LSTM("everything", 1.65,
         "layer-norm=on peephole=on coupled=on cell-clip=1 preactivation-clip=2 input-dropout=0.25",
         set_projection),
    CELL("against-lstm", 0.8, GK_CELL_GRU, GK_CELL_LSTM),
    CELL("against-lstm", 0.8, GK_CELL_GRU_RESET_BEFORE, GK_CELL_LSTM),
    CELL("against-gru", 0, GK_CELL_GRU_SIMPLIFIED, GK_CELL_GRU),
    CELL("against-gru", 0, GK_CELL_MGU, GK_CELL_GRU),
};
enum { OPTIONS = sizeof options / sizeof *options };

/* One network with the memory of a training step. */
typedef struct contestant {
  gk_rnn *rnn;
  gk_rnn_forward_args forward;
  gk_rnn_backward_args backward;
  gk_output *output; /* NULL: none */
  gk_output_loss_args loss;
  float *parameters, *output_parameters;
  void *packed, *output_packed, *memory[24];
  int arrays;
  int64_t *lengths;
  bool *reset;
} contestant;

static void *take(contestant *c, size_t bytes) {
  void *memory = NULL;
  if (gk_allocate(bytes + 1, &memory) != GK_OK)
    return NULL;
  memset(memory, 0, bytes);
  return c->memory[c->arrays++] = memory;
}

static float *take_values(contestant *c, int64_t count, float scale) {
  float *values = take(c, (size_t)count * sizeof *values);
  for (int64_t i = 0; values && i < count; i++)
    values[i] = scale * (2 * gk_uniform(1, (uint64_t)c->arrays, (uint64_t)i) - 1);
  return values;
}

static int32_t *take_tokens(contestant *c, int64_t count) {
  int32_t *tokens = take(c, (size_t)count * sizeof *tokens);
  for (int64_t i = 0; tokens && i < count; i++)
    tokens[i] = (int32_t)(gk_uniform(2, (uint64_t)c->arrays, (uint64_t)i) * VOCABULARY);
  return tokens;
}

/* The output layer behind a network that is open; of a tied one the embedding is its weight. */
static gk_status open_head(contestant *c, enum head head) {
  gk_output_desc desc = GK_OUTPUT_DESC_INIT;
  const int64_t rows = c->forward.time * c->forward.batch;
  size_t packed = 0, workspace = 0;
  double *loss = take(c, sizeof *loss);
  desc.input_size = gk_rnn_output_size(c->rnn);
  desc.output_size = VOCABULARY;
  desc.tied = head == TIED;
  gk_status status = gk_output_create(&desc, &c->output);
  if (status == GK_OK)
    status = gk_output_packed_bytes(c->output, GK_PACK_FORWARD | GK_PACK_BACKWARD, &packed);
  if (status == GK_OK)
    status = gk_output_workspace_bytes(c->output, rows, &workspace);
  if (status != GK_OK)
    return status;
  const int64_t count = gk_output_parameter_count(c->output);
  c->output_parameters = take_values(c, count, 1 / sqrtf((float)desc.input_size));
  c->output_packed = take(c, packed);
  c->loss = (gk_output_loss_args){.size = sizeof c->loss, .rows = rows, .gradient_scale = 1 / (float)rows};
  c->loss.loss = loss;
  c->loss.h = c->forward.y;
  c->loss.targets = take_tokens(c, rows);
  c->loss.packed = c->output_packed;
  c->loss.dh = take(c, (size_t)(rows * desc.input_size) * sizeof(float));
  c->loss.gradients = take(c, (size_t)count * sizeof(float));
  c->loss.workspace = take(c, workspace);
  c->loss.label_smoothing = head == SMOOTHED ? 0.1f : 0;
  c->loss.dweight = head == TIED ? c->backward.gradients : NULL; /* the embedding is the first tensor */
  c->backward.dy = c->loss.dh;
  c->backward.accumulate = head == TIED;
  return c->loss.workspace && c->loss.gradients && c->loss.dh ? GK_OK : GK_ERROR_MEMORY;
}

static gk_status open_contestant(contestant *c, const gk_rnn_desc *desc, int64_t time, int64_t batch) {
  gk_rnn_memory memory;
  size_t packed = 0;
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  gk_status status = gk_rnn_create(desc, &c->rnn);
  if (status == GK_OK)
    status = gk_rnn_memory_needed(c->rnn, time, batch, &memory);
  if (status == GK_OK)
    status = gk_rnn_packed_bytes(c->rnn, both, &packed);
  if (status != GK_OK)
    return status;
  const int64_t count = gk_rnn_parameter_count(c->rnn), x = time * batch * desc->input_size;
  const int64_t y = time * batch * gk_rnn_output_size(c->rnn);
  c->parameters = take_values(c, count, 1 / sqrtf((float)desc->hidden_size));
  c->packed = take(c, packed);
  c->forward = (gk_rnn_forward_args){.size = sizeof c->forward, .time = time, .batch = batch};
  c->backward = (gk_rnn_backward_args){.size = sizeof c->backward, .time = time, .batch = batch};
  if (desc->vocabulary) {
    c->forward.tokens = c->backward.tokens = take_tokens(c, time * batch);
    c->forward.parameters = c->backward.parameters = c->parameters;
  } else {
    c->forward.x = c->backward.x = take_values(c, x, 1);
    c->backward.dx = take(c, (size_t)x * sizeof(float));
  }
  c->forward.y = take(c, (size_t)y * sizeof(float));
  c->forward.packed = c->packed;
  c->forward.reserve = take(c, memory.reserve_bytes);
  c->forward.workspace = take(c, memory.forward_workspace_bytes);
  c->backward.packed = c->packed;
  c->backward.dy = take_values(c, y, 1);
  c->backward.gradients = take(c, (size_t)count * sizeof(float));
  c->backward.reserve = c->forward.reserve;
  c->backward.workspace = take(c, memory.backward_workspace_bytes);
  if (c->lengths)
    c->forward.lengths = c->backward.lengths = c->lengths;
  if (c->reset)
    c->forward.reset = c->backward.reset = c->reset;
  return c->backward.workspace && c->backward.gradients ? GK_OK : GK_ERROR_MEMORY;
}

static void close_contestant(contestant *c) {
  for (int i = 0; i < c->arrays; i++)
    gk_free(c->memory[i]);
  free(c->lengths);
  free(c->reset);
  gk_rnn_destroy(c->rnn);
  gk_output_destroy(c->output);
}

static gk_status run_head(contestant *c) {
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  gk_status status;
  if (c->loss.dweight) {
    memset(c->backward.gradients, 0, (size_t)gk_rnn_parameter_count(c->rnn) * sizeof(float));
    status = gk_output_pack_tied(c->output, both, c->parameters, c->output_parameters, c->output_packed);
  } else {
    status = gk_output_pack(c->output, both, c->output_parameters, c->output_packed);
  }
  return status == GK_OK ? gk_output_loss(c->output, &c->loss) : status;
}

static gk_status run(contestant *c, double *seconds) {
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  const double start = clock_seconds();
  gk_status status = gk_rnn_pack_dropped(c->rnn, both, &c->forward.random, c->parameters, c->packed);
  if (status == GK_OK)
    status = gk_rnn_forward(c->rnn, &c->forward);
  if (status == GK_OK && c->output)
    status = run_head(c);
  if (status == GK_OK)
    status = gk_rnn_backward(c->rnn, &c->backward);
  *seconds = clock_seconds() - start;
  return status;
}

/* Both in turn; 1 if the promise is missed. */
static int compare(const option *o, gk_cell cell, int64_t hidden, int64_t batch, int64_t time,
                   double seconds) {
  contestant pair[2] = {{.rnn = NULL}, {.rnn = NULL}};
  double best[2] = {INFINITY, INFINITY}, now;
  gk_status status = GK_OK;
  for (int i = 0; i < 2 && status == GK_OK; i++) {
    gk_rnn_desc desc = GK_RNN_DESC_INIT;
    desc.cell = cell;
    desc.input_size = desc.hidden_size = hidden;
    desc.layers = o->layers;
    desc.vocabulary = o->head != NO_HEAD ? VOCABULARY : 0;
    int64_t *lengths = calloc((size_t)batch, sizeof *lengths);
    bool *reset = calloc((size_t)(time * batch), sizeof *reset);
    if (i == 0 && o->against != ALL_CELLS)
      desc.cell = (gk_cell)o->against;
    if (i == 1 && o->set && lengths && reset)
      o->set(&desc, time, batch, lengths, reset);
    if (i == 1)
      status = gk_rnn_options_set(&desc, o->options);
    pair[i].lengths = i == 1 && lengths && lengths[0] ? lengths : (free(lengths), NULL);
    pair[i].reset = i == 1 && o->set == set_reset ? reset : (free(reset), NULL);
    if (status == GK_OK)
      status = open_contestant(&pair[i], &desc, time, batch);
    if (status == GK_OK && o->head != NO_HEAD)
      status = open_head(&pair[i], i == 1 ? o->head : NO_HEAD);
    if (status == GK_OK)
      status = run(&pair[i], &now);
  }
  const double end = clock_seconds() + seconds;
  for (int round = 0; status == GK_OK && (round < 5 || clock_seconds() < end); round++)
    for (int i = 0; i < 2 && status == GK_OK; i++) {
      status = run(&pair[i], &now);
      best[i] = fmin(best[i], now);
    }
  for (int i = 0; i < 2; i++)
    close_contestant(&pair[i]);
  if (status != GK_OK) {
    printf("%s: %s\n", o->name, gk_last_error());
    return 1;
  }
  const double ratio = best[1] / best[0];
  const double most = o->only_hidden && o->only_hidden != hidden ? 0 : o->most;
  printf("%-16s %3lld/%lld/%-3lld %-37s %8.3f ms, plain %8.3f ms: ratio %.3f", gk_cell_name(cell),
         (long long)hidden, (long long)batch, (long long)time, o->name, 1e3 * best[1], 1e3 * best[0], ratio);
  printf(most > 0 ? ", at most %g%s\n" : "\n", most, ratio > most ? "  MISSED" : "");
  fflush(stdout);
  return most > 0 && ratio > most;
}

static bool names_cell(const char *name) {
  gk_cell cell;
  return strcmp(name, "all") == 0 || gk_cell_from_name(name, &cell) == GK_OK;
}

static bool names_option(const char *name) {
  for (int o = 0; o < OPTIONS; o++)
    if (strcmp(name, options[o].name) == 0)
      return true;
  return false;
}

int main(int argc, char **argv) {
  static const int64_t shapes[][3] = {{256, 64, 100}, {128, 50, 50}};
  char *rest = NULL;
  const double seconds = argc > 1 ? strtod(argv[1], &rest) : 1;
  int missed = 0;
  if (argc > 4 || (rest && *rest) || !(seconds > 0) || (argc > 2 && !names_cell(argv[2])) ||
      (argc > 3 && !names_option(argv[3]))) {
    fprintf(stderr, "usage: %s [SECONDS [CELL or all [OPTION]]]\noptions:", argv[0]);
    for (int o = 0; o < OPTIONS; o++)
      if (o == 0 || strcmp(options[o].name, options[o - 1].name) != 0)
        fprintf(stderr, " %s", options[o].name);
    fprintf(stderr, "\n");
    return 2;
  }
  gk_isa isa;
  if (gk_isa_resolve(GK_ISA_AUTO, &isa) != GK_OK) {
    printf("%s\n", gk_last_error());
    return 1;
  }
  printf("tier %s, %d threads; cell, H/N/T (I = H), option\n", gk_isa_name(isa), gk_default_threads());
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
      for (int o = 0; o < OPTIONS; o++) {
        if ((argc > 2 && strcmp(argv[2], "all") && strcmp(argv[2], gk_cell_name((gk_cell)cell))) ||
            (argc > 3 && strcmp(argv[3], options[o].name)))
          continue;
        if (options[o].cell != ALL_CELLS && options[o].cell != cell)
          continue;
        missed += compare(&options[o], (gk_cell)cell, shapes[s][0], shapes[s][1], shapes[s][2], seconds);
      }
  return missed > 0;
}
