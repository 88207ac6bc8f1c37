/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/hex.h"

static const char digits[] = "0123456789abcdef";

void hex_put(char *hex, const uint8_t *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        *hex++ = digits[from[i] >> 4];
        *hex++ = digits[from[i] & 15];
    }
    *hex = '\0';
}

static uint8_t value_of(char digit)
{
    return (uint8_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

void hex_take(uint8_t *to, size_t bytes, const char *hex)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value_of(hex[2 * i]) << 4 | value_of(hex[2 * i + 1]));
}
