/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes as lower-case hexadecimal digits, and back. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

/* `hex` has room for 2 * bytes + 1. */
void hex_put(char *hex, const uint8_t *from, size_t bytes);

/* The first 2 * bytes of `hex` are known to be such digits. */
void hex_take(uint8_t *to, size_t bytes, const char *hex);

#endif
