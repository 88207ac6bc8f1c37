/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/image.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "repo/tree.h"

/* Unpacked chunks that are kept: 16 MiB at 256 KiB a chunk. */
#define CACHE_BYTES (16u << 20)
#define SLOTS_MIN   16

/* Lists that are kept: each of 8 KiB leads to 64 MiB of an image. */
#define LEAVES 16

#define NOTHING UINT64_MAX

enum slot_state { SLOT_EMPTY, SLOT_LOADING, SLOT_READY };

struct slot {
    enum slot_state state;
    uint64_t chunk;
    unsigned users; /* who copy out of it just now */
    uint64_t used;  /* when it was last */
    uint8_t *content;
};

struct leaf {
    uint64_t number, used; /* NOTHING: none */
    struct chunk_id ids[LIST_IDS];
};

/* A store_worker that nobody uses just now. */
struct idle {
    struct store_worker *worker;
    struct idle *next;
};

struct image {
    struct store *store;
    const char *name;
    struct tree tree;
    uint64_t chunk_count;
    pthread_t *threads;
    unsigned thread_count;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct slot *slots;
    unsigned slot_count;
    struct leaf leaves[LEAVES];
    uint64_t clock;
    struct idle *idle;
    uint64_t ahead_from, ahead_end; /* chunks that are likely to be asked for next */
    bool closing;
};

/* ---- workers ---- */

static int borrow(struct image *i, struct idle **out, struct error *e)
{
    struct idle *one;

    pthread_mutex_lock(&i->lock);
    one = i->idle;
    if (one)
        i->idle = one->next;
    pthread_mutex_unlock(&i->lock);
    if (!one) {
        one = calloc(1, sizeof *one);
        if (!one)
            return error_out_of_memory(e);
        if (store_worker_new(&one->worker, i->store, e) < 0) {
            free(one);
            return e->status;
        }
    }
    *out = one;
    return OK;
}

static void give_back(struct image *i, struct idle *one)
{
    pthread_mutex_lock(&i->lock);
    one->next = i->idle;
    i->idle = one;
    pthread_mutex_unlock(&i->lock);
}

/* ---- open and close ---- */

static int make_slots(struct image *i, struct error *e)
{
    i->slot_count = CACHE_BYTES / i->tree.chunk_bytes;
    if (i->slot_count < SLOTS_MIN)
        i->slot_count = SLOTS_MIN;
    i->slots = calloc(i->slot_count, sizeof *i->slots);
    return i->slots ? OK : error_out_of_memory(e);
}

static int get_tree(struct image *i, const char *root, uint64_t bytes, struct error *e)
{
    struct idle *one;
    struct chunk_id id;
    int rc;

    if (chunk_id_from_hex(&id, root, e) < 0 || borrow(i, &one, e) < 0)
        return e->status;
    rc = tree_get(&i->tree, one->worker, &id, bytes, store_chunk_bytes(i->store), NULL, e);
    give_back(i, one);
    if (rc < 0)
        return rc;
    i->chunk_count = (bytes + i->tree.chunk_bytes - 1) / i->tree.chunk_bytes;
    return make_slots(i, e);
}

int image_open(struct image **out, struct store *s, const char *root, uint64_t bytes,
               const char *name, struct error *e)
{
    struct image *i = calloc(1, sizeof *i);

    if (!i)
        return error_out_of_memory(e);
    i->store = s;
    i->name = name;
    pthread_mutex_init(&i->lock, NULL);
    pthread_cond_init(&i->changed, NULL);
    for (int n = 0; n < LEAVES; n++)
        i->leaves[n].number = NOTHING;
    if (get_tree(i, root, bytes, e) == OK) {
        *out = i;
        return OK;
    }
    image_close(i);
    return error_prefix(e, "%s", name);
}

static void stop_threads(struct image *i)
{
    pthread_mutex_lock(&i->lock);
    i->closing = true;
    pthread_cond_broadcast(&i->changed);
    pthread_mutex_unlock(&i->lock);
    for (unsigned n = 0; n < i->thread_count; n++)
        pthread_join(i->threads[n], NULL);
    free(i->threads);
}

void image_close(struct image *i)
{
    if (!i)
        return;
    stop_threads(i);
    for (struct idle *one = i->idle, *next; one; one = next) {
        next = one->next;
        store_worker_free(one->worker);
        free(one);
    }
    for (unsigned n = 0; n < i->slot_count; n++)
        free(i->slots[n].content);
    free(i->slots);
    tree_release(&i->tree);
    pthread_mutex_destroy(&i->lock);
    pthread_cond_destroy(&i->changed);
    free(i);
}

/* ---- lists ---- */

static bool find_id(struct image *i, uint64_t chunk, struct chunk_id *id)
{
    bool found = false;

    pthread_mutex_lock(&i->lock);
    for (int n = 0; n < LEAVES && !found; n++)
        if (i->leaves[n].number == chunk / LIST_IDS) {
            i->leaves[n].used = ++i->clock;
            *id = i->leaves[n].ids[chunk % LIST_IDS];
            found = true;
        }
    pthread_mutex_unlock(&i->lock);
    return found;
}

static void keep_leaf(struct image *i, uint64_t number, const struct chunk_id ids[LIST_IDS])
{
    struct leaf *oldest = i->leaves;

    pthread_mutex_lock(&i->lock);
    for (int n = 1; n < LEAVES; n++)
        if (i->leaves[n].used < oldest->used)
            oldest = &i->leaves[n];
    oldest->number = number;
    oldest->used = ++i->clock;
    memcpy(oldest->ids, ids, sizeof oldest->ids);
    pthread_mutex_unlock(&i->lock);
}

static int get_id(struct image *i, struct store_worker *w, uint64_t chunk, struct chunk_id *id,
                  struct error *e)
{
    struct chunk_id ids[LIST_IDS];

    if (chunk_id_is_zero(&i->tree.leaves[chunk / LIST_IDS])) {
        *id = chunk_id_zero;
        return OK;
    }
    if (find_id(i, chunk, id))
        return OK;
    if (tree_get_leaf(&i->tree, w, chunk / LIST_IDS, ids, e) < 0)
        return e->status;
    keep_leaf(i, chunk / LIST_IDS, ids);
    *id = ids[chunk % LIST_IDS];
    return OK;
}

/* ---- chunks ---- */

static uint32_t bytes_of(const struct image *i, uint64_t chunk)
{
    uint64_t left = i->tree.image_bytes - chunk * i->tree.chunk_bytes;

    return left < i->tree.chunk_bytes ? (uint32_t)left : i->tree.chunk_bytes;
}

/* Under the lock; NULL: it is in none. */
static struct slot *slot_of(struct image *i, uint64_t chunk)
{
    for (unsigned n = 0; n < i->slot_count; n++)
        if (i->slots[n].state != SLOT_EMPTY && i->slots[n].chunk == chunk)
            return &i->slots[n];
    return NULL;
}

/* Under the lock: the one that was not used for the longest time; NULL: all are in use. */
static struct slot *free_slot(struct image *i)
{
    struct slot *oldest = NULL;

    for (unsigned n = 0; n < i->slot_count; n++) {
        struct slot *s = &i->slots[n];

        if (s->users || s->state == SLOT_LOADING)
            continue;
        if (s->state == SLOT_EMPTY)
            return s;
        if (!oldest || s->used < oldest->used)
            oldest = s;
    }
    return oldest;
}

static int load_content(struct image *i, struct slot *s, struct error *e)
{
    struct chunk_id id;
    struct idle *one;
    int rc;

    if (!s->content)
        s->content = malloc(i->tree.chunk_bytes);
    if (!s->content)
        return error_out_of_memory(e);
    if (borrow(i, &one, e) < 0)
        return e->status;
    rc = get_id(i, one->worker, s->chunk, &id, e);
    if (rc == OK)
        rc = store_get(one->worker, &id, s->content, bytes_of(i, s->chunk), e);
    give_back(i, one);
    return rc;
}

/* Under the lock, which is let go meanwhile. */
static int load(struct image *i, struct slot *s, uint64_t chunk, struct error *e)
{
    int rc;

    s->state = SLOT_LOADING;
    s->chunk = chunk;
    pthread_mutex_unlock(&i->lock);
    rc = load_content(i, s, e);
    pthread_mutex_lock(&i->lock);
    s->state = rc == OK ? SLOT_READY : SLOT_EMPTY;
    s->used = ++i->clock;
    pthread_cond_broadcast(&i->changed);
    return rc;
}

/* Under the lock: a slot that has the chunk. */
static int find_chunk(struct image *i, uint64_t chunk, struct slot **out, struct error *e)
{
    for (;;) {
        struct slot *s = slot_of(i, chunk);

        if (s && s->state == SLOT_READY) {
            *out = s;
            return OK;
        }
        if (!s)
            s = free_slot(i);
        if (!s || s->state == SLOT_LOADING)
            pthread_cond_wait(&i->changed, &i->lock);
        else if (load(i, s, chunk, e) < 0)
            return e->status;
    }
}

static void look_ahead(struct image *i, uint64_t chunk)
{
    uint64_t window = i->slot_count / 2;

    if (!i->thread_count || (chunk + 1 <= i->ahead_from && chunk + window >= i->ahead_from))
        return;
    i->ahead_from = chunk + 1;
    i->ahead_end = chunk + 1 + window < i->chunk_count ? chunk + 1 + window : i->chunk_count;
    pthread_cond_broadcast(&i->changed);
}

static int copy_out(struct image *i, uint64_t chunk, uint32_t skip, void *to, size_t bytes,
                    struct error *e)
{
    struct slot *s = NULL;
    int rc;

    pthread_mutex_lock(&i->lock);
    look_ahead(i, chunk);
    rc = find_chunk(i, chunk, &s, e);
    if (rc == OK) {
        s->users++;
        s->used = ++i->clock;
        pthread_mutex_unlock(&i->lock);
        memcpy(to, s->content + skip, bytes);
        pthread_mutex_lock(&i->lock);
        s->users--;
        pthread_cond_broadcast(&i->changed);
    }
    pthread_mutex_unlock(&i->lock);
    return rc;
}

int image_read(struct image *i, void *to, size_t bytes, uint64_t offset, struct error *e)
{
    uint8_t *at = to;

    if (offset > i->tree.image_bytes || bytes > i->tree.image_bytes - offset)
        return error_set(e, DAMAGED, "%s: it ends too early", i->name);
    while (bytes) {
        uint64_t chunk = offset / i->tree.chunk_bytes;
        uint32_t skip = (uint32_t)(offset % i->tree.chunk_bytes);
        size_t n = bytes_of(i, chunk) - skip;

        if (n > bytes)
            n = bytes;
        if (copy_out(i, chunk, skip, at, n, e) < 0)
            return error_prefix(e, "%s at %llu", i->name,
                                (unsigned long long)(chunk * i->tree.chunk_bytes));
        at += n;
        offset += n;
        bytes -= n;
    }
    return OK;
}

/* ---- ahead ---- */

/* Under the lock: the next chunk to load, if there is one and a slot for it. */
static struct slot *next_ahead(struct image *i, uint64_t *chunk)
{
    while (i->ahead_from < i->ahead_end) {
        struct slot *s = slot_of(i, i->ahead_from);

        if (!s) {
            s = free_slot(i);
            if (s)
                *chunk = i->ahead_from++;
            return s;
        }
        s->used = ++i->clock;
        i->ahead_from++;
    }
    return NULL;
}

static void *read_ahead(void *arg)
{
    struct image *i = arg;

    pthread_mutex_lock(&i->lock);
    while (!i->closing) {
        uint64_t chunk;
        struct slot *s = next_ahead(i, &chunk);
        struct error ignored;

        /* Whoever asks for it tells of what fails here. */
        if (s)
            load(i, s, chunk, &ignored);
        else
            pthread_cond_wait(&i->changed, &i->lock);
    }
    pthread_mutex_unlock(&i->lock);
    return NULL;
}

int image_read_ahead(struct image *i, unsigned threads, struct error *e)
{
    i->threads = calloc(threads, sizeof *i->threads);
    if (!i->threads)
        return error_out_of_memory(e);
    for (unsigned n = 0; n < threads; n++) {
        errno = pthread_create(&i->threads[n], NULL, read_ahead, i);
        if (errno)
            return error_errno(e, "thread");
        i->thread_count++;
    }
    return OK;
}

/* ---- extents ---- */

static int is_data(struct image *i, struct store_worker *w, uint64_t chunk, uint64_t *chunks,
                   bool *data, struct error *e)
{
    struct chunk_id id;

    *chunks = 1;
    if (chunk_id_is_zero(&i->tree.leaves[chunk / LIST_IDS])) {
        *chunks = LIST_IDS - chunk % LIST_IDS;
        *data = false;
        return OK;
    }
    if (get_id(i, w, chunk, &id, e) < 0)
        return e->status;
    *data = !chunk_id_is_zero(&id);
    return OK;
}

static int find_extent(struct image *i, struct store_worker *w, uint64_t chunk, uint64_t *end,
                       bool *data, struct error *e)
{
    uint64_t chunks;
    bool other = false;

    if (is_data(i, w, chunk, &chunks, data, e) < 0)
        return e->status;
    for (chunk += chunks; chunk < i->chunk_count; chunk += chunks) {
        if (is_data(i, w, chunk, &chunks, &other, e) < 0)
            return e->status;
        if (other != *data)
            break;
    }
    *end = chunk * i->tree.chunk_bytes;
    if (*end > i->tree.image_bytes)
        *end = i->tree.image_bytes;
    return OK;
}

int image_extent(struct image *i, uint64_t offset, uint64_t *end, bool *data, struct error *e)
{
    struct idle *one;
    int rc;

    if (offset >= i->tree.image_bytes)
        return error_set(e, FAILED, "%s: it has no byte %llu", i->name, (unsigned long long)offset);
    if (borrow(i, &one, e) < 0)
        return e->status;
    rc = find_extent(i, one->worker, offset / i->tree.chunk_bytes, end, data, e);
    give_back(i, one);
    return rc < 0 ? error_prefix(e, "%s", i->name) : OK;
}
