/* SPDX-License-Identifier: Apache-2.0
 *
 * `gatekern bench` and `gatekern info`: the JSON that scripts rely on, figures that agree with each other,
 * one checksum however the work is done, data from files, lists of shapes, bad input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <gatekern.h>

#include "tests/bench_fixture.h"
#include "tests/network_fixture.h"

struct shape {
  gk_cell cell;
  double input, hidden, batch, time, layers;
};

/* Floats of a row and unit that forward keeps for backward, of each cell. */
static const double kept_values[] = {[GK_CELL_RNN] = 2,
                                     [GK_CELL_GRU] = 5,
                                     [GK_CELL_GRU_RESET_BEFORE] = 5,
                                     [GK_CELL_LSTM] = 6,
                                     [GK_CELL_GRU_SIMPLIFIED] = 3,
                                     [GK_CELL_MGU] = 4};

/* Weights of inputs are read forward and backward and their gradients written, recurrent ones are read in
 * every time step; x and y are read or written twice, their gradients once. */
static double bytes_of(const struct shape *s, const char *pass) {
  const bool step = strstr(pass, "step"), kept = step || !strcmp(pass, "forward");
  const double gates = gk_cell_gates(s->cell), time = strcmp(pass, "stream") ? s->time : 1;
  double input = s->input, floats = 0;
  for (int layer = 0; layer < s->layers; layer++, input = s->hidden) {
    floats += gates * s->hidden * input * (step ? 3 : 1);
    floats += gates * s->hidden * s->hidden * (step ? 2 * time + 1 : time);
    floats += time * s->batch * (input + s->hidden) * (step ? 3 : 1);
    floats += time * s->batch * s->hidden * kept_values[s->cell] * (step + kept);
  }
  return 4 * floats;
}

/* 2 N T G H (I + H) for each layer. */
static double forward_flop(const struct shape *s) {
  double columns = s->input + s->hidden + (s->layers - 1) * 2 * s->hidden;
  return 2 * s->batch * s->time * gk_cell_gates(s->cell) * s->hidden * columns;
}

static void check_figure(const json_t *object, const char *name) {
  char median[64], p99[64];
  snprintf(median, sizeof median, "%s_ms_median", name);
  snprintf(p99, sizeof p99, "%s_ms_p99", name);
  char best[64];
  snprintf(best, sizeof best, "%s_ms", name);
  assert_true(number(object, best) > 0);
  assert_true(number(object, median) >= number(object, best));
  assert_true(number(object, p99) >= number(object, median));
}

static void check_report(const json_t *object, const struct shape *shape, const char *pass) {
  const int step = strstr(pass, "step") != NULL;
  assert_string_equal(string(object, "cell"), gk_cell_name(shape->cell));
  assert_string_equal(string(object, "pass"), pass);
  expect_near("input", number(object, "input"), shape->input);
  expect_near("hidden", number(object, "hidden"), shape->hidden);
  expect_near("batch", number(object, "batch"), shape->batch);
  expect_near("time", number(object, "time"), shape->time);
  expect_near("layers", number(object, "layers"), shape->layers);
  check_figure(object, "forward");
  double flop = forward_flop(shape), seconds = 1e-3 * number(object, "forward_ms");
  if (step) {
    check_figure(object, "backward");
    check_figure(object, "step");
    const double parts = number(object, "forward_ms") + number(object, "backward_ms");
    assert_true(number(object, "step_ms") >= 0.999 * parts); /* differences of one clock, which are rounded */
    flop *= 3;
    seconds = 1e-3 * number(object, "step_ms");
  } else {
    assert_true(json_is_null(json_object_get(object, "backward_ms")));
    assert_true(json_is_null(json_object_get(object, "step_ms")));
  }
  if (!strcmp(pass, "stream"))
    flop /= shape->time;
  expect_near("gflops", number(object, "gflops"), 1e-9 * flop / seconds);
  assert_true(number(object, "peak_gflops") > 0);
  expect_near("percent_of_peak", number(object, "percent_of_peak"),
              100 * number(object, "gflops") / number(object, "peak_gflops"));
  const double sustained = number(object, "sustained_gflops"); /* rounded to six digits */
  assert_true(sustained > 0 && sustained <= 1.00001 * number(object, "peak_gflops"));
  assert_int_equal(number(object, "core_to_core_ns") > 0, number(object, "threads") > 1);
  expect_near("bytes", number(object, "bytes"), bytes_of(shape, pass));
  const char *checksum = string(object, "checksum");
  assert_int_equal(strlen(checksum), 16);
  assert_int_equal(strspn(checksum, "0123456789abcdef"), 16);
}

static void every_cell_and_pass_reports_figures_that_agree(void **state) {
  (void)state;
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (int pass = 0; pass < BENCH_PASSES; pass++) {
      const struct shape shape = {(gk_cell)cell, 20, 24, 5, 3, 1 + (cell + pass) % 3};
      char line[256];
      snprintf(line, sizeof line,
               "bench --cell %s --input 20 --hidden 24 --batch 5 --time 3 --layers %g --pass %s" SHORT,
               gk_cell_name((gk_cell)cell), shape.layers, bench_passes[pass]);
      json_t *object = run_json(QUIET, line);
      check_report(object, &shape, bench_passes[pass]);
      json_decref(object);
    }
}

static void defaults_are_a_step_of_a_square_lstm(void **state) {
  (void)state;
  json_t *object = run_json(QUIET, "bench --hidden 16 --batch 2 --time 2" SHORT);
  const struct shape shape = {GK_CELL_LSTM, 16, 16, 2, 2, 1};
  gk_isa isa;
  assert_int_equal(gk_isa_resolve(GK_ISA_AUTO, &isa), GK_OK);
  check_report(object, &shape, "step");
  assert_string_equal(string(object, "isa"), gk_isa_name(isa));
  assert_int_equal(number(object, "threads"), gk_default_threads());
  json_decref(object);
  object = run_json(QUIET, "bench --hidden 16 --batch 2 --time 2 --threads 0" SHORT);
  assert_int_equal(number(object, "threads"), gk_default_threads());
  json_decref(object);
}

static void keep_checksum(const char *line, char checksum[17]) {
  json_t *object = run_json(QUIET, line);
  snprintf(checksum, 17, "%s", string(object, "checksum"));
  json_decref(object);
}

/* Every tier, thread count and schedule in turn; the report must say that it was really that one. */
static void the_checksum_depends_on_the_results_alone(void **state) {
  static const char *const schedules[] = {"slices", "teams"};
  char first[17] = "";
  (void)state;
  for (int isa = 1, turn = 0; isa <= gk_isa_count(); isa++)
    for (int threads = 1; threads <= 3 && gk_isa_usable((gk_isa)isa); threads++, turn++) {
      char line[256];
      const char *name = gk_isa_name((gk_isa)isa), *schedule = schedules[turn % 2];
      snprintf(line, sizeof line,
               "bench --cell gru --input 33 --hidden 70 --batch 9 --time 4 --isa %s --threads %d --schedule "
               "%s" SHORT,
               name, threads, schedule);
      json_t *object = run_json(QUIET, line);
      assert_string_equal(string(object, "isa"), name);
      assert_string_equal(string(object, "schedule"), schedule);
      assert_int_equal(number(object, "threads"), threads);
      if (!*first)
        snprintf(first, sizeof first, "%s", string(object, "checksum"));
      assert_string_equal(string(object, "checksum"), first);
      json_decref(object);
    }
}

static void the_checksum_covers_gradients_and_all_passes_agree_on_outputs(void **state) {
#define SHAPE "bench --cell lstm --input 9 --hidden 17 --batch 3 --time 5 --layers 2" SHORT
  char step[17], forward[17], inference[17], stream[17], wider[17];
  (void)state;
  keep_checksum(SHAPE, step);
  keep_checksum(SHAPE " --pass forward", forward);
  keep_checksum(SHAPE " --pass inference", inference);
  keep_checksum(SHAPE " --pass stream", stream);
  keep_checksum("bench --input 10 --hidden 17 --batch 3 --time 5 --layers 2 --pass forward" SHORT, wider);
  assert_string_not_equal(step, forward);
  assert_string_equal(forward, inference);
  assert_string_equal(forward, stream);
  assert_string_not_equal(forward, wider);
}

static void a_forced_instruction_set_is_the_one_that_runs(void **state) {
  (void)state;
  json_t *bench = run_json("GATEKERN_ISA=scalar", "bench --hidden 8 --batch 1 --time 1" SHORT);
  json_t *info = run_json("GATEKERN_ISA=scalar", "info --no-measure --json");
  assert_string_equal(string(bench, "isa"), "scalar");
  assert_string_equal(string(info, "isa"), "scalar");
  json_decref(bench);
  json_decref(info);
  free(program_text("GATEKERN_ISA=mmx", "bench --hidden 8" SHORT, 2));
  free(program_text("GATEKERN_ISA=mmx", "info", 2));
}

/* ---- Data from files ---- */

#define DATA_NETWORK(cell) "bench --cell " cell " --input 9 --hidden 17 --batch 3 --time 5 --layers 2"

static struct network_case data_case(gk_cell cell) {
  return (struct network_case){
      .desc = {.size = sizeof(gk_rnn_desc), .cell = cell, .input_size = 9, .hidden_size = 17, .layers = 2},
      .time = 5,
      .batch = 3,
      .states = true,
      .seed = 7};
}

/* The order that the help gives. */
static void write_data(const struct network_case *c, const struct network_data *d) {
  const struct network_sizes s = sizes_of(c);
  const struct {
    const float *values;
    int64_t count;
  } arrays[] = {{d->parameters, s.parameters},
                {d->x, s.inputs},
                {d->h0, s.states},
                {d->c0, s.cells},
                {d->dy, s.outputs},
                {d->dhn, s.states},
                {d->dcn, s.cells}};
  FILE *file = fopen(temporary_path("data.raw"), "wb");
  assert_non_null(file);
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
    if (arrays[i].count)
      assert_int_equal(fwrite(arrays[i].values, sizeof(float), (size_t)arrays[i].count, file),
                       arrays[i].count);
  assert_int_equal(fclose(file), 0);
}

/* FNV-1a over the bytes, written again from its definition. */
static uint64_t hash_floats(uint64_t hash, const float *values, int64_t count) {
  for (size_t i = 0; i < (size_t)count * sizeof *values; i++)
    hash = (hash ^ ((const unsigned char *)values)[i]) * UINT64_C(0x100000001b3);
  return hash;
}

static void the_checksum_is_that_of_the_library_on_the_files_data(void **state) {
  (void)state;
  static const gk_cell cells[] = {GK_CELL_LSTM, GK_CELL_MGU};
  static const char *const lines[] = {DATA_NETWORK("lstm"), DATA_NETWORK("mgu")};
  for (int i = 0; i < 2; i++) {
    const struct network_case c = data_case(cells[i]);
    const struct network_sizes s = sizes_of(&c);
    struct buffers b = {.count = 0};
    const struct network_data d = take_data(&b, &c);
    const struct network_results r = run_case(&b, &c, &d);
    write_data(&c, &d);
    uint64_t outputs = hash_floats(UINT64_C(0xcbf29ce484222325), r.y, s.outputs);
    outputs = hash_floats(hash_floats(outputs, r.hn, s.states), r.cn, s.cells);
    uint64_t all = hash_floats(hash_floats(outputs, r.dx, s.inputs), r.dh0, s.states);
    all = hash_floats(hash_floats(all, r.dc0, s.cells), r.gradients, s.parameters);
    for (int pass = 0; pass < BENCH_PASSES; pass++) {
      char line[512], checksum[17], wanted[17];
      snprintf(line, sizeof line, "%s --pass %s --data %s" SHORT, lines[i], bench_passes[pass],
               temporary_path("data.raw"));
      keep_checksum(line, checksum);
      snprintf(wanted, sizeof wanted, "%016llx",
               (unsigned long long)(strstr(bench_passes[pass], "step") ? all : outputs));
      assert_string_equal(checksum, wanted);
    }
    buffers_release(&b);
  }
}

static void data_of_another_size_is_refused_with_both_sizes(void **state) {
  (void)state;
  static const float values[4] = {1, 2, 3, 4};
  /* 4 gates of 17 units read 9 or 17 and 17 values and two biases; then x, h0, c0, dy, dhn, dcn. */
  const int needed = 4 * 17 * (9 + 17 + 2) + 4 * 17 * (17 + 17 + 2) + 5 * 3 * 9 + 5 * 3 * 17 + 4 * 2 * 3 * 17;
  char line[512], wanted[512];
  write_file(temporary_path("data.raw"), values, sizeof values - 1);
  snprintf(line, sizeof line, DATA_NETWORK("lstm") " --data %s", temporary_path("data.raw"));
  char *text = program_text("", line, 2);
  snprintf(wanted, sizeof wanted,
           "--data %s: has 3 floats (15 bytes), the network needs %d:", temporary_path("data.raw"), needed);
  if (!strstr(text, wanted) || strchr(text, '\n') != text + strlen(text) - 1)
    fail_msg("%s\nhas no\n%s", text, wanted);
  free(text);
  static const char *const refused[][2] = {
      {DATA_NETWORK("lstm") " --data /no/such/file", "--data /no/such/file: No such file"},
      {DATA_NETWORK("lstm") " --data /dev/zero", "--data /dev/zero: not a regular file"},
      {"bench --shapes ptb --data x", "--data and --shapes: "},
      {"bench --check threads --hidden 5 --data x", "--data and --check: "}};
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    text = program_text("", refused[i][0], 2);
    if (!strstr(text, refused[i][1]))
      fail_msg("gatekern %s: %s", refused[i][0], text);
    free(text);
  }
}

/* ---- Lists ---- */

static char *run_list(int exit_code) {
  char line[1024];
  snprintf(line, sizeof line, "bench --shapes %s" SHORT, temporary_path("shapes.txt"));
  return program_text(QUIET, line, exit_code);
}

static void every_shape_of_a_file_is_reported_in_order(void **state) {
  char *rest = NULL;
  (void)state;
  write_list("# a comment\n\n first gru 3 4 2 3 1\nsecond\tlstm 5 6 1 2 2 # another\r\nthird rnn 1 1 1 1 1");
  char *text = run_list(0);
  static const char *const names[] = {"first", "second", "third"};
  const struct shape shapes[] = {
      {GK_CELL_GRU, 3, 4, 2, 3, 1}, {GK_CELL_LSTM, 5, 6, 1, 2, 2}, {GK_CELL_RNN, 1, 1, 1, 1, 1}};
  char *line = strtok_r(text, "\n", &rest);
  for (int i = 0; i < 3; i++, line = strtok_r(NULL, "\n", &rest)) {
    assert_non_null(line);
    json_t *object = json_loads(line, 0, NULL);
    assert_non_null(object);
    assert_string_equal(string(object, "name"), names[i]);
    check_report(object, &shapes[i], "step");
    json_decref(object);
  }
  assert_null(line);
  free(text);
}

/* Not enough memory for the first one is a line, and no end. */
static void a_list_goes_on_after_a_network_that_fails(void **state) {
  (void)state;
  write_list("huge lstm 1048576 1048576 1 1 1\nsmall rnn 1 1 1 1 1\n");
  char *text = run_list(1);
  assert_non_null(strstr(text, "huge: not enough memory"));
  assert_non_null(strstr(text, "\"name\": \"small\""));
  free(text);
}

static void a_wrong_list_is_refused_with_its_line(void **state) {
  static const char *const lists[][2] = {
      {"", "no shape"},
      {"# nothing\n", "no shape"},
      {"a lstm 1 1 1 1\n", "line 1"},
      {"a lstm 1 1 1 1 1 1\n", "line 1"},
      {"ok rnn 1 1 1 1 1\na lstn 1 1 1 1 1\n", "line 2"},
      {"a lstm 0 1 1 1 1\n", "line 1"},
      {"a lstm 1 -1 1 1 1\n", "line 1"},
      {"a lstm 1 1 1.5 1 1\n", "line 1"},
      {"\n\na lstm 1 1 1 99999999999999999999 1\n", "line 3"},
      {"a lstm 1 1 1 1 1048577\n", "line 1"},
      {"a\"b lstm 1 1 1 1 1\n", "line 1"},
      {"a2345678901234567890123456789012345678901234567890123456789012345 rnn 1 1 1 1 1\n", "line 1"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    write_list(lists[i][0]);
    char *text = run_list(2);
    if (!strstr(text, lists[i][1]) || strchr(text, '\n') != text + strlen(text) - 1)
      fail_msg("list %zu: %s", i, text);
    free(text);
  }
}

static void a_list_that_does_not_exist_names_those_that_do(void **state) {
  static const char *const built_in[] = {"anchors", "cells", "char-rnn",  "deepbench", "deepspeech2",
                                         "gnmt",    "ptb",   "real-time", "rnn-t",     "small"};
  (void)state;
  char *text = program_text("", "bench --shapes no-such-list", 2),
       *help = program_text("", "bench --help", 0);
  for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++) {
    assert_non_null(strstr(text, built_in[i]));
    assert_non_null(strstr(help, built_in[i]));
  }
  free(text);
  free(help);
}

static void nonsense_is_refused_in_one_line(void **state) {
  static const char *const lines[] = {
      "bench --hidden 0",
      "bench --hidden -3",
      "bench --hidden 1e9",
      "bench --cell lstn",
      "bench --isa mmx",
      "bench --schedule sideways",
      "bench --pass backwards",
      "bench --seconds nan",
      "bench --seconds 0",
      "bench --threads -1",
      "bench --threads 2.5",
      "bench --hidden",
      "bench --no-such-option",
      "bench word",
      "bench --shapes gnmt --hidden 5",
      "bench --check latency --batch 4",
      "bench --check latency --threads 2",
      "bench --check latency --seconds 1",
      "bench --hidden 1048576 --input 1048576 --batch 1048576 --time 1048576 --layers 1048576",
      "verify --seed x",
      "verify --isa mmx",
      "verify word",
      "info --seconds 0",
      "info word",
  };
  (void)state;
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    char *text = program_text("", lines[i], 2);
    if (strchr(text, '\n') != text + strlen(text) - 1)
      fail_msg("gatekern %s says more than one line: %s", lines[i], text);
    free(text);
  }
}

static void too_little_memory_is_a_message_and_no_crash(void **state) {
  (void)state;
  char *text = program_text("", "bench --hidden 4096 --batch 1048576 --time 1048576", 1);
  assert_non_null(strstr(text, "memory"));
  free(text);
}

/* ---- Info ---- */

static void info_knows_tiers_caches_threads_and_limits(void **state) {
  (void)state;
  json_t *info = run_json(QUIET, "info --json --seconds 0.005");
  const json_t *tiers = json_object_get(info, "tiers"), *bandwidth = json_object_get(info, "bandwidth");
  assert_int_equal(json_array_size(tiers), gk_isa_count());
  for (int i = 0; i < gk_isa_count(); i++) {
    const json_t *tier = json_array_get(tiers, (size_t)i);
    assert_string_equal(string(tier, "isa"), gk_isa_name((gk_isa)(i + 1)));
    assert_int_equal(json_is_true(json_object_get(tier, "usable")), gk_isa_usable((gk_isa)(i + 1)));
    assert_int_equal(json_object_get(tier, "fma") != NULL, i + 1 == GK_ISA_SCALAR);
    if (i + 1 == GK_ISA_SCALAR && (gk_isa_usable(GK_ISA_AVX2) || gk_isa_usable(GK_ISA_NEON)))
      assert_string_equal(string(tier, "fma"), "instruction");
    if (gk_isa_usable((gk_isa)(i + 1)))
      assert_true(number(tier, "peak_gflops_one_thread") > 0 && number(tier, "peak_gflops") > 0);
  }
  assert_true(json_array_size(bandwidth) >= 1);
  for (size_t i = 0; i < json_array_size(bandwidth); i++)
    assert_true(number(json_array_get(bandwidth, i), "gigabytes_per_second") > 0);
  assert_int_equal(number(info, "threads"), gk_default_threads());
  static const char *const bound[] = {"OMP_PROC_BIND=true", "OMP_PROC_BIND=close OMP_PLACES=threads"};
  for (int i = 0; i < 2; i++) { /* to CPUs, of which its first thread is left with one */
    json_t *other = run_json(bound[i], "info --no-measure --json");
    assert_int_equal(number(other, "threads"), gk_default_threads());
    json_decref(other);
  }
  assert_int_equal(number(info, "core_to_core_ns") > 0, gk_default_threads() > 1);
  assert_true(json_is_array(json_object_get(info, "caches")));
  assert_true(*string(info, "cpu") && *string(info, "isa_reason") && *string(info, "threads_reason"));
  json_decref(info);
}

/* Memory's own bandwidth is read from 256 MiB or more. */
static void info_leaves_out_what_it_has_no_memory_for(void **state) {
  (void)state;
  static const char limit[] = "ulimit -v 262144; OMP_NUM_THREADS=1 ";
  struct program_output start = program_run(limit, "info --no-measure");
  program_free(&start);
  if (start.exit_code != 0) /* sanitizers reserve more addresses */
    skip();
  char *text = program_text(limit, "info --seconds 0.005", 0);
  const char *row = strstr(text, "read, memory");
  assert_true(row && strstr(row, "not measured: no memory for "));
  assert_non_null(strstr(text, "fp32 FMA, scalar"));
  free(text);
  json_t *info = run_json(limit, "info --json --seconds 0.005");
  const json_t *bandwidth = json_object_get(info, "bandwidth");
  assert_true(json_is_array(bandwidth));
  for (size_t i = 0; i < json_array_size(bandwidth); i++)
    assert_string_not_equal(string(json_array_get(bandwidth, i), "level"), "memory");
  json_decref(info);
}

static void info_explains_the_plan_of_a_network(void **state) {
  (void)state;
  json_t *plan = run_json(QUIET, "info --plan --json --cell gru --hidden 64 --batch 3 --time 7 --threads 2");
  assert_string_equal(string(plan, "cell"), "gru");
  assert_true(number(plan, "input") == 64 && number(plan, "batch") == 3 && number(plan, "time") == 7);
  expect_near("step_flop", number(plan, "step_flop"), 2 * 3 * 3 * 64 * 128);
  gk_schedule schedule;
  assert_int_equal(gk_schedule_from_name(string(plan, "schedule"), &schedule), GK_OK);
  assert_int_equal(number(plan, "threads"), 2);
  assert_true(number(plan, "chunk") >= 1);
  assert_true(*string(plan, "schedule_reason") && *string(plan, "threads_reason") &&
              *string(plan, "chunk_reason") && *string(plan, "packing_reason"));
  gk_rnn *rnn;
  unsigned flags;
  assert_int_equal(gk_rnn_create(&(gk_rnn_desc){.size = sizeof(gk_rnn_desc),
                                                .cell = GK_CELL_GRU,
                                                .input_size = 64,
                                                .hidden_size = 64,
                                                .layers = 1,
                                                .threads = 2},
                                 &rnn),
                   GK_OK);
  assert_int_equal(gk_rnn_training_pack_flags(rnn, 7, 3, &flags), GK_OK);
  assert_string_equal(string(plan, "packing"), !flags                     ? "neither"
                                               : flags & GK_PACK_BACKWARD ? "both"
                                                                          : "forward");
  gk_rnn_destroy(rnn);
  const json_t *inference = json_object_get(plan, "inference");
  assert_int_equal(gk_schedule_from_name(string(inference, "schedule"), &schedule), GK_OK);
  assert_true(number(inference, "threads") >= 1);
  assert_true(*string(inference, "schedule_reason") && *string(inference, "threads_reason"));
  json_decref(plan);
  char *text = program_text(QUIET, "info --plan", 0);
  assert_non_null(strstr(text, "ptb/small: lstm"));
  assert_non_null(strstr(text, "real-time/keyword: lstm"));
  free(text);
  text = program_text(QUIET, "info --plan --hidden 3 --batch 1 --time 1", 0);
  assert_non_null(strstr(text, "the whole sequence is 1 row of an input product"));
  free(text);
  text = program_text(QUIET, "info --plan --shapes ptb --hidden 3", 2);
  assert_non_null(strstr(text, "--hidden and --shapes"));
  free(text);
  text = program_text(QUIET, "info --batch 3", 2);
  assert_non_null(strstr(text, "needs --plan"));
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_cell_and_pass_reports_figures_that_agree),
      cmocka_unit_test(defaults_are_a_step_of_a_square_lstm),
      cmocka_unit_test(the_checksum_depends_on_the_results_alone),
      cmocka_unit_test(the_checksum_covers_gradients_and_all_passes_agree_on_outputs),
      cmocka_unit_test(a_forced_instruction_set_is_the_one_that_runs),
      cmocka_unit_test(the_checksum_is_that_of_the_library_on_the_files_data),
      cmocka_unit_test(data_of_another_size_is_refused_with_both_sizes),
      cmocka_unit_test(every_shape_of_a_file_is_reported_in_order),
      cmocka_unit_test(a_list_goes_on_after_a_network_that_fails),
      cmocka_unit_test(a_wrong_list_is_refused_with_its_line),
      cmocka_unit_test(a_list_that_does_not_exist_names_those_that_do),
      cmocka_unit_test(nonsense_is_refused_in_one_line),
      cmocka_unit_test(too_little_memory_is_a_message_and_no_crash),
      cmocka_unit_test(info_knows_tiers_caches_threads_and_limits),
      cmocka_unit_test(info_leaves_out_what_it_has_no_memory_for),
      cmocka_unit_test(info_explains_the_plan_of_a_network),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
