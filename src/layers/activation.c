/* SPDX-License-Identifier: Apache-2.0
 * Activations over a caller's array. */
#include "dispatch/dispatch.h"
#include "kernels/kernels.h"
#include "src/core/arguments.h"
#include "src/core/matrix.h"
#include "src/core/parallel.h"
#include "src/core/threads.h"

struct activation_call {
  void (*kernel)(size_t count, const float *x, float *y);
  size_t count;
  const float *x;
  float *y;
};

static void activation_body(void *context, int thread, int threads) {
  const struct activation_call *call = context;
  size_t begin, end;
  gk_split(call->count, 1024, thread, threads, &begin, &end);
  call->kernel(end - begin, call->x + begin, call->y + begin);
}

static gk_status activate(gk_isa isa, gk_math math, bool is_tanh, int64_t count, const float *x, float *y) {
  const struct gk_kernels *kernels;
  gk_status status = gk_kernels_for(isa, math, &kernels);
  if (!status)
    status = gk_check_count("count", count);
  if (!status && count)
    status = GK_CHECK_POINTERS({"x", x}, {"y", y});
  if (status)
    return status;
  struct activation_call call = {is_tanh ? kernels->tanh : kernels->sigmoid, (size_t)count, x, y};
  gk_parallel(count < 50000 ? 1 : gk_default_threads(), activation_body, &call);
  return GK_OK;
}

gk_status gk_sigmoid(gk_isa isa, gk_math math, int64_t count, const float *x, float *y) {
  return activate(isa, math, false, count, x, y);
}

gk_status gk_tanh(gk_isa isa, gk_math math, int64_t count, const float *x, float *y) {
  return activate(isa, math, true, count, x, y);
}
