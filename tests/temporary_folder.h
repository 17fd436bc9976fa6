/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_TESTS_TEMPORARY_FOLDER_H
#define GK_TESTS_TEMPORARY_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

/* A folder of this process, made at the first use and removed, with its files, at exit. */
const char *temporary_folder(void);
/* NAME in it, in one of sixteen buffers that are used in turn. */
const char *temporary_path(const char *name);

/* Whole files; a failure ends the test. The content is to be freed and has a zero after its end. */
void write_file(const char *path, const void *data, size_t bytes);
char *read_file(const char *path, size_t *bytes);
bool file_exists(const char *path);
/* Entries of the folder, without . and .. */
int count_files(const char *folder);

#endif
