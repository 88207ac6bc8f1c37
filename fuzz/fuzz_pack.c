/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pack in a repository: its table, its records, and what they are made of. The table's sum is put right, or nothing behind it
 * would be reached. */
#include "fuzz.h"

#include <endian.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "repo/store.h"

#define PACK "00000000000000000000000000000000"

static void put_sum_right(uint8_t *pack, size_t size)
{
    uint8_t *tail = pack + size - PACK_TAIL_BYTES;
    uint32_t offset;

    memcpy(&offset, tail + 20, sizeof offset);
    offset = le32toh(offset);
    if (offset <= size - PACK_TAIL_BYTES)
        EVP_Digest(pack + offset, size - PACK_TAIL_BYTES - offset, tail + 32, NULL, EVP_sha256(),
                   NULL);
}

static void get_all(struct store *s, const char *path)
{
    static uint8_t content[CHUNK_MAX_BYTES];
    AUTO_FREE struct table_entry *entries = NULL;
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct store_worker *w;
    size_t count;
    struct error e;

    if (pack_read_table(fd, (uint64_t)lseek(fd, 0, SEEK_END), &entries, &count, &e) < 0 ||
        store_worker_new(&w, s, &e) < 0)
        return;
    for (size_t i = 0; i < count && i < 64; i++)
        store_get(w, &entries[i].id, content, entries[i].full_bytes, &e);
    store_worker_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char repo[128], path[256];
    AUTO_FREE uint8_t *copy = malloc(size + 1);
    struct store *s;
    struct error e;

    if (size < PACK_HEAD_BYTES + PACK_TAIL_BYTES || !copy)
        return 0;
    if (!repo[0]) {
        snprintf(repo, sizeof repo, "%s/repo", fuzz_folder());
        snprintf(path, sizeof path, "%s/packs/" PACK ".pack", repo);
        if (store_init(repo, CHUNK_MIN_BYTES, &e) < 0)
            abort();
    }
    memcpy(copy, data, size);
    put_sum_right(copy, size);
    fuzz_write("repo/packs/" PACK ".pack", copy, size);
    if (store_open(&s, repo, STORE_SHARED, &e) < 0)
        return 0;
    get_all(s, path);
    store_close(s);
    return 0;
}
