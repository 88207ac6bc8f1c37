/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chunks that were found whole, so that what snapshots share is read once. It never takes one for
 * another; it may forget one, since its memory is bounded. For any number of threads.
 */
#ifndef COPY_SEEN_H
#define COPY_SEEN_H

#include <stdbool.h>

#include "base/error.h"
#include "repo/format.h"

struct seen;

int seen_new(struct seen **s, struct error *e);
void seen_free(struct seen *s); /* NULL is fine */

bool seen_has(struct seen *s, const struct chunk_id *id);
void seen_add(struct seen *s, const struct chunk_id *id);

#endif
