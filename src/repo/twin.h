/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is small and vital is there twice: an object NAME, and the same under copy/NAME. It is JSON,
 * sealed (base/seal.h). The first one decides whether it is there at all: it is put first and
 * removed last.
 */
#ifndef REPO_TWIN_H
#define REPO_TWIN_H

#include <jansson.h>

#include "repo/backend.h"

/* What is known of the pair after a read. */
enum twin_state {
    TWIN_WHOLE,    /* the first was read; the copy was not looked at */
    TWIN_COPY_ONLY /* the first is not to be had, and why is in `why`: the copy was read */
};

/* Seal `object`, with a member "object" that says its name, and put it twice. BUSY: there is one of
 * this name; nothing was put. If only the copy could not be put, that is said as a warning: the
 * first counts. */
int twin_put(struct backend *b, const char *run, const char *name, json_t *object, struct error *e);

/* NOT_FOUND: neither is there. DAMAGED: neither is whole. `*state` and `why` may be NULL. */
int twin_get(struct backend *b, const char *name, size_t max_bytes, json_t **object,
             enum twin_state *state, struct error *why, struct error *e);

/* Look at both: OK; DAMAGED if one of them is not to be had, with *healed saying whether it could
 * be put again from the other (a damaged one is removed and put anew). NOT_FOUND: neither is there.
 * FAILED and others: nobody knows, and nothing was done.
 *
 * Healing is for config and records only: the first one is gone for a moment, and a number of the
 * log must never be free. Nobody may remove the pair meanwhile, or its copy may stay. */
int twin_check(struct backend *b, const char *run, const char *name, size_t max_bytes, bool heal,
               bool *healed, struct error *e);

/* The copy first. Fine if they are gone. */
int twin_remove(struct backend *b, const char *name, struct error *e);

#endif
