/* SPDX-License-Identifier: Apache-2.0
 * Optimizers and the gradient norm, cut over threads at fixed places. */
#include <math.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "kernels/kernels.h"
#include "src/core/float_environment.h"
#include "src/core/matrix.h"
#include "src/core/parallel.h"

/* Values below which one thread does all; a share is a multiple of a line of cache. */
enum { SERIAL_COUNT = 20000, GRANULE = 1024 };

static const char *const names[] = {
    [GK_OPTIMIZER_SGD] = "sgd", [GK_OPTIMIZER_RMSPROP] = "rmsprop", [GK_OPTIMIZER_ADAM] = "adam"};
enum { OPTIMIZERS = sizeof names / sizeof *names };

const char *gk_optimizer_name(gk_optimizer_kind kind) {
  return (unsigned)kind < OPTIMIZERS ? names[kind] : "unknown";
}

gk_status gk_optimizer_from_name(const char *name, gk_optimizer_kind *kind) {
  if (!name || !kind)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", name ? "kind" : "name");
  for (int i = 0; i < OPTIMIZERS; i++)
    if (strcmp(name, names[i]) == 0) {
      *kind = (gk_optimizer_kind)i;
      return GK_OK;
    }
  return gk_fail(GK_ERROR_ARGUMENT, "optimizer is '%s', must be one of: sgd rmsprop adam", name);
}

static gk_status check_description(const gk_optimizer_desc *desc) {
  if (!desc)
    return gk_fail(GK_ERROR_ARGUMENT, "desc is NULL");
  if (desc->size != sizeof *desc)
    return gk_fail(GK_ERROR_ARGUMENT, "desc.size is %zu, must be %zu (GK_OPTIMIZER_DESC_INIT)", desc->size,
                   sizeof *desc);
  if ((unsigned)desc->kind >= OPTIMIZERS)
    return gk_fail(GK_ERROR_ARGUMENT, "kind is %d, must be 0..%d", (int)desc->kind, OPTIMIZERS - 1);
  const struct {
    const char *name;
    float value, limit;
  } rates[] = {{"momentum", desc->momentum, 1},
               {"beta1", desc->beta1, 1},
               {"beta2", desc->beta2, 1},
               {"alpha", desc->alpha, 1},
               {"epsilon", desc->epsilon, INFINITY},
               {"weight_decay", desc->weight_decay, INFINITY}};
  for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
    if (!(rates[i].value >= 0 && rates[i].value < rates[i].limit))
      return gk_fail(GK_ERROR_ARGUMENT, "%s is %g, must be at least 0 and below %g", rates[i].name,
                     (double)rates[i].value, (double)rates[i].limit);
  if (desc->threads < 0 || desc->threads > 1024)
    return gk_fail(GK_ERROR_ARGUMENT, "threads is %d, must be 0..1024", desc->threads);
  return GK_OK;
}

static int states_of(const gk_optimizer_desc *desc) {
  switch (desc->kind) {
  case GK_OPTIMIZER_ADAM:
    return 2;
  case GK_OPTIMIZER_RMSPROP:
    return 1;
  default:
    return desc->momentum != 0 ? 1 : 0;
  }
}

gk_status gk_optimizer_state_count(const gk_optimizer_desc *desc, int64_t count, int64_t *floats) {
  gk_status status = check_description(desc);
  if (status)
    return status;
  if (count < 0 || count > INT64_MAX / 8)
    return gk_fail(GK_ERROR_ARGUMENT, "count is %lld, must be 0..%lld", (long long)count,
                   (long long)(INT64_MAX / 8));
  if (!floats)
    return gk_fail(GK_ERROR_ARGUMENT, "floats is NULL");
  *floats = states_of(desc) * count;
  return GK_OK;
}

struct update_call {
  void (*kernel)(const struct gk_update *update);
  struct gk_update update;
};

static void update_body(void *context, int thread, int threads) {
  const struct update_call *call = context;
  struct gk_update share = call->update;
  size_t begin, end;
  gk_split(call->update.count, GRANULE, thread, threads, &begin, &end);
  share.count = end - begin;
  share.parameters += begin;
  share.gradients += begin;
  if (share.first)
    share.first += begin;
  if (share.second)
    share.second += begin;
  call->kernel(&share);
}

static const struct gk_kernels *resolve(gk_isa isa) {
  gk_isa chosen;
  if (gk_isa_resolve(isa, &chosen))
    return NULL;
  const struct gk_kernels *kernels = gk_dispatch(chosen, GK_MATH_OWN);
  if (!kernels)
    gk_fail(GK_ERROR_ISA, "isa %s has no kernels here", gk_isa_name(chosen));
  return kernels;
}

gk_status gk_optimizer_step(const gk_optimizer_desc *desc, int64_t step, double learning_rate,
                            float gradient_scale, int64_t count, float *parameters, const float *gradients,
                            float *state) {
  int64_t floats;
  gk_status status = gk_optimizer_state_count(desc, count, &floats);
  if (status)
    return status;
  if (step < 1)
    return gk_fail(GK_ERROR_ARGUMENT, "step is %lld, must be at least 1", (long long)step);
  if (count && (!parameters || !gradients))
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", parameters ? "gradients" : "parameters");
  if (floats && !state)
    return gk_fail(GK_ERROR_ARGUMENT, "state is NULL, must have %lld floats", (long long)floats);
  const struct gk_kernels *kernels = resolve(desc->isa);
  if (!kernels)
    return GK_ERROR_ISA;
  const uint64_t callers = gk_float_environment_pin();
  struct update_call call = {
      .kernel = desc->kind == GK_OPTIMIZER_ADAM  ? kernels->adam
                : desc->kind == GK_OPTIMIZER_SGD ? kernels->sgd
                                                 : kernels->rmsprop,
      .update = {.count = (size_t)count,
                 .parameters = parameters,
                 .gradients = gradients,
                 .first = floats ? state : NULL,
                 .second = floats > count ? state + count : NULL,
                 .gradient_scale = gradient_scale,
                 .weight_decay = desc->weight_decay,
                 .learning_rate = (float)learning_rate,
                 .momentum = desc->momentum,
                 .beta1 = desc->beta1,
                 .beta2 = desc->beta2,
                 .alpha = desc->alpha,
                 .epsilon = desc->epsilon,
                 .bias_correction1 = (float)(learning_rate / (1 - pow((double)desc->beta1, (double)step))),
                 .bias_correction2_root = (float)sqrt(1 - pow((double)desc->beta2, (double)step)),
                 .first_step = step == 1}};
  const int threads = desc->threads ? desc->threads : gk_default_threads();
  gk_parallel(count < SERIAL_COUNT ? 1 : threads, update_body, &call);
  gk_float_environment_restore(callers);
  return GK_OK;
}

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

gk_status gk_gradient_norm(gk_isa isa, int threads, int parts, const float *const *gradients,
                           const int64_t *counts, double *norm) {
  if (!gradients || !counts || !norm)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", !gradients ? "gradients" : !counts ? "counts" : "norm");
  if (threads < 0 || threads > 1024)
    return gk_fail(GK_ERROR_ARGUMENT, "threads is %d, must be 0..1024", threads);
  if (parts < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "parts is %d, must not be negative", parts);
  for (int part = 0; part < parts; part++)
    if (counts[part] < 0 || (counts[part] && !gradients[part]))
      return gk_fail(GK_ERROR_ARGUMENT, "counts[%d] is %lld and gradients[%d] is %s", part,
                     (long long)counts[part], part, gradients[part] ? "given" : "NULL");
  struct norm_call call = {.kernels = resolve(isa)};
  if (!call.kernels)
    return GK_ERROR_ISA;
  if (threads == 0)
    threads = gk_default_threads();
  const uint64_t callers = gk_float_environment_pin();
  double sum = 0;
  for (int part = 0; part < parts; part++)
    for (int64_t at = 0; at < counts[part]; at += (int64_t)NORM_PIECE * NORM_BATCH) {
      const int64_t left = counts[part] - at, most = (int64_t)NORM_PIECE * NORM_BATCH;
      call.gradients = gradients[part] + at;
      call.count = (size_t)(left < most ? left : most);
      gk_parallel(call.count < 4 * NORM_PIECE ? 1 : threads, norm_body, &call);
      for (size_t piece = 0; piece < (call.count + NORM_PIECE - 1) / NORM_PIECE; piece++)
        sum += (double)call.sums[piece];
    }
  *norm = sqrt(sum);
  gk_float_environment_restore(callers);
  return GK_OK;
}

float gk_clip_scale(double norm, double max_norm) {
  const uint64_t callers = gk_float_environment_pin();
  const double scale = max_norm / (norm + 1e-6);
  const float clip = max_norm > 0 && scale < 1 ? (float)scale : 1.0f;
  gk_float_environment_restore(callers);
  return clip;
}
