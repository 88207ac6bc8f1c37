/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of packs, as docs/domsnap-repository.5 specifies them; this is the one place where they
 * are turned into structures and back. All numbers are little-endian, all structures packed.
 * Nothing that is read is trusted: each function that takes bytes says DAMAGED, and why, unless
 * every field is one that domsnap writes. A newer kind of pack or piece would be required by the
 * config: what seems to be one is damage, too.
 */
#ifndef REPO_FORMAT_H
#define REPO_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* ---- names of content ---- */

#define ID_BYTES 32
#define ID_HEX   65 /* with the NUL */

/* The SHA-256 of a piece's full content. All zero: a chunk of zeros, or a list of such, which is
 * never stored. */
struct chunk_id {
    uint8_t bytes[ID_BYTES];
};

static const struct chunk_id chunk_id_zero;

bool chunk_id_is_zero(const struct chunk_id *id);
void chunk_id_to_hex(const struct chunk_id *id, char hex[static ID_HEX]);
int chunk_id_from_hex(struct chunk_id *id, const char *hex, struct error *e);

/* The first bytes of a name, by which pieces are found. Nobody finds two names that begin with the
 * same 20 bytes (2^80 tries), and each piece is held against its whole name whenever it is read. */
#define PREFIX_BYTES 20

/* ---- pieces: what a pack is made of ---- */

/* The largest content of a piece, and of a chunk. */
#define CHUNK_MAX_BYTES (1u << 20)
#define CHUNK_MIN_BYTES (64u << 10)

/* A patch replaces whole pages of its base. */
#define PATCH_PAGE_BYTES       4096u
#define PATCH_BITMAP_MAX_BYTES (CHUNK_MAX_BYTES / PATCH_PAGE_BYTES / 8)

enum encoding {
    ENCODING_RAW = 1,
    ENCODING_ZSTD = 2,
    ENCODING_PATCH = 3 /* the content of another piece, of which some pages differ */
};

/* A piece says all that is needed to read it, but nothing of where it is: it can be moved as it is.
 */
struct piece_head {
    enum encoding encoding;
    uint32_t full_bytes;   /* of the content */
    uint32_t stored_bytes; /* of what follows the head */
    struct chunk_id id;
};

#define PIECE_HEAD_BYTES  64
#define PIECE_MAGIC_BYTES 8

/* What each piece begins with. */
extern const uint8_t piece_magic[PIECE_MAGIC_BYTES];

void piece_head_put(uint8_t to[static PIECE_HEAD_BYTES], const struct piece_head *h);
int piece_head_take(struct piece_head *h, const uint8_t from[static PIECE_HEAD_BYTES],
                    struct error *e);

/* A patch's own head; then come the bitmap, a bit a page, and the pages in one zstd frame. */
#define PATCH_HEAD_BYTES ID_BYTES /* the name of its base, a piece that is not a patch */

size_t patch_bitmap_bytes(uint32_t full_bytes);

/* ---- packs ---- */

/* Packs are closed once they are that long: large enough that making each durable costs little,
 * small enough to be rewritten. */
#define PACK_FULL_BYTES (64u << 20)
#define PACK_MAX_BYTES  (PACK_FULL_BYTES + (16u << 20))

/* A pack of the smallest pieces that are worth one, and never more than fit. */
#define PACK_ENTRIES_MAX 65536u

enum pack_kind {
    PACK_DATA = 1, /* chunks */
    PACK_LISTS = 2 /* lists of names: what leads to the chunks */
};

struct pack_head {
    enum pack_kind kind;
    uint8_t run[8]; /* that put it */
};

#define PACK_HEAD_BYTES 64

void pack_head_put(uint8_t to[static PACK_HEAD_BYTES], const struct pack_head *h);
int pack_head_take(struct pack_head *h, const uint8_t from[static PACK_HEAD_BYTES],
                   struct error *e);

/* One line of the table at a pack's end, which is sorted by id. */
struct table_entry {
    struct chunk_id id;
    uint8_t base[PREFIX_BYTES]; /* of a patch: how its base's name begins; else zeros */
    uint32_t offset;            /* of the piece's head, from the pack's start */
    uint32_t full_bytes, stored_bytes;
    enum encoding encoding;
};

#define TABLE_ENTRY_BYTES 64

void table_entry_put(uint8_t to[static TABLE_ENTRY_BYTES], const struct table_entry *t);
int table_entry_take(struct table_entry *t, const uint8_t from[static TABLE_ENTRY_BYTES],
                     struct error *e);

/* The last bytes of a pack. */
struct pack_tail {
    uint32_t entries;
    uint32_t table_offset;
    uint8_t sum[ID_BYTES]; /* SHA-256 of the table */
};

#define PACK_TAIL_BYTES 64

void pack_tail_put(uint8_t to[static PACK_TAIL_BYTES], const struct pack_tail *t);
/* `pack_bytes`: of the whole pack, which must be what the tail says. */
int pack_tail_take(struct pack_tail *t, const uint8_t from[static PACK_TAIL_BYTES],
                   uint64_t pack_bytes, struct error *e);

/* ---- lists ---- */

/* So many ids make a list, which is a piece of its own: at 256 KiB a chunk, a leaf names 64 MiB of
 * an image. */
#define LIST_IDS   256
#define LIST_BYTES (LIST_IDS * ID_BYTES)

#endif
