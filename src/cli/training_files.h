/* SPDX-License-Identifier: Apache-2.0
 *
 * The files that a training writes: whether it may, and what it saves when. */
#ifndef GATEKERN_CLI_TRAINING_FILES_H
#define GATEKERN_CLI_TRAINING_FILES_H

#include "training_run.h"

/* Refuses outputs that cannot be written, or that would replace one of the inputs; finds what a new run
 * replaces, to be freed. */
int training_check_outputs(struct training_run *run);
void training_free_replaced(struct training_run *run);

/* Whether a failed save is tried again, which its message says. */
enum training_save { SAVE_NOW, SAVE_LAST };
/* Saves the state, and before the first validation, when there is no best model, the newest: it is better
 * than none, and than that of another run. false: a line on stderr, and run->save_failed. */
bool training_save(struct training_run *run, enum training_save which);
/* What a run whose numbers are no longer finite has left on disk, in a line on stderr: it saves nothing more.
 * Returns the exit code. */
int training_diverged(const struct training_run *run);
/* The same of a run that has taken its last step, and of a save that failed then: what --resume does. */
int training_unsaved(const struct training_run *run);
/* Before a save after `step`. Returns CLI_SUCCESS, or the exit code if a weight is not finite, which it
 * says. */
int training_check_weights(struct training_run *run, int64_t step);
/* Validates, if there is a text for that, writes the step's line of the log, and saves; a model that could
 * not be saved is not the best so far. Returns CLI_SUCCESS, or the exit code if it could not validate, or the
 * loss is not finite. */
int training_checkpoint(struct training_run *run, const gk_training_step *step, double seconds);
/* Of a run that goes on and has no step left: the model of its last step is saved if it is the best and
 * could not be saved then, or is gone. Returns CLI_SUCCESS or the exit code, having said what is wrong. */
int training_save_missed(struct training_run *run, bool *saved);

#endif
