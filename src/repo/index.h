/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where each piece is: all places of it. A cache of the tables of the packs that a view names, in
 * files of this host's own (segment.h) and in memory for what is newer; what is missing there is
 * read from the packs when it is opened. Any number of threads may find and add at the same time.
 *
 * The files are in the cache folder: $XDG_CACHE_HOME/domsnap/ID if that is set, else
 * /var/cache/domsnap/ID for root and
 * ~/.cache/domsnap/ID for others, ID being the repository's. Where that can't be written, memory
 * has to do.
 */
#ifndef REPO_INDEX_H
#define REPO_INDEX_H

#include "repo/backend.h"
#include "repo/format.h"
#include "repo/view.h"

struct index;

/* Where a piece is. */
struct place {
    uint32_t pack;   /* the index's number of it */
    uint32_t offset; /* of the piece's head */
    uint32_t stored_bytes;
    bool patch;                 /* of another piece, which is whole */
    uint8_t base[PREFIX_BYTES]; /* of a patch: how that piece's name begins */
    bool damaged; /* it is said to be: writers don't rely on it, readers try it last */
};

/* How a place is known by one number: all of them, from 0, see index_merge(). */
#define PLACES_MAX 16 /* of one piece that are told */

/* `id`: the repository's, for the cache. `cache`: the folder to use instead; NULL: the usual one.
 * All are borrowed. */
int index_open(struct index **ix, struct backend *b, const struct view *v, const char *id,
               const char *cache, struct error *e);
void index_close(struct index *ix); /* NULL is fine */

/* The places of a piece in packs that are closed, the best first: whole before patches, damaged
 * ones last. 0: there is none. Negative: the cache can't be read. */
int index_find(struct index *ix, const struct chunk_id *id, struct place places[PLACES_MAX],
               struct error *e);

/* The same by how its name begins. */
int index_find_prefix(struct index *ix, const uint8_t prefix[PREFIX_BYTES],
                      struct place places[PLACES_MAX], struct error *e);

enum claim {
    CLAIM_KNOWN, /* it is there, in `place`, or another thread is writing it (place->pack PACK_OPEN)
                  */
    CLAIM_MINE   /* it is not: whoever is told so is to write it */
};

/* A piece that is known, but in a pack that is not closed yet. */
#define PACK_OPEN (UINT32_MAX - 1)

/* As a writer sees it: only places that are not damaged count; with `whole`, only those that are no
 * patch. */
int index_claim(struct index *ix, const struct chunk_id *id, bool whole, enum claim *claim,
                struct place *place, struct error *e);

/* A pack that was put by this run. */
int index_add_pack(struct index *ix, const struct pack_name *name, uint64_t bytes,
                   const struct table_entry *entries, size_t count, uint32_t *number,
                   struct error *e);

/* A piece turned out to be damaged: from now on this place is. */
int index_mark(struct index *ix, const struct place *place, struct error *e);

/* The same of all that is in a pack, whether it is damaged or only on its way out. */
int index_mark_pack(struct index *ix, uint32_t number, struct error *e);

/* Read the tables of packs that a view names and this index does not know. */
int index_learn(struct index *ix, const struct view *v, struct error *e);

/* Keep what only memory holds in a file. Losing it costs time only. */
int index_save(struct index *ix, struct error *e);

/* ---- packs ---- */

struct index_pack {
    struct pack_name name;
    uint64_t bytes;
    bool unreadable; /* so is its table, and `why` says why: nothing in it is known */
    struct error *why;
};

/* The pack of that number, from 0; NULL after the last. Valid until the index is closed. */
const struct index_pack *index_pack(struct index *ix, uint32_t number);

/* ---- all that is there, for check and collect: by one thread, nobody adding ---- */

/* Bring all into one segment: places have numbers then, in the order of their names. What is added
 * later has none, and is not told below. */
int index_merge(struct index *ix, uint64_t *places, struct error *e);

/* One place, in order. `base`: all zeros unless it is a patch; the first BASE_BYTES of its base's
 * name. */
struct index_entry {
    uint8_t prefix[20]; /* of the piece's name */
    uint8_t base[20];
    struct place place;
};

typedef int (*index_sink)(void *arg, uint64_t number, const struct index_entry *entry,
                          struct error *e);

/* All places, by one read from front to back. */
int index_each(struct index *ix, index_sink sink, void *arg, struct error *e);

/* A file for what memory is not to hold, empty and without a name: the caller's. -1: there is none.
 */
int index_scratch(struct index *ix);

#endif
