/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a snapshot is put, as a create sees it: plain files in a folder, or a repository. One table
 * each; place.h is the way back.
 *
 *     open → prepare → (open_ram) → put_disks → (put_ram) → finish → publish → close
 *
 * Until publish nothing is there for others. What was not published is gone at close, or, of a
 * folder, once settle_create() has seen to it.
 */
#ifndef ENGINE_KEEP_H
#define ENGINE_KEEP_H

#include "copy/team.h"
#include "engine/describe.h"
#include "engine/engine.h"
#include "engine/journal.h"

struct keep;

/* What is to be kept. */
struct keep_request {
    const struct create_target *to;
    const struct description *d;
    bool ram;
    struct progress *progress;
    struct manifest *m; /* gets the names and sums of all that is put; the rest is there before */
};

struct keep_driver {
    /* See where it will be, and that it can be there; nothing is made. `r` is kept until close. */
    int (*open)(struct keep **k, const struct keep_request *r, struct error *e);
    void (*close)(struct keep *k);

    /* What settle_create() must know to finish or undo it, for the journal; the caller's. `*kept`
     * is NULL: nothing. */
    int (*journal)(const struct keep *k, json_t **kept, struct error *e);

    /* Make all that can be made before the guest stops; see that there is room for a save file of
     * so many bytes (the disks are known). `config`: in xl's format. */
    int (*prepare)(struct keep *k, uint64_t save_bytes, const char *config, struct error *e);

    /* A file that the save stream is to be written to, and its name for messages; borrowed. */
    int (*open_ram)(struct keep *k, int *fd, const char **name, struct error *e);

    /* The disks of r->d, from their sources. `watch` as of team_run(). */
    int (*put_disks)(struct keep *k, const struct team_watch *watch, struct error *e);
    /* How much of a disk has been read, meanwhile. */
    uint64_t (*position)(const struct keep *k, size_t disk);

    /* The save stream is all in its file: so many bytes. */
    int (*put_ram)(struct keep *k, uint64_t bytes, struct error *e);

    /* Make all of it durable. The manifest is whole now. `stats` is not touched if it counts
     * nothing. */
    int (*finish)(struct keep *k, struct create_stats *stats, struct error *e);

    /* Now it is there. */
    int (*publish)(struct keep *k, struct error *e);
};

extern const struct keep_driver keep_folder, keep_repository;

const struct keep_driver *keep_driver_of(const struct create_target *to);

/* The end of a create: finish, and publish, the commit point. */
int keep_commit(const struct keep_driver *driver, struct keep *k, struct journal *j,
                struct create_stats *stats, struct error *e);

#endif
