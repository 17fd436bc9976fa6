/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/status.h"
#include "src/tasks/buffer.h"
#include "src/tasks/language_model.h"

#include <math.h>
#include <stdio.h>

static const char task[] = "language model";
static const char *const mode_names[] = {"bytes", "utf8"};

/* ---- Names ---- */

/* The names that a PyTorch module with the attributes embedding, rnn and output gives its parameters. */
static void file_name(const gk_tensor *tensor, bool output, char *name, size_t size) {
  const char *prefix = output ? "output." : strncmp(tensor->name, "embedding.", 10) == 0 ? "" : "rnn.";
  snprintf(name, size, "%s%s", prefix, tensor->name);
}

enum { NAME_SIZE = sizeof(((gk_tensor *)0)->name) + 8 };

static int tensor_count(const gk_language_model *model) {
  return gk_rnn_tensor_count(model->rnn) + gk_output_tensor_count(model->output);
}

/* Tensor number `index` of the model, its name in files, and where it starts in the parameters. */
static gk_status model_tensor(const gk_language_model *model, int index, gk_tensor *tensor,
                              char name[NAME_SIZE]) {
  const int rnn_tensors = gk_rnn_tensor_count(model->rnn);
  const bool output = index >= rnn_tensors;
  const gk_status status = output ? gk_output_tensor(model->output, index - rnn_tensors, tensor)
                                  : gk_rnn_tensor(model->rnn, index, tensor);
  if (status != GK_OK)
    return status;
  if (output)
    tensor->offset += model->rnn_count;
  file_name(tensor, output, name, NAME_SIZE);
  return GK_OK;
}

/* ---- Writing ---- */

/* The options of the network that are set, by their names. An option that cannot be got is a failure: a file
 * without it would be of another network. */
static gk_status describe_options(const gk_rnn_desc *network, json_t **description) {
  json_t *options = json_object();
  gk_status status = options ? GK_OK : gk_fail(GK_ERROR_MEMORY, "no memory for the options");
  for (int i = 0; i < gk_rnn_option_count() && status == GK_OK; ++i) {
    const char *name = gk_rnn_option_name(i);
    char value[96];
    status = gk_rnn_option_get(network, name, value, sizeof value);
    if (status == GK_OK && *value && json_object_set_new(options, name, json_string(value)) != 0)
      status = gk_fail(GK_ERROR_MEMORY, "no memory for the options");
  }
  *description = status == GK_OK ? options : NULL;
  if (status != GK_OK)
    json_decref(options);
  return status;
}

/* A number, or a list where the layers' sizes differ; NULL: out of memory */
static json_t *describe_hidden(const gk_rnn_desc *network) {
  json_t *sizes = network->hidden_sizes ? json_array() : json_integer(network->hidden_size);
  for (int64_t l = 0; sizes && network->hidden_sizes && l < network->layers; ++l)
    if (json_array_append_new(sizes, json_integer(network->hidden_sizes[l])) != 0) {
      json_decref(sizes);
      return NULL;
    }
  return sizes;
}

/* Takes the options; NULL: out of memory */
static json_t *describe_model(const gk_language_model *model, json_t *options, const json_t *training) {
  const gk_language_model_desc *desc = &model->desc;
  const gk_rnn_desc *network = &desc->network;
  json_t *symbols = json_array();
  for (int64_t i = 0; i < model->vocabulary.count; ++i)
    if (json_array_append_new(symbols, json_integer(model->vocabulary.symbols[i])) != 0) {
      json_decref(symbols);
      json_decref(options);
      return NULL;
    }
  json_t *description =
      json_pack("{s:i, s:s, s:s, s:o, s:I, s:o, s:I, s:b, s:s, s:o}", "format", 1, "task", task, "cell",
                gk_cell_name(network->cell), "options", options, "embedding", (json_int_t)network->input_size,
                "hidden", describe_hidden(network), "layers", (json_int_t)network->layers, "tied",
                (int)desc->tied, "mode", mode_names[desc->utf8], "symbols", symbols);
  if (description && training && json_object_set(description, "training", (json_t *)training) != 0) {
    json_decref(description);
    return NULL;
  }
  return description;
}

gk_status gk_language_model_write(const gk_language_model *model, const char *path, const json_t *training,
                                  int extra_count, const gk_file_tensor *extra) {
  const int count = tensor_count(model);
  gk_status status = GK_OK;
  gk_file_tensor *tensors = gk_buffer_array(&status, sizeof *tensors, count + extra_count, 1, 1);
  char(*names)[NAME_SIZE] = gk_buffer_array(&status, sizeof *names, count, 1, 1);
  for (int i = 0; i < count && status == GK_OK; ++i) {
    gk_tensor tensor;
    status = model_tensor(model, i, &tensor, names[i]);
    if (status != GK_OK)
      break;
    tensors[i] = (gk_file_tensor){.name = names[i],
                                  .dtype = GK_DTYPE_F32,
                                  .rank = tensor.rank,
                                  .data = model->parameters + tensor.offset};
    memcpy(tensors[i].shape, tensor.shape, (size_t)tensor.rank * sizeof *tensor.shape);
  }
  json_t *options = NULL;
  if (status == GK_OK)
    status = describe_options(&model->desc.network, &options);
  if (status == GK_OK) {
    for (int i = 0; i < extra_count; ++i)
      tensors[count + i] = extra[i];
    json_t *description = describe_model(model, options, training);
    status = description ? gk_checkpoint_save(path, description, count + extra_count, tensors)
                         : gk_fail(GK_ERROR_MEMORY, "%s: no memory for the description", path);
    json_decref(description);
  }
  gk_free(tensors);
  gk_free(names);
  return status;
}

gk_status gk_language_model_save(const gk_language_model *model, const char *path) {
  const gk_status status = GK_CHECK_POINTERS({"model", model}, {"path", path});
  return status ? status : gk_language_model_write(model, path, NULL, 0, NULL);
}

/* ---- Reading ---- */

static gk_status read_choice(const struct gk_checkpoint *checkpoint, const char *key,
                             const char *const *names, int count, int *choice) {
  const char *name = NULL;
  const gk_status status = gk_checkpoint_text(checkpoint, checkpoint->description, key, &name);
  if (status != GK_OK)
    return status;
  for (int i = 0; i < count; ++i)
    if (strcmp(name, names[i]) == 0) {
      *choice = i;
      return GK_OK;
    }
  return gk_fail(GK_ERROR_FORMAT, "%s: %s is %s, which this version does not know", checkpoint->path, key,
                 name);
}

/* Names of options in files of earlier versions. */
static const char *today(const char *name) {
  return strcmp(name, "clip") == 0 ? "preactivation-clip" : name;
}

/* "options"; older files have "activation" alone, and "dropout" beside it. */
static gk_status read_options(const struct gk_checkpoint *checkpoint, gk_rnn_desc *network) {
  const json_t *description = checkpoint->description;
  json_t *options = json_object_get(description, "options");
  json_t *value;
  const char *name = "activation", *text = NULL;
  gk_status status = GK_OK;
  if (!options) {
    status = gk_checkpoint_text(checkpoint, description, name, &text);
    if (status == GK_OK && strcmp(text, "tanh") != 0)
      status = gk_rnn_option_set(network, name, text);
  } else if (!json_is_object(options)) {
    return gk_fail(GK_ERROR_FORMAT, "%s: options in the description is not an object", checkpoint->path);
  } else {
    json_object_foreach(options, name, value) {
      text = json_string_value(value);
      status = text ? gk_rnn_option_set(network, today(name), text) : GK_ERROR_FORMAT;
      if (status != GK_OK)
        break;
    }
  }
  if (status == GK_ERROR_MEMORY)
    return status;
  if (status != GK_OK)
    return gk_fail(GK_ERROR_FORMAT, "%s: %.40s is %.40s, which this version does not know", checkpoint->path,
                   name, text ? text : "not a string");
  double dropout = (double)network->dropout;
  if (json_object_get(description, "dropout"))
    status = gk_checkpoint_number(checkpoint, description, "dropout", 0, 0.999999, &dropout);
  network->dropout = (float)dropout;
  return status;
}

/* "hidden": a size, or one for each layer; *sizes is then theirs, for gk_free. */
static gk_status read_hidden(const struct gk_checkpoint *checkpoint, gk_rnn_desc *network, int64_t **sizes) {
  const json_t *hidden = json_object_get(checkpoint->description, "hidden");
  if (!json_is_array(hidden))
    return gk_checkpoint_integer(checkpoint, checkpoint->description, "hidden", 1, INT32_MAX,
                                 &network->hidden_size);
  if ((int64_t)json_array_size(hidden) != network->layers)
    return gk_fail(GK_ERROR_FORMAT, "%s: hidden in the description has %zu sizes, and layers is %lld",
                   checkpoint->path, json_array_size(hidden), (long long)network->layers);
  gk_status status = GK_OK;
  *sizes = gk_buffer_array(&status, sizeof **sizes, network->layers, 1, 1);
  for (int64_t l = 0; l < network->layers && status == GK_OK; ++l) {
    const json_t *size = json_array_get(hidden, (size_t)l);
    (*sizes)[l] = json_integer_value(size);
    if (!json_is_integer(size) || (*sizes)[l] < 1 || (*sizes)[l] > INT32_MAX)
      status = gk_fail(GK_ERROR_FORMAT, "%s: hidden[%lld] in the description is no size from 1 to %d",
                       checkpoint->path, (long long)l, INT32_MAX);
  }
  network->hidden_sizes = *sizes;
  return status;
}

gk_status gk_language_model_read_description(const struct gk_checkpoint *checkpoint,
                                             gk_language_model_desc *desc, int64_t **sizes) {
  const char *const tasks[] = {task};
  const json_t *description = checkpoint->description;
  gk_rnn_desc *network = &desc->network;
  int choice, mode = 0;
  const char *cell = NULL;
  gk_status status = read_choice(checkpoint, "task", tasks, 1, &choice);
  if (status == GK_OK)
    status = gk_checkpoint_text(checkpoint, description, "cell", &cell);
  if (status == GK_OK && gk_cell_from_name(cell, &network->cell) != GK_OK)
    status =
        gk_fail(GK_ERROR_FORMAT, "%s: cell is %s, which this version does not know", checkpoint->path, cell);
  if (status == GK_OK)
    status = read_options(checkpoint, network);
  if (status == GK_OK)
    status = read_choice(checkpoint, "mode", mode_names, 2, &mode);
  if (status == GK_OK)
    status = gk_checkpoint_integer(checkpoint, description, "embedding", 1, INT32_MAX, &network->input_size);
  if (status == GK_OK) /* a layer has four tensors: a file cannot claim more layers than it has tensors */
    status = gk_checkpoint_integer(checkpoint, description, "layers", 1,
                                   gk_safetensors_count(checkpoint->file), &network->layers);
  if (status == GK_OK)
    status = read_hidden(checkpoint, network, sizes);
  const json_t *tied = json_object_get(description, "tied"); /* not in files of earlier versions */
  if (status == GK_OK && tied && !json_is_boolean(tied))
    status =
        gk_fail(GK_ERROR_FORMAT, "%s: tied in the description is neither true nor false", checkpoint->path);
  desc->tied = json_is_true(tied);
  desc->utf8 = mode == 1;
  return status;
}

static gk_status read_vocabulary(const struct gk_checkpoint *checkpoint, bool utf8,
                                 struct gk_vocabulary *vocabulary) {
  const json_t *array = json_object_get(checkpoint->description, "symbols");
  const size_t count = json_array_size(array); /* 0 if it is no array */
  if (count == 0 || count > 0x110000)
    return gk_fail(GK_ERROR_FORMAT, "%s: symbols in the description is not a list of 1 to 1114112 numbers",
                   checkpoint->path);
  gk_status status = GK_OK;
  uint32_t *symbols = gk_buffer_array(&status, sizeof *symbols, (int64_t)count, 1, 1);
  for (size_t i = 0; i < count && status == GK_OK; ++i) {
    const json_t *value = json_array_get(array, i);
    const json_int_t code = json_integer_value(value);
    if (!json_is_integer(value) || code < 0 || code > UINT32_MAX)
      status = gk_fail(GK_ERROR_FORMAT, "%s: symbols in the description holds something else than codes",
                       checkpoint->path);
    symbols[i] = (uint32_t)code;
  }
  if (status == GK_OK)
    status = gk_vocabulary_from_symbols(vocabulary, utf8, (int64_t)count, symbols);
  if (status != GK_OK && status != GK_ERROR_MEMORY)
    status = gk_fail(GK_ERROR_FORMAT, "%s: symbols in the description are not ascending %s", checkpoint->path,
                     utf8 ? "code points" : "bytes");
  gk_free(symbols);
  return status;
}

/* Before memory is allocated for parameters: every one is in the file, with its shape. */
static gk_status check_tensors(const struct gk_checkpoint *checkpoint, const gk_language_model *model) {
  gk_status status = GK_OK;
  for (int i = 0; i < tensor_count(model) && status == GK_OK; ++i) {
    gk_tensor tensor;
    char name[NAME_SIZE];
    status = model_tensor(model, i, &tensor, name);
    if (status == GK_OK)
      status = gk_checkpoint_check(checkpoint, name, tensor.rank, tensor.shape);
  }
  return status;
}

/* A sum with one of them in it is no number: what would be computed from them tells nothing. */
static gk_status check_finite(const struct gk_checkpoint *checkpoint, const char *name, int64_t count,
                              const float *weights) {
  for (int64_t i = 0; i < count; ++i)
    if (!isfinite(weights[i]))
      return gk_fail(GK_ERROR_FORMAT, "%s: the model's weights are not finite: %s[%lld] is %s",
                     checkpoint->path, name, (long long)i,
                     isnan(weights[i]) ? "nan"
                     : weights[i] < 0  ? "-inf"
                                       : "inf");
  return GK_OK;
}

static gk_status read_tensors(const struct gk_checkpoint *checkpoint, gk_language_model *model) {
  gk_status status = GK_OK;
  for (int i = 0; i < tensor_count(model) && status == GK_OK; ++i) {
    gk_tensor tensor;
    char name[NAME_SIZE];
    status = model_tensor(model, i, &tensor, name);
    if (status == GK_OK)
      status =
          gk_checkpoint_read(checkpoint, name, tensor.rank, tensor.shape, model->parameters + tensor.offset);
    if (status == GK_OK)
      status = check_finite(checkpoint, name, tensor.count, model->parameters + tensor.offset);
  }
  return status;
}

/* Of a description, what the caller chooses and no file. */
static void take_plan(gk_rnn_desc *network, const gk_language_model_desc *plan) {
  if (!plan)
    return;
  network->isa = plan->network.isa;
  network->math = plan->network.math;
  network->schedule = plan->network.schedule;
  network->threads = plan->network.threads;
}

/* What is wrong with the plan or the environment is no fault of the file's: a network that is in order
 * otherwise has it too. */
static gk_status check_plan(const gk_language_model_desc *plan) {
  gk_rnn_desc network = GK_RNN_DESC_INIT;
  gk_rnn *rnn = NULL;
  network.input_size = network.hidden_size = 1;
  take_plan(&network, plan);
  const gk_status status = gk_rnn_create(&network, &rnn);
  gk_rnn_destroy(rnn);
  return status;
}

gk_status gk_language_model_read(const struct gk_checkpoint *checkpoint, const gk_language_model_desc *plan,
                                 unsigned pack_flags, gk_language_model **result) {
  gk_language_model_desc desc = GK_LANGUAGE_MODEL_DESC_INIT;
  struct gk_vocabulary vocabulary = {0};
  gk_language_model *model = NULL;
  int64_t *sizes = NULL;
  gk_status status = check_plan(plan);
  if (status == GK_OK)
    status = gk_language_model_read_description(checkpoint, &desc, &sizes);
  if (status == GK_OK)
    status = read_vocabulary(checkpoint, desc.utf8, &vocabulary);
  take_plan(&desc.network, plan);
  bool described = status == GK_OK;
  if (described)
    status = gk_language_model_create_plans(&desc, &vocabulary, pack_flags, &model);
  gk_free(sizes);
  if (!described)
    return status;
  if (status == GK_ERROR_ARGUMENT || status == GK_ERROR_OVERFLOW || status == GK_ERROR_UNSUPPORTED)
    return gk_checkpoint_refuse(checkpoint);
  if (status == GK_OK)
    status = check_tensors(checkpoint, model);
  if (status == GK_OK)
    status = gk_language_model_allocate(model);
  if (status == GK_OK)
    status = read_tensors(checkpoint, model);
  if (status == GK_OK)
    status = gk_language_model_pack(model);
  if (status != GK_OK) {
    gk_language_model_destroy(model);
    return status;
  }
  *result = model;
  return GK_OK;
}

gk_status gk_language_model_load(const char *path, const gk_language_model_desc *plan,
                                 gk_language_model **model) {
  gk_status status = GK_CHECK_POINTERS({"path", path}, {"model", model});
  if (status)
    return status;
  *model = NULL;
  if (plan)
    status = gk_check_size_field("plan", plan->size, sizeof *plan, "GK_LANGUAGE_MODEL_DESC_INIT");
  if (status)
    return status;
  struct gk_checkpoint checkpoint;
  const uint64_t callers = gk_float_environment_pin();
  status = gk_checkpoint_open(&checkpoint, path);
  if (status == GK_OK)
    status = gk_language_model_read(&checkpoint, plan, GK_PACK_FORWARD, model);
  gk_checkpoint_close(&checkpoint);
  gk_float_environment_restore(callers);
  return status;
}
