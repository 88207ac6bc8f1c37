/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file of the index (NAME.idx): sorted entries of where pieces are, never changed. It is neither
 * mapped nor read whole: what leads to its blocks is read when it is opened, and one block, or two,
 * for each name that is looked up.
 *
 *     0            the head:
 *         0    16     "domsnap index"
 *        16     4     version, 3
 *        20     4     packs, P
 *        24     8     entries, N
 *        32     8     a random number, which goes into the sums of all blocks
 *        40    32     SHA-256 of the repository's id
 *        72    32     SHA-256 of packs and fences
 *      4064    32     SHA-256 of all before
 *     4096  4096 × B  blocks of 78 entries, B = N / 78, rounded up:
 *         0    52     an entry: prefix (20), its base's (20), pack (4, which of P), offset (4),
 *                     stored bytes (4), with ENTRY_PATCH if it is a patch
 *      4088     8     SHA-256 of random number, the block's number (8), and all before; begins so
 *     …       52 × P  packs: run (8), sum (32), length (8), entries of it (4); sorted
 *     …        8 × B  fences: how each block's first prefix begins
 *
 * All that is reserved is zero, all numbers are little-endian.
 */
#ifndef REPO_SEGMENT_H
#define REPO_SEGMENT_H

#include <stdatomic.h>

#include "repo/format.h"
#include "repo/view.h"

/* ---- entries ---- */

struct entry {
    uint8_t prefix[PREFIX_BYTES];
    uint8_t base[PREFIX_BYTES]; /* zeros unless it is a patch */
    uint32_t pack;              /* the index's number of it */
    uint32_t offset;            /* of the piece's head */
    uint32_t stored_bytes;      /* with ENTRY_PATCH */
};

#define ENTRY_PATCH (UINT32_C(1) << 31)

/* Whether a pack of that length can hold it. */
bool entry_is_possible(const struct entry *entry, uint64_t pack_bytes);

/* Told of an entry, valid during the call. */
typedef void (*entry_sink)(void *arg, const struct entry *entry);

/* ---- reading: by any number of threads ---- */

/* A pack that a segment covers: all of its pieces are in it. */
struct segment_pack {
    struct pack_name name;
    uint64_t bytes;
    uint32_t entries;
    uint32_t number; /* the index's; SEGMENT_PACK_NONE: it is not taken from here, nor told of */
};

#define SEGMENT_PACK_NONE UINT32_MAX

struct segment {
    char *name;
    int fd;
    atomic_uint holders;
    uint8_t random[8];
    uint64_t entries, blocks;
    uint64_t *fences;           /* as numbers that compare as the prefixes do */
    struct segment_pack *packs; /* sorted by name */
    uint32_t pack_count;
    uint64_t wanted; /* entries of packs that are taken from here */
};

/* Its packs have no numbers yet, whoever opens it sets them and `wanted`. NOT_FOUND: it is gone.
 * UNSUPPORTED: it is another repository's. DAMAGED: it is of no use. To be released. */
int segment_open(struct segment **s, int dirfd, const char *name,
                 const uint8_t repository[static 32], struct error *e);

/* A segment is closed once all have released it. */
struct segment *segment_hold(struct segment *s);
void segment_release(struct segment *s); /* NULL is fine */

/* Tell of all entries of a prefix. */
int segment_find(const struct segment *s, const uint8_t prefix[static PREFIX_BYTES],
                 entry_sink found, void *arg, struct error *e);

struct segment_cursor;

/* All entries from front to back, by reads of `buffer_bytes`. Holds the segment. */
int segment_cursor_new(struct segment_cursor **c, struct segment *s, size_t buffer_bytes,
                       struct error *e);
void segment_cursor_free(struct segment_cursor *c); /* NULL is fine */

/* 1: the next one, 0: there is none; or negative. */
int segment_cursor_next(struct segment_cursor *c, struct entry *entry, struct error *e);

/* ---- writing ---- */

struct segment_writer;

/* `packs`, sorted, are the segment's from here on, on failure too; its numbers are the index's. */
int segment_writer_new(struct segment_writer **w, int dirfd, const uint8_t repository[static 32],
                       struct segment_pack *packs, uint32_t pack_count, struct error *e);

/* In the order of their prefixes. `pack`: which of the packs; entry->pack is not looked at. */
int segment_writer_put(struct segment_writer *w, const struct entry *entry, uint32_t pack,
                       struct error *e);

/* A file that takes the place of others should be durable before they go. Any other that a power
 * cut takes is missed by nobody, and damage that it may leave is found. */
enum segment_care { SEGMENT_LOOSE, SEGMENT_DURABLE };

/* Give it a name of its own, and open it. Frees the writer, on failure too. */
int segment_writer_finish(struct segment_writer *w, enum segment_care care, struct segment **s,
                          struct error *e);
void segment_writer_discard(struct segment_writer *w); /* NULL is fine */

/* Names of files that are being written, and of those that are whole. */
bool segment_is_temporary(const char *file);
bool segment_is_whole(const char *file);

/* Remove one that was being written by a process that died. */
void segment_remove_dead(int dirfd, const char *file);

#endif
