/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy/seen.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* 32 MiB once all are used: 256 GiB of distinct content, in chunks of 256 KiB. */
#define SLOTS (1u << 20)

struct seen {
    pthread_mutex_t mutex;
    struct chunk_id *slots; /* each holds the last whose name led there; zeros: none */
};

int seen_new(struct seen **out, struct error *e)
{
    struct seen *s = calloc(1, sizeof *s);

    if (s)
        s->slots = calloc(SLOTS, sizeof *s->slots);
    if (!s || !s->slots) {
        free(s);
        return error_set(e, NO_SPACE, "out of memory");
    }
    pthread_mutex_init(&s->mutex, NULL);
    *out = s;
    return OK;
}

void seen_free(struct seen *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->mutex);
    free(s->slots);
    free(s);
}

static struct chunk_id *slot_of(struct seen *s, const struct chunk_id *id)
{
    uint32_t n;

    memcpy(&n, id->bytes, sizeof n);
    return &s->slots[n % SLOTS];
}

bool seen_has(struct seen *s, const struct chunk_id *id)
{
    bool has;

    pthread_mutex_lock(&s->mutex);
    has = memcmp(slot_of(s, id)->bytes, id->bytes, ID_BYTES) == 0;
    pthread_mutex_unlock(&s->mutex);
    return has;
}

void seen_add(struct seen *s, const struct chunk_id *id)
{
    pthread_mutex_lock(&s->mutex);
    *slot_of(s, id) = *id;
    pthread_mutex_unlock(&s->mutex);
}
