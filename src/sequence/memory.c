/* SPDX-License-Identifier: Apache-2.0
 * Sizes of the caller's memory: the cut itself, measured. */
#include "src/core/arguments.h"
#include "src/sequence/reserve.h"
#include "src/sequence/run.h"

static gk_status measure_workspace(struct gk_run *run, bool training, bool backward, bool keep,
                                   size_t *bytes) {
  struct gk_rnn_plan plans[GK_RNN_MOST_PLANS];
  const int count = gk_rnn_plans_up_to(run->rnn, run->time, run->batch, training, plans);
  run->training = training;
  run->keep = keep;
  *bytes = 0;
  for (int i = 0; i < count; i++) {
    struct gk_arena arena = gk_arena_start(NULL);
    size_t of_plan;
    run->plan = plans[i];
    gk_run_cut_workspace(run, &arena, backward);
    if (!gk_arena_bytes(&arena, &of_plan))
      return gk_fail(GK_ERROR_OVERFLOW, "workspace of time %lld, batch %lld does not fit in memory",
                     (long long)run->time, (long long)run->batch);
    if (of_plan > *bytes)
      *bytes = of_plan;
  }
  return GK_OK;
}

gk_status gk_rnn_memory_needed(const gk_rnn *rnn, int64_t time, int64_t batch, gk_rnn_memory *memory) {
  gk_status status = GK_CHECK_POINTERS({"rnn", rnn}, {"memory", memory});
  if (!status)
    status = gk_check_time_and_batch(time, batch);
  if (status)
    return status;
  struct gk_run run = {.rnn = rnn, .time = time, .batch = batch, .training = true};
  gk_rnn_memory needed;
  struct gk_arena reserve = gk_reserve_start(NULL);
  gk_run_cut_reserve(&run, &reserve);
  if (!gk_arena_bytes(&reserve, &needed.reserve_bytes))
    return gk_fail(GK_ERROR_OVERFLOW, "reserve of time %lld, batch %lld does not fit in memory",
                   (long long)time, (long long)batch);
  status = measure_workspace(&run, true, false, false, &needed.forward_workspace_bytes);
  if (!status)
    status = measure_workspace(&run, false, false, false, &needed.inference_workspace_bytes);
  if (!status)
    status = measure_workspace(&run, true, true, false, &needed.backward_workspace_bytes);
  if (!status)
    status = measure_workspace(&run, true, true, true, &needed.keep_workspace_bytes);
  if (!status)
    *memory = needed;
  return status;
}
