/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/format.h"

#include <endian.h>
#include <string.h>

#include "base/hex.h"

#define VERSION      1
#define RECORD_MAGIC UINT32_C(0x63655264)

static const uint8_t pack_magic[16] = "domsnap pack";
static const uint8_t table_magic[16] = "domsnap table";

/* ---- little-endian, at any alignment ---- */

static void put32(uint8_t *to, uint32_t n)
{
    n = htole32(n);
    memcpy(to, &n, sizeof n);
}

static uint32_t take32(const uint8_t *from)
{
    uint32_t n;

    memcpy(&n, from, sizeof n);
    return le32toh(n);
}

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

/* ---- records ---- */

/* Lengths and encoding, which stand in records and in tables. */
static int check_lengths(enum encoding encoding, uint32_t full_bytes, uint32_t stored_bytes,
                         struct error *e)
{
    if (full_bytes == 0 || full_bytes > CHUNK_MAX_BYTES)
        return error_set(e, DAMAGED, "a record of %u bytes of content", full_bytes);
    if (stored_bytes == 0 || stored_bytes > full_bytes)
        return error_set(e, DAMAGED, "a record that stores %u bytes for %u", stored_bytes,
                         full_bytes);
    switch (encoding) {
    case ENCODING_RAW:
        return stored_bytes == full_bytes
                   ? OK
                   : error_set(e, DAMAGED, "a raw record that is not as long as its content");
    case ENCODING_ZSTD:
    case ENCODING_PATCH:
        return OK;
    }
    return error_set(e, UNSUPPORTED, "a record of encoding %d, which this domsnap does not know",
                     (int)encoding);
}

/*
 *   0 magic   4 encoding   5 cipher   6 reserved   8 full_bytes   12 stored_bytes   16 id
 */
void record_head_put(uint8_t to[static RECORD_HEAD_BYTES], const struct record_head *h)
{
    memset(to, 0, RECORD_HEAD_BYTES);
    put32(to, RECORD_MAGIC);
    to[4] = (uint8_t)h->encoding;
    put32(to + 8, h->full_bytes);
    put32(to + 12, h->stored_bytes);
    memcpy(to + 16, h->id.bytes, ID_BYTES);
}

int record_head_take(struct record_head *h, const uint8_t from[static RECORD_HEAD_BYTES],
                     struct error *e)
{
    if (take32(from) != RECORD_MAGIC || !all_zero(from + 6, 2))
        return error_set(e, DAMAGED, "there is no record where one should be");
    if (from[5])
        return error_set(e, UNSUPPORTED, "an encrypted record, which this domsnap can't read");
    h->encoding = from[4];
    h->full_bytes = take32(from + 8);
    h->stored_bytes = take32(from + 12);
    memcpy(h->id.bytes, from + 16, ID_BYTES);
    if (chunk_id_is_zero(&h->id))
        return error_set(e, DAMAGED, "a record of zeros");
    return check_lengths(h->encoding, h->full_bytes, h->stored_bytes, e);
}

size_t patch_bitmap_bytes(uint32_t full_bytes)
{
    uint32_t pages = (full_bytes + PATCH_PAGE_BYTES - 1) / PATCH_PAGE_BYTES;

    return (pages + 7) / 8;
}

/* ---- packs ---- */

/*
 *   0 magic   16 version   20 reserved
 */
void pack_head_put(uint8_t to[static PACK_HEAD_BYTES])
{
    memset(to, 0, PACK_HEAD_BYTES);
    memcpy(to, pack_magic, sizeof pack_magic);
    put32(to + 16, VERSION);
}

int pack_head_take(const uint8_t from[static PACK_HEAD_BYTES], struct error *e)
{
    if (memcmp(from, pack_magic, sizeof pack_magic) != 0 || !all_zero(from + 20, 12))
        return error_set(e, DAMAGED, "it does not begin as a pack");
    if (take32(from + 16) != VERSION)
        return error_set(e, UNSUPPORTED,
                         "a pack of version %u, and this domsnap reads version %d; use a newer one",
                         take32(from + 16), VERSION);
    return OK;
}

/*
 *   0 id   32 offset   36 full_bytes   40 stored_bytes   44 encoding   45 reserved
 */
void table_entry_put(uint8_t to[static TABLE_ENTRY_BYTES], const struct table_entry *t)
{
    memset(to, 0, TABLE_ENTRY_BYTES);
    memcpy(to, t->id.bytes, ID_BYTES);
    put32(to + 32, t->offset);
    put32(to + 36, t->full_bytes);
    put32(to + 40, t->stored_bytes);
    to[44] = (uint8_t)t->encoding;
}

int table_entry_take(struct table_entry *t, const uint8_t from[static TABLE_ENTRY_BYTES],
                     struct error *e)
{
    memcpy(t->id.bytes, from, ID_BYTES);
    t->offset = take32(from + 32);
    t->full_bytes = take32(from + 36);
    t->stored_bytes = take32(from + 40);
    t->encoding = from[44];
    if (!all_zero(from + 45, 3) || chunk_id_is_zero(&t->id) || t->offset < PACK_HEAD_BYTES ||
        t->offset > PACK_MAX_BYTES)
        return error_set(e, DAMAGED, "its table holds what no pack holds");
    return check_lengths(t->encoding, t->full_bytes, t->stored_bytes, e);
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
