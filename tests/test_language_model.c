/* SPDX-License-Identifier: Apache-2.0
 *
 * A trained language model: its files, evaluation against single steps, sampling. */
#include <math.h>

#include "src/tasks/language_model.h"
#include "src/tasks/text_streams.h"
#include "tests/temporary_folder.h"
#include "tests/trainer_fixture.h"

/* ---- Files of models ---- */

static gk_language_model *load(const char *path) {
  gk_language_model *model;
  expect_ok(gk_language_model_load(path, NULL, &model));
  return model;
}

static void names_and_shapes_are_pytorchs(void **state) {
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

/* By value: structs have padding. */
static void assert_same_options(const gk_rnn_desc *a, const gk_rnn_desc *b) {
  for (int i = 0; i < gk_rnn_option_count(); i++) {
    char got[96] = "", wanted[96] = "";
    expect_ok(gk_rnn_option_get(a, gk_rnn_option_name(i), got, sizeof got));
    expect_ok(gk_rnn_option_get(b, gk_rnn_option_name(i), wanted, sizeof wanted));
    assert_string_equal(got, wanted);
  }
}

static void what_is_loaded_is_what_was_saved(void **state) {
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
    assert_same_options(&found->network, &desc.network);
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

static void descriptions_that_do_not_fit_are_refused(void **state) {
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

static void foreign_files_are_no_models(void **state) {
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

/* The last weight of each tensor; the checksum is right. */
static void weights_that_are_not_finite_are_refused(void **state) {
  (void)state;
  static const struct {
    float weight;
    const char *says;
  } weights[] = {{NAN, "] is nan"}, {INFINITY, "] is inf"}, {-INFINITY, "] is -inf"}};
  const char *path = temporary_path("infinite.safetensors");
  const gk_language_model_desc desc = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  gk_language_trainer *trainer = create(&desc, &training);
  const gk_language_model *model = gk_language_trainer_model(trainer);
  gk_tensor tensor;
  for (int i = 0; i < gk_rnn_tensor_count(model->rnn); ++i) {
    expect_ok(gk_rnn_tensor(model->rnn, i, &tensor));
    float *last = &model->parameters[tensor.offset + tensor.count - 1];
    const float kept = *last;
    *last = weights[i % 3].weight;
    expect_ok(gk_language_model_save(model, path));
    *last = kept;
    gk_language_model *loaded;
    assert_int_equal(gk_language_model_load(path, NULL, &loaded), GK_ERROR_FORMAT);
    const char *const says[] = {path, tensor.name, weights[i % 3].says};
    for (int part = 0; part < 3; ++part)
      if (loaded || !strstr(gk_last_error(), says[part]))
        fail_msg("%s[last] = %g: \"%s\"", tensor.name, (double)weights[i % 3].weight, gk_last_error());
  }
  gk_language_trainer_destroy(trainer);
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

static void evaluation_is_the_loss_of_single_steps(void **state) {
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

static void evaluation_refuses_short_and_unknown_texts(void **state) {
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

/* Bytes one by one, code points whole. */
static void unknown_characters_are_left_out(void **state) {
  (void)state;
  static const struct {
    bool utf8;
    const char *text, *kept;
    gk_known_text known;
  } cases[] = {{false, "the #cell", "the cell", {8, 9, 1}},
               {false, "\xE2\x82\xAC the\t", " the", {4, 8, 4}},
               {true, "\xE2\x82\xAC the \xC3\xA4", " the ", {5, 7, 2}},
               {true, "cell", "cell", {4, 4, 0}},
               {false, "##", "", {0, 2, 2}},
               {false, "", "", {0, 0, 0}}};
  const gk_training_desc training = small_training();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    gk_language_model_desc desc = small_model(GK_CELL_GRU);
    desc.utf8 = cases[i].utf8;
    gk_language_trainer *trainer = create(&desc, &training);
    const gk_language_model *model = gk_language_trainer_model(trainer);
    const gk_text text = {cases[i].text, strlen(cases[i].text)};
    char kept[16];
    gk_known_text known, counted;
    expect_ok(gk_language_model_keep_known(model, &text, kept, &known));
    expect_ok(gk_language_model_keep_known(model, &text, NULL, &counted));
    assert_int_equal(known.characters, cases[i].known.characters);
    assert_int_equal(known.unknown, cases[i].known.unknown);
    assert_int_equal(known.bytes, cases[i].known.bytes);
    assert_memory_equal(kept, cases[i].kept, known.bytes);
    assert_memory_equal(&known, &counted, sizeof known);
    const gk_text latin1 = {"caf\xE9", 4}, missing = {NULL, 3};
    assert_int_equal(gk_language_model_keep_known(model, &latin1, kept, &known),
                     desc.utf8 ? GK_ERROR_FORMAT : GK_OK);
    assert_int_equal(gk_language_model_keep_known(model, &missing, kept, &known), GK_ERROR_ARGUMENT);
    assert_int_equal(gk_language_model_keep_known(model, &text, kept, NULL), GK_ERROR_ARGUMENT);
    gk_language_trainer_destroy(trainer);
  }
}

/* A byte is named with the character that people see. */
static void unknown_bytes_are_named(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
  } cases[] = {{"the \xC3\xA4", "text: the byte 0xC3 of '\xC3\xA4' at byte 4"},
               {"\xE2\x82\xAC", "text: the byte 0xE2 of '\xE2\x82\xAC' at byte 0"},
               {"caf\xE9", "text: 'f' at byte 2"},
               {"ca\xE9 the", "text: the byte 0xE9 at byte 2"},
               {"ca\xC2\x85", "text: the byte 0xC2 at byte 2"}}; /* a control character cannot be seen */
  const gk_language_model_desc desc = small_model(GK_CELL_GRU);
  const gk_training_desc training = small_training();
  gk_language_trainer *trainer = create(&desc, &training);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const gk_text text = {cases[i].text, strlen(cases[i].text)};
    gk_language_loss loss;
    assert_int_equal(gk_language_model_evaluate(gk_language_trainer_model(trainer), &text, &loss),
                     GK_ERROR_FORMAT);
    if (strncmp(gk_last_error(), cases[i].says, strlen(cases[i].says)) != 0)
      fail_msg("\"%s\", wanted \"%s\"", gk_last_error(), cases[i].says);
  }
  gk_language_trainer_destroy(trainer);
}

/* Finite weights whose sums are not, for whoever uses the outputs. */
static void outputs_that_are_not_finite_are_refused(void **state) {
  (void)state;
  const gk_language_model_desc desc = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  const gk_text text = make_text();
  const gk_free_running_desc run = GK_FREE_RUNNING_DESC_INIT;
  const gk_sampler_desc drawn = GK_SAMPLER_DESC_INIT;
  const char *path = temporary_path("large.safetensors");
  gk_language_trainer *trainer = create(&desc, &training);
  const gk_language_model *trained = gk_language_trainer_model(trainer);
  for (int64_t i = 0; i < gk_language_model_parameter_count(trained); ++i)
    trained->parameters[i] = 3e38f;
  expect_ok(gk_language_model_save(trained, path));
  gk_language_model *model = load(path);
  gk_language_loss loss;
  gk_free_running_loss free_loss;
  gk_sampler *sampler;
  char bytes[4];
  int count;
  expect_ok(gk_sampler_create(model, &drawn, &sampler));
  const gk_status refused[] = {gk_language_model_evaluate(model, &text, &loss),
                               gk_language_model_evaluate_free_running(model, &text, &run, &free_loss, NULL),
                               gk_sampler_next(sampler, bytes, &count)};
  for (int i = 0; i < 3; ++i)
    assert_int_equal(refused[i], GK_ERROR_FORMAT);
  assert_non_null(strstr(gk_last_error(), "outputs are not finite"));
  gk_sampler_destroy(sampler);
  gk_language_model_destroy(model);
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

static void samples_are_the_same_on_every_tier(void **state) {
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
  for (int k = 0; k < 2; k++) {
    sample(model, k ? 1e-40f : 1e-6f, 0, 1, "a", b); /* 1 / temperature: no float */
    assert_string_equal(a, b);
  }
  sample(model, 1, 0, 3, "", a);
  sample(model, 1, 0, 3, "\n", b);
  assert_string_equal(a, b); /* without a prompt as after a line feed */
  assert_non_null(strstr(a, "the ") ? a : strstr(a, "cell "));
  gk_language_trainer_destroy(trainer);
}

static void what_is_wrong_with_the_plan_or_the_environment_is_not_the_files_fault(void **state) {
  (void)state;
  const char *path = temporary_path("planned.safetensors");
  const gk_language_model_desc desc = small_model(GK_CELL_LSTM);
  const gk_training_desc training = small_training();
  gk_language_trainer *trainer = create(&desc, &training);
  expect_ok(gk_language_model_save(gk_language_trainer_model(trainer), path));
  gk_language_trainer_destroy(trainer);
  gk_language_model *model;
  for (int i = 0; i < 4; ++i) {
    gk_language_model_desc plan = GK_LANGUAGE_MODEL_DESC_INIT;
    static const char *const names[] = {"threads", "math", "schedule", "77"};
    if (i == 0)
      plan.network.threads = INT32_MAX;
    else if (i == 1)
      plan.network.math = (gk_math)77;
    else if (i == 2)
      plan.network.schedule = (gk_schedule)77;
    else
      plan.network.isa = (gk_isa)77;
    assert_int_equal(gk_language_model_load(path, &plan, &model), i < 3 ? GK_ERROR_ARGUMENT : GK_ERROR_ISA);
    assert_null(model);
    if (!strstr(gk_last_error(), names[i]) || strstr(gk_last_error(), path))
      fail_msg("%s: \"%s\"", names[i], gk_last_error());
  }
  const char *own = getenv("GATEKERN_MATH");
  char before[32];
  snprintf(before, sizeof before, "%s", own ? own : "");
  setenv("GATEKERN_MATH", "xx", 1);
  assert_int_equal(gk_language_model_load(path, NULL, &model), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "GATEKERN_MATH is 'xx'"));
  setenv("GATEKERN_MATH", before, 1);
  gk_language_model_destroy(load(path));
}

static void sampling_refuses_wrong_descriptions_and_prompts(void **state) {
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
      cmocka_unit_test(names_and_shapes_are_pytorchs),
      cmocka_unit_test(what_is_loaded_is_what_was_saved),
      cmocka_unit_test(descriptions_that_do_not_fit_are_refused),
      cmocka_unit_test(foreign_files_are_no_models),
      cmocka_unit_test(weights_that_are_not_finite_are_refused),
      cmocka_unit_test(evaluation_is_the_loss_of_single_steps),
      cmocka_unit_test(evaluation_refuses_short_and_unknown_texts),
      cmocka_unit_test(unknown_characters_are_left_out),
      cmocka_unit_test(unknown_bytes_are_named),
      cmocka_unit_test(outputs_that_are_not_finite_are_refused),
      cmocka_unit_test(samples_are_the_same_on_every_tier),
      cmocka_unit_test(what_is_wrong_with_the_plan_or_the_environment_is_not_the_files_fault),
      cmocka_unit_test(sampling_refuses_wrong_descriptions_and_prompts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
