/* SPDX-License-Identifier: Apache-2.0
 * Kernels on arrays: activations, masks, losses, clipping, optimizers. */

#include <string.h>

#include "kernel_flop.h"
#include "kernel_work.h"

typedef void array_fn(size_t count, const float *x, float *y);

/* `arrays` are read or written. */
static void run_array(shim_state *state, const struct work *work, array_fn *apply, double flop,
                      double arrays) {
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *x = take(&arena, count, -4, 4);
  float *y = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    apply(count, x, y);
  count_values(state, count, flop, arrays);
  release(&arena);
}

void run_sigmoid(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->sigmoid, FLOP_SIGMOID, 2);
}

void run_tanh(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->tanh, FLOP_TANH, 2);
}

void run_add(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->add, 1, 3);
}

void run_flush(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->flush, FLOP_FLUSH, 2);
}

void run_needs_flush(shim_state *state, const void *context) {
  const struct work *work = context;
  struct arena arena = {0};
  const float *x = take(&arena, work->size[0], -4, 4);
  volatile bool any = false;
  while (shim_keep_running(state))
    any = work->kernels->needs_flush(work->size[0], x);
  count_values(state, work->size[0], FLOP_FLUSH + 1, 1); /* + 1: the larger of two */
  release(&arena);
  (void)any;
}

void run_stream(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->stream, 0, 2);
}

void run_dropout(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *x = take(&arena, count, -1, 1), *uniform = take(&arena, count, 0, 1);
  float *y = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    work->kernels->dropout(count, 0.5f, 2, uniform, x, y);
  count_values(state, count, 2 + FLOP_FLUSH, 3); /* (uniform < p) and x scale */
  release(&arena);
}

void run_uniforms(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  float *u = take(&arena, count, 0, 1);
  struct gk_uniforms row = {.key = {1, 2}};
  while (shim_keep_running(state)) {
    row.counter[2]++;
    work->kernels->uniforms(&row, 0, count, u);
  }
  count_values(state, count, 1, 1); /* Philox takes integers; then one product */
  release(&arena);
}

void run_zoneout(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *x = take(&arena, count, -1, 1), *uniform = take(&arena, count, 0, 1);
  float *y = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    work->kernels->zoneout(count, 0.25f, uniform, y, x, y);
  count_values(state, count, 1, 4); /* uniform < p */
  release(&arena);
}

void run_zoneout_mean(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *x = take(&arena, count, -1, 1);
  float *y = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    work->kernels->zoneout_mean(count, 0.25f, y, x, y);
  count_values(state, count, 3 + FLOP_FLUSH, 3); /* x + p (previous - x) */
  release(&arena);
}

void run_zoneout_backward(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *dy = take(&arena, count, -1, 1), *uniform = take(&arena, count, 0, 1);
  float *d = take(&arena, count, 0, 1), *stayed = take(&arena, count, 0, 1);
  memset(d, 0, count * sizeof *d); /* does not grow */
  while (shim_keep_running(state))
    work->kernels->zoneout_backward(count, 1.0f, uniform, dy, d, stayed);
  count_values(state, count, 2 + FLOP_FLUSH, 5); /* (uniform < p) and dy + d */
  release(&arena);
}

void run_sum_squares(shim_state *state, const void *context) {
  const struct work *work = context;
  struct arena arena = {0};
  const float *x = take(&arena, work->size[0], -1, 1);
  volatile float sum = 0;
  while (shim_keep_running(state))
    sum = work->kernels->sum_squares(work->size[0], x);
  count_values(state, work->size[0], 2, 1);
  release(&arena);
  (void)sum;
}

/* The largest, scale (x - largest), exp, the sum, the division by it. */
enum { FLOP_SOFTMAX = 5 + FLOP_EXP };

void run_softmax(shim_state *state, const void *context) {
  const struct work *work = context;
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *logits = take(&arena, count, -4, 4);
  float *p = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    work->kernels->softmax(count, 1, logits, p);
  count_values(state, count, FLOP_SOFTMAX, 2);
  release(&arena);
}

typedef float loss_fn(const struct gk_loss_row *row);

static void run_loss(shim_state *state, const void *context, loss_fn *apply, double flop, double arrays) {
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
  count_values(state, count, flop, arrays);
  release(&arena);
  (void)loss;
}

typedef void gradient_fn(size_t count, const float *y, const float *dy, float *d);

static void run_gradient(shim_state *state, const struct work *work, gradient_fn *apply, double flop) {
  const size_t count = work->size[0];
  struct arena arena = {0};
  const float *y = take(&arena, count, 0, 1), *dy = take(&arena, count, -1, 1);
  float *d = take(&arena, count, 0, 1);
  while (shim_keep_running(state))
    apply(count, y, dy, d);
  count_values(state, count, flop, 3);
  release(&arena);
}

/* p (dp - p . dp) */
void run_softmax_backward(shim_state *state, const void *context) {
  run_gradient(state, context, ((const struct work *)context)->kernels->softmax_backward, 4 + FLOP_FLUSH);
}

/* dy (1 - y^2) */
void run_tanh_backward(shim_state *state, const void *context) {
  run_gradient(state, context, ((const struct work *)context)->kernels->tanh_backward, 3 + FLOP_FLUSH);
}

/* dy y (1 - y) */
void run_sigmoid_backward(shim_state *state, const void *context) {
  run_gradient(state, context, ((const struct work *)context)->kernels->sigmoid_backward, 3 + FLOP_FLUSH);
}

/* It reads no values but the class, and writes the gradient. */
void run_softmax_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->softmax_loss, FLOP_SOFTMAX, 2);
}

/* What every loss of one value each adds: the sum, the gradient's scale. */
enum { FLOP_LOSS = 2 + FLOP_FLUSH };

/* 14 operations around both sigmoids and log(1 + exp(-|x|)). */
void run_binary_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->binary_loss,
           14 + 2 * FLOP_SIGMOID + FLOP_EXP + FLOP_LOG1P + FLOP_LOSS, 3);
}

/* (x - y)^2 and 2 (x - y) */
void run_squared_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->squared_loss, 3 + FLOP_LOSS, 3);
}

/* m (|x - y| - m / 2) with m = min(|x - y|, delta) */
void run_huber_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->huber_loss, 5 + FLOP_LOSS, 3);
}

void run_clamp(shim_state *state, const void *context) {
  const struct work *work = context;
  struct arena arena = {0};
  float *x = take(&arena, work->size[0], -1, 1);
  while (shim_keep_running(state))
    work->kernels->clamp(work->size[0], 0.5f, x);
  count_values(state, work->size[0], 1, 2);
  release(&arena);
}

void run_scale(shim_state *state, const void *context) {
  const struct work *work = context;
  struct arena arena = {0};
  float *x = take(&arena, work->size[0], -1, 1);
  while (shim_keep_running(state))
    work->kernels->scale(work->size[0], -1.0f, x);
  count_values(state, work->size[0], 1, 2);
  release(&arena);
}

typedef void update_fn(const struct gk_update *update);

/* The gradient, scaled, and with what the decay adds. */
enum { FLOP_SCALED = 1, FLOP_DECAYED = FLOP_SCALED + 2 };

/* `arrays` are read or written by one update of a parameter. */
static void run_update(shim_state *state, const struct work *work, update_fn *apply, double flop,
                       double arrays) {
  struct arena arena = {0};
  struct gk_update update = {.count = work->size[0], .gradient_scale = 1, .learning_rate = 1e-6f};
  update.momentum = update.beta1 = update.alpha = 0.9f;
  update.beta2 = 0.999f;
  update.epsilon = 1e-8f;
  update.step_size = 1e-6f;
  update.bias_correction2_root = 1;
  update.shrink = 1;
  update.parameters = take(&arena, update.count, -1, 1);
  update.gradients = take(&arena, update.count, -1, 1);
  update.first = take(&arena, update.count, 0.1f, 1);
  update.second = take(&arena, update.count, 0.1f, 1);
  while (shim_keep_running(state))
    apply(&update);
  count_values(state, update.count, flop, arrays);
  release(&arena);
}

/* The momentum, the step. */
void run_sgd(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->sgd, FLOP_DECAYED + 4 + FLOP_FLUSH, 5);
}

/* The average of squares; g / (root + epsilon), the step. */
void run_rmsprop(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->rmsprop,
             FLOP_DECAYED + 4 + FLOP_FLUSH + 5, 5);
}

/* The sum of squares; the same. */
void run_adagrad(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->adagrad,
             FLOP_DECAYED + 2 + FLOP_FLUSH + 5, 5);
}

/* Both means, m / (root / correction + epsilon), the step. */
enum { FLOP_ADAM = 3 + FLOP_FLUSH + 4 + FLOP_FLUSH + 6 };

void run_adamw(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->adamw, FLOP_SCALED + 1 + FLOP_ADAM, 7);
}

void run_adam(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->adam, FLOP_DECAYED + FLOP_ADAM, 7);
}

/* 16 values, whose argument moves and whose results are added up, are read and written once. */
static void run_activation_loop(shim_state *state, const struct work *work, void (*loop)(size_t, float *),
                                double flop) {
  float x[16] = {0};
  struct cycles cycles = {0};
  while (shim_keep_running(state)) {
    start_call(&cycles);
    loop(work->size[0], x);
    end_call(&cycles);
  }
  count_cycles(state, "cycles_per_16", &cycles, (double)work->size[0]);
  shim_flop_and_bytes(state, 16 * (flop + 2) * (double)work->size[0], 2 * sizeof x);
}

void run_sigmoid_loop(shim_state *state, const void *context) {
  run_activation_loop(state, context, ((const struct work *)context)->kernels->sigmoid_loop, FLOP_SIGMOID);
}

void run_tanh_loop(shim_state *state, const void *context) {
  run_activation_loop(state, context, ((const struct work *)context)->kernels->tanh_loop, FLOP_TANH);
}
