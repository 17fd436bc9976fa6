/* SPDX-License-Identifier: Apache-2.0 */
#include "src/train/checkpoint_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static gk_status fail_io(const char *path, const char *what) {
  return gk_fail(GK_ERROR_IO, "%s: cannot %s: %s", path, what, strerror(errno));
}

/* The file that a rename would replace: behind a symbolic link, its target. */
static char *resolve(const char *path, gk_status *status) {
  struct stat found;
  const bool link = lstat(path, &found) == 0 && S_ISLNK(found.st_mode);
  char *resolved = link ? realpath(path, NULL) : strdup(path);
  *status = GK_OK;
  if (!resolved) {
    *status = errno == ENOMEM ? gk_fail(GK_ERROR_MEMORY, "%s: out of memory", path) : fail_io(path, "write");
  } else if (stat(resolved, &found) == 0 && !S_ISREG(found.st_mode)) {
    *status = gk_fail(GK_ERROR_IO, "%s: cannot write: not a regular file", path);
    free(resolved);
    return NULL;
  }
  return resolved;
}

/* The folder of `path`, whose fsync makes a rename survive a power cut. */
static int open_folder(const char *path) {
  const char *slash = strrchr(path, '/');
  char *folder = !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
  const int descriptor = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  free(folder);
  return descriptor;
}

/* The file of that name, made or left over, empty and locked; -1 and errno, EWOULDBLOCK where somebody writes it.
 * Who has the lock may rename it, so that after the lock the name must still lead to the file. (Where a file system
 * has no locks, flock says something else than EWOULDBLOCK.) */
static int claim(const char *temporary) {
  struct stat named, opened;
  for (;;) {
    const int descriptor = open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor < 0)
      return -1;
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      close(descriptor);
      errno = EWOULDBLOCK;
      return -1;
    }
    if (stat(temporary, &named) == 0 && fstat(descriptor, &opened) == 0 && named.st_ino == opened.st_ino &&
        named.st_dev == opened.st_dev) {
      if (S_ISREG(opened.st_mode) && ftruncate(descriptor, 0) == 0)
        return descriptor;
      close(descriptor);
      errno = EEXIST;
      return -1;
    }
    close(descriptor);
  }
}

gk_status gk_checkpoint_file_begin(struct gk_checkpoint_file *file, const char *path) {
  gk_status status;
  *file = (struct gk_checkpoint_file){.descriptor = -1, .folder = -1};
  file->path = resolve(path, &status);
  if (!file->path)
    return status;
  const size_t size = strlen(file->path) + 48;
  char *temporary = malloc(size);
  if (!temporary) {
    gk_checkpoint_file_abandon(file);
    return gk_fail(GK_ERROR_MEMORY, "%s: out of memory", path);
  }
  file->folder = open_folder(file->path);
  /* A number of those who write at once: what a killed process left is used again. */
  for (int writer = 0; file->folder >= 0 && file->descriptor < 0; writer++) {
    snprintf(temporary, size, "%s.tmp%d", file->path, writer);
    file->descriptor = claim(temporary);
    if (file->descriptor < 0 && errno != EWOULDBLOCK)
      break;
  }
  if (file->descriptor < 0) {
    status = fail_io(path, "write");
    free(temporary); /* not ours: must not be unlinked */
    gk_checkpoint_file_abandon(file);
    return status;
  }
  file->temporary = temporary;
  return GK_OK;
}

gk_status gk_checkpoint_file_write(struct gk_checkpoint_file *file, const void *data, size_t bytes) {
  const size_t largest_call = (size_t)1 << 30; /* some systems refuse or cut more */
  const char *next = data;
  while (bytes > 0) {
    const ssize_t written = write(file->descriptor, next, bytes < largest_call ? bytes : largest_call);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0) {
      if (written == 0)
        errno = EIO;
      return fail_io(file->path, "write");
    }
    next += written;
    bytes -= (size_t)written;
  }
  return GK_OK;
}

gk_status gk_checkpoint_file_commit(struct gk_checkpoint_file *file) {
  gk_status status = GK_OK;
  struct stat old;
  if (stat(file->path, &old) == 0 && fchmod(file->descriptor, old.st_mode & 07777) != 0)
    status = fail_io(file->path, "keep the permissions");
  if (status == GK_OK && fsync(file->descriptor) != 0) /* final: a second fsync would claim success */
    status = fail_io(file->path, "write");
  if (status == GK_OK && rename(file->temporary, file->path) != 0)
    status = fail_io(file->path, "replace");
  if (status == GK_OK) {
    free(file->temporary);
    file->temporary = NULL;
    if (fsync(file->folder) != 0 && errno != EINVAL) /* which says that folders cannot be synced here */
      status = fail_io(file->path, "sync the folder of the new file");
  }
  gk_checkpoint_file_abandon(file);
  return status;
}

void gk_checkpoint_file_abandon(struct gk_checkpoint_file *file) {
  if (file->temporary)
    unlink(file->temporary); /* while it is locked */
  if (file->descriptor >= 0)
    close(file->descriptor);
  if (file->folder >= 0)
    close(file->folder);
  free(file->temporary);
  free(file->path);
  *file = (struct gk_checkpoint_file){.descriptor = -1, .folder = -1};
}
