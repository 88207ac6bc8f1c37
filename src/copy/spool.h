/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stream that goes into memory, with a bound, and from there into a file. While a guest is
 * paused its RAM comes through here: it goes on as soon as the last byte is in memory, and the
 * disk follows at its own pace.
 *
 *     writer (libxl) → pipe → drain thread → ring of at most `memory_bytes` → write thread → file
 *
 * When the ring is full the drain waits for the disk, and so does the writer. A part of it can be
 * kept free for the end, which then does not wait. While a guest is paused for all of its RAM,
 * nothing is written until then: that would take CPU time and the disk from the save.
 *
 *     writer → file in memory, of at most `memory_bytes` → write thread → file
 *
 * If all of it surely fits, it needs no pipe, which halves the time that the writer takes.
 */
#ifndef COPY_SPOOL_H
#define COPY_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "copy/progress.h"

struct spool;

enum spool_pace {
    SPOOL_IN_MEMORY,  /* all fits: write once all is there */
    SPOOL_AFTERWARDS, /* write once the ring is full, or all is in it */
    SPOOL_AT_ONCE     /* write what there is, so that the ring is all but empty when it matters */
};

struct spool_config {
    int file; /* borrowed until spool_finish(), as is its name for messages */
    const char *name;
    size_t memory_bytes;  /* all taken at once */
    size_t reserve_bytes; /* of a ring: kept free until spool_use_reserve() */
    enum spool_pace pace;
    struct progress *progress;
};

/*
 * Start the threads. `*write_fd`, for the writer, belongs to the caller, who closes it after the
 * last byte and says so: spool_end(). The threads also end when the user wants to stop or the file
 * can't be written: the pipe then breaks (EPIPE).
 */
int spool_start(struct spool **s, int *write_fd, const struct spool_config *config,
                struct error *e);

/* The writer is not to wait for the disk from here on: it may fill the reserve as well. */
void spool_use_reserve(struct spool *s);

/* The writer's end is closed: the disk may have it. */
void spool_end(struct spool *s);

/* Give up, because of `why`: the pipe breaks (EPIPE), the file in memory can't be written any more
 * (EPERM). Does not wait. */
void spool_break(struct spool *s, const struct error *why);

/*
 * After spool_end(): wait until all is in the file and durable. Frees the spool, on failure too.
 * Call it also to give up, after closing the writer's end.
 */
int spool_finish(struct spool *s, uint64_t *size_bytes, struct error *e);

#endif
