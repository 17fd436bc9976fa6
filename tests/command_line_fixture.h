/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs the program as people do, on a few small files, and looks at what it says and leaves. */
#ifndef GK_TESTS_COMMAND_LINE_FIXTURE_H
#define GK_TESTS_COMMAND_LINE_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/temporary_folder.h"

/* ---- Running the program ---- */

enum { MOST_ARGUMENTS = 40 };

struct result {
  int exit_code; /* 128 + signal if it was killed */
  char *out, *err;
};

struct run {
  const char *input, *output, *error; /* files; NULL: /dev/null, and files of the temporary folder */
  bool output_closed;
  rlim_t largest_file; /* 0: unlimited; can be raised while it runs */
};

static const char *program(void) {
  const char *path = getenv("GATEKERN_PROGRAM");
  return path ? path : GATEKERN_PROGRAM;
}

static inline void redirect(int descriptor, const char *path, int flags) {
  const int opened = open(path, flags, 0666);
  if (opened < 0 || dup2(opened, descriptor) < 0)
    _exit(126);
}

/* `line` is cut at spaces; @ in it is the temporary folder. */
static inline pid_t start(const char *line, const struct run *run) {
  char text[1024], *arguments[MOST_ARGUMENTS + 2];
  size_t used = 0;
  for (const char *c = line; *c; ++c)
    if (*c == '@')
      used += (size_t)snprintf(text + used, sizeof text - used, "%s", temporary_folder());
    else if (used < sizeof text - 1)
      text[used++] = *c;
  text[used] = '\0';
  int count = 0;
  arguments[count++] = (char *)program();
  for (char *word = strtok(text, " "); word && count <= MOST_ARGUMENTS; word = strtok(NULL, " "))
    arguments[count++] = word;
  arguments[count] = NULL;
  const char *out = run->output ? run->output : temporary_path("stdout");
  const char *err = run->error ? run->error : temporary_path("stderr");
  if (!run->output) /* nobody must wait for what an earlier run wrote */
    unlink(out);
  if (!run->error)
    unlink(err);
  const pid_t child = fork();
  if (child != 0)
    return child;
  redirect(STDIN_FILENO, run->input ? run->input : "/dev/null", O_RDONLY);
  redirect(STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC);
  redirect(STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC);
  if (run->output_closed)
    close(STDOUT_FILENO);
  if (run->largest_file) {
    const struct rlimit limit = {run->largest_file, RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  execv(arguments[0], arguments);
  _exit(127);
}

static inline struct result finish(pid_t child, const struct run *run) {
  struct result result = {0};
  int status;
  size_t bytes;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR)
    ;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = run->output ? strdup("") : read_file(temporary_path("stdout"), &bytes);
  result.err = run->error ? strdup("") : read_file(temporary_path("stderr"), &bytes);
  return result;
}

static inline struct result run_line(const char *line) {
  const struct run run = {0};
  return finish(start(line, &run), &run);
}

static inline void free_result(struct result *result) {
  free(result->out);
  free(result->err);
}

static inline void expect_exit(const char *line, int exit_code) {
  struct result result = run_line(line);
  if (result.exit_code != exit_code)
    fail_msg("gatekern %s: exit %d, wanted %d: %s", line, result.exit_code, exit_code, result.err);
  free_result(&result);
}

/* ---- Files that the tests use ---- */

enum { SENTENCE = 62, SENTENCES = 100 };

#define SMALL "--hidden 16 --batch 4 --time 8 --threads 1 "

static inline void make_files(void) {
  static const char sentence[] = "A cell keeps a state; gates decide what stays, and what goes.\n";
  char text[SENTENCES * SENTENCE];
  size_t used = 0;
  assert_int_equal(strlen(sentence), SENTENCE);
  for (int i = 0; i < SENTENCES; ++i, used += SENTENCE)
    memcpy(text + used, sentence, SENTENCE);
  write_file(temporary_path("text"), text, used);
  write_file(temporary_path("short"), text, 20);
  write_file(temporary_path("single"), text, 1);
  write_file(temporary_path("digits"), "123456 ", 7);
  write_file(temporary_path("empty"), "", 0);
  write_file(temporary_path("latin1"), "caf\xE9 cr\xE8me, and so on and on and on and on and on", 47);
  write_file(temporary_path("utf8"),
             "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 \xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 "
             "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 \xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80",
             39);
  expect_exit("train lm @/text " SMALL "--steps 30 --out @/model", 0);
  char *whole;
  size_t bytes;
  whole = read_file(temporary_path("model"), &bytes);
  write_file(temporary_path("cut"), whole, bytes - 1);
  write_file(temporary_path("torn.state"), whole, bytes - 1);
  whole[bytes - 9] ^= 1;
  write_file(temporary_path("damaged"), whole, bytes);
  whole[bytes - 9] ^= 1;
  memcpy(strstr(whole + sizeof(uint64_t), "checksum"), "replaced", 8);
  memcpy(whole + bytes - sizeof(float), &(float){NAN}, sizeof(float));
  write_file(temporary_path("not-finite"), whole, bytes);
  free(whole);
}

static inline int set_up(void **state) {
  (void)state;
  make_files();
  return 0;
}

/* With a model of 20 steps, that others are compared with. */
static inline int set_up_runs(void **state) {
  const int failed = set_up(state);
  expect_exit("train lm @/text " SMALL "--steps 20 --out @/model-of-20", 0);
  return failed;
}

static inline void expect_same_files(const char *a, const char *b) {
  size_t a_bytes, b_bytes;
  char *x = read_file(temporary_path(a), &a_bytes), *y = read_file(temporary_path(b), &b_bytes);
  if (a_bytes != b_bytes || memcmp(x, y, a_bytes) != 0)
    fail_msg("%s (%zu bytes) and %s (%zu bytes) differ", a, a_bytes, b, b_bytes);
  free(x);
  free(y);
}

static inline int lines_of(const char *name) {
  size_t bytes;
  int lines = 0;
  char *content = read_file(temporary_path(name), &bytes);
  for (size_t i = 0; i < bytes; ++i)
    lines += content[i] == '\n';
  free(content);
  return lines;
}

static inline void expect_says(const char *line, const char *const *says) {
  struct result result = run_line(line);
  if (result.exit_code != 0 || *result.err)
    fail_msg("gatekern %s: exit %d: %s", line, result.exit_code, result.err);
  for (; *says; ++says)
    if (!strstr(result.out, *says))
      fail_msg("gatekern %s does not say \"%s\"", line, *says);
  free_result(&result);
}

#endif
