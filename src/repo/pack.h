/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packs as they are read; packer.h writes them. A pack is the object packs/RUN-SUM. */
#ifndef REPO_PACK_H
#define REPO_PACK_H

#include "repo/backend.h"
#include "repo/format.h"
#include "repo/view.h"

#define PACK_OBJECT_MAX (PACK_NAME_TEXT + 6)

/* "packs/RUN-SUM" */
void pack_object(const struct pack_name *name, char object[static PACK_OBJECT_MAX]);

/* The table of a pack that is `bytes` long, to free(): sorted, and each entry within the pack.
 * DAMAGED. */
int pack_read_table(struct backend *b, const struct pack_name *name, uint64_t bytes,
                    struct table_entry **entries, size_t *count, struct error *e);

/* What kind of pieces it has. */
int pack_read_kind(struct backend *b, const struct pack_name *name, enum pack_kind *kind,
                   struct error *e);

/* A part of a pack, kept while what lies near is read. All zeros: nothing. */
struct pack_window {
    uint8_t *buffer; /* to be freed */
    size_t room;
    struct pack_name name;
    uint64_t begin;
    size_t bytes;  /* that are in there; 0: what is read next is read anew */
    uint64_t next; /* where what was read last ends */
};

/* For pack_read_piece(): room for a piece that stores so many bytes. */
int pack_window_new(struct pack_window *window, uint32_t stored_bytes, struct error *e);

/* Read the piece at `offset` that stores `stored_bytes`: `*piece` points to its head, valid until
 * the next call. Small ones that follow each other are read together. */
int pack_read_piece(struct backend *b, const struct pack_name *name, uint32_t offset,
                    uint32_t stored_bytes, struct pack_window *window, const uint8_t **piece,
                    struct piece_head *h, struct error *e);

/* The piece that follows the one that was read last, if all of it is in the window. */
bool pack_next_piece(struct pack_window *window, const uint8_t **piece, struct piece_head *h);

/* `*at`: so many bytes of a pack at `offset`, valid until the next call. A window is of one pack.
 * DAMAGED: they are not there. */
int pack_look(struct backend *b, const struct pack_name *name, struct pack_window *window,
              uint64_t offset, size_t bytes, const uint8_t **at, struct error *e);

/* Told of each piece that a scan finds: `piece` points to its head, which `h` tells; what follows
 * is not checked. */
typedef int (*pack_sink)(void *arg, uint32_t offset, const struct piece_head *h,
                         const uint8_t *piece, struct error *e);

/* Find the pieces of a pack whose table may be lost: by their heads, from one to the next, and past
 * what is none. */
int pack_scan(struct backend *b, const struct pack_name *name, pack_sink sink, void *arg,
              struct error *e);

#endif
