/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A repository's pieces: content in, content out, by name. docs/domsnap-repository.5 specifies all
 * of it. Work is done by store_workers, one a thread; they share the index alone.
 *
 *     store_open → store_worker_new … store_put, store_get … store_worker_finish → store_save →
 * store_close
 *
 * What was put is there for good once every worker has finished and store_save has returned: only
 * then a record may name it.
 */
#ifndef REPO_STORE_H
#define REPO_STORE_H

#include "repo/index.h"

#define STORE_CHUNK_DEFAULT_BYTES (256u << 10)

struct store;

/* Make a repository in a folder that is empty or does not exist. `chunk_bytes`: a power of two from
 * CHUNK_MIN_BYTES to CHUNK_MAX_BYTES. */
int store_init(const char *path, uint32_t chunk_bytes, struct error *e);

enum store_use {
    STORE_SHARED,    /* with others */
    STORE_RECORDS,   /* the same, for its folder alone: of what is in packs nothing is known */
    STORE_EXCLUSIVE, /* alone, to remove packs. BUSY if somebody uses it. */
};

int store_open(struct store **s, const char *path, enum store_use use, struct error *e);

/* One that keeps nothing, and only tells names. */
int store_none(struct store **s, uint32_t chunk_bytes, struct error *e);

void store_close(struct store *s); /* what was put and not saved is gone; NULL is fine */

uint32_t store_chunk_bytes(const struct store *s);
int store_dirfd(const struct store *s);
struct index *store_index(struct store *s);

/* A file without a name on the same file system, the caller's, and how much room there is. */
int store_temporary(const struct store *s, int *fd, uint64_t *free_bytes, struct error *e);

/* Publish all closed packs, durably. Then the index, as well as it can. */
int store_save(struct store *s, struct error *e);

/* ---- a thread's own ---- */

struct store_worker;

int store_worker_new(struct store_worker **w, struct store *s, struct error *e);
/* Close the pack under way. */
int store_worker_finish(struct store_worker *w, struct error *e);
void store_worker_free(struct store_worker *w); /* what is not finished is gone; NULL is fine */

struct store_stats {
    uint64_t put_bytes;    /* content, all of it */
    uint64_t known_bytes;  /* of that, content that was there already */
    uint64_t stored_bytes; /* what was written for the rest */
};

const struct store_stats *store_worker_stats(const struct store_worker *w);

/*
 * Put content, of 1 to CHUNK_MAX_BYTES, and get its name; zeros are not written. `previous`, unless
 * NULL, names what is likely to differ from it in some pages only.
 */
int store_put(struct store_worker *w, const void *content, uint32_t bytes,
              const struct chunk_id *previous, struct chunk_id *id, struct error *e);

/* The same with the name that store_name() or store_names() told. */
int store_put_named(struct store_worker *w, const void *content, uint32_t bytes,
                    const struct chunk_id *previous, const struct chunk_id *id, struct error *e);

/* Where something of that name, which is not that of zeros, is. DAMAGED: no pack has it. */
int store_find(struct store *s, const struct chunk_id *id, struct location *where, struct error *e);

/* Whether what was found can be had, as far as can be told without reading it: if it is a patch, what it is of is there. DAMAGED if
 * not. */
int store_check_base(struct store_worker *w, const struct location *where, struct error *e);

/* The name of what a patch is of. */
int store_patch_base(struct store_worker *w, const struct location *where, struct chunk_id *base,
                     struct error *e);

/* Get content back, checked against its name. DAMAGED if it is not there whole, or not of that
 * length. */
int store_get(struct store_worker *w, const struct chunk_id *id, void *content, uint32_t bytes,
              struct error *e);

/* Copy a record of another pack as it is, into the pack under way; it is found there once that is closed. */
int store_copy_record(struct store_worker *w, int pack_fd, const struct table_entry *t,
                      struct error *e);

/* The name of content: zeros have theirs. */
int store_name(struct store_worker *w, const void *content, uint32_t bytes, struct chunk_id *id,
               struct error *e);

/* The names of chunks that lie one after the other in `bytes` of content, the last of which may be
 * shorter. Faster than one by one (base/sha256_pair.h). */
int store_names(struct store_worker *w, const void *content, size_t bytes, struct chunk_id *ids,
                struct error *e);

#endif
