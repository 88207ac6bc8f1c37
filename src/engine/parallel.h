/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several copies at once, a thread each, while the caller keeps an eye on something. */
#ifndef ENGINE_PARALLEL_H
#define ENGINE_PARALLEL_H

#include <pthread.h>
#include <stddef.h>

#include "copy/copy.h"

struct parallel_copy {
    struct copy copy;               /* in; `stop` is set by parallel_run() */
    char sha256[SHA256_HEX];        /* out */
    atomic_uint_least64_t position; /* for copy.position */
    struct team *team;              /* private to parallel_run(), as is the thread */
    pthread_t thread;
};

/* Called on the caller's thread, at least four times a second, until all copies have ended; an
 * error stops them. */
typedef int (*parallel_watch)(void *arg, struct error *e);

/* Run all; the first error stops the others and is returned. `watch` may be NULL. */
int parallel_run(struct parallel_copy *copies, size_t count, parallel_watch watch, void *arg,
                 struct error *e);

#endif
