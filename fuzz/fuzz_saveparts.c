/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of a save file as a record names them, joined: where the pages come in, how many frames
 * there are, a type for each, and the rest.
 *
 *     2 bytes   where in the rest the pages come
 *     2 bytes   frames by their types; as many in the image, or one less if the highest bit is set
 *     then      the types, and the rest
 */
#include "fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "domain/savestream.h"

struct parts {
    const uint8_t *types, *rest;
    struct save_parts to_join;
};

/* Whoever asks for more than there is has not looked at the lengths. */
static int read_part(void *arg, enum save_part part, void *to, size_t bytes, uint64_t offset,
                     struct error *e)
{
    const struct parts *p = arg;

    (void)e;
    if (offset > p->to_join.bytes[part] || bytes > p->to_join.bytes[part] - offset)
        abort();
    if (part == SAVE_FRAMES)
        memset(to, 'p', bytes);
    else
        memcpy(to, (part == SAVE_REST ? p->rest : p->types) + offset, bytes);
    return OK;
}

static size_t number(const uint8_t *data)
{
    return data[0] | (size_t)data[1] << 8;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int null = -1;
    struct parts p = {.to_join.read = read_part, .to_join.arg = &p};
    size_t types, less;
    struct error e;

    if (null < 0 && (null = open("/dev/null", O_WRONLY | O_CLOEXEC)) < 0)
        abort();
    if (size < 4)
        return 0;
    types = number(data + 2) & 0x7fff;
    less = data[3] >> 7;
    if (types > size - 4)
        types = size - 4;
    p.types = data + 4;
    p.rest = p.types + types;
    p.to_join.pages_at = number(data);
    p.to_join.bytes[SAVE_TYPES] = types;
    p.to_join.bytes[SAVE_FRAMES] = types > less ? (types - less) * DOMAIN_PAGE_BYTES : 0;
    p.to_join.bytes[SAVE_REST] = size - 4 - types;
    save_parts_join(&p.to_join, null, &e);
    return 0;
}
