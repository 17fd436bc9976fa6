/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"

enum {
  OUTPUT_SIZE = 13,
  OPTIMIZER_STEPS = 2,
  MOST_UPDATED = 50000, /* parameters: updates of larger networks would test nothing more */
  MOST_BUFFERS = 48,
  MOST_RESULTS = 32
};

/* A result as the first way computed it. */
struct result {
  const char *name;
  float *values; /* NULL: a double */
  int64_t count;
  double number;
};

/* Buffers of one lifetime. */
struct pool {
  bool out_of_memory;
  int buffers;
  void *buffer[MOST_BUFFERS];
};

struct verify_job {
  const verify_case *kase;
  gk_cell cell;
  uint64_t seed, stream;
  int64_t states, pairs, output_hidden; /* L*D*N*H; N*T; D*H */
  int64_t parameter_count, output_parameter_count;
  struct pool data;

  int64_t *lengths; /* NULL: all T */
  bool *reset;      /* NULL: none */
  int32_t *tokens, *targets;
  float *parameters, *output_parameters, *x, *h0, *c0, *dhn, *dcn;
  float *old_gradients; /* that the case accumulates onto */

  int results, compared;
  struct result result[MOST_RESULTS];
  const char *problem;
  char message[96];
};

/* One way of computing it. */
struct way {
  verify_job *job;
  gk_rnn *rnn;
  gk_output *output;
  struct pool pool;
  float *y, *hn, *cn, *dy, *gradients, *output_gradients;
  void *packed, *output_packed, *reserve, *workspace, *output_workspace;
};

static void *take_bytes(struct pool *pool, size_t bytes) {
  void *buffer = NULL;
  if (pool->buffers < MOST_BUFFERS && bytes < PTRDIFF_MAX - 64)
    buffer = aligned_alloc(64, (bytes + 64) / 64 * 64);
  if (buffer)
    pool->buffer[pool->buffers++] = buffer;
  else
    pool->out_of_memory = true;
  return buffer;
}

static void release(struct pool *pool) {
  for (int i = 0; i < pool->buffers; i++)
    free(pool->buffer[i]);
  *pool = (struct pool){0};
}

/* Zeros. */
static float *take(struct pool *pool, int64_t count) {
  float *values = take_bytes(pool, (size_t)count * sizeof(float));
  if (values)
    memset(values, 0, (size_t)count * sizeof(float));
  return values;
}

/* ---- Data ---- */

/* Values that no libm function has touched: uniform in [-range, range). */
static float *take_random(verify_job *job, int64_t count, float range) {
  float *values = take(&job->data, count);
  job->stream++;
  for (int64_t i = 0; values && i < count; i++)
    values[i] = (2 * gk_uniform(job->seed, job->stream, (uint64_t)i) - 1) * range;
  return values;
}

/* Whole numbers in [low, high]. */
static int32_t *take_integers(verify_job *job, int64_t count, int32_t low, int32_t high) {
  int32_t *values = take_bytes(&job->data, (size_t)count * sizeof *values);
  job->stream++;
  for (int64_t i = 0; values && i < count; i++)
    values[i] = low + (int32_t)(gk_uniform(job->seed, job->stream, (uint64_t)i) * (float)(high - low + 1));
  return values;
}

/* The index of (t, n) in the case's layout. */
static int64_t pair_index(const verify_job *job, int64_t t, int64_t n) {
  const verify_case *c = job->kase;
  return c->layout == GK_BATCH_FIRST ? n * c->time + t : t * c->batch + n;
}

/* What lies past a sample's end must not be read: NaN, and tokens that do not exist. */
static void poison_padding(const verify_job *job, float *values, int64_t width) {
  for (int64_t n = 0; job->lengths && n < job->kase->batch; n++)
    for (int64_t t = job->lengths[n]; t < job->kase->time; t++)
      for (int64_t i = 0; i < width; i++)
        values[pair_index(job, t, n) * width + i] = NAN;
}

static void make_lengths(verify_job *job) {
  const verify_case *c = job->kase;
  int32_t *random = take_integers(job, c->batch, 0, (int32_t)c->time);
  job->lengths = take_bytes(&job->data, (size_t)c->batch * sizeof *job->lengths);
  if (job->data.out_of_memory)
    return;
  for (int64_t n = 0; n < c->batch; n++)
    job->lengths[n] = n == 1 ? 0 : n == 2 ? c->time : random[n];
  for (int64_t n = 0; n < c->batch; n++)
    for (int64_t t = job->lengths[n]; t < c->time; t++) {
      job->targets[pair_index(job, t, n)] = -1;
      if (job->tokens)
        job->tokens[pair_index(job, t, n)] = INT32_MAX;
    }
  if (job->x)
    poison_padding(job, job->x, c->input);
}

static void make_resets(verify_job *job) {
  int32_t *random = take_integers(job, job->pairs, 0, 3);
  job->reset = take_bytes(&job->data, (size_t)job->pairs * sizeof *job->reset);
  for (int64_t i = 0; i < job->pairs && random && job->reset; i++)
    job->reset[i] = random[i] == 0;
}

static gk_status make_data(verify_job *job) {
  const verify_case *c = job->kase;
  const int64_t cells = gk_cell_has_memory(job->cell) ? job->states : 0;
  job->parameters = take_random(job, job->parameter_count, 1 / sqrtf((float)c->hidden));
  job->output_parameters = take_random(job, job->output_parameter_count, 0.25f);
  job->targets = take_integers(job, job->pairs, -1, OUTPUT_SIZE - 1);
  if (c->vocabulary)
    job->tokens = take_integers(job, job->pairs, 0, (int32_t)c->vocabulary - 1);
  else
    job->x = take_random(job, job->pairs * c->input, 1);
  job->h0 = take_random(job, job->states, 1);
  job->c0 = take_random(job, cells, 1);
  job->dhn = take_random(job, job->states, 0.125f);
  job->dcn = take_random(job, cells, 0.125f);
  if (c->ragged && !job->data.out_of_memory)
    make_lengths(job);
  if (c->resets)
    make_resets(job);
  if (c->accumulate)
    job->old_gradients = take_random(job, job->parameter_count, 1);
  return job->data.out_of_memory ? GK_ERROR_MEMORY : GK_OK;
}

static gk_status set_options(gk_rnn_desc *desc, const char *options) {
  gk_status status = GK_OK;
  while (options && *options && status == GK_OK) {
    char name[32], value[64];
    int used = 0;
    if (sscanf(options, "%31[^=]=%63[^ ] %n", name, value, &used) != 2)
      return GK_ERROR_ARGUMENT;
    status = gk_rnn_option_set(desc, name, value);
    options += used ? used : (int)strlen(options);
  }
  return status;
}

static gk_status create_network(const verify_job *job, const verify_plan *plan, gk_rnn **rnn,
                                gk_output **output) {
  const verify_case *c = job->kase;
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = job->cell;
  desc.input_size = c->input;
  desc.hidden_size = c->hidden;
  desc.layers = c->layers;
  desc.vocabulary = c->vocabulary;
  desc.direction = c->direction;
  if (c->structure) {
    desc.trained_states = true;
    desc.merge = c->direction == GK_BIDIRECTIONAL ? GK_MERGE_SUM : GK_MERGE_CONCATENATE;
    desc.projection_size = job->cell == GK_CELL_LSTM ? c->hidden : 0;
  }
  desc.layout = c->layout;
  desc.activation = c->activation;
  desc.dropout = c->dropout;
  if (c->masks) {
    desc.input_dropout = 0.25f;
    desc.recurrent_dropout = 0.125f;
    desc.weight_dropout = 0.5f;
    desc.zoneout_h = 0.25f;
    desc.zoneout_c = gk_cell_has_memory(job->cell) ? 0.125f : 0;
    desc.dropout_masks = c->dropout_masks;
  }
  desc.isa = plan->isa;
  desc.math = GK_MATH_OWN;
  desc.schedule = plan->schedule;
  desc.threads = plan->threads;
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = job->output_hidden;
  output_desc.output_size = OUTPUT_SIZE;
  output_desc.isa = plan->isa;
  output_desc.threads = plan->threads;
  gk_status status = set_options(&desc, c->options);
  if (status == GK_OK)
    status = gk_rnn_create(&desc, rnn);
  return status == GK_OK ? gk_output_create(&output_desc, output) : status;
}

gk_status verify_open(const verify_case *this_case, gk_cell cell, uint64_t seed, verify_job **result) {
  *result = NULL;
  if (this_case->activation != GK_ACTIVATION_DEFAULT && cell != GK_CELL_RNN)
    return GK_ERROR_UNSUPPORTED;
  const verify_plan any = {.isa = GK_ISA_SCALAR, .threads = 1};
  gk_rnn *rnn = NULL;
  gk_output *output = NULL;
  verify_job *job = calloc(1, sizeof *job);
  if (!job)
    return GK_ERROR_MEMORY;
  job->kase = this_case;
  job->cell = cell;
  job->seed = seed;
  job->stream = checksum_text(CHECKSUM_START, this_case->name) << 8;
  const int64_t directions = this_case->direction == GK_BIDIRECTIONAL ? 2 : 1;
  job->output_hidden = (this_case->structure ? 1 : directions) * this_case->hidden;
  job->states = this_case->layers * directions * this_case->batch * this_case->hidden;
  job->pairs = this_case->batch * this_case->time;
  gk_status status = create_network(job, &any, &rnn, &output);
  if (status == GK_OK) {
    job->parameter_count = gk_rnn_parameter_count(rnn);
    job->output_parameter_count = gk_output_parameter_count(output);
    status = make_data(job);
  }
  gk_rnn_destroy(rnn);
  gk_output_destroy(output);
  if (status != GK_OK)
    verify_close(job);
  else
    *result = job;
  return status;
}

void verify_close(verify_job *job) {
  if (!job)
    return;
  for (int i = 0; i < job->results; i++)
    free(job->result[i].values);
  release(&job->data);
  free(job);
}

/* ---- Results ---- */

static bool same_float(float a, float b) {
  return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static bool same_floats(const float *a, const float *b, int64_t count) {
  if (count == 0 || memcmp(a, b, (size_t)count * sizeof(float)) == 0)
    return true;
  for (int64_t i = 0; i < count; i++)
    if (!same_float(a[i], b[i]))
      return false;
  return true;
}

static const struct result *find_result(const verify_job *job, const char *name) {
  for (int i = 0; i < job->results; i++)
    if (!strcmp(job->result[i].name, name))
      return &job->result[i];
  return NULL;
}

static void complain(verify_job *job, const char *name, const char *what) {
  if (job->problem)
    return;
  snprintf(job->message, sizeof job->message, "%s is not that of %s", name, what);
  job->problem = job->message;
}

/* Keeps a result of the first way, compares one of another. Results come in the same order each time. */
static gk_status add_result(verify_job *job, const char *name, const float *values, int64_t count,
                            double number) {
  if (job->compared < job->results) {
    const struct result *first = &job->result[job->compared++];
    if (values ? !same_floats(values, first->values, count) : memcmp(&number, &first->number, sizeof number))
      complain(job, name, "the first way");
    return GK_OK;
  }
  if (job->results == MOST_RESULTS)
    return GK_ERROR_MEMORY;
  float *kept = values ? malloc((size_t)count * sizeof(float) + 1) : NULL;
  if (values && !kept)
    return GK_ERROR_MEMORY;
  if (values)
    memcpy(kept, values, (size_t)count * sizeof(float));
  job->result[job->results++] = (struct result){name, kept, count, number};
  job->compared = job->results;
  return GK_OK;
}

static gk_status add_floats(verify_job *job, const char *name, const float *values, int64_t count) {
  return add_result(job, name, values, count, 0);
}

static gk_status add_double(verify_job *job, const char *name, double number) {
  return add_result(job, name, NULL, 0, number);
}

/* A result that another one has already given, e.g. single steps and the whole sequence. */
static void must_equal(verify_job *job, const char *name, const float *values, const char *other) {
  const struct result *first = find_result(job, other);
  if (first && !same_floats(values, first->values, first->count))
    complain(job, name, other);
}

int verify_result_count(const verify_job *job) {
  return job->results;
}

const char *verify_result_name(const verify_job *job, int index) {
  return job->result[index].name;
}

uint64_t verify_result_hash(const verify_job *job, int index) {
  const struct result *result = &job->result[index];
  if (result->values)
    return checksum_floats(CHECKSUM_START, result->values, result->count);
  uint64_t bits;
  memcpy(&bits, &result->number, sizeof bits);
  return checksum_word(CHECKSUM_START, bits);
}

/* ---- One way ---- */

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static gk_status take_memory(struct way *way) {
  const verify_job *job = way->job;
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  gk_rnn_memory memory;
  size_t packed, output_packed, output_workspace;
  gk_status status = gk_rnn_packed_bytes(way->rnn, both, &packed);
  if (status == GK_OK)
    status = gk_output_packed_bytes(way->output, both, &output_packed);
  if (status == GK_OK)
    status = gk_rnn_memory_needed(way->rnn, job->kase->time, job->kase->batch, &memory);
  if (status == GK_OK)
    status = gk_output_workspace_bytes(way->output, job->pairs, &output_workspace);
  if (status != GK_OK)
    return status;
  size_t workspace = larger(memory.forward_workspace_bytes, memory.backward_workspace_bytes);
  way->packed = take_bytes(&way->pool, packed);
  way->output_packed = take_bytes(&way->pool, output_packed);
  way->reserve = take_bytes(&way->pool, memory.reserve_bytes);
  way->workspace = take_bytes(&way->pool, larger(workspace, memory.inference_workspace_bytes));
  way->output_workspace = take_bytes(&way->pool, output_workspace);
  way->y = take(&way->pool, job->pairs * job->output_hidden);
  way->dy = take(&way->pool, job->pairs * job->output_hidden);
  way->hn = take(&way->pool, job->states);
  way->cn = take(&way->pool, job->states);
  way->gradients = take(&way->pool, job->parameter_count);
  way->output_gradients = take(&way->pool, job->output_parameter_count);
  return way->pool.out_of_memory ? GK_ERROR_MEMORY : GK_OK;
}

static gk_random_key key_of(const verify_job *job) {
  return (gk_random_key){.seed = job->seed, .step = 3, .first_sample = 5};
}

static gk_status pack(struct way *way, bool training) {
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  const gk_random_key key = key_of(way->job);
  return training ? gk_rnn_pack_dropped(way->rnn, both, &key, way->job->parameters, way->packed)
                  : gk_rnn_pack(way->rnn, both, way->job->parameters, way->packed);
}

static gk_status run_forward(struct way *way, bool training) {
  const verify_job *job = way->job;
  gk_rnn_forward_args args = GK_RNN_FORWARD_ARGS_INIT;
  args.time = job->kase->time;
  args.batch = job->kase->batch;
  args.lengths = job->lengths;
  args.reset = job->reset;
  args.x = job->x;
  args.tokens = job->tokens;
  args.h0 = job->h0;
  args.c0 = job->c0;
  args.parameters = job->parameters;
  args.packed = way->packed;
  args.y = way->y;
  args.hn = way->hn;
  args.cn = way->cn;
  args.random = key_of(job);
  args.reserve = training ? way->reserve : NULL;
  args.workspace = way->workspace;
  return gk_rnn_forward(way->rnn, &args);
}

static gk_status check_forward(struct way *way) {
  verify_job *job = way->job;
  const int64_t outputs = job->pairs * job->output_hidden,
                cells = gk_cell_has_memory(job->cell) ? job->states : 0;
  gk_status status = GK_OK;
  for (int training = 0; training < 2 && status == GK_OK; training++) {
    status = pack(way, training);
    if (status == GK_OK)
      status = run_forward(way, training);
    if (status == GK_OK)
      status = add_floats(job, training ? "y" : "inference y", way->y, outputs);
    if (status == GK_OK)
      status = add_floats(job, training ? "hn" : "inference hn", way->hn, job->states);
    if (status == GK_OK)
      status = add_floats(job, training ? "cn" : "inference cn", way->cn, cells);
  }
  if (job->kase->dropout == 0 && !job->kase->masks) {
    must_equal(job, "y", way->y, "inference y");
    must_equal(job, "hn", way->hn, "inference hn");
    must_equal(job, "cn", way->cn, "inference cn");
  }
  return status;
}

/* Every kind of pooling of y, and back. */
static gk_status check_pools(struct way *way, const verify_plan *plan) {
  static const char *const names[][2] = {
      {"last", "dy of last"}, {"mean", "dy of mean"}, {"max", "dy of max"}};
  verify_job *job = way->job;
  const verify_case *c = job->kase;
  const int64_t rows = c->batch * job->output_hidden, outputs = job->pairs * job->output_hidden;
  float *pooled = take(&way->pool, rows), *dy = take(&way->pool, outputs);
  int32_t *steps = take_bytes(&way->pool, (size_t)rows * sizeof *steps);
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  gk_pool_desc desc = GK_POOL_DESC_INIT;
  desc.direction = c->direction;
  desc.layout = c->layout;
  desc.width = job->output_hidden;
  desc.isa = plan->isa;
  desc.threads = plan->threads;
  gk_status status = GK_OK;
  for (int pool = GK_POOL_LAST; pool <= GK_POOL_MAX && status == GK_OK; pool++) {
    desc.pool = (gk_pool)pool;
    status = gk_pool_forward(&desc, c->time, c->batch, job->lengths, way->y, pooled, steps);
    if (status == GK_OK)
      status = add_floats(job, names[pool][0], pooled, rows);
    if (status == GK_OK)
      status = gk_pool_backward(&desc, c->time, c->batch, job->lengths, steps, pooled, dy);
    if (status == GK_OK)
      status = add_floats(job, names[pool][1], dy, outputs);
  }
  return status;
}

/* Every loss of y against the first values of the parameters, with row weights that leave rows out. */
static gk_status check_losses(struct way *way, const verify_plan *plan) {
  verify_job *job = way->job;
  const int64_t count = job->pairs * job->output_hidden;
  float *dx = take(&way->pool, count), *values = take(&way->pool, count),
        *weights = take(&way->pool, job->pairs);
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  for (int64_t i = 0; i < count; i++)
    values[i] = (float)(i % 5) * 0.25f;
  for (int64_t r = 0; r < job->pairs; r++)
    weights[r] = (float)(r % 3) * 0.5f;
  gk_status status = GK_OK;
  for (int kind = 0; kind < gk_loss_count() && status == GK_OK; kind++) {
    double loss = 0;
    gk_loss_args args = GK_LOSS_ARGS_INIT;
    args.kind = (gk_loss_kind)kind;
    args.rows = job->pairs;
    args.columns = job->output_hidden;
    args.x = way->y;
    args.targets = job->targets;
    args.values = values;
    args.row_weights = weights;
    args.label_smoothing = kind == GK_LOSS_SOFTMAX ? 0.1f : 0;
    args.positive_weight = 2.5f;
    args.huber_delta = 0.3f;
    args.loss = &loss;
    args.dx = dx;
    args.isa = plan->isa;
    args.threads = plan->threads;
    status = gk_loss_gradient(&args);
    if (status == GK_OK)
      status = add_double(job, gk_loss_name(args.kind), loss);
    if (status == GK_OK)
      status = add_floats(job, gk_loss_name(args.kind), dx, count);
  }
  return status;
}

/* Leaves dy for the backward pass. */
static gk_status check_loss(struct way *way) {
  verify_job *job = way->job;
  double loss = 0;
  gk_output_loss_args args = GK_OUTPUT_LOSS_ARGS_INIT;
  args.rows = job->pairs;
  args.h = way->y;
  args.targets = job->targets;
  args.packed = way->output_packed;
  args.loss = &loss;
  args.gradient_scale = 0.0625f;
  args.dh = way->dy;
  args.gradients = way->output_gradients;
  args.workspace = way->output_workspace;
  gk_status status = gk_output_pack(way->output, GK_PACK_FORWARD | GK_PACK_BACKWARD, job->output_parameters,
                                    way->output_packed);
  if (status == GK_OK)
    status = gk_output_loss(way->output, &args);
  if (status == GK_OK)
    status = add_double(job, "loss", loss);
  if (status == GK_OK)
    status = add_floats(job, "dy", way->dy, job->pairs * job->output_hidden);
  if (status == GK_OK)
    status = add_floats(job, "output gradients", way->output_gradients, job->output_parameter_count);
  poison_padding(job, way->dy, job->output_hidden);
  return status;
}

static gk_rnn_backward_args backward_args(const struct way *way) {
  const verify_job *job = way->job;
  gk_rnn_backward_args args = GK_RNN_BACKWARD_ARGS_INIT;
  args.time = job->kase->time;
  args.batch = job->kase->batch;
  args.lengths = job->lengths;
  args.reset = job->reset;
  args.x = job->x;
  args.tokens = job->tokens;
  args.h0 = job->h0;
  args.c0 = job->c0;
  args.parameters = job->parameters;
  args.packed = way->packed;
  args.dy = way->dy;
  args.dhn = job->dhn;
  args.dcn = job->dcn;
  args.gradients = way->gradients;
  args.random = key_of(job);
  args.reserve = way->reserve;
  args.workspace = way->workspace;
  return args;
}

static gk_status check_backward(struct way *way) {
  verify_job *job = way->job;
  const int64_t inputs = job->x ? job->pairs * job->kase->input : 0;
  const int64_t cells = gk_cell_has_memory(job->cell) ? job->states : 0;
  gk_rnn_backward_args args = backward_args(way);
  float *dx = take(&way->pool, inputs), *dh0 = take(&way->pool, job->states), *dc0 = take(&way->pool, cells);
  args.dx = job->x ? dx : NULL;
  args.dh0 = dh0;
  args.dc0 = dc0;
  const int64_t norms = job->kase->trains ? job->states / job->kase->hidden * job->kase->time : 0;
  float *dh_norms = take(&way->pool, norms);
  args.dh_norms = job->kase->trains ? dh_norms : NULL;
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  gk_status status = gk_rnn_backward(way->rnn, &args);
  if (status == GK_OK)
    status = add_floats(job, "dx", dx, inputs);
  if (status == GK_OK)
    status = add_floats(job, "dh0", dh0, job->states);
  if (status == GK_OK)
    status = add_floats(job, "dc0", dc0, cells);
  if (status == GK_OK)
    status = add_floats(job, "gradients", way->gradients, job->parameter_count);
  if (status == GK_OK && job->kase->trains)
    status = add_floats(job, "dh norms", dh_norms, norms);
  return status;
}

/* The same gradients, added to old ones: each sum must be the one of both finished values. */
static gk_status check_accumulate(struct way *way) {
  verify_job *job = way->job;
  const int64_t count = job->parameter_count;
  gk_rnn_backward_args args = backward_args(way);
  float *sum = take(&way->pool, count), *wanted = take(&way->pool, count);
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  memcpy(sum, job->old_gradients, (size_t)count * sizeof(float));
  for (int64_t i = 0; i < count; i++)
    wanted[i] = job->old_gradients[i] + way->gradients[i];
  args.gradients = sum;
  args.accumulate = true;
  gk_status status = run_forward(way, true);
  if (status == GK_OK)
    status = gk_rnn_backward(way->rnn, &args);
  if (status == GK_OK)
    status = add_floats(job, "accumulated gradients", sum, count);
  must_equal(job, "old + new gradients", wanted, "accumulated gradients");
  return status;
}

/* A few steps of one optimizer on a copy of the parameters. */
static gk_status check_optimizer(struct way *way, const verify_plan *plan, gk_optimizer_kind kind,
                                 float scale) {
  verify_job *job = way->job;
  gk_optimizer_desc desc = GK_OPTIMIZER_DESC_INIT;
  desc.kind = kind;
  desc.momentum = 0.9f;
  desc.nesterov = job->kase->trains && kind == GK_OPTIMIZER_SGD;
  desc.rate_decay = 0.1f;
  desc.weight_decay = 0.01f;
  desc.isa = plan->isa;
  desc.threads = plan->threads;
  int64_t floats;
  gk_status status = gk_optimizer_state_count(&desc, job->parameter_count, &floats);
  if (status != GK_OK)
    return status;
  float *parameters = take(&way->pool, job->parameter_count), *state = take(&way->pool, floats);
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  memcpy(parameters, job->parameters, (size_t)job->parameter_count * sizeof(float));
  for (int64_t step = 1; step <= OPTIMIZER_STEPS && status == GK_OK; step++)
    status =
        gk_optimizer_step(&desc, step, 0.01, scale, job->parameter_count, parameters, way->gradients, state);
  return status == GK_OK ? add_floats(job, gk_optimizer_name(kind), parameters, job->parameter_count)
                         : status;
}

/* In place, so that it comes last. */
static gk_status check_clipping(struct way *way, const verify_plan *plan, double norm) {
  verify_job *job = way->job;
  float *const gradients[] = {way->gradients, way->output_gradients};
  const int64_t counts[] = {job->parameter_count, job->output_parameter_count};
  gk_status status = gk_clip_values(plan->isa, plan->threads, 2, gradients, counts, (float)(norm * 0.01));
  if (status == GK_OK)
    status = gk_clip_norms(plan->isa, plan->threads, 2, gradients, counts, 0.1 * norm, NULL);
  return status == GK_OK ? add_floats(job, "clipped gradients", way->gradients, job->parameter_count)
                         : status;
}

/* Clipping to half of the norm, then every optimizer. */
static gk_status check_update(struct way *way, const verify_plan *plan) {
  verify_job *job = way->job;
  const float *const gradients[] = {way->gradients, way->output_gradients};
  const int64_t counts[] = {job->parameter_count, job->output_parameter_count};
  double norm = 0;
  gk_status status = gk_gradient_norm(plan->isa, plan->threads, 2, gradients, counts, &norm);
  const float scale = gk_clip_scale(norm, 0.5 * norm);
  if (status == GK_OK)
    status = add_double(job, "gradient norm", norm);
  if (status == GK_OK)
    status = add_floats(job, "clip scale", &scale, 1);
  const int last = job->kase->trains ? gk_optimizer_count() - 1 : GK_OPTIMIZER_ADAM;
  for (int kind = GK_OPTIMIZER_SGD; kind <= last && status == GK_OK; kind++)
    if (job->parameter_count <= MOST_UPDATED)
      status = check_optimizer(way, plan, (gk_optimizer_kind)kind, scale);
  return status == GK_OK && job->kase->trains ? check_clipping(way, plan, norm) : status;
}

/* The whole sequence one step at a time, from the same initial states: inference must have given the same. */
static gk_status check_stream(struct way *way) {
  verify_job *job = way->job;
  const verify_case *c = job->kase;
  const bool memory = gk_cell_has_memory(job->cell);
  float *y = take(&way->pool, job->pairs * c->hidden), *step = take(&way->pool, c->batch * c->hidden);
  float *h = take(&way->pool, job->states), *cell = take(&way->pool, job->states);
  float *x = take(&way->pool, c->batch * c->input);
  int32_t *tokens = take_bytes(&way->pool, (size_t)c->batch * sizeof *tokens);
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  gk_rnn_step_args args = GK_RNN_STEP_ARGS_INIT;
  args.batch = c->batch;
  args.x = job->x ? x : NULL;
  args.tokens = job->tokens ? tokens : NULL;
  args.parameters = job->parameters;
  args.packed = way->packed;
  args.h = memcpy(h, job->h0, (size_t)job->states * sizeof(float));
  args.c = memory ? memcpy(cell, job->c0, (size_t)job->states * sizeof(float)) : NULL;
  args.y = step;
  args.workspace = way->workspace;
  bool reset[64];
  args.reset = job->reset && c->batch <= 64 ? reset : NULL;
  gk_status status = pack(way, false);
  for (int64_t t = 0; t < c->time && status == GK_OK; t++) {
    for (int64_t n = 0; n < c->batch; n++) {
      const int64_t pair = pair_index(job, t, n);
      if (args.reset)
        reset[n] = job->reset[pair];
      if (job->x)
        memcpy(x + n * c->input, job->x + pair * c->input, (size_t)c->input * sizeof(float));
      if (job->tokens)
        tokens[n] = job->tokens[pair];
    }
    status = gk_rnn_step(way->rnn, &args);
    for (int64_t n = 0; n < c->batch; n++)
      memcpy(y + pair_index(job, t, n) * c->hidden, step + n * c->hidden, (size_t)c->hidden * sizeof(float));
  }
  must_equal(job, "y of single steps", y, "inference y");
  must_equal(job, "hn of single steps", h, "inference hn");
  must_equal(job, "cn of single steps", cell, "inference cn");
  return status;
}

gk_status verify_compute(verify_job *job, const verify_plan *plan, const char **problem) {
  struct way way = {.job = job};
  job->compared = 0;
  job->problem = NULL;
  gk_status status = create_network(job, plan, &way.rnn, &way.output);
  if (status == GK_OK)
    status = take_memory(&way);
  if (status == GK_OK)
    status = check_forward(&way);
  if (status == GK_OK && job->kase->pools)
    status = check_pools(&way, plan);
  if (status == GK_OK && job->kase->trains)
    status = check_losses(&way, plan);
  if (status == GK_OK)
    status = check_loss(&way);
  if (status == GK_OK)
    status = check_backward(&way);
  if (status == GK_OK && job->kase->accumulate)
    status = check_accumulate(&way);
  if (status == GK_OK)
    status = check_update(&way, plan);
  if (status == GK_OK && !job->kase->ragged && job->kase->direction == GK_FORWARD)
    status = check_stream(&way);
  release(&way.pool);
  gk_output_destroy(way.output);
  gk_rnn_destroy(way.rnn);
  *problem = job->problem;
  return status;
}
