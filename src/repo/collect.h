/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Free the space of what no record needs any more. The store is open for exclusive use, so nobody
 * refers to anything that is found dead. A pack that nothing in is needed of is removed; one of which little is needed has
 * that copied to a new pack first. A kill at any time leaves everything that is needed in at least one place.
 */
#ifndef REPO_COLLECT_H
#define REPO_COLLECT_H

#include "repo/store.h"

struct collect_stats {
    uint64_t freed_bytes; /* of packs removed, less what was copied */
};

/* DAMAGED: a record, a list, or the table of a pack that something is needed of can't be read, so it can't be known what else
 * is needed; nothing that is was removed. */
int collect_run(struct store *s, struct collect_stats *stats, struct error *e);

#endif
