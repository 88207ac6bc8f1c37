/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packs that many threads write at once: each piece is where the table says, each pack is what its
 * name says; or it fails, for all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend_fake.h"
#include "repo/pack.h"
#include "repo/packer.h"

#define RUN     "0123456789abcdef"
#define PACKS   64
#define THREADS 8

static struct error e;

/* ---- pieces, each another ---- */

/* What all bytes of a piece are made of. */
struct piece {
    uint32_t number, bytes;
    uint8_t *stored;
};

static void make_piece(struct piece *p, struct piece_head *h, struct chunk_id *base)
{
    *h = (struct piece_head){.encoding = p->number % 5 ? ENCODING_RAW : ENCODING_PATCH,
                             .full_bytes = p->bytes,
                             .stored_bytes = p->bytes};
    EVP_Digest(&p->number, sizeof p->number, h->id.bytes, NULL, EVP_sha256(), NULL);
    memset(base, (int)(p->number % 250) + 1, sizeof *base);
    memset(p->stored, (int)(p->number % 251), p->bytes);
    memcpy(p->stored, &p->number, p->bytes < 4 ? p->bytes : 4);
}

static bool is_stored(const uint8_t *at, uint32_t number, uint32_t bytes)
{
    uint32_t first = bytes < 4 ? bytes : 4;

    if (memcmp(at, &number, first) != 0)
        return false;
    for (uint32_t i = first; i < bytes; i++)
        if (at[i] != number % 251)
            return false;
    return true;
}

/* ---- what was closed ---- */

struct closed {
    pthread_mutex_t mutex;
    struct pack_name names[PACKS];
    uint64_t bytes[PACKS];
    size_t entries[PACKS], count;
};

static int note_closed(void *arg, const struct pack_name *name, uint64_t bytes,
                       const struct table_entry *entries, size_t count, struct error *why)
{
    struct closed *c = arg;

    (void)why, (void)entries;
    pthread_mutex_lock(&c->mutex);
    assert_true(c->count < PACKS);
    c->names[c->count] = *name;
    c->bytes[c->count] = bytes;
    c->entries[c->count++] = count;
    pthread_mutex_unlock(&c->mutex);
    return OK;
}

/* Its sum is its name, its table is right; each number that is met is noted in `seen`. */
static void check_pack(struct fake_store *store, struct backend *b, const struct pack_name *name,
                       uint64_t bytes, const uint32_t *sizes, uint8_t *seen, uint32_t pieces)
{
    struct table_entry *entries;
    char object[PACK_OBJECT_MAX];
    unsigned char *data;
    struct pack_head head;
    uint8_t sum[ID_BYTES];
    size_t n, count;

    pack_object(name, object);
    assert_true(fake_has(store, object));
    data = fake_bytes(store, object, &n);
    assert_int_equal(n, bytes);
    assert_in_range(n, PACK_HEAD_BYTES + PACK_TAIL_BYTES, PACK_MAX_BYTES);
    EVP_Digest(data, n, sum, NULL, EVP_sha256(), NULL);
    assert_memory_equal(sum, name->sum, sizeof sum);
    assert_int_equal(pack_head_take(&head, data, &e), OK);
    assert_int_equal(head.kind, PACK_DATA);
    if (pack_read_table(b, name, bytes, &entries, &count, &e) < 0)
        fail_msg("%s", e.text);
    assert_in_range(count, 1, PACK_ENTRIES_MAX);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = data + entries[i].offset;
        struct piece_head h;
        struct chunk_id id;
        uint32_t number = UINT32_MAX;

        assert_int_equal(piece_head_take(&h, at, &e), OK);
        assert_memory_equal(&h.id, &entries[i].id, sizeof h.id);
        assert_int_equal(h.stored_bytes, entries[i].stored_bytes);
        assert_int_equal(h.full_bytes, entries[i].full_bytes);
        assert_int_equal(h.encoding, entries[i].encoding);
        memcpy(&number, at + PIECE_HEAD_BYTES, 4);
        assert_true(number < pieces);
        assert_false(seen[number]++);
        assert_int_equal(h.stored_bytes, sizes[number]);
        EVP_Digest(&number, sizeof number, id.bytes, NULL, EVP_sha256(), NULL);
        assert_memory_equal(&h.id, &id, sizeof id);
        assert_true(is_stored(at + PIECE_HEAD_BYTES, number, h.stored_bytes));
        assert_int_equal(h.encoding == ENCODING_PATCH, number % 5 == 0);
        for (int k = 0; k < PREFIX_BYTES; k++)
            assert_int_equal(entries[i].base[k], number % 5 ? 0 : number % 250 + 1);
    }
    free(entries);
}

/* ---- threads ---- */

struct crew {
    struct packer *packer;
    const uint32_t *sizes; /* of each piece */
    uint32_t pieces;
    atomic_uint next, failed;
    atomic_int status; /* of the first that failed */
};

static void *append_some(void *arg)
{
    struct crew *crew = arg;
    struct piece p = {.stored = malloc(CHUNK_MAX_BYTES)};
    struct error why;

    while ((p.number = atomic_fetch_add(&crew->next, 1)) < crew->pieces) {
        uint8_t head[PIECE_HEAD_BYTES];
        struct piece_head h;
        struct chunk_id base;
        uint32_t half;

        p.bytes = crew->sizes[p.number];
        half = p.bytes / 2;
        make_piece(&p, &h, &base);
        piece_head_put(head, &h);
        struct iovec parts[] = {
            {head, sizeof head}, {p.stored, half}, {p.stored + half, p.bytes - half}};

        if (packer_append(crew->packer, &h, h.encoding == ENCODING_PATCH ? &base : NULL, parts, 3,
                          &why) < 0) {
            atomic_fetch_add(&crew->failed, 1);
            atomic_store(&crew->status, why.status);
            break;
        }
    }
    free(p.stored);
    return NULL;
}

static void run_crew(struct crew *crew, unsigned threads)
{
    pthread_t ids[THREADS];

    /* A hang is a failure. */
    alarm(120);
    for (unsigned i = 0; i < threads; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, append_some, crew), 0);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    alarm(0);
}

/* Mostly small; some are as long as can be. */
static uint32_t *make_sizes(uint32_t count, unsigned seed)
{
    uint32_t *sizes = calloc(count, sizeof *sizes);

    srandom(seed);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t most = i % 32 == 0 ? CHUNK_MAX_BYTES : 16384;

        sizes[i] = PATCH_HEAD_BYTES + 40 + (uint32_t)random() % (most - PATCH_HEAD_BYTES - 39);
    }
    sizes[0] = CHUNK_MAX_BYTES;
    return sizes;
}

static void all_pieces_are_in_their_places(void **state)
{
    enum { PIECES = THREADS * 2000 };
    struct fake_store *store = fake_store_new();
    struct backend *b = fake_backend(store);
    struct closed closed = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    uint32_t *sizes = make_sizes(PIECES, 1);
    struct crew crew = {.sizes = sizes, .pieces = PIECES};
    uint8_t *seen = calloc(PIECES, 1);

    (void)state;
    assert_int_equal(packer_new(&crew.packer, b, RUN, PACK_DATA, note_closed, &closed, &e), OK);
    run_crew(&crew, THREADS);
    assert_int_equal(crew.failed, 0);
    assert_int_equal(packer_finish(crew.packer, &e), OK);
    assert_in_range(closed.count, 3, 20);
    assert_int_equal(fake_count(store, "packs"), closed.count);
    for (size_t i = 0; i < closed.count; i++)
        check_pack(store, b, &closed.names[i], closed.bytes[i], sizes, seen, PIECES);
    for (uint32_t i = 0; i < PIECES; i++)
        assert_int_equal(seen[i], 1);
    /* It goes on after that; without anything nothing is made. */
    assert_int_equal(packer_finish(crew.packer, &e), OK);
    assert_int_equal(fake_count(store, "packs"), closed.count);
    packer_free(crew.packer);
    free(seen);
    free(sizes);
    backend_close(b);
    fake_store_free(store);
}

/* So small that it is their number that fills a pack. */
static void a_pack_has_so_many_pieces(void **state)
{
    enum { PIECES = PACK_ENTRIES_MAX + 100 };
    struct fake_store *store = fake_store_new();
    struct backend *b = fake_backend(store);
    struct closed closed = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    uint32_t *sizes = calloc(PIECES, sizeof *sizes);
    struct crew crew = {.sizes = sizes, .pieces = PIECES};
    uint8_t *seen = calloc(PIECES, 1);

    (void)state;
    for (uint32_t i = 0; i < PIECES; i++)
        sizes[i] = PATCH_HEAD_BYTES + 40;
    assert_int_equal(packer_new(&crew.packer, b, RUN, PACK_DATA, note_closed, &closed, &e), OK);
    run_crew(&crew, 4);
    assert_int_equal(crew.failed, 0);
    assert_int_equal(packer_finish(crew.packer, &e), OK);
    assert_int_equal(closed.count, 2);
    assert_int_equal(closed.entries[0] + closed.entries[1], PIECES);
    for (size_t i = 0; i < closed.count; i++)
        check_pack(store, b, &closed.names[i], closed.bytes[i], sizes, seen, PIECES);
    packer_free(crew.packer);
    free(seen);
    free(sizes);
    backend_close(b);
    fake_store_free(store);
}

static void nothing_makes_no_pack(void **state)
{
    struct fake_store *store = fake_store_new();
    struct backend *b = fake_backend(store);
    struct closed closed = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct packer *p;

    (void)state;
    assert_int_equal(packer_new(&p, b, RUN, PACK_LISTS, note_closed, &closed, &e), OK);
    assert_int_equal(packer_finish(p, &e), OK);
    packer_free(p);
    packer_free(NULL);
    assert_int_equal(closed.count, 0);
    assert_int_equal(fake_count(store, "packs"), 0);
    backend_close(b);
    fake_store_free(store);
}

/* ---- a backend that fails ---- */

/* The fake, whose creates, writes and publishes are counted: the n-th fails. */
static struct backend_driver failing;
static const struct backend_driver *real;
static atomic_uint calls;
static unsigned fail_at; /* 0: none does */

static bool fails(struct error *why)
{
    if (atomic_fetch_add(&calls, 1) + 1 != fail_at)
        return false;
    error_set(why, NO_SPACE, "made to fail");
    return true;
}

static int failing_create(struct backend *b, const char *run, uint64_t bytes,
                          struct backend_object **o, struct error *why)
{
    *o = NULL;
    return fails(why) ? why->status : real->create(b, run, bytes, o, why);
}

static int failing_write(struct backend_object *o, const void *data, size_t bytes, uint64_t offset,
                         struct error *why)
{
    return fails(why) ? why->status : real->write(o, data, bytes, offset, why);
}

static int failing_publish(struct backend_object *o, const char *name, uint64_t bytes,
                           const uint8_t sum[32], struct error *why)
{
    if (!fails(why))
        return real->publish(o, name, bytes, sum, why);
    real->discard(o);
    return why->status;
}

static struct backend *failing_backend(struct fake_store *store)
{
    struct backend *b = fake_backend(store);

    real = b->driver;
    failing = *real;
    failing.create = failing_create;
    failing.write = failing_write;
    failing.publish = failing_publish;
    b->driver = &failing;
    return b;
}

/* The number of calls. */
static unsigned try_with(unsigned n, const uint32_t *sizes, uint32_t pieces)
{
    struct fake_store *store = fake_store_new();
    struct backend *b = failing_backend(store);
    struct closed closed = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct crew crew = {.sizes = sizes, .pieces = pieces};
    uint8_t *seen = calloc(pieces, 1);
    int rc;

    calls = 0;
    fail_at = n;
    assert_int_equal(packer_new(&crew.packer, b, RUN, PACK_DATA, note_closed, &closed, &e), OK);
    run_crew(&crew, 4);
    rc = packer_finish(crew.packer, &e);
    if (n) {
        assert_int_equal(rc, NO_SPACE);
        if (crew.failed)
            assert_int_equal(crew.status, NO_SPACE);
        /* For good. */
        assert_int_equal(packer_finish(crew.packer, &e), NO_SPACE);
    } else {
        assert_int_equal(rc, OK);
    }
    packer_free(crew.packer);
    /* What was told of is there, and whole; nor is there anything else. */
    assert_int_equal(fake_count(store, "packs"), closed.count);
    for (size_t i = 0; i < closed.count; i++)
        check_pack(store, b, &closed.names[i], closed.bytes[i], sizes, seen, pieces);
    free(seen);
    backend_close(b);
    fake_store_free(store);
    return calls;
}

static void a_failure_is_everybodys(void **state)
{
    enum { PIECES = 90 };
    uint32_t sizes[PIECES];
    unsigned count;

    (void)state;
    for (uint32_t i = 0; i < PIECES; i++)
        sizes[i] = CHUNK_MAX_BYTES - i * 100;
    count = try_with(0, sizes, PIECES);
    assert_in_range(count, 20, 40);
    for (unsigned n = 1; n <= count; n++)
        try_with(n, sizes, PIECES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_pieces_are_in_their_places),
        cmocka_unit_test(a_pack_has_so_many_pieces),
        cmocka_unit_test(nothing_makes_no_pack),
        cmocka_unit_test(a_failure_is_everybodys),
    };

    return cmocka_run_group_tests_name("packer", tests, NULL, NULL);
}
