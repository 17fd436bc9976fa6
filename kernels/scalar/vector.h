/* SPDX-License-Identifier: Apache-2.0
 * The vector header of the scalar tier: one lane. Compiled with GK_SCALAR_FMA where the CPU has the fma
 * instruction (always on AArch64), else fma is libm's, which is exact too. */
#ifndef GK_KERNELS_VECTOR_H
#define GK_KERNELS_VECTOR_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sleef.h>

#define GK_V 1
typedef float vf;
typedef bool vm;

static inline uint32_t v_bits(vf x) {
  uint32_t b;
  memcpy(&b, &x, sizeof b);
  return b;
}
static inline vf v_float(uint32_t b) {
  vf x;
  memcpy(&x, &b, sizeof x);
  return x;
}

static inline vf vf_load(const float *p) { return *p; }
static inline vf vf_load_n(const float *p, size_t lanes) { return lanes ? *p : 0; }
static inline void vf_store(float *p, vf x) { *p = x; }
static inline void vf_store_n(float *p, vf x, size_t lanes) {
  if (lanes)
    *p = x;
}
/* The first lanes of x, and zeros. */
static inline vf vf_first(vf x, size_t lanes) { return lanes ? x : 0; }
/* Lane j + width of x in the lanes j < width, a power of two below GK_V: there is none. */
static inline vf vf_from_lane(vf x, int width) {
  (void)width;
  return x;
}
/* The lanes [begin, end): the one there is, or none; that of x from p, or as it is; and back. */
typedef bool v_part;
static inline v_part v_part_of(size_t begin, size_t end) { return begin < end; }
static inline vf vf_load_part(vf x, const float *p, v_part part) { return part ? *p : x; }
static inline void vf_store_part(float *p, vf x, v_part part) {
  if (part)
    *p = x;
}
static inline void vf_stream(float *p, vf x) { *p = x; }
static inline void v_stream_end(void) {}
static inline vf vf_set(float x) { return x; }
static inline vf vf_add(vf a, vf b) { return a + b; }
static inline vf vf_sub(vf a, vf b) { return a - b; }
static inline vf vf_mul(vf a, vf b) { return a * b; }
static inline vf vf_div(vf a, vf b) { return a / b; }
static inline vf vf_sqrt(vf a) { return sqrtf(a); }
static inline vf vf_fma(vf a, vf b, vf c) { return fmaf(a, b, c); }
static inline vf vf_fnma(vf a, vf b, vf c) { return fmaf(-a, b, c); }
static inline vf vf_abs(vf a) { return v_float(v_bits(a) & 0x7fffffffu); }
/* limit where limit < x (limit > x), else x: a NaN in x stays. */
static inline vf vf_at_most(vf x, vf limit) { return limit < x ? limit : x; }
static inline vf vf_at_least(vf x, vf limit) { return limit > x ? limit : x; }
static inline vm vf_lt(vf a, vf b) { return a < b; }
static inline vm vf_ge(vf a, vf b) { return a >= b; }
static inline vf vf_select(vm m, vf yes, vf no) { return m ? yes : no; }
static inline vf vf_zero_where(vm m, vf x) { return m ? 0.0f : x; }
/* +0 where |x| < 2^-95, where none of the upper three bits of the exponent is set. */
static inline vf vf_flush(vf x) { return v_bits(x) & 0x70000000u ? x : 0.0f; }
/* |magnitude| with the sign of sign; magnitude >= 0 or NaN */
static inline vf vf_with_sign(vf magnitude, vf sign) {
  return v_float(v_bits(magnitude) | (v_bits(sign) & 0x80000000u));
}
/* The float whose exponent field is the low byte of t's mantissa: 2^n for t = 1.5 * 2^23 + 127 + n. */
static inline vf vf_exponent(vf t) { return v_float(v_bits(t) << 23); }

/* An integer of 32 bits in 64, for random numbers: the upper half holds anything but where said. */
#define GK_W 1
typedef uint64_t vw;
static inline vw vw_set(uint32_t x) { return x; }
static inline vw vw_count(uint32_t first) { return first; }
static inline vw vw_multiply(vw a, vw b) { return (vw)(uint32_t)a * (uint32_t)b; } /* all 64 bits */
static inline vw vw_high(vw a) { return a >> 32; }
static inline vw vw_xor(vw a, vw b) { return a ^ b; }
/* u[j] = the upper 24 bits of x[j], as a number in [0, 1). */
static inline void vw_units(const vw x[4], float *u) {
  for (int j = 0; j < 4; j++)
    u[j] = (float)((uint32_t)x[j] >> 8) * 0x1p-24f;
}

static inline vf vf_sleef_exp(vf x) { return Sleef_cinz_expf1_u10purec(x); }
static inline vf vf_sleef_expm1(vf x) { return Sleef_cinz_expm1f1_u10purec(x); }
static inline vf vf_sleef_log(vf x) { return Sleef_cinz_logf1_u10purec(x); }
static inline vf vf_sleef_log1p(vf x) { return Sleef_cinz_log1pf1_u10purec(x); }
static inline vf vf_sleef_tanh(vf x) { return Sleef_cinz_tanhf1_u10purec(x); }

#endif
