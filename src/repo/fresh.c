/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/fresh.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct fresh_cell {
    struct entry entry;
    uint32_t next; /* of its chain: its number + 1; 0: none */
};

#define ROOM_MIN 256u
#define ROOM_MAX (UINT32_C(1) << 31)

void fresh_release(struct fresh *f)
{
    free(f->cells);
    free(f->heads);
    free(f->packs);
    *f = (struct fresh){0};
}

static uint32_t *chain_of(const struct fresh *f, const uint8_t *prefix)
{
    uint64_t n;

    memcpy(&n, prefix, sizeof n);
    n = (n ^ f->seed) * UINT64_C(0x9e3779b97f4a7c15);
    n ^= n >> 32;
    n = (n + f->seed) * UINT64_C(0xbf58476d1ce4e5b9);
    return &f->heads[(n >> 32) & (f->head_count - 1)];
}

static void chain(struct fresh *f, uint32_t number)
{
    struct fresh_cell *cell = &f->cells[number];
    uint32_t *head = chain_of(f, cell->entry.prefix);

    cell->next = *head;
    *head = number + 1;
}

/* Chains are made anew: those of what was removed are not, so it keeps its own. */
static int grow_heads(struct fresh *f, uint32_t head_count, struct error *e)
{
    uint32_t *heads = calloc(head_count, sizeof *heads), *old = f->heads;
    uint32_t old_count = f->head_count;

    if (!heads)
        return error_out_of_memory(e);
    f->heads = heads;
    f->head_count = head_count;
    for (uint32_t i = 0; i < old_count; i++)
        for (uint32_t at = old[i], next; at; at = next) {
            next = f->cells[at - 1].next;
            chain(f, at - 1);
        }
    free(old);
    return OK;
}

static int grow_cells(struct fresh *f, uint32_t room, struct error *e)
{
    struct fresh_cell *cells = realloc(f->cells, room * sizeof *cells);

    if (!cells)
        return error_out_of_memory(e);
    f->cells = cells;
    f->room = room;
    return OK;
}

static int grow_packs(struct fresh *f, size_t packs, struct error *e)
{
    size_t room = f->pack_room ? f->pack_room : ROOM_MIN;
    struct fresh_pack *bigger;

    while (room < f->pack_count + packs)
        room *= 2;
    if (room == f->pack_room)
        return OK;
    bigger = realloc(f->packs, room * sizeof *bigger);
    if (!bigger)
        return error_out_of_memory(e);
    f->packs = bigger;
    f->pack_room = room;
    return OK;
}

int fresh_reserve(struct fresh *f, size_t entries, size_t packs, struct error *e)
{
    uint32_t room = f->room ? f->room : ROOM_MIN;

    if (!f->seed && getrandom(&f->seed, sizeof f->seed, 0) != sizeof f->seed)
        return error_errno(e, "random number");
    while (room < f->count + entries && room < ROOM_MAX)
        room *= 2;
    if (room < f->count + entries)
        return error_set(e, NO_SPACE, "the index is too large for memory");
    if (room > f->room && grow_cells(f, room, e) < 0)
        return e->status;
    if (room > f->head_count && grow_heads(f, room, e) < 0)
        return e->status;
    return packs ? grow_packs(f, packs, e) : OK;
}

void fresh_put(struct fresh *f, const struct entry *entry)
{
    uint32_t number = f->unused ? f->unused - 1 : f->count++;

    if (f->unused)
        f->unused = f->cells[number].next;
    f->cells[number].entry = *entry;
    chain(f, number);
}

void fresh_put_pack(struct fresh *f, uint32_t number, uint32_t entries)
{
    f->packs[f->pack_count++] = (struct fresh_pack){number, entries};
}

int fresh_absorb(struct fresh *f, struct fresh *from, struct error *e)
{
    if (f->count == 0 && f->pack_count == 0) {
        struct fresh empty = *f;

        *f = *from;
        *from = empty;
        return OK;
    }
    if (fresh_reserve(f, from->count, from->pack_count, e) < 0)
        return e->status;
    for (uint32_t i = 0; i < from->count; i++)
        fresh_put(f, &from->cells[i].entry);
    for (size_t i = 0; i < from->pack_count; i++)
        fresh_put_pack(f, from->packs[i].number, from->packs[i].entries);
    fresh_release(from);
    return OK;
}

void fresh_find(const struct fresh *f, const uint8_t prefix[static PREFIX_BYTES], entry_sink found,
                void *arg)
{
    const struct fresh_cell *cell;

    if (!f->head_count)
        return;
    for (uint32_t at = *chain_of(f, prefix); at; at = cell->next) {
        cell = &f->cells[at - 1];
        if (memcmp(cell->entry.prefix, prefix, PREFIX_BYTES) == 0)
            found(arg, &cell->entry);
    }
}

/* Where the number of the first of a prefix stands, or 0. */
static uint32_t *link_to(struct fresh *f, const uint8_t *prefix)
{
    uint32_t *link = chain_of(f, prefix);

    while (*link && memcmp(f->cells[*link - 1].entry.prefix, prefix, PREFIX_BYTES) != 0)
        link = &f->cells[*link - 1].next;
    return link;
}

struct entry *fresh_first(struct fresh *f, const uint8_t prefix[static PREFIX_BYTES])
{
    uint32_t at = f->head_count ? *link_to(f, prefix) : 0;

    return at ? &f->cells[at - 1].entry : NULL;
}

void fresh_remove(struct fresh *f, const uint8_t prefix[static PREFIX_BYTES])
{
    uint32_t *link = f->head_count ? link_to(f, prefix) : NULL;
    uint32_t at = link ? *link : 0;

    if (!at)
        return;
    *link = f->cells[at - 1].next;
    f->cells[at - 1].next = f->unused;
    f->unused = at;
}

/* Those of one prefix in the order in which they came. */
static int compare(const void *a, const void *b, void *arg)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    const struct fresh *f = arg;
    int way = memcmp(f->cells[x].entry.prefix, f->cells[y].entry.prefix, PREFIX_BYTES);

    return way ? way : (x > y) - (x < y);
}

int fresh_sort(const struct fresh *f, uint32_t **out, struct error *e)
{
    uint32_t *order = malloc((f->count + (size_t)1) * sizeof *order);

    if (!order)
        return error_out_of_memory(e);
    for (uint32_t i = 0; i < f->count; i++)
        order[i] = i;
    qsort_r(order, f->count, sizeof *order, compare, (void *)f);
    *out = order;
    return OK;
}

const struct entry *fresh_entry(const struct fresh *f, uint32_t number)
{
    return &f->cells[number].entry;
}
