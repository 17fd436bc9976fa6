/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoders whose stack has trained states, dropout of each kind and zoneout, which their float64 reference
 * has not: the gradient of each tensor along a random direction is the difference quotient of the loss, the
 * masks staying what the key says; the same bits on every tier, schedule and number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/decoder_fixture.h"

enum { CASES = 48 };

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* A smooth case without a choice that could flip. */
static struct decoder_case masked_case(uint64_t seed) {
  struct decoder_case c = random_decoder(2500 + seed);
  gk_rnn_desc *rnn = &c.desc.rnn;
  if (seed % 3)
    rnn->cell = GK_CELL_LSTM;
  rnn->projection_size = rnn->cell == GK_CELL_LSTM && seed / 2 % 2 ? 5 : 0;
  rnn->options.peephole = rnn->cell == GK_CELL_LSTM && seed / 4 % 2;
  rnn->trained_states = seed % 2;
  add_decoder_masks(&c, seed % 4 == 0 ? 127 - seed : random_bits(seed, 0));
  c.states &= !rnn->trained_states;
  c.sampling = c.desc.feedback == GK_FEEDBACK_OUTPUT ? 1 : 0;
  c.chosen = false;
  if (c.desc.attention == GK_ATTENTION_DOT)
    c.desc.source_size = rnn->projection_size ? rnn->projection_size : rnn->hidden_size;
  return c;
}

/* The sum of the outputs times their gradients; *size: the root of the sum of the squares of its terms. */
static double loss_of(const struct decoder_data *d, const struct decoder_results *r, double *size) {
  static const int outputs[] = {D_Y, D_OUTPUTS, D_HN, D_CN, D_FEEDN};
  const float *factors[] = {d->dy, d->doutputs, d->dhn, d->dcn, d->dfeedn};
  double loss = 0, squares = 0;
  for (int k = 0; k < 5; k++)
    for (int64_t i = 0; i < r->count[outputs[k]] && factors[k]; i++) {
      const double term = (double)r->tensor[outputs[k]][i] * (double)factors[k][i];
      loss += isnan(term) ? 0 : term; /* NaN stands in padding */
      squares += isnan(term) ? 0 : term * term;
    }
  *size = sqrt(squares);
  return loss;
}

/* Along a direction in which one tensor moves; the five-point quotient. */
static double check_tensor(const struct decoder_case *c, struct decoder_data *d, const gk_tensor *tensor,
                           const float *gradient) {
  static const float sides[] = {-2, -1, 1, 2};
  static const double weights[] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12};
  const float step = 0x1p-6f;
  struct buffers b = {0};
  float *values = d->parameters + tensor->offset;
  float *direction = take_floats(&b, tensor->count), *centre = take_floats(&b, tensor->count);
  double slope = 0, quotient = 0, squares = 0, noise = 0;
  random_floats(c->seed * 64 + (uint64_t)tensor->offset, 1, tensor->count, direction);
  memcpy(centre, values, (size_t)tensor->count * sizeof *centre);
  for (int64_t i = 0; i < tensor->count; i++) {
    slope += (double)gradient[i] * (double)direction[i];
    squares += (double)gradient[i] * (double)gradient[i];
  }
  for (int side = 0; side < 4; side++) {
    struct buffers run_buffers = {0};
    double size;
    for (int64_t i = 0; i < tensor->count; i++)
      values[i] = centre[i] + sides[side] * step * direction[i];
    struct decoder_results moved = run_decoder(&run_buffers, c, d);
    quotient += weights[side] * loss_of(d, &moved, &size) / (double)step;
    noise = fmax(noise, size * 0x1p-22 / (double)step);
    buffers_release(&run_buffers);
  }
  memcpy(values, centre, (size_t)tensor->count * sizeof *centre);
  const double error = fabs(quotient - slope), bound = 2e-3 * sqrt(squares) + noise;
  if (!(error <= bound))
    fail_decoder(c, "along a direction of %s the loss rises by %.9g, its gradient says %.9g (%.3g of bound)",
                 tensor->name, quotient, slope, error / bound);
  buffers_release(&b);
  return bound > 0 ? error / bound : 0;
}

static void the_gradient_of_every_tensor_is_a_difference_of_losses(void **state) {
  double largest = 0;
  (void)state;
  for (uint64_t seed = 0; seed < CASES; seed++) {
    struct buffers b = {0};
    struct decoder_case c = masked_case(seed);
    struct decoder_data d = take_decoder_data(&b, &c);
    struct decoder_results r = run_decoder(&b, &c, &d);
    struct open_decoder o = open_decoder(&b, &c, &d);
    for (int i = 0; i < gk_decoder_tensor_count(o.decoder); i++) {
      gk_tensor tensor;
      decoder_ok(&c, gk_decoder_tensor(o.decoder, i, &tensor), "gk_decoder_tensor");
      largest = fmax(largest, check_tensor(&c, &d, &tensor, r.tensor[D_GRADIENTS] + tensor.offset));
    }
    close_decoder(&o);
    buffers_release(&b);
  }
  print_message("largest error %.2g of its bound\n", largest);
}

static void every_tier_schedule_and_number_of_threads_has_the_same_bits(void **state) {
  static const int threads[] = {1, 2, 3, 5};
  (void)state;
  for (uint64_t seed = 0; seed < CASES; seed++) {
    struct buffers b = {0};
    struct decoder_case c = masked_case(seed);
    struct decoder_data d = take_decoder_data(&b, &c);
    c.desc.rnn.isa = tiers[0];
    c.desc.rnn.threads = 1;
    struct decoder_results wanted = run_decoder(&b, &c, &d);
    for (int i = 0; i < tier_count; i++)
      for (int schedule = GK_SCHEDULE_SLICES; schedule < gk_schedule_count(); schedule++) {
        struct buffers run_buffers = {0};
        c.desc.rnn.isa = tiers[i];
        c.desc.rnn.threads = threads[(seed + (uint64_t)i) % 4];
        c.desc.rnn.schedule = (gk_schedule)schedule;
        struct decoder_results got = run_decoder(&run_buffers, &c, &d);
        check_same_decoder(&c, "another tier, schedule or number of threads", &got, &wanted);
        buffers_release(&run_buffers);
      }
    buffers_release(&b);
  }
}

int main(int argc, char **argv) {
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_gradient_of_every_tensor_is_a_difference_of_losses),
      cmocka_unit_test(every_tier_schedule_and_number_of_threads_has_the_same_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
