/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "runner_clock.h"
#include "shape_text.h"

enum {
  LATENCY_RUNS = 5,
  TIMES_AROUND = 4,
  BATCHES_AROUND = 4,
  /* new sizes that the first call is timed with, fewer where they take long */
  SHAPES_AROUND = TIMES_AROUND * BATCHES_AROUND,
  FEWEST_AROUND = 5,
  STEADY_RUNS = 5,
  ROUNDS = 3,       /* each contestant runs so often in turn, and more often where time is left */
  MOST_COUNTS = 16, /* thread counts */
  SHORTEST_TIME = 10,
  MOST_AGAIN = 4
};
#define LARGEST_FLOP 4e10 /* of a run of CHECK_THREADS and CHECK_SCHEDULES */

const char *const bench_check_names[] = {"none",      "latency", "first-call", "threads", "schedules",
                                         "denormals", "softmax", "trainer",    NULL};

static bench_check_fn check_latency, check_first_call, check_threads, check_schedules, check_denormals;

static const struct {
  bench_check_fn *run;
  double at_most;   /* the largest ratio that is fine */
  const char *list; /* NULL: every built-in one */
  bench_pass pass;
  bool any_pass; /* promised of every pass: that one is only the default */
} checks[] = {[CHECK_LATENCY] = {check_latency, 2, "real-time", BENCH_STREAM, false},
              [CHECK_FIRST_CALL] = {check_first_call, 1.2, "anchors", BENCH_STEP, false},
              [CHECK_THREADS] = {check_threads, 1.05, NULL, BENCH_STEP, true},
              [CHECK_SCHEDULES] = {check_schedules, 1.1, NULL, BENCH_STEP, true},
              [CHECK_DENORMALS] = {check_denormals, 1.1, "anchors", BENCH_STEP, false},
              [CHECK_SOFTMAX] = {bench_check_softmax, 1 / 0.85, "ptb", BENCH_STEP, false},
              [CHECK_TRAINER] = {bench_check_trainer, 0.05, "char-rnn", BENCH_STEP, false}};

/* What training does beside the layers costs as much as H units, these as H * H: of smaller ones nothing is
 * promised. */
static double most(bench_check check, const bench_shape *shape) {
  enum { FEWEST_UNITS = 512 };
  const gk_rnn_desc desc = bench_shape_description(shape);
  bool few = desc.hidden_size < FEWEST_UNITS;
  for (int64_t l = 0; desc.hidden_sizes && l < desc.layers; l++)
    few |= desc.hidden_sizes[l] < FEWEST_UNITS;
  return check == CHECK_TRAINER && few ? INFINITY : checks[check].at_most;
}

const char *bench_check_list(bench_check check) {
  return checks[check].list;
}

bench_pass bench_check_pass(bench_check check) {
  return checks[check].pass;
}

bool bench_check_takes_pass(bench_check check) {
  return checks[check].any_pass;
}

gk_status bench_check_run(const struct check_plan *plan, const bench_shape *shape,
                          struct check_summary *summary) {
  return checks[plan->check].run(plan, shape, summary);
}

/* ---- Lines ---- */

void bench_check_start_line(const struct check_plan *plan, const bench_shape *s) {
  char network[SHAPE_TEXT];
  shape_text(s, network);
  bench_check_start_text(plan, s, network);
}

void bench_check_start_text(const struct check_plan *plan, const bench_shape *s, const char *text) {
  if (plan->json) {
    printf("{\"check\": \"%s\", ", bench_check_names[plan->check]);
    shape_print_json(s);
    printf("\"pass\": \"%s\", ", bench_pass_names[plan->pass]);
    return;
  }
  if (*s->name)
    printf("%-20s ", s->name);
  printf("%-24s ", text);
}

void bench_check_end_line(const struct check_plan *plan, const bench_shape *s, double ratio,
                          struct check_summary *summary) {
  const double bound = most(plan->check, s);
  const bool fine = ratio <= bound;
  char text[BENCH_CHECK_RATIO_TEXT];
  bench_check_ratio_text(ratio, bound, text);
  if (!plan->json)
    printf("ratio %s%s\n", text, bound == INFINITY ? "  (not judged)" : fine ? "" : "  MISSED");
  else if (bound < INFINITY)
    printf("\"ratio\": %.9g, \"at_most\": %.9g, \"fine\": %s}\n", ratio, bound, fine ? "true" : "false");
  else
    printf("\"ratio\": %.9g}\n", ratio);
  fflush(stdout);
  if (bound == INFINITY)
    return;
  if (!summary->networks || ratio > summary->worst) {
    summary->worst = ratio;
    snprintf(summary->name, sizeof summary->name, "%s", s->name);
  }
  summary->networks++;
  summary->missed += !fine;
}

void bench_check_end(const struct check_plan *plan, const struct check_summary *summary) {
  if (plan->json || !summary->networks)
    return;
  const double bound = checks[plan->check].at_most;
  char worst[BENCH_CHECK_RATIO_TEXT];
  bench_check_ratio_text(summary->worst, bound, worst);
  printf("%s, %s: worst ratio %s (%s), at most %g is fine: %d of %d network%s missed it",
         bench_check_names[plan->check], bench_pass_names[plan->pass], worst,
         *summary->name ? summary->name : "this network", bound, summary->missed, summary->networks,
         summary->networks == 1 ? "" : "s");
  if (summary->failed)
    printf(", %d could not run", summary->failed);
  printf("\n");
}

/* ---- Latency ---- */

/* The best of five runs: one in which nobody else used the core. */
static gk_status check_latency(const struct check_plan *plan, const bench_shape *s,
                               struct check_summary *summary) {
  bench_runner *runner;
  bench_result result, best = {.runs = 0};
  bench_shape shape = *s;
  shape.batch = 1;
  gk_status status = bench_runner_create(&shape, plan->pass, plan->isa, 1, GK_SCHEDULE_AUTO, &runner);
  if (status != GK_OK)
    return status;
  for (int run = 0; run < LATENCY_RUNS && status == GK_OK; run++) {
    status = bench_runner_measure_runs(runner, 0.02, plan->steps, &result);
    if (status == GK_OK &&
        (!best.runs || result.total.p99 / result.total.median < best.total.p99 / best.total.median))
      best = result;
  }
  bench_runner_destroy(runner);
  if (status != GK_OK)
    return status;
  const bench_figure *f = &best.total;
  bench_check_start_line(plan, &shape);
  if (plan->json)
    printf("\"steps\": %lld, \"best_us\": %.4f, \"median_us\": %.4f, \"p99_us\": %.4f, ",
           (long long)best.runs, 1e6 * f->best, 1e6 * f->median, 1e6 * f->p99);
  else
    printf("best %8.2f us, median %8.2f us, p99 %8.2f us: ", 1e6 * f->best, 1e6 * f->median, 1e6 * f->p99);
  bench_check_end_line(plan, &shape, f->p99 / f->median, summary);
  return GK_OK;
}

/* ---- First call ---- */

struct new_size {
  int64_t time, batch;
  double ratio; /* first call / median of the next ones */
};

static gk_status time_new_size(bench_runner *runner, struct new_size *size) {
  bench_interval first, later;
  double steady[STEADY_RUNS];
  bench_runner_set_sizes(runner, size->time, size->batch);
  gk_status status = bench_runner_run(runner, &first);
  for (int i = 0; i < STEADY_RUNS && status == GK_OK; i++) {
    status = bench_runner_run(runner, &later);
    steady[i] = later.total;
  }
  size->ratio = status == GK_OK ? first.total / clock_median(steady, STEADY_RUNS) : 0;
  return status;
}

/* SHAPES_AROUND sizes are below this one's and none of them is the network's own: they are its smaller ones,
 * or larger ones where it has too few. */
static bench_shape with_room(const bench_shape *s) {
  bench_shape shape = *s;
  if (s->time <= TIMES_AROUND)
    shape.time += TIMES_AROUND + 1;
  if (s->batch < BATCHES_AROUND)
    shape.batch += BATCHES_AROUND - 1;
  return shape;
}

/* The median over many new sizes: what a new size costs, not what an interruption costs. */
static gk_status check_first_call(const struct check_plan *plan, const bench_shape *s,
                                  struct check_summary *summary) {
  bench_runner *runner;
  bench_result result;
  struct new_size size[SHAPES_AROUND];
  double ratio[SHAPES_AROUND];
  const bench_shape largest = with_room(s);
  gk_status status =
      bench_runner_create(&largest, plan->pass, plan->isa, plan->threads, GK_SCHEDULE_AUTO, &runner);
  if (status != GK_OK)
    return status;
  int sizes = 0;
  const double end = clock_seconds() + 10 * plan->seconds;
  status = bench_runner_measure(runner, plan->seconds, &result); /* threads and all pages are there */
  for (; status == GK_OK && sizes < SHAPES_AROUND && (sizes < FEWEST_AROUND || clock_seconds() < end);
       sizes++) {
    size[sizes].time = largest.time - 1 - sizes % TIMES_AROUND;
    size[sizes].batch = largest.batch - sizes / TIMES_AROUND;
    status = time_new_size(runner, &size[sizes]);
    ratio[sizes] = size[sizes].ratio;
  }
  bench_runner_destroy(runner);
  if (status != GK_OK)
    return status;
  const double middle = clock_median(ratio, sizes);
  bench_check_start_line(plan, s);
  for (int i = 0; i < sizes && plan->json; i++)
    printf("%s{\"time\": %lld, \"batch\": %lld, \"ratio\": %.4g}%s", i ? ", " : "\"by_size\": [",
           (long long)size[i].time, (long long)size[i].batch, size[i].ratio, i + 1 < sizes ? "" : "], ");
  if (plan->json)
    printf("\"sizes\": %d, \"worst_of_a_size\": %.4g, ", sizes, ratio[sizes - 1]);
  else
    printf("%d sizes, worst %.2f: median ", sizes, ratio[sizes - 1]);
  bench_check_end_line(plan, s, middle, summary);
  return GK_OK;
}

/* ---- In turn ---- */

/* Runs each contestant in turn, ROUNDS times and until the time is over; best[i] is that of all runs so far.
 */
static gk_status run_in_turn(bench_runner *const *contestant, int count, double seconds, double *best) {
  const double end = clock_seconds() + seconds;
  for (int round = 0; round < ROUNDS || clock_seconds() < end; round++)
    for (int i = 0; i < 2 * count; i++) {
      bench_interval interval;
      const gk_status status = bench_runner_run(contestant[i / 2], &interval);
      if (status != GK_OK)
        return status;
      best[i / 2] = fmin(best[i / 2], interval.total);
    }
  return GK_OK;
}

/* Times them until contestant `index` is within the bound of the fastest: where it misses, the best of more
 * runs counts, of all alike. Sets the ratio, and who is the fastest. */
static gk_status compare(bench_runner *const *contestant, int count, int index, const struct check_plan *plan,
                         double *best, int *fastest, double *ratio) {
  gk_status status = GK_OK;
  *ratio = INFINITY;
  for (int i = 0; i < count; i++)
    best[i] = INFINITY;
  for (int again = 0; checks[plan->check].at_most < *ratio && again < MOST_AGAIN && status == GK_OK;
       again++) {
    status = run_in_turn(contestant, count, plan->seconds, best);
    *fastest = index == 0;
    for (int i = 0; i < count; i++)
      if (i != index && best[i] < best[*fastest])
        *fastest = i;
    *ratio = best[index] / best[*fastest];
  }
  return status;
}

static void destroy_all(bench_runner **contestant, int count) {
  for (int i = 0; i < count; i++)
    bench_runner_destroy(contestant[i]);
}

/* ---- Threads, schedules ---- */

/* What a user may ask for, 0 for all; then 1, 2, ...: every number as far as there is room, then powers of
 * two, and all of these. */
static int thread_counts(int asked, int *counts) {
  const int all = asked ? asked : gk_default_threads();
  int count = 0;
  counts[count++] = asked;
  for (int threads = 1; threads <= all; threads = threads < 8 ? threads + 1 : 2 * threads) {
    counts[count++] = threads;
    if (threads < all && (threads >= 8 && 2 * threads > all))
      counts[count++] = all;
  }
  return count;
}

/* A way to run a network; the first of several is the default. */
struct way {
  int threads;
  gk_schedule schedule;
};

static void print_ways(const struct check_plan *plan, const struct way *way, int count, const double *best,
                       int fastest) {
  const bool threads = plan->check == CHECK_THREADS;
  for (int i = 1; i < count && plan->json; i++) {
    printf("%s", i > 1 ? ", " : threads ? "\"by_threads\": [" : "\"by_schedule\": [");
    if (threads)
      printf("{\"threads\": %d", way[i].threads);
    else
      printf("{\"schedule\": \"%s\"", gk_schedule_name(way[i].schedule));
    printf(", \"%s_ms\": %.6g}%s", bench_pass_names[plan->pass], 1e3 * best[i], i + 1 < count ? "" : "], ");
  }
  if (!plan->json && threads)
    printf("fastest %d: %.4g ms, ", way[fastest].threads, 1e3 * best[fastest]);
  else if (!plan->json)
    printf("fastest %s: %.4g ms, ", gk_schedule_name(way[fastest].schedule), 1e3 * best[fastest]);
}

/* Does the last of the ways run as one before it, the default apart? */
static bool repeats(bench_runner *const *contestant, int last) {
  gk_schedule schedule, other;
  int threads, of_other;
  if (last < 2 || bench_runner_plan(contestant[last], &schedule, &threads))
    return false;
  for (int i = 1; i < last; i++)
    if (!bench_runner_plan(contestant[i], &other, &of_other) && other == schedule && of_other == threads)
      return true;
  return false;
}

/* Long sequences are cut, but for streaming, of which a run is one time step anyway. */
static int64_t time_of_run(bench_pass pass, const bench_shape *s) {
  const double share = LARGEST_FLOP / ((bench_pass_is_step(pass) ? 3 : 1) * bench_shape_flop(s));
  if (pass == BENCH_STREAM || share >= 1 || s->time <= SHORTEST_TIME)
    return s->time;
  return (int64_t)fmax(SHORTEST_TIME, share * (double)s->time);
}

static gk_status check_ways(const struct check_plan *plan, const bench_shape *s, struct way *way, int count,
                            struct check_summary *summary) {
  bench_shape shape = *s;
  bench_runner *contestant[2 * MOST_COUNTS] = {NULL};
  int used = 0, fastest = 1;
  double best[2 * MOST_COUNTS] = {0}, ratio = 0;
  gk_schedule schedule;
  shape.time = time_of_run(plan->pass, s);
  gk_status status = GK_OK;
  for (int i = 0; i < count && status == GK_OK; i++) {
    bench_interval interval;
    status =
        bench_runner_create(&shape, plan->pass, plan->isa, way[i].threads, way[i].schedule, &contestant[i]);
    if (status == GK_OK && plan->check == CHECK_SCHEDULES && repeats(contestant, i)) {
      bench_runner_destroy(contestant[i]);
      contestant[i] = NULL;
      way[i--] = way[--count];
      continue;
    }
    if (status == GK_OK)
      status = bench_runner_run(contestant[i], &interval);
  }
  if (status == GK_OK)
    status = bench_runner_plan(contestant[0], &schedule, &used);
  if (status == GK_OK)
    status = compare(contestant, count, 0, plan, best, &fastest, &ratio);
  destroy_all(contestant, count);
  if (status != GK_OK)
    return status;
  bench_check_start_line(plan, &shape);
  if (plan->json)
    printf("\"schedule\": \"%s\", \"threads_used\": %d, \"%s_ms\": %.6g, ", gk_schedule_name(schedule), used,
           bench_pass_names[plan->pass], 1e3 * best[0]);
  else
    printf("%s, threads %d: %.4g ms, ", gk_schedule_name(schedule), used, 1e3 * best[0]);
  print_ways(plan, way, count, best, fastest);
  bench_check_end_line(plan, &shape, ratio, summary);
  return GK_OK;
}

static gk_status check_threads(const struct check_plan *plan, const bench_shape *s,
                               struct check_summary *summary) {
  int counts[2 * MOST_COUNTS];
  struct way way[2 * MOST_COUNTS];
  const int count = thread_counts(plan->threads, counts);
  for (int i = 0; i < count; i++)
    way[i] = (struct way){counts[i], GK_SCHEDULE_AUTO};
  return check_ways(plan, s, way, count, summary);
}

static gk_status check_schedules(const struct check_plan *plan, const bench_shape *s,
                                 struct check_summary *summary) {
  struct way way[] = {{plan->threads, GK_SCHEDULE_AUTO},
                      {plan->threads, GK_SCHEDULE_SLICES},
                      {plan->threads, GK_SCHEDULE_TEAMS},
                      {plan->threads, GK_SCHEDULE_WAVEFRONT}};
  return check_ways(plan, s, way, sizeof way / sizeof *way, summary);
}

/* ---- Denormals ---- */

static gk_status check_denormals(const struct check_plan *plan, const bench_shape *s,
                                 struct check_summary *summary) {
  bench_runner *contestant[2] = {NULL};
  double best[2], ratio = 0;
  int fastest;
  gk_status status = GK_OK;
  for (int i = 0; i < 2 && status == GK_OK; i++) {
    bench_interval interval;
    status = bench_runner_create(s, plan->pass, plan->isa, plan->threads, GK_SCHEDULE_AUTO, &contestant[i]);
    if (status == GK_OK && i == 1)
      bench_runner_scale_inputs(contestant[i], 1e-39f);
    if (status == GK_OK)
      status = bench_runner_run(contestant[i], &interval);
  }
  if (status == GK_OK)
    status = compare(contestant, 2, 1, plan, best, &fastest, &ratio);
  destroy_all(contestant, 2);
  if (status != GK_OK)
    return status;
  bench_check_start_line(plan, s);
  printf(plan->json ? "\"step_ms\": %.6g, \"denormal_step_ms\": %.6g, "
                    : "%9.3f ms, denormal inputs %9.3f ms: ",
         1e3 * best[0], 1e3 * best[1]);
  bench_check_end_line(plan, s, ratio, summary);
  return GK_OK;
}
