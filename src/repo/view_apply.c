/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an entry of the log does to a view. */
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "repo/view_private.h"

/* ---- changing: what cannot fail ---- */

static void forget_condemned(struct view *v, size_t i)
{
    view_condemned_release(&v->condemned[i]);
    v->condemned_count--;
    memmove(&v->condemned[i], &v->condemned[i + 1],
            (v->condemned_count - i) * sizeof *v->condemned);
}

/* When the last run has ended for which they are kept, condemned packs are forgotten. */
static void keep_no_longer(struct view *v, const char *run)
{
    for (size_t i = v->condemned_count; i--;) {
        struct view_condemned *c = &v->condemned[i];
        size_t left = 0;

        for (size_t j = 0; j < c->keep_count; j++)
            if (strcmp(c->keep[j], run) != 0)
                memmove(c->keep[left++], c->keep[j], RUN_ID);
        c->keep_count = left;
        if (left == 0)
            forget_condemned(v, i);
    }
}

static void end_run(struct view *v, const char *run)
{
    char id[RUN_ID];
    struct view_run *r = view_run_of(v, run);

    if (!r)
        return;
    memcpy(id, r->id, sizeof id);
    view_run_release(r);
    v->run_count--;
    memmove(r, r + 1, (size_t)(v->runs + v->run_count - r) * sizeof *r);
    keep_no_longer(v, id);
}

/* Into v->packs, which has room; from the end, so that each is moved once. */
static void name_packs(struct view *v, const struct pack_list *l)
{
    size_t from = v->pack_count, left = l->count, to;

    for (size_t i = 0; i < l->count; i++)
        left -= view_pack_of(v, &l->packs[i].name) != NULL;
    to = from + left;
    v->pack_count = to;
    for (size_t i = l->count; i--;) {
        int order = 1;

        while (from && (order = view_pack_compare(&v->packs[from - 1], &l->packs[i])) > 0)
            v->packs[--to] = v->packs[--from];
        if (from && order == 0)
            continue; /* it is named already */
        v->packs[--to] = (struct view_pack){.name = l->packs[i].name, .bytes = l->packs[i].bytes};
    }
}

/* Those that were named, into `c`, which has room. */
static void take_out_packs(struct view *v, const struct pack_list *l, struct view_condemned *c)
{
    size_t left = 0, next = 0;

    for (size_t i = 0; i < v->pack_count; i++) {
        struct view_pack *p = &v->packs[i];

        while (next < l->count && view_pack_compare(&l->packs[next], p) < 0)
            next++;
        if (next == l->count || view_pack_compare(&l->packs[next], p) != 0) {
            v->packs[left++] = *p;
            continue;
        }
        view_damage_free(p->damage);
        c->packs[c->count] = p->name;
        c->bytes[c->count++] = p->bytes;
    }
    v->pack_count = left;
}

/* ---- what an entry does ---- */

struct change {
    char run[RUN_ID];
    struct view_run begun;
    struct view_snapshot added;
    struct pack_list packs, named;
    char of[RUN_ID]; /* the run that made the snapshot that is meant */
    char (*removed)[RUN_ID];
    size_t removed_count;
    const json_t *notes;
};

static void change_release(struct change *c)
{
    view_run_release(&c->begun);
    view_snapshot_release(&c->added);
    pack_list_release(&c->packs);
    pack_list_release(&c->named);
    free(c->removed);
}

static int take_nothing(struct change *c, const json_t *entry, struct error *e)
{
    (void)c;
    (void)entry;
    (void)e;
    return OK;
}

static int take_begin(struct change *c, const json_t *entry, struct error *e)
{
    return take_run(&c->begun, entry, e);
}

/* Of one that lives it is a sign of life. */
static int apply_begin(struct view *v, struct change *c, struct error *e)
{
    struct view_run *r = view_run_of(v, c->run);

    if (r) {
        r->signed_s = c->begun.signed_s;
        return OK;
    }
    if (RESERVE(v->runs, v->run_count + 1, e) < 0)
        return e->status;
    v->runs[v->run_count++] = c->begun;
    c->begun = (struct view_run){0};
    return OK;
}

static int apply_end(struct view *v, struct change *c, struct error *e)
{
    (void)e;
    end_run(v, c->run);
    return OK;
}

/* Nobody can speak for packs that somebody else has put. */
static int check_own(const struct change *c, const struct pack_list *l, struct error *e)
{
    uint8_t run[sizeof l->packs->name.run];

    hex_take(run, sizeof run, c->run);
    for (size_t i = 0; i < l->count; i++)
        if (memcmp(l->packs[i].name.run, run, sizeof run) != 0)
            return error_set(e, DAMAGED, "it names a pack of another run as its own");
    return OK;
}

static int take_add(struct change *c, const json_t *entry, struct error *e)
{
    if (take_snapshot(&c->added, json_object_get(entry, "snapshot"), e) < 0 ||
        take_packs(&c->packs, entry, "packs", e) < 0)
        return e->status;
    memcpy(c->added.run, c->run, sizeof c->run);
    return check_own(c, &c->packs, e);
}

static void insert_snapshot(struct view *v, struct view_snapshot *s)
{
    size_t at = v->snapshot_count;

    while (at && view_snapshot_compare(&v->snapshots[at - 1], s) > 0)
        at--;
    memmove(&v->snapshots[at + 1], &v->snapshots[at],
            (v->snapshot_count++ - at) * sizeof *v->snapshots);
    v->snapshots[at] = *s;
    *s = (struct view_snapshot){0};
}

static int apply_add(struct view *v, struct change *c, struct error *e)
{
    if (!view_run_of(v, c->run) || view_snapshot_of(v, c->run) ||
        view_find_snapshot(v, c->added.domain, c->added.name))
        return OK;
    if (RESERVE(v->packs, v->pack_count + c->packs.count, e) < 0 ||
        RESERVE(v->snapshots, v->snapshot_count + 1, e) < 0)
        return e->status;
    end_run(v, c->run);
    name_packs(v, &c->packs);
    insert_snapshot(v, &c->added);
    return OK;
}

static int compare_run_ids(const void *a, const void *b)
{
    return memcmp(a, b, RUN_ID);
}

static int take_remove(struct change *c, const json_t *entry, struct error *e)
{
    if (take_run_ids(&c->removed, &c->removed_count, entry, "snapshots", e) < 0)
        return e->status;
    qsort(c->removed, c->removed_count, sizeof *c->removed, compare_run_ids);
    return OK;
}

static int apply_remove(struct view *v, struct change *c, struct error *e)
{
    size_t left = 0;

    (void)e;
    for (size_t i = 0; i < v->snapshot_count; i++) {
        if (bsearch(v->snapshots[i].run, c->removed, c->removed_count, sizeof *c->removed,
                    compare_run_ids))
            view_snapshot_release(&v->snapshots[i]);
        else
            v->snapshots[left++] = v->snapshots[i];
    }
    v->snapshot_count = left;
    return OK;
}

static int take_condemn(struct change *c, const json_t *entry, struct error *e)
{
    if (take_packs(&c->packs, entry, "packs", e) < 0 ||
        take_packs(&c->named, entry, "named", e) < 0)
        return e->status;
    return check_own(c, &c->named, e);
}

static void keep_for_all(const struct view *v, struct view_condemned *set)
{
    for (size_t i = 0; i < v->run_count; i++)
        memcpy(set->keep[set->keep_count++], v->runs[i].id, RUN_ID);
}

static int apply_condemn(struct view *v, struct change *c, struct error *e)
{
    struct view_condemned set = {0};

    if (!view_run_of(v, c->run))
        return OK;
    if (RESERVE(set.packs, c->packs.count, e) < 0 || RESERVE(set.bytes, c->packs.count, e) < 0 ||
        RESERVE(set.keep, v->run_count, e) < 0 ||
        RESERVE(v->condemned, v->condemned_count + 1, e) < 0 ||
        RESERVE(v->packs, v->pack_count + c->named.count, e) < 0) {
        view_condemned_release(&set);
        return e->status;
    }
    end_run(v, c->run);
    take_out_packs(v, &c->packs, &set);
    name_packs(v, &c->named);
    keep_for_all(v, &set);
    if (set.count && set.keep_count)
        v->condemned[v->condemned_count++] = set;
    else
        view_condemned_release(&set);
    return OK;
}

static int take_damaged(struct change *c, const json_t *entry, struct error *e)
{
    return take_damage(&c->packs, entry, "packs", e);
}

/* The offsets of both; a pack that is damaged as a whole stays so. */
static int add_damage(struct view_pack *p, struct view_damage **more, struct error *e)
{
    struct view_damage *d = p->damage, *m = *more;
    size_t count = 0, i = 0, j = 0;
    uint32_t *all;

    if (!d || m->count == 0) {
        view_damage_free(d);
        p->damage = m;
        *more = NULL;
        return OK;
    }
    if (d->count == 0)
        return OK;
    all = calloc(d->count + m->count, sizeof *all);
    if (!all)
        return error_out_of_memory(e);
    while (i < d->count || j < m->count) {
        uint32_t least = j == m->count || (i < d->count && d->offsets[i] <= m->offsets[j])
                             ? d->offsets[i]
                             : m->offsets[j];

        i += i < d->count && d->offsets[i] == least;
        j += j < m->count && m->offsets[j] == least;
        all[count++] = least;
    }
    free(d->offsets);
    *d = (struct view_damage){.offsets = all, .count = count};
    return OK;
}

static int apply_damage(struct view *v, struct change *c, struct error *e)
{
    for (size_t i = 0; i < c->packs.count; i++) {
        struct view_pack *p = view_pack_of(v, &c->packs.packs[i].name);

        if (p && add_damage(p, &c->packs.packs[i].damage, e) < 0)
            return e->status;
    }
    return OK;
}

/* Pieces that are mended don't mend a pack that is damaged as a whole. */
static void take_off_damage(struct view_pack *p, const struct view_damage *less)
{
    struct view_damage *d = p->damage;
    size_t left = 0, j = 0;

    if (!d || (d->count == 0 && less->count))
        return;
    for (size_t i = 0; less->count && i < d->count; i++) {
        while (j < less->count && less->offsets[j] < d->offsets[i])
            j++;
        if (j == less->count || less->offsets[j] != d->offsets[i])
            d->offsets[left++] = d->offsets[i];
    }
    d->count = left;
    if (left)
        return;
    view_damage_free(d);
    p->damage = NULL;
}

static int apply_mended(struct view *v, struct change *c, struct error *e)
{
    (void)e;
    for (size_t i = 0; i < c->packs.count; i++) {
        struct view_pack *p = view_pack_of(v, &c->packs.packs[i].name);

        if (p)
            take_off_damage(p, c->packs.packs[i].damage);
    }
    return OK;
}

static int take_note(struct change *c, const json_t *entry, struct error *e)
{
    if (take_run_id(c->of, entry, "snapshot", e) < 0)
        return e->status;
    return take_notes(&c->notes, entry, e);
}

static int merge_notes(json_t *into, const json_t *notes)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)notes, key, value) {
        if (json_is_null(value))
            json_object_del(into, key);
        else if (json_object_set_new(into, key, json_deep_copy(value)) < 0)
            return NO_SPACE;
    }
    return OK;
}

/* More than a snapshot may have does not count: two writers may not have known of each other. */
static int apply_note(struct view *v, struct change *c, struct error *e)
{
    struct view_snapshot *s = view_snapshot_of(v, c->of);
    AUTO_JSON json_t *notes = NULL;

    if (!s)
        return OK;
    notes = s->notes ? json_copy(s->notes) : json_object();
    if (!notes || merge_notes(notes, c->notes) < 0)
        return error_out_of_memory(e);
    if (json_dumpb(notes, NULL, 0, JSON_COMPACT) > NOTES_MAX_BYTES)
        return OK;
    json_decref(s->notes);
    s->notes = json_object_size(notes) ? json_incref(notes) : NULL;
    return OK;
}

static const struct kind {
    const char *name;
    int (*take)(struct change *c, const json_t *entry, struct error *e);
    int (*apply)(struct view *v, struct change *c, struct error *e);
} kinds[] = {
    {"begin", take_begin, apply_begin},
    {"end", take_nothing, apply_end},
    {"add", take_add, apply_add},
    {"remove", take_remove, apply_remove},
    {"condemn", take_condemn, apply_condemn},
    {"damage", take_damaged, apply_damage},
    {"mended", take_damaged, apply_mended},
    {"note", take_note, apply_note},
};

static int find_kind(const struct kind **kind, const json_t *entry, struct error *e)
{
    const char *name;

    if (!json_is_object(entry))
        return error_set(e, DAMAGED, "not an entry of the log");
    if (take_text(&name, entry, "kind", 64, e) < 0)
        return e->status;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0) {
            *kind = &kinds[i];
            return OK;
        }
    return error_set(e, UNSUPPORTED,
                     "an entry of kind \"%s\", which this domsnap does not know; use a newer one",
                     name);
}

static int take_entry(struct change *c, const struct kind **kind, const json_t *entry,
                      struct error *e)
{
    uint64_t at;

    if (find_kind(kind, entry, e) < 0 || take_run_id(c->run, entry, "run", e) < 0 ||
        take_number(&at, entry, "at", UINT64_C(1) << 60, e) < 0 || (*kind)->take(c, entry, e) < 0)
        return e->status;
    return OK;
}

int view_check_entry(const json_t *entry, struct error *e)
{
    struct change c = {0};
    const struct kind *kind;
    int status = take_entry(&c, &kind, entry, e);

    change_release(&c);
    return status;
}

int view_apply(struct view *v, const json_t *entry, struct error *e)
{
    struct change c = {0};
    const struct kind *kind;
    int status = take_entry(&c, &kind, entry, e);

    if (status == OK)
        status = kind->apply(v, &c, e);
    if (status == OK)
        v->number++;
    change_release(&c);
    return status;
}
