/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATEKERN_CLI_TRAINING_PROGRESS_H
#define GATEKERN_CLI_TRAINING_PROGRESS_H

#include "options.h"
#include "progress_line.h"

#include <gatekern-train.h>
#include <stdio.h>

/* What a person sees of a training, and its log. */
struct training_progress {
  const cli_command *command;
  FILE *log; /* NULL: none */
  const char *log_path;
  bool log_failed;    /* nothing is written to it any more */
  bool log_replaces;  /* that of an earlier run, when the first step is written */
  double peak_gflops; /* 0: not measured */
  int64_t steps;      /* planned */
  int64_t steps_per_epoch;
  struct progress_line line;
  double validation_seconds; /* of the last validation; 0: none was measured */
  int64_t validations_left, validation_characters;
  /* Recent values: sums that forget older steps, so that the ratio of two is a moving average. */
  double weight, loss, characters, operations, seconds;
};

/* Refuses a file that is there and no log. NULL: there is none. false: said why. */
bool progress_check_log(struct training_progress *progress, const char *log_path, bool resumed);
/* Before a run goes on behind step `done` of its log. false: said why. */
bool progress_cut_log(struct training_progress *progress, const char *log_path, int64_t done);
/* Opens that log. false: said why. */
bool progress_open_log(struct training_progress *progress, const char *log_path);
/* Before anything is said. */
void progress_begin(struct training_progress *progress);
/* Before the first step, which can take long; `done` of those that are planned are. */
void progress_start(struct training_progress *progress, int64_t done);
/* Ends an open line; closes the log. */
void progress_end(struct training_progress *progress);

/* Of each step: its line of the log; `validation` of it or NULL. */
void progress_log(struct training_progress *progress, const gk_training_step *step, double seconds,
                  const gk_language_loss *validation);
/* After each step: every now and then the line that a person sees. */
void progress_step(struct training_progress *progress, const gk_training_step *step, double seconds);
/* Could the log (said so) or standard output (which the program says at its end) not be written? */
bool progress_failed(const struct training_progress *progress);
/* A line that stays. */
void progress_note(struct training_progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
