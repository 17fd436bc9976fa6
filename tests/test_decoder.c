/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoders: feedback of tokens and outputs, scheduled sampling, attention, input feeding. The float64
 * reference against its own difference quotients; fp32 results and gradients of every tier against the
 * reference; the same bits on every tier, schedule and number of threads, alone and in a batch, in one call
 * and step by step. ctest labels: same-bits */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/decoder_fixture.h"

#define TOLERANCE 1e-5

enum { CASES = 120, DIFFERENCE_CASES = 60 };

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* ---- The reference against itself ---- */

struct difference {
  struct gk_reference_decoder call;
  int64_t count[D_TENSORS]; /* of the outputs */
};

static double sum_of(const double *values, const double *factors, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count && values && factors; i++)
    sum += isnan(factors[i]) ? 0 : values[i] * factors[i]; /* NaN stands in padding */
  return sum;
}

static double loss_of(struct difference *d) {
  const struct gk_reference_decoder *c = &d->call;
  d->call.backward = false;
  if (gk_reference_decoder_run(c) != GK_OK)
    fail();
  return sum_of(c->y, c->dy, d->count[D_Y]) + sum_of(c->outputs, c->doutputs, d->count[D_OUTPUTS]) +
         sum_of(c->hn, c->dhn, d->count[D_HN]) + sum_of(c->cn, c->dcn, d->count[D_CN]) +
         sum_of(c->feedn, c->dfeedn, d->count[D_FEEDN]);
}

static void check_quotients(const struct decoder_case *c, struct difference *d, const char *name,
                            const double *values, const double *gradient, int64_t count) {
  static const double weights[3] = {45, -9, 1};
  const double step = 1e-3;
  double largest = 0;
  double *value = (double *)(uintptr_t)values; /* the test's own copy */
  for (int64_t i = 0; i < count && values; i++)
    largest = fmax(largest, fabs(gradient[i]));
  for (int64_t i = 0; i < count && values; i++) {
    const double centre = value[i];
    double difference = 0, size = 0;
    if (isnan(centre)) {
      if (gradient[i] != 0)
        fail_decoder(c, "%s[%d]: a gradient of padding", name, (int)i);
      continue;
    }
    for (int k = 0; k < 3; k++) {
      value[i] = centre + (k + 1) * step;
      const double above = loss_of(d);
      value[i] = centre - (k + 1) * step;
      const double below = loss_of(d);
      difference += weights[k] * (above - below);
      size = fmax(size, fabs(above));
    }
    value[i] = centre;
    const double wanted = difference / (60 * step), error = fabs(wanted - gradient[i]);
    const double scale = fmax(fmax(fabs(wanted), fabs(gradient[i])), 1e-2 * largest);
    if (!(error <= 1e-7 * scale + 0x1p-51 * size / step))
      fail_decoder(c, "%s[%d]: gradient %.17g, difference quotient %.17g", name, (int)i, gradient[i], wanted);
  }
}

static struct decoder_case small_case(uint64_t seed) {
  struct decoder_case c = random_decoder(seed);
  c.sizes[0] = 3;
  c.sizes[1] = 2;
  c.desc.rnn.hidden_size = c.sizes[c.desc.rnn.layers - 1];
  c.time = 3;
  c.batch = 3;
  c.output_size = 3;
  if (c.desc.rnn.input_size)
    c.desc.rnn.input_size = 2;
  if (c.desc.feedback == GK_FEEDBACK_TOKEN) {
    c.desc.vocabulary = 3;
    c.desc.embedding_size = 2;
  }
  if (c.desc.attention != GK_ATTENTION_NONE) {
    c.source_time = 3;
    c.desc.source_size = c.desc.attention == GK_ATTENTION_DOT ? c.desc.rnn.hidden_size : 2;
    c.desc.attention_size = c.desc.attention_size ? 4 : 0;
  }
  return c;
}

/* Variant `number` of the cells, every other one of an LSTM with a projection; false: it has kinks, which
 * long steps would cross, or two directions. Layer normalisation of two values is hardly smooth either. */
static bool smooth_variant(struct decoder_case *c, int number) {
  const struct cell_variant *variant = &cell_variants[number];
  gk_rnn_desc *rnn = &c->desc.rnn;
  rnn->cell = variant->cell;
  if (gk_rnn_options_set(rnn, variant->options) != GK_OK)
    fail_decoder(c, "%s: %s", variant->options, gk_last_error());
  for (int l = 0; l < 2 && rnn->options.layer_norm; l++)
    c->sizes[l] = 9 - l;
  rnn->hidden_size = c->sizes[rnn->layers - 1];
  rnn->projection_size = variant->cell == GK_CELL_LSTM && number % 2 ? 2 : 0;
  if (c->desc.attention == GK_ATTENTION_DOT)
    c->desc.source_size = rnn->projection_size ? 2 : rnn->hidden_size;
  return variant->smooth && !needs_two_directions(variant);
}

static void the_reference_has_the_gradients_of_its_outputs(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < DIFFERENCE_CASES + CELL_VARIANTS; seed++) {
    struct buffers b = {0};
    struct decoder_case c = small_case(seed);
    if (seed >= DIFFERENCE_CASES && !smooth_variant(&c, (int)(seed - DIFFERENCE_CASES))) {
      buffers_release(&b);
      continue;
    }
    c.desc.rnn.isa = GK_ISA_SCALAR;
    c.desc.rnn.threads = 1;
    struct decoder_data data = take_decoder_data(&b, &c);
    struct decoder_results r = run_decoder(&b, &c, &data); /* what is fed */
    double *tensor[D_TENSORS];
    for (int i = 0; i < D_TENSORS; i++)
      tensor[i] = r.count[i] ? take_doubles(&b, r.count[i]) : NULL;
    c.desc.rnn.hidden_sizes = c.sizes;
    struct difference d = {.call = decoder_reference_call(&b, &c, &data, r.fed, tensor)};
    memcpy(d.count, r.count, sizeof d.count);
    decoder_ok(&c, gk_reference_decoder_run(&d.call), "gk_reference_decoder_run");
    const double *values[D_TENSORS] = {[D_DX] = d.call.x,
                                       [D_DPREVIOUS] = d.call.previous,
                                       [D_DSOURCE] = d.call.source,
                                       [D_DH0] = d.call.h0,
                                       [D_DC0] = d.call.c0,
                                       [D_DFEED0] = d.call.feed0,
                                       [D_GRADIENTS] = d.call.parameters,
                                       [D_OUTPUT_GRADIENTS] = d.call.output_parameters};
    for (int i = D_DX; i < D_DH_NORMS; i++)
      check_quotients(&c, &d, decoder_tensor_names[i], values[i], tensor[i], r.count[i]);
    buffers_release(&b);
  }
}

/* ---- fp32 against the reference ---- */

/* Largest error relative to the tensor's largest magnitude. */
static double check_near(const struct decoder_case *c, const char *name, int64_t count, const float *got,
                         const double *wanted) {
  double largest = 0, error = 0;
  int64_t worst = 0;
  for (int64_t i = 0; i < count; i++)
    largest = fmax(largest, fabs(wanted[i]));
  for (int64_t i = 0; i < count; i++)
    if (!(fabs((double)got[i] - wanted[i]) <= error)) {
      error = isnan(got[i]) ? INFINITY : fabs((double)got[i] - wanted[i]);
      worst = i;
    }
  if (!(error <= TOLERANCE * largest))
    fail_decoder(c, "%s[%d] is %.9g, the reference has %.9g: %.3g of the largest", name, (int)worst,
                 (double)got[worst], wanted[worst], error / largest);
  return largest > 0 ? error / largest : 0;
}

/* Every tensor of the parameters for itself. */
static double check_gradients(const struct decoder_case *c, const struct decoder_data *d, const float *got,
                              const double *wanted) {
  struct buffers b = {0};
  struct open_decoder o = open_decoder(&b, c, d);
  double largest = 0;
  for (int i = 0; i < gk_decoder_tensor_count(o.decoder); i++) {
    gk_tensor tensor;
    decoder_ok(c, gk_decoder_tensor(o.decoder, i, &tensor), "gk_decoder_tensor");
    largest =
        fmax(largest, check_near(c, tensor.name, tensor.count, got + tensor.offset, wanted + tensor.offset));
  }
  close_decoder(&o);
  buffers_release(&b);
  return largest;
}

static void results_and_gradients_are_near_the_reference_on_every_tier(void **state) {
  double largest = 0;
  (void)state;
  for (uint64_t seed = 0; seed < CASES + (uint64_t)network_kinds(); seed++) {
    struct decoder_case c = seed < CASES ? random_decoder(seed) : variant_decoder((int)(seed - CASES), seed);
    struct buffers b = {0};
    struct decoder_data data = take_decoder_data(&b, &c);
    for (int i = 0; i < tier_count; i++) {
      struct buffers run_buffers = {0};
      c.desc.rnn.isa = tiers[i];
      c.desc.rnn.threads = 1 + (int)(seed % 3);
      c.desc.rnn.schedule = (gk_schedule)(seed / 2 % (uint64_t)gk_schedule_count());
      struct decoder_results r = run_decoder(&run_buffers, &c, &data);
      struct decoder_reference wanted = run_decoder_reference(&run_buffers, &c, &data, &r);
      for (int k = 0; k < D_TENSORS; k++)
        if (r.tensor[k] && k != D_GRADIENTS)
          largest = fmax(largest,
                         check_near(&c, decoder_tensor_names[k], r.count[k], r.tensor[k], wanted.tensor[k]));
      largest = fmax(largest, check_gradients(&c, &data, r.tensor[D_GRADIENTS], wanted.tensor[D_GRADIENTS]));
      buffers_release(&run_buffers);
    }
    buffers_release(&b);
  }
  print_message("largest error %.2g of a tensor's largest magnitude\n", largest);
}

/* ---- The same bits ---- */

static void every_tier_schedule_and_number_of_threads_has_the_same_bits(void **state) {
  static const int threads[] = {1, 2, 3, 5};
  (void)state;
  for (uint64_t seed = 0; seed < CASES / 5 + (uint64_t)network_kinds(); seed++) {
    const bool plain = seed < CASES / 5; /* of other kinds one number of threads each */
    struct decoder_case c =
        plain ? random_decoder(500 + seed) : variant_decoder((int)(seed - CASES / 5), 500 + seed);
    struct buffers b = {0};
    struct decoder_data data = take_decoder_data(&b, &c);
    c.desc.rnn.isa = tiers[0];
    c.desc.rnn.threads = 1;
    struct decoder_results wanted = run_decoder(&b, &c, &data);
    for (int i = 0; i < tier_count; i++)
      for (int k = 0; k < 4; k++)
        for (int schedule = GK_SCHEDULE_SLICES; schedule < gk_schedule_count(); schedule++) {
          if (!plain && (uint64_t)k != seed % 4)
            continue;
          struct buffers run_buffers = {0};
          c.desc.rnn.isa = tiers[i];
          c.desc.rnn.threads = threads[k];
          c.desc.rnn.schedule = (gk_schedule)schedule;
          struct decoder_results got = run_decoder(&run_buffers, &c, &data);
          check_same_decoder(&c, "another tier, schedule or number of threads", &got, &wanted);
          buffers_release(&run_buffers);
        }
    buffers_release(&b);
  }
}

/* The call for steps t and on, at most `steps`, after those before it: what they carried, fed and made. */
static void run_part(struct buffers *b, const struct decoder_case *c, const struct decoder_data *d,
                     const struct open_decoder *o, const struct decoder_results *all,
                     const struct decoder_results *parts, int64_t t, int64_t steps) {
  const struct decoder_sizes s = decoder_sizes_of(c);
  gk_decoder_forward_args part = decoder_forward_args(o, c, d, parts);
  const int64_t row = t * c->batch;
  part.reserve = NULL;
  part.workspace = o->inference;
  part.time = c->time - t < steps ? c->time - t : steps;
  const int64_t rows = part.time * c->batch;
  part.random.first_time = (uint64_t)t;
  part.x = d->x ? d->x + row * c->desc.rnn.input_size : NULL;
  int32_t *tokens = buffers_take(b, (size_t)rows * sizeof *tokens, sizeof *tokens);
  memcpy(tokens, d->tokens + row, (size_t)rows * sizeof *tokens);
  if (all->fed)
    memcpy(tokens, all->fed + row, (size_t)c->batch * sizeof *tokens);
  part.tokens = tokens;
  float *previous = take_floats(b, rows * (s.fed + 1));
  if (d->previous)
    memcpy(previous, d->previous + row * s.fed, (size_t)(rows * s.fed) * sizeof *previous);
  for (int64_t n = 0; n < c->batch && d->previous && t > 0; n++)
    if (all->fed[row + n])
      memcpy(previous + n * s.fed, parts->tensor[D_OUTPUTS] + (row - c->batch + n) * s.fed,
             (size_t)s.fed * sizeof(float));
  part.previous = previous;
  part.y = parts->tensor[D_Y] + row * s.top;
  part.outputs = parts->tensor[D_OUTPUTS] ? parts->tensor[D_OUTPUTS] + row * s.fed : NULL;
  part.weights = parts->tensor[D_WEIGHTS] ? parts->tensor[D_WEIGHTS] + row * c->source_time : NULL;
  part.chosen = parts->chosen ? parts->chosen + row : NULL;
  part.fed = parts->fed ? parts->fed + row : NULL;
  if (t > 0) {
    part.h0 = part.hn;
    part.c0 = part.cn;
    part.feed0 = part.feedn;
  }
  decoder_ok(c, gk_decoder_forward(o->decoder, &part), "gk_decoder_forward of a part");
}

static void check_parts(const struct decoder_case *c, int64_t steps) {
  struct buffers b = {0};
  struct decoder_data d = take_decoder_data(&b, c);
  struct decoder_results all = take_decoder_results(&b, c, &d), parts = take_decoder_results(&b, c, &d);
  struct open_decoder o = open_decoder(&b, c, &d);
  gk_decoder_forward_args args = decoder_forward_args(&o, c, &d, &all);
  args.reserve = NULL;
  args.workspace = o.inference;
  decoder_ok(c, gk_decoder_forward(o.decoder, &args), "gk_decoder_forward");
  for (int64_t t = 0; t < c->time; t += steps)
    run_part(&b, c, &d, &o, &all, &parts, t, steps);
  for (int k = D_Y; k <= D_FEEDN; k++)
    if (all.tensor[k] && memcmp(all.tensor[k], parts.tensor[k], (size_t)all.count[k] * sizeof(float)) != 0)
      fail_decoder(c, "%d steps a call: %s has other bits", (int)steps, decoder_tensor_names[k]);
  for (int64_t r = 0; r < c->time * c->batch; r++) {
    if (all.chosen && all.chosen[r] != parts.chosen[r])
      fail_decoder(c, "%d steps a call: token %d is %d, not %d", (int)steps, (int)r, parts.chosen[r],
                   all.chosen[r]);
    /* the first step of a call is fed what the caller says, whoever made it */
    if (all.fed && all.fed[r] != parts.fed[r] &&
        (c->desc.feedback == GK_FEEDBACK_TOKEN || r / c->batch % steps > 0))
      fail_decoder(c, "%d steps a call: row %d is fed %d, not %d", (int)steps, (int)r, parts.fed[r],
                   all.fed[r]);
  }
  close_decoder(&o);
  buffers_release(&b);
}

/* One call of T steps, and several that carry h, c, feed and what was fed: the same numbers are drawn. */
static void parts_have_the_bits_of_one_call(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < CASES; seed++) {
    struct decoder_case c = random_decoder(900 + seed);
    c.desc.rnn.layout = GK_TIME_MAJOR;
    c.ragged = false;
    check_parts(&c, 1);
    if (c.time > 2)
      check_parts(&c, (c.time + 1) / 2);
  }
}

/* What belongs to sample n of a batch of one layer, or of several without states. */
static struct decoder_data data_of_sample(const struct decoder_case *c, const struct decoder_data *d,
                                          int64_t n) {
  const struct decoder_sizes s = decoder_sizes_of(c);
  const int64_t row = n * c->time, Ts = c->source_time;
  const bool states = c->desc.rnn.layers == 1; /* those of one sample are apart in several */
  struct decoder_data one = *d;
  one.lengths = d->lengths ? d->lengths + n : NULL;
  one.source_lengths = d->source_lengths ? d->source_lengths + n : NULL;
  one.tokens = d->tokens + row;
  one.x = d->x ? d->x + row * c->desc.rnn.input_size : NULL;
  one.previous = d->previous ? d->previous + row * s.fed : NULL;
  one.doutputs = d->doutputs ? d->doutputs + row * s.fed : NULL;
  one.source = d->source ? d->source + n * Ts * c->desc.source_size : NULL;
  one.dy = d->dy + row * s.top;
  one.h0 = states && d->h0 ? d->h0 + n * c->sizes[0] : NULL;
  one.c0 = states && d->c0 ? d->c0 + n * c->sizes[0] : NULL;
  one.dhn = states && d->dhn ? d->dhn + n * c->sizes[0] : NULL;
  one.dcn = states && d->dcn ? d->dcn + n * c->sizes[0] : NULL;
  one.feed0 = d->feed0 ? d->feed0 + n * s.top : NULL;
  one.dfeedn = d->dfeedn ? d->dfeedn + n * s.top : NULL;
  return one;
}

static void check_sample(const struct decoder_case *c, int64_t n, const struct decoder_results *got,
                         const struct decoder_results *all) {
  const struct decoder_sizes s = decoder_sizes_of(c);
  const int64_t layers = c->desc.rnn.layers, S = c->desc.source_size, Ts = c->source_time;
  const int64_t width[D_TENSORS] = {[D_Y] = c->time * s.top,
                                    [D_OUTPUTS] = c->time * s.fed,
                                    [D_WEIGHTS] = c->time * Ts,
                                    [D_HN] = c->sizes[0],
                                    [D_CN] = c->sizes[0],
                                    [D_FEEDN] = s.top,
                                    [D_DX] = c->time * c->desc.rnn.input_size,
                                    [D_DPREVIOUS] = c->time * s.fed,
                                    [D_DSOURCE] = Ts * S,
                                    [D_DH0] = c->sizes[0],
                                    [D_DC0] = c->sizes[0],
                                    [D_DFEED0] = s.top};
  for (int k = 0; k < D_GRADIENTS; k++) {
    if (layers > 1 && (k == D_HN || k == D_CN || k == D_DH0 || k == D_DC0))
      continue;
    if (got->tensor[k] &&
        memcmp(got->tensor[k], all->tensor[k] + n * width[k], (size_t)width[k] * sizeof(float)) != 0)
      fail_decoder(c, "alone: %s of sample %d has other bits", decoder_tensor_names[k], (int)n);
  }
  for (int64_t i = 0; i < layers * c->time; i++)
    if (memcmp(&got->tensor[D_DH_NORMS][i], &all->tensor[D_DH_NORMS][i * c->batch + n], sizeof(float)) != 0)
      fail_decoder(c, "alone: dh_norms[%d] of sample %d has other bits", (int)i, (int)n);
}

/* Sample n alone has the bits that it has in the batch. */
static void a_sample_does_not_depend_on_its_batch(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < CASES; seed++) {
    struct buffers b = {0};
    struct decoder_case c = random_decoder(1300 + seed);
    if (seed % 2)
      add_decoder_masks(&c, seed / 2);
    c.desc.rnn.layout = GK_BATCH_FIRST;
    struct decoder_data d = take_decoder_data(&b, &c);
    struct decoder_results all = run_decoder(&b, &c, &d);
    if (c.desc.rnn.layers > 1 && c.states) {
      buffers_release(&b); /* states of one sample are apart */
      continue;
    }
    const int64_t n = c.batch - 1;
    struct decoder_case alone = c;
    alone.batch = 1;
    struct decoder_data one = data_of_sample(&c, &d, n);
    struct decoder_results got = take_decoder_results(&b, &alone, &one);
    struct open_decoder o = open_decoder(&b, &alone, &one);
    gk_decoder_forward_args forward = decoder_forward_args(&o, &alone, &one, &got);
    gk_decoder_backward_args backward = decoder_backward_args(&o, &alone, &one, &got);
    forward.random.first_sample += (uint64_t)n;
    backward.random = forward.random;
    decoder_ok(&c, gk_decoder_forward(o.decoder, &forward), "gk_decoder_forward");
    decoder_ok(&c, gk_decoder_backward(o.decoder, &backward), "gk_decoder_backward");
    check_sample(&c, n, &got, &all);
    close_decoder(&o);
    buffers_release(&b);
  }
}

/* Accumulating adds the finished gradients; NULL results change nothing else. */
static void gradients_are_added_where_asked_and_results_may_be_absent(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < CASES / 2; seed++) {
    struct buffers b = {0};
    struct decoder_case c = random_decoder(1700 + seed);
    c.desc.rnn.threads = 1 + (int)(seed % 3);
    struct decoder_data d = take_decoder_data(&b, &c);
    struct decoder_results wanted = run_decoder(&b, &c, &d), got = take_decoder_results(&b, &c, &d);
    struct open_decoder o = open_decoder(&b, &c, &d);
    struct decoder_results few = {0};
    few.tensor[D_GRADIENTS] = got.tensor[D_GRADIENTS];
    gk_decoder_forward_args forward = decoder_forward_args(&o, &c, &d, &few);
    gk_decoder_backward_args backward = decoder_backward_args(&o, &c, &d, &few);
    random_floats(seed, 1, d.parameter_count, got.tensor[D_GRADIENTS]);
    backward.accumulate = true;
    decoder_ok(&c, gk_decoder_forward(o.decoder, &forward), "gk_decoder_forward");
    decoder_ok(&c, gk_decoder_backward(o.decoder, &backward), "gk_decoder_backward");
    for (int64_t i = 0; i < d.parameter_count; i++) {
      const float sum = random_value(seed, (uint64_t)i) + wanted.tensor[D_GRADIENTS][i];
      if (memcmp(&sum, &got.tensor[D_GRADIENTS][i], sizeof sum) != 0)
        fail_decoder(&c, "gradients[%d] is %.9g, wanted %.9g", (int)i, (double)got.tensor[D_GRADIENTS][i],
                     (double)sum);
    }
    close_decoder(&o);
    buffers_release(&b);
  }
}

/* ---- Choices ---- */

/* Greedy tokens are the largest of the reference's logits, unless two are nearly equal. */
static void the_network_chooses_its_most_likely_token(void **state) {
  long checked = 0;
  (void)state;
  for (uint64_t seed = 0; seed < CASES; seed++) {
    struct buffers b = {0};
    struct decoder_case c = random_decoder(2100 + seed);
    c.choice = GK_CHOICE_GREEDY;
    struct decoder_data d = take_decoder_data(&b, &c);
    const struct decoder_sizes s = decoder_sizes_of(&c);
    struct decoder_results r = run_decoder(&b, &c, &d);
    struct decoder_reference reference = run_decoder_reference(&b, &c, &d, &r);
    for (int64_t n = 0; n < c.batch && r.chosen; n++)
      for (int64_t t = 0; t < c.time; t++) {
        const int64_t row = decoder_row(&c, c.time, t, n);
        if (t >= (d.lengths ? d.lengths[n] : c.time)) {
          assert_int_equal(r.chosen[row], -1);
          continue;
        }
        double best = -INFINITY, chosen = 0;
        for (int64_t v = 0; v < c.output_size; v++) {
          double logit = (double)d.output_parameters[c.output_size * s.top + v];
          for (int64_t k = 0; k < s.top; k++)
            logit += (double)d.output_parameters[v * s.top + k] * reference.tensor[D_Y][row * s.top + k];
          best = fmax(best, logit);
          chosen = v == r.chosen[row] ? logit : chosen;
        }
        if (!(chosen >= best - 1e-4))
          fail_decoder(&c, "chosen at t %d, n %d has logit %g, the best %g", (int)t, (int)n, chosen, best);
        checked++;
      }
    buffers_release(&b);
  }
  assert_true(checked > 100);
}

enum { DRAWN_FROM = 4 };

/* Draws its tokens; their softmax is to be that of an output layer's biases. */
static struct decoder_case drawing_decoder(void) {
  struct decoder_case c = random_decoder(0);
  c.desc = (gk_decoder_desc)GK_DECODER_DESC_INIT;
  c.desc.rnn.cell = GK_CELL_GRU;
  c.sizes[0] = c.desc.rnn.hidden_size = 4;
  c.desc.feedback = GK_FEEDBACK_TOKEN;
  c.desc.vocabulary = c.output_size = DRAWN_FROM;
  c.desc.embedding_size = 3;
  c.time = 200;
  c.batch = 100;
  c.source_time = 0;
  c.ragged = c.states = false;
  c.chosen = true;
  c.sampling = 0.3f;
  c.choice = GK_CHOICE_SAMPLE;
  return c;
}

static void set_biases(const struct decoder_case *c, struct decoder_data *d, const double *bias) {
  const int64_t weights = DRAWN_FROM * c->sizes[0];
  for (int64_t i = 0; i < weights; i++)
    d->output_parameters[i] = 0;
  for (int64_t v = 0; v < DRAWN_FROM; v++)
    d->output_parameters[weights + v] = (float)bias[v];
}

/* Scheduled sampling takes the network's turn as often as it should, and drawn tokens follow the softmax. */
static void turns_and_draws_have_their_probabilities(void **state) {
  struct buffers b = {0};
  const struct decoder_case c = drawing_decoder();
  struct decoder_data d = take_decoder_data(&b, &c);
  double p[DRAWN_FROM];
  const double bias[DRAWN_FROM] = {0.5, -0.25, 1, 0};
  (void)state;
  set_biases(&c, &d, bias);
  gk_reference_softmax(DRAWN_FROM, 1, bias, p);
  for (int64_t i = 0; i < c.time * c.batch; i++)
    d.tokens[i] = i % DRAWN_FROM; /* so a token that differs is the network's */
  struct decoder_results r = run_decoder(&b, &c, &d);
  double own = 0, count[DRAWN_FROM] = {0};
  for (int64_t i = 0; i < c.time * c.batch; i++) {
    count[r.chosen[i]]++;
    if (i < c.batch)
      assert_int_equal(r.fed[i], d.tokens[i]);
    else if (r.fed[i] != d.tokens[i])
      assert_int_equal(r.fed[i], r.chosen[i - c.batch]);
    if (i >= c.batch)
      own += r.fed[i] != d.tokens[i];
  }
  const double rows = (double)(c.time * c.batch);
  double differs = 0; /* the chance that a drawn token is not the teacher's */
  for (int v = 0; v < DRAWN_FROM; v++) {
    assert_true(fabs(count[v] / rows - p[v]) < 0.015);
    differs += (1 - p[v]) / DRAWN_FROM;
  }
  assert_true(fabs(own / (rows - (double)c.batch) - 0.3 * differs) < 0.015);
  buffers_release(&b);
}

/* There is no distribution to draw by. */
static void where_the_softmax_is_nan_the_most_likely_token_is_chosen(void **state) {
  static const struct {
    double bias[DRAWN_FROM];
    int wanted;
  } cases[] = {{{NAN, -0.25, 1, 0}, 2}, {{0.5, NAN, -1, 0.25}, 0}, {{0.5, -0.25, 1, INFINITY}, 3}};
  (void)state;
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    struct buffers b = {0};
    struct decoder_case c = drawing_decoder();
    struct decoder_data d = take_decoder_data(&b, &c);
    set_biases(&c, &d, cases[k].bias);
    struct decoder_results r = run_decoder(&b, &c, &d);
    for (int64_t i = 0; i < c.time * c.batch; i++)
      assert_int_equal(r.chosen[i], cases[k].wanted);
    buffers_release(&b);
  }
}

/* Also where 1 / temperature is no float. */
static void the_coldest_draws_are_of_the_likeliest_token(void **state) {
  static const float temperatures[] = {1e-3f, 1e-30f, 1e-40f};
  const double bias[DRAWN_FROM] = {0.5, -0.25, 1, 0};
  (void)state;
  for (size_t k = 0; k < sizeof temperatures / sizeof *temperatures; k++) {
    struct buffers b = {0};
    struct decoder_case c = drawing_decoder();
    c.temperature = temperatures[k];
    struct decoder_data d = take_decoder_data(&b, &c);
    set_biases(&c, &d, bias);
    struct decoder_results r = run_decoder(&b, &c, &d);
    for (int64_t i = 0; i < c.time * c.batch; i++)
      assert_int_equal(r.chosen[i], 2);
    buffers_release(&b);
  }
}

static void teacher_schedules_are_their_formulas(void **state) {
  (void)state;
  assert_true(gk_teacher_probability(GK_TEACHER_LINEAR, 1, 0.01, 0.1, 0) == 1.0f);
  assert_true(gk_teacher_probability(GK_TEACHER_LINEAR, 1, 0.01, 0.1, 40) == 0.6f);
  assert_true(gk_teacher_probability(GK_TEACHER_LINEAR, 1, 0.01, 0.1, 1000) == 0.1f);
  assert_true(gk_teacher_probability(GK_TEACHER_EXPONENTIAL, 0.5, 0, 0, 3) == 0.125f);
  assert_true(gk_teacher_probability(GK_TEACHER_INVERSE_SIGMOID, 10, 0, 0, 0) == (float)(10.0 / 11.0));
  assert_true(gk_teacher_probability(GK_TEACHER_INVERSE_SIGMOID, 10, 0, 0, 50) ==
              (float)(10.0 / (10.0 + exp(5.0))));
  assert_true(gk_teacher_probability(GK_TEACHER_INVERSE_SIGMOID, 10, 0, 0.05, 100000) == 0.05f);
}

int main(int argc, char **argv) {
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_reference_has_the_gradients_of_its_outputs),
      cmocka_unit_test(results_and_gradients_are_near_the_reference_on_every_tier),
      cmocka_unit_test(every_tier_schedule_and_number_of_threads_has_the_same_bits),
      cmocka_unit_test(parts_have_the_bits_of_one_call),
      cmocka_unit_test(a_sample_does_not_depend_on_its_batch),
      cmocka_unit_test(gradients_are_added_where_asked_and_results_may_be_absent),
      cmocka_unit_test(the_network_chooses_its_most_likely_token),
      cmocka_unit_test(turns_and_draws_have_their_probabilities),
      cmocka_unit_test(where_the_softmax_is_nan_the_most_likely_token_is_chosen),
      cmocka_unit_test(the_coldest_draws_are_of_the_likeliest_token),
      cmocka_unit_test(teacher_schedules_are_their_formulas),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
