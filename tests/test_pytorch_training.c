/* SPDX-License-Identifier: Apache-2.0
 *
 * Losses, optimizers, learning rates and clipping against PyTorch float64 (pytorch/training_vectors.bin,
 * written by pytorch/make_training_vectors.py), on every tier. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/reference_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;
static FILE *file;

enum kind { LOSS, OPTIMIZER, RATE, CLIP, KINDS };
enum { MOST = 256 };

static double read_double(void) {
  double value;
  if (fread(&value, sizeof value, 1, file) != 1)
    fail_msg("training_vectors.bin ends too early");
  return value;
}

static int read_int(void) {
  return (int)read_double();
}

static void read_doubles(int count, double *values) {
  assert_in_range(count, 1, MOST);
  for (int i = 0; i < count; i++)
    values[i] = read_double();
}

static void check(const char *what, const char *name, int count, const float *got, const double *wanted,
                  double tolerance) {
  int64_t worst;
  const double error = relative_error(count, got, wanted, &worst);
  if (!(error <= tolerance))
    fail_msg("%s %s: value %d is %.9g, PyTorch has %.9g", what, name, (int)worst, (double)got[worst],
             wanted[worst]);
}

/* ---- Losses ---- */

static void check_loss(void) {
  gk_loss_args args = GK_LOSS_ARGS_INIT;
  float x[MOST], values[MOST], weights[MOST], dx[MOST];
  int32_t targets[MOST];
  double wanted[MOST], loss;
  args.kind = (gk_loss_kind)read_int();
  args.rows = read_int();
  args.columns = read_int();
  const uint64_t seed = (uint64_t)read_int();
  args.label_smoothing = (float)read_double();
  args.positive_weight = (float)read_double();
  args.huber_delta = (float)read_double();
  const bool weighted = read_int();
  const double wanted_loss = read_double();
  const int count = (int)(args.rows * args.columns);
  read_doubles(count, wanted);
  random_floats(seed * 16, 3, count, x);
  random_floats(seed * 16 + 1, 0.5f, count, values);
  for (int i = 0; i < count; i++)
    values[i] += 0.5f;
  for (int r = 0; r < args.rows; r++) {
    weights[r] = !weighted ? 1 : r % 4 == 3 ? 0 : 0.5f + (float)(r % 3);
    targets[r] = weights[r] == 0 ? -100 : (int32_t)random_integer(seed * 16 + 2, (uint64_t)r, args.columns);
  }
  args.x = x;
  args.targets = targets;
  args.values = values;
  args.row_weights = weighted ? weights : NULL;
  args.loss = &loss;
  args.dx = dx;
  for (int tier = 0; tier < tier_count; tier++) {
    args.isa = tiers[tier];
    assert_int_equal(gk_loss_gradient(&args), GK_OK);
    if (!(fabs(loss - wanted_loss) <= 1e-6 * fabs(wanted_loss)))
      fail_msg("%s: loss is %.9g, PyTorch has %.9g", gk_loss_name(args.kind), loss, wanted_loss);
    check("loss", gk_loss_name(args.kind), count, dx, wanted, 1e-6);
  }
}

/* ---- Optimizers ---- */

static void check_optimizer(void) {
  gk_optimizer_desc desc;
  float p[MOST], g[MOST], state[2 * MOST];
  double wanted[MOST], reference[MOST], reference_state[2 * MOST] = {0}, gradients[MOST];
  assert_int_equal(gk_optimizer_defaults((gk_optimizer_kind)read_int(), &desc), GK_OK);
  const int count = read_int(), steps = read_int();
  const uint64_t seed = (uint64_t)read_int();
  const double rate = read_double();
  desc.momentum = (float)read_double();
  desc.weight_decay = (float)read_double();
  desc.rate_decay = (float)read_double();
  desc.nesterov = read_int();
  read_doubles(count, wanted);
  random_doubles(seed * 16, 1, count, reference);
  for (int step = 1; step <= steps; step++) {
    random_floats(seed * 16 + (uint64_t)step, 0.1f, count, g);
    for (int i = 0; i < count; i++)
      gradients[i] = (double)g[i];
    gk_reference_optimizer_step(&desc, step, rate, 1, count, reference, gradients, reference_state);
  }
  for (int i = 0; i < count; i++)
    if (!(fabs(reference[i] - wanted[i]) <= 1e-12))
      fail_msg("reference, %s: parameter %d is %.17g, PyTorch has %.17g", gk_optimizer_name(desc.kind), i,
               reference[i], wanted[i]);
  for (int tier = 0; tier < tier_count; tier++) {
    desc.isa = tiers[tier];
    memset(state, 0, sizeof state);
    random_floats(seed * 16, 1, count, p);
    for (int step = 1; step <= steps; step++) {
      random_floats(seed * 16 + (uint64_t)step, 0.1f, count, g);
      assert_int_equal(gk_optimizer_step(&desc, step, rate, 1, count, p, g, state), GK_OK);
    }
    check("optimizer", gk_optimizer_name(desc.kind), count, p, wanted, 1e-6);
  }
}

/* Parts in one go are the parts one by one, whatever the threads. */
static void parts_are_single_steps(void **state) {
  (void)state;
  enum { PARTS = 4, ALL = 3 + 0 + 30001 + 1025 };
  static const int64_t counts[PARTS] = {3, 0, 30001, 1025};
  static float p[2][ALL], g[ALL], s[2][2 * ALL];
  for (int kind = 0; kind < gk_optimizer_count(); kind++)
    for (int threads = 1; threads <= 5; threads += 2) {
      gk_optimizer_desc desc;
      gk_optimizer_part part[PARTS];
      assert_int_equal(gk_optimizer_defaults((gk_optimizer_kind)kind, &desc), GK_OK);
      desc.threads = threads;
      desc.momentum = 0.9f;
      desc.nesterov = kind == GK_OPTIMIZER_SGD;
      memset(s, 0, sizeof s);
      random_floats(1, 1, ALL, p[0]);
      memcpy(p[1], p[0], sizeof p[0]);
      for (int step = 1; step <= 3; step++) {
        random_floats((uint64_t)step, 1, ALL, g);
        for (int64_t i = 0, at = 0; i < PARTS; at += counts[i], i++) {
          part[i] = (gk_optimizer_part){counts[i], p[0] + at, g + at, s[0] + 2 * at, (float)(i + 1)};
          assert_int_equal(gk_optimizer_step(&desc, step, 0.1, (float)(i + 1), counts[i], p[1] + at, g + at,
                                             s[1] + 2 * at),
                           GK_OK);
        }
        assert_int_equal(gk_optimizer_step_parts(&desc, step, 0.1, PARTS, part), GK_OK);
      }
      assert_memory_equal(p[0], p[1], sizeof p[0]);
      assert_memory_equal(s[0], s[1], sizeof s[0]);
    }
}

/* ---- Learning rates ---- */

static void check_rate(void) {
  gk_learning_rate_desc desc = GK_LEARNING_RATE_DESC_INIT;
  gk_learning_rate_state state = {0};
  double wanted[MOST];
  desc.decay = (gk_decay)read_int();
  desc.steps = read_int();
  desc.learning_rate = read_double();
  desc.minimum_learning_rate = read_double();
  desc.warmup = read_int();
  desc.period = read_int();
  desc.factor = read_double();
  desc.patience = read_int();
  desc.threshold = read_double();
  const int every = read_int();
  const uint64_t seed = (uint64_t)read_int();
  read_doubles((int)desc.steps, wanted);
  assert_int_equal(gk_learning_rate_check(&desc), GK_OK);
  for (int step = 1; step <= desc.steps; step++) {
    const double rate = gk_learning_rate(&desc, &state, step);
    if (!(fabs(rate - wanted[step - 1]) <= 1e-7 * desc.learning_rate))
      fail_msg("rate %s, step %d: %.9g, PyTorch has %.9g", gk_decay_name(desc.decay), step, rate,
               wanted[step - 1]);
    if (every && step % every == 0) {
      const int index = step / every - 1;
      const double falling = 3.0 - 0.4 * index;
      gk_learning_rate_measure(
          &desc, &state, (falling > 1 ? falling : 1) + 0.01 * (double)random_value(seed, (uint64_t)index));
    }
  }
}

/* Losses that are no numbers count as ReduceLROnPlateau's do: as not fallen, the first one too. */
static void plateau_recovers_from_losses_that_are_no_numbers(void **state) {
  (void)state;
  static const double losses[] = {NAN, INFINITY, 5, NAN, 4, 4.5};
  static const int64_t bad[] = {1, 2, 0, 1, 0, 1};
  gk_learning_rate_desc desc = GK_LEARNING_RATE_DESC_INIT;
  gk_learning_rate_state plateau = {0};
  desc.decay = GK_DECAY_PLATEAU;
  for (int i = 0; i < 6; i++) {
    gk_learning_rate_measure(&desc, &plateau, losses[i]);
    assert_int_equal(plateau.bad, bad[i]);
  }
  assert_true(plateau.best == 4 && plateau.measured == 6 && plateau.reduced == 0);
}

/* ---- Clipping ---- */

static void check_clip(void) {
  float g[MOST];
  double wanted[MOST], norms[2];
  const bool by_norm = read_int();
  const int count = read_int();
  const float limit = (float)read_double();
  const uint64_t seed = (uint64_t)read_int();
  read_doubles(count, wanted);
  const int64_t counts[2] = {count / 2, count / 2};
  float *const parts[2] = {g, g + count / 2};
  for (int tier = 0; tier < tier_count; tier++) {
    random_floats(seed, 1, count, g);
    for (int i = count / 2; i < count; i++)
      g[i] *= 0.125f;
    assert_int_equal(by_norm ? gk_clip_norms(tiers[tier], 1, 2, parts, counts, (double)limit, norms)
                             : gk_clip_values(tiers[tier], 1, 2, parts, counts, limit),
                     GK_OK);
    check("clip", by_norm ? "norm of a tensor" : "value", count, g, wanted, 1e-6);
  }
}

/* Large arrays, several threads: the bits of one thread. */
static void clipping_does_not_depend_on_threads(void **state) {
  (void)state;
  enum { COUNT = 100003 };
  static float one[COUNT], many[COUNT];
  const int64_t counts[1] = {COUNT};
  double norm[2];
  for (int threads = 2; threads <= 5; threads++) {
    random_floats(3, 1, COUNT, one);
    memcpy(many, one, sizeof one);
    one[7] = many[7] = NAN;
    assert_int_equal(gk_clip_values(GK_ISA_AUTO, 1, 1, (float *const[]){one}, counts, 0.5f), GK_OK);
    assert_int_equal(gk_clip_values(GK_ISA_AUTO, threads, 1, (float *const[]){many}, counts, 0.5f), GK_OK);
    assert_true(isnan(one[7]) && isnan(many[7]));
    one[7] = many[7] = 0;
    assert_int_equal(gk_clip_norms(GK_ISA_AUTO, 1, 1, (float *const[]){one}, counts, 2, &norm[0]), GK_OK);
    assert_int_equal(gk_clip_norms(GK_ISA_AUTO, threads, 1, (float *const[]){many}, counts, 2, &norm[1]),
                     GK_OK);
    assert_memory_equal(one, many, sizeof one);
    assert_true(norm[0] == norm[1] && norm[0] > 2);
  }
}

/* ---- All of the file ---- */

static void losses_optimizers_rates_and_clipping_are_pytorchs(void **state) {
  (void)state;
  static void (*const checks[KINDS])(void) = {check_loss, check_optimizer, check_rate, check_clip};
  int seen[KINDS] = {0};
  file = fopen(GATEKERN_TESTS_DIR "/pytorch/training_vectors.bin", "rb");
  assert_non_null(file);
  for (int kind; (kind = read_int()) >= 0;) {
    assert_in_range(kind, 0, KINDS - 1);
    checks[kind]();
    seen[kind]++;
  }
  assert_int_equal(fgetc(file), EOF);
  fclose(file);
  for (int kind = 0; kind < KINDS; kind++)
    assert_true(seen[kind] > 0);
}

/* ---- Refusals ---- */

/* There is no rate where there is no status to return: NaN, a message, and a state that nobody touched. */
static void rate_of_a_refused_description_is_no_number(void **state) {
  (void)state;
  const gk_learning_rate_desc good = GK_LEARNING_RATE_DESC_INIT;
  gk_learning_rate_desc step = good, plateau = good, other_size = good;
  step.decay = GK_DECAY_STEP;
  step.period = 0;
  plateau.decay = other_size.decay = GK_DECAY_PLATEAU;
  other_size.size = 3;
  gk_learning_rate_state remembered = {.measured = 1, .bad = 2, .reduced = 3, .best = 4};
  const gk_learning_rate_state before = remembered;
  const struct {
    const gk_learning_rate_desc *desc;
    gk_learning_rate_state *state;
    const char *word;
  } refused[] = {{NULL, &remembered, "desc is NULL"},
                 {&step, &remembered, "period is 0"},
                 {&other_size, &remembered, "size is 3"},
                 {&plateau, NULL, "state is NULL"}};
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    gk_fail(GK_ERROR_IO, "-");
    assert_true(isnan(gk_learning_rate(refused[i].desc, refused[i].state, 1)));
    assert_non_null(strstr(gk_last_error(), refused[i].word));
    gk_fail(GK_ERROR_IO, "-");
    gk_learning_rate_measure(refused[i].desc, refused[i].state, 1);
    assert_non_null(strstr(gk_last_error(), refused[i].word));
  }
  assert_memory_equal(&remembered, &before, sizeof before);
  gk_learning_rate_measure(&good, NULL, 1);
  assert_true(gk_learning_rate(&good, NULL, 1) == (double)(float)good.learning_rate);
}

static void wrong_descriptions_and_arguments_are_refused(void **state) {
  (void)state;
  gk_learning_rate_desc good = GK_LEARNING_RATE_DESC_INIT, d;
  assert_int_equal(gk_learning_rate_check(&good), GK_OK);
#define EXPECT(field, value, word)                                                                           \
  d = good;                                                                                                  \
  d.field = value;                                                                                           \
  assert_int_equal(gk_learning_rate_check(&d), GK_ERROR_ARGUMENT);                                           \
  assert_non_null(strstr(gk_last_error(), word))
  EXPECT(size, 3, "size");
  EXPECT(decay, (gk_decay)9, "decay");
  EXPECT(learning_rate, 0, "learning_rate");
  EXPECT(minimum_learning_rate, 1, "minimum_learning_rate");
  EXPECT(steps, -1, "steps");
  EXPECT(warmup, -1, "warmup");
  EXPECT(patience, -1, "patience");
  EXPECT(interval, -1, "interval");
  EXPECT(threshold, 1, "threshold");
  EXPECT(period, -1, "period is -1, must be at least 0"); /* though a constant rate reads neither */
  EXPECT(factor, NAN, "factor");
  EXPECT(factor, INFINITY, "factor");
  good.decay = GK_DECAY_STEP;
  EXPECT(period, 0, "period");
  EXPECT(factor, 0, "factor");
  EXPECT(factor, 1.5, "factor");
#undef EXPECT
  for (int i = 0; i < gk_decay_count(); i++) {
    gk_decay decay;
    assert_int_equal(gk_decay_from_name(gk_decay_name((gk_decay)i), &decay), GK_OK);
    assert_int_equal(decay, i);
  }
  gk_optimizer_desc optimizer = GK_OPTIMIZER_DESC_INIT;
  float values[2] = {1, 1}, *const parts[] = {values};
  int64_t count = 2, floats;
  optimizer.nesterov = true;
  assert_int_equal(gk_optimizer_state_count(&optimizer, 2, &floats), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "nesterov"));
  optimizer.nesterov = false;
  optimizer.rate_decay = -1;
  assert_int_equal(gk_optimizer_state_count(&optimizer, 2, &floats), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_optimizer_defaults((gk_optimizer_kind)9, &optimizer), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_clip_values(GK_ISA_AUTO, 1, 1, parts, &count, -1), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_clip_values(GK_ISA_AUTO, 1, 1, NULL, &count, 1), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_clip_norms(GK_ISA_AUTO, 1, 1, parts, &count, -1, NULL), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_clip_norms(GK_ISA_AUTO, 1, -1, parts, &count, 1, NULL), GK_ERROR_ARGUMENT);
  assert_true(values[0] == 1 && values[1] == 1);
  gk_init init;
  for (int i = 0; i < gk_init_count(); i++) {
    assert_int_equal(gk_init_from_name(gk_init_name((gk_init)i), &init), GK_OK);
    assert_int_equal(init, i);
  }
  assert_int_equal(gk_init_from_name("zeros", &init), GK_ERROR_ARGUMENT);
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(losses_optimizers_rates_and_clipping_are_pytorchs),
      cmocka_unit_test(parts_are_single_steps),
      cmocka_unit_test(plateau_recovers_from_losses_that_are_no_numbers),
      cmocka_unit_test(clipping_does_not_depend_on_threads),
      cmocka_unit_test(rate_of_a_refused_description_is_no_number),
      cmocka_unit_test(wrong_descriptions_and_arguments_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
