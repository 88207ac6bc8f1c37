/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of snapshots: the object snapshots/RUN, a sealed manifest, twice (twin.h). A snapshot
 * exists exactly when the log says so; its record says what it is.
 */
#ifndef REPO_RECORDS_H
#define REPO_RECORDS_H

#include "repo/manifest.h"
#include "repo/repo.h"

#define RECORD_NAME_MAX  64
#define RECORD_MAX_BYTES (1u << 20) /* one of 256 disks has some 100 KiB */

/* Refuse what is not 1 to RECORD_NAME_MAX letters, digits, '.', '_', ':', '+', '-', the first a
 * letter or digit; and "latest", which is that of no snapshot. */
int record_name_check(const char *name, struct error *e);

/* "20261123T015503Z", of now: the name of a snapshot that was given none. */
void record_name_of_now(char name[static 17]);

#define RECORD_LATEST "latest" /* stands for the newest of a domain */

/* The snapshot of that name, or the latest: the view's own. NOT_FOUND. */
int record_find(const struct repo *r, const char *domain, const char *name,
                const struct view_snapshot **s, struct error *e);

/* "snapshots/RUN" */
#define RECORD_OBJECT_MAX (RUN_ID + 10)
void record_object(const char *run, char object[static RECORD_OBJECT_MAX]);

/* Put the record of this run's snapshot; `sum` is its seal. */
int record_put(struct repo *r, const struct manifest *m, char sum[static 65], struct error *e);

/* DAMAGED: neither of the two is whole, or it is another's. */
int record_get(struct repo *r, const struct view_snapshot *s, struct manifest *m, struct error *e);

#endif
