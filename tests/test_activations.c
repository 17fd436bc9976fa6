/* SPDX-License-Identifier: Apache-2.0
 *
 * sigmoid and tanh over floats of every magnitude: largest error in ULP, the same bits on every tier and
 * every machine, special values. One of 256 floats by default, all 2^32 with GATEKERN_TEST_FULL=1. On
 * AArch64, which tests usually emulate, the frozen hash of all samples stands for the errors measured
 * elsewhere, and only some errors are measured again. ctest labels: edges */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <gatekern.h>

#include "tests/random_values.h"

enum { CHUNK = 1 << 14 };
#if defined(__aarch64__)
enum { MEASURED = 16, MAY_TEST_ALL = false }; /* one of so many samples is measured */
#else
enum { MEASURED = 1, MAY_TEST_ALL = true };
#endif

struct function {
  const char *name;
  gk_status (*apply)(gk_isa isa, gk_math math, int64_t count, const float *x, float *y);
  double (*exact)(double x);       /* far more accurate than float */
  double limit[GK_MATH_SLEEF + 1]; /* ULP */
  uint64_t frozen;                 /* hash of the default samples, own functions */
};

static double exact_sigmoid(double x) {
  return 1 / (1 + exp(-x));
}

/* SLEEF has no sigmoid: its exp, an addition and a division are 1 + 0.5 + 0.5 ULP, the first of them of a
 * number that may be almost twice as far from its neighbours as the result. */
static const struct function functions[] = {
    {"sigmoid",
     gk_sigmoid,
     exact_sigmoid,
     {[GK_MATH_OWN] = 2.0, [GK_MATH_SLEEF] = 3.0},
     UINT64_C(0xfd62fe24fdc998ec)},
    {"tanh", gk_tanh, tanh, {[GK_MATH_OWN] = 2.6, [GK_MATH_SLEEF] = 1.01}, UINT64_C(0x3dc4a3a35cc87f8d)},
};

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static bool all_floats(void) {
  const char *full = getenv("GATEKERN_TEST_FULL");
  return MAY_TEST_ALL && full && strcmp(full, "0") != 0;
}

/* One of each 2^shift neighbouring bit patterns, so that every exponent is met equally often. */
static uint32_t sample(uint64_t index, int shift) {
  return (uint32_t)(index << shift | (random_bits(1, index) & ((UINT64_C(1) << shift) - 1)));
}

/* Distance of two floats around `exact`, whose magnitude is normal. */
static double ulp_of(double exact) {
  uint64_t bits;
  memcpy(&bits, &exact, sizeof bits);
  bits = ((bits >> 52 & 0x7ff) - 23) << 52;
  memcpy(&exact, &bits, sizeof exact);
  return exact;
}

struct largest_error {
  double ulp;
  float x, y;
};

/* Fails at a value that has no error in ULP and is wrong: NaN, infinities, results below the normal numbers.
 */
static void add_error(const struct function *f, float x, float y, struct largest_error *largest) {
  if (isnan(x)) {
    if (!isnan(y))
      fail_msg("%s(NaN %08x) is %a", f->name, (unsigned)bits_of(x), (double)y);
    return;
  }
  const double exact = f->exact((double)x);
  if (fabs(exact) < (double)FLT_MIN) {
    if (!(fabs((double)y - exact) <= (double)FLT_MIN))
      fail_msg("%s(%a) is %a, wanted about %a", f->name, (double)x, (double)y, exact);
    return;
  }
  const double ulp = fabs((double)y - exact) / ulp_of(exact);
  if (!(ulp <= largest->ulp))
    *largest = (struct largest_error){ulp, x, y};
}

/* The bits of all results in order; every NaN is the same NaN. */
static uint64_t add_to_hash(uint64_t hash, int count, const float *y) {
  for (int i = 0; i < count; i++)
    hash = (hash ^ (isnan(y[i]) ? 0x7fc00000u : bits_of(y[i]))) * UINT64_C(0x100000001b3);
  return hash;
}

static void apply(const struct function *f, gk_isa isa, gk_math math, int count, const float *x, float *y) {
  if (f->apply(isa, math, count, x, y) != GK_OK)
    fail_msg("%s on %s: %s", f->name, gk_isa_name(isa), gk_last_error());
}

/* The samples that are measured: their error in the strongest tier's results y, and the other tiers' bits. */
static int measure(const struct function *f, gk_math math, gk_isa strongest, const float *x, const float *y,
                   struct largest_error *largest) {
  static float some_x[CHUNK], other[CHUNK];
  int tiers = 1;
  for (int i = 0; i < CHUNK / MEASURED; i++) {
    some_x[i] = x[i * MEASURED];
    add_error(f, some_x[i], y[i * MEASURED], largest);
  }
  for (int n = 1; n <= gk_isa_count(); n++) {
    if (!gk_isa_usable((gk_isa)n) || n == (int)strongest)
      continue;
    apply(f, (gk_isa)n, math, CHUNK / MEASURED, some_x, other);
    for (int i = 0; i < CHUNK / MEASURED; i++) {
      const float wanted = y[i * MEASURED];
      if (bits_of(other[i]) != bits_of(wanted) && !(isnan(other[i]) && isnan(wanted)))
        fail_msg("%s (%s) of %a is %a on %s and %a on %s", f->name, gk_math_name(math), (double)some_x[i],
                 (double)other[i], gk_isa_name((gk_isa)n), (double)wanted, gk_isa_name(strongest));
    }
    tiers++;
  }
  return tiers;
}

static void check_function(const struct function *f, gk_math math) {
  static float x[CHUNK], y[CHUNK];
  const int shift = all_floats() ? 0 : math == GK_MATH_OWN ? 8 : 12;
  const uint64_t count = UINT64_C(1) << (32 - shift);
  struct largest_error largest = {-1, 0, 0};
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  int tiers = 0, strongest = GK_ISA_SCALAR;
  for (int n = 1; n <= gk_isa_count(); n++)
    if (gk_isa_usable((gk_isa)n))
      strongest = n;
  for (uint64_t done = 0; done < count; done += CHUNK) {
    for (int i = 0; i < CHUNK; i++)
      x[i] = float_of(sample(done + (uint64_t)i, shift));
    apply(f, (gk_isa)strongest, math, CHUNK, x, y);
    tiers = measure(f, math, (gk_isa)strongest, x, y, &largest);
    hash = add_to_hash(hash, CHUNK, y);
  }
  print_message(
      "%s, %s: largest error %.4f ULP at %a (%.9g): %a; hash %016llx; %llu floats, %llu measured, %d tiers\n",
      f->name, gk_math_name(math), largest.ulp, (double)largest.x, (double)largest.x, (double)largest.y,
      (unsigned long long)hash, (unsigned long long)count, (unsigned long long)count / MEASURED, tiers);
  assert_true(largest.ulp >= 0);
  if (!(largest.ulp <= f->limit[math]))
    fail_msg("%s, %s: %.4f ULP at %a, allowed %.2f", f->name, gk_math_name(math), largest.ulp,
             (double)largest.x, f->limit[math]);
  if (shift == 8 && hash != f->frozen)
    fail_msg("%s, %s: the hash of all results is %016llx, frozen is %016llx", f->name, gk_math_name(math),
             (unsigned long long)hash, (unsigned long long)f->frozen);
}

static void sigmoid_is_within_2_ulp_with_the_same_bits_on_every_tier(void **state) {
  (void)state;
  check_function(&functions[0], GK_MATH_OWN);
}

static void tanh_is_within_2_6_ulp_with_the_same_bits_on_every_tier(void **state) {
  (void)state;
  check_function(&functions[1], GK_MATH_OWN);
}

static void sleef_sigmoid_is_within_3_ulp_with_the_same_bits_on_every_tier(void **state) {
  (void)state;
  check_function(&functions[0], GK_MATH_SLEEF);
}

static void sleef_tanh_is_within_1_ulp_with_the_same_bits_on_every_tier(void **state) {
  (void)state;
  check_function(&functions[1], GK_MATH_SLEEF);
}

static void special_values_on_every_tier(void **state) {
  static const uint32_t nans[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001,
                                  0x7fffffff, 0xffffffff, 0x7fa5a5a5};
  enum { NANS = sizeof nans / sizeof *nans };
  (void)state;
  int tiers = 0;
  for (int n = 1; n <= gk_isa_count(); n++)
    for (int math = GK_MATH_OWN; gk_isa_usable((gk_isa)n) && math <= GK_MATH_SLEEF; math++) {
      const float x[] = {0.0f, -0.0f, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0x1p-149f, -0x1p-149f};
      float s[8], t[8], nan[NANS];
      tiers++;
      assert_int_equal(gk_sigmoid((gk_isa)n, (gk_math)math, 8, x, s), GK_OK);
      assert_int_equal(gk_tanh((gk_isa)n, (gk_math)math, 8, x, t), GK_OK);
      const uint32_t sigmoids[] = {0x3f000000, 0x3f000000, 0x3f800000, 0,
                                   0x3f800000, 0,          0x3f000000, 0x3f000000};
      const uint32_t tanhs[] = {0, 0x80000000, 0x3f800000, 0xbf800000, 0x3f800000, 0xbf800000};
      for (int i = 0; i < 8; i++)
        assert_int_equal(bits_of(s[i]), sigmoids[i]);
      for (int i = 0; i < 6; i++)
        assert_int_equal(bits_of(t[i]), tanhs[i]);
      assert_false(signbit(t[6]));
      assert_true(signbit(t[7]));
      for (int i = 0; i < NANS; i++)
        nan[i] = float_of(nans[i]);
      assert_int_equal(gk_sigmoid((gk_isa)n, (gk_math)math, NANS, nan, nan), GK_OK);
      for (int i = 0; i < NANS; i++)
        assert_true(isnan(nan[i]));
      for (int i = 0; i < NANS; i++)
        nan[i] = float_of(nans[i]);
      assert_int_equal(gk_tanh((gk_isa)n, (gk_math)math, NANS, nan, nan), GK_OK);
      for (int i = 0; i < NANS; i++)
        assert_true(isnan(nan[i]));
    }
  assert_true(tiers > 0);
}

/* Neighbours must not cross: what grows stays grown, up to the error that is allowed. */
static void saturation_is_reached_and_never_passed(void **state) {
  (void)state;
  for (int n = 1; n <= gk_isa_count(); n++) {
    if (!gk_isa_usable((gk_isa)n))
      continue;
    for (uint32_t bits = 0x3f800000; bits < 0x7f800000; bits += 0x3fff) {
      const float x[2] = {float_of(bits), -float_of(bits)};
      float s[2], t[2];
      assert_int_equal(gk_sigmoid((gk_isa)n, GK_MATH_OWN, 2, x, s), GK_OK);
      assert_int_equal(gk_tanh((gk_isa)n, GK_MATH_OWN, 2, x, t), GK_OK);
      assert_true(s[0] <= 1 && s[1] >= 0 && !signbit(s[1]) && t[0] <= 1 && t[0] == -t[1]);
      if (x[0] > 20)
        assert_true(s[0] == 1 && t[0] == 1);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(special_values_on_every_tier),
      cmocka_unit_test(saturation_is_reached_and_never_passed),
      cmocka_unit_test(sigmoid_is_within_2_ulp_with_the_same_bits_on_every_tier),
      cmocka_unit_test(tanh_is_within_2_6_ulp_with_the_same_bits_on_every_tier),
      cmocka_unit_test(sleef_sigmoid_is_within_3_ulp_with_the_same_bits_on_every_tier),
      cmocka_unit_test(sleef_tanh_is_within_1_ulp_with_the_same_bits_on_every_tier),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
