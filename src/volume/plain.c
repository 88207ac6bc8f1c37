/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any block device, and image files: they can be read, but there is no way to fix an instant on
 * them. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "volume/volume.h"

static void plain_close(struct volume *v)
{
    free(v->path);
    free(v->name);
    free(v);
}

/* An image file may be sparse itself. */
static uint64_t copy_size(int fd, uint64_t size)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : size;
}

static int plain_open(const char *path, struct volume **out, struct error *e)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct volume *v;
    uint64_t size;

    if (fd < 0)
        return error_errno(e, "open");
    if (file_size(fd, path, &size, e) < 0)
        return e->status;
    v = calloc(1, sizeof *v);
    if (!v)
        return error_errno(e, "%s", path);
    *v = (struct volume){
        .driver = &volume_plain,
        .path = strdup(path),
        .name = strdup(path),
        .size_bytes = size,
        .copy_bytes = copy_size(fd, size),
    };
    if (!v->path || !v->name) {
        plain_close(v);
        return error_set(e, NO_SPACE, "out of memory");
    }
    *out = v;
    return OK;
}

/* A file's other name is in the same folder. */
static int plain_aside(const struct volume *v, char **name, struct error *e)
{
    AUTO_FREE char *folder = strdup(v->name);
    AUTO_FREE char *aside = format_text("%s.domsnap", v->name);
    struct stat st;

    if (!folder || !aside)
        return error_set(e, NO_SPACE, "out of memory");
    if (stat(v->name, &st) < 0)
        return error_errno(e, "%s", v->name);
    if (!S_ISREG(st.st_mode))
        return error_set(e, UNSUPPORTED, "%s is no file, so it can't be renamed", v->name);
    if (access(dirname(folder), W_OK) < 0)
        return error_set(e, UNSUPPORTED, "%s can't be renamed: %m", v->name);
    if (access(aside, F_OK) == 0)
        return error_set(e, BUSY, "there is a file %s already", aside);
    *name = strdup(aside);
    return *name ? OK : error_set(e, NO_SPACE, "out of memory");
}

static int plain_rename(const char *from, const char *to, struct error *e)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0 &&
        !(errno == ENOENT && access(to, F_OK) == 0)) {
        if (errno != EINVAL)
            return error_errno(e, "%s", to);
        /* A file system without this flag, as NFS. */
        if (link(from, to) < 0 || unlink(from) < 0)
            return error_errno(e, "%s", to);
    }
    return sync_parent(to) < 0 ? error_errno(e, "%s: make it durable", to) : OK;
}

static int plain_can_snapshot(const struct volume *v, struct error *e)
{
    return error_set(
        e, UNSUPPORTED,
        "%s is not on LVM, so it can't be snapshotted; --cold copies it while the guest is "
        "paused",
        v->path);
}

/* can_snapshot says no, so that nothing below is reached but by a mistake of ours or a forged
 * journal. */
static int refuse(struct error *e)
{
    return error_set(e, UNSUPPORTED, "plain volumes have no snapshots");
}

static int plain_plan(struct volume *const vs[], size_t count, const char *id, struct error *e)
{
    (void)vs, (void)count, (void)id;
    return refuse(e);
}

static int plain_step(struct volume *const vs[], size_t count, struct error *e)
{
    (void)vs, (void)count;
    return refuse(e);
}

static int plain_open_image(const struct volume *v, int *fd, struct error *e)
{
    (void)v, (void)fd;
    return refuse(e);
}

static int plain_watch(struct volume *v, uint64_t done_bytes, struct error *e)
{
    (void)v, (void)done_bytes;
    return refuse(e);
}

static int plain_undo(const json_t *record, struct error *e)
{
    (void)record;
    return refuse(e);
}

const struct volume_driver volume_plain = {
    .name = "plain",
    .method = "copied while the guest is paused",
    .open = plain_open,
    .close = plain_close,
    .can_snapshot = plain_can_snapshot,
    .plan = plain_plan,
    .prepare = plain_step,
    .hold = plain_step,
    .commit = plain_step,
    .lift = plain_undo,
    .open_image = plain_open_image,
    .watch = plain_watch,
    .aside = plain_aside,
    .rename = plain_rename,
    .discard = plain_undo,
};
