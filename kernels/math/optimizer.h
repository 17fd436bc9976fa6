/* SPDX-License-Identifier: Apache-2.0
 * Optimizer updates over one range of parameters: formulas of torch.optim (SGD, RMSprop, Adagrad, Adam,
 * AdamW). States too small for a normal number become +0. */
#ifndef GK_KERNELS_MATH_OPTIMIZER_H
#define GK_KERNELS_MATH_OPTIMIZER_H

#include "kernels/math/array.h"

#define GK_OPTIMIZER_UNITS static inline __attribute__((always_inline)) void

static inline vf optimizer_state(vf x) { return vf_zero_where(vf_lt(vf_abs(x), vf_set(0x1p-126f)), x); }

static inline __attribute__((always_inline)) vf optimizer_scaled(const struct gk_update *u, size_t i,
                                                                 size_t lanes) {
  return vf_mul(v_load(u->gradients + i, lanes), vf_set(u->gradient_scale));
}

/* scale * gradient + weight_decay * parameter */
static inline __attribute__((always_inline)) vf optimizer_gradient(const struct gk_update *u, size_t i,
                                                                   size_t lanes) {
  vf g = optimizer_scaled(u, i, lanes);
  return vf_fma(vf_set(u->weight_decay), v_load(u->parameters + i, lanes), g);
}

GK_OPTIMIZER_UNITS sgd_units(const struct gk_update *u, size_t i, size_t lanes) {
  vf g = optimizer_gradient(u, i, lanes);
  if (u->momentum != 0) {
    vf buffer = g;
    if (!u->first_step)
      buffer = vf_fma(vf_set(u->momentum), v_load(u->first + i, lanes), g);
    buffer = optimizer_state(buffer);
    v_store(u->first + i, buffer, lanes);
    g = u->nesterov ? vf_fma(vf_set(u->momentum), buffer, g) : buffer;
  }
  vf w = v_load(u->parameters + i, lanes);
  v_store(u->parameters + i, vf_fnma(vf_set(u->learning_rate), g, w), lanes);
}

GK_OPTIMIZER_UNITS rmsprop_units(const struct gk_update *u, size_t i, size_t lanes) {
  vf g = optimizer_gradient(u, i, lanes);
  vf average = vf_mul(vf_set(u->alpha), v_load(u->first + i, lanes));
  average = optimizer_state(vf_fma(vf_mul(vf_sub(vf_set(1.0f), vf_set(u->alpha)), g), g, average));
  v_store(u->first + i, average, lanes);
  vf root = vf_add(vf_sqrt(average), vf_set(u->epsilon));
  vf w = v_load(u->parameters + i, lanes);
  v_store(u->parameters + i, vf_fnma(vf_set(u->learning_rate), vf_div(g, root), w), lanes);
}

/* learning_rate: already divided by what decays it. */
GK_OPTIMIZER_UNITS adagrad_units(const struct gk_update *u, size_t i, size_t lanes) {
  vf g = optimizer_gradient(u, i, lanes);
  vf sum = optimizer_state(vf_fma(g, g, v_load(u->first + i, lanes)));
  v_store(u->first + i, sum, lanes);
  vf root = vf_add(vf_sqrt(sum), vf_set(u->epsilon));
  vf w = v_load(u->parameters + i, lanes);
  v_store(u->parameters + i, vf_fnma(vf_set(u->learning_rate), vf_div(g, root), w), lanes);
}

/* The step of Adam with gradient g from parameters w. */
GK_OPTIMIZER_UNITS adam_step(const struct gk_update *u, size_t i, size_t lanes, vf g, vf w) {
  vf m = v_load(u->first + i, lanes);
  vf v = v_load(u->second + i, lanes);
  m = optimizer_state(vf_fma(vf_sub(vf_set(1.0f), vf_set(u->beta1)), vf_sub(g, m), m));
  v = vf_mul(vf_set(u->beta2), v);
  v = optimizer_state(vf_fma(vf_mul(vf_sub(vf_set(1.0f), vf_set(u->beta2)), g), g, v));
  v_store(u->first + i, m, lanes);
  v_store(u->second + i, v, lanes);
  vf root = vf_add(vf_div(vf_sqrt(v), vf_set(u->bias_correction2_root)), vf_set(u->epsilon));
  v_store(u->parameters + i, vf_fnma(vf_set(u->step_size), vf_div(m, root), w), lanes);
}

GK_OPTIMIZER_UNITS adam_units(const struct gk_update *u, size_t i, size_t lanes) {
  adam_step(u, i, lanes, optimizer_gradient(u, i, lanes), v_load(u->parameters + i, lanes));
}

/* The decay shrinks the parameter instead of joining the gradient. */
GK_OPTIMIZER_UNITS adamw_units(const struct gk_update *u, size_t i, size_t lanes) {
  vf w = vf_mul(v_load(u->parameters + i, lanes), vf_set(u->shrink));
  adam_step(u, i, lanes, optimizer_scaled(u, i, lanes), w);
}

/* The copy: as in cell.h. */
#define GK_OPTIMIZER_KERNEL(name)                                                                            \
  static void name(const struct gk_update *u) {                                                              \
    const struct gk_update update = *u;                                                                      \
    GK_ARRAY_PASS(update.count, name##_units(&update, i, lanes););                                           \
  }
GK_OPTIMIZER_KERNEL(sgd)
GK_OPTIMIZER_KERNEL(rmsprop)
GK_OPTIMIZER_KERNEL(adagrad)
GK_OPTIMIZER_KERNEL(adam)
GK_OPTIMIZER_KERNEL(adamw)

#endif
