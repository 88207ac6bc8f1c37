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
    struct progress *progress;       /* gets every byte of the size, zeros too */
    atomic_uint_least64_t *position; /* told: what is before it is read; may be NULL */
    const atomic_bool *stop; /* polled: another part of the same work has failed; may be NULL */
};

/*
 * Copy `size_bytes` from the start of the source, make them durable (fsync), and give their sum.
 * CANCELLED when the user or *stop wants it. The target is then, as after any error, neither old
 * nor new.
 */
int copy_run(const struct copy *c, char sha256_hex[SHA256_HEX], struct error *e);

#endif
