/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/backend.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/cleanup.h"

/* Most objects that are read whole have less, and are read by one get(). */
#define FIRST_BYTES ((size_t)64 << 10)

static const struct backend_driver *const drivers[] = {&backend_folder};

/* ---- making and opening ---- */

static const struct backend_driver *find_driver(const char *where)
{
    for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
        if (drivers[i]->is_mine(where))
            return drivers[i];
    return NULL;
}

static int no_driver(const char *where, struct error *e)
{
    return error_set(e, UNSUPPORTED,
                     "%s: this domsnap keeps repositories in folders only; name a folder", where);
}

int backend_make(const char *where, struct error *e)
{
    const struct backend_driver *d = find_driver(where);

    return d ? d->make(where, e) : no_driver(where, e);
}

int backend_open(struct backend **b, const char *where, struct error *e)
{
    const struct backend_driver *d = find_driver(where);

    *b = NULL;
    return d ? d->open(b, where, e) : no_driver(where, e);
}

void backend_close(struct backend *b)
{
    if (b)
        b->driver->close(b);
}

/* ---- small objects ---- */

static int put_once(struct backend *b, const char *run, const char *name, const void *data,
                    size_t bytes, const uint8_t sum[32], struct error *e)
{
    struct backend_object *o;

    if (b->driver->create(b, run, bytes, &o, e) < 0)
        return e->status;
    if (b->driver->write(o, data, bytes, 0, e) < 0) {
        b->driver->discard(o);
        return error_prefix(e, "%s", name);
    }
    return b->driver->publish(o, name, bytes, sum, e);
}

/* The entry that begins a run is written before the run is known. A sweep may take the unpublished
 * file for one of a dead run, and remove it; the next try makes another. */
#define PUT_TRIES 5

int backend_put(struct backend *b, const char *run, const char *name, const void *data,
                size_t bytes, struct error *e)
{
    uint8_t sum[32];
    int rc = NOT_FOUND;

    if (!EVP_Digest(data, bytes, sum, NULL, EVP_sha256(), NULL))
        return error_set(e, FAILED, "libcrypto has no SHA-256");
    for (int i = 0; rc == NOT_FOUND && i < PUT_TRIES; i++)
        rc = put_once(b, run, name, data, bytes, sum, e);
    return rc;
}

/* Room for `bytes` and a NUL. */
static int make_room(char **data, size_t bytes, struct error *e)
{
    char *more = realloc(*data, bytes + 1);

    if (!more)
        return error_out_of_memory(e);
    *data = more;
    return OK;
}

int backend_get(struct backend *b, const char *name, size_t max_bytes, char **data, size_t *bytes,
                struct error *e)
{
    AUTO_FREE char *all = NULL;
    size_t room = 0, have = 0;

    while (have == room) {
        size_t got;

        if (have > max_bytes)
            return error_set(e, DAMAGED, "%s: it has more than %zu bytes", name, max_bytes);
        room = room ? 2 * room : FIRST_BYTES;
        /* One byte more than there may be shows that there are too many. */
        if (room > max_bytes)
            room = max_bytes + 1;
        if (make_room(&all, room, e) < 0)
            return error_prefix(e, "%s", name);
        if (b->driver->get(b, name, have, all + have, room - have, &got, e) < 0)
            return e->status;
        have += got;
    }
    all[have] = '\0';
    *data = all;
    *bytes = have;
    all = NULL;
    return OK;
}
