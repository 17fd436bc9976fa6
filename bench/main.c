/* SPDX-License-Identifier: Apache-2.0 */
#include <gatekern.h>
#include <stdio.h>

#include "benchmarks.h"
#include "compiler.h"
#include "plain_c.h"

/* All lists at once take hours: without a filter, the kernels and one list of layers. */
#define DEFAULT_FILTER "^(kernel|layer/anchors)/"

int main(int argc, char **argv) {
  char threads[16];
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
