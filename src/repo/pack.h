/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packs: files of records, written once. A writer belongs to one thread, and begins a new pack
 * whenever one is full. Once a pack is closed it is durable, and its writer may read it; others see it
 * only when it is published.
 */
#ifndef REPO_PACK_H
#define REPO_PACK_H

#include "repo/format.h"

/* "0123456789abcdef0123456789abcdef", of which the file is NAME.pack. */
#define PACK_NAME 33

/* ---- writing ---- */

struct pack_writer;

/* A pack that was closed, and what is in it, in the order of the table. Valid during the call. */
typedef int (*pack_closed)(void *arg, const char name[PACK_NAME], uint64_t bytes,
                           const struct table_entry *entries, size_t count, struct error *e);

/* `dirfd`: the folder of packs, borrowed. */
int pack_writer_new(struct pack_writer **w, int dirfd, pack_closed closed, void *arg,
                    struct error *e);

/* Append one record: its head, and `h->stored_bytes` in up to two parts (the second may be of no
 * length). */
int pack_append(struct pack_writer *w, const struct record_head *h, const void *first,
                size_t first_bytes, const void *second, size_t second_bytes, struct error *e);

/* Close the pack under way, if there is one. After any error only pack_writer_free() may follow. */
int pack_writer_finish(struct pack_writer *w, struct error *e);

/* The pack that was not closed is gone. NULL is fine. */
void pack_writer_free(struct pack_writer *w);

/* Give a closed pack its name; that is durable once the folder is. */
int pack_publish(int dirfd, const char name[PACK_NAME], struct error *e);

/* Remove one that was not published. */
void pack_discard(int dirfd, const char name[PACK_NAME]);

/* ---- reading ---- */

/* Open NAME.pack and check its head; its length, if wanted. The descriptor, good only for the
 * functions here, is the caller's: it goes past the page cache, for what is read once is hardly
 * read again. */
int pack_open(int dirfd, const char name[PACK_NAME], int *fd, uint64_t *bytes, struct error *e);

/* Read and check the table; `*entries` is to be freed. */
int pack_read_table(int fd, uint64_t pack_bytes, struct table_entry **entries, size_t *count,
                    struct error *e);

/* For reading a record: aligned, and of this length. */
#define PACK_BUFFER_ALIGNMENT 4096u
#define PACK_BUFFER_BYTES     (CHUNK_MAX_BYTES + 3 * PACK_BUFFER_ALIGNMENT)

/* Read the record at `offset` that stores `stored_bytes`, at most CHUNK_MAX_BYTES: `*record` points
 * to its head, in `buffer`. */
int pack_read(int fd, uint32_t offset, uint32_t stored_bytes, uint8_t *buffer,
              const uint8_t **record, struct record_head *h, struct error *e);

/* What was read last, and what follows it: for who reads a little of many records, in about the order of a pack. All zeros: nothing. */
struct pack_window {
    int fd; /* of a pack, open for as long as this is used */
    uint64_t begin;
    size_t bytes;
    uint8_t *buffer; /* to be freed */
};

/* Read a few bytes, again and again. */
int pack_peek_near(struct pack_window *w, int fd, uint64_t offset, void *to, size_t bytes,
                   struct error *e);

#endif
