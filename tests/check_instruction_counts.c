/* SPDX-License-Identifier: Apache-2.0 */
/* Calls every kernel of one tier once, as its benchmark does, and prints a line "BENCHMARK ELEMENTS" for
 * each. What tests/check_instruction_counts.sh counts is what a benchmark's loop runs: from the first time
 * that shim_keep_running is entered to the second. */
#include <stdio.h>
#include <string.h>

#include "bench/kernel_work.h"
#include "dispatch/dispatch.h"

enum { SKIPPED = 77 }; /* what ctest takes for it */

/* Sizes with a tail for each tier: 70 units are no multiple of 16 floats. */
static const size_t products[][3] = {{13, 300, 136}}, matrices[][3] = {{40, 136}}, cells[][3] = {{13, 70}};
static const size_t arrays[][3] = {{1003}}, rounds[][3] = {{100}};
static const struct kernel_sizes counted_sizes = {.products = GK_SIZE_LIST(products),
                                                  .matrices = GK_SIZE_LIST(matrices),
                                                  .cells = GK_SIZE_LIST(cells),
                                                  .arrays = GK_SIZE_LIST(arrays),
                                                  .logits = GK_SIZE_LIST(arrays),
                                                  .rounds = GK_SIZE_LIST(rounds),
                                                  .levels = GK_SIZE_LIST(arrays)};

/* ---- The shim, whose timed loop runs once ------------------------------------------------------- */

struct shim_state {
  int entered;
};

static void stop_for_counter(void);

bool shim_keep_running(shim_state *state) {
  if (state->entered++)
    return false;
  stop_for_counter();
  return true;
}

void shim_register(const char *name, shim_function *run, const void *context) {
  const struct work *work = context;
  size_t elements = 1;
  for (int i = 0; i < 3 && work->size[i]; i++)
    elements *= work->size[i];
  run(&(shim_state){0}, work);
  printf("%s %zu\n", name, elements);
}

void shim_flop_and_bytes(shim_state *state, double flop, double bytes) {
  (void)state, (void)flop, (void)bytes;
}

void shim_counter(shim_state *state, const char *name, double value) {
  (void)state, (void)name, (void)value;
}

/* Clocks are not read: that would be counted. */
double clock_seconds(void) {
  return 0;
}

double clock_cycle_seconds(void) {
  return 1;
}

/* ---- A counter for tiers that no other knows ---------------------------------------------------- */

#if defined(__x86_64__)
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_stepped;

static void stop_for_counter(void) {
  if (is_stepped)
    __asm__ volatile("int3");
}

/* Runs `child`, which has just stopped inside shim_keep_running, until it enters that function again: how
 * many instructions that took, -1 if it ended. */
static long step_through(pid_t child) {
  const size_t pc = offsetof(struct user_regs_struct, rip);
  int status, signal = 0;
  for (long count = 1;; count++) {
    if (ptrace(PTRACE_SINGLESTEP, child, 0, signal) || waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status))
      return -1;
    signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status); /* a fault ends the child */
    if (ptrace(PTRACE_PEEKUSER, child, pc, 0) == (long)&shim_keep_running)
      return count;
  }
}

/* Returns in the child, which goes on as usual. The parent prints the instructions of each call on stderr,
 * and ends. */
static void step_child(void) {
  int status = 0;
  const pid_t child = fork();
  if (child < 0)
    exit(1);
  if (!child) {
    is_stepped = true;
    if (!ptrace(PTRACE_TRACEME, 0, 0, 0))
      return;
    perror("no process may be stepped through here");
    _exit(SKIPPED);
  }
  while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
    const bool trapped = WSTOPSIG(status) == SIGTRAP;
    ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_EXITKILL);
    if (trapped)
      fprintf(stderr, "%ld\n", step_through(child));
    if (ptrace(PTRACE_CONT, child, 0, trapped ? 0 : WSTOPSIG(status)))
      break;
  }
  exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}
#else
static void stop_for_counter(void) {}
static void step_child(void) {}
#endif

int main(int argc, char **argv) {
  gk_isa isa;
  const bool step = argc == 3 && !strcmp(argv[2], "step");
  if ((argc != 2 && !step) || gk_isa_from_name(argv[1], &isa) != GK_OK) {
    fprintf(stderr, "usage: check_instruction_counts TIER [step]\n");
    return 2;
  }
  const struct gk_kernels *kernels = gk_dispatch(isa, GK_MATH_OWN);
  if (!kernels) {
    printf("%s does not run here\n", argv[1]);
    return SKIPPED;
  }
  if (step)
    step_child();
  register_kernels(argv[1], kernels, &counted_sizes);
  return 0;
}
