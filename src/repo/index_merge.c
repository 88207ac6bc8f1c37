/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Segments become one: a few as they grow, all of them for who goes through them by number. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "repo/index_private.h"

/* More are merged. */
#define SEGMENTS_MAX 8

/* ---- merging: under `keeping` ---- */

/* The segments from there on become one; all of them: none is to. */
static size_t merge_from(const struct index *ix)
{
    size_t at = ix->segment_count ? ix->segment_count - 1 : 0;
    uint64_t total;

    if (ix->segment_count < 2)
        return ix->segment_count;
    for (total = ix->segments[at]->wanted; at && 2 * total >= ix->segments[at - 1]->wanted; at--)
        total += ix->segments[at - 1]->wanted;
    if (ix->segment_count > SEGMENTS_MAX && at >= SEGMENTS_MAX)
        return SEGMENTS_MAX - 1;
    return at == ix->segment_count - 1 ? ix->segment_count : at;
}

/* `new` takes the place of all segments from there on; NULL: nothing does. */
static int replace(struct index *ix, size_t from, struct segment *new, struct fresh *written,
                   struct error *e)
{
    size_t count = ix->segment_count - from;
    AUTO_FREE struct segment **old = malloc((count + 1) * sizeof *old);
    struct fresh nothing = {0};

    if (!old || index_make_room(ix, 1, e) < 0) {
        segment_release(new);
        return error_out_of_memory(e);
    }
    pthread_rwlock_wrlock(&ix->lock);
    if (count)
        memcpy(old, ix->segments + from, count * sizeof *old);
    ix->segment_count = from;
    if (new)
        index_insert(ix, new);
    if (written) {
        nothing = *written;
        *written = (struct fresh){0};
    }
    pthread_rwlock_unlock(&ix->lock);
    fresh_release(&nothing);
    for (size_t i = 0; i < count; i++) {
        unlinkat(ix->dirfd, old[i]->name, 0);
        segment_release(old[i]);
    }
    if (count)
        index_remove_rubbish(ix);
    return OK;
}

void index_tidy(struct index *ix)
{
    size_t from = merge_from(ix);
    struct segment *new, *bad;
    struct error why;
    int rc;

    if (!index_can_write(ix) || from == ix->segment_count)
        return;
    rc = index_make_segment(ix, ix->segments + from, ix->segment_count - from, NULL, &new, &bad,
                            &why);
    if (rc == OK)
        rc = replace(ix, from, new, NULL, &why);
    if (rc == OK)
        return;
    /* Whoever needs what it has will say so if that fails. */
    if (bad)
        index_do_without(ix, bad, &why);
    else
        index_give_up(ix, &why);
}

/* What is in memory, to be written; with what is left of a merge that had to be begun anew. */
static int freeze(struct index *ix, struct error *e)
{
    int rc;

    pthread_rwlock_wrlock(&ix->lock);
    rc = fresh_absorb(&ix->frozen, &ix->fresh, e);
    pthread_rwlock_unlock(&ix->lock);
    return rc;
}

/* Without that it takes more memory. */
static void flush(struct index *ix)
{
    struct segment *new, *bad;
    struct error why;

    if (freeze(ix, &why) < 0 ||
        index_make_segment(ix, NULL, 0, &ix->frozen, &new, &bad, &why) < 0 ||
        replace(ix, ix->segment_count, new, &ix->frozen, &why) < 0)
        index_give_up(ix, &why);
    else
        index_tidy(ix);
}

static size_t count_fresh(struct index *ix, size_t *packs)
{
    size_t count;

    pthread_rwlock_rdlock(&ix->lock);
    pthread_mutex_lock(&ix->memory);
    count = ix->fresh.count;
    *packs = ix->fresh.pack_count;
    pthread_mutex_unlock(&ix->memory);
    pthread_rwlock_unlock(&ix->lock);
    return count;
}

void index_relieve(struct index *ix)
{
    size_t packs;

    if (count_fresh(ix, &packs) <= FRESH_MAX || pthread_mutex_trylock(&ix->keeping) != 0)
        return;
    /* Another may have been faster. */
    if (count_fresh(ix, &packs) > FRESH_MAX && index_can_write(ix))
        flush(ix);
    pthread_mutex_unlock(&ix->keeping);
}

int index_save(struct index *ix, struct error *e)
{
    size_t packs;

    (void)e;
    pthread_mutex_lock(&ix->keeping);
    count_fresh(ix, &packs);
    if (packs && index_can_write(ix))
        flush(ix);
    pthread_mutex_unlock(&ix->keeping);
    return OK;
}

/* ---- all into one ---- */

static bool is_merged(struct index *ix)
{
    const struct segment *s = ix->segment_count ? ix->segments[0] : NULL;

    if (ix->segment_count > 1 || ix->fresh.pack_count || ix->frozen.pack_count)
        return false;
    for (uint32_t i = 0; s && i < s->pack_count; i++)
        if (s->packs[i].number == SEGMENT_PACK_NONE)
            return false;
    return true;
}

static int merge_all(struct index *ix, struct segment **bad, struct error *e)
{
    struct segment *new;

    ix->numbered_packs = 0;
    if (freeze(ix, e) < 0 ||
        index_make_segment(ix, ix->segments, ix->segment_count, &ix->frozen, &new, bad, e) < 0)
        return e->status;
    return replace(ix, 0, new, &ix->frozen, e);
}

static int count_places(struct index *ix, struct segment **bad, struct error *e)
{
    struct walk *walk;
    struct entry entry;
    int rc;

    if (walk_all(&walk, ix, e) < 0)
        return e->status;
    for (ix->places = 0; (rc = walk_next(walk, &entry, bad, e)) > 0;)
        ix->places++;
    walk_free(walk);
    return rc;
}

/* Where it can't be written it is merged whenever it is gone through. What has just been written is
 * known to be whole; all else is read, so that damage is met here, where it can be healed, and not
 * halfway through. */
static int number_places(struct index *ix, struct segment **bad, struct error *e)
{
    bool fresh = index_can_write(ix) && !is_merged(ix);

    *bad = NULL;
    if (fresh && merge_all(ix, bad, e) < 0) {
        if (*bad)
            return e->status;
        index_give_up(ix, e);
        fresh = false;
    }
    if (index_can_write(ix))
        index_remove_rubbish(ix);
    pthread_rwlock_wrlock(&ix->lock);
    ix->numbered_packs = ix->pack_count;
    pthread_rwlock_unlock(&ix->lock);
    if (!fresh)
        return count_places(ix, bad, e);
    ix->places = ix->segment_count ? ix->segments[0]->entries : 0;
    return OK;
}

int index_merge(struct index *ix, uint64_t *places, struct error *e)
{
    struct segment *bad;
    int rc;

    pthread_mutex_lock(&ix->keeping);
    for (int i = 0; (rc = number_places(ix, &bad, e)) < 0 && bad && i < SEGMENTS_OPEN_MAX; i++)
        if (index_do_without(ix, bad, e) < 0)
            break;
    *places = ix->places;
    pthread_mutex_unlock(&ix->keeping);
    return rc < 0 ? e->status : OK;
}

int index_scratch(struct index *ix)
{
    int fd = -1;

    pthread_mutex_lock(&ix->keeping);
    if (index_can_write(ix))
        fd = openat(ix->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    pthread_mutex_unlock(&ix->keeping);
    return fd;
}
