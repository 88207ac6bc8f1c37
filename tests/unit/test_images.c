/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images in a repository: they come back, and what has not changed is neither read nor written. */
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
#include "copy/extract.h"
#include "copy/ingest.h"
#include "shelf.h"

#define LEAF ((uint64_t)CHUNK * LIST_IDS)

static struct progress progress;

static int make_file(const char *name, uint64_t bytes)
{
    char path[100];
    int fd;

    snprintf(path, sizeof path, "%s/%s", shelf_dir, name);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    return fd;
}

static void write_at(int fd, uint64_t offset, size_t bytes, unsigned seed)
{
    AUTO_FREE uint8_t *data = malloc(bytes);

    fill(data, bytes, seed);
    assert_int_equal(pwrite_full(fd, data, bytes, offset), 0);
}

static struct ingest_image ingest(int fd, uint64_t bytes, const struct tree *previous,
                                  const struct extent *changed, size_t changed_count,
                                  struct store_stats *stats)
{
    struct ingest_image image = {
        .source = fd,
        .name = "image",
        .bytes = bytes,
        .previous = previous,
        .changed = changed,
        .changed_count = changed_count,
    };
    struct store_stats ignored;
    struct store *store;
    struct ingest *in;
    struct error e;

    assert_int_equal(store_open(&store, shelf_repo, STORE_SHARED, &e), OK);
    assert_int_equal(ingest_new(&in, store, 3, &progress, &e), OK);
    assert_int_equal(ingest_put(in, &image, 1, NULL, &e), OK);
    assert_int_equal(ingest_finish(in, stats ? stats : &ignored, &e), OK);
    ingest_free(in);
    store_close(store);
    return image;
}

static void assert_same(int a, int b, uint64_t bytes)
{
    static uint8_t one[1 << 20], two[1 << 20];

    for (uint64_t at = 0; at < bytes;) {
        size_t n = bytes - at < sizeof one ? bytes - at : sizeof one;

        assert_int_equal(pread_full(a, one, n, at), 0);
        assert_int_equal(pread_full(b, two, n, at), 0);
        assert_memory_equal(one, two, n);
        at += n;
    }
}

static int run_extract(struct extract *x)
{
    struct error e;
    int rc;

    x->count = 1;
    x->workers = 3;
    x->percent = 100;
    x->progress = &progress;
    assert_int_equal(store_open(&x->store, shelf_repo, STORE_SHARED, &e), OK);
    rc = extract_run(x, &e);
    store_close(x->store);
    return rc;
}

static uint64_t extract(const struct ingest_image *image, int target, enum target_kind kind)
{
    struct extract_image out = {image->root, image->bytes, "image", {target, kind, "target"}, NULL};
    struct extract x = {.images = &out};

    assert_int_equal(run_extract(&x), OK);
    return x.written_bytes;
}

static int verify(const struct ingest_image *image, struct seen *seen)
{
    struct extract_image one = {.root = image->root, .bytes = image->bytes, .name = "image"};
    struct extract x = {.mode = EXTRACT_VERIFY, .images = &one, .seen = seen};

    return run_extract(&x);
}

static void images_come_back(void **state)
{
    static const uint64_t sizes[] = {0, 1, CHUNK, CHUNK + 1, LEAF, LEAF + 5, 3 * LEAF - 777};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int in = make_file("in", sizes[i]), out = make_file("out", 0);
        struct ingest_image image;

        for (uint64_t at = 0; at + 5000 < sizes[i]; at += sizes[i] / 7 + 1)
            write_at(in, at, 5000, (unsigned)(at + i));
        image = ingest(in, sizes[i], NULL, NULL, 0, NULL);
        extract(&image, out, TARGET_NEW);
        assert_same(in, out, sizes[i]);
        /* Over other content, of which most is right. */
        if (sizes[i] > 100000) {
            write_at(out, 60000, 20000, 99);
            assert_in_range(extract(&image, out, TARGET_OLD), 1, 2 * CHUNK);
            assert_same(in, out, sizes[i]);
            assert_int_equal(extract(&image, out, TARGET_OLD), 0);
        }
        close(in);
        close(out);
    }
}

static void an_image_that_is_mostly_hole_costs_nothing(void **state)
{
    uint64_t bytes = UINT64_C(2) << 40;
    int in = make_file("in", bytes);
    struct ingest_image image;
    struct store_stats stats;
    struct error e;
    struct hands h;
    struct tree tree;

    (void)state;
    write_at(in, bytes / 2, 3 * CHUNK, 1);
    write_at(in, bytes - 100, 100, 2);
    image = ingest(in, bytes, NULL, NULL, 0, &stats);
    assert_in_range(stats.put_bytes, 4 * CHUNK, 4000 * CHUNK);
    assert_in_range(stats.stored_bytes, 1000, 60 * CHUNK);
    h = begin();
    assert_int_equal(tree_get(&tree, h.worker, &image.root, bytes, CHUNK, &e), OK);
    assert_false(chunk_id_is_zero(&tree.leaves[tree.leaf_count - 1]));
    assert_true(chunk_id_is_zero(&tree.leaves[0]));
    tree_release(&tree);
    forget(&h);
    close(in);
}

static void what_has_not_changed_is_not_read(void **state)
{
    uint64_t bytes = 2 * LEAF + 100;
    int in = make_file("in", bytes), out = make_file("out", 0);
    const struct extent changed[] = {{5 * CHUNK + 7, 10}, {LEAF + 3, CHUNK}};
    struct ingest_image first, second, scanned;
    struct store_stats stats;
    struct error e;
    struct hands h;
    struct tree tree;

    (void)state;
    for (uint64_t at = 0; at + CHUNK < bytes; at += 5 * CHUNK)
        write_at(in, at, CHUNK, (unsigned)at);
    first = ingest(in, bytes, NULL, NULL, 0, NULL);
    write_at(in, 5 * CHUNK + 7, 10, 4);
    write_at(in, LEAF + 3, CHUNK, 5);
    h = begin();
    assert_int_equal(tree_get(&tree, h.worker, &first.root, bytes, CHUNK, &e), OK);
    second = ingest(in, bytes, &tree, changed, 2, &stats);
    /* Three chunks and two lists, and one above. */
    assert_int_equal(stats.put_bytes, 3 * CHUNK + 2 * LIST_BYTES + 3 * ID_BYTES);
    scanned = ingest(in, bytes, &tree, NULL, 0, &stats);
    assert_memory_equal(&second.root, &scanned.root, ID_BYTES);
    assert_int_equal(stats.stored_bytes, 0);
    /* A list of it that can't be read is no reason not to be stored. */
    tree.leaves[1].bytes[0] ^= 1;
    scanned = ingest(in, bytes, &tree, NULL, 0, &stats);
    assert_memory_equal(&second.root, &scanned.root, ID_BYTES);
    tree_release(&tree);
    forget(&h);
    extract(&second, out, TARGET_NEW);
    assert_same(in, out, bytes);
    close(in);
    close(out);
}

static void what_is_known_is_not_read_again(void **state)
{
    int in = make_file("in", CHUNK), pack;
    struct ingest_image image;
    struct seen *seen;
    struct error e;
    uint8_t byte;

    (void)state;
    write_at(in, 0, CHUNK, 1);
    image = ingest(in, CHUNK, NULL, NULL, 0, NULL);
    assert_int_equal(seen_new(&seen, &e), OK);
    assert_int_equal(verify(&image, seen), OK);
    /* The chunk's record is the first. */
    pack = open(only_file("packs"), O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(pack, &byte, 1, 100), 1);
    byte ^= 1;
    assert_int_equal(pwrite(pack, &byte, 1, 100), 1);
    assert_int_equal(verify(&image, seen), OK);
    assert_int_equal(verify(&image, NULL), DAMAGED);
    seen_free(seen);
    close(pack);
    close(in);
}

static void what_an_idle_target_has_is_compared_once(void **state)
{
    int in = make_file("in", 20 * CHUNK), out = make_file("out", 0);
    struct ingest_image image;
    struct extract_image to;
    struct extract x = {.images = &to};
    uint8_t there[3] = {0};

    (void)state;
    write_at(in, 0, 20 * CHUNK, 1);
    image = ingest(in, 20 * CHUNK, NULL, NULL, 0, NULL);
    extract(&image, out, TARGET_NEW);
    write_at(out, 9 * CHUNK, 100, 7);
    to = (struct extract_image){
        image.root, image.bytes, "image", {out, TARGET_OLD, "target"}, there};
    x.mode = EXTRACT_VERIFY;
    assert_int_equal(run_extract(&x), OK);
    assert_int_equal(there[0], 0xff);
    assert_int_equal(there[1], 0xfd);
    assert_int_equal(there[2], 0x0f);
    /* One that was found right is not looked at again. */
    write_at(out, 3 * CHUNK, 100, 8);
    x.mode = EXTRACT_WRITE;
    assert_int_equal(run_extract(&x), OK);
    assert_int_equal(x.written_bytes, CHUNK);
    write_at(in, 3 * CHUNK, 100, 8);
    assert_same(in, out, 20 * CHUNK);
    close(in);
    close(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHELF(images_come_back),
        SHELF(an_image_that_is_mostly_hole_costs_nothing),
        SHELF(what_has_not_changed_is_not_read),
        SHELF(what_is_known_is_not_read_again),
        SHELF(what_an_idle_target_has_is_compared_once),
    };

    return cmocka_run_group_tests_name("images", tests, NULL, NULL);
}
