/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of a view as JSON, in and out. In entries and in states they look the same. What comes
 * in is checked: DAMAGED if it is not what one of us would have written.
 */
#ifndef REPO_VIEW_PRIVATE_H
#define REPO_VIEW_PRIVATE_H

#include "repo/view.h"

#define NOTES_MAX_BYTES (64u << 10) /* of one snapshot */

/* Sorted by name, none twice. */
struct pack_list {
    struct view_pack *packs;
    size_t count;
};

void pack_list_release(struct pack_list *l); /* an all-zero list is empty */
void view_run_release(struct view_run *r);
void view_snapshot_release(struct view_snapshot *s);
void view_condemned_release(struct view_condemned *c);
void view_damage_free(struct view_damage *d);

/* Whether sorting would be in vain; and whether two of them are the same, 0 or 1, or NO_SPACE. */
bool is_sorted(const void *base, size_t count, size_t size,
               int (*compare)(const void *, const void *));
int has_twice(const void *base, size_t count, size_t size,
              int (*compare)(const void *, const void *));

int take_text(const char **to, const json_t *from, const char *key, size_t max_bytes,
              struct error *e);
int take_number(uint64_t *to, const json_t *from, const char *key, uint64_t max, struct error *e);
int take_run_id(char to[static RUN_ID], const json_t *from, const char *key, struct error *e);
/* `*to` is to be freed, on failure too. */
int take_run_ids(char (**to)[RUN_ID], size_t *count, const json_t *from, const char *key,
                 struct error *e);

/* What `to` holds is to be released on failure, too. */
int take_run(struct view_run *to, const json_t *from, struct error *e);
/* All but its run and notes. */
int take_snapshot(struct view_snapshot *to, const json_t *from, struct error *e);
int take_notes(const json_t **to, const json_t *from, struct error *e);
int take_packs(struct pack_list *to, const json_t *from, const char *key, struct error *e);
int take_damage(struct pack_list *to, const json_t *from, const char *key, struct error *e);

/* NULL: out of memory. */
json_t *run_to_json(const struct view_run *r);
json_t *snapshot_to_json(const struct view_snapshot *s);
json_t *damage_to_json(const struct view_damage *d);

/* Room for `count` items, and one more, so that none is never NULL. */
#define RESERVE(items, count, e) view_reserve((void **)&(items), sizeof *(items), (count), (e))
int view_reserve(void **items, size_t size, size_t count, struct error *e);

/* To be changed. NULL: it is not there. */
struct view_run *view_run_of(const struct view *v, const char *run);
struct view_pack *view_pack_of(const struct view *v, const struct pack_name *name);
struct view_snapshot *view_snapshot_of(const struct view *v, const char *made_by);

/* The orders in which a view has them; and those of snapshots by DOMAIN@NAME, and by run. */
int view_run_compare(const void *a, const void *b);
int view_pack_compare(const void *a, const void *b);
int view_snapshot_compare(const void *a, const void *b);
int view_snapshot_compare_names(const void *a, const void *b);
int view_snapshot_compare_runs(const void *a, const void *b);

#endif
