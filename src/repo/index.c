/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "repo/index_private.h"
#include "repo/pack.h"

/* ---- packs ---- */

static int compare_offsets(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

bool index_is_damaged(const struct pack *pack, uint32_t offset)
{
    return pack->all_damaged ||
           (pack->damaged_count &&
            bsearch(&offset, pack->damaged, pack->damaged_count, sizeof offset, compare_offsets));
}

static void insert_offset(struct pack *pack, uint32_t offset)
{
    size_t at = pack->damaged_count++;

    /* Mostly they come in order. */
    while (at && pack->damaged[at - 1] > offset)
        at--;
    memmove(&pack->damaged[at + 1], &pack->damaged[at],
            (pack->damaged_count - at - 1) * sizeof offset);
    pack->damaged[at] = offset;
}

static int add_damage(struct pack *pack, const uint32_t *offsets, size_t count, struct error *e)
{
    uint32_t *all = realloc(pack->damaged, (pack->damaged_count + count + 1) * sizeof *all);

    if (!all)
        return error_out_of_memory(e);
    pack->damaged = all;
    for (size_t i = 0; i < count; i++)
        if (!index_is_damaged(pack, offsets[i]))
            insert_offset(pack, offsets[i]);
    return OK;
}

static int take_damage(struct pack *pack, const struct view_damage *damage, struct error *e)
{
    if (!damage)
        return OK;
    if (damage->count == 0)
        pack->all_damaged = true;
    return add_damage(pack, damage->offsets, damage->count, e);
}

static int make_pack_room(struct index *ix, size_t more, struct error *e)
{
    size_t room = ix->pack_room ? ix->pack_room : 64;
    struct pack **packs;

    while (room < ix->pack_count + more)
        room *= 2;
    if (room == ix->pack_room)
        return OK;
    packs = realloc(ix->packs, room * sizeof *packs);
    if (!packs)
        return error_out_of_memory(e);
    ix->packs = packs;
    ix->pack_room = room;
    return OK;
}

static int take_view(struct index *ix, const struct view *v, struct error *e)
{
    if (make_pack_room(ix, v->pack_count + 1, e) < 0)
        return e->status;
    ix->listed = calloc(v->pack_count + 1, sizeof *ix->listed);
    if (!ix->listed)
        return error_out_of_memory(e);
    ix->listed_count = v->pack_count;
    for (size_t i = 0; i < v->pack_count; i++) {
        struct pack *pack = &ix->listed[i];

        pack->told.name = v->packs[i].name;
        pack->told.bytes = v->packs[i].bytes;
        ix->packs[ix->pack_count++] = pack;
        if (take_damage(pack, v->packs[i].damage, e) < 0)
            return e->status;
    }
    return OK;
}

const struct index_pack *index_pack(struct index *ix, uint32_t number)
{
    const struct pack *pack = NULL;

    pthread_rwlock_rdlock(&ix->lock);
    if (number < ix->pack_count)
        pack = ix->packs[number];
    pthread_rwlock_unlock(&ix->lock);
    return pack ? &pack->told : NULL;
}

/* ---- opening ---- */

static struct index *new_index(struct backend *b)
{
    struct index *ix = calloc(1, sizeof *ix);
    pthread_rwlockattr_t attr;

    if (!ix)
        return NULL;
    ix->backend = b;
    ix->dirfd = -1;
    pthread_mutex_init(&ix->keeping, NULL);
    pthread_mutex_init(&ix->memory, NULL);
    pthread_rwlockattr_init(&attr);
    /* Else readers that are many keep a writer out for ever. */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&ix->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    return ix;
}

int index_open(struct index **out, struct backend *b, const struct view *v, const char *id,
               const char *cache, struct error *e)
{
    struct index *ix = new_index(b);

    if (!ix)
        return error_out_of_memory(e);
    if (!EVP_Digest(id, strlen(id), ix->repository, NULL, EVP_sha256(), NULL))
        error_set(e, FAILED, "libcrypto has no SHA-256");
    else if (take_view(ix, v, e) == OK && index_open_files(ix, id, cache, e) == OK) {
        *out = ix;
        return OK;
    }
    index_close(ix);
    return e->status;
}

void index_close(struct index *ix)
{
    if (!ix)
        return;
    index_close_files(ix);
    for (size_t i = 0; i < ix->pack_count; i++) {
        free(ix->packs[i]->told.why);
        free(ix->packs[i]->damaged);
        if (i >= ix->listed_count)
            free(ix->packs[i]);
    }
    free(ix->packs);
    free(ix->listed);
    fresh_release(&ix->fresh);
    fresh_release(&ix->open);
    fresh_release(&ix->frozen);
    pthread_mutex_destroy(&ix->keeping);
    pthread_mutex_destroy(&ix->memory);
    pthread_rwlock_destroy(&ix->lock);
    free(ix);
}

/* ---- finding ---- */

/* The best places that were found, the best first. */
struct hunt {
    const struct index *ix;
    struct place *places;
    size_t room, count;
};

static unsigned rank(const struct place *p)
{
    return 2u * p->damaged + p->patch;
}

static void see(void *arg, const struct entry *entry)
{
    struct hunt *h = arg;
    const struct pack *pack = h->ix->packs[entry->pack];
    struct place place = {
        .pack = entry->pack,
        .offset = entry->offset,
        .stored_bytes = entry->stored_bytes & ~ENTRY_PATCH,
        .patch = entry->stored_bytes & ENTRY_PATCH,
        .damaged = index_is_damaged(pack, entry->offset),
    };
    size_t at = h->count;

    memcpy(place.base, entry->base, PREFIX_BYTES);
    while (at && rank(&h->places[at - 1]) > rank(&place))
        at--;
    if (at == h->room)
        return;
    h->count += h->count < h->room;
    memmove(&h->places[at + 1], &h->places[at], (h->count - at - 1) * sizeof place);
    h->places[at] = place;
}

/* Under `lock`. */
static void hunt_in_memory(struct index *ix, const uint8_t *prefix, struct hunt *h)
{
    fresh_find(&ix->frozen, prefix, see, h);
    pthread_mutex_lock(&ix->memory);
    fresh_find(&ix->fresh, prefix, see, h);
    pthread_mutex_unlock(&ix->memory);
}

/* Under `lock`. `*bad`: a segment that can't be read, to be released. */
static int hunt_everywhere(struct index *ix, const uint8_t *prefix, struct hunt *h,
                           struct segment **bad, struct error *e)
{
    hunt_in_memory(ix, prefix, h);
    for (size_t i = 0; i < ix->segment_count; i++)
        if (segment_find(ix->segments[i], prefix, see, h, e) < 0) {
            *bad = segment_hold(ix->segments[i]);
            return e->status;
        }
    return OK;
}

/* Try again without a segment that cannot be read. A disk on which new ones are bad too is not ours
 * to mend. */
#define TRIES 4

int index_find(struct index *ix, const struct chunk_id *id, struct place places[PLACES_MAX],
               struct error *e)
{
    return index_find_prefix(ix, id->bytes, places, e);
}

int index_find_prefix(struct index *ix, const uint8_t prefix[PREFIX_BYTES],
                      struct place places[PLACES_MAX], struct error *e)
{
    for (int i = 0; i < TRIES; i++) {
        struct hunt h = {ix, places, PLACES_MAX, 0};
        struct segment *bad = NULL;
        int rc;

        pthread_rwlock_rdlock(&ix->lock);
        rc = hunt_everywhere(ix, prefix, &h, &bad, e);
        pthread_rwlock_unlock(&ix->lock);
        if (rc == OK)
            return (int)h.count;
        if (index_heal(ix, bad, e) < 0)
            return e->status;
    }
    return error_set(e, FAILED, "index: what is written to it is damaged again and again");
}

/* ---- claims ---- */

struct claiming {
    const struct chunk_id *id;
    bool whole;
    enum claim *claim;
    struct place *place;
};

static bool counts(const struct claiming *c, const struct hunt *h)
{
    return h->count && !c->place->damaged && !(c->whole && c->place->patch);
}

/* Under `memory`. An open one that may become a patch is none that is whole. */
static bool is_open(struct index *ix, const struct claiming *c)
{
    const struct entry *open = fresh_first(&ix->open, c->id->bytes);

    if (!open || (c->whole && (open->stored_bytes & ENTRY_PATCH)))
        return false;
    *c->place = (struct place){.pack = PACK_OPEN};
    return true;
}

/* Under `memory`. */
static int open_one(struct index *ix, const struct claiming *c, struct error *e)
{
    struct entry *open = fresh_first(&ix->open, c->id->bytes);
    struct entry new = {.pack = PACK_OPEN, .stored_bytes = c->whole ? 0 : ENTRY_PATCH};

    *c->claim = CLAIM_MINE;
    *c->place = (struct place){.pack = PACK_OPEN};
    if (open) {
        open->stored_bytes = new.stored_bytes;
        return OK;
    }
    if (fresh_reserve(&ix->open, 1, 0, e) < 0)
        return e->status;
    memcpy(new.prefix, c->id->bytes, PREFIX_BYTES);
    fresh_put(&ix->open, &new);
    return OK;
}

/* Known to memory? If not, and `mine`, it is from now on. Under `lock`. */
enum unknown { UNKNOWN_LEAVE, UNKNOWN_CLAIM };

static int claim_in_memory(struct index *ix, const struct claiming *c, enum unknown what,
                           bool *known, struct error *e)
{
    struct hunt h = {ix, c->place, 1, 0};
    int rc = OK;

    if (what == UNKNOWN_LEAVE)
        fresh_find(&ix->frozen, c->id->bytes, see, &h);
    pthread_mutex_lock(&ix->memory);
    fresh_find(&ix->fresh, c->id->bytes, see, &h);
    *known = counts(c, &h) || is_open(ix, c);
    if (!*known && what == UNKNOWN_CLAIM)
        rc = open_one(ix, c, e);
    pthread_mutex_unlock(&ix->memory);
    return rc;
}

/* Under `lock`, so only `fresh` and `open` can change while segments are read: they are looked at
 * before and after. */
static int try_claim(struct index *ix, const struct claiming *c, struct segment **bad,
                     struct error *e)
{
    bool known;

    *c->claim = CLAIM_KNOWN;
    if (claim_in_memory(ix, c, UNKNOWN_LEAVE, &known, e) < 0 || known)
        return known ? OK : e->status;
    for (size_t i = 0; i < ix->segment_count; i++) {
        struct hunt h = {ix, c->place, 1, 0};

        if (segment_find(ix->segments[i], c->id->bytes, see, &h, e) < 0) {
            *bad = segment_hold(ix->segments[i]);
            return e->status;
        }
        if (counts(c, &h))
            return OK;
    }
    return claim_in_memory(ix, c, UNKNOWN_CLAIM, &known, e);
}

int index_claim(struct index *ix, const struct chunk_id *id, bool whole, enum claim *claim,
                struct place *place, struct error *e)
{
    struct claiming c = {id, whole, claim, place};

    for (int i = 0; i < TRIES; i++) {
        struct segment *bad = NULL;
        int rc;

        pthread_rwlock_rdlock(&ix->lock);
        rc = try_claim(ix, &c, &bad, e);
        pthread_rwlock_unlock(&ix->lock);
        if (rc == OK || !bad)
            return rc;
        if (index_heal(ix, bad, e) < 0)
            return e->status;
    }
    return error_set(e, FAILED, "index: what is written to it is damaged again and again");
}

/* ---- adding ---- */

int index_put_table(struct fresh *f, uint32_t number, uint64_t pack_bytes,
                    const struct table_entry *entries, size_t count, struct error *e)
{
    if (fresh_reserve(f, count, 1, e) < 0)
        return e->status;
    for (int put = 0; put < 2; put++)
        for (size_t i = 0; i < count; i++) {
            const struct table_entry *t = &entries[i];
            bool patch = t->encoding == ENCODING_PATCH;
            struct entry entry = {.pack = number, .offset = t->offset};

            entry.stored_bytes = t->stored_bytes;
            if (!put && !entry_is_possible(&entry, pack_bytes))
                return error_set(e, DAMAGED, "its table leads out of it");
            if (!put)
                continue;
            memcpy(entry.prefix, t->id.bytes, PREFIX_BYTES);
            if (patch)
                memcpy(entry.base, t->base, PREFIX_BYTES);
            entry.stored_bytes |= patch ? ENTRY_PATCH : 0;
            fresh_put(f, &entry);
        }
    fresh_put_pack(f, number, (uint32_t)count);
    return OK;
}

/* What was claimed as whole is not there yet if it comes as a patch: that is another's. */
static void close_claims(struct index *ix, const struct table_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct entry *open = fresh_first(&ix->open, entries[i].id.bytes);

        if (open && ((open->stored_bytes & ENTRY_PATCH) || entries[i].encoding != ENCODING_PATCH))
            fresh_remove(&ix->open, entries[i].id.bytes);
    }
}

/* Under `lock`, to change. */
static int add_pack(struct index *ix, struct pack *pack, const struct table_entry *entries,
                    size_t count, uint32_t *number, struct error *e)
{
    int rc;

    if (make_pack_room(ix, 1, e) < 0)
        return e->status;
    *number = (uint32_t)ix->pack_count;
    pthread_mutex_lock(&ix->memory);
    rc = index_put_table(&ix->fresh, *number, pack->told.bytes, entries, count, e);
    if (rc == OK) {
        ix->packs[ix->pack_count++] = pack;
        close_claims(ix, entries, count);
    }
    pthread_mutex_unlock(&ix->memory);
    return rc;
}

int index_add_pack(struct index *ix, const struct pack_name *name, uint64_t bytes,
                   const struct table_entry *entries, size_t count, uint32_t *number,
                   struct error *e)
{
    struct pack *pack = calloc(1, sizeof *pack);
    int rc;

    if (!pack)
        return error_out_of_memory(e);
    pack->told.name = *name;
    pack->told.bytes = bytes;
    pthread_rwlock_wrlock(&ix->lock);
    rc = add_pack(ix, pack, entries, count, number, e);
    pthread_rwlock_unlock(&ix->lock);
    if (rc < 0)
        free(pack);
    else
        index_relieve(ix);
    return rc;
}

/* ---- what becomes known ---- */

int index_mark(struct index *ix, const struct place *place, struct error *e)
{
    int rc = OK;

    pthread_rwlock_wrlock(&ix->lock);
    if (place->pack >= ix->pack_count)
        rc = error_set(e, FAILED, "index: there is no pack %u to be marked", place->pack);
    else if (!index_is_damaged(ix->packs[place->pack], place->offset))
        rc = add_damage(ix->packs[place->pack], &place->offset, 1, e);
    pthread_rwlock_unlock(&ix->lock);
    return rc;
}

int index_mark_pack(struct index *ix, uint32_t number, struct error *e)
{
    int rc = OK;

    pthread_rwlock_wrlock(&ix->lock);
    if (number < ix->pack_count)
        ix->packs[number]->all_damaged = true;
    else
        rc = error_set(e, FAILED, "index: there is no pack %u to be marked", number);
    pthread_rwlock_unlock(&ix->lock);
    return rc;
}

static int compare_to_pack(const void *name, const void *pack)
{
    return pack_name_compare(name, &((const struct pack *)pack)->told.name);
}

static bool is_known(struct index *ix, const struct pack_name *name)
{
    bool known = false;

    pthread_rwlock_rdlock(&ix->lock);
    if (ix->listed_count)
        known = bsearch(name, ix->listed, ix->listed_count, sizeof *ix->listed, compare_to_pack);
    /* Those that came later are few. */
    for (size_t i = ix->listed_count; i < ix->pack_count && !known; i++)
        known = pack_name_compare(&ix->packs[i]->told.name, name) == 0;
    pthread_rwlock_unlock(&ix->lock);
    return known;
}

static int learn(struct index *ix, const struct view_pack *pack, struct error *e)
{
    AUTO_FREE struct table_entry *entries = NULL;
    uint32_t number;
    size_t count;

    if (pack_read_table(ix->backend, &pack->name, pack->bytes, &entries, &count, e) < 0)
        return e->status;
    return index_add_pack(ix, &pack->name, pack->bytes, entries, count, &number, e);
}

int index_learn(struct index *ix, const struct view *v, struct error *e)
{
    for (size_t i = 0; i < v->pack_count; i++)
        if (!is_known(ix, &v->packs[i].name) && learn(ix, &v->packs[i], e) < 0)
            return e->status;
    return OK;
}
