/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Little-endian numbers at any alignment, as they are in files. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void put32(uint8_t *to, uint32_t n)
{
    n = htole32(n);
    memcpy(to, &n, sizeof n);
}

static inline void put64(uint8_t *to, uint64_t n)
{
    n = htole64(n);
    memcpy(to, &n, sizeof n);
}

static inline uint32_t take32(const uint8_t *from)
{
    uint32_t n;

    memcpy(&n, from, sizeof n);
    return le32toh(n);
}

static inline uint64_t take64(const uint8_t *from)
{
    uint64_t n;

    memcpy(&n, from, sizeof n);
    return le64toh(n);
}

#endif
