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
#ifndef ENGINE_SINK_H
#define ENGINE_SINK_H

#include "copy/team.h"
#include "engine/describe.h"
#include "engine/engine.h"
#include "engine/journal.h"

struct sink;

/* What is to be kept. */
struct sink_request {
    const struct create_target *to;
    const struct description *d;
    bool ram;
    struct progress *progress;
    struct manifest *m; /* gets the names and sums of all that is put; the rest is there before */
};

struct sink_driver {
    /* See where it will be, and that it can be there; nothing is made. `r` is kept until close. */
    int (*open)(struct sink **k, const struct sink_request *r, struct error *e);
    /* Let go of what settle_create() must find free. It waits for nothing: a guest may still be owed
     * its resume. NULL: there is nothing. */
    void (*let_go)(struct sink *k);
    void (*close)(struct sink *k);

    /* What settle_create() must know to finish or undo it, for the journal; the caller's. `*kept`
     * is NULL: nothing. */
    int (*journal)(const struct sink *k, json_t **kept, struct error *e);

    /* Make all that can be made before the guest stops; see that there is room for a save file of
     * so many bytes (the disks are known). `config`: in xl's format. */
    int (*prepare)(struct sink *k, uint64_t save_bytes, const char *config, struct error *e);

    /* A file that the save stream is to be written to, and its name for messages; borrowed. */
    int (*open_ram)(struct sink *k, int *fd, const char **name, struct error *e);

    /* The disks of r->d, from their sources. `watch` as of team_run(). */
    int (*put_disks)(struct sink *k, const struct team_watch *watch, struct error *e);
    /* How much of a disk has been read, meanwhile. */
    uint64_t (*position)(const struct sink *k, size_t disk);

    /* The save stream is all in its file: so many bytes. */
    int (*put_ram)(struct sink *k, uint64_t bytes, struct error *e);

    /* Make all of it durable. The manifest is whole now. `stats` is not touched if it counts
     * nothing. */
    int (*finish)(struct sink *k, struct create_stats *stats, struct error *e);

    /* Now it is there. */
    int (*publish)(struct sink *k, struct error *e);
};

extern const struct sink_driver sink_folder, sink_repository;

const struct sink_driver *sink_driver_of(const struct create_target *to);

/* The end of a create: finish, and publish, the commit point. */
int sink_commit(const struct sink_driver *driver, struct sink *k, struct journal *j,
                struct create_stats *stats, struct error *e);

#endif
