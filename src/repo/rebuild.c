/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/rebuild.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "repo/records.h"
#include "repo/twin.h"
#include "repo/view.h"

/* Nobody's run. */
#define NOBODY "0000000000000000"

struct rebuild {
    struct backend *backend;
    struct view view;
    char (*runs)[RUN_ID]; /* of which there is a record */
    size_t run_count;
    struct rebuild_stats *stats;
};

/* ---- what is there ---- */

static int see_number(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    struct view *v = arg;
    uint64_t number;

    (void)bytes, (void)e;
    if (strlen(name) != 16 || strspn(name, "0123456789") != 16)
        return OK;
    number = strtoull(name, NULL, 10);
    if (number >= v->number)
        v->number = number + 1;
    return OK;
}

static int see_pack(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    struct view *v = arg;
    struct view_pack pack = {.bytes = bytes}, *more;

    if (!pack_name_from_text(&pack.name, name))
        return OK;
    more = reallocarray(v->packs, v->pack_count + 1, sizeof *more);
    if (!more)
        return error_out_of_memory(e);
    v->packs = more;
    more[v->pack_count++] = pack;
    return OK;
}

static int see_record(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    struct rebuild *r = arg;
    char(*more)[RUN_ID];

    (void)bytes;
    if (!run_id_is_valid(name))
        return OK;
    for (size_t i = 0; i < r->run_count; i++)
        if (strcmp(r->runs[i], name) == 0)
            return OK;
    more = reallocarray(r->runs, r->run_count + 1, sizeof *more);
    if (!more)
        return error_out_of_memory(e);
    r->runs = more;
    memcpy(more[r->run_count++], name, RUN_ID);
    return OK;
}

static int look(struct rebuild *r, struct error *e)
{
    static const char *const numbered[] = {"log", "state", "copy/log", "copy/state"};
    const struct backend_driver *driver = r->backend->driver;

    r->view.number = 1;
    for (size_t i = 0; i < sizeof numbered / sizeof *numbered; i++)
        if (driver->list(r->backend, numbered[i], see_number, &r->view, e) < 0)
            return e->status;
    if (driver->list(r->backend, "packs", see_pack, &r->view, e) < 0 ||
        driver->list(r->backend, "snapshots", see_record, r, e) < 0)
        return e->status;
    return driver->list(r->backend, "copy/snapshots", see_record, r, e);
}

/* ---- snapshots of records ---- */

static uint64_t stored_by(const struct view *v, const char *run)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < v->pack_count; i++) {
        char text[PACK_NAME_TEXT];

        pack_name_to_text(&v->packs[i].name, text);
        if (strncmp(text, run, RUN_ID - 1) == 0)
            sum += v->packs[i].bytes;
    }
    return sum;
}

static int add_snapshot(struct rebuild *r, const char *run, const struct manifest *m,
                        const char *seal, struct error *e)
{
    struct view *v = &r->view;
    struct view_snapshot *more = reallocarray(v->snapshots, v->snapshot_count + 1, sizeof *more);
    struct view_snapshot s = {.bytes = manifest_bytes(m),
                              .stored_bytes = stored_by(v, run),
                              .disks = (unsigned)m->disk_count,
                              .ram = manifest_has(&m->ram)};

    if (!more)
        return error_out_of_memory(e);
    v->snapshots = more;
    snprintf(s.run, sizeof s.run, "%s", run);
    snprintf(s.record_sum, sizeof s.record_sum, "%s", seal);
    s.domain = strdup(m->domain_name);
    s.name = strdup(m->name ? m->name : "");
    s.created = strdup(m->created);
    more[v->snapshot_count++] = s;
    return s.domain && s.name && s.created ? OK : error_out_of_memory(e);
}

static int read_record(struct rebuild *r, const char *run, struct error *e)
{
    AUTO_JSON json_t *json = NULL;
    char object[RECORD_OBJECT_MAX];
    struct manifest m;
    struct error why;
    int rc;

    record_object(run, object);
    if (twin_get(r->backend, object, RECORD_MAX_BYTES, &json, NULL, NULL, &why) < 0 ||
        manifest_parse(&m, json, MANIFEST_REPOSITORY, &why) < 0) {
        if (why.status != DAMAGED && why.status != NOT_FOUND) {
            *e = why;
            return e->status;
        }
        log_warning("%s: %s", object, why.text);
        r->stats->lost_records++;
        return OK;
    }
    rc = add_snapshot(r, run, &m, json_string_value(json_object_get(json, "sha256")), e);
    manifest_release(&m);
    return rc;
}

static int compare_snapshots(const void *a, const void *b)
{
    const struct view_snapshot *x = a, *y = b;
    int order = strcmp(x->domain, y->domain);

    if (order == 0)
        order = strcmp(x->created, y->created);
    return order ? order : strcmp(x->name, y->name);
}

/* One that was deleted may have had the name of a later one. */
static void drop_doubles(struct view *v)
{
    size_t kept = 0;

    for (size_t i = 0; i < v->snapshot_count; i++) {
        struct view_snapshot *s = &v->snapshots[i];
        bool later = false;

        for (size_t j = i + 1; j < v->snapshot_count && !later; j++)
            later = strcmp(s->domain, v->snapshots[j].domain) == 0 &&
                    strcmp(s->name, v->snapshots[j].name) == 0;
        if (!later) {
            v->snapshots[kept++] = *s;
            continue;
        }
        free(s->domain);
        free(s->name);
        free(s->created);
    }
    v->snapshot_count = kept;
}

static int make_view(struct rebuild *r, struct error *e)
{
    struct view *v = &r->view;

    if (look(r, e) < 0)
        return e->status;
    if (v->pack_count)
        qsort(v->packs, v->pack_count, sizeof *v->packs, pack_name_compare);
    for (size_t i = 0; i < r->run_count; i++)
        if (read_record(r, r->runs[i], e) < 0 || interrupt_check(e) < 0)
            return e->status;
    if (v->snapshot_count)
        qsort(v->snapshots, v->snapshot_count, sizeof *v->snapshots, compare_snapshots);
    drop_doubles(v);
    return OK;
}

/* A state past all that is there: nobody looks at what is before it. */
static int put_state(struct rebuild *r, struct error *e)
{
    AUTO_JSON json_t *state = NULL;
    char name[BACKEND_NAME_MAX];

    if (view_to_json(&r->view, &state, e) < 0)
        return e->status;
    snprintf(name, sizeof name, "state/%016" PRIu64, r->view.number);
    return twin_put(r->backend, NOBODY, name, state, e);
}

int rebuild_log(struct backend *b, struct rebuild_stats *stats, struct error *e)
{
    struct rebuild r = {.backend = b, .stats = stats};
    int rc;

    *stats = (struct rebuild_stats){0};
    rc = make_view(&r, e);
    if (rc == OK)
        rc = put_state(&r, e);
    stats->snapshots = r.view.snapshot_count;
    stats->packs = r.view.pack_count;
    view_release(&r.view);
    free(r.runs);
    return rc < 0 ? error_prefix(e, "make the log anew") : OK;
}
