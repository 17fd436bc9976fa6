/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "benchmarks.h"
#include "plain_c.h"

#define DATA_SEED 1

struct plain_c_tier {
  const char *name;
  gk_isa isa;
  plain_c_scratch *scratch;
  plain_c_pack *pack;
  plain_c_run *run;
};

static const struct plain_c_tier tiers[] = {
    {"plain-c-avx2", GK_ISA_AVX2, plain_c_scratch_avx2, plain_c_pack_avx2, plain_c_run_avx2},
    {"plain-c-avx512", GK_ISA_AVX512, plain_c_scratch_avx512, plain_c_pack_avx512, plain_c_run_avx512},
};

struct benchmark {
  bench_shape shape;
  bench_pass pass;
  const struct plain_c_tier *tier;
};

/* In the order of the pointers of struct plain_c_network; of the same data as bench/runner.c's. */
enum { PARAMETERS, X, H0, C0, DY, DHN, DCN, Y, HN, CN, DX, DH0, DC0, GRADIENTS, SCRATCH, ARRAYS };

struct contestant {
  struct plain_c_network network;
  float *array[ARRAYS];
  size_t count[ARRAYS];
  size_t stream_step; /* BENCH_STREAM: the next t */
};

/* Google Benchmark calls a function several times to find how many iterations it needs: the network of the
 * last call, which has been checked, is kept. */
static struct contestant current;
static const struct benchmark *current_benchmark;

static void count_floats(const bench_shape *s, bench_pass pass, struct contestant *contestant) {
  const bool step = bench_pass_is_step(pass);
  const size_t in = (size_t)s->input, h = (size_t)s->hidden, steps = (size_t)(s->time * s->batch);
  const size_t rows = (size_t)gk_cell_gates(s->cell) * h, layers = (size_t)s->layers;
  const size_t parameters = rows * (in + h + 2) + (layers - 1) * rows * (h + h + 2);
  const size_t states = layers * (size_t)s->batch * h, cells = gk_cell_has_memory(s->cell) ? states : 0;
  const size_t count[SCRATCH] = {[PARAMETERS] = parameters,
                                 [X] = steps * in,
                                 [H0] = states,
                                 [C0] = cells,
                                 [DY] = step ? steps * h : 0,
                                 [DHN] = step ? states : 0,
                                 [DCN] = step ? cells : 0,
                                 [Y] = steps * h,
                                 [HN] = states,
                                 [CN] = cells,
                                 [DX] = step ? steps * in : 0,
                                 [DH0] = step ? states : 0,
                                 [DC0] = step ? cells : 0,
                                 [GRADIENTS] = step ? parameters : 0};
  memcpy(contestant->count, count, sizeof count);
}

static void connect(struct contestant *contestant) {
  struct plain_c_network *w = &contestant->network;
  const float **const input[] = {&w->parameters, &w->x, &w->h0, &w->c0, &w->dy, &w->dhn, &w->dcn};
  float **const output[] = {&w->y, &w->hn, &w->cn, &w->dx, &w->dh0, &w->dc0, &w->gradients, &w->scratch};
  for (int i = 0; i < Y; i++)
    *input[i] = contestant->array[i];
  for (int i = Y; i < ARRAYS; i++)
    *output[i - Y] = contestant->array[i];
}

static void destroy(struct contestant *contestant) {
  for (int i = 0; i < ARRAYS; i++)
    gk_free(contestant->array[i]);
  *contestant = (struct contestant){.stream_step = 0};
}

static struct plain_c_network network_of(const bench_shape *s, bench_pass pass) {
  return (struct plain_c_network){.cell = s->cell,
                                  .pass = pass,
                                  .input = (size_t)s->input,
                                  .hidden = (size_t)s->hidden,
                                  .layers = (size_t)s->layers,
                                  .batch = (size_t)s->batch,
                                  .time = pass == BENCH_STREAM ? 1 : (size_t)s->time,
                                  .threads = gk_default_threads()};
}

/* More than the machine has would not fail here, but be killed later. The library takes as much again. */
static bool fits_in_memory(const struct contestant *contestant) {
  double bytes = 0;
  for (int i = 0; i < ARRAYS; i++)
    bytes += 2 * sizeof(float) * (double)contestant->count[i];
  return bytes < (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

static bool create(const struct benchmark *benchmark, size_t scratch, struct contestant *contestant) {
  const bench_shape *s = &benchmark->shape;
  *contestant = (struct contestant){.network = network_of(s, benchmark->pass)};
  count_floats(s, benchmark->pass, contestant);
  contestant->count[SCRATCH] = scratch;
  for (int i = 0; i < ARRAYS; i++) {
    void *memory = NULL;
    const size_t count = contestant->count[i];
    if (count && (!fits_in_memory(contestant) || gk_allocate(count * sizeof(float), &memory) != GK_OK))
      return false;
    contestant->array[i] = memory;
    const float range = i == PARAMETERS ? 1 / sqrtf((float)s->hidden) : i >= DY ? 0.1f : 1;
    for (size_t j = 0; j < count; j++)
      contestant->array[i][j] = i < Y ? (2 * gk_uniform(DATA_SEED, (uint64_t)i, j) - 1) * range : 0;
  }
  connect(contestant);
  return true;
}

/* A step of a stream: the states live in HN and CN, and start again from H0 and C0 after T of them. */
static void run_stream_step(const struct benchmark *benchmark, struct contestant *contestant) {
  struct plain_c_network w = contestant->network;
  const size_t t = contestant->stream_step, rows = t * w.batch;
  if (t == 0)
    for (int i = H0; i <= C0; i++)
      if (contestant->count[i])
        memcpy(contestant->array[HN + i - H0], contestant->array[i], contestant->count[i] * sizeof(float));
  w.x += rows * w.input;
  w.y += rows * w.hidden;
  w.h0 = w.hn;
  w.c0 = w.cn;
  benchmark->tier->run(&w);
  contestant->stream_step = (t + 1) % (size_t)benchmark->shape.time;
}

static void run(const struct benchmark *benchmark, struct contestant *contestant) {
  if (benchmark->pass == BENCH_STREAM)
    run_stream_step(benchmark, contestant);
  else
    benchmark->tier->run(&contestant->network);
}

/* ---- The check ---------------------------------------------------------------------------------- */

enum { PACKED, RESERVE, WORKSPACE, MEMORIES };

static gk_status forward(gk_rnn *rnn, const bench_shape *s, float *const *array, void *const *memory) {
  gk_rnn_forward_args args = GK_RNN_FORWARD_ARGS_INIT;
  args.time = s->time;
  args.batch = s->batch;
  args.x = array[X];
  args.h0 = array[H0];
  args.c0 = array[C0];
  args.packed = memory[PACKED];
  args.reserve = memory[RESERVE];
  args.workspace = memory[WORKSPACE];
  args.y = array[Y];
  args.hn = array[HN];
  args.cn = array[CN];
  return gk_rnn_forward(rnn, &args);
}

static gk_status backward(gk_rnn *rnn, const bench_shape *s, float *const *array, void *const *memory) {
  gk_rnn_backward_args args = GK_RNN_BACKWARD_ARGS_INIT;
  args.time = s->time;
  args.batch = s->batch;
  args.x = array[X];
  args.h0 = array[H0];
  args.c0 = array[C0];
  args.packed = memory[PACKED];
  args.reserve = memory[RESERVE];
  args.workspace = memory[WORKSPACE];
  args.dy = array[DY];
  args.dhn = array[DHN];
  args.dcn = array[DCN];
  args.dx = array[DX];
  args.dh0 = array[DH0];
  args.dc0 = array[DC0];
  args.gradients = array[GRADIENTS];
  return gk_rnn_backward(rnn, &args);
}

/* The same through the library, in place of the results of `contestant`. A stream's T calls are one sequence,
 * and all forward passes have the same results. */
static gk_status run_library(const struct benchmark *benchmark, struct contestant *contestant) {
  const bench_shape *s = &benchmark->shape;
  const gk_rnn_desc desc = bench_shape_description(s);
  const unsigned flags = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  void *memory[MEMORIES] = {0};
  gk_rnn *rnn = NULL;
  gk_rnn_memory needed;
  size_t packed;
  gk_status status = gk_rnn_create(&desc, &rnn);
  if (status == GK_OK)
    status = gk_rnn_packed_bytes(rnn, flags, &packed);
  if (status == GK_OK)
    status = gk_rnn_memory_needed(rnn, s->time, s->batch, &needed);
  if (status == GK_OK) {
    const size_t workspace = needed.forward_workspace_bytes + needed.backward_workspace_bytes;
    const size_t bytes[MEMORIES] = {packed, needed.reserve_bytes, workspace};
    for (int i = 0; i < MEMORIES && status == GK_OK; i++)
      status = gk_allocate(bytes[i], &memory[i]);
  }
  if (status == GK_OK)
    status = gk_rnn_pack(rnn, flags, contestant->array[PARAMETERS], memory[PACKED]);
  if (status == GK_OK)
    status = forward(rnn, s, contestant->array, memory);
  if (status == GK_OK && bench_pass_is_step(benchmark->pass))
    status = backward(rnn, s, contestant->array, memory);
  gk_rnn_destroy(rnn);
  for (int i = 0; i < MEMORIES; i++)
    gk_free(memory[i]);
  return status;
}

/* Of all results, relative to each tensor's largest value; infinite where one is not a number. */
static double largest_difference(const struct contestant *a, const struct contestant *b) {
  double worst = 0;
  for (int i = Y; i < SCRATCH; i++) {
    double difference = 0, largest = 1e-30;
    for (size_t j = 0; j < a->count[i]; j++) {
      const double apart = fabs((double)a->array[i][j] - (double)b->array[i][j]);
      if (isnan(apart))
        return INFINITY;
      difference = fmax(difference, apart);
      largest = fmax(largest, fabs((double)b->array[i][j]));
    }
    worst = fmax(worst, difference / largest);
  }
  return worst;
}

static const char *check(const struct benchmark *benchmark, struct contestant *contestant) {
  const int64_t runs = benchmark->pass == BENCH_STREAM ? benchmark->shape.time : 1;
  struct contestant library;
  const char *message = "not enough memory";
  if (create(benchmark, 0, &library)) {
    const gk_status status = run_library(benchmark, &library);
    benchmark->tier->pack(&contestant->network);
    for (int64_t i = 0; i < runs; i++)
      run(benchmark, contestant);
    if (status != GK_OK)
      message = "the library refuses this network";
    else
      message = largest_difference(contestant, &library) <= 1e-4 ? NULL : "results differ from the library's";
  }
  destroy(&library);
  return message;
}

/* ---- Benchmarks --------------------------------------------------------------------------------- */

void plain_c_benchmarks_end(void) {
  destroy(&current);
  current_benchmark = NULL;
}

static void run_plain_c(shim_state *state, const void *context) {
  const struct benchmark *benchmark = context;
  if (current_benchmark != benchmark) {
    plain_c_benchmarks_end();
    const struct plain_c_network network = network_of(&benchmark->shape, benchmark->pass);
    const char *message = "not enough memory";
    if (create(benchmark, benchmark->tier->scratch(&network), &current))
      message = check(benchmark, &current);
    if (message) {
      shim_error(state, message);
      return;
    }
    current_benchmark = benchmark;
  }
  while (shim_keep_running(state))
    run(benchmark, &current);
  shim_flop_and_bytes(state, bench_pass_flop(&benchmark->shape, benchmark->pass),
                      bench_pass_bytes(&benchmark->shape, benchmark->pass));
  shim_counter(state, "OpenMP threads", current.network.threads);
}

static void register_shape(const char *list, const bench_shape *shape) {
  for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++)
    for (int pass = 0; bench_pass_names[pass]; pass++) {
      const struct plain_c_network network = network_of(shape, (bench_pass)pass);
      char name[256];
      struct benchmark *benchmark = NULL;
      if (gk_isa_usable(tiers[i].isa) && tiers[i].scratch(&network) > 0)
        benchmark = malloc(sizeof *benchmark); /* lives as long as the program */
      if (!benchmark)
        continue;
      *benchmark = (struct benchmark){*shape, (bench_pass)pass, &tiers[i]};
      snprintf(name, sizeof name, "layer/%s/%s/%s/%s", list, shape->name, tiers[i].name,
               bench_pass_names[pass]);
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
      register_shape(list->name, &shapes.shape[i]);
    bench_shapes_free(&shapes);
  }
}
