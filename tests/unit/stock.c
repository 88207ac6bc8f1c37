/* SPDX-License-Identifier: LGPL-2.1-or-later */
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
#include "repo/commit.h"
#include "repo/pack.h"
#include "repo/tree.h"
#include "stock.h"

/* In memory: what is made durable here is so for the test's sake. */
char stock_dir[] = "/dev/shm/domsnap-repo-XXXXXX";
char stock_repo[64];
struct fake_store *stock_fake;

static struct error e;

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

static void make_folder(void)
{
    char cache[80];

    memcpy(strrchr(stock_dir, '-'), "-XXXXXX", 7);
    assert_non_null(mkdtemp(stock_dir));
    snprintf(cache, sizeof cache, "%s/cache", stock_dir);
    setenv("XDG_CACHE_HOME", cache, 1);
    snprintf(stock_repo, sizeof stock_repo, "%s/repo", stock_dir);
}

int stock_setup(void **state)
{
    (void)state;
    make_folder();
    assert_ok(repo_init(stock_repo, CHUNK, &e));
    return 0;
}

int stock_setup_fake(void **state)
{
    struct backend *b;

    (void)state;
    make_folder();
    /* No cache: whoever opens it reads all tables, and nothing waits for a disk. */
    setenv("XDG_CACHE_HOME", "/dev/null", 1);
    stock_fake = fake_store_new();
    b = fake_backend(stock_fake);
    assert_ok(repo_init_on(b, CHUNK, &e));
    backend_close(b);
    return 0;
}

int stock_teardown(void **state)
{
    (void)state;
    if (stock_fake)
        fake_store_free(stock_fake);
    stock_fake = NULL;
    remove_tree(stock_dir);
    return 0;
}

/* ---- runs ---- */

static int open_hands(struct hands *h, struct error *why)
{
    return repo_begin(h->repo, REPO_WRITES, "test", "", why) < 0 ||
                   store_open(&h->store, h->repo, why) < 0
               ? why->status
               : store_worker_new(&h->worker, h->store, why);
}

int try_begin_on(struct hands *h, struct backend *b, struct error *why)
{
    *h = (struct hands){0};
    if (repo_open_on(&h->repo, b, why) < 0)
        return why->status;
    if (open_hands(h, why) == OK)
        return OK;
    forget(h);
    return why->status;
}

struct hands begin_on(struct backend *b)
{
    struct hands h;

    assert_ok(try_begin_on(&h, b, &e));
    return h;
}

struct repo *open_repo(void)
{
    struct repo *r;

    if (stock_fake)
        assert_ok(repo_open_on(&r, fake_backend(stock_fake), &e));
    else
        assert_ok(repo_open(&r, stock_repo, &e));
    return r;
}

struct hands begin(void)
{
    struct hands h = {.repo = open_repo()};

    assert_ok(open_hands(&h, &e));
    return h;
}

void forget(struct hands *h)
{
    store_worker_free(h->worker);
    store_close(h->store);
    repo_close(h->repo);
    *h = (struct hands){0};
}

/* As a collection does. */
void end(struct hands *h)
{
    AUTO_JSON json_t *named = json_array(), *entry = NULL;
    const struct view_pack *packs;
    size_t count;

    assert_ok(store_finish(h->store, &e));
    store_note_damage(h->store);
    packs = store_packs(h->store, &count);
    for (size_t i = 0; i < count; i++) {
        char text[PACK_NAME_TEXT];

        pack_name_to_text(&packs[i].name, text);
        json_array_append_new(named, json_pack("[s, I]", text, (json_int_t)packs[i].bytes));
    }
    entry = json_pack("{s:s, s:s, s:[], s:O}", "kind", "condemn", "run", repo_run(h->repo), "packs",
                      "named", named);
    do
        assert_ok(log_put(repo_log(h->repo), entry, &e));
    while (view_find_run(repo_view(h->repo), repo_run(h->repo)));
    repo_has_ended(h->repo);
    forget(h);
}

/* ---- pictures ---- */

static uint32_t length_of(uint32_t bytes, uint32_t at)
{
    return bytes - at < CHUNK ? bytes - at : CHUNK;
}

int try_put_picture(struct hands *h, struct picture *p, const uint8_t *from, uint32_t bytes,
                    const struct picture *before, struct error *why)
{
    struct tree tree;
    int rc;

    *p = (struct picture){.bytes = bytes};
    assert_ok(tree_new(&tree, bytes, CHUNK, &e));
    for (uint32_t i = 0, at = 0; at < bytes; i++, at += CHUNK)
        if (store_put(h->worker, PACK_DATA, from + at, length_of(bytes, at),
                      before ? &before->chunks[i] : NULL, &p->chunks[i], why) < 0) {
            tree_release(&tree);
            return why->status;
        }
    rc = tree_put_leaf(&tree, h->worker, 0, p->chunks, why);
    if (rc == OK)
        rc = tree_put(&tree, h->worker, &p->root, why);
    tree_release(&tree);
    return rc;
}

struct picture put_picture(struct hands *h, const uint8_t *from, uint32_t bytes,
                           const struct picture *before)
{
    struct picture p;

    assert_ok(try_put_picture(h, &p, from, bytes, before, &e));
    return p;
}

const struct manifest *record_of(const char *domain, const char *name, const struct picture *p)
{
    static struct manifest_disk disk;
    static struct manifest m;

    disk = (struct manifest_disk){.vdev = (char *)"xvda",
                                  .path = (char *)"/disk",
                                  .driver = (char *)"plain",
                                  .image.bytes = p->bytes};
    m = (struct manifest){
        .name = (char *)name,
        .created = (char *)"2026-11-23T01:55:03Z",
        .host = (char *)"host",
        .hypervisor = (char *)"none",
        .method = (char *)"off",
        .domain_name = (char *)domain,
        .domain_uuid = (char *)"12345678-1234-1234-1234-123456789abc",
        .domain_type = (char *)"pvh",
        .vcpus = 1,
        .memory_bytes = 1 << 20,
        .disks = &disk,
        .disk_count = 1,
    };
    chunk_id_to_hex(&p->root, disk.image.root);
    /* Any image will do. */
    m.config = disk.image;
    return &m;
}

void commit(struct hands *h, const char *domain, const char *name, const struct picture *p)
{
    assert_ok(commit_snapshot(h->store, record_of(domain, name, p), &e));
    forget(h);
}

void record(const char *domain, const char *name, const struct picture *p)
{
    struct hands h = begin();

    commit(&h, domain, name, p);
}

void delete (const char *domain, const char *name)
{
    struct repo *r = open_repo();
    const struct view_snapshot *s = view_find_snapshot(repo_view(r), domain, name);
    char run[RUN_ID];

    assert_non_null(s);
    memcpy(run, s->run, RUN_ID);
    assert_ok(log_remove(repo_log(r), &run, 1, &e));
    repo_close(r);
}

static int get_chunks(struct hands *h, const struct picture *p, uint8_t *to, struct error *why)
{
    struct chunk_id chunks[LIST_IDS];
    struct tree tree;
    int rc = tree_get(&tree, h->worker, &p->root, p->bytes, CHUNK, NULL, why);

    if (rc < 0)
        return rc;
    rc = tree_get_leaf(&tree, h->worker, 0, chunks, why);
    for (uint32_t i = 0, at = 0; rc == OK && at < p->bytes; i++, at += CHUNK)
        rc = store_get(h->worker, &chunks[i], to + at, length_of(p->bytes, at), why);
    tree_release(&tree);
    return rc;
}

int read_picture(const struct picture *p, const uint8_t *is, struct error *why)
{
    AUTO_FREE uint8_t *got = malloc(p->bytes + (size_t)1);
    struct hands h = begin();
    int rc = get_chunks(&h, p, got, why);

    forget(&h);
    if (rc == OK)
        assert_memory_equal(got, is, p->bytes);
    return rc;
}

void assert_there(const struct picture *p, const uint8_t *is)
{
    assert_ok(read_picture(p, is, &e));
}

/* ---- content ---- */

void fill(uint8_t *to, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++) {
        if (i % 16 == 0)
            seed = seed * 1103515245 + 12345;
        to[i] = (uint8_t)(seed >> 16);
    }
}

/* ---- what is there ---- */

size_t named_packs(struct view_pack **packs)
{
    struct repo *r = open_repo();
    size_t count = repo_view(r)->pack_count;

    *packs = calloc(count + 1, sizeof **packs);
    for (size_t i = 0; i < count; i++)
        (*packs)[i] = repo_view(r)->packs[i];
    repo_close(r);
    return count;
}

unsigned known_damage(void)
{
    struct repo *r = open_repo();
    const struct view *v = repo_view(r);
    unsigned n = 0;

    for (size_t i = 0; i < v->pack_count; i++)
        if (v->packs[i].damage)
            n += v->packs[i].damage->count ? (unsigned)v->packs[i].damage->count : 1;
    repo_close(r);
    return n;
}

unsigned count_files(const char *sub)
{
    char path[100];
    AUTO_CLOSEDIR DIR *d = NULL;
    struct dirent *file;
    unsigned n = 0;

    if (stock_fake)
        return (unsigned)fake_count(stock_fake, sub);
    snprintf(path, sizeof path, "%s/%s", stock_repo, sub);
    d = opendir(path);
    while (d && (file = readdir(d)))
        n += file->d_name[0] != '.';
    return n;
}

/* The log's order is that of random names: theirs is that of their making. */
static int64_t made_at(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec : 0;
}

static enum pack_kind kind_of(struct repo *r, const struct pack_name *name)
{
    enum pack_kind kind;

    return pack_read_kind(repo_backend(r), name, &kind, &e) == OK ? kind : 0;
}

const char *pack_path(enum pack_kind kind, unsigned n)
{
    static char paths[4][200];
    static unsigned next;
    char all[64][200];
    unsigned count = 0;
    struct repo *r = open_repo();
    const struct view *v = repo_view(r);

    for (size_t i = 0; i < v->pack_count && count < 64; i++) {
        char object[PACK_OBJECT_MAX], path[200];
        unsigned at = count;

        if (kind_of(r, &v->packs[i].name) != kind)
            continue;
        pack_object(&v->packs[i].name, object);
        snprintf(path, sizeof path, "%s/%s", stock_repo, object);
        for (; at && made_at(all[at - 1]) > made_at(path); at--)
            memcpy(all[at], all[at - 1], sizeof all[at]);
        memcpy(all[at], path, sizeof path);
        count++;
    }
    repo_close(r);
    if (n >= count)
        fail_msg("there are only %u packs of kind %d", count, kind);
    return memcpy(paths[next++ % 4], all[n], sizeof all[n]);
}

void flip(const char *path, uint64_t at)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
}

uint64_t bytes_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

void drop_cache(void)
{
    char path[100];

    snprintf(path, sizeof path, "%s/cache", stock_dir);
    remove_tree(path);
}
