/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory of a task. All functions do nothing but return NULL, or 0, if *status is already a failure, and
 * leave one there if they fail, so that several can follow one another before the status is looked at. */
#ifndef GK_TASKS_BUFFER_H
#define GK_TASKS_BUFFER_H

#include "src/core/size.h"
#include "src/core/status.h"

#include <stdlib.h>
#include <string.h>

/* Zeroed memory as the kernels like it; gk_free() releases it. */
static inline void *gk_buffer_allocate(gk_status *status, size_t bytes) {
  void *memory = NULL;
  if (*status == GK_OK)
    *status = gk_allocate(bytes, &memory);
  if (memory)
    memset(memory, 0, bytes);
  return memory;
}

/* The bytes of an array of shape (a, b, c); 0 on failure. */
static inline size_t gk_buffer_bytes(gk_status *status, size_t element, int64_t a, int64_t b, int64_t c) {
  size_t bytes = 0;
  if (*status == GK_OK && !gk_size_array(&bytes, element, a, b, c))
    *status =
        gk_fail(GK_ERROR_OVERFLOW, "an array of %lld x %lld x %lld elements is more than memory can hold",
                (long long)a, (long long)b, (long long)c);
  return bytes;
}

/* Zeroed memory for such an array. */
static inline void *gk_buffer_array(gk_status *status, size_t element, int64_t a, int64_t b, int64_t c) {
  const size_t bytes = gk_buffer_bytes(status, element, a, b, c);
  return gk_buffer_allocate(status, bytes);
}

#endif
