/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "repo/pack.h"
#include "repo/records.h"
#include "repo/twin.h"

/* What there is, listed before the log is read: what comes after belongs to a run that lives. */
struct found {
    struct view_pack *packs;
    size_t pack_count;
    char (*records)[RUN_ID];
    size_t record_count;
    char (*writers)[RUN_ID]; /* runs that have written something in part, and not published it */
    size_t writer_count;
};

static int add_pack(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    struct found *f = arg;
    struct view_pack pack = {.bytes = bytes}, *more;

    /* Somebody else's. */
    if (!pack_name_from_text(&pack.name, name))
        return OK;
    if ((f->pack_count & (f->pack_count - 1)) == 0) {
        more = reallocarray(f->packs, f->pack_count ? 2 * f->pack_count : 1, sizeof *more);
        if (!more)
            return error_out_of_memory(e);
        f->packs = more;
    }
    f->packs[f->pack_count++] = pack;
    return OK;
}

static int add_run(char (**runs)[RUN_ID], size_t *count, const char *run, struct error *e)
{
    char(*more)[RUN_ID];

    if ((*count & (*count - 1)) == 0) {
        more = reallocarray(*runs, *count ? 2 * *count : 1, sizeof *more);
        if (!more)
            return error_out_of_memory(e);
        *runs = more;
    }
    memcpy((*runs)[(*count)++], run, RUN_ID);
    return OK;
}

static int add_record(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    struct found *f = arg;

    (void)bytes;
    return run_id_is_valid(name) ? add_run(&f->records, &f->record_count, name, e) : OK;
}

/* One that is not added is left alone. */
static bool see_writer(void *arg, const char *run)
{
    struct found *f = arg;
    struct error ignored;

    add_run(&f->writers, &f->writer_count, run, &ignored);
    return true;
}

static int list_all(struct backend *b, struct found *f, struct error *e)
{
    uint64_t ignored;

    if (b->driver->list(b, "packs", add_pack, f, e) < 0 ||
        b->driver->list(b, "snapshots", add_record, f, e) < 0)
        return e->status;
    if (b->driver->list(b, "copy/snapshots", add_record, f, e) < 0)
        return e->status;
    return b->driver->clean(b, see_writer, f, &ignored, e);
}

static int remove_packs(struct backend *b, const struct view *v, const struct found *f,
                        struct sweep_stats *stats, struct error *e)
{
    char object[PACK_OBJECT_MAX];

    for (size_t i = 0; i < f->pack_count; i++) {
        if (view_needs_pack(v, &f->packs[i].name))
            continue;
        pack_object(&f->packs[i].name, object);
        if (b->driver->remove(b, object, e) < 0 || FAULT("sweep-pack-removed", e) < 0)
            return e->status;
        stats->packs++;
        stats->bytes += f->packs[i].bytes;
    }
    return OK;
}

static int remove_records(struct backend *b, const struct view *v, const struct found *f,
                          struct error *e)
{
    char object[RECORD_OBJECT_MAX];

    for (size_t i = 0; i < f->record_count; i++) {
        if (view_needs_record(v, f->records[i]))
            continue;
        record_object(f->records[i], object);
        if (twin_remove(b, object, e) < 0)
            return e->status;
    }
    return OK;
}

/* A run puts its `begin` before it writes. So one that had written before the log was read, and is
 * not in it, is dead; one that has written only since may not be. */
struct writers {
    const struct view *view;
    const struct found *found;
};

static bool is_live(void *arg, const char *run)
{
    const struct writers *w = arg;

    if (view_find_run(w->view, run))
        return true;
    for (size_t i = 0; i < w->found->writer_count; i++)
        if (strcmp(w->found->writers[i], run) == 0)
            return false;
    return true;
}

static void count_waiting(const struct view *v, struct sweep_stats *stats)
{
    for (size_t i = 0; i < v->condemned_count; i++)
        for (size_t j = 0; j < v->condemned[i].count; j++)
            stats->waiting_bytes += v->condemned[i].bytes[j];
}

int sweep_run(struct repo *r, struct sweep_stats *stats, struct error *e)
{
    struct backend *b = repo_backend(r);
    struct found f = {0};
    uint64_t cleaned = 0;
    int rc;

    *stats = (struct sweep_stats){0};
    rc = list_all(b, &f, e);
    if (rc == OK)
        rc = log_read(repo_log(r), e);
    if (rc == OK)
        rc = remove_packs(b, repo_view(r), &f, stats, e);
    if (rc == OK)
        rc = remove_records(b, repo_view(r), &f, e);
    if (rc == OK)
        rc = b->driver->clean(b, is_live, &(struct writers){repo_view(r), &f}, &cleaned, e);
    stats->bytes += cleaned;
    if (rc == OK)
        count_waiting(repo_view(r), stats);
    free(f.packs);
    free(f.records);
    free(f.writers);
    return rc < 0 ? error_prefix(e, "free space") : OK;
}

/* A run has a name, and ours has ended. */
#define NOBODY "0000000000000000"

void sweep_upkeep(struct repo *r)
{
    struct sweep_stats stats;
    struct error why;

    if (log_length(repo_log(r)) < LOG_LONG)
        return;
    if (log_fold(repo_log(r), *repo_run(r) ? repo_run(r) : NOBODY, &why) < 0 ||
        sweep_run(r, &stats, &why) < 0)
        log_debug("upkeep of the repository: %s", why.text);
}
