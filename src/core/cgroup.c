/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 4096

static int cpus_of_quota(long long quota, long long period) {
  if (quota <= 0 || period <= 0)
    return INT_MAX;
  long long cpus = quota / period + (quota % period != 0);
  return cpus < INT_MAX ? (int)cpus : INT_MAX;
}

/* cpu.max holds "max PERIOD" or "QUOTA PERIOD". */
static int limit_v2(const char *folder) {
  char path[PATH_BYTES + 32];
  snprintf(path, sizeof path, "%s/cpu.max", folder);
  FILE *file = fopen(path, "re");
  if (!file)
    return INT_MAX;
  long long quota = 0, period = 0;
  if (fscanf(file, "%lld %lld", &quota, &period) != 2)
    quota = 0;
  fclose(file);
  return cpus_of_quota(quota, period);
}

static long long read_number(const char *folder, const char *name) {
  char path[PATH_BYTES + 32];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "re");
  if (!file)
    return -1;
  long long value = -1;
  if (fscanf(file, "%lld", &value) != 1)
    value = -1;
  fclose(file);
  return value;
}

static int limit_v1(const char *folder) {
  return cpus_of_quota(read_number(folder, "cpu.cfs_quota_us"), read_number(folder, "cpu.cfs_period_us"));
}

/* The tightest limit from `mount` + `group` up to `mount` itself. A container may see the host's group
 * name without the folders of it: those count as unlimited. */
static int tightest(const char *mount, const char *group, int (*limit)(const char *folder)) {
  char folder[PATH_BYTES];
  size_t root_length = strlen(mount);
  if (snprintf(folder, sizeof folder, "%s%s", mount, group) >= (int)sizeof folder)
    return INT_MAX;
  int cpus = INT_MAX;
  for (;;) {
    int here = limit(folder);
    if (here < cpus)
      cpus = here;
    char *slash = strrchr(folder, '/');
    if (!slash || (size_t)(slash - folder) < root_length)
      return cpus;
    *slash = '\0';
  }
}

/* "cpu" as one of the comma-separated names. */
static int names_cpu(const char *controllers) {
  for (const char *name = controllers; *name;) {
    size_t length = strcspn(name, ",");
    if (length == 3 && !strncmp(name, "cpu", 3))
      return 1;
    name += length + (name[length] == ',');
  }
  return 0;
}

static int limit_of_line(const char *root, char *line) {
  char mount[PATH_BYTES];
  /* hierarchy:controllers:group; version 2 has no controllers */
  char *controllers = strchr(line, ':');
  char *group = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!group)
    return INT_MAX;
  *group++ = '\0';
  controllers++;
  group[strcspn(group, "\n")] = '\0';
  if (*controllers == '\0') {
    snprintf(mount, sizeof mount, "%s/sys/fs/cgroup", root);
    return tightest(mount, group, limit_v2);
  }
  if (!names_cpu(controllers))
    return INT_MAX;
  snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/%s", root, controllers);
  int combined = tightest(mount, group, limit_v1);
  snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/cpu", root);
  int alone = tightest(mount, group, limit_v1);
  return combined < alone ? combined : alone;
}

int gk_cgroup_cpus(const char *root) {
  char line[PATH_BYTES];
  snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
  FILE *file = fopen(line, "re");
  if (!file)
    return INT_MAX;
  int cpus = INT_MAX;
  while (fgets(line, sizeof line, file)) {
    int here = limit_of_line(root, line);
    if (here < cpus)
      cpus = here;
  }
  fclose(file);
  return cpus;
}
