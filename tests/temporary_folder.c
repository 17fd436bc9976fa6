/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/temporary_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static pid_t owner;

static void fail(const char *what, const char *path) {
  fprintf(stderr, "%s ", what);
  perror(path);
  exit(1);
}

/* fork() inherits this handler: only the process that made the folder removes it. */
static void remove_folder(void) {
  if (getpid() != owner)
    return;
  DIR *entries = opendir(folder);
  for (struct dirent *entry; entries && (entry = readdir(entries));) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    unlink(path); /* fails for . and .. */
  }
  if (entries)
    closedir(entries);
  rmdir(folder);
}

const char *temporary_folder(void) {
  if (folder[0])
    return folder;
  snprintf(folder, sizeof folder, "temporary.XXXXXX");
  owner = getpid();
  if (!mkdtemp(folder))
    fail("mkdtemp", folder);
  atexit(remove_folder);
  return folder;
}

const char *temporary_path(const char *name) {
  enum { BUFFERS = 16 };
  static char paths[BUFFERS][256];
  static int next;
  char *path = paths[next++ % BUFFERS];
  snprintf(path, sizeof paths[0], "%s/%s", temporary_folder(), name);
  return path;
}

void write_file(const char *path, const void *data, size_t bytes) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0)
    fail("write", path);
}

char *read_file(const char *path, size_t *bytes) {
  struct stat status;
  FILE *file = fopen(path, "rb");
  if (!file || fstat(fileno(file), &status) != 0)
    fail("read", path);
  char *data = calloc(1, (size_t)status.st_size + 1);
  if (!data || fread(data, 1, (size_t)status.st_size, file) != (size_t)status.st_size)
    fail("read", path);
  fclose(file);
  *bytes = (size_t)status.st_size;
  return data;
}

bool file_exists(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0;
}

int count_files(const char *path) {
  int count = 0;
  DIR *entries = opendir(path);
  if (!entries)
    fail("list", path);
  for (struct dirent *entry; (entry = readdir(entries));)
    count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
  closedir(entries);
  return count;
}
