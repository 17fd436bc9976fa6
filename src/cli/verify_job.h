/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the cases of `gatekern verify`: a job, its memory and results, and one way of computing it. */
#ifndef GATEKERN_CLI_VERIFY_JOB_H
#define GATEKERN_CLI_VERIFY_JOB_H

#include "verify_case.h"

enum {
  OUTPUT_SIZE = 13,
  OPTIMIZER_STEPS = 2,
  MOST_UPDATED = 50000, /* parameters: updates of larger networks would test nothing more */
  MOST_BUFFERS = 48,
  MOST_RESULTS = 32
};

/* A result as the first way computed it. */
struct result {
  const char *name;
  float *values; /* NULL: a double */
  int64_t count;
  double number;
};

/* Buffers of one lifetime. */
struct pool {
  bool out_of_memory;
  int buffers;
  void *buffer[MOST_BUFFERS];
};

struct verify_job {
  const verify_case *kase;
  gk_cell cell;
  uint64_t seed, stream;
  int64_t states, pairs, output_hidden; /* L*D*N*H; N*T; D*H */
  int64_t parameter_count, output_parameter_count;
  struct pool data;

  int64_t *lengths; /* NULL: all T */
  bool *reset;      /* NULL: none */
  int32_t *tokens, *targets;
  float *parameters, *output_parameters, *x, *h0, *c0, *dhn, *dcn;
  float *old_gradients; /* that the case accumulates onto */

  struct { /* of a decoder; sizes of y_t and of what is fed; NULL and 0: the case has none */
    int64_t top, fed;
    int64_t *source_lengths;
    float *previous, *source, *feed0, *dy, *doutputs, *dfeedn;
  } decoder;

  int results, compared;
  struct result result[MOST_RESULTS];
  const char *problem;
  char message[96];
};

/* One way of computing it. */
struct way {
  verify_job *job;
  gk_rnn *rnn;
  gk_output *output;
  unsigned pack_flags; /* of the network; the same bits without weights for a pass or both */
  struct pool pool;
  float *y, *hn, *cn, *dy, *gradients, *output_gradients;
  void *packed, *output_packed, *reserve, *workspace, *output_workspace;
};

/* ---- Memory (verify_data.c) ---- */

void *verify_take_bytes(struct pool *pool, size_t bytes);
void verify_release(struct pool *pool);
float *verify_take(struct pool *pool, int64_t count); /* zeros */

/* ---- Data (verify_data.c) ---- */

/* Values that no libm function has touched: uniform in [-range, range). */
float *verify_take_random(verify_job *job, int64_t count, float range);
int32_t *verify_take_integers(verify_job *job, int64_t count, int32_t low, int32_t high);
/* The index of (t, n) in the case's layout. */
int64_t verify_pair_index(const verify_job *job, int64_t t, int64_t n);
/* What lies past a sample's end must not be read: NaN, and tokens that do not exist. */
void verify_poison_padding(const verify_job *job, float *values, int64_t width);
gk_status verify_make_data(verify_job *job);
gk_random_key verify_key(const verify_job *job);

/* ---- Results (verify_results.c) ---- */

/* Keep a result of the first way, compare one of another. Results come in the same order each time. */
gk_status verify_add_floats(verify_job *job, const char *name, const float *values, int64_t count);
gk_status verify_add_double(verify_job *job, const char *name, double number);
/* A result that another one has already given, e.g. single steps and the whole sequence. */
void verify_must_equal(verify_job *job, const char *name, const float *values, const char *other);

/* ---- What is computed ---- */

/* Everything of a network and its training, in one way (verify_network.c). */
gk_status verify_network(struct way *way, const verify_plan *plan);
/* Of a decoder: its data, and everything of it in one way (verify_decoder.c). */
gk_status verify_decoder_data(verify_job *job);
gk_status verify_decoder_compute(verify_job *job, const verify_plan *plan);

#endif
