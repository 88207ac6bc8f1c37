/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What store.c and store_worker.c know of a store, and nobody else. */
#ifndef REPO_STORE_PRIVATE_H
#define REPO_STORE_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>

#include "repo/store.h"

struct store {
    int dirfd, packs_dirfd, lock;
    uint32_t chunk_bytes;
    struct index *index;
    pthread_mutex_t mutex;      /* of what follows */
    char (*unsaved)[PACK_NAME]; /* packs that are closed, and not published */
    size_t unsaved_count;
};

/* It has no index. */
static inline bool keeps_nothing(const struct store *s)
{
    return !s->index;
}

#endif
