/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads that do parts of one work: the first that fails stops the others. */
#ifndef COPY_TEAM_H
#define COPY_TEAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* One part. It polls *stop, and then returns CANCELLED, as it does when the user wants to stop. */
typedef int (*team_work)(void *part, const atomic_bool *stop, struct error *e);

struct team_watch {
    /* Called on the caller's thread, at least four times a second, until all have ended; an error
     * stops them. */
    int (*look)(void *arg, struct error *e);
    void *arg;
    bool gives_way; /* the work is done with the lowest priority, since somebody (a guest) works
                       beside it; the watch with the caller's */
};

/* Run `work` on each of `parts`, an array of `count` of `part_bytes` each, in a thread of its own.
 * Returns the first error. `watch` may be NULL. */
int team_run(team_work work, void *parts, size_t count, size_t part_bytes,
             const struct team_watch *watch, struct error *e);

/* How many threads share a work of so many parts: `wanted`, or, if that is 0, two a processor, at
 * most 8. */
unsigned team_size(unsigned wanted, uint64_t parts);

/* The same for a work that waits for disks most of the time: eight a processor, at most 16. */
unsigned team_size_of_readers(unsigned wanted, uint64_t parts);

/* CANCELLED, for a part that sees *stop, or that the user wants to stop. */
int team_check(const atomic_bool *stop, struct error *e);

#endif
