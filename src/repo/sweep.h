/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Remove what nothing needs any more: condemned packs that no run may still read, and what dead
 * runs have left. */
#ifndef REPO_SWEEP_H
#define REPO_SWEEP_H

#include "repo/repo.h"

struct sweep_stats {
    uint64_t packs, bytes;  /* removed */
    uint64_t waiting_bytes; /* condemned, and kept for runs that may read them */
};

int sweep_run(struct repo *r, struct sweep_stats *stats, struct error *e);

/* Now and then, at the end of a run: fold the log if it is long, and sweep. That it could not is
 * only noted: nothing depends on it. */
void sweep_upkeep(struct repo *r);

#endif
