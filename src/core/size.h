/* SPDX-License-Identifier: Apache-2.0
 *
 * Sizes in bytes or elements that fail instead of wrapping. Every function returns false, and leaves
 * *size as it was, if a factor is negative or the result does not fit. */
#ifndef GK_CORE_SIZE_H
#define GK_CORE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool gk_size_multiply(size_t *size, int64_t factor) {
  size_t product;
  if (factor < 0 || __builtin_mul_overflow(*size, factor, &product))
    return false;
  *size = product;
  return true;
}

static inline bool gk_size_add(size_t *size, size_t more) {
  size_t sum;
  if (__builtin_add_overflow(*size, more, &sum))
    return false;
  *size = sum;
  return true;
}

/* Up to the next multiple of `alignment`, a power of two. */
static inline bool gk_size_align(size_t *size, size_t alignment) {
  size_t sum;
  if (__builtin_add_overflow(*size, alignment - 1, &sum))
    return false;
  *size = sum & ~(alignment - 1);
  return true;
}

/* *size = element * a * b * c: the bytes of an array of shape (a, b, c). A zero extent gives 0 only if
 * the other extents are not negative. */
static inline bool gk_size_array(size_t *size, size_t element, int64_t a, int64_t b, int64_t c) {
  size_t product = element;
  if (a < 0 || b < 0 || c < 0)
    return false;
  if (a == 0 || b == 0 || c == 0) /* whatever the others' product is */
    product = 0;
  else if (!gk_size_multiply(&product, a) || !gk_size_multiply(&product, b) || !gk_size_multiply(&product, c))
    return false;
  *size = product;
  return true;
}

#endif
