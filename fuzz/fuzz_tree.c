/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Trees of lists. Names are sums, which no input would guess: so an input says which list names
 * which, and they are put into a repository.
 *
 *     2 bytes   leaves, so many as the image is said to have
 *     then      lists, the last first: a byte, the number of their entries; and so many bytes, 0 for zeros, n for the
 *               nth list before, 255 for a name that nothing has
 */
#include "fuzz.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "repo/tree.h"

#define LISTS_MAX 32

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
        if (store_put(w, list, (uint32_t)(count * ID_BYTES), NULL, &names[made], &e) < 0)
            abort();
        made++;
        data += 1 + count;
        size -= 1 + count;
    }
    return made;
}

static void get_tree(struct store_worker *w, const struct chunk_id *root, uint64_t leaves)
{
    uint64_t image_bytes = leaves * LIST_IDS * CHUNK_MIN_BYTES - CHUNK_MIN_BYTES / 2;
    struct chunk_id chunks[LIST_IDS], *upper;
    struct tree t;
    struct error e;
    size_t count;

    if (tree_get(&t, w, root, image_bytes, CHUNK_MIN_BYTES, &e) < 0)
        return;
    for (uint64_t leaf = 0; leaf < t.leaf_count && leaf < 300; leaf++)
        tree_get_leaf(&t, w, leaf, chunks, &e);
    if (tree_upper_names(&t, w, &upper, &count, &e) < 0)
        abort();
    /* The same lists have the same names. */
    if (count && memcmp(&upper[count - 1], root, sizeof *root) != 0)
        abort();
    free(upper);
    tree_release(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char repo[128];
    struct chunk_id names[LISTS_MAX];
    struct store_worker *w;
    struct store *s;
    struct error e;
    size_t count;

    if (size < 4)
        return 0;
    if (!repo[0]) {
        snprintf(repo, sizeof repo, "%s/repo", fuzz_folder());
        if (store_init(repo, CHUNK_MIN_BYTES, &e) < 0)
            abort();
        /* A whole pack's space for each input would be most of the work: it is not to be had. */
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){8 << 20, 8 << 20});
    }
    if (store_open(&s, repo, STORE_SHARED, &e) < 0 || store_worker_new(&w, s, &e) < 0)
        abort();
    count = put_lists(w, data + 2, size - 2, names);
    /* Closed, they can be read; not saved, they go with the store. */
    if (store_worker_finish(w, &e) < 0)
        abort();
    get_tree(w, &names[count - 1], 1 + (data[0] | (uint64_t)data[1] << 8));
    store_worker_free(w);
    store_close(s);
    return 0;
}
