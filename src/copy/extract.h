/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images out of a repository: the way of ingest.h, backwards. */
#ifndef COPY_EXTRACT_H
#define COPY_EXTRACT_H

#include "copy/copy.h"
#include "repo/tree.h"

struct extract_image {
    struct chunk_id root;
    uint64_t bytes;
    int target;            /* borrowed; not looked at for COPY_TO_NOTHING, which only checks */
    const char *name;      /* for messages */
    enum copy_target kind; /* COPY_OVER_OLD: what is there already is not written again */
};

struct extract {
    struct store *store;
    const struct extract_image *images;
    size_t count;
    unsigned workers; /* as of ingest.h */
    struct progress *progress;
    atomic_uint_least64_t written_bytes; /* out: not counting zeros */
};

/* Get all images, and make them durable. DAMAGED names the first piece that is not whole. `watch`
 * as of team_run(). */
int extract_run(struct extract *x, team_watch watch, void *arg, struct error *e);

#endif
