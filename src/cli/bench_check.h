/* SPDX-License-Identifier: Apache-2.0 */
/* `gatekern bench --check`: promises about speed that a single figure does not show. */
#ifndef GATEKERN_CLI_BENCH_CHECK_H
#define GATEKERN_CLI_BENCH_CHECK_H

#include "bench/runner.h"

#include <stdio.h>
#include <stdlib.h>

enum { BENCH_CHECK_RATIO_TEXT = 64 };

typedef enum bench_check {
  CHECK_LATENCY = 1, /* streaming steps of one sample: the slowest hundredth beside the median */
  CHECK_FIRST_CALL,  /* the first call of a new (T, N) beside later ones */
  CHECK_THREADS,     /* the default number of threads beside every other */
  CHECK_SCHEDULES,   /* the schedule that is chosen beside every other */
  CHECK_DENORMALS,   /* denormal inputs, states and upstream gradients beside normal ones */
  CHECK_SOFTMAX,     /* output layer and cross-entropy of many words beside the FMA peak */
  CHECK_TRAINER      /* what training does beside the recurrent layers, beside the whole step */
} bench_check;

/* Names by enum bench_check with "none" first, NULL at the end. */
extern const char *const bench_check_names[];
/* The list of shapes that a check is about; NULL: every built-in list. */
const char *bench_check_list(bench_check check);
/* What it runs. */
bench_pass bench_check_pass(bench_check check);
/* May that be another pass? */
bool bench_check_takes_pass(bench_check check);

struct check_plan {
  bench_check check;
  bench_pass pass;
  gk_isa isa;
  int threads; /* 0: as many as the process may use */
  double seconds;
  int64_t steps, words;
  bool json;
};

/* Of the networks that a promise is about. */
struct check_summary {
  double worst; /* ratio */
  char name[64];
  int networks, missed; /* judged, and of these */
  int failed;           /* could not be run */
};

/* Checks one network, prints its line and adds it to the summary, which starts as zeros. */
gk_status bench_check_run(const struct check_plan *plan, const bench_shape *shape,
                          struct check_summary *summary);
/* The last line; does not print it for JSON. */
void bench_check_end(const struct check_plan *plan, const struct check_summary *summary);

/* A check of its own file, as bench_check_run. */
typedef gk_status bench_check_fn(const struct check_plan *plan, const bench_shape *shape,
                                 struct check_summary *summary);
bench_check_fn bench_check_softmax, bench_check_trainer;
/* A ratio with three decimals, or as many as it takes that one above its bound does not read as the bound. */
static inline void bench_check_ratio_text(double ratio, double at_most, char text[BENCH_CHECK_RATIO_TEXT]) {
  enum { FEWEST_DECIMALS = 3, MOST_DECIMALS = 17 };
  for (int decimals = FEWEST_DECIMALS; decimals <= MOST_DECIMALS; decimals++) {
    snprintf(text, BENCH_CHECK_RATIO_TEXT, "%.*f", decimals, ratio);
    if (ratio <= at_most || strtod(text, NULL) > at_most)
      return;
  }
}
/* A line's beginning, which names the network or is `text`, and its end, which judges the ratio. */
void bench_check_start_line(const struct check_plan *plan, const bench_shape *shape);
void bench_check_start_text(const struct check_plan *plan, const bench_shape *shape, const char *text);
void bench_check_end_line(const struct check_plan *plan, const bench_shape *shape, double ratio,
                          struct check_summary *summary);

#endif
