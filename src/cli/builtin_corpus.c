/* SPDX-License-Identifier: Apache-2.0
 *
 * The assembler reads the two texts: a C array of a million numbers takes compilers seconds. */
#include "builtin_corpus.h"

#ifdef __APPLE__
#define ENTER        ".const\n"
#define LEAVE        ".text\n"
#define SYMBOL(name) "_" name
#else
#define ENTER        ".pushsection .rodata\n"
#define LEAVE        ".popsection\n"
#define SYMBOL(name) name
#endif

#define DEFINE(name) ".globl " SYMBOL(name) "\n" SYMBOL(name) ":\n"
#define EMBED(name, file)                                                                                    \
  __asm__(ENTER DEFINE(name) ".incbin \"" file "\"\n1:\n.balign 8\n" DEFINE(                                 \
      name "_size") ".quad 1b - " SYMBOL(name) "\n" LEAVE)

EMBED("gk_builtin_corpus_train", "corpus_train.txt");
EMBED("gk_builtin_corpus_valid", "corpus_valid.txt");
