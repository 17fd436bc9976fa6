/* SPDX-License-Identifier: Apache-2.0
 *
 * Floating-point environments that a caller may have set. */
#ifndef GK_TESTS_FLOAT_CONTROLS_H
#define GK_TESTS_FLOAT_CONTROLS_H

#if defined(__SSE__)
#include <xmmintrin.h>
typedef unsigned control_word;
/* Without the sticky flags, which any arithmetic of the caller's thread may raise. */
static inline control_word read_control(void) {
  return _mm_getcsr() & ~0x3fu;
}
static inline void write_control(control_word word) {
  _mm_setcsr(word);
}
/* Flush to zero with denormals are zero; sticky flags up; each rounding mode. */
static const control_word odd_controls[] = {0x1f80 | 0x8040, 0x1f80 | 0x003f, 0x1f80 | 0x2000,
                                            0x1f80 | 0x4000, 0x1f80 | 0x6000, 0x1f80 | 0x8040 | 0x6000};
#elif defined(__aarch64__)
typedef unsigned long control_word;
static inline control_word read_control(void) {
  control_word word;
  __asm__ volatile("mrs %0, fpcr" : "=r"(word));
  return word;
}
static inline void write_control(control_word word) {
  __asm__ volatile("msr fpcr, %0" : : "r"(word));
}
static const control_word odd_controls[] = {1ul << 24, 1ul << 25, 1ul << 22,
                                            2ul << 22, 3ul << 22, 1ul << 24 | 3ul << 22};
#endif
enum { CONTROLS = sizeof odd_controls / sizeof *odd_controls };

#endif
