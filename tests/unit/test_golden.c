/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A repository that was written once (tests/golden/) stays readable, whole, and usable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "copy/extract.h"
#include "repo/check.h"
#include "repo/collect.h"
#include "repo/image.h"
#include "repo/pack.h"
#include "repo/records.h"
#include "repo/sweep.h"
#include "stock.h"

static const char *golden;
static struct error e;
static struct progress progress;

static const struct {
    const char *domain, *name;
    uint64_t bytes;
    const char *sum;
} snapshots[] = {
    {"alpha", "first", 41943552,
     "a02900bf99e8b7b91318914ac900dfc50ee27f1b094f7433a617a7456729b463"},
    {"alpha", "second", 41943552,
     "1fe75adc93f99f7c4f3df138bedf8d83246a9482b8feb3803dcde7ec0bf7f925"},
    {"beta", "only", 1050112, "00e615b6b0ddea9428a3639b3ec90b61dd15b5d347d5ea2715a8e9b2733a694a"},
};

#define SNAPSHOTS (sizeof snapshots / sizeof *snapshots)

static int setup(void **state)
{
    char command[400];

    stock_setup(state);
    remove_tree(stock_repo);
    snprintf(command, sizeof command, "tar -xf '%s' -C '%s'", golden, stock_dir);
    return system(command);
}

static void sum_file(int fd, uint64_t bytes, char hex[65])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t block[1 << 16], sum[32];

    assert_true(EVP_DigestInit_ex(ctx, EVP_sha256(), NULL));
    for (uint64_t at = 0; at < bytes;) {
        size_t n = bytes - at < sizeof block ? bytes - at : sizeof block;

        assert_int_equal(pread_full(fd, block, n, at), 0);
        EVP_DigestUpdate(ctx, block, n);
        at += n;
    }
    EVP_DigestFinal_ex(ctx, sum, NULL);
    EVP_MD_CTX_free(ctx);
    hex_put(hex, sum, sizeof sum);
}

static struct manifest record_at(struct hands *h, size_t i)
{
    const struct view_snapshot *s;
    struct manifest m;

    assert_ok(record_find(h->repo, snapshots[i].domain, snapshots[i].name, &s, &e));
    assert_ok(record_get(h->repo, s, &m, &e));
    assert_int_equal(m.disk_count, 1);
    assert_int_equal(m.disks[0].image.bytes, snapshots[i].bytes);
    return m;
}

/* As a restore does, into a file; and by who reads it anywhere. */
static void assert_restores(void)
{
    struct hands h = begin();

    for (size_t i = 0; i < SNAPSHOTS; i++) {
        struct manifest m = record_at(&h, i);
        int fd = open(stock_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        struct extract_image image = {
            .bytes = m.disks[0].image.bytes, .name = "disk", .target = {fd, TARGET_NEW, "target"}};
        struct extract x = {.store = h.store, .images = &image, .count = 1, .progress = &progress};
        struct image *anywhere;
        char sum[65], config[64];

        assert_true(fd >= 0);
        assert_ok(chunk_id_from_hex(&image.root, m.disks[0].image.root, &e));
        assert_ok(extract_run(&x, &e));
        sum_file(fd, image.bytes, sum);
        assert_string_equal(sum, snapshots[i].sum);
        assert_ok(image_open(&anywhere, h.store, m.config.root, m.config.bytes, "config", &e));
        assert_true(m.config.bytes > sizeof config);
        assert_ok(image_read(anywhere, config, sizeof config - 1, 0, &e));
        config[sizeof config - 1] = '\0';
        assert_non_null(strstr(config, snapshots[i].domain));
        image_close(anywhere);
        close(fd);
        manifest_release(&m);
    }
    forget(&h);
}

static void must_not_be(void *arg, enum check_what what, const char *name, const struct error *why)
{
    (void)arg, (void)what;
    fail_msg("%s: %s", name, why->text);
}

/* As sha256sum would say. */
static void sum_is_in_its_name(struct backend *b, const struct pack_name *name)
{
    char object[PACK_OBJECT_MAX], *data;
    uint8_t sum[ID_BYTES];
    size_t bytes;

    pack_object(name, object);
    assert_ok(backend_get(b, object, PACK_MAX_BYTES, &data, &bytes, &e));
    EVP_Digest(data, bytes, sum, NULL, EVP_sha256(), NULL);
    assert_memory_equal(sum, name->sum, sizeof sum);
    free(data);
}

static void it_is_what_it_was(void **state)
{
    const struct sample all = {.percent = 100};
    struct hands h = begin();
    struct check_stats stats;
    struct check *c;
    uint64_t bad, patches = 0;

    (void)state;
    assert_int_equal(repo_chunk_bytes(h.repo), 64 << 10);
    assert_int_equal(repo_view(h.repo)->snapshot_count, SNAPSHOTS);
    assert_ok(check_new(&c, h.store, must_not_be, NULL, &e));
    assert_ok(check_look(c, &e));
    for (uint32_t n = 0; index_pack(store_index(h.store), n); n++) {
        const struct index_pack *pack = index_pack(store_index(h.store), n);
        AUTO_FREE struct table_entry *entries = NULL;
        size_t count;

        assert_ok(scrub_pack(h.worker, h.store, n, &all, &bad, &e));
        assert_int_equal(bad, 0);
        sum_is_in_its_name(repo_backend(h.repo), &pack->name);
        assert_ok(
            pack_read_table(repo_backend(h.repo), &pack->name, pack->bytes, &entries, &count, &e));
        for (size_t i = 0; i < count; i++)
            patches += entries[i].encoding == ENCODING_PATCH;
    }
    assert_ok(check_tell(c, &stats, &e));
    assert_int_equal(stats.snapshots, SNAPSHOTS);
    assert_int_equal(stats.bad_pieces + stats.bad_bytes + stats.mended, 0);
    assert_in_range(patches, 1, 10);
    check_free(c);
    forget(&h);
    assert_in_range(count_files("state"), 1, 2);
    assert_restores();
}

/* Space is freed in it, packs are brought together, its log is folded, a snapshot is put beside
 * what is there. */
static void it_can_be_used(void **state)
{
    static uint8_t content[CHUNK];
    struct collect_stats stats;
    struct sweep_stats swept;
    struct hands h = begin();
    struct picture p;

    (void)state;
    fill(content, sizeof content, 1);
    p = put_picture(&h, content, sizeof content, NULL);
    commit(&h, "gamma", "one", &p);
    assert_restores();
    h = begin();
    assert_ok(collect_run(h.store, &stats, &e));
    forget(&h);
    h = begin();
    assert_ok(log_fold(repo_log(h.repo), repo_run(h.repo), &e));
    assert_ok(sweep_run(h.repo, &swept, &e));
    forget(&h);
    drop_cache();
    assert_restores();
    assert_there(&p, content);
    delete ("gamma", "one");
    assert_restores();
}

/* Nor does anybody write to it who only reads. */
static void it_can_be_read_only(void **state)
{
    struct repo *r = open_repo();
    unsigned before = count_files("log");
    const struct view_snapshot *row;
    size_t count;

    (void)state;
    row = view_domain(repo_view(r), "alpha", &count);
    assert_int_equal(count, 2);
    assert_string_equal(row[0].name, "first");
    assert_string_equal(row[1].name, "second");
    repo_close(r);
    assert_int_equal(count_files("log"), before);
}

#define GOLDEN(name) cmocka_unit_test_setup_teardown(name, setup, stock_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        GOLDEN(it_is_what_it_was),
        GOLDEN(it_can_be_used),
        GOLDEN(it_can_be_read_only),
    };

    golden = argc > 1 ? argv[1] : "tests/golden/format2.tar";
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
