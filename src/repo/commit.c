/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/commit.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/interrupt.h"
#include "repo/records.h"
#include "repo/tree.h"

/* ---- what was relied on is on its way out ---- */

/* Get a piece from where it still is, and put it: which it is not if it is elsewhere, too. */
static int again_piece(struct store_worker *w, enum pack_kind kind, const struct chunk_id *id,
                       uint8_t *content, uint32_t bytes, struct error *e)
{
    if (store_rely(w, id))
        return OK;
    if (store_get(w, id, content, bytes, e) < 0)
        return e->status;
    return store_put_named(w, kind, content, bytes, NULL, id, e);
}

static int again_leaf(struct store_worker *w, const struct tree *tree, uint64_t leaf,
                      uint8_t *content, struct error *e)
{
    uint64_t left = tree_leaf_bytes(tree, leaf);
    struct chunk_id ids[LIST_IDS];

    if (chunk_id_is_zero(&tree->leaves[leaf]))
        return OK;
    if (tree_get_leaf(tree, w, leaf, ids, e) < 0)
        return e->status;
    for (uint32_t i = 0; left; i++) {
        uint32_t n = left < tree->chunk_bytes ? (uint32_t)left : tree->chunk_bytes;

        if (again_piece(w, PACK_DATA, &ids[i], content, n, e) < 0)
            return e->status;
        left -= n;
    }
    if (again_piece(w, PACK_LISTS, &tree->leaves[leaf], content,
                    tree_leaf_chunks(tree, leaf) * ID_BYTES, e) < 0)
        return e->status;
    return interrupt_check(e);
}

static int again_image(struct store *s, struct store_worker *w, const struct manifest_file *f,
                       uint8_t *content, struct error *e)
{
    struct chunk_id root;
    struct tree tree = {0};
    int rc;

    if (chunk_id_from_hex(&root, f->root, e) < 0 ||
        tree_get(&tree, w, &root, f->bytes, store_chunk_bytes(s), NULL, e) < 0)
        return e->status;
    rc = tree_put(&tree, w, &root, e);
    for (uint64_t leaf = 0; rc == OK && leaf < tree.leaf_count; leaf++)
        rc = again_leaf(w, &tree, leaf, content, e);
    tree_release(&tree);
    return rc;
}

static int again(struct store *s, const struct manifest *m, struct error *e)
{
    AUTO_FREE uint8_t *content = malloc(CHUNK_MAX_BYTES);
    struct store_worker *w = NULL;
    const struct manifest_file *f;
    int rc = store_worker_new(&w, s, e);

    if (rc == OK && !content)
        rc = error_out_of_memory(e);
    for (size_t i = 0; rc == OK && (f = manifest_image(m, i)); i++)
        if (manifest_has(f))
            rc = again_image(s, w, f, content, e);
    store_worker_free(w);
    if (rc == OK)
        rc = store_finish(s, e);
    return rc < 0 ? error_prefix(e, "what a collection has condemned meanwhile") : OK;
}

/* ---- the entry ---- */

static json_t *make_entry(const struct store *s, const struct manifest *m, const char *sum)
{
    return json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:b}, s:o}", "kind", "add",
                     "run", repo_run(store_repo(s)), "snapshot", "domain", m->domain_name, "name",
                     m->name, "created", m->created, "record", sum, "bytes",
                     (json_int_t)manifest_bytes(m), "stored_bytes",
                     (json_int_t)store_stats(s).stored_bytes, "disks", (int)m->disk_count, "ram",
                     (int)manifest_has(&m->ram), "packs", store_packs_to_json(s));
}

static bool is_ours(const struct view_snapshot *there, const char *run)
{
    return there && strcmp(there->run, run) == 0;
}

static bool is_there(const struct repo *r, const struct manifest *m)
{
    return is_ours(view_find_snapshot(repo_view(r), m->domain_name, m->name), repo_run(r));
}

static int check_name(const struct repo *r, const struct manifest *m, struct error *e)
{
    return view_find_snapshot(repo_view(r), m->domain_name, m->name)
               ? error_set(e, BUSY, "there is a snapshot %s@%s already", m->domain_name, m->name)
               : OK;
}

/* Nothing that it relies on has been condemned, as far as the log has been read. */
static int prepare(struct store *s, const struct manifest *m, struct error *e)
{
    bool lost;

    do {
        if (store_follow(s, &lost, e) < 0)
            return e->status;
        if (lost && again(s, m, e) < 0)
            return e->status;
    } while (lost);
    return OK;
}

#define LOOKS 3

/* Nobody is to hear that it failed as long as it can be known that it did not. */
static bool is_there_after_all(const struct repo *r, const struct manifest *m)
{
    struct error ignored;

    for (int i = 0; i < LOOKS; i++)
        if (log_read(repo_log(r), &ignored) == OK)
            return is_there(r, m);
    return false;
}

int commit_snapshot(struct store *s, const struct manifest *m, struct error *e)
{
    struct repo *r = store_repo(s);
    char sum[65];
    int rc;

    if (store_finish(s, e) < 0 || log_read(repo_log(r), e) < 0 || check_name(r, m, e) < 0)
        return e->status;
    if (record_put(r, m, sum, e) < 0 || log_read(repo_log(r), e) < 0)
        return e->status;
    store_note_damage(s);
    for (;;) {
        AUTO_JSON json_t *entry = NULL;

        if (log_check_run(repo_log(r), repo_run(r), e) < 0 || check_name(r, m, e) < 0 ||
            prepare(s, m, e) < 0)
            return e->status;
        entry = make_entry(s, m, sum);
        if (!entry)
            return error_out_of_memory(e);
        rc = log_put(repo_log(r), entry, e);
        if (is_there(r, m) || (rc < 0 && is_there_after_all(r, m)))
            break;
        if (rc < 0)
            return e->status;
    }
    repo_has_ended(r);
    /* It is done, whatever happens now. */
    (void)FAULT("snapshot-added", e);
    return OK;
}
