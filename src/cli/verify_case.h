/* SPDX-License-Identifier: Apache-2.0 */
/* The cases of `gatekern verify`: small networks whose every result is hashed, computed in one way at a time.
 */
#ifndef GATEKERN_CLI_VERIFY_CASE_H
#define GATEKERN_CLI_VERIFY_CASE_H

#include <gatekern.h>

/* Run for every cell that has its options; `activation` for the basic RNN only. */
typedef struct verify_case {
  const char *name; /* also chooses the random numbers, so that a new case changes no other's */
  int64_t input, hidden, layers, vocabulary, batch, time;
  gk_direction direction;
  gk_layout layout;
  gk_activation activation;
  const char *options; /* of cells: for gk_rnn_options_set; NULL: none */
  float dropout;
  bool ragged; /* lengths 0 ... T, not sorted; padding is poisoned */
  bool masks;  /* every kind of dropout, and zoneout */
  gk_dropout_masks dropout_masks;
  bool resets;     /* sequences begin inside others */
  bool structure;  /* trained states are parameters, both directions are added, the LSTM projects */
  bool pools;      /* y is pooled over time */
  bool trains;     /* every loss with its options, norms of dL/dh, every optimizer, clipping */
  bool accumulate; /* the gradients are also added to random values */
  /* A decoder over the stack, fed by itself at half of the steps; input may be 0. */
  struct verify_decoder {
    bool used, input_feeding;
    gk_feedback feedback;
    gk_attention attention;
    gk_output_function output_function;
    int64_t embedding, source_time, source, attention_size; /* E, Ts, S, A */
  } decoder;
} verify_case;

extern const verify_case verify_cases[];
extern const int verify_case_count;

/* One way to compute a case. */
typedef struct verify_plan {
  gk_isa isa;
  gk_schedule schedule;
  int threads;
} verify_plan;

/* A case for one cell: its data, and the results of the first way it was computed. */
typedef struct verify_job verify_job;

/* GK_ERROR_UNSUPPORTED if the library does not offer this kind of network. */
gk_status verify_open(const verify_case *this_case, gk_cell cell, uint64_t seed, verify_job **job);
void verify_close(verify_job *job); /* NULL is allowed */

/* Computes the case in one way. *problem is NULL, or says which result is not that of the first way, or not
 * what another result says it must be. */
gk_status verify_compute(verify_job *job, const verify_plan *plan, const char **problem);

int verify_result_count(const verify_job *job);
const char *verify_result_name(const verify_job *job, int index);
uint64_t verify_result_hash(const verify_job *job, int index);

#endif
