/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/hex.h"

/* Written at once. Packs go past the page cache: nobody reads them soon, and each newly touched
 * page of it would cost more than its write. */
#define BUFFER_BYTES (4u << 20)
#define ALIGNMENT    PACK_BUFFER_ALIGNMENT

/* Of records that are read only a little of. */
#define WINDOW_BYTES (64u << 10)

/* A pack of the smallest records that are worth one, and never more than fit. */
#define ENTRIES_MAX 65536u

struct pack_writer {
    int dirfd, fd; /* -1: no pack is under way */
    pack_closed closed;
    void *arg;
    char name[PACK_NAME];
    uint8_t *buffer; /* what is not written yet, from a multiple of ALIGNMENT on */
    size_t buffered_bytes;
    uint64_t written_bytes;
    struct table_entry *entries;
    size_t entry_count;
};

static void file_names(const char *name, char part[PACK_NAME + 8], char whole[PACK_NAME + 8])
{
    snprintf(part, PACK_NAME + 8, ".%s.pack", name);
    snprintf(whole, PACK_NAME + 8, "%s.pack", name);
}

/* ---- writing ---- */

int pack_writer_new(struct pack_writer **out, int dirfd, pack_closed closed, void *arg,
                    struct error *e)
{
    struct pack_writer *w = calloc(1, sizeof *w);

    if (!w)
        return error_errno(e, "memory for a pack");
    w->dirfd = dirfd;
    w->fd = -1;
    w->closed = closed;
    w->arg = arg;
    w->buffer = aligned_alloc(ALIGNMENT, BUFFER_BYTES);
    w->entries = malloc(ENTRIES_MAX * sizeof *w->entries);
    if (!w->buffer || !w->entries) {
        pack_writer_free(w);
        return error_set(e, NO_SPACE, "out of memory");
    }
    *out = w;
    return OK;
}

static int write_out(struct pack_writer *w, size_t bytes, struct error *e)
{
    if (pwrite_full(w->fd, w->buffer, bytes, w->written_bytes) < 0)
        return error_errno(e, "pack %s: write", w->name);
    w->written_bytes += bytes;
    return FAULT("pack-written", e);
}

static int put(struct pack_writer *w, const void *data, size_t bytes, struct error *e)
{
    const uint8_t *from = data;

    while (bytes) {
        size_t n = BUFFER_BYTES - w->buffered_bytes;

        if (n > bytes)
            n = bytes;
        memcpy(w->buffer + w->buffered_bytes, from, n);
        w->buffered_bytes += n;
        from += n;
        bytes -= n;
        if (w->buffered_bytes == BUFFER_BYTES) {
            if (write_out(w, BUFFER_BYTES, e) < 0)
                return e->status;
            w->buffered_bytes = 0;
        }
    }
    return OK;
}

static int begin(struct pack_writer *w, struct error *e)
{
    char part[PACK_NAME + 8], whole[PACK_NAME + 8];
    uint8_t random[16], head[PACK_HEAD_BYTES];

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return error_errno(e, "random number");
    hex_put(w->name, random, sizeof random);
    file_names(w->name, part, whole);
    w->fd = openat(w->dirfd, part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_DIRECT, 0600);
    /* tmpfs, for one, has no O_DIRECT. */
    if (w->fd < 0 && errno == EINVAL)
        w->fd = openat(w->dirfd, part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (w->fd < 0)
        return error_errno(e, "pack %s: create", w->name);
    /* All at once: else each write would wait for its own blocks. What can't do it does without,
     * and where there is no room for a whole pack there may be for what comes. */
    (void)!fallocate(w->fd, 0, 0, PACK_FULL_BYTES);
    w->buffered_bytes = w->written_bytes = w->entry_count = 0;
    pack_head_put(head);
    return put(w, head, sizeof head, e);
}

static int compare_entries(const void *a, const void *b)
{
    return memcmp(a, b, ID_BYTES);
}

static int put_table(struct pack_writer *w, uint64_t *bytes, struct error *e)
{
    struct pack_tail tail = {
        .entries = (uint32_t)w->entry_count,
        .table_offset = (uint32_t)(w->written_bytes + w->buffered_bytes),
    };
    size_t table_bytes = w->entry_count * TABLE_ENTRY_BYTES;
    AUTO_FREE uint8_t *table = malloc(table_bytes);
    uint8_t to[PACK_TAIL_BYTES];

    if (!table)
        return error_set(e, NO_SPACE, "out of memory");
    qsort(w->entries, w->entry_count, sizeof *w->entries, compare_entries);
    for (size_t i = 0; i < w->entry_count; i++)
        table_entry_put(table + i * TABLE_ENTRY_BYTES, &w->entries[i]);
    if (!EVP_Digest(table, table_bytes, tail.sum, NULL, EVP_sha256(), NULL))
        return error_set(e, FAILED, "SHA-256 is not to be had from libcrypto");
    pack_tail_put(to, &tail);
    if (put(w, table, table_bytes, e) < 0 || put(w, to, sizeof to, e) < 0)
        return e->status;
    *bytes = w->written_bytes + w->buffered_bytes;
    return OK;
}

static int close_pack(struct pack_writer *w, struct error *e)
{
    uint64_t bytes = 0;
    size_t rest;

    if (put_table(w, &bytes, e) < 0)
        return e->status;
    rest = (w->buffered_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memset(w->buffer + w->buffered_bytes, 0, rest - w->buffered_bytes);
    if (write_out(w, rest, e) < 0)
        return e->status;
    if (ftruncate(w->fd, (off_t)bytes) < 0 || fdatasync(w->fd) < 0)
        return error_errno(e, "pack %s: make it durable", w->name);
    close(w->fd);
    w->fd = -1;
    if (FAULT("pack-closed", e) < 0)
        return e->status;
    return w->closed(w->arg, w->name, bytes, w->entries, w->entry_count, e);
}

int pack_append(struct pack_writer *w, const struct record_head *h, const void *first,
                size_t first_bytes, const void *second, size_t second_bytes, struct error *e)
{
    uint8_t head[RECORD_HEAD_BYTES];
    uint64_t offset;

    if (w->fd < 0 && begin(w, e) < 0)
        return e->status;
    offset = w->written_bytes + w->buffered_bytes;
    record_head_put(head, h);
    if (put(w, head, sizeof head, e) < 0 || put(w, first, first_bytes, e) < 0 ||
        put(w, second, second_bytes, e) < 0)
        return e->status;
    w->entries[w->entry_count++] = (struct table_entry){
        .id = h->id,
        .offset = (uint32_t)offset,
        .full_bytes = h->full_bytes,
        .stored_bytes = h->stored_bytes,
        .encoding = h->encoding,
    };
    if (w->written_bytes + w->buffered_bytes < PACK_FULL_BYTES && w->entry_count < ENTRIES_MAX)
        return OK;
    return close_pack(w, e);
}

int pack_writer_finish(struct pack_writer *w, struct error *e)
{
    return w->fd < 0 ? OK : close_pack(w, e);
}

int pack_publish(int dirfd, const char name[PACK_NAME], struct error *e)
{
    char part[PACK_NAME + 8], whole[PACK_NAME + 8];

    file_names(name, part, whole);
    return renameat(dirfd, part, dirfd, whole) < 0 ? error_errno(e, "pack %s: rename", name)
                                                   : FAULT("pack-published", e);
}

void pack_discard(int dirfd, const char name[PACK_NAME])
{
    char part[PACK_NAME + 8], whole[PACK_NAME + 8];

    file_names(name, part, whole);
    unlinkat(dirfd, part, 0);
}

void pack_writer_free(struct pack_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0) {
        pack_discard(w->dirfd, w->name);
        close(w->fd);
    }
    free(w->buffer);
    free(w->entries);
    free(w);
}

/* ---- reading ---- */

/* What the disk can't give back is damaged; what is elsewhere is still to be had. */
static int read_failed(uint64_t offset, struct error *e)
{
    bool lost = errno == EIO;

    error_errno(e, "read at %llu", (unsigned long long)offset);
    return lost ? (e->status = DAMAGED) : e->status;
}

int pack_open(int dirfd, const char name[PACK_NAME], int *fd, uint64_t *bytes, struct error *e)
{
    char part[PACK_NAME + 8], whole[PACK_NAME + 8];
    uint8_t head[PACK_HEAD_BYTES];

    file_names(name, part, whole);
    /* Only who writes it knows of one that is not published. */
    if (open_in(dirfd, whole, O_RDONLY, fd, e) < 0 &&
        (e->status != NOT_FOUND || open_in(dirfd, part, O_RDONLY, fd, e) < 0))
        return error_prefix(e, "pack");
    if (file_size(*fd, whole, bytes, e) == OK) {
        if (*bytes < PACK_HEAD_BYTES + PACK_TAIL_BYTES || *bytes > PACK_MAX_BYTES)
            error_set(e, DAMAGED, "its length is not that of a pack");
        else if (pread_full(*fd, head, sizeof head, 0) < 0)
            read_failed(0, e);
        else if (pack_head_take(head, e) == OK) {
            /* What can't do it does without. */
            fcntl(*fd, F_SETFL, O_DIRECT);
            return OK;
        }
        error_prefix(e, "pack %s", name);
    }
    close(*fd);
    *fd = -1;
    return e->status;
}

/* How much must be read to have `bytes` from `offset` on, in whole blocks. */
static size_t blocks_around(uint64_t offset, size_t bytes)
{
    uint64_t begin = offset / ALIGNMENT * ALIGNMENT;

    return (size_t)((offset + bytes - begin + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

/* Read whole blocks from `begin` on into `buffer`, which is aligned and has room for `room` bytes, until `want` are there, or more.
 * How many, or -1. */
static ssize_t read_blocks(int fd, uint64_t begin, size_t want, uint8_t *buffer, size_t room)
{
    size_t got = 0;

    while (got < want) {
        ssize_t n = pread(fd, buffer + got, room - got, (off_t)(begin + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n < 0 ? errno : EIO;
            return -1;
        }
        got += (size_t)n;
    }
    return (ssize_t)got;
}

/* Read `bytes` into `buffer`, which has room for blocks_around() them: `*at` is where they are. */
static int read_around(int fd, uint64_t offset, size_t bytes, uint8_t *buffer, const uint8_t **at)
{
    uint64_t begin = offset / ALIGNMENT * ALIGNMENT;

    *at = buffer + (offset - begin);
    return read_blocks(fd, begin, (size_t)(offset - begin) + bytes, buffer,
                       blocks_around(offset, bytes)) < 0
               ? -1
               : 0;
}

static int peek(int fd, uint64_t offset, void *to, size_t bytes, struct error *e)
{
    AUTO_FREE uint8_t *buffer = aligned_alloc(ALIGNMENT, blocks_around(offset, bytes));
    const uint8_t *at;

    if (!buffer)
        return error_set(e, NO_SPACE, "out of memory");
    if (read_around(fd, offset, bytes, buffer, &at) < 0)
        return read_failed(offset, e);
    memcpy(to, at, bytes);
    return OK;
}

int pack_peek_near(struct pack_window *w, int fd, uint64_t offset, void *to, size_t bytes,
                   struct error *e)
{
    ssize_t n;

    if (!w->buffer)
        w->buffer = aligned_alloc(ALIGNMENT, WINDOW_BYTES);
    if (!w->buffer)
        return error_set(e, NO_SPACE, "out of memory");
    if (w->fd != fd || offset < w->begin || offset + bytes > w->begin + w->bytes) {
        w->fd = fd;
        w->begin = offset / ALIGNMENT * ALIGNMENT;
        w->bytes = 0;
        n = read_blocks(fd, w->begin, (size_t)(offset - w->begin) + bytes, w->buffer, WINDOW_BYTES);
        if (n < 0)
            return read_failed(offset, e);
        w->bytes = (size_t)n;
    }
    memcpy(to, w->buffer + (offset - w->begin), bytes);
    return OK;
}

/* Within the pack, and sorted. */
static int check_entry(const struct table_entry *t, const struct table_entry *before,
                       uint32_t table_offset, struct error *e)
{
    if ((uint64_t)t->offset + RECORD_HEAD_BYTES + t->stored_bytes > table_offset)
        return error_set(e, DAMAGED, "its table leads out of it");
    if (before && memcmp(before->id.bytes, t->id.bytes, ID_BYTES) > 0)
        return error_set(e, DAMAGED, "its table is not sorted");
    return OK;
}

static int take_table(const struct pack_tail *tail, const uint8_t *table,
                      struct table_entry *entries, struct error *e)
{
    uint8_t sum[ID_BYTES];

    if (!EVP_Digest(table, (size_t)tail->entries * TABLE_ENTRY_BYTES, sum, NULL, EVP_sha256(),
                    NULL))
        return error_set(e, FAILED, "SHA-256 is not to be had from libcrypto");
    if (memcmp(sum, tail->sum, ID_BYTES) != 0)
        return error_set(e, DAMAGED, "its table is not what was written");
    for (uint32_t i = 0; i < tail->entries; i++)
        if (table_entry_take(&entries[i], table + (size_t)i * TABLE_ENTRY_BYTES, e) < 0 ||
            check_entry(&entries[i], i ? &entries[i - 1] : NULL, tail->table_offset, e) < 0)
            return e->status;
    return OK;
}

int pack_read_table(int fd, uint64_t pack_bytes, struct table_entry **out, size_t *count,
                    struct error *e)
{
    AUTO_FREE struct table_entry *entries = NULL;
    AUTO_FREE uint8_t *table = NULL;
    uint8_t from[PACK_TAIL_BYTES];
    struct pack_tail tail;

    if (peek(fd, pack_bytes - sizeof from, from, sizeof from, e) < 0)
        return e->status;
    if (pack_tail_take(&tail, from, pack_bytes, e) < 0)
        return e->status;
    table = malloc((size_t)tail.entries * TABLE_ENTRY_BYTES + 1);
    entries = malloc((size_t)tail.entries * sizeof *entries + 1);
    if (!table || !entries)
        return error_set(e, NO_SPACE, "out of memory");
    if (peek(fd, tail.table_offset, table, (size_t)tail.entries * TABLE_ENTRY_BYTES, e) < 0)
        return e->status;
    if (take_table(&tail, table, entries, e) < 0)
        return e->status;
    *count = tail.entries;
    *out = entries;
    entries = NULL;
    return OK;
}

int pack_read(int fd, uint32_t offset, uint32_t stored_bytes, uint8_t *buffer,
              const uint8_t **record, struct record_head *h, struct error *e)
{
    if (stored_bytes > CHUNK_MAX_BYTES)
        return error_set(e, DAMAGED, "at %u: a record that is too long", offset);
    if (read_around(fd, offset, RECORD_HEAD_BYTES + (size_t)stored_bytes, buffer, record) < 0)
        return read_failed(offset, e);
    if (record_head_take(h, *record, e) < 0)
        return error_prefix(e, "at %u", offset);
    if (h->stored_bytes != stored_bytes)
        return error_set(e, DAMAGED, "at %u: a record of another length", offset);
    return OK;
}
