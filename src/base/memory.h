/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stdint.h>

/* Memory that this process can still get without swapping (MemAvailable of /proc/meminfo), and
 * without its control group's limit killing it; 0 if unknown. */
uint64_t memory_available_bytes(void);

/*
 * What the limits of the control group `group` ("/system.slice/backup.service") and of those above
 * it leave; UINT64_MAX if there is none. Page cache, which the kernel takes back first, counts as
 * free. `root` is where version 2 of control groups is mounted. Source: the kernel's
 * Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files".
 */
uint64_t memory_left_by_groups(const char *root, const char *group);

#endif
