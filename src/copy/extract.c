/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy/extract.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

/* Any alignment that O_DIRECT may ask for. */
#define ALIGNMENT 4096

/* Written at once, if so much lies side by side: a file system takes its time for each. */
#define WRITE_BYTES (1u << 20)
_Static_assert(WRITE_BYTES >= CHUNK_MAX_BYTES, "a chunk must fit");

struct work {
    struct extract *x;
    struct tree *trees; /* one an image */
    uint64_t leaf_count;
    atomic_uint_least64_t next; /* leaf, counted over all images */
};

struct worker {
    struct work *work;
    struct store_worker *store;
    uint8_t *content; /* of the chunks that are asked for at once */
    struct chunk_id ids[LIST_IDS];
    uint64_t offsets[LIST_IDS]; /* of each, in the image */
    uint32_t count, bytes;
    const struct extract_image *image; /* they are of */
    uint8_t *found;
};

/* Whether the target has a chunk already. */
static bool is_there(struct worker *w, const struct extract_image *image, const struct chunk_id *id,
                     uint64_t offset, uint32_t bytes)
{
    uint64_t chunk = offset / store_chunk_bytes(w->work->x->store);
    uint8_t *there = image->there ? &image->there[chunk / 8] : NULL,
            bit = (uint8_t)(1 << chunk % 8);
    struct chunk_id name;
    struct error ignored;

    if (there && w->work->x->mode == EXTRACT_WRITE)
        return *there & bit;
    if (pread_full(image->target.fd, w->found, bytes, offset) < 0 ||
        store_name(w->store, w->found, bytes, &name, &ignored) < 0 ||
        memcmp(name.bytes, id->bytes, ID_BYTES) != 0)
        return false;
    /* A byte is of one leaf, and so of one thread. */
    if (there)
        *there |= bit;
    return true;
}

/* ---- chunks, several at a time ---- */

static int tell_bad(void *arg, size_t i, const struct error *why, struct error *e)
{
    struct worker *w = arg;
    struct extract *x = w->work->x;
    uint64_t left = w->image->bytes - w->offsets[i];
    uint32_t chunk_bytes = store_chunk_bytes(x->store);

    if (!x->bad) {
        *e = *why;
        return error_prefix(e, "%s at %llu", w->image->name, (unsigned long long)w->offsets[i]);
    }
    return x->bad(x->bad_arg, w->image, w->offsets[i], left < chunk_bytes ? left : chunk_bytes, why,
                  e);
}

static int get_chunks(struct worker *w, struct error *e)
{
    struct extract *x = w->work->x;

    if (store_get_many(w->store, w->ids, w->content, w->bytes, tell_bad, w, e) < 0)
        return e->status;
    for (uint32_t i = 0; x->seen && i < w->count; i++)
        seen_add(x->seen, &w->ids[i]);
    return OK;
}

/* Get what was gathered, and write it if that is what is wanted. */
static int do_chunks(struct worker *w, struct error *e)
{
    int rc = OK;

    if (w->count)
        rc = get_chunks(w, e);
    if (rc == OK && w->count && w->work->x->mode == EXTRACT_WRITE) {
        rc = target_put(&w->image->target, w->offsets[0], w->content, w->bytes, e);
        atomic_fetch_add_explicit(&w->work->x->written_bytes, w->bytes, memory_order_relaxed);
    }
    w->count = w->bytes = 0;
    return rc;
}

/* What is written at once lies side by side; only the last chunk of an image is shorter than
 * others. */
static bool fits(const struct worker *w, uint64_t offset, uint32_t bytes)
{
    uint32_t chunk_bytes = store_chunk_bytes(w->work->x->store);

    if (w->count == 0)
        return true;
    if (w->bytes % chunk_bytes || w->bytes + bytes > WRITE_BYTES)
        return false;
    return w->work->x->mode == EXTRACT_VERIFY || w->offsets[0] + w->bytes == offset;
}

static int add_chunk(struct worker *w, const struct extract_image *image, const struct chunk_id *id,
                     uint64_t offset, uint32_t bytes, struct error *e)
{
    if (!fits(w, offset, bytes) && do_chunks(w, e) < 0)
        return e->status;
    w->image = image;
    w->ids[w->count] = *id;
    w->offsets[w->count++] = offset;
    w->bytes += bytes;
    return OK;
}

static bool need_not_be_read(struct worker *w, const struct extract_image *image,
                             const struct chunk_id *id, uint64_t offset, uint32_t bytes)
{
    const struct extract *x = w->work->x;

    if (x->mode == EXTRACT_VERIFY &&
        (!sample_has(&x->sample, id) || (x->seen && seen_has(x->seen, id))))
        return true;
    return image->target.kind == TARGET_OLD && is_there(w, image, id, offset, bytes);
}

/* ---- a leaf ---- */

/* How many chunks from `i` on are all zeros, or all not. */
static uint32_t run_of(const struct chunk_id *ids, uint32_t i, uint32_t chunks)
{
    bool zero = chunk_id_is_zero(&ids[i]);
    uint32_t n = 1;

    while (i + n < chunks && chunk_id_is_zero(&ids[i + n]) == zero)
        n++;
    return n;
}

static int put_run(struct worker *w, const struct extract_image *image, const struct chunk_id *ids,
                   uint32_t count, uint64_t offset, uint64_t bytes, struct error *e)
{
    uint32_t chunk_bytes = store_chunk_bytes(w->work->x->store);

    if (w->work->x->mode == EXTRACT_WRITE)
        target_reserve(&image->target, offset, bytes);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = (uint64_t)i * chunk_bytes, left = bytes - at;
        uint32_t n = left < chunk_bytes ? (uint32_t)left : chunk_bytes;

        if (!need_not_be_read(w, image, &ids[i], offset + at, n) &&
            add_chunk(w, image, &ids[i], offset + at, n, e) < 0)
            return e->status;
        progress_add(w->work->x->progress, n);
    }
    return OK;
}

static int put_zeros(struct worker *w, const struct extract_image *image, uint64_t offset,
                     uint64_t bytes, struct error *e)
{
    progress_add(w->work->x->progress, bytes);
    return w->work->x->mode == EXTRACT_WRITE ? target_put_zeros(&image->target, offset, bytes, e)
                                             : OK;
}

/* The list is not to be had: so nothing of what it lists is. */
static int lose_leaf(struct worker *w, const struct extract_image *image, uint64_t offset,
                     uint64_t bytes, struct error *e)
{
    struct extract *x = w->work->x;
    struct error why = *e;

    if (e->status != DAMAGED || !x->bad)
        return error_prefix(e, "%s", image->name);
    if (x->bad(x->bad_arg, image, offset, bytes, &why, e) < 0)
        return e->status;
    return put_zeros(w, image, offset, bytes, e);
}

static int extract_leaf(struct worker *w, const struct extract_image *image,
                        const struct tree *tree, uint64_t leaf, struct error *e)
{
    uint64_t start = leaf * LIST_IDS * tree->chunk_bytes, bytes = tree_leaf_bytes(tree, leaf);
    uint32_t chunks = tree_leaf_chunks(tree, leaf);
    struct chunk_id ids[LIST_IDS];

    if (tree_get_leaf(tree, w->store, leaf, ids, e) < 0)
        return lose_leaf(w, image, start, bytes, e);
    for (uint32_t i = 0, n; i < chunks; i += n) {
        uint64_t at = (uint64_t)i * tree->chunk_bytes, len;

        n = run_of(ids, i, chunks);
        len = (uint64_t)n * tree->chunk_bytes;
        if (len > bytes - at)
            len = bytes - at;
        if ((chunk_id_is_zero(&ids[i]) ? put_zeros(w, image, start + at, len, e)
                                       : put_run(w, image, ids + i, n, start + at, len, e)) < 0)
            return e->status;
    }
    return do_chunks(w, e);
}

static int run_worker(void *part, const atomic_bool *stop, struct error *e)
{
    struct worker *w = part;
    struct work *work = w->work;
    uint64_t n;

    while ((n = atomic_fetch_add(&work->next, 1)) < work->leaf_count) {
        size_t i = 0;

        for (; n >= work->trees[i].leaf_count; i++)
            n -= work->trees[i].leaf_count;
        if (team_check(stop, e) < 0 ||
            extract_leaf(w, &work->x->images[i], &work->trees[i], n, e) < 0)
            return e->status;
    }
    return OK;
}

/* ---- the whole ---- */

/* The leaves below are told of as they are met. */
static int pass_over_lost(void *arg, const struct chunk_id *id, const struct error *why,
                          struct error *e)
{
    (void)arg, (void)id, (void)why, (void)e;
    return OK;
}

static int get_trees(struct work *work, struct store_worker *store, struct error *e)
{
    static const struct tree_watch lossy = {.lost = pass_over_lost};
    struct extract *x = work->x;

    work->trees = calloc(x->count + 1, sizeof *work->trees);
    if (!work->trees)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < x->count; i++) {
        const struct extract_image *image = &x->images[i];

        if (tree_get(&work->trees[i], store, &image->root, image->bytes,
                     store_chunk_bytes(x->store), x->bad ? &lossy : NULL, e) < 0)
            return error_prefix(e, "%s", image->name);
        work->leaf_count += work->trees[i].leaf_count;
        if (x->mode == EXTRACT_WRITE && target_begin(&image->target, image->bytes, e) < 0)
            return e->status;
    }
    return OK;
}

static int make_worker(struct worker *w, struct work *work, struct error *e)
{
    w->work = work;
    w->content = aligned_alloc(ALIGNMENT, WRITE_BYTES);
    w->found = aligned_alloc(ALIGNMENT, store_chunk_bytes(work->x->store));
    if (!w->content || !w->found)
        return error_set(e, NO_SPACE, "out of memory");
    return store_worker_new(&w->store, work->x->store, e);
}

static int run(struct work *work, struct worker *workers, unsigned count, struct error *e)
{
    struct extract *x = work->x;

    for (unsigned n = 0; n < count; n++)
        if (make_worker(&workers[n], work, e) < 0)
            return e->status;
    if (get_trees(work, workers[0].store, e) < 0 ||
        team_run(run_worker, workers, count, sizeof *workers, x->watch, e) < 0)
        return e->status;
    for (size_t i = 0; x->mode == EXTRACT_WRITE && i < x->count; i++)
        if (target_end(&x->images[i].target, e) < 0)
            return e->status;
    return OK;
}

int extract_run(struct extract *x, struct error *e)
{
    struct work work = {.x = x};
    unsigned count = team_size_of_readers(x->workers, UINT64_MAX);
    AUTO_FREE struct worker *workers = calloc(count, sizeof *workers);
    int rc;

    if (!workers)
        return error_set(e, NO_SPACE, "out of memory");
    rc = run(&work, workers, count, e);
    for (unsigned n = 0; n < count; n++) {
        store_worker_free(workers[n].store);
        free(workers[n].content);
        free(workers[n].found);
    }
    for (size_t i = 0; work.trees && i < x->count; i++)
        tree_release(&work.trees[i]);
    free(work.trees);
    return rc;
}
