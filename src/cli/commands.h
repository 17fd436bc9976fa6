/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands. argv[0] is the subcommand's name; the result is the exit code. */
#ifndef GATEKERN_CLI_COMMANDS_H
#define GATEKERN_CLI_COMMANDS_H

int run_train(int argc, char **argv);
int run_sample(int argc, char **argv);
int run_eval(int argc, char **argv);
int run_inspect(int argc, char **argv);
int run_bench(int argc, char **argv);
int run_verify(int argc, char **argv);
int run_info(int argc, char **argv);

#endif
