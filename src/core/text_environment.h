/* SPDX-License-Identifier: Apache-2.0
 *
 * The environment in which numbers become text and text numbers, float_environment.h's with one thing more:
 * printf and strtod round as fesetround says, on x86 by a control word of which no other arithmetic knows. */
#ifndef GK_CORE_TEXT_ENVIRONMENT_H
#define GK_CORE_TEXT_ENVIRONMENT_H

#include "src/core/float_environment.h"

#include <fenv.h>

struct gk_text_environment {
  uint64_t arithmetic;
  int rounding;
};

static inline struct gk_text_environment gk_text_environment_pin(void) {
  const struct gk_text_environment callers = {gk_float_environment_pin(), fegetround()};
  fesetround(FE_TONEAREST);
  return callers;
}

static inline void gk_text_environment_restore(struct gk_text_environment callers) {
  fesetround(callers.rounding);
  gk_float_environment_restore(callers.arithmetic);
}

#endif
