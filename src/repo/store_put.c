/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chunks into a store, and pieces from place to place. */
#include <string.h>

#include "base/interrupt.h"
#include "base/sha256_pair.h"
#include "repo/codec.h"
#include "repo/naming.h"
#include "repo/patch.h"
#include "repo/store_private.h"

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
    int count = index_find(w->store->index, previous, places, &ignored), from;
    bool fits;

    if (count <= 0 || !is_sound(&places[0]))
        return false;
    memcpy(prefix, previous->bytes, PREFIX_BYTES);
    if (places[0].patch) {
        memcpy(prefix, places[0].base, PREFIX_BYTES);
        count = index_find_prefix(w->store->index, prefix, places, &ignored);
    }
    from = store_get_base(w, prefix, places, count, w->base, bytes, &h, &fits, &ignored);
    if (from < 0 || !is_sound(&places[from]))
        return false;
    *base = h.id;
    rely_on(w->store, &places[from]);
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

/* Whether a piece is there to be relied on: a patch is only with its base. `*whole`: it is to be
 * put as a whole, since it is there as a patch. */
static int claim(struct store_worker *w, const struct chunk_id *id, enum claim *claim, bool *whole,
                 struct error *e)
{
    struct place place, base;

    *whole = false;
    if (index_claim(w->store->index, id, false, claim, &place, e) < 0)
        return e->status;
    if (*claim == CLAIM_MINE || place.pack == PACK_OPEN)
        return OK;
    if (place.patch) {
        *whole = !find_whole(w, place.base, &base);
        if (!*whole)
            rely_on(w->store, &base);
        else if (index_claim(w->store->index, id, true, claim, &place, e) < 0)
            return e->status;
        if (*claim == CLAIM_MINE || place.pack == PACK_OPEN)
            return OK;
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
    bool whole;
    int rc;

    atomic_fetch_add(&w->store->put_bytes, bytes);
    if (chunk_id_is_zero(id)) {
        atomic_fetch_add(&w->store->known_bytes, bytes);
        return OK;
    }
    if (keeps_nothing(w->store))
        return OK;
    if (claim(w, id, &found, &whole, e) < 0)
        return e->status;
    if (found == CLAIM_KNOWN) {
        atomic_fetch_add(&w->store->known_bytes, bytes);
        return OK;
    }
    if (previous && !whole && !chunk_id_is_zero(previous)) {
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
static int check_piece(struct store_worker *w, const struct place *place,
                       const struct piece_head *h, const uint8_t *piece, bool *own, struct error *e)
{
    int rc;

    *own = true;
    if (h->full_bytes > w->room)
        return error_set(e, DAMAGED, "its content is longer than chunks are here");
    rc = store_decode(w, place, h, piece, w->content, own, e);
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

/* Read it, and all of it, into w->first. */
static int read_and_check(struct store_worker *w, const struct place *place, const uint8_t *prefix,
                          const uint8_t **piece, struct piece_head *h, struct error *e)
{
    struct error ignored;
    bool own = true;
    int rc = store_read_piece(w, place, prefix, &w->first, piece, h, e);

    if (rc == OK)
        rc = check_piece(w, place, h, *piece, &own, e);
    if (rc == DAMAGED && own)
        store_mark(w->store, place, &ignored);
    return rc < 0 ? store_say_where(w, place, e) : OK;
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
    if (store_decode_whole(w, &heads[0], a->bytes, w->content, e) < 0 ||
        store_decode_whole(w, &heads[1], b->bytes, w->base, e) < 0)
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
            rc = check_piece(w, &pieces[i].place, &heads[i], pieces[i].bytes, &own, e);
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
    bool own, whole;

    if (check_piece(w, NULL, h, piece, &own, e) < 0)
        return e->status;
    for (;;) {
        int count;

        if (claim(w, &h->id, &found, &whole, e) < 0)
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
        /* Not to be claimed once more, whatever of it is damaged. */
        if (store_mark(w->store, &places[0], e) < 0 || interrupt_check(e) < 0)
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
