/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_job.h"

#include <string.h>

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static gk_status take_memory(struct way *way) {
  const verify_job *job = way->job;
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  gk_rnn_memory memory;
  size_t packed, output_packed, output_workspace;
  gk_status status = gk_rnn_packed_bytes(way->rnn, way->pack_flags, &packed);
  if (status == GK_OK)
    status = gk_output_packed_bytes(way->output, both, &output_packed);
  if (status == GK_OK)
    status = gk_rnn_memory_needed(way->rnn, job->kase->time, job->kase->batch, &memory);
  if (status == GK_OK)
    status = gk_output_workspace_bytes(way->output, job->pairs, &output_workspace);
  if (status != GK_OK)
    return status;
  size_t workspace = larger(memory.forward_workspace_bytes, memory.backward_workspace_bytes);
  way->packed = verify_take_bytes(&way->pool, packed);
  way->output_packed = verify_take_bytes(&way->pool, output_packed);
  way->reserve = verify_take_bytes(&way->pool, memory.reserve_bytes);
  way->workspace = verify_take_bytes(&way->pool, larger(workspace, memory.inference_workspace_bytes));
  way->output_workspace = verify_take_bytes(&way->pool, output_workspace);
  way->y = verify_take(&way->pool, job->pairs * job->output_hidden);
  way->dy = verify_take(&way->pool, job->pairs * job->output_hidden);
  way->hn = verify_take(&way->pool, job->states);
  way->cn = verify_take(&way->pool, job->states);
  way->gradients = verify_take(&way->pool, job->parameter_count);
  way->output_gradients = verify_take(&way->pool, job->output_parameter_count);
  return way->pool.out_of_memory ? GK_ERROR_MEMORY : GK_OK;
}

static gk_status pack(struct way *way, bool training) {
  const gk_random_key key = verify_key(way->job);
  return training ? gk_rnn_pack_dropped(way->rnn, way->pack_flags, &key, way->job->parameters, way->packed)
                  : gk_rnn_pack(way->rnn, way->pack_flags, way->job->parameters, way->packed);
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
  args.random = verify_key(job);
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
      status = verify_add_floats(job, training ? "y" : "inference y", way->y, outputs);
    if (status == GK_OK)
      status = verify_add_floats(job, training ? "hn" : "inference hn", way->hn, job->states);
    if (status == GK_OK)
      status = verify_add_floats(job, training ? "cn" : "inference cn", way->cn, cells);
  }
  if (job->kase->dropout == 0 && !job->kase->masks) {
    verify_must_equal(job, "y", way->y, "inference y");
    verify_must_equal(job, "hn", way->hn, "inference hn");
    verify_must_equal(job, "cn", way->cn, "inference cn");
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
  float *pooled = verify_take(&way->pool, rows), *dy = verify_take(&way->pool, outputs);
  int32_t *steps = verify_take_bytes(&way->pool, (size_t)rows * sizeof *steps);
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
      status = verify_add_floats(job, names[pool][0], pooled, rows);
    if (status == GK_OK)
      status = gk_pool_backward(&desc, c->time, c->batch, job->lengths, steps, pooled, dy);
    if (status == GK_OK)
      status = verify_add_floats(job, names[pool][1], dy, outputs);
  }
  return status;
}

/* Every loss of y against the first values of the parameters, with row weights that leave rows out. */
static gk_status check_losses(struct way *way, const verify_plan *plan) {
  verify_job *job = way->job;
  const int64_t count = job->pairs * job->output_hidden;
  float *dx = verify_take(&way->pool, count), *values = verify_take(&way->pool, count),
        *weights = verify_take(&way->pool, job->pairs);
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
      status = verify_add_double(job, gk_loss_name(args.kind), loss);
    if (status == GK_OK)
      status = verify_add_floats(job, gk_loss_name(args.kind), dx, count);
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
    status = verify_add_double(job, "loss", loss);
  if (status == GK_OK)
    status = verify_add_floats(job, "dy", way->dy, job->pairs * job->output_hidden);
  if (status == GK_OK)
    status = verify_add_floats(job, "output gradients", way->output_gradients, job->output_parameter_count);
  verify_poison_padding(job, way->dy, job->output_hidden);
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
  args.random = verify_key(job);
  args.reserve = way->reserve;
  args.workspace = way->workspace;
  return args;
}

static gk_status check_backward(struct way *way) {
  verify_job *job = way->job;
  const int64_t inputs = job->x ? job->pairs * job->kase->input : 0;
  const int64_t cells = gk_cell_has_memory(job->cell) ? job->states : 0;
  gk_rnn_backward_args args = backward_args(way);
  float *dx = verify_take(&way->pool, inputs), *dh0 = verify_take(&way->pool, job->states),
        *dc0 = verify_take(&way->pool, cells);
  args.dx = job->x ? dx : NULL;
  args.dh0 = dh0;
  args.dc0 = dc0;
  const int64_t norms = job->kase->trains ? job->states / job->kase->hidden * job->kase->time : 0;
  float *dh_norms = verify_take(&way->pool, norms);
  args.dh_norms = job->kase->trains ? dh_norms : NULL;
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  gk_status status = gk_rnn_backward(way->rnn, &args);
  if (status == GK_OK)
    status = verify_add_floats(job, "dx", dx, inputs);
  if (status == GK_OK)
    status = verify_add_floats(job, "dh0", dh0, job->states);
  if (status == GK_OK)
    status = verify_add_floats(job, "dc0", dc0, cells);
  if (status == GK_OK)
    status = verify_add_floats(job, "gradients", way->gradients, job->parameter_count);
  if (status == GK_OK && job->kase->trains)
    status = verify_add_floats(job, "dh norms", dh_norms, norms);
  return status;
}

/* The same gradients, added to old ones: each sum must be the one of both finished values. */
static gk_status check_accumulate(struct way *way) {
  verify_job *job = way->job;
  const int64_t count = job->parameter_count;
  gk_rnn_backward_args args = backward_args(way);
  float *sum = verify_take(&way->pool, count), *wanted = verify_take(&way->pool, count);
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
    status = verify_add_floats(job, "accumulated gradients", sum, count);
  verify_must_equal(job, "old + new gradients", wanted, "accumulated gradients");
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
  float *parameters = verify_take(&way->pool, job->parameter_count), *state = verify_take(&way->pool, floats);
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  memcpy(parameters, job->parameters, (size_t)job->parameter_count * sizeof(float));
  for (int64_t step = 1; step <= OPTIMIZER_STEPS && status == GK_OK; step++)
    status =
        gk_optimizer_step(&desc, step, 0.01, scale, job->parameter_count, parameters, way->gradients, state);
  return status == GK_OK ? verify_add_floats(job, gk_optimizer_name(kind), parameters, job->parameter_count)
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
  return status == GK_OK ? verify_add_floats(job, "clipped gradients", way->gradients, job->parameter_count)
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
    status = verify_add_double(job, "gradient norm", norm);
  if (status == GK_OK)
    status = verify_add_floats(job, "clip scale", &scale, 1);
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
  float *y = verify_take(&way->pool, job->pairs * c->hidden),
        *step = verify_take(&way->pool, c->batch * c->hidden);
  float *h = verify_take(&way->pool, job->states), *cell = verify_take(&way->pool, job->states);
  float *x = verify_take(&way->pool, c->batch * c->input);
  int32_t *tokens = verify_take_bytes(&way->pool, (size_t)c->batch * sizeof *tokens);
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
      const int64_t pair = verify_pair_index(job, t, n);
      if (args.reset)
        reset[n] = job->reset[pair];
      if (job->x)
        memcpy(x + n * c->input, job->x + pair * c->input, (size_t)c->input * sizeof(float));
      if (job->tokens)
        tokens[n] = job->tokens[pair];
    }
    status = gk_rnn_step(way->rnn, &args);
    for (int64_t n = 0; n < c->batch; n++)
      memcpy(y + verify_pair_index(job, t, n) * c->hidden, step + n * c->hidden,
             (size_t)c->hidden * sizeof(float));
  }
  verify_must_equal(job, "y of single steps", y, "inference y");
  verify_must_equal(job, "hn of single steps", h, "inference hn");
  verify_must_equal(job, "cn of single steps", cell, "inference cn");
  return status;
}

gk_status verify_network(struct way *way, const verify_plan *plan) {
  verify_job *job = way->job;
  const bool dropped = gk_rnn_description(way->rnn)->weight_dropout > 0;
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  const unsigned unpacked = ((unsigned)plan->threads - 1 + (unsigned)plan->isa) & both;
  way->pack_flags = dropped ? both : both & ~unpacked;
  gk_status status = take_memory(way);
  if (status == GK_OK)
    status = check_forward(way);
  if (status == GK_OK && job->kase->pools)
    status = check_pools(way, plan);
  if (status == GK_OK && job->kase->trains)
    status = check_losses(way, plan);
  if (status == GK_OK)
    status = check_loss(way);
  if (status == GK_OK)
    status = check_backward(way);
  if (status == GK_OK && job->kase->accumulate)
    status = check_accumulate(way);
  if (status == GK_OK)
    status = check_update(way, plan);
  if (status == GK_OK && !job->kase->ragged && job->kase->direction == GK_FORWARD)
    status = check_stream(way);
  return status;
}
