/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A log that is lost, made anew of what is there: all records, and all packs. Snapshots that were
 * deleted lately may be back; runs that are at work fail. Nothing is removed.
 */
#ifndef REPO_REBUILD_H
#define REPO_REBUILD_H

#include "repo/backend.h"

struct rebuild_stats {
    uint64_t snapshots, packs;
    uint64_t lost_records; /* that can't be read */
};

int rebuild_log(struct backend *b, struct rebuild_stats *stats, struct error *e);

#endif
