/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot on its way to its shelf: what both kinds of create, of a running domain and of one
 * that is off, do with a sink. */
#ifndef ENGINE_DEPOSIT_H
#define ENGINE_DEPOSIT_H

#include "engine/describe.h"
#include "engine/journal.h"
#include "shelf/sink.h"

/* An all-zero deposit but for `driver` holds nothing. It is not moved once it is open. */
struct deposit {
    const struct sink_driver *driver;
    struct sink *sink;
    struct sink_request request; /* of the sink */
    struct sink_disk *disks;     /* of the request */
    int *from;                   /* a descriptor for each of them */
};

/* Open the sink for the disks of `d`, and RAM; all arguments are kept until it is closed. */
int deposit_open(struct deposit *p, const struct snapshot_target *to, const struct description *d,
                 bool ram, struct progress *progress, struct manifest *m, struct error *e);

/* Put the disks, from their sources, which are open: with --cold while the guest is paused. */
int deposit_put_disks(struct deposit *p, const struct description *d,
                      const struct team_watch *watch, struct error *e);

/* The end: finish, and publish, the commit point. */
int deposit_commit(struct deposit *p, struct journal *j, struct store_stats *stats,
                   struct error *e);

/* sink.h's let_go, if it has one; and close. */
void deposit_let_go(struct deposit *p);
void deposit_close(struct deposit *p);

#endif
