/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "repo/index_private.h"

/* ---- several sources as one ---- */

/* Read at once from each segment: what all buffers may take. */
#define BUFFERS_BYTES    (4u << 20)
#define BUFFER_MAX_BYTES (1u << 20)
#define BUFFER_MIN_BYTES (32u << 10)

struct source {
    struct segment *segment; /* which the cursor holds; NULL: it is memory */
    struct segment_cursor *cursor;
    const struct fresh *fresh;
    uint32_t *order, count, at; /* of that */
    struct entry next;
    uint64_t key; /* how its prefix begins, as a number */
    bool ended;
};

struct walk {
    struct source *sources;
    size_t count, opened;
    struct source *last; /* whose entry was told */
};

void walk_free(struct walk *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->count; i++) {
        segment_cursor_free(w->sources[i].cursor);
        free(w->sources[i].order);
    }
    free(w->sources);
    free(w);
}

static int advance(struct source *s, struct error *e)
{
    int rc = 1;

    if (s->cursor)
        rc = segment_cursor_next(s->cursor, &s->next, e);
    else if (s->at == s->count)
        rc = 0;
    else
        s->next = *fresh_entry(s->fresh, s->order[s->at++]);
    memcpy(&s->key, s->next.prefix, sizeof s->key);
    s->key = be64toh(s->key);
    s->ended = rc == 0;
    return rc;
}

static size_t buffer_bytes(size_t segments)
{
    size_t bytes = BUFFERS_BYTES / (segments + !segments);

    if (bytes > BUFFER_MAX_BYTES)
        return BUFFER_MAX_BYTES;
    return bytes < BUFFER_MIN_BYTES ? BUFFER_MIN_BYTES : bytes;
}

int walk_new(struct walk **out, struct segment *const *segments, size_t segment_count,
             const struct fresh *const *fresh, size_t fresh_count, struct error *e)
{
    struct walk *w = calloc(1, sizeof *w);
    int rc = OK;

    if (w)
        w->sources = calloc(segment_count + fresh_count + 1, sizeof *w->sources);
    if (!w || !w->sources) {
        walk_free(w);
        return error_out_of_memory(e);
    }
    for (size_t i = 0; rc == OK && i < segment_count; i++) {
        struct source *s = &w->sources[w->count++];

        s->segment = segments[i];
        rc = segment_cursor_new(&s->cursor, segments[i], buffer_bytes(segment_count), e);
    }
    for (size_t i = 0; rc == OK && i < fresh_count; i++) {
        struct source *s = &w->sources[w->count++];

        s->fresh = fresh[i];
        s->count = fresh[i]->count;
        rc = fresh_sort(fresh[i], &s->order, e);
    }
    if (rc == OK)
        *out = w;
    else
        walk_free(w);
    return rc;
}

static bool is_before(const struct source *a, const struct source *b)
{
    if (a->key != b->key)
        return a->key < b->key;
    return memcmp(a->next.prefix, b->next.prefix, PREFIX_BYTES) < 0;
}

/* Of those that were told last, or of all at first. */
static int advance_last(struct walk *w, struct segment **bad, struct error *e)
{
    while (w->opened < w->count || w->last) {
        struct source *s = w->last ? w->last : &w->sources[w->opened];

        if (advance(s, e) < 0) {
            if (bad)
                *bad = s->segment;
            return e->status;
        }
        w->opened += !w->last;
        w->last = NULL;
    }
    return OK;
}

int walk_next(struct walk *w, struct entry *entry, struct segment **bad, struct error *e)
{
    struct source *first = NULL;

    if (advance_last(w, bad, e) < 0)
        return e->status;
    for (size_t i = 0; i < w->count; i++)
        if (!w->sources[i].ended && (!first || is_before(&w->sources[i], first)))
            first = &w->sources[i];
    if (!first)
        return 0;
    *entry = first->next;
    w->last = first;
    return 1;
}

int walk_all(struct walk **w, struct index *ix, struct error *e)
{
    const struct fresh *fresh[] = {&ix->frozen, &ix->fresh};
    int rc;

    pthread_rwlock_rdlock(&ix->lock);
    rc = walk_new(w, ix->segments, ix->segment_count, fresh, 2, e);
    pthread_rwlock_unlock(&ix->lock);
    return rc;
}

/* ---- places by number ---- */

struct numbered {
    struct index *ix;
    struct walk *walk;
    uint64_t next;
};

/* One of a pack that has come since. */
static bool has_no_number(struct numbered *n, const struct entry *entry, struct place *place)
{
    const struct pack *pack;
    bool is_new;

    pthread_rwlock_rdlock(&n->ix->lock);
    pack = n->ix->packs[entry->pack];
    is_new = entry->pack >= n->ix->numbered_packs;
    *place = (struct place){
        .pack = entry->pack,
        .offset = entry->offset,
        .stored_bytes = entry->stored_bytes & ~ENTRY_PATCH,
        .patch = entry->stored_bytes & ENTRY_PATCH,
        .damaged = index_is_damaged(pack, entry->offset),
    };
    memcpy(place->base, entry->base, PREFIX_BYTES);
    pthread_rwlock_unlock(&n->ix->lock);
    return is_new;
}

/* A segment that can't be read is one no longer, so that a second try finds none; but the numbers
 * are of no use then. */
static int mend(struct numbered *n, struct segment *bad, struct error *e)
{
    struct error why = *e;

    if (bad && index_heal(n->ix, segment_hold(bad), e) < 0)
        return e->status;
    *e = why;
    return error_append(e, "what was damaged is left out now: try again");
}

/* 1, 0 or negative. */
static int next_numbered(struct numbered *n, struct index_entry *told, uint64_t *number,
                         struct error *e)
{
    struct segment *bad = NULL;
    struct entry entry;
    int rc;

    do {
        rc = walk_next(n->walk, &entry, &bad, e);
        if (rc < 0)
            return mend(n, bad, e);
    } while (rc && has_no_number(n, &entry, &told->place));
    if (!rc && n->next == n->ix->places)
        return 0;
    if (!rc || n->next == n->ix->places)
        return error_set(e, FAILED, "index: it has changed since its places were numbered");
    memcpy(told->prefix, entry.prefix, PREFIX_BYTES);
    memcpy(told->base, entry.base, PREFIX_BYTES);
    *number = n->next++;
    return 1;
}

int index_each(struct index *ix, index_sink sink, void *arg, struct error *e)
{
    struct numbered n = {.ix = ix};
    struct index_entry entry;
    uint64_t number = 0; /* for the compiler, which can't see that it is set */
    int rc;

    if (walk_all(&n.walk, ix, e) < 0)
        return e->status;
    while ((rc = next_numbered(&n, &entry, &number, e)) > 0) {
        rc = sink(arg, number, &entry, e);
        if (rc < 0)
            break;
    }
    walk_free(n.walk);
    return rc < 0 ? rc : OK;
}
