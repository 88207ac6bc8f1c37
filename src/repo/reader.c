/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct reader {
    const char *name;
    struct store_worker *worker;
    struct tree tree;
    uint64_t leaf, chunk; /* that are at hand; UINT64_MAX: none */
    struct chunk_id ids[LIST_IDS];
    uint8_t *content; /* of the chunk */
};

static int init(struct reader *r, struct store *s, const char *root, uint64_t bytes,
                struct error *e)
{
    struct chunk_id id;

    r->content = malloc(store_chunk_bytes(s));
    if (!r->content)
        return error_set(e, NO_SPACE, "out of memory");
    if (store_worker_new(&r->worker, s, e) < 0 || chunk_id_from_hex(&id, root, e) < 0)
        return e->status;
    return tree_get(&r->tree, r->worker, &id, bytes, store_chunk_bytes(s), e);
}

int reader_open(struct reader **out, struct store *s, const char *root, uint64_t bytes,
                const char *name, struct error *e)
{
    struct reader *r = calloc(1, sizeof *r);

    if (!r)
        return error_set(e, NO_SPACE, "out of memory");
    r->name = name;
    r->leaf = r->chunk = UINT64_MAX;
    if (init(r, s, root, bytes, e) == OK) {
        *out = r;
        return OK;
    }
    reader_close(r);
    return error_prefix(e, "%s", name);
}

void reader_close(struct reader *r)
{
    if (!r)
        return;
    tree_release(&r->tree);
    store_worker_free(r->worker);
    free(r->content);
    free(r);
}

/* Get the chunk, and tell its length. */
static int take_chunk(struct reader *r, uint64_t chunk, uint32_t *bytes, struct error *e)
{
    uint64_t left = r->tree.image_bytes - chunk * r->tree.chunk_bytes;
    int rc = OK;

    *bytes = left < r->tree.chunk_bytes ? (uint32_t)left : r->tree.chunk_bytes;
    if (chunk == r->chunk)
        return OK;
    r->chunk = UINT64_MAX;
    if (chunk / LIST_IDS != r->leaf) {
        r->leaf = UINT64_MAX;
        rc = tree_get_leaf(&r->tree, r->worker, chunk / LIST_IDS, r->ids, e);
        if (rc == OK)
            r->leaf = chunk / LIST_IDS;
    }
    if (rc == OK)
        rc = store_get(r->worker, &r->ids[chunk % LIST_IDS], r->content, *bytes, e);
    if (rc == OK)
        r->chunk = chunk;
    return rc;
}

int reader_read(struct reader *r, void *to, size_t bytes, uint64_t offset, struct error *e)
{
    uint8_t *at = to;

    if (offset > r->tree.image_bytes || bytes > r->tree.image_bytes - offset)
        return error_set(e, DAMAGED, "%s: it ends too early", r->name);
    while (bytes) {
        uint32_t skip = (uint32_t)(offset % r->tree.chunk_bytes), chunk_bytes;
        size_t n;

        if (take_chunk(r, offset / r->tree.chunk_bytes, &chunk_bytes, e) < 0)
            return error_prefix(e, "%s", r->name);
        n = chunk_bytes - skip < bytes ? chunk_bytes - skip : bytes;
        memcpy(at, r->content + skip, n);
        at += n;
        offset += n;
        bytes -= n;
    }
    return OK;
}
