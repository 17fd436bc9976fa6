/* SPDX-License-Identifier: Apache-2.0
 *
 * No allocation may be taken for granted: for every k, the k-th allocation of a call fails; the call is an
 * error, nothing is leaked, no file is harmed, and the same call then succeeds. Where files are read
 * jansson's allocations are counted but do not fail: its parser (2.14) writes past a buffer that it could not
 * enlarge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include <jansson.h>

#include "include/gatekern-train.h"
#include "tests/own_allocator.h"
#include "tests/temporary_folder.h"

/* Of the one thread that these tests have. `until_failure` counts down to 0, which fails; below: never. */
static volatile long until_failure = -1, live; /* the compiler may think that malloc does not touch them */

#if OWN_ALLOCATOR
/* Visible to shared libraries, jansson's among them. */
#define EXPORTED __attribute__((visibility("default")))

static bool fails(void) {
  if (until_failure < 0 || until_failure-- > 0)
    return false;
  errno = ENOMEM;
  return true;
}

static void *count(void *memory) {
  live += memory != NULL;
  return memory;
}

EXPORTED void *malloc(size_t size) {
  return fails() ? NULL : count(__libc_malloc(size));
}

EXPORTED void *calloc(size_t elements, size_t size) {
  return fails() ? NULL : count(__libc_calloc(elements, size));
}

EXPORTED void *realloc(void *old, size_t size) {
  if (fails())
    return NULL;
  void *memory = __libc_realloc(old, size);
  live += memory && !old;
  return memory;
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size) {
  return fails() ? NULL : count(__libc_memalign(alignment, size));
}

EXPORTED int posix_memalign(void **memory, size_t alignment, size_t size) {
  *memory = aligned_alloc(alignment, size);
  return *memory ? 0 : ENOMEM;
}

EXPORTED void free(void *memory) {
  live -= memory != NULL;
  __libc_free(memory);
}

static void *allocate_for_jansson(size_t size) {
  return count(__libc_malloc(size));
}
#endif

/* ---- The calls ---- */

static gk_text text;
static char model_path[256], state_path[256], save_path[256];
static gk_language_trainer *trainer;
static gk_language_model *model;
static gk_rnn *network; /* with a projection: a product is formed for each of its radii */
static float parameters[1024];

static gk_language_model_desc model_desc(void) {
  gk_language_model_desc desc = GK_LANGUAGE_MODEL_DESC_INIT;
  desc.network.hidden_size = 9;
  desc.network.input_size = 5;
  desc.network.layers = 2;
  desc.network.threads = 1;
  return desc;
}

static gk_status create(void) {
  const gk_language_model_desc desc = model_desc();
  gk_training_desc training = GK_TRAINING_DESC_INIT;
  gk_language_trainer *created;
  training.batch = 4;
  training.time = 8;
  const gk_status status = gk_language_trainer_create(&desc, &training, &text, NULL, &created);
  gk_language_trainer_destroy(created);
  return status;
}

static gk_status size(void) {
  const gk_language_model_desc desc = model_desc();
  gk_training_desc training = GK_TRAINING_DESC_INIT;
  gk_training_size found;
  training.batch = 4;
  training.time = 8;
  return gk_language_trainer_size(&desc, &training, &text, NULL, &found);
}

static gk_status create_with_validation(void) {
  const gk_language_model_desc desc = model_desc();
  gk_training_desc training = GK_TRAINING_DESC_INIT;
  gk_language_trainer *created;
  training.batch = 4;
  training.time = 8;
  const gk_status status = gk_language_trainer_create(&desc, &training, &text, &text, &created);
  gk_language_trainer_destroy(created);
  return status;
}

static gk_status step(void) {
  gk_training_step report;
  return gk_language_trainer_step(trainer, &report);
}

static gk_status validate(void) {
  gk_language_loss loss;
  return gk_language_trainer_validate(trainer, &loss, NULL);
}

static gk_status save(void) {
  return gk_language_trainer_save(trainer, save_path);
}

static gk_status load(void) {
  const gk_language_model_desc plan = model_desc();
  gk_language_model *loaded;
  const gk_status status = gk_language_model_load(model_path, &plan, &loaded);
  gk_language_model_destroy(loaded);
  return status;
}

static gk_status resume(void) {
  const gk_language_model_desc plan = model_desc();
  gk_language_trainer *resumed;
  const gk_status status = gk_language_trainer_resume(state_path, &plan, &text, NULL, &resumed);
  gk_language_trainer_destroy(resumed);
  return status;
}

static gk_status evaluate(void) {
  gk_language_loss loss;
  return gk_language_model_evaluate(model, &text, &loss);
}

static gk_status generate(void) {
  const gk_sampler_desc desc = GK_SAMPLER_DESC_INIT;
  gk_sampler *sampler;
  char bytes[4];
  int count_of_bytes;
  gk_status status = gk_sampler_create(model, &desc, &sampler);
  if (status == GK_OK)
    status = gk_sampler_prompt(sampler, &text);
  for (int i = 0; i < 3 && status == GK_OK; ++i)
    status = gk_sampler_next(sampler, bytes, &count_of_bytes);
  gk_sampler_destroy(sampler);
  return status;
}

/* What a call that fails leaves in its results: what they held. */
enum { UNTOUCHED = -7, LAYERS = 2, GATES = 4, TIME = 3 };

static void expect_untouched(gk_status status, const double *results, int number) {
  for (int i = 0; i < number; ++i)
    if ((results[i] == UNTOUCHED) != (status != GK_OK))
      fail_msg("%s, and result %d of %d is %g", gk_status_name(status), i, number, results[i]);
}

static gk_status gradient_flow(void) {
  enum { NORMS = LAYERS * TIME, RADII = LAYERS * GATES };
  double results[NORMS + RADII];
  for (int i = 0; i < NORMS + RADII; ++i)
    results[i] = UNTOUCHED;
  const gk_status status = gk_language_model_gradient_flow(model, &text, TIME, 2, results, results + NORMS);
  expect_untouched(status, results, NORMS + RADII);
  return status;
}

/* The matrices are orthogonal. */
static gk_status initialise(void) {
  const float untouched = UNTOUCHED;
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.init = GK_INIT_ORTHOGONAL;
  parameters[0] = untouched;
  const gk_status status = gk_rnn_init(network, &init, parameters);
  if ((parameters[0] == untouched) != (status != GK_OK))
    fail_msg("%s, and the first parameter is %g", gk_status_name(status), (double)parameters[0]);
  return status;
}

static gk_status spectral_radii(void) {
  double radii[GATES];
  for (int i = 0; i < GATES; ++i)
    radii[i] = UNTOUCHED;
  const gk_status status = gk_rnn_spectral_radii(network, parameters, 0, 0, radii);
  expect_untouched(status, radii, GATES);
  return status;
}

static gk_status can_save(void) {
  return gk_safetensors_can_save(model_path);
}

static const struct {
  const char *name;
  gk_status (*call)(void);
  long fewest; /* allocations that it certainly makes */
  bool writes; /* JSON, and reads none */
} calls[] = {
    {"gk_language_trainer_create", create, 15, false},
    {"gk_language_trainer_size", size, 5, false},
    {"gk_language_trainer_create with a validation text", create_with_validation, 15, false},
    {"gk_language_trainer_step", step, 0, false},
    {"gk_language_trainer_validate", validate, 5, false},
    {"gk_language_trainer_save", save, 150, true},
    {"gk_language_trainer_resume", resume, 25, false},
    {"gk_language_model_load", load, 15, false},
    {"gk_language_model_evaluate", evaluate, 5, false},
    {"gk_sampler_create, _prompt, _next", generate, 5, false},
    {"gk_language_model_gradient_flow", gradient_flow, 15, false},
    {"gk_rnn_init", initialise, 1, false},
    {"gk_rnn_spectral_radii", spectral_radii, 5, false},
    {"gk_safetensors_can_save", can_save, 5, false},
};

static void expect_unharmed(const char *name, long k, const char *before, size_t before_bytes) {
  size_t bytes;
  char *now = read_file(save_path, &bytes);
  if (bytes != before_bytes || memcmp(before, now, bytes) != 0)
    fail_msg("%s, allocation %ld fails: the saved file changed", name, k);
  free(now);
}

static void an_allocation_that_fails_harms_nothing(void **state) {
  (void)state;
  if (!OWN_ALLOCATOR)
    skip(); /* a sanitizer has the allocator */
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; ++i) {
    size_t bytes;
    assert_int_equal(calls[i].call(), GK_OK); /* what is made once for the process */
    assert_int_equal(save(), GK_OK);
    char *before = read_file(save_path, &bytes);
    const int files = count_files(temporary_folder());
#if OWN_ALLOCATOR
    json_set_alloc_funcs(calls[i].writes ? malloc : allocate_for_jansson, free);
#endif
    long k = 0;
    for (bool failed = true; failed; ++k) {
      const long live_before = live;
      until_failure = k;
      const gk_status status = calls[i].call();
      failed = until_failure < 0;
      until_failure = -1;
      if (failed == (status == GK_OK) || live != live_before ||
          (calls[i].writes && failed && status != GK_ERROR_MEMORY))
        fail_msg("%s, allocation %ld %s: %s (\"%s\"), %ld allocations more than before", calls[i].name, k,
                 failed ? "fails" : "is not made", gk_status_name(status), gk_last_error(),
                 live - live_before);
      if (calls[i].call != step || status != GK_OK)
        expect_unharmed(calls[i].name, k, before, bytes);
      assert_int_equal(count_files(temporary_folder()), files);
    }
    if (k <= calls[i].fewest)
      fail_msg("%s: only %ld allocations seen", calls[i].name, k - 1);
    free(before);
  }
}

static int set_up(void **state) {
  (void)state;
  static char data[400];
  for (int i = 0; i < 400; ++i)
    data[i] = (char)('a' + i * i % 11);
  text = (gk_text){data, sizeof data};
  snprintf(model_path, sizeof model_path, "%s", temporary_path("model"));
  snprintf(state_path, sizeof state_path, "%s", temporary_path("state"));
  snprintf(save_path, sizeof save_path, "%s", temporary_path("saved"));
  const gk_language_model_desc desc = model_desc();
  gk_training_desc training = GK_TRAINING_DESC_INIT;
  training.batch = 4;
  training.time = 8;
  assert_int_equal(gk_language_trainer_create(&desc, &training, &text, NULL, &trainer), GK_OK);
  assert_int_equal(step(), GK_OK);
  assert_int_equal(gk_language_model_save(gk_language_trainer_model(trainer), model_path), GK_OK);
  assert_int_equal(gk_language_trainer_save(trainer, state_path), GK_OK);
  assert_int_equal(gk_language_model_load(model_path, &desc, &model), GK_OK);
  gk_rnn_desc projected = GK_RNN_DESC_INIT;
  projected.input_size = projected.hidden_size = 7;
  projected.projection_size = 3;
  assert_int_equal(gk_rnn_create(&projected, &network), GK_OK);
  assert_true(gk_rnn_parameter_count(network) <= 1024);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  gk_rnn_destroy(network);
  gk_language_model_destroy(model);
  gk_language_trainer_destroy(trainer);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_allocation_that_fails_harms_nothing),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
