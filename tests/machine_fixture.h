/* SPDX-License-Identifier: Apache-2.0
 *
 * Networks planned for other machines than this one. Include cmocka.h first; a program that includes this has
 * "ctest wraps: gk_default_threads" in its first comment. */
#ifndef GK_TESTS_MACHINE_FIXTURE_H
#define GK_TESTS_MACHINE_FIXTURE_H

#include <stdbool.h>

#include "include/gatekern.h"
#include "src/core/threads.h"
#include "src/sequence/rnn.h"

static int cpus; /* 0: those of this one */
static bool cores_are_near = true;
int __real_gk_default_threads(void);
int __wrap_gk_default_threads(void);
int __wrap_gk_default_threads(void) {
  return cpus ? cpus : __real_gk_default_threads();
}

static inline gk_rnn *create(gk_rnn_desc desc) {
  gk_rnn *rnn;
  if (gk_rnn_create(&desc, &rnn) != GK_OK)
    fail_msg("%s", gk_last_error());
  if (cpus)
    rnn->cores_are_near = cores_are_near;
  return rnn;
}

static inline gk_rnn_desc describe_network(gk_cell cell, int64_t input, int64_t hidden) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = cell;
  desc.input_size = input;
  desc.hidden_size = hidden;
  return desc;
}

#endif
