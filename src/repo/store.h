/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A repository's pieces: content in, content out, by name. Work is done by store_workers, one a
 * thread; they share the index, and the packs under way.
 *
 *     store_open → store_worker_new … store_put, store_get … → store_finish → (commit.h) →
 * store_close
 *
 * What was put may be named by a record once store_finish() has returned.
 */
#ifndef REPO_STORE_H
#define REPO_STORE_H

#include "repo/index.h"
#include "repo/pack.h"
#include "repo/repo.h"

struct store;

/* Of a repository, borrowed. Its run puts; without one nothing can be put. */
int store_open(struct store **s, struct repo *r, struct error *e);

/* One that keeps nothing, and only tells names. */
int store_none(struct store **s, uint32_t chunk_bytes, struct error *e);

/* What was found damaged is noted in the repository. NULL is fine. */
void store_close(struct store *s);

uint32_t store_chunk_bytes(const struct store *s);
struct repo *store_repo(const struct store *s);
struct index *store_index(const struct store *s);

/* Close the packs under way; save the index, as well as it can. More may be put later. */
int store_finish(struct store *s, struct error *e);

/* The packs that were put, all closed after store_finish(). Valid until the next is. */
const struct view_pack *store_packs(const struct store *s, size_t *count);

/* The same as the log has them; the caller's reference. NULL: out of memory. */
json_t *store_packs_to_json(const struct store *s);

/* The index follows the view. `*lost`: something was relied on, in place of being put, that the
 * view no longer names. Nothing is relied on then: store_rely() and store_put() must be asked again
 * for all of it. */
int store_follow(struct store *s, bool *lost, struct error *e);

struct store_stats {
    uint64_t put_bytes;    /* content, all of it */
    uint64_t known_bytes;  /* of that, content that was there already */
    uint64_t stored_bytes; /* what was written for the rest */
};

struct store_stats store_stats(const struct store *s);

/* ---- damage ---- */

/* A place turned out to be damaged. */
int store_mark(struct store *s, const struct place *place, struct error *e);

/* The same of a whole pack, by the index's number of it. */
int store_mark_pack(struct store *s, uint32_t pack, struct error *e);

/* A piece, or (NULL) a whole pack, that is said to be damaged turned out to be whole. */
int store_mend(struct store *s, uint32_t pack, const uint32_t *offset, struct error *e);

/* Note what was found in the repository, before the run ends; store_close() does so, too. */
void store_note_damage(struct store *s);

/* How many places were found damaged that were not known to be. */
size_t store_found_damaged(const struct store *s);

/* ---- a thread's own ---- */

struct store_worker;

int store_worker_new(struct store_worker **w, struct store *s, struct error *e);
void store_worker_free(struct store_worker *w); /* NULL is fine */

/* A window of its own, for who reads packs from front to back. */
struct pack_window *store_window(struct store_worker *w);

/*
 * Put content, of 1 to CHUNK_MAX_BYTES, and get its name; zeros are not written. `previous`, unless
 * NULL, names what is likely to differ from it in some pages only.
 */
int store_put(struct store_worker *w, enum pack_kind kind, const void *content, uint32_t bytes,
              const struct chunk_id *previous, struct chunk_id *id, struct error *e);

/* The same with the name that store_names() told. */
int store_put_named(struct store_worker *w, enum pack_kind kind, const void *content,
                    uint32_t bytes, const struct chunk_id *previous, const struct chunk_id *id,
                    struct error *e);

/* Rely on what is there already: false if it is not, or can't be relied on. */
bool store_rely(struct store_worker *w, const struct chunk_id *id);

/* Get content back, checked against its name: from any place where it is whole. DAMAGED: there is
 * none, or it is not of that length. */
int store_get(struct store_worker *w, const struct chunk_id *id, void *content, uint32_t bytes,
              struct error *e);

/* Told of a chunk that is not to be had: the `i`-th. An error ends it; OK leaves zeros in its
 * place. */
typedef int (*store_bad)(void *arg, size_t i, const struct error *why, struct error *e);

/* Get chunks that lie one after the other in `bytes` of content, the last of which may be shorter.
 * Faster than one by one. `bad` may be NULL: the first that is damaged ends it. */
int store_get_many(struct store_worker *w, const struct chunk_id *ids, void *content, size_t bytes,
                   store_bad bad, void *arg, struct error *e);

/* Copy a piece as it is into the pack under way, checked. DAMAGED: it is, and is marked so. */
int store_copy(struct store_worker *w, const struct place *place, const uint8_t *prefix,
               enum pack_kind kind, struct error *e);

/* Read a piece where it is, and hold it against its name. DAMAGED: it is, and is marked so, or (a
 * patch) its base is. */
int store_check(struct store_worker *w, const struct place *place, const uint8_t *prefix,
                struct error *e);

/* A piece in memory: so many bytes are there as its head and its place say. */
struct store_piece {
    struct place place;
    struct chunk_id id;
    const uint8_t *bytes; /* its head first */
};

/* Hold one or two against their names. Those that are damaged are marked, and counted. OK also if
 * some are. */
int store_check_pieces(struct store_worker *w, const struct store_piece *pieces, size_t count,
                       uint64_t *bad, struct error *e);

/* The same of a piece that is in memory, its head first. */
int store_put_piece(struct store_worker *w, const struct piece_head *h, const uint8_t *piece,
                    enum pack_kind kind, struct error *e);

int store_name(struct store_worker *w, const void *content, uint32_t bytes, struct chunk_id *id,
               struct error *e);
int store_names(struct store_worker *w, const void *content, size_t bytes, struct chunk_id *ids,
                struct error *e);

#endif
