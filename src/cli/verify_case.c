/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"

/* Hidden and input sizes that end in every kind of tail; sums longer than a block of 256, over hidden units,
 * inputs and (t, sample) pairs; every feature once alone and once with others. */
const verify_case verify_cases[] = {
    {.name = "one", .input = 1, .hidden = 1, .layers = 1, .batch = 1, .time = 1},
    {.name = "hidden-3", .input = 2, .hidden = 3, .layers = 1, .batch = 2, .time = 5},
    {.name = "hidden-17", .input = 5, .hidden = 17, .layers = 1, .batch = 3, .time = 4},
    {.name = "hidden-33", .input = 33, .hidden = 33, .layers = 1, .batch = 4, .time = 3},
    {.name = "hidden-70", .input = 40, .hidden = 70, .layers = 1, .batch = 7, .time = 3},
    {.name = "hidden-128", .input = 19, .hidden = 128, .layers = 1, .batch = 6, .time = 2},
    {.name = "long-recurrent-sum", .input = 3, .hidden = 260, .layers = 1, .batch = 2, .time = 2},
    {.name = "long-input-sum", .input = 520, .hidden = 9, .layers = 1, .batch = 5, .time = 2},
    {.name = "long-gradient-sum", .input = 3, .hidden = 6, .layers = 1, .batch = 7, .time = 40},
    {.name = "relu",
     .input = 6,
     .hidden = 20,
     .layers = 2,
     .batch = 3,
     .time = 4,
     .activation = GK_ACTIVATION_RELU},
    {.name = "layers", .input = 7, .hidden = 18, .layers = 3, .batch = 5, .time = 6},
    {.name = "batch-first",
     .input = 7,
     .hidden = 18,
     .layers = 2,
     .batch = 3,
     .time = 4,
     .layout = GK_BATCH_FIRST},
    {.name = "ragged", .input = 9, .hidden = 21, .layers = 1, .batch = 7, .time = 6, .ragged = true},
    {.name = "dropout", .input = 9, .hidden = 21, .layers = 3, .batch = 4, .time = 5, .dropout = 0.25f},
    {.name = "tokens", .input = 10, .hidden = 19, .layers = 1, .vocabulary = 11, .batch = 6, .time = 7},
    {.name = "many-tokens", .input = 8, .hidden = 12, .layers = 1, .vocabulary = 300, .batch = 7, .time = 39},
    {.name = "reverse",
     .input = 6,
     .hidden = 13,
     .layers = 2,
     .batch = 4,
     .time = 5,
     .direction = GK_REVERSE},
    {.name = "bidirectional",
     .input = 6,
     .hidden = 13,
     .layers = 2,
     .batch = 4,
     .time = 5,
     .direction = GK_BIDIRECTIONAL},
    {.name = "everything",
     .input = 12,
     .hidden = 35,
     .layers = 2,
     .vocabulary = 23,
     .batch = 6,
     .time = 5,
     .layout = GK_BATCH_FIRST,
     .dropout = 0.5f,
     .ragged = true},
};
const int verify_case_count = sizeof verify_cases / sizeof *verify_cases;

enum { OUTPUT_SIZE = 13, OPTIMIZER_STEPS = 2, MOST_BUFFERS = 64 };

/* One case, one cell, one plan. Buffers live until the end. */
struct job {
  const verify_case *kase;
  uint64_t seed, stream;
  int64_t states, pairs, output_hidden; /* L*D*N*H; N*T; D*H */
  gk_rnn *rnn;
  gk_output *output;
  gk_random_key random;
  int64_t *lengths; /* NULL: all T */
  int32_t *tokens, *targets;
  float *parameters, *output_parameters, *x, *h0, *c0, *dhn, *dcn;
  float *y, *hn, *cn, *dy, *gradients, *output_gradients;
  void *packed, *output_packed, *reserve, *workspace, *output_workspace;
  bool out_of_memory;
  int buffers;
  void *buffer[MOST_BUFFERS];
};

static void *take_bytes(struct job *job, size_t bytes) {
  if (job->buffers == MOST_BUFFERS || bytes > PTRDIFF_MAX - 64) {
    job->out_of_memory = true;
    return NULL;
  }
  void *buffer = aligned_alloc(64, (bytes + 64) / 64 * 64);
  if (buffer)
    job->buffer[job->buffers++] = buffer;
  else
    job->out_of_memory = true;
  return buffer;
}

/* Zeros. */
static float *take(struct job *job, int64_t count) {
  float *values = take_bytes(job, (size_t)count * sizeof(float));
  if (values)
    memset(values, 0, (size_t)count * sizeof(float));
  return values;
}

/* Values that no libm function has touched: uniform in [-range, range). */
static float *take_random(struct job *job, int64_t count, float range) {
  float *values = take(job, count);
  job->stream++;
  for (int64_t i = 0; values && i < count; i++)
    values[i] = (2 * gk_uniform(job->seed, job->stream, (uint64_t)i) - 1) * range;
  return values;
}

/* Whole numbers in [low, high]. */
static int32_t *take_integers(struct job *job, int64_t count, int32_t low, int32_t high) {
  int32_t *values = take_bytes(job, (size_t)count * sizeof *values);
  job->stream++;
  for (int64_t i = 0; values && i < count; i++)
    values[i] = low + (int32_t)(gk_uniform(job->seed, job->stream, (uint64_t)i) * (float)(high - low + 1));
  return values;
}

static void add_hash(verify_hashes *hashes, const char *name, uint64_t hash) {
  if (hashes->count == VERIFY_MOST_PARTS)
    abort();
  hashes->part[hashes->count].name = name;
  hashes->part[hashes->count++].hash = hash;
}

static void add_floats(verify_hashes *hashes, const char *name, const float *values, int64_t count) {
  add_hash(hashes, name, checksum_floats(CHECKSUM_START, values, count));
}

/* The index of (t, n) in the case's layout. */
static int64_t pair_index(const struct job *job, int64_t t, int64_t n) {
  const verify_case *c = job->kase;
  return c->layout == GK_BATCH_FIRST ? n * c->time + t : t * c->batch + n;
}

/* What lies past a sample's end must not be read: NaN, and tokens that do not exist. */
static void poison_padding(struct job *job, float *values, int64_t width) {
  for (int64_t n = 0; job->lengths && n < job->kase->batch; n++)
    for (int64_t t = job->lengths[n]; t < job->kase->time; t++)
      for (int64_t i = 0; i < width; i++)
        values[pair_index(job, t, n) * width + i] = NAN;
}

static void make_lengths(struct job *job) {
  const verify_case *c = job->kase;
  int32_t *random = take_integers(job, c->batch, 0, (int32_t)c->time);
  job->lengths = take_bytes(job, (size_t)c->batch * sizeof *job->lengths);
  if (job->out_of_memory)
    return;
  for (int64_t n = 0; n < c->batch; n++)
    job->lengths[n] = n == 1 ? 0 : n == 2 ? c->time : random[n];
  for (int64_t n = 0; n < c->batch; n++)
    for (int64_t t = job->lengths[n]; t < c->time; t++) {
      job->targets[pair_index(job, t, n)] = -1;
      if (job->tokens)
        job->tokens[pair_index(job, t, n)] = INT32_MAX;
    }
}

static gk_status create(struct job *job, gk_cell cell, const verify_plan *plan) {
  const verify_case *c = job->kase;
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  gk_output_desc output = GK_OUTPUT_DESC_INIT;
  desc.cell = cell;
  desc.input_size = c->input;
  desc.hidden_size = c->hidden;
  desc.layers = c->layers;
  desc.vocabulary = c->vocabulary;
  desc.direction = c->direction;
  desc.layout = c->layout;
  desc.activation = c->activation;
  desc.dropout = c->dropout;
  desc.isa = output.isa = plan->isa;
  desc.math = GK_MATH_OWN;
  desc.schedule = plan->schedule;
  desc.threads = output.threads = plan->threads;
  const int64_t directions = c->direction == GK_BIDIRECTIONAL ? 2 : 1;
  output.input_size = job->output_hidden = directions * c->hidden;
  output.output_size = OUTPUT_SIZE;
  job->states = c->layers * directions * c->batch * c->hidden;
  job->pairs = c->batch * c->time;
  gk_status status = gk_rnn_create(&desc, &job->rnn);
  return status == GK_OK ? gk_output_create(&output, &job->output) : status;
}

static gk_status take_work_memory(struct job *job) {
  gk_rnn_memory memory;
  size_t packed, output_packed, output_workspace;
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  gk_status status = gk_rnn_packed_bytes(job->rnn, both, &packed);
  if (status == GK_OK)
    status = gk_output_packed_bytes(job->output, both, &output_packed);
  if (status == GK_OK)
    status = gk_rnn_memory_needed(job->rnn, job->kase->time, job->kase->batch, &memory);
  if (status == GK_OK)
    status = gk_output_workspace_bytes(job->output, job->pairs, &output_workspace);
  if (status != GK_OK)
    return status;
  size_t workspace = memory.forward_workspace_bytes;
  if (workspace < memory.inference_workspace_bytes)
    workspace = memory.inference_workspace_bytes;
  if (workspace < memory.backward_workspace_bytes)
    workspace = memory.backward_workspace_bytes;
  job->packed = take_bytes(job, packed);
  job->output_packed = take_bytes(job, output_packed);
  job->reserve = take_bytes(job, memory.reserve_bytes);
  job->workspace = take_bytes(job, workspace);
  job->output_workspace = take_bytes(job, output_workspace);
  return job->out_of_memory ? GK_ERROR_MEMORY : GK_OK;
}

static gk_status make_data(struct job *job) {
  const verify_case *c = job->kase;
  const int64_t parameters = gk_rnn_parameter_count(job->rnn);
  const int64_t output_parameters = gk_output_parameter_count(job->output);
  const bool memory = gk_cell_has_memory(gk_rnn_description(job->rnn)->cell);
  job->random = (gk_random_key){.seed = job->seed, .step = 3, .first_sample = 5};
  job->parameters = take_random(job, parameters, 1 / sqrtf((float)c->hidden));
  job->output_parameters = take_random(job, output_parameters, 0.25f);
  job->targets = take_integers(job, job->pairs, -1, OUTPUT_SIZE - 1);
  if (c->vocabulary)
    job->tokens = take_integers(job, job->pairs, 0, (int32_t)c->vocabulary - 1);
  else
    job->x = take_random(job, job->pairs * c->input, 1);
  job->h0 = take_random(job, job->states, 1);
  job->c0 = take_random(job, memory ? job->states : 0, 1);
  job->dhn = take_random(job, job->states, 0.125f);
  job->dcn = take_random(job, memory ? job->states : 0, 0.125f);
  job->y = take(job, job->pairs * job->output_hidden);
  job->dy = take(job, job->pairs * job->output_hidden);
  job->hn = take(job, job->states);
  job->cn = take(job, job->states);
  job->gradients = take(job, parameters);
  job->output_gradients = take(job, output_parameters);
  gk_status status = take_work_memory(job);
  if (c->ragged && status == GK_OK)
    make_lengths(job);
  if (job->out_of_memory)
    return GK_ERROR_MEMORY;
  if (status == GK_OK && job->x)
    poison_padding(job, job->x, c->input);
  return status;
}

static gk_status run_forward(struct job *job, bool training) {
  gk_rnn_forward_args args = GK_RNN_FORWARD_ARGS_INIT;
  args.time = job->kase->time;
  args.batch = job->kase->batch;
  args.lengths = job->lengths;
  args.x = job->x;
  args.tokens = job->tokens;
  args.h0 = job->h0;
  args.c0 = job->c0;
  args.parameters = job->parameters;
  args.packed = job->packed;
  args.y = job->y;
  args.hn = job->hn;
  args.cn = job->cn;
  args.random = job->random;
  args.reserve = training ? job->reserve : NULL;
  args.workspace = job->workspace;
  return gk_rnn_forward(job->rnn, &args);
}

static void hash_forward(const struct job *job, const char *const names[3], verify_hashes *hashes) {
  const bool memory = gk_cell_has_memory(gk_rnn_description(job->rnn)->cell);
  add_floats(hashes, names[0], job->y, job->pairs * job->output_hidden);
  add_floats(hashes, names[1], job->hn, job->states);
  add_floats(hashes, names[2], job->cn, memory ? job->states : 0);
}

/* Inference, training forward, output layer with loss; leaves dy for the backward pass. */
static gk_status check_forward(struct job *job, verify_hashes *hashes) {
  static const char *const inference[] = {"inference y", "inference hn", "inference cn"};
  static const char *const training[] = {"y", "hn", "cn"};
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  double loss = 0;
  gk_status status = gk_rnn_pack(job->rnn, both, job->parameters, job->packed);
  if (status == GK_OK)
    status = gk_output_pack(job->output, both, job->output_parameters, job->output_packed);
  if (status == GK_OK)
    status = run_forward(job, false);
  if (status == GK_OK)
    hash_forward(job, inference, hashes);
  if (status == GK_OK)
    status = run_forward(job, true);
  if (status != GK_OK)
    return status;
  hash_forward(job, training, hashes);

  gk_output_loss_args args = GK_OUTPUT_LOSS_ARGS_INIT;
  args.rows = job->pairs;
  args.h = job->y;
  args.targets = job->targets;
  args.packed = job->output_packed;
  args.loss = &loss;
  args.gradient_scale = 0.0625f;
  args.dh = job->dy;
  args.gradients = job->output_gradients;
  args.workspace = job->output_workspace;
  status = gk_output_loss(job->output, &args);
  uint64_t bits;
  memcpy(&bits, &loss, sizeof bits);
  add_hash(hashes, "loss", checksum_word(CHECKSUM_START, bits));
  add_floats(hashes, "dy", job->dy, job->pairs * job->output_hidden);
  add_floats(hashes, "output gradients", job->output_gradients, gk_output_parameter_count(job->output));
  poison_padding(job, job->dy, job->output_hidden);
  return status;
}

static gk_status check_backward(struct job *job, verify_hashes *hashes) {
  const int64_t inputs = job->x ? job->pairs * job->kase->input : 0;
  const bool memory = gk_cell_has_memory(gk_rnn_description(job->rnn)->cell);
  gk_rnn_backward_args args = GK_RNN_BACKWARD_ARGS_INIT;
  args.time = job->kase->time;
  args.batch = job->kase->batch;
  args.lengths = job->lengths;
  args.x = job->x;
  args.tokens = job->tokens;
  args.h0 = job->h0;
  args.c0 = job->c0;
  args.parameters = job->parameters;
  args.packed = job->packed;
  args.dy = job->dy;
  args.dhn = job->dhn;
  args.dcn = job->dcn;
  args.dx = job->x ? take(job, inputs) : NULL;
  args.dh0 = take(job, job->states);
  args.dc0 = take(job, job->states);
  args.gradients = job->gradients;
  args.random = job->random;
  args.reserve = job->reserve;
  args.workspace = job->workspace;
  if (job->out_of_memory)
    return GK_ERROR_MEMORY;
  gk_status status = gk_rnn_backward(job->rnn, &args);
  add_floats(hashes, "dx", args.dx, inputs);
  add_floats(hashes, "dh0", args.dh0, job->states);
  add_floats(hashes, "dc0", args.dc0, memory ? job->states : 0);
  add_floats(hashes, "gradients", job->gradients, gk_rnn_parameter_count(job->rnn));
  return status;
}

/* A few steps of one optimizer on a copy of the parameters. */
static gk_status check_optimizer(struct job *job, gk_optimizer_kind kind, float scale,
                                 verify_hashes *hashes) {
  const int64_t count = gk_rnn_parameter_count(job->rnn);
  gk_optimizer_desc desc = GK_OPTIMIZER_DESC_INIT;
  desc.kind = kind;
  desc.momentum = 0.9f;
  desc.weight_decay = 0.01f;
  desc.isa = gk_rnn_description(job->rnn)->isa;
  desc.threads = gk_rnn_description(job->rnn)->threads;
  int64_t floats;
  gk_status status = gk_optimizer_state_count(&desc, count, &floats);
  if (status != GK_OK)
    return status;
  float *parameters = take(job, count), *state = take(job, floats);
  if (job->out_of_memory)
    return GK_ERROR_MEMORY;
  memcpy(parameters, job->parameters, (size_t)count * sizeof(float));
  for (int64_t step = 1; step <= OPTIMIZER_STEPS && status == GK_OK; step++)
    status = gk_optimizer_step(&desc, step, 0.01, scale, count, parameters, job->gradients, state);
  add_floats(hashes, gk_optimizer_name(kind), parameters, count);
  return status;
}

/* Clipping to half of the norm, then every optimizer. */
static gk_status check_update(struct job *job, verify_hashes *hashes) {
  const float *const gradients[] = {job->gradients, job->output_gradients};
  const int64_t counts[] = {gk_rnn_parameter_count(job->rnn), gk_output_parameter_count(job->output)};
  const gk_rnn_desc *desc = gk_rnn_description(job->rnn);
  double norm = 0;
  gk_status status = gk_gradient_norm(desc->isa, desc->threads, 2, gradients, counts, &norm);
  const float scale = gk_clip_scale(norm, 0.5 * norm);
  uint64_t bits;
  memcpy(&bits, &norm, sizeof bits);
  add_hash(hashes, "gradient norm", checksum_word(CHECKSUM_START, bits));
  add_floats(hashes, "clip scale", &scale, 1);
  for (int kind = GK_OPTIMIZER_SGD; kind <= GK_OPTIMIZER_ADAM && status == GK_OK; kind++)
    status = check_optimizer(job, (gk_optimizer_kind)kind, scale, hashes);
  return status;
}

/* The whole sequence one step at a time, from the same initial states: as inference, but y one step a time.
 */
static gk_status check_stream(struct job *job, verify_hashes *hashes) {
  const verify_case *c = job->kase;
  float *y = take(job, job->pairs * c->hidden), *h = take(job, job->states), *cell = take(job, job->states);
  float *x = take(job, c->batch * c->input);
  int32_t *tokens = take_bytes(job, (size_t)c->batch * sizeof *tokens);
  if (job->out_of_memory)
    return GK_ERROR_MEMORY;
  gk_rnn_step_args args = GK_RNN_STEP_ARGS_INIT;
  args.batch = c->batch;
  args.x = job->x ? x : NULL;
  args.tokens = job->tokens ? tokens : NULL;
  args.parameters = job->parameters;
  args.packed = job->packed;
  args.h = h;
  args.c = gk_cell_has_memory(gk_rnn_description(job->rnn)->cell) ? cell : NULL;
  args.workspace = job->workspace;
  memcpy(h, job->h0, (size_t)job->states * sizeof(float));
  if (args.c)
    memcpy(cell, job->c0, (size_t)job->states * sizeof(float));
  gk_status status = GK_OK;
  for (int64_t t = 0; t < c->time && status == GK_OK; t++) {
    for (int64_t n = 0; n < c->batch; n++) {
      const int64_t pair = pair_index(job, t, n);
      if (job->x)
        memcpy(x + n * c->input, job->x + pair * c->input, (size_t)c->input * sizeof(float));
      else
        tokens[n] = job->tokens[pair];
    }
    float *step = take(job, c->batch * c->hidden);
    if (!step)
      return GK_ERROR_MEMORY;
    args.y = step;
    status = gk_rnn_step(job->rnn, &args);
    for (int64_t n = 0; n < c->batch; n++)
      memcpy(y + pair_index(job, t, n) * c->hidden, step + n * c->hidden, (size_t)c->hidden * sizeof(float));
    free(job->buffer[--job->buffers]);
  }
  add_floats(hashes, "stream y", y, job->pairs * c->hidden);
  add_floats(hashes, "stream hn", h, job->states);
  add_floats(hashes, "stream cn", cell, args.c ? job->states : 0);
  return status;
}

gk_status verify_run(const verify_case *this_case, gk_cell cell, uint64_t seed, const verify_plan *plan,
                     verify_hashes *hashes) {
  struct job job = {.kase = this_case, .seed = seed};
  job.stream = checksum_text(CHECKSUM_START, this_case->name) << 8;
  *hashes = (verify_hashes){0};
  gk_status status = create(&job, cell, plan);
  if (status == GK_OK)
    status = make_data(&job);
  if (status == GK_OK)
    status = check_forward(&job, hashes);
  if (status == GK_OK)
    status = check_backward(&job, hashes);
  if (status == GK_OK)
    status = check_update(&job, hashes);
  if (status == GK_OK && !this_case->ragged && this_case->direction == GK_FORWARD)
    status = check_stream(&job, hashes);
  for (int i = 0; i < job.buffers; i++)
    free(job.buffer[i]);
  gk_output_destroy(job.output);
  gk_rnn_destroy(job.rnn);
  return status;
}
