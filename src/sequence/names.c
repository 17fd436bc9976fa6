/* SPDX-License-Identifier: Apache-2.0
 * Names of the choices that networks and decoders have. */
#include "src/core/names.h"

#define GK_NAMES(what, type, argument, ...)                                                                  \
  static const char *const what##_names[] = {__VA_ARGS__};                                                   \
  GK_NAMES_OF(what, type, argument)

GK_NAMES(feedback, gk_feedback, feedback, "none", "token", "output")
GK_NAMES(attention, gk_attention, attention, "none", "dot", "general")
GK_NAMES(output_function, gk_output_function, function, "identity", "tanh", "sigmoid", "softmax")
GK_NAMES(choice, gk_choice, choice, "greedy", "sample")
GK_NAMES(teacher, gk_teacher, teacher, "linear", "exponential", "inverse-sigmoid")
GK_NAMES(bridge, gk_bridge_kind, kind, "copy", "linear", "tanh")
GK_NAMES(recurrence, gk_recurrence, recurrence, "hidden", "none")
GK_NAMES(direction, gk_direction, direction, "forward", "reverse", "bidirectional")
GK_NAMES(merge, gk_merge, merge, "concatenate", "sum")
GK_NAMES(layout, gk_layout, layout, "time-major", "batch-first")
GK_NAMES(dropout_masks, gk_dropout_masks, masks, "step", "sequence")
GK_NAMES(schedule, gk_schedule, schedule, "auto", "slices", "teams", "wavefront")
