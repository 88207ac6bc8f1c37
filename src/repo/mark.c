/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/mark.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/interrupt.h"
#include "repo/names.h"
#include "repo/prefix_set.h"

struct mark {
    struct store *store;
    struct store_worker *worker;
    uint64_t places;
    uint8_t *needed, *keep;  /* a bit for each place */
    struct names *names;     /* that are needed, and not looked up yet */
    struct prefix_set lists; /* that were met: what they list has been, too */
    struct prefix_set bases; /* of the patches that were chosen */
    struct prefix_set bad;
    size_t lost_lists, missing;
    bool at_bases; /* what is looked up is needed by patches alone, and whole */
};

static bool bit_of(const uint8_t *bits, uint64_t n)
{
    return bits[n / 8] & 1 << n % 8;
}

static void set_bit(uint8_t *bits, uint64_t n)
{
    bits[n / 8] |= (uint8_t)(1 << n % 8);
}

int mark_new(struct mark **out, struct store *s, struct error *e)
{
    struct mark *m = calloc(1, sizeof *m);

    if (!m)
        return error_out_of_memory(e);
    m->store = s;
    if (index_merge(store_index(s), &m->places, e) == OK &&
        store_worker_new(&m->worker, s, e) == OK &&
        names_new(&m->names, index_scratch(store_index(s)), e) == OK) {
        m->needed = calloc(m->places / 8 + 1, 1);
        m->keep = calloc(m->places / 8 + 1, 1);
        if (m->needed && m->keep) {
            *out = m;
            return OK;
        }
        error_out_of_memory(e);
    }
    mark_free(m);
    return e->status;
}

void mark_free(struct mark *m)
{
    if (!m)
        return;
    store_worker_free(m->worker);
    prefix_set_release(&m->lists);
    prefix_set_release(&m->bases);
    prefix_set_release(&m->bad);
    free(m->needed);
    free(m->keep);
    names_free(m->names);
    free(m);
}

/* ---- what is needed ---- */

/* The names that are needed and the places that there are, both in order. */
struct meeting {
    struct mark *m;
    const uint8_t *name; /* NULL: there are no more */
    bool met;
};

static int next_name(struct meeting *g, struct error *e)
{
    int rc = names_next(g->m->names, &g->name, e);

    if (rc == 0)
        g->name = NULL;
    g->met = false;
    return rc < 0 ? rc : OK;
}

static int end_name(struct meeting *g, struct error *e)
{
    if (!g->met) {
        g->m->missing += !g->m->at_bases;
        if (prefix_set_add(&g->m->bad, g->name, NULL, e) < 0)
            return e->status;
    }
    return next_name(g, e);
}

static int meet(void *arg, uint64_t number, const struct index_entry *entry, struct error *e)
{
    struct meeting *g = arg;

    while (g->name && memcmp(g->name, entry->prefix, PREFIX_BYTES) < 0)
        if (end_name(g, e) < 0)
            return e->status;
    if (g->name && memcmp(g->name, entry->prefix, PREFIX_BYTES) == 0) {
        set_bit(g->m->needed, number);
        g->met = true;
    }
    return OK;
}

static int look_up(struct mark *m, struct error *e)
{
    struct meeting g = {.m = m};

    if (names_begin(m->names, e) < 0 || next_name(&g, e) < 0 ||
        index_each(store_index(m->store), meet, &g, e) < 0)
        return e->status;
    while (g.name)
        if (end_name(&g, e) < 0)
            return e->status;
    return OK;
}

static int flush(struct mark *m, struct error *e)
{
    int rc;

    if (names_is_empty(m->names))
        return OK;
    rc = look_up(m, e);
    names_clear(m->names);
    return rc < 0 ? rc : interrupt_check(e);
}

static int need(struct mark *m, const uint8_t *prefix, struct error *e)
{
    if (names_is_full(m->names) && flush(m, e) < 0)
        return e->status;
    return names_add(m->names, prefix, e);
}

/* `*new`: it has not been met before. */
static int need_list(struct mark *m, const struct chunk_id *id, bool *new, struct error *e)
{
    if (prefix_set_add(&m->lists, id->bytes, new, e) < 0)
        return e->status;
    return *new ? need(m, id->bytes, e) : OK;
}

static int see_list(void *arg, const struct chunk_id *id, struct error *e)
{
    bool new;

    return need_list(arg, id, &new, e);
}

static int see_lost(void *arg, const struct chunk_id *id, const struct error *why, struct error *e)
{
    struct mark *m = arg;

    (void)why;
    m->lost_lists++;
    return prefix_set_add(&m->bad, id->bytes, NULL, e);
}

static int mark_leaf(struct mark *m, const struct tree *tree, uint64_t leaf, struct error *e)
{
    const struct chunk_id *id = &tree->leaves[leaf];
    struct chunk_id chunks[LIST_IDS];
    struct error why;
    bool new;

    if (chunk_id_is_zero(id) || tree_is_lost(id))
        return OK;
    if (need_list(m, id, &new, e) < 0)
        return e->status;
    if (!new)
        return OK;
    if (tree_get_leaf(tree, m->worker, leaf, chunks, &why) < 0) {
        if (why.status == DAMAGED)
            return see_lost(m, id, &why, e);
        *e = why;
        return e->status;
    }
    for (uint32_t i = 0; i < LIST_IDS; i++)
        if (!chunk_id_is_zero(&chunks[i]) && need(m, chunks[i].bytes, e) < 0)
            return e->status;
    return interrupt_check(e);
}

static int mark_image(struct mark *m, const struct manifest_file *f, struct error *e)
{
    struct tree_watch watch = {see_list, see_lost, m};
    struct tree tree = {0};
    struct chunk_id root;
    int rc = OK;

    if (chunk_id_from_hex(&root, f->root, e) < 0)
        return e->status;
    /* The same image as another's. */
    if (chunk_id_is_zero(&root) || prefix_set_has(&m->lists, root.bytes))
        return OK;
    if (tree_get(&tree, m->worker, &root, f->bytes, store_chunk_bytes(m->store), &watch, e) < 0)
        return e->status;
    for (uint64_t leaf = 0; rc == OK && leaf < tree.leaf_count; leaf++)
        rc = mark_leaf(m, &tree, leaf, e);
    tree_release(&tree);
    return rc;
}

int mark_snapshot(struct mark *m, const struct manifest *manifest, struct error *e)
{
    const struct manifest_file *f;

    m->at_bases = false;
    for (size_t i = 0; (f = manifest_image(manifest, i)); i++)
        if (f->root[0] && mark_image(m, f, e) < 0)
            return e->status;
    return OK;
}

/* ---- the choice ---- */

/* All places of one piece. */
struct group {
    struct mark *m;
    uint8_t prefix[PREFIX_BYTES];
    uint64_t first;
    struct place places[PLACES_MAX];
    uint32_t count; /* more than PLACES_MAX are not looked at, and kept */
    int (*choose)(struct group *g, struct error *e);
};

static bool is_sound(const struct place *p)
{
    return !p->damaged;
}

/* A patch whose base is not to be had is none. */
static bool is_lost_patch(const struct group *g, const struct place *p)
{
    return p->patch && prefix_set_has(&g->m->bad, p->base);
}

/* The first that is sound, and better than a patch if there is one; count: none. */
static uint32_t best_of(const struct group *g, bool whole, uint32_t but)
{
    uint32_t best = g->count, known = g->count < PLACES_MAX ? g->count : PLACES_MAX;

    for (uint32_t i = 0; i < known; i++) {
        if (!is_sound(&g->places[i]) || (whole && g->places[i].patch) ||
            is_lost_patch(g, &g->places[i]))
            continue;
        if (but < known && g->places[i].pack == g->places[but].pack)
            continue;
        if (best == g->count || (g->places[best].patch && !g->places[i].patch))
            best = i;
    }
    return best;
}

static void keep(struct group *g, uint32_t i)
{
    set_bit(g->m->keep, g->first + i);
}

static int need_base(struct group *g, const struct place *patch, struct error *e)
{
    if (prefix_set_add(&g->m->bases, patch->base, NULL, e) < 0)
        return e->status;
    return need(g->m, patch->base, e);
}

/* What is nowhere sound may be read one day all the same. */
static int keep_all(struct group *g, struct error *e)
{
    for (uint32_t i = 0; i < g->count; i++)
        keep(g, i);
    return prefix_set_add(&g->m->bad, g->prefix, NULL, e);
}

/* A patch is of no use without what it is of. */
static int keep_with_bases(struct group *g, struct error *e)
{
    for (uint32_t i = 0; i < g->count && i < PLACES_MAX; i++)
        if (g->places[i].patch && need_base(g, &g->places[i], e) < 0)
            return e->status;
    return keep_all(g, e);
}

/* Of what snapshots name. */
static int choose_piece(struct group *g, struct error *e)
{
    uint32_t best = best_of(g, false, UINT32_MAX), second;

    if (best == g->count)
        return keep_with_bases(g, e);
    keep(g, best);
    if (prefix_set_has(&g->m->lists, g->prefix)) {
        second = best_of(g, false, best);
        if (second < g->count)
            keep(g, second);
    }
    return g->places[best].patch ? need_base(g, &g->places[best], e) : OK;
}

/* Of what patches are of: it must be whole. */
static int choose_base(struct group *g, struct error *e)
{
    uint32_t best = best_of(g, true, UINT32_MAX);

    if (best == g->count)
        return keep_all(g, e);
    keep(g, best);
    return OK;
}

static bool is_chosen(const struct group *g)
{
    for (uint32_t i = 0; i < g->count; i++)
        if (bit_of(g->m->keep, g->first + i))
            return i >= PLACES_MAX || !g->places[i].patch;
    return false;
}

static int choose_bases(struct group *g, struct error *e)
{
    return !prefix_set_has(&g->m->bases, g->prefix) || is_chosen(g) ? OK : choose_base(g, e);
}

static int end_group(struct group *g, struct error *e)
{
    if (g->count == 0 || !bit_of(g->m->needed, g->first))
        return OK;
    return g->choose(g, e);
}

static int add_place(void *arg, uint64_t number, const struct index_entry *entry, struct error *e)
{
    struct group *g = arg;

    if (g->count && memcmp(g->prefix, entry->prefix, PREFIX_BYTES) == 0) {
        if (g->count < PLACES_MAX)
            g->places[g->count] = entry->place;
        g->count++;
        return OK;
    }
    if (end_group(g, e) < 0)
        return e->status;
    memcpy(g->prefix, entry->prefix, PREFIX_BYTES);
    g->first = number;
    g->places[0] = entry->place;
    g->count = 1;
    return OK;
}

static int each_group(struct mark *m, int (*choose)(struct group *g, struct error *e),
                      struct error *e)
{
    struct group g = {.m = m, .choose = choose};

    if (index_each(store_index(m->store), add_place, &g, e) < 0)
        return e->status;
    return end_group(&g, e) < 0 ? e->status : interrupt_check(e);
}

/* As long as something more turns out to be bad: what is a patch of it is to be had from elsewhere,
 * or is bad, too. */
int mark_finish(struct mark *m, struct error *e)
{
    size_t bad;

    m->at_bases = false;
    if (flush(m, e) < 0)
        return e->status;
    m->at_bases = true;
    do {
        bad = m->bad.count;
        prefix_set_release(&m->bases);
        memset(m->keep, 0, m->places / 8 + 1);
        if (each_group(m, choose_piece, e) < 0)
            return e->status;
        if (m->bases.count && (flush(m, e) < 0 || each_group(m, choose_bases, e) < 0))
            return e->status;
    } while (m->bad.count > bad);
    return OK;
}

bool mark_keeps(const struct mark *m, uint64_t number)
{
    return bit_of(m->keep, number);
}

bool mark_needs(const struct mark *m, uint64_t number)
{
    return bit_of(m->needed, number);
}

uint8_t *mark_needed_copy(const struct mark *m)
{
    uint8_t *copy = malloc(m->places / 8 + 1);

    return copy ? memcpy(copy, m->needed, m->places / 8 + 1) : NULL;
}

size_t mark_bad_count(const struct mark *m)
{
    return m->bad.count;
}

bool mark_is_bad(const struct mark *m, const struct chunk_id *id)
{
    return prefix_set_has(&m->bad, id->bytes);
}

int mark_base(struct mark *m, const uint8_t *prefix, struct error *e)
{
    return need(m, prefix, e);
}

size_t mark_missing(const struct mark *m)
{
    return m->missing;
}

size_t mark_lost_lists(const struct mark *m)
{
    return m->lost_lists;
}
