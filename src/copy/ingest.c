/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy/ingest.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/time.h"

/* Read at once: large enough for a cold disk, small enough to stay in the L2 cache until it is
 * compressed. */
#define READ_BYTES (1u << 20)

/* Any alignment that O_DIRECT may ask for. */
#define ALIGNMENT 4096

struct worker {
    struct ingest *in;
    struct store_worker *store;
    uint8_t *buffer;
    const atomic_bool *stop;
    atomic_uint_least64_t leaf; /* that it is at, or was: all before it are another's, or done */
};

struct ingest {
    struct store *store;
    struct worker *workers;
    unsigned worker_count;
    uint64_t bytes_per_second;        /* 0: no limit */
    atomic_uint_least64_t allowed_ns; /* when the next read may begin, if there is one */
    struct progress *progress;

    /* Of one ingest_put(): */
    struct ingest_image *images;
    size_t count;
    struct tree *trees;         /* one an image, being filled */
    unsigned busy;              /* so many workers have a part in it */
    atomic_uint_least64_t next; /* leaf, counted over all images */
    uint64_t leaf_count;        /* of all images */
    atomic_flag told;           /* that an earlier state can't be read */
};

/* ---- what need not be read ---- */

/* A list of changes says something only of an image as long as this. */
static bool knows_changes(const struct ingest_image *image, const struct tree *tree)
{
    return image->changed && image->previous && image->previous->image_bytes == image->bytes &&
           image->previous->chunk_bytes == tree->chunk_bytes;
}

/* Where the image may differ from its earlier state next, at or after `offset`; its end if nowhere.
 */
static uint64_t next_changed(const struct ingest_image *image, uint64_t offset)
{
    size_t low = 0, high = image->changed_count;

    /* The first extent that ends after `offset`. */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct extent *x = &image->changed[middle];

        if (x->offset + x->bytes <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == image->changed_count)
        return image->bytes;
    return image->changed[low].offset > offset ? image->changed[low].offset : offset;
}

/* Where it has data next; block devices, and file systems that can't say, have data everywhere. */
static uint64_t next_data(const struct ingest_image *image, uint64_t offset)
{
    off_t data;

    if (image->read)
        return image->next(image->arg, offset);
    data = lseek(image->source, (off_t)offset, SEEK_DATA);
    if (data < 0)
        return errno == ENXIO ? image->bytes : offset;
    return (uint64_t)data < image->bytes ? (uint64_t)data : image->bytes;
}

/* ---- a leaf ---- */

static int wait_for_leave(struct worker *w, uint64_t bytes, struct error *e)
{
    uint64_t rate = w->in->bytes_per_second, now_ns = time_monotonic_ns(), at_ns, allowed_ns;

    if (!rate)
        return team_check(w->stop, e);
    /* What was not read in time is not made up for. */
    allowed_ns = atomic_load(&w->in->allowed_ns);
    do
        at_ns = allowed_ns > now_ns ? allowed_ns : now_ns;
    while (!atomic_compare_exchange_weak(&w->in->allowed_ns, &allowed_ns,
                                         at_ns + bytes * 1000000000 / rate));
    while ((now_ns = time_monotonic_ns()) < at_ns) {
        struct pollfd fd = {interrupt_fd(), POLLIN, 0};
        uint64_t left_ms = (at_ns - now_ns) / 1000000 + 1;

        if (team_check(w->stop, e) < 0)
            return e->status;
        poll(&fd, 1, left_ms < 200 ? (int)left_ms : 200);
    }
    return team_check(w->stop, e);
}

static int read_image(const struct ingest_image *image, void *to, uint64_t bytes, uint64_t offset,
                      struct error *e)
{
    if (image->read)
        return image->read(image->arg, to, bytes, offset, e) < 0
                   ? error_prefix(e, "%s", image->name)
                   : OK;
    if (pread_full(image->source, to, bytes, offset) < 0)
        return error_errno(e, "%s: read at %llu", image->name, (unsigned long long)offset);
    return OK;
}

/* Read chunks from `offset` on and put them; `count` are to be read at most. */
static int put_chunks(struct worker *w, const struct ingest_image *image, uint64_t offset,
                      size_t count, const struct chunk_id *previous, struct chunk_id *ids,
                      struct error *e)
{
    uint32_t chunk_bytes = store_chunk_bytes(w->in->store);
    uint64_t bytes = (uint64_t)count * chunk_bytes;

    if (bytes > image->bytes - offset)
        bytes = image->bytes - offset;
    if (wait_for_leave(w, bytes, e) < 0)
        return e->status;
    if (read_image(image, w->buffer, bytes, offset, e) < 0)
        return e->status;
    if (store_names(w->store, w->buffer, bytes, ids, e) < 0)
        return error_prefix(e, "%s", image->name);
    for (size_t i = 0; i < count; i++) {
        uint64_t at = (uint64_t)i * chunk_bytes;
        uint32_t n = bytes - at < chunk_bytes ? (uint32_t)(bytes - at) : chunk_bytes;

        if (store_put_named(w->store, PACK_DATA, w->buffer + at, n, previous ? &previous[i] : NULL,
                            &ids[i], e) < 0)
            return error_prefix(e, "%s", image->name);
        if (target_put(&image->target, offset + at, w->buffer + at, n, e) < 0)
            return e->status;
    }
    return OK;
}

static int skip_chunks(const struct ingest_image *image, uint64_t offset, uint64_t bytes,
                       struct error *e)
{
    uint64_t left = image->bytes - offset;

    return target_put_zeros(&image->target, offset, bytes < left ? bytes : left, e);
}

static int fill_leaf(struct worker *w, const struct ingest_image *image, const struct tree *tree,
                     uint64_t leaf, const struct chunk_id *previous, struct chunk_id ids[LIST_IDS],
                     struct error *e)
{
    uint32_t chunk_bytes = tree->chunk_bytes, chunks = tree_leaf_chunks(tree, leaf);
    uint64_t start = leaf * LIST_IDS * chunk_bytes;

    for (uint32_t i = 0; i < chunks;) {
        uint64_t offset = start + (uint64_t)i * chunk_bytes, from = offset;
        uint32_t count = READ_BYTES / chunk_bytes;

        if (knows_changes(image, tree)) {
            from = next_changed(image, offset);
            /* What is damaged, or on its way out, is read and put again, changed or not. */
            if ((from >= offset + chunk_bytes || from >= image->bytes) &&
                store_rely(w->store, &previous[i])) {
                ids[i] = previous[i];
                i++;
                continue;
            }
            /* One at a time: what lies between changes is not read. */
            count = 1;
        } else {
            from = next_data(image, offset);
            if (from >= image->bytes)
                from = start + tree_leaf_bytes(tree, leaf);
            if (from >= offset + chunk_bytes || from >= image->bytes) {
                uint64_t skipped = (from - offset) / chunk_bytes;

                /* Their names stay zero. */
                count =
                    from >= image->bytes || skipped > chunks - i ? chunks - i : (uint32_t)skipped;
                if (skip_chunks(image, offset, (uint64_t)count * chunk_bytes, e) < 0)
                    return e->status;
                i += count;
                continue;
            }
        }
        if (count > chunks - i)
            count = chunks - i;
        if (put_chunks(w, image, offset, count, previous ? previous + i : NULL, ids + i, e) < 0)
            return e->status;
        i += count;
    }
    return OK;
}

/* An earlier state counts only where it has the same shape. */
static bool has_previous(const struct ingest_image *image, const struct tree *tree, uint64_t leaf)
{
    return image->previous && image->previous->chunk_bytes == tree->chunk_bytes &&
           leaf < image->previous->leaf_count &&
           tree_leaf_chunks(image->previous, leaf) == tree_leaf_chunks(tree, leaf);
}

/* What it was. Only a list of changes rests on that; else it serves patches. */
static int get_previous(struct worker *w, const struct ingest_image *image, const struct tree *tree,
                        uint64_t leaf, struct chunk_id previous[LIST_IDS], bool *known,
                        struct error *e)
{
    *known = has_previous(image, tree, leaf);
    if (!*known || tree_get_leaf(image->previous, w->store, leaf, previous, e) == OK)
        return OK;
    if (knows_changes(image, tree))
        return error_prefix(e, "%s, as it was", image->name);
    *known = false;
    if (!atomic_flag_test_and_set(&w->in->told))
        log_warning("%s: its last snapshot is damaged (`domsnap check` says where), so that it is "
                    "stored anew there: %s",
                    image->name, e->text);
    return OK;
}

static int ingest_leaf(struct worker *w, struct ingest_image *image, struct tree *tree,
                       uint64_t leaf, struct error *e)
{
    struct chunk_id ids[LIST_IDS] = {0}, previous[LIST_IDS];
    uint64_t start = leaf * LIST_IDS * tree->chunk_bytes, bytes = tree_leaf_bytes(tree, leaf);
    bool known;

    if (knows_changes(image, tree) || next_data(image, start) < start + bytes) {
        if (get_previous(w, image, tree, leaf, previous, &known, e) < 0 ||
            fill_leaf(w, image, tree, leaf, known ? previous : NULL, ids, e) < 0 ||
            tree_put_leaf(tree, w->store, leaf, ids, e) < 0)
            return e->status;
    } else if (skip_chunks(image, start, bytes, e) < 0) {
        return e->status;
    }
    progress_add(w->in->progress, bytes);
    return OK;
}

/* Tell how far all workers are. */
static void tell_positions(struct ingest *in)
{
    uint64_t first = UINT64_MAX;

    for (unsigned n = 0; n < in->busy; n++) {
        uint64_t leaf = atomic_load(&in->workers[n].leaf);

        first = leaf < first ? leaf : first;
    }
    for (size_t i = 0; i < in->count; i++) {
        uint64_t leaves = in->trees[i].leaf_count, done = first < leaves ? first : leaves;

        atomic_store(&in->images[i].position, done * LIST_IDS * in->trees[i].chunk_bytes);
        first -= done;
    }
}

static int run_worker(void *part, const atomic_bool *stop, struct error *e)
{
    struct worker *w = part;
    struct ingest *in = w->in;
    uint64_t n;

    w->stop = stop;
    while ((n = atomic_fetch_add(&in->next, 1)) < in->leaf_count) {
        size_t i = 0;

        atomic_store(&w->leaf, n);
        tell_positions(in);
        for (; n >= in->trees[i].leaf_count; i++)
            n -= in->trees[i].leaf_count;
        if (team_check(stop, e) < 0 || ingest_leaf(w, &in->images[i], &in->trees[i], n, e) < 0)
            return e->status;
    }
    return OK;
}

/* ---- the whole ---- */

static int make_trees(struct ingest *in, struct error *e)
{
    in->leaf_count = 0;
    in->trees = calloc(in->count + 1, sizeof *in->trees);
    if (!in->trees)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < in->count; i++) {
        if (tree_new(&in->trees[i], in->images[i].bytes, store_chunk_bytes(in->store), e) < 0)
            return error_prefix(e, "%s", in->images[i].name);
        if (target_begin(&in->images[i].target, in->images[i].bytes, e) < 0)
            return e->status;
        in->leaf_count += in->trees[i].leaf_count;
    }
    return OK;
}

static void release_trees(struct ingest *in)
{
    for (size_t i = 0; in->trees && i < in->count; i++)
        tree_release(&in->trees[i]);
    free(in->trees);
    in->trees = NULL;
}

static int put(struct ingest *in, const struct team_watch *watch, struct error *e)
{
    if (make_trees(in, e) < 0)
        return e->status;
    in->busy = team_size(in->worker_count, in->leaf_count);
    atomic_store(&in->next, 0);
    atomic_flag_clear(&in->told);
    for (unsigned n = 0; n < in->busy; n++)
        atomic_store(&in->workers[n].leaf, 0);
    if (team_run(run_worker, in->workers, in->busy, sizeof *in->workers, watch, e) < 0)
        return e->status;
    for (size_t i = 0; i < in->count; i++)
        if (target_end(&in->images[i].target, e) < 0)
            return e->status;
        else if (tree_put(&in->trees[i], in->workers[0].store, &in->images[i].root, e) < 0)
            return error_prefix(e, "%s", in->images[i].name);
    return OK;
}

int ingest_put(struct ingest *in, struct ingest_image *images, size_t count,
               const struct team_watch *watch, struct error *e)
{
    int rc;

    in->images = images;
    in->count = count;
    rc = put(in, watch, e);
    release_trees(in);
    return rc;
}

static int make_worker(struct worker *w, struct ingest *in, struct error *e)
{
    w->in = in;
    w->buffer = aligned_alloc(ALIGNMENT, READ_BYTES);
    if (!w->buffer)
        return error_set(e, NO_SPACE, "out of memory");
    return store_worker_new(&w->store, in->store, e);
}

int ingest_new(struct ingest **out, struct store *store, unsigned workers,
               struct progress *progress, struct error *e)
{
    struct ingest *in = calloc(1, sizeof *in);
    int rc = OK;

    if (!in)
        return error_set(e, NO_SPACE, "out of memory");
    in->store = store;
    in->progress = progress;
    in->worker_count = team_size(workers, UINT64_MAX);
    in->workers = calloc(in->worker_count, sizeof *in->workers);
    if (!in->workers)
        rc = error_set(e, NO_SPACE, "out of memory");
    for (unsigned n = 0; rc == OK && n < in->worker_count; n++)
        rc = make_worker(&in->workers[n], in, e);
    if (rc < 0)
        ingest_free(in);
    else
        *out = in;
    return rc;
}

void ingest_limit(struct ingest *in, uint64_t bytes_per_second)
{
    in->bytes_per_second = bytes_per_second;
}

void ingest_free(struct ingest *in)
{
    if (!in)
        return;
    for (unsigned n = 0; in->workers && n < in->worker_count; n++) {
        store_worker_free(in->workers[n].store);
        free(in->workers[n].buffer);
    }
    free(in->workers);
    free(in);
}

int ingest_copy(struct ingest_image *images, size_t count, uint32_t chunk_bytes,
                uint64_t bytes_per_second, struct progress *progress,
                const struct team_watch *watch, struct error *e)
{
    struct ingest *in = NULL;
    struct store *store;
    int rc = store_none(&store, chunk_bytes, e);

    if (rc < 0)
        return rc;
    rc = ingest_new(&in, store, 0, progress, e);
    if (rc == OK) {
        ingest_limit(in, bytes_per_second);
        rc = ingest_put(in, images, count, watch, e);
    }
    ingest_free(in);
    store_close(store);
    return rc;
}
