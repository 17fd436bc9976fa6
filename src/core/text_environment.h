/* SPDX-License-Identifier: Apache-2.0
 *
 * The environment in which numbers become text and text numbers, float_environment.h's with two things more:
 * printf and strtod round as fesetround says, on x86 by a control word of which no other arithmetic knows,
 * and have the decimal point of the thread's locale. What one program writes another reads. */
#ifndef GK_CORE_TEXT_ENVIRONMENT_H
#define GK_CORE_TEXT_ENVIRONMENT_H

#include "src/core/float_environment.h"
#include "src/core/status.h"

#include <fenv.h>
#include <locale.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

struct gk_text_environment {
  uint64_t arithmetic;
  int rounding;
  locale_t own_locale, locale;
};

/* GK_ERROR_MEMORY, and nothing is to be restored. */
static inline gk_status gk_text_environment_pin(struct gk_text_environment *callers) {
  /* of all categories: glibc then allocates nothing */
  const locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  if (!locale) {
    gk_fail(GK_ERROR_MEMORY, "no memory for the locale of numbers");
    return GK_ERROR_MEMORY;
  }
  *callers = (struct gk_text_environment){.arithmetic = gk_float_environment_pin(),
                                          .rounding = fegetround(),
                                          .own_locale = locale,
                                          .locale = uselocale(locale)};
  fesetround(FE_TONEAREST);
  return GK_OK;
}

static inline void gk_text_environment_restore(const struct gk_text_environment *callers) {
  fesetround(callers->rounding);
  uselocale(callers->locale);
  freelocale(callers->own_locale);
  gk_float_environment_restore(callers->arithmetic);
}

#endif
