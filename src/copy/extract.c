/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy/extract.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
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
    uint8_t *content; /* what is to be written: so much of it, to there */
    size_t content_bytes;
    uint64_t content_offset;
    uint8_t *found;
    unsigned random; /* of rand_r() */
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

/* Whether this chunk is in the sample. */
static bool is_wanted(struct worker *w)
{
    unsigned percent = w->work->x->percent;

    return percent >= 100 || (unsigned)rand_r(&w->random) / (RAND_MAX / 100 + 1) < percent;
}

static int verify_chunk(struct worker *w, const struct chunk_id *id, uint32_t bytes,
                        struct error *e)
{
    struct seen *seen = w->work->x->seen;

    if (!is_wanted(w) || (seen && seen_has(seen, id)))
        return OK;
    if (store_get(w->store, id, w->content, bytes, e) < 0)
        return e->status;
    if (seen)
        seen_add(seen, id);
    return OK;
}

static int write_content(struct worker *w, const struct extract_image *image, struct error *e)
{
    size_t bytes = w->content_bytes;

    w->content_bytes = 0;
    if (target_put(&image->target, w->content_offset, w->content, bytes, e) < 0)
        return e->status;
    atomic_fetch_add_explicit(&w->work->x->written_bytes, bytes, memory_order_relaxed);
    return OK;
}

static int write_chunk(struct worker *w, const struct extract_image *image,
                       const struct chunk_id *id, uint64_t offset, uint32_t bytes, struct error *e)
{
    if ((w->content_offset + w->content_bytes != offset ||
         w->content_bytes + bytes > WRITE_BYTES) &&
        write_content(w, image, e) < 0)
        return e->status;
    if (store_get(w->store, id, w->content + w->content_bytes, bytes, e) < 0)
        return e->status;
    if (!w->content_bytes)
        w->content_offset = offset;
    w->content_bytes += bytes;
    return OK;
}

static int put_chunk(struct worker *w, const struct extract_image *image, const struct chunk_id *id,
                     uint64_t offset, uint32_t bytes, struct error *e)
{
    if (image->target.kind == TARGET_OLD && is_there(w, image, id, offset, bytes))
        return OK;
    if ((w->work->x->mode == EXTRACT_VERIFY ? verify_chunk(w, id, bytes, e)
                                            : write_chunk(w, image, id, offset, bytes, e)) < 0)
        return error_prefix(e, "%s at %llu", image->name, (unsigned long long)offset);
    return OK;
}

static int extract_leaf(struct worker *w, const struct extract_image *image,
                        const struct tree *tree, uint64_t leaf, struct error *e)
{
    uint64_t start = leaf * LIST_IDS * tree->chunk_bytes, bytes = tree_leaf_bytes(tree, leaf);
    uint32_t chunks = tree_leaf_chunks(tree, leaf);
    struct chunk_id ids[LIST_IDS];

    if (tree_get_leaf(tree, w->store, leaf, ids, e) < 0)
        return error_prefix(e, "%s", image->name);
    for (uint32_t i = 0, n; i < chunks; i += n) {
        uint64_t at = (uint64_t)i * tree->chunk_bytes, left = bytes - at, len;

        for (n = 0; i + n < chunks && chunk_id_is_zero(&ids[i + n]);)
            n++;
        len = (uint64_t)(n ? n : 1) * tree->chunk_bytes;
        if (len > left)
            len = left;
        if (n == 0) {
            n = 1;
            if (put_chunk(w, image, &ids[i], start + at, (uint32_t)len, e) < 0)
                return e->status;
        } else if (w->work->x->mode == EXTRACT_WRITE &&
                   target_put_zeros(&image->target, start + at, len, e) < 0) {
            return e->status;
        }
        progress_add(w->work->x->progress, len);
    }
    return write_content(w, image, e);
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

static int get_trees(struct work *work, struct store_worker *store, struct error *e)
{
    struct extract *x = work->x;

    work->trees = calloc(x->count + 1, sizeof *work->trees);
    if (!work->trees)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < x->count; i++) {
        const struct extract_image *image = &x->images[i];

        if (tree_get(&work->trees[i], store, &image->root, image->bytes,
                     store_chunk_bytes(x->store), e) < 0)
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
    if (getrandom(&w->random, sizeof w->random, 0) != sizeof w->random)
        return error_errno(e, "random number");
    w->content = aligned_alloc(ALIGNMENT, WRITE_BYTES);
    w->found = aligned_alloc(ALIGNMENT, CHUNK_MAX_BYTES);
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
        team_run(run_worker, workers, count, sizeof *workers, NULL, e) < 0)
        return e->status;
    for (size_t i = 0; x->mode == EXTRACT_WRITE && i < x->count; i++)
        if (target_end(&x->images[i].target, e) < 0)
            return e->status;
    return OK;
}

int extract_run(struct extract *x, struct error *e)
{
    struct work work = {.x = x};
    unsigned count = team_size(x->workers, UINT64_MAX);
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
