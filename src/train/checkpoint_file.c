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
static gk_status open_folder(const char *path, int *descriptor) {
  const char *slash = strrchr(path, '/');
  char *folder = !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
  if (!folder)
    return gk_fail(GK_ERROR_MEMORY, "%s: out of memory", path);
  *descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const gk_status status =
      *descriptor < 0 ? gk_fail(GK_ERROR_IO, "%s: cannot write: folder %s: %s", path, folder, strerror(errno))
                      : GK_OK;
  free(folder);
  return status;
}

static bool leads_to(const char *name, int descriptor) {
  struct stat named, opened;
  return lstat(name, &named) == 0 && fstat(descriptor, &opened) == 0 && named.st_ino == opened.st_ino &&
         named.st_dev == opened.st_dev;
}

/* Whoever writes a file holds its lock: one that can be locked was left by a process that was killed. Where
 * there are no locks it stays. */
static bool remove_left_over(const char *name) {
  struct stat found;
  const int descriptor = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  const bool removed = descriptor >= 0 && fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode) &&
                       found.st_nlink == 1 && flock(descriptor, LOCK_EX | LOCK_NB) == 0 &&
                       leads_to(name, descriptor) && unlink(name) == 0;
  if (descriptor >= 0)
    close(descriptor);
  return removed;
}

/* A new file of that name, locked; -1 and errno, EEXIST where the name is not to be had. Before the lock
 * another saver may take the file for left over. */
static int create(const char *name) {
  for (;;) {
    const int descriptor = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor < 0 && errno != EEXIST)
      return -1;
    if (descriptor < 0 && !remove_left_over(name)) {
      errno = EEXIST;
      return -1;
    }
    if (descriptor < 0)
      continue;
    const bool others = flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (!others && leads_to(name, descriptor))
      return descriptor;
    close(descriptor);
  }
}

gk_status gk_checkpoint_file_begin(struct gk_checkpoint_file *file, const char *path) {
  enum { MOST_WRITERS = 10000 };
  gk_status status;
  *file = (struct gk_checkpoint_file){.descriptor = -1, .folder = -1};
  file->path = resolve(path, &status);
  if (!file->path)
    return status;
  const size_t size = strlen(file->path) + 48;
  char *temporary = malloc(size);
  status = temporary ? open_folder(file->path, &file->folder)
                     : gk_fail(GK_ERROR_MEMORY, "%s: out of memory", path);
  if (status == GK_OK) {
    errno = EEXIST;
    for (int writer = 0; writer < MOST_WRITERS && file->descriptor < 0 && errno == EEXIST; writer++) {
      snprintf(temporary, size, "%s.saving%d", file->path, writer);
      file->descriptor = create(temporary);
    }
    if (file->descriptor < 0)
      status = fail_io(file->path, "write");
  }
  if (status != GK_OK) {
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
  if (status == GK_OK && !leads_to(file->temporary, file->descriptor)) {
    status = gk_fail(GK_ERROR_IO, "%s: cannot replace: somebody removed %s", file->path, file->temporary);
    free(file->temporary);
    file->temporary = NULL;
  }
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
