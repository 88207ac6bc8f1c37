/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether a repository fits together: its packs' tables, its records, their lists, and that all is
 * there that they name. Content is not read: engine_verify() does that. */
#ifndef REPO_CHECK_H
#define REPO_CHECK_H

#include "repo/store.h"

struct check_stats {
    uint64_t packs, pack_bytes, snapshots;
    uint64_t damaged; /* packs and snapshots */
};

/* Told of each pack, or snapshot, that is damaged: `what` it is, valid during the call. */
typedef void (*check_sink)(void *arg, const char *what, const struct error *why);

/* Look at everything. DAMAGED only if nothing could be looked at. */
int check_run(struct store *s, check_sink sink, void *arg, struct check_stats *stats,
              struct error *e);

#endif
