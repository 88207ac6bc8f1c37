/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/collect.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "repo/record_set.h"
#include "repo/records.h"
#include "repo/tree.h"

/* A pack of which less than this part is needed is written anew. */
#define NEEDED_PART 2

struct collection {
    struct store *store;
    struct store_worker *worker;
    struct record_set needed;
    struct record_set leaves; /* those that are needed as one: what they list is needed too */
    uint32_t pack_count;      /* those that were there at the start; an entry each: */
    uint64_t *needed_in;      /* how many needed records it has */
    bool *dead;               /* what was needed of it is elsewhere now */
    struct collect_stats *stats;
};

static int mark(struct collection *c, const struct chunk_id *id, struct location *where,
                struct error *e)
{
    bool new;

    if (store_find(c->store, id, where, e) < 0 || record_set_add(&c->needed, where, &new, e) < 0)
        return e->status;
    if (new && where->pack < c->pack_count)
        c->needed_in[where->pack]++;
    return OK;
}

/* ---- mark: all that records lead to ---- */

/* Many images share leaves. That one was needed does not say that it was as a leaf: a guest's disk may hold the
 * same bytes. */
static int mark_leaf(struct collection *c, const struct tree *tree, uint64_t leaf, struct error *e)
{
    struct chunk_id chunks[LIST_IDS];
    struct location where;
    bool new;

    if (chunk_id_is_zero(&tree->leaves[leaf]))
        return OK;
    if (mark(c, &tree->leaves[leaf], &where, e) < 0 ||
        record_set_add(&c->leaves, &where, &new, e) < 0)
        return e->status;
    if (!new)
        return OK;
    if (tree_get_leaf(tree, c->worker, leaf, chunks, e) < 0)
        return e->status;
    for (uint32_t i = 0; i < LIST_IDS; i++)
        if (!chunk_id_is_zero(&chunks[i]) && mark(c, &chunks[i], &where, e) < 0)
            return e->status;
    return OK;
}

/* The lists above the leaves are few: their names are worked out from the leaves'. */
static int mark_upper(struct collection *c, const struct tree *tree, struct error *e)
{
    struct chunk_id *names = NULL;
    size_t count = 0;
    int rc = tree_upper_names(tree, c->worker, &names, &count, e);
    struct location where;

    for (size_t i = 0; rc == OK && i < count; i++)
        if (!chunk_id_is_zero(&names[i]))
            rc = mark(c, &names[i], &where, e);
    free(names);
    return rc;
}

static int mark_image(struct collection *c, const struct manifest_file *f, struct error *e)
{
    struct chunk_id root;
    struct tree tree = {0};
    int rc;

    if (!f->root[0])
        return OK;
    if (chunk_id_from_hex(&root, f->root, e) < 0 ||
        tree_get(&tree, c->worker, &root, f->bytes, store_chunk_bytes(c->store), e) < 0)
        return e->status;
    rc = mark_upper(c, &tree, e);
    for (uint64_t leaf = 0; rc == OK && leaf < tree.leaf_count; leaf++) {
        rc = mark_leaf(c, &tree, leaf, e);
        if (rc == OK)
            rc = interrupt_check(e);
    }
    tree_release(&tree);
    return rc;
}

static int mark_snapshot(struct collection *c, const struct manifest *m, struct error *e)
{
    const struct manifest_file *f;

    for (size_t i = 0; (f = manifest_image(m, i)); i++)
        if (mark_image(c, f, e) < 0)
            return e->status;
    return OK;
}

static int mark_all(struct collection *c, struct error *e)
{
    struct manifest *list;
    size_t count;
    int rc = OK;

    if (record_list(store_dirfd(c->store), NULL, NULL, NULL, &list, &count, e) < 0)
        return e->status;
    for (size_t i = 0; rc == OK && i < count; i++) {
        rc = mark_snapshot(c, &list[i], e);
        if (rc < 0)
            error_prefix(e, "%s@%s", list[i].domain_name, list[i].name);
    }
    record_list_release(list, count);
    return rc;
}

/* ---- packs ---- */

struct table {
    uint32_t pack;
    int fd;
    struct table_entry *entries;
    size_t count;
};

static int compare_offsets(const void *a, const void *b)
{
    const struct table_entry *one = a, *other = b;

    return one->offset < other->offset ? -1 : one->offset > other->offset;
}

/* In the order in which it lies there. */
static int open_table(struct collection *c, uint32_t pack, struct table *t, struct error *e)
{
    const struct index_pack *p = index_packs(store_index(c->store), pack);
    char name[PACK_NAME];

    *t = (struct table){.pack = pack, .fd = -1};
    if (index_pack_open(store_index(c->store), pack, &t->fd, name, e) < 0 ||
        pack_read_table(t->fd, p->bytes, &t->entries, &t->count, e) < 0)
        return error_prefix(e, "pack %s, of which something is needed", p->name);
    if (t->count)
        qsort(t->entries, t->count, sizeof *t->entries, compare_offsets);
    return OK;
}

static bool is_needed(const struct collection *c, const struct table *t, uint32_t offset)
{
    return record_set_has(&c->needed, &(struct location){.pack = t->pack, .offset = offset});
}

/* Whether it is found for a name that is needed, or may be by another index: two that wrote at once may each have stored the
 * same as a patch, of different bases. What is there whole is found before any of them. */
static bool may_be_found(const struct collection *c, const struct table *t,
                         const struct table_entry *entry)
{
    struct location where;

    return is_needed(c, t, entry->offset) ||
           (index_find(store_index(c->store), &entry->id, &where) == OK && where.patch &&
            record_set_has(&c->needed, &where));
}

/* Bases are whole, so that none leads to another. What is a patch and not needed may stay, without its base: who stores the
 * same once more sees to that (store_put_named). */
static int mark_bases(struct collection *c, const struct table *t, struct error *e)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct table_entry *entry = &t->entries[i];
        struct location where;
        struct chunk_id base;

        if (entry->encoding != ENCODING_PATCH || !may_be_found(c, t, entry))
            continue;
        where = (struct location){.pack = t->pack, .offset = entry->offset};
        if (store_patch_base(c->worker, &where, &base, e) < 0)
            return e->status;
        /* What is found now is to be had; another patch of the same may have lost its base long ago. */
        if (mark(c, &base, &where, e) < 0 &&
            !(e->status == DAMAGED && !is_needed(c, t, entry->offset)))
            return e->status;
    }
    return OK;
}

static int copy_needed(struct collection *c, const struct table *t, struct error *e)
{
    for (size_t i = 0; i < t->count; i++)
        if (is_needed(c, t, t->entries[i].offset) &&
            store_copy_record(c->worker, t->fd, &t->entries[i], e) < 0)
            return e->status;
    return OK;
}

/* If little is needed of a pack, copy that. */
static int copy_out(struct collection *c, const struct table *t, struct error *e)
{
    uint64_t bytes = index_packs(store_index(c->store), t->pack)->bytes, needed = 0;

    for (size_t i = 0; i < t->count; i++)
        if (is_needed(c, t, t->entries[i].offset))
            needed += RECORD_HEAD_BYTES + t->entries[i].stored_bytes + TABLE_ENTRY_BYTES;
    if (needed >= bytes / NEEDED_PART)
        return OK;
    if (copy_needed(c, t, e) < 0)
        return e->status;
    c->dead[t->pack] = true;
    c->stats->freed_bytes -= needed;
    return OK;
}

typedef int (*pack_step)(struct collection *c, const struct table *t, struct error *e);

static int one_pack(struct collection *c, uint32_t pack, pack_step step, struct error *e)
{
    struct table t;
    int rc = open_table(c, pack, &t, e);

    if (rc == OK)
        rc = step(c, &t, e);
    free(t.entries);
    return rc < 0 ? rc : interrupt_check(e);
}

/* Each pack that something is needed of, or comes to be on the way. */
static int each_pack(struct collection *c, pack_step step, struct error *e)
{
    AUTO_FREE bool *done = calloc(c->pack_count + (size_t)1, sizeof *done);

    if (!done)
        return error_set(e, NO_SPACE, "out of memory");
    for (bool more = true; more;) {
        more = false;
        for (uint32_t pack = 0; pack < c->pack_count; pack++) {
            if (!c->needed_in[pack] || done[pack])
                continue;
            done[pack] = more = true;
            if (one_pack(c, pack, step, e) < 0)
                return e->status;
        }
    }
    return OK;
}

static int remove_packs(struct collection *c, struct error *e)
{
    for (uint32_t pack = 0; pack < c->pack_count; pack++) {
        if (!c->dead[pack])
            continue;
        if (index_pack_remove(store_index(c->store), pack, e) < 0)
            return e->status;
        c->stats->freed_bytes += index_packs(store_index(c->store), pack)->bytes;
        c->dead[pack] = false;
        if (FAULT("collect-pack-removed", e) < 0)
            return e->status;
    }
    return OK;
}

/* What programs that died have left under names with a dot in front. */
static void remove_stale(int in, const char *folder)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    struct error ignored;
    const char *file;

    if (list_in(in, folder, &dir, &ignored) < 0)
        return;
    while ((file = dir_next(dir)))
        if (file[0] == '.')
            unlinkat(dirfd(dir), file, 0);
}

static void remove_all_stale(int repo_dirfd)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    struct error ignored;
    const char *domain;

    remove_stale(repo_dirfd, "packs");
    remove_stale(repo_dirfd, "index");
    if (list_in(repo_dirfd, "snapshots", &dir, &ignored) < 0)
        return;
    while ((domain = dir_next(dir)))
        if (domain[0] != '.')
            remove_stale(dirfd(dir), domain);
}

static int begin(struct collection *c, struct error *e)
{
    while (index_packs(store_index(c->store), c->pack_count))
        c->pack_count++;
    c->needed_in = calloc(c->pack_count + (size_t)1, sizeof *c->needed_in);
    c->dead = calloc(c->pack_count + (size_t)1, sizeof *c->dead);
    return c->needed_in && c->dead ? OK : error_set(e, NO_SPACE, "out of memory");
}

/* What is wholly dead goes first: the disk may be full. */
static int sweep(struct collection *c, struct error *e)
{
    for (uint32_t pack = 0; pack < c->pack_count; pack++)
        c->dead[pack] = !c->needed_in[pack];
    /* What the index says is saved before anything is copied: it may be saved on the way, and what was copied be gone by then. */
    if (remove_packs(c, e) < 0 || index_save(store_index(c->store), e) < 0 ||
        each_pack(c, copy_out, e) < 0 || store_worker_finish(c->worker, e) < 0 ||
        store_save(c->store, e) < 0 || FAULT("collect-copied", e) < 0)
        return e->status;
    /* From here on what was copied is there twice. */
    return remove_packs(c, e) < 0 ? e->status : store_save(c->store, e);
}

int collect_run(struct store *s, struct collect_stats *stats, struct error *e)
{
    struct collection c = {.store = s, .stats = stats};
    int rc;

    *stats = (struct collect_stats){0};
    remove_all_stale(store_dirfd(s));
    rc = store_worker_new(&c.worker, s, e);
    if (rc == OK)
        rc = begin(&c, e);
    if (rc == OK)
        rc = mark_all(&c, e);
    if (rc == OK)
        rc = each_pack(&c, mark_bases, e);
    if (rc == OK)
        rc = sweep(&c, e);
    store_worker_free(c.worker);
    record_set_release(&c.needed);
    record_set_release(&c.leaves);
    free(c.needed_in);
    free(c.dead);
    return rc < 0 ? error_prefix(e, "collect") : OK;
}
