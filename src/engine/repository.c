/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is asked of a repository itself: make one, list, show, verify. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "engine/engine.h"
#include "engine/journal.h"
#include "engine/place.h"
#include "repo/check.h"
#include "repo/collect.h"
#include "repo/records.h"
#include "repo/store.h"

int engine_init(const char *repo, uint32_t chunk_bytes, struct error *e)
{
    if (store_init(repo, chunk_bytes ? chunk_bytes : STORE_CHUNK_DEFAULT_BYTES, e) < 0)
        return error_prefix(e, "init");
    return OK;
}

/* ---- list ---- */

struct bad_records {
    snapshot_sink sink;
    void *arg;
    size_t count;
};

static void tell_bad_record(void *arg, const char *snapshot, const struct error *why)
{
    struct bad_records *bad = arg;

    bad->count++;
    bad->sink(bad->arg, snapshot, why);
}

static int list_records(const char *repo, const char *domain, struct bad_records *bad,
                        struct manifest **list, size_t *count, struct error *e)
{
    struct store *store;
    int rc;

    *list = NULL;
    *count = 0;
    if (domain && domain_name_check(domain, e) < 0)
        return e->status;
    if (store_open(&store, repo, STORE_RECORDS, e) < 0)
        return e->status;
    rc = record_list(store_dirfd(store), domain, tell_bad_record, bad, list, count, e);
    store_close(store);
    if (rc == OK && domain && *count == 0 && bad->count == 0)
        return error_set(e, NOT_FOUND, "there is no snapshot of %s; `domsnap list` shows all",
                         domain);
    return rc;
}

int engine_list(const char *repo, const char *domain, snapshot_sink bad, void *arg,
                struct manifest **list, size_t *count, struct error *e)
{
    struct bad_records found = {bad, arg, 0};
    int rc = list_records(repo, domain, &found, list, count, e);

    if (rc == OK && found.count)
        rc = error_set(e, DAMAGED, "%zu record%s can't be read", found.count,
                       found.count == 1 ? "" : "s");
    return rc < 0 ? error_prefix(e, "list") : OK;
}

void engine_list_release(struct manifest *list, size_t count)
{
    record_list_release(list, count);
}

/* ---- delete ---- */

/* BUSY: a restore of it has begun, and only with it can that be finished. */
static int check_not_needed(const struct engine *engine, const char *repo,
                            const struct snapshot_ref *ref, struct error *e)
{
    AUTO_FREE char *path = realpath(repo, NULL);
    AUTO_JSON json_t *entry = NULL;
    const char *from, *name;

    if (journal_peek(engine, ref->domain, &entry, e) < 0)
        return e->status == NOT_FOUND ? OK : e->status;
    from = json_string_value(json_object_get(entry, "repo"));
    name = json_string_value(json_object_get(entry, "name"));
    if (journal_operation_of(entry) != OPERATION_RESTORE)
        return OK;
    if (!path || !from || strcmp(from, path) != 0)
        return OK;
    if (!name || strcmp(name, ref->name) != 0)
        return OK;
    return error_set(
        e, BUSY,
        "%s@%s: a restore of it has begun and is not complete (`domsnap recover` finishes "
        "one that was interrupted)",
        ref->domain, ref->name);
}

static bool is_named_before(const struct snapshot_ref *refs, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(refs[j].domain, refs[i].domain) == 0 && strcmp(refs[j].name, refs[i].name) == 0)
            return true;
    return false;
}

/* All must be there, and of use to no restore, before any is removed. */
static int hold_records(const struct engine *engine, const char *repo, int repo_dirfd,
                        const struct snapshot_ref *refs, size_t count, int *fds, struct error *e)
{
    for (size_t i = 0; i < count; i++)
        if (!is_named_before(refs, i) &&
            (domain_name_check(refs[i].domain, e) < 0 || record_name_check(refs[i].name, e) < 0 ||
             record_hold(repo_dirfd, refs[i].domain, refs[i].name, RECORD_ALONE, &fds[i], e) < 0 ||
             check_not_needed(engine, repo, &refs[i], e) < 0))
            return e->status;
    return OK;
}

static int remove_records(const struct engine *engine, const char *repo, int repo_dirfd,
                          const struct snapshot_ref *refs, size_t count, struct error *e)
{
    AUTO_FREE int *fds = malloc((count + 1) * sizeof *fds);
    int rc;

    if (!fds)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < count; i++)
        fds[i] = -1;
    rc = hold_records(engine, repo, repo_dirfd, refs, count, fds, e);
    for (size_t i = 0; rc == OK && i < count; i++)
        rc = record_delete(repo_dirfd, refs[i].domain, refs[i].name, e);
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return rc;
}

int engine_delete(struct engine *engine, const char *repo, const struct snapshot_ref *refs,
                  size_t count, struct delete_stats *stats, struct error *e)
{
    struct collect_stats collected;
    struct store *store;
    int rc;

    *stats = (struct delete_stats){0};
    progress_begin(&engine->progress, "delete", 0);
    if (store_open(&store, repo, STORE_SHARED, e) < 0)
        return error_prefix(e, "delete");
    rc = remove_records(engine, repo, store_dirfd(store), refs, count, e);
    store_close(store);
    if (rc < 0)
        return error_prefix(e, "delete");
    progress_begin(&engine->progress, "collect", 0);
    rc = store_open(&store, repo, STORE_EXCLUSIVE, e);
    if (rc == BUSY)
        return OK;
    if (rc == OK) {
        rc = collect_run(store, &collected, e);
        store_close(store);
    }
    if (rc < 0)
        return error_prefix(
            e, "the snapshots are deleted, but their space is not free yet; once that is put "
               "right, `domsnap delete` frees it");
    *stats = (struct delete_stats){true, collected.freed_bytes};
    return OK;
}

int engine_show(const struct snapshot_ref *ref, struct manifest *m, struct error *e)
{
    struct place *p;

    if (place_repository.open(&p, ref, m, e) < 0)
        return error_prefix(e, "show");
    place_repository.close(p);
    return OK;
}

/* ---- verify ---- */

struct verification {
    struct engine *engine;
    struct place_verify how;
    snapshot_sink sink;
    void *arg;
    size_t failed;
    struct error first;
};

static int verify(struct verification *v, const struct snapshot_ref *ref, struct error *e)
{
    const struct place_driver *driver = ref->folder ? &place_folder : &place_repository;
    struct manifest m;
    struct place *p;
    int rc;

    if (driver->open(&p, ref, &m, e) < 0)
        return e->status;
    progress_begin(&v->engine->progress, "verify", manifest_bytes(&m));
    rc = driver->check(p, &m, e);
    if (rc == OK)
        rc = driver->verify(p, &m, &v->how, &v->engine->progress, e);
    driver->close(p);
    manifest_release(&m);
    return rc;
}

/* Of a repository: it has been deleted, or all of it is gone. */
static bool is_gone(const struct snapshot_ref *ref)
{
    struct error e = {0};
    struct store *store;

    if (ref->folder)
        return false;
    if (store_open(&store, ref->repo, STORE_RECORDS, &e) < 0)
        return e.status == NOT_FOUND;
    record_find(store_dirfd(store), ref->domain, ref->name, &e);
    store_close(store);
    return e.status == NOT_FOUND;
}

static void add_failed(void *arg, const char *snapshot, const struct error *why)
{
    struct verification *v = arg;

    v->sink(v->arg, snapshot, why);
    if (v->failed++ == 0) {
        v->first = *why;
        error_prefix(&v->first, "verify %s", snapshot);
    }
}

static int verify_one(struct verification *v, const struct snapshot_ref *ref, struct error *e)
{
    AUTO_FREE char *name =
        ref->folder ? strdup(ref->folder) : format_text("%s@%s", ref->domain, ref->name);
    struct error why;

    if (!name)
        return error_set(e, NO_SPACE, "out of memory");
    if (verify(v, ref, &why) == OK) {
        v->sink(v->arg, name, NULL);
        return OK;
    }
    if (why.status == CANCELLED || (why.status == NOT_FOUND && is_gone(ref))) {
        *e = why;
        return error_prefix(e, "verify %s", name);
    }
    add_failed(v, name, &why);
    return OK;
}

static int verify_list(struct verification *v, const struct snapshot_ref *ref, struct error *e)
{
    struct bad_records bad = {add_failed, v, 0};
    struct manifest *list;
    size_t count;
    int rc = list_records(ref->repo, ref->domain, &bad, &list, &count, e);

    if (rc < 0)
        return error_prefix(e, "verify");
    for (size_t i = 0; rc == OK && i < count; i++) {
        struct snapshot_ref one = {
            .repo = ref->repo, .domain = list[i].domain_name, .name = list[i].name};

        rc = verify_one(v, &one, e);
        if (rc == NOT_FOUND) /* deleted meanwhile */
            rc = OK;
    }
    engine_list_release(list, count);
    return rc;
}

int engine_verify(struct engine *engine, const struct snapshot_ref *ref, unsigned percent,
                  snapshot_sink sink, void *arg, struct error *e)
{
    struct verification v = {.engine = engine, .how.percent = percent, .sink = sink, .arg = arg};
    int rc;

    /* Before the sink is told of them. */
    if (!ref->folder && ((ref->domain && domain_name_check(ref->domain, e) < 0) ||
                         (ref->name && record_name_check(ref->name, e) < 0)))
        return error_prefix(e, "verify");
    rc = seen_new(&v.how.seen, e);
    if (rc == OK)
        rc = ref->folder || ref->name ? verify_one(&v, ref, e) : verify_list(&v, ref, e);
    seen_free(v.how.seen);
    if (rc < 0 || v.failed == 0)
        return rc;
    *e = v.first;
    return v.failed == 1 ? e->status : error_append(e, "%zu more are not good", v.failed - 1);
}

/* ---- check ---- */

static int open_rebuilt(struct store **store, const char *repo, struct error *e)
{
    int rc;

    if (store_open(store, repo, STORE_RECORDS, e) < 0)
        return e->status;
    rc = index_drop(store_dirfd(*store), e);
    store_close(*store);
    *store = NULL;
    if (rc < 0 || store_open(store, repo, STORE_SHARED, e) < 0)
        return e->status;
    return store_save(*store, e);
}

int engine_check(struct engine *engine, const char *repo, bool rebuild_index, damage_sink sink,
                 void *arg, struct repository_stats *stats, struct error *e)
{
    struct check_stats found = {0};
    struct store *store = NULL;
    int rc;

    progress_begin(&engine->progress, "check", 0);
    rc = rebuild_index ? open_rebuilt(&store, repo, e) : store_open(&store, repo, STORE_SHARED, e);
    if (rc == OK)
        rc = check_run(store, sink, arg, &found, e);
    store_close(store);
    *stats = (struct repository_stats){found.packs, found.pack_bytes, found.snapshots};
    if (rc == OK && found.damaged)
        rc = error_set(e, DAMAGED, "%" PRIu64 " of its packs and snapshots are damaged",
                       found.damaged);
    return rc < 0 ? error_prefix(e, "check") : OK;
}
