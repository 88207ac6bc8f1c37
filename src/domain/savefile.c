/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "domain/savefile.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"

#define MAGIC            "Xen saved domain, xl format\n \0 \r"
#define BYTEORDER        UINT32_C(0x01020304)
#define FLAG_JSON        UINT32_C(1)
#define FLAG_STREAM_V2   UINT32_C(2)
#define CONFIG_MAX_BYTES (UINT32_C(4) << 20) /* ours: xl sets none; real ones have a few KiB */

struct head {
    char magic[32];
    uint32_t byteorder;
    uint32_t mandatory_flags;
    uint32_t optional_flags;
    uint32_t optional_data_len;
} __attribute__((packed));

static_assert(sizeof(struct head) == 48, "xl's struct save_file_header");
static_assert(sizeof MAGIC == 33, "the magic fills its 32 bytes, without a NUL");

int savefile_write_head(int fd, const json_t *config, struct error *e)
{
    AUTO_FREE char *text = json_dumps(config, JSON_INDENT(4));
    uint32_t len = text ? (uint32_t)strlen(text) + 1 : 0;
    struct head head = {
        .byteorder = BYTEORDER,
        .mandatory_flags = FLAG_JSON | FLAG_STREAM_V2,
        .optional_data_len = (uint32_t)sizeof len + len,
    };

    if (!text || len > CONFIG_MAX_BYTES)
        return error_set(e, FAILED, "the domain's configuration is too long for a save file");
    memcpy(head.magic, MAGIC, sizeof head.magic);
    if (write_full(fd, &head, sizeof head) < 0 || write_full(fd, &len, sizeof len) < 0 ||
        write_full(fd, text, len) < 0)
        return error_errno(e, "write of the save file's head");
    return OK;
}

static int unreadable(struct error *e)
{
    return error_set(e, DAMAGED, "too short for a save file, or unreadable: %s", strerror(errno));
}

static int check_head(const struct head *head, struct error *e)
{
    if (memcmp(head->magic, MAGIC, sizeof head->magic) != 0)
        return error_set(e, DAMAGED, "not a save file as `xl save` writes it");
    if (head->byteorder != BYTEORDER)
        return error_set(e, DAMAGED, "a save file of a machine with another byte order");
    if (head->mandatory_flags != (FLAG_JSON | FLAG_STREAM_V2))
        return error_set(
            e, UNSUPPORTED,
            "a save file of Xen 4.5 or older (flags %#x): restore it with `xl restore`, "
            "save it anew",
            head->mandatory_flags);
    if (head->optional_data_len < sizeof(uint32_t) ||
        head->optional_data_len > CONFIG_MAX_BYTES + sizeof(uint32_t))
        return error_set(e, DAMAGED, "a save file without its configuration");
    return OK;
}

int savefile_head_bytes(int fd, uint64_t *bytes, struct error *e)
{
    struct head head;

    if (pread_full(fd, &head, sizeof head, 0) < 0)
        return unreadable(e);
    *bytes = sizeof head + (uint64_t)head.optional_data_len;
    return check_head(&head, e);
}

int savefile_read_head(int fd, json_t **config, struct error *e)
{
    AUTO_FREE char *text = NULL;
    json_error_t why;
    struct head head;
    uint32_t len, rest;

    if (read_full(fd, &head, sizeof head) < 0)
        return unreadable(e);
    if (check_head(&head, e) < 0)
        return e->status;
    if (read_full(fd, &len, sizeof len) < 0)
        return error_set(e, DAMAGED, "a save file without its configuration");
    rest = head.optional_data_len - (uint32_t)sizeof len;
    text = malloc((size_t)rest + 1);
    if (!text)
        return error_errno(e, "memory for the configuration");
    if (len == 0 || len > rest || read_full(fd, text, rest) < 0)
        return error_set(e, DAMAGED, "a save file whose configuration is cut short");
    text[rest] = '\0';
    *config = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (!*config)
        return error_set(e, DAMAGED, "the save file's configuration: line %d: %s", why.line,
                         why.text);
    return OK;
}
