/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>

uint64_t memory_available_bytes(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    uint64_t kib = 0;
    char line[128];

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib << 10;
}
