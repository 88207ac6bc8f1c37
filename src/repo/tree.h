/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image as a tree of lists: its chunks' names in leaves of LIST_IDS, the leaves' names in lists,
 * and so on up to one name. Whoever writes or reads an image does so leaf by leaf, in any order;
 * the leaves' names, 32 bytes for each 64 MiB of image at 256 KiB a chunk, are kept in memory.
 */
#ifndef REPO_TREE_H
#define REPO_TREE_H

#include "repo/store.h"

struct tree {
    uint64_t image_bytes;
    uint32_t chunk_bytes;
    struct chunk_id *leaves; /* the name of each; leaf_count of them */
    uint64_t leaf_count;
};

/* How many leaves an image has; at least one. */
uint64_t tree_leaf_count(uint64_t image_bytes, uint32_t chunk_bytes);

/* How many chunks leaf `leaf` names, and how much of the image; only the last has fewer than
 * LIST_IDS. */
uint32_t tree_leaf_chunks(const struct tree *t, uint64_t leaf);
uint64_t tree_leaf_bytes(const struct tree *t, uint64_t leaf);

/* All leaves zero. */
int tree_new(struct tree *t, uint64_t image_bytes, uint32_t chunk_bytes, struct error *e);
void tree_release(struct tree *t); /* an all-zero tree holds nothing */

/* Put all lists above the leaves; `root` then names the image. */
int tree_put(const struct tree *t, struct store_worker *w, struct chunk_id *root, struct error *e);

/* Told of what is met on the way to the leaves. Each may be NULL. */
struct tree_watch {
    /* Each list above the leaves. */
    int (*list)(void *arg, const struct chunk_id *id, struct error *e);
    /* One that is not to be had: an error ends it; OK leaves the leaves below it lost. */
    int (*lost)(void *arg, const struct chunk_id *id, const struct error *why, struct error *e);
    void *arg;
};

/* A leaf, or list, whose name is not to be had. */
bool tree_is_lost(const struct chunk_id *id);

/* Get the leaves' names of the image that `root` names. `watch` may be NULL. */
int tree_get(struct tree *t, struct store_worker *w, const struct chunk_id *root,
             uint64_t image_bytes, uint32_t chunk_bytes, const struct tree_watch *watch,
             struct error *e);

/* One leaf: the names of its chunks. */
int tree_put_leaf(struct tree *t, struct store_worker *w, uint64_t leaf,
                  const struct chunk_id chunks[LIST_IDS], struct error *e);
int tree_get_leaf(const struct tree *t, struct store_worker *w, uint64_t leaf,
                  struct chunk_id chunks[LIST_IDS], struct error *e);

#endif
