/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A backend in memory that fails on demand. Several handles on one store are several processes:
 * each can be made to fail, to lose an answer, or to die before any of its operations.
 */
#ifndef TESTS_BACKEND_FAKE_H
#define TESTS_BACKEND_FAKE_H

#include "repo/backend.h"

struct fake_store;

struct fake_store *fake_store_new(void);
void fake_store_free(struct fake_store *s);

/* A handle, to be closed by backend_close(). */
struct backend *fake_backend(struct fake_store *s);

enum fake_fault {
    FAKE_NONE,
    FAKE_FAIL,        /* FAILED, and nothing was done */
    FAKE_NO_SPACE,    /* the same, NO_SPACE */
    FAKE_LOST_ANSWER, /* it was done, and FAILED is returned */
    FAKE_DIE /* it was not done, nor is anything that comes after, by this handle: all fail */
};

/* The `n`-th operation from now on, from 1, of this handle (list, get, publish, remove: each counts
 * as one; create and write don't) has this fault. */
void fake_arm(struct backend *b, unsigned n, enum fake_fault fault);
unsigned fake_operations(const struct backend *b); /* so many so far */

/* Called before each operation of this handle, so that a test can do something in between. NULL: no
 * longer. */
void fake_before(struct backend *b,
                 void (*before)(void *arg, const char *operation, const char *name), void *arg);

/* From outside, past all handles. */
bool fake_has(const struct fake_store *s, const char *name);
unsigned char *fake_bytes(struct fake_store *s, const char *name,
                          size_t *bytes); /* its own memory, to be changed in place */
void fake_truncate(struct fake_store *s, const char *name, size_t bytes);
void fake_drop(struct fake_store *s, const char *name);
size_t fake_count(const struct fake_store *s, const char *folder);

#endif
