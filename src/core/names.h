/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of the values of an enum, for gk_WHAT_name and gk_WHAT_from_name of the public headers. */
#ifndef GK_CORE_NAMES_H
#define GK_CORE_NAMES_H

#include "src/core/status.h"

/* The index of `name` among `count` names that are `stride` bytes apart; -1 and a message that lists them if
 * there is none, or if name or value, where it goes, is NULL; `argument` is what the caller calls that. */
int gk_find_name(const char *what, const char *const *names, size_t stride, int count, const char *name,
                 const void *value, const char *argument);

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

/* Those of the counts that no public header has. */
int gk_feedback_count(void);
int gk_attention_count(void);
int gk_output_function_count(void);
int gk_choice_count(void);
int gk_bridge_count(void);
int gk_recurrence_count(void);
int gk_direction_count(void);
int gk_merge_count(void);
int gk_layout_count(void);
int gk_dropout_masks_count(void);
int gk_teacher_count(void);

#endif
