/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What segment.c, which reads, and segment_write.c share: the layout, which segment.h tells. */
#ifndef REPO_SEGMENT_PRIVATE_H
#define REPO_SEGMENT_PRIVATE_H

#include <endian.h>
#include <string.h>

#include "base/bytes.h"
#include "repo/segment.h"

#define SEGMENT_VERSION 3

extern const uint8_t segment_magic[16];

#define BLOCK_BYTES   4096u
#define SUM_BYTES     32u
#define HEAD_SUM_AT   (BLOCK_BYTES - SUM_BYTES)
#define ENTRY_BYTES   52u
#define BLOCK_ENTRIES 78u
#define BLOCK_SUM_AT  (BLOCK_BYTES - 8)
#define PACK_LINE     52u
#define FENCE_BYTES   8u

/* Of larger files, what was read from front to back is not worth the page cache it fills. */
#define CACHED_BLOCKS (32u << 20 >> 12)

_Static_assert(BLOCK_ENTRIES *ENTRY_BYTES <= BLOCK_SUM_AT, "entries fit into a block");

/* Fences compare as numbers. */
static inline uint64_t fence_of(const uint8_t *prefix)
{
    uint64_t n;

    memcpy(&n, prefix, sizeof n);
    return be64toh(n);
}

/* Of packs and fences. */
static inline size_t rest_bytes(const struct segment *s)
{
    return (size_t)s->pack_count * PACK_LINE + (size_t)s->blocks * FENCE_BYTES;
}

int segment_sum(const uint8_t *data, size_t bytes, uint8_t sum[static SUM_BYTES], struct error *e);

/* The file and the place go into it, so that no other block can stand there. */
int segment_sum_block(const uint8_t random[static 8], uint64_t number, const uint8_t *block,
                      uint8_t sum[static SUM_BYTES], struct error *e);

#endif
