/* SPDX-License-Identifier: Apache-2.0
 *
 * safetensors: what is written is read back; every malformed kind, truncation and damaged byte is an error
 * and no crash; a save that fails or is killed leaves the old file or the new one. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/ptrace.h>
#endif

#include <cmocka.h>

#include "include/gatekern-train.h"
#include "src/train/checkpoint.h"
#include "tests/temporary_folder.h"

/* ---- Malformed files ---- */

struct malformed {
  const char *name;
  const char *header;
  size_t data;    /* bytes that follow it */
  int64_t length; /* the length field; 0: the header's own */
  gk_status status;
};

#define TENSOR(type, shape, offsets)                                                                         \
  "{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(type, shape, offsets) "{\"a\":" TENSOR(type, shape, offsets) "}"
#define TWO(x, y)                 "{\"a\":" TENSOR("F32", "[2]", x) ",\"b\":" TENSOR("F32", "[2]", y) "}"

static const struct malformed malformed[] = {
    {"header of length 0", "", 16, 0, GK_ERROR_FORMAT},
    {"length one beyond the file", "{}", 0, 3, GK_ERROR_FORMAT},
    {"length far beyond the file", "{}", 0, 1 << 30, GK_ERROR_FORMAT},
    {"length 2^63 - 1", "{}", 0, INT64_MAX, GK_ERROR_FORMAT},
    {"length 2^64 - 1", "{}", 0, -1, GK_ERROR_FORMAT},
    {"length 2^64 - 8, which wraps", "{}", 0, -8, GK_ERROR_FORMAT},
    {"length cuts the header", ONE("F32", "[2]", "[0,8]"), 8, 20, GK_ERROR_FORMAT},
    {"length takes in data", ONE("F32", "[2]", "[0,8]"), 8, 60, GK_ERROR_FORMAT},
    {"a space before the object", " {}", 0, 0, GK_ERROR_FORMAT},
    {"byte order mark", "\xEF\xBB\xBF{}", 0, 0, GK_ERROR_FORMAT},
    {"an array", "[]", 0, 0, GK_ERROR_FORMAT},
    {"not JSON", "{a:1}", 0, 0, GK_ERROR_FORMAT},
    {"single quotes", "{'a':1}", 0, 0, GK_ERROR_FORMAT},
    {"a comment", "{/**/}", 0, 0, GK_ERROR_FORMAT},
    {"a comma too many", "{\"__metadata__\":{},}", 0, 0, GK_ERROR_FORMAT},
    {"an object that does not end", "{\"a\":", 0, 0, GK_ERROR_FORMAT},
    {"text after the object", "{}{}", 0, 0, GK_ERROR_FORMAT},
    {"a name that is not UTF-8", "{\"\xFF\":1}", 0, 0, GK_ERROR_FORMAT},
    {"a zero in a name", "{\"a\\u0000b\":" TENSOR("U8", "[1]", "[0,1]") "}", 1, 0, GK_ERROR_FORMAT},
    {"half a surrogate pair", "{\"\\ud800\":" TENSOR("U8", "[1]", "[0,1]") "}", 1, 0, GK_ERROR_FORMAT},
    {"a name twice", "{\"a\":" TENSOR("U8", "[1]", "[0,1]") ",\"a\":" TENSOR("U8", "[1]", "[1,2]") "}", 2, 0,
     GK_ERROR_FORMAT},
    {"a key of a tensor twice",
     "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 0,
     GK_ERROR_FORMAT},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, 0, GK_ERROR_FORMAT},
    {"a name of no characters", "{\"\":" TENSOR("U8", "[1]", "[0,1]") "}", 1, 0, GK_ERROR_FORMAT},
    {"a tensor that is a number", "{\"a\":1}", 0, 0, GK_ERROR_FORMAT},
    {"a tensor that is null", "{\"a\":null}", 0, 0, GK_ERROR_FORMAT},
    {"a tensor that is empty", "{\"a\":{}}", 0, 0, GK_ERROR_FORMAT},
    {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 0, GK_ERROR_FORMAT},
    {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, 0, GK_ERROR_FORMAT},
    {"no data_offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, 0, GK_ERROR_FORMAT},
    {"a key too many", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":0}}", 1, 0,
     GK_ERROR_FORMAT},
    {"dtype is a number", "{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 0,
     GK_ERROR_FORMAT},
    {"dtype unknown", ONE("F33", "[1]", "[0,4]"), 4, 0, GK_ERROR_UNSUPPORTED},
    {"dtype in lower case", ONE("f32", "[1]", "[0,4]"), 4, 0, GK_ERROR_UNSUPPORTED},
    {"dtype empty", ONE("", "[1]", "[0,4]"), 4, 0, GK_ERROR_UNSUPPORTED},
    {"shape is a number", ONE("U8", "1", "[0,1]"), 1, 0, GK_ERROR_FORMAT},
    {"shape is an object", ONE("U8", "{}", "[0,1]"), 1, 0, GK_ERROR_FORMAT},
    {"an extent below 0", ONE("U8", "[-1]", "[0,1]"), 1, 0, GK_ERROR_FORMAT},
    {"two extents below 0", ONE("U8", "[-1,-1]", "[0,1]"), 1, 0, GK_ERROR_FORMAT},
    {"an extent with a fraction", ONE("U8", "[1.0]", "[0,1]"), 1, 0, GK_ERROR_FORMAT},
    {"an extent that is text", ONE("U8", "[\"1\"]", "[0,1]"), 1, 0, GK_ERROR_FORMAT},
    {"an extent of 2^63", ONE("U8", "[9223372036854775808]", "[0,1]"), 1, 0, GK_ERROR_FORMAT},
    {"an extent that is NaN", ONE("U8", "[NaN]", "[0,1]"), 1, 0, GK_ERROR_FORMAT},
    {"nine dimensions", ONE("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, 0, GK_ERROR_FORMAT},
    {"a size of 2^64 bytes, which wraps to 0", ONE("F32", "[4611686018427387904]", "[0,0]"), 0, 0,
     GK_ERROR_FORMAT},
    {"a product that wraps to 4", ONE("U8", "[4611686018427387905,4]", "[0,4]"), 4, 0, GK_ERROR_FORMAT},
    {"a product that wraps to 0", ONE("U8", "[4294967296,4294967296]", "[0,0]"), 0, 0, GK_ERROR_FORMAT},
    {"offsets are a number", ONE("U8", "[1]", "1"), 1, 0, GK_ERROR_FORMAT},
    {"one offset", ONE("U8", "[1]", "[1]"), 1, 0, GK_ERROR_FORMAT},
    {"three offsets", ONE("U8", "[1]", "[0,1,2]"), 1, 0, GK_ERROR_FORMAT},
    {"an offset below 0", ONE("U8", "[2]", "[-1,1]"), 1, 0, GK_ERROR_FORMAT},
    {"an offset with a fraction", ONE("U8", "[1]", "[0,1.0]"), 1, 0, GK_ERROR_FORMAT},
    {"offsets in the wrong order", ONE("U8", "[1]", "[1,0]"), 1, 0, GK_ERROR_FORMAT},
    {"an end beyond the file", ONE("U8", "[2]", "[0,2]"), 1, 0, GK_ERROR_FORMAT},
    {"an end of 2^63 - 1", ONE("U8", "[9223372036854775807]", "[0,9223372036854775807]"), 1, 0,
     GK_ERROR_FORMAT},
    {"fewer bytes than the shape", ONE("F32", "[2]", "[0,4]"), 4, 0, GK_ERROR_FORMAT},
    {"more bytes than the shape", ONE("F32", "[1]", "[0,8]"), 8, 0, GK_ERROR_FORMAT},
    {"bytes for an extent of 0", ONE("F32", "[0]", "[0,4]"), 4, 0, GK_ERROR_FORMAT},
    {"a hole at the start", ONE("U8", "[1]", "[1,2]"), 2, 0, GK_ERROR_FORMAT},
    {"a hole between two", TWO("[0,8]", "[9,17]"), 17, 0, GK_ERROR_FORMAT},
    {"two that overlap", TWO("[0,8]", "[7,15]"), 15, 0, GK_ERROR_FORMAT},
    {"two of the same bytes", TWO("[0,8]", "[0,8]"), 8, 0, GK_ERROR_FORMAT},
    {"bytes after the last", TWO("[0,8]", "[8,16]"), 17, 0, GK_ERROR_FORMAT},
    {"a byte missing at the end", TWO("[0,8]", "[8,16]"), 15, 0, GK_ERROR_FORMAT},
    {"data without tensors", "{}", 1, 0, GK_ERROR_FORMAT},
    {"metadata is text", "{\"__metadata__\":\"x\"}", 0, 0, GK_ERROR_FORMAT},
    {"metadata is null", "{\"__metadata__\":null}", 0, 0, GK_ERROR_FORMAT},
    {"metadata with a number", "{\"__metadata__\":{\"x\":1}}", 0, 0, GK_ERROR_FORMAT},
    {"metadata with an object", "{\"__metadata__\":{\"x\":{}}}", 0, 0, GK_ERROR_FORMAT},
    {"metadata that is a tensor", "{\"__metadata__\":" TENSOR("U8", "[1]", "[0,1]") "}", 1, 0,
     GK_ERROR_FORMAT},
};

static void build_file(const char *path, const char *header, size_t header_bytes, int64_t length,
                       size_t data) {
  const uint64_t field = length ? (uint64_t)length : header_bytes;
  unsigned char *content = calloc(1, 8 + header_bytes + data);
  assert_non_null(content);
  for (int i = 0; i < 8; ++i)
    content[i] = (unsigned char)(field >> (8 * i));
  memcpy(content + 8, header, header_bytes);
  write_file(path, content, 8 + header_bytes + data);
  free(content);
}

static void expect_refused(const char *path, gk_status status, const char *name) {
  gk_safetensors *file = (gk_safetensors *)&status; /* must be overwritten */
  const gk_status got = gk_safetensors_open(path, &file);
  if (got != status || file || !strstr(gk_last_error(), path))
    fail_msg("%s: %s (\"%s\"), wanted %s and a message with the file's name", name, gk_status_name(got),
             gk_last_error(), gk_status_name(status));
}

static void malformed_files_are_refused(void **state) {
  (void)state;
  const char *path = temporary_path("malformed.safetensors");
  for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; ++i) {
    const struct malformed *kind = &malformed[i];
    build_file(path, kind->header, strlen(kind->header), kind->length, kind->data);
    expect_refused(path, kind->status, kind->name);
  }
}

static void deep_nesting_is_refused(void **state) {
  (void)state;
  enum { DEPTH = 1000000 };
  static const char start[5] = {'{', '"', 'a', '"', ':'};
  char *header = malloc(sizeof start + DEPTH);
  assert_non_null(header);
  memcpy(header, start, sizeof start);
  memset(header + sizeof start, '[', DEPTH);
  const char *path = temporary_path("deep.safetensors");
  build_file(path, header, sizeof start + DEPTH, 0, 0);
  expect_refused(path, GK_ERROR_FORMAT, "a million nested arrays");
  free(header);
}

static void a_header_above_the_bound_is_refused(void **state) {
  (void)state;
  const char *path = temporary_path("sparse.safetensors");
  build_file(path, "{}", 2, 100000001, 0);
  if (truncate(path, 100000001 + 8) != 0)
    fail_msg("truncate: %s", strerror(errno));
  expect_refused(path, GK_ERROR_FORMAT, "a header longer than any header may be");
  unlink(path);
}

static void what_is_no_regular_file_is_refused(void **state) {
  (void)state;
  expect_refused(temporary_path("missing"), GK_ERROR_IO, "a file that is not there");
  expect_refused(temporary_folder(), GK_ERROR_IO, "a folder");
  expect_refused("/dev/null", GK_ERROR_IO, "a device");
  const char *fifo = temporary_path("fifo");
  assert_int_equal(mkfifo(fifo, 0600), 0);
  expect_refused(fifo, GK_ERROR_IO, "a pipe that nobody writes to");
  gk_safetensors *file;
  assert_int_equal(gk_safetensors_open(NULL, &file), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_safetensors_open("x", NULL), GK_ERROR_ARGUMENT);
  gk_safetensors_close(NULL);
}

/* ---- Round trips ---- */

static const float weights[6] = {1.5f, -0.0f, 3e-45f, 3.4e38f, -7, 0.1f};
static const int64_t counters[2] = {INT64_MIN, INT64_MAX};
static const unsigned char bytes[5] = {0, 1, 127, 128, 255};

static const gk_file_tensor tensors[] = {
    {.name = "counters", .dtype = GK_DTYPE_I64, .rank = 1, .shape = {2}, .data = counters},
    {.name = "layer.weight", .dtype = GK_DTYPE_F32, .rank = 2, .shape = {2, 3}, .data = weights},
    {.name = "nothing", .dtype = GK_DTYPE_F32, .rank = 3, .shape = {4, 0, 7}},
    {.name = "scalar", .dtype = GK_DTYPE_F32, .rank = 0, .data = weights + 5},
    {.name = "n\xC3\xA4me \"quoted\"", .dtype = GK_DTYPE_U8, .rank = 1, .shape = {5}, .data = bytes},
};
enum { TENSORS = sizeof tensors / sizeof tensors[0] };
static const gk_file_metadata metadata[] = {{"format", "pt"}, {"note", "line\nfeed, \xE2\x82\xAC, \"{}\""}};

static size_t tensor_bytes(const gk_file_tensor *tensor) {
  size_t size = gk_dtype_bytes(tensor->dtype);
  for (int i = 0; i < tensor->rank; ++i)
    size *= (size_t)tensor->shape[i];
  return size;
}

static void what_is_saved_is_read_back(void **state) {
  (void)state;
  const char *path = temporary_path("round.safetensors");
  assert_int_equal(gk_safetensors_save(path, TENSORS, tensors, 2, metadata), GK_OK);
  gk_safetensors *file;
  assert_int_equal(gk_safetensors_open(path, &file), GK_OK);
  assert_int_equal(gk_safetensors_count(file), TENSORS);
  for (int i = 0; i < TENSORS; ++i) {
    gk_file_tensor found;
    unsigned char data[64];
    const size_t size = tensor_bytes(&tensors[i]);
    const int index = gk_safetensors_find(file, tensors[i].name);
    assert_int_equal(gk_safetensors_tensor(file, index, &found), GK_OK);
    assert_string_equal(found.name, tensors[i].name);
    assert_int_equal(found.dtype, tensors[i].dtype);
    assert_int_equal(found.rank, tensors[i].rank);
    assert_memory_equal(found.shape, tensors[i].shape, sizeof found.shape);
    assert_null(found.data);
    assert_int_equal(gk_safetensors_read(file, index, data, size), GK_OK);
    if (size)
      assert_memory_equal(data, tensors[i].data, size);
    assert_int_equal(gk_safetensors_read(file, index, data, size + 1), GK_ERROR_ARGUMENT);
  }
  assert_string_equal(gk_safetensors_metadata(file, "note"), metadata[1].value);
  assert_null(gk_safetensors_metadata(file, "absent"));
  assert_int_equal(gk_safetensors_find(file, "absent"), -1);
  gk_file_tensor unused;
  assert_int_equal(gk_safetensors_tensor(file, -1, &unused), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_safetensors_tensor(file, TENSORS, &unused), GK_ERROR_ARGUMENT);
  gk_safetensors_close(file);
}

static void data_is_aligned(void **state) {
  (void)state;
  const char *path = temporary_path("aligned.safetensors");
  char name[32] = "a";
  for (int length = 1; length <= 17; ++length) { /* of the name, so that the header takes every length */
    memset(name, 'a', (size_t)length);
    const gk_file_tensor tensor = {.name = name, .rank = 1, .shape = {6}, .data = weights};
    assert_int_equal(gk_safetensors_save(path, 1, &tensor, 0, NULL), GK_OK);
    size_t size;
    char *content = read_file(path, &size);
    const size_t start = size - sizeof weights;
    assert_int_equal(start % 8, 0);
    assert_memory_equal(content + start, weights, sizeof weights);
    free(content);
  }
}

static void a_file_of_no_tensors_opens(void **state) {
  (void)state;
  const char *path = temporary_path("none.safetensors");
  gk_safetensors *file;
  assert_int_equal(gk_safetensors_save(path, 0, NULL, 0, NULL), GK_OK);
  assert_int_equal(gk_safetensors_open(path, &file), GK_OK);
  assert_int_equal(gk_safetensors_count(file), 0);
  gk_safetensors_close(file);
}

static void every_truncation_is_refused(void **state) {
  (void)state;
  const char *path = temporary_path("whole.safetensors"), *cut = temporary_path("cut.safetensors");
  assert_int_equal(gk_safetensors_save(path, TENSORS, tensors, 2, metadata), GK_OK);
  size_t size;
  char *content = read_file(path, &size);
  for (size_t keep = 0; keep < size; ++keep) {
    char name[64];
    snprintf(name, sizeof name, "cut to %zu bytes", keep);
    write_file(cut, content, keep);
    expect_refused(cut, GK_ERROR_FORMAT, name);
  }
  write_file(cut, content, size + 1); /* read_file puts a zero there */
  expect_refused(cut, GK_ERROR_FORMAT, "a byte too many");
  free(content);
}

/* A checkpoint with any byte changed in any of its bits is refused; or it lost the name of the checksum, and
 * then everything else is as it was. */
static void a_damaged_byte_is_refused_or_changes_nothing(void **state) {
  (void)state;
  const char *path = temporary_path("checked.safetensors"), *damaged = temporary_path("damaged.safetensors");
  json_t *description = json_pack("{s:i, s:s}", "format", 1, "note", "what the tensors are");
  assert_int_equal(gk_checkpoint_save(path, description, TENSORS, tensors), GK_OK);
  size_t size;
  char *content = read_file(path, &size);
  struct gk_checkpoint checkpoint;
  assert_int_equal(gk_checkpoint_open(&checkpoint, path), GK_OK);
  gk_checkpoint_close(&checkpoint);
  for (size_t i = 0; i < size; ++i)
    for (int bit = 0; bit < 8; ++bit) {
      content[i] = (char)(content[i] ^ 1 << bit);
      write_file(damaged, content, size);
      if (gk_checkpoint_open(&checkpoint, damaged) == GK_OK) {
        assert_true(json_equal(checkpoint.description, description));
        assert_int_equal(gk_safetensors_count(checkpoint.file), TENSORS);
        assert_null(gk_safetensors_metadata(checkpoint.file, "checksum"));
      }
      gk_checkpoint_close(&checkpoint);
      content[i] = (char)(content[i] ^ 1 << bit);
    }
  json_decref(description);
  free(content);
}

/* ---- Saves that fail ---- */

static void wrong_arguments_are_refused_and_write_no_file(void **state) {
  (void)state;
  const char *path = temporary_path("never.safetensors");
  const gk_file_tensor good = {.name = "a", .rank = 1, .shape = {6}, .data = weights};
  gk_file_tensor bad[2] = {good, good};
  assert_int_equal(gk_safetensors_save(NULL, 1, &good, 0, NULL), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_safetensors_save(path, 1, NULL, 0, NULL), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_safetensors_save(path, -1, &good, 0, NULL), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_safetensors_save(path, 2, bad, 0, NULL), GK_ERROR_ARGUMENT); /* one name twice */
  const gk_file_metadata twice[] = {{"key", "a"}, {"key", "b"}};
  assert_int_equal(gk_safetensors_save(path, 1, &good, 2, twice), GK_ERROR_ARGUMENT);
  bad[1].name = "__metadata__";
  assert_int_equal(gk_safetensors_save(path, 2, bad, 0, NULL), GK_ERROR_ARGUMENT);
  bad[1].name = "\xFF";
  assert_int_equal(gk_safetensors_save(path, 2, bad, 0, NULL), GK_ERROR_ARGUMENT);
  bad[1] = (gk_file_tensor){.name = "b", .dtype = (gk_dtype)9, .rank = 1, .shape = {1}, .data = weights};
  assert_int_equal(gk_safetensors_save(path, 2, bad, 0, NULL), GK_ERROR_ARGUMENT);
  bad[1] = (gk_file_tensor){.name = "b", .rank = 9, .data = weights};
  assert_int_equal(gk_safetensors_save(path, 2, bad, 0, NULL), GK_ERROR_ARGUMENT);
  bad[1] = (gk_file_tensor){.name = "b", .rank = 1, .shape = {1}};
  assert_int_equal(gk_safetensors_save(path, 2, bad, 0, NULL), GK_ERROR_ARGUMENT);
  bad[1] = (gk_file_tensor){.name = "b", .rank = 2, .shape = {INT64_MAX, INT64_MAX}, .data = weights};
  assert_int_equal(gk_safetensors_save(path, 2, bad, 0, NULL), GK_ERROR_OVERFLOW);
  bad[1] = (gk_file_tensor){.name = "b", .rank = 1, .shape = {-1}, .data = weights};
  assert_int_equal(gk_safetensors_save(path, 2, bad, 0, NULL), GK_ERROR_OVERFLOW);
  assert_false(file_exists(path));
}

static void expect_save_fails(const char *path, const char *name) {
  const gk_status status = gk_safetensors_save(path, TENSORS, tensors, 2, metadata);
  if (status != GK_ERROR_IO || gk_safetensors_can_save(path) != GK_ERROR_IO || !strstr(gk_last_error(), path))
    fail_msg("%s: %s (\"%s\")", name, gk_status_name(status), gk_last_error());
}

static void what_cannot_be_written_fails_and_leaves_no_file(void **state) {
  (void)state;
  const char *file = temporary_path("plain"), *link = temporary_path("dangling");
  char below[300];
  write_file(file, "text", 4);
  snprintf(below, sizeof below, "%s/model", file);
  assert_int_equal(symlink("/nowhere/at/all", link), 0);
  const int files = count_files(temporary_folder());
  expect_save_fails("/nowhere/model.safetensors", "a folder that is not there");
  expect_save_fails(below, "a file taken for a folder");
  expect_save_fails(temporary_folder(), "a folder");
  expect_save_fails("/dev/full", "a device");
  expect_save_fails("/proc/model.safetensors", "a folder that takes no files");
  expect_save_fails(link, "a symbolic link that leads nowhere");
  assert_int_equal(count_files(temporary_folder()), files);
  struct stat status;
  assert_int_equal(stat("/dev/full", &status), 0);
  assert_true(S_ISCHR(status.st_mode));
}

static void a_save_may_replace_only_a_safetensors_file(void **state) {
  (void)state;
  const char *text = temporary_path("book.txt"), *model = temporary_path("good.safetensors");
  write_file(text, "a text that took years", 22);
  assert_int_equal(gk_safetensors_can_save(text), GK_ERROR_IO);
  assert_int_equal(gk_safetensors_can_save(""), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_safetensors_can_save(model), GK_OK);
  assert_false(file_exists(model));
  assert_int_equal(gk_safetensors_save(model, TENSORS, tensors, 0, NULL), GK_OK);
  assert_int_equal(gk_safetensors_can_save(model), GK_OK);
}

static void a_save_keeps_symbolic_links_and_permissions(void **state) {
  (void)state;
  const char *target = temporary_path("target.safetensors"), *link = temporary_path("link.safetensors");
  assert_int_equal(gk_safetensors_save(target, 0, NULL, 0, NULL), GK_OK);
  assert_int_equal(chmod(target, 0640), 0);
  assert_int_equal(symlink("target.safetensors", link), 0);
  assert_int_equal(gk_safetensors_save(link, TENSORS, tensors, 0, NULL), GK_OK);
  struct stat status;
  assert_int_equal(lstat(link, &status), 0);
  assert_true(S_ISLNK(status.st_mode));
  assert_int_equal(lstat(target, &status), 0);
  assert_int_equal(status.st_mode & 07777, 0640);
  assert_true(status.st_size > 100);
}

/* Whether `path` holds the file of no tensors ("old") or that of all ("new"). */
static bool is_old_or_new(const char *path, bool *is_new) {
  gk_safetensors *file;
  if (gk_safetensors_open(path, &file) != GK_OK)
    return false;
  const int count = gk_safetensors_count(file);
  gk_safetensors_close(file);
  *is_new = count == TENSORS;
  return count == 0 || count == TENSORS;
}

static void *save_often(void *path) {
  intptr_t failures = 0;
  for (int i = 0; i < 100; i++)
    failures += gk_safetensors_save(path, i % 2 ? TENSORS : 0, tensors, 0, NULL) != GK_OK;
  return (void *)failures;
}

static void threads_that_save_to_one_path_leave_whole_files(void **state) {
  enum { SAVERS = 3 };
  char *path = strdup(temporary_path("shared.safetensors"));
  const int before = count_files(temporary_folder());
  pthread_t saver[SAVERS];
  void *failures;
  bool is_new;
  (void)state;
  assert_int_equal(gk_safetensors_save(path, 0, NULL, 0, NULL), GK_OK);
  for (int i = 0; i < SAVERS; i++)
    assert_int_equal(pthread_create(&saver[i], NULL, save_often, path), 0);
  for (int i = 0; i < 300; i++)
    if (!is_old_or_new(path, &is_new))
      fail_msg("read %d: %s", i, gk_last_error());
  for (int i = 0; i < SAVERS; i++) {
    assert_int_equal(pthread_join(saver[i], &failures), 0);
    assert_int_equal((intptr_t)failures, 0);
  }
  assert_int_equal(count_files(temporary_folder()), before + 1);
  free(path);
}

/* What a killed process left is replaced, whatever its mode; what is none of that is left alone. */
static void what_bears_a_temporary_name_is_no_obstacle(void **state) {
  (void)state;
  char name[512];
  const char *mine = temporary_path("mine"), *path = temporary_path("obstacles.safetensors");
  struct stat found;
  FILE *file = fopen(mine, "w");
  assert_non_null(file);
  assert_int_equal(fputs("mine", file) < 0 || fclose(file) != 0, 0);
  snprintf(name, sizeof name, "%s.saving0", path);
  assert_int_equal(mkfifo(name, 0666), 0);
  snprintf(name, sizeof name, "%s.saving1", path);
  assert_int_equal(link(mine, name), 0);
  snprintf(name, sizeof name, "%s.saving2", path);
  const int left_over = open(name, O_WRONLY | O_CREAT, 0400);
  assert_true(left_over >= 0);
  close(left_over);
  const int files = count_files(temporary_folder());
  const mode_t mask = umask(022);
  assert_int_equal(gk_safetensors_save(path, TENSORS, tensors, 0, NULL), GK_OK);
  umask(mask);
  assert_int_equal(stat(path, &found), 0);
  assert_int_equal(found.st_mode & 0777, 0644);
  assert_int_equal(stat(mine, &found), 0);
  assert_int_equal(found.st_size, 4);
  assert_int_equal(count_files(temporary_folder()), files); /* the model instead of .saving2 */
  for (int i = 0; i < 2; i++) {
    snprintf(name, sizeof name, "%s.saving%d", path, i);
    assert_int_equal(unlink(name), 0);
  }
}

/* The disk is full after any number of bytes. */
static void a_full_disk_leaves_the_old_file(void **state) {
  (void)state;
  const char *path = temporary_path("full.safetensors");
  struct stat status;
  assert_int_equal(gk_safetensors_save(path, TENSORS, tensors, 2, metadata), GK_OK);
  assert_int_equal(stat(path, &status), 0);
  const size_t size = (size_t)status.st_size;
  assert_int_equal(gk_safetensors_save(path, 0, NULL, 0, NULL), GK_OK);
  const int files = count_files(temporary_folder());
  struct rlimit unlimited, limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  signal(SIGXFSZ, SIG_IGN);
  for (size_t room = 0; room < size; ++room) {
    limit = (struct rlimit){.rlim_cur = room, .rlim_max = unlimited.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const gk_status saved = gk_safetensors_save(path, TENSORS, tensors, 2, metadata);
    setrlimit(RLIMIT_FSIZE, &unlimited);
    bool is_new;
    if (saved != GK_ERROR_IO || !is_old_or_new(path, &is_new) || is_new ||
        count_files(temporary_folder()) != files)
      fail_msg("room for %zu of %zu bytes: %s (\"%s\")", room, size, gk_status_name(saved), gk_last_error());
  }
  signal(SIGXFSZ, SIG_DFL);
  assert_int_equal(gk_safetensors_save(path, TENSORS, tensors, 2, metadata), GK_OK);
}

#ifdef __linux__
/* Saves in a child that is killed when it enters or leaves a system call for the stops-th time. Returns
 * whether it ended by itself before that; -1: tracing is not possible here. */
static int save_until_killed(const char *path, int stops) {
  const pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
      _exit(2);
    raise(SIGSTOP);
    _exit(gk_safetensors_save(path, TENSORS, tensors, 2, metadata) != GK_OK);
  }
  int status;
  for (int i = 0; i < stops; ++i) {
    if (waitpid(child, &status, 0) != child)
      return -1;
    if (WIFEXITED(status))
      return WEXITSTATUS(status) == 2 ? -1 : WEXITSTATUS(status) == 0;
    ptrace(PTRACE_SYSCALL, child, NULL, NULL);
  }
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  if (WIFSTOPPED(status)) {
    ptrace(PTRACE_KILL, child, NULL, NULL);
    waitpid(child, &status, 0);
  }
  return 0;
}

static void a_killed_save_leaves_the_old_or_the_new_file(void **state) {
  (void)state;
  const char *path = temporary_path("killed.safetensors");
  const int before = count_files(temporary_folder());
  int ended = 0, old = 0, new = 0;
  for (int stops = 1; !ended && stops < 1000; ++stops) {
    bool is_new = false;
    assert_int_equal(gk_safetensors_save(path, 0, NULL, 0, NULL), GK_OK);
    ended = save_until_killed(path, stops);
    if (ended < 0)
      skip(); /* no tracing: an emulator, or a container that forbids it */
    if (!is_old_or_new(path, &is_new))
      fail_msg("killed at stop %d: neither the old nor the new file: %s", stops, gk_last_error());
    old += !is_new;
    new += is_new;
  }
  assert_true(ended && old >= 5 && new >= 2);
  assert_int_equal(count_files(temporary_folder()), before + 1); /* what was left over was used again */
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(malformed_files_are_refused),
      cmocka_unit_test(deep_nesting_is_refused),
      cmocka_unit_test(a_header_above_the_bound_is_refused),
      cmocka_unit_test(what_is_no_regular_file_is_refused),
      cmocka_unit_test(what_is_saved_is_read_back),
      cmocka_unit_test(data_is_aligned),
      cmocka_unit_test(a_file_of_no_tensors_opens),
      cmocka_unit_test(every_truncation_is_refused),
      cmocka_unit_test(a_damaged_byte_is_refused_or_changes_nothing),
      cmocka_unit_test(wrong_arguments_are_refused_and_write_no_file),
      cmocka_unit_test(what_cannot_be_written_fails_and_leaves_no_file),
      cmocka_unit_test(a_save_may_replace_only_a_safetensors_file),
      cmocka_unit_test(a_save_keeps_symbolic_links_and_permissions),
      cmocka_unit_test(threads_that_save_to_one_path_leave_whole_files),
      cmocka_unit_test(what_bears_a_temporary_name_is_no_obstacle),
      cmocka_unit_test(a_full_disk_leaves_the_old_file),
#ifdef __linux__
      cmocka_unit_test(a_killed_save_leaves_the_old_or_the_new_file),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
