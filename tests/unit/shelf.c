/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "shelf.h"

char shelf_dir[] = "/tmp/domsnap-repo-XXXXXX";
char shelf_repo[64];

void remove_tree(const char *path)
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

int shelf_setup(void **state)
{
    struct error e;

    (void)state;
    memcpy(strrchr(shelf_dir, '-'), "-XXXXXX", 7);
    assert_non_null(mkdtemp(shelf_dir));
    snprintf(shelf_repo, sizeof shelf_repo, "%s/repo", shelf_dir);
    assert_int_equal(store_init(shelf_repo, CHUNK, &e), OK);
    return 0;
}

int shelf_teardown(void **state)
{
    (void)state;
    remove_tree(shelf_dir);
    return 0;
}

struct hands begin(void)
{
    struct hands h;
    struct error e;

    assert_int_equal(store_open(&h.store, shelf_repo, STORE_SHARED, &e), OK);
    assert_int_equal(store_worker_new(&h.worker, h.store, &e), OK);
    return h;
}

void end(struct hands *h)
{
    struct error e;

    assert_int_equal(store_worker_finish(h->worker, &e), OK);
    assert_int_equal(store_save(h->store, &e), OK);
    store_worker_free(h->worker);
    store_close(h->store);
}

void forget(struct hands *h)
{
    store_worker_free(h->worker);
    store_close(h->store);
}

void fill(uint8_t *to, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++) {
        if (i % 16 == 0)
            seed = seed * 1103515245 + 12345;
        to[i] = (uint8_t)(seed >> 16);
    }
}

void fill_random(uint8_t *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(random() >> 8);
}

unsigned count_files(const char *sub, const char *suffix)
{
    char path[100];
    AUTO_CLOSEDIR DIR *d = NULL;
    struct dirent *file;
    unsigned n = 0;

    snprintf(path, sizeof path, "%s/%s", shelf_repo, sub);
    d = opendir(path);
    while (d && (file = readdir(d)))
        n += file->d_name[0] != '.' && strstr(file->d_name, suffix) != NULL;
    return n;
}

const char *only_file(const char *sub)
{
    static char path[400];
    char folder[100];
    AUTO_CLOSEDIR DIR *d = NULL;
    struct dirent *file;

    snprintf(folder, sizeof folder, "%s/%s", shelf_repo, sub);
    d = opendir(folder);
    while (d && (file = readdir(d)))
        if (file->d_name[0] != '.')
            snprintf(path, sizeof path, "%s/%s", folder, file->d_name);
    return path;
}
