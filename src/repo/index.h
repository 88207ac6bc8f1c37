/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where each record is. A cache of the packs' tables, in files of sorted entries that are mapped,
 * and in memory for what is newer; what is missing or wrong on disk is made good from the packs
 * when it is opened. Any number of threads may find and add at the same time.
 */
#ifndef REPO_INDEX_H
#define REPO_INDEX_H

#include "repo/segment.h"

struct index;

/* Of a repository's folder, borrowed. Reads the tables of packs that no index file knows of; index
 * files that are damaged, or name packs that are gone, are left out. */
int index_open(struct index **ix, int repo_dirfd, struct error *e);
void index_close(struct index *ix);

/* A record that is known, but in a pack that is not closed yet. */
#define PACK_OPEN (UINT32_MAX - 1)

/* NOT_FOUND if there is no such record. If there are several, one that is whole rather than a patch. */
int index_find(struct index *ix, const struct chunk_id *id, struct location *where);

/* The same, but from here on it is known, in PACK_OPEN: whoever gets NOT_FOUND is to write it. */
int index_claim(struct index *ix, const struct chunk_id *id, struct location *where,
                struct error *e);

/* What was found is a patch that is of no use: the same, unless another has claimed it since. */
int index_reclaim(struct index *ix, const struct chunk_id *id, struct error *e);

/* pack_closed of pack.h; `arg` is the index. */
int index_add_pack(void *arg, const char name[PACK_NAME], uint64_t bytes,
                   const struct table_entry *entries, size_t count, struct error *e);

/* A descriptor of a pack, the index's own, opened at first use; and its name, for messages. */
int index_pack_open(struct index *ix, uint32_t pack, int *fd, char name[PACK_NAME],
                    struct error *e);

/* Write what only memory holds into a file of its own, or all into one if there are many. Losing it
 * loses time only, so it need not be durable. */
int index_save(struct index *ix, struct error *e);

/* Remove all index files of a repository: the next index_open() starts from the packs. */
int index_drop(int repo_dirfd, struct error *e);

/* ---- for check and collect: all that is there ---- */

/* The pack of that number, from 0; NULL after the last. Valid until something is added. */
const struct index_pack *index_packs(const struct index *ix, size_t number);

/* Remove the pack's file; fine if it is gone. What knows of it is left out at the next index_open(). */
int index_pack_remove(const struct index *ix, size_t number, struct error *e);

#endif
