/* SPDX-License-Identifier: Apache-2.0 */
#include "text_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Reads to the end; also pipes, whose size nobody knows. */
static bool read_all(FILE *stream, char **data, size_t *bytes) {
  size_t capacity = (size_t)1 << 16, used = 0;
  struct stat status;
  if (fstat(fileno(stream), &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0)
    capacity = (size_t)status.st_size + 1; /* one more, so that the end is seen without growing */
  char *buffer = malloc(capacity);
  while (buffer) {
    used += fread(buffer + used, 1, capacity - used, stream);
    if (used < capacity)
      break;
    char *grown = capacity <= SIZE_MAX / 2 ? realloc(buffer, capacity * 2) : NULL;
    if (!grown) {
      free(buffer);
      errno = ENOMEM;
    }
    buffer = grown;
    capacity *= 2;
  }
  if (buffer && ferror(stream)) {
    free(buffer);
    buffer = NULL;
  }
  *data = buffer;
  *bytes = used;
  return buffer != NULL;
}

bool cli_read_text(const cli_command *command, const char *path, gk_text *text) {
  const bool standard_input = strcmp(path, "-") == 0;
  FILE *stream = standard_input ? stdin : fopen(path, "rb");
  if (!stream) {
    cli_error(command, "%s: cannot read: %s", path, strerror(errno));
    return false;
  }
  char *data = NULL;
  size_t bytes = 0;
  const bool complete = read_all(stream, &data, &bytes);
  const int error = errno;
  if (!standard_input)
    fclose(stream);
  if (!complete || bytes == 0) {
    cli_error(command, complete ? "%s: empty" : "%s: cannot read: %s", path, strerror(error));
    free(data);
    return false;
  }
  *text = (gk_text){.data = data, .bytes = bytes};
  return true;
}

static bool is_same(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Of files that are not there yet: one name in one folder. */
static bool same_name(const char *a, const char *b) {
  const char *const paths[] = {a, b};
  const char *names[2];
  struct stat folders[2];
  for (int i = 0; i < 2; i++) {
    char folder[PATH_MAX];
    const char *slash = strrchr(paths[i], '/');
    names[i] = slash ? slash + 1 : paths[i];
    const int length = snprintf(folder, sizeof folder, "%.*s", (int)(names[i] - paths[i]), paths[i]);
    if ((size_t)length >= sizeof folder || stat(length ? folder : ".", &folders[i]) != 0)
      return false;
  }
  return strcmp(names[0], names[1]) == 0 && is_same(&folders[0], &folders[1]);
}

bool cli_same_file(const char *a, const char *b) {
  struct stat x, y;
  if (!a || !b)
    return false;
  const bool there = stat(a, &x) == 0, other_there = stat(b, &y) == 0;
  return there && other_there ? is_same(&x, &y) : !there && !other_there && same_name(a, b);
}

int cli_text_status(const cli_command *command, gk_status status, const char *text_name,
                    const char *validation_name) {
  static const char text[] = "text: ", validation[] = "validation text: ";
  const char *message = cli_message(status);
  if (status == GK_ERROR_FORMAT || status == GK_ERROR_ARGUMENT) {
    if (text_name && strncmp(message, text, sizeof text - 1) == 0)
      return cli_error(command, "%s: %s", text_name, message + sizeof text - 1);
    if (validation_name && strncmp(message, validation, sizeof validation - 1) == 0)
      return cli_error(command, "%s: %s", validation_name, message + sizeof validation - 1);
  }
  return cli_status(command, status);
}

int cli_unknown_status(const cli_command *command, gk_status status, const char *text_name,
                       const char *advice) {
  const char *message = gk_last_error(), *after_name = strstr(message, ": ");
  return status == GK_ERROR_FORMAT && after_name
             ? cli_error(command, "%s%s; %s", text_name, after_name, advice)
             : cli_status(command, status);
}
