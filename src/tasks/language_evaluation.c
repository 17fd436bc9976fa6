/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/arguments.h"
#include "src/core/choice.h"
#include "src/core/float_environment.h"
#include "src/tasks/buffer.h"
#include "src/tasks/language_model.h"
#include "src/tasks/text_streams.h"

#include <inttypes.h>
#include <math.h>

enum { EVALUATION_STREAMS = 64, EVALUATION_CHARACTERS = 2048, EVALUATION_TIME = 64 };

struct evaluation {
  int32_t *inputs, *targets;
  float *h, *c, *y;
  void *rnn_workspace, *output_workspace;
};

static gk_status allocate_evaluation(const gk_language_model *model, int64_t time, int64_t batch,
                                     struct evaluation *memory) {
  gk_rnn_memory needed = {0};
  size_t output_bytes = 0;
  gk_status status = gk_rnn_memory_needed(model->rnn, time, batch, &needed);
  if (status == GK_OK)
    status = gk_output_workspace_bytes(model->output, time * batch, &output_bytes);
  memory->inputs = gk_buffer_array(&status, sizeof(int32_t), time, batch, 1);
  memory->targets = gk_buffer_array(&status, sizeof(int32_t), time, batch, 1);
  memory->h = gk_buffer_array(&status, sizeof(float), gk_rnn_hidden_values(model->rnn), batch, 1);
  memory->c = gk_buffer_array(&status, sizeof(float), gk_rnn_cell_values(model->rnn), batch, 1);
  memory->y = gk_buffer_array(&status, sizeof(float), time, batch, gk_rnn_output_size(model->rnn));
  memory->rnn_workspace = gk_buffer_allocate(&status, needed.inference_workspace_bytes);
  memory->output_workspace = gk_buffer_allocate(&status, output_bytes);
  return status == GK_OK ? gk_language_model_initial_states(model, batch, memory->h, memory->c) : status;
}

static void free_evaluation(struct evaluation *memory) {
  gk_free(memory->inputs);
  gk_free(memory->targets);
  gk_free(memory->h);
  gk_free(memory->c);
  gk_free(memory->y);
  gk_free(memory->rnn_workspace);
  gk_free(memory->output_workspace);
}

/* The summed loss of `time` steps of every stream; the states move on. */
static gk_status evaluate_steps(const gk_language_model *model, int64_t time, int64_t batch,
                                const struct evaluation *memory, double *loss) {
  const bool memory_cell = gk_cell_has_memory(model->desc.network.cell);
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = time;
  forward.batch = batch;
  forward.tokens = memory->inputs;
  forward.h0 = forward.hn = memory->h;
  if (memory_cell)
    forward.c0 = forward.cn = memory->c;
  forward.parameters = model->parameters;
  forward.packed = model->packed_rnn;
  forward.y = memory->y;
  forward.workspace = memory->rnn_workspace;
  const gk_status status = gk_rnn_forward(model->rnn, &forward);
  if (status != GK_OK)
    return status;
  gk_output_loss_args output = GK_OUTPUT_LOSS_ARGS_INIT;
  output.rows = time * batch;
  output.h = memory->y;
  output.targets = memory->targets;
  output.packed = model->packed_output;
  output.loss = loss;
  output.workspace = memory->output_workspace;
  return gk_output_loss(model->output, &output);
}

static struct gk_text_streams cut_streams(const int32_t *tokens, int64_t count) {
  const int64_t whole = count / EVALUATION_CHARACTERS;
  return (struct gk_text_streams){tokens, count,
                                  whole < 1                    ? 1
                                  : whole > EVALUATION_STREAMS ? EVALUATION_STREAMS
                                                               : whole};
}

static gk_status check_count(int64_t count) {
  return count < 2 ? gk_fail(GK_ERROR_ARGUMENT, "text: %" PRId64 " character%s, an evaluation needs 2", count,
                             count == 1 ? "" : "s")
                   : GK_OK;
}

/* Adds a loss; the mean of a character. Only this is in the library's environment, not what a watcher does.
 * Inline, the sum could be in a register and its addition before the environment. */
static __attribute__((noinline)) double add_loss(double *sum, double loss, int64_t characters) {
  const uint64_t callers = gk_float_environment_pin();
  *sum += loss;
  double mean = *sum / (double)characters;
  gk_float_environment_restore_after(callers, &mean);
  return mean;
}

gk_status gk_language_model_evaluate_tokens(const gk_language_model *model, const int32_t *tokens,
                                            int64_t count, gk_language_loss *result) {
  if (check_count(count) != GK_OK)
    return GK_ERROR_ARGUMENT;
  const struct gk_text_streams streams = cut_streams(tokens, count);
  const int64_t length = gk_text_streams_length(&streams);
  struct evaluation memory = {0};
  double sum = 0, mean = NAN;
  int64_t characters = 0;
  gk_language_model_tell(model, 0, count - 1, 0);
  gk_status status =
      allocate_evaluation(model, length < EVALUATION_TIME ? length : EVALUATION_TIME, streams.batch, &memory);
  for (int64_t first = 0; first < length && status == GK_OK; first += EVALUATION_TIME) {
    const int64_t time = length - first < EVALUATION_TIME ? length - first : EVALUATION_TIME;
    double loss = 0;
    characters += gk_text_streams_read(&streams, first, time, memory.inputs, memory.targets);
    status = evaluate_steps(model, time, streams.batch, &memory, &loss);
    mean = add_loss(&sum, loss, characters);
    gk_language_model_tell(model, characters, count - 1, mean);
  }
  free_evaluation(&memory);
  if (status == GK_OK)
    *result = (gk_language_loss){.nats = mean, .characters = characters};
  return status;
}

/* Finite weights can be too large for their sums. */
static gk_status check_loss(double nats) {
  return isfinite(nats)
             ? GK_OK
             : gk_fail(GK_ERROR_FORMAT,
                       "the model's outputs are not finite, its loss is %g: its weights are too large", nats);
}

gk_status gk_language_model_evaluate(const gk_language_model *model, const gk_text *text,
                                     gk_language_loss *loss) {
  gk_status status = GK_CHECK_POINTERS({"model", model}, {"text", text}, {"loss", loss});
  if (status)
    return status;
  int32_t *tokens;
  int64_t count;
  status = gk_vocabulary_encode(&model->vocabulary, text, "text", &tokens, &count);
  if (status != GK_OK)
    return status;
  gk_language_loss measured;
  status = gk_language_model_evaluate_tokens(model, tokens, count, &measured);
  gk_free(tokens);
  if (status == GK_OK)
    status = check_loss(measured.nats);
  if (status == GK_OK)
    *loss = measured;
  return status;
}

/* ---- Free-running ---- */

/* The model fed with what it chooses. */
struct free_run {
  const gk_free_running_desc *desc;
  int64_t batch;
  float *h, *c, *y; /* states; (N, P) */
  float *logits;    /* (N, V) */
  float *p;         /* (V) */
  int32_t *inputs;  /* (N) */
  void *step_workspace;
  double *sums;        /* (length) by distance */
  int64_t *characters; /* (length) */
};

static gk_status allocate_free_run(const gk_language_model *model, struct free_run *run) {
  gk_rnn_memory needed = {0};
  gk_status status = gk_rnn_memory_needed(model->rnn, 1, run->batch, &needed);
  run->h = gk_buffer_array(&status, sizeof(float), gk_rnn_hidden_values(model->rnn), run->batch, 1);
  run->c = gk_buffer_array(&status, sizeof(float), gk_rnn_cell_values(model->rnn), run->batch, 1);
  run->y = gk_buffer_array(&status, sizeof(float), run->batch, gk_rnn_output_size(model->rnn), 1);
  run->logits = gk_buffer_array(&status, sizeof(float), run->batch, model->vocabulary.count, 1);
  run->p = gk_buffer_array(&status, sizeof(float), model->vocabulary.count, 1, 1);
  run->inputs = gk_buffer_array(&status, sizeof(int32_t), run->batch, 1, 1);
  run->step_workspace = gk_buffer_allocate(&status, needed.inference_workspace_bytes);
  run->sums = gk_buffer_array(&status, sizeof(double), run->desc->length, 1, 1);
  run->characters = gk_buffer_array(&status, sizeof(int64_t), run->desc->length, 1, 1);
  return status;
}

static void free_free_run(struct free_run *run) {
  void *const memory[] = {run->h,      run->c,    run->y,          run->logits,        run->p,
                          run->inputs, run->sums, run->characters, run->step_workspace};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; ++i)
    gk_free(memory[i]);
}

/* What a stream reads after these logits; of equally likely symbols the first. */
static gk_status choose(const gk_language_model *model, const struct free_run *run, const float *logits,
                        uint64_t stream, uint64_t position, int32_t *token) {
  const int64_t symbols = model->vocabulary.count;
  if (run->desc->temperature == 0) {
    *token = (int32_t)gk_index_of_largest(logits, symbols);
    return GK_OK;
  }
  const gk_status status =
      gk_softmax(model->desc.network.isa, symbols, run->desc->temperature, logits, run->p);
  if (status == GK_OK)
    *token = (int32_t)gk_index_drawn(run->p, symbols, gk_uniform(run->desc->seed, stream, position));
  return status;
}

/* One run of every stream, from the states and the inputs that `forced` holds; `first`: its place in the
 * streams. */
static gk_status run_freely(const gk_language_model *model, const struct evaluation *forced, int64_t first,
                            int64_t time, struct free_run *run) {
  const int64_t batch = run->batch, symbols = model->vocabulary.count;
  const uint64_t callers = gk_float_environment_pin();
  gk_status status = GK_OK;
  memcpy(run->h, forced->h, (size_t)(gk_rnn_hidden_values(model->rnn) * batch) * sizeof(float));
  memcpy(run->c, forced->c, (size_t)(gk_rnn_cell_values(model->rnn) * batch) * sizeof(float));
  memcpy(run->inputs, forced->inputs, (size_t)batch * sizeof(int32_t));
  for (int64_t t = 0; t < time && status == GK_OK; ++t) {
    gk_rnn_step_args step = GK_RNN_STEP_ARGS_INIT;
    step.batch = batch;
    step.tokens = run->inputs;
    step.parameters = model->parameters;
    step.packed = model->packed_rnn;
    step.h = run->h;
    step.c = gk_cell_has_memory(model->desc.network.cell) ? run->c : NULL;
    step.y = run->y;
    step.workspace = run->step_workspace;
    status = gk_rnn_step(model->rnn, &step);
    if (status == GK_OK)
      status = gk_output_forward(model->output, batch, run->y, model->packed_output, run->logits,
                                 forced->output_workspace);
    double sum = 0;
    gk_loss_args loss = GK_LOSS_ARGS_INIT;
    loss.rows = batch;
    loss.columns = symbols;
    loss.x = run->logits;
    loss.targets = forced->targets + t * batch;
    loss.loss = &sum;
    loss.isa = model->desc.network.isa;
    loss.math = model->desc.network.math;
    loss.threads = model->desc.network.threads;
    if (status == GK_OK)
      status = gk_loss_gradient(&loss);
    run->sums[t] += sum;
    for (int64_t n = 0; n < batch && status == GK_OK; ++n) {
      run->characters[t] += loss.targets[n] >= 0;
      status =
          choose(model, run, run->logits + n * symbols, (uint64_t)n, (uint64_t)(first + t), &run->inputs[n]);
    }
  }
  gk_float_environment_restore(callers);
  return status;
}

static double free_mean(const struct free_run *run, int64_t characters) {
  const uint64_t callers = gk_float_environment_pin();
  double sum = 0;
  for (int64_t t = 0; t < run->desc->length; ++t)
    sum += run->sums[t];
  double mean = sum / (double)characters;
  gk_float_environment_restore_after(callers, &mean);
  return mean;
}

/* nats_at of gk_language_model_evaluate_free_running. */
static void write_distances(const struct free_run *run, double *nats_at) {
  const uint64_t callers = gk_float_environment_pin();
  for (int64_t t = 0; t < run->desc->length; ++t)
    nats_at[t] = run->characters[t] ? run->sums[t] / (double)run->characters[t] : NAN;
  gk_float_environment_restore(callers);
}

static gk_status evaluate_both(const gk_language_model *model, const struct gk_text_streams *streams,
                               struct free_run *run, gk_free_running_loss *result) {
  const int64_t length = gk_text_streams_length(streams), most = run->desc->length;
  struct evaluation forced = {0};
  double sum = 0;
  gk_free_running_loss means = {0};
  gk_language_model_tell(model, 0, streams->count - 1, 0);
  gk_status status = allocate_evaluation(model, length < most ? length : most, streams->batch, &forced);
  if (status == GK_OK)
    status = allocate_free_run(model, run);
  for (int64_t first = 0; first < length && status == GK_OK; first += most) {
    const int64_t time = length - first < most ? length - first : most;
    double loss = 0;
    means.characters += gk_text_streams_read(streams, first, time, forced.inputs, forced.targets);
    status = run_freely(model, &forced, first, time, run);
    if (status == GK_OK)
      status = evaluate_steps(model, time, streams->batch, &forced, &loss);
    means.forced_nats = add_loss(&sum, loss, means.characters);
    means.free_nats = free_mean(run, means.characters);
    gk_language_model_tell(model, means.characters, streams->count - 1, means.free_nats);
  }
  free_evaluation(&forced);
  if (status != GK_OK)
    return status;
  status = check_loss(means.forced_nats);
  if (status == GK_OK)
    status = check_loss(means.free_nats);
  if (status == GK_OK)
    *result = means;
  return status;
}

gk_status gk_language_model_evaluate_free_running(const gk_language_model *model, const gk_text *text,
                                                  const gk_free_running_desc *desc,
                                                  gk_free_running_loss *loss, double *nats_at) {
  gk_status status = GK_CHECK_POINTERS({"model", model}, {"text", text}, {"desc", desc}, {"loss", loss});
  if (!status)
    status = gk_check_size_field("desc", desc->size, sizeof *desc, "GK_FREE_RUNNING_DESC_INIT");
  if (status)
    return status;
  if (desc->length < 1)
    return gk_fail(GK_ERROR_ARGUMENT, "length is %" PRId64 ", must be at least 1", desc->length);
  if (!(desc->temperature >= 0 && isfinite(desc->temperature)))
    return gk_fail(GK_ERROR_ARGUMENT, "temperature is %g, must be 0 or above", (double)desc->temperature);
  int32_t *tokens;
  int64_t count;
  status = gk_vocabulary_encode(&model->vocabulary, text, "text", &tokens, &count);
  if (status != GK_OK)
    return status;
  status = check_count(count);
  if (status == GK_OK) {
    const struct gk_text_streams streams = cut_streams(tokens, count);
    struct free_run run = {.desc = desc, .batch = streams.batch};
    status = evaluate_both(model, &streams, &run, loss);
    if (nats_at && status == GK_OK)
      write_distances(&run, nats_at);
    free_free_run(&run);
  }
  gk_free(tokens);
  return status;
}
