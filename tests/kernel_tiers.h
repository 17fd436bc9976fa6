/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernel tests share: every table that runs here, and comparisons that say tier, sizes, seed, index,
 * both values, their distance and how to repeat the case.
 *
 * GATEKERN_TEST_TIER=scalar|scalar-fma|avx2|... tests one tier, GATEKERN_TEST_SEED other values. */
#ifndef GK_TESTS_KERNEL_TIERS_H
#define GK_TESTS_KERNEL_TIERS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

struct kernel_tier {
  const char *name; /* of the tier; "scalar-fma" is the scalar source with the fma instruction */
  const struct gk_kernels *kernels;
};

/* All tiers that run here and are asked for, ended by a NULL table. Never empty. */
const struct kernel_tier *kernel_tiers(gk_math math);
/* The readable definition: scalar, with libm's fma. */
const struct gk_kernels *kernel_definition(gk_math math);

uint64_t kernel_test_seed(void);

/* Names the case whose comparisons follow, and counts it. `kernel` is a slot of bench/kernel_list.def. */
void kernel_case(const struct kernel_tier *tier, const char *kernel, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Cases since the last call: a test that ran none must fail. */
long kernel_cases(void);

/* Fails unless every slot that the list gives to this test program ("kernels", ...) was run. */
void kernel_all_listed(const char *test);

/* Fails the test at the first value that differs in a bit. Any NaN equals any NaN. */
void kernel_same(const char *what, size_t count, const float *got, const float *wanted);
/* Fails at the first value whose error is more than `relative` of |wanted| + `absolute`. */
void kernel_near(const char *what, size_t count, const float *got, const double *wanted, double relative,
                 double absolute);
/* Fails with the case's name. */
void kernel_true(int condition, const char *what);

/* The values 0, 1, 2, ... of the stream, in [-scale, scale), of this test's seed. */
void kernel_random(uint64_t stream, float scale, size_t count, float *values);

/* cmocka teardown: says which case a crash happened in. */
int kernel_say_where(void **state);
/* cmocka's filter is the first argument. */
void kernel_arguments(int argc, char **argv);

#endif
