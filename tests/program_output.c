/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "tests/program_output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmocka.h>

struct program_output program_run(const char *environment, const char *arguments) {
  const char *program = getenv("GATEKERN_PROGRAM");
  char command[2048];
  struct program_output output = {-1, NULL};
  size_t bytes, read = 0, room = 1 << 12;
  snprintf(command, sizeof command, "%s '%s' %s 2>&1", environment, program ? program : GATEKERN_PROGRAM,
           arguments);
  FILE *pipe = popen(command, "r");
  output.text = malloc(room + 1);
  assert_true(pipe && output.text);
  while ((bytes = fread(output.text + read, 1, room - read, pipe)) > 0) {
    read += bytes;
    if (read == room) {
      room *= 2;
      char *larger = realloc(output.text, room + 1);
      assert_non_null(larger);
      output.text = larger;
    }
  }
  output.text[read] = 0;
  const int status = pclose(pipe);
  output.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return output;
}

void program_free(struct program_output *output) {
  free(output->text);
  output->text = NULL;
}

char *program_text(const char *environment, const char *arguments, int exit_code) {
  struct program_output output = program_run(environment, arguments);
  if (output.exit_code != exit_code)
    fail_msg("%s gatekern %s: exit %d, wanted %d\n%s", environment, arguments, output.exit_code, exit_code,
             output.text);
  return output.text;
}
