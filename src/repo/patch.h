/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Patches: the pages in which content differs from other content of the same length, its base. */
#ifndef REPO_PATCH_H
#define REPO_PATCH_H

#include "repo/format.h"

/* A patch that replaces more of its base than this part is not worth the second read. */
#define PATCH_MAX_PART 2

/* Gather the pages that differ into `pages` (room for half of `bytes`), a bit for each in `bitmap`.
 * How much they are; 0: there are none, or too many. */
uint32_t patch_gather(const uint8_t *content, const uint8_t *base, uint32_t bytes, uint8_t *pages,
                      uint8_t bitmap[static PATCH_BITMAP_MAX_BYTES]);

/* How much the pages are whose bits are set; 0: none is, or one past the end. Nothing is trusted.
 */
uint32_t patch_pages_bytes(const uint8_t *bitmap, uint32_t bytes);

/* Put so many pages in their places. */
void patch_apply(uint8_t *content, uint32_t bytes, const uint8_t *bitmap, const uint8_t *pages);

#endif
