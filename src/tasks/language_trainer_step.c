/* SPDX-License-Identifier: Apache-2.0
 * One training step. Truncated BPTT: each step reads a span of the streams that ends `time` characters after
 * the one before; it begins up to backward_time characters before that end, from states that earlier steps
 * left there. */
#include "src/core/arguments.h"
#include "src/core/clock.h"
#include "src/core/float_environment.h"
#include "src/core/names.h"
#include "src/tasks/buffer.h"
#include "src/tasks/language_trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Times of the streams: read from begin on, the loss is taken from `loss` on, and the next step begins at
 * cut. */
struct span {
  int64_t begin, cut, loss, end;
};

static const char *const training_part_names[GK_TRAINING_PARTS] = {
    [GK_PART_DATA] = "data",         [GK_PART_FORWARD] = "forward", [GK_PART_OUTPUT] = "output",
    [GK_PART_BACKWARD] = "backward", [GK_PART_CLIP] = "clip",       [GK_PART_UPDATE] = "update",
    [GK_PART_PACK] = "pack"};
GK_NAMES_OF(training_part, gk_training_part, part)

/* The time since *start is that of `part`; the next part starts now. */
static void end_part(gk_training_step *report, gk_training_part part, double *start) {
  const double now = gk_clock_seconds();
  report->seconds[part] = now - *start;
  *start = now;
}

static int64_t count_distinct(gk_language_trainer *trainer, int64_t count) {
  int64_t distinct = 0;
  ++trainer->begun;
  for (int64_t i = 0; i < count; ++i) {
    int64_t *seen = &trainer->last_seen[trainer->inputs[i]];
    distinct += *seen != trainer->begun;
    *seen = trainer->begun;
  }
  return distinct;
}

static double count_operations(gk_language_trainer *trainer, const struct span *span) {
  const gk_language_model *model = trainer->model;
  const int64_t rows = (span->end - span->begin) * trainer->desc.batch;
  const double targets = (double)((span->end - span->loss) * trainer->desc.batch);
  return gk_rnn_training_flop(model->rnn, rows, count_distinct(trainer, rows)) +
         6 * targets * (double)(gk_rnn_output_size(model->rnn) * model->vocabulary.count);
}

/* Rows (t, stream) of a time's arrays. */
static int64_t rows_until(const gk_language_trainer *trainer, const struct span *span, int64_t t) {
  return (t - span->begin) * trainer->desc.batch;
}

/* Of a call whose first step is number `first_time` of those that the step reads. */
static gk_random_key random_key(const gk_language_trainer *trainer, int64_t first_time) {
  return (gk_random_key){
      .seed = trainer->desc.seed, .step = (uint64_t)trainer->step + 1, .first_time = (uint64_t)first_time};
}

/* Does a part that begins there read the network's own initial states? */
static bool from_trained(const gk_language_trainer *trainer, int64_t begin) {
  return begin == 0 && trainer->model->desc.network.trained_states;
}

static const void *packed_of(const gk_language_trainer *trainer) {
  return trainer->packed ? trainer->packed : trainer->model->packed_rnn;
}

/* Part 0 from the carried states up to the cut, whose states are carried on; part 1 from there to the end. */
static gk_status forward_part(gk_language_trainer *trainer, const struct span *span, int part) {
  const gk_language_model *model = trainer->model;
  const int before = (int)(trainer->step % 2), after = 1 - before, from = part == 0 ? before : after;
  const int64_t begin = part == 0 ? span->begin : span->cut, end = part == 0 ? span->cut : span->end;
  const int64_t row = rows_until(trainer, span, begin);
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  if (part == 0 && begin == end) {
    memcpy(trainer->h[after], trainer->h[before], (size_t)trainer->h_count * sizeof(float));
    if (trainer->c[before])
      memcpy(trainer->c[after], trainer->c[before], (size_t)trainer->c_count * sizeof(float));
  }
  if (begin == end)
    return GK_OK;
  forward.time = end - begin;
  forward.batch = trainer->desc.batch;
  forward.tokens = trainer->inputs + row;
  if (!from_trained(trainer, begin)) {
    forward.h0 = trainer->h[from];
    forward.c0 = trainer->c[from];
  }
  if (part == 0) {
    forward.hn = trainer->h[after];
    forward.cn = trainer->c[after];
  }
  forward.parameters = model->parameters;
  forward.packed = packed_of(trainer);
  forward.y = trainer->y + row * gk_rnn_output_size(model->rnn);
  forward.random = random_key(trainer, begin - span->begin);
  forward.reserve = trainer->reserve[part];
  forward.workspace = trainer->workspace;
  return gk_rnn_forward(model->rnn, &forward);
}

static gk_status backward_part(gk_language_trainer *trainer, const struct span *span, int part,
                               bool accumulate) {
  const gk_language_model *model = trainer->model;
  const int before = (int)(trainer->step % 2), after = 1 - before, from = part == 0 ? before : after;
  const int64_t begin = part == 0 ? span->begin : span->cut, end = part == 0 ? span->cut : span->end;
  const int64_t row = rows_until(trainer, span, begin);
  const bool both = span->begin < span->cut && span->cut < span->end;
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  backward.time = end - begin;
  backward.batch = trainer->desc.batch;
  backward.tokens = trainer->inputs + row;
  if (!from_trained(trainer, begin)) {
    backward.h0 = trainer->h[from];
    backward.c0 = trainer->c[from];
  }
  backward.parameters = model->parameters;
  backward.packed = packed_of(trainer);
  backward.dy = trainer->dy + row * gk_rnn_output_size(model->rnn);
  if (both && part == 0) {
    backward.dhn = trainer->dh;
    backward.dcn = trainer->dc;
  } else if (both) {
    backward.dh0 = trainer->dh;
    backward.dc0 = trainer->dc;
  }
  backward.gradients = trainer->gradients;
  backward.accumulate = accumulate;
  backward.random = random_key(trainer, begin - span->begin);
  backward.reserve = trainer->reserve[part];
  backward.workspace = trainer->workspace;
  return gk_rnn_backward(model->rnn, &backward);
}

/* Loss, and its gradient by y; none of the steps before the loss begins. */
static gk_status take_loss(gk_language_trainer *trainer, const struct span *span, gk_training_step *report) {
  const gk_language_model *model = trainer->model;
  const int64_t row = rows_until(trainer, span, span->loss), width = gk_rnn_output_size(model->rnn);
  memset(trainer->dy, 0, (size_t)(row * width) * sizeof(float));
  gk_output_loss_args output = GK_OUTPUT_LOSS_ARGS_INIT;
  output.rows = rows_until(trainer, span, span->end) - row;
  output.h = trainer->y + row * width;
  output.targets = trainer->targets + row;
  output.packed = model->packed_output;
  output.loss = &report->loss;
  output.label_smoothing = trainer->desc.label_smoothing;
  output.gradient_scale = 1 / (float)report->characters;
  output.dh = trainer->dy + row * width;
  output.gradients = trainer->gradients + model->rnn_count;
  output.workspace = trainer->workspace;
  if (model->desc.tied) { /* the network's gradients are added to it: zeros, but for the embedding */
    memset(trainer->gradients, 0, (size_t)model->rnn_count * sizeof(float));
    output.dweight = trainer->gradients;
  }
  return gk_output_loss(model->output, &output);
}

static gk_status differentiate(gk_language_trainer *trainer, const struct span *span,
                               gk_training_step *report, double *start) {
  const gk_random_key key = random_key(trainer, 0);
  gk_status status = GK_OK;
  if (trainer->packed)
    status = gk_rnn_pack_dropped(trainer->model->rnn, trainer->model->pack_flags, &key,
                                 trainer->model->parameters, trainer->packed);
  if (status == GK_OK)
    status = forward_part(trainer, span, 0);
  if (status == GK_OK)
    status = forward_part(trainer, span, 1);
  end_part(report, GK_PART_FORWARD, start);
  if (status == GK_OK)
    status = take_loss(trainer, span, report);
  end_part(report, GK_PART_OUTPUT, start);
  bool accumulate = trainer->model->desc.tied;
  if (status == GK_OK && span->cut < span->end) {
    status = backward_part(trainer, span, 1, accumulate);
    accumulate = true;
  }
  if (status == GK_OK && span->begin < span->cut)
    status = backward_part(trainer, span, 0, accumulate);
  end_part(report, GK_PART_BACKWARD, start);
  return status;
}

static gk_status measure_norm(const gk_language_trainer *trainer, double *norm) {
  const gk_language_model *model = trainer->model;
  const int64_t count = model->rnn_count + model->output_count;
  const float *const gradients[] = {trainer->gradients};
  return gk_gradient_norm(model->desc.network.isa, model->desc.network.threads, 1, gradients, &count, norm);
}

/* By value, then by tensor, both in place; what the update scales by is left for the norm of all that is
 * left. */
static gk_status clip(gk_language_trainer *trainer, gk_training_step *report) {
  const gk_rnn_desc *model = &trainer->model->desc.network;
  const gk_training_desc *desc = &trainer->desc;
  double norm;
  gk_status status = measure_norm(trainer, &report->gradient_norm);
  if (status != GK_OK)
    return status;
  if (!isfinite(report->loss) || !isfinite(report->gradient_norm))
    return gk_fail(GK_ERROR_ARGUMENT,
                   "step %" PRId64
                   ": the loss is %g and the gradient's norm %g: learning_rate, %g, is too high",
                   report->step, fabs(report->loss), fabs(report->gradient_norm), /* no machine's -nan */
                   desc->learning_rate);
  norm = report->gradient_norm;
  if (desc->clip_value > 0)
    status = gk_clip_values(model->isa, model->threads, trainer->tensor_count, trainer->tensor_gradients,
                            trainer->tensor_counts, (float)desc->clip_value);
  if (status == GK_OK && desc->clip_tensor_norm > 0)
    status = gk_clip_norms(model->isa, model->threads, trainer->tensor_count, trainer->tensor_gradients,
                           trainer->tensor_counts, desc->clip_tensor_norm, NULL);
  if (status == GK_OK && (desc->clip_value > 0 || desc->clip_tensor_norm > 0))
    status = measure_norm(trainer, &norm);
  report->clip_scale = gk_clip_scale(norm, desc->clip_norm);
  return status;
}

static gk_status update(gk_language_trainer *trainer, gk_training_step *report, double *start) {
  gk_language_model *model = trainer->model;
  const gk_learning_rate_desc rate = gk_language_trainer_rate(&trainer->desc);
  gk_status status = clip(trainer, report);
  end_part(report, GK_PART_CLIP, start);
  if (status != GK_OK)
    return status;
  report->learning_rate = gk_learning_rate(&rate, &trainer->rate_state, report->step);
  status = gk_optimizer_step(&trainer->optimizer, report->step, report->learning_rate, report->clip_scale,
                             model->rnn_count + model->output_count, model->parameters, trainer->gradients,
                             trainer->optimizer_state);
  end_part(report, GK_PART_UPDATE, start);
  if (status == GK_OK)
    status = gk_language_model_pack(model);
  end_part(report, GK_PART_PACK, start);
  return status;
}

/* The times of the next step, see gk_training_desc.backward_time. */
static struct span next_span(const gk_language_trainer *trainer) {
  const int64_t index = trainer->step % gk_language_trainer_steps_per_epoch(trainer),
                window = trainer->window;
  const int64_t left = trainer->stream_length - index * window,
                reach = (index + 1) * window - trainer->history;
  struct span span = {.begin = reach > 0 ? reach : 0, .loss = index * window};
  const int64_t next = reach + window > 0 ? reach + window : 0;
  span.end = span.loss + (left < window ? left : window);
  span.cut = next < span.end ? next : span.end;
  return span;
}

static gk_status take_step(gk_language_trainer *trainer, gk_training_step *report) {
  const struct span span = next_span(trainer);
  const int before = (int)(trainer->step % 2);
  const int64_t row = rows_until(trainer, &span, span.loss);
  if (span.loss == 0) {
    memset(trainer->h[before], 0, (size_t)trainer->h_count * sizeof(float));
    if (trainer->c[before])
      memset(trainer->c[before], 0, (size_t)trainer->c_count * sizeof(float));
  }
  *report = (gk_training_step){.step = trainer->step + 1};
  double start = 0;
  end_part(report, GK_PART_DATA, &start);
  if (span.begin < span.loss)
    gk_text_streams_read(&trainer->streams, span.begin, span.loss - span.begin, trainer->inputs,
                         trainer->targets);
  report->characters = gk_text_streams_read(&trainer->streams, span.loss, span.end - span.loss,
                                            trainer->inputs + row, trainer->targets + row);
  report->operations = count_operations(trainer, &span);
  end_part(report, GK_PART_DATA, &start);
  gk_status status = differentiate(trainer, &span, report, &start);
  report->loss /= (double)report->characters;
  if (status == GK_OK)
    status = update(trainer, report, &start);
  if (status == GK_OK)
    ++trainer->step;
  return status;
}

gk_status gk_language_trainer_step(gk_language_trainer *trainer, gk_training_step *report) {
  gk_status status = GK_CHECK_POINTERS({"trainer", trainer}, {"report", report});
  if (status != GK_OK)
    return status;
  const uint64_t callers = gk_float_environment_pin();
  status = take_step(trainer, report);
  gk_float_environment_restore(callers);
  return status;
}

gk_status gk_language_trainer_validate(gk_language_trainer *trainer, gk_language_loss *loss, bool *improved) {
  gk_status status = GK_CHECK_POINTERS({"trainer", trainer}, {"loss", loss});
  if (status != GK_OK)
    return status;
  if (trainer->validation_count == 0)
    return gk_fail(GK_ERROR_ARGUMENT, "there is no text for validation");
  status = gk_language_model_evaluate_tokens(trainer->model, trainer->tokens + trainer->training_count,
                                             trainer->validation_count, loss);
  if (status != GK_OK)
    return status;
  const gk_learning_rate_desc rate = gk_language_trainer_rate(&trainer->desc);
  gk_learning_rate_measure(&rate, &trainer->rate_state, loss->nats);
  const bool better = loss->nats < trainer->best_loss;
  if (better) {
    trainer->best_loss = loss->nats;
    trainer->best_step = trainer->step;
  }
  if (improved)
    *improved = better;
  return GK_OK;
}
