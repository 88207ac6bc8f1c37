/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/record_set.h"

#include <stdlib.h>

#define LEAST_SIZE 4096

static uint64_t key_of(const struct location *where)
{
    return (uint64_t)where->pack << 32 | where->offset;
}

static uint64_t *slot_of(const struct record_set *set, uint64_t key)
{
    size_t i = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (set->size - 1);

    while (set->slots[i] && set->slots[i] != key)
        i = (i + 1) & (set->size - 1);
    return &set->slots[i];
}

static int make_room(struct record_set *set, struct error *e)
{
    struct record_set bigger = {.size = set->size ? 2 * set->size : LEAST_SIZE,
                                .count = set->count};

    if (2 * set->count < set->size)
        return OK;
    bigger.slots = calloc(bigger.size, sizeof *bigger.slots);
    if (!bigger.slots)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < set->size; i++)
        if (set->slots[i])
            *slot_of(&bigger, set->slots[i]) = set->slots[i];
    free(set->slots);
    *set = bigger;
    return OK;
}

int record_set_add(struct record_set *set, const struct location *where, bool *new, struct error *e)
{
    uint64_t *slot;

    if (make_room(set, e) < 0)
        return e->status;
    slot = slot_of(set, key_of(where));
    *new = *slot == 0;
    *slot = key_of(where);
    set->count += *new;
    return OK;
}

bool record_set_has(const struct record_set *set, const struct location *where)
{
    return set->count && *slot_of(set, key_of(where));
}

void record_set_release(struct record_set *set)
{
    free(set->slots);
    *set = (struct record_set){0};
}
