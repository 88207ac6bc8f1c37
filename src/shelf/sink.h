/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a snapshot is put, as a create sees it: plain files in a folder, or a repository. One table
 * each; source.h is the way back.
 *
 *     open → prepare → (open_ram) → put_disks → (put_ram) → finish → publish → close
 *
 * Until publish nothing is there for others. What was not published is gone at close, or, of a
 * folder, after let_go, once settle_create() has seen to it.
 */
#ifndef SHELF_SINK_H
#define SHELF_SINK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "copy/progress.h"
#include "copy/team.h"
#include "repo/manifest.h"
#include "repo/store.h"
#include "shelf/shelf.h"

struct sink;

/* A disk that is to be put. */
struct sink_disk {
    const char *vdev; /* as the guest calls it */
    const char *name; /* of its volume, for messages */
    uint64_t bytes;
    uint64_t copy_bytes; /* at most what a sparse copy of it takes */
};

/* What is to be put; all of it is kept until close. */
struct sink_request {
    const struct snapshot_target *to;
    const char *domain;
    uint64_t memory_bytes;
    const struct sink_disk *disks;
    size_t disk_count;
    bool ram;
    struct progress *progress;
    struct manifest *m; /* gets the names and sums of all that is put; the rest is there before */
};

struct sink_driver {
    /* See where it will be, and that it can be there; nothing is made. */
    int (*open)(struct sink **s, const struct sink_request *r, struct error *e);
    /* Let go of what settle_create() must find free. It waits for nothing: a guest may still be
     * owed its resume. NULL: there is nothing. */
    void (*let_go)(struct sink *s);
    void (*close)(struct sink *s);

    /* What settle_create() must know to finish or undo it, for the journal; the caller's. `*kept`
     * is NULL: nothing. */
    int (*journal)(const struct sink *s, json_t **kept, struct error *e);

    /* Make all that can be made before the guest stops; see that there is room for a save file of
     * so many bytes (the disks are known). `config`: in xl's format. */
    int (*prepare)(struct sink *s, uint64_t save_bytes, const char *config, struct error *e);

    /* A file that the save stream is to be written to, and its name for messages; borrowed. */
    int (*open_ram)(struct sink *s, int *fd, const char **name, struct error *e);

    /* The disks, each from a descriptor in `from`. `watch` as of team_run(). */
    int (*put_disks)(struct sink *s, const int from[], const struct team_watch *watch,
                     struct error *e);
    /* How much of a disk has been read, meanwhile. */
    uint64_t (*position)(const struct sink *s, size_t disk);

    /* The save stream is all in its file: so many bytes. */
    int (*put_ram)(struct sink *s, uint64_t bytes, struct error *e);

    /* Make all of it durable. The manifest is whole now. `stats` is not touched if it counts
     * nothing. */
    int (*finish)(struct sink *s, struct store_stats *stats, struct error *e);

    /* Now it is there. */
    int (*publish)(struct sink *s, struct error *e);
};

extern const struct sink_driver sink_folder, sink_repository;

const struct sink_driver *sink_driver_of(const struct snapshot_target *to);

#endif
