/* SPDX-License-Identifier: Apache-2.0
 *
 * Language models of every structure and regularisation that a network can have: the same weights and losses
 * after a resume as without, everywhere; evaluated as they are used, without masks; files, also of earlier
 * versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "include/gatekern-train.h"
#include "src/tasks/language_trainer.h"
#include "src/train/checkpoint.h"
#include "tests/cell_variants.h"
#include "tests/temporary_folder.h"

/* ---- Networks ---- */

static const int64_t unlike[] = {19, 11, 14};

static const struct network {
  const char *name;
  gk_cell cell;
  const char *options; /* for gk_rnn_options_set; "": none */
  bool unlike, tied;
  int64_t backward_time;
} networks[] = {
    {"projection", GK_CELL_LSTM, "projection-size=7", false, false, 0},
    {"projection, tied", GK_CELL_LSTM, "projection-size=7", false, true, 0},
    {"unlike layers", GK_CELL_GRU, "", true, false, 0},
    {"unlike layers, tied, k2", GK_CELL_LSTM, "", true, true, 30},
    {"unlike layers, projection, trained states, k2", GK_CELL_LSTM, "projection-size=5 trained-states=on",
     true, false, 20},
    {"trained states", GK_CELL_GRU, "trained-states=on", false, false, 0},
    {"no recurrence", GK_CELL_LSTM, "recurrence=none", false, false, 0},
    {"zoneout", GK_CELL_LSTM, "zoneout-h=0.1 zoneout-c=0.3", false, false, 0},
    {"zoneout of a gru, k2", GK_CELL_GRU, "zoneout-h=0.2", false, false, 30},
    {"dropout", GK_CELL_MGU, "dropout=0.3", false, false, 0},
    {"input dropout", GK_CELL_LSTM, "input-dropout=0.2", false, false, 0},
    {"recurrent dropout", GK_CELL_GRU, "recurrent-dropout=0.2", false, false, 0},
    {"variational dropout", GK_CELL_LSTM,
     "dropout=0.2 input-dropout=0.1 recurrent-dropout=0.1 dropout-masks=sequence", false, false, 0},
    {"weight dropout", GK_CELL_LSTM, "weight-dropout=0.4", false, false, 0},
    {"weight dropout, k2", GK_CELL_GRU, "weight-dropout=0.2", false, false, 30},
    {"all of it", GK_CELL_LSTM,
     "projection-size=6 trained-states=on dropout=0.1 input-dropout=0.1 recurrent-dropout=0.1 "
     "dropout-masks=sequence weight-dropout=0.2 zoneout-h=0.1 zoneout-c=0.2 layer-norm=on peephole=on",
     true, true, 30},
};
enum { NETWORKS = sizeof networks / sizeof *networks, STEPS = 40, CUT = 17 };

static gk_text make_text(void) {
  static const char *const words[] = {"the ", "cell ", "keeps ", "a ", "state ", "and ", "gates ", "it.\n"};
  static char text[3200];
  size_t used = 0;
  for (uint64_t i = 0; used < 3000; ++i)
    used += (size_t)snprintf(text + used, sizeof text - used, "%s", words[(int)(8 * gk_uniform(7, 1, i))]);
  return (gk_text){text, used};
}

static void expect_ok(gk_status status) {
  if (status != GK_OK)
    fail_msg("%s: %s", gk_status_name(status), gk_last_error());
}

static gk_language_model_desc describe(const struct network *network) {
  gk_language_model_desc desc = GK_LANGUAGE_MODEL_DESC_INIT;
  gk_rnn_desc *rnn = &desc.network;
  rnn->cell = network->cell;
  rnn->hidden_size = 13;
  rnn->layers = network->unlike ? 3 : 2;
  rnn->hidden_sizes = network->unlike ? unlike : NULL;
  expect_ok(gk_rnn_options_set(rnn, network->options));
  const int64_t last = network->unlike ? unlike[2] : 13;
  rnn->input_size = !network->tied ? 9 : rnn->projection_size ? rnn->projection_size : last;
  desc.tied = network->tied;
  rnn->threads = 1;
  return desc;
}

static gk_language_trainer *create(const struct network *network, gk_isa isa) {
  const gk_text text = make_text();
  gk_language_model_desc model = describe(network);
  gk_training_desc training = GK_TRAINING_DESC_INIT;
  gk_language_trainer *trainer;
  model.network.isa = isa;
  training.batch = 7;
  training.time = 13;
  training.steps = STEPS;
  training.learning_rate = 0.01;
  training.backward_time = network->backward_time;
  training.seed = 5;
  const gk_status status = gk_language_trainer_create(&model, &training, &text, NULL, &trainer);
  if (status != GK_OK)
    fail_msg("%s: %s", network->name, gk_last_error());
  return trainer;
}

/* The losses of so many steps, and of a validation after every fourth. */
static void run_steps(gk_language_trainer *trainer, int count, double *losses) {
  for (int i = 0; i < count; ++i) {
    gk_training_step report;
    gk_language_loss loss = {0};
    expect_ok(gk_language_trainer_step(trainer, &report));
    if (report.step % 4 == 0)
      expect_ok(gk_language_trainer_validate(trainer, &loss, NULL));
    losses[2 * i] = report.loss;
    losses[2 * i + 1] = loss.nats;
  }
}

static void expect_same_model(const gk_language_model *a, const gk_language_model *b, const char *name) {
  const int64_t count = gk_language_model_parameter_count(a);
  assert_int_equal(gk_language_model_parameter_count(b), count);
  if (memcmp(gk_language_model_parameters(a), gk_language_model_parameters(b), (size_t)count * sizeof(float)))
    fail_msg("%s: other weights", name);
}

/* ---- Training ---- */

static void every_network_resumes_exactly_elsewhere(void **state) {
  (void)state;
  const gk_text text = make_text();
  char path[4096];
  snprintf(path, sizeof path, "%s", temporary_path("state"));
  for (int i = 0; i < NETWORKS; ++i) {
    double unbroken[2 * STEPS], after[2 * STEPS];
    gk_language_trainer *whole = create(&networks[i], GK_ISA_SCALAR), *resumed = NULL;
    run_steps(whole, CUT, unbroken);
    expect_ok(gk_language_trainer_save(whole, path));
    run_steps(whole, STEPS - CUT, unbroken);
    gk_language_model_desc plan = GK_LANGUAGE_MODEL_DESC_INIT; /* best instruction set, other threads */
    plan.network.threads = 3;
    expect_ok(gk_language_trainer_resume(path, &plan, &text, NULL, &resumed));
    run_steps(resumed, STEPS - CUT, after);
    if (memcmp(unbroken, after, 2 * (STEPS - CUT) * sizeof(double)))
      fail_msg("%s: other losses after a resume", networks[i].name);
    expect_same_model(gk_language_trainer_model(whole), gk_language_trainer_model(resumed), networks[i].name);
    gk_language_trainer_destroy(resumed);
    gk_language_trainer_destroy(whole);
  }
}

static void every_network_learns(void **state) {
  (void)state;
  for (int i = 0; i < NETWORKS; ++i) {
    double losses[2 * STEPS];
    gk_language_trainer *trainer = create(&networks[i], GK_ISA_AUTO);
    run_steps(trainer, STEPS, losses);
    if (!(losses[2 * STEPS - 1] < 0.92 * losses[0]))
      fail_msg("%s: the loss went from %g to %g", networks[i].name, losses[0], losses[2 * STEPS - 1]);
    gk_language_trainer_destroy(trainer);
  }
}

/* Values of the trained states' gradient that are not 0. */
static int64_t states_moved(const gk_language_trainer *trainer) {
  const gk_rnn *rnn = gk_language_trainer_model(trainer)->rnn;
  int64_t moved = 0;
  for (int i = 0; i < gk_rnn_tensor_count(rnn); ++i) {
    gk_tensor tensor;
    expect_ok(gk_rnn_tensor(rnn, i, &tensor));
    if (strncmp(tensor.name, "h0_", 3) != 0 && strncmp(tensor.name, "c0_", 3) != 0)
      continue;
    for (int64_t j = 0; j < tensor.count; ++j)
      moved += trainer->gradients[tensor.offset + j] != 0;
  }
  return moved;
}

/* By the steps that reach back to the beginning of the text: one without k2, three of 13 with k2 = 30. */
static void initial_states_are_trained(void **state) {
  (void)state;
  for (int k2 = 0; k2 < 2; ++k2) {
    const struct network network = {"trained", GK_CELL_LSTM, "trained-states=on", true, false, k2 ? 30 : 0};
    gk_language_trainer *trainer = create(&network, GK_ISA_AUTO);
    for (int step = 1; step <= 5; ++step) {
      double losses[2];
      run_steps(trainer, 1, losses);
      const int64_t moved = states_moved(trainer);
      assert_true(step <= (k2 ? 2 : 1) ? moved == 2 * (19 + 11 + 14) : step > 3 ? moved == 0 : true);
    }
    gk_language_trainer_destroy(trainer);
  }
}

/* ---- Use ---- */

/* The loss of a text by single steps of batch 1, without a reserve, from the model's initial states. */
static double loss_by_steps(const gk_language_model *model, const int32_t *tokens, int64_t count) {
  const gk_rnn *rnn = model->rnn;
  const int64_t symbols = model->vocabulary.count, width = gk_rnn_output_size(rnn);
  gk_rnn_memory memory;
  size_t bytes;
  expect_ok(gk_rnn_memory_needed(rnn, 1, 1, &memory));
  expect_ok(gk_output_workspace_bytes(model->output, 1, &bytes));
  void *workspace = malloc(memory.inference_workspace_bytes + 1), *output_workspace = malloc(bytes + 1);
  float *h = calloc((size_t)gk_rnn_hidden_values(rnn), sizeof *h);
  float *c = calloc((size_t)gk_rnn_cell_values(rnn) + 1, sizeof *c);
  float *y = calloc((size_t)width, sizeof *y), *logits = calloc((size_t)symbols, sizeof *logits);
  assert_true(workspace && output_workspace && h && c && y && logits);
  int64_t h_used = 0, c_used = 0;
  for (int i = 0; i < gk_rnn_tensor_count(rnn); ++i) { /* h0_l0, c0_l0, h0_l1, ... where they are trained */
    gk_tensor tensor;
    expect_ok(gk_rnn_tensor(rnn, i, &tensor));
    const bool hidden = strncmp(tensor.name, "h0_", 3) == 0;
    if (!hidden && strncmp(tensor.name, "c0_", 3) != 0)
      continue;
    memcpy(hidden ? h + h_used : c + c_used, model->parameters + tensor.offset,
           (size_t)tensor.count * sizeof(float));
    *(hidden ? &h_used : &c_used) += tensor.count;
  }
  double loss = 0;
  for (int64_t i = 0; i + 1 < count; ++i) {
    gk_rnn_step_args step = GK_RNN_STEP_ARGS_INIT;
    step.batch = 1;
    step.tokens = &tokens[i];
    step.parameters = model->parameters;
    step.packed = model->packed_rnn;
    step.h = h;
    step.c = gk_rnn_cell_values(rnn) ? c : NULL;
    step.y = y;
    step.workspace = workspace;
    expect_ok(gk_rnn_step(rnn, &step));
    expect_ok(gk_output_forward(model->output, 1, y, model->packed_output, logits, output_workspace));
    double sum = 0;
    for (int64_t k = 0; k < symbols; ++k)
      sum += exp((double)logits[k]);
    loss += log(sum) - (double)logits[tokens[i + 1]];
  }
  void *const all[] = {workspace, output_workspace, h, c, y, logits};
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i)
    free(all[i]);
  return loss / (double)(count - 1);
}

/* Evaluated from the file and by the trainer that has it, both as by single steps of inference: no masks. */
static void every_network_is_evaluated_without_masks(void **state) {
  (void)state;
  gk_text text = make_text();
  text.bytes = 300;
  char path[4096];
  snprintf(path, sizeof path, "%s", temporary_path("model"));
  for (int i = 0; i < NETWORKS; ++i) {
    double losses[2 * STEPS];
    gk_language_trainer *trainer = create(&networks[i], GK_ISA_AUTO);
    run_steps(trainer, 6, losses);
    const gk_language_model *trained = gk_language_trainer_model(trainer);
    gk_language_model *loaded;
    gk_language_loss a, b;
    expect_ok(gk_language_model_save(trained, path));
    expect_ok(gk_language_model_load(path, NULL, &loaded));
    expect_same_model(trained, loaded, networks[i].name);
    expect_ok(gk_language_model_evaluate(trained, &text, &a));
    expect_ok(gk_language_model_evaluate(loaded, &text, &b));
    assert_true(a.nats == b.nats);
    const double wanted = loss_by_steps(loaded, trainer->tokens, (int64_t)text.bytes);
    if (!(fabs(a.nats - wanted) <= 1e-5 * wanted))
      fail_msg("%s: evaluated %.9g, by single steps %.9g", networks[i].name, a.nats, wanted);
    gk_free_running_desc desc = GK_FREE_RUNNING_DESC_INIT;
    gk_free_running_loss run;
    expect_ok(gk_language_model_evaluate_free_running(loaded, &text, &desc, &run, NULL));
    assert_true(fabs(run.forced_nats - wanted) <= 1e-5 * wanted && isfinite(run.free_nats));
    double norms[3 * 20], radii[3 * 4];
    expect_ok(gk_language_model_gradient_flow(loaded, &text, 20, 4, norms, radii));
    for (int j = 0; j < 20 * loaded->desc.network.layers; ++j)
      assert_true(isfinite(norms[j]));
    gk_language_model_destroy(loaded);
    gk_language_trainer_destroy(trainer);
  }
}

/* Some symbols, drawn from the model's own initial states on. */
static void sample(const gk_language_model *model, char text[], size_t bytes) {
  enum { SYMBOLS = 30 };
  gk_sampler_desc desc = GK_SAMPLER_DESC_INIT;
  gk_sampler *sampler;
  char symbol[4];
  size_t end = 0;
  int count;
  expect_ok(gk_sampler_create(model, &desc, &sampler));
  for (int j = 0; j < SYMBOLS; ++j) {
    expect_ok(gk_sampler_next(sampler, symbol, &count));
    for (int b = 0; b < count && end + 1 < bytes; ++b)
      text[end++] = symbol[b];
  }
  text[end] = 0;
  gk_sampler_destroy(sampler);
}

static void a_loaded_network_is_sampled_as_the_trained_one(void **state) {
  (void)state;
  char path[4096], text[2][128];
  snprintf(path, sizeof path, "%s", temporary_path("sampled"));
  for (int i = 0; i < NETWORKS; ++i) {
    double losses[2 * STEPS];
    gk_language_trainer *trainer = create(&networks[i], GK_ISA_AUTO);
    run_steps(trainer, STEPS, losses);
    const gk_language_model *trained = gk_language_trainer_model(trainer);
    gk_language_model *loaded;
    expect_ok(gk_language_model_save(trained, path));
    expect_ok(gk_language_model_load(path, NULL, &loaded));
    sample(trained, text[0], sizeof text[0]);
    sample(loaded, text[1], sizeof text[1]);
    if (!*text[0] || strcmp(text[0], text[1]) != 0)
      fail_msg("%s: \"%s\" and \"%s\"", networks[i].name, text[0], text[1]);
    gk_language_model_destroy(loaded);
    gk_language_trainer_destroy(trainer);
  }
}

/* ---- Files ---- */

static void file_keeps_every_option(void **state) {
  (void)state;
  const char *path = temporary_path("options");
  for (int i = 0; i < NETWORKS; ++i) {
    const gk_language_model_desc asked = describe(&networks[i]);
    gk_language_trainer *trainer = create(&networks[i], GK_ISA_AUTO);
    gk_language_model *loaded;
    expect_ok(gk_language_model_save(gk_language_trainer_model(trainer), path));
    expect_ok(gk_language_model_load(path, NULL, &loaded));
    const gk_rnn_desc *found = &gk_language_model_description(loaded)->network;
    for (int option = 0; option < gk_rnn_option_count(); ++option) {
      char a[96], b[96];
      const char *name = gk_rnn_option_name(option);
      expect_ok(gk_rnn_option_get(&asked.network, name, a, sizeof a));
      expect_ok(gk_rnn_option_get(found, name, b, sizeof b));
      if (strcmp(a, b) != 0)
        fail_msg("%s: %s was '%s', is '%s'", networks[i].name, name, a, b);
    }
    assert_int_equal(found->layers, asked.network.layers);
    assert_true(!found->hidden_sizes == !networks[i].unlike);
    for (int64_t l = 0; l < found->layers; ++l)
      assert_int_equal(found->hidden_sizes ? found->hidden_sizes[l] : found->hidden_size,
                       networks[i].unlike ? unlike[l] : 13);
    gk_language_model_destroy(loaded);
    gk_language_trainer_destroy(trainer);
  }
}

/* What earlier versions wrote: "dropout" beside the options, the option "clip", "activation" alone. */
static const struct {
  const char *change, *drop;
  float dropout, preactivation_clip;
  gk_activation activation;
} earlier[] = {
    {"{\"dropout\": 0.25, \"options\": {\"clip\": \"1.5\"}}", NULL, 0.25f, 1.5f, GK_ACTIVATION_DEFAULT},
    {"{\"dropout\": 0.0, \"options\": {\"activation\": \"relu\"}}", NULL, 0, 0, GK_ACTIVATION_RELU},
    {"{\"dropout\": 0.5, \"activation\": \"relu\"}", "options", 0.5f, 0, GK_ACTIVATION_RELU},
    {"{\"dropout\": 0.5, \"activation\": \"tanh\"}", "tied", 0.5f, 0, GK_ACTIVATION_DEFAULT},
};

/* Changes of "training", and what the refusal names; NULL: what earlier versions lacked has its default. */
static const struct {
  const char *change, *drop, *says;
} of_training[] = {
    {"{\"batch\": 0}", NULL, "batch is 0"},
    {"{\"batch\": 2.5}", NULL, "batch in the description"},
    {"{\"steps\": -1}", NULL, "steps in the description"},
    {"{\"learning_rate\": 0}", NULL, "learning_rate is 0"},
    {"{\"minimum_learning_rate\": 9}", NULL, "minimum_learning_rate is 9"},
    {"{\"momentum\": 2}", NULL, "momentum is 2"},
    {"{\"weight_decay\": 1e200}", NULL, "weight_decay in the description"},
    {"{\"clip_norm\": \"5\"}", NULL, "clip_norm in the description"},
    {"{\"optimizer\": \"lion\"}", NULL, "optimizer in the description"},
    {"{\"init\": 9}", NULL, "init in the description"},
    {"{\"seed\": 1}", NULL, "seed in the description"},
    {"{\"backward_time\": 1}", NULL, "backward_time is 1"},
    {"{}", "validation", "validation in the description"},
    {"{}", "decay_factor", NULL},
    {"{}", "nesterov", NULL},
};

/* The file with its training changed so. */
static void check_training(const struct gk_checkpoint *checkpoint, const gk_file_tensor *tensors, int i) {
  const char *path = temporary_path("changed");
  const gk_text text = make_text();
  gk_language_trainer *resumed;
  json_t *changed = json_deep_copy(checkpoint->description),
         *change = json_loads(of_training[i].change, 0, NULL);
  json_t *training = json_object_get(changed, "training");
  assert_int_equal(json_object_update(training, change), 0);
  if (of_training[i].drop)
    assert_int_equal(json_object_del(training, of_training[i].drop), 0);
  expect_ok(gk_checkpoint_save(path, changed, gk_safetensors_count(checkpoint->file), tensors));
  const gk_status status = gk_language_trainer_resume(path, NULL, &text, NULL, &resumed);
  const char *says = of_training[i].says;
  if (status != (says ? GK_ERROR_FORMAT : GK_OK) || (says && !strstr(gk_last_error(), says)))
    fail_msg("%s: %s (\"%s\")", of_training[i].change, gk_status_name(status), gk_last_error());
  gk_language_trainer_destroy(resumed);
  json_decref(change);
  json_decref(changed);
}

static void files_of_earlier_versions_are_read(void **state) {
  (void)state;
  const struct network plain = {"plain", GK_CELL_LSTM, "", false, false, 0};
  const char *path = temporary_path("plain"), *old = temporary_path("earlier");
  const gk_text text = make_text();
  gk_language_trainer *trainer = create(&plain, GK_ISA_AUTO);
  double losses[2 * STEPS];
  run_steps(trainer, 3, losses);
  expect_ok(gk_language_trainer_save(trainer, path));
  struct gk_checkpoint checkpoint;
  expect_ok(gk_checkpoint_open(&checkpoint, path));
  const int count = gk_safetensors_count(checkpoint.file);
  gk_file_tensor tensors[32];
  static float data[32][4000];
  for (int i = 0; i < count; ++i) {
    expect_ok(gk_safetensors_tensor(checkpoint.file, i, &tensors[i]));
    expect_ok(gk_checkpoint_read(&checkpoint, tensors[i].name, tensors[i].rank, tensors[i].shape, data[i]));
    tensors[i].data = data[i];
  }
  for (size_t i = 0; i < sizeof earlier / sizeof *earlier; ++i) {
    json_t *changed = json_deep_copy(checkpoint.description),
           *change = json_loads(earlier[i].change, 0, NULL);
    gk_language_trainer *resumed;
    assert_int_equal(json_object_update(changed, change), 0);
    if (earlier[i].drop)
      json_object_del(changed, earlier[i].drop);
    expect_ok(gk_checkpoint_save(old, changed, count, tensors));
    expect_ok(gk_language_trainer_resume(old, NULL, &text, NULL, &resumed));
    const gk_language_model *model = gk_language_trainer_model(resumed);
    const gk_rnn_desc *found = &gk_language_model_description(model)->network;
    assert_true(found->dropout == earlier[i].dropout);
    assert_true(found->options.preactivation_clip == earlier[i].preactivation_clip);
    assert_int_equal(found->activation, earlier[i].activation);
    expect_same_model(gk_language_trainer_model(trainer), model, earlier[i].change);
    gk_language_trainer_destroy(resumed);
    json_decref(change);
    json_decref(changed);
  }
  for (size_t i = 0; i < sizeof of_training / sizeof *of_training; ++i)
    check_training(&checkpoint, tensors, (int)i);
  gk_checkpoint_close(&checkpoint);
  gk_language_trainer_destroy(trainer);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_network_resumes_exactly_elsewhere),
      cmocka_unit_test(every_network_learns),
      cmocka_unit_test(initial_states_are_trained),
      cmocka_unit_test(every_network_is_evaluated_without_masks),
      cmocka_unit_test(a_loaded_network_is_sampled_as_the_trained_one),
      cmocka_unit_test(file_keeps_every_option),
      cmocka_unit_test(files_of_earlier_versions_are_read),
  };
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
