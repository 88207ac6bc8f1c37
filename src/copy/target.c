/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy/target.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"

/* Zeros are found in units of this: the smallest that saves space in a file system, and that keeps
 * runs of data whole. */
#define GRAIN_BYTES (64u << 10)

/* Any that O_DIRECT may ask for. */
#define ALIGNMENT 4096

static const char zeros[GRAIN_BYTES] __attribute__((aligned(ALIGNMENT)));

/* What can't go past the page cache does without. */
static void set_direct(const struct target *t, bool direct)
{
    int flags = fcntl(t->fd, F_GETFL);

    fcntl(t->fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT);
}

int target_begin(const struct target *t, uint64_t bytes, struct error *e)
{
    if (t->kind == TARGET_NONE)
        return OK;
    if (t->kind == TARGET_NEW && ftruncate(t->fd, (off_t)bytes) < 0)
        return error_errno(e, "%s: set its size", t->name);
    set_direct(t, true);
    return OK;
}

void target_reserve(const struct target *t, uint64_t offset, uint64_t bytes)
{
    /* What can't do it does without. */
    if (t->kind == TARGET_NEW)
        (void)!fallocate(t->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes);
}

static int write_data(const struct target *t, const char *data, uint64_t offset, size_t bytes,
                      struct error *e)
{
    /* The odd end of a file, which is the last of it, or nearly. */
    if (bytes % ALIGNMENT)
        set_direct(t, false);
    return pwrite_full(t->fd, data, bytes, offset) < 0 || FAULT("target-written", e) < 0
               ? error_errno(e, "%s: write", t->name)
               : OK;
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

        if (write_data(t, zeros, offset + done, n, e) < 0)
            return e->status;
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
        } else if (write_data(t, (const char *)data + begin, offset + begin, end - begin, e) < 0) {
            return e->status;
        }
    }
    return OK;
}

int target_end(const struct target *t, struct error *e)
{
    if (t->kind == TARGET_NONE)
        return OK;
    set_direct(t, false);
    return fsync(t->fd) < 0 || FAULT("target-durable", e) < 0
               ? error_errno(e, "%s: make it durable", t->name)
               : OK;
}
