/* SPDX-License-Identifier: Apache-2.0
 * What gatekern-bench registers of kernels: every line of kernel_list.def on every tier, and on which
 * sizes. */

#include "benchmarks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "kernel_work.h"

enum maths { ONE_MATH, BOTH_MATHS };

/* The slots of kernel_list.def: what runs one, and on which sizes. */
struct kernel {
  const char *name;
  shim_function *run;
  const struct size_list *sizes;
  enum maths maths;
};

static void register_work(const char *kernel, const char *tier, const char *cell, shim_function *run,
                          const struct work *work) {
  char name[128];
  struct work *kept = malloc(sizeof *kept); /* lives as long as the program */
  if (!kept)
    return;
  *kept = *work;
  int used = snprintf(name, sizeof name, "kernel/%s%s/%s/", kernel, cell, tier);
  for (int i = 0; i < 3 && work->size[i]; i++)
    used += snprintf(name + used, sizeof name - (size_t)used, "%s%zu", i ? "x" : "", work->size[i]);
  shim_register(name, run, kept);
}

static void register_cells(const struct kernel *kernel, const char *tier, struct work work) {
  const bool backward = !strncmp(kernel->name, "cell_backward", 13);
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (int phase = 0; phase < GK_MAX_PHASES; phase++) {
      const struct gk_kernels *table = work.kernels;
      char name[64];
      if (backward ? !table->cell_backward[cell][phase] : !table->cell_forward[cell][phase])
        continue;
      work.cell = (gk_cell)cell;
      work.phase = phase;
      snprintf(name, sizeof name, phase ? "/%s.%d" : "/%s", gk_cell_name((gk_cell)cell), phase + 1);
      register_work(kernel->name, tier, name, kernel->run, &work);
    }
}

/* What else one line runs: forms of B, and the LSTM with one gate less. */
static void register_variants(const struct kernel *kernel, const char *tier, struct work work) {
  if (kernel->run == run_product)
    for (work.form = UNPACKED; work.form < FORMS; work.form++)
      register_work(kernel->name, tier, work.form == UNPACKED ? "/unpacked" : "/of_columns", kernel->run,
                    &work);
  if (kernel->run == run_cell_forward_general || kernel->run == run_cell_backward_general) {
    work.cell = GK_CELL_LSTM;
    work.coupled = true;
    register_work(kernel->name, tier, "/lstm-coupled", kernel->run, &work);
  }
}

void register_kernels(const char *tier, const struct gk_kernels *table, const struct kernel_sizes *sizes) {
  const struct kernel kernels[] = {
#define GK_KERNEL(slot, test, counts, sizes_name, maths) {#slot, run_##slot, &sizes->sizes_name, maths},
#include "kernel_list.def"
#undef GK_KERNEL
  };
  for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
    if (table->math == GK_MATH_SLEEF && kernels[i].maths == ONE_MATH)
      continue;
    for (size_t size = 0; size < kernels[i].sizes->count; size++) {
      struct work work = {.kernels = table};
      memcpy(work.size, kernels[i].sizes->size[size], sizeof work.size);
      if (!strncmp(kernels[i].name, "cell", 4))
        register_cells(&kernels[i], tier, work);
      else
        register_work(kernels[i].name, tier, "", kernels[i].run, &work);
      register_variants(&kernels[i], tier, work);
    }
  }
}

/* One step of a layer for one, some and many rows; a product over time; a large one. */
static const size_t products[][3] = {{1, 512, 2048},   {8, 512, 2048},  {64, 128, 512}, {64, 512, 2048},
                                     {64, 1024, 4096}, {512, 1600, 512}};      /* rows, k, columns */
static const size_t matrices[][3] = {{64, 512}, {512, 2048}, {1600, 70}};      /* rows, columns */
static const size_t cells[][3] = {{64, 48}, {64, 128}, {64, 512}, {64, 1000}}; /* rows, hidden units */
static const size_t arrays[][3] = {{64}, {4096}, {1 << 20}};                   /* values */
static const size_t logits[][3] = {{65}, {1000}, {10000}};                     /* logits */
static const size_t rounds[][3] = {{1000}};                                    /* rounds */
static const size_t levels[][3] = {{4096}, {1 << 17}, {1 << 21}, {1 << 24}}; /* values: L1, L2, L3, memory */

static const struct kernel_sizes timed_sizes = {.products = GK_SIZE_LIST(products),
                                                .matrices = GK_SIZE_LIST(matrices),
                                                .cells = GK_SIZE_LIST(cells),
                                                .arrays = GK_SIZE_LIST(arrays),
                                                .logits = GK_SIZE_LIST(logits),
                                                .rounds = GK_SIZE_LIST(rounds),
                                                .levels = GK_SIZE_LIST(levels)};

void register_kernel_benchmarks(void) {
  for (int isa = 1; isa <= gk_isa_count(); isa++)
    for (int math = GK_MATH_OWN; math <= GK_MATH_SLEEF; math++) {
      const struct gk_kernels *table = gk_dispatch((gk_isa)isa, (gk_math)math);
      char tier[64];
      if (!table)
        continue;
      snprintf(tier, sizeof tier, "%s%s", gk_isa_name((gk_isa)isa), math == GK_MATH_SLEEF ? "-sleef" : "");
      register_kernels(tier, table, &timed_sizes);
    }
}
