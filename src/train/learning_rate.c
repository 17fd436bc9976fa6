/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/names.h"

#include <math.h>

static const char *const decay_names[] = {[GK_DECAY_CONSTANT] = "constant",
                                          [GK_DECAY_COSINE] = "cosine",
                                          [GK_DECAY_STEP] = "step",
                                          [GK_DECAY_PLATEAU] = "plateau"};
GK_NAMES_OF(decay, gk_decay, decay)

static GK_PINNED gk_status check(const gk_learning_rate_desc *desc) {
  if (!desc)
    return gk_fail(GK_ERROR_ARGUMENT, "desc is NULL");
  gk_status status = gk_check_size_field("desc", desc->size, sizeof *desc, "GK_LEARNING_RATE_DESC_INIT");
  if (!status)
    status = gk_check_choice("decay", (int)desc->decay, gk_decay_count());
  if (status)
    return status;
  if (!((float)desc->learning_rate > 0 && isfinite((float)desc->learning_rate)))
    return gk_fail(GK_ERROR_ARGUMENT, "learning_rate is %g, must be above 0 and finite as a float",
                   desc->learning_rate);
  if (!(desc->minimum_learning_rate >= 0 && desc->minimum_learning_rate <= desc->learning_rate))
    return gk_fail(GK_ERROR_ARGUMENT, "minimum_learning_rate is %g, must be from 0 to learning_rate, %g",
                   desc->minimum_learning_rate, desc->learning_rate);
  if (desc->steps < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "steps is %lld, must not be negative", (long long)desc->steps);
  if (desc->warmup < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "warmup is %lld, must not be negative", (long long)desc->warmup);
  /* What the decay does not read may be 0, but no more: it is kept with a run, whose decay may change. */
  const int64_t least_period = desc->decay == GK_DECAY_STEP;
  if (desc->period < least_period)
    return gk_fail(GK_ERROR_ARGUMENT, "period is %lld, must be at least %lld", (long long)desc->period,
                   (long long)least_period);
  const bool unread = desc->factor == 0 && desc->decay < GK_DECAY_STEP;
  if (!(desc->factor > 0 && desc->factor <= 1) && !unread)
    return gk_fail(GK_ERROR_ARGUMENT, "factor is %g, must be above 0, at most 1", desc->factor);
  if (desc->patience < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "patience is %lld, must not be negative", (long long)desc->patience);
  if (desc->interval < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "interval is %lld, must not be negative", (long long)desc->interval);
  if (!(desc->threshold >= 0 && desc->threshold < 1))
    return gk_fail(GK_ERROR_ARGUMENT, "threshold is %g, must be at least 0 and below 1", desc->threshold);
  return GK_OK;
}

gk_status gk_learning_rate_check(const gk_learning_rate_desc *desc) {
  const uint64_t callers = gk_float_environment_pin();
  const gk_status status = check(desc);
  gk_float_environment_restore(callers);
  return status;
}

/* By multiplications alone, which round alike everywhere. */
static double power(double factor, int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, factor *= factor)
    if (exponent % 2)
      result *= factor;
  return result;
}

/* `done` steps after the warm-up. */
static double decayed(const gk_learning_rate_desc *desc, const gk_learning_rate_state *state, int64_t done) {
  const double base = desc->learning_rate, minimum = desc->minimum_learning_rate, pi = 3.14159265358979323846;
  double rate = base;
  switch (desc->decay) {
  case GK_DECAY_COSINE: {
    const int64_t steps = desc->steps - desc->warmup;
    if (desc->steps == 0)
      return base;
    return done >= steps
               ? minimum
               : minimum + (base - minimum) * (0.5 * (1 + cos(pi * ((double)done / (double)steps))));
  }
  case GK_DECAY_STEP:
    rate = base * power(desc->factor, done / desc->period);
    break;
  case GK_DECAY_PLATEAU:
    rate = base * power(desc->factor, state->reduced);
    break;
  default:
    return base;
  }
  return rate > minimum ? rate : minimum;
}

/* A plateau's state; nothing else reads it. */
static gk_status check_state(const gk_learning_rate_desc *desc, const gk_learning_rate_state *state) {
  return state || desc->decay != GK_DECAY_PLATEAU
             ? GK_OK
             : gk_fail(GK_ERROR_ARGUMENT, "state is NULL and decay is plateau, which remembers losses in it");
}

static GK_PINNED double rate_of_step(const gk_learning_rate_desc *desc, const gk_learning_rate_state *state,
                                     int64_t step) {
  if (check(desc) || check_state(desc, state))
    return NAN;
  const int64_t done = step < 1 ? 0 : step - 1;
  const double base = desc->learning_rate;
  const double exact = done < desc->warmup ? base * ((double)(done + 1) / (double)desc->warmup)
                                           : decayed(desc, state, done - desc->warmup);
  return (double)(float)exact;
}

double gk_learning_rate(const gk_learning_rate_desc *desc, const gk_learning_rate_state *state,
                        int64_t step) {
  const uint64_t callers = gk_float_environment_pin();
  const double rate = rate_of_step(desc, state, step);
  gk_float_environment_restore(callers);
  return rate;
}

/* The best loss is infinite at first, as ReduceLROnPlateau's: a NaN that began would be below nothing, and
 * nothing below it. */
static GK_PINNED void measure(const gk_learning_rate_desc *desc, gk_learning_rate_state *state, double loss) {
  if (check(desc) || check_state(desc, state) || desc->decay != GK_DECAY_PLATEAU)
    return;
  if (state->measured++ == 0)
    state->best = INFINITY;
  if (isfinite(loss) && loss < state->best * (1 - desc->threshold)) {
    state->best = loss;
    state->bad = 0;
  } else if (++state->bad > desc->patience) {
    state->bad = 0;
    ++state->reduced;
  }
}

void gk_learning_rate_measure(const gk_learning_rate_desc *desc, gk_learning_rate_state *state, double loss) {
  const uint64_t callers = gk_float_environment_pin();
  measure(desc, state, loss);
  gk_float_environment_restore(callers);
}
