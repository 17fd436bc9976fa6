/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of the values of an enum, for gk_WHAT_name and gk_WHAT_from_name of the public headers. */
#ifndef GK_CORE_NAMES_H
#define GK_CORE_NAMES_H

#include "src/core/arguments.h"

#include <stdio.h>
#include <string.h>

/* The index of `name` among `count` names that are `stride` bytes apart; -1 and a message that lists them if
 * there is none, or if name or value, where it goes, is NULL; `argument` is what the caller calls that.
 * Inline, because libgatekern-train sees only what libgatekern exports. */
static inline int gk_find_name(const char *what, const char *const *names, size_t stride, int count,
                               const char *name, const void *value, const char *argument) {
  char known[200] = "";
  if (GK_CHECK_POINTERS({"name", name}, {argument, value}))
    return -1;
  for (int i = 0; i < count; i++) {
    const char *at = *(const char *const *)((const char *)names + (size_t)i * stride);
    const size_t used = strlen(known);
    if (strcmp(name, at) == 0)
      return i;
    snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", at);
  }
  gk_fail(GK_ERROR_ARGUMENT, "%s is '%.40s', must be one of %s", what, name, known);
  return -1;
}

/* gk_WHAT_count, gk_WHAT_name and gk_WHAT_from_name over WHAT_names, in the order of the enum; argument: as
 * the header calls the value. */
#define GK_NAMES_OF(what, type, argument)                                                                    \
  int gk_##what##_count(void) {                                                                              \
    return sizeof what##_names / sizeof *what##_names;                                                       \
  }                                                                                                          \
  const char *gk_##what##_name(type value) {                                                                 \
    return (size_t)value < sizeof what##_names / sizeof *what##_names ? what##_names[value] : "unknown";     \
  }                                                                                                          \
  gk_status gk_##what##_from_name(const char *name, type *value) {                                           \
    const int found = gk_find_name(#what, what##_names, sizeof *what##_names, gk_##what##_count(), name,     \
                                   value, #argument);                                                        \
    if (found < 0)                                                                                           \
      return GK_ERROR_ARGUMENT;                                                                              \
    *value = (type)found;                                                                                    \
    return GK_OK;                                                                                            \
  }

#endif
