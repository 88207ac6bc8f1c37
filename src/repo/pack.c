/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/pack.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/interrupt.h"

#define ALIGNMENT BACKEND_ALIGNMENT

/* Read at once from packs that are read from front to back; and where one piece follows another so
 * closely. */
#define READ_BYTES (4u << 20)
#define NEAR_BYTES (256u << 10)

void pack_object(const struct pack_name *name, char object[static PACK_OBJECT_MAX])
{
    memcpy(object, "packs/", 6);
    pack_name_to_text(name, object + 6);
}

/* ---- parts of packs ---- */

static size_t round_up(uint64_t n)
{
    return (size_t)((n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

/* How much must be read to have `bytes` from `offset` on, in whole blocks. */
static size_t blocks_around(uint64_t offset, size_t bytes)
{
    return round_up(offset % ALIGNMENT + bytes);
}

/* Read `bytes` into `buffer`, aligned and with room for blocks_around() them: `*at` is where they
 * are. */
static int read_around(struct backend *b, const struct pack_name *name, uint64_t offset,
                       size_t bytes, uint8_t *buffer, const uint8_t **at, struct error *e)
{
    uint64_t begin = offset / ALIGNMENT * ALIGNMENT;
    size_t before = (size_t)(offset - begin), got;
    char object[PACK_OBJECT_MAX];

    pack_object(name, object);
    if (b->driver->get(b, object, begin, buffer, blocks_around(offset, bytes), &got, e) < 0)
        return e->status == NOT_FOUND ? error_set(e, DAMAGED, "it is missing") : e->status;
    if (got < before + bytes)
        return error_set(e, DAMAGED, "it is cut short: nothing is left at %llu",
                         (unsigned long long)(begin + got));
    *at = buffer + before;
    return OK;
}

static uint8_t *aligned(size_t bytes)
{
    return aligned_alloc(ALIGNMENT, round_up(bytes + 1));
}

/* ---- tables ---- */

/* Within the pack, and sorted. */
static int check_entry(const struct table_entry *t, const struct table_entry *before,
                       uint32_t table_offset, struct error *e)
{
    if ((uint64_t)t->offset + PIECE_HEAD_BYTES + t->stored_bytes > table_offset)
        return error_set(e, DAMAGED, "its table leads out of it");
    if (before && memcmp(before->id.bytes, t->id.bytes, ID_BYTES) > 0)
        return error_set(e, DAMAGED, "its table is not sorted");
    return OK;
}

static int take_table(const struct pack_tail *tail, const uint8_t *table,
                      struct table_entry *entries, struct error *e)
{
    uint8_t sum[ID_BYTES];

    if (!EVP_Digest(table, (size_t)tail->entries * TABLE_ENTRY_BYTES, sum, NULL, EVP_sha256(),
                    NULL))
        return error_set(e, FAILED, "libcrypto has no SHA-256");
    if (memcmp(sum, tail->sum, ID_BYTES) != 0)
        return error_set(e, DAMAGED, "the checksum of its table does not match");
    for (uint32_t i = 0; i < tail->entries; i++) {
        if (table_entry_take(&entries[i], table + (size_t)i * TABLE_ENTRY_BYTES, e) < 0)
            return e->status;
        if (check_entry(&entries[i], i ? &entries[i - 1] : NULL, tail->table_offset, e) < 0)
            return e->status;
    }
    return OK;
}

static int read_tail(struct backend *b, const struct pack_name *name, uint64_t bytes,
                     struct pack_tail *tail, struct error *e)
{
    AUTO_FREE uint8_t *buffer = aligned(PACK_TAIL_BYTES + ALIGNMENT);
    const uint8_t *at;

    if (!buffer)
        return error_out_of_memory(e);
    if (bytes < PACK_HEAD_BYTES + PACK_TAIL_BYTES || bytes > PACK_MAX_BYTES)
        return error_set(e, DAMAGED, "its length is not that of a pack");
    if (read_around(b, name, bytes - PACK_TAIL_BYTES, PACK_TAIL_BYTES, buffer, &at, e) < 0)
        return e->status;
    return pack_tail_take(tail, at, bytes, e);
}

static int read_table(struct backend *b, const struct pack_name *name, uint64_t bytes,
                      struct table_entry **out, size_t *count, struct error *e)
{
    AUTO_FREE struct table_entry *entries = NULL;
    AUTO_FREE uint8_t *buffer = NULL;
    struct pack_tail tail;
    const uint8_t *table;
    size_t table_bytes;

    if (read_tail(b, name, bytes, &tail, e) < 0)
        return e->status;
    table_bytes = (size_t)tail.entries * TABLE_ENTRY_BYTES;
    buffer = aligned(blocks_around(tail.table_offset, table_bytes));
    entries = malloc((tail.entries + (size_t)1) * sizeof *entries);
    if (!buffer || !entries)
        return error_out_of_memory(e);
    if (read_around(b, name, tail.table_offset, table_bytes, buffer, &table, e) < 0)
        return e->status;
    if (take_table(&tail, table, entries, e) < 0)
        return e->status;
    *count = tail.entries;
    *out = entries;
    entries = NULL;
    return OK;
}

int pack_read_table(struct backend *b, const struct pack_name *name, uint64_t bytes,
                    struct table_entry **entries, size_t *count, struct error *e)
{
    char text[PACK_NAME_TEXT];

    if (read_table(b, name, bytes, entries, count, e) == OK)
        return OK;
    pack_name_to_text(name, text);
    return error_prefix(e, "pack %.33s…", text);
}

int pack_read_kind(struct backend *b, const struct pack_name *name, enum pack_kind *kind,
                   struct error *e)
{
    AUTO_FREE uint8_t *buffer = aligned(PACK_HEAD_BYTES);
    struct pack_head head;
    const uint8_t *at;

    if (!buffer)
        return error_out_of_memory(e);
    if (read_around(b, name, 0, PACK_HEAD_BYTES, buffer, &at, e) < 0 ||
        pack_head_take(&head, at, e) < 0)
        return e->status;
    *kind = head.kind;
    return OK;
}

/* ---- pieces ---- */

static int make_window(struct pack_window *window, size_t room, struct error *e)
{
    *window = (struct pack_window){.buffer = aligned(room), .room = room};
    return window->buffer ? OK : error_out_of_memory(e);
}

int pack_window_new(struct pack_window *window, uint32_t stored_bytes, struct error *e)
{
    size_t room = round_up(PIECE_HEAD_BYTES + (uint64_t)stored_bytes) + ALIGNMENT;

    return make_window(window, room < NEAR_BYTES ? NEAR_BYTES : room, e);
}

static bool is_of(const struct pack_window *window, const struct pack_name *name)
{
    return window->bytes && pack_name_compare(&window->name, name) == 0;
}

/* Have `bytes` from `offset` on in the window: read them, unless they are there, and `ahead` as
 * much as it has room for. */
static int look(struct backend *b, const struct pack_name *name, struct pack_window *window,
                bool ahead, uint64_t offset, size_t bytes, const uint8_t **at, struct error *e)
{
    size_t want = ahead ? window->room : blocks_around(offset, bytes);
    char object[PACK_OBJECT_MAX];

    if (!is_of(window, name) || offset < window->begin ||
        offset + bytes > window->begin + window->bytes) {
        pack_object(name, object);
        window->name = *name;
        window->begin = offset / ALIGNMENT * ALIGNMENT;
        window->bytes = 0;
        if (b->driver->get(b, object, window->begin, window->buffer, want, &window->bytes, e) < 0)
            return e->status == NOT_FOUND ? error_set(e, DAMAGED, "it is missing") : e->status;
    }
    if (offset + bytes > window->begin + window->bytes)
        return error_set(e, DAMAGED, "it is cut short: nothing is left at %llu",
                         (unsigned long long)(window->begin + window->bytes));
    *at = window->buffer + (offset - window->begin);
    window->next = offset + bytes;
    return OK;
}

int pack_look(struct backend *b, const struct pack_name *name, struct pack_window *window,
              uint64_t offset, size_t bytes, const uint8_t **at, struct error *e)
{
    if (!window->buffer && make_window(window, READ_BYTES, e) < 0)
        return e->status;
    return look(b, name, window, true, offset, bytes, at, e);
}

int pack_read_piece(struct backend *b, const struct pack_name *name, uint32_t offset,
                    uint32_t stored_bytes, struct pack_window *window, const uint8_t **piece,
                    struct piece_head *h, struct error *e)
{
    bool ahead = is_of(window, name) && offset >= window->next &&
                 offset - window->next < NEAR_BYTES && stored_bytes < NEAR_BYTES / 4;

    if (stored_bytes > CHUNK_MAX_BYTES)
        return error_set(e, DAMAGED, "at %u: a piece that is too long", offset);
    if (look(b, name, window, ahead, offset, PIECE_HEAD_BYTES + (size_t)stored_bytes, piece, e) < 0)
        return e->status;
    if (piece_head_take(h, *piece, e) < 0)
        return error_prefix(e, "at %u", offset);
    if (h->stored_bytes != stored_bytes)
        return error_set(e, DAMAGED, "at %u: a piece of another length", offset);
    return OK;
}

bool pack_next_piece(struct pack_window *window, const uint8_t **piece, struct piece_head *h)
{
    uint64_t end = window->begin + window->bytes;
    struct error ignored;

    if (!window->bytes || window->next + PIECE_HEAD_BYTES > end)
        return false;
    *piece = window->buffer + (window->next - window->begin);
    if (piece_head_take(h, *piece, &ignored) < 0 ||
        h->stored_bytes > end - window->next - PIECE_HEAD_BYTES)
        return false;
    window->next += PIECE_HEAD_BYTES + h->stored_bytes;
    return true;
}

/* ---- whole packs ---- */

static int read_whole(struct backend *b, const struct pack_name *name, uint8_t *to, size_t room,
                      size_t *bytes, struct error *e)
{
    char object[PACK_OBJECT_MAX];

    pack_object(name, object);
    for (*bytes = 0; *bytes < room;) {
        size_t want = room - *bytes < READ_BYTES ? room - *bytes : READ_BYTES, got;

        if (interrupt_check(e) < 0)
            return e->status;
        if (b->driver->get(b, object, *bytes, to + *bytes, want, &got, e) < 0) {
            /* What the disk can't give back is left out: there may be more behind it. */
            if (e->status != DAMAGED)
                return e->status;
            memset(to + *bytes, 0, want);
            got = want;
        }
        if (got == 0)
            return OK;
        *bytes += got;
    }
    return OK;
}

/* The next place at or after `at` where a piece may begin; `bytes`: nowhere. */
static size_t next_magic(const uint8_t *pack, size_t at, size_t bytes)
{
    const uint8_t *found;

    if (at >= bytes)
        return bytes;
    found = memmem(pack + at, bytes - at, piece_magic, PIECE_MAGIC_BYTES);
    return found ? (size_t)(found - pack) : bytes;
}

static int scan(const uint8_t *pack, size_t bytes, pack_sink sink, void *arg, struct error *e)
{
    struct piece_head h;
    struct error ignored;

    for (size_t at = next_magic(pack, 0, bytes); at + PIECE_HEAD_BYTES <= bytes;
         at = next_magic(pack, at, bytes)) {
        if (piece_head_take(&h, pack + at, &ignored) < 0 ||
            h.stored_bytes > bytes - at - PIECE_HEAD_BYTES) {
            at++;
            continue;
        }
        if (sink(arg, (uint32_t)at, &h, pack + at, e) < 0)
            return e->status;
        /* Its own length may be what is damaged: others may begin within. */
        at += PIECE_HEAD_BYTES;
    }
    return OK;
}

int pack_scan(struct backend *b, const struct pack_name *name, pack_sink sink, void *arg,
              struct error *e)
{
    AUTO_FREE uint8_t *pack = aligned(PACK_MAX_BYTES);
    size_t bytes;

    if (!pack)
        return error_out_of_memory(e);
    if (read_whole(b, name, pack, PACK_MAX_BYTES, &bytes, e) < 0)
        return e->status;
    return scan(pack, bytes, sink, arg, e);
}
