/* SPDX-License-Identifier: Apache-2.0
 *
 * The program as people use it (GATEKERN_PROGRAM), at a terminal: what takes long shows how far it is, on a
 * line that is gone at the end, and standard output is the same as without a terminal. */
#define _GNU_SOURCE /* posix_openpt */
#include <signal.h>
#include <time.h>

#include "tests/command_line_fixture.h"

enum { SHOWN = 1 << 20 };

/* Runs a line whose standard error, or output, is a terminal; `shown` gets what that displayed. */
static struct result run_at(bool output, const char *line, char shown[SHOWN]) {
  char path[64];
  const int display = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  assert_true(display >= 0 && grantpt(display) == 0 && unlockpt(display) == 0);
  snprintf(path, sizeof path, "%s", ptsname(display));
  const int terminal = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC); /* stays open, so that nothing is lost */
  assert_true(terminal >= 0);
  const struct run run = {.output = output ? path : NULL, .error = output ? NULL : path};
  const pid_t child = start(line, &run);
  siginfo_t ended = {0};
  size_t used = 0;
  for (bool last = false;; last = ended.si_pid == child) {
    ssize_t bytes;
    while ((bytes = read(display, shown + used, SHOWN - 1 - used)) > 0)
      used += (size_t)bytes;
    if (last)
      break;
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
  }
  shown[used] = '\0';
  close(terminal);
  close(display);
  return finish(child, &run);
}

static struct result run_at_terminal(const char *line, char shown[SHOWN]) {
  return run_at(false, line, shown);
}

static const struct {
  const char *line;
  const char *shows[2]; /* parts of the progress line */
} lines[] = {
    {"eval @/model @/text", {"eval 0/6199 characters", "eval free-running 0/6199 characters"}},
    {"eval @/model @/text --json", {"eval 0/6199 characters", "eval free-running"}},
    {"inspect @/model @/text --batch 4 --time 30", {"inspect 0/4 spectral radii", "inspect 3/4"}},
    {"inspect --hidden 24 --layers 2 --cell gru", {"inspect 0/6 spectral radii", "inspect 5/6"}},
    {"inspect --hidden 24", {"inspect 0/", "spectral radii"}},
};

static void progress_at_a_terminal_is_gone_at_the_end(void **state) {
  (void)state;
  static char shown[SHOWN];
  static const char gone[] = "\r\033[K";
  for (size_t i = 0; i < sizeof lines / sizeof *lines; ++i) {
    struct result plain = run_line(lines[i].line), seen = run_at_terminal(lines[i].line, shown);
    const size_t length = strlen(shown);
    if (plain.exit_code != 0 || seen.exit_code != 0 || *plain.err)
      fail_msg("gatekern %s: exit %d and %d: %s", lines[i].line, plain.exit_code, seen.exit_code, plain.err);
    assert_string_equal(plain.out, seen.out);
    for (int part = 0; part < 2; ++part)
      if (!strstr(shown, lines[i].shows[part]))
        fail_msg("gatekern %s does not show \"%s\": %s", lines[i].line, lines[i].shows[part], shown);
    if (strchr(shown, '\n') || length < sizeof gone || strcmp(shown + length - (sizeof gone - 1), gone) != 0)
      fail_msg("gatekern %s leaves its progress: %s", lines[i].line, shown);
    free_result(&plain);
    free_result(&seen);
  }
}

static void verify_counts_its_cases(void **state) {
  (void)state;
  static char shown[SHOWN];
  struct result result = run_at_terminal("verify --isa scalar", shown);
  const char *first = strstr(shown, "verify 0/");
  assert_int_equal(result.exit_code, 0);
  assert_non_null(first);
  const int cases = atoi(first + strlen("verify 0/"));
  char last[64], total[64];
  snprintf(last, sizeof last, "verify %d/%d cases", cases - 1, cases);
  snprintf(total, sizeof total, ": %d cases", cases);
  assert_non_null(strstr(shown, last));
  assert_non_null(strstr(result.out, total));
  free_result(&result);
}

/* From the header to the first step there is always a line that says what takes so long. */
static void training_shows_what_it_waits_for(void **state) {
  (void)state;
  static char shown[SHOWN];
  static const struct {
    const char *line, *shows[4];
  } runs[] = {
      {"train lm @/text " SMALL "--steps 30 --out @/shown",
       {"\nmemory ", "\rsetting up the network ...\033[K\r\033[K", "\nmachine ", "\rstep 0/30\033[K"}},
      {"train lm @/text --resume --steps 40 --out @/shown",
       {"\rreading the state of the run ...\033[K\r\033[K", "text ", "\nmachine ", "\rstep 30/40\033[K"}}};
  for (size_t i = 0; i < sizeof runs / sizeof *runs; ++i) {
    struct result result = run_at(true, runs[i].line, shown);
    assert_int_equal(result.exit_code, 0);
    free_result(&result);
    const char *at = shown;
    for (int part = 0; part < 4; ++part) {
      at = strstr(at, runs[i].shows[part]);
      if (!at)
        fail_msg("gatekern %s does not show \"%s\" in its place: %s", runs[i].line, runs[i].shows[part],
                 shown);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(progress_at_a_terminal_is_gone_at_the_end),
      cmocka_unit_test(training_shows_what_it_waits_for),
      cmocka_unit_test(verify_counts_its_cases),
  };
  return cmocka_run_group_tests(tests, set_up, NULL);
}
