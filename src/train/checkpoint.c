/* SPDX-License-Identifier: Apache-2.0 */
#include "src/train/checkpoint.h"
#include "src/core/status.h"
#include "src/core/text_environment.h"
#include "src/train/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, HASH_DIGITS = 16 };

uint64_t gk_hash(uint64_t hash, const void *data, size_t bytes) {
  const unsigned char *byte = data;
  for (size_t i = 0; i < bytes; ++i)
    hash = (hash ^ byte[i]) * (uint64_t)0x100000001b3;
  return hash;
}

/* Name, type and shape of a tensor; its data follow. */
static uint64_t hash_tensor_head(uint64_t hash, const gk_file_tensor *tensor) {
  hash = gk_hash(hash, tensor->name, strlen(tensor->name) + 1);
  hash = gk_hash(hash, gk_dtype_name(tensor->dtype), strlen(gk_dtype_name(tensor->dtype)) + 1);
  return gk_hash(hash, tensor->shape, (size_t)tensor->rank * sizeof tensor->shape[0]);
}

/* ---- Saving ---- */

gk_status gk_checkpoint_save(const char *path, const json_t *description, int count,
                             const gk_file_tensor *tensors) {
  char *text = gk_json_text(description);
  if (!text)
    return gk_fail(GK_ERROR_MEMORY, "%s: no memory for the description", path);
  uint64_t hash = gk_hash(GK_HASH_START, text, strlen(text));
  for (int i = 0; i < count; ++i) {
    size_t bytes = 0;
    gk_file_tensor_bytes(&tensors[i], &bytes);
    hash = gk_hash(hash_tensor_head(hash, &tensors[i]), tensors[i].data, bytes);
  }
  char checksum[HASH_DIGITS + 1];
  snprintf(checksum, sizeof checksum, "%016" PRIx64, hash);
  const gk_file_metadata metadata[] = {{"gatekern", text}, {"checksum", checksum}};
  const gk_status status = gk_safetensors_save(path, count, tensors, 2, metadata);
  free(text);
  return status;
}

/* ---- Opening ---- */

static gk_status hash_tensor(const struct gk_checkpoint *checkpoint, int index, uint64_t *hash) {
  gk_file_tensor tensor;
  size_t bytes = 0;
  gk_safetensors_tensor(checkpoint->file, index, &tensor);
  gk_file_tensor_bytes(&tensor, &bytes);
  void *data = malloc(bytes ? bytes : 1); /* no more than the file's size */
  if (!data)
    return gk_fail(GK_ERROR_MEMORY, "%s: no memory for tensor %s", checkpoint->path, tensor.name);
  const gk_status status = gk_safetensors_read(checkpoint->file, index, data, bytes);
  if (status == GK_OK)
    *hash = gk_hash(hash_tensor_head(*hash, &tensor), data, bytes);
  free(data);
  return status;
}

static gk_status check_hash(const struct gk_checkpoint *checkpoint, const char *description) {
  const char *expected = gk_safetensors_metadata(checkpoint->file, "checksum");
  if (!expected)
    return GK_OK;
  uint64_t hash = gk_hash(GK_HASH_START, description, strlen(description));
  for (int i = 0; i < gk_safetensors_count(checkpoint->file); ++i) {
    const gk_status status = hash_tensor(checkpoint, i, &hash);
    if (status != GK_OK)
      return status;
  }
  char found[HASH_DIGITS + 1];
  snprintf(found, sizeof found, "%016" PRIx64, hash);
  if (strcmp(expected, found) != 0)
    return gk_fail(GK_ERROR_FORMAT, "%s: damaged: its content does not have the checksum it names",
                   checkpoint->path);
  return GK_OK;
}

static gk_status open_checkpoint(struct gk_checkpoint *checkpoint, const char *path, bool hashed) {
  *checkpoint = (struct gk_checkpoint){0};
  const gk_status opened = gk_safetensors_open(path, &checkpoint->file);
  if (opened != GK_OK)
    return opened;
  checkpoint->path = strdup(path);
  if (!checkpoint->path)
    return gk_fail(GK_ERROR_MEMORY, "%s: out of memory", path);
  const char *text = gk_safetensors_metadata(checkpoint->file, "gatekern");
  if (!text)
    return gk_fail(GK_ERROR_FORMAT, "%s: no \"gatekern\" in its metadata: not a model of this program", path);
  const gk_status intact = hashed ? check_hash(checkpoint, text) : GK_OK;
  if (intact != GK_OK)
    return intact;
  json_error_t error;
  struct gk_text_environment callers;
  const gk_status pinned = gk_text_environment_pin(&callers);
  if (pinned != GK_OK)
    return pinned;
  checkpoint->description = json_loads(text, JSON_REJECT_DUPLICATES, &error);
  gk_text_environment_restore(&callers);
  if (!checkpoint->description && !*error.text)
    return gk_fail(GK_ERROR_MEMORY, "%s: no memory for its description", path);
  if (!json_is_object(checkpoint->description))
    return gk_fail(GK_ERROR_FORMAT, "%s: its description is not a JSON object", path);
  int64_t format = 0;
  const gk_status known =
      gk_checkpoint_integer(checkpoint, checkpoint->description, "format", 0, INT64_MAX, &format);
  if (known == GK_OK && format != FORMAT)
    return gk_fail(GK_ERROR_UNSUPPORTED, "%s: format %" PRId64 ", this version reads %d", path, format,
                   FORMAT);
  return known;
}

gk_status gk_checkpoint_open(struct gk_checkpoint *checkpoint, const char *path) {
  return open_checkpoint(checkpoint, path, true);
}

gk_status gk_checkpoint_open_description(struct gk_checkpoint *checkpoint, const char *path) {
  return open_checkpoint(checkpoint, path, false);
}

void gk_checkpoint_close(struct gk_checkpoint *checkpoint) {
  gk_safetensors_close(checkpoint->file);
  json_decref(checkpoint->description);
  free(checkpoint->path);
  *checkpoint = (struct gk_checkpoint){0};
}

/* ---- Tensors ---- */

static void print_shape(int rank, const int64_t *shape, char *text, size_t size) {
  size_t used = (size_t)snprintf(text, size, "(");
  for (int i = 0; i < rank && used < size; ++i)
    used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, i ? ", " : "", shape[i]);
  if (used < size)
    snprintf(text + used, size - used, ")");
}

gk_status gk_checkpoint_check(const struct gk_checkpoint *checkpoint, const char *name, int rank,
                              const int64_t *shape) {
  gk_file_tensor tensor;
  const int index = gk_safetensors_find(checkpoint->file, name);
  if (index < 0)
    return gk_fail(GK_ERROR_FORMAT, "%s: tensor %s is missing", checkpoint->path, name);
  gk_safetensors_tensor(checkpoint->file, index, &tensor);
  if (tensor.dtype != GK_DTYPE_F32)
    return gk_fail(GK_ERROR_FORMAT, "%s: tensor %s is %s, must be F32", checkpoint->path, name,
                   gk_dtype_name(tensor.dtype));
  if (tensor.rank != rank || memcmp(tensor.shape, shape, (size_t)rank * sizeof *shape) != 0) {
    char found[200], wanted[200];
    print_shape(tensor.rank, tensor.shape, found, sizeof found);
    print_shape(rank, shape, wanted, sizeof wanted);
    return gk_fail(GK_ERROR_FORMAT, "%s: tensor %s is %s, must be %s", checkpoint->path, name, found, wanted);
  }
  return GK_OK;
}

gk_status gk_checkpoint_read(const struct gk_checkpoint *checkpoint, const char *name, int rank,
                             const int64_t *shape, float *data) {
  const gk_status status = gk_checkpoint_check(checkpoint, name, rank, shape);
  if (status != GK_OK)
    return status;
  gk_file_tensor tensor;
  size_t bytes = 0;
  const int index = gk_safetensors_find(checkpoint->file, name);
  gk_safetensors_tensor(checkpoint->file, index, &tensor);
  gk_file_tensor_bytes(&tensor, &bytes);
  return gk_safetensors_read(checkpoint->file, index, data, bytes);
}

/* ---- Values ---- */

gk_status gk_checkpoint_integer(const struct gk_checkpoint *checkpoint, const json_t *object, const char *key,
                                int64_t minimum, int64_t maximum, int64_t *value) {
  const json_t *found = json_object_get(object, key);
  if (!json_is_integer(found) || json_integer_value(found) < minimum || json_integer_value(found) > maximum)
    return gk_fail(GK_ERROR_FORMAT,
                   "%s: %s in the description is not a whole number from %" PRId64 " to %" PRId64,
                   checkpoint->path, key, minimum, maximum);
  *value = json_integer_value(found);
  return GK_OK;
}

gk_status gk_checkpoint_number(const struct gk_checkpoint *checkpoint, const json_t *object, const char *key,
                               double minimum, double maximum, double *value) {
  const json_t *found = json_object_get(object, key);
  const double number = json_number_value(found);
  if (!json_is_number(found) || !(number >= minimum && number <= maximum))
    return gk_fail(GK_ERROR_FORMAT, "%s: %s in the description is not a number from %g to %g",
                   checkpoint->path, key, minimum, maximum);
  *value = number;
  return GK_OK;
}

gk_status gk_checkpoint_text(const struct gk_checkpoint *checkpoint, const json_t *object, const char *key,
                             const char **value) {
  const json_t *found = json_object_get(object, key);
  if (!json_is_string(found))
    return gk_fail(GK_ERROR_FORMAT, "%s: %s in the description is not a string", checkpoint->path, key);
  *value = json_string_value(found);
  return GK_OK;
}

gk_status gk_checkpoint_hash(const struct gk_checkpoint *checkpoint, const json_t *object, const char *key,
                             uint64_t *value) {
  const char *text = json_string_value(json_object_get(object, key));
  if (!text || strlen(text) != HASH_DIGITS || strspn(text, "0123456789abcdef") != HASH_DIGITS)
    return gk_fail(GK_ERROR_FORMAT, "%s: %s in the description is not 16 hexadecimal digits",
                   checkpoint->path, key);
  *value = strtoull(text, NULL, 16);
  return GK_OK;
}

json_t *gk_checkpoint_hash_text(uint64_t value) {
  char text[HASH_DIGITS + 1];
  snprintf(text, sizeof text, "%016" PRIx64, value);
  return json_string(text);
}

gk_status gk_checkpoint_refuse(const struct gk_checkpoint *checkpoint) {
  char reason[256]; /* gk_fail must not read the message that it replaces */
  snprintf(reason, sizeof reason, "%s", gk_last_error());
  return gk_fail(GK_ERROR_FORMAT, "%s: %s", checkpoint->path, reason);
}
