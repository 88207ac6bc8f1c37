/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/lvm.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/run.h"
#include "volume/dm.h"
#include "volume/lvm_lock.h"
#include "volume/lvm_report.h"

/* Nearly all of it for LVM's lock of the volume group, for which others may be in front. */
#define COMMAND_TIMEOUT_S 1800
#define NAME_MAX_BYTES    127 /* of a logical volume: LVM's NAME_LEN, without the NUL */

struct lvm_volume *lvm_of(const struct volume *v)
{
    assert(v->driver == &volume_lvm_transient || v->driver == &volume_lvm_snapshot);
    return (struct lvm_volume *)v;
}

void lvm_close(struct volume *v)
{
    struct lvm_volume *l = lvm_of(v);

    json_decref(v->record);
    free(v->path);
    free(v->name);
    free(v->group);
    free(l->vg);
    free(l->lv);
    free(l->layout);
    json_decref(l->devices);
    free(l->device);
    free(l->lock_dir);
    free(l->store_device);
    free(l->own_name);
    if (l->key)
        explicit_bzero(l->key, strlen(l->key));
    free(l->key);
    free(l->table);
    free(l->our_table);
    free(l);
}

int lvm_run(const char *const argv[], char **out, struct error *e)
{
    struct run run = {.argv = argv, .timeout_s = COMMAND_TIMEOUT_S, .out = out, .holds = true};

    if (FAULT("lvm-command", e) < 0)
        return e->status;
    if (run_program(&run, e) < 0)
        return e->status;
    return FAULT("lvm-command-done", e);
}

/* ---- open ---- */

static int read_report(struct lvm_volume *l, struct error *e)
{
    const char *const argv[] = {"lvs",
                                LVM_REPORT_CONFIG,
                                "--reportformat",
                                "json",
                                "--units",
                                "b",
                                "--nosuffix",
                                "-o",
                                LVM_REPORT_FIELDS,
                                "--",
                                l->base.name,
                                NULL};
    struct lvm_report report;
    AUTO_FREE char *text = NULL;

    if (lvm_run(argv, &text, e) < 0 || lvm_report_parse(&report, text, e) < 0)
        return e->status;
    l->base.size_bytes = l->base.copy_bytes = report.size_bytes;
    l->free_bytes = report.free_bytes;
    l->extent_bytes = report.extent_bytes;
    l->layout = report.layout;
    l->devices = report.devices;
    l->locked = report.locked;
    l->shared = report.shared;
    return OK;
}

static int identify(struct lvm_volume *l, const char *path, dev_t device, struct error *e)
{
    if (dm_lvm_uuid(device, &l->device, e) < 0)
        return e->status;
    if (dm_lvm_names(l->device, &l->vg, &l->lv, e) < 0)
        return e->status;
    l->base.path = strdup(path);
    l->base.name = format_text("%s/%s", l->vg, l->lv);
    l->base.group = strdup(l->vg);
    return l->base.path && l->base.name && l->base.group ? OK
                                                         : error_set(e, NO_SPACE, "out of memory");
}

int lvm_open(const struct volume_driver *driver, const char *path, struct volume **out,
             struct error *e)
{
    struct lvm_volume *l;
    struct stat st;

    if (stat(path, &st) < 0)
        return error_errno(e, "stat");
    if (!S_ISBLK(st.st_mode))
        return error_set(e, UNSUPPORTED, "not a block device");
    l = calloc(1, sizeof *l);
    if (!l)
        return error_errno(e, "%s", path);
    l->base.driver = driver;
    if (identify(l, path, st.st_rdev, e) == OK && read_report(l, e) == OK) {
        *out = &l->base;
        return OK;
    }
    lvm_close(&l->base);
    return e->status;
}

/* While it is moved, its table leads to the device that mirrors it, and that has to go when the
 * move is done. */
int lvm_can_snapshot(const struct volume *v, struct error *e)
{
    const struct lvm_volume *l = lvm_of(v);

    if (l->shared)
        return error_set(
            e, UNSUPPORTED,
            "volume group %s is shared with other hosts (lvmlockd), which would not see "
            "its snapshot; --cold copies it while the guest is paused",
            l->vg);
    if (l->locked)
        return error_set(
            e, BUSY, "%s is being moved (pvmove); wait until that is done, or use --cold", v->name);
    return OK;
}

/* ---- another name ---- */

/* `name` is "VG/LV". */
static int exists(const char *name, bool *there, struct error *e)
{
    const char *slash = strchr(name, '/');
    AUTO_FREE char *vg = slash ? strndup(name, (size_t)(slash - name)) : NULL;
    AUTO_FREE char *select = slash ? format_text("lv_name=\"%s\"", slash + 1) : NULL;
    const char *const argv[] = {"lvs",  "--noheadings", "-o", "lv_name", "--select",
                                select, "--",           vg,   NULL};
    AUTO_FREE char *out = NULL;

    if (!slash || strpbrk(name, "\"\\"))
        return error_set(e, DAMAGED, "\"%s\" is no logical volume's name", name);
    if (!vg || !select)
        return error_set(e, NO_SPACE, "out of memory");
    if (lvm_run(argv, &out, e) < 0)
        return e->status;
    *there = out[strspn(out, " \n")] != '\0';
    return OK;
}

int lvm_aside(const struct volume *v, char **name, struct error *e)
{
    const struct lvm_volume *l = lvm_of(v);
    AUTO_FREE char *aside = format_text("%s/%s.domsnap", l->vg, l->lv);
    bool taken;

    if (!aside)
        return error_set(e, NO_SPACE, "out of memory");
    if (strlen(strchr(aside, '/') + 1) > NAME_MAX_BYTES)
        return error_set(e, UNSUPPORTED, "%s can't be renamed: its name is too long", v->name);
    if (exists(aside, &taken, e) < 0)
        return e->status;
    if (taken)
        return error_set(e, BUSY, "there is a volume %s already", aside);
    *name = strdup(aside);
    return *name ? OK : error_set(e, NO_SPACE, "out of memory");
}

int lvm_rename(const char *from, const char *to, struct error *e)
{
    const char *const argv[] = {"lvrename", "--", from, to, NULL};
    bool is_from = false, is_to = false;
    struct error why;

    if (lvm_run(argv, NULL, &why) == OK)
        return OK;
    if (exists(from, &is_from, e) < 0 || exists(to, &is_to, e) < 0)
        return e->status;
    if (is_to && !is_from)
        return OK;
    *e = why;
    return is_to ? error_set(e, BUSY, "there is a volume %s already", to) : e->status;
}

/* ---- plan: names, sizes, records ---- */

static int make_record(struct lvm_volume *l, const char *id, struct error *e)
{
    AUTO_FREE char *store = format_text("domsnap-%s-%s", id, l->lv);
    AUTO_FREE char *tag = format_text("domsnap.%s", id);

    if (store && tag)
        l->base.record =
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "driver", l->base.driver->name, "device",
                      l->device, "vg", l->vg, "store", store, "tag", tag, "lock_dir", l->lock_dir);
    if (!l->base.record)
        return error_set(e, NO_SPACE, "out of memory");
    if (strlen(store) > NAME_MAX_BYTES)
        return error_set(e, UNSUPPORTED, "%s: its name is too long to name a snapshot after it",
                         l->base.name);
    return OK;
}

/* Plan the stores of all volumes that share the volume group of vs[first]; the first of a group
 * does it. */
static int plan_group(struct volume *const vs[], size_t count, size_t first, uint64_t copied_bytes,
                      struct error *e)
{
    const struct lvm_volume *leader = lvm_of(vs[first]);
    AUTO_FREE struct store_size *stores = calloc(count, sizeof *stores);
    size_t members = 0;

    if (!stores)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < count; i++) {
        if (strcmp(lvm_of(vs[i])->vg, leader->vg) != 0)
            continue;
        if (i < first)
            return OK;
        stores[members++] = (struct store_size){.origin_bytes = vs[i]->size_bytes};
    }
    if (store_size_plan(stores, members, copied_bytes, leader->free_bytes, leader->extent_bytes,
                        e) < 0)
        return error_prefix(e, "volume group %s", leader->vg);
    for (size_t i = count; i-- > first;)
        if (strcmp(lvm_of(vs[i])->vg, leader->vg) == 0)
            lvm_of(vs[i])->store = stores[--members];
    return OK;
}

int lvm_plan(struct volume *const vs[], size_t count, const char *id, struct error *e)
{
    uint64_t copied_bytes = 0;

    for (size_t i = 0; i < count; i++)
        copied_bytes += vs[i]->size_bytes;
    for (size_t i = 0; i < count; i++) {
        struct lvm_volume *l = lvm_of(vs[i]);

        if (plan_group(vs, count, i, copied_bytes, e) < 0)
            return e->status;
        if (!l->lock_dir && lvm_lock_dir(&l->lock_dir, e) < 0)
            return e->status;
        if (make_record(l, id, e) < 0)
            return e->status;
    }
    return OK;
}

/* ---- the barrier ---- */

int lvm_hold(struct volume *const vs[], size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++)
        if (dm_device_suspend(lvm_of(vs[i])->device, e) < 0)
            return e->status;
    return OK;
}

int lvm_lock(const struct volume *v, int timeout_ms, int *lock, struct error *e)
{
    return lvm_lock_take(lvm_of(v)->lock_dir, lvm_of(v)->device, timeout_ms, lock, e);
}

/* ---- exception stores ---- */

const char *lvm_store_of(const struct volume *v)
{
    return json_string_value(json_object_get(v->record, "store"));
}

static const char *tag_of(const struct volume *v)
{
    return json_string_value(json_object_get(v->record, "tag"));
}

/* Tagged from its first moment, its head zeroed (else the kernel would take what lies there for an
 * old store). On `devices`, a list of physical volumes; of an empty one, on any. */
static int make_store(const struct lvm_volume *l, const char *vg, const json_t *devices,
                      struct error *e)
{
    AUTO_FREE char *size = format_text("%" PRIu64 "b", l->store.size_bytes);
    const char *const create[] = {"lvcreate",
                                  LVM_OWN_CONFIG,
                                  "--yes",
                                  "--wipesignatures",
                                  "y",
                                  "--zero",
                                  "y",
                                  "--addtag",
                                  "domsnap",
                                  "--addtag",
                                  tag_of(&l->base),
                                  "--setactivationskip",
                                  "n",
                                  "--size",
                                  size,
                                  "--name",
                                  lvm_store_of(&l->base),
                                  "--",
                                  vg};
    size_t words = sizeof create / sizeof *create;
    AUTO_FREE const char **argv = calloc(words + json_array_size(devices) + 1, sizeof *argv);
    const json_t *device;
    size_t i;

    if (!size || !argv)
        return error_set(e, NO_SPACE, "out of memory");
    memcpy(argv, create, sizeof create);
    json_array_foreach (devices, i, device)
        argv[words + i] = json_string_value(device);
    return lvm_run(argv, NULL, e);
}

static int make_store_somewhere(const struct lvm_volume *l, const char *vg, struct error *e)
{
    log_debug("%s: exception store of %" PRIu64 " MiB, at most %" PRIu64 " MiB", l->base.name,
              l->store.size_bytes >> 20, l->store.full_bytes >> 20);
    if (make_store(l, vg, l->devices, e) == OK)
        return OK;
    if (json_array_size(l->devices)) {
        log_debug("%s: not on the physical volumes that it lies on: %s", l->base.name, e->text);
        if (make_store(l, vg, NULL, e) == OK)
            return OK;
    }
    return e->status;
}

/* In its volume group, by the name that it has now. */
int lvm_store_make(struct lvm_volume *l, struct error *e)
{
    AUTO_FREE char *vg = NULL;
    AUTO_FREE char *lv = NULL;

    if (dm_lvm_names(l->device, &vg, &lv, e) == OK && make_store_somewhere(l, vg, e) == OK &&
        dm_lvm_uuid_of(vg, lvm_store_of(&l->base), &l->store_device, e) == OK)
        return OK;
    return error_prefix(e, "exception store of %s", l->base.name);
}

int lvm_name_now(const char *device, char **name, struct error *e)
{
    AUTO_FREE char *vg = NULL;
    AUTO_FREE char *lv = NULL;

    if (dm_lvm_names(device, &vg, &lv, e) < 0)
        return e->status;
    *name = format_text("%s/%s", vg, lv);
    return *name ? OK : error_set(e, NO_SPACE, "out of memory");
}

/* ---- the image ---- */

int lvm_open_snapshot(const struct volume *v, const char *device, int *fd, struct error *e)
{
    AUTO_FREE char *path = NULL;
    uint64_t size;

    if (dm_device_node(device, &path, e) < 0)
        return e->status;
    *fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (*fd < 0)
        return error_errno(e, "snapshot of %s: open %s", v->name, path);
    if (file_size(*fd, path, &size, e) == OK) {
        if (size == v->size_bytes)
            return OK;
        error_set(e, AGAIN, "%s changed its size while it was snapshotted", v->name);
    }
    close(*fd);
    *fd = -1;
    return e->status;
}

/* ---- watch ---- */

/* False: it was not. */
static bool extend_store(struct lvm_volume *l, const struct dm_store_usage *usage,
                         uint64_t by_bytes)
{
    AUTO_FREE char *by = format_text("+%" PRIu64 "b", by_bytes);
    AUTO_FREE char *store = NULL;
    const char *argv[] = {"lvextend", LVM_OWN_CONFIG, "--yes", "--size", by, "--", NULL, NULL};
    struct error why;

    if (!by || lvm_name_now(l->store_device, &store, &why) < 0)
        return false;
    argv[6] = store;
    log_debug("%s: %" PRIu64 " of %" PRIu64 " MiB of its exception store are used: extending",
              l->base.name, usage->used_bytes >> 20, usage->total_bytes >> 20);
    if (lvm_run(argv, NULL, &why) == OK)
        return true;
    /* Not the end yet: the copy may be done before it is full, or space be freed. */
    log_warning("%s: the exception store of its snapshot can't be extended; when it is full, this "
                "backup fails (the guest does not): %s",
                l->base.name, why.text);
    l->extend_again_at_bytes = usage->used_bytes + (usage->total_bytes - usage->used_bytes) / 2;
    return false;
}

int lvm_store_watch(struct volume *v, const char *device, bool *extended, struct error *e)
{
    struct lvm_volume *l = lvm_of(v);
    struct dm_store_usage usage;
    uint64_t by;

    if (dm_snapshot_usage(device, &usage, e) < 0)
        return e->status;
    if (usage.invalid)
        return error_set(
            e, NO_SPACE,
            "snapshot of %s: its exception store overflowed, since the guest wrote more than "
            "volume group %s had room for (free some there, or use --cold), or it could not be "
            "written to (see dmesg)",
            v->name, l->vg);
    by = store_size_grow(usage.used_bytes, usage.total_bytes, l->store.full_bytes);
    *extended = by && usage.used_bytes >= l->extend_again_at_bytes && extend_store(l, &usage, by);
    return OK;
}

/* ---- discard ---- */

/* By name and tag together, in one command: a volume of that name that does not carry our tag is
 * somebody else's, and one that is gone already is fine. */
int lvm_store_remove(const json_t *record, struct error *e)
{
    const char *vg = json_string_value(json_object_get(record, "vg"));
    const char *store = json_string_value(json_object_get(record, "store"));
    const char *tag = json_string_value(json_object_get(record, "tag"));
    AUTO_FREE char *select = NULL;
    struct error again;
    const char *argv[] = {"lvremove", LVM_OWN_CONFIG, "--yes", "--force", "--select",
                          NULL,       "--",           vg,      NULL};

    if (!vg || !store || !tag || strncmp(store, "domsnap-", 8) != 0 || strpbrk(store, "\"\\/") ||
        strpbrk(tag, "\"\\"))
        return error_set(e, DAMAGED, "the journal's record of an exception store is garbled");
    select = format_text("lv_name=\"%s\" && lv_tags={\"%s\"}", store, tag);
    if (!select)
        return error_set(e, NO_SPACE, "out of memory");
    argv[5] = select;
    if (lvm_run(argv, NULL, e) == OK)
        return OK;
    /* The volume group may have another name by now: so in all of them. */
    argv[6] = NULL;
    return lvm_run(argv, NULL, &again) == OK ? OK : error_prefix(e, "remove %s/%s", vg, store);
}
