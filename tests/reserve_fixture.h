/* SPDX-License-Identifier: Apache-2.0
 *
 * Networks and plans on which the tests of reserves run. */
#ifndef GK_TESTS_RESERVE_FIXTURE_H
#define GK_TESTS_RESERVE_FIXTURE_H

#include "tests/network_fixture.h"

static const struct {
  int threads;
  gk_schedule schedule;
} plans[] = {
    {1, GK_SCHEDULE_SLICES}, {3, GK_SCHEDULE_SLICES}, {2, GK_SCHEDULE_TEAMS}, {2, GK_SCHEDULE_WAVEFRONT}};
enum { PLANS = sizeof plans / sizeof *plans };

static inline struct network_case make_case(gk_cell cell, gk_direction direction, uint64_t seed) {
  struct network_case c = {.desc = GK_RNN_DESC_INIT,
                           .time = 7,
                           .batch = 6,
                           .ragged = true,
                           .resets = seed % 3 == 1,
                           .states = seed % 2 == 0};
  c.desc.cell = cell;
  c.desc.direction = direction;
  c.desc.input_size = 13;
  c.desc.hidden_size = 18;
  c.desc.layers = 3;
  c.desc.layout = seed % 2 ? GK_BATCH_FIRST : GK_TIME_MAJOR;
  return c;
}

#endif
