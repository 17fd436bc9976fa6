/* SPDX-License-Identifier: Apache-2.0 */
/* What compiled the program, and with it the kernels and plain C. */
#ifndef GATEKERN_BENCH_COMPILER_H
#define GATEKERN_BENCH_COMPILER_H

#if defined(__clang__)
#define BENCH_COMPILER "Clang " __clang_version__
#elif defined(__GNUC__)
#define BENCH_COMPILER "GCC " __VERSION__
#else
#define BENCH_COMPILER "unknown"
#endif

#endif
