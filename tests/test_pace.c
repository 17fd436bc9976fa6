/* SPDX-License-Identifier: Apache-2.0
 *
 * Slices follow the pace of their threads, and every sample has one thread all the same.
 * ctest labels: edges */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "src/sequence/pace.h"
#include "src/sequence/rows.h"

enum { TIME = 5, HIDDEN = 20, MOST_THREADS = 6 };

/* A run that is open, of a network whose threads were so fast. */
struct open_run {
  struct gk_run run;
  gk_rnn *rnn;
  void *workspace, *reserve;
};

static void open_run(struct open_run *open, gk_schedule schedule, int threads, int64_t batch,
                     const int64_t *lengths, const float *paces) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = GK_CELL_GRU;
  desc.input_size = 3;
  desc.hidden_size = HIDDEN;
  desc.threads = threads;
  desc.schedule = schedule;
  gk_rnn_memory memory;
  assert_int_equal(gk_rnn_create(&desc, &open->rnn), GK_OK);
  for (int i = 0; i < threads; i++)
    open->rnn->pace[i] = (struct gk_pace){paces[i], INFINITY};
  assert_int_equal(gk_rnn_memory_needed(open->rnn, TIME, batch, &memory), GK_OK);
  open->workspace = aligned_alloc(64, (memory.forward_workspace_bytes + 63) / 64 * 64);
  open->reserve = aligned_alloc(64, (memory.reserve_bytes + 63) / 64 * 64);
  assert_non_null(open->workspace);
  assert_non_null(open->reserve);
  open->run = (struct gk_run){.rnn = open->rnn, .time = TIME, .batch = batch, .training = true};
  assert_int_equal(gk_run_open(&open->run, lengths, open->workspace, open->reserve, false), GK_OK);
}

static void close_run(struct open_run *open) {
  free(open->reserve);
  free(open->workspace);
  gk_rnn_destroy(open->rnn);
}

static struct gk_worker worker_of(const struct gk_run *run, int thread, int threads) {
  struct gk_worker worker;
  gk_worker_start(&worker, run, thread, threads);
  return worker;
}

/* Samples of each thread; they are neighbours, and all of them have one. */
static void check_slices(const struct gk_run *run, int threads, int64_t counts[MOST_THREADS]) {
  int64_t next = 0;
  for (int thread = 0; thread < threads; thread++) {
    const struct gk_worker worker = worker_of(run, thread, threads);
    assert_int_equal(worker.first, next);
    assert_int_equal(worker.stride, 1);
    counts[thread] = worker.count;
    next += worker.count;
  }
  assert_int_equal(next, run->batch);
}

static void check_counts(const float *paces, int threads, int64_t batch, const int64_t *wanted) {
  struct open_run open;
  int64_t counts[MOST_THREADS];
  open_run(&open, GK_SCHEDULE_SLICES, threads, batch, NULL, paces);
  check_slices(&open.run, threads, counts);
  for (int i = 0; i < threads; i++)
    assert_int_equal(counts[i], wanted[i]);
  close_run(&open);
}

static void slices_follow_the_pace(void **state) {
  (void)state;
  check_counts((const float[]){2e9f, 1e9f}, 2, 60, (const int64_t[]){40, 20});
  check_counts((const float[]){1e9f, 2e9f}, 2, 60, (const int64_t[]){20, 40});
  check_counts((const float[]){3, 1, 2, 2}, 4, 80, (const int64_t[]){30, 10, 20, 20});
}

static void without_much_difference_slices_are_even(void **state) {
  (void)state;
  check_counts((const float[]){1.05f, 1}, 2, 64, (const int64_t[]){32, 32});
  check_counts((const float[]){1.07f, 1}, 2, 64, (const int64_t[]){33, 31});
  check_counts((const float[]){0, 0, 0}, 3, 60, (const int64_t[]){20, 20, 20}); /* never measured */
  check_counts((const float[]){5, 0, 5}, 3, 60, (const int64_t[]){20, 20, 20}); /* one of them */
}

static void every_thread_has_samples_to_be_measured_on(void **state) {
  (void)state;
  check_counts((const float[]){1e9f, 1}, 2, 20, (const int64_t[]){16, 4});
  check_counts((const float[]){1e9f, 1e9f, 1}, 3, 27, (const int64_t[]){12, 12, 3});
}

static void other_calls_are_cut_evenly(void **state) {
  (void)state;
  const float paces[] = {3, 1, 1};
  int64_t lengths[30];
  for (int i = 0; i < 30; i++)
    lengths[i] = 1 + i % TIME;
  struct open_run open;
  open_run(&open, GK_SCHEDULE_SLICES, 3, 30, lengths, paces); /* ragged */
  assert_false(open.run.uneven);
  close_run(&open);
  open_run(&open, GK_SCHEDULE_SLICES, 3, 23, NULL, paces); /* few samples */
  assert_false(open.run.uneven);
  close_run(&open);
  open_run(&open, GK_SCHEDULE_TEAMS, 3, 30, NULL, paces);
  assert_false(open.run.uneven);
  close_run(&open);
}

/* Of all cuts: the units of weight gradients too. */
static void parts_are_disjoint_and_whole(void **state) {
  (void)state;
  for (int threads = 2; threads <= MOST_THREADS; threads++)
    for (unsigned seed = 0; seed < 50; seed++) {
      float paces[MOST_THREADS];
      for (int i = 0; i < threads; i++)
        paces[i] = (float)(1 + (seed * 7 + (unsigned)i * 13) % 11);
      struct open_run open;
      int64_t counts[MOST_THREADS];
      open_run(&open, GK_SCHEDULE_SLICES, threads, 48 + seed, NULL, paces);
      check_slices(&open.run, threads, counts);
      size_t next = 0;
      for (int thread = 0; thread < threads; thread++) {
        const struct gk_worker worker = worker_of(&open.run, thread, open.run.plan.threads);
        size_t begin, end;
        gk_worker_split(&worker, HIDDEN, &begin, &end);
        assert_int_equal(begin, next);
        assert_true(end >= begin);
        next = end;
      }
      assert_int_equal(next, HIDDEN);
      close_run(&open);
    }
}

/* A slice that reaches into another's memory lists the rows that stand there. */
static void rows_of_uneven_slices_are_those_of_their_samples(void **state) {
  (void)state;
  const float paces[] = {1, 4, 2};
  struct open_run open;
  open_run(&open, GK_SCHEDULE_SLICES, 3, 50, NULL, paces);
  assert_true(open.run.uneven);
  float buffer[TIME * 50], *list[50];
  for (int thread = 0; thread < 3; thread++) {
    const struct gk_worker worker = worker_of(&open.run, thread, open.run.plan.threads);
    for (int64_t s = 0; s < TIME; s++) {
      const struct gk_buffer_rows rows = {buffer, 1, TIME, s};
      gk_worker_list(&worker, worker.count, rows, list);
      for (int64_t j = 0; j < worker.count; j++)
        assert_ptr_equal(list[j], gk_row_at(&open.run, rows, gk_worker_position(&worker, j)));
    }
  }
  close_run(&open);
}

/* A region that got fewer threads than were planned. */
static void fewer_threads_take_all_samples(void **state) {
  (void)state;
  struct open_run open;
  int64_t counts[MOST_THREADS];
  open_run(&open, GK_SCHEDULE_SLICES, 4, 60, NULL, (const float[]){4, 1, 2, 3});
  check_slices(&open.run, 3, counts);
  assert_int_equal(counts[0], 20);
  check_slices(&open.run, 1, counts);
  close_run(&open);
}

/* A slice took so long, of a call with so many operations a thread. */
static float speed_after(const struct gk_run *run, int thread, double seconds, double flop) {
  struct gk_run call = *run;
  call.time = (int64_t)(flop * run->plan.threads / (2 * gk_rnn_weights(run->rnn) * (double)run->batch));
  struct gk_worker worker = worker_of(run, thread, run->plan.threads);
  worker.run = &call;
  worker.busy = seconds;
  gk_pace_keep(&worker);
  return run->rnn->pace[thread].speed;
}

static void a_call_counts_as_it_is_long(void **state) {
  (void)state;
  struct open_run open;
  open_run(&open, GK_SCHEDULE_SLICES, 2, 40, NULL, (const float[]){0, 0});
  const struct gk_run *run = &open.run;
  struct gk_pace *const pace = open.rnn->pace;
  pace[0] = pace[1] = (struct gk_pace){0, 0};
  float speed = speed_after(run, 0, 1e-3, 1e8);
  assert_true(speed > 0.95e11f && speed < 1.05e11f);
  speed = speed_after(run, 0, 1e-3, 0.5e8); /* half as fast, half as long: a third */
  assert_true(speed > 0.80e11f && speed < 0.86e11f);
  pace[0] = (struct gk_pace){1e11f, 1e8f};
  speed = speed_after(run, 0, 2e-1, 1e10); /* half as fast, and long: never more than a half */
  assert_true(speed > 0.74e11f && speed < 0.76e11f);
  speed = speed_after(run, 0, 1, 1e6); /* held up: hardly anything */
  assert_true(speed > 0.74e11f && speed < 0.76e11f);
  close_run(&open);
}

/* One short call, the first, tells little. */
static void no_slice_follows_what_was_hardly_measured(void **state) {
  (void)state;
  struct open_run open;
  open_run(&open, GK_SCHEDULE_SLICES, 2, 40, NULL, (const float[]){0, 0});
  for (int i = 0; i < 2; i++)
    open.rnn->pace[i] = (struct gk_pace){0, 0};
  for (int call = 0; call < 8; call++) {
    speed_after(&open.run, 0, 1e-3, 1.1e8);
    speed_after(&open.run, 1, 2e-3, 1.1e8);
    assert_int_equal(gk_run_open(&open.run, NULL, open.workspace, open.reserve, false), GK_OK);
    assert_int_equal(open.run.uneven, call >= 4);
  }
  close_run(&open);
}

static void slices_are_measured(void **state) {
  (void)state;
  struct open_run open;
  open_run(&open, GK_SCHEDULE_SLICES, 3, 40, NULL, (const float[]){0, 0, 0});
  struct gk_worker worker = worker_of(&open.run, 0, 3);
  const double began = gk_pace_begin(&worker);
  assert_true(began > 0);
  gk_pace_end(&worker, began);
  assert_true(worker.busy >= 0 && worker.busy < 1);
  worker = worker_of(&open.run, 0, 2); /* others than planned */
  assert_true(gk_pace_begin(&worker) == 0);
  close_run(&open);
}

/* Where other calls have more threads, of another speed. */
static void fewer_threads_than_the_network_has_are_not_paced(void **state) {
  (void)state;
  bool seen = false;
  for (int64_t batch = 32; batch <= 1 << 16 && !seen; batch *= 2) {
    gk_rnn_desc desc = GK_RNN_DESC_INIT;
    desc.cell = GK_CELL_GRU;
    desc.input_size = 3;
    desc.hidden_size = HIDDEN;
    desc.threads = 5;
    gk_rnn *rnn;
    assert_int_equal(gk_rnn_create(&desc, &rnn), GK_OK);
    rnn->threads_forced = false;
    gk_rnn_memory memory;
    assert_int_equal(gk_rnn_memory_needed(rnn, TIME, batch, &memory), GK_OK);
    void *workspace = aligned_alloc(64, (memory.inference_workspace_bytes + 63) / 64 * 64);
    assert_non_null(workspace);
    struct gk_run run = {.rnn = rnn, .time = TIME, .batch = batch};
    assert_int_equal(gk_run_open(&run, NULL, workspace, NULL, false), GK_OK);
    seen = run.plan.threads > 1 && run.plan.threads < 5;
    assert_int_equal(run.paced, run.plan.threads == 5);
    free(workspace);
    gk_rnn_destroy(rnn);
  }
  assert_true(seen);
}

/* Both passes leave their pace: the count of what was measured grows. */
static void calls_leave_their_pace(void **state) {
  (void)state;
  enum { THREADS = 2, BATCH = 20, INPUT = 3 };
  struct open_run open;
  open_run(&open, GK_SCHEDULE_SLICES, THREADS, BATCH, NULL, (const float[]){0, 0});
  struct gk_pace *const pace = open.rnn->pace;
  gk_rnn_memory memory;
  size_t packed_bytes;
  assert_int_equal(gk_rnn_memory_needed(open.rnn, TIME, BATCH, &memory), GK_OK);
  assert_int_equal(gk_rnn_packed_bytes(open.rnn, GK_PACK_FORWARD | GK_PACK_BACKWARD, &packed_bytes), GK_OK);
  float *parameters = calloc((size_t)gk_rnn_parameter_count(open.rnn), sizeof *parameters);
  float *x = calloc((size_t)TIME * BATCH * INPUT, sizeof *x), *dx = calloc((size_t)TIME * BATCH * INPUT, 4);
  void *packed = aligned_alloc(64, (packed_bytes + 63) / 64 * 64);
  void *workspace = aligned_alloc(64, (memory.backward_workspace_bytes + 63) / 64 * 64);
  assert_true(parameters && x && dx && packed && workspace);
  assert_int_equal(gk_rnn_pack(open.rnn, GK_PACK_FORWARD | GK_PACK_BACKWARD, parameters, packed), GK_OK);
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  forward.time = backward.time = TIME;
  forward.batch = backward.batch = BATCH;
  forward.x = backward.x = x;
  forward.packed = backward.packed = packed;
  forward.reserve = backward.reserve = open.reserve;
  forward.workspace = open.workspace;
  backward.workspace = workspace;
  backward.dx = dx;
  for (int i = 0; i < THREADS; i++)
    pace[i] = (struct gk_pace){0, 0};
  float before[THREADS];
  assert_int_equal(gk_rnn_forward(open.rnn, &forward), GK_OK);
  for (int i = 0; i < THREADS; i++) {
    before[i] = pace[i].flop;
    assert_true(pace[i].speed > 0 && before[i] > 0);
  }
  assert_int_equal(gk_rnn_backward(open.rnn, &backward), GK_OK);
  for (int i = 0; i < THREADS; i++)
    assert_true(pace[i].flop > before[i]);
  free(workspace);
  free(packed);
  free(dx);
  free(x);
  free(parameters);
  close_run(&open);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(slices_follow_the_pace),
      cmocka_unit_test(without_much_difference_slices_are_even),
      cmocka_unit_test(every_thread_has_samples_to_be_measured_on),
      cmocka_unit_test(other_calls_are_cut_evenly),
      cmocka_unit_test(parts_are_disjoint_and_whole),
      cmocka_unit_test(rows_of_uneven_slices_are_those_of_their_samples),
      cmocka_unit_test(fewer_threads_take_all_samples),
      cmocka_unit_test(a_call_counts_as_it_is_long),
      cmocka_unit_test(no_slice_follows_what_was_hardly_measured),
      cmocka_unit_test(slices_are_measured),
      cmocka_unit_test(fewer_threads_than_the_network_has_are_not_paced),
      cmocka_unit_test(calls_leave_their_pace),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
