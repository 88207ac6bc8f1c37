/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/describe.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"

/* The guest runs meanwhile. Of a live save what it changes then is the longer to write. */
#define LOCK_TIMEOUT_MS 10000

const char *describe_left_out(const struct domain_disk *disk)
{
    if (disk->cdrom)
        return "it is a CD-ROM";
    if (!disk->writable)
        return "it is read-only";
    return NULL;
}

/* `path` is as in a configuration: without a leading '/', it is below /dev. */
static bool leads_to(const char *path, const char *device)
{
    AUTO_FREE char *full = format_text("%s%s", *path == '/' ? "" : "/dev/", path);
    struct stat there, wanted;

    if (!full || stat(full, &there) < 0 || stat(device, &wanted) < 0)
        return false;
    if (S_ISBLK(there.st_mode) && S_ISBLK(wanted.st_mode))
        return there.st_rdev == wanted.st_rdev;
    return there.st_dev == wanted.st_dev && there.st_ino == wanted.st_ino;
}

/* The volume that the guest has, by whatever name. */
static int open_volume(struct described_disk *to, const struct engine *engine, uint32_t domid,
                       struct error *e)
{
    const struct volume_driver *const *drivers =
        engine->snapshots ? engine->snapshots : engine->volumes;
    const struct domain_disk *disk = to->disk;
    AUTO_FREE char *now = NULL;

    if (domid && engine->domains->disk_now(engine->host, domid, disk->vdev, &now, e) < 0)
        return e->status;
    if (!now || leads_to(disk->path, now))
        return volume_open(drivers, disk->path, &to->volume, e);
    if (volume_open(drivers, now, &to->volume, e) < 0)
        return e->status;
    log_warning(
        "disk %s: the guest has %s by now, and not what %s, in its configuration, leads to; that "
        "is snapshotted, and a restore will look for it as %s",
        disk->vdev, to->volume->name, disk->path, disk->path);
    return OK;
}

static int open_disk(struct described_disk *to, const struct engine *engine, uint32_t domid,
                     const struct domain_disk *disk, struct error *e)
{
    *to = (struct described_disk){.disk = disk, .source = -1, .lock = -1};
    if (!disk->raw)
        return error_set(
            e, UNSUPPORTED,
            "disk %s: %s is not a raw image; convert it first (qemu-img convert -O raw)",
            disk->vdev, disk->path);
    if (!disk->local_device)
        return error_set(e, UNSUPPORTED,
                         "disk %s: it is served by a script or another domain, not by a device or "
                         "file of this host",
                         disk->vdev);
    if (open_volume(to, engine, domid, e) < 0)
        return error_prefix(e, "disk %s", disk->vdev);
    if (to->volume->size_bytes == 0)
        log_warning("disk %s: %s has 0 bytes; is its device set up?", disk->vdev, disk->path);
    return OK;
}

int description_open_disks(struct description *d, const struct engine *engine, struct error *e)
{
    d->disks = calloc(d->domain.disk_count + 1, sizeof *d->disks);
    d->left_out = calloc(d->domain.disk_count + 1, sizeof *d->left_out);
    d->group = calloc(d->domain.disk_count + 1, sizeof *d->group);
    if (!d->disks || !d->left_out || !d->group)
        return error_set(e, NO_SPACE, "out of memory");
    if (d->domain.disk_count > MANIFEST_DISKS_MAX)
        return error_set(e, UNSUPPORTED, "it has %zu disks, and a snapshot holds %d at most",
                         d->domain.disk_count, MANIFEST_DISKS_MAX);
    for (size_t i = 0; i < d->domain.disk_count; i++) {
        const struct domain_disk *disk = &d->domain.disks[i];
        const char *why = describe_left_out(disk);

        if (why)
            d->left_out[d->left_out_count++] = (struct undescribed_disk){disk, why};
        else if (open_disk(&d->disks[d->disk_count++], engine, d->domain.domid, disk, e) < 0)
            return e->status;
    }
    return OK;
}

int description_check_any(const struct description *d, struct error *e)
{
    if (d->disk_count)
        return OK;
    if (d->left_out_count)
        return error_set(e, UNSUPPORTED,
                         "there is nothing to snapshot: the guest may write to "
                         "none of its disks");
    return error_set(e, UNSUPPORTED,
                     "there is nothing to snapshot: it names no disk "
                     "(disk = [ ... ])");
}

int description_make(struct description *d, struct engine *engine, const char *name,
                     struct error *e)
{
    if (engine->domains->describe(engine->host, name, &d->domain, e) < 0)
        return e->status;
    if (description_open_disks(d, engine, e) == OK)
        return OK;
    description_release(d);
    return e->status;
}

void description_close_sources(struct description *d)
{
    for (size_t i = 0; i < d->disk_count; i++) {
        if (d->disks[i].source >= 0)
            close(d->disks[i].source);
        d->disks[i].source = -1;
    }
}

/* The disk whose volume's group comes next after `after` by its name; NULL: none. So all who lock
 * several groups do it in one order. */
static struct described_disk *next_locked(struct description *d, const char *after)
{
    struct described_disk *next = NULL;

    for (size_t i = 0; i < d->disk_count; i++) {
        const char *group = d->disks[i].volume->group;

        if (group && strcmp(group, after) > 0 && (!next || strcmp(group, next->volume->group) < 0))
            next = &d->disks[i];
    }
    return next;
}

int description_lock(struct description *d, struct error *e)
{
    struct described_disk *disk;

    for (const char *after = ""; (disk = next_locked(d, after)); after = disk->volume->group)
        if (disk->volume->driver->lock(disk->volume, LOCK_TIMEOUT_MS, &disk->lock, e) < 0) {
            description_unlock(d);
            return error_prefix(e, "disk %s", disk->disk->vdev);
        }
    return OK;
}

void description_unlock(struct description *d)
{
    for (size_t i = 0; i < d->disk_count; i++) {
        if (d->disks[i].lock >= 0)
            close(d->disks[i].lock);
        d->disks[i].lock = -1;
    }
}

void description_release(struct description *d)
{
    description_close_sources(d);
    description_unlock(d);
    for (size_t i = 0; i < d->disk_count; i++)
        volume_close(d->disks[i].volume);
    free(d->disks);
    free(d->left_out);
    free(d->group);
    domain_release(&d->domain);
    *d = (struct description){0};
}

static bool has_disk(const struct description *d, const struct domain_disk *disk)
{
    for (size_t i = 0; i < d->disk_count; i++)
        if (strcmp(d->disks[i].disk->vdev, disk->vdev) == 0)
            return strcmp(d->disks[i].disk->path, disk->path) == 0;
    return false;
}

static bool has_same_disks(const struct description *d, const struct domain *now)
{
    size_t count = 0;

    for (size_t i = 0; i < now->disk_count; i++) {
        if (describe_left_out(&now->disks[i]))
            continue;
        if (!has_disk(d, &now->disks[i]))
            return false;
        count++;
    }
    return count == d->disk_count;
}

int description_check_disks(const struct description *d, const struct engine *engine,
                            struct error *e)
{
    struct domain now = {0};
    struct error ignored;
    bool same;

    /* One that is just ending has said already what it had. */
    if (engine->domains->describe(engine->host, d->domain.name, &now, &ignored) < 0)
        return OK;
    same = now.domid != d->domain.domid || has_same_disks(d, &now);
    domain_release(&now);
    return same ? OK
                : error_set(e, BUSY,
                            "somebody has given it another disk, or taken one, meanwhile "
                            "(xl block-attach, block-detach), so that not all was snapshotted; "
                            "try again");
}

/* ---- to a manifest ---- */

int describe_origin(struct manifest *m, const struct domain *domain, const char *method,
                    const char *hypervisor, struct error *e)
{
    char host[HOST_NAME_MAX + 1] = "", created[sizeof "2026-11-23T01:55:03Z"];

    gethostname(host, sizeof host - 1);
    time_utc_iso8601(created);
    m->created = strdup(created);
    m->host = strdup(host);
    m->hypervisor = strdup(hypervisor);
    m->method = strdup(method);
    m->domain_name = strdup(domain->name);
    m->domain_uuid = strdup(domain->uuid);
    m->domain_type = strdup(domain->type);
    m->vcpus = domain->vcpus;
    m->memory_bytes = domain->memory_bytes;
    return m->created && m->host && m->hypervisor && m->method && m->domain_name &&
                   m->domain_uuid && m->domain_type
               ? OK
               : error_set(e, NO_SPACE, "out of memory");
}

static struct manifest_owner owner_of(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return (struct manifest_owner){0};
    return (struct manifest_owner){true, st.st_uid, st.st_gid, st.st_mode & 0777};
}

static bool fill_disks(struct manifest *m, const struct description *d)
{
    bool ok;

    m->disks = calloc(d->disk_count + 1, sizeof *m->disks);
    m->left_out = calloc(d->left_out_count + 1, sizeof *m->left_out);
    ok = m->disks && m->left_out;
    for (size_t i = 0; ok && i < d->disk_count; i++) {
        struct manifest_disk *disk = &m->disks[m->disk_count++];

        disk->vdev = strdup(d->disks[i].disk->vdev);
        disk->path = strdup(d->disks[i].disk->path);
        disk->driver = strdup(d->disks[i].volume->driver->name);
        disk->image.bytes = d->disks[i].volume->size_bytes;
        disk->owner = owner_of(d->disks[i].volume->path);
        ok = disk->vdev && disk->path && disk->driver;
    }
    for (size_t i = 0; ok && i < d->left_out_count; i++) {
        struct manifest_left_out *out = &m->left_out[m->left_out_count++];

        out->vdev = strdup(d->left_out[i].disk->vdev);
        out->why = strdup(d->left_out[i].why);
        ok = out->vdev && out->why;
    }
    return ok;
}

int description_to_manifest(const struct description *d, const struct engine *engine,
                            const char *method, struct manifest *m, struct error *e)
{
    const char *hypervisor = engine->host ? engine->domains->version(engine->host) : "none";

    if (describe_origin(m, &d->domain, method, hypervisor, e) < 0)
        return e->status;
    return fill_disks(m, d) ? OK : error_set(e, NO_SPACE, "out of memory");
}

/* ---- snapshots ---- */

/* The next driver of d's volumes, and into d->group all that are its; NULL: no more. `*first` is 0
 * at first. */
static const struct volume_driver *next_group(struct description *d, size_t *first, size_t *count)
{
    for (; *first < d->disk_count; ++*first) {
        const struct volume_driver *driver = d->disks[*first].volume->driver;
        size_t earlier = 0;

        while (d->disks[earlier].volume->driver != driver)
            earlier++;
        if (earlier < *first)
            continue;
        *count = 0;
        for (size_t i = (*first)++; i < d->disk_count; i++)
            if (d->disks[i].volume->driver == driver)
                d->group[(*count)++] = d->disks[i].volume;
        return driver;
    }
    return NULL;
}

int description_plan_snapshots(struct description *d, const char *id, struct error *e)
{
    const struct volume_driver *driver;
    size_t first = 0, count;

    for (size_t i = 0; i < d->disk_count; i++)
        if (d->disks[i].volume->driver->can_snapshot(d->disks[i].volume, e) < 0)
            return error_prefix(e, "disk %s", d->disks[i].disk->vdev);
    while ((driver = next_group(d, &first, &count)))
        if (driver->plan(d->group, count, id, e) < 0)
            return e->status;
    return OK;
}

int description_prepare(struct description *d, struct error *e)
{
    const struct volume_driver *driver;
    size_t first = 0, count;

    while ((driver = next_group(d, &first, &count)))
        if (driver->prepare(d->group, count, e) < 0)
            return e->status;
    return OK;
}

/* The instant: no volume is let go before all are held. */
static int fix_instant(struct description *d, struct error *e)
{
    const struct volume_driver *driver;
    size_t first = 0, count;

    while ((driver = next_group(d, &first, &count)))
        if (driver->hold(d->group, count, e) < 0)
            return e->status;
    first = 0;
    while ((driver = next_group(d, &first, &count)))
        if (driver->commit(d->group, count, e) < 0)
            return e->status;
    return OK;
}

int description_commit(struct description *d, struct error *e)
{
    struct error ignored;

    if (fix_instant(d, e) == OK)
        return OK;
    for (size_t i = 0; i < d->disk_count; i++)
        d->disks[i].volume->driver->lift(d->disks[i].volume->record, &ignored);
    return e->status;
}
