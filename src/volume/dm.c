/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/dm.h"

#include <errno.h>
#include <libdevmapper.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
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

int dm_lvm_names(dev_t device, char **vg, char **lv, struct error *e)
{
    AUTO_TASK struct dm_task *task = task_new(DM_DEVICE_INFO);
    AUTO_POOL struct dm_pool *pool = dm_pool_create("names", 1024);
    char *vg_name = NULL, *lv_name = NULL, *layer = NULL;
    const char *uuid;
    struct dm_info info;

    if (!task || !pool || !dm_task_set_major(task, (int)major(device)) ||
        !dm_task_set_minor(task, (int)minor(device)) || !dm_task_run(task) ||
        !dm_task_get_info(task, &info) || !info.exists)
        return error_set(e, NOT_FOUND, "not a device-mapper device");
    uuid = dm_task_get_uuid(task);
    if (!uuid || strncmp(uuid, "LVM-", 4) != 0)
        return error_set(e, NOT_FOUND, "not one of LVM's devices");
    if (!dm_split_lvm_name(pool, dm_task_get_name(task), &vg_name, &lv_name, &layer) || *layer)
        return error_set(e, NOT_FOUND, "an internal device of LVM's");
    *vg = strdup(vg_name);
    *lv = strdup(lv_name);
    if (*vg && *lv)
        return OK;
    free(*vg);
    free(*lv);
    return error_set(e, NO_SPACE, "out of memory");
}

/* Run a task on a logical volume, by its device-mapper name. */
static int run_on_lv(struct dm_task *task, struct dm_pool *pool, const char *vg, const char *lv,
                     struct error *e)
{
    char *name = pool ? dm_build_dm_name(pool, vg, lv, "") : NULL;

    if (task && name && dm_task_set_name(task, name) && dm_task_run(task))
        return OK;
    return error_set(e, FAILED, "device-mapper does not know %s/%s", vg, lv);
}

int dm_device_node(const char *vg, const char *lv, char **path, struct error *e)
{
    AUTO_TASK struct dm_task *task = task_new(DM_DEVICE_INFO);
    AUTO_POOL struct dm_pool *pool = dm_pool_create("node", 1024);
    struct dm_info info;

    if (run_on_lv(task, pool, vg, lv, e) < 0)
        return e->status;
    if (!dm_task_get_info(task, &info) || !info.exists)
        return error_set(e, NOT_FOUND, "%s/%s is not active", vg, lv);
    *path = format_text("/dev/dm-%u", info.minor);
    return *path ? OK : error_set(e, NO_SPACE, "out of memory");
}

int dm_snapshot_usage(const char *vg, const char *lv, struct dm_store_usage *usage, struct error *e)
{
    AUTO_TASK struct dm_task *task = task_new(DM_DEVICE_STATUS);
    AUTO_POOL struct dm_pool *pool = dm_pool_create("status", 1024);
    struct dm_status_snapshot *status;
    char *type = NULL, *params = NULL;
    uint64_t start, length;

    if (run_on_lv(task, pool, vg, lv, e) < 0)
        return e->status;
    dm_get_next_target(task, NULL, &start, &length, &type, &params);
    if (!type || strcmp(type, "snapshot") != 0 || !params ||
        !dm_get_status_snapshot(pool, params, &status))
        return error_set(e, FAILED, "%s/%s is not, or no longer, a snapshot", vg, lv);
    *usage = (struct dm_store_usage){
        .used_bytes = status->used_sectors * SECTOR_BYTES,
        .total_bytes = status->total_sectors * SECTOR_BYTES,
        .invalid = status->invalid || status->overflow || status->merge_failed,
    };
    return OK;
}
