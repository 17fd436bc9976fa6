/* SPDX-License-Identifier: Apache-2.0
 *
 * The program as people use it (GATEKERN_PROGRAM): new runs over the files of
 * old ones, through kills and faults of the file system. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "tests/command_line_fixture.h"

/* ---- System calls that fail ---- */

enum { MOST_CALLS = 3, UNFILTERED = 99 };

/* What happens at one of these calls (0: none), with this first argument unless
 * it is negative. */
struct fault {
  long calls[MOST_CALLS];
  long argument;
  unsigned action;
};

static bool install(const struct fault *fault) {
  struct sock_filter filter[5 * MOST_CALLS + 1], *next = filter;
  for (int i = 0; i < MOST_CALLS && fault->calls[i]; ++i) {
    const bool any = fault->argument < 0;
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    *next++ =
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)fault->calls[i], 0, any ? 1 : 3);
    if (!any) {
      *next++ =
          (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]));
      *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)fault->argument, 0, 1);
    }
    *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, fault->action);
  }
  *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const struct sock_fprog program = {.len = (unsigned short)(next - filter), .filter = filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* As run_line; skips the test where there are no such filters. */
static struct result run_with_fault(const char *line, const struct fault *fault) {
  const struct run run = {0};
  const pid_t child = fork();
  if (child == 0) {
    int status;
    if (!install(fault))
      _exit(UNFILTERED);
    waitpid(start(line, &run), &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == UNFILTERED)
    skip();
  size_t bytes;
  return (struct result){.exit_code = WEXITSTATUS(status),
                         .out = read_file(temporary_path("stdout"), &bytes),
                         .err = read_file(temporary_path("stderr"), &bytes)};
}

static void start_over(const char *name) {
  char line[128];
  snprintf(line, sizeof line, "train lm @/text " SMALL "--steps 20 --out @/%s", name);
  expect_exit(line, 0);
}

/* ---- Looking ---- */

/* What cannot be looked at is not taken for something that is not there. */
static void a_failed_lookup_costs_no_old_model(void **state) {
  (void)state;
  static const struct fault unseen = {.calls = {SYS_faccessat, 439 /* faccessat2 */,
#ifdef SYS_access
                                                SYS_access
#endif
                                      },
                                      .argument = -1,
                                      .action = SECCOMP_RET_ERRNO | EIO};
  start_over("unseen");
  struct result result =
      run_with_fault("train lm @/text " SMALL "--cell gru --steps 3 --out @/unseen", &unseen);
  free_result(&result);
  expect_same_files(file_exists(temporary_path("unseen.old")) ? "unseen.old" : "unseen", "model-of-20");
}

/* ---- Not synced ---- */

/* fsync fails for one descriptor after the other: for the folder's the run warns and loses nothing. */
static void a_folder_that_cannot_be_synced_costs_no_save(void **state) {
  (void)state;
  int warnings = 0;
  for (int descriptor = 3; descriptor < 12; ++descriptor) {
    const struct fault unsynced = {
        .calls = {SYS_fsync}, .argument = descriptor, .action = SECCOMP_RET_ERRNO | EIO};
    start_over("unsynced");
    struct result result = run_with_fault("train lm @/text " SMALL "--steps 20 --out @/unsynced", &unsynced);
    assert_true(result.exit_code <= 1);
    warnings += result.exit_code == 0 && strstr(result.err, "warning: ") &&
                strstr(result.err, ": cannot sync the folder of the new file");
    if (result.exit_code == 0) {
      expect_same_files("unsynced", "model-of-20");
      expect_same_files("unsynced.state", "model-of-20.state");
    }
    free_result(&result);
    assert_false(file_exists(temporary_path("unsynced.replacing0")));
  }
  assert_int_equal(warnings, 1);
}

/* ---- Killed ---- */

static void a_run_killed_while_it_replaces_leaves_nothing_for_long(void **state) {
  (void)state;
  static const struct fault kills[] = {{.calls = {SYS_renameat2, SYS_renameat,
#ifdef SYS_rename
                                                  SYS_rename
#endif
                                        },
                                        .argument = -1,
                                        .action = SECCOMP_RET_KILL_PROCESS},
                                       {.calls = {SYS_fchmodat,
#ifdef SYS_chmod
                                                  SYS_chmod
#endif
                                        },
                                        .argument = -1,
                                        .action = SECCOMP_RET_KILL_PROCESS},
                                       {.calls = {SYS_linkat,
#ifdef SYS_link
                                                  SYS_link
#endif
                                        },
                                        .argument = -1,
                                        .action = SECCOMP_RET_KILL_PROCESS}};
  for (size_t i = 0; i < sizeof kills / sizeof *kills; ++i) {
    start_over("killed");
    start_over("killed");
    const int files = count_files(temporary_folder());
    struct result result =
        run_with_fault("train lm @/text " SMALL "--cell gru --steps 3 --out @/killed", &kills[i]);
    assert_int_equal(result.exit_code, 128 + SIGSYS);
    free_result(&result);
    assert_int_equal(count_files(temporary_folder()), files + 1);
    expect_same_files("killed", "model-of-20");
    expect_exit("train lm @/text " SMALL "--cell gru --steps 3 --out @/killed", 0);
    expect_same_files("killed.old", "model-of-20");
    assert_int_equal(count_files(temporary_folder()), files);
  }
}

static void put(const char *folder, const char *name) {
  char path[64];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  write_file(temporary_path(path), name, strlen(name));
}

/* Another process may be at work in such a folder, or it may be a user's. */
static void only_what_a_killed_run_left_is_removed(void **state) {
  (void)state;
  static const char *const folders[] = {"kept.replacing0", "kept.replacing1", "kept.replacing4"};
  static const char *const names[] = {"new", "old", "new.saving0"};
  start_over("kept");
  for (int i = 0; i < 3; ++i) {
    assert_int_equal(mkdir(temporary_path(folders[i]), 0700), 0);
    for (int j = 0; j < 3; ++j)
      put(folders[i], names[j]);
  }
  put(folders[1], "thesis");
  const int used = open(temporary_path(folders[0]), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  assert_int_equal(flock(used, LOCK_EX), 0);
  expect_exit("train lm @/text " SMALL "--cell gru --steps 3 --out @/kept", 0);
  expect_same_files("kept.old", "model-of-20");
  assert_int_equal(count_files(temporary_path(folders[0])), 3);
  assert_int_equal(count_files(temporary_path(folders[1])), 4);
  assert_false(file_exists(temporary_path(folders[2])));
  assert_false(file_exists(temporary_path("kept.replacing2")));
  assert_int_equal(unlink(temporary_path("kept.replacing1/thesis")), 0);
  close(used);
  expect_exit("train lm @/text --resume --steps 4 --out @/kept", 0); /* removes as well */
  for (int i = 0; i < 2; ++i)
    assert_false(file_exists(temporary_path(folders[i])));
}

/* ---- The last model ---- */

static void wait_for(const char *name) {
  for (int tries = 0; tries < 10000 && !file_exists(temporary_path(name)); ++tries)
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
  assert_true(file_exists(temporary_path(name)));
}

static void read_to_the_end(const char *name) {
  char bytes[1 << 12];
  const int descriptor = open(temporary_path(name), O_RDONLY);
  while (read(descriptor, bytes, sizeof bytes) > 0)
    ;
  _exit(0);
}

static void resume_saves_what_was_missed(const char *line, const char *name) {
  char model[64];
  snprintf(model, sizeof model, "/%s; a larger --steps goes on", name);
  const char *const saves[] = {": its model was missing, and is now saved: ", model, NULL};
  const char *const does_nothing[] = {": nothing to do; a larger --steps goes on", NULL};
  expect_says(line, saves);
  expect_says(line, does_nothing);
}

/* Its log, a pipe, does not take all its lines: it cannot end before somebody reads them, and by then
 * something else has the model's name. A plateau has had its measurement of that step. */
static void a_last_model_that_cannot_be_saved_is_saved_by_resume(void **state) {
  (void)state;
#define LONG                                                                                                 \
  SMALL "--steps 1000 --eval-every 20 --save-minutes 0 --lr 0.01 --lr-schedule plateau --lr-patience 0 "     \
        "--lr-factor 0.9 "
  const struct run run = {0};
  assert_int_equal(mkfifo(temporary_path("pipe"), 0600), 0);
  const int unread = open(temporary_path("pipe"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  const pid_t child = start("train lm @/text " LONG "--log @/pipe --out @/missed", &run);
  wait_for("missed.state");
  assert_int_equal(rename(temporary_path("missed"), temporary_path("aside")), 0);
  assert_int_equal(mkdir(temporary_path("missed"), 0700), 0);
  const pid_t reader = fork();
  if (reader == 0)
    read_to_the_end("pipe");
  struct result result = finish(child, &run);
  assert_int_equal(waitpid(reader, NULL, 0), reader);
  close(unread);
  assert_int_equal(result.exit_code, 1);
  assert_non_null(strstr(result.err, "missed: cannot write: not a regular file; training goes on"));
  assert_non_null(strstr(result.err, "the model of step 1000 is in "));
  free_result(&result);
  assert_int_equal(rmdir(temporary_path("missed")), 0);
  assert_int_equal(rename(temporary_path("aside"), temporary_path("missed")), 0);
  resume_saves_what_was_missed("train lm @/text --resume --out @/missed", "missed");
  const char *const lowered[] = {"  the learning rate is ", NULL}; /* a state that has forgotten it differs */
  expect_says("train lm @/text " LONG "--out @/unmissed", lowered);
  expect_same_files("missed", "unmissed");
  expect_same_files("missed.state", "unmissed.state");
}

/* Without a text for validation the model is that of the last step. */
static void resume_saves_a_model_that_is_not_of_the_last_step(void **state) {
  (void)state;
#define BLIND "train lm @/text " SMALL "--validation 0 "
  expect_exit(BLIND "--steps 20 --out @/blind", 0);
  expect_exit(BLIND "--steps 10 --out @/earlier", 0);
  assert_int_equal(rename(temporary_path("blind"), temporary_path("last")), 0);
  resume_saves_what_was_missed("train lm @/text --resume --out @/blind", "blind");
  expect_same_files("blind", "last");
  assert_int_equal(rename(temporary_path("earlier"), temporary_path("blind")), 0);
  resume_saves_what_was_missed("train lm @/text --resume --out @/blind", "blind");
  expect_same_files("blind", "last");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_failed_lookup_costs_no_old_model),
      cmocka_unit_test(a_folder_that_cannot_be_synced_costs_no_save),
      cmocka_unit_test(a_run_killed_while_it_replaces_leaves_nothing_for_long),
      cmocka_unit_test(only_what_a_killed_run_left_is_removed),
      cmocka_unit_test(a_last_model_that_cannot_be_saved_is_saved_by_resume),
      cmocka_unit_test(resume_saves_a_model_that_is_not_of_the_last_step),
  };
  return cmocka_run_group_tests(tests, set_up_runs, NULL);
}
