/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a snapshot needs outlives every collection, whoever else has stored the same; what none
 * needs goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "repo/collect.h"
#include "repo/commit.h"
#include "repo/pack.h"
#include "repo/records.h"
#include "repo/sweep.h"
#include "stock.h"

#define MOST (16 * CHUNK)

static struct error e;
static uint8_t content[MOST], other[MOST];

static uint64_t sweep(void)
{
    struct repo *r = open_repo();
    struct sweep_stats stats;

    assert_ok(sweep_run(r, &stats, &e));
    repo_close(r);
    return stats.bytes;
}

static int collect_only(struct collect_stats *stats)
{
    struct hands h = begin();
    int rc = collect_run(h.store, stats, &e);

    forget(&h);
    return rc;
}

static int collect(uint64_t *freed_bytes)
{
    struct collect_stats stats;
    int rc = collect_only(&stats);
    struct error why = e;

    *freed_bytes = sweep();
    e = why;
    return rc;
}

static void collect_all(void)
{
    uint64_t freed;

    assert_ok(collect(&freed));
}

static bool is_known(const struct chunk_id *id)
{
    struct hands h = begin();
    struct place places[PLACES_MAX];
    int count = index_find(store_index(h.store), id, places, &e);

    assert_true(count >= 0);
    forget(&h);
    return count;
}

/* Something else that a snapshot needs, so that a pack stays. */
static struct picture put_other(struct hands *h, uint32_t chunks)
{
    fill_random(other, chunks * CHUNK);
    return put_picture(h, other, chunks * CHUNK, NULL);
}

static void what_nobody_needs_goes(void **state)
{
    struct hands h = begin();
    struct picture kept, gone;
    uint64_t freed;

    (void)state;
    srandom(1);
    fill_random(content, CHUNK);
    kept = put_picture(&h, content, CHUNK, NULL);
    commit(&h, "kept", "one", &kept);
    h = begin();
    gone = put_other(&h, 1);
    commit(&h, "gone", "one", &gone);
    assert_int_equal(count_files("packs"), 4);
    assert_int_equal(count_files("snapshots"), 2);
    /* All is needed. */
    assert_ok(collect(&freed));
    assert_int_equal(freed, 0);
    delete ("gone", "one");
    assert_ok(collect(&freed));
    assert_in_range(freed, CHUNK, 2 * CHUNK);
    assert_int_equal(count_files("packs"), 2);
    assert_int_equal(count_files("snapshots"), 1);
    assert_int_equal(count_files("copy/snapshots"), 1);
    assert_there(&kept, content);
    assert_false(is_known(&gone.root));
    delete ("kept", "one");
    collect_all();
    assert_int_equal(count_files("packs"), 0);
    assert_int_equal(count_files("snapshots"), 0);
}

/* Two at once store the same, one of them as a patch: what is a patch of it needs the whole one. */
static void the_whole_copy_is_what_patches_need(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 12; round++) {
        struct picture z, x, y;
        struct hands a, b;
        char name[8];

        srandom(round + 1);
        fill_random(content, CHUNK);
        a = begin();
        z = put_picture(&a, content, CHUNK, NULL);
        end(&a);
        memcpy(other, content, CHUNK);
        memset(other + PATCH_PAGE_BYTES, 1, PATCH_PAGE_BYTES);
        a = begin();
        b = begin();
        x = put_picture(&a, other, CHUNK, NULL);
        put_picture(&b, other, CHUNK, &z);
        end(round % 2 ? &a : &b);
        end(round % 2 ? &b : &a);
        if (round % 4 < 2)
            drop_cache();
        memset(other + 3 * PATCH_PAGE_BYTES, 2, PATCH_PAGE_BYTES);
        a = begin();
        y = put_picture(&a, other, CHUNK, &x);
        assert_in_range(store_stats(a.store).stored_bytes, 1, 1200);
        end(&a);
        assert_there(&y, other);
        snprintf(name, sizeof name, "n%u", round);
        record("guest", name, &y);
        drop_cache();
        collect_all();
        assert_there(&y, other);
        /* Once more, when nothing but what is needed is there. */
        collect_all();
        drop_cache();
        assert_there(&y, other);
    }
}

/* Two at once store the same as a patch, each of what its own guest had: either may be found later
 * on. */
static void each_patch_of_the_same_keeps_its_base(void **state)
{
    static uint8_t of_a[2 * CHUNK], of_b[2 * CHUNK];

    (void)state;
    for (unsigned round = 0; round < 8; round++) {
        struct picture a_had, b_had, a_has, b_has;
        struct hands a = begin(), b;
        char name[8];

        srandom(round + 1);
        fill_random(of_a, sizeof of_a);
        fill_random(of_b, sizeof of_b);
        memcpy(of_b, of_a, CHUNK);
        of_a[0] ^= 1;
        of_b[5 * PATCH_PAGE_BYTES] ^= 1;
        a_had = put_picture(&a, of_a, CHUNK, NULL);
        end(&a);
        a = begin();
        b_had = put_picture(&a, of_b, CHUNK, NULL);
        end(&a);
        of_a[0] ^= 1;
        of_b[5 * PATCH_PAGE_BYTES] ^= 1;
        a = begin();
        b = begin();
        a_has = put_picture(&a, of_a, sizeof of_a, &a_had);
        b_has = put_picture(&b, of_b, sizeof of_b, &b_had);
        assert_in_range(store_stats(b.store).stored_bytes, 1, 3 * CHUNK / 2);
        end(&a);
        end(&b);
        snprintf(name, sizeof name, "n%u", round);
        record("a", name, &a_has);
        record("b", name, &b_has);
        collect_all();
        for (int pass = 0; pass < 2; pass++) {
            assert_there(&a_has, of_a);
            assert_there(&b_has, of_b);
            drop_cache();
        }
    }
}

/* Of two patches of the same, one has lost its base, by somebody's hand: the other is what is kept.
 */
static void a_patch_that_has_lost_its_base_is_not_chosen(void **state)
{
    static uint8_t x[CHUNK], base[CHUNK];

    for (unsigned round = 0; round < 16; round++) {
        struct picture of_a, of_b, has, rest;
        struct hands a = begin(), b;
        char lost[200];

        srandom(round + 1);
        fill_random(x, sizeof x);
        memcpy(base, x, sizeof x);
        base[0] ^= 1;
        of_a = put_picture(&a, base, CHUNK, NULL);
        end(&a);
        snprintf(lost, sizeof lost, "%s", pack_path(PACK_DATA, 0));
        a = begin();
        base[0] ^= 3;
        of_b = put_picture(&a, base, CHUNK, NULL);
        end(&a);
        a = begin();
        b = begin();
        /* Of each pack something else is needed. */
        has = put_picture(&a, x, CHUNK, &of_a);
        rest = put_other(&a, 1);
        put_picture(&b, x, CHUNK, &of_b);
        commit(&a, "guest", "a", &rest);
        rest = put_other(&b, 1);
        commit(&b, "guest", "b", &rest);
        record("guest", "one", &has);
        assert_int_equal(unlink(lost), 0);
        drop_cache();
        assert_there(&has, x);
        collect_all();
        for (int pass = 0; pass < 2; pass++) {
            assert_there(&has, x);
            drop_cache();
        }
        stock_teardown(state);
        stock_setup(state);
    }
}

/* The bytes of a list of chunks, as a guest's own. */
static void a_chunk_may_be_a_leaf_too(void **state)
{
    struct hands h = begin();
    struct picture leaf, chunk;

    (void)state;
    srandom(2);
    fill_random(content, 2 * CHUNK);
    leaf = put_picture(&h, content, 2 * CHUNK, NULL);
    end(&h);
    h = begin();
    chunk = put_picture(&h, (const uint8_t *)leaf.chunks, 2 * ID_BYTES, NULL);
    end(&h);
    record("a", "first", &chunk);
    record("b", "second", &leaf);
    collect_all();
    assert_there(&leaf, content);
    assert_there(&chunk, (const uint8_t *)leaf.chunks);
}

/* Which bases a pack's patches need is not known then. */
static void without_a_needed_table_nothing_goes(void **state)
{
    struct hands h = begin();
    struct picture base, patch;
    uint64_t freed;
    char path[200];

    (void)state;
    srandom(3);
    fill_random(content, CHUNK);
    base = put_picture(&h, content, CHUNK, NULL);
    end(&h);
    h = begin();
    content[5] ^= 1;
    patch = put_picture(&h, content, CHUNK, &base);
    end(&h);
    record("guest", "one", &patch);
    snprintf(path, sizeof path, "%s", pack_path(PACK_DATA, 1));
    flip(path, bytes_of(path) - 1);
    drop_cache();
    assert_int_equal(collect(&freed), DAMAGED);
    assert_int_equal(count_files("packs"), 4);
    flip(path, bytes_of(path) - 1);
    drop_cache();
    collect_all();
    assert_there(&patch, content);
}

/* It stays in a pack of which most is needed, but what it is of does not; then a guest comes back
 * to it. */
static void a_patch_without_its_base_is_stored_anew(void **state)
{
    struct picture base, patch, rest;
    struct hands h = begin();

    (void)state;
    srandom(6);
    fill_random(content, CHUNK);
    base = put_picture(&h, content, CHUNK, NULL);
    end(&h);
    h = begin();
    memset(content, 7, PATCH_PAGE_BYTES);
    patch = put_picture(&h, content, CHUNK, &base);
    rest = put_other(&h, 2);
    end(&h);
    record("guest", "rest", &rest);
    collect_all();
    assert_int_equal(count_files("packs"), 2);
    for (int again = 0; again < 2; again++) {
        h = begin();
        put_picture(&h, content, CHUNK, again ? &patch : NULL);
        end(&h);
        if (!again)
            record("guest", "back", &patch);
        assert_there(&patch, content);
        collect_all();
        drop_cache();
        assert_there(&patch, content);
        assert_there(&rest, other);
    }
}

/* Somebody has moved a damaged pack away, and the guest still has what was a patch of something in
 * it. */
static void a_patch_whose_base_is_lost_is_stored_anew(void **state)
{
    struct hands h = begin();
    struct picture base, patch;

    (void)state;
    srandom(8);
    fill_random(content, CHUNK);
    base = put_picture(&h, content, CHUNK, NULL);
    end(&h);
    h = begin();
    memset(content, 7, PATCH_PAGE_BYTES);
    patch = put_picture(&h, content, CHUNK, &base);
    end(&h);
    record("guest", "one", &patch);
    assert_int_equal(unlink(pack_path(PACK_DATA, 0)), 0);
    drop_cache();
    h = begin();
    put_picture(&h, content, CHUNK, &patch);
    end(&h);
    assert_there(&patch, content);
}

/* Whole, though it could be a patch of what was there before; and though its base comes back with
 * it, itself as a patch. */
static void what_is_stored_anew_is_whole(void **state)
{
    static uint8_t back[2 * CHUNK], before[2 * CHUNK];
    struct picture base, rest, now, both;

    (void)state;
    for (int with_base = 0; with_base < 2; with_base++) {
        struct hands h = begin();
        char name[8];

        srandom(7 + (unsigned)with_base);
        fill_random(content, CHUNK);
        base = put_picture(&h, content, CHUNK, NULL);
        end(&h);
        h = begin();
        memcpy(back + CHUNK, content, CHUNK);
        memset(back + CHUNK, 7, PATCH_PAGE_BYTES);
        put_picture(&h, back + CHUNK, CHUNK, &base);
        rest = put_other(&h, 2);
        end(&h);
        snprintf(name, sizeof name, "rest%d", with_base);
        record("guest", name, &rest);
        collect_all();
        /* What the guest has now: near to both, and there whole. */
        memcpy(back, content, CHUNK);
        memcpy(before, back, sizeof before);
        before[9 * PATCH_PAGE_BYTES] ^= 1;
        before[CHUNK + 9 * PATCH_PAGE_BYTES] ^= 1;
        h = begin();
        now = put_picture(&h, before, 2 * CHUNK, NULL);
        end(&h);
        snprintf(name, sizeof name, "now%d", with_base);
        record("guest", name, &now);
        h = begin();
        if (with_base)
            both = put_picture(&h, back, 2 * CHUNK, &now);
        else
            both = put_picture(&h, back + CHUNK, CHUNK, &now);
        end(&h);
        snprintf(name, sizeof name, "back%d", with_base);
        record("guest", name, &both);
        for (int pass = 0; pass < 3; pass++) {
            assert_there(&both, with_base ? back : back + CHUNK);
            pass ? drop_cache() : collect_all();
        }
    }
}

/* With many files of the index, so that they are merged while what was copied is there twice. */
static void what_was_copied_is_found(void **state)
{
    static uint8_t kept[10][CHUNK];
    struct picture pictures[10];

    (void)state;
    srandom(4);
    for (int i = 0; i < 10; i++) {
        struct hands h = begin();
        char name[8];

        fill_random(kept[i], CHUNK);
        pictures[i] = put_picture(&h, kept[i], CHUNK, NULL);
        fill_random(content, 8 * CHUNK);
        put_picture(&h, content, 8 * CHUNK, NULL);
        snprintf(name, sizeof name, "n%d", i);
        commit(&h, "guest", name, &pictures[i]);
        if (i < 7)
            continue;
        collect_all();
        for (int j = 0; j <= i; j++)
            assert_there(&pictures[j], kept[j]);
    }
}

/* Nothing can be written; but once it can, what nobody needs goes. */
static void a_full_disk_is_freed(void **state)
{
    struct rlimit none = {0, RLIM_INFINITY}, before;
    struct hands h = begin();
    struct picture picture, doomed;
    struct collect_stats stats;

    (void)state;
    srandom(5);
    fill_random(content, 8 * CHUNK);
    picture = put_picture(&h, content, CHUNK, NULL);
    put_picture(&h, content + CHUNK, 7 * CHUNK, NULL);
    commit(&h, "guest", "one", &picture);
    h = begin();
    doomed = put_other(&h, 1);
    commit(&h, "guest", "two", &doomed);
    delete ("guest", "two");
    h = begin();
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    assert_int_not_equal(collect_run(h.store, &stats, &e), OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    forget(&h);
    assert_int_equal(count_files("packs"), 4);
    assert_there(&picture, content);
    collect_all();
    assert_there(&picture, content);
    assert_int_equal(count_files("packs"), 2);
}

/* ---- how little is copied ---- */

/* Of which less than half is needed: that is moved. */
static void a_pack_that_is_half_dead_is_written_anew(void **state)
{
    struct hands h = begin();
    struct collect_stats stats;
    struct picture kept, most;
    uint64_t before;

    (void)state;
    srandom(1);
    fill_random(content, 8 * CHUNK);
    kept = put_picture(&h, content, 2 * CHUNK, NULL);
    put_picture(&h, content + 2 * CHUNK, 6 * CHUNK, NULL);
    commit(&h, "guest", "one", &kept);
    before = bytes_of(pack_path(PACK_DATA, 0));
    assert_ok(collect_only(&stats));
    /* That of lists, too. */
    assert_int_equal(stats.condemned_packs, 2);
    assert_in_range(stats.condemned_bytes, before, before + PATCH_PAGE_BYTES);
    assert_int_equal(stats.copied_packs, 2);
    assert_in_range(stats.copied_bytes, 2 * CHUNK, 3 * CHUNK);
    assert_true(sweep() >= before);
    assert_int_equal(count_files("packs"), 2);
    assert_there(&kept, content);
    /* Of which more is needed: that is left. */
    h = begin();
    fill_random(content, 8 * CHUNK);
    most = put_picture(&h, content, 6 * CHUNK, NULL);
    put_picture(&h, content + 6 * CHUNK, CHUNK, NULL);
    commit(&h, "guest", "two", &most);
    assert_ok(collect_only(&stats));
    assert_int_equal(stats.condemned_packs, 0);
    assert_there(&most, content);
}

static void small_packs_are_brought_together(void **state)
{
    static uint8_t all[10][CHUNK];
    struct picture pictures[10];
    struct collect_stats stats;

    (void)state;
    srandom(1);
    for (int i = 0; i < 10; i++) {
        struct hands h = begin();
        char name[8];

        fill_random(all[i], CHUNK);
        pictures[i] = put_picture(&h, all[i], CHUNK, NULL);
        snprintf(name, sizeof name, "n%d", i);
        commit(&h, "guest", name, &pictures[i]);
        if (i == 6) {
            /* Not yet. */
            assert_ok(collect_only(&stats));
            assert_int_equal(stats.condemned_packs, 0);
        }
    }
    assert_int_equal(count_files("packs"), 20);
    assert_ok(collect_only(&stats));
    assert_int_equal(stats.condemned_packs, 20);
    assert_int_equal(stats.copied_packs, 2);
    sweep();
    assert_int_equal(count_files("packs"), 2);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 10; i++)
            assert_there(&pictures[i], all[i]);
        drop_cache();
    }
    /* Nothing to do any more, nor is anything written. */
    assert_ok(collect_only(&stats));
    assert_int_equal(stats.condemned_packs + stats.copied_packs, 0);
    assert_int_equal(count_files("packs"), 2);
}

/* In two packs, before and after they are moved. */
static void lists_keep_two_places(void **state)
{
    struct hands h = begin();
    struct picture kept;
    struct collect_stats stats;

    (void)state;
    srandom(1);
    fill_random(content, 8 * CHUNK);
    kept = put_picture(&h, content, CHUNK, NULL);
    /* Both packs are mostly of no use. */
    for (int i = 1; i < 8; i++)
        put_picture(&h, content + i * CHUNK, CHUNK, NULL);
    commit(&h, "guest", "one", &kept);
    assert_ok(collect_only(&stats));
    assert_int_equal(stats.condemned_packs, 2);
    assert_int_equal(stats.copied_packs, 2);
    sweep();
    for (int kind = PACK_DATA; kind <= PACK_LISTS; kind++) {
        char path[200];
        struct place places[PLACES_MAX];

        snprintf(path, sizeof path, "%s", pack_path(kind, 0));
        h = begin();
        assert_int_equal(index_find(store_index(h.store), &kept.root, places, &e), 2);
        assert_int_not_equal(places[0].pack, places[1].pack);
        forget(&h);
        /* Its table, so that all of it is lost. */
        flip(path, bytes_of(path) - 1);
        drop_cache();
        h = begin();
        assert_ok(store_get(h.worker, &kept.root, other, ID_BYTES, &e));
        forget(&h);
        flip(path, bytes_of(path) - 1);
        drop_cache();
    }
}

/* ---- damage ---- */

/* The same content twice, in the first two packs of chunks; `rest` keeps the first, or the second,
 * from being dead. */
static struct picture put_twice(struct picture rest[2])
{
    struct hands a = begin(), b = begin();
    struct picture same;

    fill_random(content, CHUNK);
    same = put_picture(&a, content, CHUNK, NULL);
    put_picture(&b, content, CHUNK, NULL);
    if (rest) {
        rest[0] = put_other(&a, 1);
        rest[1] = put_other(&b, 1);
    }
    end(&a);
    end(&b);
    return same;
}

/* What stays is read before what is dropped is: if it is damaged, the other stays. */
static void a_duplicate_goes_once_the_other_was_read(void **state)
{
    const uint64_t inside = PACK_HEAD_BYTES + PIECE_HEAD_BYTES + 1000;

    /* Both packs are of no more use; either is; and the pack with what is chosen is to be moved. */
    for (int way = 0; way < 16; way++) {
        struct picture rest[2], same;
        char paths[2][200];
        int damaged = way & 1;
        bool moves = way & 8;

        srandom(9 + (unsigned)way);
        same = put_twice(rest);
        if (way & 2)
            record("rest", "a", &rest[0]);
        if (way & 4)
            record("rest", "b", &rest[1]);
        if (moves) {
            /* So much else in new packs that those two are small among others. */
            for (int i = 0; i < 8; i++) {
                struct hands h = begin();
                struct picture small;
                char name[8];

                fill_random(other, CHUNK);
                small = put_picture(&h, other, CHUNK, NULL);
                snprintf(name, sizeof name, "s%d", i);
                commit(&h, "small", name, &small);
            }
        }
        record("guest", "one", &same);
        for (unsigned i = 0; i < 2; i++)
            snprintf(paths[i], sizeof paths[i], "%s", pack_path(PACK_DATA, i));
        flip(paths[damaged], inside);
        collect_all();
        for (int pass = 0; pass < 2; pass++) {
            if (read_picture(&same, content, &e) < 0)
                fail_msg("way %d: %s", way, e.text);
            drop_cache();
        }
        stock_teardown(state);
        stock_setup(state);
    }
}

/* It is nowhere whole: nor is what is left of it thrown away. */
static void what_is_damaged_is_kept(void **state)
{
    struct hands h = begin();
    struct picture kept, gone;
    const char *path;

    (void)state;
    srandom(1);
    fill_random(content, CHUNK);
    kept = put_picture(&h, content, CHUNK, NULL);
    gone = put_other(&h, 8);
    commit(&h, "guest", "one", &kept);
    (void)gone;
    path = pack_path(PACK_DATA, 0);
    flip(path, PACK_HEAD_BYTES + PIECE_HEAD_BYTES + 1000);
    for (int i = 0; i < 3; i++) {
        collect_all();
        assert_int_equal(access(path, F_OK), 0);
        assert_int_equal(read_picture(&kept, content, &e), DAMAGED);
    }
    flip(path, PACK_HEAD_BYTES + PIECE_HEAD_BYTES + 1000);
    assert_there(&kept, content);
}

/* What it is a patch of is needed by nothing else. */
static void a_damaged_patch_keeps_its_base(void **state)
{
    struct hands h = begin();
    struct picture base, patch;
    uint64_t at = PACK_HEAD_BYTES + PIECE_HEAD_BYTES + PATCH_HEAD_BYTES + 12;
    char path[200];

    (void)state;
    srandom(1);
    fill_random(content, CHUNK);
    base = put_picture(&h, content, CHUNK, NULL);
    commit(&h, "guest", "base", &base);
    h = begin();
    memset(content, 'x', 4000);
    patch = put_picture(&h, content, CHUNK, &base);
    assert_true(store_stats(h.store).stored_bytes < CHUNK);
    commit(&h, "guest", "patch", &patch);
    delete ("guest", "base");
    snprintf(path, sizeof path, "%s", pack_path(PACK_DATA, 1));
    flip(path, at);
    assert_int_equal(read_picture(&patch, content, &e), DAMAGED);
    for (int i = 0; i < 3; i++)
        collect_all();
    /* It was the cable, say. */
    flip(path, at);
    assert_there(&patch, content);
}

static void without_a_record_or_a_list_nothing_goes(void **state)
{
    struct hands h = begin();
    struct picture kept, gone;
    struct collect_stats stats;
    char record_path[200], copy[200], lists[200], data[200];
    struct repo *r;
    const struct view_snapshot *s;

    (void)state;
    srandom(1);
    fill_random(content, CHUNK);
    kept = put_picture(&h, content, CHUNK, NULL);
    commit(&h, "guest", "one", &kept);
    h = begin();
    gone = put_other(&h, 2);
    commit(&h, "guest", "two", &gone);
    delete ("guest", "two");
    r = open_repo();
    s = view_find_snapshot(repo_view(r), "guest", "one");
    snprintf(record_path, sizeof record_path, "%s/snapshots/%s", stock_repo, s->run);
    snprintf(copy, sizeof copy, "%s/copy/snapshots/%s", stock_repo, s->run);
    repo_close(r);
    flip(record_path, 100);
    flip(copy, 100);
    assert_int_equal(collect_only(&stats), DAMAGED);
    assert_int_equal(stats.condemned_packs, 0);
    sweep();
    assert_int_equal(count_files("packs"), 4);
    /* Either will do. */
    flip(copy, 100);
    snprintf(lists, sizeof lists, "%s", pack_path(PACK_LISTS, 0));
    snprintf(data, sizeof data, "%s", pack_path(PACK_DATA, 0));
    /* The list: the first in one, the second in the other. */
    flip(lists, PACK_HEAD_BYTES + PIECE_HEAD_BYTES + 5);
    flip(data, PACK_HEAD_BYTES + 2 * PIECE_HEAD_BYTES + CHUNK + 5);
    assert_int_equal(collect_only(&stats), DAMAGED);
    assert_non_null(strstr(e.text, "lists"));
    sweep();
    assert_int_equal(count_files("packs"), 4);
    flip(lists, PACK_HEAD_BYTES + PIECE_HEAD_BYTES + 5);
    flip(data, PACK_HEAD_BYTES + 2 * PIECE_HEAD_BYTES + CHUNK + 5);
    collect_all();
    assert_int_equal(count_files("packs"), 2);
    assert_there(&kept, content);
}

/* ---- others at the same time ---- */

/* Does something right before the n-th time that the log is written to, by whoever it is of. */
struct meanwhile {
    void (*act)(struct meanwhile *m);
    unsigned left;
    struct picture picture, rest;
    struct hands hands;
    const uint8_t *from;
    int rc;
};

static void before_operation(void *arg, const char *operation, const char *name)
{
    struct meanwhile *m = arg;

    if (!m->left || strcmp(operation, "publish") != 0 || strncmp(name, "log/", 4) != 0)
        return;
    if (--m->left == 0)
        m->act(m);
}

/* Run a collection of the fake store, with something done before its condemn. */
static int collect_with(struct meanwhile *m, struct collect_stats *stats)
{
    struct backend *b = fake_backend(stock_fake);
    struct hands h = begin_on(b);
    int rc;

    m->left = 1;
    fake_before(b, before_operation, m);
    rc = collect_run(h.store, stats, &e);
    fake_before(b, NULL, NULL);
    forget(&h);
    return rc;
}

static void commit_now(struct meanwhile *m)
{
    commit(&m->hands, "late", "one", &m->picture);
}

/* It relies on what nobody else needed, and is there before that is condemned. */
static void a_snapshot_that_comes_meanwhile_keeps_what_it_needs(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct meanwhile m = {.act = commit_now};
        struct collect_stats stats;
        struct picture old;
        struct hands h = begin();
        char path[8];

        srandom(1 + (unsigned)way);
        fill_random(content, 4 * CHUNK);
        old = put_picture(&h, content, 4 * CHUNK, NULL);
        snprintf(path, sizeof path, "n%d", way);
        commit(&h, "guest", path, &old);
        delete ("guest", path);
        /* The same; as patches of it; and some of both. */
        m.hands = begin();
        if (way > 0)
            content[5] ^= 1;
        if (way > 1)
            content[CHUNK + 5] ^= 1;
        m.picture = put_picture(&m.hands, content, way == 1 ? CHUNK : 4 * CHUNK, &old);
        assert_ok(collect_with(&m, &stats));
        assert_there(&m.picture, content);
        sweep();
        for (int pass = 0; pass < 2; pass++) {
            if (read_picture(&m.picture, content, &e) < 0)
                fail_msg("way %d: %s", way, e.text);
            collect_all();
            drop_cache();
        }
        delete ("late", "one");
    }
}

static void collect_now(struct meanwhile *m)
{
    struct collect_stats stats;
    struct hands h = begin();

    m->rc = collect_run(h.store, &stats, &e);
    forget(&h);
}

/* Two collections at the same time, to which of two places may not look the same. */
static void condemn_one(struct meanwhile *m)
{
    struct hands h = begin();
    const struct view *v = repo_view(h.repo);
    AUTO_JSON json_t *packs = json_array(), *entry = NULL;
    struct place places[PLACES_MAX];
    char text[PACK_NAME_TEXT];
    const struct index_pack *pack;

    /* The place that the other keeps. */
    assert_int_equal(index_find(store_index(h.store), &m->picture.chunks[0], places, &e), 2);
    pack = index_pack(store_index(h.store), places[m->rc].pack);
    pack_name_to_text(&pack->name, text);
    json_array_append_new(packs, json_pack("[s, I]", text, (json_int_t)pack->bytes));
    (void)v;
    entry = json_pack("{s:s, s:s, s:O, s:[]}", "kind", "condemn", "run", repo_run(h.repo), "packs",
                      packs, "named");
    assert_ok(log_put(repo_log(h.repo), entry, &e));
    assert_null(view_find_run(repo_view(h.repo), repo_run(h.repo)));
    repo_has_ended(h.repo);
    forget(&h);
}

static void two_collections_do_not_take_both_places(void **state)
{
    struct meanwhile m = {.act = condemn_one};
    struct collect_stats stats;
    unsigned gave_up = 0;
    char name[8];

    (void)state;
    for (int which = 0; which < 2; which++) {
        srandom(20 + (unsigned)which);
        m.rc = which;
        m.picture = put_twice(NULL);
        snprintf(name, sizeof name, "n%d", which);
        record("guest", name, &m.picture);
        if (collect_with(&m, &stats) < 0) {
            assert_int_equal(e.status, AGAIN);
            gave_up++;
        }
        sweep();
        assert_there(&m.picture, content);
        collect_all();
        drop_cache();
        assert_there(&m.picture, content);
    }
    assert_int_equal(gave_up, 1);
    /* The real thing: both go on to their ends. */
    m.act = collect_now;
    srandom(30);
    m.picture = put_twice(NULL);
    record("guest", "both", &m.picture);
    if (collect_with(&m, &stats) < 0)
        assert_int_equal(e.status, AGAIN);
    assert_int_equal(m.rc, OK);
    sweep();
    assert_there(&m.picture, content);
}

/* What it had copied goes, and nothing else. */
static void end_the_runs(struct meanwhile *m)
{
    struct repo *r = open_repo();

    (void)m;
    while (repo_view(r)->run_count) {
        char run[RUN_ID];

        memcpy(run, repo_view(r)->runs[0].id, RUN_ID);
        assert_ok(log_end(repo_log(r), run, &e));
    }
    repo_close(r);
}

static void a_collection_that_was_ended_does_nothing(void **state)
{
    struct meanwhile m = {.act = end_the_runs};
    struct hands h = begin();
    struct collect_stats stats;
    struct picture kept;
    unsigned before;

    (void)state;
    srandom(1);
    fill_random(content, 8 * CHUNK);
    kept = put_picture(&h, content, 2 * CHUNK, NULL);
    put_picture(&h, content + 2 * CHUNK, 6 * CHUNK, NULL);
    commit(&h, "guest", "one", &kept);
    before = count_files("packs");
    assert_int_equal(collect_with(&m, &stats), CANCELLED);
    assert_int_equal(count_files("packs"), before + 2);
    sweep();
    assert_int_equal(count_files("packs"), before);
    assert_there(&kept, content);
}

/* ---- sweep ---- */

static void packs_of_runs_that_live_stay(void **state)
{
    struct hands live = begin(), dead;
    struct picture picture;

    (void)state;
    srandom(1);
    fill_random(content, CHUNK);
    picture = put_picture(&live, content, CHUNK, NULL);
    assert_ok(store_finish(live.store, &e));
    dead = begin();
    put_other(&dead, 1);
    assert_ok(store_finish(dead.store, &e));
    assert_int_equal(count_files("packs"), 4);
    sweep();
    assert_int_equal(count_files("packs"), 4);
    forget(&dead);
    sweep();
    assert_int_equal(count_files("packs"), 2);
    commit(&live, "guest", "one", &picture);
    sweep();
    assert_there(&picture, content);
}

static uint64_t waiting(void)
{
    struct repo *r = open_repo();
    struct sweep_stats stats;

    assert_ok(sweep_run(r, &stats, &e));
    repo_close(r);
    return stats.waiting_bytes;
}

/* For the runs that were there; not for those that have come since. */
static void condemned_packs_wait_for_who_may_read_them(void **state)
{
    struct hands h = begin(), reader, later;
    struct picture picture;
    uint8_t got[64];

    (void)state;
    srandom(1);
    fill_random(content, CHUNK);
    picture = put_picture(&h, content, CHUNK, NULL);
    commit(&h, "guest", "one", &picture);
    reader = begin();
    delete ("guest", "one");
    collect_all();
    assert_int_equal(count_files("packs"), 2);
    assert_in_range(waiting(), CHUNK, 2 * CHUNK);
    later = begin();
    assert_ok(store_get(reader.worker, &picture.root, got, ID_BYTES, &e));
    assert_int_equal(store_get(later.worker, &picture.root, got, ID_BYTES, &e), DAMAGED);
    forget(&reader);
    assert_int_equal(waiting(), 0);
    assert_int_equal(count_files("packs"), 0);
    forget(&later);
}

static void what_is_somebody_elses_stays(void **state)
{
    char path[200];

    (void)state;
    snprintf(path, sizeof path, "%s/packs/README", stock_repo);
    mkdir(path, 0700);
    rmdir(path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    collect_all();
    assert_int_equal(access(path, F_OK), 0);
}

/* Where a file can't be without a name. */
static void what_the_dead_wrote_in_part_goes(void **state)
{
    struct hands h = begin(), more;
    const char *runs[] = {"0123456789abcdef", repo_run(h.repo)};
    struct picture p;
    char paths[2][200];

    (void)state;
    more = begin();
    p = put_other(&more, 1);
    commit(&more, "guest", "one", &p);
    for (int i = 0; i < 2; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/packs/.%s-0000000000000001.part", stock_repo,
                 runs[i]);
        close(open(paths[i], O_CREAT | O_WRONLY, 0600));
    }
    sweep();
    assert_int_equal(access(paths[0], F_OK), -1);
    assert_int_equal(access(paths[1], F_OK), 0);
    forget(&h);
    sweep();
    assert_int_equal(access(paths[1], F_OK), -1);
}

/* Long logs are folded on the way. */
static void upkeep_keeps_the_log_short(void **state)
{
    struct repo *r;

    (void)state;
    for (unsigned i = 0; i < LOG_LONG; i++) {
        struct hands h = begin();

        forget(&h);
    }
    r = open_repo();
    assert_true(log_length(repo_log(r)) >= LOG_LONG);
    assert_ok(repo_begin(r, REPO_WRITES, "test", "", &e));
    sweep_upkeep(r);
    assert_int_equal(log_length(repo_log(r)), 0);
    repo_close(r);
    r = open_repo();
    assert_int_equal(repo_view(r)->run_count, 0);
    assert_in_range(count_files("log"), 0, 1);
    repo_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STOCK(what_nobody_needs_goes),
        STOCK(the_whole_copy_is_what_patches_need),
        STOCK(each_patch_of_the_same_keeps_its_base),
        STOCK(a_patch_that_has_lost_its_base_is_not_chosen),
        STOCK(a_chunk_may_be_a_leaf_too),
        STOCK(without_a_needed_table_nothing_goes),
        STOCK(a_patch_without_its_base_is_stored_anew),
        STOCK(a_patch_whose_base_is_lost_is_stored_anew),
        STOCK(what_is_stored_anew_is_whole),
        STOCK(what_was_copied_is_found),
        STOCK(a_full_disk_is_freed),
        STOCK(a_pack_that_is_half_dead_is_written_anew),
        STOCK(small_packs_are_brought_together),
        STOCK(lists_keep_two_places),
        STOCK(a_duplicate_goes_once_the_other_was_read),
        STOCK(what_is_damaged_is_kept),
        STOCK(a_damaged_patch_keeps_its_base),
        STOCK(without_a_record_or_a_list_nothing_goes),
        STOCK_FAKE(a_snapshot_that_comes_meanwhile_keeps_what_it_needs),
        STOCK_FAKE(two_collections_do_not_take_both_places),
        STOCK_FAKE(a_collection_that_was_ended_does_nothing),
        STOCK(packs_of_runs_that_live_stay),
        STOCK(condemned_packs_wait_for_who_may_read_them),
        STOCK(what_is_somebody_elses_stays),
        STOCK(what_the_dead_wrote_in_part_goes),
        STOCK(upkeep_keeps_the_log_short),
    };

    return cmocka_run_group_tests_name("collect", tests, NULL, NULL);
}
