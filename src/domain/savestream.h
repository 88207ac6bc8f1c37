/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The RAM in a save file, told apart from the rest of it. The toolstack's stream has the guest's
 * pages in the order in which they were sent, those that changed meanwhile again and again; here
 * RAM is an image, each frame's last content at its number times 4096, so that what two snapshots
 * have in common is found. From the image, the frames' types and the rest, a stream is made that
 * restores the same.
 *
 * Source of the formats: Xen's docs/specs/libxl-migration-stream.pandoc and
 * libxc-migration-stream.pandoc; for the head, savefile.h.
 */
#ifndef DOMAIN_SAVESTREAM_H
#define DOMAIN_SAVESTREAM_H

#include <stddef.h>
#include <stdint.h>

#include "domain/domain.h"

/* ---- the beginning of a save file ---- */

/* What is needed of it to tell whether it can be restored here. */
struct save_start {
    json_t *config;            /* libxl's JSON */
    struct cpuid_leaf *leaves; /* the processor that the domain has seen; none: it is not told */
    size_t leaf_count;
};

/* Read it from `fd`, a pipe say, as far as need be. On failure `s` holds nothing; of a stream that
 * is not understood it has the configuration alone. */
int save_start_read(struct save_start *s, int fd, struct error *e);
void save_start_release(struct save_start *s);

/* ---- out of a save file ---- */

struct save_pages;

/*
 * Find the pages in the save file `fd`, of `bytes`, which must stay as it is as long as they are
 * used. Takes 2 MiB of memory for each GiB of RAM. UNSUPPORTED: there is something in the stream
 * that is not understood, so that it is only good as a whole. DAMAGED: it is not one.
 */
int save_pages_find(struct save_pages **p, int fd, uint64_t bytes, struct error *e);
void save_pages_free(struct save_pages *p); /* NULL is fine */

/* One more than the highest frame's number. */
uint64_t save_pages_frames(const struct save_pages *p);

/* Read a part of the image; both numbers are multiples of DOMAIN_PAGE_BYTES. Frames that have no
 * content read as zeros. */
int save_pages_read(const struct save_pages *p, void *to, size_t bytes, uint64_t offset,
                    struct error *e);

/* Where the image next has content, at or after `offset`; its end if nowhere. */
uint64_t save_pages_next(const struct save_pages *p, uint64_t offset);

/* Write to `fd` the frames' types, a byte each: 0 if it was not sent, else 0x80 + Xen's type. */
int save_pages_write_types(const struct save_pages *p, int fd, struct error *e);

/* Write to `fd` all that is not pages; `*at` is how much of it comes before them. */
int save_pages_write_rest(const struct save_pages *p, int fd, uint64_t *at, struct error *e);

/* ---- into a save file ---- */

enum save_part {
    SAVE_REST,
    SAVE_TYPES,
    SAVE_FRAMES, /* the image */
    SAVE_PARTS
};

struct save_parts {
    uint64_t bytes[SAVE_PARTS]; /* of each */
    uint64_t pages_at;          /* in the rest */
    /* Read some of a part; all of it, and each part in order. */
    int (*read)(void *arg, enum save_part part, void *to, size_t bytes, uint64_t offset,
                struct error *e);
    void *arg;
};

/* Write a save file to `fd`. DAMAGED: the parts don't fit together. */
int save_parts_join(const struct save_parts *parts, int fd, struct error *e);

#endif
