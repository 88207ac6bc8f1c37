/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "repo/record_set.h"
#include "repo/records.h"
#include "repo/tree.h"

struct check {
    struct store *store;
    struct store_worker *worker;
    check_sink sink;
    void *arg;
    struct check_stats *stats;
    struct record_set leaves, patches; /* that were found good */
};

static int tell(struct check *c, char *what, const struct error *why, struct error *e)
{
    AUTO_FREE char *text = what;

    if (!text)
        return error_set(e, NO_SPACE, "out of memory");
    c->stats->damaged++;
    c->sink(c->arg, text, why);
    return OK;
}

/* ---- packs ---- */

static int check_pack(struct check *c, uint32_t number, uint64_t bytes, struct error *e)
{
    AUTO_FREE struct table_entry *entries = NULL;
    char name[PACK_NAME];
    size_t count;
    int fd;

    if (index_pack_open(store_index(c->store), number, &fd, name, e) < 0)
        return e->status;
    return pack_read_table(fd, bytes, &entries, &count, e);
}

static int check_packs(struct check *c, struct error *e)
{
    const struct index_pack *pack;
    struct error why;

    for (uint32_t n = 0; (pack = index_packs(store_index(c->store), n)); n++) {
        c->stats->packs++;
        c->stats->pack_bytes += pack->bytes;
        if ((check_pack(c, n, pack->bytes, &why) < 0 &&
             tell(c, format_text("pack %s", pack->name), &why, e) < 0) ||
            interrupt_check(e) < 0)
            return e->status;
    }
    return OK;
}

/* ---- snapshots ---- */

static int check_chunk(struct check *c, const struct chunk_id *id, struct error *e)
{
    struct location where;
    bool new;

    if (store_find(c->store, id, &where, e) < 0)
        return e->status;
    if (!where.patch || record_set_has(&c->patches, &where))
        return OK;
    return store_check_base(c->worker, &where, e) < 0
               ? e->status
               : record_set_add(&c->patches, &where, &new, e);
}

static int check_leaf(struct check *c, const struct tree *tree, uint64_t leaf, struct error *e)
{
    struct chunk_id ids[LIST_IDS];
    struct location leaf_at;
    bool new;

    if (chunk_id_is_zero(&tree->leaves[leaf]))
        return OK;
    if (store_find(c->store, &tree->leaves[leaf], &leaf_at, e) < 0)
        return e->status;
    /* Snapshots share most of them. */
    if (record_set_has(&c->leaves, &leaf_at))
        return OK;
    if (tree_get_leaf(tree, c->worker, leaf, ids, e) < 0)
        return e->status;
    for (uint32_t i = 0; i < tree_leaf_chunks(tree, leaf); i++)
        if (!chunk_id_is_zero(&ids[i]) && check_chunk(c, &ids[i], e) < 0)
            return e->status;
    return record_set_add(&c->leaves, &leaf_at, &new, e) < 0 ? e->status : interrupt_check(e);
}

static int check_image(struct check *c, const struct manifest_file *f, struct error *e)
{
    struct chunk_id root;
    struct tree tree;
    int rc = OK;

    if (chunk_id_from_hex(&root, f->root, e) < 0 ||
        tree_get(&tree, c->worker, &root, f->bytes, store_chunk_bytes(c->store), e) < 0)
        return e->status;
    for (uint64_t leaf = 0; rc == OK && leaf < tree.leaf_count; leaf++)
        rc = check_leaf(c, &tree, leaf, e);
    tree_release(&tree);
    return rc;
}

static int check_snapshot(struct check *c, const struct manifest *m, struct error *e)
{
    const struct manifest_file *f;

    for (size_t i = 0; (f = manifest_image(m, i)); i++)
        if (manifest_has(f) && check_image(c, f, e) < 0)
            return error_prefix(e, "%s", manifest_image_name(m, i));
    return OK;
}

static void tell_bad_record(void *arg, const char *snapshot, const struct error *why)
{
    struct check *c = arg;

    c->stats->damaged++;
    c->sink(c->arg, snapshot, why);
}

static int check_snapshots(struct check *c, struct error *e)
{
    struct manifest *list;
    struct error why;
    size_t count;
    int rc = OK;

    if (record_list(store_dirfd(c->store), NULL, tell_bad_record, c, &list, &count, e) < 0)
        return e->status;
    for (size_t i = 0; rc == OK && i < count; i++) {
        c->stats->snapshots++;
        if (check_snapshot(c, &list[i], &why) < 0)
            rc = why.status == CANCELLED
                     ? interrupt_check(e)
                     : tell(c, format_text("%s@%s", list[i].domain_name, list[i].name), &why, e);
    }
    record_list_release(list, count);
    return rc;
}

int check_run(struct store *s, check_sink sink, void *arg, struct check_stats *stats,
              struct error *e)
{
    struct check c = {.store = s, .sink = sink, .arg = arg, .stats = stats};
    int rc;

    *stats = (struct check_stats){0};
    if (store_worker_new(&c.worker, s, e) < 0)
        return e->status;
    rc = check_packs(&c, e);
    if (rc == OK)
        rc = check_snapshots(&c, e);
    store_worker_free(c.worker);
    record_set_release(&c.leaves);
    record_set_release(&c.patches);
    return rc;
}
