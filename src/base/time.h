/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_TIME_H
#define BASE_TIME_H

#include <stdint.h>

/* CLOCK_MONOTONIC. */
uint64_t time_monotonic_ns(void);

/* Now, in UTC, as in 2026-11-23T01:55:03Z. */
void time_utc_iso8601(char out[sizeof "2026-11-23T01:55:03Z"]);

#endif
