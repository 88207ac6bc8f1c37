/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A set of records of a repository, each by where it is. An all-zero set is empty. */
#ifndef REPO_RECORD_SET_H
#define REPO_RECORD_SET_H

#include <stdbool.h>

#include "repo/segment.h"

struct record_set {
    uint64_t
        *slots; /* pack and offset in one; open addressing, 0 is empty: no record is at offset 0 */
    size_t size, count;
};

/* `*new`: it was not in there. */
int record_set_add(struct record_set *set, const struct location *where, bool *new,
                   struct error *e);

bool record_set_has(const struct record_set *set, const struct location *where);

void record_set_release(struct record_set *set);

#endif
