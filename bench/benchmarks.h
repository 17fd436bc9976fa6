/* SPDX-License-Identifier: Apache-2.0 */
/* What gatekern-bench registers. */
#ifndef GATEKERN_BENCH_BENCHMARKS_H
#define GATEKERN_BENCH_BENCHMARKS_H

#include "shim.h"

/* kernel/KERNEL/TIER/SIZES: every line of kernel_list.def on every usable tier, one thread. */
void register_kernel_benchmarks(void);

/* layer/LIST/SHAPE/TIER/PASS: every named shape, with the threads that the library picks. */
void register_layer_benchmarks(void);
void layer_benchmarks_end(void);

#endif
