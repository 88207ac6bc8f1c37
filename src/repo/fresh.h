/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entries of the index in memory: those that are in no segment yet. Of one prefix there may be any
 * number. It takes some 64 bytes an entry. Nothing here locks.
 */
#ifndef REPO_FRESH_H
#define REPO_FRESH_H

#include "repo/segment.h"

/* A pack of which all entries are here. */
struct fresh_pack {
    uint32_t number, entries;
};

struct fresh_cell;

struct fresh { /* all zeros: empty */
    struct fresh_cell *cells;
    uint32_t count, room; /* of cells; some of the first are unused if any were removed */
    uint32_t *heads;      /* of the chains of cells with one hash: their number + 1 */
    uint32_t head_count;  /* a power of two */
    uint32_t unused;      /* chain of cells, as above */
    uint64_t seed;        /* so that no guest can choose content that has one hash */
    struct fresh_pack *packs;
    size_t pack_count, pack_room;
};

void fresh_release(struct fresh *f); /* to empty */

/* Make room for so many more: fresh_put() and fresh_put_pack() can't fail then. */
int fresh_reserve(struct fresh *f, size_t entries, size_t packs, struct error *e);
void fresh_put(struct fresh *f, const struct entry *entry);
void fresh_put_pack(struct fresh *f, uint32_t number, uint32_t entries);

/* All of another, which is empty then. */
int fresh_absorb(struct fresh *f, struct fresh *from, struct error *e);

void fresh_find(const struct fresh *f, const uint8_t prefix[static PREFIX_BYTES], entry_sink found,
                void *arg);

/* The first of a prefix, to be changed in place but for that; NULL: there is none. */
struct entry *fresh_first(struct fresh *f, const uint8_t prefix[static PREFIX_BYTES]);

/* The first of a prefix, if there is any. */
void fresh_remove(struct fresh *f, const uint8_t prefix[static PREFIX_BYTES]);

/* How they are sorted by prefix, to free(): the number of each, for fresh_entry(). Of what nothing
 * was removed from. */
int fresh_sort(const struct fresh *f, uint32_t **order, struct error *e);
const struct entry *fresh_entry(const struct fresh *f, uint32_t number);

#endif
