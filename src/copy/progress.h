/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How far the work is: written by whoever does it, read at any time by whoever shows it. */
#ifndef COPY_PROGRESS_H
#define COPY_PROGRESS_H

#include <stdatomic.h>
#include <stdint.h>

struct progress {
    _Atomic(const char *) phase; /* static text: "copy"; NULL before the first */
    _Atomic uint64_t done_bytes;
    _Atomic uint64_t total_bytes; /* 0: not known */
};

static inline void progress_begin(struct progress *p, const char *phase, uint64_t total_bytes)
{
    atomic_store(&p->done_bytes, 0);
    atomic_store(&p->total_bytes, total_bytes);
    atomic_store(&p->phase, phase);
}

static inline void progress_add(struct progress *p, uint64_t bytes)
{
    atomic_fetch_add_explicit(&p->done_bytes, bytes, memory_order_relaxed);
}

#endif
