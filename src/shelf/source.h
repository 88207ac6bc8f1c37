/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a snapshot is kept, as a restore sees it: plain files in a folder, or a repository. One
 * table each.
 *
 *     open → check → verify → write → (write_ram, or open_config) → close
 */
#ifndef SHELF_SOURCE_H
#define SHELF_SOURCE_H

#include "copy/seen.h"
#include "copy/target.h"
#include "copy/progress.h"
#include "repo/manifest.h"
#include "repo/naming.h"
#include "shelf/shelf.h"

struct source;

/* What need not be read, if the driver can do without it. */
struct source_verify {
    struct sample sample; /* of the chunks; UNSUPPORTED: it must be all */
    bool without_ram;     /* it is not going to be read */
    bool skip_damaged;    /* of disks: what is not to be had is told of, and write() leaves zeros in
                          its place */
    struct seen *seen;    /* of other snapshots; NULL: nothing */
    const struct target *targets; /* of the disks, idle from now until write() has them: what these
                                     hold already. NULL: unknown */
};

struct source_driver {
    /* Open it, and read the snapshot's record; until close it is not removed. Nothing in it is
     * trusted. On failure `*s` and `*m` hold nothing. */
    int (*open)(struct source **s, const struct snapshot_ref *ref, struct manifest *m,
                struct error *e);
    void (*close)(struct source *s);

    /* Open what the record names, and see whether it fits together; quick. */
    int (*check)(struct source *s, const struct manifest *m, struct error *e);

    /* Hold all that write, write_ram and open_config would read against its sums: DAMAGED. */
    int (*verify)(struct source *s, const struct manifest *m, const struct source_verify *how,
                  struct progress *progress, struct error *e);

    /* Write each disk's image to its target, and check it again. */
    int (*write)(struct source *s, const struct manifest *m, const struct target targets[],
                 struct progress *progress, struct error *e);

    /* Write the save file, from which RAM is restored, to `fd`, a pipe. By another thread. */
    int (*write_ram)(struct source *s, const struct manifest *m, int fd, struct progress *progress,
                     struct error *e);

    /* A descriptor that reads the configuration, from which a domain boots that has no RAM; the
     * caller's. */
    int (*open_config)(struct source *s, const struct manifest *m, int *fd, struct error *e);
};

extern const struct source_driver source_folder, source_repository;

/* Open the one that this run has made, of a repository that is open and outlives it. NOT_FOUND: it
 * was deleted, whatever has its name now. */
struct store;
int source_of_store(struct source **s, struct store *store, const char *run, struct manifest *m,
                    struct error *e);

const struct source_driver *source_driver_of(const struct snapshot_ref *ref);

#endif
