/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chunks into a store and out of it. */
#include <stdlib.h>
#include <string.h>

#include "base/sha256_pair.h"
#include "repo/codec.h"
#include "repo/naming.h"
#include "repo/pack.h"
#include "repo/patch.h"
#include "repo/store_private.h"

struct store_worker {
    struct store *store;
    uint32_t room; /* for content, in each of what follows */
    struct naming *naming;
    struct codec *codec;
    uint8_t *buffer;  /* a piece that was read */
    uint8_t *second;  /* another, while that is still needed: a patch's base */
    uint8_t *base;    /* content */
    uint8_t *pages;   /* those of a patch */
    uint8_t *content; /* of a piece that is copied */
    struct pack_window window;
};

/* ---- workers ---- */

static int out_of_memory(struct error *e)
{
    return error_set(e, NO_SPACE, "out of memory");
}

static int make_memory(struct store_worker *w, struct error *e)
{
    w->room = w->store->chunk_bytes > LIST_BYTES ? w->store->chunk_bytes : LIST_BYTES;
    w->buffer = aligned_alloc(BACKEND_ALIGNMENT, PACK_BUFFER_BYTES(w->room));
    w->second = aligned_alloc(BACKEND_ALIGNMENT, PACK_BUFFER_BYTES(w->room));
    w->base = malloc(w->room);
    w->pages = malloc(w->room);
    w->content = malloc(w->room);
    if (!w->buffer || !w->second || !w->base || !w->pages || !w->content)
        return out_of_memory(e);
    return OK;
}

int store_worker_new(struct store_worker **out, struct store *s, struct error *e)
{
    struct store_worker *w = calloc(1, sizeof *w);
    int rc;

    if (!w)
        return out_of_memory(e);
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
    free(w->buffer);
    free(w->second);
    free(w->base);
    free(w->pages);
    free(w->content);
    free(w->window.buffer);
    free(w);
}

struct pack_window *store_window(struct store_worker *w)
{
    return &w->window;
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

/* Whether a writer may rely on it. */
static bool is_sound(const struct place *place)
{
    return place->pack != PACK_OPEN && !place->damaged;
}

static int wrong_length(const struct piece_head *h, uint32_t bytes, struct error *e)
{
    return error_set(e, DAMAGED, "it has %u bytes, not %u", h->full_bytes, bytes);
}

/* The piece at a place, whose name begins so. */
static int read_piece(struct store_worker *w, const struct place *place, const uint8_t *prefix,
                      uint8_t *buffer, const uint8_t **piece, struct piece_head *h, struct error *e)
{
    const struct index_pack *pack = index_pack(w->store->index, place->pack);

    if (!pack)
        return error_set(e, DAMAGED, "the index names a pack that does not exist");
    if (place->stored_bytes > w->room)
        return error_set(e, DAMAGED, "it is longer than chunks are here");
    if (pack_read_piece(repo_backend(w->store->repo), &pack->name, place->offset,
                        place->stored_bytes, buffer, piece, h, e) < 0) {
        /* A newer kind of piece would be required by the config: a head is not what was written. */
        if (e->status == UNSUPPORTED)
            e->status = DAMAGED;
        return e->status;
    }
    if (memcmp(h->id.bytes, prefix, PREFIX_BYTES) != 0)
        return error_set(e, DAMAGED, "another piece is where it should be");
    if (h->full_bytes > w->room)
        return error_set(e, DAMAGED, "its content is longer than chunks are here");
    return OK;
}

/* Of a piece that is no patch. */
static int decode_whole(struct store_worker *w, const struct piece_head *h, const uint8_t *piece,
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

    return h->encoding != ENCODING_PATCH && decode_whole(w, h, piece, w->content, &ignored) == OK &&
           naming_check(w->naming, &h->id, w->content, h->full_bytes, &ignored) == OK;
}

static int say_where(struct store_worker *w, const struct place *place, struct error *e)
{
    const struct index_pack *pack = index_pack(w->store->index, place->pack);
    char text[PACK_NAME_TEXT];

    if (!pack)
        return e->status;
    pack_name_to_text(&pack->name, text);
    return error_prefix(e, "pack %.33s…", text);
}

/* A whole piece by how its name begins, from the first place where it is good: for patches. The
 * name in full is in `h`. */
static int get_base(struct store_worker *w, const uint8_t *prefix, uint8_t *to, uint32_t bytes,
                    struct piece_head *h, struct error *e)
{
    struct place places[PLACES_MAX];
    int count = index_find_prefix(w->store->index, prefix, places, e);
    const uint8_t *piece;

    if (count < 0)
        return e->status;
    error_set(e, DAMAGED, "it is missing");
    for (int i = 0; i < count; i++) {
        if (places[i].patch || places[i].pack == PACK_OPEN)
            continue;
        if (read_piece(w, &places[i], prefix, w->second, &piece, h, e) == OK) {
            if (h->full_bytes != bytes && is_whole(w, h, piece))
                return wrong_length(h, bytes, e);
            if ((h->full_bytes == bytes || wrong_length(h, bytes, e) == OK) &&
                decode_whole(w, h, piece, to, e) == OK &&
                naming_check(w->naming, &h->id, to, bytes, e) == OK)
                return OK;
        }
        if (e->status != DAMAGED)
            return e->status;
        say_where(w, &places[i], e);
        if (store_mark(w->store, &places[i], &(struct error){0}) < 0)
            break;
    }
    return e->status;
}

/* A patch, which is in w->buffer: on top of its base. `*own`: what is damaged is the patch itself.
 */
static int decode_patch(struct store_worker *w, const struct piece_head *h, const uint8_t *piece,
                        uint8_t *to, bool *own, struct error *e)
{
    uint32_t bytes = h->full_bytes, bitmap_bytes = (uint32_t)patch_bitmap_bytes(bytes), sum;
    const uint8_t *stored = piece + PIECE_HEAD_BYTES;
    uint8_t bitmap[PATCH_BITMAP_MAX_BYTES], base[PREFIX_BYTES];
    struct piece_head base_head;

    if (h->stored_bytes <= PATCH_HEAD_BYTES + bitmap_bytes)
        return error_set(e, DAMAGED, "a patch that is too short");
    memcpy(base, stored, PREFIX_BYTES);
    memcpy(bitmap, stored + PATCH_HEAD_BYTES, bitmap_bytes);
    sum = patch_pages_bytes(bitmap, bytes);
    if (!sum)
        return error_set(e, DAMAGED, "a patch of no pages, or of pages past its end");
    if (codec_unzip(w->codec, w->pages, sum, stored + PATCH_HEAD_BYTES + bitmap_bytes,
                    h->stored_bytes - PATCH_HEAD_BYTES - bitmap_bytes, e) < 0)
        return e->status;
    *own = false;
    if (get_base(w, base, to, bytes, &base_head, e) < 0)
        return error_prefix(e, "the base of a patch");
    *own = true;
    patch_apply(to, bytes, bitmap, w->pages);
    return OK;
}

/* Not checked against its name. `*own`: if it is damaged, it is so at this place. */
static int get_from(struct store_worker *w, const struct chunk_id *id, const struct place *place,
                    uint8_t *to, uint32_t bytes, bool *own, struct error *e)
{
    struct piece_head h;
    const uint8_t *piece;

    *own = true;
    if (read_piece(w, place, id->bytes, w->buffer, &piece, &h, e) < 0)
        return e->status;
    if (h.full_bytes != bytes) {
        /* That of a patch is of its base's length, and not worth more. */
        *own = h.encoding != ENCODING_PATCH && !is_whole(w, &h, piece);
        return wrong_length(&h, bytes, e);
    }
    return h.encoding == ENCODING_PATCH ? decode_patch(w, &h, piece, to, own, e)
                                        : decode_whole(w, &h, piece, to, e);
}

/* ---- out: all places ---- */

static int get(struct store_worker *w, const struct chunk_id *id, uint8_t *to, uint32_t bytes,
               struct error *e)
{
    struct place places[PLACES_MAX];
    int count = index_find(w->store->index, id, places, e);
    struct error first = {0}, ignored;
    bool own = true;

    if (count < 0)
        return e->status;
    for (int i = 0; i < count; i++) {
        if (places[i].pack == PACK_OPEN)
            continue;
        if (get_from(w, id, &places[i], to, bytes, &own, e) == OK &&
            naming_check(w->naming, id, to, bytes, e) == OK)
            return OK;
        if (e->status != DAMAGED)
            return e->status;
        say_where(w, &places[i], e);
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

        if (memcmp(found[i].bytes, ids[i].bytes, ID_BYTES) == 0 ||
            store_get(w, &ids[i], to, n, &why) == OK)
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

/* ---- in ---- */

static int append(struct store_worker *w, enum pack_kind kind, struct piece_head *h,
                  const struct chunk_id *base, const void *first, size_t first_bytes,
                  const void *second, size_t second_bytes, struct error *e)
{
    uint8_t head[PIECE_HEAD_BYTES];
    struct iovec parts[] = {
        {head, sizeof head}, {(void *)first, first_bytes}, {(void *)second, second_bytes}};

    h->stored_bytes = (uint32_t)(first_bytes + second_bytes);
    piece_head_put(head, h);
    atomic_fetch_add(&w->store->stored_bytes, PIECE_HEAD_BYTES + h->stored_bytes);
    return packer_append(w->store->packers[kind - PACK_DATA], h, base, parts, 3, e);
}

/* A place where a piece is whole, no patch, and sound. */
static bool find_whole(struct store_worker *w, const uint8_t *prefix, struct place *place)
{
    struct place places[PLACES_MAX];
    struct error ignored;

    if (index_find_prefix(w->store->index, prefix, places, &ignored) <= 0)
        return false;
    *place = places[0];
    return is_sound(place) && !place->patch;
}

/* The content that a patch would go on top of, into w->base: of `previous`, or of its base. False
 * if there is none: damage must not spread, nor a patch be of what is on its way out. */
static bool find_base(struct store_worker *w, const struct chunk_id *previous, uint32_t bytes,
                      struct chunk_id *base)
{
    struct place places[PLACES_MAX];
    struct error ignored;
    struct piece_head h;
    uint8_t prefix[PREFIX_BYTES];
    int count = index_find(w->store->index, previous, places, &ignored);

    memcpy(prefix, previous->bytes, PREFIX_BYTES);
    if (count <= 0 || !is_sound(&places[0]))
        return false;
    if (places[0].patch) {
        memcpy(prefix, places[0].base, PREFIX_BYTES);
        if (!find_whole(w, prefix, &places[0]))
            return false;
    }
    if (get_base(w, prefix, w->base, bytes, &h, &ignored) < 0)
        return false;
    *base = h.id;
    rely_on(w->store, &places[0]);
    return true;
}

/* NOT_FOUND: a patch is not to be had, or would not be smaller. */
static int put_patch(struct store_worker *w, enum pack_kind kind, struct piece_head *h,
                     const uint8_t *content, const struct chunk_id *previous, struct error *e)
{
    uint8_t head[PATCH_HEAD_BYTES + PATCH_BITMAP_MAX_BYTES];
    size_t head_bytes = PATCH_HEAD_BYTES + patch_bitmap_bytes(h->full_bytes), n;
    struct chunk_id base;
    const void *frame;
    uint32_t sum;

    if (!find_base(w, previous, h->full_bytes, &base))
        return NOT_FOUND;
    sum = patch_gather(content, w->base, h->full_bytes, w->pages, head + PATCH_HEAD_BYTES);
    if (!sum)
        return NOT_FOUND;
    memcpy(head, base.bytes, ID_BYTES);
    n = codec_zip(w->codec, w->pages, sum, &frame);
    if (!n || head_bytes + n >= h->full_bytes)
        return NOT_FOUND;
    h->encoding = ENCODING_PATCH;
    return append(w, kind, h, &base, head, head_bytes, frame, n, e);
}

static int put_whole(struct store_worker *w, enum pack_kind kind, struct piece_head *h,
                     const uint8_t *content, struct error *e)
{
    const void *frame;
    size_t n = codec_zip(w->codec, content, h->full_bytes, &frame);

    h->encoding = ENCODING_ZSTD;
    if (!n || n >= h->full_bytes) {
        h->encoding = ENCODING_RAW;
        frame = content;
        n = h->full_bytes;
    }
    /* Lists are small, and much depends on each: they are among the chunks, too. */
    if (kind == PACK_LISTS && append(w, PACK_DATA, h, NULL, frame, n, NULL, 0, e) < 0)
        return e->status;
    return append(w, kind, h, NULL, frame, n, NULL, 0, e);
}

/* Whether a piece is there to be relied on: a patch is only with its base. */
static int claim(struct store_worker *w, const struct chunk_id *id, enum claim *claim,
                 struct error *e)
{
    struct place place, base;

    if (index_claim(w->store->index, id, false, claim, &place, e) < 0)
        return e->status;
    if (*claim == CLAIM_MINE || place.pack == PACK_OPEN)
        return OK;
    if (place.patch) {
        if (!find_whole(w, place.base, &base))
            return index_claim(w->store->index, id, true, claim, &place, e);
        rely_on(w->store, &base);
    }
    rely_on(w->store, &place);
    return OK;
}

bool store_rely(struct store_worker *w, const struct chunk_id *id)
{
    struct place places[PLACES_MAX], base;
    struct error ignored;

    if (chunk_id_is_zero(id))
        return true;
    if (index_find(w->store->index, id, places, &ignored) <= 0 || !is_sound(&places[0]))
        return false;
    if (places[0].patch && !find_whole(w, places[0].base, &base))
        return false;
    if (places[0].patch)
        rely_on(w->store, &base);
    rely_on(w->store, &places[0]);
    return true;
}

int store_put_named(struct store_worker *w, enum pack_kind kind, const void *content,
                    uint32_t bytes, const struct chunk_id *previous, const struct chunk_id *id,
                    struct error *e)
{
    struct piece_head h = {.full_bytes = bytes, .id = *id};
    enum claim found;
    int rc;

    atomic_fetch_add(&w->store->put_bytes, bytes);
    if (chunk_id_is_zero(id)) {
        atomic_fetch_add(&w->store->known_bytes, bytes);
        return OK;
    }
    if (keeps_nothing(w->store))
        return OK;
    if (claim(w, id, &found, e) < 0)
        return e->status;
    if (found == CLAIM_KNOWN) {
        atomic_fetch_add(&w->store->known_bytes, bytes);
        return OK;
    }
    if (previous && !chunk_id_is_zero(previous)) {
        rc = put_patch(w, kind, &h, content, previous, e);
        if (rc != NOT_FOUND)
            return rc;
    }
    return put_whole(w, kind, &h, content, e);
}

int store_put(struct store_worker *w, enum pack_kind kind, const void *content, uint32_t bytes,
              const struct chunk_id *previous, struct chunk_id *id, struct error *e)
{
    return store_name(w, content, bytes, id, e) < 0
               ? e->status
               : store_put_named(w, kind, content, bytes, previous, id, e);
}

/* ---- pieces that are moved ---- */

/* Read all of it, for what is damaged must not move on. */
static int check_piece(struct store_worker *w, const struct piece_head *h, const uint8_t *piece,
                       bool *own, struct error *e)
{
    int rc;

    *own = true;
    if (h->full_bytes > w->room)
        return error_set(e, DAMAGED, "its content is longer than chunks are here");
    rc = h->encoding == ENCODING_PATCH ? decode_patch(w, h, piece, w->content, own, e)
                                       : decode_whole(w, h, piece, w->content, e);
    return rc < 0 ? rc : naming_check(w->naming, &h->id, w->content, h->full_bytes, e);
}

static int append_piece(struct store_worker *w, const struct piece_head *h, const uint8_t *piece,
                        enum pack_kind kind, struct error *e)
{
    struct iovec part = {(void *)piece, PIECE_HEAD_BYTES + (size_t)h->stored_bytes};
    struct chunk_id base;

    atomic_fetch_add(&w->store->stored_bytes, part.iov_len);
    if (h->encoding == ENCODING_PATCH)
        memcpy(base.bytes, piece + PIECE_HEAD_BYTES, ID_BYTES);
    return packer_append(w->store->packers[kind - PACK_DATA], h,
                         h->encoding == ENCODING_PATCH ? &base : NULL, &part, 1, e);
}

/* Read it, and all of it, into w->buffer. */
static int read_and_check(struct store_worker *w, const struct place *place, const uint8_t *prefix,
                          const uint8_t **piece, struct piece_head *h, struct error *e)
{
    struct error ignored;
    bool own = true;
    int rc = read_piece(w, place, prefix, w->buffer, piece, h, e);

    if (rc == OK)
        rc = check_piece(w, h, *piece, &own, e);
    if (rc == DAMAGED && own)
        store_mark(w->store, place, &ignored);
    return rc < 0 ? say_where(w, place, e) : OK;
}

int store_check(struct store_worker *w, const struct place *place, const uint8_t *prefix,
                struct error *e)
{
    struct piece_head h;
    const uint8_t *piece;

    return read_and_check(w, place, prefix, &piece, &h, e);
}

/* Two that are whole, of one length, by one sum of both. */
static bool check_pair(struct store_worker *w, const struct store_piece *a,
                       const struct store_piece *b, const struct piece_head heads[2],
                       struct error *e)
{
    uint8_t sums[2][ID_BYTES];

    if (heads[0].encoding == ENCODING_PATCH || heads[1].encoding == ENCODING_PATCH)
        return false;
    if (heads[0].full_bytes != heads[1].full_bytes || heads[0].full_bytes > w->room)
        return false;
    if (decode_whole(w, &heads[0], a->bytes, w->content, e) < 0 ||
        decode_whole(w, &heads[1], b->bytes, w->base, e) < 0)
        return false;
    if (sha256_pair((struct sha256_part){w->content, sums[0]},
                    (struct sha256_part){w->base, sums[1]}, heads[0].full_bytes, e) < 0)
        return false;
    return memcmp(sums[0], a->id.bytes, ID_BYTES) == 0 &&
           memcmp(sums[1], b->id.bytes, ID_BYTES) == 0;
}

static int take_head(const struct store_piece *p, struct piece_head *h, struct error *e)
{
    if (piece_head_take(h, p->bytes, e) < 0)
        return e->status;
    if (h->stored_bytes != p->place.stored_bytes || memcmp(&h->id, &p->id, sizeof p->id) != 0)
        return error_set(e, DAMAGED, "another piece is where it should be");
    return OK;
}

int store_check_pieces(struct store_worker *w, const struct store_piece *pieces, size_t count,
                       uint64_t *bad, struct error *e)
{
    struct piece_head heads[2];
    bool heads_good = count == 2;

    for (size_t i = 0; heads_good && i < count; i++)
        heads_good = take_head(&pieces[i], &heads[i], e) == OK;
    if (heads_good && check_pair(w, &pieces[0], &pieces[1], heads, e))
        return OK;
    for (size_t i = 0; i < count; i++) {
        bool own = true;
        int rc = take_head(&pieces[i], &heads[i], e);

        if (rc == OK)
            rc = check_piece(w, &heads[i], pieces[i].bytes, &own, e);
        if (rc < 0 && rc != DAMAGED)
            return rc;
        *bad += rc < 0;
        if (rc < 0 && own && store_mark(w->store, &pieces[i].place, e) < 0)
            return e->status;
    }
    return OK;
}

/* What it is relied on in place of is read, too: this may be the last that is whole. */
int store_put_piece(struct store_worker *w, const struct piece_head *h, const uint8_t *piece,
                    enum pack_kind kind, struct error *e)
{
    struct place places[PLACES_MAX];
    enum claim found;
    bool own;

    if (check_piece(w, h, piece, &own, e) < 0)
        return e->status;
    for (;;) {
        int count;

        if (claim(w, &h->id, &found, e) < 0)
            return e->status;
        if (found == CLAIM_MINE)
            return append_piece(w, h, piece, kind, e);
        count = index_find(w->store->index, &h->id, places, e);
        if (count < 0)
            return e->status;
        /* It has just been put, else. */
        if (count == 0 || !is_sound(&places[0]) || store_check(w, &places[0], h->id.bytes, e) == OK)
            return OK;
        if (e->status != DAMAGED)
            return e->status;
    }
}

int store_copy(struct store_worker *w, const struct place *place, const uint8_t *prefix,
               enum pack_kind kind, struct error *e)
{
    struct piece_head h;
    const uint8_t *piece;

    return read_and_check(w, place, prefix, &piece, &h, e) < 0
               ? e->status
               : append_piece(w, &h, piece, kind, e);
}
