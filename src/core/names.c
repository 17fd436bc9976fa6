/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/names.h"
#include "src/core/arguments.h"

#include <stdio.h>
#include <string.h>

int gk_find_name(const char *what, const char *const *names, size_t stride, int count, const char *name,
                 const void *value, const char *argument) {
  char known[200] = "";
  if (GK_CHECK_POINTERS({"name", name}, {argument, value}))
    return -1;
  for (int i = 0; i < count; i++) {
    const char *at = *(const char *const *)((const char *)names + (size_t)i * stride);
    const size_t used = strlen(known);
    if (strcmp(name, at) == 0)
      return i;
    snprintf(known + used, sizeof known - used, " %s", at);
  }
  gk_fail(GK_ERROR_ARGUMENT, "%s is '%s', must be one of:%s", what, name, known);
  return -1;
}
