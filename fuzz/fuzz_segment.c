/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of an index. Their sum is put right, or nothing behind it would be reached. */
#include "fuzz.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "repo/segment.h"

static uint32_t number(void *arg, const char *name, uint64_t bytes)
{
    (void)arg;
    return bytes % 3 ? (uint32_t)name[0] % 4 : SEGMENT_PACK_GONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE uint8_t *copy = malloc(size + 1);
    AUTO_CLOSE int dirfd = open(fuzz_folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct location where;
    struct segment s = {0};
    struct error e;

    if (size < ID_BYTES || !copy)
        return 0;
    memcpy(copy, data, size);
    EVP_Digest(copy, size - ID_BYTES, copy + size - ID_BYTES, NULL, EVP_sha256(), NULL);
    fuzz_write("0.idx", copy, size);
    if (segment_map(&s, dirfd, "0.idx", number, NULL, &e) < 0)
        return 0;
    for (size_t i = 0; i < s.count; i++)
        segment_find(&s, s.entries[i].prefix, &where);
    segment_find(&s, copy, &where);
    segment_unmap(&s);
    return 0;
}
