/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Damage of all kinds: check tells of it, and repair takes out what can be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "repo/check.h"
#include "repo/collect.h"
#include "repo/pack.h"
#include "repo/repair.h"
#include "repo/sweep.h"
#include "stock.h"

#define CHUNKS 4
#define BYTES  (CHUNKS * CHUNK)

static struct error e;
static uint8_t content[BYTES], got[BYTES], changed[CHUNK];

/* ---- what is done ---- */

static int repair(struct repair_stats *stats)
{
    struct hands h = begin();
    int rc = repair_run(h.store, stats, &e);

    forget(&h);
    return rc;
}

/* What a check tells. */
struct told {
    unsigned packs, records, snapshots;
    char text[2048];
};

static void note(void *arg, enum check_what what, const char *name, const struct error *why)
{
    struct told *t = arg;

    (void)name;
    t->packs += what == CHECK_PACK;
    t->records += what == CHECK_RECORD;
    t->snapshots += what == CHECK_SNAPSHOT;
    snprintf(t->text, sizeof t->text, "%s", why->text);
}

static struct told look(bool content_too, struct check_stats *stats)
{
    struct hands h = begin();
    struct told told = {0};
    struct check *c;
    const struct sample all = {.percent = 100};
    uint64_t bad;

    assert_ok(check_new(&c, h.store, note, &told, &e));
    assert_ok(check_look(c, &e));
    for (uint32_t n = 0; content_too && index_pack(store_index(h.store), n); n++)
        assert_ok(scrub_pack(h.worker, h.store, n, &all, &bad, &e));
    assert_ok(check_tell(c, stats, &e));
    check_free(c);
    forget(&h);
    return told;
}

/* A bit for each chunk that can be had, and is right. */
static unsigned chunks_there(const struct picture *p)
{
    struct hands h = begin();
    unsigned there = 0;

    for (int i = 0; i < CHUNKS; i++)
        if (store_get(h.worker, &p->chunks[i], got, CHUNK, &e) == OK) {
            assert_memory_equal(got, content + i * CHUNK, CHUNK);
            there |= 1u << i;
        } else {
            assert_int_equal(e.status, DAMAGED);
        }
    forget(&h);
    return there;
}

static void sweep(void)
{
    struct repo *r = open_repo();
    struct sweep_stats stats;

    assert_ok(sweep_run(r, &stats, &e));
    repo_close(r);
}

/* ---- a pack with something done to it ---- */

/* Where piece `n` is: they are not compressed. */
static uint64_t piece_at(unsigned n)
{
    return PACK_HEAD_BYTES + n * (uint64_t)(PIECE_HEAD_BYTES + CHUNK);
}

static void zero(const char *path)
{
    uint64_t bytes = bytes_of(path);

    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(truncate(path, (off_t)bytes), 0);
}

struct damage {
    const char *name;
    void (*inflict)(const char *path);
    unsigned there; /* of the chunks, before and after */
    unsigned lost;  /* pieces that repair meets, and can't take out */
    bool emptied;   /* nothing is left in it that is not elsewhere */
    bool is_seen;   /* without reading content */
};

static void flip_table(const char *path)
{
    flip(path, bytes_of(path) - PACK_TAIL_BYTES - 3);
}

static void flip_tail(const char *path)
{
    flip(path, bytes_of(path) - 1);
}

static void flip_first(const char *path)
{
    flip(path, piece_at(0) + PIECE_HEAD_BYTES + 5);
}

static void flip_third(const char *path)
{
    flip(path, piece_at(2) + CHUNK / 2);
}

static void flip_head_of_last(const char *path)
{
    flip(path, piece_at(CHUNKS - 1) + 1);
}

static void flip_head_and_table(const char *path)
{
    flip_head_of_last(path);
    flip_table(path);
}

static void flip_third_and_table(const char *path)
{
    flip_third(path);
    flip_table(path);
}

static void cut_one(const char *path)
{
    assert_int_equal(truncate(path, (off_t)bytes_of(path) - 1), 0);
}

static void cut_half(const char *path)
{
    assert_int_equal(truncate(path, (off_t)(piece_at(2) + 100)), 0);
}

static void remove_it(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

static const struct damage damages[] = {
    {"table", flip_table, 0xf, 0, true, true},
    {"tail", flip_tail, 0xf, 0, true, true},
    {"first piece", flip_first, 0xe, 1, false, false},
    {"third piece", flip_third, 0xb, 1, false, false},
    {"head of the last", flip_head_of_last, 0x7, 0, false, false},
    {"head of the last, and table", flip_head_and_table, 0x7, 0, false, true},
    {"third, and table", flip_third_and_table, 0xb, 1, false, true},
    {"cut by one", cut_one, 0xf, 0, true, true},
    {"cut to half", cut_half, 0x3, 0, false, true},
    {"zeroed", zero, 0, 0, false, true},
    {"missing", remove_it, 0, 0, true, true},
};

static void what_can_be_read_is_taken_out(void **state)
{
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const struct damage *d = &damages[i];
        struct hands h = begin();
        struct repair_stats stats;
        struct check_stats checked;
        struct picture p;
        struct told told;
        bool whole = d->there == 0xf;
        char path[200];

        print_message("%s\n", d->name);
        srandom(1);
        fill_random(content, sizeof content);
        p = put_picture(&h, content, BYTES, NULL);
        commit(&h, "guest", "one", &p);
        told = look(true, &checked);
        assert_int_equal(told.packs + told.records + told.snapshots, 0);
        assert_int_equal(checked.snapshots, 1);
        assert_int_equal(checked.packs, 2);
        snprintf(path, sizeof path, "%s", pack_path(PACK_DATA, 0));
        d->inflict(path);
        drop_cache();
        told = look(false, &checked);
        assert_int_equal(told.packs, d->is_seen);
        told = look(true, &checked);
        assert_int_equal(told.packs, d->is_seen);
        /* Twice: as its disk, and as what passes for a configuration. */
        if (!d->is_seen)
            assert_int_equal(checked.bad_bytes,
                             2 * CHUNK * (CHUNKS - __builtin_popcount(d->there)));
        assert_ok(repair(&stats));
        assert_int_equal(stats.packs, 1);
        assert_int_equal(stats.lost_pieces, d->lost);
        /* The chunks, and the list that is among them. */
        assert_in_range(stats.salvaged_pieces, __builtin_popcount(d->there),
                        __builtin_popcount(d->there) + 1);
        assert_int_equal(stats.emptied_packs, d->emptied);
        sweep();
        for (int pass = 0; pass < 2; pass++) {
            assert_int_equal(chunks_there(&p), d->there);
            drop_cache();
        }
        /* What is elsewhere is no longer there; what is not, stays. */
        assert_int_equal(access(path, F_OK) == 0, !d->emptied);
        told = look(true, &checked);
        assert_int_equal(told.snapshots, !whole);
        assert_int_equal(told.packs, !d->emptied && d->is_seen);
        /* Once more: nothing comes of it. */
        assert_ok(repair(&stats));
        assert_int_equal(stats.emptied_packs, 0);
        assert_int_equal(chunks_there(&p), d->there);
        /* The guest has it yet. */
        h = begin();
        put_picture(&h, content, BYTES, NULL);
        commit(&h, "guest", "two", &p);
        assert_int_equal(chunks_there(&p), 0xf);
        told = look(true, &checked);
        assert_int_equal(told.snapshots, 0);
        stock_teardown(state);
        stock_setup(state);
    }
}

/* It matters to nobody who reads; who is told all the same takes its pieces for chunks. */
static void a_packs_head(void **state)
{
    struct hands h = begin();
    struct repair_stats stats;
    struct picture p;
    uint32_t n = 0;

    (void)state;
    srandom(1);
    fill_random(content, sizeof content);
    p = put_picture(&h, content, BYTES, NULL);
    commit(&h, "guest", "one", &p);
    flip(pack_path(PACK_DATA, 0), 3);
    assert_int_equal(chunks_there(&p), 0xf);
    assert_ok(repair(&stats));
    assert_int_equal(stats.packs, 0);
    h = begin();
    while (index_pack(store_index(h.store), n)->bytes < BYTES)
        n++;
    assert_ok(store_mark_pack(h.store, n, &e));
    forget(&h);
    assert_int_equal(known_damage(), 1);
    assert_ok(repair(&stats));
    assert_int_equal(stats.packs, 1);
    assert_int_equal(stats.emptied_packs, 1);
    assert_int_equal(stats.salvaged_pieces, CHUNKS + 1);
    assert_int_equal(chunks_there(&p), 0xf);
    assert_int_equal(known_damage(), 0);
}

/* Bytes of a guest that look like a piece, within one. */
static void a_piece_within_a_piece(void **state)
{
    struct hands h = begin();
    struct repair_stats stats;
    struct picture p;
    char path[200];

    (void)state;
    srandom(1);
    fill_random(content, sizeof content);
    p = put_picture(&h, content, CHUNK, NULL);
    commit(&h, "guest", "one", &p);
    {
        AUTO_CLOSE int fd = open(pack_path(PACK_DATA, 0), O_RDONLY | O_CLOEXEC);

        assert_int_equal(pread_full(fd, content + CHUNK + 1000, CHUNK - 1000, 0), 0);
    }
    h = begin();
    p = put_picture(&h, content, BYTES, NULL);
    commit(&h, "guest", "two", &p);
    snprintf(path, sizeof path, "%s", pack_path(PACK_DATA, 1));
    flip_table(path);
    drop_cache();
    assert_ok(repair(&stats));
    assert_int_equal(stats.emptied_packs, 1);
    assert_int_equal(stats.lost_pieces, 0);
    sweep();
    assert_int_equal(chunks_there(&p), 0xf);
}

/* ---- elsewhere ---- */

/* What is relied on in place of being taken out is read before. */
static void the_last_that_is_whole_is_taken_out(void **state)
{
    for (int way = 0; way < 4; way++) {
        struct hands a = begin(), b = begin();
        struct repair_stats stats;
        struct picture p;
        char paths[2][200];

        srandom(7);
        fill_random(content, sizeof content);
        p = put_picture(&a, content, BYTES, NULL);
        put_picture(&b, content, BYTES, NULL);
        commit(&a, "guest", "one", &p);
        commit(&b, "guest", "two", &p);
        for (unsigned i = 0; i < 2; i++)
            snprintf(paths[i], sizeof paths[i], "%s", pack_path(PACK_DATA, i));
        /* One has lost its table; of the other a piece is damaged, which nobody knows. */
        flip_table(paths[way & 1]);
        flip_third(paths[!(way & 1)]);
        if (way & 2)
            flip_first(paths[!(way & 1)]);
        drop_cache();
        assert_ok(repair(&stats));
        assert_int_equal(stats.emptied_packs, 1);
        sweep();
        assert_int_equal(chunks_there(&p), 0xf);
        drop_cache();
        assert_ok(repair(&stats));
        sweep();
        assert_int_equal(chunks_there(&p), 0xf);
        stock_teardown(state);
        stock_setup(state);
    }
}

/* Two packs that are damaged don't rely on each other. */
static void two_damaged_packs(void **state)
{
    for (int way = 0; way < 2; way++) {
        struct hands a = begin(), b = begin();
        struct repair_stats stats;
        struct picture p;
        struct check_stats checked;
        char paths[2][200];

        srandom(8);
        fill_random(content, sizeof content);
        p = put_picture(&a, content, BYTES, NULL);
        put_picture(&b, content, BYTES, NULL);
        commit(&a, "guest", "one", &p);
        commit(&b, "guest", "two", &p);
        for (unsigned i = 0; i < 2; i++)
            snprintf(paths[i], sizeof paths[i], "%s", pack_path(PACK_DATA, i));
        flip_first(paths[way]);
        flip_third(paths[!way]);
        look(true, &checked);
        assert_int_equal(checked.bad_bytes, 0);
        assert_int_equal(known_damage(), 2);
        assert_ok(repair(&stats));
        assert_int_equal(stats.packs, 2);
        assert_int_equal(stats.lost_pieces, 2);
        sweep();
        assert_int_equal(chunks_there(&p), 0xf);
        /* What is left of them may go. */
        stock_teardown(state);
        stock_setup(state);
    }
}

struct meanwhile {
    bool done;
    void (*act)(void);
};

static void before_operation(void *arg, const char *operation, const char *name)
{
    struct meanwhile *m = arg;

    if (m->done || strcmp(operation, "publish") != 0 || strncmp(name, "log/", 4) != 0)
        return;
    m->done = true;
    m->act();
}

/* All but those that are damaged, as a collection might that sees them as they are not. */
static void condemn_the_whole(void)
{
    struct repo *r = open_repo();
    const struct view *v = repo_view(r);
    AUTO_JSON json_t *packs = json_array(), *entry = NULL;

    for (size_t i = 0; i < v->pack_count; i++) {
        char text[PACK_NAME_TEXT];

        pack_name_to_text(&v->packs[i].name, text);
        if (!v->packs[i].damage)
            json_array_append_new(packs, json_pack("[s, I]", text, (json_int_t)v->packs[i].bytes));
    }
    assert_ok(repo_begin(r, REPO_WRITES, "gc", "", &e));
    entry = json_pack("{s:s, s:s, s:O, s:[]}", "kind", "condemn", "run", repo_run(r), "packs",
                      packs, "named");
    assert_ok(log_put(repo_log(r), entry, &e));
    repo_has_ended(r);
    repo_close(r);
}

static void end_all(void)
{
    struct repo *r = open_repo();

    while (repo_view(r)->run_count) {
        char run[RUN_ID];

        memcpy(run, repo_view(r)->runs[0].id, RUN_ID);
        assert_ok(log_end(repo_log(r), run, &e));
    }
    repo_close(r);
}

/* Nothing is dropped for the sake of what somebody else has just condemned; and who was ended says
 * so. */
static void what_others_do_meanwhile(void **state)
{
    static const struct {
        void (*act)(void);
        int rc;
    } ways[] = {{condemn_the_whole, AGAIN}, {end_all, CANCELLED}};

    for (int i = 0; i < 2; i++) {
        struct meanwhile m = {.act = ways[i].act};
        struct hands a = begin(), b = begin();
        struct backend *backend;
        struct repair_stats stats;
        struct picture p;
        uint32_t n = 0;

        srandom(8);
        fill_random(content, sizeof content);
        p = put_picture(&a, content, BYTES, NULL);
        put_picture(&b, content, BYTES, NULL);
        commit(&a, "guest", "one", &p);
        commit(&b, "guest", "two", &p);
        a = begin();
        while (index_pack(store_index(a.store), n)->bytes < BYTES)
            n++;
        assert_ok(store_mark_pack(a.store, n, &e));
        forget(&a);
        backend = fake_backend(stock_fake);
        a = begin_on(backend);
        fake_before(backend, before_operation, &m);
        assert_int_equal(repair_run(a.store, &stats, &e), ways[i].rc);
        fake_before(backend, NULL, NULL);
        forget(&a);
        sweep();
        assert_int_equal(chunks_there(&p), 0xf);
        stock_teardown(state);
        stock_setup_fake(state);
    }
}

/* ---- check ---- */

/* Two snapshots, of `content` and of `changed`, which is a patch of it: the first piece of the
 * first pack, and of the second. */
static void put_patched(struct picture *base, struct picture *patch)
{
    struct hands h = begin();

    srandom(3);
    fill_random(content, CHUNK);
    *base = put_picture(&h, content, CHUNK, NULL);
    commit(&h, "guest", "base", base);
    memcpy(changed, content, CHUNK);
    changed[5] ^= 1;
    h = begin();
    *patch = put_picture(&h, changed, CHUNK, base);
    assert_true(store_stats(h.store).stored_bytes < CHUNK);
    commit(&h, "guest", "patch", patch);
}

/* What is a patch of what is damaged is hurt as much, though that itself is needed, too. */
static void a_patch_is_as_bad_as_its_base(void **state)
{
    struct check_stats stats;
    struct picture base, patch;
    struct told told;

    (void)state;
    put_patched(&base, &patch);
    flip_first(pack_path(PACK_DATA, 0));
    told = look(true, &stats);
    assert_int_equal(told.snapshots, 2);
    assert_int_equal(stats.bad_snapshots, 2);
    /* Each twice. */
    assert_int_equal(stats.bad_bytes, 4 * CHUNK);
    /* By what was noted, without reading. */
    told = look(false, &stats);
    assert_int_equal(told.snapshots, 2);
    assert_int_equal(stats.bad_bytes, 4 * CHUNK);
    delete ("guest", "base");
    told = look(false, &stats);
    assert_int_equal(told.snapshots, 1);
    assert_int_equal(stats.bad_bytes, 2 * CHUNK);
}

/* By its table it is sound, so that all would go on relying on it. */
static void a_patch_of_something_else_is_seen(void **state)
{
    /* Of the name of what it is a patch of; of how it is stored; of the cipher. */
    static const unsigned places[] = {PIECE_HEAD_BYTES + 3, 8, 9};

    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct check_stats stats;
        struct picture base, patch;
        struct told told;
        struct hands h;

        put_patched(&base, &patch);
        flip(pack_path(PACK_DATA, 1), PACK_HEAD_BYTES + places[i]);
        told = look(true, &stats);
        assert_int_equal(told.snapshots, 1);
        /* The next create of the guest stores it anew. */
        h = begin();
        put_picture(&h, changed, CHUNK, &base);
        commit(&h, "guest", "again", &patch);
        assert_there(&patch, changed);
        told = look(true, &stats);
        assert_int_equal(told.snapshots, 0);
        stock_teardown(state);
        stock_setup(state);
    }
}

/* Others have put entries since whoever finds it has read the log. */
static void what_is_found_late_is_noted(void **state)
{
    struct hands h = begin(), late, other;
    struct picture p, more;

    (void)state;
    srandom(5);
    fill_random(content, CHUNK);
    p = put_picture(&h, content, CHUNK, NULL);
    commit(&h, "guest", "one", &p);
    late = begin();
    other = begin();
    fill(changed, CHUNK, 1);
    more = put_picture(&other, changed, CHUNK, NULL);
    commit(&other, "guest", "two", &more);
    flip_first(pack_path(PACK_DATA, 0));
    assert_int_equal(store_get(late.worker, &p.chunks[0], changed, CHUNK, &e), DAMAGED);
    forget(&late);
    assert_int_equal(known_damage(), 1);
}

/* So many places do not fit into one entry of the log. */
static void much_damage_is_noted_in_parts(void **state)
{
    enum { PLACES = 5 * 1000 * 1000 };

    json_t *damage = json_object(), *offsets = json_array();
    const uint32_t first = 4000000000u, last = first + PLACES - 1;
    char text[PACK_NAME_TEXT], other[PACK_NAME_TEXT];
    AUTO_FREE struct view_pack *packs = NULL;
    struct picture p;
    struct hands h;

    (void)state;
    h = begin();
    fill(content, CHUNK, 1);
    p = put_picture(&h, content, CHUNK, NULL);
    commit(&h, "guest", "one", &p);
    assert_int_equal(named_packs(&packs), 2);
    pack_name_to_text(&packs[0].name, text);
    pack_name_to_text(&packs[1].name, other);
    for (uint32_t i = first; i <= last; i++)
        json_array_append_new(offsets, json_integer(i));
    assert_true(json_dumpb(offsets, NULL, 0, JSON_INDENT(2)) > LOG_ENTRY_MAX_BYTES);
    json_object_set_new(damage, text, offsets);
    json_object_set_new(damage, other, json_array());
    h = begin();
    repo_note(h.repo, "damage", damage);
    forget(&h);
    h.repo = open_repo();
    assert_int_equal(view_find_pack(repo_view(h.repo), &packs[0].name)->damage->count, PLACES);
    assert_true(view_is_damaged(view_find_pack(repo_view(h.repo), &packs[0].name), &first));
    assert_true(view_is_damaged(view_find_pack(repo_view(h.repo), &packs[0].name), &last));
    assert_int_equal(view_find_pack(repo_view(h.repo), &packs[1].name)->damage->count, 0);
    repo_close(h.repo);
}

/* One of two records is mended from the other. */
static void a_record_is_mended(void **state)
{
    struct hands h = begin();
    struct check_stats stats;
    struct picture p;
    struct told told;
    char paths[2][200];
    struct repo *r;

    (void)state;
    fill(content, CHUNK, 1);
    p = put_picture(&h, content, CHUNK, NULL);
    commit(&h, "guest", "one", &p);
    r = open_repo();
    for (int i = 0; i < 2; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%ssnapshots/%s", stock_repo, i ? "copy/" : "",
                 repo_view(r)->snapshots[0].run);
    repo_close(r);
    for (int i = 0; i < 2; i++) {
        flip(paths[i], 100);
        told = look(false, &stats);
        assert_int_equal(told.records, 0);
        assert_int_equal(stats.mended, 1);
        look(false, &stats);
        assert_int_equal(stats.mended, 0);
    }
    flip(paths[0], 100);
    flip(paths[1], 100);
    told = look(false, &stats);
    assert_int_equal(told.records, 1);
    assert_int_equal(stats.bad_records, 1);
}

static void quiet(enum log_level level, const char *line)
{
    (void)level, (void)line;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STOCK(what_can_be_read_is_taken_out),
        STOCK(a_packs_head),
        STOCK(a_piece_within_a_piece),
        STOCK(the_last_that_is_whole_is_taken_out),
        STOCK(two_damaged_packs),
        STOCK_FAKE(what_others_do_meanwhile),
        STOCK(a_patch_is_as_bad_as_its_base),
        STOCK(a_patch_of_something_else_is_seen),
        STOCK(what_is_found_late_is_noted),
        STOCK(much_damage_is_noted_in_parts),
        STOCK(a_record_is_mended),
    };

    log_set_sink(quiet);
    return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
