/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether a repository fits together: its packs, its records, their lists, and that all is there
 * that they name; and, piece by piece, whether its content is what was put. What is there once is
 * looked at once.
 *
 *     check_new → check_look → (scrub_pack by any number of threads) → check_tell → check_free
 */
#ifndef REPO_CHECK_H
#define REPO_CHECK_H

#include "repo/naming.h"
#include "repo/store.h"

struct check;

struct check_stats {
    uint64_t snapshots, packs, pack_bytes;
    uint64_t bad_packs, bad_records, bad_snapshots; /* whose content is damaged in part */
    uint64_t bad_pieces,
        bad_bytes;   /* that snapshots need; bytes of them, each snapshot's own count */
    uint64_t mended; /* of what is there twice, one was damaged and is whole again */
};

enum check_what { CHECK_PACK, CHECK_RECORD, CHECK_SNAPSHOT };

/* Told of what is damaged: `name` of it ("DOMAIN@NAME"), valid during the call. */
typedef void (*check_sink)(void *arg, enum check_what what, const char *name,
                           const struct error *why);

int check_new(struct check **c, struct store *s, check_sink sink, void *arg, struct error *e);
void check_free(struct check *c); /* NULL is fine */

/* Look at all but content. */
int check_look(struct check *c, struct error *e);

/* Say which snapshots are hurt, and how much of them, by all that is known now. */
int check_tell(struct check *c, struct check_stats *stats, struct error *e);

/* Read a part of the pieces of a pack, and hold each against its name. Those that are damaged are
 * marked;
 * `*bad` counts them. OK also if some are; DAMAGED: its head or its table is, and all of it is
 * marked. */
int scrub_pack(struct store_worker *w, struct store *s, uint32_t pack, const struct sample *sample,
               uint64_t *bad, struct error *e);

#endif
