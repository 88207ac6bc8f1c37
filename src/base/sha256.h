/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SHA-256 by OpenSSL, with hexadecimal out. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>

#include "base/error.h"

#define SHA256_HEX 65 /* with the NUL */

struct sha256; /* opaque */

int sha256_new(struct sha256 **s, struct error *e);
void sha256_update(struct sha256 *s, const void *data, size_t len);
/* Ends the sum: only sha256_free() may follow. */
void sha256_final(struct sha256 *s, char hex[SHA256_HEX]);
void sha256_free(struct sha256 *s); /* NULL is fine */

#endif
