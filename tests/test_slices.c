/* SPDX-License-Identifier: Apache-2.0
 *
 * Where rows stand: each (step, sample) has one of its own, and those of the samples that one thread walks
 * are together, step after step.
 * ctest labels: edges */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/sequence/rows.h"

enum { TIME = 5, MOST_BATCH = 13, MOST_THREADS = 6 };

/* A run over samples of these lengths, which check() looks at while it is open. */
static void open_run(int threads, gk_schedule schedule, int64_t batch, const int64_t *lengths,
                     void (*check)(const struct gk_run *run)) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = GK_CELL_LSTM;
  desc.input_size = 3;
  desc.hidden_size = 20;
  desc.layers = 2;
  desc.threads = threads;
  desc.schedule = schedule;
  gk_rnn *rnn;
  assert_int_equal(gk_rnn_create(&desc, &rnn), GK_OK);
  gk_rnn_memory memory;
  assert_int_equal(gk_rnn_memory_needed(rnn, TIME, batch, &memory), GK_OK);
  void *workspace = aligned_alloc(64, (memory.forward_workspace_bytes + 63) / 64 * 64);
  void *reserve = aligned_alloc(64, (memory.reserve_bytes + 63) / 64 * 64);
  assert_non_null(workspace);
  assert_non_null(reserve);
  struct gk_run run = {.rnn = rnn, .time = TIME, .batch = batch, .training = true};
  assert_int_equal(gk_run_open(&run, lengths, workspace, reserve, false), GK_OK);
  check(&run);
  free(reserve);
  free(workspace);
  gk_rnn_destroy(rnn);
}

static void open_all(void (*check)(const struct gk_run *run)) {
  static const gk_schedule schedules[] = {GK_SCHEDULE_AUTO, GK_SCHEDULE_SLICES, GK_SCHEDULE_TEAMS,
                                          GK_SCHEDULE_WAVEFRONT};
  int64_t ragged[MOST_BATCH];
  for (int64_t n = 0; n < MOST_BATCH; n++)
    ragged[n] = (n * 7 + 3) % (TIME + 1);
  for (size_t k = 0; k < sizeof schedules / sizeof *schedules; k++)
    for (int threads = 1; threads <= MOST_THREADS; threads++)
      for (int64_t batch = 1; batch <= MOST_BATCH; batch++) {
        open_run(threads, schedules[k], batch, NULL, check);
        open_run(threads, schedules[k], batch, ragged, check);
      }
}

static void has_rows_of_its_own(const struct gk_run *run) {
  int taken[TIME * MOST_BATCH] = {0};
  for (int64_t s = 0; s < TIME; s++)
    for (int64_t i = 0; i < run->batch; i++) {
      const size_t row = gk_run_row(run, TIME, s, i);
      assert_true(row < (size_t)(TIME * run->batch));
      assert_int_equal(taken[row]++, 0);
    }
}

static void every_step_of_a_sample_has_a_row_of_its_own(void **state) {
  (void)state;
  open_all(has_rows_of_its_own);
}

/* Of slices: between the first and the last row of a worker's samples no other's stands, and a step follows
 * the one before. */
static void stands_together(const struct gk_run *run) {
  if (run->plan.schedule != GK_SCHEDULE_SLICES)
    return;
  for (int thread = 0; thread < run->plan.threads; thread++) {
    struct gk_worker worker = {.run = run, .thread = thread, .threads = run->plan.threads};
    gk_worker_take_slice(&worker);
    size_t least = SIZE_MAX, most = 0;
    for (int64_t j = 0; j < worker.count; j++)
      for (int64_t s = 0; s < TIME; s++) {
        const size_t row = gk_run_row(run, TIME, s, gk_worker_position(&worker, j));
        if (s)
          assert_int_equal(row - gk_run_row(run, TIME, s - 1, gk_worker_position(&worker, j)), worker.count);
        least = row < least ? row : least;
        most = row > most ? row : most;
      }
    assert_true(worker.count > 0);
    assert_int_equal(most - least + 1, worker.count * TIME);
  }
}

static void rows_of_a_slice_stand_together(void **state) {
  (void)state;
  open_all(stands_together);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_step_of_a_sample_has_a_row_of_its_own),
      cmocka_unit_test(rows_of_a_slice_stand_together),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
