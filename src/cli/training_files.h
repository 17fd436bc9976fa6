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

/* The first save keeps what it replaces. Each returns CLI_SUCCESS, or the exit code after a line on stderr. */
int training_save_state(struct training_run *run);
int training_save_model(struct training_run *run);
/* Validates, if there is a text for that, and saves. *loss: what was measured, NULL: nothing. */
int training_checkpoint(struct training_run *run, int64_t step, gk_language_loss *measured,
                        const gk_language_loss **loss);

#endif
