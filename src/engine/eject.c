/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/eject.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "domain/savefile.h"

#define CONFIG_MAX_BYTES (1u << 20)
#define SPLICE_BYTES     (1u << 20)

static bool is_gone(const char *vdev, const char *path)
{
    if (!*path || access(path, F_OK) == 0)
        return false;
    log_note("drive %s is left empty: %s is gone", vdev, path);
    return true;
}

void eject_from_json(json_t *config)
{
    json_t *disk;
    size_t i;

    json_array_foreach (json_object_get(config, "disks"), i, disk) {
        const char *path = json_string_value(json_object_get(disk, "pdev_path"));
        const char *vdev = json_string_value(json_object_get(disk, "vdev"));

        if (!json_integer_value(json_object_get(disk, "is_cdrom")) || !path || !vdev)
            continue;
        if (!is_gone(vdev, path))
            continue;
        json_object_set_new(disk, "pdev_path", json_string(""));
        json_object_set_new(disk, "format", json_string("empty"));
    }
}

int eject_from_save(int from, int to, struct error *e)
{
    AUTO_JSON json_t *config = NULL;
    ssize_t n;

    if (savefile_read_head(from, &config, e) < 0)
        return e->status;
    eject_from_json(config);
    if (savefile_write_head(to, config, e) < 0)
        return e->status;
    do
        n = splice(from, NULL, to, NULL, SPLICE_BYTES, SPLICE_F_MOVE);
    while (n > 0 || (n < 0 && errno == EINTR));
    return n < 0 ? error_errno(e, "pass the RAM on") : OK;
}

/* Its path is the end of the string that names it. */
static void cut_out(char *text, const char *path)
{
    size_t len = strlen(path);

    for (char *p = text; (p = strstr(p, path)); p++)
        if (p - text >= 7 && strncmp(p - 7, "target=", 7) == 0 && strchr("'\"", p[len])) {
            memmove(p, p + len, strlen(p + len) + 1);
            return;
        }
}

static int replace(int *fd, const char *text, struct error *e)
{
    int copy = memfd_create("domsnap", MFD_CLOEXEC);

    if (copy < 0)
        return error_errno(e, "configuration");
    if (write_full(copy, text, strlen(text)) < 0 || lseek(copy, 0, SEEK_SET) < 0) {
        close(copy);
        return error_errno(e, "configuration");
    }
    close(*fd);
    *fd = copy;
    return OK;
}

int config_read(int fd, char **text, uint64_t *bytes, struct error *e)
{
    AUTO_FREE char *all = NULL;

    if (file_size(fd, "configuration", bytes, e) < 0)
        return e->status;
    if (*bytes > CONFIG_MAX_BYTES)
        return error_set(e, DAMAGED, "its configuration is too large");
    all = calloc(1, *bytes + 1);
    if (!all || pread_full(fd, all, *bytes, 0) < 0)
        return error_errno(e, "configuration");
    *text = all;
    all = NULL;
    return OK;
}

int eject_from_config(const struct domain_driver *domains, int *fd, struct error *e)
{
    AUTO_FREE char *text = NULL;
    struct domain d;
    uint64_t bytes;

    if (config_read(*fd, &text, &bytes, e) < 0)
        return e->status;
    if (domains->describe_config(text, bytes, "configuration", &d, e) < 0)
        return e->status;
    for (size_t i = 0; i < d.disk_count; i++)
        if (d.disks[i].cdrom && is_gone(d.disks[i].vdev, d.disks[i].path))
            cut_out(text, d.disks[i].path);
    domain_release(&d);
    return replace(fd, text, e);
}
