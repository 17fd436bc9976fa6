/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_TRAIN_CHECKPOINT_FILE_H
#define GK_TRAIN_CHECKPOINT_FILE_H

#include "src/core/status.h"

/* A file that appears under its name whole or not at all: it is written under a temporary name in the same
 * folder, and renamed when everything has reached the disk. After begin, either commit or abandon; commit
 * abandons by itself if it fails. */
struct gk_checkpoint_file {
  int descriptor, folder;
  char *path;      /* symbolic links resolved */
  char *temporary; /* locked while it is written: one that is not was left by a process that was killed */
};

/* GK_ERROR_IO: the folder is missing, not writable or, what its fsync needs, not readable, or `path` is there
 * and not a regular file. */
gk_status gk_checkpoint_file_begin(struct gk_checkpoint_file *file, const char *path);
gk_status gk_checkpoint_file_write(struct gk_checkpoint_file *file, const void *data, size_t bytes);
/* fsync, rename, fsync of the folder. */
gk_status gk_checkpoint_file_commit(struct gk_checkpoint_file *file);
void gk_checkpoint_file_abandon(struct gk_checkpoint_file *file);

#endif
