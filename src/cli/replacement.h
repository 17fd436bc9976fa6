/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a file is written whole before it takes another one's place: in a folder of its own beside it,
 * PATH.replacingN. Whoever uses the folder holds its lock; one that can be locked was left by a process that
 * was killed. */
#ifndef GATEKERN_CLI_REPLACEMENT_H
#define GATEKERN_CLI_REPLACEMENT_H

#include <limits.h>
#include <stdbool.h>

enum { REPLACEMENT_FOLDER = PATH_MAX + 32, REPLACEMENT_FILE = REPLACEMENT_FOLDER + 8 };

struct replacement {
  int descriptor;
  char folder[REPLACEMENT_FOLDER];
  char new_file[REPLACEMENT_FILE]; /* in the folder: what is to get the place */
  char second[REPLACEMENT_FILE];   /* and a second name of what has it */
};

/* false, and errno: there is no such folder to be had. */
bool replacement_begin(struct replacement *replacement, const char *path);
/* Removes the folder and what is left in it. */
void replacement_end(struct replacement *replacement);
/* Removes what killed processes left beside `path`; but nothing where the file system has no locks, and no
 * folder that holds anything else. */
void replacement_clean(const char *path);

#endif
