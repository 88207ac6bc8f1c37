/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images in a repository: they come back, by whoever reads them anywhere; what has not changed is
 * neither read nor written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "copy/extract.h"
#include "copy/ingest.h"
#include "repo/image.h"
#include "stock.h"

#define LEAF ((uint64_t)CHUNK * LIST_IDS)

static struct progress progress;
static struct error e;

static int make_file(const char *name, uint64_t bytes)
{
    char path[100];
    int fd;

    snprintf(path, sizeof path, "%s/%s", stock_dir, name);
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
    struct hands h = begin();
    struct ingest *in;

    assert_ok(ingest_new(&in, h.store, 3, &progress, &e));
    assert_ok(ingest_put(in, &image, 1, NULL, &e));
    ingest_free(in);
    assert_ok(store_finish(h.store, &e));
    if (stats)
        *stats = store_stats(h.store);
    end(&h);
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
    struct hands h = begin();
    int rc;

    x->count = 1;
    x->workers = 3;
    x->sample.percent = 100;
    x->progress = &progress;
    x->store = h.store;
    rc = extract_run(x, &e);
    forget(&h);
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
    struct hands h;
    struct tree tree;

    (void)state;
    write_at(in, bytes / 2, 3 * CHUNK, 1);
    write_at(in, bytes - 100, 100, 2);
    image = ingest(in, bytes, NULL, NULL, 0, &stats);
    assert_in_range(stats.put_bytes, 4 * CHUNK, 4000 * CHUNK);
    assert_in_range(stats.stored_bytes, 1000, 60 * CHUNK);
    h = begin();
    assert_ok(tree_get(&tree, h.worker, &image.root, bytes, CHUNK, NULL, &e));
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
    struct hands h;
    struct tree tree;

    (void)state;
    for (uint64_t at = 0; at + CHUNK < bytes; at += 5 * CHUNK)
        write_at(in, at, CHUNK, (unsigned)at);
    first = ingest(in, bytes, NULL, NULL, 0, NULL);
    write_at(in, 5 * CHUNK + 7, 10, 4);
    write_at(in, LEAF + 3, CHUNK, 5);
    h = begin();
    assert_ok(tree_get(&tree, h.worker, &first.root, bytes, CHUNK, NULL, &e));
    second = ingest(in, bytes, &tree, changed, 2, &stats);
    /* Three chunks and three lists, the last of one name, and one above. */
    assert_int_equal(stats.put_bytes, 3 * CHUNK + 2 * LIST_BYTES + ID_BYTES + 3 * ID_BYTES);
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
    int in = make_file("in", CHUNK);
    struct ingest_image image;
    struct seen *seen;

    (void)state;
    write_at(in, 0, CHUNK, 1);
    image = ingest(in, CHUNK, NULL, NULL, 0, NULL);
    assert_ok(seen_new(&seen, &e));
    assert_ok(verify(&image, seen));
    /* The chunk is the first piece. */
    flip(pack_path(PACK_DATA, 0), PACK_HEAD_BYTES + PIECE_HEAD_BYTES + 30);
    assert_ok(verify(&image, seen));
    assert_int_equal(verify(&image, NULL), DAMAGED);
    seen_free(seen);
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

/* What is not to be had is told of, by its place, and is zeros. */
struct holes {
    pthread_mutex_t mutex;
    uint64_t bytes, first;
};

static int note_hole(void *arg, const struct extract_image *image, uint64_t offset, uint64_t bytes,
                     const struct error *why, struct error *ignored)
{
    struct holes *h = arg;

    (void)image, (void)ignored;
    assert_int_equal(why->status, DAMAGED);
    pthread_mutex_lock(&h->mutex);
    h->first = h->bytes == 0 || offset < h->first ? offset : h->first;
    h->bytes += bytes;
    pthread_mutex_unlock(&h->mutex);
    return OK;
}

static void what_is_damaged_can_be_left_out(void **state)
{
    const uint64_t bytes = LEAF + 5 * CHUNK + 777;
    int in = make_file("in", bytes), out = make_file("out", 0);
    struct ingest_image image;
    struct extract_image to;
    struct holes holes = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct extract x = {.images = &to, .bad = note_hole, .bad_arg = &holes};
    uint8_t byte;

    (void)state;
    write_at(in, 3 * CHUNK, CHUNK, 1);
    write_at(in, LEAF + 5 * CHUNK, 777, 2);
    image = ingest(in, bytes, NULL, NULL, 0, NULL);
    /* Whichever of the two chunks is the first. */
    flip(pack_path(PACK_DATA, 0), PACK_HEAD_BYTES + PIECE_HEAD_BYTES + 10);
    to = (struct extract_image){image.root, bytes, "image", {out, TARGET_NEW, "target"}, NULL};
    assert_ok(run_extract(&x));
    assert_true((holes.first == 3 * CHUNK && holes.bytes == CHUNK) ||
                (holes.first == LEAF + 5 * CHUNK && holes.bytes == 777));
    assert_int_equal(pread_full(out, &byte, 1, holes.first + 100), 0);
    assert_int_equal(byte, 0);
    x.bad = NULL;
    assert_int_equal(run_extract(&x), DAMAGED);
    close(in);
    close(out);
}

/* ---- read anywhere ---- */

/* Of an odd length; of the second leaf there is nothing; runs of zeros in the others. */
#define TRUTH_BYTES (3 * LEAF - 12345)

static uint8_t *truth;

static struct ingest_image make_truth(void)
{
    int in = make_file("in", TRUTH_BYTES);
    struct ingest_image image;

    srandom(5);
    for (unsigned i = 0; i < 150; i++) {
        uint64_t at = (uint64_t)random() % (LEAF - CHUNK);

        write_at(in, (i % 2 ? 2 * LEAF - 12345 : 0) + at, 1 + (size_t)random() % CHUNK, i);
    }
    write_at(in, TRUTH_BYTES - 100, 100, 7);
    image = ingest(in, TRUTH_BYTES, NULL, NULL, 0, NULL);
    truth = malloc(TRUTH_BYTES);
    assert_non_null(truth);
    assert_int_equal(pread_full(in, truth, TRUTH_BYTES, 0), 0);
    close(in);
    return image;
}

struct reader {
    pthread_t thread;
    struct image *image;
    unsigned seed;
    bool straight;
    bool good;
};

static void *read_some(void *arg)
{
    struct reader *r = arg;
    uint8_t *got = malloc(3 * CHUNK);
    struct error why;
    uint64_t at = 0;

    r->good = true;
    for (int i = 0; i < 300 && r->good; i++) {
        size_t bytes = 1 + (size_t)rand_r(&r->seed) % (3 * CHUNK);

        if (!r->straight)
            at = (uint64_t)rand_r(&r->seed) * 4099 % TRUTH_BYTES;
        if (bytes > TRUTH_BYTES - at)
            bytes = TRUTH_BYTES - at;
        r->good =
            image_read(r->image, got, bytes, at, &why) == OK && memcmp(got, truth + at, bytes) == 0;
        at = (at + bytes) % TRUTH_BYTES;
    }
    free(got);
    return NULL;
}

static void an_image_is_read_anywhere(void **state)
{
    struct ingest_image of = make_truth();
    struct hands h = begin();
    struct reader readers[8];
    struct image *image;
    char root[ID_HEX];
    uint8_t byte;

    (void)state;
    chunk_id_to_hex(&of.root, root);
    for (unsigned ahead = 0; ahead < 4; ahead += 3) {
        assert_ok(image_open(&image, h.store, root, TRUTH_BYTES, "image", &e));
        if (ahead)
            assert_ok(image_read_ahead(image, ahead, &e));
        for (unsigned i = 0; i < 8; i++) {
            readers[i] = (struct reader){.image = image, .seed = i, .straight = i % 2};
            assert_int_equal(pthread_create(&readers[i].thread, NULL, read_some, &readers[i]), 0);
        }
        for (unsigned i = 0; i < 8; i++) {
            pthread_join(readers[i].thread, NULL);
            assert_true(readers[i].good);
        }
        assert_ok(image_read(image, &byte, 0, TRUTH_BYTES, &e));
        assert_int_equal(image_read(image, &byte, 1, TRUTH_BYTES, &e), DAMAGED);
        assert_int_equal(image_read(image, &byte, 2, TRUTH_BYTES - 1, &e), DAMAGED);
        image_close(image);
    }
    forget(&h);
    free(truth);
}

static bool is_zeros(const uint8_t *at, uint64_t bytes)
{
    return bytes == 0 || (*at == 0 && memcmp(at, at + 1, bytes - 1) == 0);
}

/* By chunks: what is said to be zeros is; each chunk that is said to be data has some. */
static void an_images_extents(void **state)
{
    struct ingest_image of = make_truth();
    struct hands h = begin();
    uint64_t offset = 0, end, runs = 0, from_middle;
    struct image *image;
    bool data, same, before = false;
    char root[ID_HEX];

    (void)state;
    chunk_id_to_hex(&of.root, root);
    assert_ok(image_open(&image, h.store, root, TRUTH_BYTES, "image", &e));
    for (; offset < TRUTH_BYTES; offset = end, runs++) {
        assert_ok(image_extent(image, offset, &end, &data, &e));
        assert_in_range(end, offset + 1, TRUTH_BYTES);
        assert_true(end % CHUNK == 0 || end == TRUTH_BYTES);
        if (runs)
            assert_int_not_equal(data, before);
        before = data;
        for (uint64_t at = offset; at < end; at += CHUNK)
            assert_int_equal(is_zeros(truth + at, end - at < CHUNK ? end - at : CHUNK), !data);
        /* From within it. */
        assert_ok(image_extent(image, offset + (end - offset) / 2, &from_middle, &same, &e));
        assert_int_equal(from_middle, end);
        assert_int_equal(same, data);
    }
    assert_int_equal(offset, TRUTH_BYTES);
    assert_in_range(runs, 10, 200);
    assert_int_not_equal(image_extent(image, TRUTH_BYTES, &end, &data, &e), OK);
    image_close(image);
    forget(&h);
    free(truth);
}

static void an_image_that_is_damaged(void **state)
{
    int in = make_file("in", 10 * CHUNK);
    struct ingest_image of;
    uint8_t *got = malloc(10 * CHUNK);
    struct image *image;
    char root[ID_HEX];
    struct hands h;
    unsigned bad = 0;

    (void)state;
    for (unsigned i = 0; i < 10; i++)
        write_at(in, i * CHUNK, CHUNK, i + 1);
    of = ingest(in, 10 * CHUNK, NULL, NULL, 0, NULL);
    chunk_id_to_hex(&of.root, root);
    flip(pack_path(PACK_DATA, 0), PACK_HEAD_BYTES + PIECE_HEAD_BYTES + 10);
    h = begin();
    for (unsigned ahead = 0; ahead < 2; ahead++) {
        assert_ok(image_open(&image, h.store, root, 10 * CHUNK, "image", &e));
        if (ahead)
            assert_ok(image_read_ahead(image, 2, &e));
        bad = 0;
        /* Each time, and only that one. */
        for (int pass = 0; pass < 2; pass++)
            for (unsigned i = 0; i < 10; i++)
                if (image_read(image, got, CHUNK, i * CHUNK, &e) < 0) {
                    assert_int_equal(e.status, DAMAGED);
                    assert_non_null(strstr(e.text, "image at "));
                    bad++;
                }
        assert_int_equal(bad, 2);
        image_close(image);
    }
    forget(&h);
    assert_int_equal(known_damage(), 1);
    memset(root, 'f', 64);
    h = begin();
    assert_int_equal(image_open(&image, h.store, root, 3 * LEAF, "image", &e), DAMAGED);
    assert_int_equal(image_open(&image, h.store, "xyz", 10, "image", &e), DAMAGED);
    forget(&h);
    free(got);
    close(in);
}

static void an_empty_image(void **state)
{
    struct hands h = begin();
    struct image *image;
    char root[ID_HEX];
    uint64_t end;
    uint8_t byte;
    bool data;

    (void)state;
    chunk_id_to_hex(&chunk_id_zero, root);
    assert_ok(image_open(&image, h.store, root, 0, "image", &e));
    assert_ok(image_read_ahead(image, 1, &e));
    assert_ok(image_read(image, &byte, 0, 0, &e));
    assert_int_equal(image_read(image, &byte, 1, 0, &e), DAMAGED);
    assert_int_not_equal(image_extent(image, 0, &end, &data, &e), OK);
    image_close(image);
    /* All zeros: nothing is read. */
    assert_ok(image_open(&image, h.store, root, UINT64_C(1) << 40, "image", &e));
    byte = 1;
    assert_ok(image_read(image, &byte, 1, (UINT64_C(1) << 40) - 1, &e));
    assert_int_equal(byte, 0);
    assert_ok(image_extent(image, 5, &end, &data, &e));
    assert_int_equal(end, UINT64_C(1) << 40);
    assert_false(data);
    image_close(image);
    forget(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STOCK(images_come_back),
        STOCK(an_image_that_is_mostly_hole_costs_nothing),
        STOCK(what_has_not_changed_is_not_read),
        STOCK(what_is_known_is_not_read_again),
        STOCK(what_an_idle_target_has_is_compared_once),
        STOCK(what_is_damaged_can_be_left_out),
        STOCK(an_image_is_read_anywhere),
        STOCK(an_images_extents),
        STOCK(an_image_that_is_damaged),
        STOCK(an_empty_image),
    };

    return cmocka_run_group_tests_name("images", tests, NULL, NULL);
}
