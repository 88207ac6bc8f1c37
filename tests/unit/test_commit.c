/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a create, whatever others do meanwhile; and whoever dies wherever: no snapshot that
 * there was loses a byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "repo/collect.h"
#include "repo/commit.h"
#include "repo/pack.h"
#include "repo/records.h"
#include "repo/repair.h"
#include "repo/sweep.h"
#include "every.h"
#include "stock.h"

static struct error e;
static uint8_t content[16 * CHUNK];

static int try_commit(struct hands *h, const char *domain, const char *name,
                      const struct picture *p)
{
    return commit_snapshot(h->store, record_of(domain, name, p), &e);
}

static void collect_all(void)
{
    struct hands h = begin();
    struct collect_stats stats;

    assert_ok(collect_run(h.store, &stats, &e));
    forget(&h);
}

static void sweep(void)
{
    struct repo *r = open_repo();
    struct sweep_stats stats;

    assert_ok(sweep_run(r, &stats, &e));
    repo_close(r);
}

static void end_the_runs(void)
{
    struct repo *r = open_repo();

    while (repo_view(r)->run_count) {
        char run[RUN_ID];

        memcpy(run, repo_view(r)->runs[0].id, RUN_ID);
        assert_ok(log_end(repo_log(r), run, &e));
    }
    repo_close(r);
}

static size_t count_snapshots(void)
{
    struct repo *r = open_repo();
    size_t count = repo_view(r)->snapshot_count;

    repo_close(r);
    return count;
}

/* It is there for good: after all that nothing needs is gone, with an index and without. */
static void assert_lasts(const struct picture *p, const uint8_t *is)
{
    for (int pass = 0; pass < 3; pass++) {
        assert_there(p, is);
        collect_all();
        sweep();
        if (pass)
            drop_cache();
    }
    assert_there(p, is);
}

static void it_is_there_once_it_is_added(void **state)
{
    struct hands h = begin();
    const struct view_snapshot *s;
    struct picture p;
    struct manifest m;
    struct repo *r;

    (void)state;
    fill(content, 4 * CHUNK, 1);
    p = put_picture(&h, content, 4 * CHUNK - 5, NULL);
    assert_int_equal(count_snapshots(), 0);
    assert_ok(try_commit(&h, "linux01", "one", &p));
    assert_string_equal(repo_run(h.repo), "");
    forget(&h);
    r = open_repo();
    s = view_find_snapshot(repo_view(r), "linux01", "one");
    assert_non_null(s);
    assert_int_equal(s->disks, 1);
    assert_false(s->ram);
    assert_int_equal(s->bytes,
                     2 * (4 * CHUNK - 5)); /* the disk, and what passes for a configuration */
    assert_true(s->stored_bytes > 0);
    assert_int_equal(repo_view(r)->run_count, 0);
    assert_int_equal(repo_view(r)->pack_count, 2);
    assert_ok(record_get(r, s, &m, &e));
    assert_string_equal(m.name, "one");
    manifest_release(&m);
    repo_close(r);
    assert_lasts(&p, content);
}

/* ---- what was relied on is condemned ---- */

/* A snapshot of `content` that is gone, but for its packs. */
static struct picture put_and_delete(uint32_t bytes)
{
    struct hands h = begin();
    struct picture p = put_picture(&h, content, bytes, NULL);

    commit(&h, "guest", "old", &p);
    delete ("guest", "old");
    return p;
}

static void what_was_condemned_is_put_again(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct picture old, p;
        struct hands h;

        srandom(1 + (unsigned)way);
        fill_random(content, 5 * CHUNK);
        old = put_and_delete(5 * CHUNK - 77);
        h = begin();
        if (way & 1)
            content[3] ^= 1; /* a patch of it */
        if (way & 2)
            content[4 * CHUNK + 3] ^= 1;
        p = put_picture(&h, content, 5 * CHUNK - 77, &old);
        collect_all();
        /* Nobody else sees it any more. */
        assert_int_not_equal(read_picture(&old, content, &e), OK);
        sweep();
        commit(&h, "guest", "new", &p);
        sweep();
        assert_lasts(&p, content);
        delete ("guest", "new");
        collect_all();
        sweep();
        assert_int_equal(count_files("packs"), 0);
    }
}

/* ---- between the last look and the entry ---- */

struct meanwhile {
    void (*act)(struct meanwhile *m);
    unsigned left;
    const struct picture *picture;
};

static void before_operation(void *arg, const char *operation, const char *name)
{
    struct meanwhile *m = arg;

    if (!m->left || strcmp(operation, "publish") != 0 || strncmp(name, "log/", 4) != 0)
        return;
    if (--m->left == 0)
        m->act(m);
}

static void condemn_it(struct meanwhile *m)
{
    (void)m;
    collect_all();
    sweep();
}

static void take_the_name(struct meanwhile *m)
{
    record("guest", "new", m->picture);
}

static void end_it(struct meanwhile *m)
{
    (void)m;
    end_the_runs();
}

static void others_at_the_last_moment(void **state)
{
    static const struct {
        void (*act)(struct meanwhile *m);
        int rc;
    } ways[] = {{condemn_it, OK}, {take_the_name, BUSY}, {end_it, CANCELLED}};

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        for (int early = 0; early < 2; early++) {
            struct backend *b = fake_backend(stock_fake);
            struct meanwhile m = {.act = ways[i].act, .left = 1};
            struct hands h;
            struct picture old, p;

            srandom(9);
            fill_random(content, 3 * CHUNK);
            old = put_and_delete(3 * CHUNK);
            m.picture = &old;
            h = begin_on(b);
            content[9] ^= 1;
            p = put_picture(&h, content, 3 * CHUNK, &old);
            assert_ok(store_finish(h.store, &e));
            if (early)
                m.act(&m);
            else
                fake_before(b, before_operation, &m);
            assert_int_equal(try_commit(&h, "guest", "new", &p), ways[i].rc);
            fake_before(b, NULL, NULL);
            forget(&h);
            sweep();
            if (ways[i].rc == OK) {
                assert_lasts(&p, content);
            } else {
                /* The other's is as it was, and nothing is left of this. */
                assert_int_equal(count_snapshots(), ways[i].act == take_the_name);
                content[9] ^= 1;
                if (ways[i].act == take_the_name)
                    assert_lasts(&old, content);
                assert_int_equal(count_files("snapshots"), count_snapshots());
            }
            stock_teardown(state);
            stock_setup_fake(state);
        }
}

/* ---- faults ---- */

/* What is there in the beginning, and must be in the end. */
static struct picture a, b;
static uint8_t is_a[3 * CHUNK], is_b[3 * CHUNK], is_new[3 * CHUNK];

/* Two guests that share some; a deleted one, of which others have patches; packs that are half
 * dead. */
static struct picture new_before;

static void furnish(void)
{
    struct hands h = begin();
    struct picture p;

    srandom(11);
    fill_random(is_a, sizeof is_a);
    memcpy(is_b, is_a, sizeof is_b);
    memcpy(is_new, is_a, sizeof is_new);
    /* Only lists and one base of it are needed later. */
    p = put_picture(&h, is_a, sizeof is_a, NULL);
    fill_random(content, 8 * CHUNK);
    put_picture(&h, content, 8 * CHUNK, NULL);
    commit(&h, "a", "zero", &p);
    h = begin();
    is_a[5] ^= 1;
    a = put_picture(&h, is_a, sizeof is_a, &p);
    commit(&h, "a", "one", &a);
    h = begin();
    fill_random(is_b + CHUNK, CHUNK);
    b = put_picture(&h, is_b, sizeof is_b, &p);
    commit(&h, "b", "one", &b);
    h = begin();
    fill_random(content, CHUNK);
    new_before = put_picture(&h, content, CHUNK, NULL);
    commit(&h, "new", "zero", &new_before);
    delete ("new", "zero");
    delete ("a", "zero");
    memcpy(is_new + CHUNK, content, CHUNK);
    is_new[7] ^= 1;
}

static struct picture put_new(struct hands *h, int *rc)
{
    struct picture p;

    *rc = try_put_picture(h, &p, is_new, sizeof is_new, &a, &e);
    return p;
}

struct play {
    const char *name;
    /* Before the fault; then what it strikes, whose end is told. */
    void (*prepare)(void);
    int (*run)(struct backend *backend);
};

static struct picture made;
static struct hands waiting;

static void nothing(void)
{
}

static int play_create(struct backend *backend)
{
    struct hands h;
    int rc = try_begin_on(&h, backend, &e);

    if (rc < 0)
        return rc;
    made = put_new(&h, &rc);
    if (rc == OK)
        rc = try_commit(&h, "new", "one", &made);
    forget(&h);
    return rc;
}

/* What it relies on is condemned before it commits. */
static int play_create_late(struct backend *backend)
{
    struct hands h;
    int rc = try_begin_on(&h, backend, &e);

    if (rc < 0)
        return rc;
    made = put_new(&h, &rc);
    if (rc == OK) {
        collect_all();
        sweep();
        rc = try_commit(&h, "new", "one", &made);
    }
    forget(&h);
    return rc;
}

static int play_collect(struct backend *backend)
{
    struct collect_stats stats;
    struct hands h;
    int rc = try_begin_on(&h, backend, &e);

    if (rc < 0)
        return rc;
    rc = collect_run(h.store, &stats, &e);
    forget(&h);
    return rc;
}

/* A create is under way, and commits afterwards. */
static void begin_waiting(void)
{
    int rc;

    waiting = begin();
    made = put_new(&waiting, &rc);
    assert_int_equal(rc, OK);
}

static int play_sweep(struct backend *backend)
{
    struct sweep_stats stats;
    struct repo *r;
    int rc = repo_open_on(&r, backend, &e);

    if (rc < 0)
        return rc;
    rc = sweep_run(r, &stats, &e);
    repo_close(r);
    return rc;
}

static int play_fold(struct backend *backend)
{
    struct repo *r;
    int rc = repo_open_on(&r, backend, &e);

    if (rc < 0)
        return rc;
    rc = repo_begin(r, REPO_WRITES, "fold", "", &e);
    if (rc == OK)
        rc = log_fold(repo_log(r), repo_run(r), &e);
    repo_close(r);
    return rc;
}

static void condemn_some(void)
{
    collect_all();
}

/* The table of a pack, which may be all that leads to some of it. */
static void damage_some(void)
{
    struct hands h = begin(), g = begin();
    struct view_pack *packs;
    size_t count, bytes;
    char object[PACK_OBJECT_MAX];
    int rc;

    put_new(&h, &rc);
    put_new(&g, &rc);
    end(&h);
    end(&g);
    count = named_packs(&packs);
    for (size_t i = 0; i < count; i++) {
        unsigned char *data;

        pack_object(&packs[i].name, object);
        data = fake_bytes(stock_fake, object, &bytes);
        if (bytes > CHUNK) {
            data[bytes - 1] ^= 1;
            break;
        }
    }
    free(packs);
}

static int play_repair(struct backend *backend)
{
    struct repair_stats stats;
    struct hands h;
    int rc = try_begin_on(&h, backend, &e);

    if (rc < 0)
        return rc;
    rc = repair_run(h.store, &stats, &e);
    forget(&h);
    return rc;
}

static void must_be_whole(const char *play, unsigned n, enum fake_fault fault,
                          const struct picture *p, const uint8_t *is, const char *which)
{
    struct error why;

    if (read_picture(p, is, &why) < 0)
        fail_msg("%s, fault %d at operation %u: %s: %s", play, fault, n, which, why.text);
}

static bool is_listed(const char *domain, const char *name)
{
    struct repo *r = open_repo();
    bool is = view_find_snapshot(repo_view(r), domain, name);

    repo_close(r);
    return is;
}

static void assert_all_whole(const struct play *play, unsigned n, enum fake_fault fault,
                             bool acknowledged)
{
    must_be_whole(play->name, n, fault, &a, is_a, "a@one");
    must_be_whole(play->name, n, fault, &b, is_b, "b@one");
    if (acknowledged)
        assert_true(is_listed("new", "one"));
    if (is_listed("new", "one"))
        must_be_whole(play->name, n, fault, &made, is_new, "new@one");
}

/* Nothing is left that nobody needs. */
static void assert_tidy(void)
{
    struct view_pack *packs;
    size_t count = named_packs(&packs);

    free(packs);
    assert_int_equal(count_files("packs"), count);
    assert_int_equal(count_files("snapshots"), count_snapshots());
    /* A copy that could not be put is made by the next check. */
    assert_in_range(count_files("copy/snapshots"), 0, count_snapshots());
}

static void strike(const struct play *play, unsigned n, enum fake_fault fault)
{
    bool creates = play->run == play_create || play->run == play_create_late;
    struct backend *backend;
    void *state = NULL;
    int rc;

    stock_setup_fake(&state);
    furnish();
    play->prepare();
    backend = fake_backend(stock_fake);
    fake_arm(backend, n, fault);
    rc = play->run(backend);
    /* What is in a pack whose table is lost can't be read until that is repaired. */
    if (play->run != play_repair)
        assert_all_whole(play, n, fault, creates && rc == OK);
    if (waiting.repo) {
        assert_ok(try_commit(&waiting, "new", "one", &made));
        forget(&waiting);
        assert_all_whole(play, n, fault, true);
    }
    /* Whoever comes next goes on as if nothing had been. */
    end_the_runs();
    drop_cache();
    if (play->run == play_repair)
        assert_ok(play_repair(fake_backend(stock_fake)));
    for (int pass = 0; pass < 2; pass++) {
        collect_all();
        sweep();
        assert_all_whole(play, n, fault, creates && rc == OK);
    }
    assert_tidy();
    stock_teardown(&state);
}

static unsigned passed;

static void count_one(void *arg, const char *operation, const char *name)
{
    (void)arg, (void)operation, (void)name;
    passed++;
}

static unsigned operations_of(const struct play *play)
{
    struct backend *backend;
    void *state = NULL;

    stock_setup_fake(&state);
    furnish();
    play->prepare();
    backend = fake_backend(stock_fake);
    passed = 0;
    fake_before(backend, count_one, NULL);
    if (play->run(backend) < 0)
        fail_msg("%s: %s", play->name, e.text);
    if (waiting.repo)
        forget(&waiting);
    stock_teardown(&state);
    return passed;
}

static void everywhere(void **state)
{
    static const enum fake_fault faults[] = {FAKE_DIE, FAKE_LOST_ANSWER, FAKE_FAIL};
    const struct play *play = *state;
    unsigned operations = operations_of(play);

    assert_in_range(operations, 10, 1000);
    print_message("%s: %u operations\n", play->name, operations);
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++)
        for (unsigned n = 1; n <= operations; n += every())
            strike(play, n, faults[f]);
}

static void quiet(enum log_level level, const char *line)
{
    (void)level, (void)line;
}

#define PLAY(what, before, how)                                                                    \
    {                                                                                              \
        what, everywhere, NULL, NULL, (void *)&(const struct play)                                 \
        {                                                                                          \
            what, before, how                                                                      \
        }                                                                                          \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        STOCK(it_is_there_once_it_is_added),
        STOCK_FAKE(what_was_condemned_is_put_again),
        STOCK_FAKE(others_at_the_last_moment),
        PLAY("create", nothing, play_create),
        PLAY("create, from what is condemned", nothing, play_create_late),
        PLAY("collect", nothing, play_collect),
        PLAY("collect, while a create is under way", begin_waiting, play_collect),
        PLAY("sweep", condemn_some, play_sweep),
        PLAY("sweep, while a create is under way", begin_waiting, play_sweep),
        PLAY("fold", nothing, play_fold),
        PLAY("repair", damage_some, play_repair),
    };

    log_set_sink(quiet);
    return cmocka_run_group_tests_name("commit", tests, NULL, NULL);
}
