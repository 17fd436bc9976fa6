/* SPDX-License-Identifier: Apache-2.0 */
#include "src/train/safetensors.h"
#include "src/core/arguments.h"
#include "src/core/names.h"
#include "src/core/size.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct entry {
  gk_file_tensor tensor;
  size_t begin, end; /* bytes from the start of the data */
};

struct gk_safetensors {
  int descriptor;
  char *path;
  size_t data_start; /* in the file */
  size_t data_bytes;
  json_t *header;
  const json_t *metadata; /* part of the header; NULL: none */
  int count;
  struct entry *entries;
};

static const struct {
  const char *name;
  size_t bytes;
} dtypes[] = {[GK_DTYPE_F32] = {"F32", 4}, [GK_DTYPE_I64] = {"I64", 8}, [GK_DTYPE_U8] = {"U8", 1}};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

int gk_dtype_count(void) {
  return DTYPES;
}

const char *gk_dtype_name(gk_dtype dtype) {
  return (unsigned)dtype < DTYPES ? dtypes[dtype].name : "unknown";
}

size_t gk_dtype_bytes(gk_dtype dtype) {
  return (unsigned)dtype < DTYPES ? dtypes[dtype].bytes : 0;
}

gk_status gk_dtype_from_name(const char *name, gk_dtype *dtype) {
  const int found = gk_find_name("dtype", &dtypes[0].name, sizeof *dtypes, DTYPES, name, dtype, "dtype");
  if (found < 0)
    return GK_ERROR_ARGUMENT;
  *dtype = (gk_dtype)found;
  return GK_OK;
}

bool gk_file_tensor_bytes(const gk_file_tensor *tensor, size_t *bytes) {
  size_t size = gk_dtype_bytes(tensor->dtype);
  for (int i = 0; i < tensor->rank; ++i)
    if (!gk_size_multiply(&size, tensor->shape[i]))
      return false;
  *bytes = size;
  return true;
}

/* ---- Reading the file ---- */

static gk_status read_at(const gk_safetensors *file, size_t offset, void *data, size_t bytes) {
  const size_t largest_call = (size_t)1 << 30;
  char *next = data;
  while (bytes > 0) {
    const ssize_t got =
        pread(file->descriptor, next, bytes < largest_call ? bytes : largest_call, (off_t)offset);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return gk_fail(GK_ERROR_IO, "%s: cannot read: %s", file->path, strerror(errno));
    if (got == 0)
      return gk_fail(GK_ERROR_FORMAT, "%s: shorter than when it was opened", file->path);
    next += got;
    offset += (size_t)got;
    bytes -= (size_t)got;
  }
  return GK_OK;
}

static gk_status open_regular(gk_safetensors *file, size_t *file_bytes) {
  struct stat status;
  file->descriptor = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block here */
  if (file->descriptor < 0 || fstat(file->descriptor, &status) != 0)
    return gk_fail(GK_ERROR_IO, "%s: cannot open: %s", file->path, strerror(errno));
  if (!S_ISREG(status.st_mode))
    return gk_fail(GK_ERROR_IO, "%s: cannot open: not a regular file", file->path);
  *file_bytes = (size_t)status.st_size;
  return GK_OK;
}

/* Reads and parses the header; sets header, data_start and data_bytes. */
static gk_status read_header(gk_safetensors *file, size_t file_bytes) {
  unsigned char prefix[GK_SAFETENSORS_PREFIX];
  uint64_t length = 0;
  if (file_bytes < sizeof prefix)
    return gk_fail(GK_ERROR_FORMAT, "%s: not a safetensors file: only %zu bytes", file->path, file_bytes);
  const gk_status prefix_read = read_at(file, 0, prefix, sizeof prefix);
  if (prefix_read != GK_OK)
    return prefix_read;
  for (int i = GK_SAFETENSORS_PREFIX - 1; i >= 0; --i)
    length = length << 8 | prefix[i];
  if (length > GK_SAFETENSORS_LARGEST_HEADER || length > file_bytes - sizeof prefix)
    return gk_fail(GK_ERROR_FORMAT, "%s: not a safetensors file: a header of %llu bytes in a file of %zu",
                   file->path, (unsigned long long)length, file_bytes);
  char *text = malloc(length ? length : 1);
  if (!text)
    return gk_fail(GK_ERROR_MEMORY, "%s: no memory for a header of %llu bytes", file->path,
                   (unsigned long long)length);
  gk_status status = read_at(file, sizeof prefix, text, length);
  if (status == GK_OK && (length == 0 || text[0] != '{'))
    status =
        gk_fail(GK_ERROR_FORMAT, "%s: not a safetensors file: the header does not begin with {", file->path);
  if (status == GK_OK) {
    json_error_t error;
    file->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!file->header && !*error.text)
      status = gk_fail(GK_ERROR_MEMORY, "%s: no memory for its header", file->path);
    else if (!file->header)
      status = gk_fail(GK_ERROR_FORMAT, "%s: header: %s, byte %d", file->path, error.text, error.position);
  }
  free(text);
  file->data_start = sizeof prefix + length;
  file->data_bytes = file_bytes - file->data_start;
  return status;
}

/* ---- Checking the header ---- */

/* Bytes of a name that a message has room for, in whole characters of UTF-8. */
static int room_for(const char *name) {
  enum { MOST = 40 };
  int bytes = (int)strnlen(name, MOST + 1);
  if (bytes > MOST)
    for (bytes = MOST; bytes > 0 && ((unsigned char)name[bytes] & 0xC0) == 0x80;)
      bytes--;
  return bytes;
}

static gk_status fail_entry(const gk_safetensors *file, const struct entry *entry, const char *what) {
  return gk_fail(GK_ERROR_FORMAT, "%s: tensor %.*s: %s", file->path, room_for(entry->tensor.name),
                 entry->tensor.name, what);
}

static bool read_size(const json_t *value, int64_t *size) {
  if (!json_is_integer(value) || json_integer_value(value) < 0)
    return false;
  *size = json_integer_value(value);
  return true;
}

static gk_status check_entry(const gk_safetensors *file, const char *name, const json_t *object,
                             struct entry *entry) {
  gk_file_tensor *tensor = &entry->tensor;
  tensor->name = name;
  if (!json_is_object(object))
    return fail_entry(file, entry, "not an object");
  const json_t *dtype = json_object_get(object, "dtype");
  const json_t *shape = json_object_get(object, "shape");
  const json_t *offsets = json_object_get(object, "data_offsets");
  if (!json_is_string(dtype) || !json_is_array(shape) || !json_is_array(offsets))
    return fail_entry(file, entry, "dtype, shape or data_offsets is missing or of a wrong type");
  if (json_object_size(object) != 3)
    return fail_entry(file, entry, "has more than dtype, shape and data_offsets");
  if (gk_dtype_from_name(json_string_value(dtype), &tensor->dtype) != GK_OK)
    return gk_fail(GK_ERROR_UNSUPPORTED, "%s: tensor %.40s: type %.40s is not one of F32, I64, U8",
                   file->path, name, json_string_value(dtype));
  if (json_array_size(shape) > GK_FILE_MAX_RANK)
    return fail_entry(file, entry, "more than 8 dimensions");
  tensor->rank = (int)json_array_size(shape);
  for (int i = 0; i < tensor->rank; ++i)
    if (!read_size(json_array_get(shape, (size_t)i), &tensor->shape[i]))
      return fail_entry(file, entry, "an extent is not a whole number >= 0");
  int64_t begin, end;
  if (json_array_size(offsets) != 2 || !read_size(json_array_get(offsets, 0), &begin) ||
      !read_size(json_array_get(offsets, 1), &end))
    return fail_entry(file, entry, "data_offsets are not two whole numbers >= 0");
  size_t bytes;
  if (!gk_file_tensor_bytes(tensor, &bytes))
    return fail_entry(file, entry, "its size is more than an address can hold");
  if (begin > end || (uint64_t)end > file->data_bytes)
    return fail_entry(file, entry, "its data lies outside the file");
  if ((uint64_t)(end - begin) != bytes)
    return fail_entry(file, entry, "its data_offsets do not agree with its shape");
  entry->begin = (size_t)begin;
  entry->end = (size_t)end;
  return GK_OK;
}

static gk_status check_metadata(gk_safetensors *file, json_t *metadata) {
  const char *key;
  json_t *value;
  if (!json_is_object(metadata))
    return gk_fail(GK_ERROR_FORMAT, "%s: __metadata__ is not an object", file->path);
  json_object_foreach(metadata, key, value) {
    if (!json_is_string(value))
      return gk_fail(GK_ERROR_FORMAT, "%s: __metadata__: %s is not a string", file->path, key);
  }
  file->metadata = metadata;
  return GK_OK;
}

static int compare_entries(const void *a, const void *b) {
  const struct entry *x = a, *y = b;
  if (x->begin != y->begin)
    return x->begin < y->begin ? -1 : 1;
  return (x->end > y->end) - (x->end < y->end);
}

static gk_status check_no_gap(const gk_safetensors *file) {
  size_t end = 0;
  for (int i = 0; i < file->count; ++i) {
    const struct entry *entry = &file->entries[i];
    if (entry->begin != end)
      return fail_entry(file, entry,
                        entry->begin < end ? "overlaps the tensor before it"
                                           : "bytes before it belong to none");
    end = entry->end;
  }
  if (end != file->data_bytes)
    return gk_fail(GK_ERROR_FORMAT, "%s: %zu bytes of tensors, but the file has %zu", file->path, end,
                   file->data_bytes);
  return GK_OK;
}

static gk_status check_header(gk_safetensors *file) {
  const char *name;
  json_t *value;
  /* The JSON text took more bytes than the entries' number, so this allocation is bounded by the file. */
  file->entries = calloc(json_object_size(file->header) + 1, sizeof *file->entries);
  if (!file->entries)
    return gk_fail(GK_ERROR_MEMORY, "%s: no memory for %zu tensors", file->path,
                   json_object_size(file->header));
  json_object_foreach(file->header, name, value) {
    gk_status status;
    if (strcmp(name, "__metadata__") == 0)
      status = check_metadata(file, value);
    else if (!*name)
      status = gk_fail(GK_ERROR_FORMAT, "%s: a tensor has no name", file->path);
    else
      status = check_entry(file, name, value, &file->entries[file->count++]);
    if (status != GK_OK)
      return status;
  }
  qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_entries);
  return check_no_gap(file);
}

/* ---- Public functions ---- */

gk_status gk_safetensors_open(const char *path, gk_safetensors **result) {
  gk_status status = GK_CHECK_POINTERS({"path", path}, {"file", result});
  if (status)
    return status;
  *result = NULL;
  gk_safetensors *file = calloc(1, sizeof *file);
  if (!file)
    return gk_fail(GK_ERROR_MEMORY, "%s: out of memory", path);
  file->descriptor = -1;
  file->path = strdup(path);
  size_t file_bytes = 0;
  status = file->path ? open_regular(file, &file_bytes) : gk_fail(GK_ERROR_MEMORY, "%s: out of memory", path);
  if (status == GK_OK)
    status = read_header(file, file_bytes);
  if (status == GK_OK)
    status = check_header(file);
  if (status != GK_OK) {
    gk_safetensors_close(file);
    return status;
  }
  *result = file;
  return GK_OK;
}

void gk_safetensors_close(gk_safetensors *file) {
  if (!file)
    return;
  if (file->descriptor >= 0)
    close(file->descriptor);
  json_decref(file->header);
  free(file->entries);
  free(file->path);
  free(file);
}

int gk_safetensors_count(const gk_safetensors *file) {
  return file ? file->count : 0;
}

gk_status gk_safetensors_tensor(const gk_safetensors *file, int index, gk_file_tensor *tensor) {
  const gk_status status = GK_CHECK_POINTERS({"file", file}, {"tensor", tensor});
  if (status)
    return status;
  if (index < 0 || index >= file->count)
    return gk_fail(GK_ERROR_ARGUMENT, "index is %d, must be from 0 to %d", index, file->count - 1);
  *tensor = file->entries[index].tensor;
  return GK_OK;
}

int gk_safetensors_find(const gk_safetensors *file, const char *name) {
  for (int i = 0; file && name && i < file->count; ++i)
    if (strcmp(file->entries[i].tensor.name, name) == 0)
      return i;
  return -1;
}

gk_status gk_safetensors_read(const gk_safetensors *file, int index, void *data, size_t bytes) {
  gk_file_tensor tensor = {0};
  const gk_status status = gk_safetensors_tensor(file, index, &tensor);
  if (status != GK_OK)
    return status;
  const struct entry *entry = &file->entries[index];
  if (bytes != entry->end - entry->begin)
    return gk_fail(GK_ERROR_ARGUMENT, "bytes is %zu, tensor %s has %zu", bytes, tensor.name,
                   entry->end - entry->begin);
  if (!data && bytes)
    return gk_fail(GK_ERROR_ARGUMENT, "data is NULL");
  return read_at(file, file->data_start + entry->begin, data, bytes);
}

const char *gk_safetensors_metadata(const gk_safetensors *file, const char *key) {
  return file && key ? json_string_value(json_object_get(file->metadata, key)) : NULL;
}
