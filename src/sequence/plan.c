/* SPDX-License-Identifier: Apache-2.0
 * How a call is cut over threads. Affects speed, never bits. */
#include <string.h>

#include "src/sequence/rnn.h"

enum {
  CHUNK_ROWS = 96, /* rows of an input product: enough to reuse a panel, few enough to stay in cache */
  STEP_FLOP_A_THREAD = 120000 /* below, a barrier or a region costs more than the thread brings */
};

struct gk_rnn_plan gk_rnn_plan_for(const struct gk_rnn *rnn, int64_t time, int64_t batch) {
  struct gk_rnn_plan plan = {.schedule = rnn->desc.schedule, .threads = rnn->desc.threads};
  /* FLOP of one step's products of a layer: what a team's barrier must be paid from. */
  const double step = 2.0 * (double)batch * rnn->cell->gates * (double)rnn->desc.hidden_size *
                      (double)(rnn->desc.hidden_size + rnn->desc.input_size);
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

static const char *const names[] = {
    [GK_SCHEDULE_AUTO] = "auto", [GK_SCHEDULE_SLICES] = "slices", [GK_SCHEDULE_TEAMS] = "teams"};
enum { SCHEDULES = sizeof names / sizeof *names };

const char *gk_schedule_name(gk_schedule schedule) {
  return (unsigned)schedule < SCHEDULES ? names[schedule] : "unknown";
}

gk_status gk_schedule_from_name(const char *name, gk_schedule *schedule) {
  if (!name || !schedule)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", name ? "schedule" : "name");
  for (int i = 0; i < SCHEDULES; i++)
    if (strcmp(name, names[i]) == 0) {
      *schedule = (gk_schedule)i;
      return GK_OK;
    }
  return gk_fail(GK_ERROR_ARGUMENT, "schedule is '%s', must be one of: auto slices teams", name);
}
