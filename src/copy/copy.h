/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes from a disk to an image file, or back, once and in order, with their SHA-256. Zeros are
 * neither written nor, where the source is a sparse file, read.
 */
#ifndef COPY_COPY_H
#define COPY_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "copy/progress.h"
#include "copy/team.h"
#include "base/sha256.h"

enum copy_target {
    COPY_TO_NOTHING, /* only the sum is wanted */
    COPY_TO_NEW,     /* reads as zeros: a file extended by ftruncate */
    COPY_OVER_OLD    /* has other content, which zeros must replace */
};

struct copy {
    int source, target;                    /* borrowed; the source may be open with O_DIRECT */
    const char *source_name, *target_name; /* for messages */
    uint64_t size_bytes;
    enum copy_target kind;
    struct progress *progress;      /* gets every byte of the size, zeros too */
    atomic_uint_least64_t position; /* out, all the while: what is before it has been read */
    char sha256[SHA256_HEX];        /* out */
};

/*
 * Copy each one's `size_bytes` from the start of its source, make them durable (fsync), and give
 * their sum: all at the same time, watched as by team_run(). The first error stops all; a target is
 * then neither old nor new.
 */
int copy_all(struct copy *copies, size_t count, team_watch watch, void *arg, struct error *e);

/* Make a part of a target, which has other content, zero: by one command where that is possible. */
int copy_zeros(int target, const char *name, uint64_t offset, uint64_t bytes, struct error *e);

#endif
