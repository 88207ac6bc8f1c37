/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chunks in a repository: what is put comes back, once stored; damage is told, never handed out,
 * noted, and mended by who has it whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "stock.h"

static struct error e;
static uint8_t in[4 * CHUNK], out[4 * CHUNK];

static struct chunk_id put(struct hands *h, const uint8_t *content, uint32_t bytes,
                           const struct chunk_id *previous)
{
    struct chunk_id id;

    assert_ok(store_put(h->worker, PACK_DATA, content, bytes, previous, &id, &e));
    return id;
}

static void assert_got(struct hands *h, const struct chunk_id *id, const uint8_t *is,
                       uint32_t bytes)
{
    assert_ok(store_get(h->worker, id, out, bytes, &e));
    assert_memory_equal(out, is, bytes);
}

static void assert_stored(const struct chunk_id *id, const uint8_t *is, uint32_t bytes)
{
    struct hands h = begin();

    assert_got(&h, id, is, bytes);
    forget(&h);
}

static void what_is_put_comes_back(void **state)
{
    static const uint32_t sizes[] = {1, 511, 4096, 4097, CHUNK - 1, CHUNK};
    struct chunk_id text[6], noise[6], zero;
    struct hands h = begin();

    (void)state;
    for (int i = 0; i < 6; i++) {
        fill(in, sizes[i], 7 + (unsigned)i);
        text[i] = put(&h, in, sizes[i], NULL);
        srandom((unsigned)i);
        fill_random(in, sizes[i]);
        noise[i] = put(&h, in, sizes[i], NULL);
    }
    memset(in, 0, CHUNK);
    zero = put(&h, in, CHUNK, NULL);
    assert_true(chunk_id_is_zero(&zero));
    end(&h);
    assert_int_equal(count_files("packs"), 1);
    h = begin();
    for (int i = 0; i < 6; i++) {
        fill(in, sizes[i], 7 + (unsigned)i);
        assert_got(&h, &text[i], in, sizes[i]);
        srandom((unsigned)i);
        fill_random(in, sizes[i]);
        assert_got(&h, &noise[i], in, sizes[i]);
    }
    assert_int_equal(store_get(h.worker, &text[3], out, sizes[2], &e), DAMAGED);
    memset(&zero, 9, sizeof zero);
    assert_int_equal(store_get(h.worker, &zero, out, CHUNK, &e), DAMAGED);
    forget(&h);
}

/* However many there are, whichever of them are zeros, and if the last is short. */
static void several_names_are_those_of_each(void **state)
{
    enum { COUNT = 5, REST = 777 };
    static uint8_t many[COUNT * CHUNK + REST];
    struct hands h = begin();

    (void)state;
    for (unsigned zeros = 0; zeros < 1 << (COUNT + 1); zeros++) {
        memset(many, 0, sizeof many);
        for (unsigned i = 0; i <= COUNT; i++)
            if (!(zeros >> i & 1))
                fill(many + i * CHUNK, i < COUNT ? CHUNK : REST, zeros + i * 100 + 1);
        for (size_t bytes = 0; bytes <= sizeof many; bytes += bytes % CHUNK ? CHUNK - REST : REST) {
            size_t count = (bytes + CHUNK - 1) / CHUNK;
            struct chunk_id ids[COUNT + 2], id;

            memset(ids, 0xee, sizeof ids);
            assert_ok(store_names(h.worker, many, bytes, ids, &e));
            for (size_t i = 0; i < count; i++) {
                uint32_t n = bytes - i * CHUNK < CHUNK ? REST : CHUNK;

                assert_ok(store_name(h.worker, many + i * CHUNK, n, &id, &e));
                assert_memory_equal(&id, &ids[i], sizeof id);
            }
            memset(&id, 0xee, sizeof id);
            assert_memory_equal(&id, &ids[count], sizeof id);
        }
    }
    forget(&h);
}

static void what_is_known_is_not_stored_again(void **state)
{
    struct chunk_id first, again;
    struct hands h = begin();

    (void)state;
    fill(in, CHUNK, 1);
    first = put(&h, in, CHUNK, NULL);
    again = put(&h, in, CHUNK, NULL);
    assert_memory_equal(&first, &again, sizeof first);
    assert_int_equal(store_stats(h.store).known_bytes, CHUNK);
    end(&h);
    h = begin();
    put(&h, in, CHUNK, NULL);
    assert_int_equal(store_stats(h.store).stored_bytes, 0);
    end(&h);
    assert_int_equal(count_files("packs"), 1);
}

static void a_change_is_stored_as_a_patch(void **state)
{
    struct chunk_id ids[4];
    struct hands h = begin();

    (void)state;
    srandom(1);
    fill_random(in, CHUNK);
    ids[0] = put(&h, in, CHUNK, NULL);
    end(&h);
    for (int i = 1; i < 4; i++) {
        h = begin();
        /* One page more each time: patches of the first, not of each other. */
        memset(in + i * 2 * PATCH_PAGE_BYTES, i, PATCH_PAGE_BYTES);
        ids[i] = put(&h, in, CHUNK, &ids[i - 1]);
        assert_in_range(store_stats(h.store).stored_bytes, 1, 400);
        end(&h);
    }
    assert_stored(&ids[3], in, CHUNK);
    /* Too much of it: whole. */
    h = begin();
    fill_random(in, CHUNK / 2 + PATCH_PAGE_BYTES);
    put(&h, in, CHUNK, &ids[3]);
    assert_in_range(store_stats(h.store).stored_bytes, CHUNK / 2 + PATCH_PAGE_BYTES, 2 * CHUNK);
    end(&h);
}

/* In a pack of lists, and among the chunks; either may go. */
static void a_list_is_there_twice(void **state)
{
    struct hands h = begin();
    struct chunk_id id;

    (void)state;
    srandom(1);
    fill_random(in, LIST_BYTES);
    assert_ok(store_put(h.worker, PACK_LISTS, in, LIST_BYTES, NULL, &id, &e));
    assert_ok(store_put(h.worker, PACK_LISTS, in, LIST_BYTES, NULL, &id, &e));
    assert_in_range(store_stats(h.store).stored_bytes, 2 * LIST_BYTES, 2 * LIST_BYTES + 200);
    end(&h);
    assert_int_equal(count_files("packs"), 2);
    for (int kind = PACK_DATA; kind <= PACK_LISTS; kind++) {
        const char *path = pack_path(kind, 0);

        flip(path, 1000);
        assert_stored(&id, in, LIST_BYTES);
        assert_int_equal(known_damage(), kind);
        flip(path, 1000);
    }
}

/* Several at a time: what is bad is told of one by one, and leaves zeros. */
struct told {
    size_t count, last;
};

static int note_bad(void *arg, size_t i, const struct error *why, struct error *ignored)
{
    struct told *t = arg;

    (void)ignored;
    assert_int_equal(why->status, DAMAGED);
    t->count++;
    t->last = i;
    return OK;
}

static void many_at_once(void **state)
{
    struct hands h = begin();
    struct chunk_id ids[4] = {0};
    struct told told = {0};
    const uint32_t rest = 777;

    (void)state;
    srandom(3);
    memset(in, 0, sizeof in);
    for (int i = 0; i < 4; i++) {
        if (i != 1)
            fill_random(in + i * CHUNK, i < 3 ? CHUNK : rest);
        ids[i] = put(&h, in + i * CHUNK, i < 3 ? CHUNK : rest, NULL);
    }
    end(&h);
    h = begin();
    assert_ok(store_get_many(h.worker, ids, out, 3 * CHUNK + rest, note_bad, &told, &e));
    assert_memory_equal(in, out, 3 * CHUNK + rest);
    assert_int_equal(told.count, 0);
    forget(&h);
    /* The third: they lie in the order in which they were put. */
    flip(pack_path(PACK_DATA, 0), PACK_HEAD_BYTES + 2 * PIECE_HEAD_BYTES + CHUNK + 3000);
    h = begin();
    assert_int_equal(store_get_many(h.worker, ids, out, 3 * CHUNK + rest, NULL, NULL, &e), DAMAGED);
    assert_ok(store_get_many(h.worker, ids, out, 3 * CHUNK + rest, note_bad, &told, &e));
    assert_int_equal(told.count, 1);
    assert_int_equal(told.last, 2);
    memset(in + 2 * CHUNK, 0, CHUNK);
    assert_memory_equal(in, out, 3 * CHUNK + rest);
    forget(&h);
}

/* Nothing that a byte of a pack may be makes a wrong byte come out. */
static void damage_is_told(void **state)
{
    struct chunk_id ids[3];
    struct hands h = begin();
    unsigned told = 0;
    char paths[2][200];

    (void)state;
    fill(in, CHUNK, 3);
    ids[0] = put(&h, in, CHUNK, NULL);
    end(&h);
    h = begin();
    in[5] ^= 1;
    ids[1] = put(&h, in, CHUNK, &ids[0]);
    fill_random(in, CHUNK);
    ids[2] = put(&h, in, 2000, NULL);
    end(&h);
    for (unsigned i = 0; i < 2; i++)
        snprintf(paths[i], sizeof paths[i], "%s", pack_path(PACK_DATA, i));
    /* Both packs, every eleventh byte, with and without the index. */
    for (int pass = 0; pass < 4; pass++)
        for (uint64_t at = 0; at < bytes_of(paths[pass % 2]); at += 11) {
            struct repo *r;
            struct store *s;
            struct store_worker *w;

            flip(paths[pass % 2], at);
            if (pass >= 2)
                drop_cache();
            /* Without a run, so that nothing is noted. */
            r = open_repo();
            assert_ok(store_open(&s, r, &e));
            assert_ok(store_worker_new(&w, s, &e));
            for (int i = 0; i < 3; i++) {
                uint32_t bytes = i == 2 ? 2000 : CHUNK;
                struct chunk_id found;

                if (store_get(w, &ids[i], out, bytes, &e) == OK) {
                    assert_ok(store_name(w, out, bytes, &found, &e));
                    assert_memory_equal(&found, &ids[i], sizeof found);
                } else {
                    assert_int_equal(e.status, DAMAGED);
                    told++;
                }
            }
            store_worker_free(w);
            store_close(s);
            repo_close(r);
            flip(paths[pass % 2], at);
        }
    assert_true(told > 100);
}

/* Two that do not know of each other store the same: damage one, and the other serves. Then both.
 */
static void all_places_are_tried(void **state)
{
    const uint64_t inside = PACK_HEAD_BYTES + PIECE_HEAD_BYTES + 1000;

    for (int first = 0; first < 2; first++) {
        struct hands a = begin(), b = begin();
        struct chunk_id id;
        char paths[2][200];

        srandom(5);
        fill_random(in, CHUNK);
        id = put(&a, in, CHUNK, NULL);
        put(&b, in, CHUNK, NULL);
        end(&a);
        end(&b);
        for (unsigned i = 0; i < 2; i++)
            snprintf(paths[i], sizeof paths[i], "%s", pack_path(PACK_DATA, i));
        flip(paths[first], inside);
        for (int pass = 0; pass < 3; pass++) {
            assert_stored(&id, in, CHUNK);
            drop_cache();
        }
        /* Whole, so it is relied on. */
        a = begin();
        put(&a, in, CHUNK, NULL);
        assert_int_equal(store_stats(a.store).stored_bytes, 0);
        forget(&a);
        flip(paths[!first], inside);
        a = begin();
        assert_int_equal(store_get(a.worker, &id, out, CHUNK, &e), DAMAGED);
        assert_in_range(store_found_damaged(a.store), 1, 2);
        forget(&a);
        assert_int_equal(known_damage(), 2);
        a = begin();
        put(&a, in, CHUNK, NULL);
        assert_in_range(store_stats(a.store).stored_bytes, CHUNK, 2 * CHUNK);
        end(&a);
        assert_stored(&id, in, CHUNK);
        stock_teardown(state);
        stock_setup(state);
    }
}

/* Whatever it is of its head that is damaged. */
static void a_head_may_be_damaged(void **state)
{
    struct hands a = begin(), b = begin();
    struct chunk_id id;
    char paths[2][200];

    (void)state;
    fill(in, CHUNK, 5);
    id = put(&a, in, CHUNK, NULL);
    put(&b, in, CHUNK, NULL);
    end(&a);
    end(&b);
    for (unsigned i = 0; i < 2; i++)
        snprintf(paths[i], sizeof paths[i], "%s", pack_path(PACK_DATA, i));
    for (unsigned at = 0; at < PIECE_HEAD_BYTES; at++)
        for (int i = 0; i < 3; i++) {
            struct repo *r = open_repo();
            struct store_worker *w;
            struct store *s;

            if (i != 1)
                flip(paths[0], PACK_HEAD_BYTES + at);
            if (i != 0)
                flip(paths[1], PACK_HEAD_BYTES + at);
            assert_ok(store_open(&s, r, &e));
            assert_ok(store_worker_new(&w, s, &e));
            if (store_get(w, &id, out, CHUNK, &e) == OK)
                assert_memory_equal(out, in, CHUNK);
            else if (i < 2 || e.status != DAMAGED)
                fail_msg("byte %u, way %d: %s", at, i, e.text);
            store_worker_free(w);
            store_close(s);
            repo_close(r);
            if (i != 1)
                flip(paths[0], PACK_HEAD_BYTES + at);
            if (i != 0)
                flip(paths[1], PACK_HEAD_BYTES + at);
        }
}

/* Nor is it damage that somebody asks for another length: an image has grown, its last chunk with
 * it. */
static void another_length_is_no_damage(void **state)
{
    struct hands h = begin();
    struct chunk_id id;

    (void)state;
    srandom(9);
    fill_random(in, CHUNK);
    id = put(&h, in, 5000, NULL);
    end(&h);
    h = begin();
    assert_int_equal(store_get(h.worker, &id, out, 5001, &e), DAMAGED);
    put(&h, in, CHUNK, &id);
    end(&h);
    assert_int_equal(known_damage(), 0);
    assert_stored(&id, in, 5000);
}

/* A patch, one pack; its base, twice: in packs 0 and 1. */
static struct chunk_id put_patch_of_two(char paths[3][200], struct chunk_id *base)
{
    struct hands a = begin(), b = begin();
    struct chunk_id id;

    srandom(6);
    fill_random(in, CHUNK);
    *base = put(&a, in, CHUNK, NULL);
    put(&b, in, CHUNK, NULL);
    end(&a);
    end(&b);
    a = begin();
    memset(in + PATCH_PAGE_BYTES, 9, 10);
    id = put(&a, in, CHUNK, base);
    assert_in_range(store_stats(a.store).stored_bytes, 1, 2 * PATCH_PAGE_BYTES);
    end(&a);
    for (unsigned i = 0; i < 3; i++)
        snprintf(paths[i], 200, "%s", pack_path(PACK_DATA, i));
    return id;
}

static void a_patch_needs_any_of_its_base(void **state)
{
    const uint64_t inside = PACK_HEAD_BYTES + PIECE_HEAD_BYTES + 1000;
    struct chunk_id base, id;
    char paths[3][200];
    struct hands h;

    for (int first = 0; first < 2; first++) {
        id = put_patch_of_two(paths, &base);
        flip(paths[first], inside);
        for (int pass = 0; pass < 2; pass++) {
            assert_stored(&id, in, CHUNK);
            drop_cache();
        }
        flip(paths[!first], inside);
        h = begin();
        assert_int_equal(store_get(h.worker, &id, out, CHUNK, &e), DAMAGED);
        assert_non_null(strstr(e.text, "base"));
        forget(&h);
        /* It is the base that is, at both places; the patch itself is not. */
        assert_int_equal(known_damage(), 2);
        /* Nor is it relied on without a base. */
        h = begin();
        assert_false(store_rely(h.worker, &id));
        put(&h, in, CHUNK, NULL);
        assert_in_range(store_stats(h.store).stored_bytes, CHUNK, 2 * CHUNK);
        end(&h);
        assert_stored(&id, in, CHUNK);
        stock_teardown(state);
        stock_setup(state);
    }
}

/* Unless it is known that it was lost: nobody has read it yet. */
static void a_patch_is_not_of_what_is_damaged(void **state)
{
    struct chunk_id base, id;
    struct hands h = begin();

    (void)state;
    srandom(8);
    fill_random(in, CHUNK);
    base = put(&h, in, CHUNK, NULL);
    end(&h);
    flip(pack_path(PACK_DATA, 0), PACK_HEAD_BYTES + PIECE_HEAD_BYTES + 20);
    h = begin();
    in[CHUNK - 1] ^= 1;
    id = put(&h, in, CHUNK, &base);
    assert_in_range(store_stats(h.store).stored_bytes, CHUNK, 2 * CHUNK);
    end(&h);
    assert_int_equal(known_damage(), 1);
    assert_stored(&id, in, CHUNK);
    /* A guest that still has it heals it: the same content, whole. */
    h = begin();
    in[CHUNK - 1] ^= 1;
    put(&h, in, CHUNK, NULL);
    end(&h);
    assert_stored(&base, in, CHUNK);
}

static void what_is_there_is_relied_on(void **state)
{
    struct chunk_id id, other;
    struct hands h = begin();

    (void)state;
    fill(in, CHUNK, 5);
    id = put(&h, in, CHUNK, NULL);
    assert_false(store_rely(h.worker, &id)); /* not closed */
    assert_ok(store_finish(h.store, &e));
    assert_true(store_rely(h.worker, &id));
    end(&h);
    h = begin();
    assert_true(store_rely(h.worker, &id));
    assert_true(store_rely(h.worker, &chunk_id_zero));
    memset(&other, 7, sizeof other);
    assert_false(store_rely(h.worker, &other));
    forget(&h);
}

/* It is no longer found in a pack that is no longer named. */
static void what_was_not_named_is_not_there(void **state)
{
    struct hands h = begin();
    struct chunk_id id;

    (void)state;
    fill(in, CHUNK, 6);
    id = put(&h, in, CHUNK, NULL);
    assert_ok(store_finish(h.store, &e));
    assert_got(&h, &id, in, CHUNK);
    forget(&h);
    for (int pass = 0; pass < 2; pass++) {
        h = begin();
        assert_int_equal(store_get(h.worker, &id, out, CHUNK, &e), DAMAGED);
        put(&h, in, CHUNK, NULL);
        assert_true(store_stats(h.store).stored_bytes > 0);
        forget(&h);
        drop_cache();
    }
}

static void nothing_is_put_without_a_run(void **state)
{
    struct repo *r = open_repo();
    struct store_worker *w;
    struct chunk_id id, name;
    struct store *s;

    (void)state;
    assert_ok(store_open(&s, r, &e));
    assert_int_equal(count_files("packs"), 0);
    assert_ok(store_finish(s, &e));
    store_close(s);
    repo_close(r);
    /* Nor by one that keeps nothing: it tells names. */
    assert_ok(store_none(&s, CHUNK, &e));
    assert_ok(store_worker_new(&w, s, &e));
    fill(in, CHUNK, 1);
    assert_ok(store_put(w, PACK_DATA, in, CHUNK, NULL, &id, &e));
    assert_ok(store_name(w, in, CHUNK, &name, &e));
    assert_memory_equal(&id, &name, sizeof id);
    store_worker_free(w);
    assert_ok(store_finish(s, &e));
    store_close(s);
}

static const char *cache_file(void)
{
    static char path[500];
    char folder[200];
    struct repo *r = open_repo();
    AUTO_CLOSEDIR DIR *d = NULL;
    struct dirent *file;

    snprintf(folder, sizeof folder, "%s/cache/domsnap/%s", stock_dir, repo_id(r));
    repo_close(r);
    d = opendir(folder);
    assert_non_null(d);
    while ((file = readdir(d)))
        if (strstr(file->d_name, ".idx"))
            snprintf(path, sizeof path, "%s/%s", folder, file->d_name);
    return path;
}

static void the_index_is_only_a_cache(void **state)
{
    struct chunk_id ids[30];
    struct hands h;

    (void)state;
    for (int i = 0; i < 30; i++) {
        h = begin();
        fill(in, CHUNK, 100 + (unsigned)i);
        ids[i] = put(&h, in, CHUNK, NULL);
        end(&h);
    }
    for (int pass = 0; pass < 5; pass++) {
        if (pass == 1) /* damaged: its head, a block */
            flip(cache_file(), 40);
        else if (pass == 2)
            flip(cache_file(), 4096 + 10);
        else if (pass == 3)
            assert_int_equal(truncate(cache_file(), 50), 0);
        else if (pass == 4)
            drop_cache();
        h = begin();
        for (int i = 0; i < 30; i++) {
            fill(in, CHUNK, 100 + (unsigned)i);
            assert_got(&h, &ids[i], in, CHUNK);
        }
        end(&h);
    }
}

static void an_unknown_repository_is_refused(void **state)
{
    char config[100], copy[100];
    struct repo *r;

    (void)state;
    assert_int_equal(repo_init(stock_repo, CHUNK, &e), BUSY);
    assert_int_equal(repo_init(stock_dir, CHUNK + 1, &e), USAGE);
    assert_int_equal(repo_open(&r, stock_dir, &e), NOT_FOUND);
    snprintf(config, sizeof config, "%s/config", stock_repo);
    snprintf(copy, sizeof copy, "%s/copy/config", stock_repo);
    /* It is there twice. */
    assert_int_equal(truncate(config, 30), 0);
    assert_ok(repo_open(&r, stock_repo, &e));
    assert_int_equal(repo_chunk_bytes(r), CHUNK);
    repo_close(r);
    assert_int_equal(truncate(copy, 30), 0);
    assert_int_equal(repo_open(&r, stock_repo, &e), DAMAGED);
    assert_int_equal(unlink(copy), 0);
    assert_int_equal(unlink(config), 0);
    assert_int_equal(repo_open(&r, stock_repo, &e), NOT_FOUND);
}

/* Nobody waits for anybody. */
/* Small pieces that were put one after the other cost a read for many of them, forwards; and are
 * found in any other order, too. */
static void small_pieces_are_read_together(void **state)
{
    enum { PIECES = 200, BYTES = 1000 };

    struct chunk_id ids[PIECES];
    struct hands h = begin();
    unsigned before;

    (void)state;
    for (unsigned i = 0; i < PIECES; i++) {
        srandom(i);
        fill_random(in, BYTES);
        ids[i] = put(&h, in, BYTES, NULL);
    }
    end(&h);
    h = begin();
    before = fake_operations(repo_backend(h.repo));
    for (unsigned i = 0; i < PIECES; i++) {
        srandom(i);
        fill_random(in, BYTES);
        assert_got(&h, &ids[i], in, BYTES);
    }
    assert_in_range(fake_operations(repo_backend(h.repo)) - before, 1, 4);
    for (unsigned i = PIECES; i--;) {
        srandom(i);
        fill_random(in, BYTES);
        assert_got(&h, &ids[i], in, BYTES);
        assert_ok(store_get(h.worker, &ids[i * 7 % PIECES], out, BYTES, &e));
    }
    forget(&h);
}

static void many_have_it_at_once(void **state)
{
    struct hands a = begin(), b = begin(), c;
    struct chunk_id one, other;

    (void)state;
    fill(in, CHUNK, 1);
    one = put(&a, in, CHUNK, NULL);
    fill(in, CHUNK, 2);
    other = put(&b, in, CHUNK, NULL);
    end(&b);
    c = begin();
    assert_got(&c, &other, in, CHUNK);
    end(&a);
    /* What came after it began it does not see. */
    assert_int_equal(store_get(c.worker, &one, out, CHUNK, &e), DAMAGED);
    forget(&c);
    fill(in, CHUNK, 1);
    assert_stored(&one, in, CHUNK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STOCK(what_is_put_comes_back),
        STOCK(several_names_are_those_of_each),
        STOCK(what_is_known_is_not_stored_again),
        STOCK(a_change_is_stored_as_a_patch),
        STOCK(a_list_is_there_twice),
        STOCK(many_at_once),
        STOCK(damage_is_told),
        STOCK(all_places_are_tried),
        STOCK(a_head_may_be_damaged),
        STOCK(another_length_is_no_damage),
        STOCK(a_patch_needs_any_of_its_base),
        STOCK(a_patch_is_not_of_what_is_damaged),
        STOCK(what_is_there_is_relied_on),
        STOCK(what_was_not_named_is_not_there),
        STOCK(nothing_is_put_without_a_run),
        STOCK(the_index_is_only_a_cache),
        STOCK(an_unknown_repository_is_refused),
        STOCK_FAKE(small_pieces_are_read_together),
        STOCK(many_have_it_at_once),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
