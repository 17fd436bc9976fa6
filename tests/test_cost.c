/* SPDX-License-Identifier: Apache-2.0
 *
 * What a call costs beside its arithmetic: reserve and workspace, memory after many shapes, and nothing once
 * it is over.
 * ctest wraps: gk_default_threads */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/machine_fixture.h"
#include "tests/network_fixture.h"

/* Sanitizers keep memory of their own for what is touched. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static gk_rnn *create_elsewhere(gk_rnn_desc desc, int machine_cpus, bool near) {
  cpus = machine_cpus;
  cores_are_near = near;
  gk_rnn *rnn = create(desc);
  cpus = 0;
  cores_are_near = true;
  return rnn;
}

static gk_rnn_memory memory_of(const gk_rnn *rnn, int64_t time, int64_t batch) {
  gk_rnn_memory memory;
  if (gk_rnn_memory_needed(rnn, time, batch, &memory) != GK_OK)
    fail_msg("%s", gk_last_error());
  return memory;
}

/* ---- Memory ---- */

static size_t in_lines(int64_t width) { /* an odd number of lines of cache */
  return (size_t)(((width + 15) / 16 | 1) * 16);
}

/* What gatekern.h promises, in floats a step, sample and layer. */
static void set_nothing(gk_rnn_desc *desc) {
  (void)desc;
}
static double plain_floats(const gk_rnn_desc *desc) {
  return (double)((gk_cell_gates(desc->cell) + 2) * desc->hidden_size);
}
static void set_zoneout(gk_rnn_desc *desc) {
  desc->zoneout_h = 0.1f;
  desc->zoneout_c = desc->cell == GK_CELL_LSTM ? 0.1f : 0;
}
static double zoneout_floats(const gk_rnn_desc *desc) {
  return plain_floats(desc) + (double)desc->hidden_size * (desc->cell == GK_CELL_LSTM ? 2 : 1);
}
static void set_dropout(gk_rnn_desc *desc) {
  desc->dropout = desc->input_dropout = desc->recurrent_dropout = 0.2f;
}
static double dropout_floats(const gk_rnn_desc *desc) {
  return plain_floats(desc) + (double)in_lines(desc->hidden_size);
}
static void set_projection(gk_rnn_desc *desc) {
  desc->projection_size = desc->cell == GK_CELL_LSTM && desc->hidden_size > 1 ? desc->hidden_size / 2 : 0;
}
static double projection_floats(const gk_rnn_desc *desc) {
  return plain_floats(desc) + 2 * (double)desc->projection_size;
}
static void set_norm(gk_rnn_desc *desc) {
  desc->options.layer_norm = desc->cell == GK_CELL_LSTM;
}
static double norm_floats(const gk_rnn_desc *desc) {
  const double gates = gk_cell_gates(desc->cell), hidden = (double)desc->hidden_size;
  return desc->options.layer_norm ? (3 * gates + 3) * hidden + 4 : plain_floats(desc);
}

/* Floats a step and sample of what layers share: outputs that go up, and masked inputs. */
static double shared_floats(const gk_rnn_desc *desc) {
  const int64_t added = desc->direction == GK_BIDIRECTIONAL && desc->merge == GK_MERGE_CONCATENATE ? 2 : 1;
  const bool kept = desc->dropout > 0 || desc->direction == GK_BIDIRECTIONAL;
  return (kept ? (double)((desc->layers - 1) * added * desc->hidden_size) : 0) +
         (desc->input_dropout > 0 ? (double)in_lines(desc->input_size) : 0);
}

static void expect_reserve(const char *name, const gk_rnn_desc *desc, double floats, int64_t batch) {
  enum { TIME = 200 };
  const double layers = (double)desc->layers * (desc->direction == GK_BIDIRECTIONAL ? 2 : 1);
  const double most = 4. * (double)(TIME * batch) * (layers * floats + shared_floats(desc)) + layers * 4096;
  gk_rnn *rnn = create(*desc);
  const double bytes = (double)memory_of(rnn, TIME, batch).reserve_bytes;
  if (bytes > most)
    fail_msg("%s, %s, %s, H %d, N %d, %d layers: the reserve has %.0f bytes, at most %.0f wanted",
             gk_cell_name(desc->cell), name, gk_direction_name(desc->direction), (int)desc->hidden_size,
             (int)batch, (int)desc->layers, bytes, most);
  gk_rnn_destroy(rnn);
}

static void the_reserve_holds_what_the_header_says(void **state) {
  static const struct {
    const char *name;
    void (*set)(gk_rnn_desc *);
    double (*floats)(const gk_rnn_desc *);
  } options[] = {{"plain", set_nothing, plain_floats},
                 {"zoneout", set_zoneout, zoneout_floats},
                 {"dropout", set_dropout, dropout_floats},
                 {"projection", set_projection, projection_floats},
                 {"layer normalisation", set_norm, norm_floats}};
  (void)state;
  for (size_t option = 0; option < sizeof options / sizeof *options; option++)
    for (int cell = 0; cell < gk_cell_count(); cell++)
      for (int64_t hidden = 1; hidden <= 1024; hidden = 4 * hidden + 3)
        for (int64_t layers = 1; layers <= 3; layers++)
          for (int way = 0; way < 3; way++)
            for (int64_t batch = 1; batch <= 65; batch += 32) {
              gk_rnn_desc desc = describe_network((gk_cell)cell, 5, hidden);
              desc.layers = layers;
              desc.direction = way ? GK_BIDIRECTIONAL : GK_FORWARD;
              desc.merge = way == 2 ? GK_MERGE_SUM : GK_MERGE_CONCATENATE;
              options[option].set(&desc);
              expect_reserve(options[option].name, &desc, options[option].floats(&desc), batch);
            }
}

static void expect_at_least(const gk_rnn_memory *longer, const gk_rnn_memory *shorter) {
  assert_true(shorter->reserve_bytes <= longer->reserve_bytes);
  assert_true(shorter->forward_workspace_bytes <= longer->forward_workspace_bytes);
  assert_true(shorter->inference_workspace_bytes <= longer->inference_workspace_bytes);
  assert_true(shorter->backward_workspace_bytes <= longer->backward_workspace_bytes);
  assert_true(shorter->keep_workspace_bytes <= longer->keep_workspace_bytes);
}

/* Memory for a long sequence does for a shorter one, though other threads may share it otherwise. */
static void a_shorter_sequence_needs_no_more_memory(void **state) {
  static const int64_t times[] = {1, 2, 3, 5, 10, 30, 100, 300, 1000};
  static const int machines[] = {2, 8, 32};
  enum { TIMES = sizeof times / sizeof *times };
  (void)state;
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (int64_t hidden = 3; hidden < 600; hidden *= 3)
      for (int64_t batch = 1; batch < 70; batch = 2 * batch + 1)
        for (int shape = 0; shape < 24; shape++) {
          gk_rnn_desc desc = describe_network((gk_cell)cell, hidden, hidden);
          desc.layers = 1 + shape % 2;
          desc.direction = shape / 2 % 2 ? GK_BIDIRECTIONAL : GK_FORWARD;
          gk_rnn *rnn = create_elsewhere(desc, machines[shape / 4 % 3], shape < 12);
          for (int i = 1; i < TIMES; i++) {
            const gk_rnn_memory shorter = memory_of(rnn, times[i - 1], batch),
                                longer = memory_of(rnn, times[i], batch);
            expect_at_least(&longer, &shorter);
          }
          gk_rnn_destroy(rnn);
        }
}

/* Step by step, about where training begins to pack: before it small calls get more threads, and
 * wavefronts. */
static void a_step_fewer_needs_no_more_memory(void **state) {
  static const int machines[] = {2, 6};
  (void)state;
  for (int machine = 0; machine < 4; machine++)
    for (int cell = 0; cell < gk_cell_count(); cell++)
      for (int64_t hidden = 20; hidden <= 140; hidden += 10)
        for (int64_t wide = 0; wide < 3; wide++)
          for (int shape = 0; shape < 3; shape++)
            for (int64_t batch = 1; batch <= 6; batch++) {
              gk_rnn_desc desc = describe_network((gk_cell)cell, hidden, hidden);
              desc.input_size = hidden * (wide == 2 ? 15 : 1) + 100 * (wide == 1);
              desc.layers = 1 + shape;
              desc.direction = shape == 0 ? GK_BIDIRECTIONAL : GK_FORWARD;
              gk_rnn *rnn = create_elsewhere(desc, machines[machine % 2], machine < 2);
              gk_rnn_memory shorter = memory_of(rnn, 1, batch);
              for (int64_t time = 2; time <= 30; time++) {
                const gk_rnn_memory longer = memory_of(rnn, time, batch);
                expect_at_least(&longer, &shorter);
                shorter = longer;
              }
              gk_rnn_destroy(rnn);
            }
}

/* From a time on at which every chunk is whole; but for what gatekern.h names. */
static void the_workspace_does_not_grow_with_time(void **state) {
  (void)state;
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++)
      for (int schedule = GK_SCHEDULE_AUTO; schedule < gk_schedule_count(); schedule++)
        for (int64_t batch = 1; batch <= 64; batch *= 4)
          for (int64_t layers = 1; layers <= 2; layers++) {
            gk_rnn_desc desc = describe_network((gk_cell)cell, 30, 70);
            desc.direction = (gk_direction)direction;
            desc.schedule = (gk_schedule)schedule;
            desc.layers = layers;
            desc.threads = 3;
            gk_rnn *rnn = create(desc);
            const gk_rnn_memory some = memory_of(rnn, 2000, batch), many = memory_of(rnn, 300000, batch);
            assert_int_equal(some.forward_workspace_bytes, many.forward_workspace_bytes);
            assert_int_equal(some.backward_workspace_bytes, many.backward_workspace_bytes);
            if (direction != GK_BIDIRECTIONAL || layers == 1)
              assert_int_equal(some.inference_workspace_bytes, many.inference_workspace_bytes);
            gk_rnn_destroy(rnn);
          }
}

static long resident_bytes(void) {
  long pages = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file)
    return -1;
  if (fscanf(file, "%ld %ld", &pages, &resident) != 2)
    resident = 0;
  fclose(file);
  return resident * sysconf(_SC_PAGESIZE);
}

/* Half of them with slices, half with teams: a library that keeps something for each shape would show it. */
static void ten_thousand_shapes_leave_no_memory_behind(void **state) {
  enum { MOST_TIME = 25, MOST_BATCH = 2700 };
  int shapes = 0;
  struct buffers buffers = {0};
  struct network_case c = {
      .desc = describe_network(GK_CELL_RNN, 3, 4), .time = MOST_TIME, .batch = MOST_BATCH, .seed = 9};
  (void)state;
  c.desc.threads = 2;
  const struct network_data d = take_data(&buffers, &c);
  const struct network_results r = take_results(&buffers, &c);
  struct network net[2];
  for (int i = 0; i < 2; i++) {
    c.desc.schedule = i ? GK_SCHEDULE_TEAMS : GK_SCHEDULE_SLICES;
    net[i] = open_network(&buffers, &c, d.parameters);
    run_network(&net[i], &d, &r); /* every page that any shape touches */
  }
  const long before = resident_bytes();
  for (c.time = 1; c.time <= MOST_TIME; c.time++)
    for (c.batch = MOST_BATCH / c.time; c.batch >= 1; c.batch--, shapes++) {
      const struct network *now = &net[c.batch % 2];
      assert_true(memory_of(now->rnn, c.time, c.batch).reserve_bytes <= now->memory.reserve_bytes);
      run_network(now, &d, &r);
    }
  const long grown = resident_bytes() - before;
  if (!SANITIZED && before > 0 && grown >= 1 << 20)
    fail_msg("%d shapes left %ld bytes", shapes, grown);
  assert_true(shapes >= 10000);
  close_network(&net[0]);
  close_network(&net[1]);
  buffers_release(&buffers);
}

/* ---- Afterwards ---- */

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void wait_milliseconds(long milliseconds) {
  nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

/* What users have: threads wait as the OpenMP runtime lets them, not as the tests ask for. It reads the
 * variable when it is loaded, so the test runs in another process. */
static void run_without_wait_policy(const char *test) {
  int status = 1;
  const pid_t child = fork();
  if (child == 0) {
    unsetenv("OMP_WAIT_POLICY");
    execl("/proc/self/exe", repeat_command.program, test, (char *)NULL);
    _exit(127);
  }
  assert_true(child > 0 && waitpid(child, &status, 0) == child);
  assert_int_equal(status, 0);
}

/* Half a second after a call no thread waits for the next one at the user's expense. */
static void threads_sleep_after_a_call(void **state) {
  struct buffers buffers = {0};
  (void)state;
  if (getenv("OMP_WAIT_POLICY")) {
    run_without_wait_policy(__func__);
    return;
  }
  for (int schedule = GK_SCHEDULE_SLICES; schedule < gk_schedule_count(); schedule++) {
    struct network_case c = {
        .desc = describe_network(GK_CELL_GRU, 20, 64), .time = 20, .batch = 16, .seed = 4};
    c.desc.threads = gk_available_cpus() < 2 ? 2 : gk_available_cpus();
    c.desc.schedule = (gk_schedule)schedule;
    const struct network_data d = take_data(&buffers, &c);
    run_case(&buffers, &c, &d);
    wait_milliseconds(500);
    const double before = cpu_seconds();
    wait_milliseconds(1000);
    const double used = cpu_seconds() - before;
    if (used >= 0.02)
      fail_msg("%s: %.3f s of CPU time in a second without a call", gk_schedule_name(c.desc.schedule), used);
  }
  buffers_release(&buffers);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_reserve_holds_what_the_header_says),
      cmocka_unit_test(a_shorter_sequence_needs_no_more_memory),
      cmocka_unit_test(a_step_fewer_needs_no_more_memory),
      cmocka_unit_test(the_workspace_does_not_grow_with_time),
      cmocka_unit_test(ten_thousand_shapes_leave_no_memory_behind),
      cmocka_unit_test(threads_sleep_after_a_call),
  };
  repeat_command.program = argv[0];
  cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
