/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A set of pieces, by how their names begin. An all-zero set is empty. */
#ifndef REPO_PREFIX_SET_H
#define REPO_PREFIX_SET_H

#include "repo/format.h"

struct prefix_set {
    uint8_t (*slots)[PREFIX_BYTES]; /* open addressing; all zeros: empty */
    size_t size, count;
};

/* `*new`: it was not in there. `new` may be NULL. */
int prefix_set_add(struct prefix_set *set, const uint8_t *prefix, bool *new, struct error *e);
bool prefix_set_has(const struct prefix_set *set, const uint8_t *prefix);
void prefix_set_release(struct prefix_set *set);

#endif
