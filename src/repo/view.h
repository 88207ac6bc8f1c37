/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All that holds at a number of the log: which snapshots there are, which packs may be relied upon,
 * which runs are at work. model/README.md has the rules; view_apply() is the model's apply().
 */
#ifndef REPO_VIEW_H
#define REPO_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* ---- runs ---- */

/* A run: 64 random bits as 16 hexadecimal digits. All that it puts carries its name. */
#define RUN_ID 17 /* with the NUL */

bool run_id_is_valid(const char *run);

struct view_run {
    char id[RUN_ID];
    char *command; /* "create linux01" */
    char *host,
        *boot; /* where, and "MACHINE/BOOT", the ids of that machine and its boot; "": unknown */
    int64_t pid;
    uint64_t start;   /* of the process, in clock ticks since boot (proc(5), stat, starttime) */
    int64_t signed_s; /* its last sign of life, by its own clock, since 1970 */
    char *reads;      /* the snapshot that it reads, "DOMAIN@NAME"; "": none in particular */
};

/* ---- packs ---- */

/* A pack's name, "RUN-SUM": by whom it was put, and the SHA-256 of all of it. */
struct pack_name {
    uint8_t run[8];
    uint8_t sum[32];
};

#define PACK_NAME_TEXT 82 /* with the NUL */

void pack_name_to_text(const struct pack_name *p, char text[static PACK_NAME_TEXT]);
bool pack_name_from_text(struct pack_name *p, const char *text);
int pack_name_compare(const void *a, const void *b); /* of two struct pack_name */

/* [NAME, bytes], as the log has packs; the caller's reference. NULL: out of memory. */
json_t *pack_to_json(const struct pack_name *name, uint64_t bytes);

/* Pieces of a pack that were found damaged, by where their heads are. */
struct view_damage {
    uint32_t *offsets; /* sorted; none: the pack as a whole (its length, its table) */
    size_t count;
};

struct view_pack {
    struct pack_name name;
    uint64_t bytes;
    struct view_damage *damage; /* NULL: none is known */
};

/* Packs that a collection has condemned, and the runs for whose sake they are still there. */
struct view_condemned {
    struct pack_name *packs;
    uint64_t *bytes; /* of each */
    size_t count;
    char (*keep)[RUN_ID];
    size_t keep_count;
};

/* ---- snapshots ---- */

struct view_snapshot {
    char run[RUN_ID];              /* that made it: its record is the object snapshots/RUN */
    char *domain, *name, *created; /* "2026-11-23T01:55:03Z" */
    char record_sum[65];           /* the record's seal */
    uint64_t bytes;                /* of all its images */
    uint64_t stored_bytes;         /* what its run had to store */
    unsigned disks;
    bool ram;
    json_t *notes; /* an object: what was said of it later (tags, "verified", …); NULL: nothing */
};

/* ---- all of it ---- */

struct view {
    uint64_t number; /* of the last entry that is in it */
    struct view_run *runs;
    size_t run_count;
    struct view_pack *packs; /* that may be relied upon: sorted by name */
    size_t pack_count;
    struct view_condemned *condemned;
    size_t condemned_count;
    struct view_snapshot *snapshots; /* sorted by domain, created, name */
    size_t snapshot_count;
};

void view_release(struct view *v); /* an all-zero view is empty */

/* NULL: there is none. The view's own, valid until it changes. */
const struct view_run *view_find_run(const struct view *v, const char *run);
const struct view_pack *view_find_pack(const struct view *v, const struct pack_name *name);
/* Whether a piece of it, or (NULL) the pack as a whole, is said to be damaged. NULL is a pack, too:
 * of which nothing is known. */
bool view_is_damaged(const struct view_pack *pack, const uint32_t *offset);
const struct view_snapshot *view_find_snapshot(const struct view *v, const char *domain,
                                               const char *name);
/* The snapshots of a domain are a row: the first of them, and how many. */
const struct view_snapshot *view_domain(const struct view *v, const char *domain, size_t *count);

/* A condemned pack that is kept for `run`, which may read it. */
bool view_keeps_for(const struct view *v, const char *run, const struct pack_name *name);

/* Whether the object of a pack, or of a snapshot's record, must stay: it is named, or kept, or its
 * run lives. */
bool view_needs_pack(const struct view *v, const struct pack_name *name);
bool view_needs_record(const struct view *v, const char *run);

/* The snapshot that this run has made: the view's own; NULL: it is not there. */
const struct view_snapshot *view_find_made_by(const struct view *v, const char *run);

/*
 * What an entry does (log.h says what entries there are). Nothing in it is trusted. UNSUPPORTED: a
 * kind that this domsnap does not know. It counts as number v->number + 1.
 */
int view_apply(struct view *v, const json_t *entry, struct error *e);

/* Whether view_apply() would take it: nobody could read past one that it refuses. */
int view_check_entry(const json_t *entry, struct error *e);

/* The whole as JSON, and back. */
int view_to_json(const struct view *v, json_t **state, struct error *e);
int view_from_json(struct view *v, const json_t *state, struct error *e);

#endif
