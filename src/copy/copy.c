/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

/* Read at once: large enough for a cold disk, small enough to stay in the L2 cache until it is
 * written. */
#define BLOCK_BYTES (1u << 20)

/* Zeros are found in units of this: the smallest that saves space in a file system, and that keeps
 * runs of data whole. */
#define GRAIN_BYTES (64u << 10)

/* Any alignment that O_DIRECT may ask for. */
#define ALIGNMENT 4096

static const char zeros[GRAIN_BYTES];

static bool is_zero(const char *p, size_t len)
{
    return memcmp(p, zeros, len) == 0;
}

/* Where the source has data next, at or after `offset`; its size if nowhere. Block devices and file
 * systems that can't say have data everywhere. */
static uint64_t next_data(const struct copy *c, uint64_t offset)
{
    off_t data = lseek(c->source, (off_t)offset, SEEK_DATA);

    if (data < 0)
        return errno == ENXIO ? c->size_bytes : offset;
    if ((uint64_t)data > c->size_bytes)
        return c->size_bytes;
    return (uint64_t)data / GRAIN_BYTES * GRAIN_BYTES;
}

int copy_zeros(int target, const char *name, uint64_t offset, uint64_t bytes, struct error *e)
{
    /* Gives the space back, and is one command for a block device. */
    if (bytes == 0 || fallocate(target, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                                (off_t)bytes) == 0)
        return OK;
    for (uint64_t done = 0; done < bytes;) {
        size_t n = bytes - done < GRAIN_BYTES ? bytes - done : GRAIN_BYTES;

        if (pwrite_full(target, zeros, n, offset + done) < 0)
            return error_errno(e, "%s: write", name);
        done += n;
    }
    return OK;
}

static int put_zeros(const struct copy *c, uint64_t offset, uint64_t len, struct error *e)
{
    if (c->kind != COPY_OVER_OLD)
        return OK;
    return copy_zeros(c->target, c->target_name, offset, len, e);
}

static int put_block(const struct copy *c, const char *block, uint64_t offset, size_t len,
                     struct error *e)
{
    /* Runs of grains that are all zero, or all not, are written at once. */
    for (size_t begin = 0, end; begin < len; begin = end) {
        size_t n = len - begin < GRAIN_BYTES ? len - begin : GRAIN_BYTES;
        bool zero = is_zero(block + begin, n);

        for (end = begin + n; end < len; end += n) {
            n = len - end < GRAIN_BYTES ? len - end : GRAIN_BYTES;
            if (is_zero(block + end, n) != zero)
                break;
        }
        if (zero) {
            if (put_zeros(c, offset + begin, end - begin, e) < 0)
                return e->status;
        } else if (pwrite_full(c->target, block + begin, end - begin, offset + begin) < 0) {
            return error_errno(e, "%s: write", c->target_name);
        }
    }
    return OK;
}

static int skip_hole(const struct copy *c, struct sha256 *sum, uint64_t from, uint64_t to,
                     const atomic_bool *stop, struct error *e)
{
    for (uint64_t left = to - from; left;) {
        size_t n = left < sizeof zeros ? left : sizeof zeros;

        if (left % BLOCK_BYTES == 0 && team_check(stop, e) < 0)
            return e->status;
        sha256_update(sum, zeros, n);
        left -= n;
    }
    progress_add(c->progress, to - from);
    return put_zeros(c, from, to - from, e);
}

static int copy_blocks(struct copy *c, char *block, struct sha256 *sum, const atomic_bool *stop,
                       struct error *e)
{
    for (uint64_t offset = 0; offset < c->size_bytes;) {
        uint64_t data = next_data(c, offset), left;
        size_t n;

        if (team_check(stop, e) < 0 ||
            (data > offset && skip_hole(c, sum, offset, data, stop, e) < 0))
            return e->status;
        offset = data;
        left = c->size_bytes - offset;
        n = left < BLOCK_BYTES ? left : BLOCK_BYTES;
        if (n == 0)
            break;
        if (pread_full(c->source, block, n, offset) < 0)
            return error_errno(e, "%s: read", c->source_name);
        sha256_update(sum, block, n);
        if (c->kind != COPY_TO_NOTHING && put_block(c, block, offset, n, e) < 0)
            return e->status;
        progress_add(c->progress, n);
        offset += n;
        atomic_store_explicit(&c->position, offset, memory_order_relaxed);
    }
    return OK;
}

static int copy_one(void *part, const atomic_bool *stop, struct error *e)
{
    struct copy *c = part;
    AUTO_FREE char *block = aligned_alloc(ALIGNMENT, BLOCK_BYTES);
    struct sha256 *sum = NULL;
    int rc;

    if (!block)
        return error_errno(e, "memory for a block");
    if (c->kind == COPY_TO_NEW && ftruncate(c->target, (off_t)c->size_bytes) < 0)
        return error_errno(e, "%s: set its size", c->target_name);
    if (sha256_new(&sum, e) < 0)
        return e->status;
    rc = copy_blocks(c, block, sum, stop, e);
    if (rc == OK)
        sha256_final(sum, c->sha256);
    sha256_free(sum);
    if (rc < 0)
        return rc;
    if (c->kind != COPY_TO_NOTHING && fsync(c->target) < 0)
        return error_errno(e, "%s: make it durable", c->target_name);
    return OK;
}

int copy_all(struct copy *copies, size_t count, team_watch watch, void *arg, struct error *e)
{
    return team_run(copy_one, copies, count, sizeof *copies, watch, arg, e);
}
