/* SPDX-License-Identifier: Apache-2.0
 * The arithmetic of cells, a step of a layer at a time. */

#include <math.h>

#include "kernel_work.h"

enum { BLOCKS = 4 };

/* Rows of gates of all cells have room for the four blocks of the widest. */
static void *take_states(struct arena *arena, const struct work *work, size_t blocks, float low, float high) {
  const size_t rows = work->size[0], width = blocks * work->size[1];
  return take_rows(arena, take(arena, rows * width, low, high), rows, width);
}

enum { NORMALISED_BLOCKS = 13 };

/* Every option that does not take another function: with peepholes and bounds. */
static const struct gk_cell_variant variant = {.function = {[GK_CANDIDATE] = {GK_ACTIVATION_TANH, 0, 0, true},
                                                            [GK_GATE] = {GK_ACTIVATION_SIGMOID, 0, 0, true},
                                                            [GK_OUTPUT] = {GK_ACTIVATION_TANH, 0, 0, true}},
                                               .clip = INFINITY,
                                               .cell_clip = 0.5f};

/* As in training. A phase that writes back into its pre-activations leaves values that are as good. */
static void run_forward_step(shim_state *state, const struct work *work, bool general) {
  const size_t rows = work->size[0], hidden = work->size[1];
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
}

static void run_backward_step(shim_state *state, const struct work *work, bool general) {
  const size_t rows = work->size[0], hidden = work->size[1];
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
  release(&arena);
}

void run_lstm_normalised_backward(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t rows = work->size[0], hidden = work->size[1];
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
  release(&arena);
}
