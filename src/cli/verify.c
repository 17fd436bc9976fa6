/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"
#include "commands.h"
#include "options.h"
#include "progress_line.h"
#include "verify_case.h"
#include "verify_expected.h"

enum { MOST_PLANS = 64, MOST_THREADS = 3 };

struct settings {
  uint64_t seed;
  int isa;
  bool per_case;
};

static const cli_option options[] = {
    {.name = "seed",
     .type = CLI_SEED,
     .offset = offsetof(struct settings, seed),
     .value = "S",
     .help = "other random data: the hash is printed and not compared with the committed one"},
    {.name = "isa",
     .type = CLI_ISA,
     .offset = offsetof(struct settings, isa),
     .fallback = "auto",
     .help = "one instruction set; auto: GATEKERN_ISA if it is set, else every one that this machine has"},
    {.name = "per-case",
     .type = CLI_FLAG,
     .offset = offsetof(struct settings, per_case),
     .help = "print a hash for each result of each case, to find where two machines differ"},
    {0}};

static const cli_command command = {
    .name = "verify",
    .summary =
        "Computes many small networks, their losses, gradients and updates, and prints one hash of all "
        "bits. Every case is computed with every schedule and with 1, 2 and 3 threads on the strongest "
        "instruction set, and in about half of these ways on every other that this machine has: all must "
        "agree. "
        "Without --seed the hash must also be the committed one, the same on every machine.",
    .options = options,
    .examples = "  gatekern verify\n"
                "  GATEKERN_ISA=avx2 gatekern verify --seed 7\n"
                "  gatekern verify --per-case > here.txt\n",
    .settings_size = sizeof(struct settings),
};

struct plans {
  verify_plan plan[MOST_PLANS];
  int count;
  char tiers[128]; /* their names */
};

/* What the last line says. */
struct totals {
  int cases;
  uint64_t hash;
};

/* How far it is. */
struct run {
  uint64_t seed;
  int cases; /* 0: not counted */
  struct totals totals;
  struct progress_line line;
};

static void add_plan(struct plans *plans, gk_isa isa, gk_schedule schedule, int threads) {
  if (plans->count < MOST_PLANS)
    plans->plan[plans->count++] = (verify_plan){isa, schedule, threads};
}

/* The strongest tier in every way; the others, which cut the same work in the same manner, in some. */
static gk_status make_plans(const struct settings *settings, struct plans *plans) {
  const char *forced = getenv("GATEKERN_ISA");
  const bool one = settings->isa != GK_ISA_AUTO || (forced && *forced && strcmp(forced, "auto"));
  gk_isa chosen = GK_ISA_AUTO;
  gk_status status = gk_isa_resolve((gk_isa)settings->isa, &chosen);
  *plans = (struct plans){0};
  for (int isa = 1; isa <= gk_isa_count() && status == GK_OK; isa++) {
    if (!gk_isa_usable((gk_isa)isa) || (one && isa != (int)chosen))
      continue;
    size_t used = strlen(plans->tiers);
    snprintf(plans->tiers + used, sizeof plans->tiers - used, "%s%s", used ? ", " : "",
             gk_isa_name((gk_isa)isa));
    for (int threads = 1; threads <= MOST_THREADS; threads++)
      for (int schedule = GK_SCHEDULE_SLICES; schedule < gk_schedule_count(); schedule++)
        if (isa == (int)chosen || (threads + schedule) % 2 == 0)
          add_plan(plans, (gk_isa)isa, (gk_schedule)schedule, threads);
  }
  return status;
}

/* Computes a case in every way. *exit_code is not CLI_SUCCESS if two ways disagree or the library fails. */
static gk_status run_case(verify_job *job, const char *name, const struct plans *plans,
                          struct progress_line *line, int *exit_code) {
  gk_status status = GK_OK;
  for (int i = 0; i < plans->count && status == GK_OK; i++) {
    const verify_plan *plan = &plans->plan[i];
    const char *problem;
    status = verify_compute(job, plan, &problem);
    if (status != GK_OK)
      problem = status == GK_ERROR_MEMORY ? "out of memory" : gk_last_error();
    if (problem) {
      progress_line_clear(line);
      cli_error(&command, "%s, %s, %s, threads %d: %s", name, gk_isa_name(plan->isa),
                gk_schedule_name(plan->schedule), plan->threads, problem);
      *exit_code = CLI_FAILURE;
      return status;
    }
  }
  return status;
}

static void add_case(const verify_job *job, const char *name, bool print, struct totals *totals) {
  totals->cases++;
  totals->hash = checksum_text(totals->hash, name);
  for (int i = 0; i < verify_result_count(job); i++) {
    const uint64_t hash = verify_result_hash(job, i);
    totals->hash = checksum_word(totals->hash, hash);
    if (print)
      printf("%016" PRIx64 "  %s: %s\n", hash, name, verify_result_name(job, i));
  }
  fflush(stdout);
}

/* `agrees`: with the committed hash. */
static void print_totals(const struct totals *totals, const struct plans *plans, uint64_t seed, bool agrees) {
  printf("%016" PRIx64 "  seed %" PRIu64 ": %d cases (", totals->hash, seed, totals->cases);
  for (int cell = 0; cell < gk_cell_count(); cell++)
    printf("%s%s", cell ? ", " : "", gk_cell_name((gk_cell)cell));
  printf("; tails, long sums, layers, layouts, ragged lengths, resets, masks, options of cells, tokens, "
         "pooling, loss, "
         "accumulation, "
         "clipping, optimizers, single steps, decoders) x %d ways (%s; ",
         plans->count, plans->tiers);
  for (int schedule = GK_SCHEDULE_SLICES; schedule < gk_schedule_count(); schedule++)
    printf("%s, ", gk_schedule_name((gk_schedule)schedule));
  printf("1 to %d threads)%s\n", MOST_THREADS, agrees ? ": as committed" : "");
}

/* Cases of one run: one for each cell that has what it needs. Data is made for nothing; it is little. */
static int count_cases(uint64_t seed) {
  int count = 0;
  for (int i = 0; i < verify_case_count; i++)
    for (int cell = 0; cell < gk_cell_count(); cell++) {
      verify_job *job;
      count += verify_open(&verify_cases[i], (gk_cell)cell, seed, &job) == GK_OK;
      verify_close(job);
    }
  return count;
}

/* One case, if the library offers this kind of network. *exit_code as in run_case. */
static gk_status verify_one(const struct settings *settings, const struct plans *plans,
                            const verify_case *this_case, gk_cell cell, struct run *run, int *exit_code) {
  char name[96];
  verify_job *job;
  snprintf(name, sizeof name, "%s %s", this_case->name, gk_cell_name(cell));
  gk_status status = verify_open(this_case, cell, run->seed, &job);
  if (status == GK_ERROR_UNSUPPORTED)
    return GK_OK;
  progress_line_count(&run->line, "verify", run->totals.cases, run->cases, "cases", name);
  if (status == GK_OK)
    status = run_case(job, name, plans, &run->line, exit_code);
  else
    *exit_code = cli_status(&command, status);
  if (settings->per_case || status != GK_OK)
    progress_line_clear(&run->line);
  if (status == GK_OK)
    add_case(job, name, settings->per_case, &run->totals);
  verify_close(job);
  return status;
}

int run_verify(int argc, char **argv) {
  struct settings settings;
  struct plans plans;
  struct run run = {.totals = {.hash = CHECKSUM_START}};
  int exit_code;
  if (!cli_parse(&command, argc, argv, &settings, &exit_code))
    return exit_code;
  exit_code = CLI_SUCCESS;
  const bool compare = !cli_given("seed");
  run.seed = compare ? VERIFY_DEFAULT_SEED : settings.seed;
  gk_status status = make_plans(&settings, &plans);
  if (status != GK_OK)
    return cli_status(&command, status);
  progress_line_begin(&run.line, stderr, 0);
  if (run.line.terminal)
    run.cases = count_cases(run.seed);
  for (int i = 0; i < verify_case_count; i++)
    for (int cell = 0; cell < gk_cell_count(); cell++)
      if (verify_one(&settings, &plans, &verify_cases[i], (gk_cell)cell, &run, &exit_code) != GK_OK)
        return exit_code;
  progress_line_clear(&run.line);
  const bool agrees = exit_code == CLI_SUCCESS && compare && run.totals.hash == VERIFY_EXPECTED;
  print_totals(&run.totals, &plans, run.seed, agrees);
  if (exit_code == CLI_SUCCESS && compare && !agrees) {
    cli_error(&command,
              "the hash must be %016" PRIx64 ": this build does not compute what the others do; compare "
              "--per-case with a machine that agrees",
              VERIFY_EXPECTED);
    exit_code = CLI_FAILURE;
  }
  return exit_code;
}
