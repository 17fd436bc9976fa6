/* SPDX-License-Identifier: Apache-2.0
 *
 * What a call costs beside its arithmetic: the plan and its reasons, reserve and workspace, memory after many
 * shapes, and nothing once it is over.
 * ctest wraps: gk_default_threads */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "src/core/threads.h"
#include "src/sequence/rnn.h"
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

/* Plans for other machines than this one. */
static int cpus; /* 0: those of this one */
static bool cores_are_near = true;
int __real_gk_default_threads(void);
int __wrap_gk_default_threads(void);
int __wrap_gk_default_threads(void) {
  return cpus ? cpus : __real_gk_default_threads();
}

static gk_rnn *create(gk_rnn_desc desc) {
  gk_rnn *rnn;
  if (gk_rnn_create(&desc, &rnn) != GK_OK)
    fail_msg("%s", gk_last_error());
  if (cpus)
    rnn->cores_are_near = cores_are_near;
  return rnn;
}

static gk_rnn *create_elsewhere(gk_rnn_desc desc, int machine_cpus, bool near) {
  cpus = machine_cpus;
  cores_are_near = near;
  gk_rnn *rnn = create(desc);
  cpus = 0;
  cores_are_near = true;
  return rnn;
}

static gk_rnn_desc describe_network(gk_cell cell, int64_t input, int64_t hidden) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = cell;
  desc.input_size = input;
  desc.hidden_size = hidden;
  return desc;
}

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

static gk_rnn_memory memory_of(const gk_rnn *rnn, int64_t time, int64_t batch) {
  gk_rnn_memory memory;
  if (gk_rnn_memory_needed(rnn, time, batch, &memory) != GK_OK)
    fail_msg("%s", gk_last_error());
  return memory;
}

/* ---- The plan ---- */

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
      cpus = 2;
      cores_are_near = false;
      const gk_rnn_plan_info info = explain(desc, rows[i].sides[above].time, rows[i].batch, rows[i].training);
      cpus = 0;
      cores_are_near = true;
      if ((int)info.schedule != rows[i].sides[above].schedule || info.threads != rows[i].sides[above].threads)
        fail_msg("%s, %s: %s on %d threads: %s; %s", rows[i].cost, above ? "above" : "below",
                 gk_schedule_name(info.schedule), info.threads, info.threads_reason, info.schedule_reason);
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
      cmocka_unit_test(an_explanation_is_the_plan_with_reasons),
      cmocka_unit_test(samples_and_units_decide_the_schedule),
      cmocka_unit_test(far_cores_ask_for_more_work),
      cmocka_unit_test(small_stacks_and_directions_walk_as_a_wavefront),
      cmocka_unit_test(weights_that_are_read_few_times_are_not_packed),
      cmocka_unit_test(forward_counts_how_often_it_would_transpose_a_weight),
      cmocka_unit_test(an_explanation_without_a_place_is_refused),
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
