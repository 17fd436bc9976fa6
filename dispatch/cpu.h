/* SPDX-License-Identifier: Apache-2.0
 *
 * What the CPU and the operating system offer. Reading the registers and judging them are apart, so
 * that tests can judge machines that they do not run on. */
#ifndef GK_DISPATCH_CPU_H
#define GK_DISPATCH_CPU_H

#include "gatekern.h"

/* All zero where a register, a leaf or the architecture does not exist. */
struct gk_cpu_registers {
  uint32_t leaf0_ebx; /* CPUID leaf 0: the vendor's first four letters */
  uint32_t leaf1_eax; /* CPUID leaf 1: the family */
  uint32_t leaf1_ecx;
  uint32_t leaf7_ebx; /* CPUID leaf 7, subleaf 0 */
  uint32_t leaf7_ecx;
  uint32_t leaf7_edx;
  uint32_t leaf7_1_eax;   /* CPUID leaf 7, subleaf 1 */
  uint64_t xcr0;          /* XGETBV(0): registers that the operating system saves; only with OSXSAVE */
  uint64_t hwcap, hwcap2; /* AArch64: AT_HWCAP, AT_HWCAP2 */
};

void gk_cpu_read(struct gk_cpu_registers *registers);

/* True if every instruction of the tier's objects may run. `isa` is not AUTO. */
bool gk_cpu_runs(const struct gk_cpu_registers *registers, gk_isa isa);
/* True if the scalar tier may use the FMA instruction instead of libm's fmaf. */
bool gk_cpu_runs_scalar_fma(const struct gk_cpu_registers *registers);
/* AMD's family 19h (Zen 3, Zen 4): 512 bits are computed in two halves, a fma a cycle; and cores of a complex
 * share a near L3. */
bool gk_cpu_is_amd_19h(const struct gk_cpu_registers *registers);
/* The strongest tier that runs. */
gk_isa gk_cpu_best(const struct gk_cpu_registers *registers);
/* One line: why gk_cpu_best() says what it says. */
const char *gk_cpu_reason(const struct gk_cpu_registers *registers);
/* One line: the features that this library knows of, and what the operating system saves. */
void gk_cpu_describe(const struct gk_cpu_registers *registers, char *text, size_t size);

#endif
