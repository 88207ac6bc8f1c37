/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * synth REPO SNAPSHOTS CHUNKS: fill a repository with snapshots of one guest, each of CHUNKS chunks
 * of its own, of a few bytes: the lists, packs, records and the log are real. For all but their
 * content everything behaves as if they were: list, show, check, gc, delete, and a create beside
 * them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "repo/records.h"
#include "repo/store.h"
#include "repo/tree.h"

#define CONTENT_BYTES 16

static struct error e;

static void must(int rc)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "synth: %s\n", e.text);
    exit(1);
}

static void random_bytes(void *to, size_t bytes)
{
    static uint8_t pool[1 << 16];
    static size_t at = sizeof pool;

    if (at + bytes > sizeof pool) {
        if (getentropy(pool, 256) < 0)
            exit(1);
        for (size_t i = 256; i < sizeof pool; i++)
            pool[i] = (uint8_t)(pool[i - 256] * 167 + pool[i - 255] + 13 * i);
        at = 0;
    }
    memcpy(to, pool + at, bytes);
    at += bytes;
}

static void put_chunk(struct store_worker *w, struct chunk_id *id)
{
    uint8_t content[CONTENT_BYTES];

    random_bytes(content, sizeof content);
    must(store_put(w, PACK_DATA, content, sizeof content, NULL, id, &e));
}

static void put_image(struct store *s, uint64_t chunks, char root[65])
{
    uint32_t chunk_bytes = store_chunk_bytes(s);
    struct store_worker *w;
    struct chunk_id id, ids[LIST_IDS];
    struct tree tree;

    must(store_worker_new(&w, s, &e));
    must(tree_new(&tree, chunks * chunk_bytes, chunk_bytes, &e));
    for (uint64_t leaf = 0; leaf < tree.leaf_count; leaf++) {
        for (uint32_t i = 0; i < tree_leaf_chunks(&tree, leaf); i++)
            put_chunk(w, &ids[i]);
        must(tree_put_leaf(&tree, w, leaf, ids, &e));
    }
    must(tree_put(&tree, w, &id, &e));
    chunk_id_to_hex(&id, root);
    tree_release(&tree);
    store_worker_free(w);
}

/* The configuration is real: a record without one is none. */
static void put_config(struct store *s, struct manifest_file *f)
{
    static const char text[] = "name = \"g\"\nmemory = 64\n";
    struct store_worker *w;
    struct chunk_id ids[LIST_IDS] = {0}, root;
    struct tree tree;

    f->bytes = sizeof text - 1;
    must(store_worker_new(&w, s, &e));
    must(tree_new(&tree, f->bytes, store_chunk_bytes(s), &e));
    must(store_put(w, PACK_DATA, text, (uint32_t)f->bytes, NULL, &ids[0], &e));
    must(tree_put_leaf(&tree, w, 0, ids, &e));
    must(tree_put(&tree, w, &root, &e));
    chunk_id_to_hex(&root, f->root);
    tree_release(&tree);
    store_worker_free(w);
}

static void add_snapshot(const char *where, unsigned n, uint64_t chunks)
{
    AUTO_FREE char *name = format_text("s%06u", n);
    AUTO_FREE char *created = format_text("2026-01-%02uT%02u:%02u:%02uZ", 1 + n / 86400,
                                          n / 3600 % 24, n / 60 % 60, n % 60);
    AUTO_JSON json_t *packs = NULL, *entry = NULL;
    char vdev[] = "xvda", path[] = "/dev/vg/g", driver[] = "lvm", host[] = "h", empty[] = "",
         off[] = "off", guest[] = "g", type[] = "pv",
         uuid[] = "00000000-0000-0000-0000-000000000000";
    struct manifest_disk disk = {.vdev = vdev, .path = path, .driver = driver};
    struct manifest m = {.name = name,
                         .created = created,
                         .host = host,
                         .hypervisor = empty,
                         .method = off,
                         .domain_name = guest,
                         .domain_uuid = uuid,
                         .domain_type = type,
                         .vcpus = 1,
                         .disks = &disk,
                         .disk_count = 1};
    struct store *s;
    struct repo *r;
    char sum[65];

    must(repo_open(&r, where, &e));
    must(repo_begin(r, REPO_WRITES, "synth", "", &e));
    must(store_open(&s, r, &e));
    put_image(s, chunks, disk.image.root);
    disk.image.bytes = chunks * store_chunk_bytes(s);
    put_config(s, &m.config);
    must(store_finish(s, &e));
    packs = store_packs_to_json(s);
    must(record_put(r, &m, sum, &e));
    entry = json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:b}, s:O}", "kind", "add",
                      "run", repo_run(r), "snapshot", "domain", "g", "name", name, "created",
                      created, "record", sum, "bytes", (json_int_t)disk.image.bytes, "stored_bytes",
                      (json_int_t)0, "disks", 1, "ram", 0, "packs", packs);
    must(log_put(repo_log(r), entry, &e));
    repo_has_ended(r);
    if (log_length(repo_log(r)) >= LOG_LONG)
        must(log_fold(repo_log(r), "0000000000000000", &e));
    store_close(s);
    repo_close(r);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("synth REPO SNAPSHOTS CHUNKS\n", stderr);
        return 2;
    }
    for (unsigned n = 0; n < (unsigned)atoi(argv[2]); n++)
        add_snapshot(argv[1], n, strtoull(argv[3], NULL, 10));
    return 0;
}
