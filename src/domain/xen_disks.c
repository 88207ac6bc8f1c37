/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen-blkback opens a guest's disks without claiming them (no FMODE_EXCL), so that dom0's kernel
 * does not tell that they are in use. xl's own hotplug scripts look in xenstore, too.
 */
#include "domain/xen_disks.h"

#include <libxl_utils.h>
#include <limits.h>
#include <linux/major.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "domain/xen_host.h"

static bool is_same(const struct stat *a, const struct stat *b)
{
    if (S_ISBLK(a->st_mode))
        return S_ISBLK(b->st_mode) && a->st_rdev == b->st_rdev;
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* A path may be one in another domain that serves the disk; then there may be nothing here. */
static bool has_disk(struct domain_host *host, uint32_t domid, const struct stat *wanted)
{
    int count = 0;
    libxl_device_disk *disks = libxl_device_disk_list(host->ctx, domid, &count);
    bool found = false;

    for (int i = 0; disks && i < count; i++) {
        const char *path = disks[i].pdev_path;
        AUTO_FREE char *full =
            path ? format_text("%s%s", path[0] == '/' ? "" : "/dev/", path) : NULL;
        struct stat st;

        found |= full && *path && stat(full, &st) == 0 && is_same(&st, wanted);
    }
    libxl_device_disk_list_free(disks, count);
    return found;
}

/* By the devices that its block backends have open, whatever has become of their names since. */
static bool has_device(struct domain_host *host, uint32_t domid, const struct stat *wanted)
{
    AUTO_FREE char *folder = format_text("/local/domain/0/backend/vbd/%u", domid);
    unsigned count = 0;
    AUTO_FREE char **devices = folder ? xs_directory(host->xs, XBT_NULL, folder, &count) : NULL;

    for (unsigned i = 0; devices && i < count; i++) {
        AUTO_FREE char *path = format_text("%s/%s/physical-device", folder, devices[i]);
        AUTO_FREE char *number = path ? xs_read(host->xs, XBT_NULL, path, NULL) : NULL;
        unsigned major, minor;

        if (number && sscanf(number, "%x:%x", &major, &minor) == 2 && S_ISBLK(wanted->st_mode) &&
            makedev(major, minor) == wanted->st_rdev)
            return true;
    }
    return false;
}

static char *backend_read(struct domain_host *host, uint32_t domid, const char *devid,
                          const char *key)
{
    AUTO_FREE char *path = format_text("/local/domain/0/backend/vbd/%u/%s/%s", domid, devid, key);

    return path ? xs_read(host->xs, XBT_NULL, path, NULL) : NULL;
}

/* The kernel's own node of a device: a link of udev's may be another's by now, too. */
static char *node_of(unsigned major, unsigned minor)
{
    AUTO_FREE char *link = format_text("/sys/dev/block/%u:%u", major, minor);
    char target[PATH_MAX];
    ssize_t n = link ? readlink(link, target, sizeof target - 1) : -1;
    char *name, *node;

    if (n < 0)
        return NULL;
    target[n] = '\0';
    name = strrchr(target, '/');
    node = format_text("/dev/%s", name ? name + 1 : target);
    for (char *p = node; p && (p = strchr(p, '!'));)
        *p = '/';
    return node;
}

int xen_disk_now(struct domain_host *host, uint32_t domid, const char *vdev, char **path,
                 struct error *e)
{
    AUTO_FREE char *folder = format_text("/local/domain/0/backend/vbd/%u", domid);
    unsigned count = 0;
    AUTO_FREE char **devices = folder ? xs_directory(host->xs, XBT_NULL, folder, &count) : NULL;

    *path = NULL;
    if (!folder)
        return error_set(e, NO_SPACE, "out of memory");
    for (unsigned i = 0; devices && i < count; i++) {
        AUTO_FREE char *dev = backend_read(host, domid, devices[i], "dev");
        AUTO_FREE char *number = backend_read(host, domid, devices[i], "physical-device");
        unsigned major, minor;

        if (!dev || strcmp(dev, vdev) != 0)
            continue;
        /* An image file is behind a loop device. */
        if (number && sscanf(number, "%x:%x", &major, &minor) == 2 && major != LOOP_MAJOR)
            *path = node_of(major, minor);
        return OK;
    }
    return OK;
}

int xen_check_unused(struct domain_host *host, const char *path, uint32_t except, struct error *e)
{
    libxl_dominfo *domains;
    struct stat wanted;
    int count = 0, rc = OK;

    if (stat(path, &wanted) < 0)
        return error_errno(e, "%s", path);
    domains = libxl_list_domain(host->ctx, &count);
    if (!domains)
        return xen_failed(host, e, "the list of domains", ERROR_FAIL);
    for (int i = 0; rc == OK && i < count; i++) {
        uint32_t domid = domains[i].domid, target = 0;
        AUTO_FREE char *name = NULL;

        /* A device model in a domain of its own has the disks of its guest. */
        if (except &&
            (domid == except || (libxl_is_stubdom(host->ctx, domid, &target) && target == except)))
            continue;
        if (!has_disk(host, domid, &wanted) && !has_device(host, domid, &wanted))
            continue;
        name = libxl_domid_to_name(host->ctx, domid);
        rc = error_set(e, BUSY, "%s is a disk of %s, which is running; shut that down first", path,
                       name ? name : "a domain");
    }
    libxl_dominfo_list_free(domains, count);
    xen_forget_error(host);
    return rc;
}
