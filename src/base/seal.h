/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON that must be whole when it is read back: a member "sha256" holds the sum of all the rest,
 * in jansson's compact form with sorted keys. It tells damage, not forgery.
 */
#ifndef BASE_SEAL_H
#define BASE_SEAL_H

#include <jansson.h>

#include "base/error.h"

/* Add the seal to an object, or renew it. */
int seal_add(json_t *object, struct error *e);

/* The same, and write it: json_write_durable(). */
int seal_write(int dirfd, const char *name, json_t *object, struct error *e);

/* DAMAGED if the seal is missing or wrong. `object` is left as it was. */
int seal_check(json_t *object, struct error *e);

#endif
