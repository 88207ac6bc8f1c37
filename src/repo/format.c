/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/format.h"

#include <string.h>

#include "base/bytes.h"
#include "base/hex.h"

#define VERSION 2

/* No text begins so, nor any common file. */
const uint8_t piece_magic[PIECE_MAGIC_BYTES] = {0x93, 'p', 'i', 'e', 'c', 'e', '\r', '\n'};

static const uint8_t pack_magic[16] = "domsnap pack";
static const uint8_t table_magic[16] = "domsnap table";

static bool all_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (*p == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* ---- names of content ---- */

bool chunk_id_is_zero(const struct chunk_id *id)
{
    return memcmp(id->bytes, chunk_id_zero.bytes, ID_BYTES) == 0;
}

void chunk_id_to_hex(const struct chunk_id *id, char hex[static ID_HEX])
{
    hex_put(hex, id->bytes, ID_BYTES);
}

int chunk_id_from_hex(struct chunk_id *id, const char *hex, struct error *e)
{
    if (strlen(hex) != ID_HEX - 1 || strspn(hex, "0123456789abcdef") != ID_HEX - 1)
        return error_set(e, DAMAGED, "\"%.80s\" is not 64 hexadecimal digits", hex);
    hex_take(id->bytes, ID_BYTES, hex);
    return OK;
}

/* ---- pieces ---- */

/* Lengths and encoding, which stand in pieces and in tables. */
static int check_lengths(enum encoding encoding, uint32_t full_bytes, uint32_t stored_bytes,
                         struct error *e)
{
    if (full_bytes == 0 || full_bytes > CHUNK_MAX_BYTES)
        return error_set(e, DAMAGED, "a piece of %u bytes of content", full_bytes);
    if (stored_bytes == 0 || stored_bytes > full_bytes)
        return error_set(e, DAMAGED, "a piece that stores %u bytes for %u", stored_bytes,
                         full_bytes);
    switch (encoding) {
    case ENCODING_RAW:
        return stored_bytes == full_bytes
                   ? OK
                   : error_set(e, DAMAGED, "a raw piece that is not as long as its content");
    case ENCODING_ZSTD:
    case ENCODING_PATCH:
        return OK;
    }
    return error_set(e, DAMAGED, "a piece of encoding %d, which this domsnap does not know",
                     (int)encoding);
}

/*
 *   0 magic   8 encoding   9 cipher   10 reserved   12 full_bytes   16 stored_bytes   20 reserved
 * (a cipher's counter)   24 id   56 reserved (a cipher's run)
 */
void piece_head_put(uint8_t to[static PIECE_HEAD_BYTES], const struct piece_head *h)
{
    memset(to, 0, PIECE_HEAD_BYTES);
    memcpy(to, piece_magic, PIECE_MAGIC_BYTES);
    to[8] = (uint8_t)h->encoding;
    put32(to + 12, h->full_bytes);
    put32(to + 16, h->stored_bytes);
    memcpy(to + 24, h->id.bytes, ID_BYTES);
}

int piece_head_take(struct piece_head *h, const uint8_t from[static PIECE_HEAD_BYTES],
                    struct error *e)
{
    if (memcmp(from, piece_magic, PIECE_MAGIC_BYTES) != 0)
        return error_set(e, DAMAGED, "there is no piece where one should be");
    if (from[9])
        return error_set(e, DAMAGED, "an encrypted piece, which this domsnap can't read");
    if (!all_zero(from + 10, 2) || !all_zero(from + 20, 4) || !all_zero(from + 56, 8))
        return error_set(e, DAMAGED, "a piece's head is not what was written");
    h->encoding = from[8];
    h->full_bytes = take32(from + 12);
    h->stored_bytes = take32(from + 16);
    memcpy(h->id.bytes, from + 24, ID_BYTES);
    if (chunk_id_is_zero(&h->id))
        return error_set(e, DAMAGED, "a piece of zeros");
    return check_lengths(h->encoding, h->full_bytes, h->stored_bytes, e);
}

size_t patch_bitmap_bytes(uint32_t full_bytes)
{
    uint32_t pages = (full_bytes + PATCH_PAGE_BYTES - 1) / PATCH_PAGE_BYTES;

    return (pages + 7) / 8;
}

/* ---- packs ---- */

/*
 *   0 magic   16 version   20 kind   24 run   32 reserved
 */
void pack_head_put(uint8_t to[static PACK_HEAD_BYTES], const struct pack_head *h)
{
    memset(to, 0, PACK_HEAD_BYTES);
    memcpy(to, pack_magic, sizeof pack_magic);
    put32(to + 16, VERSION);
    put32(to + 20, h->kind);
    memcpy(to + 24, h->run, sizeof h->run);
}

int pack_head_take(struct pack_head *h, const uint8_t from[static PACK_HEAD_BYTES], struct error *e)
{
    if (memcmp(from, pack_magic, sizeof pack_magic) != 0)
        return error_set(e, DAMAGED, "it does not begin as a pack");
    if (take32(from + 16) != VERSION)
        return error_set(e, DAMAGED, "a pack of version %u; this domsnap reads version %d",
                         take32(from + 16), VERSION);
    h->kind = take32(from + 20);
    if ((h->kind != PACK_DATA && h->kind != PACK_LISTS) || !all_zero(from + 32, 32))
        return error_set(e, DAMAGED, "its head is not what was written");
    memcpy(h->run, from + 24, sizeof h->run);
    return OK;
}

/*
 *   0 id   32 base   52 offset   56 stored_bytes   60 full_bytes (3)   63 encoding
 */
void table_entry_put(uint8_t to[static TABLE_ENTRY_BYTES], const struct table_entry *t)
{
    memcpy(to, t->id.bytes, ID_BYTES);
    memcpy(to + 32, t->base, PREFIX_BYTES);
    put32(to + 52, t->offset);
    put32(to + 56, t->stored_bytes);
    put32(to + 60, t->full_bytes | (uint32_t)t->encoding << 24);
}

int table_entry_take(struct table_entry *t, const uint8_t from[static TABLE_ENTRY_BYTES],
                     struct error *e)
{
    memcpy(t->id.bytes, from, ID_BYTES);
    memcpy(t->base, from + 32, PREFIX_BYTES);
    t->offset = take32(from + 52);
    t->stored_bytes = take32(from + 56);
    t->full_bytes = take32(from + 60) & 0xffffff;
    t->encoding = from[63];
    if (chunk_id_is_zero(&t->id) || t->offset < PACK_HEAD_BYTES || t->offset > PACK_MAX_BYTES)
        return error_set(e, DAMAGED, "its table holds what no pack holds");
    if (check_lengths(t->encoding, t->full_bytes, t->stored_bytes, e) < 0)
        return e->status;
    if ((t->encoding == ENCODING_PATCH) == all_zero(t->base, PREFIX_BYTES))
        return error_set(e, DAMAGED, "its table does not say what a patch is of");
    return OK;
}

/*
 *   0 magic   16 entries   20 table_offset   24 reserved   32 sum
 */
void pack_tail_put(uint8_t to[static PACK_TAIL_BYTES], const struct pack_tail *t)
{
    memset(to, 0, PACK_TAIL_BYTES);
    memcpy(to, table_magic, sizeof table_magic);
    put32(to + 16, t->entries);
    put32(to + 20, t->table_offset);
    memcpy(to + 32, t->sum, ID_BYTES);
}

int pack_tail_take(struct pack_tail *t, const uint8_t from[static PACK_TAIL_BYTES],
                   uint64_t pack_bytes, struct error *e)
{
    if (memcmp(from, table_magic, sizeof table_magic) != 0 || !all_zero(from + 24, 8))
        return error_set(e, DAMAGED, "it does not end as a pack");
    t->entries = take32(from + 16);
    t->table_offset = take32(from + 20);
    memcpy(t->sum, from + 32, ID_BYTES);
    if (t->table_offset < PACK_HEAD_BYTES ||
        t->table_offset + (uint64_t)t->entries * TABLE_ENTRY_BYTES + PACK_TAIL_BYTES != pack_bytes)
        return error_set(e, DAMAGED, "its length is not what its end says");
    return OK;
}
