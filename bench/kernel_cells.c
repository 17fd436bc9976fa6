/* SPDX-License-Identifier: Apache-2.0
 * The arithmetic of cells, a step of a layer at a time. */

#include <math.h>

#include "kernel_flop.h"
#include "kernel_work.h"

enum { BLOCKS = 4 };

/* Rows of gates of all cells have room for the four blocks of the widest. */
static void *take_states(struct arena *arena, const struct work *work, size_t blocks, float low, float high) {
  const size_t rows = work->size[0], width = blocks * work->size[1];
  return take_rows(arena, take(arena, rows * width, low, high), rows, width);
}

enum { NORMALISED_BLOCKS = 13 };

/* ---- What a phase of a step does for each unit -------------------------------------------------- */

/* FLOP as kernel_flop.h says, floats read and written, and floats of weights, which a call reads once and not
 * for each row of the batch. Counted from kernels/math/CELL.h. */
struct unit_work {
  int flop, read, written, weights;
};

/* FLOP of what recurs. T: a gradient goes through a function, d x f'. */
enum {
  GATE = FLOP_SIGMOID,
  CANDIDATE = FLOP_TANH,
  FLUSH = FLOP_FLUSH,
  BLEND = 3, /* n + z (h' - n) */
  SLOPE = 2, /* y (1 - y), or 1 - y^2 */
  T = 2 + SLOPE,
  BOUND = 2,     /* within +-limit: of a pre-activation, or c, in the general kernels */
  PEEP = 2,      /* a + p c */
  DH = 1 + FLUSH /* dh + dy, which may be the caller's */
};

/* In training, which writes h (and c) and all gates once more to be saved. Other pre-activations that are
 * written are those that the second pass or phase reads. */
static const struct unit_work forward_plain[GK_CELL_COUNT][GK_MAX_PHASES] = {
    /* a -> h */
    [GK_CELL_RNN] = {{CANDIDATE + FLUSH, 1, 2, 0}},
    /* n r z a h' -> n z, h: n + r a */
    [GK_CELL_GRU] = {{2 * GATE + 2 + CANDIDATE + BLEND + FLUSH, 5, 2 + 4 + 2, 0}},
    /* r z h' -> z q: r h'; then z n h' -> h */
    [GK_CELL_GRU_RESET_BEFORE] = {{2 * GATE + 1 + FLUSH, 3, 2 + 3, 0},
                                  {CANDIDATE + BLEND + FLUSH, 3, 1 + 2, 0}},
    /* i f g o c' -> o, c h: f c' + i g, o tanh(c) */
    [GK_CELL_LSTM] = {{3 * GATE + CANDIDATE + 3 + FLUSH + FLOP_TANH + 1 + FLUSH, 5, 1 + 4 + 4, 0}},
    /* z n h' -> h */
    [GK_CELL_GRU_SIMPLIFIED] = {{GATE + CANDIDATE + BLEND + FLUSH, 3, 2 + 2, 0}},
    /* f h' -> f q: f h'; then f n h' -> h: 1 - f */
    [GK_CELL_MGU] = {{GATE + 1 + FLUSH, 2, 2 + 2, 0}, {CANDIDATE + 1 + BLEND + FLUSH, 3, 1 + 2, 0}},
};

/* What the variant adds: the RNN saves its pre-activation, and the LSTM has peepholes and a bounded c. */
static const struct unit_work forward_general_adds[GK_CELL_COUNT][GK_MAX_PHASES] = {
    [GK_CELL_RNN] = {{BOUND, 0, 1, 0}},
    [GK_CELL_GRU] = {{3 * BOUND, 0, 0, 0}},
    [GK_CELL_GRU_RESET_BEFORE] = {{2 * BOUND, 0, 0, 0}, {BOUND, 0, 0, 0}},
    [GK_CELL_LSTM] = {{5 * BOUND + 3 * PEEP, 0, 0, 3}},
    [GK_CELL_GRU_SIMPLIFIED] = {{2 * BOUND, 0, 0, 0}},
    [GK_CELL_MGU] = {{BOUND, 0, 0, 0}, {BOUND, 0, 0, 0}},
};

/* Read are the gates named, h', dh and dy (whose sum is DH) unless said otherwise; written, flushed, the
 * gradient of each pre-activation and dh. */
static const struct unit_work backward_plain[GK_CELL_COUNT][GK_MAX_PHASES] = {
    /* h, but no h': dh f'. The dh written is 0. */
    [GK_CELL_RNN] = {{DH + 1 + SLOPE + FLUSH, 3, 2, 0}},
    /* n r z a: dh (h' - n) z', dh (1 - z) n', which is flushed before its use, dn a r', dn r, dh z */
    [GK_CELL_GRU] = {{DH + (1 + T) + (1 + T + FLUSH) + T + 1 + 1 + 5 * FLUSH, 4 + 3, 5, 0}},
    /* z n: as GRU; then r, h', drh and dh: drh h' r', dh + drh r */
    [GK_CELL_GRU_RESET_BEFORE] = {{DH + 2 * (1 + T) + 1 + 3 * FLUSH, 2 + 3, 3, 0},
                                  {T + 2 + 2 * FLUSH, 4, 2, 0}},
    /* i f g o, c, c', dc, but no h': dh tanh(c) o', dc + dh o tanh'(c), dc g i', dc c' f', dc i g', dc f,
     * which is written too. The dh written is 0. */
    [GK_CELL_LSTM] = {{FLOP_TANH + DH + T + (1 + SLOPE + 2) + 3 * T + 1 + 5 * FLUSH, 4 + 3 + 2, 6, 0}},
    /* z n: as GRU */
    [GK_CELL_GRU_SIMPLIFIED] = {{DH + 2 * (1 + T) + 1 + 3 * FLUSH, 2 + 3, 3, 0}},
    /* f n, but no h': dh f n'. n is written in the place of df; then f, n, h', drh and dh:
     * (dh (n - h') + drh h') f', dh (1 - f) + drh f */
    [GK_CELL_MGU] = {{DH + T + 2 * FLUSH, 2 + 2, 3, 0}, {4 + 1 + SLOPE + 4 + 2 * FLUSH, 5, 2, 0}},
};

/* Functions are known from their values here too; the RNN reads that in the place of h. */
static const struct unit_work backward_general_adds[GK_CELL_COUNT][GK_MAX_PHASES] = {
    [GK_CELL_LSTM] = {{1 + 3 * PEEP, 0, 0, 3}}, /* was c bounded? */
};

/* The same of an LSTM that is coupled: f is 1 - i, and in backward c' is taken from g. */
static const struct unit_work forward_coupled_adds = {4 * BOUND + 2 * PEEP + 1 - GATE, -1, -1, 2};
static const struct unit_work backward_coupled_adds = {1 + 2 * PEEP + 2 - T - FLUSH, -1, -1, 2};

/* Layer normalisation: mean and variance of a value take 4 operations, N(v) 3. */
enum { STATISTICS = 4, NORMALISED = 2 + FLUSH, NORMALISED_GRADIENT = 4 + FLUSH };

/* G = 4 gates of two products each, whose N with gains and a bias are added; the LSTM without peepholes; N(c)
 * with gain and bias; o tanh of it. Read are both products and c'; written a, what tanh is taken of, c and h;
 * saved the LSTM's gates, N of both products and of c, c and h. */
static const struct unit_work normalised_forward = {4 * (2 * (STATISTICS + NORMALISED) + 4) + 3 * GATE +
                                                        CANDIDATE + 3 + 5 * BOUND + FLUSH + STATISTICS +
                                                        NORMALISED + 2 + FLOP_TANH + 1 + FLUSH,
                                                    8 + 1, 4 + 1 + 2 + 4 + 8 + 1 + 2, 14};

/* What tanh is taken of, its value and slope; d = (dh + dy) o tanh', d gain and both its means; the gradient
 * of c; the LSTM, whose dc that joins; for each product of a gate d gain and both means, and again for its
 * gradient. Read are the LSTM's gates and all N, c, c', dh, dy, dc; written the gradients of both products
 * and of a, d, dh, dc. */
static const struct unit_work normalised_backward = {2 + FLOP_TANH + SLOPE + DH + 2 + FLUSH + 4 + 1 +
                                                         NORMALISED_GRADIENT + 1 + T + 1 + 1 + 3 * T + 1 +
                                                         5 * FLUSH + 4 * 2 * (4 + 1 + NORMALISED_GRADIENT),
                                                     4 + 8 + 1 + 5, 8 + 4 + 1 + 2, 10};

static const struct unit_work nothing = {0};

static void count_units(shim_state *state, const struct work *work, const struct unit_work *unit,
                        const struct unit_work *more) {
  const double units = (double)work->size[0] * (double)work->size[1], hidden = (double)work->size[1];
  const int flop = unit->flop + more->flop, weights = unit->weights + more->weights;
  const int rows = unit->read + unit->written + more->read + more->written;
  shim_flop_and_bytes(state, flop * units, sizeof(float) * (rows * units + weights * hidden));
}

/* ---- Runs --------------------------------------------------------------------------------------- */

/* Every option that does not take another function: with peepholes and bounds. */
static struct gk_cell_variant variant_of(const struct work *work) {
  return (struct gk_cell_variant){.function = {[GK_CANDIDATE] = {GK_ACTIVATION_TANH, 0, 0, true},
                                               [GK_GATE] = {GK_ACTIVATION_SIGMOID, 0, 0, true},
                                               [GK_OUTPUT] = {GK_ACTIVATION_TANH, 0, 0, true}},
                                  .clip = INFINITY,
                                  .cell_clip = 0.5f,
                                  .coupled = work->coupled};
}

/* As in training. A phase that writes back into its pre-activations leaves values that are as good. */
static void run_forward_step(shim_state *state, const struct work *work, bool general) {
  const size_t rows = work->size[0], hidden = work->size[1];
  const struct gk_cell_variant variant = variant_of(work);
  struct arena arena = {0};
  struct gk_cell_forward step = {.rows = rows, .unit_end = hidden, .hidden = hidden};
  step.pre = take_states(&arena, work, BLOCKS, -2, 2);
  step.h_prev = take_states(&arena, work, 1, -1, 1);
  step.c_prev = take_states(&arena, work, 1, -1, 1);
  step.h = take_states(&arena, work, 1, -1, 1);
  step.c = take_states(&arena, work, 1, -1, 1);
  step.saved_gates = take_states(&arena, work, BLOCKS, -1, 1);
  step.saved_h = take_states(&arena, work, 1, -1, 1);
  step.saved_c = take_states(&arena, work, 1, -1, 1);
  step.variant = general ? &variant : NULL;
  step.peephole = take(&arena, 3 * hidden, -1, 1);
  gk_cell_forward_fn *run =
      (general ? work->kernels->cell_forward_general : work->kernels->cell_forward)[work->cell][work->phase];
  struct cycles cycles = {0};
  while (shim_keep_running(state)) {
    start_call(&cycles);
    run(&step);
    end_call(&cycles);
  }
  count_cycles(state, "cycles_per_16_units", &cycles, (double)(rows * hidden) / 16);
  count_units(state, work, &forward_plain[work->cell][work->phase],
              !general        ? &nothing
              : work->coupled ? &forward_coupled_adds
                              : &forward_general_adds[work->cell][work->phase]);
  release(&arena);
}

void run_cell_forward(shim_state *state, const void *context) {
  run_forward_step(state, context, false);
}
void run_cell_forward_general(shim_state *state, const void *context) {
  run_forward_step(state, context, true);
}

/* With nothing streamed before it: what it costs a call. */
void run_stream_end(shim_state *state, const void *context) {
  const struct work *work = context;
  while (shim_keep_running(state))
    work->kernels->stream_end();
  shim_flop_and_bytes(state, 0, 0);
}

static void run_backward_step(shim_state *state, const struct work *work, bool general) {
  const size_t rows = work->size[0], hidden = work->size[1];
  const struct gk_cell_variant variant = variant_of(work);
  struct arena arena = {0};
  struct gk_cell_backward step = {.rows = rows, .unit_end = hidden, .hidden = hidden};
  step.gates = (const float *const *)take_states(&arena, work, BLOCKS, 0.1f, 0.9f);
  step.d_pre = take_states(&arena, work, BLOCKS, -1, 1);
  step.h_prev = step.dy = take_states(&arena, work, 1, -1, 1);
  step.c_prev = take_states(&arena, work, 1, -1, 1);
  step.h = take_states(&arena, work, 1, -1, 1);
  step.c = take_states(&arena, work, 1, -1, 1);
  step.dh = take_states(&arena, work, 1, -1, 1);
  step.dc = take_states(&arena, work, 1, -1, 1);
  step.drh = take_states(&arena, work, 1, -1, 1);
  step.variant = general ? &variant : NULL;
  step.peephole = take(&arena, 3 * hidden, -1, 1);
  gk_cell_backward_fn *run = (general ? work->kernels->cell_backward_general
                                      : work->kernels->cell_backward)[work->cell][work->phase];
  struct cycles cycles = {0};
  while (shim_keep_running(state)) {
    start_call(&cycles);
    run(&step);
    end_call(&cycles);
  }
  count_cycles(state, "cycles_per_16_units", &cycles, (double)(rows * hidden) / 16);
  count_units(state, work, &backward_plain[work->cell][work->phase],
              !general        ? &nothing
              : work->coupled ? &backward_coupled_adds
                              : &backward_general_adds[work->cell][work->phase]);
  release(&arena);
}

void run_cell_backward(shim_state *state, const void *context) {
  run_backward_step(state, context, false);
}
void run_cell_backward_general(shim_state *state, const void *context) {
  run_backward_step(state, context, true);
}

void run_lstm_normalised_forward(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t rows = work->size[0], hidden = work->size[1];
  const struct gk_cell_variant variant = variant_of(work);
  struct arena arena = {0};
  struct gk_cell_forward step = {.rows = rows, .unit_end = hidden, .hidden = hidden, .variant = &variant};
  step.pre = take_states(&arena, work, NORMALISED_BLOCKS, -2, 2);
  step.h_prev = take_states(&arena, work, 1, -1, 1);
  step.c_prev = take_states(&arena, work, 1, -1, 1);
  step.h = take_states(&arena, work, 1, -1, 1);
  step.c = take_states(&arena, work, 1, -1, 1);
  step.saved_gates = take_states(&arena, work, NORMALISED_BLOCKS, -1, 1);
  step.saved_h = take_states(&arena, work, 1, -1, 1);
  step.saved_c = take_states(&arena, work, 1, -1, 1);
  step.norm = take(&arena, 14 * hidden, 0, 1);
  step.scales = take_rows(&arena, take(&arena, rows * 4, 0, 1), rows, 4);
  while (shim_keep_running(state))
    work->kernels->lstm_normalised_forward(&step);
  count_units(state, work, &normalised_forward, &nothing);
  release(&arena);
}

void run_lstm_normalised_backward(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t rows = work->size[0], hidden = work->size[1];
  const struct gk_cell_variant variant = variant_of(work);
  struct arena arena = {0};
  struct gk_cell_backward step = {.rows = rows, .unit_end = hidden, .hidden = hidden, .variant = &variant};
  step.gates = (const float *const *)take_states(&arena, work, NORMALISED_BLOCKS, 0.1f, 0.9f);
  step.d_pre = take_states(&arena, work, NORMALISED_BLOCKS, -1, 1);
  step.dy = take_states(&arena, work, 1, -1, 1);
  step.c_prev = take_states(&arena, work, 1, -1, 1);
  step.c = take_states(&arena, work, 1, -1, 1);
  step.dh = take_states(&arena, work, 1, -1, 1);
  step.dc = take_states(&arena, work, 1, -1, 1);
  step.norm = take(&arena, 14 * hidden, 0, 1);
  step.scales = (const float *const *)take_rows(&arena, take(&arena, rows * 4, 0, 1), rows, 4);
  while (shim_keep_running(state))
    work->kernels->lstm_normalised_backward(&step);
  count_units(state, work, &normalised_backward, &nothing);
  release(&arena);
}
