/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/time.h"

#include <time.h>

uint64_t time_monotonic_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

void time_utc_iso8601(char out[sizeof "2026-11-23T01:55:03Z"])
{
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(out, sizeof "2026-11-23T01:55:03Z", "%Y-%m-%dT%H:%M:%SZ", &tm);
}
