/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* An image of 2^63 bytes would need 256 TiB of leaves' names; nobody who asks for that means well.
 */
#define LEAVES_MAX (UINT64_C(1) << 24)

_Static_assert(sizeof(struct chunk_id) == ID_BYTES, "lists are arrays of it");
_Static_assert(LIST_BYTES <= CHUNK_MAX_BYTES, "a list is put like a chunk");

static uint64_t parts(uint64_t n, uint64_t part)
{
    return n / part + (n % part != 0);
}

uint64_t tree_leaf_count(uint64_t image_bytes, uint32_t chunk_bytes)
{
    uint64_t leaves = parts(parts(image_bytes, chunk_bytes), LIST_IDS);

    return leaves ? leaves : 1;
}

uint64_t tree_leaf_bytes(const struct tree *t, uint64_t leaf)
{
    uint64_t whole = (uint64_t)t->chunk_bytes * LIST_IDS, left = t->image_bytes - leaf * whole;

    return left < whole ? left : whole;
}

uint32_t tree_leaf_chunks(const struct tree *t, uint64_t leaf)
{
    return (uint32_t)parts(tree_leaf_bytes(t, leaf), t->chunk_bytes);
}

int tree_new(struct tree *t, uint64_t image_bytes, uint32_t chunk_bytes, struct error *e)
{
    uint64_t count = tree_leaf_count(image_bytes, chunk_bytes);

    *t = (struct tree){.image_bytes = image_bytes, .chunk_bytes = chunk_bytes, .leaf_count = count};
    if (count > LEAVES_MAX)
        return error_set(e, UNSUPPORTED, "an image of %llu bytes is too large",
                         (unsigned long long)image_bytes);
    t->leaves = calloc(count, sizeof *t->leaves);
    return t->leaves ? OK : error_out_of_memory(e);
}

void tree_release(struct tree *t)
{
    free(t->leaves);
    *t = (struct tree){0};
}

/* Put the lists of one level: `ids`, `*count` of them, become the names of lists. */
static int put_level(struct store_worker *w, struct chunk_id *ids, uint64_t *count, struct error *e)
{
    uint64_t lists = parts(*count, LIST_IDS);

    for (uint64_t i = 0; i < lists; i++) {
        uint64_t from = i * LIST_IDS, n = *count - from < LIST_IDS ? *count - from : LIST_IDS;
        struct chunk_id name;

        if (store_put(w, PACK_LISTS, ids + from, (uint32_t)(n * ID_BYTES), NULL, &name, e) < 0)
            return e->status;
        ids[i] = name;
    }
    *count = lists;
    return OK;
}

int tree_put(const struct tree *t, struct store_worker *w, struct chunk_id *root, struct error *e)
{
    AUTO_FREE struct chunk_id *ids = malloc(t->leaf_count * sizeof *ids);
    uint64_t count = t->leaf_count;

    if (!ids)
        return error_out_of_memory(e);
    memcpy(ids, t->leaves, count * sizeof *ids);
    while (count > 1)
        if (put_level(w, ids, &count, e) < 0)
            return e->status;
    *root = ids[0];
    return OK;
}

/* No content has this name. */
static const struct chunk_id lost_id = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

bool tree_is_lost(const struct chunk_id *id)
{
    return memcmp(id, &lost_id, sizeof *id) == 0;
}

static int lose_list(const struct chunk_id *id, struct chunk_id *list, uint64_t n,
                     const struct error *why, const struct tree_watch *watch, struct error *e)
{
    if (!watch || !watch->lost || why->status != DAMAGED) {
        *e = *why;
        return e->status;
    }
    for (uint64_t i = 0; i < n; i++)
        list[i] = lost_id;
    return tree_is_lost(id) ? OK : watch->lost(watch->arg, id, why, e);
}

static int get_list(struct store_worker *w, const struct chunk_id *id, struct chunk_id *list,
                    uint64_t n, const struct tree_watch *watch, struct error *e)
{
    struct error why;

    if (watch && watch->list && !chunk_id_is_zero(id) && !tree_is_lost(id) &&
        watch->list(watch->arg, id, e) < 0)
        return e->status;
    if (store_get(w, id, list, (uint32_t)(n * ID_BYTES), &why) == OK)
        return OK;
    return lose_list(id, list, n, &why, watch, e);
}

/* Names of lists, `lists` of them, become the names that they list, `count`: from the last on,
 * since there are more. */
static int get_level(struct store_worker *w, struct chunk_id *ids, uint64_t lists, uint64_t count,
                     const struct tree_watch *watch, struct error *e)
{
    for (uint64_t i = lists; i-- > 0;) {
        uint64_t to = i * LIST_IDS, n = count - to < LIST_IDS ? count - to : LIST_IDS;
        struct chunk_id list[LIST_IDS];

        if (get_list(w, &ids[i], list, n, watch, e) < 0)
            return e->status;
        memcpy(ids + to, list, n * ID_BYTES);
    }
    return OK;
}

int tree_get(struct tree *t, struct store_worker *w, const struct chunk_id *root,
             uint64_t image_bytes, uint32_t chunk_bytes, const struct tree_watch *watch,
             struct error *e)
{
    uint64_t counts[8];
    int levels = 0;

    if (tree_new(t, image_bytes, chunk_bytes, e) < 0)
        return e->status;
    for (uint64_t n = t->leaf_count; n > 1; n = parts(n, LIST_IDS))
        counts[levels++] = n;
    t->leaves[0] = *root;
    for (uint64_t lists = 1; levels-- > 0; lists = counts[levels])
        if (get_level(w, t->leaves, lists, counts[levels], watch, e) < 0) {
            tree_release(t);
            return error_prefix(e, "the tree of the image");
        }
    return OK;
}

int tree_put_leaf(struct tree *t, struct store_worker *w, uint64_t leaf,
                  const struct chunk_id chunks[LIST_IDS], struct error *e)
{
    return store_put(w, PACK_LISTS, chunks, tree_leaf_chunks(t, leaf) * ID_BYTES, NULL,
                     &t->leaves[leaf], e);
}

int tree_get_leaf(const struct tree *t, struct store_worker *w, uint64_t leaf,
                  struct chunk_id chunks[LIST_IDS], struct error *e)
{
    uint32_t count = tree_leaf_chunks(t, leaf);

    memset(chunks + count, 0, (LIST_IDS - count) * ID_BYTES);
    if (tree_is_lost(&t->leaves[leaf]))
        return error_set(e, DAMAGED, "the list that names its chunks is lost");
    return store_get(w, &t->leaves[leaf], chunks, count * ID_BYTES, e);
}
