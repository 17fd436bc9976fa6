/* SPDX-License-Identifier: Apache-2.0 */
#include "dispatch/dispatch.h"

#include "dispatch/cpu.h"
#include "kernels/kernels.h"
#include "src/core/names.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* GK_ON_X86(x) is x in a build for x86-64 and nothing elsewhere; so for each architecture of isa.def. */
#define GK_ON_ANY(...) __VA_ARGS__
#if defined(__x86_64__)
#define GK_ON_X86(...) __VA_ARGS__
#define GK_ON_AARCH64(...)
#elif defined(__aarch64__)
#define GK_ON_X86(...)
#define GK_ON_AARCH64(...) __VA_ARGS__
#else
#define GK_ON_X86(...)
#define GK_ON_AARCH64(...)
#endif

struct tables {
  const struct gk_kernels *own, *sleef;
};

static const struct tables tables[] = {
#define GK_ISA(NAME, name, architecture)                                                                     \
  GK_ON_##architecture([GK_ISA_##NAME] = {&gk_kernels_##name##_own, &gk_kernels_##name##_sleef}, )
#include "dispatch/isa.def"
#undef GK_ISA
};

#if defined(__x86_64__)
static const struct tables scalar_fma = {&gk_kernels_scalar_fma_own, &gk_kernels_scalar_fma_sleef};
#else
/* FMA is part of the baseline: the scalar tier has it. */
#define scalar_fma tables[GK_ISA_SCALAR]
#endif

static const char *const names[] = {
    "auto",
#define GK_ISA(NAME, name, architecture) #name,
#include "dispatch/isa.def"
#undef GK_ISA
};

static const char *const forced_reasons[] = {
    NULL,
#define GK_ISA(NAME, name, architecture) #name ": GATEKERN_ISA says so",
#include "dispatch/isa.def"
#undef GK_ISA
};

enum { ISA_COUNT = sizeof names / sizeof names[0] - 1 };

static struct gk_cpu_registers registers;
static char features[512];

static void read_cpu(void) {
  gk_cpu_read(&registers);
  gk_cpu_describe(&registers, features, sizeof features);
}

static const struct gk_cpu_registers *cpu(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, read_cpu);
  return &registers;
}

static bool is_tier(gk_isa isa) {
  return (int)isa >= 1 && (int)isa <= ISA_COUNT;
}

static const struct tables *tables_of(gk_isa isa) {
  if (!is_tier(isa) || (size_t)isa >= sizeof tables / sizeof tables[0] || !tables[isa].own ||
      !gk_cpu_runs(cpu(), isa))
    return NULL;
  return isa == GK_ISA_SCALAR && gk_cpu_runs_scalar_fma(cpu()) ? &scalar_fma : &tables[isa];
}

const struct gk_kernels *gk_dispatch(gk_isa isa, gk_math math) {
  const struct tables *found = tables_of(isa);
  if (!found)
    return NULL;
  return math == GK_MATH_SLEEF ? found->sleef : found->own;
}

int gk_isa_count(void) {
  return ISA_COUNT;
}

const char *gk_isa_name(gk_isa isa) {
  return isa == GK_ISA_AUTO || is_tier(isa) ? names[isa] : "unknown";
}

bool gk_isa_usable(gk_isa isa) {
  return tables_of(isa) != NULL;
}

static void list_usable(char *text, size_t size) {
  size_t used = 0;
  for (int isa = 1; isa <= ISA_COUNT && used < size; isa++)
    if (gk_isa_usable((gk_isa)isa))
      used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", names[isa]);
}

/* `source` says where the name came from, e.g. "GATEKERN_ISA". */
static gk_status find_name(const char *source, const char *name, gk_isa *isa) {
  for (int i = 0; i <= ISA_COUNT; i++)
    if (!strcmp(name, names[i])) {
      *isa = (gk_isa)i;
      return GK_OK;
    }
  char usable[128];
  list_usable(usable, sizeof usable);
  return gk_fail(GK_ERROR_ISA, "%s: no instruction set is called \"%.64s\"; usable here: %s", source, name,
                 usable);
}

static gk_status check_usable(const char *source, gk_isa isa) {
  if (gk_isa_usable(isa))
    return GK_OK;
  char usable[128];
  list_usable(usable, sizeof usable);
  return gk_fail(GK_ERROR_ISA, "%s: this machine cannot run %s; usable here: %s", source, names[isa], usable);
}

gk_status gk_isa_from_name(const char *name, gk_isa *isa) {
  if (!name || !isa)
    return gk_fail(GK_ERROR_ARGUMENT, "gk_isa_from_name: %s is NULL", name ? "isa" : "name");
  return find_name("isa", name, isa);
}

/* GK_ISA_AUTO if GATEKERN_ISA is not set, empty or "auto". */
static gk_status isa_of_environment(gk_isa *isa) {
  const char *name = getenv("GATEKERN_ISA");
  *isa = GK_ISA_AUTO;
  if (!name || !*name)
    return GK_OK;
  gk_status status = find_name("GATEKERN_ISA", name, isa);
  if (status != GK_OK || *isa == GK_ISA_AUTO)
    return status;
  return check_usable("GATEKERN_ISA", *isa);
}

gk_status gk_isa_resolve(gk_isa request, gk_isa *isa) {
  if (!isa)
    return gk_fail(GK_ERROR_ARGUMENT, "gk_isa_resolve: isa is NULL");
  if (request != GK_ISA_AUTO && !is_tier(request))
    return gk_fail(GK_ERROR_ISA, "isa is %d, must be 0..%d", (int)request, (int)ISA_COUNT);
  gk_isa chosen = request;
  gk_status status = request == GK_ISA_AUTO ? isa_of_environment(&chosen) : check_usable("isa", request);
  if (status == GK_OK)
    *isa = chosen == GK_ISA_AUTO ? gk_cpu_best(cpu()) : chosen;
  return status;
}

const char *gk_isa_reason(void) {
  gk_isa forced;
  if (isa_of_environment(&forced) != GK_OK)
    return "none: GATEKERN_ISA names an instruction set that cannot be had";
  return forced == GK_ISA_AUTO ? gk_cpu_reason(cpu()) : forced_reasons[forced];
}

const char *gk_scalar_fma(void) {
  return tables_of(GK_ISA_SCALAR) == &scalar_fma ? "instruction" : "libm";
}

const char *gk_cpu_features(void) {
  cpu();
  return features;
}

static const char *const math_names[] = {"auto", "own", "sleef"};
GK_NAMES_OF(math, gk_math, math)

gk_status gk_math_resolve(gk_math request, gk_math *math) {
  if (request == GK_MATH_OWN || request == GK_MATH_SLEEF) {
    *math = request;
    return GK_OK;
  }
  if (request != GK_MATH_AUTO)
    return gk_fail(GK_ERROR_ARGUMENT, "math is %d, must be GK_MATH_AUTO, _OWN or _SLEEF", (int)request);
  const char *name = getenv("GATEKERN_MATH");
  *math = GK_MATH_OWN;
  if (!name || !*name)
    return GK_OK;
  const int found =
      gk_find_name("GATEKERN_MATH", math_names, sizeof *math_names, gk_math_count(), name, math, "math");
  if (found > GK_MATH_AUTO)
    *math = (gk_math)found;
  return found < 0 ? GK_ERROR_ARGUMENT : GK_OK;
}

gk_status gk_kernels_for(gk_isa isa, gk_math math, const struct gk_kernels **kernels) {
  gk_status status = gk_isa_resolve(isa, &isa);
  if (status == GK_OK)
    status = gk_math_resolve(math, &math);
  if (status == GK_OK)
    *kernels = gk_dispatch(isa, math); /* not NULL: only a tier with tables here is resolved to */
  return status;
}

bool gk_reads_across(const struct gk_kernels *kernels) {
  return kernels->reads_across && gk_cpu_is_amd_19h(cpu());
}

bool gk_cores_are_near(void) {
  return gk_cpu_is_amd_19h(cpu());
}
