/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "kernels/kernels.h"
#include "runner_clock.h"

/* A kernel of one tier on one size: three numbers whose meaning each kernel's sizes say below. */
struct work {
  const struct gk_kernels *kernels;
  gk_cell cell; /* cells only */
  int phase;
  size_t size[3];
};

/* One step of a layer for one, some and many rows; a product over time; a large one. */
static const size_t product_sizes[][3] = {{1, 512, 2048},   {8, 512, 2048},  {64, 128, 512}, {64, 512, 2048},
                                          {64, 1024, 4096}, {512, 1600, 512}};      /* rows, k, columns */
static const size_t matrix_sizes[][3] = {{64, 512}, {512, 2048}, {1600, 70}};       /* rows, columns */
static const size_t cell_sizes[][3] = {{64, 48}, {64, 128}, {64, 512}, {64, 1000}}; /* rows, hidden units */
static const size_t array_sizes[][3] = {{64}, {4096}, {1 << 20}};                   /* values */
static const size_t softmax_sizes[][3] = {{65}, {1000}, {10000}};                   /* logits */
static const size_t loop_sizes[][3] = {{1000}};                                     /* rounds */
static const size_t read_sizes[][3] = {
    {4096}, {1 << 17}, {1 << 21}, {1 << 24}}; /* values: L1, L2, L3, memory */

enum { MOST_ARRAYS = 12, BLOCKS = 4 };

/* Memory of one run. */
struct arena {
  float *array[MOST_ARRAYS];
  void *rows[MOST_ARRAYS];
  int arrays;
};

/* Values in [low, high) that cost no time to make and are never denormal. */
static float *take(struct arena *arena, size_t count, float low, float high) {
  float *values = aligned_alloc(64, (count * sizeof(float) + 64) / 64 * 64);
  if (!values || arena->arrays == MOST_ARRAYS)
    abort();
  for (size_t i = 0; i < count; i++)
    values[i] = low + (high - low) * (float)(i * 2654435761u % 65536) / 65536;
  return arena->array[arena->arrays++] = values;
}

/* Pointers to `rows` rows of `width` floats of `values`. */
static void *take_rows(struct arena *arena, float *values, size_t rows, size_t width) {
  float **row = malloc((rows + 1) * sizeof *row);
  if (!row)
    abort();
  for (size_t i = 0; i < rows; i++)
    row[i] = values + i * width;
  return arena->rows[arena->arrays - 1] = row;
}

static void release(struct arena *arena) {
  for (int i = 0; i < MOST_ARRAYS; i++) {
    free(arena->array[i]);
    free(arena->rows[i]);
  }
}

static void run_product(shim_state *state, const void *context) {
  const struct work *work = context;
  const struct gk_kernels *kernels = work->kernels;
  const size_t rows = work->size[0], k = work->size[1], columns = work->size[2], v = kernels->lanes;
  const size_t vectors = (columns + v - 1) / v, nv = kernels->tile_vectors, panels = (vectors + nv - 1) / nv;
  struct arena arena = {0};
  struct gk_column *column = malloc(vectors * sizeof *column);
  if (!column)
    abort();
  for (size_t q = 0; q < vectors; q++)
    column[q] = (struct gk_column){(uint32_t)(q * v), (uint32_t)(columns - q * v < v ? columns - q * v : v)};
  struct gk_product product = {.rows = rows, .k = k, .panel_stride = k * nv * v, .columns = column};
  product.a = take_rows(&arena, take(&arena, rows * k, -1, 1), rows, k);
  product.b = take(&arena, panels * product.panel_stride, -0.1f, 0.1f);
  product.c = take_rows(&arena, take(&arena, rows * columns, 0, 1), rows, columns);
  product.vector_end = vectors;
  product.overwrite = true;
  while (shim_keep_running(state))
    kernels->product(&product);
  shim_flop(state, 2.0 * (double)rows * (double)k * (double)columns);
  shim_bytes(state, sizeof(float) * ((double)rows * (double)(k + columns) + (double)k * (double)columns));
  free(column);
  release(&arena);
}

static void run_transpose(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t rows = work->size[0], columns = work->size[1];
  struct arena arena = {0};
  const float *const *source = take_rows(&arena, take(&arena, rows * columns, -1, 1), rows, columns);
  float *destination = take(&arena, rows * columns, 0, 1);
  while (shim_keep_running(state))
    work->kernels->transpose(rows, columns, source, destination, rows);
  shim_bytes(state, 2 * sizeof(float) * (double)rows * (double)columns);
  release(&arena);
}

static void run_pack_rows(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t rows = work->size[0], columns = work->size[1];
  const size_t width = work->kernels->lanes * work->kernels->tile_vectors;
  struct arena arena = {0};
  const float *const *source = take_rows(&arena, take(&arena, rows * columns, -1, 1), rows, columns);
  float *panels = take(&arena, (columns + width) * rows, 0, 1);
  while (shim_keep_running(state))
    work->kernels->pack_rows(rows, columns, source, panels, rows * width);
  shim_bytes(state, 2 * sizeof(float) * (double)rows * (double)columns);
  release(&arena);
}

static void run_column_sum(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t rows = work->size[0], columns = work->size[1];
  struct arena arena = {0};
  const float *const *source = take_rows(&arena, take(&arena, rows * columns, -1, 1), rows, columns);
  float *sum = take(&arena, columns, 0, 1);
  while (shim_keep_running(state))
    work->kernels->column_sum(rows, columns, source, sum, true);
  shim_flop(state, (double)rows * (double)columns);
  shim_bytes(state, sizeof(float) * (double)(rows + 1) * (double)columns);
  release(&arena);
}

static void run_column_dot(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t rows = work->size[0], columns = work->size[1];
  struct arena arena = {0};
  const float *const *a = take_rows(&arena, take(&arena, rows * columns, -1, 1), rows, columns);
  const float *const *b = take_rows(&arena, take(&arena, rows * columns, -1, 1), rows, columns);
  float *sum = take(&arena, columns, 0, 1);
  while (shim_keep_running(state))
    work->kernels->column_dot(rows, columns, a, b, sum, true);
  shim_flop(state, 2 * (double)rows * (double)columns);
  shim_bytes(state, sizeof(float) * (double)(2 * rows + 1) * (double)columns);
  release(&arena);
}

/* Cycles of the fastest call, which no other program has interrupted. */
struct cycles {
  double start, best;
};

static void start_call(struct cycles *cycles) {
  cycles->start = clock_seconds();
}

static void end_call(struct cycles *cycles) {
  const double seconds = clock_seconds() - cycles->start;
  if (cycles->best == 0 || seconds < cycles->best)
    cycles->best = seconds;
}

static void count_cycles(shim_state *state, const char *name, const struct cycles *cycles, double parts) {
  shim_counter(state, name, cycles->best / clock_cycle_seconds() / parts);
}

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

static void run_cell_forward(shim_state *state, const void *context) {
  run_forward_step(state, context, false);
}
static void run_cell_forward_general(shim_state *state, const void *context) {
  run_forward_step(state, context, true);
}

/* With nothing streamed before it: what it costs a call. */
static void run_stream_end(shim_state *state, const void *context) {
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

static void run_cell_backward(shim_state *state, const void *context) {
  run_backward_step(state, context, false);
}
static void run_cell_backward_general(shim_state *state, const void *context) {
  run_backward_step(state, context, true);
}

static void run_lstm_normalised_forward(shim_state *state, const void *context) {
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

static void run_lstm_normalised_backward(shim_state *state, const void *context) {
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

typedef void array_fn(size_t count, const float *x, float *y);

static void run_array(shim_state *state, const struct work *work, array_fn *apply, double flop) {
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *x = take(&arena, count, -4, 4);
  float *y = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    apply(count, x, y);
  if (flop > 0)
    shim_flop(state, flop * (double)count);
  shim_bytes(state, 2 * sizeof(float) * (double)count);
  release(&arena);
}

static void run_sigmoid(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->sigmoid, 0);
}

static void run_tanh(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->tanh, 0);
}

static void run_add(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->add, 1);
}

static void run_flush(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->flush, 0);
}

static void run_dropout(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *x = take(&arena, count, -1, 1), *uniform = take(&arena, count, 0, 1);
  float *y = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    work->kernels->dropout(count, 0.5f, 2, uniform, x, y);
  shim_flop(state, (double)count);
  shim_bytes(state, 3 * sizeof(float) * (double)count);
  release(&arena);
}

static void run_uniforms(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  float *u = take(&arena, count, 0, 1);
  struct gk_uniforms row = {.key = {1, 2}};
  while (shim_keep_running(state)) {
    row.counter[2]++;
    work->kernels->uniforms(&row, 0, count, u);
  }
  shim_bytes(state, sizeof(float) * (double)count);
  release(&arena);
}

static void run_zoneout(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *x = take(&arena, count, -1, 1), *uniform = take(&arena, count, 0, 1);
  float *y = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    work->kernels->zoneout(count, 0.25f, uniform, y, x, y);
  shim_bytes(state, 4 * sizeof(float) * (double)count);
  release(&arena);
}

static void run_zoneout_mean(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *x = take(&arena, count, -1, 1);
  float *y = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    work->kernels->zoneout_mean(count, 0.25f, y, x, y);
  shim_bytes(state, 3 * sizeof(float) * (double)count);
  release(&arena);
}

static void run_zoneout_backward(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *dy = take(&arena, count, -1, 1), *uniform = take(&arena, count, 0, 1);
  float *d = take(&arena, count, 0, 1), *stayed = take(&arena, count, 0, 1);
  memset(d, 0, count * sizeof *d); /* does not grow */
  while (shim_keep_running(state))
    work->kernels->zoneout_backward(count, 1.0f, uniform, dy, d, stayed);
  shim_bytes(state, 5 * sizeof(float) * (double)count);
  release(&arena);
}

static void run_column_max(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t rows = work->size[0], columns = work->size[1];
  struct arena arena = {0};
  const float *const *source = take_rows(&arena, take(&arena, rows * columns, -1, 1), rows, columns);
  float *best = take(&arena, columns, 0, 1);
  int32_t *row = (int32_t *)take(&arena, columns, 0, 1);
  while (shim_keep_running(state))
    work->kernels->column_max(rows, columns, source, 0, best, row, true);
  shim_bytes(state, sizeof(float) * (double)rows * (double)columns);
  release(&arena);
}

static void run_sum_squares(shim_state *state, const void *context) {
  const struct work *work = context;
  struct arena arena = {0};
  const float *x = take(&arena, work->size[0], -1, 1);
  volatile float sum = 0;
  while (shim_keep_running(state))
    sum = work->kernels->sum_squares(work->size[0], x);
  shim_flop(state, 2 * (double)work->size[0]);
  shim_bytes(state, sizeof(float) * (double)work->size[0]);
  release(&arena);
  (void)sum;
}

static void run_softmax(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *logits = take(&arena, count, -4, 4);
  float *p = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    work->kernels->softmax(count, 1, logits, p);
  shim_bytes(state, 2 * sizeof(float) * (double)count);
  release(&arena);
}

/* The gradient overwrites the logits, and is a fine set of logits. */
typedef float loss_fn(const struct gk_loss_row *row);

static void run_loss(shim_state *state, const void *context, loss_fn *apply) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  float *dx = take(&arena, count, -4, 4);
  struct gk_loss_row row = {.count = count,
                            .x = take(&arena, count, -4, 4),
                            .values = take(&arena, count, 0, 1),
                            .target = count / 2,
                            .scale = 1,
                            .positive_weight = 1,
                            .delta = 1,
                            .dx = dx};
  volatile float loss = 0;
  while (shim_keep_running(state))
    loss = apply(&row);
  shim_bytes(state, 3 * sizeof(float) * (double)count);
  release(&arena);
  (void)loss;
}

/* One query against `rows` keys, or their weighted sum. */
static void run_attention(shim_state *state, const struct work *work, bool scores) {
  const size_t rows = work->size[0], columns = work->size[1];
  struct arena arena = {0};
  float *values = take(&arena, rows * columns, -1, 1), *row = take(&arena, columns, -1, 1);
  float *weights = take(&arena, rows, 0, 1);
  while (shim_keep_running(state))
    if (scores)
      work->kernels->dots(rows, columns, row, values, (ptrdiff_t)columns, weights);
    else
      work->kernels->weighted_sum(rows, columns, weights, 1, values, (ptrdiff_t)columns, row, true);
  shim_flop(state, 2.0 * (double)rows * (double)columns);
  shim_bytes(state, sizeof(float) * (double)(rows + 1) * (double)columns);
  release(&arena);
}

static void run_dots(shim_state *state, const void *context) {
  run_attention(state, context, true);
}

static void run_weighted_sum(shim_state *state, const void *context) {
  run_attention(state, context, false);
}

typedef void gradient_fn(size_t count, const float *y, const float *dy, float *d);

static void run_gradient(shim_state *state, const struct work *work, gradient_fn *apply) {
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *y = take(&arena, count, 0, 1), *dy = take(&arena, count, -1, 1);
  float *d = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    apply(count, y, dy, d);
  shim_bytes(state, 3 * sizeof(float) * (double)count);
  release(&arena);
}

static void run_softmax_backward(shim_state *state, const void *context) {
  run_gradient(state, context, ((const struct work *)context)->kernels->softmax_backward);
}

static void run_tanh_backward(shim_state *state, const void *context) {
  run_gradient(state, context, ((const struct work *)context)->kernels->tanh_backward);
}

static void run_sigmoid_backward(shim_state *state, const void *context) {
  run_gradient(state, context, ((const struct work *)context)->kernels->sigmoid_backward);
}

static void run_softmax_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->softmax_loss);
}

static void run_binary_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->binary_loss);
}

static void run_squared_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->squared_loss);
}

static void run_huber_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->huber_loss);
}

static void run_clamp(shim_state *state, const void *context) {
  const struct work *work = context;
  struct arena arena = {0};
  float *x = take(&arena, work->size[0], -1, 1);
  while (shim_keep_running(state))
    work->kernels->clamp(work->size[0], 0.5f, x);
  shim_bytes(state, 2 * sizeof(float) * (double)work->size[0]);
  release(&arena);
}

static void run_scale(shim_state *state, const void *context) {
  const struct work *work = context;
  struct arena arena = {0};
  float *x = take(&arena, work->size[0], -1, 1);
  while (shim_keep_running(state))
    work->kernels->scale(work->size[0], -1.0f, x);
  shim_bytes(state, 2 * sizeof(float) * (double)work->size[0]);
  release(&arena);
}

typedef void update_fn(const struct gk_update *update);

/* `arrays` are read or written by one update of a parameter. */
static void run_update(shim_state *state, const struct work *work, update_fn *apply, double arrays) {
  struct arena arena = {0};
  struct gk_update update = {.count = work->size[0], .gradient_scale = 1, .learning_rate = 1e-6f};
  update.momentum = update.beta1 = update.alpha = 0.9f;
  update.beta2 = 0.999f;
  update.epsilon = 1e-8f;
  update.bias_correction1 = 1e-6f;
  update.bias_correction2_root = 1;
  update.keep = 1;
  update.parameters = take(&arena, update.count, -1, 1);
  update.gradients = take(&arena, update.count, -1, 1);
  update.first = take(&arena, update.count, 0.1f, 1);
  update.second = take(&arena, update.count, 0.1f, 1);
  while (shim_keep_running(state))
    apply(&update);
  shim_bytes(state, sizeof(float) * arrays * (double)update.count);
  release(&arena);
}

static void run_sgd(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->sgd, 5);
}

static void run_rmsprop(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->rmsprop, 5);
}

static void run_adagrad(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->adagrad, 5);
}

static void run_adamw(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->adamw, 7);
}

static void run_adam(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->adam, 7);
}

static void run_fma_loop(shim_state *state, const void *context) {
  const struct work *work = context;
  float sink[64] = {0.5f, 0.5f};
  double flop = 0;
  while (shim_keep_running(state))
    flop = work->kernels->fma_loop(work->size[0], sink);
  shim_flop(state, flop);
}

static void run_read_loop(shim_state *state, const void *context) {
  const struct work *work = context;
  struct arena arena = {0};
  const float *x = take(&arena, work->size[0], -1, 1);
  volatile float sum = 0;
  while (shim_keep_running(state))
    sum = work->kernels->read_loop(work->size[0], x);
  shim_bytes(state, sizeof(float) * (double)work->size[0]);
  release(&arena);
  (void)sum;
}

static void run_activation_loop(shim_state *state, const struct work *work, void (*loop)(size_t, float *)) {
  float x[16] = {0};
  struct cycles cycles = {0};
  while (shim_keep_running(state)) {
    start_call(&cycles);
    loop(work->size[0], x);
    end_call(&cycles);
  }
  count_cycles(state, "cycles_per_16", &cycles, (double)work->size[0]);
}

static void run_sigmoid_loop(shim_state *state, const void *context) {
  run_activation_loop(state, context, ((const struct work *)context)->kernels->sigmoid_loop);
}

static void run_tanh_loop(shim_state *state, const void *context) {
  run_activation_loop(state, context, ((const struct work *)context)->kernels->tanh_loop);
}

/* ---- Registration ---- */

#define SIZES(sizes) sizes, sizeof sizes / sizeof *sizes

/* The slots of kernel_list.def: what runs one, and on which sizes. */
struct kernel {
  const char *name;
  shim_function *run;
  const size_t (*sizes)[3];
  size_t size_count;
};

#define sizes_product                  SIZES(product_sizes)
#define sizes_transpose                SIZES(matrix_sizes)
#define sizes_pack_rows                SIZES(matrix_sizes)
#define sizes_column_sum               SIZES(matrix_sizes)
#define sizes_cell_forward             SIZES(cell_sizes)
#define sizes_cell_backward            SIZES(cell_sizes)
#define sizes_sigmoid                  SIZES(array_sizes)
#define sizes_tanh                     SIZES(array_sizes)
#define sizes_uniforms                 SIZES(array_sizes)
#define sizes_dropout                  SIZES(array_sizes)
#define sizes_zoneout                  SIZES(array_sizes)
#define sizes_zoneout_mean             SIZES(array_sizes)
#define sizes_zoneout_backward         SIZES(array_sizes)
#define sizes_column_max               SIZES(matrix_sizes)
#define sizes_add                      SIZES(array_sizes)
#define sizes_flush                    SIZES(array_sizes)
#define sizes_softmax                  SIZES(softmax_sizes)
#define sizes_softmax_loss             SIZES(softmax_sizes)
#define sizes_binary_loss              SIZES(softmax_sizes)
#define sizes_squared_loss             SIZES(softmax_sizes)
#define sizes_huber_loss               SIZES(softmax_sizes)
#define sizes_clamp                    SIZES(array_sizes)
#define sizes_scale                    SIZES(array_sizes)
#define sizes_sum_squares              SIZES(array_sizes)
#define sizes_dots                     SIZES(matrix_sizes)
#define sizes_weighted_sum             SIZES(matrix_sizes)
#define sizes_softmax_backward         SIZES(softmax_sizes)
#define sizes_tanh_backward            SIZES(array_sizes)
#define sizes_sigmoid_backward         SIZES(array_sizes)
#define sizes_sgd                      SIZES(array_sizes)
#define sizes_rmsprop                  SIZES(array_sizes)
#define sizes_adam                     SIZES(array_sizes)
#define sizes_adagrad                  SIZES(array_sizes)
#define sizes_adamw                    SIZES(array_sizes)
#define sizes_fma_loop                 SIZES(loop_sizes)
#define sizes_read_loop                SIZES(read_sizes)
#define sizes_sigmoid_loop             SIZES(loop_sizes)
#define sizes_stream_end               SIZES(loop_sizes)
#define sizes_tanh_loop                SIZES(loop_sizes)
#define sizes_column_dot               SIZES(matrix_sizes)
#define sizes_cell_forward_general     SIZES(cell_sizes)
#define sizes_lstm_normalised_forward  SIZES(cell_sizes)
#define sizes_lstm_normalised_backward SIZES(cell_sizes)
#define sizes_cell_backward_general    SIZES(cell_sizes)

static const struct kernel kernels[] = {
#define GK_KERNEL(slot, test) {#slot, run_##slot, sizes_##slot},
#include "kernel_list.def"
#undef GK_KERNEL
};

static void register_work(const char *kernel, const char *tier, const char *cell, shim_function *run,
                          const struct work *work) {
  char name[128];
  struct work *kept = malloc(sizeof *kept); /* lives as long as the program */
  if (!kept)
    return;
  *kept = *work;
  int used = snprintf(name, sizeof name, "kernel/%s%s/%s/", kernel, cell, tier);
  for (int i = 0; i < 3 && work->size[i]; i++)
    used += snprintf(name + used, sizeof name - (size_t)used, "%s%zu", i ? "x" : "", work->size[i]);
  shim_register(name, run, kept);
}

static void register_cells(const struct kernel *kernel, const char *tier, struct work work, bool backward) {
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (int phase = 0; phase < GK_MAX_PHASES; phase++) {
      const struct gk_kernels *table = work.kernels;
      char name[64];
      if (backward ? !table->cell_backward[cell][phase] : !table->cell_forward[cell][phase])
        continue;
      work.cell = (gk_cell)cell;
      work.phase = phase;
      snprintf(name, sizeof name, phase ? "/%s.%d" : "/%s", gk_cell_name((gk_cell)cell), phase + 1);
      register_work(kernel->name, tier, name, kernel->run, &work);
    }
}

/* Tables of one tier differ only in what holds a sigmoid or a tanh. */
static bool holds_activation(const char *kernel) {
  return !strncmp(kernel, "cell", 4) || !strncmp(kernel, "sigmoid", 7) || !strncmp(kernel, "tanh", 4);
}

static void register_tier(const char *tier, const struct gk_kernels *table) {
  for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
    if (table->math == GK_MATH_SLEEF && !holds_activation(kernels[i].name))
      continue;
    for (size_t size = 0; size < kernels[i].size_count; size++) {
      struct work work = {.kernels = table};
      memcpy(work.size, kernels[i].sizes[size], sizeof work.size);
      if (!strncmp(kernels[i].name, "cell", 4))
        register_cells(&kernels[i], tier, work, !strncmp(kernels[i].name, "cell_backward", 13));
      else
        register_work(kernels[i].name, tier, "", kernels[i].run, &work);
    }
  }
}

void register_kernel_benchmarks(void) {
  for (int isa = 1; isa <= gk_isa_count(); isa++)
    for (int math = GK_MATH_OWN; math <= GK_MATH_SLEEF; math++) {
      const struct gk_kernels *table = gk_dispatch((gk_isa)isa, (gk_math)math);
      char tier[64];
      if (!table)
        continue;
      snprintf(tier, sizeof tier, "%s%s", gk_isa_name((gk_isa)isa), math == GK_MATH_SLEEF ? "-sleef" : "");
      register_tier(tier, table);
    }
}
