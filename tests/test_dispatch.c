/* SPDX-License-Identifier: Apache-2.0
 *
 * Which tier runs: judged on tables of CPUID, XCR0 and HWCAP that this machine need not have; then names,
 * GATEKERN_ISA and GATEKERN_MATH, and the tables on the machine itself.
 * ctest labels: edges */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch/cpu.h"
#include "dispatch/dispatch.h"
#include "kernels/kernels.h"

/* Registers of an AVX-512 server: leaf 1 ECX with SSE3, SSSE3, FMA, SSE4.1, SSE4.2, POPCNT, XSAVE, OSXSAVE,
 * AVX, F16C; leaf 7 EBX with AVX2 and AVX-512 F, DQ, BW, VL. */
enum { LEAF1_ECX = 0x3C981201, FMA = 1 << 12, OSXSAVE = 1 << 27, AVX = 1 << 28 };
#define AVX2       (UINT32_C(1) << 5)
#define AVX512F    (UINT32_C(1) << 16)
#define AVX512DQ   (UINT32_C(1) << 17)
#define AVX512BW   (UINT32_C(1) << 30)
#define AVX512VL   (UINT32_C(1) << 31)
#define AVX512_ALL (AVX512F | AVX512DQ | AVX512BW | AVX512VL)

static const struct gk_cpu_registers server = {
    .leaf1_ecx = LEAF1_ECX, .leaf7_ebx = AVX2 | AVX512_ALL, .xcr0 = 0xE7};

struct machine {
  const char *name;
  struct gk_cpu_registers registers;
  gk_isa best;
  bool scalar_fma;
  const char *reason; /* part of it */
};

static const struct machine machines[] = {
    {"server",
     {.leaf1_ecx = LEAF1_ECX, .leaf7_ebx = AVX2 | AVX512_ALL, .xcr0 = 0xE7},
     GK_ISA_AVX512,
     true,
     "avx512: "},
    {"nothing at all", {0}, GK_ISA_SCALAR, false, "scalar: the CPU has no AVX"},
    {"SSE4.2, no XSAVE", {.leaf1_ecx = 0x00980201}, GK_ISA_SCALAR, false, "scalar: the CPU has no AVX"},
    {"AVX-512 in the CPU, not in the system",
     {.leaf1_ecx = LEAF1_ECX, .leaf7_ebx = AVX2 | AVX512_ALL, .xcr0 = 0x7},
     GK_ISA_AVX2,
     true,
     "operating system does not save its registers"},
    {"system saves opmasks but not ZMM's upper halves",
     {.leaf1_ecx = LEAF1_ECX, .leaf7_ebx = AVX2 | AVX512_ALL, .xcr0 = 0x27},
     GK_ISA_AVX2,
     true,
     "operating system does not save its registers"},
    {"system saves ZMM but not YMM",
     {.leaf1_ecx = LEAF1_ECX, .leaf7_ebx = AVX2 | AVX512_ALL, .xcr0 = 0xE3},
     GK_ISA_SCALAR,
     false,
     "operating system does not save its registers"},
    {"AVX in the CPU, not in the system",
     {.leaf1_ecx = LEAF1_ECX, .leaf7_ebx = AVX2, .xcr0 = 0x3},
     GK_ISA_SCALAR,
     false,
     "operating system does not save its registers"},
    /* XCR0 as the reader leaves it, and as stale bits: neither may be believed without OSXSAVE. */
    {"hypervisor hides OSXSAVE",
     {.leaf1_ecx = LEAF1_ECX & ~OSXSAVE, .leaf7_ebx = AVX2 | AVX512_ALL, .xcr0 = 0},
     GK_ISA_SCALAR,
     false,
     "does not enable XSAVE"},
    {"hypervisor hides OSXSAVE, XCR0 set",
     {.leaf1_ecx = LEAF1_ECX & ~OSXSAVE, .leaf7_ebx = AVX2 | AVX512_ALL, .xcr0 = 0xE7},
     GK_ISA_SCALAR,
     false,
     "does not enable XSAVE"},
    {"AVX without FMA", {.leaf1_ecx = LEAF1_ECX & ~FMA, .xcr0 = 0x7}, GK_ISA_SCALAR, false, "AVX but no FMA"},
    {"AVX2 and AVX-512 without FMA",
     {.leaf1_ecx = LEAF1_ECX & ~FMA, .leaf7_ebx = AVX2 | AVX512_ALL, .xcr0 = 0xE7},
     GK_ISA_SCALAR,
     false,
     "AVX but no FMA"},
    {"FMA without AVX2", {.leaf1_ecx = LEAF1_ECX, .xcr0 = 0x7}, GK_ISA_SCALAR, true, "FMA but no AVX2"},
    {"AVX2 hidden, AVX-512 not",
     {.leaf1_ecx = LEAF1_ECX, .leaf7_ebx = AVX512_ALL, .xcr0 = 0xE7},
     GK_ISA_SCALAR,
     true,
     "FMA but no AVX2"},
    {"AVX hidden, FMA and AVX2 not",
     {.leaf1_ecx = LEAF1_ECX & ~AVX, .leaf7_ebx = AVX2 | AVX512_ALL, .xcr0 = 0xE7},
     GK_ISA_SCALAR,
     false,
     "scalar: the CPU has no AVX"},
    {"AVX2 desktop",
     {.leaf1_ecx = LEAF1_ECX, .leaf7_ebx = AVX2, .xcr0 = 0x7},
     GK_ISA_AVX2,
     true,
     "avx2: the CPU has no AVX-512"},
    {"AVX-512 F without VL",
     {.leaf1_ecx = LEAF1_ECX, .leaf7_ebx = AVX2 | (AVX512_ALL & ~AVX512VL), .xcr0 = 0xE7},
     GK_ISA_AVX2,
     true,
     "lacks BW, DQ or VL"},
    {"AVX-512 F without DQ",
     {.leaf1_ecx = LEAF1_ECX, .leaf7_ebx = AVX2 | (AVX512_ALL & ~AVX512DQ), .xcr0 = 0xE7},
     GK_ISA_AVX2,
     true,
     "lacks BW, DQ or VL"},
    {"AVX-512 F without BW",
     {.leaf1_ecx = LEAF1_ECX, .leaf7_ebx = AVX2 | (AVX512_ALL & ~AVX512BW), .xcr0 = 0xE7},
     GK_ISA_AVX2,
     true,
     "lacks BW, DQ or VL"},
    {"AArch64", {.hwcap = 0x3}, GK_ISA_NEON, false, "neon: "},
    {"AArch64 without Advanced SIMD", {.hwcap = 0x1}, GK_ISA_SCALAR, false, "no Advanced SIMD"},
};

static void every_machine_gets_its_strongest_tier_and_a_reason(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
    const struct machine *m = &machines[i];
    const char *reason = gk_cpu_reason(&m->registers);
    gk_isa best = gk_cpu_best(&m->registers);
    if (best != m->best || gk_cpu_runs_scalar_fma(&m->registers) != m->scalar_fma ||
        !strstr(reason, m->reason))
      fail_msg("%s: got %s, scalar FMA %d, \"%s\"; wanted %s, scalar FMA %d, \"%s\"", m->name,
               gk_isa_name(best), gk_cpu_runs_scalar_fma(&m->registers), reason, gk_isa_name(m->best),
               m->scalar_fma, m->reason);
    /* The reason starts with the tier that it explains, and no tier stronger than the best runs. */
    size_t length = strlen(gk_isa_name(best));
    assert_true(!strncmp(reason, gk_isa_name(best), length) && reason[length] == ':');
    for (int isa = (int)best + 1; isa <= gk_isa_count(); isa++)
      assert_false(gk_cpu_runs(&m->registers, (gk_isa)isa));
    assert_true(gk_cpu_runs(&m->registers, GK_ISA_SCALAR));
  }
}

/* Each bit that a tier needs, taken away alone, takes the tier away. */
static void a_tier_needs_each_of_its_bits(void **state) {
  (void)state;
  static const uint32_t leaf1 = UINT32_C(1) << 0 | 1 << 9 | FMA | 1 << 19 | 1 << 20 | 1 << 23 | OSXSAVE | AVX;
  for (int bit = 0; bit < 32; bit++) {
    struct gk_cpu_registers r = server;
    r.leaf1_ecx &= ~(UINT32_C(1) << bit);
    bool needed = leaf1 >> bit & 1;
    assert_int_equal(gk_cpu_runs(&r, GK_ISA_AVX512), !needed);
    assert_int_equal(gk_cpu_runs(&r, GK_ISA_AVX2), !needed);
    assert_int_equal(gk_cpu_runs_scalar_fma(&r), !needed);

    r = server;
    r.leaf7_ebx &= ~(UINT32_C(1) << bit);
    assert_int_equal(gk_cpu_runs(&r, GK_ISA_AVX512), !((AVX2 | AVX512_ALL) >> bit & 1));
    assert_int_equal(gk_cpu_runs(&r, GK_ISA_AVX2), bit != 5);

    r = server;
    r.xcr0 &= ~(UINT64_C(1) << bit);
    assert_int_equal(gk_cpu_runs(&r, GK_ISA_AVX512), !(UINT32_C(0xE6) >> bit & 1));
    assert_int_equal(gk_cpu_runs(&r, GK_ISA_AVX2), !(UINT32_C(0x6) >> bit & 1));
  }
}

/* The vendor and the family together, whatever model and stepping are. */
static void vendor_and_family_together_make_amd_19h(void **state) {
  (void)state;
  const uint32_t amd = UINT32_C(0x68747541), intel = UINT32_C(0x756E6547);
  const struct {
    uint32_t leaf0_ebx, leaf1_eax;
    bool is;
  } cpus[] = {{amd, 0x00A10F11, true} /* Zen 4 */,  {amd, 0x00A60F12, true} /* Zen 4 */,
              {amd, 0x00B00F21, false} /* Zen 5 */, {amd, 0x00830F10, false} /* Zen 2 */,
              {amd, 0x00A20F10, true} /* Zen 3 */,  {intel, 0x000C06F2, false},
              {intel, 0x00A10F11, false},           {0, 0, false}};
  for (size_t i = 0; i < sizeof cpus / sizeof cpus[0]; i++) {
    struct gk_cpu_registers r = server;
    r.leaf0_ebx = cpus[i].leaf0_ebx;
    r.leaf1_eax = cpus[i].leaf1_eax;
    assert_int_equal(gk_cpu_is_amd_19h(&r), cpus[i].is);
  }
}

static void the_description_lists_what_cpu_and_system_have(void **state) {
  (void)state;
  char text[512], tiny[8];
  gk_cpu_describe(&server, text, sizeof text);
  assert_string_equal(text, "sse4.2 avx fma f16c avx2 avx512f avx512bw avx512dq avx512vl "
                            "(system saves avx, avx512)");
  struct gk_cpu_registers registers = server;
  registers.xcr0 = 0x7;
  gk_cpu_describe(&registers, text, sizeof text);
  assert_non_null(strstr(text, "avx512vl (system saves avx)"));
  gk_cpu_describe(&(struct gk_cpu_registers){0}, text, sizeof text);
  assert_string_equal(text, "");
  gk_cpu_describe(&server, tiny, sizeof tiny);
  assert_string_equal(tiny, "sse4.2 ");
}

/* Every tier of this machine: its own table, never another's; the same for both kinds of activations. */
static void every_usable_tier_has_its_own_table(void **state) {
  (void)state;
  int usable = 0;
  for (int i = 1; i <= gk_isa_count(); i++) {
    gk_isa isa = (gk_isa)i;
    const struct gk_kernels *own = gk_dispatch(isa, GK_MATH_OWN), *sleef = gk_dispatch(isa, GK_MATH_SLEEF);
    assert_int_equal(own != NULL, gk_isa_usable(isa));
    assert_int_equal(sleef != NULL, gk_isa_usable(isa));
    if (!own)
      continue;
    usable++;
    assert_int_equal(own->isa, isa);
    assert_int_equal(own->math, GK_MATH_OWN);
    assert_int_equal(sleef->isa, isa);
    assert_int_equal(sleef->math, GK_MATH_SLEEF);
  }
  assert_true(usable >= 1);
  assert_true(gk_isa_usable(GK_ISA_SCALAR));
  assert_null(gk_dispatch(GK_ISA_AUTO, GK_MATH_OWN));
  assert_null(gk_dispatch((gk_isa)99, GK_MATH_OWN));
  assert_null(gk_dispatch((gk_isa)-1, GK_MATH_OWN));
#if defined(__x86_64__)
  assert_false(gk_isa_usable(GK_ISA_NEON));
#elif defined(__aarch64__)
  assert_true(gk_isa_usable(GK_ISA_NEON));
  assert_false(gk_isa_usable(GK_ISA_AVX2));
#endif
  printf("usable tiers: %d; %s\n", usable, gk_isa_reason());
}

static void names_of_tiers_read_back(void **state) {
  (void)state;
  for (int i = 0; i <= gk_isa_count(); i++) {
    gk_isa isa = (gk_isa)-1;
    assert_int_equal(gk_isa_from_name(gk_isa_name((gk_isa)i), &isa), GK_OK);
    assert_int_equal(isa, i);
  }
  gk_isa isa = GK_ISA_SCALAR;
  assert_int_equal(gk_isa_from_name("sse9", &isa), GK_ERROR_ISA);
  assert_int_equal(isa, GK_ISA_SCALAR);
  assert_non_null(strstr(gk_last_error(), "sse9"));
  assert_int_equal(gk_isa_from_name(NULL, &isa), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_isa_from_name("scalar", NULL), GK_ERROR_ARGUMENT);
  assert_string_equal(gk_isa_name((gk_isa)99), "unknown");
}

/* The last message names every usable tier and no other. */
static void assert_lists_usable(void) {
  const char *list = strstr(gk_last_error(), "usable here: ");
  assert_non_null(list);
  for (int i = 1; i <= gk_isa_count(); i++)
    assert_int_equal(strstr(list, gk_isa_name((gk_isa)i)) != NULL, gk_isa_usable((gk_isa)i));
}

static void gatekern_isa_forces_a_usable_tier(void **state) {
  (void)state;
  gk_isa isa;
  unsetenv("GATEKERN_ISA");
  assert_int_equal(gk_isa_resolve(GK_ISA_AUTO, &isa), GK_OK);
  gk_isa best = isa;
  for (int i = 1; i <= gk_isa_count(); i++)
    if (gk_isa_usable((gk_isa)i))
      assert_true(i <= (int)best);

  for (int i = 1; i <= gk_isa_count(); i++) {
    const char *name = gk_isa_name((gk_isa)i);
    setenv("GATEKERN_ISA", name, 1);
    isa = (gk_isa)77;
    gk_status status = gk_isa_resolve(GK_ISA_AUTO, &isa);
    if (gk_isa_usable((gk_isa)i)) {
      assert_int_equal(status, GK_OK);
      assert_int_equal(isa, i);
      assert_true(!strncmp(gk_isa_reason(), name, strlen(name)));
      assert_non_null(strstr(gk_isa_reason(), "GATEKERN_ISA"));
    } else {
      assert_int_equal(status, GK_ERROR_ISA);
      assert_int_equal(isa, 77);
      assert_non_null(strstr(gk_last_error(), name));
      assert_lists_usable();
      assert_int_equal(gk_isa_resolve((gk_isa)i, &isa), GK_ERROR_ISA);
      assert_lists_usable();
    }
  }
  static const char *const wrong[] = {"AVX2", "avx", "avx2 ", "avx5120", "0", "best"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    setenv("GATEKERN_ISA", wrong[i], 1);
    isa = (gk_isa)77;
    assert_int_equal(gk_isa_resolve(GK_ISA_AUTO, &isa), GK_ERROR_ISA);
    assert_int_equal(isa, 77);
    assert_non_null(strstr(gk_last_error(), "GATEKERN_ISA"));
    assert_non_null(strstr(gk_last_error(), wrong[i]));
    assert_lists_usable();
    /* An explicit request does not ask the environment. */
    assert_int_equal(gk_isa_resolve(GK_ISA_SCALAR, &isa), GK_OK);
    assert_int_equal(isa, GK_ISA_SCALAR);
  }
  setenv("GATEKERN_ISA", "", 1);
  assert_int_equal(gk_isa_resolve(GK_ISA_AUTO, &isa), GK_OK);
  assert_int_equal(isa, best);
  setenv("GATEKERN_ISA", "auto", 1);
  assert_int_equal(gk_isa_resolve(GK_ISA_AUTO, &isa), GK_OK);
  assert_int_equal(isa, best);
  assert_int_equal(gk_isa_resolve((gk_isa)99, &isa), GK_ERROR_ISA);
  assert_int_equal(gk_isa_resolve((gk_isa)-1, &isa), GK_ERROR_ISA);
  assert_int_equal(gk_isa_resolve(GK_ISA_AUTO, NULL), GK_ERROR_ARGUMENT);
  unsetenv("GATEKERN_ISA");
}

static void gatekern_math_forces_the_activations(void **state) {
  (void)state;
  gk_math math = GK_MATH_AUTO;
  unsetenv("GATEKERN_MATH");
  assert_int_equal(gk_math_resolve(GK_MATH_AUTO, &math), GK_OK);
  assert_int_equal(math, GK_MATH_OWN);
  setenv("GATEKERN_MATH", "sleef", 1);
  assert_int_equal(gk_math_resolve(GK_MATH_AUTO, &math), GK_OK);
  assert_int_equal(math, GK_MATH_SLEEF);
  assert_int_equal(gk_math_resolve(GK_MATH_OWN, &math), GK_OK);
  assert_int_equal(math, GK_MATH_OWN);
  setenv("GATEKERN_MATH", "libm", 1);
  assert_int_equal(gk_math_resolve(GK_MATH_AUTO, &math), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "libm"));
  assert_non_null(strstr(gk_last_error(), "own, sleef"));
  assert_int_equal(math, GK_MATH_OWN);
  assert_int_equal(gk_math_resolve((gk_math)7, &math), GK_ERROR_ARGUMENT);
  unsetenv("GATEKERN_MATH");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_machine_gets_its_strongest_tier_and_a_reason),
      cmocka_unit_test(a_tier_needs_each_of_its_bits),
      cmocka_unit_test(the_description_lists_what_cpu_and_system_have),
      cmocka_unit_test(vendor_and_family_together_make_amd_19h),
      cmocka_unit_test(every_usable_tier_has_its_own_table),
      cmocka_unit_test(names_of_tiers_read_back),
      cmocka_unit_test(gatekern_isa_forces_a_usable_tier),
      cmocka_unit_test(gatekern_math_forces_the_activations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
