/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

const struct volume_driver *const volume_drivers[] = {&volume_lvm_transient, &volume_lvm_snapshot,
                                                      &volume_plain, NULL};

const struct volume_driver *const volume_drivers_lvm_snapshot[] = {&volume_lvm_snapshot,
                                                                   &volume_plain, NULL};

int volume_open(const struct volume_driver *const drivers[], const char *path, struct volume **v,
                struct error *e)
{
    AUTO_FREE char *full = format_text("%s%s", path[0] == '/' ? "" : "/dev/", path);
    int rc = error_set(e, UNSUPPORTED, "no driver for volumes");

    if (!full)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; drivers[i] && rc == UNSUPPORTED; i++)
        rc = drivers[i]->open(full, v, e);
    return rc == OK ? OK : error_prefix(e, "volume %s", full);
}

void volume_close(struct volume *v)
{
    if (v)
        v->driver->close(v);
}

static const struct volume_driver *driver_called(const struct volume_driver *const drivers[],
                                                 const char *name, struct error *e)
{
    for (size_t i = 0; name && drivers[i]; i++)
        if (strcmp(drivers[i]->name, name) == 0)
            return drivers[i];
    error_set(e, DAMAGED, "the journal names \"%s\", which is no driver of volumes",
              name ? name : "");
    return NULL;
}

static const struct volume_driver *driver_of(const struct volume_driver *const drivers[],
                                             const json_t *record, struct error *e)
{
    return driver_called(drivers, json_string_value(json_object_get(record, "driver")), e);
}

int volume_rename(const struct volume_driver *const drivers[], const char *driver, const char *from,
                  const char *to, struct error *e)
{
    const struct volume_driver *d = driver_called(drivers, driver, e);

    if (!d)
        return e->status;
    return d->rename(from, to, e) < 0 ? error_prefix(e, "rename %s to %s", from, to) : OK;
}

int volume_discard(const struct volume_driver *const drivers[], const json_t *record,
                   struct error *e)
{
    const struct volume_driver *driver = driver_of(drivers, record, e);

    return driver ? driver->discard(record, e) : e->status;
}

int volume_lift(const struct volume_driver *const drivers[], const json_t *record, struct error *e)
{
    const struct volume_driver *driver = driver_of(drivers, record, e);

    return driver ? driver->lift(record, e) : e->status;
}

static int open_volume(const struct volume *v, int flags, int *fd, struct error *e)
{
    struct stat st;

    if (stat(v->path, &st) < 0)
        return error_errno(e, "volume %s", v->name);
    /* On a block device O_EXCL, without O_CREAT, asks that nobody else claims it. */
    flags |= S_ISBLK(st.st_mode) ? O_DIRECT : 0;
    flags &= S_ISBLK(st.st_mode) ? ~0 : ~O_EXCL;
    *fd = open(v->path, flags | O_CLOEXEC);
    return *fd < 0 ? error_errno(e, "volume %s: open", v->name) : OK;
}

int volume_open_live(const struct volume *v, int *fd, struct error *e)
{
    return open_volume(v, O_RDONLY, fd, e);
}

int volume_flush(const struct volume *v, struct error *e)
{
    AUTO_CLOSE int fd = open(v->path, O_RDONLY | O_CLOEXEC);

    return fd < 0 || fsync(fd) < 0 ? error_errno(e, "volume %s: flush", v->name) : OK;
}

/* Whether a loop device, the way an image file becomes a guest's disk, is bound to this file. */
static bool has_loop_device(const struct stat *file)
{
    AUTO_CLOSEDIR DIR *dir = opendir("/sys/block");
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        AUTO_FREE char *path = format_text("/dev/%s", entry->d_name);
        AUTO_CLOSE int fd = -1;
        struct loop_info64 info;

        if (strncmp(entry->d_name, "loop", 4) != 0 || !path)
            continue;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0 && info.lo_device == file->st_dev &&
            info.lo_inode == file->st_ino)
            return true;
    }
    return false;
}

/* How many writes the device has done: the fifth of the numbers of its kind
 * (Documentation/block/stat.rst). */
static int device_writes(dev_t device, uint64_t *count, struct error *e)
{
    AUTO_FREE char *path = format_text("/sys/dev/block/%u:%u/stat", major(device), minor(device));
    AUTO_CLOSE int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char text[512] = "";

    if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
        return error_errno(e, "%s", path ? path : "/sys");
    return sscanf(text, "%*u %*u %*u %*u %" SCNu64, count) == 1
               ? OK
               : error_set(e, FAILED, "%s: it is not understood", path);
}

int volume_mark(int fd, uint64_t *mark, struct error *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return error_errno(e, "its state");
    if (S_ISBLK(st.st_mode))
        return device_writes(st.st_rdev, mark, e);
    *mark = (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec;
    return OK;
}

int volume_check_mark(const struct volume *v, int fd, uint64_t mark, struct error *e)
{
    uint64_t now;

    if (volume_mark(fd, &now, e) < 0)
        return e->status;
    return now == mark
               ? OK
               : error_set(e, BUSY, "volume %s: somebody has written to it meanwhile", v->name);
}

int volume_check_unbound(const struct volume *v, int fd, struct error *e)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && has_loop_device(&st))
        return error_set(e, BUSY, "volume %s: a guest, or another user of a loop device, uses it",
                         v->name);
    return OK;
}

int volume_open_idle(const struct volume *v, int mode, int *fd, struct error *e)
{
    if (open_volume(v, mode | O_EXCL, fd, e) < 0)
        return e->status == BUSY
                   ? error_append(e, "a mount, or another who wants it alone, uses it")
                   : e->status;
    if (volume_check_unbound(v, *fd, e) == OK)
        return OK;
    close(*fd);
    *fd = -1;
    return e->status;
}
