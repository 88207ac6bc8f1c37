/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What store.c and store_worker.c know of a store, and nobody else. */
#ifndef REPO_STORE_PRIVATE_H
#define REPO_STORE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "repo/packer.h"
#include "repo/store.h"

struct store {
    struct repo *repo; /* NULL: it keeps nothing */
    uint32_t chunk_bytes;
    struct index *index;
    struct packer *packers[2]; /* by pack_kind, from PACK_DATA on; NULL: nothing can be put */
    atomic_bool *relied;       /* on packs of others: a flag each */
    uint32_t pack_count;       /* of them */
    struct view_pack *said; /* of each, what the log said of it at first: the view may change under
                               threads at work */
    atomic_uint_least64_t put_bytes, known_bytes, stored_bytes;
    pthread_mutex_t mutex; /* guards what follows */
    struct view_pack *packs;
    size_t put_count;         /* of them */
    json_t *damaged, *mended; /* the "packs" of such entries */
    size_t damaged_count;
};

static inline bool keeps_nothing(const struct store *s)
{
    return !s->repo;
}

/* Something is there already: the pack that it is in must not go. */
static inline void rely_on(struct store *s, const struct place *place)
{
    if (place->pack < s->pack_count)
        atomic_store(&s->relied[place->pack], true);
}

#endif
