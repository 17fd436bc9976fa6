/* SPDX-License-Identifier: Apache-2.0
 *
 * Greedy and beam search against a plain float64 search that runs the reference on whole prefixes; ties,
 * ends, lengths; logits that are not finite; the same bits on every tier, schedule and number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/float_controls.h"
#include "tests/decoder_fixture.h"

enum { MOST_BEAM = 4, MOST_LENGTH = 7, MOST_VOCABULARY = 21, CASES = 60 };

static gk_isa tiers[MAX_TIERS];
static int tier_count;

struct search_case {
  struct decoder_case decoder;
  int64_t beam, most;
  int32_t end;
  float length_penalty;
};

struct search_results {
  int32_t *tokens;
  int64_t *lengths;
  float *scores;
};

static struct search_case random_search(uint64_t seed) {
  struct search_case s = {.decoder = random_decoder(seed)};
  struct decoder_case *c = &s.decoder;
  c->time = 1;
  c->ragged = false;
  c->sampling = 0;
  c->desc.feedback = GK_FEEDBACK_TOKEN;
  c->desc.output_function = GK_OUTPUT_IDENTITY;
  c->output_size = MOST_BEAM + random_integer(seed, 1, MOST_VOCABULARY - MOST_BEAM);
  c->desc.vocabulary = c->output_size;
  c->desc.embedding_size = 1 + random_integer(seed, 2, 8);
  c->desc.rnn.input_size = 0;
  c->chosen = false;
  c->batch = 1 + random_integer(seed, 3, 3);
  s.beam = 1 + random_integer(seed, 4, MOST_BEAM);
  s.most = 1 + random_integer(seed, 5, MOST_LENGTH);
  s.end = random_integer(seed, 6, 4) ? (int32_t)random_integer(seed, 7, c->output_size) : -1;
  s.length_penalty = random_integer(seed, 8, 2) ? 0 : 0.6f;
  return s;
}

/* Louder weights, so that hypotheses differ. */
static struct decoder_data take_search_data(struct buffers *b, const struct search_case *s) {
  struct decoder_data d = take_decoder_data(b, &s->decoder);
  for (int64_t i = 0; i < d.parameter_count; i++)
    d.parameters[i] *= 2;
  for (int64_t i = 0; i < s->decoder.output_size * (decoder_sizes_of(&s->decoder).top + 1); i++)
    d.output_parameters[i] *= 3;
  if (s->decoder.source_time)
    d.source_lengths = decoder_lengths(b, &s->decoder, 20, s->decoder.source_time);
  return d;
}

static struct search_results run_search(struct buffers *b, const struct search_case *s,
                                        const struct decoder_data *d) {
  const struct decoder_case *c = &s->decoder;
  const int64_t hypotheses = c->batch * s->beam;
  struct search_results r = {
      buffers_take(b, (size_t)(hypotheses * s->most) * sizeof(int32_t), sizeof(int32_t)),
      buffers_take(b, (size_t)hypotheses * sizeof(int64_t), sizeof(int64_t)), take_floats(b, hypotheses)};
  struct open_decoder o = open_decoder(b, c, d);
  gk_search_args args = GK_SEARCH_ARGS_INIT;
  size_t bytes;
  decoder_ok(c, gk_decoder_search_bytes(o.decoder, c->batch, s->beam, s->most, c->source_time, &bytes),
             "gk_decoder_search_bytes");
  args.batch = c->batch;
  args.beam = s->beam;
  args.most = s->most;
  args.start = d->tokens;
  args.end = s->end;
  args.length_penalty = s->length_penalty;
  args.source_time = c->source_time;
  args.source_lengths = d->source_lengths;
  args.source = d->source;
  args.h0 = d->h0;
  args.c0 = d->c0;
  args.feed0 = d->feed0;
  args.parameters = d->parameters;
  args.packed = o.packed;
  args.output_packed = o.output_packed;
  args.tokens = r.tokens;
  args.lengths = r.lengths;
  args.scores = r.scores;
  args.workspace = buffers_take(b, bytes, 1);
  decoder_ok(c, gk_decoder_search(o.decoder, &args), "gk_decoder_search");
  close_decoder(&o);
  return r;
}

/* ---- The plain search ---- */

struct hypothesis {
  int64_t length;
  int32_t tokens[MOST_LENGTH];
  double score;
  bool finished;
};

/* log p of the token after `prefix`, by the reference from the start. The case has one sample. */
static void plain_continuations(const struct search_case *s, const struct decoder_data *d, int32_t start,
                                const struct hypothesis *prefix, double *log_p) {
  struct buffers b = {0};
  struct decoder_case c = s->decoder;
  const int64_t top = decoder_sizes_of(&c).top, V = c.output_size;
  int32_t fed[MOST_LENGTH + 1] = {start};
  c.time = prefix->length + 1;
  for (int64_t t = 0; t < prefix->length; t++)
    fed[t + 1] = prefix->tokens[t];
  double *tensor[D_TENSORS] = {[D_Y] = take_doubles(&b, c.time * top)};
  c.desc.rnn.hidden_sizes = c.sizes;
  struct decoder_data data = *d;
  data.dy = data.dhn = data.dcn = data.dfeedn = NULL;
  struct gk_reference_decoder call = decoder_reference_call(&b, &c, &data, fed, tensor);
  call.backward = false;
  decoder_ok(&c, gk_reference_decoder_run(&call), "gk_reference_decoder_run");
  double sum = 0, largest = -INFINITY;
  for (int64_t v = 0; v < V; v++) {
    log_p[v] = (double)d->output_parameters[V * top + v];
    for (int64_t k = 0; k < top; k++)
      log_p[v] += (double)d->output_parameters[v * top + k] * tensor[D_Y][(c.time - 1) * top + k];
    largest = fmax(largest, log_p[v]);
  }
  for (int64_t v = 0; v < V; v++)
    sum += exp(log_p[v] - largest);
  for (int64_t v = 0; v < V; v++)
    log_p[v] -= largest + log(sum);
  buffers_release(&b);
}

static int by_score(const void *a, const void *b) {
  const struct hypothesis *x = a, *y = b;
  return (x->score < y->score) - (x->score > y->score);
}

/* Fills `found` best first, returns how many; *gap is the least distance between two scores that were
 * compared. */
static int64_t plain_search(const struct search_case *s, const struct decoder_data *d, int32_t start,
                            struct hypothesis *found, double *gap) {
  static struct hypothesis all[MOST_BEAM * MOST_VOCABULARY];
  struct hypothesis live[MOST_BEAM] = {{0}};
  int64_t live_count = 1, found_count = 0;
  const int64_t V = s->decoder.output_size;
  for (int64_t t = 0; t < s->most && live_count && found_count < s->beam; t++) {
    int64_t count = 0;
    for (int64_t k = 0; k < live_count; k++) {
      double log_p[MOST_VOCABULARY];
      plain_continuations(s, d, start, &live[k], log_p);
      for (int64_t v = 0; v < V; v++, count++) {
        all[count] = live[k];
        all[count].tokens[all[count].length++] = (int32_t)v;
        all[count].score += log_p[v];
      }
    }
    qsort(all, (size_t)count, sizeof *all, by_score);
    live_count = 0;
    for (int64_t i = 0; i < count && i < 2 * s->beam && live_count < s->beam && found_count < s->beam; i++) {
      const bool ends = all[i].tokens[t] == s->end;
      if (i + 1 < count)
        *gap = fmin(*gap, all[i].score - all[i + 1].score);
      if (ends && i >= s->beam)
        continue;
      if (!ends && t + 1 < s->most) {
        live[live_count++] = all[i];
        continue;
      }
      found[found_count] = all[i];
      found[found_count++].score /= pow((5.0 + (double)(t + 1)) / 6.0, (double)s->length_penalty);
    }
  }
  qsort(found, (size_t)found_count, sizeof *found, by_score);
  for (int64_t i = 0; i + 1 < found_count; i++)
    *gap = fmin(*gap, found[i].score - found[i + 1].score);
  return found_count;
}

static struct decoder_data data_of_sample(const struct search_case *s, const struct decoder_data *d,
                                          int64_t n, struct buffers *b) {
  const struct decoder_case *c = &s->decoder;
  const struct decoder_sizes sizes = decoder_sizes_of(c);
  const int64_t L = c->desc.rnn.layers, N = c->batch, S = c->desc.source_size, all = sizes.count[D_HN] / N;
  struct decoder_data one = *d;
  one.lengths = NULL;
  one.source_lengths = d->source_lengths ? d->source_lengths + n : NULL;
  one.feed0 = d->feed0 ? d->feed0 + n * sizes.top : NULL;
  one.source = d->source ? take_floats(b, c->source_time * S) : NULL;
  one.h0 = d->h0 ? take_floats(b, all) : NULL;
  one.c0 = d->c0 ? take_floats(b, all) : NULL;
  struct decoder_case whole = *c;
  for (int64_t j = 0; j < c->source_time && one.source; j++)
    memcpy(one.source + j * S, d->source + decoder_row(&whole, c->source_time, j, n) * S,
           (size_t)S * sizeof(float));
  for (int64_t l = 0, at = 0; l < L; at += c->sizes[l++]) {
    if (one.h0)
      memcpy(one.h0 + at, d->h0 + at * N + n * c->sizes[l], (size_t)c->sizes[l] * sizeof(float));
    if (one.c0)
      memcpy(one.c0 + at, d->c0 + at * N + n * c->sizes[l], (size_t)c->sizes[l] * sizeof(float));
  }
  return one;
}

static void hypotheses_are_those_of_the_plain_search_on_every_tier(void **state) {
  long compared = 0, ambiguous = 0;
  (void)state;
  for (uint64_t seed = 0; seed < CASES; seed++) {
    struct buffers b = {0};
    struct search_case s = random_search(seed);
    struct decoder_data d = take_search_data(&b, &s);
    s.decoder.desc.rnn.isa = tiers[seed % (uint64_t)tier_count];
    struct search_results r = run_search(&b, &s, &d);
    for (int64_t n = 0; n < s.decoder.batch; n++) {
      struct buffers sample = {0};
      struct search_case one = s;
      struct hypothesis found[MOST_BEAM];
      double gap = INFINITY;
      struct decoder_data data = data_of_sample(&s, &d, n, &sample);
      one.decoder.batch = 1;
      const int64_t count = plain_search(&one, &data, d.tokens[n], found, &gap);
      buffers_release(&sample);
      if (gap < 1e-4) {
        ambiguous++;
        continue;
      }
      for (int64_t k = 0; k < s.beam; k++) {
        const int64_t row = n * s.beam + k, length = k < count ? found[k].length : 0;
        if (r.lengths[row] != length ||
            memcmp(r.tokens + row * s.most, found[k].tokens, (size_t)length * sizeof(int32_t)) != 0)
          fail_decoder(&s.decoder, "beam %d, most %d, end %d, sample %d: hypothesis %d is another one",
                       (int)s.beam, (int)s.most, (int)s.end, (int)n, (int)k);
        for (int64_t t = length; t < s.most; t++)
          assert_int_equal(r.tokens[row * s.most + t], -1);
        if (k < count &&
            !(fabs((double)r.scores[row] - found[k].score) <= 1e-5 * fmax(1, fabs(found[k].score))))
          fail_decoder(&s.decoder, "hypothesis %d scores %.9g, the plain search has %.9g", (int)k,
                       (double)r.scores[row], found[k].score);
        if (k >= count)
          assert_true(isinf(r.scores[row]) && r.scores[row] < 0);
        compared++;
      }
    }
    buffers_release(&b);
  }
  print_message("%ld hypotheses compared, %ld samples left out because scores were within 1e-4\n", compared,
                ambiguous);
  assert_true(compared > 3 * ambiguous && compared > 100);
}

static void expect_same_search(const struct search_case *s, const struct search_results *got,
                               const struct search_results *wanted) {
  const size_t rows = (size_t)(s->decoder.batch * s->beam);
  if (memcmp(got->tokens, wanted->tokens, rows * (size_t)s->most * sizeof(int32_t)) != 0 ||
      memcmp(got->scores, wanted->scores, rows * sizeof(float)) != 0 ||
      memcmp(got->lengths, wanted->lengths, rows * sizeof(int64_t)) != 0)
    fail_decoder(&s->decoder, "search has other bits");
}

static void every_tier_schedule_and_number_of_threads_has_the_same_bits(void **state) {
  static const int threads[] = {1, 2, 3, 5};
  (void)state;
  for (uint64_t seed = 0; seed < CASES; seed += 2) {
    struct buffers b = {0};
    struct search_case s = random_search(300 + seed);
    struct decoder_data d = take_search_data(&b, &s);
    s.decoder.desc.rnn.isa = tiers[0];
    s.decoder.desc.rnn.threads = 1;
    struct search_results wanted = run_search(&b, &s, &d);
    for (int i = 0; i < tier_count; i++)
      for (int k = 0; k < 4; k++) {
        struct buffers run = {0};
        s.decoder.desc.rnn.isa = tiers[i];
        s.decoder.desc.rnn.threads = threads[k];
        s.decoder.desc.rnn.schedule = k % 2 ? GK_SCHEDULE_TEAMS : GK_SCHEDULE_SLICES;
        struct search_results got = run_search(&run, &s, &d);
        expect_same_search(&s, &got, &wanted);
        buffers_release(&run);
      }
    buffers_release(&b);
  }
}

static void every_environment_of_the_caller_has_the_same_bits(void **state) {
  (void)state;
  const control_word usual = read_control();
  for (uint64_t seed = 0; seed < CASES; seed += 4) {
    struct buffers b = {0};
    struct search_case s = random_search(900 + seed);
    struct decoder_data d = take_search_data(&b, &s);
    s.decoder.desc.rnn.isa = tiers[0];
    struct search_results wanted = run_search(&b, &s, &d);
    for (int i = 0; i < CONTROLS; i++) {
      write_control(odd_controls[i]);
      struct search_results got = run_search(&b, &s, &d);
      write_control(usual);
      expect_same_search(&s, &got, &wanted);
    }
    buffers_release(&b);
  }
}

/* All tokens alike: the lower index comes first, then the lower hypothesis. */
static void ties_go_to_the_lower_index(void **state) {
  struct buffers b = {0};
  struct search_case s = random_search(1);
  (void)state;
  s.beam = 3;
  s.most = 2;
  s.end = -1;
  s.length_penalty = 0;
  struct decoder_data d = take_search_data(&b, &s);
  memset(d.output_parameters, 0,
         (size_t)(s.decoder.output_size * (decoder_sizes_of(&s.decoder).top + 1)) * sizeof(float));
  struct search_results r = run_search(&b, &s, &d);
  for (int64_t n = 0; n < s.decoder.batch; n++)
    for (int32_t k = 0; k < 3; k++) { /* step 0: tokens 0, 1, 2; step 1: all of hypothesis 0 */
      const int32_t *tokens = r.tokens + (n * 3 + k) * 2;
      assert_int_equal(tokens[0], 0);
      assert_int_equal(tokens[1], k);
    }
  buffers_release(&b);
}

/* Greedy search is the free-running decoder that takes its most likely token. */
static void expect_the_free_running_decoder(const struct search_case *s, const struct decoder_data *d) {
  struct buffers b = {0};
  struct search_results r = run_search(&b, s, d);
  struct decoder_case c = s->decoder;
  c.time = s->most;
  c.sampling = 1;
  c.choice = GK_CHOICE_GREEDY;
  c.chosen = true;
  struct decoder_data run = *d;
  int32_t *tokens = buffers_take(&b, (size_t)(c.time * c.batch) * sizeof(int32_t), sizeof(int32_t));
  for (int64_t n = 0; n < c.batch; n++)
    tokens[decoder_row(&c, c.time, 0, n)] = d->tokens[n];
  run.tokens = tokens;
  struct decoder_results results = take_decoder_results(&b, &c, &run);
  struct open_decoder o = open_decoder(&b, &c, &run);
  gk_decoder_forward_args args = decoder_forward_args(&o, &c, &run, &results);
  args.reserve = NULL;
  args.workspace = o.inference;
  decoder_ok(&c, gk_decoder_forward(o.decoder, &args), "gk_decoder_forward");
  for (int64_t n = 0; n < c.batch; n++)
    for (int64_t t = 0; t < c.time; t++)
      assert_int_equal(r.tokens[n * s->most + t], results.chosen[decoder_row(&c, c.time, t, n)]);
  close_decoder(&o);
  buffers_release(&b);
}

static void a_beam_of_one_is_the_free_running_decoder(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    struct buffers b = {0};
    struct search_case s = random_search(600 + seed);
    s.beam = 1;
    s.end = -1;
    s.decoder.desc.rnn.isa = tiers[0];
    const struct decoder_data d = take_search_data(&b, &s);
    expect_the_free_running_decoder(&s, &d);
    buffers_release(&b);
  }
}

/* ---- Logits that are not finite ---- */

/* Biases of the first tokens: f is any number, + and - an infinity, n NaN; * is for all tokens behind. */
static const char *const odd_logits[] = {"nf*",     "fn*", "nf+*", "f+n+*", "+*",   "-f*",
                                         "-n-n-f*", "-",   "n-n",  "nn+-",  "+-n-", "-+"};
enum { ODD_LOGITS = sizeof odd_logits / sizeof *odd_logits };

static char kind_of_logit(const char *kinds, int64_t token) {
  const int64_t given = (int64_t)strcspn(kinds, "*");
  return token < given ? kinds[token] : kinds[given] ? 'f' : kinds[given - 1];
}

static void set_logits(const struct search_case *s, const struct decoder_data *d, const char *kinds) {
  const int64_t V = s->decoder.output_size;
  float *bias = d->output_parameters + V * decoder_sizes_of(&s->decoder).top;
  for (int64_t v = 0; v < V; v++)
    switch (kind_of_logit(kinds, v)) {
    case '+':
      bias[v] = INFINITY;
      break;
    case '-':
      bias[v] = -INFINITY;
      break;
    case 'n':
      bias[v] = NAN;
    }
}

/* The kind whose tokens share all probability. */
static char likely_kind(const struct search_case *s, const char *kinds) {
  char found[4] = "";
  for (int64_t v = 0; v < s->decoder.output_size; v++)
    found[strcspn("+f-", (char[]){kind_of_logit(kinds, v), 0})] = 'x';
  return found[0] ? '+' : found[1] ? 'f' : '-';
}

static void expect_ordered_hypotheses(const struct search_case *s, const struct search_results *r,
                                      const char *kinds) {
  const char likely = likely_kind(s, kinds);
  for (int64_t row = 0; row < s->decoder.batch * s->beam; row++) {
    const bool first = row % s->beam == 0;
    if (isnan(r->scores[row]) || (!first && !(r->scores[row] <= r->scores[row - 1])))
      fail_decoder(&s->decoder, "logits %s: hypothesis %d scores %g", kinds, (int)row,
                   (double)r->scores[row]);
    if (first && r->lengths[row] == 0)
      fail_decoder(&s->decoder, "logits %s: there is no hypothesis", kinds);
    for (int64_t t = 0; t < r->lengths[row]; t++)
      if (kind_of_logit(kinds, r->tokens[row * s->most + t]) != likely)
        fail_decoder(&s->decoder, "logits %s: token %d, which has no probability", kinds,
                     (int)r->tokens[row * s->most + t]);
  }
}

static void logits_that_are_not_finite_are_limits(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 5; seed++)
    for (int i = 0; i < ODD_LOGITS; i++) {
      struct buffers b = {0};
      struct search_case s = random_search(700 + seed);
      s.end = -1;
      s.decoder.desc.rnn.isa = tiers[0];
      const struct decoder_data d = take_search_data(&b, &s);
      set_logits(&s, &d, odd_logits[i]);
      const struct search_results wanted = run_search(&b, &s, &d);
      expect_ordered_hypotheses(&s, &wanted, odd_logits[i]);
      for (int tier = 1; tier < tier_count; tier++) {
        s.decoder.desc.rnn.isa = tiers[tier];
        const struct search_results got = run_search(&b, &s, &d);
        expect_same_search(&s, &got, &wanted);
      }
      s.beam = 1;
      expect_the_free_running_decoder(&s, &d);
      buffers_release(&b);
    }
}

/* Nothing is likely: no hypothesis, and a decoder that must choose takes token 0. */
static void of_nothing_but_nan_no_hypothesis_comes(void **state) {
  (void)state;
  struct buffers b = {0};
  struct search_case s = random_search(3);
  const struct decoder_data d = take_search_data(&b, &s);
  set_logits(&s, &d, "n");
  const struct search_results r = run_search(&b, &s, &d);
  for (int64_t row = 0; row < s.decoder.batch * s.beam; row++)
    assert_true(r.lengths[row] == 0 && r.scores[row] == -INFINITY && r.tokens[row * s.most] == -1);
  buffers_release(&b);
}

/* One token has all probability, and the norm of so large a penalty is 0. */
static void a_certain_hypothesis_scores_0_whatever_the_penalty(void **state) {
  (void)state;
  struct buffers b = {0};
  struct search_case s = random_search(4);
  s.end = -1;
  s.length_penalty = -1e6f;
  s.most = MOST_LENGTH;
  const struct decoder_data d = take_search_data(&b, &s);
  set_logits(&s, &d, "+-");
  const struct search_results r = run_search(&b, &s, &d);
  for (int64_t n = 0; n < s.decoder.batch; n++)
    assert_true(r.lengths[n * s.beam] == s.most && r.scores[n * s.beam] == 0);
  buffers_release(&b);
}

int main(int argc, char **argv) {
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hypotheses_are_those_of_the_plain_search_on_every_tier),
      cmocka_unit_test(every_tier_schedule_and_number_of_threads_has_the_same_bits),
      cmocka_unit_test(every_environment_of_the_caller_has_the_same_bits),
      cmocka_unit_test(ties_go_to_the_lower_index),
      cmocka_unit_test(a_beam_of_one_is_the_free_running_decoder),
      cmocka_unit_test(logits_that_are_not_finite_are_limits),
      cmocka_unit_test(of_nothing_but_nan_no_hypothesis_comes),
      cmocka_unit_test(a_certain_hypothesis_scores_0_whatever_the_penalty),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
