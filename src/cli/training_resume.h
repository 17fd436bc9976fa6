/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATEKERN_CLI_TRAINING_RESUME_H
#define GATEKERN_CLI_TRAINING_RESUME_H

#include "training_run.h"

/* Refuses options that were given, but are others in the run that goes on: `model` and `training` are what
 * the command line asks for. */
int training_check_resumed(const struct training_run *run, const gk_language_model_desc *model,
                           const gk_training_desc *training);

#endif
