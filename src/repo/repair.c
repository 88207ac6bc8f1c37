/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/repair.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "repo/pack.h"

struct repair {
    struct store *store;
    struct store_worker *worker;
    struct repair_stats *stats;
    json_t *emptied; /* the "packs" of a condemn entry */

    /* Of one pack: */
    enum pack_kind kind;
    uint32_t end;    /* of the last good piece */
    uint32_t pieces; /* so many good ones */
    bool gap; /* between two good pieces there is something else, or something could not be put */
};

/* ---- one pack ---- */

static int see_piece(void *arg, uint32_t offset, const struct piece_head *h, const uint8_t *piece,
                     struct error *e)
{
    struct repair *r = arg;
    struct error why;

    /* Within one that was good there is none. */
    if (offset < r->end)
        return interrupt_check(e);
    if (store_put_piece(r->worker, h, piece, r->kind, &why) < 0) {
        if (why.status != DAMAGED) {
            *e = why;
            return e->status;
        }
        r->stats->lost_pieces++;
        r->gap = true;
        return OK;
    }
    r->gap |= offset != r->end;
    r->pieces++;
    r->end = offset + PIECE_HEAD_BYTES + h->stored_bytes;
    r->stats->salvaged_pieces++;
    r->stats->salvaged_bytes += h->stored_bytes;
    return interrupt_check(e);
}

/* What comes after the last piece must be the table of just these: then all there ever was has been
 * seen. */
static bool is_all(const struct repair *r, const struct index_pack *pack)
{
    return !r->gap &&
           pack->bytes == r->end + (uint64_t)r->pieces * TABLE_ENTRY_BYTES + PACK_TAIL_BYTES;
}

static int add_emptied(struct repair *r, const struct index_pack *pack, struct error *e)
{
    r->stats->emptied_packs++;
    return json_array_append_new(r->emptied, pack_to_json(&pack->name, pack->bytes)) < 0
               ? error_out_of_memory(e)
               : OK;
}

static int repair_pack(struct repair *r, uint32_t n, struct error *e)
{
    const struct index_pack *pack = index_pack(store_index(r->store), n);
    struct backend *b = repo_backend(store_repo(r->store));
    struct error why;

    r->stats->packs++;
    r->end = PACK_HEAD_BYTES;
    r->pieces = 0;
    r->gap = false;
    /* Of one whose head is damaged, the pieces may be good. */
    if (pack_read_kind(b, &pack->name, &r->kind, &why) < 0)
        r->kind = PACK_DATA;
    if (pack_scan(b, &pack->name, see_piece, r, &why) < 0) {
        if (why.status != NOT_FOUND && why.status != DAMAGED) {
            *e = why;
            return e->status;
        }
        return add_emptied(r, pack, e); /* it is gone */
    }
    return is_all(r, pack) ? add_emptied(r, pack, e) : OK;
}

/* ---- all ---- */

static bool is_damaged(const struct repair *r, uint32_t n)
{
    const struct index_pack *pack = index_pack(store_index(r->store), n);
    const struct view_pack *known = view_find_pack(repo_view(store_repo(r->store)), &pack->name);

    return pack->unreadable || (known && known->damage);
}

static int repair_packs(struct repair *r, struct error *e)
{
    uint32_t count = 0;

    while (index_pack(store_index(r->store), count))
        count++;
    /* What is in any of them must be elsewhere, too, before it goes. */
    for (uint32_t n = 0; n < count; n++)
        if (is_damaged(r, n) && index_mark_pack(store_index(r->store), n, e) < 0)
            return e->status;
    for (uint32_t n = 0; n < count; n++)
        if (is_damaged(r, n) && repair_pack(r, n, e) < 0)
            return e->status;
    return store_finish(r->store, e);
}

static json_t *make_entry(struct repair *r)
{
    AUTO_JSON json_t *named = store_packs_to_json(r->store);

    return named ? json_pack("{s:s, s:s, s:O, s:O}", "kind", "condemn", "run",
                             repo_run(store_repo(r->store)), "packs", r->emptied, "named", named)
                 : NULL;
}

/* Where pieces are elsewhere, too, that must still be so. */
static int check_relied(struct repair *r, struct error *e)
{
    bool lost;

    if (store_follow(r->store, &lost, e) < 0)
        return e->status;
    return lost ? error_set(e, AGAIN, "another domsnap has freed space at the same time: try again")
                : OK;
}

/* Name the new packs, and no longer those that were emptied. */
static int put_entry(struct repair *r, struct error *e)
{
    struct repo *repo = store_repo(r->store);
    AUTO_JSON json_t *entry = make_entry(r);

    if (!entry)
        return error_out_of_memory(e);
    if (json_array_size(json_object_get(entry, "packs")) +
            json_array_size(json_object_get(entry, "named")) ==
        0)
        return OK;
    store_note_damage(r->store);
    if (log_read(repo_log(repo), e) < 0)
        return e->status;
    do
        if (log_check_run(repo_log(repo), repo_run(repo), e) < 0 || check_relied(r, e) < 0 ||
            log_put(repo_log(repo), entry, e) < 0)
            return e->status;
    while (!log_has_condemned(repo_log(repo), entry));
    repo_has_ended(repo);
    /* It is done, whatever happens now. */
    (void)FAULT("repaired", e);
    return OK;
}

int repair_run(struct store *s, struct repair_stats *stats, struct error *e)
{
    struct repair r = {.store = s, .stats = stats, .emptied = json_array()};
    int rc = r.emptied ? store_worker_new(&r.worker, s, e) : error_out_of_memory(e);

    *stats = (struct repair_stats){0};
    if (rc == OK)
        rc = repair_packs(&r, e);
    if (rc == OK)
        rc = put_entry(&r, e);
    store_worker_free(r.worker);
    json_decref(r.emptied);
    return rc < 0 ? error_prefix(e, "repair") : OK;
}
