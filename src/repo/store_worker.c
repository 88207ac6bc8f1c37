/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chunks out of a store. */
#include <stdlib.h>
#include <string.h>

#include "base/sha256_pair.h"
#include "repo/codec.h"
#include "repo/naming.h"
#include "repo/pack.h"
#include "repo/patch.h"
#include "repo/store_private.h"

/* ---- workers ---- */

static int make_memory(struct store_worker *w, struct error *e)
{
    w->room = w->store->chunk_bytes > LIST_BYTES ? w->store->chunk_bytes : LIST_BYTES;
    w->base = malloc(w->room);
    w->pages = malloc(w->room);
    w->content = malloc(w->room);
    if (!w->base || !w->pages || !w->content)
        return error_out_of_memory(e);
    if (pack_window_new(&w->first, w->room, e) < 0)
        return e->status;
    return pack_window_new(&w->second, w->room, e);
}

int store_worker_new(struct store_worker **out, struct store *s, struct error *e)
{
    struct store_worker *w = calloc(1, sizeof *w);
    int rc;

    if (!w)
        return error_out_of_memory(e);
    w->store = s;
    rc = naming_new(&w->naming, e);
    if (rc == OK && !keeps_nothing(s))
        rc = codec_new(&w->codec, e);
    if (rc == OK && !keeps_nothing(s))
        rc = make_memory(w, e);
    if (rc < 0)
        store_worker_free(w);
    else
        *out = w;
    return rc;
}

void store_worker_free(struct store_worker *w)
{
    if (!w)
        return;
    naming_free(w->naming);
    codec_free(w->codec);
    free(w->first.buffer);
    free(w->second.buffer);
    free(w->base);
    free(w->pages);
    free(w->content);
    free(w->whole.buffer);
    free(w);
}

struct pack_window *store_window(struct store_worker *w)
{
    return &w->whole;
}

int store_name(struct store_worker *w, const void *content, uint32_t bytes, struct chunk_id *id,
               struct error *e)
{
    return naming_name(w->naming, content, bytes, id, e);
}

int store_names(struct store_worker *w, const void *content, size_t bytes, struct chunk_id *ids,
                struct error *e)
{
    return naming_names(w->naming, content, bytes, w->store->chunk_bytes, ids, e);
}

/* ---- out: one place ---- */

static int wrong_length(const struct piece_head *h, uint32_t bytes, struct error *e)
{
    return error_set(e, DAMAGED, "it has %u bytes, not %u", h->full_bytes, bytes);
}

int store_read_piece(struct store_worker *w, const struct place *place, const uint8_t *prefix,
                     struct pack_window *window, const uint8_t **piece, struct piece_head *h,
                     struct error *e)
{
    const struct index_pack *pack = index_pack(w->store->index, place->pack);

    if (!pack)
        return error_set(e, DAMAGED, "the index names a pack that does not exist");
    if (place->stored_bytes > w->room)
        return error_set(e, DAMAGED, "it is longer than chunks are here");
    if (pack_read_piece(repo_backend(w->store->repo), &pack->name, place->offset,
                        place->stored_bytes, window, piece, h, e) < 0)
        return e->status;
    if (memcmp(h->id.bytes, prefix, PREFIX_BYTES) != 0)
        return error_set(e, DAMAGED, "another piece is where it should be");
    if (h->full_bytes > w->room)
        return error_set(e, DAMAGED, "its content is longer than chunks are here");
    return OK;
}

int store_decode_whole(struct store_worker *w, const struct piece_head *h, const uint8_t *piece,
                       uint8_t *to, struct error *e)
{
    const uint8_t *stored = piece + PIECE_HEAD_BYTES;

    switch (h->encoding) {
    case ENCODING_RAW:
        memcpy(to, stored, h->full_bytes);
        return OK;
    case ENCODING_ZSTD:
        return codec_unzip(w->codec, to, h->full_bytes, stored, h->stored_bytes, e);
    default:
        return error_set(e, DAMAGED, "a patch of a patch");
    }
}

/* It is whole, but of another length than who asks for it says: no fault of its own. */
static bool is_whole(struct store_worker *w, const struct piece_head *h, const uint8_t *piece)
{
    struct error ignored;

    return h->encoding != ENCODING_PATCH &&
           store_decode_whole(w, h, piece, w->content, &ignored) == OK &&
           naming_check(w->naming, &h->id, w->content, h->full_bytes, &ignored) == OK;
}

int store_say_where(struct store_worker *w, const struct place *place, struct error *e)
{
    const struct index_pack *pack = index_pack(w->store->index, place->pack);
    char text[PACK_NAME_TEXT];

    if (!pack)
        return e->status;
    pack_name_to_text(&pack->name, text);
    return error_prefix(e, "pack %.33s…", text);
}

/* A whole piece at a place, held against its name, which is in `h` then. `*own` as of get_from();
 * `*fits`: it is not good, and of another length. */
static int get_base_from(struct store_worker *w, const uint8_t *prefix, const struct place *place,
                         uint8_t *to, uint32_t bytes, struct piece_head *h, bool *own, bool *fits,
                         struct error *e)
{
    const uint8_t *piece;

    *own = true;
    if (store_read_piece(w, place, prefix, &w->second, &piece, h, e) < 0)
        return e->status;
    if (h->full_bytes != bytes) {
        *own = !is_whole(w, h, piece);
        *fits &= *own;
        return wrong_length(h, bytes, e);
    }
    if (store_decode_whole(w, h, piece, to, e) < 0)
        return e->status;
    return naming_check(w->naming, &h->id, to, bytes, e);
}

int store_get_base(struct store_worker *w, const uint8_t *prefix, const struct place *places,
                   int count, uint8_t *to, uint32_t bytes, struct piece_head *h, bool *fits,
                   struct error *e)
{
    struct error ignored;
    bool own;

    *fits = true;
    error_set(e, DAMAGED, "it is missing");
    for (int i = 0; i < count; i++) {
        if (places[i].patch)
            continue;
        if (get_base_from(w, prefix, &places[i], to, bytes, h, &own, fits, e) == OK)
            return i;
        if (e->status != DAMAGED)
            return e->status;
        store_say_where(w, &places[i], e);
        if (own)
            store_mark(w->store, &places[i], &ignored);
    }
    return e->status;
}

/* A patch, which is in w->first: on top of its base. `*own`: what is damaged is the patch itself.
 */
static int decode_patch(struct store_worker *w, const struct place *place,
                        const struct piece_head *h, const uint8_t *piece, uint8_t *to, bool *own,
                        struct error *e)
{
    uint32_t bytes = h->full_bytes, bitmap_bytes = (uint32_t)patch_bitmap_bytes(bytes), sum;
    const uint8_t *stored = piece + PIECE_HEAD_BYTES;
    uint8_t bitmap[PATCH_BITMAP_MAX_BYTES], base[PREFIX_BYTES];
    struct place places[PLACES_MAX];
    struct piece_head base_head;
    bool fits;
    int count;

    if (h->stored_bytes <= PATCH_HEAD_BYTES + bitmap_bytes)
        return error_set(e, DAMAGED, "a patch that is too short");
    /* Who looks for what is needed, and whether it is there, goes by the table alone. */
    if (place && memcmp(place->base, stored, PREFIX_BYTES) != 0)
        return error_set(e, DAMAGED, "a patch whose base is not the one in the table");
    memcpy(base, stored, PREFIX_BYTES);
    memcpy(bitmap, stored + PATCH_HEAD_BYTES, bitmap_bytes);
    sum = patch_pages_bytes(bitmap, bytes);
    if (!sum)
        return error_set(e, DAMAGED, "a patch of no pages, or of pages past its end");
    if (codec_unzip(w->codec, w->pages, sum, stored + PATCH_HEAD_BYTES + bitmap_bytes,
                    h->stored_bytes - PATCH_HEAD_BYTES - bitmap_bytes, e) < 0)
        return e->status;
    *own = false;
    count = index_find_prefix(w->store->index, base, places, e);
    if (count < 0)
        return e->status;
    if (store_get_base(w, base, places, count, to, bytes, &base_head, &fits, e) < 0) {
        *own = !fits;
        return error_prefix(e, "the base of a patch");
    }
    *own = true;
    patch_apply(to, bytes, bitmap, w->pages);
    return OK;
}

int store_decode(struct store_worker *w, const struct place *place, const struct piece_head *h,
                 const uint8_t *piece, uint8_t *to, bool *own, struct error *e)
{
    *own = true;
    return h->encoding == ENCODING_PATCH ? decode_patch(w, place, h, piece, to, own, e)
                                         : store_decode_whole(w, h, piece, to, e);
}

/* Not checked against its name. `*own`: if it is damaged, it is so at this place. */
static int get_from(struct store_worker *w, const struct chunk_id *id, const struct place *place,
                    uint8_t *to, uint32_t bytes, bool *own, struct error *e)
{
    struct piece_head h;
    const uint8_t *piece;

    *own = true;
    if (store_read_piece(w, place, id->bytes, &w->first, &piece, &h, e) < 0)
        return e->status;
    if (h.full_bytes != bytes) {
        /* That of a patch is of its base's length, and not worth more. */
        *own = h.encoding != ENCODING_PATCH && !is_whole(w, &h, piece);
        return wrong_length(&h, bytes, e);
    }
    return store_decode(w, place, &h, piece, to, own, e);
}

/* ---- out: all places ---- */

/* What was put one after the other is often wanted so: then nobody need look where it is. A piece
 * that is none, or another, is left for later. Not checked against its name. */
static bool get_next(struct store_worker *w, const struct chunk_id *id, uint8_t *to, uint32_t bytes)
{
    uint64_t next = w->first.next;
    const uint8_t *piece;
    struct piece_head h;
    struct error ignored;

    if (!pack_next_piece(&w->first, &piece, &h))
        return false;
    if (memcmp(h.id.bytes, id->bytes, ID_BYTES) == 0 && h.encoding != ENCODING_PATCH &&
        h.full_bytes == bytes && store_decode_whole(w, &h, piece, to, &ignored) == OK)
        return true;
    w->first.next = next;
    return false;
}

static int get(struct store_worker *w, const struct chunk_id *id, uint8_t *to, uint32_t bytes,
               struct error *e)
{
    struct place places[PLACES_MAX];
    struct error first = {0}, ignored;
    bool own = true;
    int count;

    if (get_next(w, id, to, bytes) && naming_check(w->naming, id, to, bytes, e) == OK)
        return OK;
    count = index_find(w->store->index, id, places, e);
    if (count < 0)
        return e->status;
    for (int i = 0; i < count; i++) {
        if (get_from(w, id, &places[i], to, bytes, &own, e) == OK &&
            naming_check(w->naming, id, to, bytes, e) == OK)
            return OK;
        if (e->status != DAMAGED)
            return e->status;
        store_say_where(w, &places[i], e);
        if (own)
            store_mark(w->store, &places[i], &ignored);
        if (first.status == OK)
            first = *e;
    }
    if (first.status == OK)
        return error_set(e, DAMAGED, "it is missing: no pack has it");
    *e = first;
    return e->status;
}

int store_get(struct store_worker *w, const struct chunk_id *id, void *content, uint32_t bytes,
              struct error *e)
{
    char hex[ID_HEX];

    if (chunk_id_is_zero(id)) {
        memset(content, 0, bytes);
        return OK;
    }
    if (get(w, id, content, bytes, e) == OK)
        return OK;
    chunk_id_to_hex(id, hex);
    return error_prefix(e, "chunk %.16s…", hex);
}

/* As a first try, from the best place, unchecked. What is not to be had so leaves zeros. */
static void get_quickly(struct store_worker *w, const struct chunk_id *id, uint8_t *to,
                        uint32_t bytes)
{
    struct place places[PLACES_MAX];
    struct error ignored;
    bool own;

    if (!chunk_id_is_zero(id) && get_next(w, id, to, bytes))
        return;
    if (chunk_id_is_zero(id) || index_find(w->store->index, id, places, &ignored) <= 0 ||
        !is_sound(&places[0]) || get_from(w, id, &places[0], to, bytes, &own, &ignored) < 0)
        memset(to, 0, bytes);
}

static uint32_t bytes_of(size_t i, size_t bytes, uint32_t chunk_bytes)
{
    size_t left = bytes - i * chunk_bytes;

    return left < chunk_bytes ? (uint32_t)left : chunk_bytes;
}

/* Most are good: all are read, and their sums are worked out in pairs. The others are read once
 * more. */
int store_get_many(struct store_worker *w, const struct chunk_id *ids, void *content, size_t bytes,
                   store_bad bad, void *arg, struct error *e)
{
    uint32_t chunk_bytes = w->store->chunk_bytes;
    size_t count = (bytes + chunk_bytes - 1) / chunk_bytes;
    struct chunk_id found[LIST_IDS];
    struct error why;

    if (count > LIST_IDS)
        return error_set(e, FAILED, "more chunks at once than a list has");
    for (size_t i = 0; i < count; i++)
        get_quickly(w, &ids[i], (uint8_t *)content + i * chunk_bytes,
                    bytes_of(i, bytes, chunk_bytes));
    if (store_names(w, content, bytes, found, e) < 0)
        return e->status;
    for (size_t i = 0; i < count; i++) {
        uint8_t *to = (uint8_t *)content + i * chunk_bytes;
        uint32_t n = bytes_of(i, bytes, chunk_bytes);

        if (memcmp(found[i].bytes, ids[i].bytes, ID_BYTES) == 0)
            continue;
        w->first.bytes = w->second.bytes = 0;
        if (store_get(w, &ids[i], to, n, &why) == OK)
            continue;
        if (!bad || why.status != DAMAGED) {
            *e = why;
            return e->status;
        }
        memset(to, 0, n);
        if (bad(arg, i, &why, e) < 0)
            return e->status;
    }
    return OK;
}
