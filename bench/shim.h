/* SPDX-License-Identifier: Apache-2.0 */
/* Google Benchmark for C: the only C++ of the project is behind it. */
#ifndef GATEKERN_BENCH_SHIM_H
#define GATEKERN_BENCH_SHIM_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shim_state shim_state;
typedef void shim_function(shim_state *state, const void *context);

/* `context` must live until shim_run returns. Time is wall-clock time. */
void shim_register(const char *name, shim_function *run, const void *context);

/* The timed loop of a benchmark: while (shim_keep_running(state)) { ... } */
bool shim_keep_running(shim_state *state);
/* After the loop; rates count one pass through it. */
void shim_flop_and_bytes(shim_state *state, double flop, double bytes);
void shim_counter(shim_state *state, const char *name, double value);
/* Instead of the loop. */
void shim_error(shim_state *state, const char *message);

/* A line of the report's head. */
void shim_context(const char *key, const char *value);
/* Runs what was registered and matches --benchmark_filter, or the environment's BENCHMARK_FILTER, or `filter`
 * if the user gave neither. Returns the program's exit code. */
int shim_run(int argc, char **argv, const char *filter);

#ifdef __cplusplus
}
#endif
#endif
