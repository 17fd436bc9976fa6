/* SPDX-License-Identifier: Apache-2.0 */
#include "dispatch/cpu.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#define BIT(n) (UINT32_C(1) << (n))

#define VENDOR_AMD UINT32_C(0x68747541) /* "Auth" of AuthenticAMD */

/* CPUID leaf 1, EAX: base and extended family */
#define FAMILY     UINT32_C(0x0FF00F00)
#define FAMILY_19H UINT32_C(0x00A00F00)

/* CPUID leaf 1, ECX */
#define SSE3    BIT(0)
#define SSSE3   BIT(9)
#define FMA     BIT(12)
#define SSE41   BIT(19)
#define SSE42   BIT(20)
#define POPCNT  BIT(23)
#define OSXSAVE BIT(27)
#define AVX     BIT(28)
#define F16C    BIT(29)
/* What compilers take for granted with -mavx. */
#define AVX_AND_BELOW (SSE3 | SSSE3 | SSE41 | SSE42 | POPCNT | AVX)

/* CPUID leaf 7, EBX */
#define AVX2        BIT(5)
#define AVX512F     BIT(16)
#define AVX512DQ    BIT(17)
#define AVX512BW    BIT(30)
#define AVX512VL    BIT(31)
#define AVX512_USED (AVX512F | AVX512DQ | AVX512BW | AVX512VL)

/* XCR0: SSE and AVX; opmask and both halves of ZMM */
#define XCR0_AVX    0x6u
#define XCR0_AVX512 0xE6u

/* AT_HWCAP of AArch64 Linux */
#define HWCAP_ADVANCED_SIMD BIT(1)

static bool all(uint64_t value, uint64_t bits) {
  return (value & bits) == bits;
}

#if defined(__x86_64__)
static uint64_t read_xcr0(void) {
  uint32_t low, high;
  /* The intrinsic would need -mxsave; the caller has seen OSXSAVE. */
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

void gk_cpu_read(struct gk_cpu_registers *registers) {
  uint32_t eax, ebx, ecx, edx;
  memset(registers, 0, sizeof *registers);
  if (__get_cpuid(0, &eax, &ebx, &ecx, &edx))
    registers->leaf0_ebx = ebx;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
    registers->leaf1_eax = eax;
    registers->leaf1_ecx = ecx;
  }
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
    uint32_t last_subleaf = eax;
    registers->leaf7_ebx = ebx;
    registers->leaf7_ecx = ecx;
    registers->leaf7_edx = edx;
    if (last_subleaf >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx))
      registers->leaf7_1_eax = eax;
  }
  if (registers->leaf1_ecx & OSXSAVE)
    registers->xcr0 = read_xcr0();
}
#elif defined(__aarch64__) && defined(__linux__)
void gk_cpu_read(struct gk_cpu_registers *registers) {
  memset(registers, 0, sizeof *registers);
  registers->hwcap = getauxval(AT_HWCAP);
  registers->hwcap2 = getauxval(AT_HWCAP2);
}
#else
void gk_cpu_read(struct gk_cpu_registers *registers) {
  memset(registers, 0, sizeof *registers);
#if defined(__aarch64__)
  registers->hwcap = HWCAP_ADVANCED_SIMD; /* every AArch64 CPU outside embedded Linux */
#endif
}
#endif

static bool saves_avx(const struct gk_cpu_registers *r) {
  return (r->leaf1_ecx & OSXSAVE) && all(r->xcr0, XCR0_AVX);
}

bool gk_cpu_runs_scalar_fma(const struct gk_cpu_registers *r) {
  return all(r->leaf1_ecx, AVX_AND_BELOW | FMA) && saves_avx(r);
}

bool gk_cpu_runs(const struct gk_cpu_registers *r, gk_isa isa) {
  switch (isa) {
  case GK_ISA_SCALAR:
    return true;
  case GK_ISA_AVX2:
    return gk_cpu_runs_scalar_fma(r) && (r->leaf7_ebx & AVX2);
  case GK_ISA_AVX512:
    return gk_cpu_runs(r, GK_ISA_AVX2) && all(r->leaf7_ebx, AVX512_USED) && all(r->xcr0, XCR0_AVX512);
  case GK_ISA_NEON:
    return all(r->hwcap, HWCAP_ADVANCED_SIMD);
  case GK_ISA_AUTO:
    break;
  }
  return false;
}

bool gk_cpu_is_amd_19h(const struct gk_cpu_registers *r) {
  return r->leaf0_ebx == VENDOR_AMD && (r->leaf1_eax & FAMILY) == FAMILY_19H;
}

gk_isa gk_cpu_best(const struct gk_cpu_registers *registers) {
  gk_isa best = GK_ISA_SCALAR;
#define GK_ISA(NAME, name, architecture)                                                                     \
  if (gk_cpu_runs(registers, GK_ISA_##NAME))                                                                 \
    best = GK_ISA_##NAME;
#include "dispatch/isa.def"
#undef GK_ISA
  return best;
}

static const char *why_not_avx512(const struct gk_cpu_registers *r) {
  if (!(r->leaf7_ebx & AVX512F))
    return "avx2: the CPU has no AVX-512";
  if (!all(r->leaf7_ebx, AVX512_USED))
    return "avx2: the CPU's AVX-512 lacks BW, DQ or VL";
  return "avx2: the CPU has AVX-512, the operating system does not save its registers (XCR0)";
}

static const char *why_not_avx2(const struct gk_cpu_registers *r) {
  if (r->hwcap)
    return "scalar: the CPU has no Advanced SIMD";
  if (!all(r->leaf1_ecx, AVX_AND_BELOW))
    return "scalar: the CPU has no AVX";
  if (!(r->leaf1_ecx & OSXSAVE))
    return "scalar: the CPU has AVX, the operating system or hypervisor does not enable XSAVE";
  if (!all(r->xcr0, XCR0_AVX))
    return "scalar: the CPU has AVX, the operating system does not save its registers (XCR0)";
  if (!(r->leaf1_ecx & FMA))
    return "scalar: the CPU has AVX but no FMA";
  return "scalar: the CPU has FMA but no AVX2";
}

const char *gk_cpu_reason(const struct gk_cpu_registers *registers) {
  switch (gk_cpu_best(registers)) {
  case GK_ISA_AVX512:
    return "avx512: the CPU has AVX-512 F, BW, DQ and VL, and the operating system saves its registers";
  case GK_ISA_AVX2:
    return why_not_avx512(registers);
  case GK_ISA_NEON:
    return "neon: the CPU has Advanced SIMD";
  case GK_ISA_SCALAR:
  case GK_ISA_AUTO:
    break;
  }
  return why_not_avx2(registers);
}

void gk_cpu_describe(const struct gk_cpu_registers *r, char *text, size_t size) {
  const struct {
    const char *name;
    bool has;
  } features[] = {
      {"sse4.2", r->leaf1_ecx & SSE42},
      {"avx", r->leaf1_ecx & AVX},
      {"fma", r->leaf1_ecx & FMA},
      {"f16c", r->leaf1_ecx & F16C},
      {"avx2", r->leaf7_ebx & AVX2},
      {"avx512f", r->leaf7_ebx & AVX512F},
      {"avx512bw", r->leaf7_ebx & AVX512BW},
      {"avx512dq", r->leaf7_ebx & AVX512DQ},
      {"avx512vl", r->leaf7_ebx & AVX512VL},
      {"avx512vnni", r->leaf7_ecx & BIT(11)},
      {"avx512bf16", r->leaf7_1_eax & BIT(5)},
      {"avx512fp16", r->leaf7_edx & BIT(23)},
      {"amx-bf16", r->leaf7_edx & BIT(22)},
      {"asimd", r->hwcap & HWCAP_ADVANCED_SIMD},
      {"asimdhp", r->hwcap & BIT(10)},
      {"asimddp", r->hwcap & BIT(20)},
      {"sve", r->hwcap & BIT(22)},
      {"sve2", r->hwcap2 & BIT(1)},
      {"bf16", r->hwcap2 & BIT(14)},
  };
  size_t used = 0;
  if (size > 0)
    text[0] = '\0';
  for (size_t i = 0; i < sizeof features / sizeof features[0]; i++)
    if (features[i].has && used < size)
      used += (size_t)snprintf(text + used, size - used, "%s%s", used ? " " : "", features[i].name);
  if (saves_avx(r) && used < size)
    snprintf(text + used, size - used, " (system saves avx%s)", all(r->xcr0, XCR0_AVX512) ? ", avx512" : "");
}
