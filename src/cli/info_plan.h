/* SPDX-License-Identifier: Apache-2.0 */
/* `gatekern info --plan`: how the library would cut the work of networks, and why. */
#ifndef GATEKERN_CLI_INFO_PLAN_H
#define GATEKERN_CLI_INFO_PLAN_H

#include "options.h"

struct plan_settings {
  gk_rnn_desc network; /* its options; with cli_take_layers also its layers */
  int cell, isa, schedule;
  struct cli_hidden hidden;
  int64_t input, batch, time, layers, threads;
  const char *shapes;
};

/* One network if one of its sizes is on the command line, else the list --shapes, else every built-in list.
 * Returns the exit code. */
int print_plans(const cli_command *command, struct plan_settings *settings, bool json);

#endif
