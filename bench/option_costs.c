/* SPDX-License-Identifier: Apache-2.0 */
/* What options cost: a training step (pack, forward, backward with every gradient) with an option on against
 * the plain one of the same cell and shape, taken in turn, the best of each. Prints the ratio and the most
 * that is promised; exit status 1 where a promise is missed. gatekern-bench-options [SECONDS a pair [CELL
 * [OPTION]]] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gatekern.h>

#include "runner_clock.h"

typedef struct option {
  const char *name;
  double most; /* promised ratio; 0: none is */
  void (*set)(gk_rnn_desc *desc, int64_t time, int64_t batch, int64_t *lengths, bool *reset);
  int64_t layers;
  int64_t only_hidden; /* promised at this size alone; 0: at all */
} option;

static void set_dropout(gk_rnn_desc *d, int64_t time, int64_t batch, int64_t *lengths, bool *reset) {
  (void)time, (void)batch, (void)lengths, (void)reset;
  d->dropout = 0.25f;
}
static void set_variational(gk_rnn_desc *d, int64_t time, int64_t batch, int64_t *lengths, bool *reset) {
  (void)time, (void)batch, (void)lengths, (void)reset;
  d->dropout = d->input_dropout = d->recurrent_dropout = 0.25f;
  d->dropout_masks = GK_DROPOUT_EACH_SEQUENCE;
}
static void set_weight(gk_rnn_desc *d, int64_t time, int64_t batch, int64_t *lengths, bool *reset) {
  (void)time, (void)batch, (void)lengths, (void)reset;
  d->weight_dropout = 0.5f;
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
static void set_layer_norm(gk_rnn_desc *d, int64_t time, int64_t batch, int64_t *lengths, bool *reset) {
  (void)time, (void)batch, (void)lengths, (void)reset;
  d->options.layer_norm = true;
}
static void set_bidirectional(gk_rnn_desc *d, int64_t time, int64_t batch, int64_t *lengths, bool *reset) {
  (void)time, (void)batch, (void)lengths, (void)reset;
  d->direction = GK_BIDIRECTIONAL;
}

static const option options[] = {
    {"dropout", 1.15, set_dropout, 2, 0},
    {"variational-dropout", 1.15, set_variational, 2, 0},
    {"weight-dropout", 1.15, set_weight, 1, 0},
    {"zoneout", 1.15, set_zoneout, 1, 0},
    {"resets", 0, set_reset, 1, 0},
    {"lengths-all-equal", 1.05, set_equal, 1, 0},
    {"lengths-uniform", 0.6, set_ragged, 1, 256},
    {"projection", 1.3, set_projection, 1, 0},
    {"layer-norm", 1.5, set_layer_norm, 1, 0},
    {"bidirectional", 2.05, set_bidirectional, 1, 0},
};
enum { OPTIONS = sizeof options / sizeof *options };

/* One network with the memory of a training step. */
typedef struct contestant {
  gk_rnn *rnn;
  gk_rnn_forward_args forward;
  gk_rnn_backward_args backward;
  float *parameters;
  void *packed, *memory[12];
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
  c->forward.x = take_values(c, x, 1);
  c->forward.y = take(c, (size_t)y * sizeof(float));
  c->forward.packed = c->packed;
  c->forward.reserve = take(c, memory.reserve_bytes);
  c->forward.workspace = take(c, memory.forward_workspace_bytes);
  c->backward = (gk_rnn_backward_args){.size = sizeof c->backward, .time = time, .batch = batch};
  c->backward.x = c->forward.x;
  c->backward.packed = c->packed;
  c->backward.dy = take_values(c, y, 1);
  c->backward.dx = take(c, (size_t)x * sizeof(float));
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
}

static gk_status run(contestant *c, double *seconds) {
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  const double start = clock_seconds();
  gk_status status = gk_rnn_pack_dropped(c->rnn, both, &c->forward.random, c->parameters, c->packed);
  if (status == GK_OK)
    status = gk_rnn_forward(c->rnn, &c->forward);
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
    int64_t *lengths = calloc((size_t)batch, sizeof *lengths);
    bool *reset = calloc((size_t)(time * batch), sizeof *reset);
    if (i == 1 && lengths && reset)
      o->set(&desc, time, batch, lengths, reset);
    pair[i].lengths = i == 1 && lengths && lengths[0] ? lengths : (free(lengths), NULL);
    pair[i].reset = i == 1 && o->set == set_reset ? reset : (free(reset), NULL);
    status = open_contestant(&pair[i], &desc, time, batch);
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
  printf("%-16s %3lld/%lld/%-3lld %-20s %8.3f ms, plain %8.3f ms: ratio %.3f", gk_cell_name(cell),
         (long long)hidden, (long long)batch, (long long)time, o->name, 1e3 * best[1], 1e3 * best[0], ratio);
  printf(most > 0 ? ", at most %g%s\n" : "\n", most, ratio > most ? "  MISSED" : "");
  fflush(stdout);
  return most > 0 && ratio > most;
}

int main(int argc, char **argv) {
  static const int64_t shapes[][3] = {{256, 64, 100}, {128, 50, 50}};
  const double seconds = argc > 1 ? atof(argv[1]) : 1;
  int missed = 0;
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
      for (int o = 0; o < OPTIONS; o++) {
        if ((argc > 2 && strcmp(argv[2], "all") && strcmp(argv[2], gk_cell_name((gk_cell)cell))) ||
            (argc > 3 && strcmp(argv[3], options[o].name)))
          continue;
        if (cell != GK_CELL_LSTM && (options[o].set == set_projection || options[o].set == set_layer_norm))
          continue;
        missed += compare(&options[o], (gk_cell)cell, shapes[s][0], shapes[s][1], shapes[s][2], seconds);
      }
  return missed > 0;
}
