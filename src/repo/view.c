/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/view.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "repo/view_private.h"

int view_reserve(void **items, size_t size, size_t count, struct error *e)
{
    void *more = reallocarray(*items, count + 1, size);

    if (!more)
        return error_out_of_memory(e);
    *items = more;
    return OK;
}

void view_release(struct view *v)
{
    for (size_t i = 0; i < v->run_count; i++)
        view_run_release(&v->runs[i]);
    for (size_t i = 0; i < v->pack_count; i++)
        view_damage_free(v->packs[i].damage);
    for (size_t i = 0; i < v->condemned_count; i++)
        view_condemned_release(&v->condemned[i]);
    for (size_t i = 0; i < v->snapshot_count; i++)
        view_snapshot_release(&v->snapshots[i]);
    free(v->runs);
    free(v->packs);
    free(v->condemned);
    free(v->snapshots);
    *v = (struct view){0};
}

/* ---- finding ---- */

int view_pack_compare(const void *a, const void *b)
{
    return pack_name_compare(&((const struct view_pack *)a)->name,
                             &((const struct view_pack *)b)->name);
}

int view_snapshot_compare(const void *a, const void *b)
{
    const struct view_snapshot *x = a, *y = b;
    int order = strcmp(x->domain, y->domain);

    if (!order)
        order = strcmp(x->created, y->created);
    return order ? order : strcmp(x->name, y->name);
}

int view_snapshot_compare_names(const void *a, const void *b)
{
    const struct view_snapshot *x = a, *y = b;
    int order = strcmp(x->domain, y->domain);

    return order ? order : strcmp(x->name, y->name);
}

int view_snapshot_compare_runs(const void *a, const void *b)
{
    return strcmp(((const struct view_snapshot *)a)->run, ((const struct view_snapshot *)b)->run);
}

int view_run_compare(const void *a, const void *b)
{
    return strcmp(((const struct view_run *)a)->id, ((const struct view_run *)b)->id);
}

struct view_run *view_run_of(const struct view *v, const char *run)
{
    for (size_t i = 0; i < v->run_count; i++)
        if (strcmp(v->runs[i].id, run) == 0)
            return &v->runs[i];
    return NULL;
}

struct view_pack *view_pack_of(const struct view *v, const struct pack_name *name)
{
    struct view_pack key = {.name = *name};

    return v->pack_count
               ? bsearch(&key, v->packs, v->pack_count, sizeof *v->packs, view_pack_compare)
               : NULL;
}

struct view_snapshot *view_snapshot_of(const struct view *v, const char *run)
{
    for (size_t i = 0; i < v->snapshot_count; i++)
        if (strcmp(v->snapshots[i].run, run) == 0)
            return &v->snapshots[i];
    return NULL;
}

const struct view_snapshot *view_find_made_by(const struct view *v, const char *run)
{
    return view_snapshot_of(v, run);
}

const struct view_run *view_find_run(const struct view *v, const char *run)
{
    return view_run_of(v, run);
}

const struct view_pack *view_find_pack(const struct view *v, const struct pack_name *name)
{
    return view_pack_of(v, name);
}

/* The first snapshot of a domain that is not before this one; or past it. */
static size_t first_domain(const struct view *v, const char *domain, bool past)
{
    size_t from = 0, to = v->snapshot_count;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (strcmp(v->snapshots[middle].domain, domain) < (past ? 1 : 0))
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

const struct view_snapshot *view_domain(const struct view *v, const char *domain, size_t *count)
{
    size_t first = first_domain(v, domain, false);

    *count = first_domain(v, domain, true) - first;
    return *count ? &v->snapshots[first] : NULL;
}

static int compare_offsets_of_damage(const void *a, const void *b)
{
    const uint32_t *one = a, *other = b;

    return *one < *other ? -1 : *one > *other;
}

bool view_is_damaged(const struct view_pack *pack, const uint32_t *offset)
{
    const struct view_damage *damage = pack ? pack->damage : NULL;

    if (!damage)
        return false;
    if (damage->count == 0 || !offset)
        return damage->count == 0;
    return bsearch(offset, damage->offsets, damage->count, sizeof *offset,
                   compare_offsets_of_damage);
}

const struct view_snapshot *view_find_snapshot(const struct view *v, const char *domain,
                                               const char *name)
{
    size_t count;
    const struct view_snapshot *s = view_domain(v, domain, &count);

    for (size_t i = 0; i < count; i++)
        if (strcmp(s[i].name, name) == 0)
            return &s[i];
    return NULL;
}

static bool has_condemned(const struct view_condemned *c, const struct pack_name *name)
{
    return bsearch(name, c->packs, c->count, sizeof *c->packs, pack_name_compare);
}

bool view_keeps_for(const struct view *v, const char *run, const struct pack_name *name)
{
    for (size_t i = 0; i < v->condemned_count; i++) {
        const struct view_condemned *c = &v->condemned[i];

        for (size_t j = 0; j < c->keep_count; j++)
            if (strcmp(c->keep[j], run) == 0 && has_condemned(c, name))
                return true;
    }
    return false;
}

bool view_needs_pack(const struct view *v, const struct pack_name *name)
{
    char run[RUN_ID];

    if (view_pack_of(v, name))
        return true;
    for (size_t i = 0; i < v->condemned_count; i++)
        if (has_condemned(&v->condemned[i], name))
            return true;
    hex_put(run, name->run, sizeof name->run);
    return view_run_of(v, run);
}

bool view_needs_record(const struct view *v, const char *run)
{
    return view_run_of(v, run) || view_snapshot_of(v, run);
}
