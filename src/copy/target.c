/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy/target.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

/* Zeros are found in units of this: the smallest that saves space in a file system, and that keeps
 * runs of data whole. */
#define GRAIN_BYTES (64u << 10)

static const char zeros[GRAIN_BYTES];

int target_begin(const struct target *t, uint64_t bytes, struct error *e)
{
    if (t->kind == TARGET_NEW && ftruncate(t->fd, (off_t)bytes) < 0)
        return error_errno(e, "%s: set its size", t->name);
    return OK;
}

int target_put_zeros(const struct target *t, uint64_t offset, uint64_t bytes, struct error *e)
{
    /* Gives the space back, and is one command for a block device. */
    if (t->kind != TARGET_OLD || bytes == 0 ||
        fallocate(t->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes) ==
            0)
        return OK;
    for (uint64_t done = 0; done < bytes;) {
        size_t n = bytes - done < GRAIN_BYTES ? bytes - done : GRAIN_BYTES;

        if (pwrite_full(t->fd, zeros, n, offset + done) < 0)
            return error_errno(e, "%s: write", t->name);
        done += n;
    }
    return OK;
}

/* Whether the grain at `at` is all zeros, and where it ends. */
static bool zero_grain(const char *data, size_t at, size_t bytes, size_t *end)
{
    size_t n = bytes - at < GRAIN_BYTES ? bytes - at : GRAIN_BYTES;

    *end = at + n;
    return memcmp(data + at, zeros, n) == 0;
}

int target_put(const struct target *t, uint64_t offset, const void *data, size_t bytes,
               struct error *e)
{
    if (t->kind == TARGET_NONE)
        return OK;
    /* Runs of grains that are all zero, or all not, are written at once. */
    for (size_t begin = 0, end, next; begin < bytes; begin = end) {
        bool zero = zero_grain(data, begin, bytes, &end);

        while (end < bytes && zero_grain(data, end, bytes, &next) == zero)
            end = next;
        if (zero) {
            if (target_put_zeros(t, offset + begin, end - begin, e) < 0)
                return e->status;
        } else if (pwrite_full(t->fd, (const char *)data + begin, end - begin, offset + begin) <
                   0) {
            return error_errno(e, "%s: write", t->name);
        }
    }
    return OK;
}

int target_end(const struct target *t, struct error *e)
{
    if (t->kind != TARGET_NONE && fsync(t->fd) < 0)
        return error_errno(e, "%s: make it durable", t->name);
    return OK;
}
