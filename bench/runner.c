/* SPDX-License-Identifier: Apache-2.0 */
#include "runner.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checksum.h"
#include "runner_clock.h"

#define MOST_RUNS   (1 << 20)
#define FEWEST_RUNS 3
#define DATA_SEED   1

const char *const bench_pass_names[] = {"step", "prepacked-step", "forward", "inference", "stream", NULL};

bool bench_pass_is_step(bench_pass pass) {
  return pass == BENCH_STEP || pass == BENCH_PREPACKED_STEP;
}

bool bench_pass_trains(bench_pass pass) {
  return bench_pass_is_step(pass) || pass == BENCH_FORWARD;
}

/* One allocation each; all of them are `float`s, or bytes for the library. */
enum {
  PARAMETERS,
  X,
  H0,
  C0,
  DY,
  DHN,
  DCN, /* inputs: filled with random numbers of the stream of this number */
  Y,
  HN,
  CN,
  DX,
  DH0,
  DC0,
  GRADIENTS, /* outputs */
  PACKED,
  RESERVE,
  WORKSPACE,
  BUFFERS
};

struct bench_runner {
  bench_shape shape;
  bench_pass pass;
  gk_rnn *rnn;
  unsigned pack_flags;
  int64_t stream_step;    /* BENCH_STREAM: the next t */
  int64_t count[BUFFERS]; /* floats; 0 where the pass needs no such buffer */
  size_t reserve_bytes;
  void *buffer[BUFFERS];
};

static float *floats(const bench_runner *runner, int index) {
  return runner->buffer[index];
}

static void count_floats(bench_runner *runner) {
  const bench_shape *s = &runner->shape;
  bool step = bench_pass_is_step(runner->pass);
  int64_t outputs = s->time * s->batch * gk_rnn_output_size(runner->rnn);
  int64_t states = s->batch * gk_rnn_hidden_values(runner->rnn);
  int64_t cells = s->batch * gk_rnn_cell_values(runner->rnn);
  int64_t *count = runner->count;
  count[PARAMETERS] = gk_rnn_parameter_count(runner->rnn);
  count[X] = s->time * s->batch * s->input;
  count[H0] = count[HN] = states;
  count[C0] = count[CN] = cells;
  count[Y] = outputs;
  if (!step)
    return;
  count[DY] = outputs;
  count[DHN] = count[DH0] = states;
  count[DCN] = count[DC0] = cells;
  count[DX] = count[X];
  count[GRADIENTS] = count[PARAMETERS];
}

static bool allocate(void **buffer, size_t bytes) {
  return !bytes || gk_allocate(bytes, buffer) == GK_OK;
}

/* More than the machine has would not fail here, but be killed later. */
static bool fits_in_memory(const bench_runner *runner, double bytes) {
  for (int i = 0; i < PACKED; i++)
    bytes += (double)runner->count[i] * sizeof(float);
  return bytes < (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

static gk_status allocate_all(bench_runner *runner) {
  const bench_shape *s = &runner->shape;
  gk_rnn_memory memory;
  size_t packed, workspace;
  gk_status status = gk_rnn_packed_bytes(runner->rnn, runner->pack_flags, &packed);
  if (status == GK_OK)
    status = gk_rnn_memory_needed(runner->rnn, runner->pass == BENCH_STREAM ? 1 : s->time, s->batch, &memory);
  if (status != GK_OK)
    return status;
  bool training = bench_pass_trains(runner->pass);
  workspace = training ? memory.forward_workspace_bytes : memory.inference_workspace_bytes;
  if (bench_pass_is_step(runner->pass) && workspace < memory.backward_workspace_bytes)
    workspace = memory.backward_workspace_bytes;
  runner->reserve_bytes = training ? memory.reserve_bytes : 0;

  count_floats(runner);
  bool fine = fits_in_memory(runner, (double)packed + (double)runner->reserve_bytes + (double)workspace) &&
              allocate(&runner->buffer[PACKED], packed) &&
              allocate(&runner->buffer[RESERVE], runner->reserve_bytes) &&
              allocate(&runner->buffer[WORKSPACE], workspace);
  for (int i = 0; fine && i < PACKED; i++)
    fine = allocate(&runner->buffer[i], (size_t)runner->count[i] * sizeof(float));
  return fine ? GK_OK : GK_ERROR_MEMORY;
}

/* Parameters as PyTorch's, U(+-1/sqrt(H)); everything else U(-1, 1), upstream gradients U(-0.1, 0.1). */
static void fill_inputs(bench_runner *runner) {
  for (int i = PARAMETERS; i <= DCN; i++) {
    float range = 1;
    if (i == PARAMETERS)
      range = 1 / sqrtf((float)runner->shape.hidden);
    else if (i >= DY)
      range = 0.1f;
    for (int64_t j = 0; j < runner->count[i]; j++)
      floats(runner, i)[j] = (2 * gk_uniform(DATA_SEED, (uint64_t)i, (uint64_t)j) - 1) * range;
  }
}

/* Touches every page, so that no run pays for it, and starts a stream. */
static void clear_outputs(bench_runner *runner) {
  for (int i = Y; i <= GRADIENTS; i++)
    if (runner->count[i])
      memset(runner->buffer[i], 0, (size_t)runner->count[i] * sizeof(float));
  runner->stream_step = 0;
}

/* Training passes with weight dropout read weights of which the mask of step 0 has dropped some. */
static gk_status pack(bench_runner *runner) {
  const gk_random_key key = {0};
  const float *parameters = floats(runner, PARAMETERS);
  void *packed = runner->buffer[PACKED];
  return bench_pass_trains(runner->pass)
             ? gk_rnn_pack_dropped(runner->rnn, runner->pack_flags, &key, parameters, packed)
             : gk_rnn_pack(runner->rnn, runner->pack_flags, parameters, packed);
}

/* Whole passes then begin from the network's own states. */
static bool trains_states(const bench_runner *runner) {
  return gk_rnn_description(runner->rnn)->trained_states;
}

gk_status bench_runner_create(const bench_shape *shape, bench_pass pass, gk_isa isa, int threads,
                              gk_schedule schedule, bench_runner **result) {
  *result = NULL;
  bench_runner *runner = calloc(1, sizeof *runner);
  if (!runner)
    return GK_ERROR_MEMORY;
  runner->shape = *shape;
  runner->pass = pass;
  runner->pack_flags = pass == BENCH_PREPACKED_STEP ? GK_PACK_FORWARD | GK_PACK_BACKWARD : GK_PACK_FORWARD;
  gk_rnn_desc desc = bench_shape_description(shape);
  desc.isa = isa;
  desc.threads = threads;
  desc.schedule = schedule;
  gk_status status = gk_rnn_create(&desc, &runner->rnn);
  if (status == GK_OK && pass == BENCH_STEP)
    status = gk_rnn_training_pack_flags(runner->rnn, shape->time, shape->batch, &runner->pack_flags);
  if (status == GK_OK)
    status = allocate_all(runner);
  if (status == GK_OK) {
    fill_inputs(runner);
    clear_outputs(runner);
    status = pack(runner);
  }
  if (status != GK_OK) {
    bench_runner_destroy(runner);
    return status;
  }
  *result = runner;
  return GK_OK;
}

void bench_runner_destroy(bench_runner *runner) {
  if (!runner)
    return;
  for (int i = 0; i < BUFFERS; i++)
    gk_free(runner->buffer[i]);
  gk_rnn_destroy(runner->rnn);
  free(runner);
}

/* A file of data holds a step's arrays, whatever the pass. */
static bool has_size_of_data(const bench_runner *runner, FILE *file, char *message, size_t message_size) {
  const int64_t *count = runner->count;
  const long long parameters = count[PARAMETERS], x = count[X], states = count[H0], cells = count[C0];
  const long long outputs = count[Y], needed = parameters + x + 2 * states + 2 * cells + outputs;
  struct stat status;
  if (fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode)) {
    snprintf(message, message_size, "not a regular file");
    return false;
  }
  const long long bytes = status.st_size, size = sizeof(float);
  if (bytes == needed * size)
    return true;
  snprintf(message, message_size,
           "has %lld floats (%lld bytes), the network needs %lld: parameters %lld, x %lld, h0 %lld, c0 %lld, "
           "dy %lld, dhn %lld, dcn %lld",
           bytes / size, bytes, needed, parameters, x, states, cells, outputs, states, cells);
  return false;
}

bool bench_runner_read_data(bench_runner *runner, const char *path, char *message, size_t message_size) {
  const int descriptor = open(path, O_RDONLY | O_NONBLOCK); /* a pipe that nobody writes would never open */
  FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "rb");
  if (!file) {
    snprintf(message, message_size, "%s", strerror(errno));
    return false;
  }
  bool fine = has_size_of_data(runner, file, message, message_size);
  for (int i = PARAMETERS; fine && i <= DCN; i++) {
    const size_t count = (size_t)runner->count[i];
    fine = fread(floats(runner, i), sizeof(float), count, file) == count;
    if (!fine)
      snprintf(message, message_size, "%s", ferror(file) ? strerror(errno) : "became shorter meanwhile");
  }
  fclose(file);
  if (fine && pack(runner) != GK_OK) {
    snprintf(message, message_size, "%s", gk_last_error());
    return false;
  }
  return fine;
}

const gk_rnn_desc *bench_runner_description(const bench_runner *runner) {
  return gk_rnn_description(runner->rnn);
}

gk_status bench_runner_plan(const bench_runner *runner, gk_schedule *schedule, int *threads) {
  const int64_t time = runner->pass == BENCH_STREAM ? 1 : runner->shape.time;
  const bool training = bench_pass_trains(runner->pass);
  return gk_rnn_plan(runner->rnn, time, runner->shape.batch, training, schedule, threads);
}

double bench_pass_flop(const bench_shape *shape, bench_pass pass) {
  const double forward = bench_shape_flop(shape);
  if (pass == BENCH_STREAM)
    return forward / (double)shape->time;
  return bench_pass_is_step(pass) ? 3 * forward : forward;
}

/* Floats that forward keeps for backward, of each row and unit: those of a layer so large that what the
 * library adds to them is rounded away. */
static double kept_values(gk_cell cell) {
  const gk_rnn_desc desc = {
      .size = sizeof desc, .cell = cell, .input_size = 1, .hidden_size = 64, .layers = 1};
  const int64_t time = 64, batch = 16;
  gk_rnn *rnn;
  gk_rnn_memory memory;
  gk_status status = gk_rnn_create(&desc, &rnn);
  if (status != GK_OK)
    return NAN;
  status = gk_rnn_memory_needed(rnn, time, batch, &memory);
  gk_rnn_destroy(rnn);
  if (status != GK_OK)
    return NAN;
  return round((double)memory.reserve_bytes / (double)(desc.hidden_size * time * batch) / sizeof(float));
}

double bench_pass_bytes(const bench_shape *shape, bench_pass pass) {
  const bool step = bench_pass_is_step(pass);
  const double hidden = (double)shape->hidden, gates = gk_cell_gates(shape->cell);
  const double time = pass == BENCH_STREAM ? 1 : (double)shape->time, rows = time * (double)shape->batch;
  const double recurrent = gates * hidden * hidden,
               kept = bench_pass_trains(pass) ? kept_values(shape->cell) * hidden : 0;
  double input = (double)shape->input, values = 0;
  for (int64_t l = 0; l < shape->layers; l++, input = hidden) {
    const double weights = gates * hidden * input;
    values += step ? 3 * weights + (2 * time + 1) * recurrent + rows * (3 * (input + hidden) + 2 * kept)
                   : weights + time * recurrent + rows * (input + hidden + kept);
  }
  return sizeof(float) * values;
}

static gk_status run_forward(bench_runner *runner) {
  gk_rnn_forward_args args = GK_RNN_FORWARD_ARGS_INIT;
  args.time = runner->shape.time;
  args.batch = runner->shape.batch;
  args.x = floats(runner, X);
  if (!trains_states(runner)) {
    args.h0 = floats(runner, H0);
    args.c0 = floats(runner, C0);
  }
  args.parameters = floats(runner, PARAMETERS);
  args.packed = runner->buffer[PACKED];
  args.y = floats(runner, Y);
  args.hn = floats(runner, HN);
  args.cn = floats(runner, CN);
  args.reserve = runner->buffer[RESERVE];
  args.workspace = runner->buffer[WORKSPACE];
  return gk_rnn_forward(runner->rnn, &args);
}

static gk_status run_backward(bench_runner *runner) {
  gk_rnn_backward_args args = GK_RNN_BACKWARD_ARGS_INIT;
  args.time = runner->shape.time;
  args.batch = runner->shape.batch;
  args.x = floats(runner, X);
  if (!trains_states(runner)) {
    args.h0 = floats(runner, H0);
    args.c0 = floats(runner, C0);
  }
  args.parameters = floats(runner, PARAMETERS);
  args.packed = runner->buffer[PACKED];
  args.dy = floats(runner, DY);
  args.dhn = floats(runner, DHN);
  args.dcn = floats(runner, DCN);
  args.dx = floats(runner, DX);
  args.dh0 = floats(runner, DH0);
  args.dc0 = floats(runner, DC0);
  args.gradients = floats(runner, GRADIENTS);
  args.reserve = runner->buffer[RESERVE];
  args.workspace = runner->buffer[WORKSPACE];
  return gk_rnn_backward(runner->rnn, &args);
}

/* The states live in HN and CN, and start again from H0 and C0 after T steps. */
static gk_status run_stream_step(bench_runner *runner, bench_interval *interval) {
  int64_t t = runner->stream_step;
  if (t == 0) {
    memcpy(floats(runner, HN), floats(runner, H0), (size_t)runner->count[H0] * sizeof(float));
    if (runner->count[C0])
      memcpy(floats(runner, CN), floats(runner, C0), (size_t)runner->count[C0] * sizeof(float));
  }
  gk_rnn_step_args args = GK_RNN_STEP_ARGS_INIT;
  args.batch = runner->shape.batch;
  args.x = floats(runner, X) + t * runner->shape.batch * runner->shape.input;
  args.parameters = floats(runner, PARAMETERS);
  args.packed = runner->buffer[PACKED];
  args.h = floats(runner, HN);
  args.c = floats(runner, CN);
  args.y = floats(runner, Y) + t * runner->shape.batch * gk_rnn_output_size(runner->rnn);
  args.workspace = runner->buffer[WORKSPACE];
  runner->stream_step = (t + 1) % runner->shape.time;

  double start = clock_seconds();
  gk_status status = gk_rnn_step(runner->rnn, &args);
  interval->forward = interval->total = clock_seconds() - start;
  return status;
}

gk_status bench_runner_run(bench_runner *runner, bench_interval *interval) {
  *interval = (bench_interval){0};
  if (runner->pass == BENCH_STREAM)
    return run_stream_step(runner, interval);
  gk_status status = GK_OK;
  double start = clock_seconds(), packed = start;
  if (runner->pass == BENCH_STEP) {
    status = pack(runner);
    packed = clock_seconds();
  }
  if (status == GK_OK)
    status = run_forward(runner);
  double forward = clock_seconds(), end = forward;
  if (status == GK_OK && bench_pass_is_step(runner->pass)) {
    status = run_backward(runner);
    end = clock_seconds();
  }
  *interval = (bench_interval){.forward = forward - packed, .backward = end - forward, .total = end - start};
  return status;
}

gk_status bench_runner_checksum(bench_runner *runner, uint64_t *checksum) {
  int64_t runs = runner->pass == BENCH_STREAM ? runner->shape.time : 1;
  clear_outputs(runner);
  for (int64_t i = 0; i < runs; i++) {
    bench_interval interval;
    gk_status status = bench_runner_run(runner, &interval);
    if (status != GK_OK)
      return status;
  }
  *checksum = CHECKSUM_START;
  for (int i = Y; i <= GRADIENTS; i++)
    *checksum = checksum_floats(*checksum, floats(runner, i), runner->count[i]);
  return GK_OK;
}

static bench_figure figure(double *seconds, int64_t runs) {
  const double median = clock_median(seconds, runs);
  return (bench_figure){
      .best = seconds[0],
      .median = median,
      .p99 = seconds[(runs - 1) * 99 / 100],
      .quartile_range = median > 0 ? (seconds[(runs - 1) * 3 / 4] - seconds[(runs - 1) / 4]) / median : 0,
  };
}

/* Two runs, and more until the time is over: threads exist, caches and clock are settled. */
static gk_status warm_up(bench_runner *runner, double seconds) {
  double end = clock_seconds() + seconds;
  for (int64_t i = 0; i < 2 || clock_seconds() < end; i++) {
    bench_interval interval;
    gk_status status = bench_runner_run(runner, &interval);
    if (status != GK_OK)
      return status;
    if (interval.total > 10 * seconds)
      break;
  }
  return GK_OK;
}

/* At least `fewest` runs, and more until the time is over. */
static gk_status measure(bench_runner *runner, int64_t fewest, double seconds, bench_result *result) {
  double *samples = NULL;
  int64_t runs = 0, room = 0;
  gk_status status = GK_OK;
  double end = clock_seconds() + seconds;
  while (status == GK_OK && runs < MOST_RUNS && (runs < fewest || clock_seconds() < end)) {
    if (runs == room) {
      room = room ? 2 * room : 256;
      double *larger = realloc(samples, (size_t)room * 3 * sizeof *larger);
      if (!larger) {
        free(samples);
        return GK_ERROR_MEMORY;
      }
      samples = larger;
    }
    bench_interval interval;
    status = bench_runner_run(runner, &interval);
    samples[3 * runs] = interval.forward;
    samples[3 * runs + 1] = interval.backward;
    samples[3 * runs + 2] = interval.total;
    runs++;
  }
  double *column = status == GK_OK ? malloc((size_t)runs * sizeof *column) : NULL;
  if (status == GK_OK && !column)
    status = GK_ERROR_MEMORY;
  bench_figure *figures[] = {&result->forward, &result->backward, &result->total};
  for (int i = 0; i < 3 && status == GK_OK; i++) {
    for (int64_t run = 0; run < runs; run++)
      column[run] = samples[3 * run + i];
    *figures[i] = figure(column, runs);
  }
  result->runs = runs;
  free(column);
  free(samples);
  return status;
}

gk_status bench_runner_measure(bench_runner *runner, double seconds, bench_result *result) {
  const gk_status status = warm_up(runner, 0.1 * seconds);
  return status == GK_OK ? measure(runner, FEWEST_RUNS, seconds, result) : status;
}

gk_status bench_runner_measure_runs(bench_runner *runner, double seconds, int64_t runs,
                                    bench_result *result) {
  const gk_status status = warm_up(runner, seconds);
  return status == GK_OK ? measure(runner, runs, 0, result) : status;
}

void bench_runner_set_sizes(bench_runner *runner, int64_t time, int64_t batch) {
  runner->shape.time = time;
  runner->shape.batch = batch;
  runner->stream_step = 0;
}

void bench_runner_scale_inputs(bench_runner *runner, float factor) {
  for (int i = X; i <= DCN; i++)
    for (int64_t j = 0; j < runner->count[i]; j++)
      floats(runner, i)[j] *= factor;
}
