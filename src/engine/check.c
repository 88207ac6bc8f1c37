/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check: whether a repository, or a snapshot, is whole. */
#include "repo/check.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "copy/team.h"
#include "engine/engine.h"
#include "shelf/source.h"
#include "repo/records.h"

struct checking {
    struct engine *engine;
    const struct check_params *params;
    checked_sink sink;
    void *arg;
    struct check_counts *counts;
    struct sample sample;
};

/* ---- a whole repository ---- */

static void tell(void *arg, enum check_what what, const char *name, const struct error *why)
{
    static const enum check_kind kinds[] = {[CHECK_PACK] = CHECKED_PACK,
                                            [CHECK_RECORD] = CHECKED_RECORD,
                                            [CHECK_SNAPSHOT] = CHECKED_SNAPSHOT};
    struct checking *c = arg;

    c->sink(c->arg, kinds[what], name, why);
}

/* Packs are shared out among threads. */
struct scrub {
    struct checking *c;
    struct store *store;
    atomic_uint next;
    unsigned packs;
    pthread_mutex_t lock; /* guards the sink, and: */
    uint64_t bad_packs;
};

/* It was not when the index learnt what is in it. */
static void tell_bad_pack(struct scrub *s, unsigned n, const struct error *why)
{
    char text[PACK_NAME_TEXT];

    pack_name_to_text(&index_pack(store_index(s->store), n)->name, text);
    pthread_mutex_lock(&s->lock);
    s->bad_packs++;
    s->c->sink(s->c->arg, CHECKED_PACK, text, why);
    pthread_mutex_unlock(&s->lock);
}

static int scrub_some(void *part, const atomic_bool *stop, struct error *e)
{
    struct scrub *s = *(struct scrub **)part;
    struct store_worker *w;
    unsigned n;
    int rc = store_worker_new(&w, s->store, e);

    if (rc < 0)
        return rc;
    while (rc == OK && (n = atomic_fetch_add(&s->next, 1)) < s->packs) {
        uint64_t bad;

        rc = team_check(stop, e);
        if (rc == OK)
            rc = scrub_pack(w, s->store, n, &s->c->sample, &bad, e);
        if (rc == DAMAGED) {
            tell_bad_pack(s, n, e);
            rc = OK;
        }
        progress_add(&s->c->engine->progress, index_pack(store_index(s->store), n)->bytes);
    }
    store_worker_free(w);
    return rc;
}

static int sign(void *arg, struct error *e)
{
    return repo_sign(arg, e);
}

static int scrub(struct checking *c, struct store *store, uint64_t *bad_packs, struct error *e)
{
    struct scrub s = {.c = c, .store = store, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct team_watch watch = {.look = sign, .arg = store_repo(store)};
    AUTO_FREE struct scrub **parts = NULL;
    uint64_t bytes = 0;
    unsigned count;
    int rc;

    for (; index_pack(store_index(store), s.packs); s.packs++)
        bytes += index_pack(store_index(store), s.packs)->bytes;
    count = team_size_of_readers(0, s.packs);
    parts = calloc(count, sizeof *parts);
    if (!parts)
        return error_out_of_memory(e);
    for (unsigned i = 0; i < count; i++)
        parts[i] = &s;
    progress_begin(&c->engine->progress, "read", bytes);
    rc = team_run(scrub_some, parts, count, sizeof *parts, &watch, e);
    *bad_packs = s.bad_packs;
    return rc;
}

/* As far as it is known, and noted now. */
static uint64_t damaged_packs(struct store *store)
{
    const struct view *v = repo_view(store_repo(store));
    uint64_t count = 0;

    store_note_damage(store);
    for (size_t i = 0; i < v->pack_count; i++)
        count += v->packs[i].damage != NULL;
    return count;
}

static int check_store(struct checking *c, struct store *store, struct error *e)
{
    struct check_stats stats = {0};
    uint64_t bad_packs = 0;
    struct check *check;
    int rc = check_new(&check, store, tell, c, e);

    if (rc < 0)
        return rc;
    progress_begin(&c->engine->progress, "check", 0);
    rc = check_look(check, e);
    if (rc == OK && c->params->percent)
        rc = scrub(c, store, &bad_packs, e);
    if (rc == OK)
        rc = check_tell(check, &stats, e);
    check_free(check);
    *c->counts = (struct check_counts){
        .snapshots = stats.snapshots,
        .packs = stats.packs,
        .pack_bytes = stats.pack_bytes,
        .bad_packs = stats.bad_packs + bad_packs,
        .bad_records = stats.bad_records,
        .bad_snapshots = stats.bad_snapshots,
        .bad_bytes = stats.bad_bytes,
        .mended = stats.mended,
        .damaged_packs = damaged_packs(store),
    };
    return rc;
}

static int check_repository(struct checking *c, struct error *e)
{
    struct store *store = NULL;
    struct repo *r;
    int rc;

    if (repo_open(&r, c->params->what.repo, e) < 0)
        return e->status;
    rc = repo_begin(r, REPO_READS, "check", "", e);
    if (rc == OK)
        rc = store_open(&store, r, e);
    if (rc == OK)
        rc = check_store(c, store, e);
    store_close(store);
    repo_close(r);
    return rc;
}

/* ---- snapshots that are named ---- */

/* How one is read: alone, or one after the other by one run. */
struct reading {
    struct store *store; /* NULL: alone */
    const char *run;     /* with `store`: the run that made the snapshot */
    struct seen *seen;   /* content that was read already */
};

static int read_snapshot(struct checking *c, const struct snapshot_ref *ref,
                         const struct reading *by, struct error *e)
{
    const struct source_driver *driver = source_driver_of(ref);
    struct source_verify how = {.sample = c->sample, .seen = by->seen};
    struct source *p;
    struct manifest m;
    int rc;

    rc = by->store ? source_of_store(&p, by->store, by->run, &m, e) : driver->open(&p, ref, &m, e);
    if (rc < 0)
        return rc;
    progress_begin(&c->engine->progress, "check", manifest_bytes(&m));
    rc = driver->check(p, &m, e);
    if (rc == OK)
        rc = driver->verify(p, &m, &how, &c->engine->progress, e);
    driver->close(p);
    manifest_release(&m);
    return rc;
}

static int check_one(struct checking *c, const struct snapshot_ref *ref, const struct reading *by,
                     struct error *e)
{
    AUTO_FREE char *name =
        ref->folder ? strdup(ref->folder) : format_text("%s@%s", ref->domain, ref->name);
    struct error why;

    if (!name)
        return error_out_of_memory(e);
    if (read_snapshot(c, ref, by, &why) == OK) {
        c->counts->snapshots++;
        c->sink(c->arg, CHECKED_GOOD, name, NULL);
        return OK;
    }
    if (why.status != DAMAGED && why.status != UNSUPPORTED) {
        *e = why;
        return error_prefix(e, "%s", name);
    }
    c->counts->bad_snapshots++;
    c->sink(c->arg, CHECKED_SNAPSHOT, name, &why);
    return OK;
}

static int check_listed(struct checking *c, const struct snapshot_list *list, struct reading *by,
                        struct error *e)
{
    struct snapshot_ref ref = c->params->what;
    int rc = OK;

    for (size_t i = 0; rc == OK && i < list->count; i++) {
        ref.name = list->items[i].name;
        by->run = list->items[i].run;
        rc = check_one(c, &ref, by, e);
        if (rc == NOT_FOUND) /* deleted meanwhile */
            rc = OK;
    }
    return rc;
}

/* The run does not say which of them it reads: others can delete them meanwhile. */
static int check_domain(struct checking *c, struct reading *by, struct error *e)
{
    const struct snapshot_ref *what = &c->params->what;
    struct snapshot_list list;
    struct repo *r = NULL;
    int rc = engine_list(what->repo, what->domain, &list, e);

    if (rc == OK)
        rc = repo_open(&r, what->repo, e);
    if (rc == OK)
        rc = repo_begin(r, REPO_READS, "check", "", e);
    if (rc == OK)
        rc = store_open(&by->store, r, e);
    if (rc == OK)
        rc = check_listed(c, &list, by, e);
    store_close(by->store);
    repo_close(r);
    engine_list_release(&list);
    return rc;
}

static int check_named(struct checking *c, struct error *e)
{
    const struct snapshot_ref *what = &c->params->what;
    struct reading by = {0};
    int rc = seen_new(&by.seen, e);

    if (rc == OK)
        rc = what->folder || what->name ? check_one(c, what, &by, e) : check_domain(c, &by, e);
    seen_free(by.seen);
    return rc;
}

/* ---- both ---- */

static int sum_up(const struct check_counts *n, struct error *e)
{
    if (n->bad_packs + n->bad_records + n->bad_snapshots == 0)
        return OK;
    return error_set(e, DAMAGED,
                     "damaged: %" PRIu64 " snapshots, %" PRIu64 " records, %" PRIu64
                     " packs (`domsnap repair` takes out what can be read; the next create of each "
                     "guest stores anew what that still has)",
                     n->bad_snapshots, n->bad_records, n->bad_packs);
}

/* One that moves on from day to day, so that who checks a part each day has checked all in the end.
 */
static struct sample sample_of_today(unsigned percent)
{
    uint64_t day = (uint64_t)time(NULL) / 86400;

    return (struct sample){percent, (unsigned)(day * percent % 100)};
}

int engine_check(struct engine *engine, const struct check_params *params, checked_sink sink,
                 void *arg, struct check_counts *counts, struct error *e)
{
    struct checking c = {engine, params, sink, arg, counts};
    const struct snapshot_ref *what = &params->what;
    int rc = OK;

    c.sample = sample_of_today(params->percent);
    *counts = (struct check_counts){0};
    if (!what->folder && what->domain)
        rc = domain_name_check(what->domain, e);
    if (rc == OK)
        rc = what->folder || what->domain ? check_named(&c, e) : check_repository(&c, e);
    if (rc == OK)
        rc = sum_up(counts, e);
    return rc < 0 ? error_prefix(e, "check") : OK;
}
