/* SPDX-License-Identifier: Apache-2.0
 *
 * Training a language model: text to tokens and streams, training that learns and whose weights depend on
 * nothing but the description.
 * ctest labels: same-bits */
#include <math.h>

#include "src/tasks/language_model.h"
#include "src/tasks/text_streams.h"
#include "tests/trainer_fixture.h"

/* ---- Streams, vocabulary, learning rate ---- */

static void each_token_is_a_target_once(void **state) {
  (void)state;
  enum { LARGEST = 70, TIME = 5 };
  int32_t tokens[LARGEST], inputs[TIME * LARGEST], targets[TIME * LARGEST];
  for (int i = 0; i < LARGEST; ++i)
    tokens[i] = i;
  for (int64_t count = 2; count <= LARGEST; ++count)
    for (int64_t batch = 1; batch < count; ++batch) {
      const struct gk_text_streams streams = {tokens, count, batch};
      const int64_t length = gk_text_streams_length(&streams);
      int seen[LARGEST] = {0};
      for (int64_t first = 0; first < length; first += TIME) {
        const int64_t time = length - first < TIME ? length - first : TIME;
        int64_t present = 0;
        const int64_t reported = gk_text_streams_read(&streams, first, time, inputs, targets);
        for (int64_t i = 0; i < time * batch; ++i) {
          assert_in_range(inputs[i], 0, count - 2);
          if (targets[i] < 0)
            continue;
          assert_int_equal(targets[i], inputs[i] + 1);
          ++seen[targets[i]];
          ++present;
        }
        assert_int_equal(reported, present);
      }
      assert_int_equal(seen[0], 0);
      for (int64_t i = 1; i < count; ++i)
        if (seen[i] != 1)
          fail_msg("%" PRId64 " tokens in %" PRId64 " streams: token %" PRId64 " is a target %d times", count,
                   batch, i, seen[i]);
    }
}

static void streams_go_on(void **state) {
  (void)state;
  int32_t tokens[23], first[2 * 4], second[2 * 4], targets[2 * 4];
  for (int i = 0; i < 23; ++i)
    tokens[i] = 100 + i;
  const struct gk_text_streams streams = {tokens, 23, 4};
  gk_text_streams_read(&streams, 0, 2, first, targets);
  gk_text_streams_read(&streams, 2, 2, second, targets);
  for (int n = 0; n < 4; ++n)
    assert_int_equal(second[n], first[1 * 4 + n] + 1);
}

static const struct {
  const char *name, *text;
  size_t bytes;
} bad_utf8[] = {
    {"a byte that only continues", "a\x80", 2},
    {"cut after one of two", "\xC3", 1},
    {"cut after two of three", "\xE2\x82", 2},
    {"cut after three of four", "\xF0\x9F\x98", 3},
    {"a letter where a byte should continue", "\xC3(", 2},
    {"an overlong slash in two bytes", "\xC0\xAF", 2},
    {"an overlong slash in three bytes", "\xE0\x80\xAF", 3},
    {"an overlong euro sign", "\xF0\x82\x82\xAC", 4},
    {"a surrogate", "\xED\xA0\x80", 3},
    {"above U+10FFFF", "\xF4\x90\x80\x80", 4},
    {"a byte of no code point", "\xFF", 1},
    {"five bytes", "\xF8\x88\x80\x80\x80", 5},
};

static void text_that_is_not_utf8_is_refused(void **state) {
  (void)state;
  const char *const name = "text";
  for (size_t i = 0; i < sizeof bad_utf8 / sizeof bad_utf8[0]; ++i) {
    struct gk_vocabulary vocabulary;
    const gk_text text = {bad_utf8[i].text, bad_utf8[i].bytes};
    const gk_status status = gk_vocabulary_from_texts(&vocabulary, true, 1, &text, &name);
    if (status != GK_ERROR_FORMAT || !strstr(gk_last_error(), "not UTF-8"))
      fail_msg("%s: %s (\"%s\")", bad_utf8[i].name, gk_status_name(status), gk_last_error());
    expect_ok(gk_vocabulary_from_texts(&vocabulary, false, 1, &text, &name));
    gk_vocabulary_free(&vocabulary);
  }
}

static void symbols_are_sorted_and_spell_the_text(void **state) {
  (void)state;
  static const char data[] = "z\xF4\x8F\xBF\xBF\xE2\x82\xAC\xC3\xA4z\0\xEF\xBF\xBF\xC2\x80";
  static const uint32_t expected[] = {0, 'z', 0x80, 0xE4, 0x20AC, 0xFFFF, 0x10FFFF};
  const gk_text text = {data, sizeof data - 1}, other = {"z\xC3\xB6", 3};
  const char *const name = "text";
  struct gk_vocabulary vocabulary;
  expect_ok(gk_vocabulary_from_texts(&vocabulary, true, 1, &text, &name));
  assert_int_equal(vocabulary.count, 7);
  assert_memory_equal(vocabulary.symbols, expected, sizeof expected);
  int32_t *tokens;
  int64_t count;
  expect_ok(gk_vocabulary_encode(&vocabulary, &text, name, &tokens, &count));
  assert_int_equal(count, 8);
  size_t used = 0;
  for (int64_t i = 0; i < count; ++i) {
    char bytes[4];
    const int length = gk_vocabulary_decode(&vocabulary, tokens[i], bytes);
    assert_true(used + (size_t)length <= text.bytes);
    assert_memory_equal(bytes, data + used, (size_t)length);
    used += (size_t)length;
  }
  assert_int_equal(used, text.bytes);
  gk_free(tokens);
  assert_int_equal(gk_vocabulary_encode(&vocabulary, &other, "prompt", &tokens, &count), GK_ERROR_FORMAT);
  assert_non_null(strstr(gk_last_error(), "prompt: '\xC3\xB6' at byte 1"));
  gk_vocabulary_free(&vocabulary);
}

static void the_learning_rate_falls_to_its_minimum(void **state) {
  (void)state;
  gk_learning_rate_desc desc = GK_LEARNING_RATE_DESC_INIT;
  desc.learning_rate = 0.1;
  desc.steps = 100;
  assert_true(gk_learning_rate(&desc, NULL, 77) == (double)0.1f);
  desc.decay = GK_DECAY_COSINE;
  desc.minimum_learning_rate = 0.02;
  assert_true(gk_learning_rate(&desc, NULL, 1) == (double)0.1f);
  assert_true(gk_learning_rate(&desc, NULL, 51) == (double)0.06f);
  assert_true(gk_learning_rate(&desc, NULL, 101) == (double)0.02f);
  assert_true(gk_learning_rate(&desc, NULL, 999) == (double)0.02f);
  desc.minimum_learning_rate = 0;
  double before = 1;
  for (int64_t step = 1; step <= 101; ++step) {
    const double rate = gk_learning_rate(&desc, NULL, step);
    assert_true(rate < before && rate == (double)(float)rate);
    before = rate;
  }
  desc.steps = 0; /* not known: no decay */
  assert_true(gk_learning_rate(&desc, NULL, 1000) == (double)0.1f);
  gk_decay decay;
  assert_int_equal(gk_decay_from_name("linear", &decay), GK_ERROR_ARGUMENT);
}

/* ---- Training ---- */

static void the_loss_of_every_cell_falls(void **state) {
  (void)state;
  for (int cell = 0; cell < gk_cell_count(); ++cell) {
    gk_language_model_desc model = small_model((gk_cell)cell);
    gk_training_desc training = small_training();
    model.network.hidden_size = 48;
    model.network.dropout = 0;
    training.steps = 250;
    training.time = 25;
    training.clip_norm = 5;
    gk_language_trainer *trainer = create(&model, &training);
    gk_language_loss before, after;
    bool improved;
    expect_ok(gk_language_trainer_validate(trainer, &before, &improved));
    assert_true(improved);
    const gk_training_step first = run_steps(trainer, 1);
    run_steps(trainer, 249);
    expect_ok(gk_language_trainer_validate(trainer, &after, &improved));
    int64_t symbols;
    gk_language_model_symbols(gk_language_trainer_model(trainer), &symbols);
    /* Before training every symbol is about as likely; the words are random: ln 8 nats a word of 4.6. */
    if (fabs(first.loss - log((double)symbols)) > 0.3 || fabs(before.nats - first.loss) > 0.3 || !improved ||
        after.nats > 0.75)
      fail_msg("%s: %" PRId64 " symbols, first loss %g, validation %g, then %g", gk_cell_name((gk_cell)cell),
               symbols, first.loss, before.nats, after.nats);
    gk_language_progress progress;
    gk_language_trainer_progress(trainer, &progress);
    assert_int_equal(progress.step, 250);
    assert_int_equal(progress.best_step, 250);
    assert_true(progress.best_loss == after.nats);
    gk_language_trainer_destroy(trainer);
  }
}

static void an_epoch_covers_the_text(void **state) {
  (void)state;
  const gk_language_model_desc model = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  gk_language_trainer *trainer = create(&model, &training);
  gk_language_progress progress;
  gk_language_trainer_progress(trainer, &progress);
  assert_true(progress.training_characters % (training.batch * training.time) > training.batch);
  for (int epoch = 0; epoch < 2; ++epoch) {
    int64_t characters = 0;
    for (int64_t i = 0; i < progress.steps_per_epoch; ++i)
      characters += run_steps(trainer, 1).characters;
    assert_int_equal(characters, progress.training_characters - 1);
  }
  const int64_t text = (int64_t)make_text().bytes;
  assert_int_equal(progress.validation_characters, (int64_t)((double)text * 0.05));
  assert_int_equal(progress.training_characters + progress.validation_characters, text);
  gk_language_trainer_destroy(trainer);
}

/* The state at the start of an epoch is zero, and else the end of the step before. */
static void the_state_is_carried_through_an_epoch(void **state) {
  (void)state;
  gk_language_model_desc model = small_model(GK_CELL_GRU);
  gk_training_desc training = small_training();
  model.network.dropout = 0;
  training.learning_rate = 1e-30; /* the weights stay what they are, so only the state makes a difference */
  training.minimum_learning_rate = 0;
  gk_language_trainer *trainer = create(&model, &training);
  gk_language_progress progress;
  gk_language_trainer_progress(trainer, &progress);
  const double first = run_steps(trainer, 1).loss;
  run_steps(trainer, (int)progress.steps_per_epoch - 1);
  assert_true(run_steps(trainer, 1).loss == first);

  /* Half the window: the mean of two steps' losses is that of one only if the state goes on between them. */
  training.time = 2 * training.time;
  gk_language_trainer *whole = create(&model, &training);
  const gk_training_step together = run_steps(whole, 1);
  const gk_training_step later = run_steps(trainer, 1);
  const double mean = (first + later.loss) / 2;
  if (fabs(mean - together.loss) > 1e-6)
    fail_msg("two steps: %.9g, one of both: %.9g", mean, together.loss);
  gk_language_trainer_destroy(whole);
  gk_language_trainer_destroy(trainer);
}

static void the_weights_are_the_same_everywhere(void **state) {
  (void)state;
  enum { STEPS = 12 };
  gk_training_desc training = small_training();
  training.batch = 23; /* the sums over a step's 299 characters take two blocks */
  for (int cell = 0; cell < gk_cell_count(); ++cell) {
    gk_language_model_desc model = small_model((gk_cell)cell);
    model.network.isa = GK_ISA_SCALAR;
    gk_language_trainer *reference = create(&model, &training);
    const double loss = run_steps(reference, STEPS).loss;
    for (int isa = 1; isa <= gk_isa_count(); ++isa)
      for (int threads = 1; threads <= 3 && gk_isa_usable((gk_isa)isa); ++threads) {
        char what[64];
        snprintf(what, sizeof what, "%s, %s, %d threads", gk_cell_name((gk_cell)cell),
                 gk_isa_name((gk_isa)isa), threads);
        model.network.isa = (gk_isa)isa;
        model.network.threads = threads;
        gk_language_trainer *other = create(&model, &training);
        const gk_language_model_desc *used = gk_language_model_description(gk_language_trainer_model(other));
        assert_int_equal(used->network.isa, isa);
        assert_int_equal(used->network.threads, threads);
        const double other_loss = run_steps(other, STEPS).loss;
        expect_same_weights(reference, other, what);
        assert_memory_equal(&loss, &other_loss, sizeof loss);
        gk_language_trainer_destroy(other);
      }
    gk_language_trainer_destroy(reference);
  }
}

static void the_seed_decides_the_weights(void **state) {
  (void)state;
  const gk_language_model_desc model = small_model(GK_CELL_LSTM);
  gk_training_desc training = small_training();
  gk_language_trainer *a = create(&model, &training), *b = create(&model, &training);
  run_steps(b, 20);
  expect_ok(gk_language_trainer_restart(b));
  run_steps(a, 9);
  run_steps(b, 9);
  expect_same_weights(a, b, "after a restart");
  ++training.seed;
  gk_language_trainer *c = create(&model, &training);
  run_steps(c, 9);
  const gk_language_model *x = gk_language_trainer_model(a), *y = gk_language_trainer_model(c);
  const size_t count = (size_t)gk_language_model_parameter_count(x);
  assert_memory_not_equal(gk_language_model_parameters(x), gk_language_model_parameters(y),
                          count * sizeof(float));
  gk_language_trainer_destroy(a);
  gk_language_trainer_destroy(b);
  gk_language_trainer_destroy(c);
}

static void a_step_counts_its_operations(void **state) {
  (void)state;
  gk_language_model_desc model = small_model(GK_CELL_GRU);
  gk_training_desc training = small_training();
  static char data[201]; /* two symbols */
  memset(data, 'a', 200);
  data[150] = 'b';
  const gk_text text = {data, 200};
  training.validation = 0;
  gk_language_trainer *trainer;
  expect_ok(gk_language_trainer_create(&model, &training, &text, NULL, &trainer));
  /* 199 targets in 7 streams: 28 or 29 steps, windows of 13, 13, 3; the b is in stream 5, step 8. */
  const double rows = 7 * 13, gates = 3 * 19;
  const double distinct = 2;
  const double expected = 6 * gates * (distinct * 11 + rows * 19 + rows * 2 * 19) + 6 * rows * 19 * 2;
  assert_true(run_steps(trainer, 1).operations == expected);
  assert_true(run_steps(trainer, 1).operations == expected - 6 * gates * 11);
  expect_ok(gk_language_trainer_restart(trainer));
  gk_learning_rate_desc rate, too_high;
  gk_training_step failed;
  gk_language_trainer_learning_rate(trainer, &rate);
  too_high = rate;
  too_high.learning_rate = 3e38; /* Adam's first step divides it by 1 - beta1 */
  expect_ok(gk_language_trainer_set_learning_rate(trainer, &too_high));
  assert_int_equal(gk_language_trainer_step(trainer, &failed), GK_ERROR_ARGUMENT);
  expect_ok(gk_language_trainer_set_learning_rate(trainer, &rate));
  assert_true(failed.operations == expected && run_steps(trainer, 1).operations == expected);
  gk_language_trainer_destroy(trainer);
  model.network.input_dropout = 0.5f; /* each row has its own mask */
  expect_ok(gk_language_trainer_create(&model, &training, &text, NULL, &trainer));
  assert_true(run_steps(trainer, 1).operations == expected + 6 * gates * (rows - distinct) * 11);
  gk_language_trainer_destroy(trainer);
}

/* Both directions read the embedding; peepholes and vectors are no products. */
static void flop_counts_the_products_of_both_directions(void **state) {
  (void)state;
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = GK_CELL_LSTM;
  desc.input_size = 11;
  desc.hidden_size = 19;
  desc.projection_size = 5;
  desc.layers = 2;
  desc.direction = GK_BIDIRECTIONAL;
  desc.options.peephole = desc.options.layer_norm = desc.trained_states = true;
  for (int vocabulary = 0; vocabulary < 2; ++vocabulary) {
    gk_rnn *rnn;
    desc.vocabulary = 30 * vocabulary;
    expect_ok(gk_rnn_create(&desc, &rnn));
    const double first = 4 * 19 * 11 * (vocabulary ? 3 : 50), others = 4 * 19 * (5 + 10 + 5) + 2 * 5 * 19;
    assert_true(gk_rnn_training_flop(rnn, 50, 3) == 6 * 2 * (first + 50 * others));
    gk_rnn_destroy(rnn);
  }
  assert_true(gk_rnn_training_flop(NULL, 50, 3) == 0);
}

static void a_step_that_is_not_finite_leaves_the_weights(void **state) {
  (void)state;
  const gk_language_model_desc model = small_model(GK_CELL_LSTM);
  gk_training_desc training = small_training();
  training.optimizer = GK_OPTIMIZER_SGD;
  training.learning_rate = 1e38;
  training.clip_norm = 0;
  gk_language_trainer *trainer = create(&model, &training);
  const gk_language_model *trained = gk_language_trainer_model(trainer);
  const size_t bytes = (size_t)gk_language_model_parameter_count(trained) * sizeof(float);
  float *before = malloc(bytes);
  assert_non_null(before);
  gk_status status = GK_OK;
  gk_training_step report;
  gk_language_progress progress;
  for (int i = 0; i < 50 && status == GK_OK; ++i) {
    memcpy(before, gk_language_model_parameters(trained), bytes);
    status = gk_language_trainer_step(trainer, &report);
  }
  assert_int_equal(status, GK_ERROR_ARGUMENT);
  gk_language_trainer_progress(trainer, &progress);
  assert_int_equal(report.step, progress.step + 1); /* that which failed */
  assert_true(report.characters == 7 * 13 && report.learning_rate == 0);
  assert_non_null(strstr(gk_last_error(), "too high"));
  assert_memory_equal(before, gk_language_model_parameters(trained), bytes);
  free(before);
  gk_language_trainer_destroy(trainer);
}

static void wrong_descriptions_are_refused(void **state) {
  (void)state;
  const gk_text text = make_text(), empty = {"", 0}, one = {"a", 1}, few = {text.data, 90};
  gk_language_model_desc model = small_model(GK_CELL_LSTM);
  gk_training_desc training = small_training();
  gk_language_trainer *trainer = NULL;
#define REFUSED(text, validation, message)                                                                   \
  do {                                                                                                       \
    trainer = (gk_language_trainer *)&model;                                                                 \
    assert_int_equal(gk_language_trainer_create(&model, &training, text, validation, &trainer),              \
                     GK_ERROR_ARGUMENT);                                                                     \
    assert_null(trainer);                                                                                    \
    if (!strstr(gk_last_error(), message))                                                                   \
      fail_msg("\"%s\" does not say \"%s\"", gk_last_error(), message);                                      \
  } while (0)
  REFUSED(&empty, NULL, "text");
  REFUSED(&one, NULL, "fewer than one step needs");
  REFUSED(&few, NULL, "batch 7 x time 13 + 1");
  REFUSED(&text, &one, "validation text");
  REFUSED(NULL, NULL, "text is NULL");
  training.batch = 0;
  REFUSED(&text, NULL, "batch is 0");
  training.batch = INT64_MAX;
  REFUSED(&text, NULL, "batch");
  training = small_training();
  training.learning_rate = 0;
  REFUSED(&text, NULL, "learning_rate is 0");
  training.learning_rate = NAN;
  REFUSED(&text, NULL, "learning_rate is nan");
  training = small_training();
  training.validation = 1;
  REFUSED(&text, NULL, "validation is 1");
  training = small_training();
  training.clip_norm = -1;
  REFUSED(&text, NULL, "clip_norm is -1");
  training = small_training();
  training.size = 0;
  REFUSED(&text, NULL, "size");
  training = small_training();
  model.network.layers = 1;
  REFUSED(&text, NULL, "dropout");
  model = small_model(GK_CELL_LSTM);
  model.network.hidden_size = 0;
  REFUSED(&text, NULL, "hidden_size");
  model = small_model((gk_cell)99);
  REFUSED(&text, NULL, "cell");
#undef REFUSED
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_token_is_a_target_once),
      cmocka_unit_test(streams_go_on),
      cmocka_unit_test(text_that_is_not_utf8_is_refused),
      cmocka_unit_test(symbols_are_sorted_and_spell_the_text),
      cmocka_unit_test(the_learning_rate_falls_to_its_minimum),
      cmocka_unit_test(the_loss_of_every_cell_falls),
      cmocka_unit_test(an_epoch_covers_the_text),
      cmocka_unit_test(the_state_is_carried_through_an_epoch),
      cmocka_unit_test(the_weights_are_the_same_everywhere),
      cmocka_unit_test(the_seed_decides_the_weights),
      cmocka_unit_test(a_step_counts_its_operations),
      cmocka_unit_test(flop_counts_the_products_of_both_directions),
      cmocka_unit_test(a_step_that_is_not_finite_leaves_the_weights),
      cmocka_unit_test(wrong_descriptions_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
