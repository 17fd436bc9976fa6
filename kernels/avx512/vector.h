/* SPDX-License-Identifier: Apache-2.0
 * The vector header of AVX-512 (F, BW, DQ, VL): 16 lanes, tails by mask registers. */
#ifndef GK_KERNELS_VECTOR_H
#define GK_KERNELS_VECTOR_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <sleef.h>

#define GK_V 16
typedef __m512 vf;
typedef __mmask16 vm;

static inline __mmask16 v_tail(size_t lanes) { return (__mmask16)((1u << lanes) - 1); }

static inline vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline vf vf_load_n(const float *p, size_t lanes) { return _mm512_maskz_loadu_ps(v_tail(lanes), p); }
static inline void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
static inline void vf_store_n(float *p, vf x, size_t lanes) { _mm512_mask_storeu_ps(p, v_tail(lanes), x); }
/* The first lanes of x, and zeros. */
static inline vf vf_first(vf x, size_t lanes) { return _mm512_maskz_mov_ps(v_tail(lanes), x); }
/* Lane j + width of x in the lanes j < width, a power of two below GK_V. */
static inline vf vf_from_lane(vf x, int width) {
  switch (width) {
  case 8:
    return _mm512_shuffle_f32x4(x, x, 0x4e);
  case 4:
    return _mm512_shuffle_f32x4(x, x, 0xb1);
  case 2:
    return _mm512_permute_ps(x, 0x4e);
  default:
    return _mm512_permute_ps(x, 0xb1);
  }
}
/* The lanes [begin, end); those of x from where they stand behind p, the others as they are; and back. */
typedef __mmask16 v_part;
static inline v_part v_part_of(size_t begin, size_t end) { return v_tail(end) & (__mmask16)~v_tail(begin); }
static inline vf vf_load_part(vf x, const float *p, v_part part) { return _mm512_mask_loadu_ps(x, part, p); }
static inline void vf_store_part(float *p, vf x, v_part part) { _mm512_mask_storeu_ps(p, part, x); }
/* Past the caches, where p begins a line. v_stream_end() comes before another thread reads it. */
static inline void vf_stream(float *p, vf x) {
  if ((uintptr_t)p % 64 == 0)
    _mm512_stream_ps(p, x);
  else
    _mm512_storeu_ps(p, x);
}
static inline void v_stream_end(void) { _mm_sfence(); }
static inline vf vf_set(float x) { return _mm512_set1_ps(x); }
static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf vf_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
static inline vf vf_abs(vf a) { return _mm512_abs_ps(a); }
/* limit where limit < x (limit > x), else x: a NaN in x stays. vminps does exactly this. */
static inline vf vf_at_most(vf x, vf limit) { return _mm512_min_ps(limit, x); }
static inline vf vf_at_least(vf x, vf limit) { return _mm512_max_ps(limit, x); }
static inline vm vf_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline vm vf_ge(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
static inline vf vf_select(vm m, vf yes, vf no) { return _mm512_mask_blend_ps(m, no, yes); }
/* x where not m, else +0 */
static inline vf vf_zero_where(vm m, vf x) { return _mm512_maskz_mov_ps((__mmask16)~m, x); }
/* +0 where |x| < 2^-95, where none of the upper three bits of the exponent is set. */
static inline vf vf_flush(vf x) {
  return _mm512_maskz_mov_ps(_mm512_test_epi32_mask(_mm512_castps_si512(x), _mm512_set1_epi32(0x70000000)),
                             x);
}
/* |magnitude| with the sign of sign; magnitude >= 0 or NaN */
static inline vf vf_with_sign(vf magnitude, vf sign) {
  return _mm512_or_ps(magnitude, _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}
/* The float whose exponent field is the low byte of t's mantissa: 2^n for t = 1.5 * 2^23 + 127 + n. */
static inline vf vf_exponent(vf t) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23));
}

/* Integers of 32 bits in 64-bit lanes, for random numbers: the upper halves hold anything but where said. */
#define GK_W 8
typedef __m512i vw;
static inline vw vw_set(uint32_t x) { return _mm512_set1_epi64(x); }
static inline vw vw_count(uint32_t first) { /* first + 0 ... GK_W - 1, in the order that vw_units undoes */
  return _mm512_add_epi32(vw_set(first), _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
}
static inline vw vw_multiply(vw a, vw b) { return _mm512_mul_epu32(a, b); } /* all 64 bits */
static inline vw vw_high(vw a) { return _mm512_srli_epi64(a, 32); }
static inline vw vw_xor(vw a, vw b) { return _mm512_xor_si512(a, b); }
/* u[4 i + j] = the upper 24 bits of x[j] of count i, as a number in [0, 1). */
static inline void vw_units(const vw x[4], float *u) {
  const __m512i even = _mm512_mask_shuffle_epi32(x[0], 0xaaaa, x[1], _MM_PERM_CCAA);
  const __m512i odd = _mm512_mask_shuffle_epi32(x[2], 0xaaaa, x[3], _MM_PERM_CCAA);
  const __m512i low = _mm512_unpacklo_epi64(even, odd), high = _mm512_unpackhi_epi64(even, odd);
  const vf unit = vf_set(0x1p-24f);
  vf_store(u, vf_mul(_mm512_cvtepi32_ps(_mm512_srli_epi32(low, 8)), unit));
  vf_store(u + GK_V, vf_mul(_mm512_cvtepi32_ps(_mm512_srli_epi32(high, 8)), unit));
}

static inline vf vf_sleef_exp(vf x) { return Sleef_cinz_expf16_u10avx512fnofma(x); }
static inline vf vf_sleef_expm1(vf x) { return Sleef_cinz_expm1f16_u10avx512fnofma(x); }
static inline vf vf_sleef_log(vf x) { return Sleef_cinz_logf16_u10avx512fnofma(x); }
static inline vf vf_sleef_log1p(vf x) { return Sleef_cinz_log1pf16_u10avx512fnofma(x); }
static inline vf vf_sleef_tanh(vf x) { return Sleef_cinz_tanhf16_u10avx512fnofma(x); }

#endif
