/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a repository's objects are: a folder, and one day a bucket or a host behind ssh. A driver
 * is one file with one table; everything else that touches storage goes through it.
 *
 * An object is a name and bytes. It comes into being whole, if there is none of its name, and never
 * changes; it may be removed. Listing is strong: an object is listed once its publish() has
 * returned, and no longer once its remove() has. That is all that may be relied upon: there is no
 * rename, no lock, no append, no mapping.
 *
 * Names are made of [A-Za-z0-9._-] in one or two folders ("packs/…", "copy/log/…"). All functions
 * may be called by any thread, but those of one object under way by one at a time, write()
 * excepted.
 */
#ifndef REPO_BACKEND_H
#define REPO_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define BACKEND_NAME_MAX 128 /* with the NUL */

/* Reads and writes whose place, length and memory are multiples of it are the fastest; none has to
 * be. */
#define BACKEND_ALIGNMENT 4096u

struct backend {
    const struct backend_driver *driver; /* a driver's own struct begins with this */
};

/* An object that is being written, and has no name yet. */
struct backend_object {
    struct backend *backend; /* a driver's own struct begins with this */
};

/* Told of one object: `name` without the folder's, valid during the call. An error ends the list.
 */
typedef int (*backend_sink)(void *arg, const char *name, uint64_t bytes, struct error *e);

struct backend_driver {
    const char *name; /* "folder" */

    /* Whether `where`, as the user gives it, is this driver's. */
    bool (*is_mine)(const char *where);

    /* Make a place for a new repository: BUSY if something is there. */
    int (*make)(const char *where, struct error *e);

    /* NOT_FOUND: there is nothing. What can't be written is opened all the same. */
    int (*open)(struct backend **b, const char *where, struct error *e);
    void (*close)(struct backend *b);

    /* The objects in a folder, in any order. What is no object (a folder, a pipe, a file that is
     * being written) is passed over. A folder that is not there is empty. */
    int (*list)(struct backend *b, const char *folder, backend_sink sink, void *arg,
                struct error *e);

    /* Read a part; `*got` is less than `bytes` only at the object's end. NOT_FOUND: no such object.
     * DAMAGED: the storage has lost it (EIO). */
    int (*get)(struct backend *b, const char *name, uint64_t offset, void *to, size_t bytes,
               size_t *got, struct error *e);

    /* Begin an object of at most about `bytes`; `run` names who writes it, for what a run that died
     * may leave. */
    int (*create)(struct backend *b, const char *run, uint64_t bytes, struct backend_object **o,
                  struct error *e);
    /* Each part once, in any order, by any thread. The last may be followed by bytes that publish()
     * cuts off, so that it can be aligned. */
    int (*write)(struct backend_object *o, const void *data, size_t bytes, uint64_t offset,
                 struct error *e);
    /* Give it its name, whole and durable: BUSY if there is an object of this name. `sum` is the
     * SHA-256 of its `bytes`, for drivers that can have it checked on the way. Frees `o`, on
     * failure too. */
    int (*publish)(struct backend_object *o, const char *name, uint64_t bytes,
                   const uint8_t sum[32], struct error *e);
    void (*discard)(struct backend_object *o); /* NULL is fine */

    /* Fine if it is gone. */
    int (*remove)(struct backend *b, const char *name, struct error *e);

    /* What of runs that `is_live` says are dead is in the way: written in part, never published.
     * `*bytes` is how much room that was. `is_live` may not use the backend. */
    int (*clean)(struct backend *b, bool (*is_live)(void *arg, const char *run), void *arg,
                 uint64_t *bytes, struct error *e);

    /* Bytes that can be written there; UINT64_MAX: nobody knows. */
    int (*room)(struct backend *b, uint64_t *bytes, struct error *e);

    /* A file without a name, the caller's, near the repository if that is on this host; and how
     * much room there is for it. */
    int (*temporary)(struct backend *b, int *fd, uint64_t *free_bytes, struct error *e);
};

extern const struct backend_driver backend_folder;

/* Of the driver whose `where` it is. */
int backend_make(const char *where, struct error *e);
int backend_open(struct backend **b, const char *where, struct error *e);
void backend_close(struct backend *b); /* NULL is fine */

/* A small object at once. */
int backend_put(struct backend *b, const char *run, const char *name, const void *data,
                size_t bytes, struct error *e);

/* A whole small object, to free(), with a NUL behind it. DAMAGED: it has more than `max_bytes`. */
int backend_get(struct backend *b, const char *name, size_t max_bytes, char **data, size_t *bytes,
                struct error *e);

#endif
