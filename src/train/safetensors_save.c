/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/size.h"
#include "src/core/status.h"
#include "src/core/text_environment.h"
#include "src/train/checkpoint_file.h"
#include "src/train/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static gk_status check_tensor(const gk_file_tensor *tensor, int index, size_t *bytes) {
  if (!tensor->name || !*tensor->name || strcmp(tensor->name, "__metadata__") == 0)
    return gk_fail(GK_ERROR_ARGUMENT, "tensors[%d].name is missing or reserved", index);
  if (gk_dtype_bytes(tensor->dtype) == 0)
    return gk_fail(GK_ERROR_ARGUMENT, "tensors[%d].dtype is %d, not a gk_dtype", index, (int)tensor->dtype);
  if (tensor->rank < 0 || tensor->rank > GK_FILE_MAX_RANK)
    return gk_fail(GK_ERROR_ARGUMENT, "tensors[%d].rank is %d, must be from 0 to %d", index, tensor->rank,
                   GK_FILE_MAX_RANK);
  if (!gk_file_tensor_bytes(tensor, bytes))
    return gk_fail(GK_ERROR_OVERFLOW, "tensors[%d], %s: an extent is negative or the size wraps", index,
                   tensor->name);
  if (*bytes && !tensor->data)
    return gk_fail(GK_ERROR_ARGUMENT, "tensors[%d].data is NULL", index);
  return GK_OK;
}

/* {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}; NULL: out of memory */
static json_t *describe(const gk_file_tensor *tensor, size_t begin, size_t end) {
  json_t *shape = json_array();
  for (int i = 0; i < tensor->rank; ++i)
    if (json_array_append_new(shape, json_integer(tensor->shape[i])) != 0) {
      json_decref(shape);
      return NULL;
    }
  return json_pack("{s:s, s:o, s:[I, I]}", "dtype", gk_dtype_name(tensor->dtype), "shape", shape,
                   "data_offsets", (json_int_t)begin, (json_int_t)end);
}

/* jansson makes no string of what is not UTF-8, ever; where it made none once, there was no memory. */
static gk_status check_utf8(const char *text, const char *list, int i, const char *field) {
  json_t *string = json_string(text);
  json_t *again = string ? NULL : json_string(text), *unchecked = string ? NULL : json_string_nocheck(text);
  const bool wrong = !string && !again && unchecked;
  json_decref(again);
  json_decref(unchecked);
  if (wrong)
    return gk_fail(GK_ERROR_ARGUMENT, "%s[%d].%s is not UTF-8", list, i, field);
  if (!string)
    return gk_fail(GK_ERROR_MEMORY, "no memory for a header");
  json_decref(string);
  return GK_OK;
}

static gk_status add_tensors(json_t *header, int count, const gk_file_tensor *tensors) {
  size_t end = 0;
  for (int i = 0; i < count; ++i) {
    size_t bytes = 0;
    const size_t begin = end;
    gk_status status = check_tensor(&tensors[i], i, &bytes);
    if (status == GK_OK)
      status = check_utf8(tensors[i].name, "tensors", i, "name");
    if (status != GK_OK)
      return status;
    if (!gk_size_add(&end, bytes) || end > (size_t)INT64_MAX)
      return gk_fail(GK_ERROR_OVERFLOW, "tensors[%d], %s: the sizes add up to more than a file can hold", i,
                     tensors[i].name);
    if (json_object_get(header, tensors[i].name))
      return gk_fail(GK_ERROR_ARGUMENT, "tensors[%d].name is %s, as of one before it", i, tensors[i].name);
    if (json_object_set_new(header, tensors[i].name, describe(&tensors[i], begin, end)) != 0)
      return gk_fail(GK_ERROR_MEMORY, "no memory for a header of %d tensors", count);
  }
  return GK_OK;
}

static gk_status add_metadata(json_t *header, int count, const gk_file_metadata *metadata) {
  if (count == 0)
    return GK_OK;
  json_t *object = json_object();
  if (json_object_set_new(header, "__metadata__", object) != 0)
    return gk_fail(GK_ERROR_MEMORY, "no memory for the metadata");
  for (int i = 0; i < count; ++i) {
    if (!metadata[i].key || !metadata[i].value)
      return gk_fail(GK_ERROR_ARGUMENT, "metadata[%d] has no %s", i, metadata[i].key ? "value" : "key");
    if (json_object_get(object, metadata[i].key))
      return gk_fail(GK_ERROR_ARGUMENT, "metadata[%d].key is %.40s, as of one before it", i, metadata[i].key);
    gk_status status = check_utf8(metadata[i].key, "metadata", i, "key");
    if (status == GK_OK)
      status = check_utf8(metadata[i].value, "metadata", i, "value");
    if (status != GK_OK)
      return status;
    if (json_object_set_new(object, metadata[i].key, json_string(metadata[i].value)) != 0)
      return gk_fail(GK_ERROR_MEMORY, "no memory for the metadata");
  }
  return GK_OK;
}

char *gk_json_text(const json_t *value) {
  const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(17);
  struct gk_text_environment callers;
  if (gk_text_environment_pin(&callers) != GK_OK)
    return NULL;
  const size_t bytes = json_dumpb(value, NULL, 0, flags); /* 0: out of memory */
  char *text = bytes ? malloc(bytes + 1) : NULL;
  const bool whole = text && json_dumpb(value, text, bytes, flags) == bytes;
  gk_text_environment_restore(&callers);
  if (!whole) {
    free(text);
    return NULL;
  }
  text[bytes] = 0;
  return text;
}

/* The header as text, padded with spaces so that the tensors start at a multiple of 8 bytes. */
static gk_status build_header(int count, const gk_file_tensor *tensors, int metadata_count,
                              const gk_file_metadata *metadata, char **text, size_t *length) {
  json_t *header = json_object();
  gk_status status = header ? GK_OK : gk_fail(GK_ERROR_MEMORY, "no memory for a header");
  if (status == GK_OK)
    status = add_metadata(header, metadata_count, metadata);
  if (status == GK_OK)
    status = add_tensors(header, count, tensors);
  char *json = status == GK_OK ? gk_json_text(header) : NULL;
  json_decref(header);
  if (status != GK_OK)
    return status;
  *length = json ? strlen(json) : 0;
  if (*length > GK_SAFETENSORS_LARGEST_HEADER - 8) {
    free(json);
    return gk_fail(GK_ERROR_OVERFLOW, "a header of %zu bytes, must be at most %zu", *length,
                   (size_t)GK_SAFETENSORS_LARGEST_HEADER - 8);
  }
  const size_t padded = (*length + 7) & ~(size_t)7;
  char *grown = json ? realloc(json, padded + 1) : NULL;
  if (!grown) {
    free(json);
    return gk_fail(GK_ERROR_MEMORY, "no memory for a header of %d tensors", count);
  }
  memset(grown + *length, ' ', padded - *length);
  *text = grown;
  *length = padded;
  return GK_OK;
}

gk_status gk_safetensors_save(const char *path, int count, const gk_file_tensor *tensors, int metadata_count,
                              const gk_file_metadata *metadata) {
  if (!path || (!tensors && count) || (!metadata && metadata_count))
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL",
                   !path               ? "path"
                   : count && !tensors ? "tensors"
                                       : "metadata");
  if (count < 0 || metadata_count < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "count is %d, metadata_count %d, neither may be negative", count,
                   metadata_count);
  char *header = NULL;
  size_t length = 0;
  gk_status status = build_header(count, tensors, metadata_count, metadata, &header, &length);
  if (status != GK_OK)
    return status;
  unsigned char prefix[GK_SAFETENSORS_PREFIX];
  for (int i = 0; i < GK_SAFETENSORS_PREFIX; ++i)
    prefix[i] = (unsigned char)((uint64_t)length >> (8 * i));
  struct gk_checkpoint_file file;
  status = gk_checkpoint_file_begin(&file, path);
  if (status == GK_OK) {
    status = gk_checkpoint_file_write(&file, prefix, sizeof prefix);
    if (status == GK_OK)
      status = gk_checkpoint_file_write(&file, header, length);
    for (int i = 0; i < count && status == GK_OK; ++i) {
      size_t bytes = 0;
      gk_file_tensor_bytes(&tensors[i], &bytes);
      status = gk_checkpoint_file_write(&file, tensors[i].data, bytes);
    }
    if (status == GK_OK)
      status = gk_checkpoint_file_commit(&file);
    else
      gk_checkpoint_file_abandon(&file);
  }
  free(header);
  return status;
}

gk_status gk_safetensors_can_save(const char *path) {
  if (!path || !*path)
    return gk_fail(GK_ERROR_ARGUMENT, "path is %s", path ? "empty" : "NULL");
  struct stat old;
  struct gk_checkpoint_file file;
  const gk_status status = gk_checkpoint_file_begin(&file, path);
  if (status != GK_OK)
    return status;
  gk_checkpoint_file_abandon(&file);
  if (stat(path, &old) != 0)
    return errno == ENOENT ? GK_OK : gk_fail(GK_ERROR_IO, "%s: cannot look at it: %s", path, strerror(errno));
  gk_safetensors *existing;
  const gk_status opened = gk_safetensors_open(path, &existing);
  if (opened == GK_ERROR_MEMORY || opened == GK_ERROR_IO)
    return opened;
  if (opened == GK_ERROR_UNSUPPORTED) /* it is one, with values of other types */
    return GK_OK;
  if (opened != GK_OK)
    return gk_fail(GK_ERROR_IO, "%s: exists and is not a safetensors file: not overwritten", path);
  gk_safetensors_close(existing);
  return GK_OK;
}
