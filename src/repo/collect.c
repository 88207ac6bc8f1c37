/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/collect.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/interrupt.h"
#include "repo/mark.h"
#include "repo/pack.h"
#include "repo/records.h"

/* A pack of which less than this part is needed is written anew. */
#define NEEDED_PART 2

/* Packs of fewer bytes and fewer pieces are brought together once there are so many of a kind. */
#define SMALL_BYTES  (PACK_FULL_BYTES / 4)
#define SMALL_PIECES (PACK_ENTRIES_MAX / 4)
#define SMALL_COUNT  8

/* So many pieces are read by one collection at most, to be moved or to see that they are whole:
 * what else could be freed is the next one's. */
#define ERRANDS_MAX (1u << 18)

/* Places that turn out to be damaged change what is kept: then it is all worked out again. */
#define ROUNDS_MAX 4

enum fate {
    STAYS,
    DEAD, /* nothing in it is needed */
    MOVES /* what is needed is copied, the rest is dead */
};

struct plan {
    enum fate fate;
    uint64_t count; /* of its pieces */
    uint64_t needed_bytes;
    uint64_t needed_count;
    uint64_t spare_count; /* places of what is needed, of which another place is kept */
    bool cannot_move;     /* what is needed of it is damaged */
    enum pack_kind kind;  /* of those that move */
};

/* A piece that is to be read: to be copied, or to see that it is whole. */
struct errand {
    struct place place;
    uint8_t prefix[PREFIX_BYTES];
};

struct errands {
    struct errand *list;
    size_t count;
};

struct collection {
    struct store *store;
    struct store_worker *worker;
    struct mark *mark;
    struct plan *plans; /* one a pack that was there at the start */
    uint32_t pack_count;
    uint32_t next_pack;                 /* the first that others have put since */
    char (*snapshots)[RUN_ID];          /* that were taken into account */
    size_t snapshot_count, known_count; /* of them; those before this look are sorted */
    struct errands copies, checks;
    struct collect_stats *stats;
};

static const struct index_pack *pack_of(const struct collection *c, uint32_t n)
{
    return index_pack(store_index(c->store), n);
}

/* ---- mark ---- */

static int compare_runs(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool is_known(const struct collection *c, const char *run)
{
    return c->known_count &&
           bsearch(run, c->snapshots, c->known_count, sizeof *c->snapshots, compare_runs);
}

/* Others may have deleted it since the log was read, and removed its record. */
static int why_no_record(struct collection *c, const char *run, struct error *e)
{
    struct log *log = repo_log(store_repo(c->store));
    struct error why = *e;

    if (why.status != DAMAGED)
        return why.status;
    if (log_read(log, e) < 0)
        return e->status;
    if (!view_find_made_by(log_view(log), run))
        return error_set(e, AGAIN, "a snapshot was deleted meanwhile");
    *e = why;
    return e->status;
}

static int mark_one(struct collection *c, const struct view_snapshot *s, struct error *e)
{
    char run[RUN_ID];
    struct manifest m;
    int rc;

    memcpy(run, s->run, RUN_ID);
    if (record_get(store_repo(c->store), s, &m, e) < 0)
        return why_no_record(c, run, e);
    rc = mark_snapshot(c->mark, &m, e);
    manifest_release(&m);
    if (rc == OK)
        memcpy(c->snapshots[c->snapshot_count++], s->run, RUN_ID);
    return rc < 0 ? error_prefix(e, "%s@%s", s->domain, s->name) : OK;
}

/* Those that are there and were not taken into account; `*count` of them. */
static int mark_new_snapshots(struct collection *c, size_t *count, struct error *e)
{
    const struct view *v = repo_view(store_repo(c->store));
    char(*more)[RUN_ID];

    *count = 0;
    more = reallocarray(c->snapshots, c->snapshot_count + v->snapshot_count + 1, sizeof *more);
    if (!more)
        return error_out_of_memory(e);
    c->snapshots = more;
    for (size_t i = 0; i < v->snapshot_count; i++) {
        if (is_known(c, v->snapshots[i].run))
            continue;
        if (mark_one(c, &v->snapshots[i], e) < 0)
            return e->status;
        ++*count;
    }
    c->known_count = c->snapshot_count;
    if (*count)
        qsort(c->snapshots, c->known_count, sizeof *c->snapshots, compare_runs);
    if (mark_lost_lists(c->mark))
        return error_set(e, DAMAGED,
                         "%zu lists of chunks can't be read, so what their snapshots need is "
                         "unknown, and nothing was freed: `domsnap check` names the snapshots",
                         mark_lost_lists(c->mark));
    return mark_finish(c->mark, e);
}

/* ---- plan ---- */

/* One that can be dropped once the one that is kept was seen to be whole. */
static bool is_spare(const struct collection *c, uint64_t number, const struct place *place)
{
    return mark_needs(c->mark, number) && !mark_keeps(c->mark, number) && !place->damaged;
}

static int weigh_place(void *arg, uint64_t number, const struct index_entry *entry, struct error *e)
{
    struct collection *c = arg;
    struct plan *p;

    (void)e;
    if (entry->place.pack >= c->pack_count)
        return OK;
    p = &c->plans[entry->place.pack];
    p->count++;
    if (mark_keeps(c->mark, number)) {
        p->cannot_move |= entry->place.damaged;
        p->needed_count++;
        p->needed_bytes += PIECE_HEAD_BYTES + entry->place.stored_bytes + TABLE_ENTRY_BYTES;
    } else if (is_spare(c, number, &entry->place)) {
        p->spare_count++;
    }
    return OK;
}

/* What is moved is read, and so is what stays of that of which a place is dropped. */
static bool can_go(const struct collection *c, uint32_t n, uint64_t *errands)
{
    uint64_t more = c->plans[n].needed_count + c->plans[n].spare_count;

    if (more && *errands + more > ERRANDS_MAX)
        return false;
    *errands += more;
    return true;
}

/* What its table says can't be known is not condemned as long as anything is not to be had: it may
 * be read one day. */
static bool is_out_of_question(const struct collection *c, const struct index_pack *pack)
{
    return pack->unreadable && mark_bad_count(c->mark);
}

static void plan_one(struct collection *c, uint32_t n, uint64_t *errands)
{
    struct plan *p = &c->plans[n];

    if (p->cannot_move || is_out_of_question(c, pack_of(c, n)))
        return;
    if (p->needed_bytes < pack_of(c, n)->bytes / NEEDED_PART && can_go(c, n, errands))
        p->fate = p->needed_count ? MOVES : DEAD;
}

static bool is_small(const struct collection *c, uint32_t n)
{
    const struct plan *p = &c->plans[n];

    return p->fate == STAYS && !p->cannot_move && p->count < SMALL_PIECES &&
           pack_of(c, n)->bytes < SMALL_BYTES && !is_out_of_question(c, pack_of(c, n));
}

static void plan_small(struct collection *c, enum pack_kind kind, uint64_t *errands)
{
    uint32_t count = 0;

    for (uint32_t n = 0; n < c->pack_count; n++)
        count += is_small(c, n) && c->plans[n].kind == kind;
    if (count < SMALL_COUNT)
        return;
    for (uint32_t n = 0; n < c->pack_count; n++)
        if (is_small(c, n) && c->plans[n].kind == kind && can_go(c, n, errands))
            c->plans[n].fate = MOVES;
}

/* Those that may move: a pack whose head can't be read stays. */
static int read_kinds(struct collection *c, struct error *e)
{
    for (uint32_t n = 0; n < c->pack_count; n++) {
        struct plan *p = &c->plans[n];
        struct error why;

        if (p->kind || (p->fate != MOVES && !is_small(c, n)))
            continue;
        if (pack_read_kind(repo_backend(store_repo(c->store)), &pack_of(c, n)->name, &p->kind,
                           &why) < 0)
            p->fate = STAYS;
        if (interrupt_check(e) < 0)
            return e->status;
    }
    return OK;
}

static int plan(struct collection *c, struct error *e)
{
    uint64_t errands = 0;

    for (uint32_t n = 0; n < c->pack_count; n++)
        c->plans[n] = (struct plan){.kind = c->plans[n].kind};
    if (index_each(store_index(c->store), weigh_place, c, e) < 0)
        return e->status;
    for (uint32_t n = 0; n < c->pack_count; n++)
        plan_one(c, n, &errands);
    if (read_kinds(c, e) < 0)
        return e->status;
    plan_small(c, PACK_DATA, &errands);
    plan_small(c, PACK_LISTS, &errands);
    return OK;
}

/* ---- what must be read ---- */

static int add_errand(struct errands *to, const struct errand *one, struct error *e)
{
    struct errand *more;

    if ((to->count & (to->count - 1)) == 0) {
        more = reallocarray(to->list, to->count ? 2 * to->count : 1, sizeof *more);
        if (!more)
            return error_out_of_memory(e);
        to->list = more;
    }
    to->list[to->count++] = *one;
    return OK;
}

/* The places of one piece. */
struct row {
    struct collection *c;
    struct errand kept;
    bool has_kept, drops;
    uint8_t prefix[PREFIX_BYTES];
};

/* Before another place of it is dropped, the one that stays is read. */
static int end_row(struct row *r, struct error *e)
{
    if (!r->has_kept || !r->drops)
        return OK;
    return add_errand(&r->c->checks, &r->kept, e);
}

static int sort_place(void *arg, uint64_t number, const struct index_entry *entry, struct error *e)
{
    struct row *r = arg;
    struct errand one = {.place = entry->place};

    if (entry->place.pack >= r->c->pack_count)
        return OK;
    memcpy(one.prefix, entry->prefix, PREFIX_BYTES);
    if (memcmp(r->prefix, entry->prefix, PREFIX_BYTES) != 0) {
        if (end_row(r, e) < 0)
            return e->status;
        *r = (struct row){.c = r->c};
        memcpy(r->prefix, entry->prefix, PREFIX_BYTES);
    }
    if (!mark_keeps(r->c->mark, number)) {
        r->drops |=
            is_spare(r->c, number, &entry->place) && r->c->plans[entry->place.pack].fate != STAYS;
        return OK;
    }
    r->kept = one;
    r->has_kept = true;
    return r->c->plans[entry->place.pack].fate == MOVES ? add_errand(&r->c->copies, &one, e) : OK;
}

static int compare_errands(const void *a, const void *b)
{
    const struct place *one = &((const struct errand *)a)->place,
                       *other = &((const struct errand *)b)->place;

    if (one->pack != other->pack)
        return one->pack < other->pack ? -1 : 1;
    return one->offset < other->offset ? -1 : one->offset > other->offset;
}

/* In the order in which they lie there. */
static void sort_errands(struct errands *errands)
{
    if (errands->count)
        qsort(errands->list, errands->count, sizeof *errands->list, compare_errands);
}

static int find_errands(struct collection *c, struct error *e)
{
    struct row row = {.c = c};

    c->copies.count = c->checks.count = 0;
    if (index_each(store_index(c->store), sort_place, &row, e) < 0 || end_row(&row, e) < 0)
        return e->status;
    sort_errands(&c->copies);
    sort_errands(&c->checks);
    return OK;
}

static int run_checks(struct collection *c, size_t *bad, struct error *e)
{
    struct error why;

    *bad = 0;
    for (size_t i = 0; i < c->checks.count; i++) {
        const struct errand *one = &c->checks.list[i];

        if (store_check(c->worker, &one->place, one->prefix, &why) < 0) {
            if (why.status != DAMAGED) {
                *e = why;
                return e->status;
            }
            ++*bad;
        }
        if (interrupt_check(e) < 0)
            return e->status;
    }
    return OK;
}

/* A pack of which something can't be copied stays as it is. */
static int run_copies(struct collection *c, struct error *e)
{
    struct error why;

    for (size_t i = 0; i < c->copies.count; i++) {
        const struct errand *one = &c->copies.list[i];
        struct plan *p = &c->plans[one->place.pack];

        if (p->fate != MOVES)
            continue;
        if (store_copy(c->worker, &one->place, one->prefix, p->kind, &why) < 0) {
            if (why.status != DAMAGED) {
                *e = why;
                return e->status;
            }
            p->fate = STAYS;
        }
        if (interrupt_check(e) < 0)
            return e->status;
    }
    return store_finish(c->store, e);
}

/* ---- condemn ---- */

struct second_look {
    struct collection *c;
    const uint8_t *before; /* what was kept then */
};

static int spare_place(void *arg, uint64_t number, const struct index_entry *entry, struct error *e)
{
    struct second_look *look = arg;

    (void)e;
    if (entry->place.pack < look->c->pack_count && mark_needs(look->c->mark, number) &&
        !(look->before[number / 8] & 1 << number % 8))
        look->c->plans[entry->place.pack].fate = STAYS;
    return OK;
}

/* Somebody else may have condemned what is to stay for the sake of what is to go here. */
static int check_stays(const struct collection *c, struct error *e)
{
    const struct view *view = repo_view(store_repo(c->store));

    for (uint32_t n = 0; n < c->pack_count; n++)
        if (c->plans[n].fate == STAYS && c->plans[n].needed_count &&
            !view_find_pack(view, &pack_of(c, n)->name))
            return error_set(e, AGAIN,
                             "another domsnap has freed space at the same time: try again");
    return OK;
}

/* What packs that have come since are patches of. */
static int need_bases(struct collection *c, struct error *e)
{
    const struct index_pack *pack;

    for (; (pack = pack_of(c, c->next_pack)); c->next_pack++) {
        AUTO_FREE struct table_entry *entries = NULL;
        size_t count;

        if (pack_read_table(repo_backend(store_repo(c->store)), &pack->name, pack->bytes, &entries,
                            &count, e) < 0)
            return e->status;
        for (size_t i = 0; i < count; i++)
            if (entries[i].encoding == ENCODING_PATCH && mark_base(c->mark, entries[i].base, e) < 0)
                return e->status;
    }
    return OK;
}

/* Snapshots have been added since: what they need, and was not needed before, stays where it is. */
static int look_again(struct collection *c, struct error *e)
{
    AUTO_FREE uint8_t *before = mark_needed_copy(c->mark);
    struct second_look look = {c, before};
    uint32_t packs = c->next_pack;
    size_t count;

    if (!before)
        return error_out_of_memory(e);
    if (check_stays(c, e) < 0 ||
        index_learn(store_index(c->store), repo_view(store_repo(c->store)), e) < 0 ||
        need_bases(c, e) < 0 || mark_new_snapshots(c, &count, e) < 0)
        return e->status;
    if (count == 0 && packs == c->next_pack)
        return OK;
    return index_each(store_index(c->store), spare_place, &look, e);
}

static int list_doomed(struct collection *c, json_t *doomed, struct error *e)
{
    *c->stats = (struct collect_stats){0};
    for (uint32_t n = 0; n < c->pack_count; n++) {
        const struct index_pack *pack = pack_of(c, n);

        if (c->plans[n].fate == STAYS)
            continue;
        if (json_array_append_new(doomed, pack_to_json(&pack->name, pack->bytes)) < 0)
            return error_out_of_memory(e);
        c->stats->condemned_packs++;
        c->stats->condemned_bytes += pack->bytes;
    }
    return OK;
}

static void count_copies(struct collection *c)
{
    const struct view_pack *own = store_packs(c->store, &c->stats->copied_packs);

    for (size_t i = 0; i < c->stats->copied_packs; i++)
        c->stats->copied_bytes += own[i].bytes;
}

/* `*done`: it counts, or there is nothing to condemn. */
static int put_condemn(struct collection *c, bool *done, struct error *e)
{
    struct repo *r = store_repo(c->store);
    AUTO_JSON json_t *doomed = json_array(), *named = store_packs_to_json(c->store), *entry = NULL;

    if (list_doomed(c, doomed, e) < 0)
        return e->status;
    *done = c->stats->condemned_packs == 0;
    if (*done)
        return OK;
    entry = json_pack("{s:s, s:s, s:O, s:O}", "kind", "condemn", "run", repo_run(r), "packs",
                      doomed, "named", named);
    if (!entry)
        return error_out_of_memory(e);
    if (log_put(repo_log(r), entry, e) < 0)
        return e->status;
    *done = log_has_condemned(repo_log(r), entry);
    return OK;
}

/* It may be put only as the next after what it was worked out from. */
static int condemn(struct collection *c, struct error *e)
{
    struct repo *r = store_repo(c->store);

    store_note_damage(c->store);
    for (c->next_pack = c->pack_count; pack_of(c, c->next_pack); c->next_pack++)
        ;
    if (log_read(repo_log(r), e) < 0)
        return e->status;
    for (bool done = false; !done;)
        if (log_check_run(repo_log(r), repo_run(r), e) < 0 || look_again(c, e) < 0 ||
            put_condemn(c, &done, e) < 0)
            return e->status;
    if (c->stats->condemned_packs == 0)
        return OK;
    count_copies(c);
    repo_has_ended(r);
    /* It is done, whatever happens now. */
    (void)FAULT("collect-condemned", e);
    return OK;
}

/* ---- the whole ---- */

/* What is not to be had may be there, as a patch of nobody knows what. */
static int check_tables(const struct collection *c, struct error *e)
{
    for (uint32_t n = 0; mark_missing(c->mark) && n < c->pack_count; n++)
        if (pack_of(c, n)->unreadable) {
            *e = *pack_of(c, n)->why;
            return error_append(e, "what snapshots need may be in it, so nothing was freed: run "
                                   "`domsnap repair` first");
        }
    return OK;
}

static int prepare(struct collection *c, struct error *e)
{
    size_t count, bad = 1;

    if (mark_new_snapshots(c, &count, e) < 0 || check_tables(c, e) < 0)
        return e->status;
    for (int round = 0; bad && round < ROUNDS_MAX; round++)
        if ((round && mark_finish(c->mark, e) < 0) || plan(c, e) < 0 || find_errands(c, e) < 0 ||
            run_checks(c, &bad, e) < 0)
            return e->status;
    return bad ? error_set(e, DAMAGED,
                           "more and more of it turns out to be damaged; run `domsnap check "
                           "--read-data` first")
               : OK;
}

int collect_run(struct store *s, struct collect_stats *stats, struct error *e)
{
    struct collection c = {.store = s, .stats = stats};
    int rc;

    *stats = (struct collect_stats){0};
    while (pack_of(&c, c.pack_count))
        c.pack_count++;
    c.plans = calloc(c.pack_count + (size_t)1, sizeof *c.plans);
    rc = c.plans ? mark_new(&c.mark, s, e) : error_out_of_memory(e);
    if (rc == OK)
        rc = store_worker_new(&c.worker, s, e);
    if (rc == OK)
        rc = prepare(&c, e);
    if (rc == OK)
        rc = run_copies(&c, e);
    if (rc == OK)
        rc = condemn(&c, e);
    store_worker_free(c.worker);
    mark_free(c.mark);
    free(c.copies.list);
    free(c.checks.list);
    free(c.snapshots);
    free(c.plans);
    return rc < 0 ? error_prefix(e, "free space") : OK;
}
