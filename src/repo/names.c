/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/names.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

/* So many are held before they go to the file: 10 MiB. */
#define HELD_MAX (1u << 19)

/* What is read at once of all runs together, and of each at least. */
#define BUFFERS_MAX (1u << 18)
#define BUFFER_MIN  64u

/* Sorted, none twice. */
struct run {
    uint64_t next, end; /* in the file, in prefixes; what is in `buffer` is before `next` */
    uint8_t sum[32];    /* SHA-256 of what was written */
    EVP_MD_CTX *read;   /* of what was read so far */
    uint8_t (*buffer)[PREFIX_BYTES];
    size_t count, at; /* in there; of what is held there is nothing else */
};

struct names {
    int scratch;
    bool keeps; /* nothing more goes to the file */
    uint8_t (*held)[PREFIX_BYTES];
    size_t held_count, held_room;
    uint64_t written;
    struct run *runs; /* of the file; and, while they are told, that of what is held */
    size_t run_count;
    struct run **heap; /* those that have more to tell; the one with the least is the first */
    size_t heap_count;
    uint8_t last[PREFIX_BYTES]; /* that was told */
    bool has_last;
};

int names_new(struct names **out, int scratch, struct error *e)
{
    struct names *n = calloc(1, sizeof *n);

    if (!n) {
        if (scratch >= 0)
            close(scratch);
        return error_out_of_memory(e);
    }
    n->scratch = scratch;
    n->keeps = scratch < 0;
    *out = n;
    return OK;
}

void names_clear(struct names *n)
{
    for (size_t i = 0; i < n->run_count; i++) {
        EVP_MD_CTX_free(n->runs[i].read);
        if (n->runs[i].buffer != n->held)
            free(n->runs[i].buffer);
    }
    if (n->written && ftruncate(n->scratch, 0) < 0)
        log_debug("a file for names: it can't be emptied");
    free(n->runs);
    free(n->heap);
    n->runs = NULL;
    n->heap = NULL;
    n->run_count = n->heap_count = n->held_count = 0;
    n->written = 0;
    n->has_last = false;
}

void names_free(struct names *n)
{
    if (!n)
        return;
    names_clear(n);
    free(n->held);
    if (n->scratch >= 0)
        close(n->scratch);
    free(n);
}

bool names_is_full(const struct names *n)
{
    return n->keeps && n->held_count >= HELD_MAX;
}

bool names_is_empty(const struct names *n)
{
    return n->held_count == 0 && n->run_count == 0;
}

/* ---- gathering ---- */

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, PREFIX_BYTES);
}

static void sort_held(struct names *n)
{
    size_t left = 0;

    if (n->held_count)
        qsort(n->held, n->held_count, sizeof *n->held, compare);
    for (size_t i = 0; i < n->held_count; i++)
        if (left == 0 || compare(n->held[i], n->held[left - 1]) != 0)
            memmove(n->held[left++], n->held[i], PREFIX_BYTES);
    n->held_count = left;
}

static struct run *add_run(struct names *n, struct error *e)
{
    struct run *more = reallocarray(n->runs, n->run_count + 1, sizeof *more);

    if (!more) {
        error_out_of_memory(e);
        return NULL;
    }
    n->runs = more;
    more[n->run_count] = (struct run){0};
    return &more[n->run_count++];
}

/* What was written just now begins its way to the disk; what was before is there, and needs no
 * memory: a limit of memory counts what the page cache has, too. */
static void write_behind(struct names *n)
{
    off_t before = (off_t)(n->written * PREFIX_BYTES);

    sync_file_range(n->scratch, before, (off_t)(n->held_count * PREFIX_BYTES),
                    SYNC_FILE_RANGE_WRITE);
    if (!before)
        return;
    sync_file_range(n->scratch, 0, before,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                        SYNC_FILE_RANGE_WAIT_AFTER);
    posix_fadvise(n->scratch, 0, before, POSIX_FADV_DONTNEED);
}

/* What can't be written is kept. */
static int write_held(struct names *n, struct error *e)
{
    struct run *r;
    struct error why;

    if (pwrite_full(n->scratch, n->held, n->held_count * PREFIX_BYTES, n->written * PREFIX_BYTES) <
        0) {
        error_errno(&why, "a file for names");
        log_debug("%s: they stay in memory", why.text);
        n->keeps = true;
        return OK;
    }
    write_behind(n);
    r = add_run(n, e);
    if (!r)
        return e->status;
    r->next = n->written;
    n->written += n->held_count;
    r->end = n->written;
    r->read = EVP_MD_CTX_new();
    if (!r->read || EVP_DigestInit_ex(r->read, EVP_sha256(), NULL) != 1 ||
        EVP_Digest(n->held, n->held_count * PREFIX_BYTES, r->sum, NULL, EVP_sha256(), NULL) != 1)
        return error_out_of_memory(e);
    n->held_count = 0;
    return OK;
}

static int make_room(struct names *n, struct error *e)
{
    size_t room = n->held_room ? 2 * n->held_room : 1024;
    uint8_t(*more)[PREFIX_BYTES] = reallocarray(n->held, room, sizeof *more);

    if (!more)
        return error_out_of_memory(e);
    n->held = more;
    n->held_room = room;
    return OK;
}

int names_add(struct names *n, const uint8_t prefix[PREFIX_BYTES], struct error *e)
{
    if (n->held_count == HELD_MAX && !n->keeps) {
        sort_held(n);
        if (write_held(n, e) < 0)
            return e->status;
    }
    if (n->held_count == n->held_room && make_room(n, e) < 0)
        return e->status;
    memcpy(n->held[n->held_count++], prefix, PREFIX_BYTES);
    return OK;
}

/* ---- telling ---- */

static const uint8_t *first_of(const struct run *r)
{
    return r->buffer[r->at];
}

static size_t buffer_count(const struct names *n)
{
    size_t count = BUFFERS_MAX / (n->run_count + 1);

    return count < BUFFER_MIN ? BUFFER_MIN : count;
}

/* A name that was read wrong would be taken for one that nothing needs. */
static int check_read(struct run *r, size_t count, struct error *e)
{
    uint8_t sum[sizeof r->sum];

    if (EVP_DigestUpdate(r->read, r->buffer, count * PREFIX_BYTES) != 1)
        return error_out_of_memory(e);
    if (r->next < r->end)
        return OK;
    if (EVP_DigestFinal_ex(r->read, sum, NULL) != 1)
        return error_out_of_memory(e);
    if (memcmp(sum, r->sum, sizeof sum) == 0)
        return OK;
    return error_set(e, FAILED, "a file for names: checksum mismatch; is the cache's disk sound?");
}

/* 1: there is more of it. */
static int refill(struct names *n, struct run *r, struct error *e)
{
    size_t count = buffer_count(n);

    if (r->at < r->count)
        return 1;
    if (r->next == r->end)
        return 0;
    if (count > r->end - r->next)
        count = (size_t)(r->end - r->next);
    if (pread_full(n->scratch, r->buffer, count * PREFIX_BYTES, r->next * PREFIX_BYTES) < 0)
        return error_errno(e, "a file for names");
    r->next += count;
    r->count = count;
    r->at = 0;
    return check_read(r, count, e) < 0 ? e->status : 1;
}

/* The first of the heap has changed: put it where it belongs. */
static void sift(struct names *n)
{
    for (size_t i = 0, least;; i = least) {
        struct run *r = n->heap[i];

        least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n->heap_count; child++)
            if (compare(first_of(n->heap[child]), first_of(n->heap[least])) < 0)
                least = child;
        if (least == i)
            return;
        n->heap[i] = n->heap[least];
        n->heap[least] = r;
    }
}

static int compare_runs(const void *a, const void *b)
{
    return compare(first_of(*(struct run *const *)a), first_of(*(struct run *const *)b));
}

/* Sorted, so that it is a heap. */
static int fill_heap(struct names *n, struct error *e)
{
    n->heap = calloc(n->run_count + 1, sizeof *n->heap);
    if (!n->heap)
        return error_out_of_memory(e);
    for (size_t i = 0; i < n->run_count; i++) {
        struct run *r = &n->runs[i];
        int rc;

        if (!r->buffer)
            r->buffer = calloc(buffer_count(n), sizeof *r->buffer);
        if (!r->buffer)
            return error_out_of_memory(e);
        rc = refill(n, r, e);
        if (rc < 0)
            return rc;
        if (rc)
            n->heap[n->heap_count++] = r;
    }
    qsort(n->heap, n->heap_count, sizeof *n->heap, compare_runs);
    return OK;
}

int names_begin(struct names *n, struct error *e)
{
    struct run *held = add_run(n, e);

    if (!held)
        return e->status;
    sort_held(n);
    held->buffer = n->held;
    held->count = n->held_count;
    return fill_heap(n, e);
}

/* Over the first name of all. */
static int advance(struct names *n, struct error *e)
{
    struct run *r = n->heap[0];
    int rc;

    r->at++;
    rc = refill(n, r, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        n->heap[0] = n->heap[--n->heap_count];
    if (n->heap_count)
        sift(n);
    return OK;
}

int names_next(struct names *n, const uint8_t **prefix, struct error *e)
{
    while (n->heap_count && n->has_last && compare(first_of(n->heap[0]), n->last) == 0)
        if (advance(n, e) < 0)
            return e->status;
    if (!n->heap_count)
        return 0;
    if (n->has_last && compare(first_of(n->heap[0]), n->last) < 0)
        return error_set(e, FAILED, "a file for names: they are not in order");
    memcpy(n->last, first_of(n->heap[0]), PREFIX_BYTES);
    n->has_last = true;
    *prefix = n->last;
    return 1;
}
