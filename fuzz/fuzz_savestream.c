/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Save files: their head; taken apart; joined again. */
#include "fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "domain/savefile.h"
#include "domain/savestream.h"

struct parts {
    const struct save_pages *pages;
    int rest, types;
};

static int read_part(void *arg, enum save_part part, void *to, size_t bytes, uint64_t offset,
                     struct error *e)
{
    const struct parts *p = arg;

    if (part == SAVE_FRAMES)
        return save_pages_read(p->pages, to, bytes, offset, e);
    return pread_full(part == SAVE_REST ? p->rest : p->types, to, bytes, offset) < 0
               ? error_errno(e, "read")
               : OK;
}

static void apart_and_joined(const struct save_pages *pages)
{
    AUTO_CLOSE int rest = fuzz_file(NULL, 0);
    AUTO_CLOSE int types = fuzz_file(NULL, 0);
    AUTO_CLOSE int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct parts p = {pages, rest, types};
    struct save_parts join = {.read = read_part, .arg = &p};
    struct error e;

    if (save_pages_write_rest(pages, rest, &join.pages_at, &e) < 0 ||
        save_pages_write_types(pages, types, &e) < 0)
        abort();
    join.bytes[SAVE_REST] = (uint64_t)lseek(rest, 0, SEEK_END);
    join.bytes[SAVE_TYPES] = (uint64_t)lseek(types, 0, SEEK_END);
    join.bytes[SAVE_FRAMES] = save_pages_frames(pages) * DOMAIN_PAGE_BYTES;
    if (save_parts_join(&join, null, &e) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_CLOSE int fd = fuzz_file(data, size);
    json_t *config;
    struct save_pages *pages;
    struct error e;

    if (savefile_read_head(fd, &config, &e) == OK)
        json_decref(config);
    if (save_pages_find(&pages, fd, size, &e) < 0)
        return 0;
    /* More would only take time. */
    if (save_pages_frames(pages) < 1 << 16)
        apart_and_joined(pages);
    save_pages_free(pages);
    return 0;
}
