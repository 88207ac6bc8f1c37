/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Trees of lists. Names are sums, which no input would guess: so an input says which list names
 * which, and they are put into a repository, in memory.
 *
 *     2 bytes   leaves, so many as the image is said to have
 *     then      lists, the last first: a byte, the number of their entries; and so many bytes, 0
 *               for zeros, n for the nth list before, 255 for a name that nothing has
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "../tests/unit/backend_fake.h"
#include "base/cleanup.h"
#include "repo/tree.h"

#define LISTS_MAX 32

/* What was put stays until then; it is found by nothing but its name. */
#define STORE_INPUTS 256

static size_t put_lists(struct store_worker *w, const uint8_t *data, size_t size,
                        struct chunk_id names[LISTS_MAX])
{
    size_t made = 0;

    while (size > 1 && made < LISTS_MAX) {
        struct chunk_id list[LIST_IDS] = {0};
        size_t count = data[0] + (size_t)1;
        struct error e;

        if (count > size - 1)
            count = size - 1;
        for (size_t i = 0; i < count; i++) {
            size_t back = data[1 + i];

            if (back == 255)
                memset(&list[i], 0xee, sizeof list[i]);
            else if (back && back <= made)
                list[i] = names[made - back];
        }
        if (store_put(w, PACK_LISTS, list, (uint32_t)(count * ID_BYTES), NULL, &names[made], &e) <
            0)
            abort();
        made++;
        data += 1 + count;
        size -= 1 + count;
    }
    return made;
}

static int see_list(void *arg, const struct chunk_id *id, struct error *e)
{
    (void)e;
    if (chunk_id_is_zero(id) || tree_is_lost(id))
        abort();
    ++*(unsigned *)arg;
    return OK;
}

static int see_lost(void *arg, const struct chunk_id *id, const struct error *why, struct error *e)
{
    (void)arg, (void)e;
    if (tree_is_lost(id) || why->status != DAMAGED)
        abort();
    return OK;
}

static void get_tree(struct store_worker *w, const struct chunk_id *root, uint64_t leaves)
{
    uint64_t image_bytes = leaves * LIST_IDS * CHUNK_MIN_BYTES - CHUNK_MIN_BYTES / 2;
    struct chunk_id chunks[LIST_IDS], again;
    unsigned lists = 0;
    const struct tree_watch lossy = {see_list, see_lost, &lists};
    struct tree t, whole;
    struct error e;
    bool is_whole = tree_get(&whole, w, root, image_bytes, CHUNK_MIN_BYTES, NULL, &e) == OK;

    /* What is whole has the same names when it is put again; what is not is read as far as it can
     * be. */
    if (is_whole &&
        (tree_put(&whole, w, &again, &e) < 0 || memcmp(&again, root, sizeof again) != 0))
        abort();
    if (tree_get(&t, w, root, image_bytes, CHUNK_MIN_BYTES, &lossy, &e) < 0)
        abort();
    for (uint64_t leaf = 0; leaf < t.leaf_count; leaf++) {
        if (is_whole && memcmp(&t.leaves[leaf], &whole.leaves[leaf], sizeof *t.leaves) != 0)
            abort();
        if (leaf < 300)
            tree_get_leaf(&t, w, leaf, chunks, &e);
    }
    tree_release(&t);
    if (is_whole)
        tree_release(&whole);
}

static struct repo *repo;
static struct fake_store *memory;
static struct store *store;

static void open_store(void)
{
    struct backend *b;
    struct error e;

    store_close(store);
    repo_close(repo);
    if (memory)
        fake_store_free(memory);
    setenv("XDG_CACHE_HOME", "/dev/null", 1);
    memory = fake_store_new();
    b = fake_backend(memory);
    if (repo_init_on(b, CHUNK_MIN_BYTES, &e) < 0 || repo_open_on(&repo, b, &e) < 0 ||
        repo_begin(repo, REPO_WRITES, "fuzz", "", &e) < 0 || store_open(&store, repo, &e) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned inputs;
    struct chunk_id names[LISTS_MAX];
    struct store_worker *w;
    struct error e;
    size_t count;

    if (size < 4)
        return 0;
    if (inputs++ % STORE_INPUTS == 0)
        open_store();
    if (store_worker_new(&w, store, &e) < 0)
        abort();
    count = put_lists(w, data + 2, size - 2, names);
    /* Closed, they can be read. */
    if (store_finish(store, &e) < 0)
        abort();
    get_tree(w, &names[count - 1], 1 + (data[0] | (uint64_t)data[1] << 8));
    if (store_finish(store, &e) < 0)
        abort();
    store_worker_free(w);
    return 0;
}
