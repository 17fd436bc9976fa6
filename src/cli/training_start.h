/* SPDX-License-Identifier: Apache-2.0
 *
 * What a training says before its first step. */
#ifndef GATEKERN_CLI_TRAINING_START_H
#define GATEKERN_CLI_TRAINING_START_H

#include "training_run.h"

/* The text, the model, and the memory that both need; bytes 0: it is taken already. */
void training_print_model(const struct training_run *run, const gk_language_model_desc *model,
                          const gk_training_size *size);
/* Of a trainer that has gone on. */
void training_print_resumed_model(const struct training_run *run);
/* What will be done, by which machine. */
void training_print_plan(const struct training_run *run);

#endif
