/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of the index share: index.c answers, index_open.c opens the cache, index_files.c
 * makes its files, index_merge.c merges them, index_walk.c goes through all from front to back.
 *
 * Locks, in the order in which they are taken:
 *   keeping  whoever changes files, or moves entries to them; for seconds
 *   lock     the lists of packs and segments, what is known of packs, `frozen`. Look-ups have it
 *            shared while they read from segments, so that none waits for another's disk; changes
 *            take moments
 *   memory   `fresh` and `open`
 */
#ifndef REPO_INDEX_PRIVATE_H
#define REPO_INDEX_PRIVATE_H

#include <pthread.h>

#include "repo/fresh.h"
#include "repo/index.h"
#include "repo/segment.h"

struct pack {
    struct index_pack told;
    uint32_t *damaged; /* offsets, sorted */
    size_t damaged_count;
    bool all_damaged;
    bool covered; /* a segment is found that has its entries */
};

struct index {
    struct backend *backend;
    uint8_t repository[32]; /* SHA-256 of its id */
    pthread_mutex_t keeping;
    pthread_rwlock_t lock;
    pthread_mutex_t memory;

    /* Under `keeping`. */
    int dirfd;      /* the cache; -1: there is none */
    bool in_memory; /* no files can be written, so all that is new stays in memory */
    char **rubbish; /* files that were of no use, to be removed */
    size_t rubbish_count;
    uint64_t places;       /* that index_merge() has numbered, */
    size_t numbered_packs; /* in so many packs */

    /* Under `lock`. */
    struct pack *listed; /* those that the view had when it was opened, sorted by name */
    size_t listed_count;
    struct pack **packs; /* all by number: those first */
    size_t pack_count, pack_room;
    struct segment **segments; /* the largest first */
    size_t segment_count, segment_room;
    struct fresh frozen; /* what is being written, or could not be */

    /* Under `memory`. */
    struct fresh fresh; /* of packs that are closed */
    struct fresh open;  /* claimed, in no closed pack; with ENTRY_PATCH: it may become one */
};

/* So many entries are kept in memory before they go to a file: 32 MiB. */
#define FRESH_MAX (1u << 19)

/* Each takes a descriptor; nobody leaves as many. */
#define SEGMENTS_OPEN_MAX 256

/* ---- index.c ---- */

/* Add a pack's entries: DAMAGED if one is impossible, and nothing is done then. */
int index_put_table(struct fresh *f, uint32_t number, uint64_t pack_bytes,
                    const struct table_entry *entries, size_t count, struct error *e);

/* Under `lock`. */
bool index_is_damaged(const struct pack *pack, uint32_t offset);

/* ---- index_open.c ---- */

/* Open the folder and what is in it, as far as that can be used; read the tables of the packs that
 * are not in it. */
int index_open_files(struct index *ix, const char *id, const char *cache, struct error *e);

/* ---- index_files.c: under `keeping` up to the line, or as long as nobody else has the index ----
 */

static inline bool index_can_write(const struct index *ix)
{
    return ix->dirfd >= 0 && !ix->in_memory;
}

/* From here on all that is new stays in memory. */
void index_give_up(struct index *ix, const struct error *why);

/* Room for so many more segments; and, under `lock`, one more of them. */
int index_make_room(struct index *ix, size_t more, struct error *e);
void index_insert(struct index *ix, struct segment *s);

/* A file to be removed with the next merge. What there is no memory for stays. */
void index_add_rubbish(struct index *ix, const char *file);
void index_remove_rubbish(struct index *ix);

/* A new file of all that these segments and `fresh` (NULL: nothing) have. `*new` is NULL if all of
 * it is of packs that are gone; `*bad` is the one that can't be read, or NULL. */
int index_make_segment(struct index *ix, struct segment *const *segments, size_t segment_count,
                       const struct fresh *fresh, struct segment **new, struct segment **bad,
                       struct error *e);

/* Take the entries of packs from their tables, in place of those of `bad`, if it is not NULL. */
int index_read_tables(struct index *ix, const uint32_t *numbers, size_t count, struct segment *bad,
                      struct error *e);

/* Make do without a segment that can't be read, by the tables of its packs. */
int index_do_without(struct index *ix, struct segment *bad, struct error *e);

void index_close_segments(struct index *ix);
void index_close_files(struct index *ix);

/* The same at any time; `bad` is let go of. */
int index_heal(struct index *ix, struct segment *bad, struct error *e);

/* ---- index_merge.c: under `keeping` ---- */

/* Merge what is to be merged. */
void index_tidy(struct index *ix);

/* At any time: move what is in memory to a file, unless somebody does so now. */
void index_relieve(struct index *ix);

/* ---- index_walk.c ---- */

/* All entries of segments and of memory in the order of their prefixes. */
struct walk;

int walk_new(struct walk **w, struct segment *const *segments, size_t segment_count,
             const struct fresh *const *fresh, size_t fresh_count, struct error *e);
void walk_free(struct walk *w); /* NULL is fine */
/* 1: the next one, 0: there is none; or negative, and `*bad`, if not NULL, is the one that can't
 * be read, held by the walk. */
int walk_next(struct walk *w, struct entry *entry, struct segment **bad, struct error *e);

/* Through all of the index. */
int walk_all(struct walk **w, struct index *ix, struct error *e);

#endif
