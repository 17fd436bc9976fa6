/* SPDX-License-Identifier: Apache-2.0
 *
 * The parallel region and what it stands on: threads, forks, the pinned floating-point environment, the
 * barrier, limits of control groups, random numbers, checked sizes.
 * ctest labels: edges */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <limits.h>
#include <omp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/core/cgroup.h"
#include "src/core/float_environment.h"
#include "src/core/parallel.h"
#include "src/core/random.h"
#include "src/core/size.h"
#include "src/core/status.h"
#include "src/core/threads.h"
#include "tests/temporary_folder.h"

enum { MOST_THREADS = 8 };

#if defined(__x86_64__)
/* Round up, flush results and denormal operands to zero, exceptions masked, inexact raised. */
#define CALLERS_ENVIRONMENT 0xDFE0u
#define PINNED_ENVIRONMENT  0x1F80u
#define PINNED_PART         UINT64_MAX
static uint64_t get_environment(void) {
  return _mm_getcsr();
}
static void set_environment(uint64_t value) {
  _mm_setcsr((unsigned)value);
}
#else
/* FPCR: FZ, round up; FPSR, in the upper half: inexact. */
#define CALLERS_ENVIRONMENT (UINT64_C(1) << 24 | UINT64_C(1) << 22 | UINT64_C(1) << 4 << 32)
#define PINNED_ENVIRONMENT  UINT64_C(0)
#define PINNED_PART         UINT32_MAX /* flags that are up change no arithmetic */
static uint64_t get_environment(void) {
  uint64_t control, flags;
  __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(control), "=r"(flags));
  return control | flags << 32;
}
static void set_environment(uint64_t value) {
  __asm__ volatile("msr fpcr, %0\n\tmsr fpsr, %1" ::"r"(value & UINT32_MAX), "r"(value >> 32) : "memory");
}
#endif

/* ---- Region -------------------------------------------------------------------------------- */

struct seen {
  atomic_int calls[MOST_THREADS];
  atomic_int threads;
  atomic_int disagreements; /* threads that were told another number, or a thread out of range */
};

static void look(void *context, int thread, int threads) {
  struct seen *seen = context;
  if (thread < 0 || thread >= threads || threads > MOST_THREADS) {
    seen->disagreements++;
    return;
  }
  seen->calls[thread]++;
  int expected = 0;
  if (!atomic_compare_exchange_strong(&seen->threads, &expected, threads) && expected != threads)
    seen->disagreements++;
}

/* Every thread 0 .. threads-1 ran once and was told the same number; returns that number. */
static int threads_of_region(int asked) {
  struct seen seen = {0};
  gk_parallel(asked, look, &seen);
  assert_int_equal(seen.disagreements, 0);
  for (int i = 0; i < MOST_THREADS; i++)
    assert_int_equal(seen.calls[i], i < seen.threads);
  return seen.threads;
}

static void a_region_runs_every_thread_once(void **state) {
  (void)state;
  omp_set_dynamic(0);
  for (int threads = 1; threads <= MOST_THREADS; threads++)
    assert_int_equal(threads_of_region(threads), threads);
  assert_int_equal(threads_of_region(0), 1);
  assert_int_equal(threads_of_region(-3), 1);
  /* Fewer threads than asked for: body is told the truth. */
  omp_set_dynamic(1);
  int threads = threads_of_region(MOST_THREADS);
  omp_set_dynamic(0);
  assert_in_range(threads, 1, MOST_THREADS);
}

static void nest(void *context, int thread, int threads) {
  (void)threads;
  int *inner = context;
  struct seen seen = {0};
  gk_parallel(3, look, &seen);
  inner[thread] = seen.disagreements == 0 && seen.calls[0] == 1 ? seen.threads : -1;
}

static void a_nested_region_has_one_thread(void **state) {
  (void)state;
  int inner[2] = {0};
  gk_parallel(2, nest, inner);
  assert_int_equal(inner[0], 1);
  assert_int_equal(inner[1], 1);
  int foreign[2] = {0};
#pragma omp parallel num_threads(2)
  nest(foreign, omp_get_thread_num(), 2);
  assert_int_equal(foreign[0], 1);
  assert_int_equal(foreign[1], 1);
}

/* ---- Floating-point environment ------------------------------------------------------------- */

struct environments {
  uint64_t inside[MOST_THREADS];
  float denormal[MOST_THREADS], sum[MOST_THREADS];
};

static void compute(void *context, int thread, int threads) {
  (void)threads;
  struct environments *e = context;
  volatile float smallest = 0x1p-126f, one = 1, tiny = 0x1p-30f;
  e->inside[thread] = get_environment() & PINNED_PART;
  e->denormal[thread] = smallest * 0.25f;
  e->sum[thread] = one + tiny;
  set_environment(CALLERS_ENVIRONMENT); /* a body may leave anything behind */
}

static void a_region_pins_the_environment_and_gives_it_back(void **state) {
  (void)state;
  uint64_t before = get_environment();
  for (int threads = 1; threads <= 4; threads += 3) {
    struct environments e = {0};
    set_environment(CALLERS_ENVIRONMENT);
    gk_parallel(threads, compute, &e);
    uint64_t after = get_environment();
    set_environment(before);
    assert_int_equal(after, CALLERS_ENVIRONMENT);
    for (int i = 0; i < threads; i++) {
      assert_int_equal(e.inside[i], PINNED_ENVIRONMENT);
      assert_true(e.denormal[i] == 0x1p-128f);
      assert_true(e.sum[i] == 1);
    }
  }
}

/* The team's other threads belong to the caller too: what they had is what they have afterwards. (LLVM's
 * OpenMP hands the caller's environment to the team at the start of each region, GNU's does not.) */
static void the_teams_threads_get_their_environment_back(void **state) {
  (void)state;
  enum { THREADS = 3 };
  uint64_t before[THREADS], after[THREADS], callers = get_environment();
  set_environment(CALLERS_ENVIRONMENT);
#pragma omp parallel num_threads(THREADS)
  {
    before[omp_get_thread_num()] = get_environment();
    set_environment(CALLERS_ENVIRONMENT);
  }
  struct environments e = {0};
  gk_parallel(THREADS, compute, &e);
#pragma omp parallel num_threads(THREADS)
  {
    after[omp_get_thread_num()] = get_environment();
    set_environment(before[omp_get_thread_num()]);
  }
  set_environment(callers);
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(e.inside[i], PINNED_ENVIRONMENT);
    assert_int_equal(after[i], CALLERS_ENVIRONMENT);
  }
}

/* ---- Barrier ------------------------------------------------------------------------------- */

struct relay {
  struct gk_barrier barrier;
  int threads, rounds;
  bool one_is_late;
  int wrote[MOST_THREADS]; /* plain on purpose: only the barrier orders them */
  int errors[MOST_THREADS];
};

/* Each round every thread writes its round and, after the barrier, sees that of all others. A second wait
 * keeps the next round's writes away. */
static void run_relay(void *context, int thread, int threads) {
  struct relay *relay = context;
  if (threads != relay->threads) {
    relay->errors[thread]++;
    return;
  }
  for (int round = 1; round <= relay->rounds; round++) {
    if (relay->one_is_late && thread == round % threads)
      usleep(2000);
    relay->wrote[thread] = round;
    gk_barrier_wait(&relay->barrier);
    for (int other = 0; other < threads; other++)
      relay->errors[thread] += relay->wrote[other] != round;
    gk_barrier_wait(&relay->barrier);
  }
}

static void relay(int threads, int rounds, bool one_is_late) {
  struct relay relay = {.threads = threads, .rounds = rounds, .one_is_late = one_is_late};
  gk_barrier_init(&relay.barrier, threads);
  gk_parallel(threads, run_relay, &relay);
  for (int i = 0; i < threads; i++)
    assert_int_equal(relay.errors[i], 0);
}

/* More threads than CPUs included; late ones make the others yield and sleep. */
static void no_thread_passes_a_barrier_before_all_have_come(void **state) {
  (void)state;
  omp_set_dynamic(0);
  for (int threads = 1; threads <= MOST_THREADS; threads++) {
    relay(threads, threads <= gk_available_cpus() ? 20000 : 500, false);
    relay(threads, 20, true);
  }
}

/* The counter of generations may wrap. */
static void a_barriers_generations_may_wrap(void **state) {
  (void)state;
  struct relay relay = {.threads = 2, .rounds = 10};
  gk_barrier_init(&relay.barrier, 2);
  atomic_store(&relay.barrier.generation, UINT_MAX - 3);
  gk_parallel(2, run_relay, &relay);
  assert_int_equal(relay.errors[0] + relay.errors[1], 0);
  assert_in_range(atomic_load(&relay.barrier.generation), 16, 16);
}

/* ---- Fork ---------------------------------------------------------------------------------- */

static int child_checks(void) {
  if (!gk_in_forked_child())
    return 2;
  if (gk_default_threads() != 1)
    return 3;
  struct seen seen = {0};
  gk_parallel(4, look, &seen);
  if (seen.threads != 1 || seen.calls[0] != 1)
    return 4;
  return 0;
}

static void a_forked_child_runs_on_one_thread(void **state) {
  (void)state;
  assert_false(gk_in_forked_child());
  assert_int_equal(threads_of_region(4), 4);
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    alarm(20); /* a child that waits for threads of its parent would wait for ever */
    int failed = child_checks();
    if (!failed) {
      pid_t grandchild = fork();
      int status = -1;
      if (grandchild == 0)
        _exit(child_checks());
      failed = waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 5;
    }
    _exit(failed);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_false(gk_in_forked_child());
  assert_int_equal(threads_of_region(4), 4);
}

/* ---- Threads ------------------------------------------------------------------------------- */

static void default_threads_are_no_more_than_cpus_or_openmp_allow(void **state) {
  (void)state;
  int usual = omp_get_max_threads();
  assert_in_range(gk_available_cpus(), 1, sysconf(_SC_NPROCESSORS_ONLN));
  assert_in_range(gk_default_threads(), 1, gk_available_cpus());
  omp_set_num_threads(1);
  assert_int_equal(gk_default_threads(), 1);
  omp_set_num_threads(1000);
  assert_int_equal(gk_default_threads(), gk_available_cpus());
  omp_set_num_threads(usual);
}

static char root[96];

static void put(const char *path, const char *text) {
  char full[512], *slash;
  assert_true(snprintf(full, sizeof full, "%s%s", root, path) < (int)sizeof full);
  for (slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
    *slash = '\0';
    mkdir(full, 0700);
    *slash = '/';
  }
  FILE *file = fopen(full, "w");
  assert_non_null(file);
  assert_true(fputs(text, file) >= 0);
  assert_int_equal(fclose(file), 0);
}

static void new_root(void) {
  snprintf(root, sizeof root, "%s/cgroup-XXXXXX", temporary_folder());
  assert_non_null(mkdtemp(root));
}

static void remove_root(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -r '%s'", root);
  assert_int_equal(system(command), 0);
}

static void cgroups_limit_the_cpus(void **state) {
  (void)state;
  new_root();
  assert_int_equal(gk_cgroup_cpus(root), INT_MAX);
  put("/proc/self/cgroup", "0::/a.slice/b\n");
  assert_int_equal(gk_cgroup_cpus(root), INT_MAX);
  put("/sys/fs/cgroup/a.slice/b/cpu.max", "max 100000\n");
  assert_int_equal(gk_cgroup_cpus(root), INT_MAX);
  put("/sys/fs/cgroup/a.slice/cpu.max", "250000 100000\n"); /* the parent's limit binds */
  assert_int_equal(gk_cgroup_cpus(root), 3);
  put("/sys/fs/cgroup/a.slice/b/cpu.max", "100000 100000\n");
  assert_int_equal(gk_cgroup_cpus(root), 1);
  put("/sys/fs/cgroup/a.slice/b/cpu.max", "1000 100000\n");
  assert_int_equal(gk_cgroup_cpus(root), 1);
  put("/sys/fs/cgroup/a.slice/b/cpu.max", "nonsense\n");
  assert_int_equal(gk_cgroup_cpus(root), 3);
  /* In a container the group's name may be the host's, and its own folder the root. */
  put("/proc/self/cgroup", "0::/host/only\n");
  put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  assert_int_equal(gk_cgroup_cpus(root), 2);
  remove_root();

  new_root();
  put("/proc/self/cgroup", "12:cpuset:/x\n5:cpu,cpuacct:/jobs/7\n1:name=systemd:/\n0::/\n");
  assert_int_equal(gk_cgroup_cpus(root), INT_MAX);
  put("/sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_quota_us", "-1\n");
  put("/sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_period_us", "100000\n");
  assert_int_equal(gk_cgroup_cpus(root), INT_MAX);
  put("/sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_quota_us", "150000\n");
  assert_int_equal(gk_cgroup_cpus(root), 2);
  put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
  put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n");
  assert_int_equal(gk_cgroup_cpus(root), 1);
  remove_root();
}

/* ---- Random numbers ------------------------------------------------------------------------- */

/* Random123's known answer: philox4x32-10 of counter 0 and key 0 is 6627e8d5 e169c58d bc57ac4c 9b00dbd8. */
static void uniforms_have_random123s_known_answer(void **state) {
  (void)state;
  static const uint32_t words[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  for (uint64_t i = 0; i < 4; i++)
    assert_true(gk_uniform(0, 0, i) == (float)(words[i] >> 8) * 0x1p-24f);
  assert_true(gk_uniform(0, 0, 4) != gk_uniform(0, 0, 0));
  assert_true(gk_uniform(0, 0, UINT64_C(1) << 40) != gk_uniform(0, 0, 0));
}

static void random_rows_are_uniform_and_the_same_in_pieces(void **state) {
  (void)state;
  enum { COUNT = 1000 };
  static float whole[COUNT], part[COUNT];
  const struct gk_random_counter counter = {
      .seed = 7, .purpose = GK_RANDOM_DROPOUT, .layer = 1, .step = 3, .sample = 5, .time = 9};
  gk_random_uniforms(&counter, 0, COUNT, whole);
  double sum = 0, squares = 0;
  for (int i = 0; i < COUNT; i++) {
    assert_true(whole[i] >= 0 && whole[i] < 1);
    sum += whole[i];
    squares += whole[i] * (double)whole[i];
  }
  /* Five standard deviations of the mean, 1/sqrt(12 n), and of the mean square, sqrt(4/45/n). */
  assert_true(sum / COUNT > 0.5 - 0.046 && sum / COUNT < 0.5 + 0.046);
  assert_true(squares / COUNT > 1 / 3.0 - 0.048 && squares / COUNT < 1 / 3.0 + 0.048);
  /* Any piece of a row is that piece of the row. */
  for (size_t first = 0; first < 9; first++)
    for (size_t count = 0; count < 9; count++) {
      part[count] = -1;
      gk_random_uniforms(&counter, first, count, part);
      assert_memory_equal(part, whole + first, count * sizeof *part);
      assert_true(part[count] == -1);
    }
}

/* Each field alone, in its lowest and highest bit, names another row. */
static void every_field_of_a_counter_names_another_row(void **state) {
  (void)state;
  struct gk_random_counter rows[15] = {{0}};
  rows[1].seed = 1;
  rows[2].seed = UINT64_C(1) << 63;
  rows[3].purpose = 1;
  rows[4].purpose = UINT32_C(1) << 23;
  rows[5].layer = 1;
  rows[6].layer = UINT32_C(1) << 31;
  rows[7].direction = 1;
  rows[8].direction = 255;
  rows[9].step = 1;
  rows[10].step = UINT64_C(1) << 63;
  rows[11].sample = 1;
  rows[12].sample = UINT64_C(1) << 63;
  rows[13].time = 1;
  rows[14].time = UINT32_C(1) << 31;
  float u[15][8];
  for (int i = 0; i < 15; i++) {
    gk_random_uniforms(&rows[i], 0, 8, u[i]);
    for (int j = 0; j < i; j++)
      assert_memory_not_equal(u[i], u[j], sizeof u[i]);
  }
}

/* ---- Sizes and messages ---------------------------------------------------------------------- */

static void sizes_overflow_instead_of_wrapping(void **state) {
  (void)state;
  size_t size = 6;
  assert_true(gk_size_multiply(&size, 7));
  assert_int_equal(size, 42);
  assert_false(gk_size_multiply(&size, -1));
  assert_false(gk_size_multiply(&size, INT64_MAX));
  assert_int_equal(size, 42);
  assert_true(gk_size_align(&size, 64));
  assert_int_equal(size, 64);
  assert_true(gk_size_align(&size, 64));
  assert_int_equal(size, 64);
  assert_false(gk_size_add(&size, SIZE_MAX - 63));
  assert_true(gk_size_add(&size, SIZE_MAX - 64));
  assert_true(size == SIZE_MAX);
  assert_false(gk_size_align(&size, 2));
  assert_true(gk_size_array(&size, 4, 3, 5, 7));
  assert_int_equal(size, 420);
  assert_true(gk_size_array(&size, 4, 0, INT64_MAX, 1));
  assert_int_equal(size, 0);
  size = 1;
  assert_false(gk_size_array(&size, 4, 0, -1, 1));
  assert_false(gk_size_array(&size, 4, INT64_C(1) << 31, INT64_C(1) << 31, 1));
  assert_int_equal(size, 1);
}

static void fail_in_thread(void *context, int thread, int threads) {
  (void)threads;
  char(*messages)[64] = context;
  gk_fail(GK_ERROR_IO, "thread %d", thread);
  snprintf(messages[thread], sizeof messages[thread], "%s", gk_last_error());
}

static void a_message_belongs_to_the_thread_that_failed(void **state) {
  (void)state;
  char messages[4][64], longer[2000];
  gk_parallel(4, fail_in_thread, messages);
  assert_string_equal(messages[0], "thread 0");
  assert_string_equal(messages[3], "thread 3");
  memset(longer, 'x', sizeof longer);
  longer[sizeof longer - 1] = '\0';
  assert_int_equal(gk_fail(GK_ERROR_FORMAT, "%s", longer), GK_ERROR_FORMAT);
  assert_int_equal(strlen(gk_last_error()), 511);
  for (int status = GK_OK; status <= GK_ERROR_FORMAT; status++)
    assert_string_not_equal(gk_status_name((gk_status)status), "unknown");
  assert_string_equal(gk_status_name((gk_status)99), "unknown");
}

/* More threads than CPUs, too, come to an end. */
static void cores_answer_each_other_and_one_thread_asks_nobody(void **state) {
  (void)state;
  for (int threads = 1; threads <= 3; threads++) {
    double nanoseconds = -1;
    assert_int_equal(gk_measure_core_to_core(threads, 0.001, &nanoseconds), GK_OK);
    assert_true(threads > 1 ? nanoseconds > 0 && nanoseconds < 1e9 : nanoseconds == 0);
  }
  double untouched = -1;
  assert_int_equal(gk_measure_core_to_core(2, 0, &untouched), GK_ERROR_ARGUMENT);
  assert_string_equal(gk_last_error(), "seconds is 0, must be above 0 and below 3600");
  assert_int_equal(gk_measure_core_to_core(-1, 0.001, &untouched), GK_ERROR_ARGUMENT);
  assert_true(untouched == -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_region_runs_every_thread_once),
      cmocka_unit_test(a_nested_region_has_one_thread),
      cmocka_unit_test(a_region_pins_the_environment_and_gives_it_back),
      cmocka_unit_test(the_teams_threads_get_their_environment_back),
      cmocka_unit_test(no_thread_passes_a_barrier_before_all_have_come),
      cmocka_unit_test(a_barriers_generations_may_wrap),
      cmocka_unit_test(a_forked_child_runs_on_one_thread),
      cmocka_unit_test(default_threads_are_no_more_than_cpus_or_openmp_allow),
      cmocka_unit_test(cgroups_limit_the_cpus),
      cmocka_unit_test(uniforms_have_random123s_known_answer),
      cmocka_unit_test(random_rows_are_uniform_and_the_same_in_pieces),
      cmocka_unit_test(every_field_of_a_counter_names_another_row),
      cmocka_unit_test(sizes_overflow_instead_of_wrapping),
      cmocka_unit_test(a_message_belongs_to_the_thread_that_failed),
      cmocka_unit_test(cores_answer_each_other_and_one_thread_asks_nobody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
