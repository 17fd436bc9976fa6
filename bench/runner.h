/* SPDX-License-Identifier: Apache-2.0 */
/* Times one network of one shape through the public API: what `gatekern bench` and gatekern-bench share. */
#ifndef GATEKERN_BENCH_RUNNER_H
#define GATEKERN_BENCH_RUNNER_H

#include "shapes.h"

typedef enum bench_pass {
  BENCH_STEP = 0,       /* pack + forward + backward with gradients of input, states, weights and biases */
  BENCH_PREPACKED_STEP, /* the same without pack: weights packed for both passes before */
  BENCH_FORWARD,        /* forward that keeps a reserve, weights packed before */
  BENCH_INFERENCE,      /* forward without a reserve, weights packed before */
  BENCH_STREAM /* one call of gk_rnn_step, weights packed before; the shape's T calls are one sequence */
} bench_pass;

/* Names by enum bench_pass, NULL at the end. */
extern const char *const bench_pass_names[];
/* Does forward keep a reserve? */
bool bench_pass_trains(bench_pass pass);
/* Is there a backward pass? */
bool bench_pass_is_step(bench_pass pass);

typedef struct bench_runner bench_runner;

/* FLOP of one run of the pass, products only. */
double bench_pass_flop(const bench_shape *shape, bench_pass pass);
/* Bytes that one run moves if caches hold what one time step needs and nothing longer, whoever computes it:
 * recurrent weights once a time step forward and once backward, all other weights once forward and once
 * backward, the gradients of weights once; x and y twice in a step, their gradients once, what forward keeps
 * for backward twice. Of a plain network: its options are not looked at. NaN where there is no memory. */
double bench_pass_bytes(const bench_shape *shape, bench_pass pass);

/* A network with random parameters, inputs, initial states and upstream gradients, the same for every plan.
 * isa, threads (0: the library's default) and schedule are the plan. Frees everything on failure. */
gk_status bench_runner_create(const bench_shape *shape, bench_pass pass, gk_isa isa, int threads,
                              gk_schedule schedule, bench_runner **runner);
void bench_runner_destroy(bench_runner *runner); /* NULL is allowed */
const gk_rnn_desc *bench_runner_description(const bench_runner *runner);

/* Takes parameters and inputs from a file of raw floats in the machine's byte order, one array after the
 * other: parameters, x, h0, c0, dy, dhn, dcn; c0 and dcn only where the cell has a c. The same file serves
 * every pass; those without gradients leave dy, dhn and dcn alone. false: `message` says what is wrong, and
 * the runner can only be destroyed. */
bool bench_runner_read_data(bench_runner *runner, const char *path, char *message, size_t message_size);

/* How the runs are cut: the schedule (never AUTO) and the threads that work, which may be fewer than asked
 * for. */
gk_status bench_runner_plan(const bench_runner *runner, gk_schedule *schedule, int *threads);

/* Seconds of one run. Without a backward pass, forward is total and backward 0. */
typedef struct bench_interval {
  double forward, backward, total;
} bench_interval;
gk_status bench_runner_run(bench_runner *runner, bench_interval *interval);

/* Hash of y, hn, cn and for steps also dx, dh0, dc0 and all weight gradients, of one run from the
 * initial states. The same for every isa, threads and schedule; for both steps, and for all other passes. */
gk_status bench_runner_checksum(bench_runner *runner, uint64_t *checksum);

/* Seconds over all runs. */
typedef struct bench_figure {
  double best, median, p99;
  double quartile_range; /* (third - first quartile) / median */
} bench_figure;

typedef struct bench_result {
  bench_figure forward, backward, total;
  int64_t runs;
} bench_result;

/* Warms up, then runs for about `seconds`, three times at least. */
gk_status bench_runner_measure(bench_runner *runner, double seconds, bench_result *result);
/* The same for so many runs, `seconds` for warming up. */
gk_status bench_runner_measure_runs(bench_runner *runner, double seconds, int64_t runs, bench_result *result);

/* The next runs are of these sizes, not above those of its creation. */
void bench_runner_set_sizes(bench_runner *runner, int64_t time, int64_t batch);
/* Multiplies inputs, initial states and upstream gradients. */
void bench_runner_scale_inputs(bench_runner *runner, float factor);

#endif
