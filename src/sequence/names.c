/* SPDX-License-Identifier: Apache-2.0
 * Names of the choices that networks and decoders have. */
#include <string.h>

#include "src/core/status.h"

/* The index of `name` in a list of names, or -1 and a message that lists them. */
static int find_name(const char *what, const char *const *names, int count, const char *name) {
  char known[160] = "";
  for (int i = 0; i < count; i++) {
    if (strcmp(name, names[i]) == 0)
      return i;
    strcat(strcat(known, " "), names[i]);
  }
  gk_fail(GK_ERROR_ARGUMENT, "%s is '%s', must be one of:%s", what, name, known);
  return -1;
}

/* gk_WHAT_name and gk_WHAT_from_name over the names that follow, in the order of the enum. */
#define GK_NAMES(what, type, ...)                                                                            \
  static const char *const what##_names[] = {__VA_ARGS__};                                                   \
  const char *gk_##what##_name(type value) {                                                                 \
    return (size_t)value < sizeof what##_names / sizeof *what##_names ? what##_names[value] : "unknown";     \
  }                                                                                                          \
  gk_status gk_##what##_from_name(const char *name, type *value) {                                           \
    if (!name || !value)                                                                                     \
      return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", name ? #what : "name");                                \
    const int found = find_name(#what, what##_names, sizeof what##_names / sizeof *what##_names, name);      \
    if (found < 0)                                                                                           \
      return GK_ERROR_ARGUMENT;                                                                              \
    *value = (type)found;                                                                                    \
    return GK_OK;                                                                                            \
  }

GK_NAMES(feedback, gk_feedback, "none", "token", "output")
GK_NAMES(attention, gk_attention, "none", "dot", "general")
GK_NAMES(output_function, gk_output_function, "identity", "tanh", "sigmoid", "softmax")
GK_NAMES(choice, gk_choice, "greedy", "sample")
GK_NAMES(teacher, gk_teacher, "linear", "exponential", "inverse-sigmoid")
GK_NAMES(bridge, gk_bridge_kind, "copy", "linear", "tanh")
GK_NAMES(recurrence, gk_recurrence, "hidden", "none")
GK_NAMES(direction, gk_direction, "forward", "reverse", "bidirectional")
GK_NAMES(merge, gk_merge, "concatenate", "sum")
GK_NAMES(layout, gk_layout, "time-major", "batch-first")
GK_NAMES(dropout_masks, gk_dropout_masks, "step", "sequence")
GK_NAMES(schedule, gk_schedule, "auto", "slices", "teams", "wavefront")

int gk_schedule_count(void) {
  return sizeof schedule_names / sizeof *schedule_names;
}
