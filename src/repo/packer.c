/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/packer.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/hex.h"

/* Written at once: packs go past the page cache, where small writes are slow. */
#define BUFFER_BYTES (4u << 20)

/* One is filled while others are written. */
#define BUFFERS 3

/* A pack under way. */
struct open_pack {
    struct backend_object *object;
    uint64_t bytes;        /* appended so far */
    uint64_t hashed_bytes; /* of them, in `sum` */
    unsigned writing;      /* so many buffers of it are being written */
    EVP_MD_CTX *sum;
    uint8_t *buffer; /* the end of it, which is not written yet */
    size_t buffered_bytes;
    struct table_entry *entries;
    size_t entry_count;
};

struct packer {
    struct backend *backend;
    const char *run;
    enum pack_kind kind;
    packer_closed closed;
    void *arg;
    pthread_mutex_t lock; /* guards what follows, and all of each pack but what it points to */
    pthread_cond_t changed;
    struct open_pack *open; /* that is appended to; NULL: the next append begins one */
    uint8_t *idle[BUFFERS];
    unsigned idle_count;
    struct error error; /* the first: nothing can be appended any more */
};

/* A buffer on its way to the backend. */
struct full {
    struct open_pack *pack;
    uint8_t *buffer;
    uint64_t offset;
};

/* The first failure is everybody's. */
static int fail(struct packer *p, struct error *e)
{
    pthread_mutex_lock(&p->lock);
    if (p->error.status == OK)
        p->error = *e;
    else
        *e = p->error;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return e->status;
}

/* ---- begin ---- */

static void release_pack(struct packer *p, struct open_pack *pack)
{
    if (!pack)
        return;
    if (pack->object)
        p->backend->driver->discard(pack->object);
    EVP_MD_CTX_free(pack->sum);
    free(pack->entries);
    free(pack->buffer);
    free(pack);
}

/* Under the lock. An idle buffer is there. */
static int begin(struct packer *p, struct error *e)
{
    struct open_pack *pack = calloc(1, sizeof *pack);
    struct pack_head head = {.kind = p->kind};

    if (!pack)
        return error_out_of_memory(e);
    pack->sum = EVP_MD_CTX_new();
    pack->entries = malloc(PACK_ENTRIES_MAX * sizeof *pack->entries);
    if (!pack->sum || !pack->entries)
        error_out_of_memory(e);
    else if (!EVP_DigestInit_ex(pack->sum, EVP_sha256(), NULL))
        error_set(e, FAILED, "libcrypto has no SHA-256");
    else if (p->backend->driver->create(p->backend, p->run, PACK_FULL_BYTES, &pack->object, e) ==
             OK) {
        hex_take(head.run, sizeof head.run, p->run);
        pack->buffer = p->idle[--p->idle_count];
        pack_head_put(pack->buffer, &head);
        pack->bytes = pack->buffered_bytes = PACK_HEAD_BYTES;
        p->open = pack;
        return OK;
    }
    release_pack(p, pack);
    return e->status;
}

/* Under the lock: wait until so much can be appended without waiting, which keeps a piece in one
 * place. */
static int make_ready(struct packer *p, size_t bytes, struct error *e)
{
    for (;;) {
        if (p->error.status < 0) {
            *e = p->error;
            return e->status;
        }
        if (p->open && p->open->buffer &&
            (p->idle_count || p->open->buffered_bytes + bytes <= BUFFER_BYTES))
            return OK;
        if (!p->idle_count)
            pthread_cond_wait(&p->changed, &p->lock);
        else if (!p->open && begin(p, e) < 0)
            return e->status;
        else if (!p->open->buffer)
            p->open->buffer = p->idle[--p->idle_count];
    }
}

/* ---- append ---- */

/* Under the lock. A buffer that is full goes to `full`; at most one does. */
static void copy_in(struct packer *p, const uint8_t *from, size_t bytes, struct full *full)
{
    struct open_pack *pack = p->open;

    while (bytes) {
        size_t room = BUFFER_BYTES - pack->buffered_bytes, n = room < bytes ? room : bytes;

        memcpy(pack->buffer + pack->buffered_bytes, from, n);
        pack->buffered_bytes += n;
        pack->bytes += n;
        from += n;
        bytes -= n;
        if (pack->buffered_bytes < BUFFER_BYTES)
            continue;
        *full = (struct full){pack, pack->buffer, pack->bytes - BUFFER_BYTES};
        pack->writing++;
        /* There may be none if this was the piece's last byte: the next append waits. */
        pack->buffer = p->idle_count ? p->idle[--p->idle_count] : NULL;
        pack->buffered_bytes = 0;
    }
}

/* Parts are summed up in their order, whoever writes them. */
static int sum_in_turn(struct packer *p, struct open_pack *pack, const void *data, size_t bytes,
                       uint64_t offset, struct error *e)
{
    int rc = OK;

    pthread_mutex_lock(&p->lock);
    while (pack->hashed_bytes != offset && p->error.status == OK)
        pthread_cond_wait(&p->changed, &p->lock);
    if (p->error.status < 0) {
        *e = p->error;
        rc = e->status;
    }
    pthread_mutex_unlock(&p->lock);
    if (rc < 0)
        return rc;
    if (!EVP_DigestUpdate(pack->sum, data, bytes))
        return error_set(e, FAILED, "libcrypto has no SHA-256");
    pthread_mutex_lock(&p->lock);
    pack->hashed_bytes = offset + bytes;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return OK;
}

static int write_full_buffer(struct packer *p, const struct full *full, struct error *e)
{
    int rc = sum_in_turn(p, full->pack, full->buffer, BUFFER_BYTES, full->offset, e);

    if (rc == OK)
        rc = p->backend->driver->write(full->pack->object, full->buffer, BUFFER_BYTES, full->offset,
                                       e);
    /* Known to all before anybody takes the pack for whole. */
    if (rc < 0)
        rc = fail(p, e);
    pthread_mutex_lock(&p->lock);
    full->pack->writing--;
    p->idle[p->idle_count++] = full->buffer;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

/* ---- close ---- */

static int compare_entries(const void *a, const void *b)
{
    return memcmp(a, b, ID_BYTES);
}

/* What comes after the last piece, behind what is still buffered, in aligned memory of its own. */
static int make_end(struct open_pack *pack, uint8_t **out, size_t *bytes, struct error *e)
{
    size_t table_bytes = pack->entry_count * TABLE_ENTRY_BYTES;
    size_t whole = pack->buffered_bytes + table_bytes + PACK_TAIL_BYTES;
    size_t room = (whole + BACKEND_ALIGNMENT - 1) / BACKEND_ALIGNMENT * BACKEND_ALIGNMENT;
    struct pack_tail tail = {(uint32_t)pack->entry_count, (uint32_t)pack->bytes, {0}};
    uint8_t *end = aligned_alloc(BACKEND_ALIGNMENT, room), *table;

    if (!end)
        return error_out_of_memory(e);
    if (pack->buffered_bytes)
        memcpy(end, pack->buffer, pack->buffered_bytes);
    table = end + pack->buffered_bytes;
    qsort(pack->entries, pack->entry_count, sizeof *pack->entries, compare_entries);
    for (size_t i = 0; i < pack->entry_count; i++)
        table_entry_put(table + i * TABLE_ENTRY_BYTES, &pack->entries[i]);
    EVP_Digest(table, table_bytes, tail.sum, NULL, EVP_sha256(), NULL);
    pack_tail_put(table + table_bytes, &tail);
    memset(end + whole, 0, room - whole);
    *out = end;
    *bytes = whole;
    return OK;
}

/* Until all that was appended is written. */
static int wait_for_writers(struct packer *p, struct open_pack *pack, struct error *e)
{
    int rc = OK;

    pthread_mutex_lock(&p->lock);
    while (pack->writing)
        pthread_cond_wait(&p->changed, &p->lock);
    if (p->error.status < 0) {
        *e = p->error;
        rc = e->status;
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

/* Nobody appends to it any more: write the end of it, once all before has been. */
static int write_end(struct packer *p, struct open_pack *pack, uint64_t *bytes, struct error *e)
{
    uint64_t offset = pack->bytes - pack->buffered_bytes;
    AUTO_FREE uint8_t *end = NULL;
    size_t n = 0, room;

    if (make_end(pack, &end, &n, e) < 0)
        return e->status;
    room = (n + BACKEND_ALIGNMENT - 1) / BACKEND_ALIGNMENT * BACKEND_ALIGNMENT;
    if (sum_in_turn(p, pack, end, n, offset, e) < 0)
        return e->status;
    if (p->backend->driver->write(pack->object, end, room, offset, e) < 0)
        return e->status;
    *bytes = offset + n;
    return wait_for_writers(p, pack, e);
}

static int publish(struct packer *p, struct open_pack *pack, uint64_t bytes, struct pack_name *name,
                   struct error *e)
{
    struct backend_object *object = pack->object;
    char text[PACK_NAME_TEXT + 6] = "packs/";

    if (!EVP_DigestFinal_ex(pack->sum, name->sum, NULL))
        return error_set(e, FAILED, "libcrypto has no SHA-256");
    hex_take(name->run, sizeof name->run, p->run);
    pack_name_to_text(name, text + 6);
    pack->object = NULL;
    return p->backend->driver->publish(object, text, bytes, name->sum, e);
}

static int close_pack(struct packer *p, struct open_pack *pack, struct error *e)
{
    struct pack_name name;
    uint64_t bytes = 0;
    int rc = write_end(p, pack, &bytes, e);

    if (rc == OK)
        rc = publish(p, pack, bytes, &name, e);
    if (rc == OK)
        rc = FAULT("pack-closed", e);
    if (rc == OK)
        rc = p->closed(p->arg, &name, bytes, pack->entries, pack->entry_count, e);
    return rc;
}

/* Its buffer is of use again. */
static void take_back(struct packer *p, struct open_pack *pack)
{
    pthread_mutex_lock(&p->lock);
    while (pack->writing)
        pthread_cond_wait(&p->changed, &p->lock);
    if (pack->buffer)
        p->idle[p->idle_count++] = pack->buffer;
    pack->buffer = NULL;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    release_pack(p, pack);
}

/* Under the lock: the pack, if it is full, is the caller's to close. */
static struct open_pack *detach_if_full(struct packer *p)
{
    struct open_pack *pack = p->open;

    if (pack->bytes < PACK_FULL_BYTES && pack->entry_count < PACK_ENTRIES_MAX)
        return NULL;
    p->open = NULL;
    return pack;
}

int packer_append(struct packer *p, const struct piece_head *h, const struct chunk_id *base,
                  const struct iovec *parts, int count, struct error *e)
{
    struct open_pack *whole = NULL;
    struct table_entry *entry;
    struct full full = {0};
    int rc;

    pthread_mutex_lock(&p->lock);
    rc = make_ready(p, PIECE_HEAD_BYTES + (size_t)h->stored_bytes, e);
    if (rc == OK) {
        entry = &p->open->entries[p->open->entry_count++];
        *entry = (struct table_entry){.id = h->id,
                                      .offset = (uint32_t)p->open->bytes,
                                      .full_bytes = h->full_bytes,
                                      .stored_bytes = h->stored_bytes,
                                      .encoding = h->encoding};
        if (base)
            memcpy(entry->base, base->bytes, PREFIX_BYTES);
        for (int i = 0; i < count; i++)
            copy_in(p, parts[i].iov_base, parts[i].iov_len, &full);
        whole = detach_if_full(p);
    }
    pthread_mutex_unlock(&p->lock);
    if (full.pack && write_full_buffer(p, &full, e) < 0)
        rc = e->status;
    if (rc == OK && whole)
        rc = close_pack(p, whole, e);
    if (rc < 0)
        rc = fail(p, e);
    if (whole)
        take_back(p, whole);
    return rc;
}

/* ---- the whole ---- */

int packer_new(struct packer **out, struct backend *b, const char *run, enum pack_kind kind,
               packer_closed closed, void *arg, struct error *e)
{
    struct packer *p = calloc(1, sizeof *p);

    if (!p)
        return error_out_of_memory(e);
    *p = (struct packer){.backend = b, .run = run, .kind = kind, .closed = closed, .arg = arg};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    for (; p->idle_count < BUFFERS; p->idle_count++) {
        p->idle[p->idle_count] = aligned_alloc(BACKEND_ALIGNMENT, BUFFER_BYTES);
        if (!p->idle[p->idle_count]) {
            packer_free(p);
            return error_out_of_memory(e);
        }
    }
    *out = p;
    return OK;
}

int packer_finish(struct packer *p, struct error *e)
{
    struct open_pack *pack = p->open;
    int rc;

    if (p->error.status < 0) {
        *e = p->error;
        return e->status;
    }
    if (!pack)
        return OK;
    p->open = NULL;
    rc = close_pack(p, pack, e);
    if (rc < 0)
        fail(p, e);
    take_back(p, pack);
    return rc;
}

void packer_free(struct packer *p)
{
    if (!p)
        return;
    release_pack(p, p->open);
    while (p->idle_count)
        free(p->idle[--p->idle_count]);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    free(p);
}
