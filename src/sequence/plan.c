/* SPDX-License-Identifier: Apache-2.0
 * How a call is cut over threads. Affects speed, never bits. */
#include <math.h>
#include <stdio.h>

#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/sequence/pace.h"

/* ---- The cost model ------------------------------------------------------------------------------ */

/* Threads: a call's forward products must bring each thread beyond the first what its region costs, and in
 * training, where one thread packs for all, what its weights cost the others. Schedule:
 * slices, as long as each thread gets enough samples to compute with the weights that it reads instead of
 * waiting for them (in training of few steps, for those that others packed), and the samples divide about as
 * evenly as the hidden units; else teams, which read each weight once for all and meet each step, for which
 * one step's products of a layer must bring each thread what a barrier costs. A wavefront, which meets once a
 * chunk, with fewer samples than threads, or if layers or directions keep all threads busy alike, with few
 * samples or, in training, with few weights: as long as the weights of a layer stay in a thread's cache.
 * Chunk: as many steps as make CHUNK_ROWS rows of an input product. */
enum {
  WAVES = 10,      /* chunks of a wavefront: the last layer starts a tenth of the way behind the one below */
  CHUNK_ROWS = 96, /* rows of an input product: enough to reuse a panel, few enough to stay in cache */
  PACKED_FEW = 8,
  SHARED_FLOP = 120000, /* products of a layer and sample, from which threads share its units and packing */
  WAVE_SAMPLES = 6,     /* up to which a wavefront of two threads may be faster than slices */
  WAVE_SAMPLES_INFERRED = 3, /* ... a stack's in inference */
  TINY_BYTES = 80 * 1024,    /* weights of a layer, up to which it trains faster with any number of samples */
  NEAR_BYTES = 640 * 1024,   /* weights of a layer that stay in a core's own cache */
  MOVED_ROWS = 64, /* (t, sample) a thread, with fewer of which weights that another one packed cost much */
  MOVED_ROWS_NEAR = 32, /* ... up to MOVED_NEAR_BYTES: weights of a layer */
  MOVED_NEAR_BYTES = 1280 * 1024,
  SHARED_BYTES = 20 * 1000000, /* ... in the cache that cores share */
  /* Where cores are far: a layer's recurrent weights above which slices need more samples, and still more. */
  FAR_BYTES = 1600 * 1024,
  FAR_SHARED_BYTES = 8 * 1000000
};

/* What a thread more costs the others, in FLOP that it must bring them. */
struct thread_cost {
  /* Of a call's forward products, for its parallel region: */
  double call, trained_call;      /* in inference and in training, which also writes gradients */
  double lone_call, lone_trained; /* of one sample, which waits for the weights that it reads */
  double packed;                  /* more in training, where one thread packs for all, ... */
  double packed_few;              /* ... of fewer than PACKED_FEW samples, which gain little, */
  double moved;                   /* and as much more for each weight */
  /* Of a layer's products in a step, for a team's barrier: */
  double step;      /* two samples and more */
  double lone_step; /* one */
  double barrier;   /* times threads: that each must save where samples are uneven */
  /* Of a layer's products in a tenth of the steps, for a wavefront's barrier: */
  double wave;
  double uneven_wave; /* that does not keep all threads busy alike */
};

/* Where cores answer each other at once (Zen 4: dispatch.h): of some 100 calls in inference and 280
 * training steps on AVX-512 (16 to 160 units, 1 to 64 samples, T 1 to 50) two threads took up to twice one's
 * time with half of these numbers, 0.9 to 1.1 of it with all of them, and 0.6 to 0.8 with four times as many.
 * Steps of 8 to 128 units that pack took 0.77 to 0.99 with eight samples or more (42 networks), but 0.87 to
 * 1.13 with two to seven (60). */
static const struct thread_cost near_cores = {.call = 240000,
                                              .trained_call = 240000,
                                              .lone_call = 145000,
                                              .lone_trained = 145000,
                                              .packed = 30000,
                                              .packed_few = 150000,
                                              .moved = 20,
                                              .step = 120000,
                                              .lone_step = 120000,
                                              .barrier = 60000,
                                              .wave = 75000,
                                              .uneven_wave = 240000};
/* Elsewhere (Emerald Rapids, whose cores also compute half as fast again): the numbers above gave 1.3 to 2
 * times the time of one thread. Of 38 networks of 24 to 512 units slices took 0.98 to 1.02 of it with 1.1 to
 * 2.6 MFLOP a call in inference, and in steps that pack 1.0 to 1.16 with 4 to 6, but 0.75 to 0.84 with 5 and
 * few weights; teams 1.0 to 1.1 with 0.22 to 0.26 MFLOP a step, 0.7 to 0.9 with 0.5 (1.0 in steps that pack);
 * with one sample 0.8 to 0.9 with 0.15 to 0.26 and 0.9 MFLOP a call, in training also with 0.2. Steps of two
 * to four samples that do not pack took 0.7 to 1.0 with 0.5 to 0.8 MFLOP. Of barrier and waves no bound was
 * sought: they are three and four times the numbers above, as a barrier takes. */
static const struct thread_cost far_cores = {.call = 1500000,
                                             .trained_call = 500000,
                                             .lone_call = 850000,
                                             .lone_trained = 145000,
                                             .packed = 1700000,
                                             .packed_few = 1900000,
                                             .moved = 55,
                                             .step = 400000,
                                             .lone_step = 120000,
                                             .barrier = 180000,
                                             .wave = 300000,
                                             .uneven_wave = 960000};

static const struct thread_cost *cost_of(const struct gk_rnn *rnn) {
  return rnn->cores_are_near ? &near_cores : &far_cores;
}

/* Those that each step reads, and all. */
static double recurrent_weights_of(const struct gk_rnn *rnn, const struct gk_rnn_layer *layer) {
  const int gates = rnn->desc.recurrence == GK_RECURRENCE_HIDDEN ? rnn->cell->gates : 0;
  return (gates + (rnn->desc.projection_size > 0)) * (double)layer->hidden * (double)layer->output;
}

static double weights_of(const struct gk_rnn *rnn, const struct gk_rnn_layer *layer) {
  return rnn->cell->gates * (double)layer->hidden * (double)layer->input_size +
         recurrent_weights_of(rnn, layer);
}

double gk_rnn_weights(const struct gk_rnn *rnn) {
  double weights = 0;
  for (int k = 0; k < rnn->layer_count; k++)
    weights += weights_of(rnn, &rnn->layers[k]);
  return weights;
}

double gk_rnn_recurrent_weights(const struct gk_rnn *rnn) {
  double weights = 0;
  for (int k = 0; k < rnn->layer_count; k++)
    weights += recurrent_weights_of(rnn, &rnn->layers[k]);
  return weights;
}

/* Those of the layer that has most. */
static double most_of(const struct gk_rnn *rnn,
                      double (*weights)(const struct gk_rnn *rnn, const struct gk_rnn_layer *layer)) {
  double most = 0;
  for (int k = 0; k < rnn->layer_count; k++)
    most = fmax(most, weights(rnn, &rnn->layers[k]));
  return most;
}

static double most_weights(const struct gk_rnn *rnn) {
  return most_of(rnn, weights_of);
}

static double weight_bytes(const struct gk_rnn *rnn) {
  return sizeof(float) * most_weights(rnn);
}

static double step_flop(const struct gk_rnn *rnn, int64_t batch) {
  return 2.0 * (double)batch * most_weights(rnn);
}

static double call_flop(const struct gk_rnn *rnn, int64_t time, int64_t batch) {
  return 2.0 * (double)batch * (double)time * gk_rnn_weights(rnn);
}

/* Samples a thread below which slices are slower than teams: a tile waits for the weights instead of
 * computing, or has too few sums. Measured with two threads, slices' time / a team's. Where the weights are
 * in a thread's own cache: two a thread 0.86 to 1.03 (where a barrier takes 1 us 0.56 to 0.89), one a thread
 * 0.93 to 1.07 with 64 to 100 units, 1.04 to 1.14 with 130 and more. In the shared cache, AVX-512: two or
 * three a thread 1.01 to 1.09, four and more 0.87 to 1.03, but 1.09 with 75 MB of them; AVX2 two 1.02 to
 * 1.17, three 0.94 to 1.06, four and more 0.93 to 1.04. Where cores are far (Emerald Rapids: 22 GB/s of the
 * shared cache a core), of as many inputs as units three 0.89 to 0.99 with 1.2 to 2.1 MB, four 0.90 to 0.92,
 * 1.01 with 3.3, 1.08 to 1.24 with 3.5 to 8.4, 1.35 with 33, in inference 1.1 to 1.4; six 1.0 to 1.1, eight
 * and nine 0.95 to 1.16, ten and more 0.94 to 1.0, but 1.06 to 1.12 with 19 and 25 MB up to fourteen; AVX2
 * four to eight 0.98 to 1.09, ten 0.97. Of few inputs, with 2.3 to 3 MB of recurrent weights, three and four
 * a thread 1.03 to 1.23, in inference 1.14 to 1.36, six and eight 0.93 to 1.07; of many inputs, with 0.6 to
 * 1.4 MB of recurrent weights of 4.5 to 6.2, three to eight 0.89 to 1.03. In training weights have just been
 * packed, half of a slice's by another thread; those of a team are packed where they are read (and what is
 * not packed, each slice transposes as a whole, of a team each thread its share). LSTM and GRU of 150 to 512
 * units: one step 1.1 to 1.5 with 4 to 16 samples, 1.24 to 1.34 with 32, two steps 1.0 to 1.3, four 0.9 to
 * 1.15. */
static int64_t fewest_rows(const struct gk_rnn *rnn, int64_t steps, bool training, int threads) {
  const double bytes = weight_bytes(rnn), recurrent = sizeof(float) * most_of(rnn, recurrent_weights_of);
  /* One step alone reads input weights too, half of all where there are as many inputs as units. */
  const double read = steps == 1 ? fmax(recurrent, bytes / 2) : recurrent;
  const int64_t near = bytes <= SHARED_BYTES ? 4 : 16;
  const int64_t far = read <= FAR_BYTES ? 3 : read <= FAR_SHARED_BYTES ? 10 : 16;
  const int64_t fewest = bytes <= NEAR_BYTES ? 2 : rnn->cores_are_near ? near : far;
  const int64_t moved = bytes <= MOVED_NEAR_BYTES ? MOVED_ROWS_NEAR : MOVED_ROWS;
  if (!training || steps == 0 || gk_rnn_packing_threads(rnn) < threads)
    return fewest;
  const int64_t of_few_steps = moved / steps + (moved % steps != 0);
  return fewest > of_few_steps ? fewest : of_few_steps;
}

/* The longest share of pieces that threads divide, against an even one. */
static double longest_share(int64_t pieces, int threads) {
  const int64_t longest = pieces / threads + (pieces % threads != 0);
  return pieces ? (double)longest * threads / (double)pieces : 1;
}

/* The same of the hidden units. */
static double longest_share_of_units(const struct gk_rnn *rnn, int threads) {
  const struct gk_rnn_layer *layer = rnn->layers;
  while (layer->hidden != rnn->widest_hidden)
    layer++;
  size_t longest = 0;
  for (int thread = 0; thread < threads; thread++) {
    size_t begin, end;
    gk_matrix_share(&layer->x, thread, threads, &begin, &end);
    longest = end - begin > longest ? end - begin : longest;
  }
  return (double)longest * threads / (double)layer->hidden;
}

/* The same of the layers' weights, where each thread owns layers of a stack (or one of two directions). */
static double longest_share_of_layers(const struct gk_rnn *rnn, int threads) {
  double longest = 0;
  for (int thread = 0; thread < threads && rnn->directions == 1; thread++) {
    double weights = 0;
    size_t begin, end;
    gk_split((size_t)rnn->desc.layers, 1, thread, threads, &begin, &end);
    for (size_t layer = begin; layer < end; layer++)
      weights += weights_of(rnn, &rnn->layers[layer]);
    longest = fmax(longest, weights);
  }
  return rnn->directions == 1 ? longest * threads / gk_rnn_weights(rnn) : 1;
}

/* The longest slice of `threads` against the longest share of the hidden units in a team. */
static double slices_unevenness(const struct gk_rnn *rnn, int64_t batch, int threads, int team) {
  return longest_share(batch, threads) / threads * team / longest_share_of_units(rnn, team);
}

/* If one sample's products keep only one thread busy, its gates need not be interleaved for others to share:
 * vectors of one gate after the other are faster in small layers (LSTM 24 to 50 1.06 to 1.08 times, 72 1.03).
 * It decides how packed weights stand: from nothing but what their fingerprint and tier tell apart. */
bool gk_rnn_interleaves(const struct gk_rnn *rnn, const struct gk_rnn_layer *layer) {
  return 2 * weights_of(rnn, layer) >= SHARED_FLOP;
}

static int busy_threads(const struct gk_rnn *rnn, double flop, double flop_of_each) {
  const double most = 1 + flop / flop_of_each;
  return most < rnn->desc.threads ? (int)most : rnn->desc.threads;
}

int gk_rnn_packing_threads(const struct gk_rnn *rnn) {
  return busy_threads(rnn, step_flop(rnn, 1), SHARED_FLOP);
}

static double flop_a_thread(const struct gk_rnn *rnn, int64_t time, int64_t batch, bool training) {
  const struct thread_cost *cost = cost_of(rnn);
  const double each = batch == 1 ? (training ? cost->lone_trained : cost->lone_call)
                                 : (training ? cost->trained_call : cost->call);
  const bool moved =
      training && (double)time > gk_rnn_unpacked_steps(rnn) && gk_rnn_packing_threads(rnn) == 1;
  const double packed = batch < PACKED_FEW ? cost->packed_few : cost->packed;
  return moved ? each + packed + cost->moved * gk_rnn_weights(rnn) : each;
}

static int threads_of(const struct gk_rnn *rnn, int64_t time, int64_t batch, bool training) {
  const double flop = call_flop(rnn, time, batch), each = flop_a_thread(rnn, time, batch, training);
  return rnn->threads_forced ? rnn->desc.threads : busy_threads(rnn, flop, each);
}

static double step_flop_a_thread(const struct gk_rnn *rnn, int64_t batch) {
  return batch == 1 ? cost_of(rnn)->lone_step : cost_of(rnn)->step;
}

/* Those of a team, of `threads`. */
static int team_threads(const struct gk_rnn *rnn, int64_t batch, int threads) {
  const int most = busy_threads(rnn, step_flop(rnn, batch), step_flop_a_thread(rnn, batch));
  return weight_bytes(rnn) > NEAR_BYTES || threads < most ? threads : most;
}

/* Why slices, and from SAMPLES_UNEVEN on, why teams. */
enum ground { ALONE, LITTLE_WORK, ENOUGH_SAMPLES, UNITS_UNEVEN, SAMPLES_UNEVEN, FEW_SAMPLES };

static enum ground ground_of(const struct gk_rnn *rnn, int64_t steps, bool training, int64_t batch,
                             int threads) {
  const int team = team_threads(rnn, batch, threads), slices = batch < threads ? (int)batch : threads;
  /* Where each thread has samples enough, slices took 1.03 to 1.13 of a team's time with 9 to 15 of them,
   * shared unevenly; where not, slices must be a tenth shorter than a team's share to be as fast. */
  const double uneven = 1.06, shorter = 0.9, unevenness = slices_unevenness(rnn, batch, threads, team);
  const double gained = (unevenness - 1) * step_flop(rnn, batch) / threads;
  if (threads == 1)
    return ALONE;
  if (team == 1 || team < (rnn->threads_forced ? threads : slices))
    return LITTLE_WORK;
  if (batch / threads >= fewest_rows(rnn, steps, training, threads))
    return unevenness > uneven && gained > cost_of(rnn)->barrier * threads ? SAMPLES_UNEVEN : ENOUGH_SAMPLES;
  return unevenness <= shorter ? UNITS_UNEVEN : FEW_SAMPLES;
}

/* Threads that a wavefront can use: layers of a stack, or directions whose outputs stand side by side and
 * whose inputs need nothing that one would make for the other. */
static int lanes_of(const struct gk_rnn *rnn) {
  if (rnn->directions == 1)
    return (int)rnn->desc.layers;
  const bool made_once = rnn->desc.vocabulary || rnn->desc.input_dropout > 0;
  return made_once || rnn->desc.merge == GK_MERGE_SUM ? 1 : 2;
}

/* Samples that a thread walks. */
static int64_t rows_of(const struct gk_rnn_plan *plan, int64_t batch) {
  const int64_t share = plan->schedule == GK_SCHEDULE_SLICES ? plan->threads : 1;
  return batch / share + (batch % share != 0);
}

static int wave_samples(const struct gk_rnn *rnn, bool training) {
  return training || rnn->directions == 2 ? WAVE_SAMPLES : WAVE_SAMPLES_INFERRED;
}

/* Two threads, AVX-512, the time of slices or a team / a wavefront's. Stacks of two and four layers (24 to
 * 128 units) in training: two to six samples 1.05 to 1.4, from 500 KB of weights a layer on 0.9 to 1.15, in
 * three or six steps 0.7 to 1.3; 8 to 256 samples 1.0 to 1.2 up to 75 KB a layer (0.93 to 1.6 in ten
 * steps), 0.93 to 1.0 with 100 KB. In inference: from 20 steps on 1.0 to 1.25 with up to three samples,
 * 0.95 to 1.07 with four to six, 0.9 to 1.0 with more; in ten steps 0.8 to 1.1; three layers 0.8 to 0.95.
 * Two directions: 1.05 to 1.4 up to 1.3 MB, 0.93 to 1.1 beyond, with eight samples 0.8 to 1.1. A stack's
 * last thread starts threads - 1 chunks late. */
static bool wavefront_pays(const struct gk_rnn *rnn, int64_t time, int64_t batch, bool training) {
  const int lanes = lanes_of(rnn), threads = rnn->desc.threads < lanes ? rnn->desc.threads : lanes;
  const bool directions = rnn->directions == 2, alone = batch < rnn->desc.threads;
  const bool all = rnn->desc.threads <= lanes && (directions || threads == 2);
  const bool even = all && longest_share_of_layers(rnn, threads) <= 1.25;
  const bool tiny = training && !directions && weight_bytes(rnn) <= TINY_BYTES && time >= 2 * WAVES;
  const int64_t shortest = directions ? 1 : training ? WAVES : 2 * WAVES;
  const double near = NEAR_BYTES * (directions ? 2.0 : alone ? 1.0 : 0.7);
  return batch > 0 && threads > 1 && (alone || (even && (tiny || batch <= wave_samples(rnn, training)))) &&
         time >= shortest && weight_bytes(rnn) <= near &&
         step_flop(rnn, batch) * (double)time / WAVES >=
             (even ? cost_of(rnn)->wave : cost_of(rnn)->uneven_wave) &&
         threads_of(rnn, time, batch, training) >= threads;
}

/* What a call of `time` steps gets on so many threads, with the schedule of one of `steps`. */
static struct gk_rnn_plan plan_on(const struct gk_rnn *rnn, int64_t time, int64_t steps, bool training,
                                  int64_t batch, int threads, bool wavefront) {
  struct gk_rnn_plan plan = {.schedule = rnn->desc.schedule, .threads = threads};
  if (wavefront)
    plan.schedule = GK_SCHEDULE_WAVEFRONT;
  else if (plan.schedule == GK_SCHEDULE_AUTO)
    plan.schedule = ground_of(rnn, steps, training, batch, threads) >= SAMPLES_UNEVEN ? GK_SCHEDULE_TEAMS
                                                                                      : GK_SCHEDULE_SLICES;
  else if (plan.schedule == GK_SCHEDULE_WAVEFRONT)
    plan.schedule = GK_SCHEDULE_TEAMS; /* there is nothing to walk at different times */
  if (plan.schedule == GK_SCHEDULE_WAVEFRONT && plan.threads > lanes_of(rnn))
    plan.threads = lanes_of(rnn);
  if (plan.schedule == GK_SCHEDULE_TEAMS && !rnn->threads_forced)
    plan.threads = team_threads(rnn, batch, plan.threads);
  if (plan.schedule == GK_SCHEDULE_SLICES && plan.threads > batch)
    plan.threads = batch > 1 ? (int)batch : 1;
  const int64_t rows = rows_of(&plan, batch), wave = time / WAVES + (time % WAVES != 0);
  plan.chunk = rows == 0 || rows >= CHUNK_ROWS ? 1 : (CHUNK_ROWS + rows - 1) / rows;
  if (plan.schedule == GK_SCHEDULE_WAVEFRONT && rnn->directions == 1 && plan.chunk > wave)
    plan.chunk = wave;
  if (plan.chunk > time)
    plan.chunk = time > 0 ? time : 1;
  plan.kept_steps = plan.schedule == GK_SCHEDULE_WAVEFRONT ? 2 * plan.chunk : plan.chunk;
  return plan;
}

static struct gk_rnn_plan plan_for(const struct gk_rnn *rnn, int64_t time, int64_t batch, bool training,
                                   bool fed) {
  const bool asked = rnn->desc.schedule == GK_SCHEDULE_WAVEFRONT && lanes_of(rnn) > 1 && time > 1;
  const bool wavefront =
      !fed &&
      (asked || (rnn->desc.schedule == GK_SCHEDULE_AUTO && wavefront_pays(rnn, time, batch, training)));
  return plan_on(rnn, time, time, training, batch,
                 wavefront ? rnn->desc.threads : threads_of(rnn, time, batch, training), wavefront);
}

/* In one environment: memory_needed, forward and backward must come to the same plan. */
struct gk_rnn_plan gk_rnn_plan_for(const struct gk_rnn *rnn, int64_t time, int64_t batch, bool training,
                                   bool fed) {
  const uint64_t callers = gk_float_environment_pin();
  const struct gk_rnn_plan plan = plan_for(rnn, time, batch, training, fed);
  gk_float_environment_restore(callers);
  return plan;
}

/* A schedule needs the more memory the more threads it has, but for panels that few have each for itself.
 * Steps decide between slices and teams by a bound alone, and by being one or more: one step and all of them
 * give what those between do. Threads and wavefronts grow with the steps, but training of so few that
 * nothing is packed may have more of both than that of a step more. */
int gk_rnn_plans_up_to(const struct gk_rnn *rnn, int64_t time, int64_t batch, bool training,
                       struct gk_rnn_plan plans[GK_RNN_MOST_PLANS]) {
  enum { KINDS = 4 };
  _Static_assert(2 + KINDS <= GK_RNN_MOST_PLANS, "every plan has its place");
  const uint64_t callers = gk_float_environment_pin();
  const int64_t few = training ? (int64_t)fmin((double)time, gk_rnn_unpacked_steps(rnn)) : time;
  const int of_few = threads_of(rnn, few, batch, training);
  const int of_all = threads_of(rnn, time, batch, training), most = of_few > of_all ? of_few : of_all;
  bool found[KINDS] = {false};
  struct gk_rnn_plan shorter[KINDS];
  int count = 0;
  plans[count++] = plan_for(rnn, time, batch, training, false);
  plans[count++] = plan_for(rnn, few, batch, training, false);
  for (int threads = rnn->threads_forced ? most : 1; threads <= most; threads++)
    for (int one_step = 0; one_step <= 1; one_step++) {
      const struct gk_rnn_plan plan =
          plan_on(rnn, time, one_step ? 1 : time, training, batch, threads, false);
      const int kind = 2 * (plan.schedule == GK_SCHEDULE_TEAMS) + (plan.threads > GK_OWN_PANELS_THREADS);
      shorter[kind] = plan;
      found[kind] = true;
    }
  for (int kind = 0; kind < KINDS; kind++)
    if (found[kind])
      plans[count++] = shorter[kind];
  gk_float_environment_restore(callers);
  return count;
}

/* ---- The same in words --------------------------------------------------------------------------- */

static void explain_threads(const struct gk_rnn *rnn, int64_t time, int64_t batch, bool training,
                            gk_rnn_plan_info *info) {
  char *text = info->threads_reason;
  const size_t size = sizeof info->threads_reason;
  const int asked = rnn->desc.threads;
  const int worth = threads_of(rnn, time, batch, training);
  const double call = 1e-6 * call_flop(rnn, time, batch),
               each = 1e-6 * flop_a_thread(rnn, time, batch, training);
  if (info->schedule == GK_SCHEDULE_WAVEFRONT)
    snprintf(text, size,
             rnn->directions == 2 ? "one a direction, of at most %d"
                                  : "each has layers of its own, of at most %d",
             asked);
  else if (worth < asked && info->threads == worth)
    snprintf(
        text, size,
        "fewer than %d: each thread beyond the first is worth its cost from %.3g MFLOP of a call's forward "
        "products on, and these are %.3g",
        asked, each, call);
  else if (info->threads < asked && info->schedule == GK_SCHEDULE_TEAMS)
    snprintf(
        text, size,
        "fewer than %d: each thread beyond the first is worth its barrier from %.3g MFLOP of a step on, and "
        "a step of a layer is %.3g",
        asked, 1e-6 * step_flop_a_thread(rnn, batch), 1e-6 * info->step_flop);
  else if (info->threads < asked)
    snprintf(text, size, "fewer than %d: a slice is a sample at least, and the batch has %lld", asked,
             (long long)batch);
  else if (rnn->threads_forced)
    snprintf(text, size, "as the caller asks");
  else
    snprintf(
        text, size,
        "all that may be used: a call's forward products are %.3g MFLOP, and each thread beyond the first "
        "is worth its cost from %.3g on",
        call, each);
}

void gk_count_text(long long count, const char *unit, char text[GK_COUNT_TEXT]) {
  snprintf(text, GK_COUNT_TEXT, "%lld %s%s", count, unit, count == 1 ? "" : "s");
}

static void explain_ground(const struct gk_rnn *rnn, int64_t steps, bool training, int64_t batch, int threads,
                           gk_rnn_plan_info *info) {
  char *text = info->schedule_reason;
  const size_t size = sizeof info->schedule_reason;
  const long long fewest = fewest_rows(rnn, steps, training, threads);
  char samples[GK_COUNT_TEXT];
  gk_count_text(batch, "sample", samples);
  switch (info->threads == 1 ? ALONE : ground_of(rnn, steps, training, batch, threads)) {
  case ALONE:
    snprintf(text, size, "one thread walks all samples and needs no barrier");
    break;
  case LITTLE_WORK:
    snprintf(text, size, "a step of %.3g MFLOP is too little for %d threads to meet in it",
             1e-6 * step_flop(rnn, batch), threads);
    break;
  case ENOUGH_SAMPLES:
    snprintf(text, size,
             "%s over %d threads: from %lld each a thread computes instead of waiting for the "
             "weights, and needs no barrier%s",
             samples, threads, fewest,
             gk_pace_moves_slices(rnn, batch, threads) ? "; a slower thread gets fewer in later calls" : "");
    break;
  case UNITS_UNEVEN:
    snprintf(text, size,
             "%s over %d threads, more evenly than the hidden units would be, and no barrier is needed",
             samples, threads);
    break;
  case SAMPLES_UNEVEN:
    snprintf(text, size,
             "%s over %d threads, less evenly than the hidden units: the longest slice would be "
             "%.2f times as long; threads split the units instead and meet each step",
             samples, threads, slices_unevenness(rnn, batch, threads, team_threads(rnn, batch, threads)));
    break;
  case FEW_SAMPLES:
    snprintf(text, size,
             fewest > fewest_rows(rnn, steps, false, threads)
                 ? "%s over %d threads, few steps: with fewer than %lld each it would wait for weights "
                   "of others, or pack all by itself; threads split the hidden units and meet each step"
                 : "%s over %d threads: with fewer than %lld each it would wait for the weights; "
                   "threads split the hidden units instead and meet each step",
             samples, threads, fewest);
    break;
  }
}

static void explain_wavefront(const struct gk_rnn *rnn, int64_t batch, bool training,
                              gk_rnn_plan_info *info) {
  char ground[56];
  const int most = wave_samples(rnn, training);
  if (batch < rnn->desc.threads)
    snprintf(ground, sizeof ground, "a batch of %lld for %d threads", (long long)batch, rnn->desc.threads);
  else if (batch <= most)
    snprintf(ground, sizeof ground, "few samples (%lld of up to %d)", (long long)batch, most);
  else
    snprintf(ground, sizeof ground, "few weights (%.3g of up to %.3g MB)", 1e-6 * weight_bytes(rnn),
             1e-6 * TINY_BYTES);
  snprintf(info->schedule_reason, sizeof info->schedule_reason,
           "%s, and a layer's %.3g MB stay near: each thread walks %s", ground, 1e-6 * weight_bytes(rnn),
           rnn->directions == 2 ? "one direction; they meet once a layer"
                                : "its layers, a chunk behind those below; they meet once a chunk");
}

static void explain_schedule(const struct gk_rnn *rnn, int64_t time, int64_t batch, int threads,
                             bool training, gk_rnn_plan_info *info) {
  char *text = info->schedule_reason;
  const size_t size = sizeof info->schedule_reason;
  if (rnn->desc.schedule != GK_SCHEDULE_AUTO && rnn->desc.schedule != info->schedule)
    snprintf(text, size,
             "instead of the %s that the caller asks for: there is nothing to walk at different times",
             gk_schedule_name(rnn->desc.schedule));
  else if (rnn->desc.schedule != GK_SCHEDULE_AUTO)
    snprintf(text, size, "as the caller asks");
  else if (info->schedule == GK_SCHEDULE_WAVEFRONT)
    explain_wavefront(rnn, batch, training, info);
  else
    explain_ground(rnn, time, training, batch, threads, info);
}

static void explain_chunk(const struct gk_rnn *rnn, int64_t time, gk_rnn_plan_info *info) {
  const int64_t rows = info->chunk * info->rows;
  char count[GK_COUNT_TEXT];
  gk_count_text(rows, "row", count);
  const bool stack = info->schedule == GK_SCHEDULE_WAVEFRONT && rnn->directions == 1;
  if (stack && rows < CHUNK_ROWS)
    snprintf(info->chunk_reason, sizeof info->chunk_reason,
             "a tenth of the sequence: the last layer waits that long for the first, and each chunk costs a "
             "barrier");
  else if (info->chunk >= time)
    snprintf(info->chunk_reason, sizeof info->chunk_reason, "the whole sequence is %s of an input product",
             count);
  else
    snprintf(info->chunk_reason, sizeof info->chunk_reason,
             "%s of an input product: from %d on it uses what it reads of the weights, and more would "
             "leave the cache",
             count, (int)CHUNK_ROWS);
}

gk_status gk_rnn_check_sizes(const gk_rnn *rnn, int64_t time, int64_t batch) {
  if (!rnn)
    return gk_fail(GK_ERROR_ARGUMENT, "rnn is NULL");
  return gk_check_time_and_batch(time, batch);
}

gk_status gk_rnn_plan(const gk_rnn *rnn, int64_t time, int64_t batch, bool training, gk_schedule *schedule,
                      int *threads) {
  const gk_status status = gk_rnn_check_sizes(rnn, time, batch);
  if (status)
    return status;
  const struct gk_rnn_plan plan = gk_rnn_plan_for(rnn, time, batch, training, false);
  if (schedule)
    *schedule = plan.schedule;
  if (threads)
    *threads = plan.threads;
  return GK_OK;
}

gk_status gk_rnn_explain_plan(const gk_rnn *rnn, int64_t time, int64_t batch, bool training,
                              gk_rnn_plan_info *info) {
  gk_status status = gk_rnn_check_sizes(rnn, time, batch);
  if (status)
    return status;
  status = info ? gk_check_size_field("info", info->size, sizeof *info, "GK_RNN_PLAN_INFO_INIT")
                : gk_fail(GK_ERROR_ARGUMENT, "info is NULL");
  if (status)
    return status;
  const uint64_t callers = gk_float_environment_pin();
  const struct gk_rnn_plan plan = plan_for(rnn, time, batch, training, false);
  *info = (gk_rnn_plan_info){.size = sizeof *info,
                             .schedule = plan.schedule,
                             .threads = plan.threads,
                             .chunk = plan.chunk,
                             .rows = rows_of(&plan, batch),
                             .step_flop = step_flop(rnn, batch),
                             .pack_flags = GK_PACK_FORWARD};
  explain_threads(rnn, time, batch, training, info);
  explain_schedule(rnn, time, batch, threads_of(rnn, time, batch, training), training, info);
  explain_chunk(rnn, time, info);
  if (training)
    gk_rnn_explain_packing(rnn, time, batch, info);
  gk_float_environment_restore(callers);
  return GK_OK;
}
