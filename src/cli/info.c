/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "compiler.h"
#include "info_plan.h"
#include "options.h"
#include "shapes.h"

#define MOST_CACHES 8
#define MOST_ISAS   16

struct settings {
  double seconds;
  bool json, no_measure, plan;
  struct plan_settings network;
};

#define NETWORK(name) .offset = offsetof(struct settings, network.name)
#define SIZE(field, meaning, default_text, help_text)                                                        \
  {                                                                                                          \
    .name = #field, .type = CLI_INTEGER, NETWORK(field), .fallback = default_text, .minimum = 1,             \
    .maximum = BENCH_LARGEST_SIZE, .value = meaning, .help = help_text                                       \
  }

static const cli_option options[] = {
    {.name = "seconds",
     .type = CLI_NUMBER,
     .offset = offsetof(struct settings, seconds),
     .fallback = "0.15",
     .minimum = 0.001,
     .maximum = 60,
     .value = "S",
     .help = "time spent on each measured figure"},
    {.name = "no-measure",
     .type = CLI_FLAG,
     .offset = offsetof(struct settings, no_measure),
     .help = "leave out the measured figures"},
    {.name = "json",
     .type = CLI_FLAG,
     .offset = offsetof(struct settings, json),
     .help = "print one JSON object"},
    {.name = "plan",
     .type = CLI_FLAG,
     .offset = offsetof(struct settings, plan),
     .help = "instead of all that, how the library would run networks, and why: "
             "schedule, threads, and the time steps of an input product; every "
             "named shape, a list of --shapes, or the network of the options below",
     .group = "Plan"},
    {.name = "cell", .type = CLI_CELL, NETWORK(cell), .fallback = "lstm", .help = "recurrent cell"},
    SIZE(input, "I", NULL, "input size; the first hidden size if it is not given"),
    {.name = "hidden",
     .type = CLI_HIDDEN,
     NETWORK(hidden),
     .fallback = "512",
     .minimum = 1,
     .maximum = BENCH_LARGEST_SIZE,
     .help = "hidden size, or that of each layer, the first one first, as 512,256"},
    SIZE(batch, "N", "64", "samples of a batch"),
    SIZE(time, "T", "25", "time steps"),
    SIZE(layers, "L", "1", "layers"),
    {.name = "shapes",
     .type = CLI_TEXT,
     NETWORK(shapes),
     .value = "LIST",
     .help = "a built-in list of gatekern bench, or a file of that form"},
    {.name = "isa", .type = CLI_ISA, NETWORK(isa), .fallback = "auto", .help = "instruction set"},
    {.name = "threads",
     .type = CLI_INTEGER,
     NETWORK(threads),
     .fallback = "0",
     .minimum = 0,
     .maximum = CLI_MOST_THREADS,
     .value = "P",
     .help = "0: as many as the process may use"},
    {.name = "schedule", .type = CLI_SCHEDULE, NETWORK(schedule), .fallback = "auto", .help = "forces one"},
    {.type = CLI_NETWORK, NETWORK(network)},
    {0}};

static const cli_command command = {
    .name = "info",
    .summary =
        "Shows this machine as Gatekern sees it: CPU, instruction sets and the one that is used, caches, "
        "threads, and measured limits: fp32 FMA rate of each instruction set, read bandwidth of each level, "
        "and how long a line of cache takes from one core to another.",
    .options = options,
    .examples = "  GATEKERN_ISA=avx2 gatekern info\n"
                "  gatekern info --json --no-measure\n"
                "  gatekern info --plan --cell gru --hidden 256 --batch 4\n",
    .settings_size = sizeof(struct settings),
};

struct cache {
  int level;
  char type[16];
  int64_t bytes;
  char shared_by[512]; /* CPUs, as the kernel lists them */
};

struct machine {
  char cpu[128];
  gk_isa isa;
  struct cache cache[MOST_CACHES]; /* of CPU 0, without those that hold only instructions */
  int caches;
  int threads, allowed_cpus;
  const char *threads_reason;
};

/* Read bandwidth of a working set that a cache level holds, or that none holds. */
struct level {
  char name[16];
  int64_t bytes, bytes_each; /* of one thread's working set; of each thread's where all read */
  double one, all;           /* GB/s */
  bool no_memory;            /* for these bytes: not measured */
};

enum { CACHE_LEVELS = 3 };

struct limits {
  double peak_one[MOST_ISAS], peak_all[MOST_ISAS]; /* GFLOP/s, by tier - 1; 0: not usable */
  double core_to_core;                             /* nanoseconds; 0: one thread */
  struct level level[CACHE_LEVELS + 1];            /* L1 to L3, memory */
  int levels;
};

/* The first line of a file without its end; "" if there is none. */
static void read_line(const char *path, char *text, int size) {
  FILE *file = fopen(path, "r");
  if (!file || !fgets(text, size, file))
    text[0] = 0;
  if (file)
    fclose(file);
  text[strcspn(text, "\n")] = 0;
}

static void read_cpu_name(char *name, size_t size) {
  static const char *const keys[] = {"model name", "CPU part"};
  char line[256], machine[32];
  snprintf(name, size, "unknown");
  FILE *file = fopen("/proc/cpuinfo", "r");
  while (file && fgets(line, sizeof line, file)) {
    char *value = strchr(line, ':');
    if (!value || !*name)
      continue;
    line[strcspn(line, "\n")] = 0;
    value += 1 + strspn(value + 1, " \t");
    if (!strncmp(line, keys[0], strlen(keys[0]))) {
      snprintf(name, size, "%.100s", value);
      break;
    }
    if (!strncmp(line, keys[1], strlen(keys[1])))
      snprintf(name, size, "CPU part %.100s", value);
  }
  if (file)
    fclose(file);
  read_line("/sys/firmware/devicetree/base/model", machine, sizeof machine);
  if (!strcmp(name, "unknown") && *machine)
    snprintf(name, size, "%s", machine);
}

static int64_t bytes_of(const char *text) {
  char *unit;
  int64_t bytes = strtoll(text, &unit, 10);
  if (*unit == 'K')
    bytes <<= 10;
  else if (*unit == 'M')
    bytes <<= 20;
  else if (*unit == 'G')
    bytes <<= 30;
  return bytes;
}

static void read_caches(struct machine *machine) {
  for (int index = 0; index < MOST_CACHES; index++) {
    struct cache *cache = &machine->cache[machine->caches];
    char path[96], level[16], size[32];
    char *const text[] = {level, cache->type, size, cache->shared_by};
    static const char *const file[] = {"level", "type", "size", "shared_cpu_list"};
    const int room[] = {sizeof level, sizeof cache->type, sizeof size, sizeof cache->shared_by};
    for (int i = 0; i < 4; i++) {
      snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, file[i]);
      read_line(path, text[i], room[i]);
    }
    cache->level = atoi(level);
    cache->bytes = bytes_of(size);
    if (cache->level > 0 && cache->bytes > 0 && strcmp(cache->type, "Instruction"))
      machine->caches++;
  }
}

static gk_status read_machine(struct machine *machine) {
  *machine = (struct machine){0};
  gk_status status = gk_isa_resolve(GK_ISA_AUTO, &machine->isa);
  if (status != GK_OK)
    return status;
  read_cpu_name(machine->cpu, sizeof machine->cpu);
  read_caches(machine);
  machine->threads = gk_default_threads();
  machine->allowed_cpus = gk_allowed_cpus();
  const char *asked = getenv("OMP_NUM_THREADS");
  if (asked && atoi(asked) == machine->threads)
    machine->threads_reason = "OMP_NUM_THREADS";
  else if (machine->threads == machine->allowed_cpus)
    machine->threads_reason = "the CPUs that this process may run on";
  else
    machine->threads_reason = "OpenMP's limit or the CPU quota of this process's cgroup";
  return GK_OK;
}

/* CPUs of a list as the kernel writes it, 0-3,8. */
static int64_t count_cpus(const char *list) {
  int64_t count = 0;
  for (char *end; *list; list = *end == ',' ? end + 1 : end) {
    const long first = strtol(list, &end, 10);
    const long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
    count += last - first + 1;
    if (*end && *end != ',')
      break;
  }
  return count > 0 ? count : 1;
}

/* Working sets. Of one thread: half of each cache level; four times the last level, and at least 256 MiB, for
 * memory. Of all threads: as much of the first and second level each, their share of half the third ones, or
 * of all of them where that is no more than the second level, and of memory what no third level holds. A
 * third level whose shares are smaller is left out. */
static void choose_levels(const struct machine *machine, struct limits *limits) {
  const int64_t least = INT64_C(256) << 20, threads = machine->threads;
  int64_t largest = 0, near = 0, shared = 1, share = 0;
  for (int i = 0; i < machine->caches; i++) {
    const struct cache *cache = &machine->cache[i];
    const int64_t sharers = count_cpus(cache->shared_by), caches = (threads + sharers - 1) / sharers;
    if (cache->bytes > largest) {
      largest = cache->bytes;
      shared = caches;
    }
    if (cache->level > CACHE_LEVELS)
      continue;
    struct level *level = &limits->level[cache->level - 1];
    snprintf(level->name, sizeof level->name, "L%d", cache->level);
    level->bytes = level->bytes_each = cache->bytes / 2;
    if (cache->level == 2)
      near = cache->bytes;
    else if (cache->level == 3)
      share = cache->bytes * caches / threads;
  }
  struct level *last = &limits->level[CACHE_LEVELS - 1], *memory = &limits->level[CACHE_LEVELS];
  last->bytes_each = share / 2 > near ? share / 2 : share;
  if (last->bytes_each <= near)
    last->bytes = 0;
  snprintf(memory->name, sizeof memory->name, "memory");
  memory->bytes = 4 * largest > least ? 4 * largest : least;
  memory->bytes_each = (4 * largest * shared > least ? 4 * largest * shared : least) / threads;
  limits->levels = CACHE_LEVELS + 1;
}

/* A limit of the process's memory takes nothing from what is measured in less. */
static gk_status measure_level(const struct machine *machine, double seconds, struct level *level) {
  gk_status status = gk_measure_bandwidth(machine->isa, 1, (size_t)level->bytes, seconds, &level->one);
  level->all = level->one;
  if (status == GK_OK && machine->threads > 1)
    status =
        gk_measure_bandwidth(machine->isa, machine->threads, (size_t)level->bytes_each, seconds, &level->all);
  level->no_memory = status == GK_ERROR_MEMORY;
  return level->no_memory ? GK_OK : status;
}

static gk_status measure_limits(const struct machine *machine, double seconds, struct limits *limits) {
  gk_status status = GK_OK;
  *limits = (struct limits){0};
  for (int n = 0; n < gk_isa_count() && n < MOST_ISAS && status == GK_OK; n++) {
    gk_isa isa = (gk_isa)(n + 1);
    if (!gk_isa_usable(isa))
      continue;
    status = gk_measure_peak(isa, 1, seconds, &limits->peak_one[n], NULL);
    limits->peak_all[n] = limits->peak_one[n];
    if (status == GK_OK && machine->threads > 1)
      status = gk_measure_peak(isa, machine->threads, seconds, &limits->peak_all[n], NULL);
  }
  if (status == GK_OK)
    status = gk_measure_core_to_core(machine->threads, seconds, &limits->core_to_core);
  choose_levels(machine, limits);
  for (int i = 0; i < limits->levels && status == GK_OK; i++)
    if (limits->level[i].bytes)
      status = measure_level(machine, seconds, &limits->level[i]);
  return status;
}

static void print_caches(const struct machine *machine) {
  for (int i = 0; i < machine->caches; i++) {
    const struct cache *cache = &machine->cache[i];
    printf("%-14sL%d %s, %lld KiB", i ? "" : "caches", cache->level, cache->type,
           (long long)cache->bytes >> 10);
    if (*cache->shared_by)
      printf(count_cpus(cache->shared_by) > 1 ? ", shared by CPUs %s" : ", used by CPU %s", cache->shared_by);
    printf("\n");
  }
}

static void print_bandwidths(const struct machine *machine, const struct limits *limits) {
  for (int i = 0; i < limits->levels; i++) {
    const struct level *level = &limits->level[i];
    const int64_t all_bytes = level->bytes_each * machine->threads;
    if (level->no_memory)
      printf("read, %-18snot measured: no memory for %lld MiB\n", level->name,
             (long long)(all_bytes > level->bytes ? all_bytes : level->bytes) >> 20);
    else if (level->bytes)
      printf("read, %-18s%12.1f%12.1f GB/s\n", level->name, level->one, level->all);
  }
}

static void print_text(const struct machine *machine, const struct limits *limits) {
  printf("gatekern %s\n", gk_version());
  printf("%-14s%s\n", "compiler", BENCH_COMPILER);
  printf("%-14s%s\n%-14s%s\n", "CPU", machine->cpu, "features", gk_cpu_features());
  printf("%-13s", "usable tiers");
  for (int n = 0; n < gk_isa_count(); n++)
    if (gk_isa_usable((gk_isa)(n + 1)))
      printf(" %s", gk_isa_name((gk_isa)(n + 1)));
  printf("\n%-14s%s\n", "scalar fma", gk_scalar_fma());
  printf("%-14s%s\n", "chosen tier", gk_isa_reason());
  print_caches(machine);
  printf("%-14s%d: %s\n", "threads", machine->threads, machine->threads_reason);
  if (!limits)
    return;
  printf("\n%-24s%12s%12s\n", "measured", "1 thread", "all threads");
  for (int n = 0; n < gk_isa_count() && n < MOST_ISAS; n++)
    if (limits->peak_one[n] > 0)
      printf("fp32 FMA, %-14s%12.1f%12.1f GFLOP/s\n", gk_isa_name((gk_isa)(n + 1)), limits->peak_one[n],
             limits->peak_all[n]);
  print_bandwidths(machine, limits);
  if (limits->core_to_core > 0)
    printf("%-24s%24.0f ns\n", "from core to core", limits->core_to_core);
}

static void print_string(const char *name, const char *text) {
  printf("\"%s\": \"", name);
  for (; *text; text++) {
    if (*text == '"' || *text == '\\')
      putchar('\\');
    if ((unsigned char)*text < 0x20)
      printf("\\u%04x", *text);
    else
      putchar(*text);
  }
  printf("\"");
}

static void print_json(const struct machine *machine, const struct limits *limits) {
  printf("{");
  print_string("version", gk_version());
  printf(", ");
  print_string("compiler", BENCH_COMPILER);
  printf(", ");
  print_string("cpu", machine->cpu);
  printf(", ");
  print_string("features", gk_cpu_features());
  printf(", \"isa\": \"%s\", ", gk_isa_name(machine->isa));
  print_string("isa_reason", gk_isa_reason());
  printf(", \"threads\": %d, \"allowed_cpus\": %d, ", machine->threads, machine->allowed_cpus);
  print_string("threads_reason", machine->threads_reason);
  printf(", \"tiers\": [");
  for (int n = 0; n < gk_isa_count() && n < MOST_ISAS; n++) {
    gk_isa isa = (gk_isa)(n + 1);
    printf("%s{\"isa\": \"%s\", \"usable\": %s", n ? ", " : "", gk_isa_name(isa),
           gk_isa_usable(isa) ? "true" : "false");
    if (isa == GK_ISA_SCALAR)
      printf(", \"fma\": \"%s\"", gk_scalar_fma());
    if (limits && limits->peak_one[n] > 0)
      printf(", \"peak_gflops_one_thread\": %.6g, \"peak_gflops\": %.6g", limits->peak_one[n],
             limits->peak_all[n]);
    printf("}");
  }
  printf("], \"caches\": [");
  for (int i = 0; i < machine->caches; i++) {
    const struct cache *cache = &machine->cache[i];
    printf("%s{\"level\": %d, \"bytes\": %lld, ", i ? ", " : "", cache->level, (long long)cache->bytes);
    print_string("type", cache->type);
    printf(", ");
    print_string("shared_by_cpus", cache->shared_by);
    printf("}");
  }
  printf("]");
  if (limits)
    printf(", \"core_to_core_ns\": %.4g, \"bandwidth\": [", limits->core_to_core);
  for (int i = 0, printed = 0; limits && i < limits->levels; i++)
    if (limits->level[i].bytes && !limits->level[i].no_memory)
      printf("%s{\"level\": \"%s\", \"bytes\": %lld, \"bytes_of_each_thread\": %lld, "
             "\"gigabytes_per_second_one_thread\": %.5g, \"gigabytes_per_second\": %.5g}",
             printed++ ? ", " : "", limits->level[i].name, (long long)limits->level[i].bytes,
             (long long)limits->level[i].bytes_each, limits->level[i].one, limits->level[i].all);
  printf(limits ? "]}\n" : "}\n");
}

/* An option of a network that was given, or NULL. */
static const char *network_option(void) {
  for (int i = 0; options[i].name; i++)
    if (options[i].offset >= offsetof(struct settings, network) && cli_given(options[i].name))
      return options[i].name;
  return cli_given_of_network();
}

int run_info(int argc, char **argv) {
  struct settings settings;
  struct machine machine;
  struct limits limits;
  int exit_code;
  if (!cli_parse(&command, argc, argv, &settings, &exit_code))
    return exit_code;
  static const char *const of_measurements[] = {"seconds", "no-measure"};
  for (size_t i = 0; i < sizeof of_measurements / sizeof *of_measurements && settings.plan; i++)
    if (cli_given(of_measurements[i]))
      return cli_error(&command, "--%s and --plan: a plan measures nothing", of_measurements[i]);
  if (settings.plan)
    return print_plans(&command, &settings.network, settings.json);
  const char *without_plan = network_option();
  if (without_plan)
    return cli_error(&command, "--%s says how a network would run: it needs --plan", without_plan);
  if (settings.no_measure && cli_given("seconds"))
    return cli_error(&command, "--seconds and --no-measure: nothing is measured");
  gk_status status = read_machine(&machine);
  if (status == GK_OK && !settings.no_measure)
    status = measure_limits(&machine, settings.seconds, &limits);
  if (status != GK_OK)
    return cli_status(&command, status);
  if (settings.json)
    print_json(&machine, settings.no_measure ? NULL : &limits);
  else
    print_text(&machine, settings.no_measure ? NULL : &limits);
  return CLI_SUCCESS;
}
