/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/prefix_set.h"

#include <stdlib.h>
#include <string.h>

#define LEAST_SIZE 4096

static const uint8_t empty[PREFIX_BYTES];

static bool is_empty(const uint8_t *slot)
{
    return memcmp(slot, empty, PREFIX_BYTES) == 0;
}

/* Names are as good as random: their beginning is a hash. */
static uint8_t *slot_of(const struct prefix_set *set, const uint8_t *prefix)
{
    uint64_t hash;
    size_t i;

    memcpy(&hash, prefix, sizeof hash);
    for (i = hash & (set->size - 1); !is_empty(set->slots[i]); i = (i + 1) & (set->size - 1))
        if (memcmp(set->slots[i], prefix, PREFIX_BYTES) == 0)
            break;
    return set->slots[i];
}

static int make_room(struct prefix_set *set, struct error *e)
{
    struct prefix_set bigger = {.size = set->size ? 2 * set->size : LEAST_SIZE,
                                .count = set->count};

    if (4 * set->count < 3 * set->size)
        return OK;
    bigger.slots = calloc(bigger.size, sizeof *bigger.slots);
    if (!bigger.slots)
        return error_out_of_memory(e);
    for (size_t i = 0; i < set->size; i++)
        if (!is_empty(set->slots[i]))
            memcpy(slot_of(&bigger, set->slots[i]), set->slots[i], PREFIX_BYTES);
    free(set->slots);
    *set = bigger;
    return OK;
}

int prefix_set_add(struct prefix_set *set, const uint8_t *prefix, bool *new, struct error *e)
{
    uint8_t *slot;

    if (make_room(set, e) < 0)
        return e->status;
    slot = slot_of(set, prefix);
    if (new)
        *new = is_empty(slot);
    if (is_empty(slot))
        set->count++;
    memcpy(slot, prefix, PREFIX_BYTES);
    return OK;
}

bool prefix_set_has(const struct prefix_set *set, const uint8_t *prefix)
{
    return set->count && !is_empty(slot_of(set, prefix));
}

void prefix_set_release(struct prefix_set *set)
{
    free(set->slots);
    *set = (struct prefix_set){0};
}
