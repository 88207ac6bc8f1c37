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
    return t->leaves ? OK : error_set(e, NO_SPACE, "out of memory");
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

        if (store_put(w, ids + from, (uint32_t)(n * ID_BYTES), NULL, &name, e) < 0)
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
        return error_set(e, NO_SPACE, "out of memory");
    memcpy(ids, t->leaves, count * sizeof *ids);
    while (count > 1)
        if (put_level(w, ids, &count, e) < 0)
            return e->status;
    *root = ids[0];
    return OK;
}

int tree_upper_names(const struct tree *t, struct store_worker *w, struct chunk_id **out,
                     size_t *out_count, struct error *e)
{
    /* Each level has at most a 256th of the one below, and one more. */
    size_t room = (size_t)parts(t->leaf_count, LIST_IDS - 1) + 8, made = 0;
    const struct chunk_id *below = t->leaves;
    AUTO_FREE struct chunk_id *names = calloc(room, sizeof *names);

    if (!names)
        return error_set(e, NO_SPACE, "out of memory");
    for (uint64_t count = t->leaf_count; count > 1; count = parts(count, LIST_IDS)) {
        size_t first = made;

        for (uint64_t from = 0; from < count; from += LIST_IDS) {
            uint64_t n = count - from < LIST_IDS ? count - from : LIST_IDS;

            if (store_name(w, below + from, (uint32_t)(n * ID_BYTES), &names[made++], e) < 0)
                return e->status;
        }
        below = names + first;
    }
    *out_count = made;
    *out = names;
    names = NULL;
    return OK;
}

/* Names of lists, `lists` of them, become the names that they list, `count`: from the last on,
 * since there are more. */
static int get_level(struct store_worker *w, struct chunk_id *ids, uint64_t lists, uint64_t count,
                     struct error *e)
{
    for (uint64_t i = lists; i-- > 0;) {
        uint64_t to = i * LIST_IDS, n = count - to < LIST_IDS ? count - to : LIST_IDS;
        struct chunk_id list[LIST_IDS];

        if (store_get(w, &ids[i], list, (uint32_t)(n * ID_BYTES), e) < 0)
            return e->status;
        memcpy(ids + to, list, n * ID_BYTES);
    }
    return OK;
}

int tree_get(struct tree *t, struct store_worker *w, const struct chunk_id *root,
             uint64_t image_bytes, uint32_t chunk_bytes, struct error *e)
{
    uint64_t counts[8];
    int levels = 0;

    if (tree_new(t, image_bytes, chunk_bytes, e) < 0)
        return e->status;
    for (uint64_t n = t->leaf_count; n > 1; n = parts(n, LIST_IDS))
        counts[levels++] = n;
    t->leaves[0] = *root;
    for (uint64_t lists = 1; levels-- > 0; lists = counts[levels])
        if (get_level(w, t->leaves, lists, counts[levels], e) < 0) {
            tree_release(t);
            return error_prefix(e, "the tree of the image");
        }
    return OK;
}

int tree_put_leaf(struct tree *t, struct store_worker *w, uint64_t leaf,
                  const struct chunk_id chunks[LIST_IDS], struct error *e)
{
    return store_put(w, chunks, tree_leaf_chunks(t, leaf) * ID_BYTES, NULL, &t->leaves[leaf], e);
}

int tree_get_leaf(const struct tree *t, struct store_worker *w, uint64_t leaf,
                  struct chunk_id chunks[LIST_IDS], struct error *e)
{
    uint32_t count = tree_leaf_chunks(t, leaf);

    memset(chunks + count, 0, (LIST_IDS - count) * ID_BYTES);
    return store_get(w, &t->leaves[leaf], chunks, count * ID_BYTES, e);
}
