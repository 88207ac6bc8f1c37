/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Patches: a bitmap of which nothing is trusted, and pages of just the length that it says. Then
 * what differs, gathered and applied.
 *
 *     3 bytes   the length of the content, modulo 16 pages and some; or what there may be if the
 *               highest bit is set
 *     32 bytes  the bitmap
 *     then      the content where it differs: 2 bytes where (in units of 16), one what
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "repo/patch.h"

static uint8_t *filled(uint32_t bytes, int with)
{
    uint8_t *memory = malloc(bytes + (size_t)!bytes);

    if (!memory)
        abort();
    return memset(memory, with, bytes);
}

static void apply_given(const uint8_t *given, uint32_t bytes)
{
    size_t bitmap_bytes = patch_bitmap_bytes(bytes);
    AUTO_FREE uint8_t *bitmap = filled((uint32_t)bitmap_bytes, 0);
    AUTO_FREE uint8_t *content = filled(bytes, 'c');
    AUTO_FREE uint8_t *pages = NULL;
    uint32_t sum, changed = 0;

    memcpy(bitmap, given, bitmap_bytes);
    sum = patch_pages_bytes(bitmap, bytes);
    if (sum > bytes)
        abort();
    if (!sum)
        return;
    pages = filled(sum, 'p');
    patch_apply(content, bytes, bitmap, pages);
    for (uint32_t i = 0; i < bytes; i++)
        changed += content[i] == 'p';
    if (changed != sum)
        abort();
}

static void there_and_back(const uint8_t *data, size_t size, uint32_t bytes)
{
    AUTO_FREE uint8_t *base = filled(bytes, 'b');
    AUTO_FREE uint8_t *content = filled(bytes, 'b');
    AUTO_FREE uint8_t *pages = filled(bytes / 2, 0);
    uint8_t bitmap[PATCH_BITMAP_MAX_BYTES];
    uint32_t sum;

    for (; size >= 3; data += 3, size -= 3) {
        uint32_t at = ((uint32_t)data[0] | (uint32_t)data[1] << 8) * 16;

        if (at < bytes)
            content[at] = data[2];
    }
    sum = patch_gather(content, base, bytes, pages, bitmap);
    if (!sum)
        return;
    if (sum > bytes / PATCH_MAX_PART || patch_pages_bytes(bitmap, bytes) != sum)
        abort();
    patch_apply(base, bytes, bitmap, pages);
    if (memcmp(base, content, bytes) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t bytes;

    if (size < 3 + PATCH_BITMAP_MAX_BYTES)
        return 0;
    bytes = 1 + ((uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16) %
                    (data[2] & 0x80 ? CHUNK_MAX_BYTES : 16 * PATCH_PAGE_BYTES + 100);
    apply_given(data + 3, bytes);
    there_and_back(data + 3 + PATCH_BITMAP_MAX_BYTES, size - 3 - PATCH_BITMAP_MAX_BYTES, bytes);
    return 0;
}
