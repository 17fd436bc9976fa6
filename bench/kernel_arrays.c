/* SPDX-License-Identifier: Apache-2.0
 * Kernels on arrays: activations, masks, losses, clipping, optimizers. */

#include <string.h>

#include "kernel_work.h"

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

void run_sigmoid(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->sigmoid, 0);
}

void run_tanh(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->tanh, 0);
}

void run_add(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->add, 1);
}

void run_flush(shim_state *state, const void *context) {
  run_array(state, context, ((const struct work *)context)->kernels->flush, 0);
}

void run_dropout(shim_state *state, const void *context) {
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
  shim_bytes(state, sizeof(float) * (double)count);
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
  shim_bytes(state, 4 * sizeof(float) * (double)count);
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
  shim_bytes(state, 3 * sizeof(float) * (double)count);
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
  shim_bytes(state, 5 * sizeof(float) * (double)count);
  release(&arena);
}

void run_sum_squares(shim_state *state, const void *context) {
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

void run_softmax(shim_state *state, const void *context) {
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

void run_softmax_backward(shim_state *state, const void *context) {
  run_gradient(state, context, ((const struct work *)context)->kernels->softmax_backward);
}

void run_tanh_backward(shim_state *state, const void *context) {
  run_gradient(state, context, ((const struct work *)context)->kernels->tanh_backward);
}

void run_sigmoid_backward(shim_state *state, const void *context) {
  run_gradient(state, context, ((const struct work *)context)->kernels->sigmoid_backward);
}

void run_softmax_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->softmax_loss);
}

void run_binary_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->binary_loss);
}

void run_squared_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->squared_loss);
}

void run_huber_loss(shim_state *state, const void *context) {
  run_loss(state, context, ((const struct work *)context)->kernels->huber_loss);
}

void run_clamp(shim_state *state, const void *context) {
  const struct work *work = context;
  struct arena arena = {0};
  float *x = take(&arena, work->size[0], -1, 1);
  while (shim_keep_running(state))
    work->kernels->clamp(work->size[0], 0.5f, x);
  shim_bytes(state, 2 * sizeof(float) * (double)work->size[0]);
  release(&arena);
}

void run_scale(shim_state *state, const void *context) {
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

void run_sgd(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->sgd, 5);
}

void run_rmsprop(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->rmsprop, 5);
}

void run_adagrad(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->adagrad, 5);
}

void run_adamw(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->adamw, 7);
}

void run_adam(shim_state *state, const void *context) {
  run_update(state, context, ((const struct work *)context)->kernels->adam, 7);
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

void run_sigmoid_loop(shim_state *state, const void *context) {
  run_activation_loop(state, context, ((const struct work *)context)->kernels->sigmoid_loop);
}

void run_tanh_loop(shim_state *state, const void *context) {
  run_activation_loop(state, context, ((const struct work *)context)->kernels->tanh_loop);
}
