/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Take out of damaged packs what can still be read, and put it into new ones. Nothing is removed: a
 * pack that was emptied so is no longer named once all its pieces are elsewhere, and kept as long
 * as they are not.
 */
#ifndef REPO_REPAIR_H
#define REPO_REPAIR_H

#include "repo/store.h"

struct repair_stats {
    uint64_t packs;                           /* that were damaged */
    uint64_t salvaged_pieces, salvaged_bytes; /* taken out of them */
    uint64_t lost_pieces;   /* found there, and damaged; other places may have them */
    uint64_t emptied_packs; /* of which all is elsewhere now */
};

/* The store's run ends with it, if it put something. */
int repair_run(struct store *s, struct repair_stats *stats, struct error *e);

#endif
