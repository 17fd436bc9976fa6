/* SPDX-License-Identifier: Apache-2.0 */
/* The cases of `gatekern verify`: small networks whose every result is hashed, computed in one way at a time.
 */
#ifndef GATEKERN_CLI_VERIFY_CASE_H
#define GATEKERN_CLI_VERIFY_CASE_H

#include <gatekern.h>

/* Run for every cell. */
typedef struct verify_case {
  const char *name; /* also chooses the random numbers, so that a new case changes no other's */
  int64_t input, hidden, layers, vocabulary, batch, time;
  gk_direction direction;
  gk_layout layout;
  gk_activation activation;
  float dropout;
  bool ragged; /* lengths 0 ... T, not sorted; padding is poisoned */
} verify_case;

extern const verify_case verify_cases[];
extern const int verify_case_count;

/* One way to compute a case. */
typedef struct verify_plan {
  gk_isa isa;
  gk_schedule schedule;
  int threads;
} verify_plan;

enum { VERIFY_MOST_PARTS = 32 };

/* A hash for each result, so that a difference can be located. */
typedef struct verify_hashes {
  int count;
  struct {
    const char *name;
    uint64_t hash;
  } part[VERIFY_MOST_PARTS];
} verify_hashes;

/* GK_ERROR_UNSUPPORTED if the library does not offer this kind of network. */
gk_status verify_run(const verify_case *this_case, gk_cell cell, uint64_t seed, const verify_plan *plan,
                     verify_hashes *hashes);

#endif
