/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of an index. Their sums are put right, or nothing behind them would be reached. */
#include "fuzz.h"

#include <endian.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "repo/segment.h"

#define BLOCK     4096
#define PER_BLOCK 78

/* Any: this one. */
static const uint8_t repository[32] = {1};

static void sum_blocks(uint8_t *file, uint64_t blocks)
{
    for (uint64_t i = 0; i < blocks; i++) {
        uint8_t *block = file + (i + 1) * BLOCK, all[16 + BLOCK - 8], sum[32];
        uint64_t number = htole64(i);

        memcpy(all, file + 32, 8);
        memcpy(all + 8, &number, 8);
        memcpy(all + 16, block, BLOCK - 8);
        EVP_Digest(all, sizeof all, sum, NULL, EVP_sha256(), NULL);
        memcpy(block + BLOCK - 8, sum, 8);
    }
}

static void put_sums_right(uint8_t *file, size_t size)
{
    uint64_t entries, blocks;

    memcpy(&entries, file + 24, sizeof entries);
    entries = le64toh(entries);
    blocks = entries / PER_BLOCK + (entries % PER_BLOCK != 0);
    memcpy(file + 40, repository, sizeof repository);
    if (blocks < size / BLOCK) {
        sum_blocks(file, blocks);
        EVP_Digest(file + (blocks + 1) * BLOCK, size - (blocks + 1) * BLOCK, file + 72, NULL,
                   EVP_sha256(), NULL);
    }
    EVP_Digest(file, BLOCK - 32, file + BLOCK - 32, NULL, EVP_sha256(), NULL);
}

static void check_entry(void *arg, const struct entry *entry)
{
    const struct segment *s = arg;

    for (uint32_t i = 0; i < s->pack_count; i++)
        if (s->packs[i].number == entry->pack)
            return;
    abort(); /* of a pack that was not wanted */
}

static void read_all(struct segment *s)
{
    struct segment_cursor *c;
    struct entry entry;
    struct error e;
    int left = 1000;

    if (segment_cursor_new(&c, s, BLOCK, &e) < 0)
        return;
    while (left-- && segment_cursor_next(c, &entry, &e) > 0) {
        check_entry(s, &entry);
        segment_find(s, entry.prefix, check_entry, s, &e);
    }
    segment_cursor_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE uint8_t *copy = malloc(size + 1);
    AUTO_CLOSE int dirfd = open(fuzz_folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct segment *s;
    struct error e;

    if (size < BLOCK || !copy)
        return 0;
    memcpy(copy, data, size);
    put_sums_right(copy, size);
    fuzz_write("0.idx", copy, size);
    if (segment_open(&s, dirfd, "0.idx", repository, &e) < 0)
        return 0;
    /* Some are taken from here, others not. */
    for (uint32_t i = 0; i < s->pack_count; i++)
        if (s->packs[i].name.run[0] % 4) {
            s->packs[i].number = 10 + i;
            s->wanted += s->packs[i].entries;
        }
    segment_find(s, copy + BLOCK, check_entry, s, &e);
    segment_find(s, copy, check_entry, s, &e);
    read_all(s);
    segment_release(s);
    return 0;
}
