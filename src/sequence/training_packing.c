/* SPDX-License-Identifier: Apache-2.0
 * For which passes a training step packs its weights. Affects speed, never bits. */
#include <math.h>
#include <stdio.h>

#include "src/core/float_environment.h"
#include "src/sequence/rnn.h"

/* A pass takes longer with weights unpacked, backward of AVX2 the most, whose panels are one line of cache
 * wide; but nobody packs them. Two threads, 200 shapes on AVX-512 (100 on AVX2) of 20 to 2,500 (t, sample)
 * and 1 to 50 steps, nine in ten of them: a step that packs for both passes takes 1.0 to 1.23 (0.97 to 2.4)
 * of the time of the one that these bounds choose below them, 0.98 to 1.03 (0.85 to 1.08) above, 0.74 to
 * 1.15 with more than UNPACKED_FLOATS. Packed for forward, against not at all: up to two reads of a weight
 * 0.98 to 1.16 (0.95 to 1.7), with more 0.81 to 1.01 (0.86 to 0.98). */
enum {
  UNPACKED_FLOATS = 2200000,
  UNPACKED_FLOATS_BY_ROWS = 300000000,
  MANY_FLOATS_BY_ROWS = 80000000, /* of more than UNPACKED_FLOATS, if forward reads them unpacked too */
  UNPACKED_ROWS = 1000,
  UNPACKED_NARROW_ROWS = 64 /* of AVX2 */
};
/* Times that forward reads a weight, on average, up to which none is packed. */
static const double unpacked_reads = 2;
enum packing { DROPPED, MANY_WEIGHTS, MANY_ROWS, FORWARD_ALONE, NEITHER };

static int64_t most_unpacked_rows(const struct gk_rnn *rnn) {
  const size_t panel = rnn->kernels->tile_vectors * rnn->kernels->lanes, floats = rnn->packed.backward;
  const size_t by_rows = floats > UNPACKED_FLOATS ? MANY_FLOATS_BY_ROWS : UNPACKED_FLOATS_BY_ROWS;
  const int64_t most = panel <= GK_LINE_FLOATS ? UNPACKED_NARROW_ROWS : UNPACKED_ROWS;
  return floats && (int64_t)(by_rows / floats) < most ? (int64_t)(by_rows / floats) : most;
}

/* How many times forward would transpose a weight, on average: at each step, or those of inputs with each
 * chunk of steps. */
static double reads_of(const struct gk_rnn *rnn, int64_t time, int64_t batch) {
  const int64_t chunk = gk_rnn_plan_for(rnn, time, batch, true, false).chunk;
  const double chunks = (double)(time / chunk + (time % chunk != 0));
  const double all = gk_rnn_weights(rnn), recurrent = gk_rnn_recurrent_weights(rnn);
  return ((all - recurrent) * chunks + recurrent * (double)time) / all;
}

double gk_rnn_unpacked_steps(const struct gk_rnn *rnn) {
  if (rnn->desc.weight_dropout > 0) /* always packs */
    return 0;
  const double recurrent = gk_rnn_recurrent_weights(rnn);
  return recurrent > 0 ? floor(1 + (unpacked_reads - 1) * gk_rnn_weights(rnn) / recurrent) : INFINITY;
}

static enum packing packing_of(const struct gk_rnn *rnn, int64_t time, int64_t batch) {
  const int64_t rows = most_unpacked_rows(rnn);
  const bool few_reads = reads_of(rnn, time, batch) <= unpacked_reads;
  if (rnn->desc.weight_dropout > 0)
    return DROPPED;
  if (rnn->packed.backward > UNPACKED_FLOATS && !few_reads)
    return MANY_WEIGHTS;
  if ((double)time * (double)batch > (double)rows)
    return MANY_ROWS;
  return few_reads ? NEITHER : FORWARD_ALONE;
}

static unsigned pack_flags_of(enum packing packing) {
  return packing == NEITHER         ? 0
         : packing == FORWARD_ALONE ? GK_PACK_FORWARD
                                    : GK_PACK_FORWARD | GK_PACK_BACKWARD;
}

gk_status gk_rnn_training_pack_flags(const gk_rnn *rnn, int64_t time, int64_t batch, unsigned *flags) {
  const gk_status status = gk_rnn_check_sizes(rnn, time, batch);
  if (status)
    return status;
  if (!flags)
    return gk_fail(GK_ERROR_ARGUMENT, "flags is NULL");
  const uint64_t callers = gk_float_environment_pin();
  *flags = pack_flags_of(packing_of(rnn, time, batch));
  gk_float_environment_restore(callers);
  return GK_OK;
}

void gk_rnn_explain_packing(const struct gk_rnn *rnn, int64_t time, int64_t batch, gk_rnn_plan_info *info) {
  char *text = info->packing_reason;
  const size_t size = sizeof info->packing_reason;
  const long long rows = most_unpacked_rows(rnn);
  char samples[GK_COUNT_TEXT], steps[GK_COUNT_TEXT];
  gk_count_text(batch, "sample", samples);
  gk_count_text(time, "step", steps);
  const double reads = reads_of(rnn, time, batch);
  const char *isa = gk_isa_name(rnn->desc.isa);
  const enum packing packing = packing_of(rnn, time, batch);
  info->pack_flags = pack_flags_of(packing);
  switch (packing) {
  case DROPPED:
    snprintf(text, size, "backward needs what weight_dropout leaves of the weights");
    break;
  case MANY_WEIGHTS:
    snprintf(text, size,
             "more than %.3g million weights: in %s forward would read them %.3g times as they stand, and "
             "from more than %.3g on packing them first takes less time",
             1e-6 * UNPACKED_FLOATS, steps, reads, unpacked_reads);
    break;
  case MANY_ROWS:
    snprintf(text, size, "%s by %s: more than %lld rows (%s) are worth packing these weights for backward",
             samples, steps, rows, isa);
    break;
  case FORWARD_ALONE:
    snprintf(text, size,
             "%s by %s: up to %lld rows (%s) read these weights faster than they are packed for "
             "backward",
             samples, steps, rows, isa);
    break;
  case NEITHER:
    snprintf(text, size,
             "%s by %s: up to %lld rows (%s), and forward up to %.3g times (here %.3g), read "
             "these weights faster than they are packed",
             samples, steps, rows, isa, unpacked_reads, reads);
    break;
  }
}
