/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "repo/segment_private.h"

/* Written at once. */
#define WRITE_BLOCKS 64u

struct segment_writer {
    struct segment *segment; /* what it is to be */
    uint8_t repository[32];
    char *temporary;
    int dirfd;
    uint8_t *buffer;
    size_t buffered;  /* blocks that are full */
    size_t in_block;  /* entries of the one after them */
    uint64_t written; /* blocks before */
    uint64_t fence_room;
    uint8_t before[PREFIX_BYTES];
};

static int name_segment(struct segment_writer *w, struct error *e)
{
    uint64_t random[2];
    struct segment *s = w->segment;

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return error_errno(e, "random number");
    free(s->name);
    free(w->temporary);
    memcpy(s->random, &random[0], sizeof s->random);
    s->name = format_text("%016llx.idx", (unsigned long long)random[1]);
    w->temporary = format_text(".%016llx.idx.new", (unsigned long long)random[1]);
    return s->name && w->temporary ? OK : error_out_of_memory(e);
}

/* It is locked as long as it is written: who gets the lock knows that its writer is dead. Before it
 * is, others may take it for a dead one's, and lock and remove it: then another name is taken. */
static int make_temporary(struct segment_writer *w, struct error *e)
{
    struct segment *s = w->segment;
    struct stat st;

    for (int i = 0; i < 8; i++) {
        if (name_segment(w, e) < 0)
            return e->status;
        s->fd = openat(w->dirfd, w->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                       0600);
        if (s->fd < 0)
            return error_errno(e, "index: create");
        /* What knows no locks does without. */
        if ((flock(s->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) &&
            fstat(s->fd, &st) == 0 && st.st_nlink)
            return OK;
        close(s->fd);
        s->fd = -1;
    }
    return error_set(e, FAILED, "index: the file is removed again and again");
}

int segment_writer_new(struct segment_writer **out, int dirfd, const uint8_t repository[static 32],
                       struct segment_pack *packs, uint32_t pack_count, struct error *e)
{
    struct segment_writer *w = calloc(1, sizeof *w);
    struct segment *s = calloc(1, sizeof *s);

    if (!w || !s) {
        free(w);
        free(s);
        free(packs);
        return error_out_of_memory(e);
    }
    s->fd = -1;
    atomic_init(&s->holders, 1);
    s->packs = packs;
    s->pack_count = pack_count;
    for (uint32_t i = 0; i < pack_count; i++)
        packs[i].entries = 0;
    w->segment = s;
    w->dirfd = dirfd;
    memcpy(w->repository, repository, sizeof w->repository);
    w->buffer = calloc(WRITE_BLOCKS, BLOCK_BYTES);
    if (!w->buffer) {
        error_out_of_memory(e);
    } else if (make_temporary(w, e) == OK) {
        *out = w;
        return OK;
    }
    segment_writer_discard(w);
    return e->status;
}

static int flush(struct segment_writer *w, struct error *e)
{
    if (pwrite_full(w->segment->fd, w->buffer, w->buffered * BLOCK_BYTES,
                    (w->written + 1) * BLOCK_BYTES) < 0)
        return error_errno(e, "index: write");
    w->written += w->buffered;
    w->buffered = 0;
    memset(w->buffer, 0, WRITE_BLOCKS * (size_t)BLOCK_BYTES);
    return OK;
}

static int close_block(struct segment_writer *w, struct error *e)
{
    uint8_t *block = w->buffer + w->buffered * BLOCK_BYTES, sum[SUM_BYTES];

    if (segment_sum_block(w->segment->random, w->written + w->buffered, block, sum, e) < 0)
        return e->status;
    memcpy(block + BLOCK_SUM_AT, sum, 8);
    w->buffered++;
    w->in_block = 0;
    return w->buffered < WRITE_BLOCKS ? OK : flush(w, e);
}

static int add_fence(struct segment_writer *w, const uint8_t *prefix, struct error *e)
{
    struct segment *s = w->segment;
    uint64_t *fences;

    if (s->blocks == w->fence_room) {
        w->fence_room = w->fence_room ? 2 * w->fence_room : 64;
        fences = realloc(s->fences, w->fence_room * sizeof *fences);
        if (!fences)
            return error_out_of_memory(e);
        s->fences = fences;
    }
    s->fences[s->blocks++] = fence_of(prefix);
    return OK;
}

int segment_writer_put(struct segment_writer *w, const struct entry *entry, uint32_t pack,
                       struct error *e)
{
    struct segment *s = w->segment;
    uint8_t *to = w->buffer + w->buffered * BLOCK_BYTES + w->in_block * ENTRY_BYTES;

    if (pack >= s->pack_count || memcmp(w->before, entry->prefix, PREFIX_BYTES) > 0)
        return error_set(e, FAILED, "index: entries are not in order");
    if (w->in_block == 0 && add_fence(w, entry->prefix, e) < 0)
        return e->status;
    memcpy(w->before, entry->prefix, PREFIX_BYTES);
    memcpy(to, entry->prefix, PREFIX_BYTES);
    memcpy(to + 20, entry->base, PREFIX_BYTES);
    put32(to + 40, pack);
    put32(to + 44, entry->offset);
    put32(to + 48, entry->stored_bytes);
    s->packs[pack].entries++;
    s->entries++;
    return ++w->in_block < BLOCK_ENTRIES ? OK : close_block(w, e);
}

static void put_rest(const struct segment *s, uint8_t *to)
{
    for (uint32_t i = 0; i < s->pack_count; i++, to += PACK_LINE) {
        const struct segment_pack *p = &s->packs[i];

        memcpy(to, p->name.run, sizeof p->name.run);
        memcpy(to + 8, p->name.sum, sizeof p->name.sum);
        put64(to + 40, p->bytes);
        put32(to + 48, p->entries);
    }
    for (uint64_t i = 0; i < s->blocks; i++, to += FENCE_BYTES) {
        uint64_t fence = htobe64(s->fences[i]);

        memcpy(to, &fence, sizeof fence);
    }
}

static int put_head(const struct segment_writer *w, const uint8_t *rest_sum, struct error *e)
{
    const struct segment *s = w->segment;
    uint8_t head[BLOCK_BYTES] = {0};

    memcpy(head, segment_magic, sizeof segment_magic);
    put32(head + 16, SEGMENT_VERSION);
    put32(head + 20, s->pack_count);
    put64(head + 24, s->entries);
    memcpy(head + 32, s->random, sizeof s->random);
    memcpy(head + 40, w->repository, sizeof w->repository);
    memcpy(head + 72, rest_sum, SUM_BYTES);
    if (segment_sum(head, HEAD_SUM_AT, head + HEAD_SUM_AT, e) < 0)
        return e->status;
    return pwrite_full(s->fd, head, sizeof head, 0) < 0 ? error_errno(e, "index: write") : OK;
}

static int put_all_but_blocks(struct segment_writer *w, struct error *e)
{
    const struct segment *s = w->segment;
    AUTO_FREE uint8_t *rest = malloc(rest_bytes(s) + 1);
    uint8_t sum[SUM_BYTES];

    if (!rest)
        return error_out_of_memory(e);
    put_rest(s, rest);
    if (segment_sum(rest, rest_bytes(s), sum, e) < 0)
        return e->status;
    if (pwrite_full(s->fd, rest, rest_bytes(s), (s->blocks + 1) * BLOCK_BYTES) < 0)
        return error_errno(e, "index: write");
    return put_head(w, sum, e);
}

static int write_all(struct segment_writer *w, enum segment_care care, struct error *e)
{
    struct segment *s = w->segment;

    if ((w->in_block && close_block(w, e) < 0) || flush(w, e) < 0 || put_all_but_blocks(w, e) < 0)
        return e->status;
    if (care == SEGMENT_DURABLE && fdatasync(s->fd) < 0)
        return error_errno(e, "index: make it durable");
    if (FAULT("index-written", e) < 0)
        return e->status;
    if (renameat(w->dirfd, w->temporary, w->dirfd, s->name) < 0 ||
        (care == SEGMENT_DURABLE && fsync(w->dirfd) < 0))
        return error_errno(e, "index: rename");
    return OK;
}

int segment_writer_finish(struct segment_writer *w, enum segment_care care, struct segment **out,
                          struct error *e)
{
    struct segment *s = w->segment;
    int rc = write_all(w, care, e);

    if (rc == OK) {
        (void)!flock(s->fd, LOCK_UN);
        posix_fadvise(s->fd, 0, 0, POSIX_FADV_RANDOM);
        if (s->blocks > CACHED_BLOCKS)
            posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED);
        s->wanted = s->entries;
        *out = segment_hold(s);
    }
    segment_writer_discard(w);
    return rc;
}

void segment_writer_discard(struct segment_writer *w)
{
    if (!w)
        return;
    /* After it was renamed there is nothing of that name. */
    if (w->temporary && w->segment->fd >= 0)
        unlinkat(w->dirfd, w->temporary, 0);
    segment_release(w->segment);
    free(w->temporary);
    free(w->buffer);
    free(w);
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t len = strlen(name), suffix_len = strlen(suffix);

    return len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

bool segment_is_temporary(const char *file)
{
    return *file == '.' && has_suffix(file, ".idx.new");
}

bool segment_is_whole(const char *file)
{
    return *file != '.' && has_suffix(file, ".idx");
}

void segment_remove_dead(int dirfd, const char *file)
{
    AUTO_CLOSE int fd = -1;
    struct error ignored;

    if (open_in(dirfd, file, O_RDONLY, &fd, &ignored) == OK && flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlinkat(dirfd, file, 0);
}
