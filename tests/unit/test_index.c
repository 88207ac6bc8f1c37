/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index: all places of each piece, claims, damage, and a cache that may be anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend_fake.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "repo/index.h"
#include "repo/pack.h"
#include "repo/segment.h"

/* ---- a repository, and what is in it ---- */

#define PACKS_MAX 400

/* Of all entries that a pack has, the content of which is a number. */
struct line {
    uint32_t content, offset;
    bool patch;
};

struct one_pack {
    struct view_pack view;
    struct line *lines;
    size_t count;
    struct table_entry *table;
};

struct world {
    struct fake_store *store;
    struct backend *backend;
    char cache[64];
    struct one_pack packs[PACKS_MAX];
    size_t pack_count;
    struct view view;
    uint64_t random;
};

static uint32_t next_random(struct world *w)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(w->random >> 33);
}

static struct chunk_id id_of(uint32_t content)
{
    struct chunk_id id;

    EVP_Digest(&content, sizeof content, id.bytes, NULL, EVP_sha256(), NULL);
    return id;
}

static void ok(int rc, const struct error *e)
{
    if (rc < 0)
        fail_msg("%s", e->text);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    w->store = fake_store_new();
    w->backend = fake_backend(w->store);
    w->random = 1;
    w->view.packs = calloc(PACKS_MAX, sizeof *w->view.packs);
    strcpy(w->cache, "/tmp/domsnap-index-XXXXXX");
    assert_non_null(mkdtemp(w->cache));
    *state = w;
    return 0;
}

static void empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
}

static int tear_down(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < w->pack_count; i++) {
        free(w->packs[i].lines);
        free(w->packs[i].table);
        if (w->packs[i].view.damage)
            free(w->packs[i].view.damage->offsets);
        free(w->packs[i].view.damage);
    }
    backend_close(w->backend);
    fake_store_free(w->store);
    empty_folder(w->cache);
    rmdir(w->cache);
    free(w->view.packs);
    free(w);
    return 0;
}

static int compare_table(const void *a, const void *b)
{
    return memcmp(a, b, ID_BYTES);
}

#define BODY_BYTES 8192u

/* The pack's bytes, of which only the table matters. */
static uint8_t *pack_bytes(const struct one_pack *p, size_t *bytes)
{
    size_t table_bytes = p->count * TABLE_ENTRY_BYTES, at = PACK_HEAD_BYTES + BODY_BYTES;
    uint8_t *data = calloc(1, at + table_bytes + PACK_TAIL_BYTES);
    struct pack_tail tail = {.entries = (uint32_t)p->count, .table_offset = (uint32_t)at};

    pack_head_put(data, &(struct pack_head){.kind = PACK_DATA});
    for (size_t i = 0; i < p->count; i++)
        table_entry_put(data + at + i * TABLE_ENTRY_BYTES, &p->table[i]);
    EVP_Digest(data + at, table_bytes, tail.sum, NULL, EVP_sha256(), NULL);
    pack_tail_put(data + at + table_bytes, &tail);
    *bytes = at + table_bytes + PACK_TAIL_BYTES;
    return data;
}

static void fill_table(struct one_pack *p)
{
    p->table = calloc(p->count, sizeof *p->table);
    for (size_t i = 0; i < p->count; i++) {
        struct line *l = &p->lines[i];
        struct chunk_id base = id_of(~l->content);

        l->offset = (uint32_t)(PACK_HEAD_BYTES + i);
        p->table[i] = (struct table_entry){
            .id = id_of(l->content),
            .offset = l->offset,
            .full_bytes = 4096,
            .stored_bytes = 1 + l->content % 64,
            .encoding = l->patch ? ENCODING_PATCH : ENCODING_ZSTD,
        };
        if (l->patch)
            memcpy(p->table[i].base, base.bytes, PREFIX_BYTES);
    }
    qsort(p->table, p->count, sizeof *p->table, compare_table);
}

/* A pack of these contents, in the store; negative ones are patches. Its number in the world. */
static size_t put_pack(struct world *w, const int32_t *contents, size_t count)
{
    size_t number = w->pack_count++, bytes;
    struct one_pack *p = &w->packs[number];
    char object[PACK_OBJECT_MAX];
    AUTO_FREE uint8_t *data = NULL;
    struct error e;

    for (size_t i = 0; i < sizeof p->view.name.sum; i++)
        p->view.name.sum[i] = (uint8_t)next_random(w);
    p->count = count;
    p->lines = calloc(count, sizeof *p->lines);
    for (size_t i = 0; i < count; i++)
        p->lines[i] =
            (struct line){.content = (uint32_t)abs(contents[i]), .patch = contents[i] < 0};
    fill_table(p);
    data = pack_bytes(p, &bytes);
    p->view.bytes = bytes;
    pack_object(&p->view.name, object);
    ok(backend_put(w->backend, "0000000000000000", object, data, bytes, &e), &e);
    return number;
}

static size_t put_random_pack(struct world *w, size_t count, uint32_t contents)
{
    AUTO_FREE int32_t *of = malloc(count * sizeof *of);

    for (size_t i = 0; i < count; i++) {
        of[i] = 1 + (int32_t)(next_random(w) % contents);
        if (next_random(w) % 4 == 0)
            of[i] = -of[i];
    }
    return put_pack(w, of, count);
}

/* ---- views ---- */

static void name_packs(struct world *w, size_t from, size_t to)
{
    w->view.pack_count = 0;
    for (size_t i = from; i < to; i++)
        w->view.packs[w->view.pack_count++] = w->packs[i].view;
    qsort(w->view.packs, w->view.pack_count, sizeof *w->view.packs, pack_name_compare);
}

static void damage(struct world *w, size_t pack, uint32_t offset)
{
    struct view_damage *d = calloc(1, sizeof *d);

    d->offsets = malloc(sizeof *d->offsets);
    d->count = offset != 0;
    d->offsets[0] = offset;
    w->packs[pack].view.damage = d;
}

static struct index *open_at(struct world *w, const char *cache)
{
    struct index *ix;
    struct error e;

    ok(index_open(&ix, w->backend, &w->view, "the-id", cache, &e), &e);
    return ix;
}

static struct index *open_index(struct world *w)
{
    return open_at(w, w->cache);
}

static size_t count_files(const struct world *w)
{
    DIR *dir = opendir(w->cache);
    struct dirent *entry;
    size_t count = 0;

    while ((entry = readdir(dir)))
        count += segment_is_whole(entry->d_name) || segment_is_temporary(entry->d_name);
    closedir(dir);
    return count;
}

/* ---- against a naive array ---- */

static size_t pack_of(const struct world *w, struct index *ix, uint32_t number)
{
    const struct index_pack *told = index_pack(ix, number);

    assert_non_null(told);
    for (size_t i = 0; i < w->pack_count; i++)
        if (pack_name_compare(&w->packs[i].view.name, &told->name) == 0)
            return i;
    fail_msg("it knows a pack that does not exist");
    return 0;
}

static bool is_true(const struct world *w, struct index *ix, const struct chunk_id *id,
                    const struct place *place)
{
    const struct one_pack *p = &w->packs[pack_of(w, ix, place->pack)];
    const struct line *l = &p->lines[place->offset - PACK_HEAD_BYTES];
    struct chunk_id is = id_of(l->content);

    return place->offset - PACK_HEAD_BYTES < p->count && l->patch == place->patch &&
           memcmp(is.bytes, id->bytes, PREFIX_BYTES) == 0 &&
           place->stored_bytes == 1 + l->content % 64;
}

/* Of the packs that the view names. */
static size_t count_true(const struct world *w, uint32_t content)
{
    size_t count = 0;

    for (size_t i = 0; i < w->pack_count; i++)
        if (view_find_pack(&w->view, &w->packs[i].view.name))
            for (size_t j = 0; j < w->packs[i].count; j++)
                count += w->packs[i].lines[j].content == content;
    return count;
}

static unsigned rank(const struct place *p)
{
    return 2u * p->damaged + p->patch;
}

static int find(struct world *w, struct index *ix, uint32_t content, struct place *places)
{
    struct chunk_id id = id_of(content);
    struct error e;
    int count = index_find(ix, &id, places, &e);

    ok(count, &e);
    for (int i = 0; i < count; i++) {
        assert_true(is_true(w, ix, &id, &places[i]));
        if (i)
            assert_true(rank(&places[i - 1]) <= rank(&places[i]));
        for (int j = 0; j < i; j++)
            assert_false(places[i].pack == places[j].pack && places[i].offset == places[j].offset);
    }
    return count;
}

static void all_are_found(struct world *w, struct index *ix, uint32_t contents, uint32_t step)
{
    struct place places[PLACES_MAX];

    for (uint32_t i = 1; i <= contents; i += step) {
        size_t count = count_true(w, i);

        assert_int_equal(find(w, ix, i, places), count > PLACES_MAX ? PLACES_MAX : count);
    }
}

/* What index_each() tells, by number. */
struct told {
    struct world *w;
    struct index *ix;
    struct index_entry *entries;
    bool *is_told;
    uint8_t last[PREFIX_BYTES];
    uint64_t count, told;
};

static int take_told(void *arg, uint64_t number, const struct index_entry *entry, struct error *e)
{
    struct told *t = arg;
    struct chunk_id id = {{0}};

    (void)e;
    assert_true(number < t->count && !t->is_told[number]);
    memcpy(id.bytes, entry->prefix, PREFIX_BYTES);
    assert_true(is_true(t->w, t->ix, &id, &entry->place));
    assert_int_equal(entry->place.patch,
                     memcmp(entry->base, chunk_id_zero.bytes, PREFIX_BYTES) != 0);
    /* Who goes through them with names in their order relies on theirs. */
    if (t->told)
        assert_true(memcmp(t->last, entry->prefix, PREFIX_BYTES) <= 0);
    memcpy(t->last, entry->prefix, PREFIX_BYTES);
    t->entries[number] = *entry;
    t->is_told[number] = true;
    t->told++;
    return OK;
}

static struct told merge(struct world *w, struct index *ix)
{
    struct told t = {.w = w, .ix = ix};
    struct error e;

    ok(index_merge(ix, &t.count, &e), &e);
    t.entries = calloc(t.count + 1, sizeof *t.entries);
    t.is_told = calloc(t.count + 1, sizeof *t.is_told);
    ok(index_each(ix, take_told, &t, &e), &e);
    return t;
}

static void release_told(struct told *t)
{
    free(t->entries);
    free(t->is_told);
}

static size_t count_named(const struct world *w)
{
    size_t count = 0;

    for (size_t i = 0; i < w->pack_count; i++)
        if (view_find_pack(&w->view, &w->packs[i].view.name))
            count += w->packs[i].count;
    return count;
}

/* ---- the tests ---- */

static void an_empty_one(void **state)
{
    struct world *w = *state;
    struct place places[PLACES_MAX];
    struct index *ix = open_index(w);
    struct told t = merge(w, ix);
    int scratch = index_scratch(ix);

    assert_true(scratch >= 0);
    close(scratch);
    assert_int_equal(find(w, ix, 1, places), 0);
    assert_int_equal(t.count, 0);
    assert_null(index_pack(ix, 0));
    release_told(&t);
    index_close(ix);
}

static void all_places_are_found(void **state)
{
    static const int32_t a[] = {1, 2, -3, 3, 3}, b[] = {3, -1, 4}, c[] = {-3, 5};
    struct world *w = *state;
    struct place places[PLACES_MAX];

    put_pack(w, a, 5);
    put_pack(w, b, 3);
    put_pack(w, c, 2);
    name_packs(w, 0, 3);
    /* From tables, then from the cache. */
    for (int i = 0; i < 2; i++) {
        struct index *ix = open_index(w);

        all_are_found(w, ix, 7, 1);
        assert_int_equal(find(w, ix, 3, places), 5);
        assert_false(places[2].patch);
        assert_true(places[3].patch);
        index_close(ix);
        assert_int_equal(count_files(w), 1);
    }
}

static void the_cache_spares_the_tables(void **state)
{
    struct world *w = *state;
    unsigned before;

    put_random_pack(w, 100, 50);
    put_random_pack(w, 100, 50);
    name_packs(w, 0, 1);
    index_close(open_index(w));
    name_packs(w, 0, 2);
    index_close(open_index(w));
    before = fake_operations(w->backend);
    index_close(open_index(w));
    assert_int_equal(fake_operations(w->backend), before);
}

static void more_than_can_be_told(void **state)
{
    struct world *w = *state;
    struct place places[PLACES_MAX];
    struct index *ix;
    int32_t of[600];

    for (int i = 0; i < 600; i++)
        of[i] = i == 599 ? 7 : -7;
    put_pack(w, of, 600);
    name_packs(w, 0, 1);
    ix = open_index(w);
    assert_int_equal(find(w, ix, 7, places), PLACES_MAX);
    assert_false(places[0].patch);
    assert_true(places[1].patch);
    index_close(ix);
}

static void damage_is_told(void **state)
{
    static const int32_t a[] = {1, 2}, b[] = {1, -2}, c[] = {1, 3};
    struct world *w = *state;
    struct place places[PLACES_MAX];
    struct index *ix;
    struct error e;

    put_pack(w, a, 2);
    put_pack(w, b, 2);
    put_pack(w, c, 2);
    damage(w, 0, PACK_HEAD_BYTES + 1);
    damage(w, 2, 0);
    name_packs(w, 0, 3);
    ix = open_index(w);
    assert_int_equal(find(w, ix, 1, places), 3);
    assert_false(places[1].damaged);
    assert_true(places[2].damaged);
    assert_int_equal(find(w, ix, 2, places), 2);
    assert_true(places[0].patch && !places[0].damaged);
    assert_true(!places[1].patch && places[1].damaged);
    assert_int_equal(find(w, ix, 3, places), 1);
    assert_true(places[0].damaged);
    find(w, ix, 1, places);
    ok(index_mark(ix, &places[0], &e), &e);
    ok(index_mark(ix, &places[0], &e), &e);
    ok(index_mark(ix, &places[1], &e), &e);
    assert_int_equal(find(w, ix, 1, places), 3);
    assert_true(places[0].damaged && places[1].damaged && places[2].damaged);
    places[0].pack = 3;
    assert_int_equal(index_mark(ix, &places[0], &e), FAILED);
    index_close(ix);
}

/* ---- claims ---- */

static enum claim claim(struct index *ix, uint32_t content, bool whole, struct place *place)
{
    struct chunk_id id = id_of(content);
    enum claim claim;
    struct error e;

    ok(index_claim(ix, &id, whole, &claim, place, &e), &e);
    return claim;
}

static void add_pack(struct world *w, struct index *ix, size_t pack)
{
    const struct one_pack *p = &w->packs[pack];
    uint32_t number;
    struct error e;

    ok(index_add_pack(ix, &p->view.name, p->view.bytes, p->table, p->count, &number, &e), &e);
    assert_int_equal(pack_of(w, ix, number), pack);
}

static void what_is_damaged_is_claimed(void **state)
{
    static const int32_t a[] = {1, -2, 3};
    struct world *w = *state;
    struct place places[PLACES_MAX], place;
    struct index *ix;

    put_pack(w, a, 3);
    put_pack(w, a, 3);
    damage(w, 0, PACK_HEAD_BYTES);
    name_packs(w, 0, 1);
    ix = open_index(w);
    assert_int_equal(claim(ix, 3, true, &place), CLAIM_KNOWN);
    assert_int_equal(place.pack, 0);
    assert_int_equal(claim(ix, 1, false, &place), CLAIM_MINE);
    assert_int_equal(claim(ix, 1, false, &place), CLAIM_KNOWN);
    assert_int_equal(place.pack, PACK_OPEN);
    assert_int_equal(find(w, ix, 1, places), 1);
    add_pack(w, ix, 1);
    assert_int_equal(find(w, ix, 1, places), 2);
    assert_true(!places[0].damaged && places[1].damaged);
    assert_int_equal(claim(ix, 1, false, &place), CLAIM_KNOWN);
    assert_int_equal(place.pack, 1);
    index_close(ix);
}

static void patches_do_not_count_as_whole(void **state)
{
    static const int32_t a[] = {-1}, b[] = {-2}, c[] = {2};
    struct world *w = *state;
    struct place place;
    struct index *ix;

    put_pack(w, a, 1);
    put_pack(w, b, 1);
    put_pack(w, c, 1);
    name_packs(w, 0, 1);
    ix = open_index(w);
    assert_int_equal(claim(ix, 1, false, &place), CLAIM_KNOWN);
    assert_int_equal(claim(ix, 1, true, &place), CLAIM_MINE);
    assert_int_equal(claim(ix, 1, true, &place), CLAIM_KNOWN);
    /* Who has claimed it may write a patch, so another has to write it whole. */
    assert_int_equal(claim(ix, 2, false, &place), CLAIM_MINE);
    assert_int_equal(claim(ix, 2, true, &place), CLAIM_MINE);
    assert_int_equal(claim(ix, 2, true, &place), CLAIM_KNOWN);
    assert_int_equal(claim(ix, 2, false, &place), CLAIM_KNOWN);
    add_pack(w, ix, 1);
    assert_int_equal(claim(ix, 2, true, &place), CLAIM_KNOWN);
    assert_int_equal(place.pack, PACK_OPEN);
    add_pack(w, ix, 2);
    assert_int_equal(claim(ix, 2, true, &place), CLAIM_KNOWN);
    assert_int_equal(place.pack, 2);
    index_close(ix);
}

#define THREADS  8
#define CLAIMED  20000u
#define OF_OTHER 5000u

struct claimer {
    struct world *w;
    struct index *ix;
    size_t first_pack;
    pthread_t thread;
    uint8_t mine[CLAIMED + 1];
};

/* While others claim, packs come, and all of it goes to files. */
static void *claim_all(void *arg)
{
    struct claimer *c = arg;
    struct error e;

    for (uint32_t i = 1; i <= CLAIMED; i++) {
        struct place place, places[PLACES_MAX];
        struct chunk_id id = id_of(i);
        enum claim claim = CLAIM_KNOWN;

        if (index_claim(c->ix, &id, false, &claim, &place, &e) < 0)
            return (void *)1;
        c->mine[i] = claim == CLAIM_MINE;
        if (i % 100 == 0 && index_find(c->ix, &id, places, &e) < 0)
            return (void *)1;
        if (i % 4000 == 0) {
            const struct one_pack *p = &c->w->packs[c->first_pack + i / 4000 - 1];
            uint32_t number;

            if (index_add_pack(c->ix, &p->view.name, p->view.bytes, p->table, p->count, &number,
                               &e) < 0 ||
                index_save(c->ix, &e) < 0)
                return (void *)1;
        }
    }
    return NULL;
}

static void each_is_claimed_once(void **state)
{
    struct world *w = *state;
    struct claimer *claimers = calloc(THREADS, sizeof *claimers);
    size_t own;
    struct index *ix;
    int32_t of[OF_OTHER];

    for (uint32_t i = 0; i < OF_OTHER; i++)
        of[i] = (int32_t)(1 + 2 * i);
    own = put_pack(w, of, OF_OTHER) + 1;
    for (size_t i = 0; i < 5 * THREADS; i++) {
        for (int32_t j = 0; j < 100; j++)
            of[j] = (int32_t)(CLAIMED + 1 + i * 100) + j;
        put_pack(w, of, 100);
    }
    name_packs(w, 0, 1);
    ix = open_index(w);
    for (size_t i = 0; i < THREADS; i++) {
        claimers[i].w = w;
        claimers[i].ix = ix;
        claimers[i].first_pack = own + 5 * i;
        assert_int_equal(pthread_create(&claimers[i].thread, NULL, claim_all, &claimers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *failed;

        assert_int_equal(pthread_join(claimers[i].thread, &failed), 0);
        assert_null(failed);
    }
    for (uint32_t i = 1; i <= CLAIMED; i++) {
        bool known = i % 2 && i < 2 * OF_OTHER;
        int claims = 0;

        for (size_t j = 0; j < THREADS; j++)
            claims += claimers[j].mine[i];
        assert_int_equal(claims, !known);
    }
    name_packs(w, 0, w->pack_count);
    all_are_found(w, ix, CLAIMED + 5 * THREADS * 100, 97);
    index_close(ix);
    free(claimers);
}

/* ---- what comes later ---- */

static void what_comes_later_has_no_number(void **state)
{
    struct world *w = *state;
    struct index *ix;
    struct told t;
    struct error e;

    for (int i = 0; i < 6; i++)
        put_random_pack(w, i < 5 ? 200 : 600, 300);
    name_packs(w, 0, 5);
    ix = open_index(w);
    t = merge(w, ix);
    assert_int_equal(t.count, 1000);
    release_told(&t);
    /* However files are merged meanwhile. */
    add_pack(w, ix, 5);
    ok(index_save(ix, &e), &e);
    t = (struct told){.w = w, .ix = ix, .count = 1000};
    t.entries = calloc(1000, sizeof *t.entries);
    t.is_told = calloc(1000, sizeof *t.is_told);
    ok(index_each(ix, take_told, &t, &e), &e);
    assert_int_equal(t.told, 1000);
    release_told(&t);
    name_packs(w, 0, 6);
    all_are_found(w, ix, 300, 1);
    index_close(ix);
    /* What nobody names is not there, though a file has it. */
    name_packs(w, 2, 4);
    ix = open_index(w);
    all_are_found(w, ix, 300, 1);
    t = merge(w, ix);
    assert_int_equal(t.count, 400);
    release_told(&t);
    index_close(ix);
}

/* ---- packs that can't be read ---- */

static uint8_t *bytes_of(struct world *w, size_t pack, size_t *bytes)
{
    char object[PACK_OBJECT_MAX];

    pack_object(&w->packs[pack].view.name, object);
    return fake_bytes(w->store, object, bytes);
}

static void packs_that_cannot_be_read(void **state)
{
    struct world *w = *state;
    char object[PACK_OBJECT_MAX];
    struct index *ix;
    size_t bytes;

    for (int i = 0; i < 4; i++)
        put_random_pack(w, 50, 100);
    bytes_of(w, 0, &bytes)[PACK_HEAD_BYTES + BODY_BYTES + 100] ^= 1;
    pack_object(&w->packs[1].view.name, object);
    fake_drop(w->store, object);
    pack_object(&w->packs[2].view.name, object);
    fake_truncate(w->store, object, 5000);
    name_packs(w, 0, 4);
    for (int twice = 0; twice < 2; twice++) {
        ix = open_index(w);
        for (uint32_t i = 0; i < 4; i++) {
            const struct index_pack *told = index_pack(ix, i);

            assert_int_equal(told->unreadable, pack_of(w, ix, i) != 3);
            assert_int_equal(told->why != NULL, told->unreadable);
        }
        name_packs(w, 3, 4);
        all_are_found(w, ix, 100, 1);
        name_packs(w, 0, 4);
        index_close(ix);
    }
}

static void other_failures_stop_it(void **state)
{
    static const struct {
        enum fake_fault fault;
        int rc;
    } cases[] = {{FAKE_FAIL, FAILED}, {FAKE_NO_SPACE, NO_SPACE}};
    struct world *w = *state;
    struct index *ix;
    struct error e;

    put_random_pack(w, 50, 100);
    name_packs(w, 0, 1);
    for (size_t i = 0; i < 2; i++) {
        fake_arm(w->backend, 1, cases[i].fault);
        assert_int_equal(index_open(&ix, w->backend, &w->view, "the-id", w->cache, &e),
                         cases[i].rc);
    }
    index_close(open_index(w));
}

/* ---- a cache that may be anything ---- */

static void one_file(const struct world *w, char path[200])
{
    DIR *dir = opendir(w->cache);
    struct dirent *entry;

    path[0] = '\0';
    while ((entry = readdir(dir)))
        if (segment_is_whole(entry->d_name))
            snprintf(path, 200, "%.60s/%.100s", w->cache, entry->d_name);
    closedir(dir);
    assert_true(path[0]);
}

static uint8_t *read_file(const char *path, size_t *bytes)
{
    int fd = open(path, O_RDONLY);
    uint8_t *data;
    struct stat st;

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    *bytes = (size_t)st.st_size;
    data = malloc(*bytes);
    assert_int_equal(pread_full(fd, data, *bytes, 0), 0);
    close(fd);
    return data;
}

static void write_file(const char *path, const uint8_t *data, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(pwrite_full(fd, data, bytes, 0), 0);
    close(fd);
}

/* Whatever is wrong with the one file, all is found, and is so for the next. */
static void it_heals(struct world *w, uint32_t contents, bool merged)
{
    struct index *ix = open_index(w);

    if (merged) {
        struct told t = merge(w, ix);

        assert_int_equal(t.told, count_named(w));
        release_told(&t);
        assert_int_equal(count_files(w), 1);
    }
    all_are_found(w, ix, contents, 7);
    index_close(ix);
}

static void a_damaged_cache(void **state)
{
    struct world *w = *state;
    AUTO_FREE uint8_t *data = NULL;
    char path[200];
    size_t bytes;

    for (int i = 0; i < 3; i++)
        put_random_pack(w, 300, 400);
    name_packs(w, 0, 3);
    index_close(open_index(w));
    one_file(w, path);
    data = read_file(path, &bytes);
    for (size_t at = 0; at < bytes; at += at < 256 ? 1 : 512 - at % 512) {
        empty_folder(w->cache);
        data[at] ^= 0x40;
        write_file(path, data, bytes);
        data[at] ^= 0x40;
        it_heals(w, 400, at % 2);
    }
    for (size_t cut = 0; cut < bytes; cut += 1000) {
        empty_folder(w->cache);
        write_file(path, data, cut);
        it_heals(w, 400, true);
    }
}

/* What index_each() meets is an error, but not a second time. */
static void damage_on_the_way(void **state)
{
    struct world *w = *state;
    uint64_t places;
    char path[200];
    struct index *ix;
    struct told t;
    struct error e;
    int fd;

    put_random_pack(w, 1000, 1000);
    name_packs(w, 0, 1);
    ix = open_index(w);
    ok(index_merge(ix, &places, &e), &e);
    one_file(w, path);
    fd = open(path, O_WRONLY);
    assert_int_equal(pwrite_full(fd, "damage", 6, 8192 + 100), 0);
    close(fd);
    t = (struct told){.w = w, .ix = ix, .count = places};
    t.entries = calloc(places, sizeof *t.entries);
    t.is_told = calloc(places, sizeof *t.is_told);
    assert_int_equal(index_each(ix, take_told, &t, &e), DAMAGED);
    release_told(&t);
    t = merge(w, ix);
    assert_int_equal(t.told, 1000);
    release_told(&t);
    index_close(ix);
}

static void what_is_not_ours(void **state)
{
    struct world *w = *state;
    struct index *ix, *other;
    char path[200];
    struct told t;
    struct error e;

    put_random_pack(w, 100, 100);
    put_random_pack(w, 100, 100);
    name_packs(w, 0, 1);
    ok(index_open(&other, w->backend, &w->view, "another-id", w->cache, &e), &e);
    index_close(other);
    snprintf(path, sizeof path, "%s/0123456789abcdef.idx", w->cache);
    write_file(path, (const uint8_t *)"nothing", 7);
    snprintf(path, sizeof path, "%s/.0123456789abcdef.idx.new", w->cache);
    write_file(path, (const uint8_t *)"dead", 4);
    ix = open_index(w);
    add_pack(w, ix, 1);
    assert_int_equal(count_files(w), 4);
    name_packs(w, 0, 2);
    t = merge(w, ix);
    assert_int_equal(t.told, 200);
    release_told(&t);
    /* Another repository's stays, what is of no use is removed. */
    assert_int_equal(count_files(w), 2);
    index_close(ix);
}

static void a_cache_that_cannot_be_written(void **state)
{
    struct world *w = *state;
    struct index *ix;
    struct told t;
    struct error e;

    for (int i = 0; i < 4; i++)
        put_random_pack(w, 300, 400);
    name_packs(w, 0, 1);
    index_close(open_index(w));
    name_packs(w, 0, 3);
    if (geteuid() == 0) {
        char path[200];

        one_file(w, path);
        assert_int_equal(chown(path, 65534, 65534), 0);
        assert_int_equal(chown(w->cache, 65534, 65534), 0);
        assert_int_equal(seteuid(65534), 0);
    }
    assert_int_equal(chmod(w->cache, 0500), 0);
    ix = open_index(w);
    assert_int_equal(count_files(w), 1);
    all_are_found(w, ix, 400, 1);
    add_pack(w, ix, 3);
    ok(index_save(ix, &e), &e);
    name_packs(w, 0, 4);
    t = merge(w, ix);
    assert_int_equal(t.count, 1200);
    assert_int_equal(t.told, 1200);
    assert_int_equal(index_scratch(ix), -1);
    release_told(&t);
    index_close(ix);
    chmod(w->cache, 0700);
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
}

static void no_cache_at_all(void **state)
{
    struct world *w = *state;
    struct index *ix;
    struct told t;

    for (int i = 0; i < 3; i++)
        put_random_pack(w, 300, 400);
    name_packs(w, 0, 3);
    ix = open_at(w, "/proc/nowhere/cache");
    assert_int_equal(index_scratch(ix), -1);
    all_are_found(w, ix, 400, 1);
    t = merge(w, ix);
    assert_int_equal(t.told, 900);
    release_told(&t);
    index_close(ix);
    /* Others could tell us anything. */
    assert_int_equal(chmod(w->cache, 0777), 0);
    ix = open_index(w);
    all_are_found(w, ix, 400, 1);
    assert_int_equal(count_files(w), 0);
    index_close(ix);
}

static void two_at_once(void **state)
{
    struct world *w = *state;
    struct index *a, *b;
    struct told t;
    struct error e;

    for (int i = 0; i < 8; i++)
        put_random_pack(w, 200 + 300 * (i == 0), 1000);
    name_packs(w, 0, 4);
    index_close(open_index(w));
    a = open_index(w);
    b = open_index(w);
    add_pack(w, a, 4);
    add_pack(w, a, 5);
    add_pack(w, b, 6);
    add_pack(w, b, 7);
    ok(index_save(a, &e), &e);
    ok(index_save(b, &e), &e);
    name_packs(w, 0, 6);
    t = merge(w, a);
    assert_int_equal(t.told, count_named(w));
    release_told(&t);
    all_are_found(w, a, 1000, 7);
    /* Its files are gone from the folder. */
    for (size_t i = 4; i < 6; i++)
        w->view.packs[i - 4] = w->packs[i + 2].view;
    w->view.pack_count = 2;
    for (size_t i = 0; i < 4; i++)
        w->view.packs[w->view.pack_count++] = w->packs[i].view;
    qsort(w->view.packs, w->view.pack_count, sizeof *w->view.packs, pack_name_compare);
    all_are_found(w, b, 1000, 7);
    t = merge(w, b);
    assert_int_equal(t.told, count_named(w));
    release_told(&t);
    index_close(a);
    index_close(b);
    /* Four packs are in both files now. */
    assert_int_equal(count_files(w), 2);
    name_packs(w, 0, 8);
    a = open_index(w);
    all_are_found(w, a, 1000, 7);
    t = merge(w, a);
    assert_int_equal(t.count, count_named(w));
    assert_int_equal(t.told, count_named(w));
    assert_int_equal(count_files(w), 1);
    release_told(&t);
    index_close(a);
}

static void many_packs_in_many_steps(void **state)
{
    struct world *w = *state;
    struct index *ix;
    struct told t;
    struct error e;

    for (int i = 0; i < 300; i++)
        put_random_pack(w, 1000, 100000);
    for (size_t i = 0; i < 300; i += 50) {
        name_packs(w, 0, i + 20);
        ix = open_index(w);
        for (size_t j = i + 20; j < i + 50; j++) {
            add_pack(w, ix, j);
            if (j % 3 == 0)
                ok(index_save(ix, &e), &e);
            assert_true(count_files(w) <= 9);
        }
        ok(index_save(ix, &e), &e);
        name_packs(w, 0, i + 50);
        all_are_found(w, ix, 100000, 9973);
        index_close(ix);
    }
    ix = open_index(w);
    all_are_found(w, ix, 100000, 997);
    t = merge(w, ix);
    assert_int_equal(t.count, 300000);
    assert_int_equal(t.told, 300000);
    all_are_found(w, ix, 100000, 997);
    release_told(&t);
    index_close(ix);
    assert_int_equal(count_files(w), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_one),
        TEST(all_places_are_found),
        TEST(the_cache_spares_the_tables),
        TEST(more_than_can_be_told),
        TEST(damage_is_told),
        TEST(what_is_damaged_is_claimed),
        TEST(patches_do_not_count_as_whole),
        TEST(each_is_claimed_once),
        TEST(what_comes_later_has_no_number),
        TEST(packs_that_cannot_be_read),
        TEST(other_failures_stop_it),
        TEST(a_damaged_cache),
        TEST(damage_on_the_way),
        TEST(what_is_not_ours),
        TEST(a_cache_that_cannot_be_written),
        TEST(no_cache_at_all),
        TEST(two_at_once),
        TEST(many_packs_in_many_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
