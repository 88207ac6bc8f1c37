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

/* More are merged. */
#define SEGMENTS_MAX 8

/* Each takes a descriptor; nobody leaves as many. */
#define SEGMENTS_OPEN_MAX 256

/* A segment of packs that nobody names: a run that is at work may have saved it. */
#define UNKNOWN_S (7 * 24 * 3600)

static bool can_write(const struct index *ix)
{
    return ix->dirfd >= 0 && !ix->in_memory;
}

static void give_up(struct index *ix, const struct error *why)
{
    if (!ix->in_memory)
        log_debug("the index is kept in memory: %s", why->text);
    ix->in_memory = true;
}

/* ---- the list of segments ---- */

static int make_room(struct index *ix, size_t more, struct error *e)
{
    size_t room = ix->segment_room ? ix->segment_room : 16;
    struct segment **segments;

    while (room < ix->segment_count + more)
        room *= 2;
    if (room == ix->segment_room)
        return OK;
    segments = malloc(room * sizeof *segments);
    if (!segments)
        return error_set(e, NO_SPACE, "out of memory");
    if (ix->segment_count)
        memcpy(segments, ix->segments, ix->segment_count * sizeof *segments);
    pthread_rwlock_wrlock(&ix->lock);
    free(ix->segments);
    ix->segments = segments;
    ix->segment_room = room;
    pthread_rwlock_unlock(&ix->lock);
    return OK;
}

/* Under `lock`, with room. */
static void insert(struct index *ix, struct segment *s)
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

static void add_rubbish(struct index *ix, const char *file)
{
    char **all = realloc(ix->rubbish, (ix->rubbish_count + 1) * sizeof *all);

    if (!all)
        return;
    ix->rubbish = all;
    all[ix->rubbish_count] = strdup(file);
    ix->rubbish_count += all[ix->rubbish_count] != NULL;
}

static void remove_rubbish(struct index *ix)
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
    uint32_t *local; /* by the index's number: which of the packs; SEGMENT_PACK_NONE: it is gone */
};

/* Places that have numbers keep them: what has gone since stays until they are numbered anew. */
static bool is_numbered(const struct index *ix, uint32_t number)
{
    return number < ix->numbered_packs && !ix->packs[number]->dropped;
}

static void cover(struct making *m, uint32_t number)
{
    const struct pack *pack = m->ix->packs[number];

    if (!pack->told.gone || is_numbered(m->ix, number))
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
        return error_set(e, NO_SPACE, "out of memory");
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

/* Of all that these segments and `fresh` have of packs that are not gone. `*new` is NULL if all
 * are. `*bad`: the one that could not be read; NULL: it is not that. */
static int make_segment(struct index *ix, struct segment *const *segments, size_t segment_count,
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
    if (!all || make_segment(ix, NULL, 0, &g->fresh, &new, &bad, &why) < 0) {
        give_up(ix, &why);
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
        return error_set(e, NO_SPACE, "out of memory");
    log_warning("%s; what it holds is not to be had: `domsnap check` says what needs it",
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
        if (g->fresh.count > FRESH_MAX && can_write(ix))
            spill(ix, g);
    }
    if (g->fresh.pack_count && can_write(ix))
        spill(ix, g);
    return OK;
}

/* In the place of `bad`, if it is not NULL. */
static int take_gathered(struct index *ix, struct gathered *g, struct segment *bad, struct error *e)
{
    int rc;

    if (make_room(ix, g->count, e) < 0)
        return e->status;
    pthread_rwlock_wrlock(&ix->lock);
    rc = fresh_absorb(&ix->fresh, &g->fresh, e);
    for (size_t i = 0; rc == OK && i < g->count; i++)
        insert(ix, g->segments[i]);
    if (rc == OK)
        g->count = 0;
    if (rc == OK && bad && take_out(ix, bad))
        segment_release(bad);
    pthread_rwlock_unlock(&ix->lock);
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
        if (s->packs[i].number != SEGMENT_PACK_NONE && !ix->packs[s->packs[i].number]->told.gone)
            numbers[count++] = s->packs[i].number;
    pthread_rwlock_unlock(&ix->lock);
    return count;
}

static int heal(struct index *ix, struct segment *bad, struct error *e)
{
    AUTO_FREE uint32_t *numbers = malloc((bad->pack_count + (size_t)1) * sizeof *numbers);
    struct gathered g = {0};

    if (!is_listed(ix, bad))
        return OK;
    if (!numbers)
        return error_set(e, NO_SPACE, "out of memory");
    log_debug("index %s can't be read: it is made anew", bad->name);
    /* What was gone is not read again, nor need the order of places of one piece be the same. */
    ix->numbered_packs = 0;
    /* Whatever comes of it, nobody else should meet it. */
    unlinkat(ix->dirfd, bad->name, 0);
    if (gather(ix, numbers, packs_of(ix, bad, numbers), &g, e) == OK &&
        take_gathered(ix, &g, bad, e) == OK) {
        release_gathered(&g);
        return OK;
    }
    release_gathered(&g);
    return error_prefix(e, "index: read packs anew");
}

int index_heal(struct index *ix, struct segment *bad, struct error *e)
{
    int rc;

    pthread_mutex_lock(&ix->keeping);
    rc = heal(ix, bad, e);
    pthread_mutex_unlock(&ix->keeping);
    segment_release(bad);
    return rc;
}

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

    if (!old || make_room(ix, 1, e) < 0) {
        segment_release(new);
        return error_set(e, NO_SPACE, "out of memory");
    }
    pthread_rwlock_wrlock(&ix->lock);
    if (count)
        memcpy(old, ix->segments + from, count * sizeof *old);
    ix->segment_count = from;
    if (new)
        insert(ix, new);
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
        remove_rubbish(ix);
    return OK;
}

static void tidy(struct index *ix)
{
    size_t from = merge_from(ix);
    struct segment *new, *bad;
    struct error why;
    int rc;

    if (!can_write(ix) || from == ix->segment_count)
        return;
    rc = make_segment(ix, ix->segments + from, ix->segment_count - from, NULL, &new, &bad, &why);
    if (rc == OK)
        rc = replace(ix, from, new, NULL, &why);
    if (rc == OK)
        return;
    /* Whoever needs what it has will say so if that fails. */
    if (bad)
        heal(ix, bad, &why);
    else
        give_up(ix, &why);
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

    if (freeze(ix, &why) < 0 || make_segment(ix, NULL, 0, &ix->frozen, &new, &bad, &why) < 0 ||
        replace(ix, ix->segment_count, new, &ix->frozen, &why) < 0)
        give_up(ix, &why);
    else
        tidy(ix);
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
    if (count_fresh(ix, &packs) > FRESH_MAX && can_write(ix))
        flush(ix);
    pthread_mutex_unlock(&ix->keeping);
}

int index_save(struct index *ix, struct error *e)
{
    size_t packs;

    (void)e;
    pthread_mutex_lock(&ix->keeping);
    count_fresh(ix, &packs);
    if (packs && can_write(ix))
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
        if (s->packs[i].number == SEGMENT_PACK_NONE || ix->packs[s->packs[i].number]->told.gone)
            return false;
    return true;
}

static int merge_all(struct index *ix, struct segment **bad, struct error *e)
{
    struct segment *new;

    ix->numbered_packs = 0;
    if (freeze(ix, e) < 0 ||
        make_segment(ix, ix->segments, ix->segment_count, &ix->frozen, &new, bad, e) < 0)
        return e->status;
    return replace(ix, 0, new, &ix->frozen, e);
}

/* What is gone by now has no number. */
static void drop_gone(struct index *ix)
{
    pthread_rwlock_wrlock(&ix->lock);
    for (size_t i = 0; i < ix->pack_count; i++)
        ix->packs[i]->dropped = ix->packs[i]->told.gone;
    ix->numbered_packs = ix->pack_count;
    pthread_rwlock_unlock(&ix->lock);
}

static int count_places(struct index *ix, struct segment **bad, struct error *e)
{
    struct walk *walk;
    struct entry entry;
    int rc;

    if (walk_all(&walk, ix, e) < 0)
        return e->status;
    for (ix->places = 0; (rc = walk_next(walk, &entry, bad, e)) > 0;)
        ix->places += !ix->packs[entry.pack]->dropped;
    walk_free(walk);
    return rc;
}

/* Where it can't be written it is merged whenever it is gone through. What has just been written is
 * known to be whole; all else is read, so that damage is met here, where it can be healed, and not
 * halfway through. */
static int number_places(struct index *ix, struct segment **bad, struct error *e)
{
    bool fresh = can_write(ix) && !is_merged(ix);

    *bad = NULL;
    if (fresh && merge_all(ix, bad, e) < 0) {
        if (*bad)
            return e->status;
        give_up(ix, e);
        fresh = false;
    }
    if (can_write(ix))
        remove_rubbish(ix);
    drop_gone(ix);
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
        if (heal(ix, bad, e) < 0)
            break;
    *places = ix->places;
    pthread_mutex_unlock(&ix->keeping);
    return rc < 0 ? e->status : OK;
}

/* ---- opening ---- */

static bool is_file_name(const char *id)
{
    return *id && *id != '.' && strlen(id) <= 100 && !strchr(id, '/');
}

/* NULL: there is none. */
static char *usual_folder(const char *id)
{
    const char *home = getenv("HOME"), *caches = getenv("XDG_CACHE_HOME");

    if (!is_file_name(id))
        return NULL;
    if (caches && *caches == '/')
        return format_text("%s/domsnap/%s", caches, id);
    if (geteuid() == 0)
        return format_text("/var/cache/domsnap/%s", id);
    return home && *home == '/' ? format_text("%s/.cache/domsnap/%s", home, id) : NULL;
}

/* What others can write there could lead a create to rely on what does not exist. */
static int check_owner(int fd, struct error *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return error_errno(e, "stat");
    if (st.st_uid != geteuid() || (st.st_mode & 022))
        return error_set(e, UNSUPPORTED, "others can write to it");
    return OK;
}

static int open_folder(struct index *ix, const char *folder, struct error *e)
{
    struct error ignored;

    if (!folder)
        return error_set(e, NOT_FOUND, "there is no folder for caches");
    /* What can't be made may be there. */
    dir_make(folder, &ignored);
    if (open_in(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, &ix->dirfd, e) < 0)
        return e->status;
    if (check_owner(ix->dirfd, e) == OK)
        return OK;
    close(ix->dirfd);
    ix->dirfd = -1;
    return error_prefix(e, "%s", folder);
}

static void close_segments(struct index *ix)
{
    for (size_t i = 0; i < ix->segment_count; i++)
        segment_release(ix->segments[i]);
    ix->segment_count = 0;
    for (size_t i = 0; i < ix->rubbish_count; i++)
        free(ix->rubbish[i]);
    ix->rubbish_count = 0;
}

/* NOT_FOUND: somebody has merged it since it was listed. */
static int open_file(struct index *ix, const char *file, struct error *e)
{
    struct segment *s;

    if (segment_is_temporary(file))
        add_rubbish(ix, file);
    if (!segment_is_whole(file) || ix->segment_count == SEGMENTS_OPEN_MAX)
        return OK;
    if (make_room(ix, 1, e) < 0)
        return e->status;
    if (segment_open(&s, ix->dirfd, file, ix->repository, e) == OK) {
        ix->segments[ix->segment_count++] = s;
        return OK;
    }
    if (e->status == NOT_FOUND)
        return e->status;
    log_debug("%s; it is left out", e->text);
    if (e->status == DAMAGED)
        add_rubbish(ix, file);
    return OK;
}

static int open_listed(struct index *ix, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    const char *file;

    if (list_in(ix->dirfd, ".", &dir, e) < 0)
        return e->status;
    while ((file = dir_next(dir)))
        if (open_file(ix, file, e) < 0)
            return e->status;
    return errno ? error_errno(e, "list") : OK;
}

/* What was merged while it was listed is in a new file. */
static void open_segments(struct index *ix)
{
    struct error why;

    for (int i = 0; i < 8; i++) {
        if (open_listed(ix, &why) == OK)
            return;
        if (why.status != NOT_FOUND)
            break;
        if (i < 7)
            close_segments(ix);
    }
    log_debug("index: not all of it can be used: %s", why.text);
}

/* Take from it the packs that no other has: how many. `*unknown`: those the view does not name. */
static size_t take_packs(struct index *ix, struct segment *s, size_t *unknown)
{
    size_t at = 0, taken = 0;

    for (uint32_t i = 0; i < s->pack_count; i++) {
        struct segment_pack *p = &s->packs[i];
        struct pack *pack;

        while (at < ix->listed_count && pack_name_compare(&ix->listed[at].told.name, &p->name) < 0)
            at++;
        pack = &ix->listed[at];
        if (at == ix->listed_count || pack_name_compare(&pack->told.name, &p->name) != 0 ||
            pack->told.bytes != p->bytes) {
            ++*unknown;
            continue;
        }
        if (pack->covered)
            continue;
        pack->covered = true;
        p->number = (uint32_t)at;
        s->wanted += p->entries;
        taken++;
    }
    return taken;
}

static int compare_segments(const void *a, const void *b)
{
    const struct segment *x = *(struct segment *const *)a, *y = *(struct segment *const *)b;

    return (x->entries < y->entries) - (x->entries > y->entries);
}

static bool is_old(const struct segment *s)
{
    struct stat st;

    return fstat(s->fd, &st) == 0 && time(NULL) - st.st_mtime > UNKNOWN_S;
}

static void use_segments(struct index *ix)
{
    size_t count = ix->segment_count;

    if (count)
        qsort(ix->segments, count, sizeof *ix->segments, compare_segments);
    ix->segment_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct segment *s = ix->segments[i];
        size_t unknown = 0;

        if (take_packs(ix, s, &unknown)) {
            insert(ix, s);
            continue;
        }
        if (!unknown || is_old(s))
            add_rubbish(ix, s->name);
        segment_release(s);
    }
}

static int read_others(struct index *ix, struct error *e)
{
    AUTO_FREE uint32_t *numbers = malloc((ix->listed_count + 1) * sizeof *numbers);
    struct gathered g = {0};
    size_t count = 0;
    int rc;

    if (!numbers)
        return error_set(e, NO_SPACE, "out of memory");
    for (uint32_t i = 0; i < ix->listed_count; i++)
        if (!ix->listed[i].covered)
            numbers[count++] = i;
    rc = gather(ix, numbers, count, &g, e);
    if (rc == OK)
        rc = take_gathered(ix, &g, NULL, e);
    release_gathered(&g);
    return rc;
}

int index_open_files(struct index *ix, const char *id, const char *cache, struct error *e)
{
    AUTO_FREE char *usual = cache ? NULL : usual_folder(id);
    struct error why;

    if (open_folder(ix, cache ? cache : usual, &why) < 0)
        give_up(ix, &why);
    else
        open_segments(ix);
    use_segments(ix);
    if (read_others(ix, e) < 0)
        return e->status;
    tidy(ix);
    return OK;
}

void index_close_files(struct index *ix)
{
    close_segments(ix);
    free(ix->segments);
    free(ix->rubbish);
    if (ix->dirfd >= 0)
        close(ix->dirfd);
}
