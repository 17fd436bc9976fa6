/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_CORE_CGROUP_H
#define GK_CORE_CGROUP_H

/* CPUs that this process's control groups allow it (Linux, versions 1 and 2, the tightest ancestor;
 * a quota of 1.5 CPUs counts as 2). INT_MAX without a limit. `root` is put before /proc and /sys: ""
 * but in tests. */
int gk_cgroup_cpus(const char *root);

#endif
