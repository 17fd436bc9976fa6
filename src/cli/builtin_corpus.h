/* SPDX-License-Identifier: Apache-2.0
 *
 * Real text that is always there: this project's own C sources, joined at build time. The files of the
 * two parts are different ones. */
#ifndef GK_CLI_BUILTIN_CORPUS_H
#define GK_CLI_BUILTIN_CORPUS_H

#include <stddef.h>

extern const unsigned char gk_builtin_corpus_train[];
extern const size_t gk_builtin_corpus_train_size;
extern const unsigned char gk_builtin_corpus_valid[]; /* whole files, about every tenth */
extern const size_t gk_builtin_corpus_valid_size;

#endif
