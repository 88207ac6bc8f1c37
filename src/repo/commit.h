/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a create: what was put becomes a snapshot. */
#ifndef REPO_COMMIT_H
#define REPO_COMMIT_H

#include "repo/manifest.h"
#include "repo/store.h"

/*
 * Close what is open, put the record, and add the snapshot to the log, which ends the run. What was
 * relied on in place of being put and has been condemned meanwhile is put again. BUSY: there is a
 * snapshot of this name by now.
 */
int commit_snapshot(struct store *s, const struct manifest *m, struct error *e);

#endif
