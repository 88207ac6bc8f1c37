/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chunks in a repository: what is put comes back, once stored, and damage is told, never handed out. */
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
#include "shelf.h"

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

        snprintf(folder, sizeof folder, "%s/packs", shelf_repo);
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

                snprintf(index, sizeof index, "%s/index", shelf_repo);
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
            snprintf(path, sizeof path, "%s/index", shelf_repo);
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
    assert_int_equal(store_init(shelf_repo, CHUNK, &e), BUSY);
    assert_int_equal(store_open(&s, shelf_dir, STORE_SHARED, &e), NOT_FOUND);
    snprintf(path, sizeof path, "%s/config", shelf_repo);
    assert_int_equal(truncate(path, 30), 0);
    assert_int_equal(store_open(&s, shelf_repo, STORE_SHARED, &e), DAMAGED);
}

static void collecting_needs_it_alone(void **state)
{
    struct hands h = begin();
    struct store *s;
    struct error e;

    (void)state;
    assert_int_equal(store_open(&s, shelf_repo, STORE_EXCLUSIVE, &e), BUSY);
    forget(&h);
    assert_int_equal(store_open(&s, shelf_repo, STORE_EXCLUSIVE, &e), OK);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHELF(what_is_put_comes_back),
        SHELF(several_names_are_those_of_each),
        SHELF(what_is_known_is_not_stored_again),
        SHELF(a_change_is_stored_as_a_patch),
        SHELF(damage_is_told),
        SHELF(the_index_is_only_a_cache),
        SHELF(an_unknown_repository_is_refused),
        SHELF(collecting_needs_it_alone),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
