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

/* Whether there is something; -1 and errno: unknown, which must not pass for nothing. */
static int look(int (*ask)(const char *, struct stat *), const char *path, struct stat *found) {
  if (ask(path, found) == 0)
    return 1;
  return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
}

/* The file that a rename would replace: behind a symbolic link, its target. */
static char *resolve(const char *path, gk_status *status) {
  struct stat found;
  const int named = look(lstat, path, &found);
  char *resolved = named < 0 ? NULL : named && S_ISLNK(found.st_mode) ? realpath(path, NULL) : strdup(path);
  const int there = resolved ? look(stat, resolved, &found) : -1;
  *status = GK_OK;
  if (there < 0)
    *status = errno == ENOMEM ? gk_fail(GK_ERROR_MEMORY, "%s: out of memory", path) : fail_io(path, "write");
  else if (there && !S_ISREG(found.st_mode))
    *status = gk_fail(GK_ERROR_IO, "%s: cannot write: not a regular file", path);
  if (*status == GK_OK)
    return resolved;
  free(resolved);
  return NULL;
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

enum name_of { NAME_OF_IT, NAME_OF_OTHER, NAME_UNKNOWN /* and errno */ };

/* Whether the name is that of the open file, or of another one, or of none. */
static enum name_of leads_to(const char *name, int descriptor) {
  struct stat named, opened;
  const int there = look(lstat, name, &named);
  if (there < 0 || fstat(descriptor, &opened) != 0)
    return NAME_UNKNOWN;
  return there && named.st_ino == opened.st_ino && named.st_dev == opened.st_dev ? NAME_OF_IT : NAME_OF_OTHER;
}

/* Whoever writes a file holds its lock: one that can be locked was left by a process that was killed. Where
 * there are no locks it stays. */
static bool remove_left_over(const char *name) {
  struct stat found;
  const int descriptor = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  const bool removed = descriptor >= 0 && fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode) &&
                       found.st_nlink == 1 && flock(descriptor, LOCK_EX | LOCK_NB) == 0 &&
                       leads_to(name, descriptor) == NAME_OF_IT && unlink(name) == 0;
  if (descriptor >= 0)
    close(descriptor);
  return removed;
}

/* Locks a file just made. Before the lock another saver may take it for left over: the name is then of that
 * one's file, or of none. But a file that has not lost its only name and seems to be another has two numbers,
 * as on some file systems, which then cannot tell. */
static enum name_of lock_new(const char *name, int descriptor) {
  struct stat made;
  const enum name_of answer = leads_to(name, descriptor);
  if (answer == NAME_OF_OTHER && fstat(descriptor, &made) == 0 && made.st_nlink > 0) {
    errno = ESTALE;
    return NAME_UNKNOWN;
  }
  if (answer == NAME_OF_IT && flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return NAME_OF_OTHER;
  return answer == NAME_OF_IT ? leads_to(name, descriptor) : answer;
}

/* A new file of that name, locked; -1 and errno, EEXIST where the name is not to be had. */
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
    const enum name_of answer = lock_new(name, descriptor);
    if (answer == NAME_OF_IT)
      return descriptor;
    const int error = errno;
    if (answer == NAME_UNKNOWN)
      unlink(name);
    close(descriptor);
    if (answer == NAME_UNKNOWN) {
      errno = error;
      return -1;
    }
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
  if (temporary && status == GK_OK) {
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
  const int replaces = look(stat, file->path, &old);
  if (replaces < 0 || (replaces && fchmod(file->descriptor, old.st_mode & 07777) != 0))
    status = fail_io(file->path, "keep the permissions");
  if (status == GK_OK && fsync(file->descriptor) != 0) /* final: a second fsync would claim success */
    status = fail_io(file->path, "write");
  const enum name_of answer = status == GK_OK ? leads_to(file->temporary, file->descriptor) : NAME_OF_IT;
  if (answer == NAME_UNKNOWN) {
    status = fail_io(file->path, "replace");
  } else if (answer == NAME_OF_OTHER) {
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
