/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench_check.h"
#include "commands.h"
#include "options.h"
#include "runner.h"
#include "shape_text.h"

struct settings {
  int cell, isa, schedule, layout, pass, check;
  struct cli_hidden hidden;
  int64_t input, batch, time, layers, threads, steps, words;
  double seconds;
  const char *shapes, *data;
  gk_rnn_desc network; /* its options; with cli_take_layers also its layers */
  bool json;
};

#define FIELD(name) .offset = offsetof(struct settings, name)
#define SIZE(field, meaning, default_text, help_text)                                                        \
  {                                                                                                          \
    .name = #field, .type = CLI_INTEGER, FIELD(field), .fallback = default_text, .minimum = 1,               \
    .maximum = BENCH_LARGEST_SIZE, .value = meaning, .help = help_text                                       \
  }

static const char *layout(int index) {
  return index < gk_layout_count() ? gk_layout_name((gk_layout)index) : NULL;
}

static const cli_option options[] = {
    {.name = "cell",
     .type = CLI_CELL,
     FIELD(cell),
     .fallback = "lstm",
     .help = "recurrent cell",
     .group = "Network"},
    SIZE(input, "I", NULL, "input size; the first hidden size if it is not given"),
    {.name = "hidden",
     .type = CLI_HIDDEN,
     FIELD(hidden),
     .fallback = "512",
     .minimum = 1,
     .maximum = BENCH_LARGEST_SIZE,
     .help = "hidden size, or that of each layer, the first one first, as 512,256"},
    SIZE(batch, "N", "64", "samples of a batch"),
    SIZE(time, "T", "25", "time steps"),
    SIZE(layers, "L", "1", "layers"),
    {.name = "shapes",
     .type = CLI_TEXT,
     FIELD(shapes),
     .value = "LIST",
     .help = "instead of one network, every shape of a built-in list (anchors, cells, char-rnn, deepbench, "
             "deepspeech2, gnmt, ptb, real-time, rnn-t, small) or of a file with lines: name cell input "
             "hidden batch time layers"},
    {.type = CLI_NETWORK, FIELD(network)},
    {.name = "isa",
     .type = CLI_ISA,
     FIELD(isa),
     .fallback = "auto",
     .help = "instruction set",
     .group = "How it runs"},
    {.name = "threads",
     .type = CLI_INTEGER,
     FIELD(threads),
     .fallback = "0",
     .maximum = CLI_MOST_THREADS,
     .value = "P",
     .help = "threads, 0: all that this process may use"},
    {.name = "schedule",
     .type = CLI_SCHEDULE,
     FIELD(schedule),
     .fallback = "auto",
     .help = "how work is cut; never changes a result"},
    {.name = "layout",
     .type = CLI_CHOICE,
     FIELD(layout),
     .name_of = layout,
     .fallback = "time-major",
     .help = "of inputs and outputs: (T, N, I) or (N, T, I)"},
    {.name = "pass",
     .type = CLI_CHOICE,
     FIELD(pass),
     .choice = bench_pass_names,
     .fallback = "step",
     .help =
         "what one run is: a training step, with packing of the weights and gradients of input, weights and "
         "biases (step), the same with weights that were packed before (prepacked-step), its forward pass "
         "alone (forward), a forward pass that keeps nothing for a backward pass (inference), or one time "
         "step at a time (stream); also of --check threads and schedules",
     .group = "What is timed"},
    {.name = "data",
     .type = CLI_TEXT,
     FIELD(data),
     .value = "FILE",
     .help = "parameters and inputs of the network, instead of random ones: raw floats, one array after the "
             "other: parameters, x, h0, c0, dy, dhn, dcn (c0 and dcn of the lstm only); all of them for "
             "every pass"},
    {.name = "seconds",
     .type = CLI_NUMBER,
     FIELD(seconds),
     .fallback = "1.5",
     .minimum = 0.001,
     .maximum = 3600,
     .value = "S",
     .help = "time spent on the runs of one network"},
    {.name = "json",
     .type = CLI_FLAG,
     FIELD(json),
     .help = "print one JSON object a network, each on one line"},
    {.name = "check",
     .type = CLI_CHOICE,
     FIELD(check),
     .choice = bench_check_names,
     .fallback = "none",
     .help =
         "instead of that, whether a promise holds. latency: of streaming steps (N = 1, one thread) the "
         "slowest hundredth takes at most twice the median, best of five runs. first-call: the first call of "
         "a new (T, N) takes at most 1.2 times a later one, in the median over up to 16 sizes. threads: the "
         "default takes at most 1.05 times any other number of threads (long sequences are cut, to 10 steps "
         "at least). schedules: the one that is chosen takes at most 1.1 times any other. denormals: "
         "denormal inputs, states and upstream gradients take at most 1.1 times normal ones. One of these "
         "three that misses is timed up to four times, and the best of all runs counts. softmax: the output "
         "layer of --words runs at 85 % of the peak or more (ratio: the peak / it). trainer: training a "
         "character model takes at most 5 % of a step beside its layers and packing (ratio: that share; of "
         "512 hidden units or more). Without a shape: the lists real-time (latency), every one that is "
         "built in (threads, schedules), ptb (softmax), char-rnn (trainer), anchors. Exit code 3 if one "
         "misses, 1 if one fails "
         "(out of memory)",
     .group = "Promises"},
    {.name = "steps",
     .type = CLI_INTEGER,
     FIELD(steps),
     .fallback = "100000",
     .minimum = 10,
     .maximum = 1 << 20,
     .value = "S",
     .help = "streaming steps of a run of --check latency"},
    {.name = "words",
     .type = CLI_INTEGER,
     FIELD(words),
     .fallback = "10000",
     .minimum = 1,
     .maximum = BENCH_LARGEST_SIZE,
     .value = "V",
     .help = "output size of --check softmax"},
    {0}};

static const cli_command command = {
    .name = "bench",
    .summary =
        "Times one recurrent network and compares it with this machine's measured peak.\n"
        "GFLOP/s count matrix products only: 2 N T G H (I + H) a layer, direction and forward pass, three "
        "times that a step.\n"
        "Quartiles: how far the third of all runs lies from the first, in per cent of the median; "
        "with --json, as step_ms_quartile_range, in milliseconds.\n"
        "The checksum of all results is the same for every instruction set, thread count and schedule.",
    .options = options,
    .examples = "  gatekern bench --cell gru --hidden 512 --batch 32 --time 100\n"
                "  gatekern bench --isa avx2 --threads 1 --json\n"
                "  gatekern bench --shapes char-rnn\n"
                "  gatekern bench --check latency\n"
                "  gatekern bench --check threads --shapes ptb\n",
    .settings_size = sizeof(struct settings),
};

struct measurement {
  bench_shape shape;
  gk_isa isa;
  int threads;                 /* that may be used */
  gk_schedule asked, schedule; /* of the plan; as it ran */
  int threads_used;
  bench_pass pass;
  bench_result result;
  uint64_t checksum;
  double gflops, peak_gflops;
  double sustained;    /* GFLOP/s that the loop of peak_gflops kept on average, before and after the runs */
  double core_to_core; /* nanoseconds, the longer one of before and after the runs; 0: one thread */
};

/* The largest of all measurements of this tier and thread count in this process; sustained may be NULL. */
static gk_status measure_peak(struct measurement *m, double seconds, double *sustained) {
  static gk_isa isa;
  static int threads;
  static double largest;
  double measured;
  gk_status status = gk_measure_peak(m->isa, m->threads, seconds, &measured, sustained);
  if (status != GK_OK)
    return status;
  if (isa != m->isa || threads != m->threads || measured > largest)
    largest = measured;
  isa = m->isa;
  threads = m->threads;
  m->peak_gflops = largest;
  return GK_OK;
}

static gk_status measure_core_to_core(struct measurement *m) {
  double nanoseconds;
  const gk_status status = gk_measure_core_to_core(m->threads, 0.005, &nanoseconds);
  if (status == GK_OK)
    m->core_to_core = fmax(m->core_to_core, nanoseconds);
  return status;
}

static gk_status run_measurements(const struct settings *settings, bench_runner *runner,
                                  struct measurement *m) {
  enum { PEAKS_AGAIN = 5 };
  m->isa = bench_runner_description(runner)->isa;
  m->threads = bench_runner_description(runner)->threads;
  /* Long enough for the core's clock to settle, unless the user is in a hurry. */
  const double peak_seconds = fmin(0.2, settings->seconds);
  double sustained[2] = {0};
  gk_status status = bench_runner_plan(runner, &m->schedule, &m->threads_used);
  if (status == GK_OK)
    status = measure_peak(m, peak_seconds, &sustained[0]);
  if (status == GK_OK)
    status = measure_core_to_core(m);
  if (status == GK_OK)
    status = bench_runner_checksum(runner, &m->checksum);
  if (status == GK_OK)
    status = bench_runner_measure(runner, settings->seconds, &m->result);
  if (status == GK_OK)
    status = measure_core_to_core(m);
  if (status == GK_OK)
    status = measure_peak(m, peak_seconds, &sustained[1]);
  if (status != GK_OK)
    return status;
  m->gflops = 1e-9 * bench_pass_flop(&m->shape, m->pass) / m->result.total.best;
  m->sustained = (sustained[0] + sustained[1]) / 2;
  /* Others took the CPUs from the FMA loop: nothing runs above the peak. */
  for (int again = 0; again < PEAKS_AGAIN && m->gflops > m->peak_gflops && status == GK_OK; again++)
    status = measure_peak(m, peak_seconds, NULL);
  return status;
}

static void print_figure(const char *name, const bench_figure *figure) {
  if (figure)
    printf("\"%s_ms\": %.9g, \"%s_ms_median\": %.9g, \"%s_ms_p99\": %.9g, \"%s_ms_quartile_range\": %.4g, ",
           name, 1e3 * figure->best, name, 1e3 * figure->median, name, 1e3 * figure->p99, name,
           1e3 * figure->median * figure->quartile_range);
  else
    printf("\"%s_ms\": null, \"%s_ms_median\": null, \"%s_ms_p99\": null, \"%s_ms_quartile_range\": null, ",
           name, name, name, name);
}

/* The network's options that are set. Is any? */
static bool print_options(const gk_rnn_desc *network, bool json) {
  bool any = false;
  for (int i = 0; i < gk_rnn_option_count(); i++) {
    char value[96];
    if (gk_rnn_option_get(network, gk_rnn_option_name(i), value, sizeof value) != GK_OK || !*value)
      continue;
    printf("%s", any ? ", " : json ? "\"options\": {" : " with ");
    printf(json ? "\"%s\": \"%s\"" : "%s %s", gk_rnn_option_name(i), value);
    any = true;
  }
  if (any && json)
    printf("}, ");
  return any;
}

/* Every string in it is a name that needs no escapes. */
static void print_json(const struct measurement *m) {
  const bench_shape *s = &m->shape;
  bool step = bench_pass_is_step(m->pass);
  printf("{");
  shape_print_json(s);
  const bool plain = !print_options(&s->options, true) && !s->options.hidden_sizes;
  printf("\"threads\": %d, \"threads_used\": %d, \"isa\": \"%s\", \"schedule\": \"%s\", \"pass\": \"%s\", ",
         m->threads, m->threads_used, gk_isa_name(m->isa), gk_schedule_name(m->schedule),
         bench_pass_names[m->pass]);
  print_figure("forward", &m->result.forward);
  print_figure("backward", step ? &m->result.backward : NULL);
  print_figure("step", step ? &m->result.total : NULL);
  printf("\"runs\": %lld, \"gflops\": %.6g, \"peak_gflops\": %.6g, \"percent_of_peak\": %.4g, "
         "\"sustained_gflops\": %.6g, \"core_to_core_ns\": %.4g, ",
         (long long)m->result.runs, m->gflops, m->peak_gflops, 100 * m->gflops / m->peak_gflops, m->sustained,
         m->core_to_core);
  const double bytes = bench_pass_bytes(s, m->pass);
  if (plain && isfinite(bytes))
    printf("\"bytes\": %.0f, ", bytes);
  printf("\"checksum\": \"%016llx\"}\n", (unsigned long long)m->checksum);
}

static void print_line(const char *name, const bench_figure *figure) {
  printf("  %-14s %10.4g ms %10.4g ms %7.1f %%\n", name, 1e3 * figure->best, 1e3 * figure->median,
         100 * figure->quartile_range);
}

static void print_text(const struct measurement *m) {
  const bool differs = m->asked != GK_SCHEDULE_AUTO && m->asked != m->schedule;
  const bench_shape *s = &m->shape;
  const gk_rnn_desc desc = bench_shape_description(s);
  char hidden[CLI_HIDDEN_TEXT];
  cli_hidden_text(&desc, hidden);
  printf("%s", gk_cell_name(s->cell));
  print_options(&s->options, false);
  printf(": input %lld, hidden %s, batch %lld, time %lld, layers %lld; %s, threads %d, schedule %s%s%s\n",
         (long long)s->input, hidden, (long long)s->batch, (long long)s->time, (long long)s->layers,
         gk_isa_name(m->isa), m->threads_used, gk_schedule_name(m->schedule), differs ? " instead of " : "",
         differs ? gk_schedule_name(m->asked) : "");
  printf("  %-14s %13s %13s %9s\n", "", "best", "median", "quartiles");
  if (bench_pass_is_step(m->pass)) {
    print_line("forward", &m->result.forward);
    print_line("backward", &m->result.backward);
  }
  print_line(bench_pass_names[m->pass], &m->result.total);
  printf("  %.1f GFLOP/s: %.1f %% of the measured %.1f GFLOP/s, of which the FMA loop kept %.1f %%; %lld "
         "run%s\n",
         m->gflops, 100 * m->gflops / m->peak_gflops, m->peak_gflops, 100 * m->sustained / m->peak_gflops,
         (long long)m->result.runs, m->result.runs == 1 ? "" : "s");
  if (m->core_to_core > 0)
    printf("  from core to core %.0f ns\n", m->core_to_core);
  printf("  checksum %016llx\n", (unsigned long long)m->checksum);
}

/* Of a list; its JSON has the checksums. `name`: columns of the longest one. */
static void print_row(const struct measurement *m, int name, bool first) {
  char network[SHAPE_TEXT];
  shape_text(&m->shape, network);
  if (first)
    printf("%s on %s, threads: at most %d\n%-*s %9s %9s %7s %6s  %-9s %2s  %s\n", bench_pass_names[m->pass],
           gk_isa_name(m->isa), m->threads, name, "name", "best ms", "median ms", "GFLOP/s", "% peak",
           "schedule", "P", "network");
  printf("%-*s %9.4g %9.4g %7.1f %6.1f  %-9s %2d  %s\n", name, m->shape.name, 1e3 * m->result.total.best,
         1e3 * m->result.total.median, m->gflops, 100 * m->gflops / m->peak_gflops,
         gk_schedule_name(m->schedule), m->threads_used, network);
}

static int fail(const bench_shape *shape, gk_status status) {
  const char *colon = *shape->name ? ": " : "";
  if (status != GK_ERROR_MEMORY)
    cli_error(&command, "%s%s%s", shape->name, colon, cli_message(status));
  else
    cli_error(
        &command, "%s%snot enough memory for %s, input %lld, hidden %lld, batch %lld, time %lld, layers %lld",
        shape->name, colon, gk_cell_name(shape->cell), (long long)shape->input, (long long)shape->hidden,
        (long long)shape->batch, (long long)shape->time, (long long)shape->layers);
  return cli_exit_code(status);
}

/* Returns the exit code. */
static int measure(const struct settings *settings, const bench_shape *shape, struct measurement *m) {
  bench_runner *runner;
  char message[512];
  *m = (struct measurement){
      .shape = *shape, .pass = (bench_pass)settings->pass, .asked = (gk_schedule)settings->schedule};
  m->shape.options = settings->network;
  gk_status status = bench_runner_create(&m->shape, m->pass, (gk_isa)settings->isa, (int)settings->threads,
                                         (gk_schedule)settings->schedule, &runner);
  if (status != GK_OK)
    return fail(&m->shape, status);
  if (settings->data && !bench_runner_read_data(runner, settings->data, message, sizeof message)) {
    bench_runner_destroy(runner);
    return cli_error(&command, "--data %s: %s", settings->data, message);
  }
  status = run_measurements(settings, runner, m);
  bench_runner_destroy(runner);
  return status == GK_OK ? CLI_SUCCESS : fail(&m->shape, status);
}

/* The options describe the network; else lists do. */
static bool one_network(const struct settings *settings) {
  return (!settings->check && !settings->shapes) || shape_option_given();
}

static bench_pass pass_of(const struct settings *settings) {
  const bench_check check = (bench_check)settings->check;
  return check && !bench_check_takes_pass(check) ? bench_check_pass(check) : (bench_pass)settings->pass;
}

static bench_shape shape_of_options(const struct settings *settings) {
  return (bench_shape){
      .cell = (gk_cell)settings->cell,
      .input = settings->input ? settings->input : settings->hidden.sizes[0],
      .hidden = settings->hidden.sizes[0],
      .batch = settings->batch,
      .time = settings->time,
      .layers = settings->network.layers,
      .options = settings->network,
  };
}

/* Every network is checked: a long list would be lost to one that fails. The first failure's exit code. */
static int check_list(const struct settings *settings, const struct check_plan *plan, const char *list,
                      struct check_summary *summary) {
  char message[512];
  bench_shapes shapes;
  int exit_code = CLI_SUCCESS;
  if (!bench_shapes_load(list, &shapes, message, sizeof message))
    return cli_error(&command, "--shapes: %s", message);
  for (size_t i = 0; i < shapes.count; i++) {
    shapes.shape[i].options = settings->network;
    const gk_status status = bench_check_run(plan, &shapes.shape[i], summary);
    const int failed = status == GK_OK ? CLI_SUCCESS : fail(&shapes.shape[i], status);
    exit_code = exit_code ? exit_code : failed;
    summary->failed += status != GK_OK;
  }
  bench_shapes_free(&shapes);
  return exit_code;
}

static int run_check(const struct settings *settings) {
  const struct check_plan plan = {.check = (bench_check)settings->check,
                                  .pass = pass_of(settings),
                                  .isa = (gk_isa)settings->isa,
                                  .threads = (int)settings->threads,
                                  .seconds = cli_given("seconds") ? settings->seconds : 0.3,
                                  .steps = settings->steps,
                                  .words = settings->words,
                                  .json = settings->json};
  struct check_summary summary = {.networks = 0};
  const char *list = settings->shapes ? settings->shapes : bench_check_list(plan.check);
  int exit_code = CLI_SUCCESS;
  if (one_network(settings)) {
    const bench_shape shape = shape_of_options(settings);
    const gk_status status = bench_check_run(&plan, &shape, &summary);
    exit_code = status == GK_OK ? CLI_SUCCESS : fail(&shape, status);
  } else if (list) {
    exit_code = check_list(settings, &plan, list, &summary);
  } else {
    for (const bench_list *known = bench_lists; known->name; known++) {
      const int failed = check_list(settings, &plan, known->name, &summary);
      exit_code = exit_code ? exit_code : failed;
    }
  }
  bench_check_end(&plan, &summary);
  return exit_code == CLI_SUCCESS && summary.missed ? CLI_MISSED : exit_code;
}

/* Every network is timed, as in check_list. */
static int run_list(const struct settings *settings) {
  char message[512];
  bench_shapes shapes;
  int exit_code = CLI_SUCCESS;
  bool first = true;
  int name = 0;
  if (!bench_shapes_load(settings->shapes, &shapes, message, sizeof message))
    return cli_error(&command, "--shapes: %s", message);
  for (size_t i = 0; i < shapes.count; i++)
    name = (int)strlen(shapes.shape[i].name) > name ? (int)strlen(shapes.shape[i].name) : name;
  for (size_t i = 0; i < shapes.count; i++) {
    struct measurement m;
    const int failed = measure(settings, &shapes.shape[i], &m);
    exit_code = exit_code ? exit_code : failed;
    if (failed)
      continue;
    if (settings->json)
      print_json(&m);
    else
      print_row(&m, name, first);
    first = false;
    fflush(stdout);
  }
  bench_shapes_free(&shapes);
  return exit_code;
}

/* What the check of an output layer, which is no recurrent network, would ignore. */
static int check_softmax_options(const struct settings *settings) {
  static const char *const of_recurrent[] = {"cell", "input", "layers", "layout", "pass"};
  const char *ignored = cli_given_of_network();
  for (size_t i = 0; i < sizeof of_recurrent / sizeof *of_recurrent && !ignored; i++)
    ignored = cli_given(of_recurrent[i]) ? of_recurrent[i] : NULL;
  if (ignored)
    return cli_error(
        &command,
        "--%s: --check softmax runs an output layer alone, of --hidden inputs, and takes no such option",
        ignored);
  if (settings->hidden.count > 1)
    return cli_error(&command, "--hidden: --check softmax runs an output layer, which reads one size");
  return CLI_SUCCESS;
}

/* Refuses options of what the check itself decides. */
static int check_what_runs(const struct settings *settings) {
  const bench_check check = (bench_check)settings->check;
  if (cli_given("schedule"))
    return cli_error(&command, "--schedule and --check: the check says what runs");
  if (check == CHECK_SOFTMAX && check_softmax_options(settings) != CLI_SUCCESS)
    return CLI_BAD_INPUT;
  static const char *const of_latency[] = {"batch", "time", "threads", "seconds"};
  for (size_t i = 0; i < sizeof of_latency / sizeof *of_latency && check == CHECK_LATENCY; i++)
    if (cli_given(of_latency[i]))
      return cli_error(&command,
                       "--%s and --check latency: that check runs --steps of one sample on one thread",
                       of_latency[i]);
  if (cli_given("pass") && !bench_check_takes_pass(check))
    return cli_error(&command, "--pass and --check %s: that check always runs %s, and takes no --pass",
                     bench_check_names[check], bench_pass_names[bench_check_pass(check)]);
  return CLI_SUCCESS;
}

int run_bench(int argc, char **argv) {
  struct settings settings;
  struct measurement m;
  int exit_code;
  if (!cli_parse(&command, argc, argv, &settings, &exit_code))
    return exit_code;
  if (settings.shapes && shape_option_given())
    return cli_error(&command, "--%s and --shapes: the list says which networks are timed",
                     shape_option_given());
  if (settings.data && (settings.shapes || settings.check))
    return cli_error(&command, "--data and --%s: the file is of one network",
                     settings.shapes ? "shapes" : "check");
  if (settings.check && check_what_runs(&settings) != CLI_SUCCESS)
    return CLI_BAD_INPUT;
  if (cli_given("steps") && settings.check != CHECK_LATENCY)
    return cli_error(&command, "--steps: only with --check latency");
  if (cli_given("words") && settings.check != CHECK_SOFTMAX)
    return cli_error(&command, "--words: only with --check softmax");
  if (!cli_take_layers(&command, &settings.hidden, settings.layers, &settings.network))
    return CLI_BAD_INPUT;
  const bool trains = bench_pass_trains(pass_of(&settings));
  const int64_t layers = one_network(&settings) ? settings.network.layers : 0;
  if (!cli_check_masks(&command, &settings.network, layers, trains))
    return CLI_BAD_INPUT;
  settings.network.layout = (gk_layout)settings.layout;
  if (settings.check)
    return run_check(&settings);
  if (settings.shapes)
    return run_list(&settings);
  const bench_shape shape = shape_of_options(&settings);
  exit_code = measure(&settings, &shape, &m);
  if (exit_code != CLI_SUCCESS)
    return exit_code;
  if (settings.json)
    print_json(&m);
  else
    print_text(&m);
  return CLI_SUCCESS;
}
