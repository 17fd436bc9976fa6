/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes wrong, in one line. The library names the fields of its structures; a user has given options. */
#include "options.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE = 1024, OPTION_NAME = 64 };

/* Fields whose options have other names; of two options for one field, the one that the command has. */
static const struct {
  const char *field, *option;
} renamed[] = {
    {"hidden_size", "hidden"}, {"hidden_sizes", "hidden"}, {"input_size", "embed"}, {"input_size", "input"},
    {"tied", "tie"},
};

/* Options that decide how much memory is needed. */
static const char *const sizes[] = {"input", "embed", "hidden", "layers",       "projection-size",
                                    "batch", "time",  "words",  "backward-time"};

/* ---- Translation ---- */

static size_t word_length(const char *word) {
  size_t length = 0;
  while (isalnum((unsigned char)word[length]) || word[length] == '_')
    ++length;
  return length;
}

static bool is_word(const char *name, const char *word, size_t length) {
  return strlen(name) == length && strncmp(word, name, length) == 0;
}

/* The option that the field is set by; false: the command has none. */
static bool find_option_of(const char *field, size_t length, char option[OPTION_NAME]) {
  for (size_t i = 0; i < sizeof renamed / sizeof *renamed; ++i)
    if (is_word(renamed[i].field, field, length) && cli_takes(renamed[i].option)) {
      snprintf(option, OPTION_NAME, "%s", renamed[i].option);
      return true;
    }
  for (const gk_training_option *known = gk_training_option_after(NULL); known;
       known = gk_training_option_after(known))
    if (known->name && is_word(known->field, field, length) && cli_takes(known->name)) {
      snprintf(option, OPTION_NAME, "%s", known->name);
      return true;
    }
  snprintf(option, OPTION_NAME, "%.*s", (int)length, field);
  for (char *c = option; *c; ++c)
    if (*c == '_')
      *c = '-';
  return cli_takes(option);
}

/* Fields of one word are also words of the language: they are meant where a value follows, or a remark on the
 * whole of them. What is wrong with a file may name the file's own fields, which are not the command's. */
static bool is_field(const char *message, const char *word, size_t length, bool of_file) {
  const char *after = word + length;
  if (of_file)
    return word == message && *after == ':';
  return memchr(word, '_', length) || strncmp(after, " is ", 4) == 0 || strncmp(after, " are ", 5) == 0 ||
         (*after == ' ' && isdigit((unsigned char)after[1])) || (word == message && *after == ':');
}

/* hidden_size is 0 -> --hidden is 0; options.alpha[GK_CANDIDATE] is 3 -> alpha is 3. Names of files and what
 * is quoted stay. */
static void translate(const char *message, bool of_file, char text[LINE]) {
  static const char member[] = "options.";
  size_t used = 0;
  for (const char *at = message; *at && used + OPTION_NAME + 3 < LINE;) {
    const bool within = at > message && (isalnum((unsigned char)at[-1]) || strchr("_-./'\"", at[-1]));
    if (within || !isalpha((unsigned char)*at)) {
      text[used++] = *at++;
      continue;
    }
    const bool of_options = strncmp(at, member, sizeof member - 1) == 0;
    const char *word = of_options ? at + sizeof member - 1 : at;
    const size_t length = word_length(word);
    char option[OPTION_NAME];
    if (length < OPTION_NAME && find_option_of(word, length, option) &&
        (of_options || is_field(message, word, length, of_file)))
      used += (size_t)snprintf(text + used, LINE - used, "--%s", option);
    else
      used += (size_t)snprintf(text + used, LINE - used, "%.*s", (int)length, word);
    if (used >= LINE)
      break;
    at = word + length;
    if (of_options && *at == '[')
      at += strcspn(at, "]") + (strchr(at, ']') != NULL);
  }
  text[used < LINE ? used : LINE - 1] = '\0';
}

/* " (--hidden 65536, --layers 64)", of those that were given. */
static void add_sizes(char text[LINE]) {
  const char *separator = " (";
  size_t used = strlen(text);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes && used < LINE; ++i)
    if (cli_given_text(sizes[i])) {
      used += (size_t)snprintf(text + used, LINE - used, "%s--%s %s", separator, sizes[i],
                               cli_given_text(sizes[i]));
      separator = ", ";
    }
  if (*separator == ',' && used < LINE)
    snprintf(text + used, LINE - used, ")");
}

const char *cli_message(gk_status status) {
  static char text[LINE];
  const char *message = gk_last_error();
  size_t bytes;
  translate(message, status == GK_ERROR_FORMAT || status == GK_ERROR_IO, text);
  if (status == GK_ERROR_MEMORY && sscanf(message, "no memory for %zu bytes", &bytes) == 1 &&
      bytes >= (size_t)1 << 20) {
    const bool giga = bytes >= (size_t)1 << 30;
    snprintf(text, sizeof text, "no memory for %.1f %s", (double)bytes / (giga ? 1 << 30 : 1 << 20),
             giga ? "GiB" : "MiB");
  }
  if (status == GK_ERROR_MEMORY || status == GK_ERROR_OVERFLOW)
    add_sizes(text);
  return text;
}

/* ---- Lines ---- */

/* The line ends here even if a file name or a message holds a line feed. */
static void print_error_line(const cli_command *command, const char *format, va_list arguments) {
  char line[LINE];
  vsnprintf(line, sizeof line, format, arguments);
  for (char *c = line; *c; ++c)
    if ((unsigned char)*c < 0x20 || *c == 0x7f)
      *c = '?';
  fprintf(stderr, "gatekern %s: %s\n", command->name, line);
}

int cli_error(const cli_command *command, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_error_line(command, format, arguments);
  va_end(arguments);
  return CLI_BAD_INPUT;
}

int cli_exit_code(gk_status status) {
  return status == GK_OK                                      ? CLI_SUCCESS
         : status == GK_ERROR_MEMORY || status == GK_ERROR_IO ? CLI_FAILURE
                                                              : CLI_BAD_INPUT;
}

int cli_status(const cli_command *command, gk_status status) {
  if (status != GK_OK)
    cli_error(command, "%s", cli_message(status));
  return cli_exit_code(status);
}

int cli_input_status(const cli_command *command, gk_status status) {
  if (status != GK_OK)
    cli_error(command, "%s", status == GK_ERROR_MEMORY ? cli_message(status) : gk_last_error());
  return status == GK_ERROR_IO ? CLI_BAD_INPUT : cli_exit_code(status);
}
