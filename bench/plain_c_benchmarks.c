/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "benchmarks.h"
#include "plain_c.h"
#include "shapes.h"

#define DATA_SEED 1

struct plain_c_tier {
  const char *name;
  gk_isa isa;
  plain_c_step *step;
  plain_c_scratch *scratch;
};

static const struct plain_c_tier tiers[] = {
    {"plain-c-avx2", GK_ISA_AVX2, plain_c_step_avx2, plain_c_scratch_avx2},
    {"plain-c-avx512", GK_ISA_AVX512, plain_c_step_avx512, plain_c_scratch_avx512},
};

struct benchmark {
  bench_shape shape;
  const struct plain_c_tier *tier;
};

/* In the order of the pointers of struct plain_c_layer. */
enum { PARAMETERS, X, H0, C0, DY, DHN, DCN, Y, HN, CN, DX, DH0, DC0, GRADIENTS, SCRATCH, ARRAYS };

struct network {
  struct plain_c_layer layer;
  float *array[ARRAYS];
  size_t count[ARRAYS];
};

static void count_floats(const bench_shape *s, struct network *network) {
  const size_t in = (size_t)s->input, h = (size_t)s->hidden, steps = (size_t)(s->time * s->batch);
  const size_t rows = (size_t)gk_cell_gates(s->cell) * h, states = (size_t)s->batch * h;
  const size_t cells = gk_cell_has_memory(s->cell) ? states : 0;
  const size_t count[SCRATCH] = {
      rows * (in + h + 2), steps * in, states, cells,      steps * h, states, cells,
      steps * h,           states,     cells,  steps * in, states,    cells,  rows * (in + h + 2)};
  for (int i = 0; i < SCRATCH; i++)
    network->count[i] = count[i];
}

static void connect(struct network *network) {
  struct plain_c_layer *l = &network->layer;
  const float **const input[] = {&l->parameters, &l->x, &l->h0, &l->c0, &l->dy, &l->dhn, &l->dcn};
  float **const output[] = {&l->y, &l->hn, &l->cn, &l->dx, &l->dh0, &l->dc0, &l->gradients, &l->scratch};
  for (int i = 0; i < Y; i++)
    *input[i] = network->array[i];
  for (int i = Y; i < ARRAYS; i++)
    *output[i - Y] = network->array[i];
}

static void destroy(struct network *network) {
  for (int i = 0; i < ARRAYS; i++)
    gk_free(network->array[i]);
}

static struct plain_c_layer layer_of(const bench_shape *s) {
  return (struct plain_c_layer){.cell = s->cell,
                                .input = (size_t)s->input,
                                .hidden = (size_t)s->hidden,
                                .batch = (size_t)s->batch,
                                .time = (size_t)s->time,
                                .threads = gk_default_threads()};
}

/* The data of bench/runner.c. */
static bool create(const struct benchmark *benchmark, struct network *network) {
  const bench_shape *s = &benchmark->shape;
  *network = (struct network){.layer = layer_of(s)};
  count_floats(s, network);
  network->count[SCRATCH] = benchmark->tier->scratch(&network->layer);
  for (int i = 0; i < ARRAYS; i++) {
    void *memory = NULL;
    if (network->count[i] && gk_allocate(network->count[i] * sizeof(float), &memory) != GK_OK)
      return false;
    network->array[i] = memory;
    const float range = i == PARAMETERS ? 1 / sqrtf((float)s->hidden) : i >= DY ? 0.1f : 1;
    for (size_t j = 0; j < network->count[i]; j++)
      network->array[i][j] = i < Y ? (2 * gk_uniform(DATA_SEED, (uint64_t)i, j) - 1) * range : 0;
  }
  connect(network);
  return true;
}

/* The same through the library, in place of the results of `network`. */
static gk_status run_library(const bench_shape *s, struct network *network) {
  void *memory[3] = {0};
  float **array = network->array;
  gk_rnn *rnn = NULL;
  gk_rnn_memory needed;
  size_t packed;
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = s->cell;
  desc.input_size = s->input;
  desc.hidden_size = s->hidden;
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  gk_status status = gk_rnn_create(&desc, &rnn);
  if (status == GK_OK)
    status = gk_rnn_packed_bytes(rnn, GK_PACK_FORWARD | GK_PACK_BACKWARD, &packed);
  if (status == GK_OK)
    status = gk_rnn_memory_needed(rnn, s->time, s->batch, &needed);
  if (status == GK_OK) {
    const size_t workspace = needed.forward_workspace_bytes + needed.backward_workspace_bytes;
    const size_t bytes[] = {packed, needed.reserve_bytes, workspace};
    for (int i = 0; i < 3 && status == GK_OK; i++)
      status = gk_allocate(bytes[i], &memory[i]);
  }
  if (status == GK_OK)
    status = gk_rnn_pack(rnn, GK_PACK_FORWARD | GK_PACK_BACKWARD, array[PARAMETERS], memory[0]);
  forward.time = backward.time = s->time;
  forward.batch = backward.batch = s->batch;
  forward.x = backward.x = array[X];
  forward.h0 = backward.h0 = array[H0];
  forward.c0 = backward.c0 = array[C0];
  forward.packed = backward.packed = memory[0];
  forward.reserve = backward.reserve = memory[1];
  forward.workspace = backward.workspace = memory[2];
  forward.y = array[Y];
  forward.hn = array[HN];
  forward.cn = array[CN];
  backward.dy = array[DY];
  backward.dhn = array[DHN];
  backward.dcn = array[DCN];
  backward.dx = array[DX];
  backward.dh0 = array[DH0];
  backward.dc0 = array[DC0];
  backward.gradients = array[GRADIENTS];
  if (status == GK_OK)
    status = gk_rnn_forward(rnn, &forward);
  if (status == GK_OK)
    status = gk_rnn_backward(rnn, &backward);
  gk_rnn_destroy(rnn);
  for (int i = 0; i < 3; i++)
    gk_free(memory[i]);
  return status;
}

/* Of all results, relative to each tensor's largest value; NaN counts as the largest. */
static double largest_difference(const struct network *a, const struct network *b) {
  double worst = 0;
  for (int i = Y; i < SCRATCH; i++) {
    double difference = 0, largest = 1e-30;
    for (size_t j = 0; j < a->count[i]; j++) {
      const double apart = fabs((double)a->array[i][j] - (double)b->array[i][j]);
      difference = apart <= difference ? difference : apart;
      largest = fmax(largest, fabs((double)b->array[i][j]));
    }
    if (!(difference / largest <= worst))
      worst = difference / largest;
  }
  return worst;
}

static const char *check(const struct benchmark *benchmark, const struct network *network) {
  struct network library;
  const char *message = "not enough memory";
  if (create(benchmark, &library)) {
    const gk_status status = run_library(&benchmark->shape, &library);
    benchmark->tier->step(&network->layer);
    if (status != GK_OK)
      message = "the library refuses this network";
    else
      message = largest_difference(network, &library) <= 1e-4 ? NULL : "results differ from the library's";
  }
  destroy(&library);
  return message;
}

/* As bench_runner_bytes: everything once, what forward leaves for backward twice. */
static double bytes_of(const struct network *network) {
  double values = 2 * (double)network->count[SCRATCH];
  for (int i = 0; i < SCRATCH; i++)
    values += (double)network->count[i];
  return sizeof(float) * values;
}

static void run_plain_c(shim_state *state, const void *context) {
  const struct benchmark *benchmark = context;
  struct network network;
  const char *message = "not enough memory";
  if (create(benchmark, &network))
    message = check(benchmark, &network);
  if (message) {
    shim_error(state, message);
  } else {
    while (shim_keep_running(state))
      benchmark->tier->step(&network.layer);
    shim_flop(state, 3 * bench_shape_flop(&benchmark->shape));
    shim_bytes(state, bytes_of(&network));
    shim_counter(state, "OpenMP threads", network.layer.threads);
  }
  destroy(&network);
}

static void register_shape(const char *list, const bench_shape *shape) {
  const struct plain_c_layer layer = layer_of(shape);
  for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++) {
    char name[256];
    struct benchmark *benchmark = NULL;
    if (gk_isa_usable(tiers[i].isa) && tiers[i].scratch(&layer) > 0)
      benchmark = malloc(sizeof *benchmark);
    if (!benchmark)
      continue;
    *benchmark = (struct benchmark){*shape, &tiers[i]};
    snprintf(name, sizeof name, "layer/%s/%s/%s/step", list, shape->name, tiers[i].name);
    shim_register(name, run_plain_c, benchmark);
  }
}

void register_plain_c_benchmarks(void) {
  for (const bench_list *list = bench_lists; list->name; list++) {
    char message[256];
    bench_shapes shapes;
    if (!bench_shapes_parse(list->text, &shapes, message, sizeof message))
      continue; /* register_layer_benchmarks has said why */
    for (size_t i = 0; i < shapes.count; i++)
      if (shapes.shape[i].layers == 1)
        register_shape(list->name, &shapes.shape[i]);
    bench_shapes_free(&shapes);
  }
}
