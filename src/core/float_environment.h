/* SPDX-License-Identifier: Apache-2.0
 *
 * The floating-point environment in which every kernel runs: round to nearest, gradual underflow (no
 * FTZ, no DAZ), exceptions masked. The caller's may be anything: a library built with -ffast-math sets
 * FTZ and DAZ when it is loaded. Nearly always it is this one already, and writing a control word waits for
 * all arithmetic before it: what is there is not written again. */
#ifndef GK_CORE_FLOAT_ENVIRONMENT_H
#define GK_CORE_FLOAT_ENVIRONMENT_H

#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>

static inline uint64_t gk_float_environment_pin(void) {
  enum { FLAGS = 0x3f, PINNED = 0x1f80 }; /* flags stay up and change no arithmetic */
  const unsigned callers = _mm_getcsr();
  if ((callers & ~(unsigned)FLAGS) != PINNED)
    _mm_setcsr(PINNED);
  return callers;
}

static inline void gk_float_environment_restore(uint64_t callers) {
  if (_mm_getcsr() != (unsigned)callers)
    _mm_setcsr((unsigned)callers);
}

#elif defined(__aarch64__)

/* FPCR in the lower half; FPSR, the flags that are up, in the upper one. */
static inline uint64_t gk_float_environment_pin(void) {
  uint64_t control, flags;
  __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(control), "=r"(flags)::"memory");
  if (control)
    __asm__ volatile("msr fpcr, %0" ::"r"(UINT64_C(0)) : "memory");
  return control | flags << 32;
}

static inline void gk_float_environment_restore(uint64_t callers) {
  const uint64_t control = callers & UINT32_MAX, callers_flags = callers >> 32;
  uint64_t flags;
  __asm__ volatile("mrs %0, fpsr" : "=r"(flags)::"memory");
  if (flags != callers_flags)
    __asm__ volatile("msr fpsr, %0" ::"r"(callers_flags) : "memory");
  if (control)
    __asm__ volatile("msr fpcr, %0" ::"r"(control) : "memory");
}

#else
#error "say how this architecture pins rounding, underflow and exceptions"
#endif

/* What is called between the two and not inlined there: compilers do not know that arithmetic depends on the
 * environment, and let what an argument gave before it is pinned stand for what it gives then. */
#define GK_PINNED __attribute__((noinline))

/* The same behind the arithmetic that `result`, a variable, comes from. Compilers do not know that arithmetic
 * depends on the environment: that of a value which nothing stores they may move behind its change. */
static inline void gk_float_environment_restore_after(uint64_t callers, const void *result) {
  __asm__ volatile("" : : "r"(result) : "memory");
  gk_float_environment_restore(callers);
}
#endif
