/* SPDX-License-Identifier: Apache-2.0
 * The vector header of AVX2 with FMA: 8 lanes, tails by vmaskmov. */
#ifndef GK_KERNELS_VECTOR_H
#define GK_KERNELS_VECTOR_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <sleef.h>

#define GK_V 8
typedef __m256 vf;
typedef __m256 vm;

static inline __m256i v_tail(size_t lanes) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static inline vf vf_load_n(const float *p, size_t lanes) { return _mm256_maskload_ps(p, v_tail(lanes)); }
static inline void vf_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
static inline void vf_store_n(float *p, vf x, size_t lanes) { _mm256_maskstore_ps(p, v_tail(lanes), x); }
/* The first lanes of x, and zeros. */
static inline vf vf_first(vf x, size_t lanes) { return _mm256_and_ps(_mm256_castsi256_ps(v_tail(lanes)), x); }
/* Lane j + width of x in the lanes j < width, a power of two below GK_V. */
static inline vf vf_from_lane(vf x, int width) {
  switch (width) {
  case 4:
    return _mm256_permute2f128_ps(x, x, 1);
  case 2:
    return _mm256_permute_ps(x, 0x4e);
  default:
    return _mm256_permute_ps(x, 0xb1);
  }
}
/* The lanes [begin, end); those of x from where they stand behind p, the others as they are; and back. */
typedef __m256i v_part;
static inline v_part v_part_of(size_t begin, size_t end) {
  return _mm256_andnot_si256(v_tail(begin), v_tail(end));
}
static inline vf vf_load_part(vf x, const float *p, v_part part) {
  return _mm256_blendv_ps(x, _mm256_maskload_ps(p, part), _mm256_castsi256_ps(part));
}
static inline void vf_store_part(float *p, vf x, v_part part) { _mm256_maskstore_ps(p, part, x); }
/* Past the caches, where p is aligned. v_stream_end() comes before another thread reads it. */
static inline void vf_stream(float *p, vf x) {
  if ((uintptr_t)p % 32 == 0)
    _mm256_stream_ps(p, x);
  else
    _mm256_storeu_ps(p, x);
}
static inline void v_stream_end(void) { _mm_sfence(); }
static inline vf vf_set(float x) { return _mm256_set1_ps(x); }
static inline vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf vf_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
static inline vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
/* limit where limit < x (limit > x), else x: a NaN in x stays. vminps does exactly this. */
static inline vf vf_at_most(vf x, vf limit) { return _mm256_min_ps(limit, x); }
static inline vf vf_at_least(vf x, vf limit) { return _mm256_max_ps(limit, x); }
static inline vm vf_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline vm vf_ge(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
static inline vf vf_select(vm m, vf yes, vf no) { return _mm256_blendv_ps(no, yes, m); }
static inline vf vf_zero_where(vm m, vf x) { return _mm256_andnot_ps(m, x); }
/* +0 where |x| < 2^-95, where none of the upper three bits of the exponent is set. */
static inline vf vf_flush(vf x) {
  const __m256i kept = _mm256_cmpgt_epi32(_mm256_castps_si256(vf_abs(x)), _mm256_set1_epi32(0x0fffffff));
  return _mm256_and_ps(_mm256_castsi256_ps(kept), x);
}
/* |magnitude| with the sign of sign; magnitude >= 0 or NaN */
static inline vf vf_with_sign(vf magnitude, vf sign) {
  return _mm256_or_ps(magnitude, _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}
/* The float whose exponent field is the low byte of t's mantissa: 2^n for t = 1.5 * 2^23 + 127 + n. */
static inline vf vf_exponent(vf t) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23));
}

/* Integers of 32 bits in 64-bit lanes, for random numbers: the upper halves hold anything but where said. */
#define GK_W 4
typedef __m256i vw;
static inline vw vw_set(uint32_t x) { return _mm256_set1_epi64x(x); }
static inline vw vw_count(uint32_t first) { /* first + 0 ... GK_W - 1, in the order that vw_units undoes */
  return _mm256_add_epi32(vw_set(first), _mm256_setr_epi64x(0, 2, 1, 3));
}
static inline vw vw_multiply(vw a, vw b) { return _mm256_mul_epu32(a, b); } /* all 64 bits */
static inline vw vw_high(vw a) { return _mm256_srli_epi64(a, 32); }
static inline vw vw_xor(vw a, vw b) { return _mm256_xor_si256(a, b); }
/* u[4 i + j] = the upper 24 bits of x[j] of count i, as a number in [0, 1). */
static inline void vw_units(const vw x[4], float *u) {
  const __m256i even = _mm256_blend_epi32(x[0], _mm256_slli_epi64(x[1], 32), 0xaa);
  const __m256i odd = _mm256_blend_epi32(x[2], _mm256_slli_epi64(x[3], 32), 0xaa);
  const __m256i low = _mm256_unpacklo_epi64(even, odd), high = _mm256_unpackhi_epi64(even, odd);
  const vf unit = vf_set(0x1p-24f);
  vf_store(u, vf_mul(_mm256_cvtepi32_ps(_mm256_srli_epi32(low, 8)), unit));
  vf_store(u + GK_V, vf_mul(_mm256_cvtepi32_ps(_mm256_srli_epi32(high, 8)), unit));
}

static inline vf vf_sleef_exp(vf x) { return Sleef_cinz_expf8_u10avx(x); }
static inline vf vf_sleef_expm1(vf x) { return Sleef_cinz_expm1f8_u10avx(x); }
static inline vf vf_sleef_log(vf x) { return Sleef_cinz_logf8_u10avx(x); }
static inline vf vf_sleef_log1p(vf x) { return Sleef_cinz_log1pf8_u10avx(x); }
static inline vf vf_sleef_tanh(vf x) { return Sleef_cinz_tanhf8_u10avx(x); }

#endif
