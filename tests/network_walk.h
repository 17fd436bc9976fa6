/* SPDX-License-Identifier: Apache-2.0
 *
 * What tests of identities walk: every tier and every kind of network (cell_variants.h) over a few shapes.
 * Include cmocka.h first. */
#ifndef GK_TESTS_NETWORK_WALK_H
#define GK_TESTS_NETWORK_WALK_H

#include "tests/network_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

enum { WALK_SHAPES = 4 };

/* Plain cells have every shape; of the other kinds each tier has one, another one than the next tier. */
static inline bool shape_wanted(int tier, int kind, int shape) {
  return kind < gk_cell_count() || getenv("GATEKERN_TEST_FULL") || (tier + kind + shape) % 4 == 0;
}

/* Runs `check` over the walk. `adjust` sets what the identity is about. */
static inline void for_each_case(const char *test, void (*adjust)(struct network_case *c, int shape),
                                 void (*check)(struct network_case *c)) {
  static const int64_t hidden[WALK_SHAPES] = {5, 16, 35, 62}, input[WALK_SHAPES] = {3, 19, 40, 8};
  static const int64_t time[WALK_SHAPES] = {6, 9, 5, 12}, batch[WALK_SHAPES] = {4, 7, 11, 3};
  for (int tier = 0; tier < tier_count; tier++)
    for (int kind = 0; kind < network_kinds(); kind++)
      for (int i = 0; i < 2 * WALK_SHAPES; i++) {
        const int shape = i / 2;
        struct network_case c = {.desc = GK_RNN_DESC_INIT,
                                 .time = time[shape],
                                 .batch = batch[shape],
                                 .states = true,
                                 .small = i % 2,
                                 .seed = 400 + 10 * (uint64_t)kind + (uint64_t)shape};
        c.desc.isa = tiers[tier];
        c.desc.input_size = input[shape];
        c.desc.hidden_size = hidden[shape];
        c.desc.layers = 1 + shape % 2;
        c.desc.layout = shape % 3 ? GK_TIME_MAJOR : GK_BATCH_FIRST;
        c.desc.schedule = (gk_schedule)(shape % gk_schedule_count());
        c.unpacked = (unsigned)shape % 4;
        c.desc.threads = c.desc.schedule == GK_SCHEDULE_WAVEFRONT ? 2 : 1 + shape % 3;
        set_kind(&c, kind);
        adjust(&c, shape);
        if (shape_wanted(tier, kind, shape) && case_wanted(test))
          check(&c);
      }
}

/* Of a test program: its arguments, and the tiers; false: there are none. */
static inline bool start_walk(int argc, char **argv) {
  repeat_command.program = argv[0];
  return start_on_tiers(argc, argv, tiers, &tier_count);
}

#endif
