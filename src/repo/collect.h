/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Condemn the packs of which no snapshot needs anything, and those of which little is needed, or
 * that are small, once that is in new packs. Nobody waits for it, nor does it wait: sweep.h removes
 * them when no run can be reading them.
 */
#ifndef REPO_COLLECT_H
#define REPO_COLLECT_H

#include "repo/store.h"

struct collect_stats {
    uint64_t condemned_packs, condemned_bytes;
    size_t copied_packs; /* new ones, of what was needed of those */
    uint64_t copied_bytes;
};

/*
 * The store's run ends with it, unless there was nothing to condemn. DAMAGED: a record or a list
 * can't be read, so that it can't be known what else is needed: nothing was condemned.
 */
int collect_run(struct store *s, struct collect_stats *stats, struct error *e);

#endif
