/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file of the index (index/NAME.idx): sorted entries of where records are, mapped, never changed.
 *
 *     0   16      "domsnap index"
 *     16   4      version, 2
 *     20   4      packs, P
 *     24   8      entries, N
 *     32  20 × P  a pack's name (16), its length (4)
 *     …   32 × N  the first 20 bytes of an id, pack (4, which of P), offset (4), stored bytes (4),
 *                 with ENTRY_PATCH if it is a patch; sorted
 *     …       32  SHA-256 of all before
 *
 * 20 of an id's 32 bytes: nobody finds two chunks with the same (2^80 tries), and each record is
 * held against its whole id whenever it is read.
 */
#ifndef REPO_SEGMENT_H
#define REPO_SEGMENT_H

#include "repo/pack.h"

#define PREFIX_BYTES 20

/* As it stands in the file, and in memory for what is not in one: there with native numbers. */
struct entry {
    uint8_t prefix[PREFIX_BYTES];
    uint32_t pack, offset, stored_bytes;
};

#define ENTRY_PATCH (UINT32_C(1) << 31)
_Static_assert(sizeof(struct entry) == 32, "as in the file");

struct location {
    uint32_t pack;
    uint32_t offset; /* of the record's head */
    uint32_t stored_bytes;
    bool patch; /* on another record, which is whole */
};

/* Of an entry in memory. */
struct location entry_location(const struct entry *entry);

struct index_pack {
    char name[PACK_NAME];
    uint64_t bytes;
    int fd;       /* -1: not opened yet */
    bool indexed; /* in a segment */
};

struct segment {
    char *name;
    void *map;
    size_t map_bytes;
    const struct entry *entries;
    size_t count;
    uint32_t *packs; /* the file's numbers of packs to the index's; SEGMENT_PACK_GONE */
    uint32_t pack_count;
};

#define SEGMENT_PACK_GONE UINT32_MAX

/* What the index calls a pack; SEGMENT_PACK_GONE if it does not know it, with this length. */
typedef uint32_t (*segment_pack_number)(void *arg, const char *name, uint64_t bytes);

/* Map a file and check all of it. */
int segment_map(struct segment *s, int dirfd, const char *name, segment_pack_number number,
                void *arg, struct error *e);
void segment_unmap(struct segment *s); /* an all-zero segment is fine */

/* Of several records of one id, one that is whole rather than a patch. */
bool segment_find(const struct segment *s, const uint8_t prefix[PREFIX_BYTES],
                  struct location *where);

/* One of the sorted lists that a new file is merged from. */
struct segment_source {
    const struct entry *at, *end;
    const struct segment *segment; /* whose entries they are; NULL: memory's */
};

/* Merge `sources` into a new file, under a name of its own, to free(). Entries whose pack is not
 * one of `packs` are left out. */
int segment_write(int dirfd, const struct segment_source *sources, size_t count,
                  const struct index_pack *packs, size_t pack_count, char **name, struct error *e);

#endif
