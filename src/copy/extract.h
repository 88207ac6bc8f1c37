/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images out of a repository: the way of ingest.h, backwards. */
#ifndef COPY_EXTRACT_H
#define COPY_EXTRACT_H

#include "copy/progress.h"
#include "copy/target.h"
#include "copy/team.h"
#include "repo/tree.h"

struct extract_image {
    struct chunk_id root;
    uint64_t bytes;
    const char *name;     /* for messages */
    struct target target; /* what an old one has already is not written again */
};

struct extract {
    struct store *store;
    const struct extract_image *images;
    size_t count;
    unsigned workers; /* as of ingest.h */
    unsigned percent; /* of the chunks, taken at random; 100 for all, unless all are TARGET_NONE */
    struct progress *progress;
    atomic_uint_least64_t written_bytes; /* out: not counting zeros */
};

/* Get all images, and make them durable. DAMAGED names the first piece that is not whole. `watch`
 * as of team_run(). */
int extract_run(struct extract *x, team_watch watch, void *arg, struct error *e);

#endif
