/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that do not compress; the same ones after the same srandom(). random() itself takes ten
 * times as long for each of them. */
static inline void fill_random(uint8_t *to, size_t bytes)
{
    uint64_t x = (uint64_t)random() << 1 | 1;

    for (size_t i = 0; i < bytes; i += sizeof x) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(to + i, &x, bytes - i < sizeof x ? bytes - i : sizeof x);
    }
}

#endif
