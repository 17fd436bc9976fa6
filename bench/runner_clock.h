/* SPDX-License-Identifier: Apache-2.0 */
/* Time in seconds and in cycles of the core, which no counter shows without privileges. */
#ifndef GATEKERN_BENCH_RUNNER_CLOCK_H
#define GATEKERN_BENCH_RUNNER_CLOCK_H

#include <stdint.h>

double clock_seconds(void);
/* Sorts times; their median. */
double clock_median(double *seconds, int64_t count);

/* How long one cycle takes now: a chain of additions, one cycle each on every core of the last decades. The
 * shortest of a few short tries. */
double clock_cycle_seconds(void);

#endif
