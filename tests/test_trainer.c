/* SPDX-License-Identifier: Apache-2.0
 *
 * The language model: text to tokens and streams, training that learns and whose weights depend on nothing
 * but the description, resuming, evaluation against single steps, files, sampling.
 * ctest labels: same-bits */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "include/gatekern-train.h"
#include "src/tasks/language_model.h"
#include "src/tasks/text_streams.h"
#include "tests/temporary_folder.h"

/* ---- Texts and descriptions ---- */

/* About 5000 characters that can be learnt: sentences of random words. */
static gk_text make_text(void) {
  static const char *const words[] = {"the ", "cell ", "keeps ", "a ", "state ", "and ", "gates ", "it.\n"};
  static char text[5200];
  size_t used = 0;
  for (uint64_t i = 0; used < 5000; ++i) {
    const char *word = words[(int)(8 * gk_uniform(7, 1, i))];
    used += (size_t)snprintf(text + used, sizeof text - used, "%s", word);
  }
  return (gk_text){text, used};
}

static gk_language_model_desc small_model(gk_cell cell) {
  gk_language_model_desc desc = GK_LANGUAGE_MODEL_DESC_INIT;
  desc.network.cell = cell;
  desc.network.hidden_size = 19;
  desc.network.input_size = 11;
  desc.network.layers = 2;
  desc.network.dropout = 0.25f;
  desc.network.threads = 1; /* the work is too small for more; some tests ask for them */
  return desc;
}

static gk_training_desc small_training(void) {
  gk_training_desc desc = GK_TRAINING_DESC_INIT;
  desc.batch = 7;
  desc.time = 13;
  desc.steps = 60;
  desc.learning_rate = 0.01;
  desc.decay = GK_DECAY_COSINE;
  desc.minimum_learning_rate = 1e-4;
  desc.clip_norm = 0.5;
  desc.seed = 0xfedcba9876543210;
  return desc;
}

static void expect_ok(gk_status status) {
  if (status != GK_OK)
    fail_msg("%s: %s", gk_status_name(status), gk_last_error());
}

static gk_language_trainer *create(const gk_language_model_desc *model, const gk_training_desc *training) {
  const gk_text text = make_text();
  gk_language_trainer *trainer;
  expect_ok(gk_language_trainer_create(model, training, &text, NULL, &trainer));
  return trainer;
}

static gk_training_step run_steps(gk_language_trainer *trainer, int count) {
  gk_training_step report = {0};
  for (int i = 0; i < count; ++i)
    expect_ok(gk_language_trainer_step(trainer, &report));
  return report;
}

static void expect_same_weights(const gk_language_trainer *a, const gk_language_trainer *b,
                                const char *what) {
  const gk_language_model *x = gk_language_trainer_model(a), *y = gk_language_trainer_model(b);
  const int64_t count = gk_language_model_parameter_count(x);
  assert_int_equal(gk_language_model_parameter_count(y), count);
  const float *p = gk_language_model_parameters(x), *q = gk_language_model_parameters(y);
  for (int64_t i = 0; i < count; ++i)
    if (memcmp(&p[i], &q[i], sizeof *p) != 0)
      fail_msg("%s: weight %" PRId64 " of %" PRId64 ": %a and %a", what, i, count, (double)p[i],
               (double)q[i]);
}

/* ---- Streams, vocabulary, learning rate ---- */

static void test_each_token_is_a_target_once(void **state) {
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

static void test_streams_go_on(void **state) {
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

static void test_bad_utf8(void **state) {
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

static void test_symbols(void **state) {
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

static void test_learning_rate(void **state) {
  (void)state;
  gk_learning_rate_desc desc = GK_LEARNING_RATE_DESC_INIT;
  desc.learning_rate = 0.1;
  desc.steps = 100;
  assert_true(gk_learning_rate(&desc, NULL, 77) == (double)0.1f);
  desc.decay = GK_DECAY_COSINE;
  desc.minimum = 0.02;
  assert_true(gk_learning_rate(&desc, NULL, 1) == (double)0.1f);
  assert_true(gk_learning_rate(&desc, NULL, 51) == (double)0.06f);
  assert_true(gk_learning_rate(&desc, NULL, 101) == (double)0.02f);
  assert_true(gk_learning_rate(&desc, NULL, 999) == (double)0.02f);
  desc.minimum = 0;
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

static void test_loss_falls(void **state) {
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

static void test_epoch_covers_the_text(void **state) {
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
static void test_state_is_carried(void **state) {
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

static void test_same_weights_everywhere(void **state) {
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

static void test_seed_decides(void **state) {
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

static void test_operations(void **state) {
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
  gk_language_trainer_destroy(trainer);
}

static void test_not_finite_stops(void **state) {
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
  for (int i = 0; i < 50 && status == GK_OK; ++i) {
    memcpy(before, gk_language_model_parameters(trained), bytes);
    status = gk_language_trainer_step(trainer, &report);
  }
  assert_int_equal(status, GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "too high"));
  assert_memory_equal(before, gk_language_model_parameters(trained), bytes);
  free(before);
  gk_language_trainer_destroy(trainer);
}

static void test_refused_descriptions(void **state) {
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

/* ---- Resuming ---- */

static void expect_same_description(const gk_training_desc *a, const gk_training_desc *b) {
  assert_true(a->batch == b->batch && a->time == b->time && a->steps == b->steps);
  assert_true(a->optimizer == b->optimizer && a->momentum == b->momentum && a->clip_norm == b->clip_norm);
  assert_true(a->learning_rate == b->learning_rate && a->decay == b->decay);
  assert_true(a->minimum_learning_rate == b->minimum_learning_rate && a->validation == b->validation);
  assert_true(a->init == b->init && a->forget_bias == b->forget_bias && a->seed == b->seed);
}

static void check_resume(const gk_language_model_desc *model, const gk_training_desc *training, int stop,
                         const char *what) {
  enum { STEPS = 31 };
  const gk_text text = make_text();
  const char *path = temporary_path("resume.state");
  gk_language_model_desc plan = GK_LANGUAGE_MODEL_DESC_INIT;
  gk_language_loss loss, resumed_loss;
  bool improved;
  gk_language_trainer *unbroken = create(model, training);
  run_steps(unbroken, stop);
  expect_ok(gk_language_trainer_validate(unbroken, &loss, &improved));
  expect_ok(gk_language_trainer_save(unbroken, path));
  run_steps(unbroken, STEPS - stop);
  for (int threads = 1; threads <= 2; ++threads) {
    plan.network.isa = threads == 1 ? GK_ISA_SCALAR : GK_ISA_AUTO;
    plan.network.threads = threads;
    gk_language_trainer *resumed;
    gk_language_progress progress;
    expect_ok(gk_language_trainer_resume(path, &plan, &text, NULL, &resumed));
    gk_language_trainer_progress(resumed, &progress);
    assert_int_equal(progress.step, stop);
    assert_int_equal(progress.best_step, stop);
    assert_memory_equal(&progress.best_loss, &loss.nats, sizeof loss.nats);
    expect_same_description(gk_language_trainer_description(resumed), training);
    run_steps(resumed, STEPS - stop);
    expect_same_weights(unbroken, resumed, what);
    expect_ok(gk_language_trainer_validate(unbroken, &loss, NULL));
    expect_ok(gk_language_trainer_validate(resumed, &resumed_loss, NULL));
    assert_memory_equal(&loss, &resumed_loss, sizeof loss);
    loss.nats = progress.best_loss;
    gk_language_trainer_destroy(resumed);
  }
  gk_language_trainer_destroy(unbroken);
}

static void test_resume_is_unbroken(void **state) {
  (void)state;
  gk_training_desc training = small_training();
  training.time = 40; /* an epoch of 17 steps, the last one short */
  for (int cell = 0; cell < gk_cell_count(); ++cell) {
    const gk_language_model_desc model = small_model((gk_cell)cell);
    check_resume(&model, &training, 5, gk_cell_name((gk_cell)cell));
  }
  const gk_language_model_desc model = small_model(GK_CELL_LSTM);
  static const int stops[] = {0, 1, 16, 17, 18, 30};
  for (size_t i = 0; i < sizeof stops / sizeof stops[0]; ++i)
    check_resume(&model, &training, stops[i], "another place");
  for (int kind = 0; kind <= GK_OPTIMIZER_ADAM; ++kind) {
    training.optimizer = (gk_optimizer_kind)kind;
    training.momentum = kind == GK_OPTIMIZER_SGD ? 0.9f : 0;
    training.init = (gk_init)kind;
    training.forget_bias = 0.1f * (float)kind;
    check_resume(&model, &training, 7, gk_optimizer_name(training.optimizer));
  }
}

static void test_resume_refuses(void **state) {
  (void)state;
  const gk_language_model_desc model = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  const char *path = temporary_path("refuse.state"), *weights = temporary_path("weights.safetensors");
  gk_text text = make_text();
  gk_language_trainer *trainer = create(&model, &training), *resumed;
  run_steps(trainer, 2);
  expect_ok(gk_language_trainer_save(trainer, path));
  expect_ok(gk_language_model_save(gk_language_trainer_model(trainer), weights));
  assert_int_equal(gk_language_trainer_resume(weights, NULL, &text, NULL, &resumed), GK_ERROR_FORMAT);
  assert_int_equal(gk_language_trainer_resume("/nowhere", NULL, &text, NULL, &resumed), GK_ERROR_IO);
  assert_int_equal(gk_language_trainer_resume(path, NULL, &text, &text, &resumed), GK_ERROR_ARGUMENT);
  --text.bytes;
  assert_int_equal(gk_language_trainer_resume(path, NULL, &text, NULL, &resumed), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "not the one"));
  assert_null(resumed);
  char *changed = malloc(text.bytes + 1);
  assert_non_null(changed);
  ++text.bytes;
  memcpy(changed, text.data, text.bytes);
  changed[3] = changed[3] == 'a' ? 'e' : 'a';
  text.data = changed;
  assert_int_equal(gk_language_trainer_resume(path, NULL, &text, NULL, &resumed), GK_ERROR_ARGUMENT);
  changed[3] = '%';
  assert_int_equal(gk_language_trainer_resume(path, NULL, &text, NULL, &resumed), GK_ERROR_FORMAT);
  free(changed);
  gk_language_trainer_destroy(trainer);
}

/* ---- Files of models ---- */

static gk_language_model *load(const char *path) {
  gk_language_model *model;
  expect_ok(gk_language_model_load(path, NULL, &model));
  return model;
}

static void test_names_and_shapes_are_pytorchs(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int rank;
    int64_t shape[2];
  } expected[] = {
      {"embedding.weight", 2, {22, 11}}, {"rnn.weight_ih_l0", 2, {76, 11}}, {"rnn.weight_hh_l0", 2, {76, 19}},
      {"rnn.bias_ih_l0", 1, {76, 0}},    {"rnn.bias_hh_l0", 1, {76, 0}},    {"rnn.weight_ih_l1", 2, {76, 19}},
      {"rnn.weight_hh_l1", 2, {76, 19}}, {"rnn.bias_ih_l1", 1, {76, 0}},    {"rnn.bias_hh_l1", 1, {76, 0}},
      {"output.weight", 2, {22, 19}},    {"output.bias", 1, {22, 0}},
  };
  enum { EXPECTED = sizeof expected / sizeof expected[0] };
  const char *path = temporary_path("names.safetensors");
  const gk_language_model_desc model = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  gk_language_trainer *trainer = create(&model, &training);
  int64_t symbols;
  gk_language_model_symbols(gk_language_trainer_model(trainer), &symbols);
  expect_ok(gk_language_model_save(gk_language_trainer_model(trainer), path));
  gk_safetensors *file;
  expect_ok(gk_safetensors_open(path, &file));
  assert_int_equal(gk_safetensors_count(file), EXPECTED);
  for (int i = 0; i < EXPECTED; ++i) {
    gk_file_tensor tensor;
    expect_ok(gk_safetensors_tensor(file, i, &tensor));
    assert_string_equal(tensor.name, expected[i].name);
    assert_int_equal(tensor.dtype, GK_DTYPE_F32);
    assert_int_equal(tensor.rank, expected[i].rank);
    for (int d = 0; d < tensor.rank; ++d)
      assert_int_equal(tensor.shape[d], expected[i].shape[d] == 22 ? symbols : expected[i].shape[d]);
  }
  gk_safetensors_close(file);
  gk_language_trainer_destroy(trainer);
}

static void test_load_is_what_was_saved(void **state) {
  (void)state;
  const char *path = temporary_path("load.safetensors"), *whole = temporary_path("load.state");
  const gk_text text = make_text();
  gk_language_model_desc desc = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  desc.network.activation = GK_ACTIVATION_RELU;
  desc.network.options.peephole = desc.network.options.coupled = true;
  desc.network.options.gate_activation = GK_ACTIVATION_HARD_SIGMOID;
  desc.network.options.alpha[GK_GATE] = 0.3f;
  desc.network.options.beta[GK_GATE] = 0.4f;
  desc.network.options.cell_clip = 1.7f;
  desc.utf8 = true;
  gk_language_trainer *trainer = create(&desc, &training);
  run_steps(trainer, 3);
  const gk_language_model *trained = gk_language_trainer_model(trainer);
  expect_ok(gk_language_model_save(trained, path));
  expect_ok(gk_language_trainer_save(trainer, whole));
  const char *const paths[] = {path, whole};
  for (int i = 0; i < 2; ++i) {
    gk_language_model *model = load(paths[i]);
    const gk_language_model_desc *found = gk_language_model_description(model);
    assert_int_equal(found->network.cell, desc.network.cell);
    assert_int_equal(found->network.activation, desc.network.activation);
    assert_memory_equal(&found->network.options, &desc.network.options, sizeof desc.network.options);
    assert_int_equal(found->network.hidden_size, desc.network.hidden_size);
    assert_int_equal(found->network.input_size, desc.network.input_size);
    assert_int_equal(found->network.layers, desc.network.layers);
    assert_true(found->network.dropout == desc.network.dropout && found->utf8);
    const size_t count = (size_t)gk_language_model_parameter_count(model);
    assert_int_equal(count, gk_language_model_parameter_count(trained));
    assert_memory_equal(gk_language_model_parameters(model), gk_language_model_parameters(trained),
                        count * sizeof(float));
    gk_language_loss a, b;
    expect_ok(gk_language_model_evaluate(model, &text, &a));
    expect_ok(gk_language_model_evaluate(trained, &text, &b));
    assert_memory_equal(&a, &b, sizeof a);
    gk_language_model_destroy(model);
  }
  gk_language_trainer_destroy(trainer);
}

/* Descriptions that do not fit the tensors, or fit nothing; the checksum is right in each. */
static const struct {
  const char *name, *change; /* merged into the description */
  const char *drop;          /* a key to remove */
  gk_status status;
} bad_descriptions[] = {
    {"another format", "{\"format\": 2}", NULL, GK_ERROR_UNSUPPORTED},
    {"format that is text", "{\"format\": \"1\"}", NULL, GK_ERROR_FORMAT},
    {"no format", "{}", "format", GK_ERROR_FORMAT},
    {"another task", "{\"task\": \"tag\"}", NULL, GK_ERROR_FORMAT},
    {"no cell", "{}", "cell", GK_ERROR_FORMAT},
    {"cell unknown", "{\"cell\": \"transformer\"}", NULL, GK_ERROR_FORMAT},
    {"cell that does not fit", "{\"cell\": \"gru\"}", NULL, GK_ERROR_FORMAT},
    {"activation unknown", "{\"options\": {\"activation\": \"gelu\"}}", NULL, GK_ERROR_FORMAT},
    {"option unknown", "{\"options\": {\"fast\": \"on\"}}", NULL, GK_ERROR_FORMAT},
    {"option that is a number", "{\"options\": {\"clip\": 3}}", NULL, GK_ERROR_FORMAT},
    {"options that are a list", "{\"options\": []}", NULL, GK_ERROR_FORMAT},
    {"mode unknown", "{\"mode\": \"words\"}", NULL, GK_ERROR_FORMAT},
    {"hidden 0", "{\"hidden\": 0}", NULL, GK_ERROR_FORMAT},
    {"hidden below 0", "{\"hidden\": -19}", NULL, GK_ERROR_FORMAT},
    {"hidden with a fraction", "{\"hidden\": 19.0}", NULL, GK_ERROR_FORMAT},
    {"hidden of another size", "{\"hidden\": 20}", NULL, GK_ERROR_FORMAT},
    {"hidden of 2^31 - 1", "{\"hidden\": 2147483647}", NULL, GK_ERROR_FORMAT},
    {"hidden of 2^62", "{\"hidden\": 4611686018427387904}", NULL, GK_ERROR_FORMAT},
    {"embedding of another size", "{\"embedding\": 12}", NULL, GK_ERROR_FORMAT},
    {"a layer too many", "{\"layers\": 3}", NULL, GK_ERROR_FORMAT},
    {"2^31 - 1 layers", "{\"layers\": 2147483647}", NULL, GK_ERROR_FORMAT},
    {"no layers", "{\"layers\": 0}", NULL, GK_ERROR_FORMAT},
    {"hidden of too few layers", "{\"hidden\": [19]}", NULL, GK_ERROR_FORMAT},
    {"hidden of other sizes", "{\"hidden\": [19, 20]}", NULL, GK_ERROR_FORMAT},
    {"hidden with a size below 1", "{\"hidden\": [19, 0]}", NULL, GK_ERROR_FORMAT},
    {"hidden with text in it", "{\"hidden\": [19, \"19\"]}", NULL, GK_ERROR_FORMAT},
    {"a projection", "{\"options\": {\"projection-size\": \"4\"}}", NULL, GK_ERROR_FORMAT},
    {"a direction that sees what it predicts", "{\"options\": {\"direction\": \"reverse\"}}", NULL,
     GK_ERROR_FORMAT},
    {"a probability of 1", "{\"options\": {\"zoneout-h\": \"1\"}}", NULL, GK_ERROR_FORMAT},
    {"dropout 1", "{\"dropout\": 1}", NULL, GK_ERROR_FORMAT},
    {"dropout that is text", "{\"dropout\": \"0\"}", NULL, GK_ERROR_FORMAT},
    {"no symbols", "{\"symbols\": []}", NULL, GK_ERROR_FORMAT},
    {"symbols that are text", "{\"symbols\": \"abc\"}", NULL, GK_ERROR_FORMAT},
    {"a symbol too few", "{\"symbols\": [1, 2, 3]}", NULL, GK_ERROR_FORMAT},
    {"symbols out of order", "{\"symbols\": [2, 1]}", NULL, GK_ERROR_FORMAT},
    {"a symbol twice", "{\"symbols\": [2, 2]}", NULL, GK_ERROR_FORMAT},
    {"a symbol below 0", "{\"symbols\": [-1, 2]}", NULL, GK_ERROR_FORMAT},
    {"a symbol that is no byte", "{\"symbols\": [2, 256]}", NULL, GK_ERROR_FORMAT},
    {"a symbol of 2^32", "{\"symbols\": [2, 4294967296]}", NULL, GK_ERROR_FORMAT},
};

static void test_bad_descriptions(void **state) {
  (void)state;
  const char *good = temporary_path("good.safetensors"), *bad = temporary_path("bad.safetensors");
  const gk_language_model_desc desc = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  gk_language_trainer *trainer = create(&desc, &training);
  expect_ok(gk_language_model_save(gk_language_trainer_model(trainer), good));
  struct gk_checkpoint checkpoint;
  expect_ok(gk_checkpoint_open(&checkpoint, good));
  gk_file_tensor tensors[32];
  const int count = gk_safetensors_count(checkpoint.file);
  static const float zeros[10000];
  for (int i = 0; i < count; ++i) {
    expect_ok(gk_safetensors_tensor(checkpoint.file, i, &tensors[i]));
    tensors[i].data = zeros;
  }
  for (size_t i = 0; i < sizeof bad_descriptions / sizeof bad_descriptions[0]; ++i) {
    json_t *changed = json_deep_copy(checkpoint.description);
    json_t *change = json_loads(bad_descriptions[i].change, 0, NULL);
    assert_int_equal(json_object_update(changed, change), 0);
    if (bad_descriptions[i].drop)
      assert_int_equal(json_object_del(changed, bad_descriptions[i].drop), 0);
    expect_ok(gk_checkpoint_save(bad, changed, count, tensors));
    gk_language_model *model;
    const gk_status status = gk_language_model_load(bad, NULL, &model);
    if (status != bad_descriptions[i].status || model || !strstr(gk_last_error(), bad))
      fail_msg("%s: %s (\"%s\")", bad_descriptions[i].name, gk_status_name(status), gk_last_error());
    json_decref(change);
    json_decref(changed);
  }
  /* Each tensor missing, then each of another type. */
  gk_language_model *model;
  for (int i = 0; i < count; ++i) {
    const gk_file_tensor kept = tensors[i];
    tensors[i].name = "another";
    expect_ok(gk_checkpoint_save(bad, checkpoint.description, count, tensors));
    assert_int_equal(gk_language_model_load(bad, NULL, &model), GK_ERROR_FORMAT);
    assert_non_null(strstr(gk_last_error(), kept.name));
    tensors[i] = kept;
    tensors[i].dtype = GK_DTYPE_U8;
    expect_ok(gk_checkpoint_save(bad, checkpoint.description, count, tensors));
    assert_int_equal(gk_language_model_load(bad, NULL, &model), GK_ERROR_FORMAT);
    tensors[i] = kept;
  }
  expect_ok(gk_checkpoint_save(bad, checkpoint.description, count, tensors));
  gk_language_model_destroy(load(bad));
  gk_checkpoint_close(&checkpoint);
  gk_language_trainer_destroy(trainer);
}

static void test_foreign_files(void **state) {
  (void)state;
  const char *path = temporary_path("foreign.safetensors");
  const float data[2] = {1, 2};
  const gk_file_tensor tensor = {.name = "embedding.weight", .rank = 1, .shape = {2}, .data = data};
  const gk_file_metadata texts[] = {{"gatekern", "[]"}, {"gatekern", "{"}, {"gatekern", "{\"format\":1}"}};
  gk_language_model *model;
  expect_ok(gk_safetensors_save(path, 1, &tensor, 0, NULL));
  assert_int_equal(gk_language_model_load(path, NULL, &model), GK_ERROR_FORMAT);
  assert_non_null(strstr(gk_last_error(), "not a model"));
  for (int i = 0; i < 3; ++i) {
    expect_ok(gk_safetensors_save(path, 1, &tensor, 1, &texts[i]));
    assert_int_equal(gk_language_model_load(path, NULL, &model), GK_ERROR_FORMAT);
  }
}

/* ---- Evaluation and sampling ---- */

/* The loss of a text, by single steps of batch 1 and float64 softmax. */
static double loss_by_steps(const gk_language_model *model, const int32_t *tokens, int64_t count) {
  const int64_t hidden = model->desc.network.hidden_size, symbols = model->vocabulary.count;
  gk_rnn_memory memory;
  size_t bytes;
  expect_ok(gk_rnn_memory_needed(model->rnn, 1, 1, &memory));
  expect_ok(gk_output_workspace_bytes(model->output, 1, &bytes));
  void *workspace = malloc(memory.inference_workspace_bytes + 1), *output_workspace = malloc(bytes + 1);
  float *h = calloc((size_t)(model->desc.network.layers * hidden), sizeof *h);
  float *c = calloc((size_t)(model->desc.network.layers * hidden), sizeof *c);
  float *y = calloc((size_t)hidden, sizeof *y), *logits = calloc((size_t)symbols, sizeof *logits);
  assert_true(workspace && output_workspace && h && c && y && logits);
  double loss = 0;
  for (int64_t i = 0; i + 1 < count; ++i) {
    gk_rnn_step_args step = GK_RNN_STEP_ARGS_INIT;
    step.batch = 1;
    step.tokens = &tokens[i];
    step.parameters = model->parameters;
    step.packed = model->packed_rnn;
    step.h = h;
    step.c = gk_cell_has_memory(model->desc.network.cell) ? c : NULL;
    step.y = y;
    step.workspace = workspace;
    expect_ok(gk_rnn_step(model->rnn, &step));
    expect_ok(gk_output_forward(model->output, 1, y, model->packed_output, logits, output_workspace));
    double sum = 0;
    for (int64_t k = 0; k < symbols; ++k)
      sum += exp((double)logits[k]);
    loss += log(sum) - (double)logits[tokens[i + 1]];
  }
  free(workspace);
  free(output_workspace);
  free(h);
  free(c);
  free(y);
  free(logits);
  return loss / (double)(count - 1);
}

static void test_evaluation_is_the_loss_of_single_steps(void **state) {
  (void)state;
  const gk_text text = make_text();
  for (int cell = 0; cell < gk_cell_count(); ++cell) {
    const gk_language_model_desc desc = small_model((gk_cell)cell);
    const gk_training_desc training = small_training();
    gk_language_trainer *trainer = create(&desc, &training);
    run_steps(trainer, 60);
    const gk_language_model *model = gk_language_trainer_model(trainer);
    int32_t *tokens;
    int64_t count;
    expect_ok(gk_vocabulary_encode(&model->vocabulary, &text, "text", &tokens, &count));
    static const int64_t lengths[] = {2, 3, 65, 66, 2049, 4095}; /* one stream each */
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; ++i) {
      const gk_text part = {text.data, (size_t)lengths[i]};
      gk_language_loss loss;
      expect_ok(gk_language_model_evaluate(model, &part, &loss));
      assert_int_equal(loss.characters, lengths[i] - 1);
      const double expected = loss_by_steps(model, tokens, lengths[i]);
      if (!(fabs(loss.nats - expected) <= 1e-6 * expected))
        fail_msg("%s, %" PRId64 " characters: %.9g, by steps %.9g", gk_cell_name((gk_cell)cell), lengths[i],
                 loss.nats, expected);
    }
    gk_language_loss loss; /* two streams */
    expect_ok(gk_language_model_evaluate(model, &text, &loss));
    assert_int_equal(loss.characters, count - 1);
    assert_true(fabs(loss.nats - loss_by_steps(model, tokens, count)) < 0.01);
    gk_free(tokens);
    gk_language_trainer_destroy(trainer);
  }
}

static void test_evaluation_refuses(void **state) {
  (void)state;
  const gk_language_model_desc desc = small_model(GK_CELL_GRU);
  const gk_training_desc training = small_training();
  gk_language_trainer *trainer = create(&desc, &training);
  const gk_language_model *model = gk_language_trainer_model(trainer);
  const gk_text one = {"t", 1}, unknown = {"the #", 5}, missing = {NULL, 3};
  gk_language_loss loss;
  assert_int_equal(gk_language_model_evaluate(model, &one, &loss), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_language_model_evaluate(model, &unknown, &loss), GK_ERROR_FORMAT);
  assert_non_null(strstr(gk_last_error(), "'#' at byte 4"));
  assert_int_equal(gk_language_model_evaluate(model, &missing, &loss), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_language_model_evaluate(NULL, &one, &loss), GK_ERROR_ARGUMENT);
  gk_language_trainer_destroy(trainer);
}

enum { SAMPLE = 200 };

static void sample(const gk_language_model *model, float temperature, int64_t top_k, uint64_t seed,
                   const char *prompt, char text[SAMPLE + 1]) {
  gk_sampler_desc desc = GK_SAMPLER_DESC_INIT;
  desc.temperature = temperature;
  desc.top_k = top_k;
  desc.seed = seed;
  const gk_text start = {prompt, strlen(prompt)};
  gk_sampler *sampler;
  expect_ok(gk_sampler_create(model, &desc, &sampler));
  expect_ok(gk_sampler_prompt(sampler, &start));
  for (int i = 0; i < SAMPLE; ++i) {
    int count;
    char bytes[4];
    expect_ok(gk_sampler_next(sampler, bytes, &count));
    assert_int_equal(count, 1);
    text[i] = bytes[0];
  }
  text[SAMPLE] = '\0';
  gk_sampler_destroy(sampler);
}

static void test_sampling(void **state) {
  (void)state;
  const char *path = temporary_path("sample.safetensors");
  gk_language_model_desc desc = small_model(GK_CELL_LSTM);
  gk_training_desc training = small_training();
  desc.network.hidden_size = 48;
  training.steps = 200;
  training.clip_norm = 5;
  gk_language_trainer *trainer = create(&desc, &training);
  run_steps(trainer, 200);
  expect_ok(gk_language_model_save(gk_language_trainer_model(trainer), path));
  const gk_language_model *model = gk_language_trainer_model(trainer);
  char a[SAMPLE + 1], b[SAMPLE + 1];
  sample(model, 1, 0, 5, "the ", a);
  for (int isa = 1; isa <= gk_isa_count(); ++isa)
    for (int threads = 1; threads <= 3 && gk_isa_usable((gk_isa)isa); ++threads) {
      gk_language_model_desc plan = GK_LANGUAGE_MODEL_DESC_INIT;
      plan.network.isa = (gk_isa)isa;
      plan.network.threads = threads;
      gk_language_model *loaded;
      expect_ok(gk_language_model_load(path, &plan, &loaded));
      sample(loaded, 1, 0, 5, "the ", b);
      assert_string_equal(a, b);
      gk_language_model_destroy(loaded);
    }
  sample(model, 1, 0, 6, "the ", b);
  assert_string_not_equal(a, b);
  sample(model, 0.5f, 1, 5, "a", a);
  sample(model, 0, 0, 99, "a", b);
  assert_string_equal(a, b); /* the likeliest, whatever the seed */
  sample(model, 1e-6f, 0, 1, "a", b);
  assert_string_equal(a, b);
  sample(model, 1, 0, 3, "", a);
  sample(model, 1, 0, 3, "\n", b);
  assert_string_equal(a, b); /* without a prompt as after a line feed */
  assert_non_null(strstr(a, "the ") ? a : strstr(a, "cell "));
  gk_language_trainer_destroy(trainer);
}

static void test_sampling_refuses(void **state) {
  (void)state;
  const gk_language_model_desc model = small_model(GK_CELL_GRU);
  const gk_training_desc training = small_training();
  gk_language_trainer *trainer = create(&model, &training);
  gk_sampler_desc desc = GK_SAMPLER_DESC_INIT;
  gk_sampler *sampler;
  desc.temperature = -1;
  assert_int_equal(gk_sampler_create(gk_language_trainer_model(trainer), &desc, &sampler), GK_ERROR_ARGUMENT);
  desc.temperature = NAN;
  assert_int_equal(gk_sampler_create(gk_language_trainer_model(trainer), &desc, &sampler), GK_ERROR_ARGUMENT);
  desc.temperature = 1;
  desc.top_k = -1;
  assert_int_equal(gk_sampler_create(gk_language_trainer_model(trainer), &desc, &sampler), GK_ERROR_ARGUMENT);
  desc.top_k = 1000; /* more than there are: all */
  expect_ok(gk_sampler_create(gk_language_trainer_model(trainer), &desc, &sampler));
  const gk_text unknown = {"the\tcell", 8};
  assert_int_equal(gk_sampler_prompt(sampler, &unknown), GK_ERROR_FORMAT);
  assert_non_null(strstr(gk_last_error(), "prompt: the byte 0x09 at byte 3"));
  gk_sampler_destroy(sampler);
  gk_language_trainer_destroy(trainer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_token_is_a_target_once),
      cmocka_unit_test(test_streams_go_on),
      cmocka_unit_test(test_bad_utf8),
      cmocka_unit_test(test_symbols),
      cmocka_unit_test(test_learning_rate),
      cmocka_unit_test(test_loss_falls),
      cmocka_unit_test(test_epoch_covers_the_text),
      cmocka_unit_test(test_state_is_carried),
      cmocka_unit_test(test_same_weights_everywhere),
      cmocka_unit_test(test_seed_decides),
      cmocka_unit_test(test_operations),
      cmocka_unit_test(test_not_finite_stops),
      cmocka_unit_test(test_refused_descriptions),
      cmocka_unit_test(test_resume_is_unbroken),
      cmocka_unit_test(test_resume_refuses),
      cmocka_unit_test(test_names_and_shapes_are_pytorchs),
      cmocka_unit_test(test_load_is_what_was_saved),
      cmocka_unit_test(test_bad_descriptions),
      cmocka_unit_test(test_foreign_files),
      cmocka_unit_test(test_evaluation_is_the_loss_of_single_steps),
      cmocka_unit_test(test_evaluation_refuses),
      cmocka_unit_test(test_sampling),
      cmocka_unit_test(test_sampling_refuses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
