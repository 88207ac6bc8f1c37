/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/segment_private.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

const uint8_t segment_magic[16] = "domsnap index";

/* ---- sums ---- */

int segment_sum(const uint8_t *data, size_t bytes, uint8_t sum[static SUM_BYTES], struct error *e)
{
    if (!EVP_Digest(data, bytes, sum, NULL, EVP_sha256(), NULL))
        return error_set(e, FAILED, "libcrypto has no SHA-256");
    return OK;
}

int segment_sum_block(const uint8_t random[static 8], uint64_t number, const uint8_t *block,
                      uint8_t sum[static SUM_BYTES], struct error *e)
{
    uint8_t all[16 + BLOCK_SUM_AT];

    memcpy(all, random, 8);
    put64(all + 8, number);
    memcpy(all + 16, block, BLOCK_SUM_AT);
    return segment_sum(all, sizeof all, sum, e);
}

static int check_block(const struct segment *s, uint64_t number, const uint8_t *block,
                       struct error *e)
{
    uint8_t sum[SUM_BYTES];

    if (segment_sum_block(s->random, number, block, sum, e) < 0)
        return e->status;
    if (memcmp(sum, block + BLOCK_SUM_AT, 8) != 0)
        return error_set(e, DAMAGED, "index %s: block %llu is not what was written", s->name,
                         (unsigned long long)number);
    return OK;
}

/* ---- opening ---- */

static uint64_t blocks_of(uint64_t entries)
{
    return (entries + BLOCK_ENTRIES - 1) / BLOCK_ENTRIES;
}

static int take_head(struct segment *s, const uint8_t *head, const uint8_t *repository,
                     uint64_t file_bytes, struct error *e)
{
    uint8_t sum[SUM_BYTES];

    if (memcmp(head, segment_magic, sizeof segment_magic) != 0)
        return error_set(e, DAMAGED, "it is no index");
    if (take32(head + 16) != SEGMENT_VERSION)
        return error_set(e, DAMAGED, "its version is %u", take32(head + 16));
    if (segment_sum(head, HEAD_SUM_AT, sum, e) < 0)
        return e->status;
    if (memcmp(sum, head + HEAD_SUM_AT, SUM_BYTES) != 0)
        return error_set(e, DAMAGED, "its head is not what was written");
    if (memcmp(head + 40, repository, 32) != 0)
        return error_set(e, UNSUPPORTED, "it is another repository's");
    s->pack_count = take32(head + 20);
    s->entries = take64(head + 24);
    memcpy(s->random, head + 32, sizeof s->random);
    s->blocks = blocks_of(s->entries);
    if (s->entries > file_bytes || (s->blocks + 1) * BLOCK_BYTES + rest_bytes(s) != file_bytes)
        return error_set(e, DAMAGED, "its length is not what it says");
    return OK;
}

static int take_packs(struct segment *s, const uint8_t *from, struct error *e)
{
    uint64_t entries = 0;

    for (uint32_t i = 0; i < s->pack_count; i++, from += PACK_LINE) {
        struct segment_pack *p = &s->packs[i];

        memcpy(p->name.run, from, sizeof p->name.run);
        memcpy(p->name.sum, from + 8, sizeof p->name.sum);
        p->bytes = take64(from + 40);
        p->entries = take32(from + 48);
        p->number = SEGMENT_PACK_NONE;
        entries += p->entries;
        if (i && pack_name_compare(&s->packs[i - 1].name, &p->name) >= 0)
            return error_set(e, DAMAGED, "its packs are not sorted");
    }
    return entries == s->entries ? OK : error_set(e, DAMAGED, "its packs hold more, or less");
}

static int take_fences(struct segment *s, const uint8_t *from, struct error *e)
{
    for (uint64_t i = 0; i < s->blocks; i++) {
        s->fences[i] = fence_of(from + i * FENCE_BYTES);
        if (i && s->fences[i - 1] > s->fences[i])
            return error_set(e, DAMAGED, "its blocks are not sorted");
    }
    return OK;
}

static int take_rest(struct segment *s, const uint8_t *wanted_sum, struct error *e)
{
    size_t bytes = rest_bytes(s);
    AUTO_FREE uint8_t *rest = malloc(bytes + 1);
    uint8_t sum[SUM_BYTES];

    s->packs = calloc(s->pack_count + (size_t)1, sizeof *s->packs);
    s->fences = malloc((s->blocks + 1) * sizeof *s->fences);
    if (!rest || !s->packs || !s->fences)
        return error_out_of_memory(e);
    if (pread_full(s->fd, rest, bytes, (s->blocks + 1) * BLOCK_BYTES) < 0)
        return error_errno(e, "read");
    if (segment_sum(rest, bytes, sum, e) < 0)
        return e->status;
    if (memcmp(sum, wanted_sum, SUM_BYTES) != 0)
        return error_set(e, DAMAGED, "its packs are not what was written");
    return take_packs(s, rest, e) < 0 ? e->status
                                      : take_fences(s, rest + (size_t)s->pack_count * PACK_LINE, e);
}

static int read_all_but_blocks(struct segment *s, const uint8_t *repository, struct error *e)
{
    uint8_t head[BLOCK_BYTES];
    struct stat st;

    if (fstat(s->fd, &st) < 0)
        return error_errno(e, "stat");
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof head)
        return error_set(e, DAMAGED, "it is too short");
    if (pread_full(s->fd, head, sizeof head, 0) < 0)
        return error_errno(e, "read");
    /* One block is wanted, and nothing of what is around it. */
    posix_fadvise(s->fd, 0, 0, POSIX_FADV_RANDOM);
    return take_head(s, head, repository, (uint64_t)st.st_size, e) < 0 ? e->status
                                                                       : take_rest(s, head + 72, e);
}

int segment_open(struct segment **out, int dirfd, const char *name,
                 const uint8_t repository[static 32], struct error *e)
{
    struct segment *s = calloc(1, sizeof *s);

    if (!s)
        return error_out_of_memory(e);
    s->fd = -1;
    atomic_init(&s->holders, 1);
    s->name = strdup(name);
    if (!s->name)
        error_out_of_memory(e);
    else if (open_in(dirfd, name, O_RDONLY, &s->fd, e) == OK) {
        if (read_all_but_blocks(s, repository, e) == OK) {
            *out = s;
            return OK;
        }
        error_prefix(e, "index %s", name);
    }
    segment_release(s);
    return e->status;
}

struct segment *segment_hold(struct segment *s)
{
    atomic_fetch_add(&s->holders, 1);
    return s;
}

void segment_release(struct segment *s)
{
    if (!s || atomic_fetch_sub(&s->holders, 1) > 1)
        return;
    if (s->fd >= 0)
        close(s->fd);
    free(s->name);
    free(s->fences);
    free(s->packs);
    free(s);
}

/* ---- finding ---- */

bool entry_is_possible(const struct entry *entry, uint64_t pack_bytes)
{
    uint32_t stored_bytes = entry->stored_bytes & ~ENTRY_PATCH;

    return stored_bytes <= CHUNK_MAX_BYTES &&
           (uint64_t)entry->offset + PIECE_HEAD_BYTES + stored_bytes <= pack_bytes;
}

/* The sum was right, but who knows who wrote it. */
static int take_entry(const struct segment *s, const uint8_t *from, struct entry *to,
                      struct error *e)
{
    memcpy(to->prefix, from, PREFIX_BYTES);
    memcpy(to->base, from + 20, PREFIX_BYTES);
    to->pack = take32(from + 40);
    to->offset = take32(from + 44);
    to->stored_bytes = take32(from + 48);
    if (to->pack >= s->pack_count || !entry_is_possible(to, s->packs[to->pack].bytes))
        return error_set(e, DAMAGED, "index %s: an entry is impossible", s->name);
    to->pack = s->packs[to->pack].number;
    return OK;
}

static size_t entries_in(const struct segment *s, uint64_t block)
{
    uint64_t left = s->entries - block * BLOCK_ENTRIES;

    return left < BLOCK_ENTRIES ? (size_t)left : BLOCK_ENTRIES;
}

/* Entries of a prefix begin in the last block whose fence is before it: that may end in some. */
static uint64_t first_block(const struct segment *s, uint64_t fence)
{
    uint64_t low = 0, high = s->blocks;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (s->fences[middle] < fence)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? low - 1 : 0;
}

/* The first entry of a block that is not before `prefix`. */
static size_t lower_bound(const uint8_t *block, size_t entries, const uint8_t *prefix)
{
    size_t low = 0, high = entries;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (memcmp(block + middle * ENTRY_BYTES, prefix, PREFIX_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* `*beyond`: there is one after the prefix's. */
static int find_in_block(const struct segment *s, uint64_t number, const uint8_t *prefix,
                         entry_sink found, void *arg, bool *beyond, struct error *e)
{
    size_t entries = entries_in(s, number);
    uint8_t block[BLOCK_BYTES];

    if (pread_full(s->fd, block, sizeof block, (number + 1) * BLOCK_BYTES) < 0)
        return error_errno(e, "index %s: read", s->name);
    if (check_block(s, number, block, e) < 0)
        return e->status;
    for (size_t i = lower_bound(block, entries, prefix); i < entries; i++) {
        const uint8_t *from = block + i * ENTRY_BYTES;
        struct entry entry;

        *beyond = memcmp(from, prefix, PREFIX_BYTES) != 0;
        if (*beyond)
            return OK;
        if (take_entry(s, from, &entry, e) < 0)
            return e->status;
        if (entry.pack != SEGMENT_PACK_NONE)
            found(arg, &entry);
    }
    return OK;
}

int segment_find(const struct segment *s, const uint8_t prefix[static PREFIX_BYTES],
                 entry_sink found, void *arg, struct error *e)
{
    uint64_t fence = fence_of(prefix);
    bool beyond = false;

    for (uint64_t i = first_block(s, fence); i < s->blocks && !beyond; i++) {
        if (s->fences[i] > fence)
            break;
        if (find_in_block(s, i, prefix, found, arg, &beyond, e) < 0)
            return e->status;
    }
    return OK;
}

/* ---- from front to back ---- */

struct segment_cursor {
    struct segment *segment;
    uint8_t *buffer;
    uint64_t buffer_blocks, first, loaded; /* room; the first that is in it, and how many are */
    uint64_t at;                           /* the number of the next entry */
    uint8_t before[PREFIX_BYTES];
};

int segment_cursor_new(struct segment_cursor **out, struct segment *s, size_t buffer_bytes,
                       struct error *e)
{
    struct segment_cursor *c = calloc(1, sizeof *c);

    if (!c)
        return error_out_of_memory(e);
    c->segment = segment_hold(s);
    c->buffer_blocks = buffer_bytes / BLOCK_BYTES + !(buffer_bytes / BLOCK_BYTES);
    c->buffer = malloc(c->buffer_blocks * BLOCK_BYTES);
    if (!c->buffer) {
        segment_cursor_free(c);
        return error_out_of_memory(e);
    }
    *out = c;
    return OK;
}

void segment_cursor_free(struct segment_cursor *c)
{
    if (!c)
        return;
    segment_release(c->segment);
    free(c->buffer);
    free(c);
}

static int load(struct segment_cursor *c, struct error *e)
{
    const struct segment *s = c->segment;
    uint64_t first = c->first + c->loaded;
    uint64_t n = s->blocks - first < c->buffer_blocks ? s->blocks - first : c->buffer_blocks;

    if (pread_full(s->fd, c->buffer, n * BLOCK_BYTES, (first + 1) * BLOCK_BYTES) < 0)
        return error_errno(e, "index %s: read", s->name);
    if (s->blocks > CACHED_BLOCKS)
        posix_fadvise(s->fd, (off_t)((first + 1) * BLOCK_BYTES), (off_t)(n * BLOCK_BYTES),
                      POSIX_FADV_DONTNEED);
    c->first = first;
    c->loaded = n;
    return OK;
}

static int step(struct segment_cursor *c, struct entry *entry, struct error *e)
{
    uint64_t block = c->at / BLOCK_ENTRIES, in_block = c->at % BLOCK_ENTRIES;
    const uint8_t *from;

    if (block >= c->first + c->loaded && load(c, e) < 0)
        return e->status;
    from = c->buffer + (block - c->first) * BLOCK_BYTES;
    if (in_block == 0 && check_block(c->segment, block, from, e) < 0)
        return e->status;
    from += in_block * ENTRY_BYTES;
    if (memcmp(c->before, from, PREFIX_BYTES) > 0)
        return error_set(e, DAMAGED, "index %s is not sorted", c->segment->name);
    memcpy(c->before, from, PREFIX_BYTES);
    c->at++;
    return take_entry(c->segment, from, entry, e);
}

int segment_cursor_next(struct segment_cursor *c, struct entry *entry, struct error *e)
{
    while (c->at < c->segment->entries) {
        if (step(c, entry, e) < 0)
            return e->status;
        if (entry->pack != SEGMENT_PACK_NONE)
            return 1;
    }
    return 0;
}
