/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a snapshot needs outlives every collection, whoever else has stored the same; what none needs goes. */
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

#include "repo/collect.h"
#include "repo/records.h"
#include "repo/tree.h"
#include "shelf.h"

#define MOST (16 * CHUNK)

static uint8_t content[MOST], other[MOST], got[MOST];

struct image {
    struct chunk_id root, chunks[LIST_IDS];
    uint32_t bytes;
};

/* An image of one leaf; `before` is what it was, or NULL. */
static struct image put(struct hands *h, const uint8_t *from, uint32_t bytes,
                        const struct image *before)
{
    struct image image = {.bytes = bytes};
    struct tree tree;
    struct error e;

    assert_int_equal(tree_new(&tree, bytes, CHUNK, &e), OK);
    for (uint32_t i = 0, at = 0; at < bytes; i++, at += CHUNK)
        assert_int_equal(store_put(h->worker, from + at, bytes - at < CHUNK ? bytes - at : CHUNK,
                                   before ? &before->chunks[i] : NULL, &image.chunks[i], &e),
                         OK);
    assert_int_equal(tree_put_leaf(&tree, h->worker, 0, image.chunks, &e), OK);
    assert_int_equal(tree_put(&tree, h->worker, &image.root, &e), OK);
    tree_release(&tree);
    return image;
}

/* A snapshot of one disk. */
static void record(const char *domain, const char *name, const struct image *image)
{
    struct manifest_disk disk = {.vdev = (char[]){"xvda"},
                                 .path = (char[]){"/disk"},
                                 .driver = (char[]){"plain"},
                                 .image.bytes = image->bytes};
    struct manifest m = {
        .name = (char *)name,
        .created = (char[]){"2026-11-23T01:55:03Z"},
        .host = (char[]){"host"},
        .hypervisor = (char[]){"none"},
        .method = (char[]){"off"},
        .domain_name = (char *)domain,
        .domain_uuid = (char[]){"12345678-1234-1234-1234-123456789abc"},
        .domain_type = (char[]){"pvh"},
        .vcpus = 1,
        .memory_bytes = 1 << 20,
        .disks = &disk,
        .disk_count = 1,
    };
    struct hands h = begin();
    struct error e;

    chunk_id_to_hex(&image->root, disk.image.root);
    /* Any image will do. */
    m.config = disk.image;
    assert_int_equal(record_write(store_dirfd(h.store), &m, &e), OK);
    forget(&h);
}

static int collect(uint64_t *freed_bytes)
{
    struct collect_stats stats;
    struct store *s;
    struct error e;
    int rc;

    assert_int_equal(store_open(&s, shelf_repo, STORE_EXCLUSIVE, &e), OK);
    rc = collect_run(s, &stats, &e);
    store_close(s);
    *freed_bytes = stats.freed_bytes;
    return rc;
}

static void collect_all(void)
{
    uint64_t freed;

    assert_int_equal(collect(&freed), OK);
}

static void assert_there(const struct image *image, const uint8_t *is)
{
    struct hands h = begin();
    struct chunk_id chunks[LIST_IDS];
    struct tree tree;
    struct error e = {0};

    if (tree_get(&tree, h.worker, &image->root, image->bytes, CHUNK, &e) < 0 ||
        tree_get_leaf(&tree, h.worker, 0, chunks, &e) < 0)
        fail_msg("%s", e.text);
    for (uint32_t i = 0, at = 0; at < image->bytes; i++, at += CHUNK)
        if (store_get(h.worker, &chunks[i], got + at,
                      image->bytes - at < CHUNK ? image->bytes - at : CHUNK, &e) < 0)
            fail_msg("chunk %u: %s", i, e.text);
    assert_memory_equal(got, is, image->bytes);
    tree_release(&tree);
    forget(&h);
}

static void drop_index(void)
{
    char path[100];

    snprintf(path, sizeof path, "%s/index", shelf_repo);
    remove_tree(path);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void what_nobody_needs_goes(void **state)
{
    struct hands h = begin();
    struct image kept, gone;
    struct location where;
    struct error e;
    uint64_t freed;

    (void)state;
    srandom(1);
    fill_random(content, CHUNK);
    fill_random(other, CHUNK);
    kept = put(&h, content, CHUNK, NULL);
    end(&h);
    h = begin();
    gone = put(&h, other, CHUNK, NULL);
    end(&h);
    record("kept", "one", &kept);
    assert_int_equal(collect(&freed), OK);
    assert_in_range(freed, CHUNK, 2 * CHUNK);
    assert_int_equal(count_files("packs", ".pack"), 1);
    assert_there(&kept, content);
    h = begin();
    assert_int_equal(store_find(h.store, &gone.root, &where, &e), DAMAGED);
    forget(&h);
}

/* Two at once store the same, one of them as a patch: what is a patch of it needs the whole one. */
static void the_whole_copy_is_what_patches_need(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 12; round++) {
        struct image z, x, y;
        struct hands a, b;
        char name[8];

        srandom(round + 1);
        fill_random(content, CHUNK);
        a = begin();
        z = put(&a, content, CHUNK, NULL);
        end(&a);
        memcpy(other, content, CHUNK);
        memset(other + PATCH_PAGE_BYTES, 1, PATCH_PAGE_BYTES);
        a = begin();
        b = begin();
        x = put(&a, other, CHUNK, NULL);
        put(&b, other, CHUNK, &z);
        end(round % 2 ? &a : &b);
        end(round % 2 ? &b : &a);
        if (round % 4 < 2)
            drop_index();
        memset(other + 3 * PATCH_PAGE_BYTES, 2, PATCH_PAGE_BYTES);
        a = begin();
        y = put(&a, other, CHUNK, &x);
        assert_in_range(store_worker_stats(a.worker)->stored_bytes, 1, 1000);
        end(&a);
        assert_there(&y, other);
        snprintf(name, sizeof name, "n%u", round);
        record("guest", name, &y);
        drop_index();
        collect_all();
        assert_there(&y, other);
        /* Once more, when nothing but what is needed is there. */
        collect_all();
        drop_index();
        assert_there(&y, other);
    }
}

/* Two at once store the same as a patch, each of what its own guest had: either may be found later on. */
static void each_patch_of_the_same_keeps_its_base(void **state)
{
    static uint8_t of_a[2 * CHUNK], of_b[2 * CHUNK];

    (void)state;
    for (unsigned round = 0; round < 8; round++) {
        struct image a_had, b_had, a_has, b_has;
        struct hands a = begin(), b;
        char name[8];

        srandom(round + 1);
        fill_random(of_a, sizeof of_a);
        fill_random(of_b, sizeof of_b);
        memcpy(of_b, of_a, CHUNK);
        of_a[0] ^= 1;
        of_b[5 * PATCH_PAGE_BYTES] ^= 1;
        a_had = put(&a, of_a, CHUNK, NULL);
        end(&a);
        a = begin();
        b_had = put(&a, of_b, CHUNK, NULL);
        end(&a);
        of_a[0] ^= 1;
        of_b[5 * PATCH_PAGE_BYTES] ^= 1;
        a = begin();
        b = begin();
        a_had.chunks[1] = b_had.chunks[1] = (struct chunk_id){0};
        a_has = put(&a, of_a, sizeof of_a, &a_had);
        b_has = put(&b, of_b, sizeof of_b, &b_had);
        assert_in_range(store_worker_stats(b.worker)->stored_bytes, 1, 3 * CHUNK / 2);
        end(&a);
        end(&b);
        snprintf(name, sizeof name, "n%u", round);
        record("a", name, &a_has);
        record("b", name, &b_has);
        collect_all();
        for (int pass = 0; pass < 2; pass++) {
            assert_there(&a_has, of_a);
            assert_there(&b_has, of_b);
            drop_index();
        }
    }
}

/* Of two patches of the same, one has lost its base, by somebody's hand: what has the other can be collected. */
static void a_patch_that_is_not_found_needs_no_base(void **state)
{
    static uint8_t x[CHUNK], base[CHUNK];
    unsigned collected = 0;

    for (unsigned round = 0; round < 16; round++) {
        struct image of_a, of_b, has, rest;
        struct hands a = begin(), b;
        char lost[500];
        uint64_t freed;
        struct error e;
        int can_be_had;

        srandom(round + 1);
        fill_random(x, sizeof x);
        memcpy(base, x, sizeof x);
        base[0] ^= 1;
        of_a = put(&a, base, CHUNK, NULL);
        end(&a);
        snprintf(lost, sizeof lost, "%s", only_file("packs"));
        a = begin();
        base[0] ^= 3;
        of_b = put(&a, base, CHUNK, NULL);
        end(&a);
        a = begin();
        b = begin();
        /* Of each pack something else is needed. */
        fill_random(other, 2 * CHUNK);
        has = put(&a, x, CHUNK, &of_a);
        rest = put(&a, other, CHUNK, NULL);
        record("guest", "a", &rest);
        put(&b, x, CHUNK, &of_b);
        rest = put(&b, other + CHUNK, CHUNK, NULL);
        record("guest", "b", &rest);
        end(&a);
        end(&b);
        record("guest", "one", &has);
        assert_int_equal(unlink(lost), 0);
        drop_index();
        a = begin();
        can_be_had = store_get(a.worker, &has.chunks[0], got, CHUNK, &e);
        forget(&a);
        assert_int_equal(collect(&freed), can_be_had);
        collected += can_be_had == OK;
        shelf_teardown(state);
        shelf_setup(state);
    }
    assert_in_range(collected, 1, 15);
}

/* The bytes of a list of chunks, as a guest's own. */
static void a_chunk_may_be_a_leaf_too(void **state)
{
    struct hands h = begin();
    struct image leaf, chunk;

    (void)state;
    srandom(2);
    fill_random(content, 2 * CHUNK);
    leaf = put(&h, content, 2 * CHUNK, NULL);
    end(&h);
    h = begin();
    chunk = put(&h, (const uint8_t *)leaf.chunks, 2 * ID_BYTES, NULL);
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
    struct image base, patch;
    uint64_t freed;
    char first[500], path[500], aside[100];
    struct stat st;
    uint8_t byte;
    int fd;

    (void)state;
    srandom(3);
    fill_random(content, CHUNK);
    base = put(&h, content, CHUNK, NULL);
    end(&h);
    snprintf(first, sizeof first, "%s", only_file("packs"));
    h = begin();
    content[5] ^= 1;
    patch = put(&h, content, CHUNK, &base);
    end(&h);
    record("guest", "one", &patch);
    /* That of the patch. */
    snprintf(aside, sizeof aside, "%s/aside", shelf_dir);
    assert_int_equal(rename(first, aside), 0);
    snprintf(path, sizeof path, "%s", only_file("packs"));
    assert_int_equal(rename(aside, first), 0);
    assert_int_equal(stat(path, &st), 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, st.st_size - 1), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, st.st_size - 1), 1);
    assert_int_equal(collect(&freed), DAMAGED);
    assert_int_equal(count_files("packs", ".pack"), 2);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, st.st_size - 1), 1);
    close(fd);
    collect_all();
    assert_there(&patch, content);
}

/* It stays in a pack of which most is needed, but what it is of does not; then a guest comes back to it. */
static void a_patch_without_its_base_is_stored_anew(void **state)
{
    struct image base, patch, rest;
    struct hands h = begin();

    (void)state;
    srandom(6);
    fill_random(content, CHUNK);
    base = put(&h, content, CHUNK, NULL);
    end(&h);
    h = begin();
    memset(content, 7, PATCH_PAGE_BYTES);
    patch = put(&h, content, CHUNK, &base);
    fill_random(other, 2 * CHUNK);
    rest = put(&h, other, 2 * CHUNK, NULL);
    end(&h);
    record("guest", "rest", &rest);
    collect_all();
    assert_int_equal(count_files("packs", ".pack"), 1);
    for (int again = 0; again < 2; again++) {
        h = begin();
        put(&h, content, CHUNK, again ? &patch : NULL);
        end(&h);
        if (!again)
            record("guest", "back", &patch);
        assert_there(&patch, content);
        collect_all();
        drop_index();
        assert_there(&patch, content);
        assert_there(&rest, other);
    }
}

/* Somebody has moved a damaged pack away, and the guest still has what was a patch of something in it. */
static void a_patch_whose_base_is_lost_is_stored_anew(void **state)
{
    struct hands h = begin();
    struct image base, patch;
    char path[500];

    (void)state;
    srandom(8);
    fill_random(content, CHUNK);
    base = put(&h, content, CHUNK, NULL);
    end(&h);
    snprintf(path, sizeof path, "%s", only_file("packs"));
    h = begin();
    memset(content, 7, PATCH_PAGE_BYTES);
    patch = put(&h, content, CHUNK, &base);
    end(&h);
    record("guest", "one", &patch);
    assert_int_equal(unlink(path), 0);
    h = begin();
    put(&h, content, CHUNK, &patch);
    end(&h);
    assert_there(&patch, content);
}

/* Whole, though it could be a patch of what was there before; and though its base comes back with it, itself as a patch. */
static void what_is_stored_anew_is_whole(void **state)
{
    static uint8_t back[2 * CHUNK], before[2 * CHUNK];
    struct image base, rest, now, both;

    (void)state;
    for (int with_base = 0; with_base < 2; with_base++) {
        struct hands h = begin();
        char name[8];

        srandom(7 + (unsigned)with_base);
        fill_random(content, CHUNK);
        base = put(&h, content, CHUNK, NULL);
        end(&h);
        h = begin();
        memcpy(other, content, CHUNK);
        memset(other, 7, PATCH_PAGE_BYTES);
        put(&h, other, CHUNK, &base);
        fill_random(got, 2 * CHUNK);
        rest = put(&h, got, 2 * CHUNK, NULL);
        end(&h);
        snprintf(name, sizeof name, "rest%d", with_base);
        record("guest", name, &rest);
        collect_all();
        /* What the guest has now: near to both, and there whole. */
        memcpy(back, content, CHUNK);
        memcpy(back + CHUNK, other, CHUNK);
        memcpy(before, back, sizeof before);
        before[9 * PATCH_PAGE_BYTES] ^= 1;
        before[CHUNK + 9 * PATCH_PAGE_BYTES] ^= 1;
        h = begin();
        now = put(&h, before, 2 * CHUNK, NULL);
        end(&h);
        snprintf(name, sizeof name, "now%d", with_base);
        record("guest", name, &now);
        h = begin();
        if (with_base)
            both = put(&h, back, 2 * CHUNK, &now);
        else
            both = put(&h, back + CHUNK, CHUNK, &now);
        end(&h);
        snprintf(name, sizeof name, "back%d", with_base);
        record("guest", name, &both);
        for (int pass = 0; pass < 3; pass++) {
            assert_there(&both, with_base ? back : back + CHUNK);
            pass ? drop_index() : collect_all();
        }
    }
}

/* With as many index files as are kept, so that they are merged while what was copied is there twice. */
static void what_was_copied_is_found(void **state)
{
    static uint8_t kept[10][CHUNK];
    struct image images[10];

    (void)state;
    srandom(4);
    for (int i = 0; i < 10; i++) {
        struct hands h = begin();
        char name[8];

        fill_random(kept[i], CHUNK);
        images[i] = put(&h, kept[i], CHUNK, NULL);
        fill_random(content, 8 * CHUNK);
        put(&h, content, 8 * CHUNK, NULL);
        end(&h);
        snprintf(name, sizeof name, "n%d", i);
        record("guest", name, &images[i]);
        if (i < 7)
            continue;
        collect_all();
        for (int j = 0; j <= i; j++)
            assert_there(&images[j], kept[j]);
    }
}

/* Nothing can be written; but what nobody needs can go, and then something can. */
static void a_full_disk_is_freed(void **state)
{
    struct rlimit none = {0, RLIM_INFINITY}, before;
    struct hands h = begin();
    struct image image;
    uint64_t freed;

    (void)state;
    srandom(5);
    fill_random(content, 8 * CHUNK);
    image = put(&h, content, CHUNK, NULL);
    put(&h, content + CHUNK, 7 * CHUNK, NULL);
    end(&h);
    h = begin();
    fill_random(other, CHUNK);
    put(&h, other, CHUNK, NULL);
    end(&h);
    record("guest", "one", &image);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    assert_int_not_equal(collect(&freed), OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(count_files("packs", ".pack"), 1);
    assert_there(&image, content);
    collect_all();
    assert_there(&image, content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHELF(what_nobody_needs_goes),
        SHELF(the_whole_copy_is_what_patches_need),
        SHELF(each_patch_of_the_same_keeps_its_base),
        SHELF(a_patch_that_is_not_found_needs_no_base),
        SHELF(a_chunk_may_be_a_leaf_too),
        SHELF(without_a_needed_table_nothing_goes),
        SHELF(a_patch_without_its_base_is_stored_anew),
        SHELF(a_patch_whose_base_is_lost_is_stored_anew),
        SHELF(what_is_stored_anew_is_whole),
        SHELF(what_was_copied_is_found),
        SHELF(a_full_disk_is_freed),
    };

    return cmocka_run_group_tests_name("collect", tests, NULL, NULL);
}
