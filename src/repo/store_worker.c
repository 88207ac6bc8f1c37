/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chunks into a store and out of it. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/sha256_pair.h"
#include "repo/store_private.h"

/* A higher one costs more time than it saves space (performance: 0.61 against 0.41 GB/s for 6 %).
 */
#define ZSTD_LEVEL 1

/* A patch that replaces more pages of its base than this part is not worth the second read. */
#define PATCH_MAX_PART 2

struct store_worker {
    struct store *store;
    struct pack_writer *pack;
    ZSTD_CCtx *zip;
    ZSTD_DCtx *unzip;
    EVP_MD_CTX *sum;
    uint8_t *buffer;       /* what was read */
    const uint8_t *record; /* in there: a head and what it says */
    char from[PACK_NAME];  /* where that is from */
    uint8_t *base;         /* content */
    uint8_t *pages;        /* those of a patch */
    uint8_t *zipped;       /* a frame */
    size_t zipped_bytes;
    struct pack_window window;
    struct store_stats stats;
};

/* ---- workers ---- */

static int add_pack(void *arg, const char name[PACK_NAME], uint64_t bytes,
                    const struct table_entry *entries, size_t count, struct error *e)
{
    struct store *s = arg;
    char(*more)[PACK_NAME];

    pthread_mutex_lock(&s->mutex);
    more = reallocarray(s->unsaved, s->unsaved_count + 1, sizeof *more);
    if (more) {
        memcpy(more[s->unsaved_count++], name, PACK_NAME);
        s->unsaved = more;
    }
    pthread_mutex_unlock(&s->mutex);
    if (more)
        return index_add_pack(s->index, name, bytes, entries, count, e);
    pack_discard(s->packs_dirfd, name);
    return error_set(e, NO_SPACE, "out of memory");
}

int store_worker_new(struct store_worker **out, struct store *s, struct error *e)
{
    struct store_worker *w = calloc(1, sizeof *w);

    if (!w)
        return error_errno(e, "worker");
    w->store = s;
    w->sum = EVP_MD_CTX_new();
    if (w->sum && keeps_nothing(s)) {
        *out = w;
        return OK;
    }
    w->zipped_bytes = ZSTD_compressBound(CHUNK_MAX_BYTES);
    w->zip = ZSTD_createCCtx();
    w->unzip = ZSTD_createDCtx();
    w->buffer = aligned_alloc(PACK_BUFFER_ALIGNMENT, PACK_BUFFER_BYTES);
    w->base = malloc(CHUNK_MAX_BYTES);
    w->pages = malloc(CHUNK_MAX_BYTES);
    w->zipped = malloc(w->zipped_bytes);
    if (w->zip && w->unzip && w->sum && w->buffer && w->base && w->pages && w->zipped) {
        if (pack_writer_new(&w->pack, s->packs_dirfd, add_pack, s, e) == OK) {
            *out = w;
            return OK;
        }
    } else {
        error_set(e, NO_SPACE, "out of memory");
    }
    store_worker_free(w);
    return e->status;
}

int store_worker_finish(struct store_worker *w, struct error *e)
{
    return keeps_nothing(w->store) ? OK : pack_writer_finish(w->pack, e);
}

void store_worker_free(struct store_worker *w)
{
    if (!w)
        return;
    pack_writer_free(w->pack);
    ZSTD_freeCCtx(w->zip);
    ZSTD_freeDCtx(w->unzip);
    EVP_MD_CTX_free(w->sum);
    free(w->buffer);
    free(w->base);
    free(w->pages);
    free(w->zipped);
    free(w->window.buffer);
    free(w);
}

const struct store_stats *store_worker_stats(const struct store_worker *w)
{
    return &w->stats;
}

static int hash(struct store_worker *w, const void *content, uint32_t bytes, struct chunk_id *id,
                struct error *e)
{
    if (EVP_DigestInit_ex(w->sum, EVP_sha256(), NULL) && EVP_DigestUpdate(w->sum, content, bytes) &&
        EVP_DigestFinal_ex(w->sum, id->bytes, NULL))
        return OK;
    return error_set(e, FAILED, "SHA-256 is not to be had from libcrypto");
}

static bool is_zero(const uint8_t *p, uint32_t bytes)
{
    return bytes == 0 || (p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0);
}

int store_name(struct store_worker *w, const void *content, uint32_t bytes, struct chunk_id *id,
               struct error *e)
{
    *id = chunk_id_zero;
    return is_zero(content, bytes) ? OK : hash(w, content, bytes, id, e);
}

int store_names(struct store_worker *w, const void *content, size_t bytes, struct chunk_id *ids,
                struct error *e)
{
    uint32_t chunk_bytes = w->store->chunk_bytes;
    size_t count = bytes / chunk_bytes, rest = bytes % chunk_bytes;
    const uint8_t *chunk = content, *single = NULL; /* one that has no partner yet */
    struct chunk_id *single_id = NULL;

    for (; count--; chunk += chunk_bytes, ids++) {
        *ids = chunk_id_zero;
        if (is_zero(chunk, chunk_bytes))
            continue;
        if (!single) {
            single = chunk;
            single_id = ids;
            continue;
        }
        if (sha256_pair((struct sha256_part){single, single_id->bytes},
                        (struct sha256_part){chunk, ids->bytes}, chunk_bytes, e) < 0)
            return e->status;
        single = NULL;
    }
    if (single && hash(w, single, chunk_bytes, single_id, e) < 0)
        return e->status;
    return rest ? store_name(w, chunk, (uint32_t)rest, ids, e) : OK;
}

int store_find(struct store *s, const struct chunk_id *id, struct location *where, struct error *e)
{
    char hex[ID_HEX];

    if (index_find(s->index, id, where) == OK)
        return OK;
    chunk_id_to_hex(id, hex);
    return error_set(e, DAMAGED, "chunk %.16s… is needed and in no pack", hex);
}

int store_patch_base(struct store_worker *w, const struct location *where, struct chunk_id *base,
                     struct error *e)
{
    int fd;

    return index_pack_open(w->store->index, where->pack, &fd, w->from, e) < 0 ||
                   pack_peek_near(&w->window, fd, (uint64_t)where->offset + RECORD_HEAD_BYTES,
                                  base->bytes, ID_BYTES, e) < 0
               ? e->status
               : OK;
}

int store_check_base(struct store_worker *w, const struct location *where, struct error *e)
{
    struct location base_at;
    struct chunk_id base;

    if (!where->patch)
        return OK;
    if (store_patch_base(w, where, &base, e) < 0)
        return e->status;
    if (store_find(w->store, &base, &base_at, e) < 0)
        return error_prefix(e, "the base of a patch in pack %s", w->from);
    /* One that is being written may become a patch itself. */
    if (base_at.pack == PACK_OPEN || base_at.patch)
        return error_set(e, DAMAGED, "pack %s: a patch of a patch", w->from);
    return OK;
}

/* ---- out ---- */

static int unzip(struct store_worker *w, uint8_t *to, uint32_t bytes, const uint8_t *frame,
                 size_t frame_bytes, struct error *e)
{
    size_t n = ZSTD_decompressDCtx(w->unzip, to, bytes, frame, frame_bytes);

    if (ZSTD_isError(n))
        return error_set(e, DAMAGED, "zstd: %s", ZSTD_getErrorName(n));
    return n == bytes ? OK : error_set(e, DAMAGED, "it is not as long as it should be");
}

/* The record of `id`, into w->record. */
static int read_record(struct store_worker *w, const struct chunk_id *id, struct record_head *h,
                       struct error *e)
{
    struct location where;
    int fd;

    *w->from = '\0';
    if (index_find(w->store->index, id, &where) < 0)
        return error_set(e, DAMAGED, "no pack has it");
    if (where.pack == PACK_OPEN)
        return error_set(e, BUSY, "it is being written");
    if (index_pack_open(w->store->index, where.pack, &fd, w->from, e) < 0)
        return e->status;
    if (pack_read(fd, where.offset, where.stored_bytes, w->buffer, &w->record, h, e) < 0)
        return e->status;
    if (memcmp(h->id.bytes, id->bytes, ID_BYTES) != 0)
        return error_set(e, DAMAGED, "another record is where it should be");
    return OK;
}

static int decode_full(struct store_worker *w, const struct record_head *h, uint8_t *to,
                       uint32_t bytes, struct error *e)
{
    const uint8_t *stored = w->record + RECORD_HEAD_BYTES;

    if (h->full_bytes != bytes)
        return error_set(e, DAMAGED, "it is %u bytes long, not %u", h->full_bytes, bytes);
    switch (h->encoding) {
    case ENCODING_RAW:
        memcpy(to, stored, bytes);
        return OK;
    case ENCODING_ZSTD:
        return unzip(w, to, bytes, stored, h->stored_bytes, e);
    default:
        return error_set(e, DAMAGED, "a patch of a patch");
    }
}

static uint32_t page_bytes(uint32_t page, uint32_t bytes)
{
    uint32_t left = bytes - page * PATCH_PAGE_BYTES;

    return left < PATCH_PAGE_BYTES ? left : PATCH_PAGE_BYTES;
}

static bool bit_of(const uint8_t *bitmap, uint32_t page)
{
    return bitmap[page / 8] & 1 << page % 8;
}

/* How much the pages are whose bits are set; 0 if a bit is set past the end. */
static uint32_t patched_bytes(const uint8_t *bitmap, uint32_t bytes)
{
    uint32_t pages = (bytes + PATCH_PAGE_BYTES - 1) / PATCH_PAGE_BYTES, sum = 0;

    for (uint32_t page = 0; page < patch_bitmap_bytes(bytes) * 8; page++) {
        if (!bit_of(bitmap, page))
            continue;
        if (page >= pages)
            return 0;
        sum += page_bytes(page, bytes);
    }
    return sum;
}

static int decode_patch(struct store_worker *w, const struct record_head *h, uint8_t *to,
                        uint32_t bytes, struct error *e)
{
    uint32_t bitmap_bytes = (uint32_t)patch_bitmap_bytes(bytes), from = 0, sum;
    const uint8_t *stored = w->record + RECORD_HEAD_BYTES;
    uint8_t bitmap[PATCH_BITMAP_MAX_BYTES];
    struct record_head base_head;
    struct chunk_id base;

    if (h->full_bytes != bytes)
        return error_set(e, DAMAGED, "it is %u bytes long, not %u", h->full_bytes, bytes);
    if (h->stored_bytes <= PATCH_HEAD_BYTES + bitmap_bytes)
        return error_set(e, DAMAGED, "a patch that is too short");
    memcpy(base.bytes, stored, ID_BYTES);
    memcpy(bitmap, stored + PATCH_HEAD_BYTES, bitmap_bytes);
    sum = patched_bytes(bitmap, bytes);
    if (!sum)
        return error_set(e, DAMAGED, "a patch of no pages, or of pages past its end");
    if (unzip(w, w->pages, sum, stored + PATCH_HEAD_BYTES + bitmap_bytes,
              h->stored_bytes - PATCH_HEAD_BYTES - bitmap_bytes, e) < 0)
        return e->status;
    if (read_record(w, &base, &base_head, e) < 0 || decode_full(w, &base_head, to, bytes, e) < 0)
        return error_prefix(e, "its base");
    for (uint32_t page = 0; page * PATCH_PAGE_BYTES < bytes; page++)
        if (bit_of(bitmap, page)) {
            memcpy(to + (size_t)page * PATCH_PAGE_BYTES, w->pages + from, page_bytes(page, bytes));
            from += page_bytes(page, bytes);
        }
    return OK;
}

/* Hold content against its name. */
static int check(struct store_worker *w, const struct chunk_id *id, const uint8_t *content,
                 uint32_t bytes, struct error *e)
{
    struct chunk_id found;

    if (hash(w, content, bytes, &found, e) < 0)
        return e->status;
    return memcmp(found.bytes, id->bytes, ID_BYTES) == 0
               ? OK
               : error_set(e, DAMAGED, "its SHA-256 is another");
}

static int get(struct store_worker *w, const struct chunk_id *id, uint8_t *to, uint32_t bytes,
               struct error *e)
{
    struct record_head h;
    int rc;

    if (read_record(w, id, &h, e) < 0)
        return e->status;
    rc = h.encoding == ENCODING_PATCH ? decode_patch(w, &h, to, bytes, e)
                                      : decode_full(w, &h, to, bytes, e);
    return rc < 0 ? rc : check(w, id, to, bytes, e);
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
    return *w->from ? error_prefix(e, "pack %s, chunk %.16s…", w->from, hex)
                    : error_prefix(e, "chunk %.16s…", hex);
}

/* ---- in ---- */

/* The content that a patch would go on top of, into w->base: of `previous`, or of its base. False
 * if there is none. */
static bool find_base(struct store_worker *w, const struct chunk_id *previous, uint32_t bytes,
                      struct chunk_id *base)
{
    struct record_head h;
    struct error ignored;

    *base = *previous;
    if (read_record(w, base, &h, &ignored) < 0 || h.full_bytes != bytes)
        return false;
    if (h.encoding == ENCODING_PATCH) {
        if (h.stored_bytes < ID_BYTES)
            return false;
        memcpy(base->bytes, w->record + RECORD_HEAD_BYTES, ID_BYTES);
        if (read_record(w, base, &h, &ignored) < 0)
            return false;
    }
    /* Whole, and checked against its name: damage must not spread. */
    return decode_full(w, &h, w->base, bytes, &ignored) == OK &&
           check(w, base, w->base, bytes, &ignored) == OK;
}

/* Gather the pages that differ from w->base; 0 if they are too many. */
static uint32_t gather_pages(struct store_worker *w, const uint8_t *content, uint32_t bytes,
                             uint8_t bitmap[PATCH_BITMAP_MAX_BYTES])
{
    uint32_t sum = 0;

    memset(bitmap, 0, PATCH_BITMAP_MAX_BYTES);
    for (uint32_t page = 0; page * PATCH_PAGE_BYTES < bytes; page++) {
        size_t at = (size_t)page * PATCH_PAGE_BYTES;
        uint32_t n = page_bytes(page, bytes);

        if (memcmp(content + at, w->base + at, n) == 0)
            continue;
        if (sum + n > bytes / PATCH_MAX_PART)
            return 0;
        memcpy(w->pages + sum, content + at, n);
        sum += n;
        bitmap[page / 8] |= (uint8_t)(1 << page % 8);
    }
    return sum;
}

static int append(struct store_worker *w, struct record_head *h, const void *first,
                  size_t first_bytes, const void *second, size_t second_bytes, struct error *e)
{
    h->stored_bytes = (uint32_t)(first_bytes + second_bytes);
    w->stats.stored_bytes += RECORD_HEAD_BYTES + h->stored_bytes;
    return pack_append(w->pack, h, first, first_bytes, second, second_bytes, e);
}

/* NOT_FOUND: a patch is not to be had, or would not be smaller. */
static int put_patch(struct store_worker *w, struct record_head *h, const uint8_t *content,
                     const struct chunk_id *previous, struct error *e)
{
    uint8_t head[PATCH_HEAD_BYTES + PATCH_BITMAP_MAX_BYTES];
    size_t head_bytes = PATCH_HEAD_BYTES + patch_bitmap_bytes(h->full_bytes), n;
    struct chunk_id base;
    uint32_t sum;

    if (!find_base(w, previous, h->full_bytes, &base))
        return NOT_FOUND;
    sum = gather_pages(w, content, h->full_bytes, head + PATCH_HEAD_BYTES);
    if (!sum)
        return NOT_FOUND;
    memcpy(head, base.bytes, ID_BYTES);
    n = ZSTD_compressCCtx(w->zip, w->zipped, w->zipped_bytes, w->pages, sum, ZSTD_LEVEL);
    if (ZSTD_isError(n) || head_bytes + n >= h->full_bytes)
        return NOT_FOUND;
    h->encoding = ENCODING_PATCH;
    return append(w, h, head, head_bytes, w->zipped, n, e);
}

static int put_full(struct store_worker *w, struct record_head *h, const uint8_t *content,
                    struct error *e)
{
    size_t n =
        ZSTD_compressCCtx(w->zip, w->zipped, w->zipped_bytes, content, h->full_bytes, ZSTD_LEVEL);

    if (ZSTD_isError(n) || n >= h->full_bytes) {
        h->encoding = ENCODING_RAW;
        return append(w, h, content, h->full_bytes, NULL, 0, e);
    }
    h->encoding = ENCODING_ZSTD;
    return append(w, h, w->zipped, n, NULL, 0, e);
}

int store_put_named(struct store_worker *w, const void *content, uint32_t bytes,
                    const struct chunk_id *previous, const struct chunk_id *id, struct error *e)
{
    struct record_head h = {.full_bytes = bytes, .id = *id};
    struct location where;
    int rc;

    w->stats.put_bytes += bytes;
    if (chunk_id_is_zero(id)) {
        w->stats.known_bytes += bytes;
        return OK;
    }
    if (keeps_nothing(w->store))
        return OK;
    rc = index_claim(w->store->index, id, &where, e);
    /* A patch may be there without its base: of what no snapshot needs, or if that is lost. There whole it is found before. */
    if (rc == OK && store_check_base(w, &where, e) < 0) {
        rc = index_reclaim(w->store->index, id, e);
        previous = NULL;
    }
    if (rc == OK)
        w->stats.known_bytes += bytes;
    if (rc != NOT_FOUND)
        return rc;
    if (previous && !chunk_id_is_zero(previous)) {
        rc = put_patch(w, &h, content, previous, e);
        if (rc != NOT_FOUND)
            return rc;
    }
    return put_full(w, &h, content, e);
}

int store_put(struct store_worker *w, const void *content, uint32_t bytes,
              const struct chunk_id *previous, struct chunk_id *id, struct error *e)
{
    return store_name(w, content, bytes, id, e) < 0
               ? e->status
               : store_put_named(w, content, bytes, previous, id, e);
}

int store_copy_record(struct store_worker *w, int pack_fd, const struct table_entry *t,
                      struct error *e)
{
    struct record_head h;

    if (pack_read(pack_fd, t->offset, t->stored_bytes, w->buffer, &w->record, &h, e) < 0)
        return e->status;
    if (memcmp(h.id.bytes, t->id.bytes, ID_BYTES) != 0)
        return error_set(e, DAMAGED, "a pack's table names another record than is there");
    return append(w, &h, w->record + RECORD_HEAD_BYTES, h.stored_bytes, NULL, 0, e);
}
