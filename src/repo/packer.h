/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes packs. All threads of a run append to the same one, so that a small run makes one pack of
 * a kind; who fills a buffer writes it, and who fills a pack closes it, while the others go on in
 * the next.
 */
#ifndef REPO_PACKER_H
#define REPO_PACKER_H

#include <sys/uio.h>

#include "repo/backend.h"
#include "repo/format.h"
#include "repo/view.h"

struct packer;

/* Told of each pack once it is there, durably; by any thread, several at a time. */
typedef int (*packer_closed)(void *arg, const struct pack_name *name, uint64_t bytes,
                             const struct table_entry *entries, size_t count, struct error *e);

/* `run` puts the packs; `b` and `run` are borrowed. */
int packer_new(struct packer **p, struct backend *b, const char *run, enum pack_kind kind,
               packer_closed closed, void *arg, struct error *e);

/* Append a piece, its head among `parts`, which `h` describes. `base`: of a patch; else NULL. By
 * any thread. */
int packer_append(struct packer *p, const struct piece_head *h, const struct chunk_id *base,
                  const struct iovec *parts, int count, struct error *e);

/* Close the pack under way. Nobody appends any more. */
int packer_finish(struct packer *p, struct error *e);

/* What is not closed is gone; NULL is fine. */
void packer_free(struct packer *p);

#endif
