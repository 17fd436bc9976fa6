/* SPDX-License-Identifier: Apache-2.0
 *
 * A network case through the float64 reference, and fp32 results against it. Include cmocka.h first. */
#ifndef GK_TESTS_REFERENCE_FIXTURE_H
#define GK_TESTS_REFERENCE_FIXTURE_H

#include "src/core/random.h"
#include "tests/network_fixture.h"

/* In the order of struct network_results. */
struct reference_results {
  double *y, *hn, *cn, *dx, *dh0, *dc0, *gradients, *dh_norms;
};

static inline double *const *reference_arrays(const struct reference_results *r) {
  return (double *const *)r;
}

static inline double *take_copy(struct buffers *b, const float *values, int64_t count) {
  if (!values)
    return NULL;
  double *copy = take_doubles(b, count);
  for (int64_t i = 0; i < count; i++)
    copy[i] = values[i];
  return copy;
}

/* Values of a row of masks of part p: a layer for GK_MASK_OUTPUT, else a layer and direction. */
static inline int64_t mask_width(const struct network_case *c, gk_mask mask, int64_t p) {
  int64_t D = mask == GK_MASK_OUTPUT ? 1 : sizes_of(c).directions;
  struct gk_reference_layout at = gk_reference_layout_of(&c->desc, p / D, p % D);
  return mask == GK_MASK_INPUT       ? c->desc.input_size
         : mask == GK_MASK_OUTPUT    ? at.width
         : mask == GK_MASK_ZONEOUT_C ? at.hidden
                                     : at.output;
}

/* (parts, T, N, width) factors of one kind of mask, read back; NULL if its probability is 0. */
static inline double *take_masks(struct buffers *b, const struct network_case *c, gk_rnn *rnn, gk_mask mask,
                                 float probability, int64_t parts) {
  gk_random_key key = {.seed = c->seed, .step = 3, .first_sample = 40};
  int64_t N = c->batch, T = c->time, D = mask == GK_MASK_OUTPUT ? 1 : sizes_of(c).directions;
  int64_t count = 0, widest = 0;
  if (probability == 0 || parts == 0)
    return NULL;
  for (int64_t p = 0; p < parts; p++) {
    int64_t width = mask_width(c, mask, p);
    count += T * N * width;
    widest = widest < width ? width : widest;
  }
  double *masks = take_doubles(b, count), *next = masks;
  float *row = take_floats(b, widest);
  for (int64_t p = 0; p < parts; p++)
    for (int64_t t = 0; t < T; t++)
      for (int64_t n = 0; n < N; n++) {
        check_status(c, gk_rnn_mask(rnn, mask, &key, p / D, (int)(p % D), t, n, row), "gk_rnn_mask");
        for (int64_t j = 0; j < mask_width(c, mask, p); j++)
          *next++ = row[j];
      }
  return masks;
}

/* The factors of weight_hh in the layout of the parameters. */
static inline double *take_weight_masks(struct buffers *b, const struct network_case *c, gk_rnn *rnn) {
  gk_random_key key = {.seed = c->seed, .step = 3};
  int64_t D = sizes_of(c).directions;
  if (c->desc.weight_dropout == 0)
    return NULL;
  double *masks = take_doubles(b, sizes_of(c).parameters);
  for (int64_t p = 0; p < c->desc.layers * D; p++) {
    struct gk_reference_layout at = gk_reference_layout_of(&c->desc, p / D, p % D);
    float *row = take_floats(b, at.output);
    for (int64_t r = 0; r < gk_reference_gates(&c->desc) * at.hidden; r++) {
      check_status(c, gk_rnn_mask(rnn, GK_MASK_WEIGHT, &key, p / D, (int)(p % D), 0, r, row), "gk_rnn_mask");
      for (int64_t k = 0; k < at.output; k++)
        masks[at.weight_hh + r * at.output + k] = row[k];
    }
  }
  return masks;
}

/* What training draws for this case. */
static inline void read_masks_back(struct buffers *b, const struct network_case *c,
                                   struct gk_reference_call *call) {
  const gk_rnn_desc *d = &c->desc;
  int64_t parts = d->layers * sizes_of(c).directions;
  gk_rnn *rnn;
  check_status(c, gk_rnn_create(d, &rnn), "gk_rnn_create");
  call->masks = take_masks(b, c, rnn, GK_MASK_OUTPUT, d->dropout, d->layers - 1);
  call->input_masks = take_masks(b, c, rnn, GK_MASK_INPUT, d->input_dropout, 1);
  call->recurrent_masks = take_masks(b, c, rnn, GK_MASK_RECURRENT, d->recurrent_dropout, parts);
  call->parameter_masks = take_weight_masks(b, c, rnn);
  call->zoneout_h = take_masks(b, c, rnn, GK_MASK_ZONEOUT_H, d->zoneout_h, parts);
  call->zoneout_c = take_masks(b, c, rnn, GK_MASK_ZONEOUT_C, d->zoneout_c, parts);
  gk_rnn_destroy(rnn);
}

static inline struct reference_results run_reference(struct buffers *b, const struct network_case *c,
                                                     const struct network_data *d) {
  struct network_sizes s = sizes_of(c);
  int64_t memory = s.cells;
  struct reference_results r = {take_doubles(b, s.outputs),    take_doubles(b, s.states),
                                take_doubles(b, memory),       take_doubles(b, s.inputs),
                                take_doubles(b, s.states),     take_doubles(b, memory),
                                take_doubles(b, s.parameters), take_doubles(b, s.norms)};
  struct gk_reference_call call = {.time = c->time,
                                   .batch = c->batch,
                                   .lengths = d->lengths,
                                   .reset = d->reset,
                                   .x = take_copy(b, d->x, s.inputs),
                                   .tokens = d->tokens,
                                   .h0 = take_copy(b, d->h0, s.states),
                                   .c0 = take_copy(b, d->c0, s.cells),
                                   .parameters = take_copy(b, d->parameters, s.parameters),
                                   .y = r.y,
                                   .hn = r.hn,
                                   .cn = has_memory(c) ? r.cn : NULL,
                                   .backward = true,
                                   .dy = take_copy(b, d->dy, s.outputs),
                                   .dhn = take_copy(b, d->dhn, s.states),
                                   .dcn = take_copy(b, d->dcn, s.cells),
                                   .dx = r.dx,
                                   .dh0 = r.dh0,
                                   .dc0 = has_memory(c) ? r.dc0 : NULL,
                                   .gradients = r.gradients,
                                   .dh_norms = r.dh_norms};
  read_masks_back(b, c, &call);
  check_status(c, gk_reference_run(&c->desc, &call), "gk_reference_run");
  return r;
}

/* Largest error relative to the tensor's largest magnitude; *worst is its index. A tensor that must be
 * all zeros has error 0 or infinity. NaN anywhere is infinity. */
static inline double relative_error(int64_t count, const float *got, const double *wanted, int64_t *worst) {
  double largest = 0, error = 0;
  *worst = 0;
  for (int64_t i = 0; i < count; i++)
    largest = fmax(largest, fabs(wanted[i]));
  for (int64_t i = 0; i < count; i++) {
    double difference = fabs((double)got[i] - wanted[i]);
    if (!(difference <= error)) {
      error = isnan(difference) ? INFINITY : difference;
      *worst = i;
    }
  }
  return error == 0 ? 0 : error / largest;
}

/* Every tensor that was asked for; returns the largest error. */
static inline double check_near_reference(const struct network_case *c, double tolerance,
                                          const struct network_results *got,
                                          const struct reference_results *wanted) {
  struct named_tensor tensors[MAX_TENSORS];
  int count = tensors_of(c, tensors);
  double largest = 0;
  for (int k = 0; k < count; k++) {
    const struct named_tensor *t = &tensors[k];
    const float *a = result_arrays(got)[t->array];
    const double *b = reference_arrays(wanted)[t->array];
    if (!a || !b)
      continue;
    int64_t i;
    double error = relative_error(t->count, a + t->offset, b + t->offset, &i);
    if (!(error <= tolerance))
      fail_case(c, "%s[%" PRId64 "] is %.9g, the float64 reference has %.9g: %.3g of the largest", t->name, i,
                (double)a[t->offset + i], b[t->offset + i], error);
    largest = fmax(largest, error);
  }
  return largest;
}

/* The reference once, then every tier and schedule against it; returns the largest error. */
static inline double check_tiers_near_reference(struct network_case *c, double tolerance, const gk_isa *tiers,
                                                int tier_count) {
  struct buffers data_buffers = {0};
  double largest = 0;
  c->desc.isa = tiers[0];
  struct network_data d = take_data(&data_buffers, c);
  struct reference_results wanted = run_reference(&data_buffers, c, &d);
  for (int i = 0; i < tier_count; i++)
    for (int schedule = GK_SCHEDULE_SLICES; schedule < gk_schedule_count(); schedule++) {
      struct buffers buffers = {0};
      c->desc.isa = tiers[i];
      c->desc.schedule = (gk_schedule)schedule;
      c->desc.threads = schedule == GK_SCHEDULE_SLICES ? 1 : 2;
      struct network_results got = run_case(&buffers, c, &d);
      largest = fmax(largest, check_near_reference(c, tolerance, &got, &wanted));
      buffers_release(&buffers);
    }
  buffers_release(&data_buffers);
  return largest;
}

#endif
