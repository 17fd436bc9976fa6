/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "tests/kernel_tiers.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch/dispatch.h"
#include "tests/random_values.h"

enum { MOST_TIERS = 16 };

static struct {
  const char *slot, *test;
  bool run;
} listed[] = {
#define GK_KERNEL(slot, test, counts, sizes, maths) {#slot, #test, false},
#include "bench/kernel_list.def"
#undef GK_KERNEL
};
enum { LISTED = sizeof listed / sizeof *listed };

#define GK_KERNEL(slot, test, counts, sizes, maths) +sizeof((struct gk_kernels *)0)->slot
_Static_assert(offsetof(struct gk_kernels, product)
#include "bench/kernel_list.def"
                   == sizeof(struct gk_kernels),
               "bench/kernel_list.def lists every kernel once");
#undef GK_KERNEL

static const char *program = "";
static const char *current_kernel = "", *current_tier = "";
static char current_sizes[256];
static long cases;
static int unfinished; /* a case was named, and no comparison has ended since */

const struct gk_kernels *kernel_definition(gk_math math) {
  return math == GK_MATH_SLEEF ? &gk_kernels_scalar_sleef : &gk_kernels_scalar_own;
}

const struct kernel_tier *kernel_tiers(gk_math math) {
  static struct kernel_tier tiers[MOST_TIERS];
  const char *only = getenv("GATEKERN_TEST_TIER");
  struct kernel_tier found[MOST_TIERS] = {{"scalar", kernel_definition(math)}};
  int count = 1, kept = 0;
  for (int isa = 1; isa <= gk_isa_count() && count < MOST_TIERS; isa++) {
    const struct gk_kernels *kernels = gk_dispatch((gk_isa)isa, math);
    if (kernels && kernels != found[0].kernels)
      found[count++] =
          (struct kernel_tier){isa == GK_ISA_SCALAR ? "scalar-fma" : gk_isa_name((gk_isa)isa), kernels};
  }
  for (int i = 0; i < count; i++)
    if (!only || !strcmp(only, found[i].name))
      tiers[kept++] = found[i];
  if (kept == 0)
    fail_msg("GATEKERN_TEST_TIER=%s: no such tier runs here", only);
  tiers[kept] = (struct kernel_tier){NULL, NULL};
  return tiers;
}

uint64_t kernel_test_seed(void) {
  const char *seed = getenv("GATEKERN_TEST_SEED");
  return seed ? strtoull(seed, NULL, 0) : 1;
}

void kernel_case(const struct kernel_tier *tier, const char *kernel, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(current_sizes, sizeof current_sizes, format, arguments);
  va_end(arguments);
  for (int i = 0; i < LISTED && kernel != current_kernel; i++)
    listed[i].run |= !strcmp(listed[i].slot, kernel);
  current_kernel = kernel;
  current_tier = tier->name;
  unfinished = 1;
  cases++;
}

long kernel_cases(void) {
  long count = cases;
  cases = 0;
  return count;
}

void kernel_all_listed(const char *test) {
  int count = 0;
  for (int i = 0; i < LISTED; i++) {
    if (strcmp(listed[i].test, test) != 0)
      continue;
    if (!listed[i].run)
      fail_msg("no test has run the kernel %s", listed[i].slot);
    count++;
  }
  assert_true(count > 0);
}

/* Floats in order as integers, so that their difference is a distance in ULP. */
static int64_t position(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits < 0 ? -(int64_t)(bits & 0x7fffffff) : bits;
}

static int same_bits(float a, float b) {
  return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void print_case(void) {
  unfinished = 0;
  print_error("%s, tier %s: %s, seed %llu\nAgain: GATEKERN_TEST_TIER=%s GATEKERN_TEST_SEED=%llu %s\n",
              current_kernel, current_tier, current_sizes, (unsigned long long)kernel_test_seed(),
              current_tier, (unsigned long long)kernel_test_seed(), program);
}

void kernel_same(const char *what, size_t count, const float *got, const float *wanted) {
  if (memcmp(got, wanted, count * sizeof *got) == 0)
    count = 0;
  for (size_t i = 0; i < count; i++)
    if (!same_bits(got[i], wanted[i])) {
      print_case();
      fail_msg("%s[%zu] is %a, wanted %a, %lld ULP away", what, i, (double)got[i], (double)wanted[i],
               llabs((long long)(position(got[i]) - position(wanted[i]))));
    }
  unfinished = 0;
}

void kernel_near(const char *what, size_t count, const float *got, const double *wanted, double relative,
                 double absolute) {
  for (size_t i = 0; i < count; i++) {
    double error = fabs((double)got[i] - wanted[i]);
    if (!(error <= relative * fabs(wanted[i]) + absolute)) {
      print_case();
      fail_msg("%s[%zu] is %.9g, wanted %.17g: error %.3g, %lld ULP", what, i, (double)got[i], wanted[i],
               error, llabs((long long)(position(got[i]) - position((float)wanted[i]))));
    }
  }
  unfinished = 0;
}

void kernel_true(int condition, const char *what) {
  unfinished = 0;
  if (condition)
    return;
  print_case();
  fail_msg("%s", what);
}

void kernel_random(uint64_t stream, float scale, size_t count, float *values) {
  random_floats(kernel_test_seed() * 1000003 + stream, scale, (int64_t)count, values);
}

int kernel_say_where(void **state) {
  (void)state;
  if (unfinished)
    print_case();
  return 0;
}

void kernel_arguments(int argc, char **argv) {
  program = argv[0];
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
}
