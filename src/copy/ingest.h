/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images into a repository. Workers, all alike, each take a leaf of a tree (64 MiB of an image at
 * 256 KiB a chunk), read it, and put its chunks and itself; there are no queues, and nothing is
 * shared but the index and who takes what next.
 *
 * Memory: each worker has one read buffer and what its store_worker has, some 12 MiB in all, and a
 * leaf's names cost 32 bytes for each 64 MiB of image.
 */
#ifndef COPY_INGEST_H
#define COPY_INGEST_H

#include "copy/progress.h"
#include "copy/team.h"
#include "repo/tree.h"

/* A part of an image, in bytes. */
struct extent {
    uint64_t offset, bytes;
};

struct ingest_image {
    int source;       /* borrowed; may be open with O_DIRECT */
    const char *name; /* for messages */
    uint64_t bytes;
    const struct tree *previous; /* an earlier state of it, whose names are there; NULL: none */
    /* What may differ from `previous`: sorted, without overlaps. NULL: anything may. The rest is
     * not read. */
    const struct extent *changed;
    size_t changed_count;
    struct chunk_id root;           /* out */
    atomic_uint_least64_t position; /* out, all the while: what is before it has been read */
};

struct ingest {
    struct store *store;
    struct ingest_image *images;
    size_t count;
    unsigned workers;          /* 0: as many as there are processors, at most 8 */
    uint64_t bytes_per_second; /* read; 0: no limit */
    struct progress *progress;
    struct store_stats stats; /* out */
};

/* Put all images, and make them durable: records may name their roots then. `watch` as of
 * team_run(). */
int ingest_run(struct ingest *in, team_watch watch, void *arg, struct error *e);

#endif
