/* SPDX-License-Identifier: Apache-2.0
 * One call of a decoder: its arguments, its memory, and the time loop with feedback. */
#include <math.h>
#include <string.h>

#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/layout.h"
#include "src/core/names.h"
#include "src/sequence/decoder_call.h"
#include "src/sequence/reserve.h"

/* ---- Memory ---- */

struct sizes {
  int64_t time, batch, source_time;
};

static float *take(struct gk_arena *arena, const struct sizes *sizes, int64_t width, bool wanted) {
  return wanted ? gk_arena_take(arena, sizeof(float), sizes->time, sizes->batch, width) : NULL;
}

static void cut_rows(struct gk_feed *feed, struct gk_arena *arena, const struct sizes *sizes, bool training) {
  const struct gk_decoder *decoder = feed->decoder;
  const gk_decoder_desc *desc = &decoder->desc;
  const bool attends = desc->attention != GK_ATTENTION_NONE, output = desc->feedback == GK_FEEDBACK_OUTPUT;
  const int64_t joined = desc->source_size + decoder->hidden;
  feed->in = take(arena, sizes, decoder->width, true);
  feed->own = gk_arena_take(arena, sizeof *feed->own, sizes->time, sizes->batch, 1);
  feed->token = gk_arena_take(arena, sizeof *feed->token, sizes->time, sizes->batch, 1);
  feed->picked = gk_arena_take(arena, sizeof *feed->picked, sizes->time, sizes->batch, 1);
  feed->query = take(arena, sizes, desc->source_size, desc->attention == GK_ATTENTION_GENERAL);
  feed->alpha = take(arena, sizes, sizes->source_time, attends);
  feed->joined = take(arena, sizes, joined, attends);
  feed->top = take(arena, sizes, decoder->top, true);
  feed->out = take(arena, sizes, decoder->fed, output);
  if (!training)
    return;
  feed->d_in = take(arena, sizes, decoder->width, true);
  feed->d_query = take(arena, sizes, desc->source_size, attends);
  feed->d_score = take(arena, sizes, sizes->source_time, attends);
  feed->d_joined = take(arena, sizes, joined, attends);
  feed->d_top = take(arena, sizes, decoder->top, true);
  feed->d_h = attends ? take(arena, sizes, decoder->hidden, true) : feed->d_top;
  feed->d_out = take(arena, sizes, decoder->fed, output);
}

/* Cuts, or with NULL bases measures, all but the stack's own memory: last, that needs no size to be cut. */
static void cut(struct gk_feed *feed, struct gk_arena *reserve, struct gk_arena *workspace,
                const struct sizes *sizes, bool training, bool backward) {
  const struct gk_decoder *decoder = feed->decoder;
  cut_rows(feed, training ? reserve : workspace, sizes, training);
  if (!gk_feed_scratch_floats(decoder, &feed->scratch_floats) || feed->scratch_floats > INT64_MAX)
    workspace->overflow = true;
  else
    feed->scratch =
        gk_arena_take(workspace, sizeof(float), (int64_t)feed->scratch_floats, decoder->rnn->desc.threads, 1);
  if (backward && decoder->desc.feedback == GK_FEEDBACK_TOKEN) {
    feed->token_start = gk_arena_take(workspace, sizeof(int64_t), decoder->desc.vocabulary + 1, 1, 1);
    feed->token_rows = gk_arena_take(workspace, sizeof(int64_t), sizes->time, sizes->batch, 1);
  }
}

static gk_status measure(const struct gk_decoder *decoder, const struct sizes *sizes,
                         const gk_rnn_memory *stack, bool training, bool backward, size_t *reserve_bytes,
                         size_t *workspace_bytes) {
  struct gk_feed feed = {.decoder = decoder};
  struct gk_arena reserve = gk_reserve_start(NULL), workspace = gk_arena_start(NULL);
  cut(&feed, &reserve, &workspace, sizes, training, backward);
  gk_arena_take(&reserve, stack->reserve_bytes, 1, 1, 1);
  gk_arena_take(&workspace,
                backward   ? stack->backward_workspace_bytes
                : training ? stack->forward_workspace_bytes
                           : stack->inference_workspace_bytes,
                1, 1, 1);
  if (!gk_arena_bytes(&reserve, reserve_bytes) || !gk_arena_bytes(&workspace, workspace_bytes))
    return gk_fail(GK_ERROR_OVERFLOW, "memory of time %lld, batch %lld, source_time %lld does not fit",
                   (long long)sizes->time, (long long)sizes->batch, (long long)sizes->source_time);
  return GK_OK;
}

gk_status gk_decoder_memory_needed(const gk_decoder *decoder, int64_t time, int64_t batch,
                                   int64_t source_time, gk_rnn_memory *memory) {
  gk_status status = GK_CHECK_POINTERS({"decoder", decoder}, {"memory", memory});
  if (!status)
    status = gk_check_not_negative("source_time", source_time);
  if (status)
    return status;
  const struct sizes sizes = {time, batch, source_time};
  gk_rnn_memory stack, needed = {0};
  size_t unused;
  status = gk_rnn_memory_needed(decoder->rnn, time, batch, &stack);
  if (!status)
    status =
        measure(decoder, &sizes, &stack, true, false, &needed.reserve_bytes, &needed.forward_workspace_bytes);
  if (!status)
    status = measure(decoder, &sizes, &stack, false, false, &unused, &needed.inference_workspace_bytes);
  if (!status)
    status = measure(decoder, &sizes, &stack, true, true, &unused, &needed.backward_workspace_bytes);
  needed.keep_workspace_bytes = needed.backward_workspace_bytes;
  if (!status)
    *memory = needed;
  return status;
}

/* Where the stack's own memory stands. */
struct places {
  void *reserve, *workspace;
};

static gk_status refuse(const struct gk_feed *feed, const struct sizes *sizes, bool training, bool backward) {
  gk_rnn_memory needed;
  const gk_status status =
      gk_decoder_memory_needed(feed->decoder, sizes->time, sizes->batch, sizes->source_time, &needed);
  return status ? status /* that of any overflow */
                : gk_fail(GK_ERROR_ARGUMENT, "workspace is NULL, must have %zu bytes",
                          backward   ? needed.backward_workspace_bytes
                          : training ? needed.forward_workspace_bytes
                                     : needed.inference_workspace_bytes);
}

static gk_status open_reserve(const struct gk_feed *feed, const struct sizes *sizes, void *base,
                              bool backward) {
  const struct gk_decoder *decoder = feed->decoder;
  const uint64_t fingerprint = gk_packed_fingerprint(decoder->packed.fingerprint, sizes->source_time);
  gk_rnn_memory needed;
  gk_status status = GK_OK;
  if (!backward)
    gk_reserve_mark(base, fingerprint, sizes->time, sizes->batch);
  else
    status = gk_reserve_check(base, fingerprint, sizes->time, sizes->batch);
  if (status || !gk_reserve_moved(base))
    return status;
  status = gk_decoder_memory_needed(decoder, sizes->time, sizes->batch, sizes->source_time, &needed);
  if (!status)
    gk_reserve_settle(base, needed.reserve_bytes);
  return status;
}

/* Sizes are found only where they are needed: beam search comes here every step. */
static gk_status open_memory(struct gk_feed *feed, const struct sizes *sizes, void *reserve_base,
                             void *workspace_base, bool training, bool backward, struct places *places) {
  struct gk_arena reserve = gk_reserve_start(reserve_base), workspace = gk_arena_start(workspace_base);
  cut(feed, &reserve, &workspace, sizes, training, backward);
  if (reserve.overflow || workspace.overflow || (sizes->batch && !workspace_base))
    return refuse(feed, sizes, training, backward);
  places->reserve = gk_arena_take(&reserve, 0, 1, 1, 1);
  places->workspace = gk_arena_take(&workspace, 0, 1, 1, 1);
  return training && sizes->time && sizes->batch ? open_reserve(feed, sizes, reserve_base, backward) : GK_OK;
}

/* ---- Arguments ---- */

static gk_status check_call(const gk_decoder *decoder, int64_t time, int64_t batch, const int64_t *lengths,
                            int64_t source_time, const int64_t *source_lengths, const float *source,
                            int64_t beams) {
  gk_status status = gk_check_time_and_batch(time, batch);
  if (!status)
    status = gk_check_not_negative("source_time", source_time);
  if (!status)
    status = gk_check_sequence("", time, batch, decoder->width);
  if (!status)
    status = gk_check_sequence("source_", source_time, batch / beams, decoder->desc.source_size);
  if (status)
    return status;
  if (decoder->desc.attention == GK_ATTENTION_NONE && (source_time || source))
    return gk_fail(GK_ERROR_ARGUMENT, "%s given, and the decoder's attention is none",
                   source ? "source is" : "source_time is");
  if (source_time && batch && !source)
    return gk_fail(GK_ERROR_ARGUMENT, "source is NULL, and source_time is %lld", (long long)source_time);
  status = gk_check_lengths("", lengths, batch, time);
  return status ? status : gk_check_lengths("source_", source_lengths, batch / beams, source_time);
}

static gk_status check_inputs(const gk_decoder *decoder, const gk_decoder_forward_args *args) {
  const gk_decoder_desc *desc = &decoder->desc;
  const bool token = desc->feedback == GK_FEEDBACK_TOKEN, output = desc->feedback == GK_FEEDBACK_OUTPUT;
  if (!(args->sampling >= 0 && args->sampling <= 1))
    return gk_fail(GK_ERROR_ARGUMENT, "sampling is %g, must be 0..1", (double)args->sampling);
  if (args->sampling > 0 && desc->feedback == GK_FEEDBACK_NONE)
    return gk_fail(GK_ERROR_ARGUMENT, "sampling is %g and the decoder's feedback is none",
                   (double)args->sampling);
  const gk_status status = gk_check_choice("choice", (int)args->choice, gk_choice_count());
  if (status)
    return status;
  if (!(args->temperature >= 0))
    return gk_fail(GK_ERROR_ARGUMENT, "temperature is %g, must not be negative", (double)args->temperature);
  if (token && (args->sampling > 0 || args->chosen) && !desc->output)
    return gk_fail(GK_ERROR_ARGUMENT, "the decoder has no output to choose tokens by (sampling %g%s)",
                   (double)args->sampling, args->chosen ? ", chosen given" : "");
  const struct {
    const char *name;
    bool given, possible;
    const char *why;
  } results[] = {
      {"chosen", args->chosen != NULL, token, "feedback is not token"},
      {"outputs", args->outputs != NULL, output, "feedback is not output"},
      {"fed", args->fed != NULL, token || output, "feedback is none"},
      {"weights", args->weights != NULL, desc->attention != GK_ATTENTION_NONE, "attention is none"},
      {"feed0", args->feed0 != NULL, desc->input_feeding, "input_feeding is not set"},
      {"feedn", args->feedn != NULL, desc->input_feeding, "input_feeding is not set"}};
  for (size_t i = 0; i < sizeof results / sizeof *results; i++)
    if (results[i].given && !results[i].possible)
      return gk_fail(GK_ERROR_ARGUMENT, "%s is given, and the decoder's %s", results[i].name, results[i].why);
  if (args->time == 0 || args->batch == 0)
    return GK_OK;
  if (desc->rnn.input_size && !args->x)
    return gk_fail(GK_ERROR_ARGUMENT, "x is NULL, and rnn.input_size is %lld",
                   (long long)desc->rnn.input_size);
  if (output && !args->previous)
    return gk_fail(GK_ERROR_ARGUMENT, "previous is NULL, and feedback is output");
  if (token && (!args->tokens || !args->parameters))
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL, and feedback is token",
                   args->tokens ? "parameters" : "tokens");
  const int64_t read = args->sampling < 1 ? args->time : 1;
  return token ? gk_check_tokens(args->tokens, desc->vocabulary, desc->rnn.layout, args->time, args->batch,
                                 args->lengths, read)
               : GK_OK;
}

static const float *open_output(const gk_decoder *decoder, unsigned flags, const void *packed) {
  const struct gk_output *output = decoder->desc.output;
  if (packed)
    return gk_packed_open(output->packed, flags, output->kernels->isa, packed);
  gk_fail(GK_ERROR_ARGUMENT, "output_packed is NULL");
  return NULL;
}

/* ---- Forward ---- */

static struct gk_feed forward_feed(const gk_decoder *decoder, const gk_decoder_forward_args *args,
                                   int64_t beams) {
  const struct gk_random_counter counter = {.seed = args->random.seed,
                                            .step = args->random.step,
                                            .sample = args->random.first_sample,
                                            .time = (uint32_t)args->random.first_time};
  struct gk_feed feed = {.decoder = decoder,
                         .in_turn = decoder->desc.input_feeding || args->sampling > 0,
                         .chooses = decoder->desc.feedback == GK_FEEDBACK_TOKEN &&
                                    (args->sampling > 0 || args->chosen),
                         .beams = beams,
                         .parameters = args->parameters,
                         .coin = counter,
                         .draw = counter,
                         .x = args->x,
                         .previous = args->previous,
                         .source = args->source,
                         .feed0 = args->feed0,
                         .tokens = args->tokens,
                         .sampling = args->sampling,
                         .temperature = args->temperature > 0 ? args->temperature : 1,
                         .choice = args->choice,
                         .source_time = args->source_time,
                         .source_lengths = args->source_lengths,
                         .y = args->y,
                         .outputs = args->outputs,
                         .weights = args->weights,
                         .feedn = args->feedn,
                         .chosen = args->chosen,
                         .fed = args->fed};
  feed.coin.purpose = GK_RANDOM_TEACHER;
  feed.draw.purpose = GK_RANDOM_TOKEN;
  return feed;
}

static GK_PINNED gk_status forward_beams(const gk_decoder *decoder, const gk_decoder_forward_args *args,
                                         int64_t beams) {
  gk_status status = check_call(decoder, args->time, args->batch, args->lengths, args->source_time,
                                args->source_lengths, args->source, beams);
  if (!status)
    status = check_inputs(decoder, args);
  if (status)
    return status;
  struct gk_feed feed = forward_feed(decoder, args, beams);
  feed.packed = gk_packed_open(decoder->packed, GK_PACK_FORWARD, decoder->rnn->kernels->isa, args->packed);
  if (!feed.packed)
    return GK_ERROR_ARGUMENT;
  if (feed.chooses || decoder->desc.feedback == GK_FEEDBACK_OUTPUT)
    if (!(feed.output_packed = open_output(decoder, GK_PACK_FORWARD, args->output_packed)))
      return GK_ERROR_ARGUMENT;
  const struct sizes sizes = {args->time, args->batch, args->source_time};
  struct places places;
  status = open_memory(&feed, &sizes, args->reserve, args->workspace, args->reserve != NULL, false, &places);
  if (status)
    return status;
  gk_rnn_forward_args run = GK_RNN_FORWARD_ARGS_INIT;
  run.time = args->time;
  run.batch = args->batch;
  run.lengths = args->lengths;
  run.x = feed.in;
  run.h0 = args->h0;
  run.c0 = args->c0;
  run.packed = gk_decoder_stack_packed(decoder, args->packed);
  run.hn = args->hn;
  run.cn = args->cn;
  run.random = args->random;
  run.reserve = places.reserve;
  run.workspace = places.workspace;
  return gk_rnn_forward_fed(decoder->rnn, &run, &feed);
}

/* Arguments too small for some environments count in all: workers compare them again, pinned. */
gk_status gk_decoder_forward_beams(const gk_decoder *decoder, const gk_decoder_forward_args *args,
                                   int64_t beams) {
  const uint64_t callers = gk_float_environment_pin();
  const gk_status status = forward_beams(decoder, args, beams);
  gk_float_environment_restore(callers);
  return status;
}

gk_status gk_decoder_forward(const gk_decoder *decoder, const gk_decoder_forward_args *args) {
  gk_status status = GK_CHECK_POINTERS({"decoder", decoder}, {"args", args});
  if (!status)
    status = gk_check_size_field("args", args->size, sizeof *args, "GK_DECODER_FORWARD_ARGS_INIT");
  return status ? status : gk_decoder_forward_beams(decoder, args, 1);
}

/* ---- Backward ---- */

static gk_status check_backward(const gk_decoder *decoder, const gk_decoder_backward_args *args) {
  const gk_decoder_desc *desc = &decoder->desc;
  const bool output = desc->feedback == GK_FEEDBACK_OUTPUT, attends = desc->attention != GK_ATTENTION_NONE;
  const struct {
    const char *name;
    bool given, possible;
    const char *why;
  } tensors[] = {{"dx", args->dx != NULL, desc->rnn.input_size > 0, "rnn.input_size is 0"},
                 {"doutputs", args->doutputs != NULL, output, "feedback is not output"},
                 {"dprevious", args->dprevious != NULL, output, "feedback is not output"},
                 {"output_gradients", args->output_gradients != NULL, output, "feedback is not output"},
                 {"dsource", args->dsource != NULL, attends, "attention is none"},
                 {"dfeedn", args->dfeedn != NULL, desc->input_feeding, "input_feeding is not set"},
                 {"dfeed0", args->dfeed0 != NULL, desc->input_feeding, "input_feeding is not set"}};
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
    if (tensors[i].given && !tensors[i].possible)
      return gk_fail(GK_ERROR_ARGUMENT, "%s is given, and the decoder's %s", tensors[i].name, tensors[i].why);
  if (args->batch && args->time && !args->reserve)
    return gk_fail(GK_ERROR_ARGUMENT, "reserve is NULL");
  return GK_OK;
}

/* Was any step fed by the network? Then steps are taken in turn. */
static bool fed_itself(const struct gk_feed *feed, const gk_decoder_backward_args *args) {
  const gk_layout layout = feed->decoder->desc.rnn.layout;
  for (int64_t n = 0; n < args->batch; n++)
    for (int64_t t = 0; t < (args->lengths ? args->lengths[n] : args->time); t++)
      if (feed->own[gk_layout_row(layout, args->time, args->batch, t, n)])
        return true;
  return false;
}

static gk_rnn_backward_args stack_backward(const gk_decoder *decoder, const gk_decoder_backward_args *args,
                                           const struct gk_feed *feed, const struct places *places) {
  gk_rnn_backward_args run = GK_RNN_BACKWARD_ARGS_INIT;
  run.time = args->time;
  run.batch = args->batch;
  run.lengths = args->lengths;
  run.x = feed->in;
  run.h0 = args->h0;
  run.c0 = args->c0;
  run.packed = gk_decoder_stack_packed(decoder, args->packed);
  run.dy = feed->d_h;
  run.dhn = args->dhn;
  run.dcn = args->dcn;
  run.dx = feed->d_in;
  run.dh0 = args->dh0;
  run.dc0 = args->dc0;
  run.gradients = args->gradients ? args->gradients + decoder->rnn_offset : NULL;
  run.accumulate = args->accumulate;
  run.dh_norms = args->dh_norms;
  run.random = args->random;
  run.reserve = places->reserve;
  run.keep_reserve = true;
  run.workspace = places->workspace;
  return run;
}

gk_status gk_decoder_backward(const gk_decoder *decoder, const gk_decoder_backward_args *args) {
  gk_status status = GK_CHECK_POINTERS({"decoder", decoder}, {"args", args});
  if (!status)
    status = gk_check_size_field("args", args->size, sizeof *args, "GK_DECODER_BACKWARD_ARGS_INIT");
  if (status)
    return status;
  status = check_call(decoder, args->time, args->batch, args->lengths, args->source_time,
                      args->source_lengths, args->source, 1);
  if (!status)
    status = check_backward(decoder, args);
  if (status)
    return status;
  struct gk_feed feed = {.decoder = decoder,
                         .beams = 1,
                         .source = args->source,
                         .source_time = args->source_time,
                         .source_lengths = args->source_lengths,
                         .dy = args->dy,
                         .doutputs = args->doutputs,
                         .dfeedn = args->dfeedn,
                         .dx = args->dx,
                         .dprevious = args->dprevious,
                         .dsource = args->dsource,
                         .dfeed0 = args->dfeed0,
                         .gradients = args->gradients,
                         .output_gradients = args->output_gradients,
                         .accumulate = args->accumulate};
  feed.packed = gk_packed_open(decoder->packed, GK_PACK_BACKWARD, decoder->rnn->kernels->isa, args->packed);
  if (!feed.packed)
    return GK_ERROR_ARGUMENT;
  if (decoder->desc.feedback == GK_FEEDBACK_OUTPUT &&
      !(feed.output_packed = open_output(decoder, GK_PACK_BACKWARD, args->output_packed)))
    return GK_ERROR_ARGUMENT;
  if (args->batch == 0) {
    if (args->gradients && !args->accumulate)
      memset(args->gradients, 0, (size_t)decoder->parameter_count * sizeof(float));
    return GK_OK;
  }
  const struct sizes sizes = {args->time, args->batch, args->source_time};
  struct places places;
  status = open_memory(&feed, &sizes, args->reserve, args->workspace, true, true, &places);
  if (status)
    return status;
  feed.in_turn = args->time && (decoder->desc.input_feeding ||
                                (decoder->desc.feedback == GK_FEEDBACK_OUTPUT && fed_itself(&feed, args)));
  const gk_rnn_backward_args run = stack_backward(decoder, args, &feed, &places);
  return gk_rnn_backward_fed(decoder->rnn, &run, &feed);
}

/* ---- How often the teacher speaks ---- */

float gk_teacher_probability(gk_teacher teacher, double k, double slope, double minimum, int64_t step) {
  const uint64_t callers = gk_float_environment_pin();
  const double i = (double)step;
  double p = k - slope * i;
  if (teacher == GK_TEACHER_EXPONENTIAL)
    p = pow(k, i);
  else if (teacher == GK_TEACHER_INVERSE_SIGMOID)
    p = k / (k + exp(i / k));
  if (!(p > minimum))
    p = minimum;
  float probability = (float)(p < 1 ? p : 1);
  gk_float_environment_restore_after(callers, &probability);
  return probability;
}
