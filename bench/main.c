/* SPDX-License-Identifier: Apache-2.0 */
#include <gatekern.h>
#include <stdio.h>
#include <string.h>

#include "benchmarks.h"
#include "compiler.h"
#include "plain_c.h"
#include "runner.h"

/* All lists at once take hours: without a filter, the kernels and one list of layers. */
#define DEFAULT_FILTER "^(kernel|layer/anchors)/"

static void explain(void) {
  printf(
      "Names of benchmarks, of which --benchmark_filter=REGEX chooses some:\n"
      "  kernel/KERNEL[/CELL]/TIER/SIZES  one kernel on one thread\n"
      "  layer/LIST/SHAPE/TIER/PASS       a network; TIER also plain-c-avx2, plain-c-avx512: the same loops\n"
      "                                   left to the compiler\n"
      "PASS is one of");
  for (int i = 0; bench_pass_names[i]; i++)
    printf(" %s", bench_pass_names[i]);
  printf(";\nLIST one of");
  for (const bench_list *list = bench_lists; list->name; list++)
    printf(" %s", list->name);
  printf(".\nWithout a filter, or BENCHMARK_FILTER in the environment, " DEFAULT_FILTER
         ",\nbecause all lists take hours.\n"
         "A warning that the library was built as DEBUG is of Google Benchmark, not of what is timed.\n\n");
}

int main(int argc, char **argv) {
  char threads[16];
  for (int i = 1; i < argc; i++)
    if (!strcmp(argv[i], "--help"))
      explain();
  snprintf(threads, sizeof threads, "%d", gk_default_threads());
  shim_context("gatekern", gk_version());
  shim_context("compiler", BENCH_COMPILER);
  shim_context("cpu_features", gk_cpu_features());
  shim_context("threads", threads);
  register_kernel_benchmarks();
  register_layer_benchmarks();
#if defined(__x86_64__)
  register_plain_c_benchmarks();
#endif
  int exit_code = shim_run(argc, argv, DEFAULT_FILTER);
  layer_benchmarks_end();
#if defined(__x86_64__)
  plain_c_benchmarks_end();
#endif
  return exit_code;
}
