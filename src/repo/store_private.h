/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of a store share: store.c has its packs and what it relies on, store_worker.c gets
 * chunks out, store_put.c puts them in, and moves pieces.
 */
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

struct store_worker {
    struct store *store;
    uint32_t room; /* for content, in each of what follows */
    struct naming *naming;
    struct codec *codec;
    struct pack_window first;  /* a piece that was read */
    struct pack_window second; /* another, while that is still needed: a patch's base */
    uint8_t *base;             /* content */
    uint8_t *pages;            /* those of a patch */
    uint8_t *content;          /* of a piece that is copied */
    struct pack_window whole;  /* of packs that are read from front to back */
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

/* Whether a writer may rely on it. */
static inline bool is_sound(const struct place *place)
{
    return !place->damaged;
}

/* ---- store_worker.c ---- */

/* The piece at a place, whose name begins so, by `window`; its content is not looked at. */
int store_read_piece(struct store_worker *w, const struct place *place, const uint8_t *prefix,
                     struct pack_window *window, const uint8_t **piece, struct piece_head *h,
                     struct error *e);

/* The content of a piece, not held against its name. That of store_decode_whole() is no patch;
 * that of store_decode() is in w->first, from a place (NULL: from no pack that counts). `*own`:
 * what is damaged is the piece itself, and not the base that it is a patch of. */
int store_decode_whole(struct store_worker *w, const struct piece_head *h, const uint8_t *piece,
                       uint8_t *to, struct error *e);
int store_decode(struct store_worker *w, const struct place *place, const struct piece_head *h,
                 const uint8_t *piece, uint8_t *to, bool *own, struct error *e);

/* For patches: the first of `places`, `count` of them, that is whole, no patch, and good. Its
 * number; or negative, and `*fits` is false if one is good, and of another length. */
int store_get_base(struct store_worker *w, const uint8_t *prefix, const struct place *places,
                   int count, uint8_t *to, uint32_t bytes, struct piece_head *h, bool *fits,
                   struct error *e);

/* `e` is of a place: say so. Returns its status. */
int store_say_where(struct store_worker *w, const struct place *place, struct error *e);

#endif
