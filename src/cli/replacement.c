/* SPDX-License-Identifier: Apache-2.0 */
#include "replacement.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_FOLDERS = 16 }; /* of processes that replace one file at the same time */
static const char *const content[] = {"new", "old", "new.saving0" /* of a save that was killed */};
enum { CONTENT = sizeof content / sizeof *content };

static void name_folder(char folder[REPLACEMENT_FOLDER], const char *path, int number) {
  snprintf(folder, REPLACEMENT_FOLDER, "%s.replacing%d", path, number);
}

/* A user's folder that has such a name holds what no process of this program has put there. */
static bool holds_others(int folder) {
  const int copy = fcntl(folder, F_DUPFD_CLOEXEC, 0);
  DIR *entries = copy < 0 ? NULL : fdopendir(copy);
  if (!entries) {
    if (copy >= 0)
      close(copy);
    return true;
  }
  bool others = false;
  for (struct dirent *entry; !others && (entry = readdir(entries));) {
    others = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    for (int i = 0; others && i < CONTENT; ++i)
      others = strcmp(entry->d_name, content[i]) != 0;
  }
  closedir(entries);
  return others;
}

/* While it is locked. */
static bool remove_folder(const char *name, int folder) {
  for (int i = 0; i < CONTENT; ++i)
    unlinkat(folder, content[i], 0);
  return rmdir(name) == 0;
}

static int open_folder(const char *name) {
  return open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool leads_to(const char *name, int folder) {
  struct stat named, opened;
  errno = ESTALE; /* it leads elsewhere; any other error is why nobody can tell */
  return lstat(name, &named) == 0 && fstat(folder, &opened) == 0 && named.st_ino == opened.st_ino &&
         named.st_dev == opened.st_dev;
}

static bool remove_left_over(const char *name) {
  const int folder = open_folder(name);
  const bool removed = folder >= 0 && flock(folder, LOCK_EX | LOCK_NB) == 0 && leads_to(name, folder) &&
                       !holds_others(folder) && remove_folder(name, folder);
  if (folder >= 0)
    close(folder);
  return removed;
}

/* A new folder, locked; -1 and errno, EEXIST or ESTALE where another name may do: before the lock another
 * process may take it for left over. */
static int create(const char *name) {
  int error = mkdir(name, 0700) == 0 ? 0 : errno;
  if (error == EEXIST && remove_left_over(name))
    error = mkdir(name, 0700) == 0 ? 0 : errno;
  if (error) {
    errno = error;
    return -1;
  }
  const int folder = open_folder(name);
  if (folder >= 0 && (flock(folder, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) &&
      leads_to(name, folder))
    return folder;
  error = errno == ENOENT || errno == EWOULDBLOCK ? ESTALE : errno;
  if (errno != EWOULDBLOCK)
    rmdir(name);
  if (folder >= 0)
    close(folder);
  errno = error;
  return -1;
}

bool replacement_begin(struct replacement *replacement, const char *path) {
  replacement->descriptor = -1;
  errno = EEXIST;
  for (int i = 0; i < MOST_FOLDERS && replacement->descriptor < 0 && (errno == EEXIST || errno == ESTALE);
       ++i) {
    name_folder(replacement->folder, path, i);
    replacement->descriptor = create(replacement->folder);
  }
  snprintf(replacement->new_file, REPLACEMENT_FILE, "%s/%s", replacement->folder, content[0]);
  snprintf(replacement->second, REPLACEMENT_FILE, "%s/%s", replacement->folder, content[1]);
  return replacement->descriptor >= 0;
}

void replacement_end(struct replacement *replacement) {
  remove_folder(replacement->folder, replacement->descriptor);
  close(replacement->descriptor);
}

void replacement_clean(const char *path) {
  char folder[REPLACEMENT_FOLDER];
  for (int i = 0; i < MOST_FOLDERS; ++i) {
    name_folder(folder, path, i);
    remove_left_over(folder);
  }
}
