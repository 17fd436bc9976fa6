/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATEKERN_CLI_TEXT_FILE_H
#define GATEKERN_CLI_TEXT_FILE_H

#include "options.h"

#include <gatekern-train.h>

/* Reads a whole file, or standard input for "-"; free text->data. false: said why on stderr. */
bool cli_read_text(const cli_command *command, const char *path, gk_text *text);
/* Do both names lead to one file, or would, where neither is there yet? */
bool cli_same_file(const char *a, const char *b);
/* cli_status for a call that was given texts: a message about "text" or "validation text" names the file
 * instead. NULL: keep the word. */
int cli_text_status(const cli_command *command, gk_status status, const char *text_name,
                    const char *validation_name);
/* The same for a text with characters that the model does not know: names the first one, and what helps. */
int cli_unknown_status(const cli_command *command, gk_status status, const char *text_name,
                       const char *advice);

#endif
