/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "commands.h"
#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
  const char *name, *help;
  int (*run)(int argc, char **argv);
} commands[] = {
    {"train", "train a model: gatekern train lm [FILE] learns to write like a text", run_train},
    {"sample", "let a trained model write text", run_sample},
    {"eval", "measure a trained model's loss on a text", run_eval},
    {"inspect", "how gradients flow back through time, of a model or of fresh networks", run_inspect},
    {"bench", "time one recurrent layer on this machine", run_bench},
    {"verify", "check that this machine computes the same bits as every other", run_verify},
    {"info", "what this machine offers: instruction sets, caches, measured limits", run_info},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(void) {
  printf("Gatekern trains and runs recurrent networks on CPUs, with the same bits on\n"
         "every instruction set and any number of threads.\n\n"
         "Usage: gatekern COMMAND [ARGUMENT]...\n\n"
         "Commands:\n");
  for (int i = 0; i < COMMANDS; ++i)
    printf("  %-8s%s\n", commands[i].name, commands[i].help);
  printf("\nFirst steps:\n"
         "  gatekern train lm                     train on the built-in text, C sources\n"
         "  gatekern sample model.safetensors     let the result write\n"
         "  gatekern train lm --help              every option, with its default\n"
         "\ngatekern help COMMAND explains a command.\n"
         "GATEKERN_ISA=NAME forces an instruction set.\n");
}

static int run(int argc, char **argv) {
  for (int i = 0; i < COMMANDS; ++i)
    if (strcmp(argv[0], commands[i].name) == 0)
      return commands[i].run(argc, argv);
  fprintf(stderr, "gatekern: unknown command %s; gatekern help lists them\n", argv[0]);
  return CLI_BAD_INPUT;
}

/* help COMMAND [WORD]... is COMMAND [WORD]... --help. */
static int run_help(int argc, char **argv) {
  enum { MOST_WORDS = 8 };
  static char help[] = "--help";
  char *words[MOST_WORDS + 2];
  int count = 0;
  while (count < argc && count < MOST_WORDS) {
    words[count] = argv[count];
    ++count;
  }
  if (count == 0) {
    print_help();
    return CLI_SUCCESS;
  }
  words[count] = help;
  words[count + 1] = NULL;
  return run(count + 1, words);
}

static int dispatch(int argc, char **argv) {
  const char *first = argc > 1 ? argv[1] : "help";
  if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0) {
    printf("gatekern %s\n", gk_version());
    return CLI_SUCCESS;
  }
  if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0)
    return run_help(0, NULL);
  if (strcmp(first, "help") == 0)
    return run_help(argc > 2 ? argc - 2 : 0, argv + 2);
  return run(argc - 1, argv + 1);
}

/* GNU's OpenMP lets threads that wait spin for milliseconds: alone on a machine that costs nothing, beside
 * other programs it keeps the thread that it waits for from its CPU. 3000 spins (about 50 us) cost nothing
 * that could be measured alone, and gave two to three times the steps beside three busy programs on two
 * CPUs. OpenMP reads its settings before main begins, so the program starts itself again, unless whoever
 * called it has chosen, or something else runs it (the dynamic loader by name; Valgrind cannot be seen, and
 * loses it), or OpenMP has bound this thread to one of its CPUs: that one would be all that the program has
 * after its second start. A failure to do so only costs speed. */
static void spin_briefly(char **argv) {
  static const char *const chosen[] = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"};
  char path[PATH_MAX];
  for (size_t i = 0; i < sizeof chosen / sizeof *chosen; ++i)
    if (getenv(chosen[i]))
      return;
  cpu_set_t own;
  if (sched_getaffinity(0, sizeof own, &own) == 0 && CPU_COUNT(&own) < gk_allowed_cpus())
    return;
  struct stat started, running;
  if (stat((const char *)getauxval(AT_EXECFN), &started) != 0 || stat("/proc/self/exe", &running) != 0 ||
      started.st_dev != running.st_dev || started.st_ino != running.st_ino)
    return;
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length < 0 || setenv("GOMP_SPINCOUNT", "3000", 1) != 0)
    return;
  path[length] = 0;
  execv(path, argv);
}

/* Else the first files that are opened get these numbers, and what is said goes into a user's log. Opened the
 * wrong way round, so that reading and writing fail as before. */
static void occupy_closed_streams(void) {
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream)
    if (fcntl(stream, F_GETFD) < 0 && errno == EBADF &&
        open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
      exit(CLI_FAILURE);
}

int main(int argc, char **argv) {
  occupy_closed_streams();
  if (argc > 1 && argv[1][0] != '-')
    spin_briefly(argv);
  const int exit_code = dispatch(argc, argv);
  const bool flushed = fflush(stdout) == 0;
  if (!flushed || ferror(stdout)) { /* the reason of an earlier failure is gone */
    fprintf(stderr, "gatekern: cannot write to standard output%s%s\n", flushed ? "" : ": ",
            flushed ? "" : strerror(errno));
    return exit_code ? exit_code : CLI_FAILURE;
  }
  return exit_code;
}
