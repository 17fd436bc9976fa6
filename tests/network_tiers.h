/* SPDX-License-Identifier: Apache-2.0
 * The tiers that tests of networks walk. */
#ifndef GK_TESTS_NETWORK_TIERS_H
#define GK_TESTS_NETWORK_TIERS_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "include/gatekern.h"

/* Tiers that this machine runs, weakest first; GATEKERN_TEST_ISA=name leaves only that one. */
#define MAX_TIERS 8
static inline int usable_tiers(gk_isa tiers[MAX_TIERS]) {
  const char *only = getenv("GATEKERN_TEST_ISA");
  int count = 0;
  for (int i = 1; i <= gk_isa_count() && count < MAX_TIERS; i++)
    if (gk_isa_usable((gk_isa)i) && (!only || strcmp(only, gk_isa_name((gk_isa)i)) == 0))
      tiers[count++] = (gk_isa)i;
  return count;
}

/* Of a test program: cmocka's filter is the first argument; false, and said, if no tier is left to test. */
static inline bool start_on_tiers(int argc, char **argv, gk_isa tiers[MAX_TIERS], int *tier_count) {
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  *tier_count = usable_tiers(tiers);
  if (*tier_count == 0)
    print_error("no usable tier: nothing would be tested\n");
  return *tier_count > 0;
}

#endif
