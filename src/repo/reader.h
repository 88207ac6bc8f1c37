/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image in a repository, read by one thread, best from front to back: it keeps the chunk that it
 * read last. */
#ifndef REPO_READER_H
#define REPO_READER_H

#include "repo/tree.h"

struct reader;

/* `root` and `bytes` as a record has them; `name` is for messages. The last two are borrowed. */
int reader_open(struct reader **r, struct store *s, const char *root, uint64_t bytes,
                const char *name, struct error *e);
void reader_close(struct reader *r); /* NULL is fine */

/* DAMAGED: what was asked for is not there whole. */
int reader_read(struct reader *r, void *to, size_t bytes, uint64_t offset, struct error *e);

#endif
