/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATEKERN_CLI_TRAINING_RUN_H
#define GATEKERN_CLI_TRAINING_RUN_H

#include "training_progress.h"

/* The options of gatekern train lm. */
struct train_settings {
  const char *file, *validation_file, *out, *log;
  int cell, isa;
  struct cli_hidden hidden;
  int64_t embed, layers, epochs, steps, eval_every, threads;
  double minutes, save_minutes;
  gk_rnn_desc network; /* its options; with cli_take_layers also its layers */
  gk_training_desc training;
  bool bytes, utf8, tied, resume, keep_all, profile;
};

enum { PROFILED_STEPS = 1000 };

/* A file of an earlier run whose name a new one takes: where it is, and where it is kept; NULL: there is
 * none. */
struct replaced_file {
  char *path, *old; /* symbolic links resolved */
};

struct training_run {
  const cli_command *command;
  const struct train_settings *settings;
  gk_text text, validation_text;
  const gk_text *validation;               /* the second, or NULL: the end of the first */
  const char *text_name, *validation_name; /* for messages */
  const char *state_path;                  /* of the file that --resume reads */
  gk_language_trainer *trainer;
  struct training_progress progress;
  int64_t eval_every;
  int64_t most_validations; /* that --minutes has time for; 0: it was not given */
  struct replaced_file replaced_model, replaced_state;
  bool old_stands;                                   /* what is to be replaced has not yet been kept */
  bool save_failed;                                  /* of the newest model or state; a later save may not */
  bool unsynced;                                     /* a save was not synced, which is said once */
  bool best_saved;                                   /* settings->out holds a model of this run */
  bool model_missed;                                 /* of the newest checkpoint, the best one: not saved */
  bool best_missing;                                 /* a run that goes on has no model in settings->out */
  int64_t saved_step;                                /* of the state on disk, if it is this run's; or 0 */
  int64_t steps;                                     /* of this run */
  double seconds[GK_TRAINING_PARTS][PROFILED_STEPS]; /* of the newest steps, by part */
};

/* Creates run->trainer, having said what it will be, or resumes it. Returns CLI_SUCCESS or the exit code. */
int training_begin(struct training_run *run);
/* Trains to the end, or until SIGINT or SIGTERM; saves; returns the exit code. */
int training_loop(struct training_run *run);

#endif
