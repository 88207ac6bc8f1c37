/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images into a repository, or (of a store that keeps nothing) into files, with their names.
 * Workers, all alike, each take a leaf of a tree (64 MiB of an image at 256 KiB a chunk), read it,
 * and put its chunks and itself; there are no queues, and nothing is shared but the index and who
 * takes what next.
 *
 * Memory: each worker has one read buffer and what its store_worker has, some 12 MiB in all, and a
 * leaf's names cost 32 bytes for each 64 MiB of image.
 */
#ifndef COPY_INGEST_H
#define COPY_INGEST_H

#include "copy/progress.h"
#include "copy/target.h"
#include "copy/team.h"
#include "repo/tree.h"

/* A part of an image, in bytes. */
struct extent {
    uint64_t offset, bytes;
};

struct ingest_image {
    int source; /* borrowed; may be open with O_DIRECT */
    /* Instead of a descriptor, if `read` is not NULL: read a part, at a multiple of the chunks'
     * length, and say where content is next at or after `offset` (`bytes`: nowhere). By any
     * thread. */
    int (*read)(const void *arg, void *to, size_t bytes, uint64_t offset, struct error *e);
    uint64_t (*next)(const void *arg, uint64_t offset);
    const void *arg;
    const char *name; /* for messages */
    uint64_t bytes;
    struct target target;        /* where it is copied to as well */
    const struct tree *previous; /* an earlier state of it, whose names are there; NULL: none */
    /* What may differ from `previous`: sorted, without overlaps. NULL: anything may. The rest is
     * not read. */
    const struct extent *changed;
    size_t changed_count;
    struct chunk_id root;           /* out */
    atomic_uint_least64_t position; /* out, all the while: what is before it has been read */
};

struct ingest;

/* `workers`: as of team_size(). */
int ingest_new(struct ingest **in, struct store *store, unsigned workers, struct progress *progress,
               struct error *e);

/* From now on read no faster; 0: no limit, as at first. */
void ingest_limit(struct ingest *in, uint64_t bytes_per_second);

/* Put images, and tell their roots; what was copied is durable then. Any number of times; `watch`
 * as of team_run(). */
int ingest_put(struct ingest *in, struct ingest_image *images, size_t count,
               const struct team_watch *watch, struct error *e);

/* NULL is fine. What was put is the store's to finish: store_finish(). */
void ingest_free(struct ingest *in);

/* Without a repository: only copy images to their targets, and name them: see ingest_put(). */
int ingest_copy(struct ingest_image *images, size_t count, uint32_t chunk_bytes,
                uint64_t bytes_per_second, struct progress *progress,
                const struct team_watch *watch, struct error *e);

#endif
