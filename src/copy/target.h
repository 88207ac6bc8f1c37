/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the bytes of an image go to, a file or a block device: past the page cache, where that can
 * be. Zeros are not written. */
#ifndef COPY_TARGET_H
#define COPY_TARGET_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum target_kind {
    TARGET_NONE, /* only the names are wanted */
    TARGET_NEW,  /* reads as zeros: an empty file */
    TARGET_OLD   /* has other content, which zeros must replace */
};

struct target {
    int fd; /* borrowed; not looked at for TARGET_NONE */
    enum target_kind kind;
    const char *name; /* for messages */
};

/* Give a new one its length. */
int target_begin(const struct target *t, uint64_t bytes, struct error *e);

/* So much will be written there: a new file finds its blocks at once, not with each write. */
void target_reserve(const struct target *t, uint64_t offset, uint64_t bytes);

/* Write a part, whose memory is aligned to 4096 bytes, as is its offset; or zeros, by one command
 * where that is possible. By any thread. */
int target_put(const struct target *t, uint64_t offset, const void *data, size_t bytes,
               struct error *e);
int target_put_zeros(const struct target *t, uint64_t offset, uint64_t bytes, struct error *e);

/* Make it durable. */
int target_end(const struct target *t, struct error *e);

#endif
