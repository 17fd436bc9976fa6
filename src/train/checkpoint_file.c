/* SPDX-License-Identifier: Apache-2.0 */
#include "src/train/checkpoint_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

gk_status gk_checkpoint_file_begin(struct gk_checkpoint_file *file, const char *path) {
  gk_status status;
  *file = (struct gk_checkpoint_file){.descriptor = -1};
  file->path = resolve(path, &status);
  if (!file->path)
    return status;
  const size_t size = strlen(file->path) + 32;
  file->temporary = malloc(size);
  if (!file->temporary) {
    gk_checkpoint_file_abandon(file);
    return gk_fail(GK_ERROR_MEMORY, "%s: out of memory", path);
  }
  snprintf(file->temporary, size, "%s.tmp%ld", file->path, (long)getpid());
  const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  file->descriptor = open(file->temporary, flags, 0666);
  if (file->descriptor < 0 && errno == EEXIST && unlink(file->temporary) == 0)
    file->descriptor = open(file->temporary, flags, 0666); /* a process of the same number was killed here */
  if (file->descriptor < 0) {
    status = fail_io(path, "write");
    free(file->temporary); /* not ours: must not be unlinked */
    file->temporary = NULL;
    gk_checkpoint_file_abandon(file);
    return status;
  }
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

/* The rename itself must survive a power cut. A file system that cannot sync a folder says EINVAL. */
static gk_status sync_folder(const char *path) {
  const char *slash = strrchr(path, '/');
  char *folder = !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
  if (!folder)
    return gk_fail(GK_ERROR_MEMORY, "%s: out of memory", path);
  const int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  gk_status status = GK_OK;
  if (descriptor < 0 || (fsync(descriptor) != 0 && errno != EINVAL))
    status = fail_io(folder, "sync the folder");
  if (descriptor >= 0)
    close(descriptor);
  free(folder);
  return status;
}

gk_status gk_checkpoint_file_commit(struct gk_checkpoint_file *file) {
  gk_status status = GK_OK;
  struct stat old;
  if (stat(file->path, &old) == 0 && fchmod(file->descriptor, old.st_mode & 07777) != 0)
    status = fail_io(file->path, "keep the permissions");
  if (status == GK_OK && fsync(file->descriptor) != 0) /* final: a second fsync would claim success */
    status = fail_io(file->path, "write");
  const int closed = close(file->descriptor);
  file->descriptor = -1;
  if (status == GK_OK && closed != 0)
    status = fail_io(file->path, "write");
  if (status == GK_OK && rename(file->temporary, file->path) != 0)
    status = fail_io(file->path, "replace");
  if (status == GK_OK) {
    free(file->temporary);
    file->temporary = NULL;
    status = sync_folder(file->path);
  }
  gk_checkpoint_file_abandon(file);
  return status;
}

void gk_checkpoint_file_abandon(struct gk_checkpoint_file *file) {
  if (file->descriptor >= 0)
    close(file->descriptor);
  if (file->temporary)
    unlink(file->temporary);
  free(file->temporary);
  free(file->path);
  *file = (struct gk_checkpoint_file){.descriptor = -1};
}
