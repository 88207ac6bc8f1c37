/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names of content: SHA-256, and 32 zero bytes for zeros. One naming a thread. */
#ifndef REPO_NAMING_H
#define REPO_NAMING_H

#include "repo/format.h"

/* A part of all content, by its names: so it is the same for all snapshots that share a piece. */
struct sample {
    unsigned percent; /* 100: all */
    unsigned from;    /* 0 to 99: which part */
};

bool sample_has(const struct sample *s, const struct chunk_id *id);

struct naming;

int naming_new(struct naming **n, struct error *e);
void naming_free(struct naming *n); /* NULL is fine */

int naming_name(struct naming *n, const void *content, uint32_t bytes, struct chunk_id *id,
                struct error *e);

/* Of chunks of `chunk_bytes` that lie one after the other in `bytes` of content, the last of which
 * may be shorter. Faster than one by one (base/sha256_pair.h). */
int naming_names(struct naming *n, const void *content, size_t bytes, uint32_t chunk_bytes,
                 struct chunk_id *ids, struct error *e);

/* DAMAGED: the content has another name. */
int naming_check(struct naming *n, const struct chunk_id *id, const void *content, uint32_t bytes,
                 struct error *e);

#endif
