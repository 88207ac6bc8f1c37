/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images out of a repository: the way of ingest.h, backwards. */
#ifndef COPY_EXTRACT_H
#define COPY_EXTRACT_H

#include "copy/progress.h"
#include "copy/seen.h"
#include "copy/target.h"
#include "copy/team.h"
#include "repo/naming.h"
#include "repo/tree.h"

struct extract_image {
    struct chunk_id root;
    uint64_t bytes;
    const char *name;     /* for messages */
    struct target target; /* what an old one has already is not written again */
    uint8_t *there; /* NULL, or a bit a chunk: verifying notes here what the target has already,
                       writing goes by it */
};

enum extract_mode {
    EXTRACT_WRITE,
    EXTRACT_VERIFY /* hold against their sums the chunks that EXTRACT_WRITE would read; none that an
                      idle target has */
};

struct extract {
    enum extract_mode mode;
    struct store *store;
    const struct extract_image *images;
    size_t count;
    unsigned workers;     /* as of team_size() */
    struct sample sample; /* EXTRACT_VERIFY: of the chunks */
    struct seen *seen;    /* EXTRACT_VERIFY: what need not be read again; NULL: nothing */
    /* Told of each part that is not to be had, by any thread: zeros take its place. NULL: the first
     * ends it. */
    int (*bad)(void *arg, const struct extract_image *image, uint64_t offset, uint64_t bytes,
               const struct error *why, struct error *e);
    void *bad_arg;
    const struct team_watch *watch; /* as of team_run(); NULL is fine */
    struct progress *progress;
    atomic_uint_least64_t written_bytes; /* out: not counting zeros */
};

/* Get all images, and make them durable. DAMAGED names the first piece that is not whole. */
int extract_run(struct extract *x, struct error *e);

#endif
