/* SPDX-License-Identifier: Apache-2.0
 * How gradients flow through a model, on its own kind of text. */
#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/tasks/buffer.h"
#include "src/tasks/language_model.h"
#include "src/tasks/text_streams.h"

#include <inttypes.h>
#include <math.h>

struct flow {
  int64_t time, batch;
  int32_t *inputs, *targets;
  float *y, *dy, *norms;
  void *packed_rnn, *packed_output, *reserve, *workspace;
};

static gk_status allocate(const gk_language_model *model, struct flow *flow) {
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  const int64_t time = flow->time, batch = flow->batch, width = gk_rnn_output_size(model->rnn);
  gk_rnn_memory needed = {0};
  size_t rnn_bytes = 0, output_bytes = 0, workspace = 0;
  gk_status status = gk_rnn_memory_needed(model->rnn, time, batch, &needed);
  if (status == GK_OK)
    status = gk_rnn_packed_bytes(model->rnn, both, &rnn_bytes);
  if (status == GK_OK)
    status = gk_output_packed_bytes(model->output, both, &output_bytes);
  if (status == GK_OK)
    status = gk_output_workspace_bytes(model->output, batch, &workspace);
  workspace = workspace < needed.forward_workspace_bytes ? needed.forward_workspace_bytes : workspace;
  workspace = workspace < needed.backward_workspace_bytes ? needed.backward_workspace_bytes : workspace;
  flow->inputs = gk_buffer_array(&status, sizeof(int32_t), time, batch, 1);
  flow->targets = gk_buffer_array(&status, sizeof(int32_t), time, batch, 1);
  flow->y = gk_buffer_array(&status, sizeof(float), time, batch, width);
  flow->dy = gk_buffer_array(&status, sizeof(float), time, batch, width);
  flow->norms = gk_buffer_array(&status, sizeof(float), model->desc.network.layers, time, batch);
  flow->packed_rnn = gk_buffer_allocate(&status, rnn_bytes);
  flow->packed_output = gk_buffer_allocate(&status, output_bytes);
  flow->reserve = gk_buffer_allocate(&status, needed.reserve_bytes);
  flow->workspace = gk_buffer_allocate(&status, workspace);
  return status;
}

static void release(struct flow *flow) {
  void *const memory[] = {flow->inputs,     flow->targets,       flow->y,       flow->dy,       flow->norms,
                          flow->packed_rnn, flow->packed_output, flow->reserve, flow->workspace};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; ++i)
    gk_free(memory[i]);
}

static gk_status pack(const gk_language_model *model, struct flow *flow) {
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  const float *output = model->parameters + model->rnn_count;
  const gk_random_key key = {0};
  const gk_status status = gk_rnn_pack_dropped(model->rnn, both, &key, model->parameters, flow->packed_rnn);
  if (status != GK_OK)
    return status;
  return model->desc.tied
             ? gk_output_pack_tied(model->output, both, model->parameters, output, flow->packed_output)
             : gk_output_pack(model->output, both, output, flow->packed_output);
}

/* The loss of the last step alone. */
static gk_status differentiate(const gk_language_model *model, struct flow *flow) {
  const int64_t last = (flow->time - 1) * flow->batch, width = gk_rnn_output_size(model->rnn);
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = flow->time;
  forward.batch = flow->batch;
  forward.tokens = flow->inputs;
  forward.parameters = model->parameters;
  forward.packed = flow->packed_rnn;
  forward.y = flow->y;
  forward.reserve = flow->reserve;
  forward.workspace = flow->workspace;
  gk_status status = gk_rnn_forward(model->rnn, &forward);
  gk_output_loss_args output = GK_OUTPUT_LOSS_ARGS_INIT;
  output.rows = flow->batch;
  output.h = flow->y + last * width;
  output.targets = flow->targets + last;
  output.packed = flow->packed_output;
  output.gradient_scale = 1 / (float)flow->batch;
  output.dh = flow->dy + last * width; /* the steps before stay zero */
  output.workspace = flow->workspace;
  if (status == GK_OK)
    status = gk_output_loss(model->output, &output);
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  backward.time = flow->time;
  backward.batch = flow->batch;
  backward.tokens = flow->inputs;
  backward.parameters = model->parameters;
  backward.packed = flow->packed_rnn;
  backward.dy = flow->dy;
  backward.dh_norms = flow->norms;
  backward.reserve = flow->reserve;
  backward.workspace = flow->workspace;
  return status == GK_OK ? gk_rnn_backward(model->rnn, &backward) : status;
}

static gk_status measure(const gk_language_model *model, const int32_t *tokens, struct flow *flow,
                         double *norms) {
  const uint64_t callers = gk_float_environment_pin();
  const struct gk_text_streams streams = {tokens, flow->time * flow->batch + 1, flow->batch};
  gk_status status = allocate(model, flow);
  if (status == GK_OK) {
    gk_text_streams_read(&streams, 0, flow->time, flow->inputs, flow->targets);
    status = pack(model, flow);
  }
  if (status == GK_OK)
    status = differentiate(model, flow);
  for (int64_t row = 0; row < model->desc.network.layers * flow->time && status == GK_OK; ++row) {
    double squares = 0;
    for (int64_t n = 0; n < flow->batch; ++n) {
      const double norm = (double)flow->norms[row * flow->batch + n];
      squares += norm * norm;
    }
    norms[row] = sqrt(squares);
  }
  gk_float_environment_restore(callers);
  release(flow);
  return status;
}

static gk_status measure_radii(const gk_language_model *model, double *radii) {
  const int64_t gates = gk_rnn_gates(model->rnn), matrices = model->desc.network.layers * gates;
  gk_status status = GK_OK;
  for (int64_t i = 0; i < matrices && status == GK_OK; ++i) {
    gk_language_model_tell(model, i, matrices, 0);
    status = gk_rnn_spectral_radius(model->rnn, model->parameters, i / gates, 0, (int)(i % gates), &radii[i]);
  }
  return status;
}

gk_status gk_language_model_gradient_flow(const gk_language_model *model, const gk_text *text, int64_t time,
                                          int64_t batch, double *norms, double *radii) {
  gk_status status = GK_CHECK_POINTERS({"model", model}, {"text", text});
  if (status)
    return status;
  if (time < 1 || batch < 1)
    return gk_fail(GK_ERROR_ARGUMENT, "time is %" PRId64 ", batch %" PRId64 ", both must be at least 1", time,
                   batch);
  int32_t *tokens;
  int64_t count, needed;
  status = gk_vocabulary_encode(&model->vocabulary, text, "text", &tokens, &count);
  if (status != GK_OK)
    return status;
  if (__builtin_mul_overflow(time, batch, &needed) || needed >= count)
    status = gk_fail(GK_ERROR_ARGUMENT,
                     "text: %" PRId64 " characters, batch %" PRId64 " x time %" PRId64 " + 1 are needed",
                     count, batch, time);
  struct flow flow = {.time = time, .batch = batch};
  const int64_t matrices = model->desc.network.layers * gk_rnn_gates(model->rnn);
  double *found = radii ? gk_buffer_array(&status, sizeof *found, matrices, 1, 1) : NULL;
  if (status == GK_OK && radii)
    status = measure_radii(model, found);
  if (status == GK_OK && norms)
    status = measure(model, tokens, &flow, norms);
  if (status == GK_OK && radii)
    memcpy(radii, found, (size_t)matrices * sizeof *radii);
  gk_free(found);
  gk_free(tokens);
  return status;
}
