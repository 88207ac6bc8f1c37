/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/store_size.h"

#include <inttypes.h>

/* A guest that fills its store a quarter as fast as we copy is a busy one: scattered 4 KiB writes,
 * each of which costs a chunk, at some hundreds a second. It is watched and extended beyond that.
 */
#define FILL_TO_COPY_DIVISOR 4
#define SLACK_BYTES          (UINT64_C(64) << 20)

/* Below this there would be no time to notice and extend. */
#define LEAST_BYTES (UINT64_C(32) << 20)

static uint64_t round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Each metadata chunk lists chunk_bytes/16 exceptions; one more is the header, and one more
 * metadata chunk is begun when the last is full (kernel: dm-snap-persistent.c). */
static uint64_t full_size(uint64_t origin_bytes)
{
    uint64_t chunks = round_up(origin_bytes, STORE_CHUNK_BYTES) / STORE_CHUNK_BYTES;
    uint64_t per_area = STORE_CHUNK_BYTES / 16;

    return (chunks + chunks / per_area + 3) * STORE_CHUNK_BYTES;
}

int store_size_plan(struct store_size *stores, size_t count, uint64_t copied_bytes,
                    uint64_t free_bytes, uint64_t extent_bytes, struct error *e)
{
    uint64_t sum = 0, sum_full = 0, sum_least = 0, usable;

    for (size_t i = 0; i < count; i++) {
        struct store_size *s = &stores[i];

        s->full_bytes = round_up(full_size(s->origin_bytes), extent_bytes);
        s->size_bytes =
            least(s->full_bytes,
                  round_up(copied_bytes / FILL_TO_COPY_DIVISOR + SLACK_BYTES, extent_bytes));
        sum += s->size_bytes;
        sum_full += s->full_bytes;
        sum_least += least(s->full_bytes, round_up(LEAST_BYTES, extent_bytes));
    }
    /* What is not needed costs nothing where there is plenty, and need not be extended in time. */
    if (sum_full <= free_bytes / 2) {
        for (size_t i = 0; i < count; i++)
            stores[i].size_bytes = stores[i].full_bytes;
        return OK;
    }
    if (sum_full <= free_bytes)
        usable = free_bytes;
    else /* keep a fifth back, for the store that fills first */
        usable = free_bytes - free_bytes / 5;
    if (sum_least > usable)
        return error_set(
            e, NO_SPACE,
            "%" PRIu64 " MiB are free and the exception stores of its snapshots need at "
            "least %" PRIu64 " MiB; free some, or use --cold",
            free_bytes >> 20, (sum_least + (sum_full <= free_bytes ? 0 : free_bytes / 5)) >> 20);
    for (size_t i = 0; sum > usable && i < count; i++) {
        struct store_size *s = &stores[i];
        uint64_t floor = least(s->full_bytes, round_up(LEAST_BYTES, extent_bytes));
        /* Everyone has the least; what is beyond it is shared in proportion. */
        double share = (double)(usable - sum_least) / (double)(sum - sum_least);
        uint64_t above = (uint64_t)((double)(s->size_bytes - floor) * share);

        s->size_bytes = floor + above / extent_bytes * extent_bytes;
    }
    return OK;
}

uint64_t store_size_grow(uint64_t used_bytes, uint64_t total_bytes, uint64_t full_bytes)
{
    uint64_t step;

    if (total_bytes >= full_bytes || used_bytes < total_bytes / 2)
        return 0;
    step = total_bytes / 2 > LEAST_BYTES ? total_bytes / 2 : LEAST_BYTES;
    return least(step, full_bytes - total_bytes);
}
