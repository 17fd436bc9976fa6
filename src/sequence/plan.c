/* SPDX-License-Identifier: Apache-2.0
 * How a call is cut over threads. Affects speed, never bits. */
#include <stdio.h>
#include <string.h>

#include "src/sequence/rnn.h"

enum {
  CHUNK_ROWS = 96, /* rows of an input product: enough to reuse a panel, few enough to stay in cache */
  STEP_FLOP_A_THREAD = 120000 /* below, a barrier or a region costs more than the thread brings */
};

struct gk_rnn_plan gk_rnn_plan_for(const struct gk_rnn *rnn, int64_t time, int64_t batch) {
  struct gk_rnn_plan plan = {.schedule = rnn->desc.schedule, .threads = rnn->desc.threads};
  /* FLOP of one step's products of a layer: what a team's barrier must be paid from. */
  const double step = 2.0 * (double)batch * rnn->cell->gates * (double)rnn->widest_hidden *
                      (double)(rnn->widest_hidden + (size_t)rnn->desc.input_size);
  const double most = 1 + step / STEP_FLOP_A_THREAD;
  if (plan.threads > most && !rnn->threads_forced)
    plan.threads = (int)most;
  if (plan.schedule == GK_SCHEDULE_AUTO) {
    /* Rows a thread below which a tile waits for the weights instead of computing. */
    const int64_t rows = rnn->kernels->lanes >= 16 ? 16 : 8;
    plan.schedule =
        plan.threads == 1 || batch / plan.threads >= rows ? GK_SCHEDULE_SLICES : GK_SCHEDULE_TEAMS;
  }
  if (plan.schedule == GK_SCHEDULE_SLICES && plan.threads > batch)
    plan.threads = batch > 1 ? (int)batch : 1;
  const int64_t share = plan.schedule == GK_SCHEDULE_SLICES ? plan.threads : 1;
  const int64_t rows = batch / share + (batch % share != 0);
  plan.chunk = rows == 0 || rows >= CHUNK_ROWS ? 1 : (CHUNK_ROWS + rows - 1) / rows;
  if (plan.chunk > time)
    plan.chunk = time > 0 ? time : 1;
  return plan;
}

gk_status gk_rnn_plan(const gk_rnn *rnn, int64_t time, int64_t batch, gk_schedule *schedule, int *threads) {
  if (!rnn)
    return gk_fail(GK_ERROR_ARGUMENT, "rnn is NULL");
  if (time < 0 || batch < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is %lld, must not be negative", time < 0 ? "time" : "batch",
                   (long long)(time < 0 ? time : batch));
  const struct gk_rnn_plan plan = gk_rnn_plan_for(rnn, time, batch);
  if (schedule)
    *schedule = plan.schedule;
  if (threads)
    *threads = plan.threads;
  return GK_OK;
}

/* The index of `name` in a list of names, or -1 and a message that lists them. */
static int find_name(const char *what, const char *const *names, int count, const char *name) {
  char list[256] = "";
  size_t used = 0;
  for (int i = 0; i < count; i++) {
    if (strcmp(name, names[i]) == 0)
      return i;
    used += (size_t)snprintf(list + used, sizeof list - used, " %s", names[i]);
  }
  gk_fail(GK_ERROR_ARGUMENT, "%s is '%s', must be one of:%s", what, name, list);
  return -1;
}

static const char *const schedules[] = {
    [GK_SCHEDULE_AUTO] = "auto", [GK_SCHEDULE_SLICES] = "slices", [GK_SCHEDULE_TEAMS] = "teams"};
enum { SCHEDULES = sizeof schedules / sizeof *schedules };

const char *gk_schedule_name(gk_schedule schedule) {
  return (unsigned)schedule < SCHEDULES ? schedules[schedule] : "unknown";
}

gk_status gk_schedule_from_name(const char *name, gk_schedule *schedule) {
  if (!name || !schedule)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", name ? "schedule" : "name");
  const int found = find_name("schedule", schedules, SCHEDULES, name);
  if (found < 0)
    return GK_ERROR_ARGUMENT;
  *schedule = (gk_schedule)found;
  return GK_OK;
}

static const char *const merges[] = {[GK_MERGE_CONCATENATE] = "concatenate", [GK_MERGE_SUM] = "sum"};
enum { MERGES = sizeof merges / sizeof *merges };

const char *gk_merge_name(gk_merge merge) {
  return (unsigned)merge < MERGES ? merges[merge] : "unknown";
}

gk_status gk_merge_from_name(const char *name, gk_merge *merge) {
  if (!name || !merge)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", name ? "merge" : "name");
  const int found = find_name("merge", merges, MERGES, name);
  if (found < 0)
    return GK_ERROR_ARGUMENT;
  *merge = (gk_merge)found;
  return GK_OK;
}
