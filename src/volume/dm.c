/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/dm.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <libdevmapper.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"

#define SECTOR_BYTES 512

static inline void cleanup_task(struct dm_task **task)
{
    if (*task)
        dm_task_destroy(*task);
}

static inline void cleanup_pool(struct dm_pool **pool)
{
    if (*pool)
        dm_pool_destroy(*pool);
}

#define AUTO_TASK __attribute__((cleanup(cleanup_task)))
#define AUTO_POOL __attribute__((cleanup(cleanup_pool)))

/* The library prints to stderr unless it is given this. */
static void to_log(int level, const char *file, int line, int errno_or_class, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    (void)file, (void)line, (void)errno_or_class;
    if ((level & 7) > 4) /* LOG_WARN of libdevmapper; below are its errors */
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_debug("device-mapper: %s", text);
}

static struct dm_task *task_new(int type)
{
    dm_log_with_errno_init(to_log);
    return dm_task_create(type);
}

/* ---- one task on one device ---- */

static int task_failed(const char *device, const char *what, struct error *e)
{
    return error_set(e, FAILED, "device-mapper: %s: %s: %s", device, what,
                     errno ? strerror(errno) : "failed");
}

static int task_of(int type, const char *uuid, struct dm_task **task, struct error *e)
{
    errno = 0;
    *task = task_new(type);
    return *task && dm_task_set_uuid(*task, uuid) ? OK : task_failed(uuid, "prepare", e);
}

/* ---- logical volumes ---- */

/* What `task`, which is to ask for its state, tells of a device; NULL: nothing, or it is none of
 * LVM's. */
static const char *lvm_uuid(struct dm_task *task, struct dm_info *info)
{
    const char *uuid;

    if (!dm_task_run(task) || !dm_task_get_info(task, info) || !info->exists)
        return NULL;
    uuid = dm_task_get_uuid(task);
    return uuid && strncmp(uuid, "LVM-", 4) == 0 ? uuid : NULL;
}

static int split_name(struct dm_task *task, char **vg, char **lv, struct error *e)
{
    AUTO_POOL struct dm_pool *pool = dm_pool_create("names", 1024);
    char *vg_name = NULL, *lv_name = NULL, *layer = NULL;

    if (!pool || !dm_split_lvm_name(pool, dm_task_get_name(task), &vg_name, &lv_name, &layer) ||
        *layer)
        return error_set(e, UNSUPPORTED, "an internal device of LVM's");
    *vg = strdup(vg_name);
    *lv = strdup(lv_name);
    if (*vg && *lv)
        return OK;
    free(*vg);
    free(*lv);
    *vg = *lv = NULL;
    return error_set(e, NO_SPACE, "out of memory");
}

int dm_lvm_uuid(dev_t device, char **uuid, struct error *e)
{
    AUTO_TASK struct dm_task *task = task_new(DM_DEVICE_INFO);
    const char *found = NULL;
    struct dm_info info;

    if (task && dm_task_set_major(task, (int)major(device)) &&
        dm_task_set_minor(task, (int)minor(device)))
        found = lvm_uuid(task, &info);
    if (!found)
        return error_set(e, UNSUPPORTED, "not one of LVM's devices");
    *uuid = strdup(found);
    return *uuid ? OK : error_set(e, NO_SPACE, "out of memory");
}

int dm_lvm_uuid_of(const char *vg, const char *lv, char **uuid, struct error *e)
{
    AUTO_TASK struct dm_task *task = task_new(DM_DEVICE_INFO);
    AUTO_POOL struct dm_pool *pool = dm_pool_create("name", 1024);
    const char *name = pool ? dm_build_dm_name(pool, vg, lv, "") : NULL, *found = NULL;
    struct dm_info info;

    if (task && name && dm_task_set_name(task, name))
        found = lvm_uuid(task, &info);
    if (!found)
        return error_set(e, NOT_FOUND, "%s/%s is not active", vg, lv);
    *uuid = strdup(found);
    return *uuid ? OK : error_set(e, NO_SPACE, "out of memory");
}

int dm_lvm_names(const char *uuid, char **vg, char **lv, struct error *e)
{
    AUTO_TASK struct dm_task *task = NULL;
    struct dm_info info;

    if (task_of(DM_DEVICE_INFO, uuid, &task, e) < 0)
        return e->status;
    if (!lvm_uuid(task, &info))
        return error_set(e, NOT_FOUND, "%s is not active", uuid);
    return split_name(task, vg, lv, e);
}

/* ---- devices ---- */

int dm_device_state(const char *uuid, struct dm_state *state, struct error *e)
{
    AUTO_TASK struct dm_task *task = NULL;
    struct dm_info info;

    if (task_of(DM_DEVICE_INFO, uuid, &task, e) < 0)
        return e->status;
    if (!dm_task_run(task) || !dm_task_get_info(task, &info))
        return task_failed(uuid, "state", e);
    *state = (struct dm_state){
        .exists = info.exists,
        .suspended = info.exists && info.suspended,
        .loaded = info.exists && info.inactive_table,
        .major = info.exists ? info.major : 0,
        .minor = info.exists ? info.minor : 0,
    };
    return OK;
}

int dm_device_node(const char *uuid, char **path, struct error *e)
{
    struct dm_state state;

    if (dm_device_state(uuid, &state, e) < 0)
        return e->status;
    if (!state.exists)
        return error_set(e, NOT_FOUND, "%s is not active", uuid);
    *path = format_text("/dev/dm-%u", state.minor);
    return *path ? OK : error_set(e, NO_SPACE, "out of memory");
}

/* ---- tables ---- */

int dm_table_read(const char *uuid, enum dm_slot slot, char **table, struct error *e)
{
    AUTO_TASK struct dm_task *task = NULL;
    void *next = NULL;

    *table = NULL;
    if (task_of(DM_DEVICE_TABLE, uuid, &task, e) < 0)
        return e->status;
    if ((slot == DM_INACTIVE && !dm_task_query_inactive_table(task)) || !dm_task_run(task))
        return task_failed(uuid, "read its table", e);
    do {
        AUTO_FREE char *before = *table;
        uint64_t start, length;
        char *type = NULL, *params = NULL;

        next = dm_get_next_target(task, next, &start, &length, &type, &params);
        if (type)
            *table = format_text("%s%" PRIu64 " %" PRIu64 " %s %s\n", before ? before : "", start,
                                 length, type, params ? params : "");
        else
            *table = strdup(before ? before : "");
        if (!*table)
            return error_set(e, NO_SPACE, "out of memory");
    } while (next);
    return OK;
}

static int add_targets(struct dm_task *task, const char *uuid, const char *table, struct error *e)
{
    AUTO_FREE char *copy = strdup(table);
    char *rest = copy, *line;

    if (!copy)
        return error_set(e, NO_SPACE, "out of memory");
    while ((line = strsep(&rest, "\n"))) {
        uint64_t start, length;
        char type[32];
        int at = 0;

        if (!*line)
            continue;
        if (sscanf(line, "%" SCNu64 " %" SCNu64 " %31s %n", &start, &length, type, &at) != 3 || !at)
            return error_set(e, FAILED, "%s: not a line of a table: \"%s\"", uuid, line);
        if (!dm_task_add_target(task, start, length, type, line + at))
            return task_failed(uuid, "table", e);
    }
    return OK;
}

int dm_table_load(const char *uuid, const char *table, struct error *e)
{
    AUTO_TASK struct dm_task *task = NULL;

    if (task_of(DM_DEVICE_RELOAD, uuid, &task, e) < 0 || add_targets(task, uuid, table, e) < 0)
        return e->status;
    return dm_task_run(task) ? FAULT("dm-table-loaded", e) : task_failed(uuid, "load a table", e);
}

/* ---- devices ---- */

/*
 * What udev's rules shall do at an event of ours. We wait for none of them: devtmpfs makes the
 * nodes that we use. The library must be told, else it makes nodes and has the rules not make
 * links.
 */
static bool tell_udev(struct dm_task *task, uint16_t flags)
{
    uint32_t cookie = 0;

    dm_udev_set_sync_support(0);
    return dm_task_set_cookie(task, &cookie, flags | DM_UDEV_DISABLE_LIBRARY_FALLBACK);
}

/* Nobody shall look into our own devices. */
static bool hide_from_udev(struct dm_task *task)
{
    return tell_udev(task, DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG | DM_UDEV_DISABLE_DISK_RULES_FLAG |
                               DM_UDEV_DISABLE_OTHER_RULES_FLAG);
}

/* "LVM-", the identity of a volume group and of a volume, 32 characters each, and a suffix. The
 * identities are made of the name, in hexadecimal. */
void dm_own_uuid(char uuid[static DM_UUID_BYTES], const char *name)
{
    static const char hex[] = "0123456789abcdef";
    const char *rest = name + strlen(DM_OWN_NAME);
    size_t at = strlen(DM_OWN_UUID), end = strlen("LVM-") + 64;

    assert(strncmp(name, DM_OWN_NAME, strlen(DM_OWN_NAME)) == 0);
    memset(uuid, '0', end);
    memcpy(uuid, DM_OWN_UUID, at);
    for (; *rest; rest++) {
        assert(at + 2 <= end);
        uuid[at++] = hex[(unsigned char)*rest >> 4];
        uuid[at++] = hex[(unsigned char)*rest & 15];
    }
    snprintf(uuid + end, DM_UUID_BYTES - end, "-domsnap");
}

int dm_device_create(const char *name, const char *table, struct error *e)
{
    AUTO_TASK struct dm_task *task = NULL;
    char uuid[DM_UUID_BYTES];

    dm_own_uuid(uuid, name);
    if (task_of(DM_DEVICE_CREATE, uuid, &task, e) < 0 || add_targets(task, name, table, e) < 0)
        return e->status;
    if (!dm_task_set_name(task, name) || !hide_from_udev(task) || !dm_task_run(task))
        return task_failed(name, "create", e);
    return FAULT("dm-device-created", e);
}

int dm_device_remove(const char *uuid, struct error *e)
{
    AUTO_TASK struct dm_task *task = NULL;
    struct dm_state state;

    if (dm_device_state(uuid, &state, e) < 0)
        return e->status;
    if (!state.exists)
        return OK;
    if (task_of(DM_DEVICE_REMOVE, uuid, &task, e) < 0)
        return e->status;
    if (!hide_from_udev(task) || !dm_task_retry_remove(task) || !dm_task_run(task))
        return task_failed(uuid, "remove", e);
    return FAULT("dm-device-removed", e);
}

int dm_table_clear(const char *uuid, struct error *e)
{
    AUTO_TASK struct dm_task *task = NULL;

    if (task_of(DM_DEVICE_CLEAR, uuid, &task, e) < 0)
        return e->status;
    return dm_task_run(task) ? FAULT("dm-table-cleared", e)
                             : task_failed(uuid, "clear its inactive table", e);
}

int dm_device_suspend(const char *uuid, struct error *e)
{
    AUTO_TASK struct dm_task *task = NULL;

    if (task_of(DM_DEVICE_SUSPEND, uuid, &task, e) < 0)
        return e->status;
    return dm_task_run(task) ? FAULT("dm-device-suspended", e) : task_failed(uuid, "suspend", e);
}

int dm_device_resume(const char *uuid, struct error *e)
{
    AUTO_TASK struct dm_task *task = NULL;

    if (task_of(DM_DEVICE_RESUME, uuid, &task, e) < 0)
        return e->status;
    return tell_udev(task, 0) && dm_task_run(task) ? FAULT("dm-device-resumed", e)
                                                   : task_failed(uuid, "resume", e);
}

int dm_snapshot_usage(const char *uuid, struct dm_store_usage *usage, struct error *e)
{
    AUTO_TASK struct dm_task *task = NULL;
    AUTO_POOL struct dm_pool *pool = dm_pool_create("status", 1024);
    struct dm_status_snapshot *status;
    char *type = NULL, *params = NULL;
    uint64_t start, length;

    if (task_of(DM_DEVICE_STATUS, uuid, &task, e) < 0)
        return e->status;
    if (!dm_task_run(task))
        return task_failed(uuid, "status", e);
    dm_get_next_target(task, NULL, &start, &length, &type, &params);
    if (!type || strcmp(type, "snapshot") != 0 || !params || !pool ||
        !dm_get_status_snapshot(pool, params, &status))
        return error_set(e, FAILED, "%s is not, or no longer, a snapshot", uuid);
    *usage = (struct dm_store_usage){
        .used_bytes = status->used_sectors * SECTOR_BYTES,
        .total_bytes = status->total_sectors * SECTOR_BYTES,
        .invalid = status->invalid || status->overflow || status->merge_failed,
    };
    return OK;
}
