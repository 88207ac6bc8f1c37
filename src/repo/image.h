/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image of a snapshot, for whoever reads it anywhere, by any number of threads: a bounded number
 * of chunks is kept unpacked, and where it is known to be zeros nothing is read.
 */
#ifndef REPO_IMAGE_H
#define REPO_IMAGE_H

#include "repo/store.h"

struct image;

/* `root` and `bytes` as a record has them; `name` is for messages. The store and the name are
 * borrowed. */
int image_open(struct image **i, struct store *s, const char *root, uint64_t bytes,
               const char *name, struct error *e);
void image_close(struct image *i); /* NULL is fine */

/* Read ahead of who reads from front to back, by so many threads of its own. */
int image_read_ahead(struct image *i, unsigned threads, struct error *e);

/* DAMAGED: what was asked for is not there whole. */
int image_read(struct image *i, void *to, size_t bytes, uint64_t offset, struct error *e);

/* Where the run of data, or of zeros, that begins at `offset` ends. No content is read. */
int image_extent(struct image *i, uint64_t offset, uint64_t *end, bool *data, struct error *e);

#endif
