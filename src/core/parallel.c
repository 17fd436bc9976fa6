/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/parallel.h"

#include "src/core/float_environment.h"
#include "src/core/threads.h"

#include <omp.h>

static void run_pinned(void (*body)(void *context, int thread, int threads), void *context, int thread,
                       int threads) {
  uint64_t callers = gk_float_environment_pin();
  body(context, thread, threads);
  gk_float_environment_restore(callers);
}

void gk_parallel(int threads, void (*body)(void *context, int thread, int threads), void *context) {
  if (threads <= 1 || gk_in_forked_child() || omp_in_parallel()) {
    run_pinned(body, context, 0, 1);
    return;
  }
#pragma omp parallel num_threads(threads)
  run_pinned(body, context, omp_get_thread_num(), omp_get_num_threads());
}
