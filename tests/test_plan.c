/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan of a call and its reasons, on this machine and on others: schedule, threads, chunks, and what
 * training packs.
 * ctest wraps: gk_default_threads */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/machine_fixture.h"

/* The plan as it is explained; that of a decoder, whose first layer waits for its last one, is no
 * wavefront. */
static gk_rnn_plan_info explain(gk_rnn_desc desc, int64_t time, int64_t batch, bool training) {
  const bool fed = true;
  gk_rnn_plan_info info = GK_RNN_PLAN_INFO_INIT;
  gk_rnn *rnn = create(desc);
  assert_int_equal(gk_rnn_explain_plan(rnn, time, batch, training, &info), GK_OK);
  assert_int_not_equal(gk_rnn_plan_for(rnn, time, batch, training, fed).schedule, GK_SCHEDULE_WAVEFRONT);
  gk_rnn_destroy(rnn);
  return info;
}

/* The same on two threads whose cores are far. */
static gk_rnn_plan_info explain_far(gk_rnn_desc desc, int64_t time, int64_t batch, bool training) {
  cpus = 2;
  cores_are_near = false;
  const gk_rnn_plan_info info = explain(desc, time, batch, training);
  cpus = 0;
  cores_are_near = true;
  return info;
}

static void check_reason(const char *reason, size_t size) {
  assert_true(*reason);
  assert_true(strlen(reason) + 1 < size); /* else it may have been cut */
  assert_null(strpbrk(reason, "\"\\\n"));
}

static void an_explanation_is_the_plan_with_reasons(void **state) {
  static const int64_t sizes[][4] = {{16, 16, 1, 1},   {64, 24, 1, 100},     {512, 512, 64, 25},
                                     {100, 7, 3, 0},   {1024, 1024, 1, 500}, {8, 8, 0, 4},
                                     {9, 2048, 7, 33}, {1, 16, 100000, 2}}; /* I, H, N, T */
  (void)state;
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
      for (int schedule = GK_SCHEDULE_AUTO; schedule < gk_schedule_count(); schedule++)
        for (int turn = 0; turn < 6; turn++) {
          const int threads = turn / 2 * 4;
          const bool training = turn % 2;
          gk_rnn_desc desc = describe_network((gk_cell)cell, sizes[i][0], sizes[i][1]);
          gk_rnn_plan_info info = GK_RNN_PLAN_INFO_INIT;
          gk_schedule planned;
          int planned_threads;
          desc.schedule = (gk_schedule)schedule;
          desc.threads = threads;
          gk_rnn *rnn = create(desc);
          assert_int_equal(gk_rnn_plan(rnn, sizes[i][3], sizes[i][2], training, &planned, &planned_threads),
                           GK_OK);
          assert_int_equal(gk_rnn_explain_plan(rnn, sizes[i][3], sizes[i][2], training, &info), GK_OK);
          assert_int_equal(info.schedule, planned);
          assert_int_equal(info.threads, planned_threads);
          assert_true(info.chunk >= 1 && info.rows <= sizes[i][2] && info.rows * info.threads >= sizes[i][2]);
          check_reason(info.schedule_reason, sizeof info.schedule_reason);
          check_reason(info.threads_reason, sizeof info.threads_reason);
          check_reason(info.chunk_reason, sizeof info.chunk_reason);
          unsigned flags = GK_PACK_FORWARD;
          if (training) {
            check_reason(info.packing_reason, sizeof info.packing_reason);
            assert_int_equal(gk_rnn_training_pack_flags(rnn, sizes[i][3], sizes[i][2], &flags), GK_OK);
          }
          assert_int_equal(flags, info.pack_flags);
          gk_rnn_destroy(rnn);
        }
}

/* Of the cost model: what each ground decides, and says. */
static void samples_and_units_decide_the_schedule(void **state) {
  static const struct {
    int64_t input, hidden, batch, time;
    bool training;
    int asked; /* threads; 0: as many as pay, of two */
    gk_schedule schedule;
    int threads;
    const char *reason;
  } plans[] = {{128, 128, 3, 20, true, 2, GK_SCHEDULE_TEAMS, 2, "would wait"},
               {128, 128, 9, 20, true, 2, GK_SCHEDULE_TEAMS, 2, "less evenly"},
               {128, 128, 4, 20, true, 2, GK_SCHEDULE_SLICES, 2, "from 2 each"},
               {512, 512, 64, 20, true, 2, GK_SCHEDULE_SLICES, 2, "samples over 2"},
               {120, 120, 8, 20, true, 2, GK_SCHEDULE_SLICES, 2, "from 2 each"},
               {120, 120, 8, 2, true, 2, GK_SCHEDULE_TEAMS, 2, "fewer than 16 each"},
               {120, 120, 8, 2, false, 2, GK_SCHEDULE_SLICES, 2, "from 2 each"},
               {512, 512, 32, 2, true, 2, GK_SCHEDULE_TEAMS, 2, "fewer than 32 each"},
               {512, 512, 2, 20, true, 2, GK_SCHEDULE_TEAMS, 2, "would wait"},
               {512, 48, 2, 20, true, 2, GK_SCHEDULE_SLICES, 2, "more evenly"},
               {16, 16, 2, 20, true, 2, GK_SCHEDULE_SLICES, 2, "too little"},
               {100, 100, 3, 20, true, 2, GK_SCHEDULE_TEAMS, 2, "would wait"},
               {512, 512, 2, 1, false, 0, GK_SCHEDULE_TEAMS, 2, "would wait"},
               {24, 24, 4, 3, true, 0, GK_SCHEDULE_SLICES, 1, "one thread"},
               {24, 24, 4, 100, true, 0, GK_SCHEDULE_SLICES, 2, "too little"},
               {24, 24, 4, 20, false, 0, GK_SCHEDULE_SLICES, 2, "too little"},
               {64, 64, 1, 20, false, 0, GK_SCHEDULE_SLICES, 1, "one thread"}};
  gk_rnn_desc desc = describe_network(GK_CELL_LSTM, 0, 0);
  (void)state;
  desc.isa = GK_ISA_AVX512;
  if (!gk_isa_usable(desc.isa))
    skip();
  for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
    desc.input_size = plans[i].input;
    desc.hidden_size = plans[i].hidden;
    desc.threads = plans[i].asked;
    cpus = 2;
    const gk_rnn_plan_info info = explain(desc, plans[i].time, plans[i].batch, plans[i].training);
    cpus = 0;
    if (info.schedule != plans[i].schedule || info.threads != plans[i].threads ||
        !strstr(info.schedule_reason, plans[i].reason))
      fail_msg("H %lld N %lld T %lld: %s on %d threads, %s", (long long)plans[i].hidden,
               (long long)plans[i].batch, (long long)plans[i].time, gk_schedule_name(info.schedule),
               info.threads, info.schedule_reason);
  }
}

/* On two threads whose cores are far, each cost just short of and just past what it asks for. */
static void far_cores_ask_for_more_work(void **state) {
  enum { SLICES = GK_SCHEDULE_SLICES, TEAMS = GK_SCHEDULE_TEAMS, WAVE = GK_SCHEDULE_WAVEFRONT };
  static const struct {
    const char *cost;
    int64_t hidden, layers, batch;
    bool training;
    struct {
      int64_t time, hidden; /* 0: that of the row */
      int schedule, threads;
    } sides[2]; /* below, above */
  } rows[] = {
      {"call", 24, 1, 8, false, {{20, 0, SLICES, 1}, {21, 0, SLICES, 2}}},
      {"trained_call", 88, 1, 2, true, {{2, 0, SLICES, 1}, {3, 0, SLICES, 2}}},
      {"lone_call", 128, 1, 1, false, {{3, 0, SLICES, 1}, {4, 0, TEAMS, 2}}},
      {"lone_trained", 0, 1, 1, true, {{1, 92, SLICES, 1}, {1, 100, TEAMS, 2}}},
      {"packed", 64, 1, 8, true, {{7, 0, SLICES, 1}, {8, 0, SLICES, 2}}},
      {"packed_few", 64, 1, 6, true, {{10, 0, SLICES, 1}, {11, 0, SLICES, 2}}},
      {"moved", 80, 1, 8, true, {{6, 0, SLICES, 1}, {7, 0, SLICES, 2}}},
      {"step", 0, 1, 3, false, {{20, 90, SLICES, 2}, {20, 92, TEAMS, 2}}},
      {"lone_step", 0, 1, 1, false, {{20, 86, SLICES, 1}, {20, 88, TEAMS, 2}}},
      {"barrier", 0, 1, 9, true, {{20, 128, SLICES, 2}, {20, 256, TEAMS, 2}}},
      {"wave", 64, 4, 4, true, {{11, 0, SLICES, 2}, {12, 0, WAVE, 2}}},
      {"uneven_wave", 64, 3, 1, false, {{140, 0, SLICES, 1}, {150, 0, WAVE, 2}}},
      {"two samples", 0, 1, 4, true, {{50, 142, SLICES, 2}, {50, 160, TEAMS, 2}}},
      {"three samples", 0, 1, 6, true, {{50, 320, SLICES, 2}, {50, 328, TEAMS, 2}}},
      {"nine samples", 0, 1, 18, false, {{50, 320, SLICES, 2}, {50, 328, TEAMS, 2}}},
      {"ten samples", 0, 1, 20, false, {{50, 704, SLICES, 2}, {50, 720, TEAMS, 2}}},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int above = 0; above < 2; above++) {
      const int64_t hidden = rows[i].sides[above].hidden ? rows[i].sides[above].hidden : rows[i].hidden;
      gk_rnn_desc desc = describe_network(GK_CELL_LSTM, hidden, hidden);
      desc.layers = rows[i].layers;
      const gk_rnn_plan_info info =
          explain_far(desc, rows[i].sides[above].time, rows[i].batch, rows[i].training);
      if ((int)info.schedule != rows[i].sides[above].schedule || info.threads != rows[i].sides[above].threads)
        fail_msg("%s, %s: %s on %d threads: %s; %s", rows[i].cost, above ? "above" : "below",
                 gk_schedule_name(info.schedule), info.threads, info.threads_reason, info.schedule_reason);
    }
}

/* Of the layer that has most: input weights count only where no other step reads them in the same chunk. */
static void recurrent_weights_decide_where_cores_are_far(void **state) {
  enum { SLICES = GK_SCHEDULE_SLICES, TEAMS = GK_SCHEDULE_TEAMS };
  static const struct {
    gk_cell cell;
    int64_t input, hidden, layers, projection, batch, time;
    gk_recurrence recurrence;
    int schedule;
  } rows[] = {
      {GK_CELL_RNN, 64, 640, 1, 0, 8, 40, GK_RECURRENCE_HIDDEN, SLICES},
      {GK_CELL_RNN, 64, 648, 1, 0, 8, 40, GK_RECURRENCE_HIDDEN, TEAMS},     /* 1.7 MB of 1.8 */
      {GK_CELL_LSTM, 1200, 320, 1, 0, 8, 40, GK_RECURRENCE_HIDDEN, SLICES}, /* 1.6 MB of 7.8 */
      {GK_CELL_LSTM, 1200, 328, 1, 0, 8, 40, GK_RECURRENCE_HIDDEN, TEAMS},
      {GK_CELL_LSTM, 64, 704, 1, 0, 24, 40, GK_RECURRENCE_HIDDEN, SLICES},
      {GK_CELL_LSTM, 64, 720, 1, 0, 24, 40, GK_RECURRENCE_HIDDEN, TEAMS}, /* 8.3 MB of 9 */
      {GK_CELL_LSTM, 1200, 320, 2, 0, 8, 40, GK_RECURRENCE_HIDDEN, SLICES},
      {GK_CELL_LSTM, 512, 512, 1, 144, 8, 40, GK_RECURRENCE_HIDDEN, SLICES},
      {GK_CELL_LSTM, 512, 512, 1, 168, 8, 40, GK_RECURRENCE_HIDDEN, TEAMS}, /* W_hr too */
      {GK_CELL_LSTM, 1200, 600, 1, 0, 8, 40, GK_RECURRENCE_NONE, SLICES},
      {GK_CELL_LSTM, 1200, 320, 1, 0, 8, 2, GK_RECURRENCE_HIDDEN, SLICES},
      {GK_CELL_LSTM, 1200, 320, 1, 0, 8, 1, GK_RECURRENCE_HIDDEN, TEAMS},
      {GK_CELL_LSTM, 312, 312, 1, 0, 8, 1, GK_RECURRENCE_HIDDEN, SLICES}, /* 1.6 MB each */
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    gk_rnn_desc desc = describe_network(rows[i].cell, rows[i].input, rows[i].hidden);
    desc.layers = rows[i].layers;
    desc.projection_size = rows[i].projection;
    desc.recurrence = rows[i].recurrence;
    const gk_rnn_plan_info info = explain_far(desc, rows[i].time, rows[i].batch, false);
    if ((int)info.schedule != rows[i].schedule || info.threads != 2)
      fail_msg("row %zu: %s on %d threads: %s; %s", i, gk_schedule_name(info.schedule), info.threads,
               info.threads_reason, info.schedule_reason);
  }
}

/* Layers or directions that have alike work, of few samples, or with few weights; these stay near. */
static void small_stacks_and_directions_walk_as_a_wavefront(void **state) {
  static const struct {
    int cpus;
    int64_t input, hidden, layers;
    gk_direction direction;
    int64_t batch, time;
    bool training, wavefront;
  } plans[] = {{2, 64, 64, 2, GK_FORWARD, 4, 50, true, true},
               {2, 64, 64, 4, GK_FORWARD, 6, 10, true, true},
               {2, 64, 64, 2, GK_FORWARD, 7, 50, true, false},
               {2, 64, 64, 2, GK_FORWARD, 4, 9, true, false},
               {2, 64, 64, 2, GK_FORWARD, 3, 20, false, true},
               {2, 64, 64, 2, GK_FORWARD, 3, 19, false, false},
               {2, 64, 64, 2, GK_FORWARD, 4, 50, false, false},
               {2, 48, 48, 2, GK_FORWARD, 200, 20, true, true},
               {2, 48, 48, 2, GK_FORWARD, 200, 19, true, false},
               {2, 48, 48, 2, GK_FORWARD, 7, 50, false, false},
               {2, 52, 52, 2, GK_FORWARD, 200, 20, true, false},
               {2, 64, 64, 3, GK_FORWARD, 4, 50, true, false},
               {2, 64, 64, 3, GK_FORWARD, 1, 100, false, true},
               {2, 800, 32, 2, GK_FORWARD, 3, 50, false, false},
               {2, 8, 190, 2, GK_FORWARD, 1, 50, false, false},
               {2, 160, 160, 2, GK_FORWARD, 3, 50, false, false},
               {2, 64, 64, 1, GK_FORWARD, 3, 50, false, false},
               {2, 100, 100, 1, GK_BIDIRECTIONAL, 4, 4, false, true},
               {2, 160, 160, 1, GK_BIDIRECTIONAL, 4, 50, false, true},
               {1, 64, 64, 1, GK_BIDIRECTIONAL, 3, 50, false, false},
               {1, 64, 64, 2, GK_FORWARD, 1, 50, false, false}};
  (void)state;
  for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
    gk_rnn_desc desc = describe_network(GK_CELL_LSTM, plans[i].input, plans[i].hidden);
    desc.layers = plans[i].layers;
    desc.direction = plans[i].direction;
    cpus = plans[i].cpus;
    const gk_rnn_plan_info info = explain(desc, plans[i].time, plans[i].batch, plans[i].training);
    cpus = 0;
    if ((info.schedule == GK_SCHEDULE_WAVEFRONT) != plans[i].wavefront)
      fail_msg("case %zu: %s, %s", i, gk_schedule_name(info.schedule), info.schedule_reason);
  }
}

/* Both passes, but where they read few weights few times. */
static void weights_that_are_read_few_times_are_not_packed(void **state) {
  enum { BOTH = GK_PACK_FORWARD | GK_PACK_BACKWARD };
  static const struct {
    gk_isa isa;
    int64_t hidden, batch, time;
    float weight_dropout;
    unsigned flags;
    const char *reason;
  } plans[] = {{GK_ISA_AVX512, 128, 4, 4, 0, GK_PACK_FORWARD, "up to 1000 rows"},
               {GK_ISA_AVX512, 128, 50, 20, 0, GK_PACK_FORWARD, "up to 1000 rows"},
               {GK_ISA_AVX512, 128, 77, 13, 0, BOTH, "more than 1000 rows"},
               {GK_ISA_AVX512, 128, 128, 2, 0, 0, "up to 1000 rows (avx512), and forward up to 2 times"},
               {GK_ISA_AVX512, 128, 2, 3, 0, 0, "up to 2 times (here 2)"},
               {GK_ISA_AVX512, 128, 501, 2, 0, BOTH, "more than 1000 rows"},
               {GK_ISA_AVX512, 256, 8, 8, 0, GK_PACK_FORWARD, "8 samples by 8 steps"},
               {GK_ISA_AVX512, 256, 24, 24, 0, BOTH, "more than 572 rows"},
               {GK_ISA_AVX512, 512, 1, 2, 0, 0, "1 sample by 2 steps"},
               {GK_ISA_AVX512, 512, 1, 3, 0, 0, "up to 2 times (here 2)"},
               {GK_ISA_AVX512, 512, 1, 4, 0, GK_PACK_FORWARD, "up to 143 rows"},
               {GK_ISA_AVX512, 512, 24, 6, 0, BOTH, "more than 143 rows"},
               {GK_ISA_AVX512, 1024, 3, 3, 0, 0, "up to 9 rows"},
               {GK_ISA_AVX512, 1024, 10, 1, 0, BOTH, "more than 9 rows"},
               {GK_ISA_AVX512, 1024, 1, 4, 0, BOTH, "more than 2.2 million weights: in 4 steps"},
               {GK_ISA_AVX512, 128, 4, 4, 0.5f, BOTH, "weight_dropout"},
               {GK_ISA_AVX2, 256, 4, 4, 0, GK_PACK_FORWARD, "up to 64 rows"},
               {GK_ISA_AVX2, 40, 64, 1, 0, 0, "up to 64 rows"},
               {GK_ISA_AVX2, 40, 65, 1, 0, BOTH, "more than 64 rows"}};
  (void)state;
  for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
    gk_rnn_desc desc = describe_network(GK_CELL_LSTM, plans[i].hidden, plans[i].hidden);
    desc.isa = plans[i].isa;
    desc.threads = 2; /* which decide how many steps a chunk has */
    desc.weight_dropout = plans[i].weight_dropout;
    if (!gk_isa_usable(desc.isa))
      continue;
    const gk_rnn_plan_info info = explain(desc, plans[i].time, plans[i].batch, true);
    if (info.pack_flags != plans[i].flags || !strstr(info.packing_reason, plans[i].reason))
      fail_msg("H %lld N %lld T %lld: flags %u, %s", (long long)plans[i].hidden, (long long)plans[i].batch,
               (long long)plans[i].time, info.pack_flags, info.packing_reason);
  }
}

/* Recurrent ones at each step, those of inputs with each chunk of steps. */
static void forward_counts_how_often_it_would_transpose_a_weight(void **state) {
  static const struct {
    int64_t input, hidden, projection, batch, time;
    gk_recurrence recurrence;
    const char *reason;
  } plans[] = {
      {300, 100, 0, 4, 3, GK_RECURRENCE_HIDDEN, "(here 1.5)"},
      {100, 300, 0, 4, 1, GK_RECURRENCE_HIDDEN, "(here 1)"},
      {128, 128, 0, 128, 2, GK_RECURRENCE_HIDDEN, "(here 1.5)"}, /* in one chunk, of 64 a thread */
      {400, 100, 0, 32, 4, GK_RECURRENCE_NONE, "(here 1)"},
      {500, 100, 100, 4, 3, GK_RECURRENCE_HIDDEN, "(here 1.4)"}, /* W_hr too: (500 + 3 * 125) / 625 */
      {700, 600, 0, 2, 200, GK_RECURRENCE_HIDDEN, "read them 93.9 times"}};
  (void)state;
  for (size_t i = 0; i < sizeof plans / sizeof *plans && gk_isa_usable(GK_ISA_AVX512); i++) {
    gk_rnn_desc desc = describe_network(GK_CELL_LSTM, plans[i].input, plans[i].hidden);
    desc.isa = GK_ISA_AVX512;
    desc.threads = 2;
    desc.schedule = GK_SCHEDULE_SLICES;
    desc.projection_size = plans[i].projection;
    desc.recurrence = plans[i].recurrence;
    const gk_rnn_plan_info info = explain(desc, plans[i].time, plans[i].batch, true);
    if (!strstr(info.packing_reason, plans[i].reason))
      fail_msg("plan %zu: %s, must have %s", i, info.packing_reason, plans[i].reason);
  }
}

static void an_explanation_without_a_place_is_refused(void **state) {
  (void)state;
  gk_rnn *rnn = create(describe_network(GK_CELL_LSTM, 4, 4));
  gk_rnn_plan_info info = {.size = 8, .threads = 77};
  assert_int_equal(gk_rnn_explain_plan(rnn, 1, 1, true, NULL), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_rnn_explain_plan(rnn, 1, 1, true, &info), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "size is 8"));
  info.size = sizeof info;
  assert_int_equal(gk_rnn_explain_plan(NULL, 1, 1, true, &info), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_rnn_explain_plan(rnn, -1, 1, true, &info), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_rnn_explain_plan(rnn, 1, -2, true, &info), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "batch is -2"));
  assert_int_equal(info.threads, 77);
  unsigned flags;
  assert_int_equal(gk_rnn_training_pack_flags(rnn, 1, 1, NULL), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_rnn_training_pack_flags(NULL, 1, 1, &flags), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_rnn_training_pack_flags(rnn, -1, 1, &flags), GK_ERROR_ARGUMENT);
  gk_rnn_destroy(rnn);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_explanation_is_the_plan_with_reasons),
      cmocka_unit_test(samples_and_units_decide_the_schedule),
      cmocka_unit_test(far_cores_ask_for_more_work),
      cmocka_unit_test(recurrent_weights_decide_where_cores_are_far),
      cmocka_unit_test(small_stacks_and_directions_walk_as_a_wavefront),
      cmocka_unit_test(weights_that_are_read_few_times_are_not_packed),
      cmocka_unit_test(forward_counts_how_often_it_would_transpose_a_weight),
      cmocka_unit_test(an_explanation_without_a_place_is_refused),
  };
  cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
