/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The repository: what is put comes back, once stored, and damage is told, never handed out. */
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
#include "copy/extract.h"
#include "copy/ingest.h"

#define CHUNK (64u << 10)
#define LEAF  ((uint64_t)CHUNK * LIST_IDS)

static char dir[] = "/tmp/domsnap-repo-XXXXXX";
static char repo[64];
static struct progress progress;

static void remove_tree(const char *path)
{
    AUTO_CLOSEDIR DIR *d = opendir(path);
    struct dirent *file;

    while (d && (file = readdir(d))) {
        char child[600];

        if (!strcmp(file->d_name, ".") || !strcmp(file->d_name, ".."))
            continue;
        snprintf(child, sizeof child, "%s/%s", path, file->d_name);
        if (unlink(child) < 0)
            remove_tree(child);
    }
    rmdir(path);
}

static int setup(void **state)
{
    struct error e;

    (void)state;
    memcpy(strrchr(dir, '-'), "-XXXXXX", 7);
    assert_non_null(mkdtemp(dir));
    snprintf(repo, sizeof repo, "%s/repo", dir);
    assert_int_equal(store_init(repo, CHUNK, &e), OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_tree(dir);
    return 0;
}

/* A repository and one worker. */
struct hands {
    struct store *store;
    struct store_worker *worker;
};

static struct hands begin(void)
{
    struct hands h;
    struct error e;

    assert_int_equal(store_open(&h.store, repo, STORE_SHARED, &e), OK);
    assert_int_equal(store_worker_new(&h.worker, h.store, &e), OK);
    return h;
}

static void end(struct hands *h)
{
    struct error e;

    assert_int_equal(store_worker_finish(h->worker, &e), OK);
    assert_int_equal(store_save(h->store, &e), OK);
    store_worker_free(h->worker);
    store_close(h->store);
}

static void forget(struct hands *h)
{
    store_worker_free(h->worker);
    store_close(h->store);
}

/* Text that compresses, another for each seed. */
static void fill(uint8_t *to, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++) {
        if (i % 16 == 0)
            seed = seed * 1103515245 + 12345;
        to[i] = (uint8_t)(seed >> 16);
    }
}

static void fill_random(uint8_t *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(random() >> 8);
}

static unsigned count_files(const char *sub, const char *suffix)
{
    char path[100];
    AUTO_CLOSEDIR DIR *d = NULL;
    struct dirent *file;
    unsigned n = 0;

    snprintf(path, sizeof path, "%s/%s", repo, sub);
    d = opendir(path);
    while (d && (file = readdir(d)))
        n += file->d_name[0] != '.' && strstr(file->d_name, suffix) != NULL;
    return n;
}

/* The path of the one file of a kind. */
static const char *only_file(const char *sub)
{
    static char path[400];
    char folder[100];
    AUTO_CLOSEDIR DIR *d = NULL;
    struct dirent *file;

    snprintf(folder, sizeof folder, "%s/%s", repo, sub);
    d = opendir(folder);
    while (d && (file = readdir(d)))
        if (file->d_name[0] != '.')
            snprintf(path, sizeof path, "%s/%s", folder, file->d_name);
    return path;
}

/* ---- chunks ---- */

static void what_is_put_comes_back(void **state)
{
    static const uint32_t sizes[] = {1, 511, 4096, 4097, CHUNK, CHUNK_MAX_BYTES};
    static uint8_t in[CHUNK_MAX_BYTES], out[CHUNK_MAX_BYTES];
    struct chunk_id text[6], noise[6], zero;
    struct hands h = begin();
    struct error e;

    (void)state;
    for (int i = 0; i < 6; i++) {
        fill(in, sizes[i], 7 + (unsigned)i);
        assert_int_equal(store_put(h.worker, in, sizes[i], NULL, &text[i], &e), OK);
        srandom((unsigned)i);
        fill_random(in, sizes[i]);
        assert_int_equal(store_put(h.worker, in, sizes[i], NULL, &noise[i], &e), OK);
    }
    memset(in, 0, CHUNK);
    assert_int_equal(store_put(h.worker, in, CHUNK, NULL, &zero, &e), OK);
    assert_true(chunk_id_is_zero(&zero));
    end(&h);
    assert_int_equal(count_files("packs", ".pack"), 1);
    h = begin();
    for (int i = 0; i < 6; i++) {
        fill(in, sizes[i], 7 + (unsigned)i);
        assert_int_equal(store_get(h.worker, &text[i], out, sizes[i], &e), OK);
        assert_memory_equal(in, out, sizes[i]);
        srandom((unsigned)i);
        fill_random(in, sizes[i]);
        assert_int_equal(store_get(h.worker, &noise[i], out, sizes[i], &e), OK);
        assert_memory_equal(in, out, sizes[i]);
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
    static uint8_t in[COUNT * CHUNK + REST];
    struct hands h = begin();
    struct error e;

    (void)state;
    for (unsigned zeros = 0; zeros < 1 << (COUNT + 1); zeros++) {
        memset(in, 0, sizeof in);
        for (unsigned i = 0; i <= COUNT; i++)
            if (!(zeros >> i & 1))
                fill(in + i * CHUNK, i < COUNT ? CHUNK : REST, zeros + i * 100 + 1);
        for (size_t bytes = 0; bytes <= sizeof in; bytes += bytes % CHUNK ? CHUNK - REST : REST) {
            size_t count = (bytes + CHUNK - 1) / CHUNK;
            struct chunk_id ids[COUNT + 2], id;

            memset(ids, 0xee, sizeof ids);
            assert_int_equal(store_names(h.worker, in, bytes, ids, &e), OK);
            for (size_t i = 0; i < count; i++) {
                uint32_t n = bytes - i * CHUNK < CHUNK ? REST : CHUNK;

                assert_int_equal(store_name(h.worker, in + i * CHUNK, n, &id, &e), OK);
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
    static uint8_t in[CHUNK];
    struct chunk_id first, again;
    struct hands h = begin();
    struct error e;

    (void)state;
    fill(in, CHUNK, 1);
    assert_int_equal(store_put(h.worker, in, CHUNK, NULL, &first, &e), OK);
    assert_int_equal(store_put(h.worker, in, CHUNK, NULL, &again, &e), OK);
    assert_memory_equal(&first, &again, sizeof first);
    assert_int_equal(store_worker_stats(h.worker)->known_bytes, CHUNK);
    end(&h);
    h = begin();
    assert_int_equal(store_put(h.worker, in, CHUNK, NULL, &again, &e), OK);
    assert_int_equal(store_worker_stats(h.worker)->stored_bytes, 0);
    end(&h);
    assert_int_equal(count_files("packs", ".pack"), 1);
}

static void a_change_is_stored_as_a_patch(void **state)
{
    static uint8_t in[CHUNK], out[CHUNK];
    struct chunk_id ids[4];
    struct hands h = begin();
    struct error e;

    (void)state;
    srandom(1);
    fill_random(in, CHUNK);
    assert_int_equal(store_put(h.worker, in, CHUNK, NULL, &ids[0], &e), OK);
    end(&h);
    for (int i = 1; i < 4; i++) {
        h = begin();
        /* One page more each time: patches of the first, not of each other. */
        memset(in + i * 2 * PATCH_PAGE_BYTES, i, PATCH_PAGE_BYTES);
        assert_int_equal(store_put(h.worker, in, CHUNK, &ids[i - 1], &ids[i], &e), OK);
        assert_in_range(store_worker_stats(h.worker)->stored_bytes, 1, 400);
        end(&h);
    }
    h = begin();
    assert_int_equal(store_get(h.worker, &ids[3], out, CHUNK, &e), OK);
    assert_memory_equal(in, out, CHUNK);
    /* Too much of it: whole. */
    fill_random(in, CHUNK / 2 + PATCH_PAGE_BYTES);
    assert_int_equal(store_put(h.worker, in, CHUNK, &ids[3], &ids[0], &e), OK);
    assert_in_range(store_worker_stats(h.worker)->stored_bytes, CHUNK / 2 + PATCH_PAGE_BYTES,
                    2 * CHUNK);
    end(&h);
}

/* Nothing that a byte of a pack may be makes a wrong byte come out. */
static void damage_is_told(void **state)
{
    static uint8_t in[CHUNK], out[CHUNK];
    struct chunk_id ids[3];
    struct hands h = begin();
    unsigned told = 0;
    struct stat st;
    struct error e;

    (void)state;
    fill(in, CHUNK, 3);
    assert_int_equal(store_put(h.worker, in, CHUNK, NULL, &ids[0], &e), OK);
    end(&h);
    h = begin();
    in[5] ^= 1;
    assert_int_equal(store_put(h.worker, in, CHUNK, &ids[0], &ids[1], &e), OK);
    fill_random(in, CHUNK);
    assert_int_equal(store_put(h.worker, in, 2000, NULL, &ids[2], &e), OK);
    end(&h);
    /* Both packs, every eleventh byte, with and without the index. */
    for (int pass = 0; pass < 4; pass++) {
        char folder[100], path[400] = "";
        AUTO_CLOSEDIR DIR *d = NULL;
        struct dirent *file;
        int skip = pass % 2;

        snprintf(folder, sizeof folder, "%s/packs", repo);
        d = opendir(folder);
        while ((file = readdir(d)))
            if (file->d_name[0] != '.' && skip-- == 0)
                snprintf(path, sizeof path, "%s/%s", folder, file->d_name);
        assert_int_equal(stat(path, &st), 0);
        for (off_t at = 0; at < st.st_size; at += 11) {
            int fd = open(path, O_RDWR | O_CLOEXEC);
            uint8_t byte;

            assert_int_equal(pread(fd, &byte, 1, at), 1);
            byte ^= (uint8_t)(1 << at % 8);
            assert_int_equal(pwrite(fd, &byte, 1, at), 1);
            if (pass >= 2) {
                char index[100];

                snprintf(index, sizeof index, "%s/index", repo);
                remove_tree(index);
                mkdir(index, 0700);
            }
            h = begin();
            for (int i = 0; i < 3; i++) {
                uint32_t bytes = i == 2 ? 2000 : CHUNK;
                struct chunk_id found;

                if (store_get(h.worker, &ids[i], out, bytes, &e) == OK) {
                    assert_int_equal(store_name(h.worker, out, bytes, &found, &e), OK);
                    assert_memory_equal(&found, &ids[i], sizeof found);
                } else {
                    told++;
                }
            }
            forget(&h);
            byte ^= (uint8_t)(1 << at % 8);
            assert_int_equal(pwrite(fd, &byte, 1, at), 1);
            close(fd);
        }
    }
    assert_true(told > 100);
}

static void the_index_is_only_a_cache(void **state)
{
    static uint8_t in[CHUNK], out[CHUNK];
    struct chunk_id ids[30];
    struct hands h;
    struct error e;
    char path[500];

    (void)state;
    /* More runs than segments are kept. */
    for (int i = 0; i < 30; i++) {
        h = begin();
        fill(in, CHUNK, 100 + (unsigned)i);
        assert_int_equal(store_put(h.worker, in, CHUNK, NULL, &ids[i], &e), OK);
        end(&h);
    }
    assert_in_range(count_files("index", ".idx"), 1, 8);
    for (int pass = 0; pass < 4; pass++) {
        if (pass == 1) { /* damaged */
            int fd;

            snprintf(path, sizeof path, "%s", only_file("index"));
            fd = open(path, O_RDWR | O_CLOEXEC);
            assert_int_equal(pwrite(fd, "xx", 2, 40), 2);
            close(fd);
        } else if (pass == 2) { /* cut */
            assert_int_equal(truncate(path, 50), 0);
        } else if (pass == 3) { /* gone */
            snprintf(path, sizeof path, "%s/index", repo);
            remove_tree(path);
            mkdir(path, 0700);
        }
        h = begin();
        for (int i = 0; i < 30; i++) {
            fill(in, CHUNK, 100 + (unsigned)i);
            assert_int_equal(store_get(h.worker, &ids[i], out, CHUNK, &e), OK);
            assert_memory_equal(in, out, CHUNK);
        }
        end(&h);
    }
    assert_int_equal(count_files("index", ".idx"), 1);
}

static void an_unknown_repository_is_refused(void **state)
{
    char path[100];
    struct store *s;
    struct error e;

    (void)state;
    assert_int_equal(store_init(repo, CHUNK, &e), BUSY);
    assert_int_equal(store_open(&s, dir, STORE_SHARED, &e), NOT_FOUND);
    snprintf(path, sizeof path, "%s/config", repo);
    assert_int_equal(truncate(path, 30), 0);
    assert_int_equal(store_open(&s, repo, STORE_SHARED, &e), DAMAGED);
}

static void collecting_needs_it_alone(void **state)
{
    struct hands h = begin();
    struct store *s;
    struct error e;

    (void)state;
    assert_int_equal(store_open(&s, repo, STORE_EXCLUSIVE, &e), BUSY);
    forget(&h);
    assert_int_equal(store_open(&s, repo, STORE_EXCLUSIVE, &e), OK);
    store_close(s);
}

/* ---- images ---- */

static int make_file(const char *name, uint64_t bytes)
{
    char path[100];
    int fd;

    snprintf(path, sizeof path, "%s/%s", dir, name);
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

    assert_int_equal(store_open(&store, repo, STORE_SHARED, &e), OK);
    assert_int_equal(ingest_new(&in, store, 3, 0, &progress, &e), OK);
    assert_int_equal(ingest_put(in, &image, 1, NULL, NULL, &e), OK);
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
    assert_int_equal(store_open(&x->store, repo, STORE_SHARED, &e), OK);
    rc = extract_run(x, NULL, NULL, &e);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_put_comes_back),
        TEST(several_names_are_those_of_each),
        TEST(what_is_known_is_not_stored_again),
        TEST(a_change_is_stored_as_a_patch),
        TEST(damage_is_told),
        TEST(the_index_is_only_a_cache),
        TEST(an_unknown_repository_is_refused),
        TEST(collecting_needs_it_alone),
        TEST(images_come_back),
        TEST(an_image_that_is_mostly_hole_costs_nothing),
        TEST(what_has_not_changed_is_not_read),
        TEST(what_is_known_is_not_read_again),
        TEST(what_an_idle_target_has_is_compared_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
