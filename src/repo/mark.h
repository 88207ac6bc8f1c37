/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What snapshots need: each piece once, however many snapshots share it. Both check and collect go
 * by it.
 *
 *     mark_new → mark_snapshot … → mark_finish → mark_keeps, mark_is_bad … → mark_free
 *
 * By one thread; the index is merged, and nothing is put meanwhile. Memory: two or three bits for
 * each place, some 40 bytes for each list, and 15 MiB for names.
 */
#ifndef REPO_MARK_H
#define REPO_MARK_H

#include "repo/manifest.h"
#include "repo/store.h"
#include "repo/tree.h"

struct mark;

int mark_new(struct mark **m, struct store *s, struct error *e);
void mark_free(struct mark *m); /* NULL is fine */

/* All that a snapshot leads to. Lists that are not to be had are noted as bad; what they list is
 * not known. */
int mark_snapshot(struct mark *m, const struct manifest *manifest, struct error *e);

/* The base of a patch in a pack that was put later, whose places have no numbers. */
int mark_base(struct mark *m, const uint8_t *prefix, struct error *e);

/* Choose: of each piece that is needed one place, or two of a list; and the bases of patches. To be
 * called again after more snapshots. */
int mark_finish(struct mark *m, struct error *e);

/* Whether the place of that number (index.h) was chosen. */
bool mark_keeps(const struct mark *m, uint64_t number);

/* Whether a place of that number is of a piece that is needed, chosen or not. */
bool mark_needs(const struct mark *m, uint64_t number);

/* A bit for each place, as mark_needs() says it now; to free(). NULL: out of memory. */
uint8_t *mark_needed_copy(const struct mark *m);

/* Pieces that are needed and nowhere sound: how many, and whether that of a name is one. */
size_t mark_bad_count(const struct mark *m);
bool mark_is_bad(const struct mark *m, const struct chunk_id *id);

/* Of those that are nowhere: how many that no table says anything of, bases of patches not counted.
 */
size_t mark_missing(const struct mark *m);

/* Lists that could not be read: what else is needed is not known. */
size_t mark_lost_lists(const struct mark *m);

#endif
