/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a case share: its data (verify_case.c), its results (verify_result.c), and one way of
 * computing them (verify_compute.c). */
#ifndef GATEKERN_CLI_VERIFY_JOB_H
#define GATEKERN_CLI_VERIFY_JOB_H

#include "verify_case.h"

enum { VERIFY_MOST_BUFFERS = 48, VERIFY_MOST_RESULTS = 32 };

/* A result as the first way computed it. */
struct verify_kept {
  const char *name;
  float *values; /* NULL: a double */
  int64_t count;
  double number;
};

/* Buffers of one lifetime. */
struct verify_pool {
  bool out_of_memory;
  int buffers;
  void *buffer[VERIFY_MOST_BUFFERS];
};

struct verify_job {
  const verify_case *kase;
  gk_cell cell;
  uint64_t seed, stream;
  int64_t states, pairs, output_hidden; /* L*D*N*H; N*T; D*H */
  int64_t parameter_count, output_parameter_count;
  struct verify_pool data;

  int64_t *lengths; /* NULL: all T */
  bool *reset;      /* NULL: none */
  int32_t *tokens, *targets;
  float *parameters, *output_parameters, *x, *h0, *c0, *dhn, *dcn;
  float *old_gradients; /* that the case accumulates onto */

  int results, compared;
  struct verify_kept result[VERIFY_MOST_RESULTS];
  const char *problem;
  char message[96];
};

void *verify_take_bytes(struct verify_pool *pool, size_t bytes);
void verify_release(struct verify_pool *pool);
/* Zeros. */
float *verify_take(struct verify_pool *pool, int64_t count);
/* The index of (t, n) in the case's layout. */
int64_t verify_pair_index(const verify_job *job, int64_t t, int64_t n);
/* What lies past a sample's end must not be read: NaN, and tokens that do not exist. */
void verify_poison_padding(const verify_job *job, float *values, int64_t width);
gk_status verify_create_network(const verify_job *job, const verify_plan *plan, gk_rnn **rnn,
                                gk_output **output);
/* Keep a result of the first way, compare one of another. Results come in the same order each time. */
gk_status verify_add_floats(verify_job *job, const char *name, const float *values, int64_t count);
gk_status verify_add_double(verify_job *job, const char *name, double number);
/* A result that another one has already given, e.g. single steps and the whole sequence. */
void verify_must_equal(verify_job *job, const char *name, const float *values, const char *other);

#endif
