/* SPDX-License-Identifier: Apache-2.0 */
#ifdef __linux__
#define _GNU_SOURCE /* sched_getaffinity */
#include <sched.h>
#endif

#include "src/core/threads.h"

#include "src/core/arguments.h"
#include "src/core/cgroup.h"

#include <limits.h>
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

gk_status gk_check_threads(int threads) {
  return gk_check_range("threads", threads, 0, GK_MOST_THREADS, GK_ERROR_ARGUMENT);
}

static atomic_bool forked;

static void mark_child(void) {
  atomic_store_explicit(&forked, true, memory_order_relaxed);
}

/* Registered when the library is loaded, not at its first use: OpenMP may have been used by others in
 * between, and its threads are as lost in the child. */
__attribute__((constructor)) static void watch_fork(void) {
  pthread_atfork(NULL, NULL, mark_child);
}

bool gk_in_forked_child(void) {
  return atomic_load_explicit(&forked, memory_order_relaxed);
}

/* Of the process's first thread: another one may be pinned to a CPU of its own. */
static int affinity_cpus(void) {
#ifdef __linux__
  /* The kernel refuses a set smaller than its own, which may exceed cpu_set_t's 1024. */
  for (size_t cpus = CPU_SETSIZE; cpus <= 1 << 20; cpus *= 2) {
    cpu_set_t *set = CPU_ALLOC(cpus);
    if (!set)
      break;
    size_t bytes = CPU_ALLOC_SIZE(cpus);
    int count = sched_getaffinity(getpid(), bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0)
      return count;
  }
#endif
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 && online < INT_MAX ? (int)online : 1;
}

int gk_allowed_cpus(void) {
  static atomic_int known; /* 0: not yet read. Two threads that race store the same number */
  int cpus = atomic_load_explicit(&known, memory_order_relaxed);
  if (cpus == 0) {
    cpus = affinity_cpus();
    /* OpenMP has then bound the first thread to one of them when it was loaded. */
    if (omp_get_proc_bind() != omp_proc_bind_false && omp_get_num_procs() > cpus)
      cpus = omp_get_num_procs();
    atomic_store_explicit(&known, cpus, memory_order_relaxed);
  }
  return cpus;
}

int gk_available_cpus(void) {
  static atomic_int known_quota;
  int quota = atomic_load_explicit(&known_quota, memory_order_relaxed);
  if (quota == 0) {
    quota = gk_cgroup_cpus("");
    atomic_store_explicit(&known_quota, quota, memory_order_relaxed);
  }
  const int cpus = gk_allowed_cpus();
  return cpus < quota ? cpus : quota;
}

int gk_default_threads(void) {
  if (gk_in_forked_child())
    return 1;
  int cpus = gk_available_cpus(), openmp = omp_get_max_threads();
  return openmp < cpus ? openmp : cpus;
}
