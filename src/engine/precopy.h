/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long a guest will be paused for its RAM, told while it is saved, from how the rounds of the
 * save went so far; or before, from how fast it changes its RAM.
 */
#ifndef ENGINE_PRECOPY_H
#define ENGINE_PRECOPY_H

#include <stdint.h>

#include "domain/driver.h"

/* All zero at the start, but for ram_pages. */
struct precopy {
    uint64_t ram_pages;
    struct save_progress at; /* the last that was noted */
    uint64_t began_ns;       /* its round */
    uint64_t written_pages;  /* in the rounds before */
    double pages_per_ns;     /* written in the last whole round; 0: there was none */
    double dirty_per_ns;     /* changed by the guest meanwhile */
};

/* `now_ns`: time_monotonic_ns(). */
void precopy_note(struct precopy *p, const struct save_progress *at, uint64_t now_ns);

/* If the round under way is the last that the guest runs in, or one that it is paused for; 0:
 * can't be told yet. */
uint64_t precopy_pause_ns(const struct precopy *p, uint64_t now_ns);

/* Before any save: from how fast RAM can be written, and is changed by the guest. */
uint64_t precopy_predict_ns(uint64_t ram_pages, double pages_per_ns, double dirty_per_ns);

#endif
