/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_TASKS_BUFFER_H
#define GK_TASKS_BUFFER_H

#include "src/core/size.h"
#include "src/core/status.h"

#include <stdlib.h>
#include <string.h>

/* Zeroed memory for `bytes` bytes, aligned for the widest vectors; free() releases it. */
static inline gk_status gk_buffer_allocate(size_t bytes, void *pointer) {
  enum { ALIGNMENT = 64 };
  size_t rounded = bytes ? bytes : 1;
  void *memory = gk_size_align(&rounded, ALIGNMENT) ? aligned_alloc(ALIGNMENT, rounded) : NULL;
  if (!memory)
    return gk_fail(GK_ERROR_MEMORY, "no memory for %zu bytes", bytes);
  memset(memory, 0, rounded);
  memcpy(pointer, &memory, sizeof memory); /* `pointer` is the address of a pointer of any type */
  return GK_OK;
}

/* The same for an array of shape (a, b, c). */
static inline gk_status gk_buffer_array(size_t element, int64_t a, int64_t b, int64_t c, void *pointer) {
  size_t bytes;
  if (!gk_size_array(&bytes, element, a, b, c))
    return gk_fail(GK_ERROR_OVERFLOW, "an array of %lld x %lld x %lld elements is more than memory can hold",
                   (long long)a, (long long)b, (long long)c);
  return gk_buffer_allocate(bytes, pointer);
}

#endif
