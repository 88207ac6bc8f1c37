/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segments are made of what was in memory, and merged so that each is at least twice as large as
 * the next: an entry is written again as often as the index doubles, and few are looked into.
 *
 * Processes share the folder without a lock. Each writes files of its own and removes what it has
 * merged; who has a removed one open can still read it. What two have done at one time is there
 * twice: a pack is taken from the largest segment that covers it, and ignored in all others.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "repo/index_private.h"
#include "repo/pack.h"

void index_give_up(struct index *ix, const struct error *why)
{
    if (!ix->in_memory)
        log_debug("the index is kept in memory: %s", why->text);
    ix->in_memory = true;
}

/* ---- the list of segments ---- */

int index_make_room(struct index *ix, size_t more, struct error *e)
{
    size_t room = ix->segment_room ? ix->segment_room : 16;
    struct segment **segments;

    while (room < ix->segment_count + more)
        room *= 2;
    if (room == ix->segment_room)
        return OK;
    segments = malloc(room * sizeof *segments);
    if (!segments)
        return error_out_of_memory(e);
    if (ix->segment_count)
        memcpy(segments, ix->segments, ix->segment_count * sizeof *segments);
    pthread_rwlock_wrlock(&ix->lock);
    free(ix->segments);
    ix->segments = segments;
    ix->segment_room = room;
    pthread_rwlock_unlock(&ix->lock);
    return OK;
}

void index_insert(struct index *ix, struct segment *s)
{
    size_t at = ix->segment_count++;

    for (; at && ix->segments[at - 1]->wanted < s->wanted; at--)
        ix->segments[at] = ix->segments[at - 1];
    ix->segments[at] = s;
}

/* Under `lock`. */
static bool take_out(struct index *ix, const struct segment *s)
{
    for (size_t i = 0; i < ix->segment_count; i++) {
        if (ix->segments[i] != s)
            continue;
        ix->segment_count--;
        memmove(&ix->segments[i], &ix->segments[i + 1],
                (ix->segment_count - i) * sizeof *ix->segments);
        return true;
    }
    return false;
}

void index_add_rubbish(struct index *ix, const char *file)
{
    char **all = realloc(ix->rubbish, (ix->rubbish_count + 1) * sizeof *all);

    if (!all)
        return;
    ix->rubbish = all;
    all[ix->rubbish_count] = strdup(file);
    ix->rubbish_count += all[ix->rubbish_count] != NULL;
}

void index_remove_rubbish(struct index *ix)
{
    for (size_t i = 0; i < ix->rubbish_count; i++) {
        if (segment_is_temporary(ix->rubbish[i]))
            segment_remove_dead(ix->dirfd, ix->rubbish[i]);
        else
            unlinkat(ix->dirfd, ix->rubbish[i], 0);
        free(ix->rubbish[i]);
    }
    ix->rubbish_count = 0;
}

/* ---- a new file ---- */

struct making {
    struct index *ix;
    struct segment *const *segments;
    size_t segment_count;
    const struct fresh *fresh; /* NULL: none */
    struct segment_pack *packs;
    uint32_t pack_count;
    uint32_t *local; /* by the index's number: which of the packs; SEGMENT_PACK_NONE: none */
};

static void cover(struct making *m, uint32_t number)
{
    const struct pack *pack = m->ix->packs[number];

    m->packs[m->pack_count++] = (struct segment_pack){
        .name = pack->told.name,
        .bytes = pack->told.bytes,
        .number = number,
    };
}

/* Under `lock`. */
static int collect_packs(struct making *m, struct error *e)
{
    size_t room = m->fresh ? m->fresh->pack_count : 0;

    for (size_t i = 0; i < m->segment_count; i++)
        room += m->segments[i]->pack_count;
    m->packs = malloc((room + 1) * sizeof *m->packs);
    m->local = malloc((m->ix->pack_count + 1) * sizeof *m->local);
    if (!m->packs || !m->local)
        return error_out_of_memory(e);
    for (size_t i = 0; i < m->segment_count; i++)
        for (uint32_t j = 0; j < m->segments[i]->pack_count; j++)
            if (m->segments[i]->packs[j].number != SEGMENT_PACK_NONE)
                cover(m, m->segments[i]->packs[j].number);
    for (size_t i = 0; m->fresh && i < m->fresh->pack_count; i++)
        cover(m, m->fresh->packs[i].number);
    /* A name is what each begins with. */
    qsort(m->packs, m->pack_count, sizeof *m->packs, pack_name_compare);
    memset(m->local, 0xff, (m->ix->pack_count + 1) * sizeof *m->local);
    for (uint32_t i = 0; i < m->pack_count; i++)
        m->local[m->packs[i].number] = i;
    return OK;
}

static int write_entries(struct making *m, struct segment_writer *w, struct segment **bad,
                         struct error *e)
{
    struct walk *walk;
    struct entry entry;
    int rc;

    if (walk_new(&walk, m->segments, m->segment_count, &m->fresh, m->fresh ? 1 : 0, e) < 0)
        return e->status;
    while ((rc = walk_next(walk, &entry, bad, e)) > 0)
        if (m->local[entry.pack] != SEGMENT_PACK_NONE &&
            (rc = segment_writer_put(w, &entry, m->local[entry.pack], e)) < 0)
            break;
    walk_free(walk);
    return rc;
}

static int write_packs(struct making *m, struct segment **new, struct segment **bad,
                       struct error *e)
{
    struct segment_writer *w;
    struct segment_pack *packs = m->packs;

    m->packs = NULL;
    if (segment_writer_new(&w, m->ix->dirfd, m->ix->repository, packs, m->pack_count, e) < 0)
        return e->status;
    if (write_entries(m, w, bad, e) < 0) {
        segment_writer_discard(w);
        return e->status;
    }
    return segment_writer_finish(w, m->segment_count ? SEGMENT_DURABLE : SEGMENT_LOOSE, new, e);
}

int index_make_segment(struct index *ix, struct segment *const *segments, size_t segment_count,
                       const struct fresh *fresh, struct segment **new, struct segment **bad,
                       struct error *e)
{
    struct making m = {ix, segments, segment_count, fresh, NULL, 0, NULL};
    int rc;

    *new = *bad = NULL;
    pthread_rwlock_rdlock(&ix->lock);
    rc = collect_packs(&m, e);
    pthread_rwlock_unlock(&ix->lock);
    if (rc == OK && m.pack_count)
        rc = write_packs(&m, new, bad, e);
    free(m.packs);
    free(m.local);
    return rc;
}

/* ---- the tables of packs ---- */

struct gathered {
    struct fresh fresh;
    struct segment **segments;
    size_t count;
};

static void release_gathered(struct gathered *g)
{
    for (size_t i = 0; i < g->count; i++)
        segment_release(g->segments[i]);
    free(g->segments);
    fresh_release(&g->fresh);
}

/* What can't be written stays in memory. */
static void spill(struct index *ix, struct gathered *g)
{
    struct segment **all = realloc(g->segments, (g->count + 1) * sizeof *all), *new, *bad;
    struct error why;

    if (!all)
        error_set(&why, NO_SPACE, "out of memory");
    else
        g->segments = all;
    if (!all || index_make_segment(ix, NULL, 0, &g->fresh, &new, &bad, &why) < 0) {
        index_give_up(ix, &why);
        return;
    }
    if (new)
        all[g->count++] = new;
    fresh_release(&g->fresh);
}

static bool is_about_the_pack(enum status status)
{
    return status == DAMAGED || status == NOT_FOUND || status == UNSUPPORTED;
}

/* What only it holds is lost, as long as that is so; all the rest is to be had. */
static int set_unreadable(struct index *ix, uint32_t number, const struct error *why,
                          struct error *e)
{
    struct error *copy = malloc(sizeof *copy), *old;
    struct index_pack *told;

    if (!copy)
        return error_out_of_memory(e);
    log_warning("%s; its content can't be read: `domsnap check` says which snapshots need it",
                why->text);
    *copy = *why;
    pthread_rwlock_wrlock(&ix->lock);
    told = &ix->packs[number]->told;
    old = told->why;
    told->why = copy;
    told->unreadable = true;
    pthread_rwlock_unlock(&ix->lock);
    free(old);
    return OK;
}

static int read_table(struct index *ix, uint32_t number, struct fresh *fresh, struct error *e)
{
    const struct index_pack *told = index_pack(ix, number);
    AUTO_FREE struct table_entry *entries = NULL;
    char name[PACK_NAME_TEXT];
    size_t count;

    if (pack_read_table(ix->backend, &told->name, told->bytes, &entries, &count, e) < 0)
        return e->status;
    if (index_put_table(fresh, number, told->bytes, entries, count, e) == OK)
        return OK;
    pack_name_to_text(&told->name, name);
    return error_prefix(e, "pack %s", name);
}

static int gather(struct index *ix, const uint32_t *numbers, size_t count, struct gathered *g,
                  struct error *e)
{
    for (size_t i = 0; i < count; i++) {
        struct error why;

        if (interrupt_check(e) < 0)
            return e->status;
        if (read_table(ix, numbers[i], &g->fresh, &why) < 0) {
            if (!is_about_the_pack(why.status)) {
                *e = why;
                return e->status;
            }
            if (set_unreadable(ix, numbers[i], &why, e) < 0)
                return e->status;
        }
        if (g->fresh.count > FRESH_MAX && index_can_write(ix))
            spill(ix, g);
    }
    if (g->fresh.pack_count && index_can_write(ix))
        spill(ix, g);
    return OK;
}

static int take_gathered(struct index *ix, struct gathered *g, struct segment *bad, struct error *e)
{
    int rc;

    if (index_make_room(ix, g->count, e) < 0)
        return e->status;
    pthread_rwlock_wrlock(&ix->lock);
    rc = fresh_absorb(&ix->fresh, &g->fresh, e);
    for (size_t i = 0; rc == OK && i < g->count; i++)
        index_insert(ix, g->segments[i]);
    if (rc == OK)
        g->count = 0;
    if (rc == OK && bad && take_out(ix, bad))
        segment_release(bad);
    pthread_rwlock_unlock(&ix->lock);
    return rc;
}

int index_read_tables(struct index *ix, const uint32_t *numbers, size_t count, struct segment *bad,
                      struct error *e)
{
    struct gathered g = {0};
    int rc = gather(ix, numbers, count, &g, e);

    if (rc == OK)
        rc = take_gathered(ix, &g, bad, e);
    release_gathered(&g);
    return rc;
}

/* ---- without a segment that can't be read ---- */

/* Under `keeping`. */
static bool is_listed(const struct index *ix, const struct segment *s)
{
    for (size_t i = 0; i < ix->segment_count; i++)
        if (ix->segments[i] == s)
            return true;
    return false;
}

static size_t packs_of(struct index *ix, const struct segment *s, uint32_t *numbers)
{
    size_t count = 0;

    pthread_rwlock_rdlock(&ix->lock);
    for (uint32_t i = 0; i < s->pack_count; i++)
        if (s->packs[i].number != SEGMENT_PACK_NONE)
            numbers[count++] = s->packs[i].number;
    pthread_rwlock_unlock(&ix->lock);
    return count;
}

int index_do_without(struct index *ix, struct segment *bad, struct error *e)
{
    AUTO_FREE uint32_t *numbers = malloc((bad->pack_count + (size_t)1) * sizeof *numbers);

    if (!is_listed(ix, bad))
        return OK;
    if (!numbers)
        return error_out_of_memory(e);
    log_debug("index %s can't be read: it is made anew", bad->name);
    /* The order of the places of one piece need not be the same again. */
    ix->numbered_packs = 0;
    /* Whatever comes of it, nobody else should meet it. */
    unlinkat(ix->dirfd, bad->name, 0);
    if (index_read_tables(ix, numbers, packs_of(ix, bad, numbers), bad, e) < 0)
        return error_prefix(e, "index: read packs anew");
    return OK;
}

int index_heal(struct index *ix, struct segment *bad, struct error *e)
{
    int rc;

    pthread_mutex_lock(&ix->keeping);
    rc = index_do_without(ix, bad, e);
    pthread_mutex_unlock(&ix->keeping);
    segment_release(bad);
    return rc;
}

/* ---- closing ---- */

void index_close_segments(struct index *ix)
{
    for (size_t i = 0; i < ix->segment_count; i++)
        segment_release(ix->segments[i]);
    ix->segment_count = 0;
    for (size_t i = 0; i < ix->rubbish_count; i++)
        free(ix->rubbish[i]);
    ix->rubbish_count = 0;
}

void index_close_files(struct index *ix)
{
    index_close_segments(ix);
    free(ix->segments);
    free(ix->rubbish);
    if (ix->dirfd >= 0)
        close(ix->dirfd);
}
