/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs the program and keeps what it prints. */
#ifndef GK_TESTS_PROGRAM_OUTPUT_H
#define GK_TESTS_PROGRAM_OUTPUT_H

struct program_output {
  int exit_code; /* 128 + signal if it was killed */
  char *text;    /* standard output and error together */
};

/* `environment` is put before the program's name, e.g. "GATEKERN_ISA=scalar"; `arguments` go through the
 * shell. */
struct program_output program_run(const char *environment, const char *arguments);
void program_free(struct program_output *output);

/* The same, but fails the test if the exit code is another; the caller frees the text. */
char *program_text(const char *environment, const char *arguments, int exit_code);

#endif
