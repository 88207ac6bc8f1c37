/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one way back (or, past a commit point, forward) from wherever a create stood. It needs
 * nothing but the journal's entry, so a failing create and `recover` after a crash go the same way.
 */
#ifndef ENGINE_SETTLE_H
#define ENGINE_SETTLE_H

#include "engine/describe.h"
#include "engine/journal.h"

/*
 * Release or resume the domain if that is owed, discard all volumes, abandon or publish the files,
 * close the journal. Each part is tried even if another failed; then the entry stays and the status
 * is NEEDS_RECOVER. Else it is `rc`, what had become of the create, with its error in `e`; or OK if
 * it was past its commit point, since it is published now.
 */
int settle_create(struct engine *engine, struct journal *j, int rc, struct error *e);

/*
 * Take the lock of a domain for a new create, and settle first what one that died has left: a night
 * that failed does not stop the nights after it. BUSY: another domsnap works on it. NEEDS_RECOVER:
 * a restore was interrupted, or what is left can't be settled.
 */
int settle_open(struct journal *j, struct engine *engine, const char *domain, struct error *e);

/* The same, in the middle of a create that goes on: resume, or release, only (unless it is one that
 * does not suspend); discard only. */
int settle_resume(struct engine *engine, const json_t *entry, struct error *e);
int settle_release(struct engine *engine, const json_t *entry, struct error *e);

/* Let the requests to its disks go on, where they are held back: a guest that ran on without would
 * only wait. Never fails. */
void settle_lift(struct engine *engine, const json_t *entry);

/* Both, for a run that has failed or died. A guest that has taken the request to suspend by then,
 * but has not stopped, does so soon: that is waited for. */
int settle_guest(struct engine *engine, const json_t *entry, struct error *e);

int settle_volumes(struct engine *engine, json_t *entry, struct error *e); /* then forgets them */

/* The identity in an entry; its name is borrowed from it. */
int settle_domain_id(const json_t *entry, struct domain_id *id, struct error *e);

/* Begin the journal's entry of a create: whose it is, the volumes' records, and what else is to be
 * settled, `kept` (a reference is taken over; NULL: nothing). `id` marks all that the run makes. */
int settle_begin(struct journal *j, const struct description *d, const char *id, bool suspends,
                 json_t *kept, struct error *e);

#endif
