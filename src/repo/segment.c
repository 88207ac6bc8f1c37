/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/segment.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/hex.h"

#define VERSION     2
#define HEAD_BYTES  32
#define PACK_LINE   20
#define SOURCES_MAX 16

static const uint8_t magic[16] = "domsnap index";

/* ---- reading ---- */

static uint32_t take32(const void *from)
{
    uint32_t n;

    memcpy(&n, from, sizeof n);
    return le32toh(n);
}

/* Everything but the sum. */
static int check_segment(const uint8_t *map, size_t bytes, uint32_t *packs, uint64_t *entries,
                         struct error *e)
{
    if (bytes < HEAD_BYTES + ID_BYTES || memcmp(map, magic, sizeof magic) != 0)
        return error_set(e, DAMAGED, "it is no index");
    if (take32(map + 16) != VERSION)
        return error_set(e, UNSUPPORTED, "version %u", take32(map + 16));
    *packs = take32(map + 20);
    memcpy(entries, map + 24, sizeof *entries);
    *entries = le64toh(*entries);
    if (*entries > bytes / sizeof(struct entry) ||
        HEAD_BYTES + *packs * (uint64_t)PACK_LINE + *entries * sizeof(struct entry) + ID_BYTES !=
            bytes)
        return error_set(e, DAMAGED, "its length is not what it says");
    return OK;
}

static int sum_up(int fd, uint64_t bytes, EVP_MD_CTX *sum, struct error *e)
{
    uint8_t buffer[64 << 10];

    for (uint64_t at = 0; at < bytes;) {
        size_t n = bytes - at < sizeof buffer ? (size_t)(bytes - at) : sizeof buffer;

        if (pread_full(fd, buffer, n, at) < 0)
            return error_errno(e, "read");
        EVP_DigestUpdate(sum, buffer, n);
        at += n;
    }
    return OK;
}

/* Read, for where the disk fails, a mapping would not tell but end us. */
static int check_sum(int fd, uint64_t bytes, struct error *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t sum[ID_BYTES], is[ID_BYTES];
    int rc;

    if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
        rc = error_set(e, FAILED, "SHA-256 is not to be had from libcrypto");
    else if (sum_up(fd, bytes - ID_BYTES, ctx, e) < 0)
        rc = e->status;
    else if (pread_full(fd, is, sizeof is, bytes - ID_BYTES) < 0)
        rc = error_errno(e, "read");
    else
        rc = EVP_DigestFinal_ex(ctx, sum, NULL) && memcmp(sum, is, sizeof is) == 0
                 ? OK
                 : error_set(e, DAMAGED, "its sum is wrong");
    EVP_MD_CTX_free(ctx);
    return rc;
}

static int take_packs(struct segment *s, segment_pack_number number, void *arg, struct error *e)
{
    const uint8_t *line = (const uint8_t *)s->map + HEAD_BYTES;

    s->packs = malloc((s->pack_count + (size_t)1) * sizeof *s->packs);
    if (!s->packs)
        return error_set(e, NO_SPACE, "out of memory");
    for (uint32_t i = 0; i < s->pack_count; i++, line += PACK_LINE) {
        char name[PACK_NAME];

        hex_put(name, line, 16);
        s->packs[i] = number(arg, name, take32(line + 16));
    }
    return OK;
}

static int map_file(struct segment *s, int dirfd, const char *name, struct error *e)
{
    AUTO_CLOSE int fd = -1;
    uint64_t bytes;

    if (open_in(dirfd, name, O_RDONLY, &fd, e) < 0 || file_size(fd, name, &bytes, e) < 0)
        return e->status;
    if (bytes < HEAD_BYTES + ID_BYTES)
        return error_set(e, DAMAGED, "it is too short");
    if (check_sum(fd, bytes, e) < 0)
        return e->status;
    s->map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (s->map == MAP_FAILED) {
        s->map = NULL;
        return error_errno(e, "map");
    }
    s->map_bytes = bytes;
    return OK;
}

int segment_map(struct segment *s, int dirfd, const char *name, segment_pack_number number,
                void *arg, struct error *e)
{
    uint64_t entries = 0;

    *s = (struct segment){.name = strdup(name)};
    if (!s->name)
        error_set(e, NO_SPACE, "out of memory");
    else if (map_file(s, dirfd, name, e) == OK &&
             check_segment(s->map, s->map_bytes, &s->pack_count, &entries, e) == OK &&
             take_packs(s, number, arg, e) == OK) {
        s->entries = (const void *)((const uint8_t *)s->map + HEAD_BYTES +
                                    (size_t)s->pack_count * PACK_LINE);
        s->count = entries;
        return OK;
    }
    segment_unmap(s);
    return e->status;
}

void segment_unmap(struct segment *s)
{
    if (s->map)
        munmap(s->map, s->map_bytes);
    free(s->packs);
    free(s->name);
    *s = (struct segment){0};
}

struct location entry_location(const struct entry *entry)
{
    return (struct location){
        .pack = entry->pack,
        .offset = entry->offset,
        .stored_bytes = entry->stored_bytes & ~ENTRY_PATCH,
        .patch = entry->stored_bytes & ENTRY_PATCH,
    };
}

/* From the file to memory's. The number of a pack is not trusted. */
static struct entry take_entry(const struct segment *s, const struct entry *from)
{
    struct entry to = *from;

    to.pack = le32toh(from->pack);
    to.pack = to.pack < s->pack_count ? s->packs[to.pack] : SEGMENT_PACK_GONE;
    to.offset = le32toh(from->offset);
    to.stored_bytes = le32toh(from->stored_bytes);
    return to;
}

/* The first entry that is not before `prefix`. */
static size_t lower_bound(const struct segment *s, const uint8_t prefix[PREFIX_BYTES])
{
    size_t low = 0, high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (memcmp(s->entries[middle].prefix, prefix, PREFIX_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool segment_find(const struct segment *s, const uint8_t prefix[PREFIX_BYTES],
                  struct location *where)
{
    bool found = false;

    for (size_t i = lower_bound(s, prefix);
         i < s->count && memcmp(s->entries[i].prefix, prefix, PREFIX_BYTES) == 0; i++) {
        struct entry entry = take_entry(s, &s->entries[i]);

        if (entry.pack == SEGMENT_PACK_GONE)
            continue;
        *where = entry_location(&entry);
        found = true;
        if (!where->patch)
            break;
    }
    return found;
}

/* ---- writing ---- */

struct writer {
    int fd;
    EVP_MD_CTX *sum;
    uint8_t buffer[64 << 10];
    size_t buffered_bytes;
};

static int flush(struct writer *w, struct error *e)
{
    if (write_full(w->fd, w->buffer, w->buffered_bytes) < 0)
        return error_errno(e, "index: write");
    EVP_DigestUpdate(w->sum, w->buffer, w->buffered_bytes);
    w->buffered_bytes = 0;
    return OK;
}

static int put(struct writer *w, const void *data, size_t bytes, struct error *e)
{
    if (w->buffered_bytes + bytes > sizeof w->buffer && flush(w, e) < 0)
        return e->status;
    memcpy(w->buffer + w->buffered_bytes, data, bytes);
    w->buffered_bytes += bytes;
    return OK;
}

static int put_head(struct writer *w, uint32_t packs, uint64_t entries, struct error *e)
{
    uint8_t head[HEAD_BYTES] = {0};
    uint32_t version = htole32(VERSION);

    packs = htole32(packs);
    entries = htole64(entries);
    memcpy(head, magic, sizeof magic);
    memcpy(head + 16, &version, 4);
    memcpy(head + 20, &packs, 4);
    memcpy(head + 24, &entries, 8);
    return put(w, head, sizeof head, e);
}

static int put_pack(struct writer *w, const struct index_pack *pack, struct error *e)
{
    uint8_t line[PACK_LINE];
    uint32_t bytes = htole32((uint32_t)pack->bytes);

    hex_take(line, 16, pack->name);
    memcpy(line + 16, &bytes, 4);
    return put(w, line, sizeof line, e);
}

/* The next entry of all sources, as in memory; false at the end. */
static bool next_entry(struct segment_source *sources, size_t count, struct entry *out)
{
    struct segment_source *first = NULL;

    for (size_t i = 0; i < count; i++)
        if (sources[i].at < sources[i].end &&
            (!first || memcmp(sources[i].at->prefix, first->at->prefix, PREFIX_BYTES) < 0))
            first = &sources[i];
    if (!first)
        return false;
    *out = first->segment ? take_entry(first->segment, first->at) : *first->at;
    first->at++;
    return true;
}

/* What is merged, and what of it there is. */
struct merge {
    const struct segment_source *sources;
    size_t source_count;
    const struct index_pack *packs;
    size_t pack_count;
    uint32_t *numbers; /* of the packs, in the file; UINT32_MAX: not there */
    uint32_t used;     /* of them */
    uint64_t entries;
};

/* Go through all entries whose pack is there: count them, or write them. */
static int run_merge(struct merge *m, struct writer *w, struct error *e)
{
    struct segment_source sources[SOURCES_MAX];
    struct entry entry;

    memcpy(sources, m->sources, m->source_count * sizeof *sources);
    while (next_entry(sources, m->source_count, &entry)) {
        if (entry.pack >= m->pack_count)
            continue;
        if (!w) {
            if (m->numbers[entry.pack] == UINT32_MAX)
                m->numbers[entry.pack] = m->used++;
            m->entries++;
            continue;
        }
        entry.pack = htole32(m->numbers[entry.pack]);
        entry.offset = htole32(entry.offset);
        entry.stored_bytes = htole32(entry.stored_bytes);
        if (put(w, &entry, sizeof entry, e) < 0)
            return e->status;
    }
    return OK;
}

static int put_packs(const struct merge *m, struct writer *w, struct error *e)
{
    AUTO_FREE const struct index_pack **by_number = calloc(m->used + (size_t)1, sizeof *by_number);

    if (!by_number)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < m->pack_count; i++)
        if (m->numbers[i] != UINT32_MAX)
            by_number[m->numbers[i]] = &m->packs[i];
    for (uint32_t n = 0; n < m->used; n++)
        if (put_pack(w, by_number[n], e) < 0)
            return e->status;
    return OK;
}

static int write_file(struct merge *m, struct writer *w, struct error *e)
{
    uint8_t sum[ID_BYTES];

    run_merge(m, NULL, e);
    if (put_head(w, m->used, m->entries, e) < 0 || put_packs(m, w, e) < 0 ||
        run_merge(m, w, e) < 0 || flush(w, e) < 0)
        return e->status;
    EVP_DigestFinal_ex(w->sum, sum, NULL);
    return write_full(w->fd, sum, sizeof sum) < 0 ? error_errno(e, "index: write") : OK;
}

static int write_part(struct merge *m, int dirfd, const char *part, struct error *e)
{
    AUTO_FREE struct writer *w = calloc(1, sizeof *w);
    int rc;

    if (!w)
        return error_set(e, NO_SPACE, "out of memory");
    w->fd = openat(dirfd, part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (w->fd < 0)
        return error_errno(e, "index: create");
    w->sum = EVP_MD_CTX_new();
    if (w->sum && EVP_DigestInit_ex(w->sum, EVP_sha256(), NULL))
        rc = write_file(m, w, e);
    else
        rc = error_set(e, FAILED, "SHA-256 is not to be had from libcrypto");
    EVP_MD_CTX_free(w->sum);
    close(w->fd);
    return rc;
}

int segment_write(int dirfd, const struct segment_source *sources, size_t count,
                  const struct index_pack *packs, size_t pack_count, char **name, struct error *e)
{
    AUTO_FREE uint32_t *numbers = malloc((pack_count + 1) * sizeof *numbers);
    struct merge m = {sources, count, packs, pack_count, numbers, 0, 0};
    AUTO_FREE char *part = NULL, *whole = NULL;
    uint64_t random;

    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return error_errno(e, "random number");
    whole = format_text("%016llx.idx", (unsigned long long)random);
    part = format_text(".%016llx.idx", (unsigned long long)random);
    if (!numbers || !whole || !part)
        return error_set(e, NO_SPACE, "out of memory");
    memset(numbers, 0xff, pack_count * sizeof *numbers);
    if (write_part(&m, dirfd, part, e) == OK) {
        if (FAULT("index-written", e) == OK && renameat(dirfd, part, dirfd, whole) == 0) {
            *name = whole;
            whole = NULL;
            return OK;
        }
        error_errno(e, "index: rename");
    }
    unlinkat(dirfd, part, 0);
    return e->status;
}
