/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * changed diff ONE TWO: print where two images of one length differ, a line "OFFSET BYTES" each.
 * changed put REPO DOMAIN NAME IMAGE < LIST: put an image as it is now that was, but for that list,
 * the first disk of a snapshot; what a create does whose volume driver knows what has changed.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "copy/ingest.h"
#include "repo/commit.h"
#include "repo/records.h"

#define BLOCK 4096

static int fail(const char *what)
{
    fprintf(stderr, "changed: %s\n", what);
    return 1;
}

static int diff(const char *a, const char *b)
{
    static char one[BLOCK], two[BLOCK];
    FILE *first = fopen(a, "rb"), *second = fopen(b, "rb");
    uint64_t offset = 0, begin = 0, bytes = 0;

    if (!first || !second)
        return fail("open");
    for (; fread(one, 1, BLOCK, first) == BLOCK && fread(two, 1, BLOCK, second) == BLOCK;
         offset += BLOCK) {
        if (memcmp(one, two, BLOCK) == 0)
            continue;
        if (bytes && begin + bytes != offset) {
            printf("%" PRIu64 " %" PRIu64 "\n", begin, bytes);
            bytes = 0;
        }
        if (!bytes)
            begin = offset;
        bytes += BLOCK;
    }
    if (bytes)
        printf("%" PRIu64 " %" PRIu64 "\n", begin, bytes);
    return 0;
}

static size_t read_list(struct extent **list)
{
    size_t count = 0;
    struct extent x;

    while (scanf("%" SCNu64 " %" SCNu64, &x.offset, &x.bytes) == 2) {
        *list = reallocarray(*list, count + 1, sizeof **list);
        if (!*list)
            exit(fail("out of memory"));
        (*list)[count++] = x;
    }
    return count;
}

static int put(char **argv, struct error *e)
{
    struct extent *changed = NULL;
    size_t count = read_list(&changed);
    struct progress progress = {NULL};
    const struct view_snapshot *before;
    struct store_worker *w;
    struct chunk_id root;
    struct ingest *in;
    struct store *store;
    struct repo *repo;
    struct manifest m;
    struct tree tree;
    struct ingest_image image = {
        .source = open(argv[3], O_RDONLY | O_CLOEXEC),
        .name = argv[3],
        .previous = &tree,
        .changed = changed,
        .changed_count = count,
    };

    if (file_size(image.source, argv[3], &image.bytes, e) < 0 || repo_open(&repo, argv[0], e) < 0 ||
        repo_begin(repo, REPO_WRITES, "changed", "", e) < 0 || store_open(&store, repo, e) < 0 ||
        record_find(repo, argv[1], argv[2], &before, e) < 0 ||
        record_get(repo, before, &m, e) < 0 || store_worker_new(&w, store, e) < 0 ||
        chunk_id_from_hex(&root, m.disks[0].image.root, e) < 0 ||
        tree_get(&tree, w, &root, m.disks[0].image.bytes, store_chunk_bytes(store), NULL, e) < 0 ||
        ingest_new(&in, store, 0, &progress, e) < 0 || ingest_put(in, &image, 1, NULL, e) < 0)
        return e->status;
    chunk_id_to_hex(&image.root, m.disks[0].image.root);
    free(m.name);
    m.name = strdup("changed");
    if (commit_snapshot(store, &m, e) < 0)
        return e->status;
    ingest_free(in);
    store_worker_free(w);
    store_close(store);
    repo_close(repo);
    return OK;
}

int main(int argc, char **argv)
{
    struct error e;

    if (argc == 4 && strcmp(argv[1], "diff") == 0)
        return diff(argv[2], argv[3]);
    if (argc == 6 && strcmp(argv[1], "put") == 0)
        return put(argv + 2, &e) < 0 ? fail(e.text) : 0;
    return fail("diff ONE TWO, or put REPO DOMAIN NAME IMAGE < LIST");
}
