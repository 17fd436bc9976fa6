/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/status.h"

#include <math.h>
#include <string.h>

static const char *const decay_names[] = {"constant", "cosine"};

const char *gk_decay_name(gk_decay decay) {
  return decay == GK_DECAY_CONSTANT || decay == GK_DECAY_COSINE ? decay_names[decay] : "unknown";
}

gk_status gk_decay_from_name(const char *name, gk_decay *decay) {
  if (!name || !decay)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", name ? "decay" : "name");
  for (int i = 0; i <= GK_DECAY_COSINE; ++i)
    if (strcmp(name, decay_names[i]) == 0) {
      *decay = (gk_decay)i;
      return GK_OK;
    }
  return gk_fail(GK_ERROR_ARGUMENT, "learning rate schedule %s is unknown; there are constant, cosine", name);
}

double gk_learning_rate(gk_decay decay, double base, double minimum, int64_t step, int64_t steps) {
  if (decay != GK_DECAY_COSINE)
    return (double)(float)base;
  const double pi = 3.14159265358979323846;
  const int64_t done = step < 1 ? 0 : step - 1;
  if (done >= steps)
    return (double)(float)minimum;
  const double factor = 0.5 * (1 + cos(pi * ((double)done / (double)steps)));
  return (double)(float)(minimum + (base - minimum) * factor);
}
