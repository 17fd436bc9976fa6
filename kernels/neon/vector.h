/* SPDX-License-Identifier: Apache-2.0
 * The vector header of NEON on AArch64: 4 lanes, tails through the stack. */
#ifndef GK_KERNELS_VECTOR_H
#define GK_KERNELS_VECTOR_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <sleef.h>

#define GK_V 4
typedef float32x4_t vf;
typedef uint32x4_t vm;

static inline vf vf_load(const float *p) { return vld1q_f32(p); }
static inline vf vf_load_n(const float *p, size_t lanes) {
  float t[4] = {0, 0, 0, 0};
  for (size_t i = 0; i < lanes; i++)
    t[i] = p[i];
  return vld1q_f32(t);
}
static inline void vf_store(float *p, vf x) { vst1q_f32(p, x); }
static inline void vf_store_n(float *p, vf x, size_t lanes) {
  float t[4];
  vst1q_f32(t, x);
  for (size_t i = 0; i < lanes; i++)
    p[i] = t[i];
}
/* The first lanes of x, and zeros. */
static inline vf vf_first(vf x, size_t lanes) {
  float t[4];
  vst1q_f32(t, x);
  return vf_load_n(t, lanes);
}
/* Lane j + width of x in the lanes j < width, a power of two below GK_V. */
static inline vf vf_from_lane(vf x, int width) {
  return width == 2 ? vextq_f32(x, x, 2) : vextq_f32(x, x, 1);
}
/* The lanes [begin, end); those of x from where they stand behind p, the others as they are; and back. */
typedef struct {
  size_t begin, end;
} v_part;
static inline v_part v_part_of(size_t begin, size_t end) { return (v_part){begin, end}; }
static inline vf vf_load_part(vf x, const float *p, v_part part) {
  float t[4];
  vst1q_f32(t, x);
  for (size_t i = part.begin; i < part.end; i++)
    t[i] = p[i];
  return vld1q_f32(t);
}
static inline void vf_store_part(float *p, vf x, v_part part) {
  float t[4];
  vst1q_f32(t, x);
  for (size_t i = part.begin; i < part.end; i++)
    p[i] = t[i];
}
static inline void vf_stream(float *p, vf x) { vst1q_f32(p, x); }
static inline void v_stream_end(void) {}
static inline vf vf_set(float x) { return vdupq_n_f32(x); }
static inline vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf vf_sqrt(vf a) { return vsqrtq_f32(a); }
static inline vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf vf_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }
static inline vf vf_abs(vf a) { return vabsq_f32(a); }
/* limit where limit < x (limit > x), else x: a NaN in x stays. */
static inline vf vf_at_most(vf x, vf limit) { return vbslq_f32(vcltq_f32(limit, x), limit, x); }
static inline vf vf_at_least(vf x, vf limit) { return vbslq_f32(vcgtq_f32(limit, x), limit, x); }
static inline vm vf_lt(vf a, vf b) { return vcltq_f32(a, b); }
static inline vm vf_ge(vf a, vf b) { return vcgeq_f32(a, b); }
static inline vf vf_select(vm m, vf yes, vf no) { return vbslq_f32(m, yes, no); }
static inline vf vf_zero_where(vm m, vf x) {
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), m));
}
/* +0 where |x| < 2^-95, where none of the upper three bits of the exponent is set. */
static inline vf vf_flush(vf x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x);
  return vreinterpretq_f32_u32(vandq_u32(bits, vtstq_u32(bits, vdupq_n_u32(0x70000000))));
}
/* |magnitude| with the sign of sign; magnitude >= 0 or NaN */
static inline vf vf_with_sign(vf magnitude, vf sign) {
  return vbslq_f32(vdupq_n_u32(0x80000000u), sign, magnitude);
}
/* The float whose exponent field is the low byte of t's mantissa: 2^n for t = 1.5 * 2^23 + 127 + n. */
static inline vf vf_exponent(vf t) {
  return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(t), 23));
}

/* Integers of 32 bits in 64-bit lanes, for random numbers: the upper halves hold anything but where said. */
#define GK_W 2
typedef uint64x2_t vw;
static inline vw vw_set(uint32_t x) { return vdupq_n_u64(x); }
static inline vw vw_count(uint32_t first) { /* first + 0 ... GK_W - 1, in the order that vw_units undoes */
  return vcombine_u64(vcreate_u64(first), vcreate_u64((uint64_t)first + 1));
}
static inline vw vw_multiply(vw a, vw b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); } /* all 64 bits */
static inline vw vw_high(vw a) { return vshrq_n_u64(a, 32); }
static inline vw vw_xor(vw a, vw b) { return veorq_u64(a, b); }
/* u[4 i + j] = the upper 24 bits of x[j] of count i, as a number in [0, 1). */
static inline void vw_units(const vw x[4], float *u) {
  const uint64x2_t even = vsliq_n_u64(x[0], x[1], 32), odd = vsliq_n_u64(x[2], x[3], 32);
  const uint32x4_t low = vreinterpretq_u32_u64(vzip1q_u64(even, odd));
  const uint32x4_t high = vreinterpretq_u32_u64(vzip2q_u64(even, odd));
  const vf unit = vf_set(0x1p-24f);
  vf_store(u, vf_mul(vcvtq_f32_u32(vshrq_n_u32(low, 8)), unit));
  vf_store(u + GK_V, vf_mul(vcvtq_f32_u32(vshrq_n_u32(high, 8)), unit));
}

static inline vf vf_sleef_exp(vf x) { return Sleef_cinz_expf4_u10advsimdnofma(x); }
static inline vf vf_sleef_expm1(vf x) { return Sleef_cinz_expm1f4_u10advsimdnofma(x); }
static inline vf vf_sleef_log(vf x) { return Sleef_cinz_logf4_u10advsimdnofma(x); }
static inline vf vf_sleef_log1p(vf x) { return Sleef_cinz_log1pf4_u10advsimdnofma(x); }
static inline vf vf_sleef_tanh(vf x) { return Sleef_cinz_tanhf4_u10advsimdnofma(x); }

#endif
