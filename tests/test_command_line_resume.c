/* SPDX-License-Identifier: Apache-2.0
 *
 * The program as people use it (GATEKERN_PROGRAM): interrupted, killed and resumed runs end with the files of
 * an unbroken one; a full disk leaves them as they were. */
#define _GNU_SOURCE /* prlimit */
#include <math.h>
#include <signal.h>
#include <sys/inotify.h>
#include <time.h>

#include "tests/command_line_fixture.h"

/* ---- Interrupted, killed, resumed ---- */

static void pause_shortly(void) {
  nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Waits until the file has `lines` lines; 20 seconds at most. */
static void wait_for_lines(const char *name, int lines) {
  for (int tries = 0; tries < 10000; ++tries, pause_shortly())
    if (file_exists(temporary_path(name)) && lines_of(name) >= lines)
      return;
  fail_msg("%s does not get %d lines", name, lines);
}

static int step_of_state(const char *name) {
  size_t bytes;
  char *content = read_file(temporary_path(name), &bytes);
  const char key[] = "\\\"step\\\":";
  int step = -1;
  for (size_t i = 0; step < 0 && i + sizeof key < bytes; ++i)
    if (memcmp(content + i, key, sizeof key - 1) == 0)
      step = atoi(content + i + sizeof key - 1);
  free(content);
  return step;
}

#define LONG_RUN "train lm @/text " SMALL "--lr-schedule constant --eval-every 16 --layers 2 --dropout 0.1 "

/* Stops an endless run by a signal, goes on for some steps, and compares with a run of as many. */
static void stop_and_resume(int signal_number, int exit_code, const char *name) {
  const struct run run = {0};
  char line[512], state[64], unbroken[64], unbroken_state[80];
  snprintf(state, sizeof state, "%s.state", name);
  snprintf(unbroken, sizeof unbroken, "%s-unbroken", name);
  snprintf(unbroken_state, sizeof unbroken_state, "%s.state", unbroken);
  snprintf(line, sizeof line, LONG_RUN "--steps 100000000 --out @/%s --log @/%s.log", name, name);
  const pid_t child = start(line, &run);
  char log[64];
  snprintf(log, sizeof log, "%s.log", name);
  wait_for_lines(log, 40);
  kill(child, signal_number);
  struct result result = finish(child, &run);
  if (result.exit_code != exit_code)
    fail_msg("signal %d: exit %d, wanted %d: %s", signal_number, result.exit_code, exit_code, result.err);
  if (signal_number != SIGKILL)
    assert_non_null(strstr(result.out, "--resume goes on"));
  free_result(&result);
  const int step = step_of_state(state);
  assert_true(step >= 32);
  snprintf(line, sizeof line, "train lm @/text --resume --steps %d --eval-every 16 --threads 2 --out @/%s",
           step + 21, name);
  expect_exit(line, 0);
  snprintf(line, sizeof line, LONG_RUN "--steps %d --out @/%s", step + 21, unbroken);
  expect_exit(line, 0);
  expect_same_files(name, unbroken);
  expect_same_files(state, unbroken_state);
}

static void an_interrupted_run_resumes_exactly(void **state) {
  (void)state;
  stop_and_resume(SIGINT, 130, "interrupted");
}

static void a_terminated_run_resumes_exactly(void **state) {
  (void)state;
  stop_and_resume(SIGTERM, 143, "terminated");
}

static void a_run_that_was_hung_up_resumes_exactly(void **state) {
  (void)state;
  stop_and_resume(SIGHUP, 129, "hung-up");
}

/* `gatekern train lm | head`: the reader goes away. */
static void a_run_that_nobody_reads_ends_and_is_saved(void **state) {
  (void)state;
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  char path[64];
  snprintf(path, sizeof path, "/dev/fd/%d", ends[1]);
  const struct run run = {.output = path};
  const pid_t child =
      start("train lm @/text " SMALL "--steps 100000000 --log @/unread.log --out @/unread", &run);
  wait_for_lines("unread.log", 3);
  close(ends[0]);
  close(ends[1]);
  struct result result = finish(child, &run);
  assert_int_equal(result.exit_code, 141);
  free_result(&result);
  assert_true(step_of_state("unread.state") >= 3);
}

static void a_killed_run_resumes_exactly(void **state) {
  (void)state;
  stop_and_resume(SIGKILL, 137, "killed");
}

static void a_second_interrupt_ends_a_run_at_once(void **state) {
  (void)state;
  const struct run run = {0};
  /* A step of minutes: the second signal cannot wait for its end. */
  const pid_t child = start("train lm --isa scalar --threads 1 --hidden 1500 --steps 9 --out @/slow", &run);
  wait_for_lines("stdout", 4);
  kill(child, SIGINT);
  for (int i = 0; i < 50; ++i)
    pause_shortly();
  assert_int_equal(waitpid(child, NULL, WNOHANG), 0); /* still at the step */
  kill(child, SIGINT);
  const time_t begin = time(NULL);
  struct result result = finish(child, &run);
  assert_int_equal(result.exit_code, 130);
  assert_true(time(NULL) - begin <= 5);
  assert_false(file_exists(temporary_path("slow")));
  free_result(&result);
}

static void interrupted_before_validation_the_newest_weights_are_saved(void **state) {
  (void)state;
  const struct run run = {0};
  const pid_t child =
      start("train lm @/text " SMALL "--steps 100000000 --log @/early.log --out @/early", &run);
  wait_for_lines("early.log", 3);
  kill(child, SIGINT);
  struct result result = finish(child, &run);
  assert_int_equal(result.exit_code, 130);
  free_result(&result);
  expect_exit("eval @/early @/text", 0); /* the newest weights: better than nothing */
}

/* ---- New runs over old ones ---- */

/* What a new run replaces is announced, and kept beside from its first save on. */
static void a_new_run_keeps_the_old_files(void **state) {
  (void)state;
  expect_exit("train lm @/text " SMALL "--steps 20 --out @/again", 0);
  const char *const says[] = {"/again: lstm, 1 x 16, 20 steps, ", " nats/char; to be kept as ",
                              "/again.old and ", "/again.state.old\n", NULL};
  expect_says("train lm @/text " SMALL "--cell gru --steps 3 --out @/again", says);
  expect_same_files("model-of-20", "again.old");
  expect_same_files("model-of-20.state", "again.state.old");
  const char *const says_more[] = {"/again: gru, 1 x 16, 3 steps, ", ", in place of what was kept before\n",
                                   NULL};
  expect_says("train lm @/text " SMALL "--steps 20 --out @/again", says_more);
  expect_same_files("model-of-20", "again");
  expect_exit("train lm @/text --resume --steps 30 --out @/again", 0); /* goes on: replaces nothing */
  expect_exit("train lm @/text " SMALL "--cell gru --steps 3 --out @/gru", 0);
  expect_same_files("gru", "again.old");
}

/* What happens to the folder's names, as a word each: "-name" is gone, "+name" is there. */
static void read_changes(int watch, char *changes, size_t size) {
  _Alignas(struct inotify_event) char events[1 << 15];
  size_t used = 0;
  const ssize_t bytes = read(watch, events, sizeof events);
  assert_true(bytes > 0);
  for (const char *at = events; at < events + bytes;) {
    const struct inotify_event *event = (const struct inotify_event *)at;
    const bool gone = event->mask & (IN_MOVED_FROM | IN_DELETE);
    used += (size_t)snprintf(changes + used, size - used, "%c%s ", gone ? '-' : '+', event->name);
    assert_true(used < size);
    at += sizeof *event + event->len;
  }
  assert_true(bytes < (ssize_t)sizeof events / 2); /* nothing was left out */
}

/* However a run ends, at every moment the old model stands beside its own state or none, the new one as well,
 * and what an earlier run kept goes only when something takes its place. */
static void no_model_ever_stands_beside_the_state_of_another(void **state) {
  (void)state;
  static const struct {
    const char *line;
    int exit_code;
  } runs[] = {{"train lm @/text " SMALL "--steps 3 --out @/pair", 0},
              {"train lm @/text " SMALL "--steps 20 --log /dev/full --out @/pair", 1},
              {"train lm @/text " SMALL "--steps 3 --validation 0 --out @/pair", 0}};
  static const char *const order[] = {"+pair.old ", "-pair.state ", "+pair.state.old ", "+pair ",
                                      "+pair.state "};
  expect_exit("train lm @/text " SMALL "--steps 3 --out @/pair", 0);
  expect_exit("train lm @/text " SMALL "--steps 3 --out @/pair", 0);
  for (size_t i = 0; i < sizeof runs / sizeof *runs; ++i) {
    char changes[1 << 13];
    const int watch = inotify_init1(IN_CLOEXEC);
    assert_true(watch >= 0 && inotify_add_watch(watch, temporary_folder(), IN_MOVE | IN_DELETE) >= 0);
    expect_exit(runs[i].line, runs[i].exit_code);
    read_changes(watch, changes, sizeof changes);
    close(watch);
    const char *at = changes;
    for (size_t j = 0; j < sizeof order / sizeof *order; ++j, ++at)
      if (!(at = strstr(at, order[j])))
        fail_msg("%s: not followed by %s: %s", runs[i].line, order[j], changes);
    assert_null(strstr(changes, "-pair "));
    assert_null(strstr(changes, "-pair.old "));
    assert_null(strstr(changes, "-pair.state.old "));
  }
}

/* The file that a symbolic link leads to is kept beside itself: else both names would lead to the new one. */
static void an_old_model_behind_a_link_is_kept(void **state) {
  (void)state;
  expect_exit("train lm @/text " SMALL "--steps 20 --out @/behind", 0);
  assert_int_equal(symlink("behind", temporary_path("link")), 0);
  expect_exit("train lm @/text " SMALL "--steps 3 --out @/link", 0);
  expect_same_files("behind.old", "model-of-20");
  assert_false(file_exists(temporary_path("link.old")));
  assert_int_equal(symlink("state", temporary_path("linked.state")), 0);
  assert_int_equal(rename(temporary_path("link.state"), temporary_path("state")), 0);
  expect_exit("train lm @/text " SMALL "--steps 20 --out @/linked", 0);
  assert_int_equal(step_of_state("state.old"), 3);
  assert_int_equal(step_of_state("state"), 20);
  assert_int_equal(step_of_state("linked.state"), 20);
}

/* Nor is a document lost that has the name under which an old model would be kept. */
static void what_is_not_a_model_is_no_old_one(void **state) {
  (void)state;
  expect_exit("train lm @/text " SMALL "--steps 3 --out @/documented", 0);
  write_file(temporary_path("documented.old"), "a document", 10);
  struct result result = run_line("train lm @/text " SMALL "--steps 3 --out @/documented");
  assert_int_equal(result.exit_code, 2);
  assert_non_null(strstr(result.err, "documented.old: exists and is not a safetensors file"));
  free_result(&result);
}

/* As often as the run was to be validated, whether it is only finished or becomes longer. */
static void a_resumed_run_keeps_its_interval(void **state) {
  (void)state;
  static const struct {
    const char *begin, *resumed, *says;
  } runs[] = {{"--steps 40 --eval-every 7", "--resume --steps 60", "validated every 7,"},
              {"--steps 40", "--resume --steps 100", "validated every 10,"},
              {"--steps 40 --eval-every 7", "--resume --steps 60 --eval-every 9", "validated every 9,"}};
  for (size_t i = 0; i < sizeof runs / sizeof *runs; ++i) {
    char line[256];
    const char *const says[] = {runs[i].says, "resumes  after step 40, ", NULL};
    snprintf(line, sizeof line, "train lm @/text " SMALL "%s --out @/interval", runs[i].begin);
    expect_exit(line, 0);
    snprintf(line, sizeof line, "train lm @/text %s --out @/interval", runs[i].resumed);
    expect_says(line, says);
  }
}

/* Not what a plateau made of the one before. */
static void a_resumed_run_has_the_rate_that_is_given(void **state) {
  (void)state;
  const char *const says[] = {"resumes  after step 40, learning rate 0.02\n", NULL};
  const char *const lowered[] = {"  the learning rate is ", " from here on\n", NULL};
  expect_says("train lm @/text " SMALL "--lr 0.3 --lr-schedule plateau --lr-patience 0 --eval-every 2 "
              "--steps 40 --out @/lowered",
              lowered);
  expect_says("train lm @/text --resume --lr 0.02 --steps 44 --out @/lowered", says);
}

static void interrupted_before_the_first_step_nothing_is_saved(void **state) {
  (void)state;
  const struct run run = {0};
  expect_exit("train lm @/text " SMALL "--steps 20 --out @/good", 0);
  /* Initial weights of many units take long. */
  const pid_t child = start("train lm @/text --hidden 2500 --layers 3 --threads 1 --out @/good", &run);
  wait_for_lines("stdout", 4);
  kill(child, SIGINT);
  struct result result = finish(child, &run);
  assert_int_equal(result.exit_code, 130);
  assert_non_null(strstr(result.out, "\ninterrupted before the first step: nothing saved\n"));
  free_result(&result);
  expect_same_files("good", "model-of-20");
  assert_int_equal(step_of_state("good.state"), 20);
  assert_false(file_exists(temporary_path("good.old")));
}

/* Resuming a finished run does nothing and says so; fewer steps than it has done are refused; with more it
 * goes on. */
static void a_finished_run_goes_on_only_with_more_steps(void **state) {
  (void)state;
  expect_exit("train lm @/text " SMALL "--steps 20 --eval-every 10 --lr-schedule constant --out @/more", 0);
  const char *const lines[] = {"train lm @/text --resume --out @/more",
                               "train lm @/text --resume --steps 20 --out @/more"};
  for (int i = 0; i < 2; ++i) {
    struct result result = run_line(lines[i]);
    assert_int_equal(result.exit_code, 0);
    assert_string_equal(result.out, "already at step 20 of 20: nothing to do; a larger --steps goes on\n");
    free_result(&result);
  }
  struct result fewer = run_line("train lm @/text --resume --steps 15 --out @/more");
  assert_int_equal(fewer.exit_code, 2);
  assert_string_equal(fewer.out, "");
  assert_non_null(strstr(fewer.err, "--steps 15"));
  assert_non_null(strstr(fewer.err, "has done 20"));
  free_result(&fewer);
  assert_int_equal(step_of_state("more.state"), 20);
  expect_exit("train lm @/text --resume --epochs 1 --eval-every 10 --out @/more", 0);
  const int step = step_of_state("more.state");
  assert_true(step > 100);
  expect_exit("train lm @/text " SMALL "--epochs 1 --eval-every 10 --lr-schedule constant --out @/at-once",
              0);
  expect_same_files("more.state", "at-once.state");
}

/* Else a run that gets no better than it was ends with the name of a file that is not there. */
static void a_resumed_run_without_its_model_saves_one(void **state) {
  (void)state;
  expect_exit("train lm @/text " SMALL "--lr-schedule constant --steps 20 --out @/removed", 0);
  assert_int_equal(unlink(temporary_path("removed")), 0);
  const char *const says[] = {"missing ", "/removed: the model with the lowest loss from here on", NULL};
  expect_says("train lm @/text --resume --lr 0.3 --steps 22 --out @/removed", says);
  expect_exit("eval @/removed @/text", 0);
  struct result result = run_line("train lm @/text --resume --lr 1 --steps 23 --out @/removed");
  assert_int_equal(result.exit_code, 0);
  assert_null(strstr(result.out, "missing "));
  free_result(&result);
}

/* Reading comes first: nobody who goes on means to write over what cannot be read. */
static void resume_says_what_cannot_be_read(void **state) {
  (void)state;
  static const struct {
    const char *line, *says;
  } runs[] = {{"train lm @/text --resume --out @/not-there", "without --resume a new run begins"},
              {"train lm @/text --resume --out @/torn", "torn.state: "},
              {"train lm --resume --out @/begun --steps 9", "no FILE is given"}};
  expect_exit("train lm @/utf8 --hidden 8 --batch 1 --time 4 --steps 3 --out @/begun", 0);
  for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
    struct result result = run_line(runs[i].line);
    assert_int_equal(result.exit_code, 2);
    if (!strstr(result.err, runs[i].says) || strstr(result.err, "overwritten"))
      fail_msg("%s: %s", runs[i].line, result.err);
    free_result(&result);
  }
}

/* ---- Numbers that are no longer finite ---- */

/* What is on disk stays that of the last step whose loss was finite, and the run says which that is. */
static void a_run_that_diverges_saves_nothing_more(void **state) {
  (void)state;
#define RELU  SMALL "--cell rnn --activation relu --optimizer sgd --lr-schedule constant --eval-every 1 "
#define DECAY SMALL "--optimizer adamw --weight-decay 1e6 --lr 1e6 --lr-schedule constant --steps 40 "
  static const struct {
    const char *line, *says, *leaves;
  } runs[] = {{"train lm @/text " RELU "--lr 1e6 --steps 9 --out @/none",
               "step 1: the loss on the validation text is not finite\n", "nothing of this run is saved\n"},
              {"train lm @/text --resume --lr 1e6 --steps 9 --eval-every 1 --out @/five",
               "step 6: the loss on the validation text is not finite\n",
               "five.state is that of step 5; --resume with a lower --lr goes on there\n"},
              {"train lm @/text " DECAY "--eval-every 3 --out @/three", "step 5: the loss is ",
               "three.state is that of step 3; --resume with a lower --lr goes on there\n"},
              {"train lm @/text " DECAY "--validation 0 --eval-every 1 --keep-all --out @/all",
               "step 4: a weight is not finite\n", "all.state is that of step 3; --resume"}};
  expect_exit("train lm @/text " RELU "--lr 0.01 --steps 5 --out @/five", 0);
  for (size_t i = 0; i < sizeof runs / sizeof *runs; ++i) {
    struct result result = run_line(runs[i].line);
    assert_int_equal(result.exit_code, 1);
    if (!strstr(result.err, runs[i].says) || !strstr(result.err, runs[i].leaves))
      fail_msg("%s: %s", runs[i].line, result.err);
    free_result(&result);
  }
  assert_false(file_exists(temporary_path("none")) || file_exists(temporary_path("none.state")));
  assert_false(file_exists(temporary_path("all.step-4")));
  expect_exit("train lm @/text --resume --lr 0.01 --steps 9 --eval-every 1 --out @/five", 0);
}

/* ---- Time left ---- */

/* The first line comes before any validation; all of them together take much longer than the steps. */
static void time_left_has_validations_not_yet_measured(void **state) {
  (void)state;
  enum { COPIES = 200, STEP = 4 * 16 };
  static const char sentence[] = "A cell keeps a state; gates decide what stays, and what goes.\n";
  char *text = malloc(COPIES * SENTENCES * (sizeof sentence - 1) + 1), *end = text;
  assert_non_null(text);
  for (int i = 0; i < COPIES * SENTENCES; ++i)
    end = stpcpy(end, sentence);
  write_file(temporary_path("long"), text, (size_t)(end - text));
  free(text);
  const struct run run = {0};
  const pid_t child = start("train lm @/text --validation-file @/long --batch 4 --time 16 --threads 1 "
                            "--hidden 128 --steps 3000 --eval-every 1000 --out @/left",
                            &run);
  wait_for_lines("stdout", 6);
  kill(child, SIGINT);
  struct result result = finish(child, &run);
  int step = 0, minutes = 0, seconds = 0;
  double speed = 0;
  const char *line = strstr(result.out, "\nstep "), *left = line ? strstr(line, "  ") : NULL;
  assert_non_null(left);
  assert_int_equal(sscanf(line, " step %d/3000", &step), 1);
  assert_true(step < 1000);
  assert_int_equal(sscanf(strstr(left, "bits/char"), "bits/char %lf chars/s", &speed), 1);
  assert_int_equal(sscanf(strstr(left, "of peak)"), "of peak) %d:%d left", &minutes, &seconds), 2);
  const double steps_alone = (3000 - step) * STEP / speed;
  if (60 * minutes + seconds < 3 * steps_alone)
    fail_msg("%d:%02d left, and the steps alone take %.1f s", minutes, seconds, steps_alone);
  free_result(&result);
}

/* ---- Disks that are full ---- */

/* ThreadSanitizer's runtime maps a file larger than any limit that is of use here. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LIMITS_FILES 0
#endif
#endif
#ifndef LIMITS_FILES
#define LIMITS_FILES 1
#endif

static void a_full_disk_stops_a_run_and_harms_no_file(void **state) {
  (void)state;
  size_t bytes, after;
  const struct run to_full = {.output = "/dev/full"};
  struct result result = finish(start("sample @/model", &to_full), &to_full);
  assert_int_equal(result.exit_code, 1);
  assert_non_null(strstr(result.err, "standard output"));
  free_result(&result);
  result = finish(start("train lm --help", &to_full), &to_full);
  assert_int_equal(result.exit_code, 1);
  free_result(&result);
  result = finish(start("train lm @/text " SMALL "--steps 20 --out @/unheard", &to_full), &to_full);
  assert_int_equal(result.exit_code, 1);
  assert_non_null(strstr(result.err, "stopped before the first step: nothing saved\n"));
  free_result(&result);
  result = run_line("train lm @/text " SMALL "--steps 20 --log /dev/full --out @/unlogged");
  assert_int_equal(result.exit_code, 1);
  assert_non_null(strstr(result.err, "--log /dev/full"));
  assert_non_null(strstr(result.out, "stopped after step 1: saved"));
  free_result(&result);
  assert_int_equal(step_of_state("unlogged.state"), 1);
  expect_exit("eval @/unlogged @/text", 0);

  if (!LIMITS_FILES)
    return;
  char *before = read_file(temporary_path("model"), &bytes);
  const int files = count_files(temporary_folder());
  const struct run limited = {.largest_file = bytes - 1};
  result = finish(start("train lm @/text " SMALL "--steps 20 --seed 9 --out @/model", &limited), &limited);
  assert_int_equal(result.exit_code, 1);
  assert_non_null(strstr(result.err, "model: cannot write: File too large"));
  free_result(&result);
  char *now = read_file(temporary_path("model"), &after);
  assert_int_equal(bytes, after);
  assert_memory_equal(before, now, bytes);
  assert_int_equal(count_files(temporary_folder()), files);
  assert_int_equal(step_of_state("model.state"), 30);
  free(before);
  free(now);
}

/* What would have been said there goes into no file that is opened instead. */
static void a_closed_output_is_no_file_of_the_run(void **state) {
  (void)state;
  const struct run closed = {.output_closed = true};
  struct result result = finish(
      start("train lm @/text " SMALL "--steps 20 --log @/silent.log --out @/silent", &closed), &closed);
  assert_int_equal(result.exit_code, 1);
  assert_non_null(strstr(result.err, "cannot write to standard output"));
  free_result(&result);
  assert_int_equal(lines_of("silent.log"), 0);
  result = finish(start("sample @/model --length 5", &closed), &closed);
  assert_int_equal(result.exit_code, 1);
  free_result(&result);
}

/* What the run says no longer fits on the disk: it ends as if interrupted. */
static void what_cannot_be_said_is_saved(void **state) {
  (void)state;
  if (!LIMITS_FILES)
    return;
  const struct run limited = {.largest_file = 12000};
  struct result result = finish(start("train lm @/text --hidden 2 --batch 4 --time 8 --threads 1 "
                                      "--steps 100000000 --eval-every 1 --save-minutes 0 --out @/unsaid",
                                      &limited),
                                &limited);
  assert_int_equal(result.exit_code, 1);
  assert_non_null(strstr(result.err, ": saved; the same command with --resume goes on"));
  assert_non_null(strstr(result.err, "gatekern: cannot write to standard output\n"));
  free_result(&result);
  assert_true(step_of_state("unsaid.state") > 10);
}

/* A model and a state that cannot be written are written later; neither stops the training, and the model is
 * no best one until it is saved. */
static void failed_saves_are_tried_again(void **state) {
  (void)state;
  if (!LIMITS_FILES)
    return;
  const struct run limited = {.largest_file = 9000};
  const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  const pid_t child =
      start("train lm @/text " SMALL "--steps 100000000 --eval-every 2000 --out @/later", &limited);
  wait_for_lines("stderr", 2);
  assert_false(file_exists(temporary_path("later")));
  assert_int_equal(prlimit(child, RLIMIT_FSIZE, &unlimited, NULL), 0);
  for (int tries = 0; tries < 10000 && !file_exists(temporary_path("later.state")); ++tries)
    pause_shortly();
  kill(child, SIGINT);
  struct result result = finish(child, &limited);
  assert_int_equal(result.exit_code, 130);
  assert_non_null(strstr(result.err, "later: cannot write: File too large; training goes on"));
  assert_non_null(strstr(result.err, "later.state: cannot write: File too large; training goes on"));
  assert_non_null(strstr(result.out, "best so far: "));
  free_result(&result);
  expect_exit("eval @/later @/text", 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_interrupted_run_resumes_exactly),
      cmocka_unit_test(a_terminated_run_resumes_exactly),
      cmocka_unit_test(a_run_that_was_hung_up_resumes_exactly),
      cmocka_unit_test(a_run_that_nobody_reads_ends_and_is_saved),
      cmocka_unit_test(a_killed_run_resumes_exactly),
      cmocka_unit_test(a_second_interrupt_ends_a_run_at_once),
      cmocka_unit_test(interrupted_before_validation_the_newest_weights_are_saved),
      cmocka_unit_test(a_new_run_keeps_the_old_files),
      cmocka_unit_test(no_model_ever_stands_beside_the_state_of_another),
      cmocka_unit_test(an_old_model_behind_a_link_is_kept),
      cmocka_unit_test(what_is_not_a_model_is_no_old_one),
      cmocka_unit_test(a_resumed_run_keeps_its_interval),
      cmocka_unit_test(a_resumed_run_has_the_rate_that_is_given),
      cmocka_unit_test(interrupted_before_the_first_step_nothing_is_saved),
      cmocka_unit_test(a_finished_run_goes_on_only_with_more_steps),
      cmocka_unit_test(a_resumed_run_without_its_model_saves_one),
      cmocka_unit_test(resume_says_what_cannot_be_read),
      cmocka_unit_test(a_run_that_diverges_saves_nothing_more),
      cmocka_unit_test(time_left_has_validations_not_yet_measured),
      cmocka_unit_test(a_full_disk_stops_a_run_and_harms_no_file),
      cmocka_unit_test(a_closed_output_is_no_file_of_the_run),
      cmocka_unit_test(what_cannot_be_said_is_saved),
      cmocka_unit_test(failed_saves_are_tried_again),
  };
  return cmocka_run_group_tests(tests, set_up_runs, NULL);
}
