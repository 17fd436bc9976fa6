/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define GK_TEXT(x)          #x
#define GK_VERSION(a, b, c) GK_TEXT(a) "." GK_TEXT(b) "." GK_TEXT(c)

static _Thread_local char last_error[512];

gk_status gk_fail(gk_status status, const char *format, ...) {
  char message[sizeof last_error]; /* an argument may be the last one */
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  for (char *c = message; *c; c++)
    if ((unsigned char)*c < ' ') /* one line, whatever a name holds */
      *c = '?';
  memcpy(last_error, message, sizeof message);
  return status;
}

const char *gk_last_error(void) {
  return last_error;
}

const char *gk_version(void) {
  return GK_VERSION(GK_VERSION_MAJOR, GK_VERSION_MINOR, GK_VERSION_PATCH);
}

const char *gk_status_name(gk_status status) {
  switch (status) {
  case GK_OK:
    return "ok";
  case GK_ERROR_ARGUMENT:
    return "invalid argument";
  case GK_ERROR_UNSUPPORTED:
    return "unsupported";
  case GK_ERROR_ISA:
    return "instruction set not available";
  case GK_ERROR_OVERFLOW:
    return "size overflow";
  case GK_ERROR_MEMORY:
    return "out of memory";
  case GK_ERROR_IO:
    return "input/output error";
  case GK_ERROR_FORMAT:
    return "invalid file format";
  }
  return "unknown";
}
