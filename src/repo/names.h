/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of pieces, gathered in any order and told in theirs, each once. What is more than memory
 * is to hold lies sorted in a file, in runs that are merged when they are told.
 *
 *     names_new → (names_add … → names_begin → names_next … → names_clear) … → names_free
 *
 * After an error only names_clear and names_free may follow.
 */
#ifndef REPO_NAMES_H
#define REPO_NAMES_H

#include "repo/format.h"

struct names;

/* `scratch`: an empty file, which is closed with it; -1: there is none. */
int names_new(struct names **n, int scratch, struct error *e);
void names_free(struct names *n); /* NULL is fine */

int names_add(struct names *n, const uint8_t prefix[PREFIX_BYTES], struct error *e);
bool names_is_empty(const struct names *n);

/* There is no file, or it is full, and what memory is to hold is there: they should be told, and
 * cleared, before more are added. */
bool names_is_full(const struct names *n);

/* Tell them from the first on. */
int names_begin(struct names *n, struct error *e);

/* 1, and the next one, valid until the next call; 0: that was all; or negative: what was told may
 * be wrong. */
int names_next(struct names *n, const uint8_t **prefix, struct error *e);

void names_clear(struct names *n);

#endif
