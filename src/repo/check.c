/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "repo/log.h"
#include "repo/mark.h"
#include "repo/pack.h"
#include "repo/records.h"
#include "repo/twin.h"

struct check {
    struct store *store;
    struct store_worker *worker;
    struct mark *mark;
    check_sink sink;
    void *arg;
    struct check_stats stats;
    bool *is_there; /* one a pack of the index */
    bool log_is_hurt;
};

int check_new(struct check **out, struct store *s, check_sink sink, void *arg, struct error *e)
{
    struct check *c = calloc(1, sizeof *c);

    if (!c)
        return error_out_of_memory(e);
    c->store = s;
    c->sink = sink;
    c->arg = arg;
    if (store_worker_new(&c->worker, s, e) < 0) {
        check_free(c);
        return e->status;
    }
    *out = c;
    return OK;
}

void check_free(struct check *c)
{
    if (!c)
        return;
    mark_free(c->mark);
    store_worker_free(c->worker);
    free(c->is_there);
    free(c);
}

/* ---- packs ---- */

static int tell_pack(struct check *c, uint32_t n, const struct error *why, struct error *e)
{
    char text[PACK_NAME_TEXT];

    pack_name_to_text(&index_pack(store_index(c->store), n)->name, text);
    c->stats.bad_packs++;
    c->sink(c->arg, CHECK_PACK, text, why);
    return store_mark_pack(c->store, n, e);
}

/* The index's number of a pack of its view, which is sorted. */
static bool number_of(struct check *c, const struct pack_name *name, uint32_t *number)
{
    uint32_t low = 0, high = (uint32_t)c->stats.packs;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = pack_name_compare(name, &index_pack(store_index(c->store), middle)->name);

        if (order == 0) {
            *number = middle;
            return true;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

static int see_pack(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    struct check *c = arg;
    struct pack_name pack;
    struct error why;
    uint32_t n;

    if (!pack_name_from_text(&pack, name) || !number_of(c, &pack, &n))
        return OK;
    c->is_there[n] = true;
    /* One that is unreadable, too, is told of once. */
    if (bytes == index_pack(store_index(c->store), n)->bytes ||
        index_pack(store_index(c->store), n)->unreadable)
        return OK;
    error_set(&why, DAMAGED, "it has %" PRIu64 " bytes, not %" PRIu64, bytes,
              index_pack(store_index(c->store), n)->bytes);
    return tell_pack(c, n, &why, e);
}

static int check_packs(struct check *c, struct error *e)
{
    struct backend *b = repo_backend(store_repo(c->store));
    const struct index_pack *pack;
    struct error missing;

    error_set(&missing, DAMAGED, "it is missing");
    while ((pack = index_pack(store_index(c->store), (uint32_t)c->stats.packs))) {
        c->stats.packs++;
        c->stats.pack_bytes += pack->bytes;
    }
    c->is_there = calloc(c->stats.packs + 1, sizeof *c->is_there);
    if (!c->is_there)
        return error_out_of_memory(e);
    if (b->driver->list(b, "packs", see_pack, c, e) < 0)
        return e->status;
    for (uint32_t n = 0; n < c->stats.packs; n++) {
        pack = index_pack(store_index(c->store), n);
        if (!c->is_there[n] && tell_pack(c, n, &missing, e) < 0)
            return e->status;
        if (c->is_there[n] && pack->unreadable && tell_pack(c, n, pack->why, e) < 0)
            return e->status;
    }
    return OK;
}

/* ---- what is there twice ---- */

/* Whether it should be there, now: others go on, and fold the log, or delete snapshots. */
static bool is_wanted_still(struct check *c, const char *object)
{
    const char *base = strchr(object, '/');
    const struct view *v;
    struct error ignored;
    struct log *l;
    bool wanted = true;

    if (!base || log_open(&l, repo_backend(store_repo(c->store)), &ignored) < 0)
        return true;
    v = log_view(l);
    base++;
    if (strncmp(object, "log/", 4) == 0) {
        wanted = strtoull(base, NULL, 10) > v->number - log_length(l);
    } else if (strncmp(object, "state/", 6) == 0) {
        wanted = strtoull(base, NULL, 10) >= v->number - log_length(l);
    } else {
        wanted = view_find_made_by(v, base) != NULL;
    }
    log_close(l);
    return wanted;
}

static int look_at_twins(struct check *c, const char *object, bool heal, bool *healed,
                         struct error *why)
{
    struct repo *r = store_repo(c->store);

    return twin_check(repo_backend(r), repo_run(r), object, LOG_STATE_MAX_BYTES, heal, healed, why);
}

/* Whether one of the two is damaged, also at a second look: somebody may just have been putting the
 * second, or removing the first. */
static bool is_hurt(struct check *c, const char *object, struct error *why)
{
    bool healed;

    return look_at_twins(c, object, false, &healed, why) < 0 && is_wanted_still(c, object) &&
           look_at_twins(c, object, false, &healed, why) < 0;
}

/* Who can write makes one of the other. Not of the log: a number of it must never be free. */
static void mend(struct check *c, const char *object, const char *what)
{
    bool can_write = *repo_run(store_repo(c->store)), healed = false;
    struct error why;

    if (!is_hurt(c, object, &why))
        return;
    look_at_twins(c, object, can_write, &healed, &why);
    c->stats.mended += healed;
    log_note("one of the two %s is damaged%s: %s", what,
             healed ? ", and was made anew from the other" : "", why.text);
}

struct folder {
    struct check *check;
    const char *name;
};

static int look_at_one(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    const struct folder *f = arg;
    AUTO_FREE char *object = format_text("%s/%s", f->name, name);
    struct error why;

    (void)bytes;
    if (!object)
        return error_out_of_memory(e);
    if (strlen(name) == 16 && strspn(name, "0123456789") == 16 && is_hurt(f->check, object, &why)) {
        f->check->log_is_hurt = true;
        log_note("one of two copies is damaged: %s", why.text);
    }
    return interrupt_check(e);
}

/* Those of which only one is left are in one of the two folders. */
static int look_at_folder(struct check *c, const char *name, const char *copies, struct error *e)
{
    struct backend *b = repo_backend(store_repo(c->store));
    struct folder f = {c, name};

    if (b->driver->list(b, name, look_at_one, &f, e) < 0)
        return e->status;
    return b->driver->list(b, copies, look_at_one, &f, e);
}

/* A fold writes down all that holds, twice, and removes what was before it. */
static int mend_log(struct check *c, struct error *e)
{
    struct repo *r = store_repo(c->store);

    if (!c->log_is_hurt || !*repo_run(r))
        return OK;
    if (log_fold(repo_log(r), repo_run(r), e) < 0)
        return e->status;
    c->stats.mended++;
    log_note("the log was folded: all of it is there twice again");
    return OK;
}

static int mend_vital(struct check *c, struct error *e)
{
    mend(c, "config", "config");
    if (look_at_folder(c, "state", "copy/state", e) < 0 ||
        look_at_folder(c, "log", "copy/log", e) < 0)
        return e->status;
    return mend_log(c, e);
}

/* ---- records ---- */

static int tell_snapshot(struct check *c, enum check_what what, const struct view_snapshot *s,
                         const struct error *why, struct error *e)
{
    AUTO_FREE char *name = format_text("%s@%s", s->domain, s->name);

    if (!name)
        return error_out_of_memory(e);
    c->sink(c->arg, what, name, why);
    return OK;
}

/* Of a record: by its snapshot. */
static void mend_record(struct check *c, const struct view_snapshot *s)
{
    AUTO_FREE char *what = format_text("records of %s@%s", s->domain, s->name);
    char object[RECORD_OBJECT_MAX];

    record_object(s->run, object);
    mend(c, object, what ? what : "records");
}

/* Hand each snapshot's record to `see`; `tell`: of those that can't be read. */
static int each_record(struct check *c, bool tell,
                       int (*see)(struct check *c, const struct view_snapshot *s,
                                  const struct manifest *m, struct error *e),
                       struct error *e)
{
    const struct view *v = repo_view(store_repo(c->store));

    for (size_t i = 0; i < v->snapshot_count; i++) {
        const struct view_snapshot *s = &v->snapshots[i];
        struct manifest m;
        struct error why;
        int rc = record_get(store_repo(c->store), s, &m, &why);

        if (rc == OK) {
            rc = see(c, s, &m, e);
            manifest_release(&m);
        } else if (why.status == DAMAGED || why.status == UNSUPPORTED) {
            char object[RECORD_OBJECT_MAX];
            bool told = tell;

            record_object(s->run, object);
            told = told && is_wanted_still(c, object);
            c->stats.bad_records += told;
            rc = told ? tell_snapshot(c, CHECK_RECORD, s, &why, e) : OK;
        } else {
            *e = why;
        }
        if (rc < 0 || interrupt_check(e) < 0)
            return e->status;
    }
    return OK;
}

static int look_at(struct check *c, const struct view_snapshot *s, const struct manifest *m,
                   struct error *e)
{
    c->stats.snapshots++;
    mend_record(c, s);
    return mark_snapshot(c->mark, m, e);
}

int check_look(struct check *c, struct error *e)
{
    if (mend_vital(c, e) < 0 || check_packs(c, e) < 0 || mark_new(&c->mark, c->store, e) < 0)
        return e->status;
    return each_record(c, true, look_at, e);
}

/* ---- which snapshots are hurt ---- */

/* Of one image. */
struct hurt {
    struct check *c;
    uint64_t bytes, chunks, first;
};

static void add_hurt(struct hurt *h, uint64_t offset, uint64_t bytes, uint64_t chunks)
{
    if (h->bytes == 0)
        h->first = offset;
    h->bytes += bytes;
    h->chunks += chunks;
}

static int ignore_lost(void *arg, const struct chunk_id *id, const struct error *why,
                       struct error *e)
{
    (void)arg, (void)id, (void)why, (void)e;
    return OK;
}

static int weigh_leaf(struct hurt *h, const struct tree *tree, uint64_t leaf, struct error *e)
{
    uint64_t start = leaf * LIST_IDS * tree->chunk_bytes, bytes = tree_leaf_bytes(tree, leaf);
    uint32_t chunks = tree_leaf_chunks(tree, leaf);
    struct chunk_id ids[LIST_IDS];

    if (chunk_id_is_zero(&tree->leaves[leaf]))
        return OK;
    if (tree_get_leaf(tree, h->c->worker, leaf, ids, e) < 0) {
        if (e->status != DAMAGED)
            return e->status;
        add_hurt(h, start, bytes, chunks);
        return OK;
    }
    for (uint32_t i = 0; i < chunks; i++) {
        uint64_t at = (uint64_t)i * tree->chunk_bytes, left = bytes - at;

        if (!chunk_id_is_zero(&ids[i]) && mark_is_bad(h->c->mark, &ids[i]))
            add_hurt(h, start + at, left < tree->chunk_bytes ? left : tree->chunk_bytes, 1);
    }
    return interrupt_check(e);
}

static int weigh_image(struct check *c, const struct manifest_file *f, struct hurt *h,
                       struct error *e)
{
    struct tree_watch watch = {NULL, ignore_lost, NULL};
    struct tree tree = {0};
    struct chunk_id root;
    int rc = OK;

    *h = (struct hurt){.c = c};
    if (chunk_id_from_hex(&root, f->root, e) < 0 ||
        tree_get(&tree, c->worker, &root, f->bytes, store_chunk_bytes(c->store), &watch, e) < 0)
        return e->status;
    for (uint64_t leaf = 0; rc == OK && leaf < tree.leaf_count; leaf++)
        rc = weigh_leaf(h, &tree, leaf, e);
    tree_release(&tree);
    return rc;
}

static void describe(struct error *why, const char *image, const struct hurt *h)
{
    struct error one;

    error_set(&one, DAMAGED, "%s: %" PRIu64 " KiB in %" PRIu64 " chunk%s, the first at %" PRIu64,
              image, (h->bytes + 1023) / 1024, h->chunks, h->chunks == 1 ? "" : "s", h->first);
    if (why->status == OK)
        *why = one;
    else
        error_append(why, "%s", one.text);
}

static int weigh_snapshot(struct check *c, const struct view_snapshot *s, const struct manifest *m,
                          struct error *e)
{
    const struct manifest_file *f;
    struct error why = {0};
    struct hurt h;

    for (size_t i = 0; (f = manifest_image(m, i)); i++) {
        if (!f->root[0])
            continue;
        if (weigh_image(c, f, &h, e) < 0)
            return e->status;
        if (h.bytes == 0)
            continue;
        describe(&why, manifest_image_name(m, i), &h);
        c->stats.bad_bytes += h.bytes;
    }
    if (why.status == OK)
        return OK;
    c->stats.bad_snapshots++;
    return tell_snapshot(c, CHECK_SNAPSHOT, s, &why, e);
}

int check_tell(struct check *c, struct check_stats *stats, struct error *e)
{
    int rc = mark_finish(c->mark, e);

    c->stats.bad_pieces = mark_bad_count(c->mark);
    if (rc == OK && c->stats.bad_pieces)
        rc = each_record(c, false, weigh_snapshot, e);
    *stats = c->stats;
    return rc;
}

/* ---- content ---- */

static int compare_offsets(const void *a, const void *b)
{
    const struct table_entry *one = a, *other = b;

    return one->offset < other->offset ? -1 : one->offset > other->offset;
}

/* Of a smaller sample, most of what lies between would be read for nothing. */
#define FEW_PERCENT 40

/* One pack, whose pieces are gone through in the order in which they lie there. */
struct scrub {
    struct store_worker *worker;
    struct store *store;
    uint32_t pack;
    bool alone;                 /* few are wanted, far from each other */
    struct pack_window *window; /* the worker's */
    uint64_t *bad;
};

/* Where a part can't be read, what else is near it may be: each piece by itself. */
static int scrub_alone(struct scrub *s, const struct store_piece *p, struct error *e)
{
    if (store_check(s->worker, &p->place, p->id.bytes, e) == OK)
        return OK;
    if (e->status != DAMAGED)
        return e->status;
    ++*s->bad;
    return OK;
}

static int scrub_each(struct scrub *s, const struct store_piece *pieces, size_t count,
                      struct error *e)
{
    for (size_t i = 0; i < count; i++)
        if (scrub_alone(s, &pieces[i], e) < 0)
            return e->status;
    return OK;
}

static struct store_piece piece_of(const struct scrub *s, const struct table_entry *t)
{
    struct store_piece p = {
        .place = {.pack = s->pack,
                  .offset = t->offset,
                  .stored_bytes = t->stored_bytes,
                  .patch = t->encoding == ENCODING_PATCH},
        .id = t->id,
    };

    memcpy(p.place.base, t->base, PREFIX_BYTES);
    return p;
}

/* One or two. */
static int scrub_some(struct scrub *s, const struct table_entry *const *some, size_t count,
                      struct error *e)
{
    const struct pack_name *name = &index_pack(store_index(s->store), s->pack)->name;
    size_t bytes = 0;
    struct store_piece pieces[2];
    const uint8_t *at;
    uint64_t bad;

    for (size_t i = 0; i < count; i++) {
        size_t end = some[i]->offset - some[0]->offset + PIECE_HEAD_BYTES + some[i]->stored_bytes;

        pieces[i] = piece_of(s, some[i]);
        /* The first may reach farther, in a pack that somebody has made up. */
        bytes = end > bytes ? end : bytes;
    }
    if (s->alone)
        return scrub_each(s, pieces, count, e);
    if (pack_look(repo_backend(store_repo(s->store)), name, s->window, some[0]->offset, bytes, &at,
                  e) < 0) {
        if (e->status != DAMAGED)
            return e->status;
        s->window->bytes = 0;
        return scrub_each(s, pieces, count, e);
    }
    for (size_t i = 0; i < count; i++)
        pieces[i].bytes = at + (some[i]->offset - some[0]->offset);
    bad = *s->bad;
    if (store_check_pieces(s->worker, pieces, count, s->bad, e) < 0)
        return e->status;
    /* A disk that fails now and then, or a cable, is mended for good. */
    for (size_t i = 0; i < count && *s->bad == bad; i++)
        if (store_mend(s->store, s->pack, &some[i]->offset, e) < 0)
            return e->status;
    return OK;
}

static int scrub_table(struct scrub *s, struct table_entry *entries, size_t count,
                       const struct sample *sample, struct error *e)
{
    const struct table_entry *some[2];
    size_t gathered = 0;

    if (count)
        qsort(entries, count, sizeof *entries, compare_offsets);
    for (size_t i = 0; i < count; i++) {
        if (!sample_has(sample, &entries[i].id))
            continue;
        some[gathered++] = &entries[i];
        /* Those that are far apart are not read in one go. */
        if (gathered == 2 && some[1]->offset - some[0]->offset > 2 * CHUNK_MAX_BYTES) {
            if (scrub_some(s, some, 1, e) < 0)
                return e->status;
            some[0] = some[1];
            gathered = 1;
        }
        if (gathered < 2)
            continue;
        if (scrub_some(s, some, 2, e) < 0 || interrupt_check(e) < 0)
            return e->status;
        gathered = 0;
    }
    return gathered ? scrub_some(s, some, gathered, e) : OK;
}

/* What leads to the pieces. */
static int read_plan(struct store *s, const struct index_pack *p, struct table_entry **entries,
                     size_t *count, struct error *e)
{
    enum pack_kind kind;

    if (pack_read_kind(repo_backend(store_repo(s)), &p->name, &kind, e) < 0)
        return e->status;
    return pack_read_table(repo_backend(store_repo(s)), &p->name, p->bytes, entries, count, e);
}

int scrub_pack(struct store_worker *w, struct store *s, uint32_t pack, const struct sample *sample,
               uint64_t *bad, struct error *e)
{
    const struct index_pack *p = index_pack(store_index(s), pack);
    struct scrub scrub = {.worker = w,
                          .store = s,
                          .pack = pack,
                          .alone = sample->percent < FEW_PERCENT,
                          .window = store_window(w),
                          .bad = bad};
    AUTO_FREE struct table_entry *entries = NULL;
    struct error why;
    size_t count;
    int rc;

    *bad = 0;
    scrub.window->bytes = 0;
    if (p->unreadable)
        return OK;
    if (read_plan(s, p, &entries, &count, e) < 0) {
        if (e->status != DAMAGED)
            return e->status;
        ++*bad;
        return store_mark_pack(s, pack, &why) < 0 ? (*e = why).status : e->status;
    }
    rc = scrub_table(&scrub, entries, count, sample, e);
    if (rc == OK && sample->percent >= 100 && *bad == 0)
        rc = store_mend(s, pack, NULL, e);
    return rc;
}
