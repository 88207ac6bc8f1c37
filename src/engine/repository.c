/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is asked of a repository itself: make one, list, show, delete, free space, repair. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/journal.h"
#include "shelf/source.h"
#include "repo/collect.h"
#include "repo/rebuild.h"
#include "repo/records.h"
#include "repo/repair.h"
#include "repo/sweep.h"

int engine_init(const char *repo, uint32_t chunk_bytes, struct error *e)
{
    if (repo_init(repo, chunk_bytes ? chunk_bytes : REPO_CHUNK_DEFAULT_BYTES, e) < 0)
        return error_prefix(e, "init");
    return OK;
}

/* ---- list and show ---- */

int engine_list(const char *repo, const char *domain, struct snapshot_list *list, struct error *e)
{
    *list = (struct snapshot_list){0};
    if ((domain && domain_name_check(domain, e) < 0) || repo_open(&list->repo, repo, e) < 0)
        return error_prefix(e, "list");
    if (!domain) {
        list->items = repo_view(list->repo)->snapshots;
        list->count = repo_view(list->repo)->snapshot_count;
        return OK;
    }
    list->items = view_domain(repo_view(list->repo), domain, &list->count);
    return list->count
               ? OK
               : error_set(e, NOT_FOUND,
                           "list: there is no snapshot of %s; `domsnap list` shows all", domain);
}

void engine_list_release(struct snapshot_list *list)
{
    repo_close(list->repo);
    *list = (struct snapshot_list){0};
}

static int show_of_repository(const struct snapshot_ref *ref, struct manifest *m, json_t **line,
                              struct error *e)
{
    const struct view_snapshot *s;
    struct repo *r;
    int rc;

    if (domain_name_check(ref->domain, e) < 0 || repo_open(&r, ref->repo, e) < 0)
        return e->status;
    rc = record_find(r, ref->domain, ref->name, &s, e);
    if (rc == OK)
        rc = record_get(r, s, m, e);
    if (rc == OK && line)
        *line = json_pack("{s:I, s:O*}", "stored_bytes", (json_int_t)s->stored_bytes, "notes",
                          s->notes);
    repo_close(r);
    return rc;
}

static int show_of_folder(const struct snapshot_ref *ref, struct manifest *m, struct error *e)
{
    struct source *p;

    if (source_folder.open(&p, ref, m, e) < 0)
        return e->status;
    source_folder.close(p);
    return OK;
}

int engine_show(const struct snapshot_ref *ref, struct manifest *m, json_t **line, struct error *e)
{
    int rc;

    if (line)
        *line = NULL;
    rc = ref->folder ? show_of_folder(ref, m, e) : show_of_repository(ref, m, line, e);
    return rc < 0 ? error_prefix(e, "show") : OK;
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

/* By a process of any host, which says so in the log. */
static int check_not_read(const struct repo *r, const struct snapshot_ref *ref, struct error *e)
{
    const struct view *v = repo_view(r);
    AUTO_FREE char *name = format_text("%s@%s", ref->domain, ref->name);

    if (!name)
        return error_out_of_memory(e);
    for (size_t i = 0; i < v->run_count; i++)
        if (strcmp(v->runs[i].reads, name) == 0)
            return error_set(e, BUSY, "%s is being read by process %" PRId64 " on %s", name,
                             v->runs[i].pid, v->runs[i].host);
    return OK;
}

/* `run`: that made it. */
static int check_one(const struct engine *engine, const char *repo, const struct repo *r,
                     const struct snapshot_ref *ref, char run[static RUN_ID], struct error *e)
{
    const struct view_snapshot *s;

    if (domain_name_check(ref->domain, e) < 0 || record_name_check(ref->name, e) < 0)
        return e->status;
    if (record_find(r, ref->domain, ref->name, &s, e) < 0 || check_not_read(r, ref, e) < 0)
        return e->status;
    memcpy(run, s->run, RUN_ID);
    return check_not_needed(engine, repo, ref, e);
}

/* All must be there, and of use to no restore, before any is removed. */
static int remove_snapshots(const struct engine *engine, const char *repo, struct repo *r,
                            const struct snapshot_ref *refs, size_t count, struct error *e)
{
    AUTO_FREE char(*runs)[RUN_ID] = calloc(count + 1, sizeof *runs);
    unsigned ended;

    if (!runs)
        return error_out_of_memory(e);
    if (log_reap(repo_log(r), &ended, e) < 0)
        return e->status;
    for (size_t i = 0; i < count; i++)
        if (check_one(engine, repo, r, &refs[i], runs[i], e) < 0)
            return e->status;
    return log_remove(repo_log(r), runs, count, e);
}

/* ---- space ---- */

static int collect_once(struct repo *r, struct collect_stats *stats, struct error *e)
{
    struct store *store;
    struct error why;
    int rc;

    if (repo_begin(r, REPO_WRITES, "gc", "", e) < 0 || store_open(&store, r, e) < 0)
        return e->status;
    rc = collect_run(store, stats, e);
    store_close(store);
    if (*repo_run(r) && log_end(repo_log(r), repo_run(r), &why) == OK)
        repo_has_ended(r);
    return rc;
}

/* Others may free space at the same time: then it is all worked out again. */
#define COLLECT_TRIES 5

static int collect(struct repo *r, struct collect_stats *stats, struct error *e)
{
    int rc = AGAIN;

    for (int i = 0; rc == AGAIN && i < COLLECT_TRIES; i++)
        rc = collect_once(r, stats, e);
    return rc;
}

/* What can't be collected does not keep what dead runs have left. */
static int free_space(struct engine *engine, struct repo *r, struct gc_stats *stats,
                      struct error *e)
{
    struct collect_stats collected = {0};
    struct sweep_stats swept = {0};
    struct error why = {0};
    uint64_t freed = 0;
    int rc;

    progress_begin(&engine->progress, "free space", 0);
    rc = collect(r, &collected, e);
    /* A full disk: a sweep writes nothing, and may make room for what a collection must write. */
    if (rc == NO_SPACE && sweep_run(r, &swept, &why) == OK && swept.bytes) {
        freed = swept.bytes;
        rc = collect(r, &collected, e);
    }
    /* Those who were faster have freed it. */
    if (rc == AGAIN)
        rc = OK;
    if (rc < 0 && rc != DAMAGED)
        return rc;
    if (sweep_run(r, &swept, &why) < 0 && rc == OK) {
        *e = why;
        rc = why.status;
    }
    *stats = (struct gc_stats){freed + swept.bytes, swept.waiting_bytes, collected.copied_bytes};
    sweep_upkeep(r);
    return rc;
}

int engine_delete(struct engine *engine, const char *repo, const struct snapshot_ref *refs,
                  size_t count, struct gc_stats *stats, struct error *e)
{
    struct repo *r;
    int rc;

    *stats = (struct gc_stats){0};
    progress_begin(&engine->progress, "delete", 0);
    if (repo_open(&r, repo, e) < 0)
        return error_prefix(e, "delete");
    rc = remove_snapshots(engine, repo, r, refs, count, e);
    if (rc < 0)
        error_prefix(e, "delete");
    if (rc == OK) {
        rc = free_space(engine, r, stats, e);
        if (rc < 0)
            error_prefix(e, "the snapshots are deleted, but not all of their space is free yet "
                            "(`domsnap gc` tries again)");
    }
    repo_close(r);
    return rc;
}

int engine_gc(struct engine *engine, const char *repo, struct gc_stats *stats, struct error *e)
{
    struct repo *r;
    int rc;

    *stats = (struct gc_stats){0};
    if (repo_open(&r, repo, e) < 0)
        return error_prefix(e, "gc");
    rc = free_space(engine, r, stats, e);
    repo_close(r);
    return rc < 0 ? error_prefix(e, "gc") : OK;
}

/* ---- repair ---- */

/* A log that is lost is made anew first. */
static int open_or_rebuild(struct repo **r, const char *where, struct error *e)
{
    struct rebuild_stats stats;
    struct error why;
    struct backend *b;
    int rc;

    rc = repo_open(r, where, e);
    if (rc != DAMAGED)
        return rc;
    why = *e;
    if (backend_open(&b, where, e) < 0)
        return e->status;
    rc = repo_check_config(b, e);
    if (rc == OK)
        rc = rebuild_log(b, &stats, e);
    backend_close(b);
    if (rc < 0)
        return error_prefix(e, "repository %s", where);
    log_warning("%s; it was made anew: %" PRIu64 " snapshots, %" PRIu64 " packs, %" PRIu64
                " records that can't be read. Snapshots that were deleted lately may be back.",
                why.text, stats.snapshots, stats.packs, stats.lost_records);
    return repo_open(r, where, e);
}

int engine_repair(struct engine *engine, const char *repo, struct repair_counts *counts,
                  struct error *e)
{
    struct repair_stats stats = {0};
    struct store *store = NULL;
    struct repo *r;
    int rc;

    progress_begin(&engine->progress, "repair", 0);
    if (open_or_rebuild(&r, repo, e) < 0)
        return error_prefix(e, "repair");
    rc = repo_begin(r, REPO_WRITES, "repair", "", e);
    if (rc == OK)
        rc = store_open(&store, r, e);
    if (rc == OK)
        rc = repair_run(store, &stats, e);
    store_close(store);
    repo_close(r);
    *counts = (struct repair_counts){stats.packs, stats.emptied_packs, stats.salvaged_pieces,
                                     stats.salvaged_bytes, stats.lost_pieces};
    return rc < 0 ? error_prefix(e, "repair") : OK;
}

/* ---- stats ---- */

static json_t *runs_to_json(const struct view *v)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < v->run_count; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:I, s:s}", "command", v->runs[i].command,
                                        "host", v->runs[i].host, "pid", (json_int_t)v->runs[i].pid,
                                        "reads", v->runs[i].reads));
    return list;
}

static void count_all(const struct view *v, struct repository_stats *s)
{
    for (size_t i = 0; i < v->snapshot_count; i++) {
        s->image_bytes += v->snapshots[i].bytes;
        s->domains += i == 0 || strcmp(v->snapshots[i].domain, v->snapshots[i - 1].domain) != 0;
    }
    for (size_t i = 0; i < v->pack_count; i++) {
        s->stored_bytes += v->packs[i].bytes;
        s->damaged_packs += v->packs[i].damage != NULL;
    }
    for (size_t i = 0; i < v->condemned_count; i++)
        for (size_t j = 0; j < v->condemned[i].count; j++)
            s->waiting_bytes += v->condemned[i].bytes[j];
}

int engine_stats(const char *repo, void (*sink)(void *arg, const struct repository_stats *stats),
                 void *arg, struct error *e)
{
    struct repository_stats s = {0};
    struct repo *r;
    int rc;

    if (repo_open(&r, repo, e) < 0)
        return error_prefix(e, "stats");
    rc = repo_backend(r)->driver->room(repo_backend(r), &s.free_bytes, e);
    s.id = repo_id(r);
    s.chunk_bytes = repo_chunk_bytes(r);
    s.snapshots = repo_view(r)->snapshot_count;
    s.packs = repo_view(r)->pack_count;
    s.log_entries = log_length(repo_log(r));
    s.runs = runs_to_json(repo_view(r));
    count_all(repo_view(r), &s);
    if (rc == OK)
        sink(arg, &s);
    json_decref(s.runs);
    repo_close(r);
    return rc < 0 ? error_prefix(e, "stats") : OK;
}
