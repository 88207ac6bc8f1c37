/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/memory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The number behind `key` in a file of lines, each a key and a number; an empty key: the number
 * alone. */
static bool number_of(const char *path, const char *key, uint64_t *number)
{
    FILE *f = fopen(path, "re");
    size_t len = strlen(key);
    bool found = false;
    char line[128];

    while (f && !found && fgets(line, sizeof line, f))
        found = strncmp(line, key, len) == 0 && sscanf(line + len, " %" SCNu64, number) == 1;
    if (f)
        fclose(f);
    return found;
}

static bool number_in(const char *folder, const char *file, const char *key, uint64_t *number)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/%s", folder, file) < (int)sizeof path &&
           number_of(path, key, number);
}

static uint64_t left_by_group(const char *folder)
{
    uint64_t limit, used, cache[2] = {0};

    /* "max", which is no number, is no limit. */
    if (!number_in(folder, "memory.max", "", &limit) ||
        !number_in(folder, "memory.current", "", &used))
        return UINT64_MAX;
    number_in(folder, "memory.stat", "inactive_file ", &cache[0]);
    number_in(folder, "memory.stat", "active_file ", &cache[1]);
    used -= cache[0] + cache[1] < used ? cache[0] + cache[1] : used;
    return used < limit ? limit - used : 0;
}

uint64_t memory_left_by_groups(const char *root, const char *group)
{
    uint64_t least = UINT64_MAX;
    char folder[PATH_MAX];

    if (snprintf(folder, sizeof folder, "%s%s", root, group) >= (int)sizeof folder)
        return UINT64_MAX;
    /* The root has limits where it is a namespace's own. */
    for (;;) {
        uint64_t left = left_by_group(folder);

        least = left < least ? left : least;
        if (strlen(folder) <= strlen(root))
            return least;
        *strrchr(folder, '/') = '\0';
    }
}

static uint64_t left_by_own_groups(void)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    uint64_t left = UINT64_MAX;
    char line[PATH_MAX];

    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        /* The line of version 2. */
        if (strncmp(line, "0::/", 4) == 0)
            left = memory_left_by_groups("/sys/fs/cgroup", line + 3);
    }
    if (f)
        fclose(f);
    return left;
}

uint64_t memory_available_bytes(void)
{
    uint64_t kib, left = left_by_own_groups();

    if (!number_of("/proc/meminfo", "MemAvailable:", &kib))
        return 0;
    return left < kib << 10 ? left : kib << 10;
}
