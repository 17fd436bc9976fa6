/* SPDX-License-Identifier: Apache-2.0
 * Optimizers, the gradient norm and clipping, cut over threads at fixed places. */
#include <math.h>

#include "dispatch/dispatch.h"
#include "kernels/kernels.h"
#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/matrix.h"
#include "src/core/names.h"
#include "src/core/parallel.h"
#include "src/core/threads.h"

enum { GRANULE = 1024 }; /* values: a thread's share is a multiple of them, and so of lines of cache */

static const char *const optimizer_names[] = {[GK_OPTIMIZER_SGD] = "sgd",
                                              [GK_OPTIMIZER_RMSPROP] = "rmsprop",
                                              [GK_OPTIMIZER_ADAM] = "adam",
                                              [GK_OPTIMIZER_ADAGRAD] = "adagrad",
                                              [GK_OPTIMIZER_ADAMW] = "adamw"};
GK_NAMES_OF(optimizer, gk_optimizer_kind, kind)

gk_status gk_optimizer_defaults(gk_optimizer_kind kind, gk_optimizer_desc *desc) {
  if (!desc)
    return gk_fail(GK_ERROR_ARGUMENT, "desc is NULL");
  const gk_status status = gk_check_choice("kind", (int)kind, gk_optimizer_count());
  if (status)
    return status;
  *desc = (gk_optimizer_desc)GK_OPTIMIZER_DESC_INIT;
  desc->kind = kind;
  if (kind == GK_OPTIMIZER_ADAGRAD)
    desc->epsilon = 1e-10f;
  if (kind == GK_OPTIMIZER_ADAMW)
    desc->weight_decay = 0.01f;
  return GK_OK;
}

static gk_status check_description(const gk_optimizer_desc *desc) {
  if (!desc)
    return gk_fail(GK_ERROR_ARGUMENT, "desc is NULL");
  gk_status status = gk_check_size_field("desc", desc->size, sizeof *desc, "GK_OPTIMIZER_DESC_INIT");
  if (!status)
    status = gk_check_choice("kind", (int)desc->kind, gk_optimizer_count());
  if (status)
    return status;
  const struct {
    const char *name;
    float value, limit;
  } rates[] = {{"momentum", desc->momentum, 1},
               {"beta1", desc->beta1, 1},
               {"beta2", desc->beta2, 1},
               {"alpha", desc->alpha, 1},
               {"epsilon", desc->epsilon, INFINITY},
               {"weight_decay", desc->weight_decay, INFINITY},
               {"rate_decay", desc->rate_decay, INFINITY}};
  for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
    if (!(rates[i].value >= 0 && rates[i].value < rates[i].limit))
      return gk_fail(GK_ERROR_ARGUMENT, "%s is %g, must be at least 0 and below %g", rates[i].name,
                     (double)rates[i].value, (double)rates[i].limit);
  if (desc->nesterov && (desc->kind != GK_OPTIMIZER_SGD || desc->momentum == 0))
    return gk_fail(GK_ERROR_ARGUMENT,
                   "nesterov is set, and the optimizer is %s with momentum %g: it needs sgd "
                   "with a momentum above 0",
                   optimizer_names[desc->kind], (double)desc->momentum);
  return gk_check_threads(desc->threads);
}

static int states_of(const gk_optimizer_desc *desc) {
  switch (desc->kind) {
  case GK_OPTIMIZER_ADAM:
  case GK_OPTIMIZER_ADAMW:
    return 2;
  case GK_OPTIMIZER_RMSPROP:
  case GK_OPTIMIZER_ADAGRAD:
    return 1;
  default:
    return desc->momentum != 0 ? 1 : 0;
  }
}

static GK_PINNED gk_status state_count(const gk_optimizer_desc *desc, int64_t count, int64_t *floats) {
  gk_status status = check_description(desc);
  if (status)
    return status;
  status = gk_check_range("count", count, 0, INT64_MAX / 8, GK_ERROR_OVERFLOW);
  if (status)
    return status;
  if (!floats)
    return gk_fail(GK_ERROR_ARGUMENT, "floats is NULL");
  *floats = states_of(desc) * count;
  return GK_OK;
}

gk_status gk_optimizer_state_count(const gk_optimizer_desc *desc, int64_t count, int64_t *floats) {
  const uint64_t callers = gk_float_environment_pin();
  const gk_status status = state_count(desc, count, floats);
  gk_float_environment_restore(callers);
  return status;
}

/* ---- Updates ---- */

struct update_call {
  void (*kernel)(const struct gk_update *update);
  struct gk_update update; /* but for its arrays */
  int parts, states;
  const gk_optimizer_part *part;
  size_t total; /* parameters of all parts, each rounded up to whole granules */
};

static size_t rounded(int64_t count) {
  return ((size_t)count + GRANULE - 1) / GRANULE * GRANULE;
}

/* The thread's share of all parts, laid end to end. */
static void update_body(void *context, int thread, int threads) {
  const struct update_call *call = context;
  size_t begin, end, first = 0;
  gk_split(call->total, GRANULE, thread, threads, &begin, &end);
  for (int i = 0; i < call->parts && first < end; first += rounded(call->part[i].count), i++) {
    const gk_optimizer_part *part = &call->part[i];
    const size_t count = (size_t)part->count, from = begin > first ? begin - first : 0;
    const size_t to = end - first < count ? end - first : count;
    if (from >= to)
      continue;
    struct gk_update share = call->update;
    share.count = to - from;
    share.parameters = part->parameters + from;
    share.gradients = part->gradients + from;
    share.first = call->states > 0 ? part->state + from : NULL;
    share.second = call->states > 1 ? part->state + count + from : NULL;
    share.gradient_scale = part->gradient_scale;
    call->kernel(&share);
  }
}

static void (*kernel_of(const struct gk_kernels *kernels, gk_optimizer_kind kind))(const struct gk_update *) {
  switch (kind) {
  case GK_OPTIMIZER_SGD:
    return kernels->sgd;
  case GK_OPTIMIZER_RMSPROP:
    return kernels->rmsprop;
  case GK_OPTIMIZER_ADAGRAD:
    return kernels->adagrad;
  case GK_OPTIMIZER_ADAMW:
    return kernels->adamw;
  default:
    return kernels->adam;
  }
}

static struct gk_update describe_update(const gk_optimizer_desc *desc, int64_t step, double learning_rate) {
  const double rate = desc->kind == GK_OPTIMIZER_ADAGRAD
                          ? learning_rate / (1 + (double)(step - 1) * (double)desc->rate_decay)
                          : learning_rate;
  return (struct gk_update){.weight_decay = desc->weight_decay,
                            .learning_rate = (float)rate,
                            .momentum = desc->momentum,
                            .beta1 = desc->beta1,
                            .beta2 = desc->beta2,
                            .alpha = desc->alpha,
                            .epsilon = desc->epsilon,
                            .step_size =
                                (float)(learning_rate / (1 - pow((double)desc->beta1, (double)step))),
                            .bias_correction2_root = (float)sqrt(1 - pow((double)desc->beta2, (double)step)),
                            .shrink = (float)(1 - learning_rate * (double)desc->weight_decay),
                            .first_step = step == 1,
                            .nesterov = desc->nesterov};
}

/* The factors that can overflow although the learning rate is finite (Adagrad's only falls), where they are
 * read. */
static gk_status check_factors(const gk_optimizer_desc *desc, int64_t step, double learning_rate,
                               const struct gk_update *update) {
  const bool adam = desc->kind == GK_OPTIMIZER_ADAM || desc->kind == GK_OPTIMIZER_ADAMW;
  if (adam && !isfinite(update->step_size))
    return gk_fail(GK_ERROR_ARGUMENT,
                   "learning_rate is %g and beta1 is %g: lr / (1 - beta1^%lld) must be a finite float",
                   learning_rate, (double)desc->beta1, (long long)step);
  if (desc->kind == GK_OPTIMIZER_ADAMW && !isfinite(update->shrink))
    return gk_fail(GK_ERROR_ARGUMENT,
                   "learning_rate is %g and weight_decay is %g: 1 - lr * weight_decay must be a finite float",
                   learning_rate, (double)desc->weight_decay);
  return GK_OK;
}

static gk_status check_part(const gk_optimizer_desc *desc, const gk_optimizer_part *part) {
  int64_t floats;
  gk_status status = state_count(desc, part->count, &floats);
  if (status)
    return status;
  if (part->count && (!part->parameters || !part->gradients))
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", part->parameters ? "gradients" : "parameters");
  if (floats && !part->state)
    return gk_fail(GK_ERROR_ARGUMENT, "state is NULL, must have %lld floats", (long long)floats);
  if (!isfinite(part->gradient_scale))
    return gk_fail(GK_ERROR_ARGUMENT, "gradient_scale is %g, must be finite", (double)part->gradient_scale);
  return GK_OK;
}

static GK_PINNED gk_status step_parts(const gk_optimizer_desc *desc, int64_t step, double learning_rate,
                                      int parts, const gk_optimizer_part *part) {
  gk_status status = check_description(desc);
  if (status)
    return status;
  if (step < 1)
    return gk_fail(GK_ERROR_ARGUMENT, "step is %lld, must be at least 1", (long long)step);
  if (!isfinite((float)learning_rate))
    return gk_fail(GK_ERROR_ARGUMENT, "learning_rate is %g, must be finite as a float", learning_rate);
  if (parts < 0 || (parts && !part))
    return gk_fail(GK_ERROR_ARGUMENT, "parts is %d and part is %s", parts, part ? "given" : "NULL");
  struct update_call call = {.parts = parts, .states = states_of(desc), .part = part};
  for (int i = 0; i < parts; i++) {
    status = check_part(desc, &part[i]);
    if (status)
      return status;
    if (!gk_size_add(&call.total, rounded(part[i].count)))
      return gk_fail(GK_ERROR_OVERFLOW, "part[%d].count is %lld, with the parts before it too many values", i,
                     (long long)part[i].count);
  }
  const struct gk_kernels *kernels;
  status = gk_kernels_for(desc->isa, GK_MATH_OWN, &kernels);
  if (status)
    return status;
  call.kernel = kernel_of(kernels, desc->kind);
  call.update = describe_update(desc, step, learning_rate);
  status = check_factors(desc, step, learning_rate, &call.update);
  if (status == GK_OK)
    gk_parallel(call.total < GK_SHARED_VALUES ? 1 : gk_resolve_threads(desc->threads), update_body, &call);
  return status;
}

gk_status gk_optimizer_step_parts(const gk_optimizer_desc *desc, int64_t step, double learning_rate,
                                  int parts, const gk_optimizer_part *part) {
  const uint64_t callers = gk_float_environment_pin();
  const gk_status status = step_parts(desc, step, learning_rate, parts, part);
  gk_float_environment_restore(callers);
  return status;
}

gk_status gk_optimizer_step(const gk_optimizer_desc *desc, int64_t step, double learning_rate,
                            float gradient_scale, int64_t count, float *parameters, const float *gradients,
                            float *state) {
  const gk_optimizer_part part = {count, parameters, gradients, state, gradient_scale};
  return gk_optimizer_step_parts(desc, step, learning_rate, 1, &part);
}

/* ---- Norms and clipping ---- */

/* Sums of squares of fixed pieces, added in order in double. */
enum { NORM_PIECE = 16384, NORM_BATCH = 256 };

struct norm_call {
  const struct gk_kernels *kernels;
  const float *gradients;
  size_t count; /* of this batch of pieces */
  float sums[NORM_BATCH];
};

static void norm_body(void *context, int thread, int threads) {
  struct norm_call *call = context;
  size_t begin, end;
  gk_split((call->count + NORM_PIECE - 1) / NORM_PIECE, 1, thread, threads, &begin, &end);
  for (size_t piece = begin; piece < end; piece++) {
    const size_t at = piece * NORM_PIECE,
                 count = call->count - at < NORM_PIECE ? call->count - at : NORM_PIECE;
    call->sums[piece] = call->kernels->sum_squares(count, call->gradients + at);
  }
}

/* What all functions over parts of gradients need. */
static gk_status check_parts(int threads, int parts, const void *gradients, const float *const *part,
                             const int64_t *counts) {
  if (!gradients || !counts)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", gradients ? "counts" : "gradients");
  const gk_status status = gk_check_threads(threads);
  if (status)
    return status;
  if (parts < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "parts is %d, must not be negative", parts);
  for (int i = 0; i < parts; i++) {
    if (counts[i] < 0 || (counts[i] && !part[i]))
      return gk_fail(GK_ERROR_ARGUMENT, "counts[%d] is %lld and gradients[%d] is %s", i, (long long)counts[i],
                     i, part[i] ? "given" : "NULL");
    size_t bytes;
    if (!gk_size_array(&bytes, sizeof(float), counts[i], 1, 1))
      return gk_fail(GK_ERROR_OVERFLOW, "counts[%d] is %lld, which do not fit in memory", i,
                     (long long)counts[i]);
  }
  return GK_OK;
}

/* Adds the squares of one part. */
static void add_squares(struct norm_call *call, int threads, const float *gradients, int64_t count,
                        double *sum) {
  const int64_t most = (int64_t)NORM_PIECE * NORM_BATCH;
  for (int64_t at = 0; at < count; at += most) {
    call->gradients = gradients + at;
    call->count = (size_t)(count - at < most ? count - at : most);
    gk_parallel(call->count < 4 * NORM_PIECE ? 1 : threads, norm_body, call);
    for (size_t piece = 0; piece < (call->count + NORM_PIECE - 1) / NORM_PIECE; piece++)
      *sum += (double)call->sums[piece];
  }
}

gk_status gk_gradient_norm(gk_isa isa, int threads, int parts, const float *const *gradients,
                           const int64_t *counts, double *norm) {
  gk_status status = check_parts(threads, parts, gradients, gradients, counts);
  if (status)
    return status;
  if (!norm)
    return gk_fail(GK_ERROR_ARGUMENT, "norm is NULL");
  struct norm_call call;
  status = gk_kernels_for(isa, GK_MATH_OWN, &call.kernels);
  if (status)
    return status;
  threads = gk_resolve_threads(threads);
  const uint64_t callers = gk_float_environment_pin();
  double sum = 0;
  for (int part = 0; part < parts; part++)
    add_squares(&call, threads, gradients[part], counts[part], &sum);
  *norm = sqrt(sum);
  gk_float_environment_restore(callers);
  return GK_OK;
}

struct change_call {
  const struct gk_kernels *kernels;
  float *gradients;
  size_t count;
  bool clamp;
  float value; /* limit or factor */
};

static void change_body(void *context, int thread, int threads) {
  const struct change_call *call = context;
  size_t begin, end;
  gk_split(call->count, GRANULE, thread, threads, &begin, &end);
  if (call->clamp)
    call->kernels->clamp(end - begin, call->value, call->gradients + begin);
  else
    call->kernels->scale(end - begin, call->value, call->gradients + begin);
}

static void change(struct change_call *call, int threads, float *gradients, int64_t count) {
  call->gradients = gradients;
  call->count = (size_t)count;
  gk_parallel(call->count < GK_SHARED_VALUES ? 1 : threads, change_body, call);
}

static GK_PINNED gk_status clip_values(gk_isa isa, int threads, int parts, float *const *gradients,
                                       const int64_t *counts, float limit) {
  gk_status status = check_parts(threads, parts, gradients, (const float *const *)gradients, counts);
  if (status)
    return status;
  if (!(limit >= 0))
    return gk_fail(GK_ERROR_ARGUMENT, "limit is %g, must be at least 0", (double)limit);
  struct change_call call = {.clamp = true, .value = limit};
  status = gk_kernels_for(isa, GK_MATH_OWN, &call.kernels);
  if (status)
    return status;
  threads = gk_resolve_threads(threads);
  for (int part = 0; part < parts; part++)
    change(&call, threads, gradients[part], counts[part]);
  return GK_OK;
}

gk_status gk_clip_values(gk_isa isa, int threads, int parts, float *const *gradients, const int64_t *counts,
                         float limit) {
  const uint64_t callers = gk_float_environment_pin();
  const gk_status status = clip_values(isa, threads, parts, gradients, counts, limit);
  gk_float_environment_restore(callers);
  return status;
}

static GK_PINNED gk_status clip_norms(gk_isa isa, int threads, int parts, float *const *gradients,
                                      const int64_t *counts, double max_norm, double *norms) {
  gk_status status = check_parts(threads, parts, gradients, (const float *const *)gradients, counts);
  if (status)
    return status;
  if (!(max_norm >= 0))
    return gk_fail(GK_ERROR_ARGUMENT, "max_norm is %g, must be at least 0", max_norm);
  struct norm_call squares;
  status = gk_kernels_for(isa, GK_MATH_OWN, &squares.kernels);
  if (status)
    return status;
  struct change_call scaling = {.kernels = squares.kernels};
  threads = gk_resolve_threads(threads);
  for (int part = 0; part < parts; part++) {
    double sum = 0;
    add_squares(&squares, threads, gradients[part], counts[part], &sum);
    const double norm = sqrt(sum);
    scaling.value = gk_clip_scale(norm, max_norm);
    if (scaling.value != 1)
      change(&scaling, threads, gradients[part], counts[part]);
    if (norms)
      norms[part] = norm;
  }
  return GK_OK;
}

gk_status gk_clip_norms(gk_isa isa, int threads, int parts, float *const *gradients, const int64_t *counts,
                        double max_norm, double *norms) {
  const uint64_t callers = gk_float_environment_pin();
  const gk_status status = clip_norms(isa, threads, parts, gradients, counts, max_norm, norms);
  gk_float_environment_restore(callers);
  return status;
}

float gk_clip_scale(double norm, double max_norm) {
  const uint64_t callers = gk_float_environment_pin();
  const double scale = max_norm / (norm + 1e-6);
  float clip = max_norm > 0 && scale < 1 ? (float)scale : 1.0f;
  gk_float_environment_restore_after(callers, &clip);
  return clip;
}
