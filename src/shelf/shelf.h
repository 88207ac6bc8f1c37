/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where snapshots are: plain files in a folder, or a repository. A kind of shelf is a table for
 * each way, sink.h and source.h.
 */
#ifndef SHELF_SHELF_H
#define SHELF_SHELF_H

#include <stdint.h>

#include "base/error.h"

/* A snapshot: in a folder, or (`folder` is NULL) in a repository. */
struct snapshot_ref {
    const char *folder;
    const char *repo, *domain, *name;
};

/* Where one is to go: files in a folder, or (`folder` is NULL) a repository. */
struct snapshot_target {
    const char *folder; /* made if it does not exist, in a folder that does */
    const char *repo;
    const char *name;          /* of the snapshot; NULL: the time */
    uint64_t bytes_per_second; /* of reading; 0: no limit */
};

/* The absolute path of a folder or repository that is there, to free(). UNSUPPORTED: the journal
 * could not name it. */
int shelf_resolve(const char *path, char **absolute, struct error *e);

#endif
