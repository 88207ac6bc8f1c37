/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A view as JSON, and back. */
#include "repo/view.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "repo/view_private.h"

#define STATE_FORMAT     "domsnap-state"
#define STATE_VERSION    2
#define STATE_NUMBER_MAX UINT64_C(9999999999999999) /* 16 digits, as names of entries have */

/* ---- all of it, out ---- */

static json_t *runs_out(const struct view *v)
{
    json_t *runs = json_array();

    for (size_t i = 0; i < v->run_count; i++)
        if (json_array_append_new(runs, run_to_json(&v->runs[i])) < 0)
            return json_decref(runs), NULL;
    return runs;
}

static json_t *packs_out(const struct view *v)
{
    json_t *packs = json_array();

    for (size_t i = 0; i < v->pack_count; i++)
        if (json_array_append_new(packs, pack_to_json(&v->packs[i].name, v->packs[i].bytes)) < 0)
            return json_decref(packs), NULL;
    return packs;
}

static json_t *damage_out(const struct view *v)
{
    json_t *damage = json_object();
    char name[PACK_NAME_TEXT];

    for (size_t i = 0; i < v->pack_count; i++) {
        if (!v->packs[i].damage)
            continue;
        pack_name_to_text(&v->packs[i].name, name);
        if (json_object_set_new(damage, name, damage_to_json(v->packs[i].damage)) < 0)
            return json_decref(damage), NULL;
    }
    return damage;
}

static json_t *set_out(const struct view_condemned *c)
{
    json_t *packs = json_array(), *keep = json_array();
    bool ok = packs && keep;

    for (size_t i = 0; ok && i < c->count; i++)
        ok = json_array_append_new(packs, pack_to_json(&c->packs[i], c->bytes[i])) == 0;
    for (size_t i = 0; ok && i < c->keep_count; i++)
        ok = json_array_append_new(keep, json_string(c->keep[i])) == 0;
    if (ok)
        return json_pack("{s:o, s:o}", "packs", packs, "keep", keep);
    json_decref(packs);
    json_decref(keep);
    return NULL;
}

static json_t *condemned_out(const struct view *v)
{
    json_t *condemned = json_array();

    for (size_t i = 0; i < v->condemned_count; i++)
        if (json_array_append_new(condemned, set_out(&v->condemned[i])) < 0)
            return json_decref(condemned), NULL;
    return condemned;
}

static json_t *snapshots_out(const struct view *v)
{
    json_t *snapshots = json_array();

    for (size_t i = 0; i < v->snapshot_count; i++)
        if (json_array_append_new(snapshots, snapshot_to_json(&v->snapshots[i])) < 0)
            return json_decref(snapshots), NULL;
    return snapshots;
}

int view_to_json(const struct view *v, json_t **state, struct error *e)
{
    json_t *json = json_pack("{s:s, s:i, s:I}", "format", STATE_FORMAT, "version", STATE_VERSION,
                             "number", (json_int_t)v->number);

    if (json_object_set_new(json, "runs", runs_out(v)) < 0 ||
        json_object_set_new(json, "packs", packs_out(v)) < 0 ||
        json_object_set_new(json, "damage", damage_out(v)) < 0 ||
        json_object_set_new(json, "condemned", condemned_out(v)) < 0 ||
        json_object_set_new(json, "snapshots", snapshots_out(v)) < 0) {
        json_decref(json);
        return error_out_of_memory(e);
    }
    *state = json;
    return OK;
}

/* ---- all of it, in ---- */

static int need_list(const json_t **list, const json_t *from, const char *key, struct error *e)
{
    *list = json_object_get(from, key);
    return json_is_array(*list) ? OK
                                : error_set(e, DAMAGED, "\"%s\" is missing or not a list", key);
}

static int need_once(int twice, const char *key, struct error *e)
{
    if (twice < 0)
        return error_out_of_memory(e);
    return twice ? error_set(e, DAMAGED, "\"%s\" has one twice", key) : OK;
}

static int runs_in(struct view *v, const json_t *state, struct error *e)
{
    const json_t *runs, *run;
    size_t i;

    if (need_list(&runs, state, "runs", e) < 0 || RESERVE(v->runs, json_array_size(runs), e) < 0)
        return e->status;
    json_array_foreach (runs, i, run) {
        v->runs[i] = (struct view_run){0};
        v->run_count++;
        if (take_run(&v->runs[i], run, e) < 0)
            return error_prefix(e, "run %zu", i + 1);
    }
    return need_once(has_twice(v->runs, v->run_count, sizeof *v->runs, view_run_compare), "runs",
                     e);
}

static int packs_in(struct view *v, const json_t *state, struct error *e)
{
    struct pack_list packs = {0}, damage = {0};

    if (take_packs(&packs, state, "packs", e) == OK &&
        take_damage(&damage, state, "damage", e) == OK) {
        v->packs = packs.packs;
        v->pack_count = packs.count;
        packs = (struct pack_list){0};
        for (size_t i = 0; i < damage.count; i++) {
            struct view_pack *p = view_pack_of(v, &damage.packs[i].name);

            if (p) {
                p->damage = damage.packs[i].damage;
                damage.packs[i].damage = NULL;
            }
        }
    }
    pack_list_release(&packs);
    pack_list_release(&damage);
    return v->packs ? OK : e->status;
}

/* Runs' names, sorted, to be found fast. */
static int id_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int keep_in(struct view_condemned *c, const json_t *set, const struct view *v,
                   char (*live)[RUN_ID], struct error *e)
{
    const json_t *keep;

    if (need_list(&keep, set, "keep", e) < 0)
        return e->status;
    if (json_array_size(keep) == 0 || json_array_size(keep) > v->run_count)
        return error_set(e, DAMAGED, "\"keep\" is empty, or names more runs than there are");
    if (RESERVE(c->keep, json_array_size(keep), e) < 0)
        return e->status;
    for (size_t i = 0; i < json_array_size(keep); i++) {
        const char *run = json_string_value(json_array_get(keep, i));

        if (!run || !bsearch(run, live, v->run_count, RUN_ID, id_compare))
            return error_set(e, DAMAGED, "\"keep\": item %zu is not a run that lives", i + 1);
        memcpy(c->keep[c->keep_count++], run, RUN_ID);
    }
    return need_once(has_twice(c->keep, c->keep_count, RUN_ID, id_compare), "keep", e);
}

static int set_in(struct view_condemned *c, const json_t *set, struct error *e)
{
    struct pack_list packs = {0};

    if (take_packs(&packs, set, "packs", e) == OK && RESERVE(c->packs, packs.count, e) == OK &&
        RESERVE(c->bytes, packs.count, e) == OK) {
        for (; c->count < packs.count; c->count++) {
            c->packs[c->count] = packs.packs[c->count].name;
            c->bytes[c->count] = packs.packs[c->count].bytes;
        }
    }
    pack_list_release(&packs);
    return c->bytes ? OK : e->status;
}

static int condemned_in(struct view *v, const json_t *state, struct error *e)
{
    AUTO_FREE char(*live)[RUN_ID] = calloc(v->run_count + 1, sizeof *live);
    const json_t *sets, *set;
    size_t i;

    if (!live)
        return error_out_of_memory(e);
    for (i = 0; i < v->run_count; i++)
        memcpy(live[i], v->runs[i].id, RUN_ID);
    qsort(live, v->run_count, sizeof *live, id_compare);
    if (need_list(&sets, state, "condemned", e) < 0 ||
        RESERVE(v->condemned, json_array_size(sets), e) < 0)
        return e->status;
    json_array_foreach (sets, i, set) {
        struct view_condemned *c = &v->condemned[v->condemned_count++];

        *c = (struct view_condemned){0};
        if (set_in(c, set, e) < 0 || keep_in(c, set, v, live, e) < 0)
            return error_prefix(e, "\"condemned\", item %zu", i + 1);
    }
    return OK;
}

static int snapshot_in(struct view_snapshot *s, const json_t *json, struct error *e)
{
    const json_t *notes;

    if (take_run_id(s->run, json, "run", e) < 0 || take_snapshot(s, json, e) < 0)
        return e->status;
    if (!json_object_get(json, "notes"))
        return OK;
    if (take_notes(&notes, json, e) < 0)
        return e->status;
    s->notes = json_deep_copy(notes);
    return s->notes ? OK : error_out_of_memory(e);
}

static int snapshots_in(struct view *v, const json_t *state, struct error *e)
{
    const json_t *snapshots, *snapshot;
    size_t i;

    if (need_list(&snapshots, state, "snapshots", e) < 0 ||
        RESERVE(v->snapshots, json_array_size(snapshots), e) < 0)
        return e->status;
    json_array_foreach (snapshots, i, snapshot) {
        v->snapshots[i] = (struct view_snapshot){0};
        v->snapshot_count++;
        if (snapshot_in(&v->snapshots[i], snapshot, e) < 0)
            return error_prefix(e, "snapshot %zu", i + 1);
    }
    if (!is_sorted(v->snapshots, i, sizeof *v->snapshots, view_snapshot_compare))
        qsort(v->snapshots, i, sizeof *v->snapshots, view_snapshot_compare);
    if (need_once(has_twice(v->snapshots, i, sizeof *v->snapshots, view_snapshot_compare_names),
                  "snapshots", e) < 0)
        return e->status;
    return need_once(has_twice(v->snapshots, i, sizeof *v->snapshots, view_snapshot_compare_runs),
                     "snapshots", e);
}

static int check_format(const json_t *state, struct error *e)
{
    const char *format = json_string_value(json_object_get(state, "format"));
    json_int_t version = json_integer_value(json_object_get(state, "version"));

    if (!format || strcmp(format, STATE_FORMAT) != 0)
        return error_set(e, DAMAGED, "not a state of the log");
    if (version != STATE_VERSION)
        return error_set(
            e, UNSUPPORTED,
            "a state of version %lld, and this domsnap reads version %d; use a newer one",
            (long long)version, STATE_VERSION);
    return OK;
}

int view_from_json(struct view *v, const json_t *state, struct error *e)
{
    *v = (struct view){0};
    if (check_format(state, e) < 0)
        return e->status;
    if (take_number(&v->number, state, "number", STATE_NUMBER_MAX, e) < 0 ||
        runs_in(v, state, e) < 0 || packs_in(v, state, e) < 0 || condemned_in(v, state, e) < 0 ||
        snapshots_in(v, state, e) < 0) {
        view_release(v);
        return e->status;
    }
    return OK;
}
