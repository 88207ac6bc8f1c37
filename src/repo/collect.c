/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/collect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "repo/records.h"
#include "repo/tree.h"

/* A pack of which less than this part is needed is written anew. */
#define NEEDED_PART 2

/* Where needed records are: pack and offset in one number; open addressing, 0 is empty (no record is at offset 0). */
struct needed {
    uint64_t *slots;
    size_t size, count;
};

struct collection {
    struct store *store;
    struct store_worker *worker;
    struct needed needed;
    struct collect_stats *stats;
};

/* ---- the set ---- */

static uint64_t *slot_of(const struct needed *n, uint64_t key)
{
    size_t i = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (n->size - 1);

    while (n->slots[i] && n->slots[i] != key)
        i = (i + 1) & (n->size - 1);
    return &n->slots[i];
}

static int make_room(struct needed *n, struct error *e)
{
    struct needed bigger = {.size = n->size ? 2 * n->size : 4096, .count = n->count};

    if (2 * n->count < n->size)
        return OK;
    bigger.slots = calloc(bigger.size, sizeof *bigger.slots);
    if (!bigger.slots)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < n->size; i++)
        if (n->slots[i])
            *slot_of(&bigger, n->slots[i]) = n->slots[i];
    free(n->slots);
    *n = bigger;
    return OK;
}

static bool is_needed(const struct needed *n, uint32_t pack, uint32_t offset)
{
    return n->count && *slot_of(n, (uint64_t)pack << 32 | offset);
}

/* Mark a record. `*seen`: it was marked before, or there is nothing to mark. */
static int mark(struct collection *c, const struct chunk_id *id, bool *seen, struct error *e)
{
    struct location where;
    uint64_t *slot;
    char hex[ID_HEX];

    *seen = true;
    if (chunk_id_is_zero(id))
        return OK;
    if (index_find(store_index(c->store), id, &where) < 0) {
        chunk_id_to_hex(id, hex);
        return error_set(e, DAMAGED, "chunk %.16s… is needed and in no pack", hex);
    }
    if (make_room(&c->needed, e) < 0)
        return e->status;
    slot = slot_of(&c->needed, (uint64_t)where.pack << 32 | where.offset);
    *seen = *slot != 0;
    *slot = (uint64_t)where.pack << 32 | where.offset;
    c->needed.count += !*seen;
    return OK;
}

/* ---- mark: all that records lead to ---- */

static int mark_leaf(struct collection *c, const struct tree *tree, uint64_t leaf, struct error *e)
{
    struct chunk_id chunks[LIST_IDS];
    bool seen;

    /* A leaf that was marked has had its chunks marked. */
    if (mark(c, &tree->leaves[leaf], &seen, e) < 0)
        return e->status;
    if (seen)
        return OK;
    if (tree_get_leaf(tree, c->worker, leaf, chunks, e) < 0)
        return e->status;
    for (uint32_t i = 0; i < LIST_IDS; i++)
        if (mark(c, &chunks[i], &seen, e) < 0)
            return e->status;
    return OK;
}

/* The lists above the leaves are few: they are put again, which finds them there and gives their names. */
static int mark_upper(struct collection *c, const struct tree *tree, struct error *e)
{
    struct chunk_id *names = NULL;
    size_t count = 0;
    int rc = tree_upper_names(tree, c->worker, &names, &count, e);
    bool seen;

    for (size_t i = 0; rc == OK && i < count; i++)
        rc = mark(c, &names[i], &seen, e);
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

    if (record_list(store_dirfd(c->store), NULL, RECORD_FAIL, &list, &count, e) < 0)
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

/* False: it can't be read, and what only it has is lost already; it is left alone. */
static bool open_table(struct collection *c, uint32_t pack, struct table *t)
{
    const struct index_pack *p = index_packs(store_index(c->store), pack);
    char name[PACK_NAME];
    struct error ignored;

    *t = (struct table){.pack = pack, .fd = -1};
    return index_pack_open(store_index(c->store), pack, &t->fd, name, &ignored) == OK &&
           pack_read_table(t->fd, p->bytes, &t->entries, &t->count, &ignored) == OK;
}

static int mark_bases(struct collection *c, const struct table *t, struct error *e)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct table_entry *entry = &t->entries[i];
        struct chunk_id base;
        bool seen;

        if (entry->encoding != ENCODING_PATCH || !is_needed(&c->needed, t->pack, entry->offset))
            continue;
        if (pack_peek(t->fd, (uint64_t)entry->offset + RECORD_HEAD_BYTES, base.bytes, ID_BYTES, e) <
            0)
            return e->status;
        if (mark(c, &base, &seen, e) < 0)
            return e->status;
    }
    return OK;
}

static uint64_t needed_bytes(const struct collection *c, const struct table *t)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < t->count; i++)
        if (is_needed(&c->needed, t->pack, t->entries[i].offset))
            sum += RECORD_HEAD_BYTES + t->entries[i].stored_bytes + TABLE_ENTRY_BYTES;
    return sum;
}

static int copy_needed(struct collection *c, const struct table *t, struct error *e)
{
    for (size_t i = 0; i < t->count; i++)
        if (is_needed(&c->needed, t->pack, t->entries[i].offset) &&
            store_copy_record(c->worker, t->fd, &t->entries[i], e) < 0)
            return e->status;
    return OK;
}

static int each_pack(struct collection *c, uint32_t packs,
                     int (*step)(struct collection *c, const struct table *t, uint8_t *dead,
                                 struct error *e),
                     uint8_t *dead, struct error *e)
{
    for (uint32_t pack = 0; pack < packs; pack++) {
        struct table t;
        int rc = OK;

        if (open_table(c, pack, &t))
            rc = step(c, &t, dead, e);
        free(t.entries);
        if (rc == OK)
            rc = interrupt_check(e);
        if (rc < 0)
            return rc;
    }
    return OK;
}

static int step_bases(struct collection *c, const struct table *t, uint8_t *dead, struct error *e)
{
    (void)dead;
    return mark_bases(c, t, e);
}

static int step_decide(struct collection *c, const struct table *t, uint8_t *dead, struct error *e)
{
    uint64_t bytes = index_packs(store_index(c->store), t->pack)->bytes,
             needed = needed_bytes(c, t);

    if (needed >= bytes / NEEDED_PART)
        return OK;
    if (needed && copy_needed(c, t, e) < 0)
        return e->status;
    dead[t->pack] = 1;
    c->stats->freed_bytes += bytes - needed;
    c->stats->packs_removed++;
    return OK;
}

static int remove_packs(struct collection *c, const uint8_t *dead, uint32_t packs, struct error *e)
{
    for (uint32_t pack = 0; pack < packs; pack++) {
        if (!dead[pack])
            continue;
        if (index_pack_remove(store_index(c->store), pack, e) < 0)
            return e->status;
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
    struct dirent *file;

    if (list_in(in, folder, &dir, &ignored) < 0)
        return;
    while ((file = readdir(dir)))
        if (file->d_name[0] == '.' && strcmp(file->d_name, ".") != 0 &&
            strcmp(file->d_name, "..") != 0)
            unlinkat(dirfd(dir), file->d_name, 0);
}

static void remove_all_stale(int repo_dirfd)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    struct error ignored;
    struct dirent *domain;

    remove_stale(repo_dirfd, "packs");
    remove_stale(repo_dirfd, "index");
    if (list_in(repo_dirfd, "snapshots", &dir, &ignored) < 0)
        return;
    while ((domain = readdir(dir)))
        if (domain->d_name[0] != '.')
            remove_stale(dirfd(dir), domain->d_name);
}

static int sweep(struct collection *c, struct error *e)
{
    AUTO_FREE uint8_t *dead = NULL;
    uint32_t packs = 0;

    while (index_packs(store_index(c->store), packs))
        packs++;
    dead = calloc(packs + (size_t)1, 1);
    if (!dead)
        return error_set(e, NO_SPACE, "out of memory");
    if (each_pack(c, packs, step_bases, dead, e) < 0 ||
        each_pack(c, packs, step_decide, dead, e) < 0 || store_worker_finish(c->worker, e) < 0 ||
        store_save(c->store, e) < 0 || FAULT("collect-copied", e) < 0)
        return e->status;
    /* From here on what was copied is there twice. */
    return remove_packs(c, dead, packs, e) < 0 ? e->status : store_save(c->store, e);
}

int collect_run(struct store *s, struct collect_stats *stats, struct error *e)
{
    struct collection c = {.store = s, .stats = stats};
    int rc;

    *stats = (struct collect_stats){0};
    remove_all_stale(store_dirfd(s));
    rc = store_worker_new(&c.worker, s, e);
    if (rc == OK)
        rc = mark_all(&c, e);
    if (rc == OK)
        rc = sweep(&c, e);
    store_worker_free(c.worker);
    free(c.needed.slots);
    return rc < 0 ? error_prefix(e, "collect") : OK;
}
