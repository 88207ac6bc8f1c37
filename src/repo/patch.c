/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/patch.h"

#include <string.h>

static uint32_t page_count(uint32_t bytes)
{
    return (bytes + PATCH_PAGE_BYTES - 1) / PATCH_PAGE_BYTES;
}

static uint32_t page_bytes(uint32_t page, uint32_t bytes)
{
    uint32_t left = bytes - page * PATCH_PAGE_BYTES;

    return left < PATCH_PAGE_BYTES ? left : PATCH_PAGE_BYTES;
}

static bool bit_of(const uint8_t *bitmap, uint32_t page)
{
    return bitmap[page / 8] & 1 << page % 8;
}

uint32_t patch_gather(const uint8_t *content, const uint8_t *base, uint32_t bytes, uint8_t *pages,
                      uint8_t bitmap[static PATCH_BITMAP_MAX_BYTES])
{
    uint32_t sum = 0;

    memset(bitmap, 0, PATCH_BITMAP_MAX_BYTES);
    for (uint32_t page = 0; page < page_count(bytes); page++) {
        size_t at = (size_t)page * PATCH_PAGE_BYTES;
        uint32_t n = page_bytes(page, bytes);

        if (memcmp(content + at, base + at, n) == 0)
            continue;
        if (sum + n > bytes / PATCH_MAX_PART)
            return 0;
        memcpy(pages + sum, content + at, n);
        sum += n;
        bitmap[page / 8] |= (uint8_t)(1 << page % 8);
    }
    return sum;
}

uint32_t patch_pages_bytes(const uint8_t *bitmap, uint32_t bytes)
{
    uint32_t sum = 0;

    for (uint32_t page = 0; page < patch_bitmap_bytes(bytes) * 8; page++) {
        if (!bit_of(bitmap, page))
            continue;
        if (page >= page_count(bytes))
            return 0;
        sum += page_bytes(page, bytes);
    }
    return sum;
}

void patch_apply(uint8_t *content, uint32_t bytes, const uint8_t *bitmap, const uint8_t *pages)
{
    for (uint32_t page = 0; page < page_count(bytes); page++) {
        uint32_t n = page_bytes(page, bytes);

        if (!bit_of(bitmap, page))
            continue;
        memcpy(content + (size_t)page * PATCH_PAGE_BYTES, pages, n);
        pages += n;
    }
}
